package baseline_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/client/audit"
	"credence/datasets"
	"credence/experiments/baseline"
	"credence/experiments/federation"
	"credence/fl"
	"credence/models"
)

const liveSuite = "insecure-rlwe64-d1-v1"

// live is a running federation with one owner, and the data of its nodes.
type live struct {
	*federation.Federation
	dir     string
	owner   *client.Remote
	clients []baseline.Client
	schema  string
}

// startLive founds a federation whose nodes split the breast cancer data. The
// last node carries at most weak ciphertexts in a round (0: all).
func startLive(t *testing.T, nodes, weak int, floor fl.ProofLevel) *live {
	t.Helper()
	ctx := t.Context()
	set := builtin(t, datasets.BreastCancer)
	parts, err := datasets.Dirichlet(set.Train, nodes, 0.5, 20, 7)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := datasets.IID(set.Test, nodes, 7)
	if err != nil {
		t.Fatal(err)
	}
	l := &live{dir: t.TempDir()}
	f, err := federation.Start(ctx, federation.Options{
		Dir: l.dir,
		Founding: aggregator.FoundingOptions{
			Name: "clinic", Suite: liveSuite, Committee: fl.CommitteePolicy{Members: 4, Threshold: 3}, MinCohort: 2, AllowInsecure: true, ProofFloor: floor,
		},
		Aggregator: aggregator.Options{Log: slog.New(slog.DiscardHandler), Tick: 20 * time.Millisecond, Grace: 300 * time.Millisecond, JoinWindow: time.Minute},
		Node:       client.Options{Wait: 2 * time.Second, AllowInsecure: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Federation = f
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	var members []fl.NodeID
	for i := range parts {
		c := baseline.Client{Node: fl.NodeID(fmt.Sprintf("node-%d", i))}
		if i == nodes-1 {
			c.MaxShards = weak
		}
		data := filepath.Join(l.dir, "data", string(c.Node))
		schema, err := set.WriteNode(data, parts[i], tests[i])
		if err != nil {
			t.Fatal(err)
		}
		raw, err := schema.YAML()
		if err != nil {
			t.Fatal(err)
		}
		l.schema = string(raw)
		source := client.DataSource{Schema: filepath.Join(data, datasets.NodeSchemaFile), CSV: filepath.Join(data, datasets.NodeDataFile)}
		if c.Train, c.Test, _, err = datasets.LoadCSV(source.CSV, schema); err != nil {
			t.Fatal(err)
		}
		l.clients, members = append(l.clients, c), append(members, c.Node)
		join := client.JoinOptions{Data: []client.DataSource{source}, Capability: fl.Capability{MaxShards: c.MaxShards}}
		if _, err = f.Enrol(ctx, aggregator.InviteOptions{Node: c.Node, Roles: []fl.Role{fl.RoleNode}}, join); err != nil {
			t.Fatal(err)
		}
		if err := f.Run(ctx, c.Node); err != nil {
			t.Fatal(err)
		}
	}
	home, err := f.Enrol(ctx, aggregator.InviteOptions{Node: "lab", Roles: []fl.Role{fl.RoleOwner}, Credits: 100_000}, client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if l.owner, err = f.Connect(home); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.owner.Close() })
	if floor.Attested() {
		if err := f.Aggregator().SetUpProofs(ctx, t.TempDir(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Aggregator().OpenEpoch(ctx, members[:4]); err != nil {
		t.Fatal(err)
	}
	return l
}

// options are a baseline job as its owner submits it.
func (l *live) options(job baseline.Job) client.JobOptions {
	return client.JobOptions{
		Job: job.ID, SchemaText: l.schema, Model: job.Model, Training: job.Training, Strategy: job.Strategy, Clip: job.Clip,
		Rounds: job.Rounds, CohortSize: job.CohortSize, MinCohort: job.MinCohort, RoundDeadline: 60, Budget: 1000,
		Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: job.Seed,
	}
}

// same runs a job live and in the clear and compares every version.
func (l *live) same(t *testing.T, job baseline.Job) {
	t.Helper()
	ctx := t.Context()
	spec, err := l.owner.SubmitJob(ctx, l.options(job))
	if err != nil {
		t.Fatal(err)
	}
	awaitDone(t, l.owner, job.ID, time.Minute)
	published, err := l.owner.Models(ctx, job.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(published) != job.Rounds {
		t.Fatalf("%d versions, want %d", len(published), job.Rounds)
	}
	_, err = baseline.Federate(ctx, lookup(t, liveSuite), job, l.clients, 0, func(v baseline.Version) error {
		m := published[v.Round-1]
		params, err := l.owner.Parameters(ctx, m, spec.Parameters)
		if err != nil {
			return err
		}
		if m.Manifest.Round != v.Round || !slices.Equal(params, v.Params) {
			t.Errorf("round %d: the live federation published another model than the baseline", v.Round)
		}
		var state fl.Digest
		if v.State != nil {
			state = fl.DigestBytes(fl.EncodeParameters(v.State))
		}
		if m.Manifest.State != state {
			t.Errorf("round %d: the live strategy keeps %s, the baseline's %s", v.Round, m.Manifest.State.Short(), state.Short())
		}
		if m.Manifest.Figures != v.Figures {
			t.Errorf("round %d: live figures %+v, baseline %+v", v.Round, m.Manifest.Figures, v.Figures)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The clear baseline publishes bit for bit what a live federation publishes:
// the same job over real connections, encrypted and opened by a committee,
// with models of several shards, nodes of different sizes and a weak one, by
// every strategy, and an audit repeats it all from the log.
func TestSameModelsAsALiveFederation(t *testing.T) {
	l := startLive(t, 7, 2, fl.ProofNone)
	group := fl.RobustSpec{Rule: fl.Median, Groups: 3}
	type strategy struct {
		name   string
		change func(*baseline.Job)
	}
	strategies := []strategy{
		{fl.FedAvg, func(j *baseline.Job) { j.Rounds = 3 }},
		{fl.FedAdam, func(j *baseline.Job) { j.Strategy.ServerLearningRate = 0.05; j.CohortSize = 5 }},
		{fl.Scaffold, func(j *baseline.Job) {
			j.Rounds, j.CohortSize = 3, 4
			j.Strategy.VariateClip, j.Strategy.Weighting = 5, fl.WeightUniform
		}},
		{fl.FedNova, func(j *baseline.Job) {
			j.Training.Epochs, j.Training.EarlyStop = 3, models.EarlyStop{Patience: 1, MinDelta: 0.05}
			j.Strategy.MaxSteps = 60
		}},
		{fl.FedPer, func(j *baseline.Job) { j.Strategy.PersonalLayers = 1; j.CohortSize = 5 }},
		{fl.Ditto, func(j *baseline.Job) { j.Strategy.Mu = 0.2 }},
		{"groups", func(j *baseline.Job) { j.Strategy.Name, j.Strategy.Robust = fl.FedAvg, group }},
	}
	if os.Getenv("CREDENCE_FULL") == "1" { // their parts are those of the ones above
		strategies = append(strategies, strategy{fl.FedSGD, func(j *baseline.Job) {
			j.Training = models.TrainConfig{LearningRate: 1, Epochs: 1}
			j.Strategy.ServerLearningRate = 0.3
		}},
			strategy{fl.FedProx, func(j *baseline.Job) { j.Strategy.Mu = 0.5 }},
			strategy{fl.FedAvgM, func(j *baseline.Job) { j.Training.Schedule = models.Schedule{Kind: models.CosineDecay, Warmup: 1} }},
			strategy{fl.FedYogi, func(j *baseline.Job) { j.Strategy.ServerLearningRate = 0.05 }},
			strategy{fl.FedAdagrad, func(j *baseline.Job) { j.Strategy.ServerLearningRate = 0.05 }},
			strategy{fl.Cyclic, func(*baseline.Job) {}},
		)
	}
	rounds := 0
	for _, c := range strategies {
		t.Run(c.name, func(t *testing.T) {
			job := smallJob(2)
			job.ID, job.Strategy.Name = fl.JobID(c.name), c.name
			c.change(&job)
			rounds += job.Rounds
			l.same(t, job)
		})
	}
	report, err := audit.Audit(t.Context(), audit.Connection(l.owner), audit.Selection{}, nil)
	if err != nil || len(report.Rounds) != rounds {
		t.Errorf("the audit checked %d rounds: %v", len(report.Rounds), err)
	}
	// What a node keeps to itself is on its own disk, for its owner's eyes.
	kept, err := filepath.Glob(filepath.Join(l.dir, "node-*", "outbox", fl.Ditto, "*", "state.bin"))
	if err != nil || len(kept) < len(l.clients) {
		t.Errorf("%d states are kept: %v", len(kept), err)
	}
	for _, f := range kept {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v: %v", f, info.Mode(), err)
		}
	}
}

// A node's own model is the published one with what it kept: the last layers of
// fedper, all of ditto. It is better on the node's own rows.
func TestOwnModels(t *testing.T) {
	l := startLive(t, 4, 0, fl.ProofNone)
	home, err := client.OpenHome(l.NodeDir("node-1"))
	if err != nil {
		t.Fatal(err)
	}
	remote, err := l.Connect(home)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = remote.Close() })
	for name, change := range map[string]func(*baseline.Job){
		fl.FedPer: func(j *baseline.Job) { j.Strategy.PersonalLayers = 1 },
		fl.Ditto:  func(j *baseline.Job) { j.Strategy.Mu = 0.1 },
		fl.FedAvg: func(*baseline.Job) {},
	} {
		job := smallJob(2)
		job.ID, job.Strategy.Name = fl.JobID(name), name
		change(&job)
		if _, err := l.owner.SubmitJob(t.Context(), l.options(job)); err != nil {
			t.Fatal(err)
		}
		awaitDone(t, l.owner, job.ID, time.Minute)
		own, err := remote.PullOwn(t.Context(), job.ID, 0)
		if name == fl.FedAvg {
			if err == nil {
				t.Error("fedavg left a node a model of its own")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		shared, err := remote.Pull(t.Context(), job.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		const head = 4*2 + 2
		if base := len(shared.Params) - head; slices.Equal(own.Params[base:], shared.Params[base:]) || (name == fl.FedPer) != slices.Equal(own.Params[:base], shared.Params[:base]) {
			t.Errorf("%s: the own model has the wrong parameters of its own", name)
		}
		mine, err := own.Model.Evaluate(own.Params, l.clients[1].Train)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := own.Model.Evaluate(shared.Params, l.clients[1].Train)
		if err != nil || mine.LossSum >= theirs.LossSum {
			t.Errorf("%s: the own model's loss is %v, the published one's %v: %v", name, mine.Loss(), theirs.Loss(), err)
		}
		if own.Metadata()["own_parameters_of"] != "node-1" || shared.Metadata()["own_parameters_of"] != "" {
			t.Errorf("%s: the metadata do not say whose parameters these are", name)
		}
		if _, err := l.owner.PullOwn(t.Context(), job.ID, 0); err == nil {
			t.Errorf("%s: an owner has a model of its own", name)
		}
	}
}

// Uploads of two parts and sums of groups are attested like any others: with
// proofs asked for, the same models come out, and the audit verifies them.
func TestAttestedStrategies(t *testing.T) {
	if os.Getenv("CREDENCE_FULL") != "1" {
		t.Skip("proofs take ten seconds: run with CREDENCE_FULL=1")
	}
	l := startLive(t, 6, 0, fl.ProofBounded)
	for name, change := range map[string]func(*baseline.Job){
		"variates": func(j *baseline.Job) {
			j.Strategy = fl.StrategySpec{Name: fl.Scaffold, ServerLearningRate: 1, Weighting: fl.WeightUniform, VariateClip: 5}
			j.Rounds, j.CohortSize = 2, 4
		},
		"groups": func(j *baseline.Job) { j.Strategy.Robust = fl.RobustSpec{Rule: fl.GeometricMedian, Groups: 3} },
	} {
		job := smallJob(1)
		job.ID, job.Model = fl.JobID(name), models.Spec{Kind: models.Logistic, Inputs: 30, Classes: 2}
		job.Clip = fl.Clip{Value: 1, Norm: 2}
		change(&job)
		l.same(t, job)
	}
	report, err := audit.Audit(t.Context(), audit.Connection(l.owner), audit.Selection{}, nil)
	if err != nil || len(report.Rounds) != 3 || report.Rounds[0].ProofLevel != fl.ProofBounded {
		t.Errorf("the audit checked %+v: %v", report.Rounds, err)
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
