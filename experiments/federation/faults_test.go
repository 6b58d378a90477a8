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
	c.auditJob("screening", versions)
}

func (c *clinic) auditJob(job fl.JobID, versions int) {
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
	models, err := a.store.Models(ctx, job)
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

// TestNetworkFaults makes a key on a network that does everything wrong at
// once, and then runs a job under each fault by itself, through partitions,
// and under all of them together. With -short only the last two.
func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	everything := federation.Faults{DropRequest: 0.01, DropAnswer: 0.01, Delay: 0.2, MaxDelay: 10 * time.Millisecond, Duplicate: 0.1, Corrupt: 0.005}
	network := federation.NewNetwork(11)
	network.Set(everything)
	c := newClinic(t, "insecure-rlwe64-d1-v1", func(o *federation.Options) { o.Network = network })
	for _, test := range []struct {
		job    fl.JobID
		faults federation.Faults
		part   bool // cut nodes off while the job runs
		struck func(federation.Counts) int
	}{
		{"lost-requests", federation.Faults{DropRequest: 0.05}, false, func(c federation.Counts) int { return c.DroppedRequests }},
		{"lost-answers", federation.Faults{DropAnswer: 0.05}, false, func(c federation.Counts) int { return c.DroppedAnswers }},
		{"delay", federation.Faults{Delay: 0.5, MaxDelay: 20 * time.Millisecond}, false, func(c federation.Counts) int { return c.Delays }},
		{"duplicate", federation.Faults{Duplicate: 0.5}, false, func(c federation.Counts) int { return c.Duplicates }},
		{"corrupt", federation.Faults{Corrupt: 0.05}, false, func(c federation.Counts) int { return c.Corruptions }},
		{"partition", federation.Faults{}, true, func(c federation.Counts) int { return c.Cut }},
		{"all-at-once", everything, true, func(c federation.Counts) int {
			return min(c.DroppedRequests+c.DroppedAnswers, c.Delays, c.Duplicates, c.Corruptions, c.Cut)
		}},
	} {
		if testing.Short() && !test.part {
			continue
		}
		network.Set(test.faults)
		job := c.job(2)
		job.Job = test.job
		done := make(chan struct{})
		var wg sync.WaitGroup
		if test.part {
			wg.Go(func() { c.partition(network, done) })
		}
		if _, err := c.owner.SubmitJob(t.Context(), job); err != nil {
			t.Fatalf("%s: %v", test.job, err)
		}
		v := c.awaitJob(test.job, 3*time.Minute)
		close(done)
		wg.Wait()
		if v.GetPhase() != "done" {
			t.Fatalf("%s: the job is %s: %s (%+v)", test.job, v.GetPhase(), v.GetReason(), network.Counts())
		}
		c.auditJob(test.job, 2)
		if test.struck(network.Counts()) == 0 {
			t.Errorf("%s: the fault never struck: %+v", test.job, network.Counts())
		}
	}
	t.Logf("%+v", network.Counts())
}

// partition cuts off one node after the other, and two of the four members at
// once, so that no sum can be opened in the meantime.
func (c *clinic) partition(n *federation.Network, done <-chan struct{}) {
	for i := 0; ; i++ {
		some := []fl.NodeID{c.nodes[i%4]}
		if i%2 == 0 {
			some = append(some, c.nodes[(i+1)%4])
		}
		n.Break(some...)
		c.rest(150*time.Millisecond, done)
		n.Fix(some...)
		if !c.rest(250*time.Millisecond, done) {
			return
		}
	}
}

// rest waits, and reports whether there is more to come.
func (c *clinic) rest(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	case <-c.t.Context().Done():
		return false
	}
}
