package federation_test

import (
	"path/filepath"
	"sync"
	"testing"

	"credence/aggregator"
	"credence/fl"
)

// TestTwoReplicas lets two aggregators drive the same rounds from one folder, at
// the same moment at every step: whichever is slower reads again, and each round
// has one plan, one seal, one manifest and one payout.
func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	s := calmAt(t, fl.ProofBounded, 2)
	second, err := aggregator.Open(s.ctx, filepath.Join(s.dir, "aggregator"), s.options())
	s.must(err)
	t.Cleanup(func() { s.must(second.Close()) })
	for range 200 {
		j, err := s.agg.Store().Job(s.ctx, "job")
		s.must(err)
		if j.Phase != "running" {
			break
		}
		for _, n := range s.nodes {
			_, _ = n.node.Pass(s.ctx)
		}
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, a := range []*aggregator.Aggregator{s.agg, second} {
			wg.Go(func() { errs[i] = a.Pass(s.ctx) })
		}
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				t.Fatalf("replica %d: %v", i, err)
			}
		}
		s.clock.add(1e9)
	}
	j, err := s.agg.Store().Job(s.ctx, "job")
	s.must(err)
	if j.Version != 2 || j.LastRound != 2 {
		t.Fatalf("after two rounds the job is %s with %d versions and %d rounds: %s", j.Phase, j.Version, j.LastRound, j.Reason)
	}
	s.cheap()
	s.thorough()
	s.openedOnce()
}
