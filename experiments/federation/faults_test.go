package federation_test

import (
	"sync"
	"testing"
	"time"

	"credence/experiments/federation"
	"credence/fl"
)

// audit checks everything that was published against the plaintexts, and the
// ledger.
func (c *clinic) audit(versions int) {
	c.t.Helper()
	ctx := c.t.Context()
	a := auditor{store: c.Aggregator().Store(), blob: c.owner.Fetch, data: map[fl.NodeID]data{}}
	for _, node := range c.nodes {
		d, err := loadData(c.dataDir(node))
		if err != nil {
			c.t.Fatal(err)
		}
		a.data[node] = d
	}
	models, err := a.store.Models(ctx, "screening")
	if err != nil {
		c.t.Fatal(err)
	}
	if len(models) != versions {
		c.t.Errorf("%d versions were published, want %d", len(models), versions)
	}
	for _, m := range models {
		if err := a.exact(ctx, m); err != nil {
			c.t.Error(err)
		}
	}
	if err := a.ledger(ctx); err != nil {
		c.t.Error(err)
	}
	if _, err := a.rounds(ctx); err != nil {
		c.t.Error(err)
	}
}

// TestNetworkFaults runs jobs over networks that lose, delay, repeat and
// corrupt, one by one and together, and through partitions.
func TestNetworkFaults(t *testing.T) {
	var wg sync.WaitGroup // all at once: they mostly wait
	defer wg.Wait()
	for _, test := range []struct {
		name    string
		faults  federation.Faults
		part    bool // cut nodes off while the job runs
		noticed func(federation.Counts) int
	}{
		{"drop", federation.Faults{DropRequest: 0.04}, false, func(c federation.Counts) int { return c.DroppedRequests }},
		{"lost answers", federation.Faults{DropAnswer: 0.04}, false, func(c federation.Counts) int { return c.DroppedAnswers }},
		{"delay", federation.Faults{Delay: 0.5, MaxDelay: 20 * time.Millisecond}, false, func(c federation.Counts) int { return c.Delays }},
		{"duplicate", federation.Faults{Duplicate: 0.5}, false, func(c federation.Counts) int { return c.Duplicates }},
		{"corrupt", federation.Faults{Corrupt: 0.02}, false, func(c federation.Counts) int { return c.Corruptions }},
		{"partition", federation.Faults{}, true, func(c federation.Counts) int { return c.Cut }},
		{"all at once", federation.Faults{
			DropRequest: 0.01, DropAnswer: 0.01, Delay: 0.2, MaxDelay: 10 * time.Millisecond, Duplicate: 0.1, Corrupt: 0.01,
		}, true, func(c federation.Counts) int {
			return min(c.DroppedRequests+c.DroppedAnswers, c.Delays, c.Duplicates, c.Corruptions, c.Cut)
		}},
	} {
		wg.Go(func() {
			t.Run(test.name, func(t *testing.T) {
				network := federation.NewNetwork(11)
				c := newClinic(t, "insecure-rlwe64-d1-v1", func(o *federation.Options) { o.Network = network })
				network.Set(test.faults)
				if _, err := c.owner.SubmitJob(t.Context(), c.job(2)); err != nil {
					t.Fatal(err)
				}
				if test.part {
					go c.partition(network)
				}
				if v := c.await(2 * time.Minute); v.GetPhase() != "done" {
					t.Fatalf("the job is %s: %s (%+v)", v.GetPhase(), v.GetReason(), network.Counts())
				}
				c.audit(2)
				if counts := network.Counts(); test.noticed(counts) == 0 {
					t.Errorf("the fault never struck: %+v", counts)
				} else {
					t.Logf("%+v", counts)
				}
			})
		})
	}
}

// partition cuts off one node after the other, and two of the four members at
// once, so that no sum can be opened in the meantime.
func (c *clinic) partition(n *federation.Network) {
	for i := 0; ; i++ {
		some := []fl.NodeID{c.nodes[i%4]}
		if i%2 == 0 {
			some = append(some, c.nodes[(i+1)%4])
		}
		n.Break(some...)
		if !c.rest(150 * time.Millisecond) {
			return
		}
		n.Fix(some...)
		if !c.rest(250 * time.Millisecond) {
			return
		}
	}
}

// rest waits, and reports whether the test still runs.
func (c *clinic) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.t.Context().Done():
		return false
	}
}
