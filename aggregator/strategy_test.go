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
