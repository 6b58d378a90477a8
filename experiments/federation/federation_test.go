package federation_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/datasets"
	"credence/experiments/federation"
	"credence/fl"
	"credence/models"
)

// clinic is a small federation on the breast cancer data.
type clinic struct {
	*federation.Federation
	t     *testing.T
	nodes []fl.NodeID
	owner *client.Remote
	text  string // of the schema
	dir   string
}

func (c *clinic) dataDir(node fl.NodeID) string { return filepath.Join(c.dir, "data", string(node)) }

func quiet() *slog.Logger {
	if os.Getenv("CREDENCE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

func newClinic(t *testing.T, suite string, change func(*federation.Options)) *clinic {
	t.Helper()
	ctx := t.Context()
	opts := federation.Options{
		Dir: memoryDir(t),
		Founding: aggregator.FoundingOptions{
			Name: "clinic", Suite: suite, Committee: fl.CommitteePolicy{Members: 4, Threshold: 3}, MinCohort: 2, AllowInsecure: true,
		},
		Aggregator: aggregator.Options{Log: quiet(), Tick: 50 * time.Millisecond, Grace: 300 * time.Millisecond, JoinWindow: 5 * time.Second},
		Node:       client.Options{Log: quiet(), Wait: 2 * time.Second, AllowInsecure: true},
	}
	if change != nil {
		change(&opts)
	}
	f, err := federation.Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	c := &clinic{Federation: f, t: t, dir: opts.Dir, nodes: []fl.NodeID{"alpha", "beta", "gamma", "delta"}}
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	if opts.Founding.ProofFloor.Attested() {
		setUpProofs(t, f.Aggregator())
	}
	set, err := datasets.Builtin(datasets.BreastCancer)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := datasets.Dirichlet(set.Train, 4, 0.5, 20, 7)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := datasets.IID(set.Test, 4, 7)
	if err != nil {
		t.Fatal(err)
	}
	for i, node := range c.nodes {
		data := filepath.Join(opts.Dir, "data", string(node))
		schema, err := set.WriteNode(data, parts[i], tests[i])
		if err != nil {
			t.Fatal(err)
		}
		raw, err := schema.YAML()
		if err != nil {
			t.Fatal(err)
		}
		c.text = string(raw)
		_, err = f.Enrol(ctx, aggregator.InviteOptions{Node: node, Roles: []fl.Role{fl.RoleNode}}, client.JoinOptions{
			Data: []client.DataSource{{Schema: filepath.Join(data, datasets.NodeSchemaFile), CSV: filepath.Join(data, datasets.NodeDataFile)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Run(ctx, node); err != nil {
			t.Fatal(err)
		}
	}
	home, err := f.Enrol(ctx, aggregator.InviteOptions{Node: "lab", Roles: []fl.Role{fl.RoleOwner}, Credits: 10_000}, client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.owner, err = f.Connect(home); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.owner.Close() })
	if _, err := f.Aggregator().OpenEpoch(ctx, c.nodes); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *clinic) job(rounds int) client.JobOptions {
	return client.JobOptions{
		Job: "screening", SchemaText: c.text,
		Model:    models.Spec{Kind: models.Logistic, Inputs: 30, Classes: 2},
		Training: models.TrainConfig{LearningRate: 0.1, Epochs: 1, BatchSize: 16, Seed: 1},
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip:     fl.Clip{Value: 1}, Rounds: rounds, MinCohort: 3, RoundDeadline: 30, Budget: 1000,
		Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: 5,
	}
}

// await polls until the job is over.
func (c *clinic) await(limit time.Duration) client.JobView {
	c.t.Helper()
	return c.awaitJob("screening", limit)
}

func (c *clinic) awaitJob(job fl.JobID, limit time.Duration) client.JobView {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	defer cancel()
	for {
		v, err := c.owner.Job(ctx, job)
		if err == nil && v.Final() {
			return v
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("the job did not end within %s: %v %v", limit, v.Job, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestRoundsOverRealConnections(t *testing.T) {
	c := newClinic(t, "insecure-rlwe64-d1-v1", nil)
	spec, err := c.owner.SubmitJob(t.Context(), c.job(3))
	if err != nil {
		t.Fatal(err)
	}
	if v := c.await(time.Minute); v.GetPhase() != "done" || v.GetVersion() != 3 {
		t.Fatalf("the job is %s at version %d: %s", v.GetPhase(), v.GetVersion(), v.GetReason())
	}
	versions, err := c.owner.Models(t.Context(), "screening")
	if err != nil {
		t.Fatal(err)
	}
	if len(versions) != 3 {
		t.Fatalf("%d versions, want 3", len(versions))
	}
	first, last := versions[0].Manifest.Figures, versions[2].Manifest.Figures
	if first.Count != 114 || last.Correct <= first.Correct {
		t.Errorf("figures went from %+v to %+v", first, last)
	}
	if _, err := c.owner.Parameters(t.Context(), versions[2], spec.Parameters); err != nil {
		t.Error(err)
	}
	balances, err := c.Aggregator().Store().Balances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, b := range balances {
		sum += b
	}
	if sum != 0 || balances["escrow/screening"] != 0 || balances["party/alpha"] <= 0 || balances["party/lab"] != 9000 {
		t.Errorf("balances %v", balances)
	}
}
