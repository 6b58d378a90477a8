package aggregator

import (
	"strings"
	"testing"
	"time"

	"credence/fl"
)

// A strategy that this federation cannot carry out is refused when its job is
// submitted, with a reason that helps.
func TestStrategiesThatTheFederationCannotCarry(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.carries = 1
	b.enrol("weak", 0, fl.RoleNode)
	lab := b.parties["lab"]
	lab.put(fl.EncodeParameters(make([]float32, testParameters)))
	submit := func(want string, change func(*fl.JobSpec)) {
		t.Helper()
		spec := b.jobSpec("job")
		change(&spec)
		err := lab.submit(spec)
		if want == "" {
			b.must(err)
		} else if err == nil || !strings.Contains(err.Error(), want) || fl.CodeOf(err) == "" {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	scaffold := fl.StrategySpec{Name: fl.Scaffold, ServerLearningRate: 1, Weighting: fl.WeightUniform, VariateClip: 1}
	submit("3 of 4 nodes can carry its 2 ciphertexts: at least 4 are needed", func(s *fl.JobSpec) { s.Strategy, s.MinCohort = scaffold, 4 })
	submit("200 groups of at least 2 clients", func(s *fl.JobSpec) { s.Strategy.Robust = fl.RobustSpec{Rule: fl.Median, Groups: 200} })
	submit("", func(s *fl.JobSpec) { s.Strategy, s.MinCohort = scaffold, 3 })

	// The weak node is not planned for, however many join.
	b.generate(nil)
	job := func() jobState {
		j, err := b.a.job(b.ctx, "", "job")
		b.must(err)
		return j
	}
	join := func(nodes ...fl.NodeID) {
		for _, n := range nodes {
			b.must(b.parties[n].submit(b.parties[n].join(job().Spec)))
		}
	}
	join("alpha", "beta", "weak")
	b.clock.add(time.Second) // past the join window
	if _, waits, err := b.a.plan(b.ctx, job()); err != nil || !strings.Contains(waits, "nodes that can carry 2 ciphertexts: 2 of at least 3") {
		t.Errorf("waits for %q: %v", waits, err)
	}
	join("gamma")
	plan, waits, err := b.a.plan(b.ctx, job())
	if err != nil || waits != "" || len(plan.Cohort) != 3 || plan.Population != 4 || plan.Shards != 2 || !plan.BaseState.IsZero() {
		t.Errorf("%+v waits for %q: %v", plan, waits, err)
	}
}

// What a strategy keeps goes from manifest to plan, can be read through both by
// every party, and is not pruned though an update may name it as its own.
func TestStateOfAStrategy(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.generate(nil)
	spec := b.jobSpec("j")
	spec.Strategy.Name = fl.FedAvgM
	b.startJob(spec)
	if r := b.round("j", 1); !r.plan.BaseState.IsZero() {
		t.Errorf("the first plan starts from state %s", r.plan.BaseState)
	}
	b.playRound(1, func(p *party, r roundNow) fl.UpdateHeader { return p.update(r) })
	b.keepAlive()
	b.must(b.a.Pass(b.ctx))
	versions, err := b.a.store.Models(b.ctx, "j")
	b.must(err)
	doc, err := b.a.store.Document(b.ctx, versions[0].Manifest)
	b.must(err)
	var m fl.Manifest
	b.must(doc.Read(&m))
	r := b.round("j", 2)
	kept, err := fl.DecodeParameters(b.blob(m.State), testParameters)
	if err != nil || kept[0] == 0 || r.plan.BaseState != m.State {
		t.Errorf("kept %v as %s, the next plan starts from %s: %v", kept, m.State.Short(), r.plan.BaseState.Short(), err)
	}
	for _, via := range []fl.Digest{versions[0].Manifest, r.planID} {
		b.must(b.a.mayRead(b.ctx, "alpha", m.State, via))
		if b.a.mayRead(b.ctx, "alpha", fl.Digest{}, via) == nil {
			t.Error("the digest of no blob may be read")
		}
	}
	named, err := b.a.namedElsewhere(b.ctx, nil)
	if err != nil || !named[m.State] {
		t.Errorf("the state is not among what pruning keeps: %v", err)
	}
}
