package federation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"credence/aggregator"
	"credence/client"
	"credence/client/audit"
	"credence/datasets"
	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/flpb"
	"credence/models"
)

// wardSchema is of data small enough that proofs about them take no time.
const wardSchema = `version: 1
name: ward
columns:
  - {name: age, kind: numeric, normalise: minmax, min: 0, max: 100}
  - {name: pulse, kind: numeric, normalise: standard, mean: 80, std: 20}
  - {name: dose, kind: numeric, missing: impute, impute: "1"}
  - {name: outcome, kind: label, classes: [well, ill]}
`

// ward is a clinic with such data: alpha trains and is enrolled last; the
// others are the committee.
func newWard(t *testing.T, dial []grpc.DialOption, run ...fl.NodeID) (c *clinic, cache string) {
	t.Helper()
	ctx := t.Context()
	c = &clinic{t: t, dir: memoryDir(t), nodes: []fl.NodeID{"beta", "delta", "gamma", "alpha"}, text: wardSchema}
	f, err := federation.Start(ctx, federation.Options{
		Dir: c.dir,
		Founding: aggregator.FoundingOptions{
			Name: "ward", Suite: "insecure-rlwe64-d1-v1", Committee: fl.CommitteePolicy{Members: 3, Threshold: 2}, MinCohort: 2, AllowInsecure: true,
		},
		Aggregator: aggregator.Options{Log: quiet(), Tick: 50 * time.Millisecond, Grace: 300 * time.Millisecond, JoinWindow: 5 * time.Second},
		Node:       client.Options{Log: quiet(), Wait: 2 * time.Second, AllowInsecure: true, DialOptions: dial},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Federation = f
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	for i, node := range c.nodes {
		data := c.dataDir(node)
		if err := os.MkdirAll(data, 0o700); err != nil {
			t.Fatal(err)
		}
		csv := "age,pulse,dose,outcome\n"
		for row := range 5 + i {
			outcome := "well"
			if (row+i)%2 == 0 {
				outcome = "ill"
			}
			csv += fmt.Sprintf("%d,%d,%s,%s\n", 20+7*row+i, 60+10*((row*i)%5), []string{"2", "1.5", ""}[row%3], outcome)
		}
		for name, text := range map[string]string{datasets.NodeSchemaFile: wardSchema, datasets.NodeDataFile: csv} {
			if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err = f.Enrol(ctx, aggregator.InviteOptions{Node: node, Roles: []fl.Role{fl.RoleNode}}, client.JoinOptions{
			Data: []client.DataSource{{Schema: filepath.Join(data, datasets.NodeSchemaFile), CSV: filepath.Join(data, datasets.NodeDataFile)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(run, node) {
			if err := f.Run(ctx, node); err != nil {
				t.Fatal(err)
			}
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
	cache = t.TempDir()
	if err := f.Aggregator().SetUpProofs(ctx, cache, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Aggregator().OpenEpoch(ctx, []fl.NodeID{"beta", "delta", "gamma"}); err != nil {
		t.Fatal(err)
	}
	return c, cache
}

// trainedJob is a job at level trained on the ward's data.
func (c *clinic) trainedJob(rounds int) client.JobOptions {
	low, high, most := 0.0, 120.0, 0.5
	return client.JobOptions{
		Job: "screening", SchemaText: c.text,
		Model:    models.Spec{Kind: models.Linear, Inputs: 3, Classes: 2}, // the smallest circuit
		Training: models.TrainConfig{LearningRate: 0.05, Steps: 2, BatchSize: 4, Seed: 1},
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip:     fl.Clip{Value: 1, Norm: 2}, Rounds: rounds, MinCohort: 3, RoundDeadline: 120, Budget: 1000,
		Rates: fl.Rates{Work: 400, Timeliness: 100, Committee: 150, Operator: 50, Training: 300}, Seed: 5,
		ProofLevel: fl.ProofTrained,
		Trained: client.TrainedOptions{
			Rows: 8, FeatureBits: 11,
			Require: []datasets.Requirement{{Column: "age", Min: &low, Max: &high}, {Column: "dose", MissingMax: &most}},
		},
	}
}

// keysFor adopts the keys that a job needs.
func (c *clinic) keysFor(cache string, o client.JobOptions) {
	c.t.Helper()
	spec, _, err := o.Draft(c.Aggregator().Genesis())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.Aggregator().SetUpProofs(c.t.Context(), cache, nil, spec); err != nil {
		c.t.Fatal(err)
	}
}

// TestTrainedRounds runs rounds at proof level trained: nodes commit to their
// rows and prove what the job requires of them, prove that each update is what
// the plan's steps give, and everybody checks. A node that is restarted goes on
// with the commitment that it made; the audit finds everything in order.
func TestTrainedRounds(t *testing.T) {
	t.Parallel()
	lossy := &lossyJoins{sent: map[fl.NodeID]map[fl.Digest]int{}}
	c, cache := newWard(t, []grpc.DialOption{grpc.WithChainUnaryInterceptor(lossy.intercept)}, "alpha", "beta", "gamma", "delta")
	o := c.trainedJob(2)
	if _, err := c.owner.SubmitJob(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	view, err := c.owner.Job(t.Context(), "screening")
	if err != nil || len(view.GetWaits()) == 0 {
		t.Fatalf("a job without keys waits for %q, %v", view.GetWaits(), err)
	}
	c.keysFor(cache, o) // the nodes are asked only now
	c.awaitVersion(1)
	if err := c.StopNode("alpha"); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context(), "alpha"); err != nil {
		t.Fatal(err)
	}
	if v := c.await(2 * time.Minute); v.GetPhase() != "done" || v.GetVersion() != 2 {
		t.Fatalf("the job is %s at version %d: %s", v.GetPhase(), v.GetVersion(), v.GetReason())
	}
	versions, err := c.owner.Models(t.Context(), "screening")
	if err != nil {
		t.Fatal(err)
	}
	paid := map[string]int64{}
	for _, v := range versions {
		m := v.Manifest
		if m.ProofLevel != fl.ProofTrained || m.ProofSetup != fl.SetupLocal {
			t.Errorf("manifest of version %d: level %s, set-up %q", m.Version, m.ProofLevel, m.ProofSetup)
		}
		for _, p := range m.Postings {
			paid[p.Memo] += p.Amount
		}
	}
	if paid["training"] != 300 || paid["work"] != 400 {
		t.Errorf("paid %v, want 300 for proven training beside 400 for work", paid)
	}
	for _, node := range c.nodes {
		info, err := os.Stat(filepath.Join(c.NodeDir(node), "datasets", "screening", "secret"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the secret of %s: %v, %v", node, info, err)
		}
	}
	c.pinned(view.SpecID, "beta", "delta", "gamma")
	for node, sent := range lossy.sent {
		if len(sent) != 1 {
			t.Errorf("%s sent %d different commitments: %v", node, len(sent), sent)
		}
		for _, times := range sent {
			if times < 3 {
				t.Errorf("the commitment of %s was sent %d times, want again after it was lost", node, times)
			}
		}
	}
	report, err := audit.Audit(t.Context(), audit.Connection(c.owner), audit.Selection{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"attestations of trainings, in batches", "committed data sets, with their rows and the job's requirements"} {
		if !slices.ContainsFunc(report.Checks, func(k audit.Check) bool { return k.What == want && k.Count >= 4 }) {
			t.Errorf("the audit checked %v, want %q", report.Checks, want)
		}
	}
	if !slices.ContainsFunc(report.NotChecked, func(s string) bool { return strings.Contains(s, "labels were not flipped") }) {
		t.Errorf("the audit does not say what level trained does not prove: %q", report.NotChecked)
	}
	c.auditLies()
}

// pinned checks that enough members to open a sum hold every client to the
// commitment that is in the client's folder, and no member to another.
func (c *clinic) pinned(spec fl.Digest, members ...fl.NodeID) {
	c.t.Helper()
	want := map[fl.NodeID]fl.Digest{}
	for _, node := range c.nodes {
		raw, err := os.ReadFile(filepath.Join(c.NodeDir(node), "datasets", "screening", "commitment.json"))
		if err != nil {
			c.t.Fatal(err)
		}
		signed, err := fl.DecodeEnvelope(raw)
		if err != nil {
			c.t.Fatal(err)
		}
		want[node] = signed.Digest()
	}
	holding := 0
	for _, member := range members {
		raw, err := os.ReadFile(filepath.Join(c.NodeDir(member), "pins", spec.String()+".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue // the others were enough
		}
		if err != nil {
			c.t.Fatal(err)
		}
		var held map[fl.NodeID]fl.Digest
		if err := json.Unmarshal(raw, &held); err != nil {
			c.t.Fatal(err)
		}
		for client, digest := range held {
			if digest != want[client] {
				c.t.Errorf("%s holds %s to %s, and its commitment is %s", member, client, digest.Short(), want[client].Short())
			}
		}
		if len(held) >= 3 { // the job's minimum cohort
			holding++
		}
	}
	if threshold := c.Aggregator().Genesis().Committee.Threshold; holding < threshold {
		c.t.Errorf("%d members hold the job's clients to their commitments: want %d", holding, threshold)
	}
}

// lossyJoins loses the first two commitments that each node sends, one before
// and one after the aggregator took it in, and remembers all of them.
type lossyJoins struct {
	mu   sync.Mutex
	sent map[fl.NodeID]map[fl.Digest]int
}

func (l *lossyJoins) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	submit, ok := req.(*flpb.SubmitRequest)
	if !ok {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	e, err := fl.DecodeEnvelope(submit.GetDocument())
	if err != nil || e.Kind != (fl.DatasetCommitment{}).Kind() {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	l.mu.Lock()
	if l.sent[e.Signer] == nil {
		l.sent[e.Signer] = map[fl.Digest]int{}
	}
	l.sent[e.Signer][e.Digest()]++
	all := 0
	for _, times := range l.sent[e.Signer] {
		all += times
	}
	l.mu.Unlock()
	lost := status.Error(codes.Internal, "lost on the way")
	switch all {
	case 1:
		return lost
	case 2:
		return errors.Join(invoke(ctx, method, req, reply, cc, opts...), lost)
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// awaitVersion polls until a version is published.
func (c *clinic) awaitVersion(version uint64) {
	c.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		v, err := c.owner.Job(c.t.Context(), "screening")
		if err == nil && v.GetVersion() >= version {
			return
		}
		select {
		case <-deadline:
			c.t.Fatalf("version %d was not published: %v %v", version, v.Job, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
