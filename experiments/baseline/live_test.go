package baseline_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/datasets"
	"credence/experiments/baseline"
	"credence/experiments/federation"
	"credence/fl"
)

// The clear baseline publishes bit for bit what a live federation publishes:
// the same job over real connections, encrypted and opened by a committee,
// with models of several shards and nodes of different sizes.
func TestSameModelsAsALiveFederation(t *testing.T) {
	const suiteName, rounds = "insecure-rlwe64-d1-v1", 3
	ctx := t.Context()
	set := builtin(t, datasets.BreastCancer)
	parts, err := datasets.Dirichlet(set.Train, 4, 0.5, 20, 7)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := datasets.IID(set.Test, 4, 7)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f, err := federation.Start(ctx, federation.Options{
		Dir: dir,
		Founding: aggregator.FoundingOptions{
			Name: "clinic", Suite: suiteName, Committee: fl.CommitteePolicy{Members: 4, Threshold: 3}, MinCohort: 2, AllowInsecure: true,
		},
		Aggregator: aggregator.Options{Log: slog.New(slog.DiscardHandler), Tick: 20 * time.Millisecond, Grace: 300 * time.Millisecond, JoinWindow: time.Minute},
		Node:       client.Options{Wait: 2 * time.Second, AllowInsecure: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	var clients []baseline.Client
	var members []fl.NodeID
	var schemaText string
	for i := range parts {
		c := baseline.Client{Node: fl.NodeID(fmt.Sprintf("node-%d", i))}
		data := filepath.Join(dir, "data", string(c.Node))
		schema, err := set.WriteNode(data, parts[i], tests[i])
		if err != nil {
			t.Fatal(err)
		}
		raw, err := schema.YAML()
		if err != nil {
			t.Fatal(err)
		}
		schemaText = string(raw)
		source := client.DataSource{Schema: filepath.Join(data, datasets.NodeSchemaFile), CSV: filepath.Join(data, datasets.NodeDataFile)}
		if c.Train, c.Test, _, err = datasets.LoadCSV(source.CSV, schema); err != nil {
			t.Fatal(err)
		}
		clients, members = append(clients, c), append(members, c.Node)
		if _, err = f.Enrol(ctx, aggregator.InviteOptions{Node: c.Node, Roles: []fl.Role{fl.RoleNode}}, client.JoinOptions{Data: []client.DataSource{source}}); err != nil {
			t.Fatal(err)
		}
		if err := f.Run(ctx, c.Node); err != nil {
			t.Fatal(err)
		}
	}
	home, err := f.Enrol(ctx, aggregator.InviteOptions{Node: "lab", Roles: []fl.Role{fl.RoleOwner}, Credits: 1000}, client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := f.Connect(home)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owner.Close() })
	if _, err := f.Aggregator().OpenEpoch(ctx, members); err != nil {
		t.Fatal(err)
	}

	job := smallJob(rounds)
	spec, err := owner.SubmitJob(ctx, client.JobOptions{
		Job: job.ID, SchemaText: schemaText, Model: job.Model, Training: job.Training, Strategy: job.Strategy, Clip: job.Clip,
		Rounds: rounds, MinCohort: 4, RoundDeadline: 60, Budget: 1000,
		Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: job.Seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	awaitDone(t, owner, job.ID, time.Minute)
	published, err := owner.Models(ctx, job.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(published) != rounds {
		t.Fatalf("%d versions, want %d", len(published), rounds)
	}
	_, err = baseline.Federate(ctx, lookup(t, suiteName), job, clients, 0, func(v baseline.Version) error {
		live := published[v.Round-1]
		params, err := owner.Parameters(ctx, live, spec.Parameters)
		if err != nil {
			return err
		}
		if live.Manifest.Round != v.Round || !slices.Equal(params, v.Params) {
			t.Errorf("round %d: the live federation published another model than the baseline", v.Round)
		}
		if live.Manifest.Figures != v.Figures {
			t.Errorf("round %d: live figures %+v, baseline %+v", v.Round, live.Manifest.Figures, v.Figures)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitDone polls until the job is done.
func awaitDone(t testing.TB, owner *client.Remote, job fl.JobID, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		v, err := owner.Job(ctx, job)
		if err == nil && v.Final() {
			if v.GetPhase() != "done" {
				t.Fatalf("the job is %s: %s", v.GetPhase(), v.GetReason())
			}
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the job did not end within %s: %v", limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
