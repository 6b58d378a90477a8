package federation_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"credence/aggregator/store"
	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/round"
	"credence/he/threshold"
)

// TestSimulation plays thousands of random operations against a whole
// federation: real nodes and a real aggregator over real connections, with
// only the order of things, the clock and the faults in the hands of a seed.
// CREDENCE_SIM_OPS and CREDENCE_SIM_SEED set how much and which.
func TestSimulation(t *testing.T) {
	t.Parallel()
	ops, seed := 300, uint64(time.Now().UnixNano())
	if v := os.Getenv("CREDENCE_SIM_OPS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			t.Fatalf("CREDENCE_SIM_OPS=%q: want a number of operations", v)
		}
		ops = n
	}
	if v := os.Getenv("CREDENCE_SIM_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("CREDENCE_SIM_SEED=%q: %v", v, err)
		}
		seed = n
	}
	t.Logf("CREDENCE_SIM_SEED=%d CREDENCE_SIM_OPS=%d", seed, ops)
	published := 0
	for left := ops; left > 0; seed++ {
		n := min(left, chapterOps)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { published += simulate(t, seed, n) })
		left -= n
	}
	// A single chapter may abort every round: its jobs are cancelled and its
	// nodes killed at random. Many chapters do not.
	if ops >= 2*chapterOps && published == 0 {
		t.Error("not one round was published: the simulation shows nothing")
	}
}

// chapterOps is how many operations one federation lives through; a longer
// simulation goes on with another one and the next seed, so that every part of
// it can be repeated by itself.
const chapterOps = 500

// simulate lives through one chapter and returns how many rounds it published.
func simulate(t *testing.T, seed uint64, ops int) int {
	s := newSimulation(t, seed)
	s.until("the first key is made", nil, s.hasKey) // or there is nothing to break
	for s.done = 0; s.done < ops && !t.Failed(); s.done++ {
		op := s.pick()
		s.trace = append(s.trace, op.name)
		s.clock.add(time.Duration(s.rng.Int64N(int64(2 * time.Second))))
		op.run()
		s.cheap()
		if s.done%50 == 49 {
			s.thorough()
		}
	}
	if !t.Failed() {
		s.settle()
		s.thorough()
		s.openedOnce()
	}
	if t.Failed() {
		t.Logf("the last operations: %v", s.trace[max(0, len(s.trace)-40):])
	}
	t.Logf("%d operations: %v; network %+v; rounds %v; nodes complained: %v", s.done, s.counts, s.network.Counts(), s.phases, s.trouble)
	return s.phases[string(round.Published)]
}

// operation is one thing that may happen next.
type operation struct {
	name   string
	weight int
	run    func()
}

// pick draws the next operation.
func (s *simulation) pick() operation {
	if s.agg == nil && s.rng.IntN(3) == 0 {
		return operation{"restart aggregator", 0, s.startAggregator}
	}
	all := []operation{
		{"aggregator pass", 30, s.aggregatorPass},
		{"node pass", 50, s.nodePass},
		{"restart node", 6, s.restartNode},
		{"kill node", 2, s.killNode},
		{"kill node in a pass", 3, s.killNodeInPass},
		{"kill aggregator", 1, s.stopAggregator},
		{"replay", 3, s.replay},
		{"wrong share", 3, s.wrongShare},
		{"late share", 1, s.lateShare},
		{"decline", 1, s.decline},
		{"submit job", 2, s.submitJob},
		{"weather", 2, s.weather},
	}
	// These change who is there, or cost much: a few in any simulation.
	rare := []operation{
		{"join", 3, s.join}, {"revoke", 1, s.revoke}, {"rotate epoch", 2, s.rotateEpoch}, {"cancel job", 2, s.cancelJob},
		{"clock leaps", 4, s.leap}, {"clock goes back", 2, s.back},
	}
	if s.rng.IntN(25) == 0 {
		all = rare
	}
	total := 0
	for _, op := range all {
		total += op.weight
	}
	at := s.rng.IntN(total)
	for _, op := range all {
		if at -= op.weight; at < 0 {
			s.counts[op.name]++
			return op
		}
	}
	panic("unreachable")
}

// cheap is checked after every operation.
func (s *simulation) cheap() {
	s.t.Helper()
	if s.agg == nil {
		return
	}
	balances, err := s.agg.Store().Balances(s.ctx)
	if err != nil {
		s.fail("reading the balances: %v", err)
		return
	}
	var sum int64
	for account, credits := range balances {
		sum += credits
		if credits < 0 && account != "issuer" {
			s.fail("%s owes %d credits", account, -credits)
		}
	}
	if sum != 0 {
		s.fail("the balances sum to %d", sum)
	}
	for _, job := range s.live {
		models, err := s.agg.Store().Models(s.ctx, job)
		if err != nil {
			s.fail("listing models: %v", err)
			return
		}
		for _, m := range models[min(s.checked[job], len(models)):] {
			if err := s.auditor().exact(s.ctx, m); err != nil {
				s.fail("%v", err)
			}
			s.checked[job]++
		}
	}
}

// thorough is checked now and then, and at the end.
func (s *simulation) thorough() {
	s.t.Helper()
	if s.agg == nil {
		return
	}
	if err := s.auditor().ledger(s.ctx); err != nil {
		s.fail("%v", err)
	}
	phases, err := s.auditor().rounds(s.ctx)
	if err != nil {
		s.fail("%v", err)
	}
	s.phases = phases
	s.live = slices.DeleteFunc(s.live, func(job fl.JobID) bool {
		j, err := s.agg.Store().Job(s.ctx, job)
		return err == nil && j.Phase != store.JobRunning && int(j.Version) == s.checked[job]
	})
}

func (s *simulation) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("after operation %d of seed %d: %s", s.done, s.seed, fmt.Sprintf(format, args...))
}

// settle stops all faults, brings everybody back, and expects every round to
// end, and every job to end or to say what it waits for.
func (s *simulation) settle() {
	s.t.Helper()
	s.network.Set(federation.Faults{})
	s.network.Fix(s.names()...)
	if s.agg == nil {
		s.startAggregator()
	}
	for _, n := range s.nodes {
		s.open(n)
	}
	if !s.keyed() {
		s.epochs = 0
		s.rotateEpoch() // what an operator does when a committee has lost members for good
	}
	for range 600 {
		s.clock.add(time.Second)
		var errs []error
		for _, n := range s.nodes {
			if !n.revoked {
				_, err := n.node.Pass(s.ctx)
				errs = append(errs, err)
			}
		}
		if err := s.agg.Pass(s.ctx); err != nil {
			s.fail("with all faults gone, the aggregator: %v", err)
			return
		}
		s.cheap()
		stuck, err := s.unfinished()
		if err != nil {
			s.fail("%v", err)
			return
		}
		s.stuck = append(stuck, fmt.Sprint(errors.Join(errs...)))
		if len(stuck) == 0 {
			return
		}
	}
	s.fail("ten minutes after the last fault this is not over: %v", s.stuck)
}

// keyed reports whether the newest key is made, or its committee can still make
// it.
func (s *simulation) keyed() bool {
	epochs, err := s.agg.Store().Epochs(s.ctx)
	s.must(err)
	if len(epochs) == 0 {
		return false
	}
	newest := epochs[len(epochs)-1]
	var plan fl.EpochPlan
	s.must(newest.Plan.Read(&plan))
	return newest.Key != nil || !slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.revoked && plan.Point(n.id) != 0 })
}

// unfinished lists what still has to happen.
func (s *simulation) unfinished() (left []string, err error) {
	active, err := s.agg.Store().ActiveRounds(s.ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range active {
		left = append(left, fmt.Sprintf("round %d of job %s is %s", r.Number, r.Job, r.Phase))
	}
	views, err := s.owner().Jobs(s.ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if !v.Final() && len(v.GetWaits()) == 0 {
			left = append(left, fmt.Sprintf("job %s is %s and waits for nothing", v.Spec.Job, v.GetPhase()))
		}
	}
	return left, nil
}

// openedOnce opens every member's key holder and expects that all who
// answered for a sum answered for the same one.
func (s *simulation) openedOnce() {
	s.t.Helper()
	type answer struct {
		by     fl.NodeID
		digest [32]byte
	}
	first := map[threshold.SumID]answer{}
	answers := 0
	for _, n := range s.nodes {
		s.close(n)
		holder, err := threshold.Open(filepath.Join(s.nodeDir(n.id), "keyholder"), string(n.id))
		if err != nil {
			s.fail("%s: %v", n.id, err)
			continue
		}
		for id := range s.everySum() {
			released, ok, err := holder.Released(id)
			if err != nil {
				s.fail("%s: %v", n.id, err)
			}
			if !ok {
				continue
			}
			answers++
			if before, known := first[id]; known && before.digest != released.Digest {
				s.fail("%v was opened twice: %s answered for %x, %s for %x", id, before.by, before.digest[:6], n.id, released.Digest[:6])
			}
			first[id] = answer{n.id, released.Digest}
		}
		if err := holder.Close(); err != nil {
			s.fail("%s: %v", n.id, err)
		}
	}
	s.counts["decryption shares"] = answers
}

// everySum lists the place of every sum that any round may have had.
func (s *simulation) everySum() map[threshold.SumID]bool {
	out := map[threshold.SumID]bool{}
	for _, job := range s.jobs {
		j, err := s.agg.Store().Job(s.ctx, job)
		if err != nil {
			continue // it was never accepted
		}
		for n := uint64(1); n <= j.LastRound; n++ {
			for shard := range 4 {
				out[threshold.SumID{Job: string(job), Round: n, Shard: shard}] = true
			}
		}
	}
	return out
}

func (s *simulation) names() []fl.NodeID {
	var out []fl.NodeID
	for _, n := range s.nodes {
		out = append(out, n.id)
	}
	return out
}

// some draws one of the nodes that pass a test, or nil.
func (s *simulation) some(test func(*simNode) bool) *simNode {
	var fit []*simNode
	for _, n := range s.nodes {
		if test(n) {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[s.rng.IntN(len(fit))]
}
