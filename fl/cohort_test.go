package fl

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func nodesOf(n int) []Candidate {
	out := make([]Candidate, n)
	for i := range out {
		out[i] = Candidate{Node: NodeID(fmt.Sprintf("n%03d", i)), Samples: int64(i + 1)}
	}
	return out
}

// The draw that jobs of today's federations follow from must not change: an
// operator may replace the aggregator's program in the middle of a job.
func TestSampleCohortIsPinned(t *testing.T) {
	terms := Terms{Job: "job", Seed: 7, CohortSize: 3, MinCohort: 2, MaxCohort: 256}
	var got []NodeID
	for _, c := range SampleCohort(terms, nodesOf(10), 4) {
		got = append(got, c.Node)
	}
	if want := []NodeID{"n002", "n007", "n009"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Whatever the candidates: the cohort has the size asked for, every shard of
// every group enough contributors, nobody is in two groups, and the order of
// the candidates does not count.
func TestDrawCohort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := Terms{
			Job: "job", Seed: rapid.Uint64().Draw(t, "seed"), Parameters: rapid.IntRange(1, 60).Draw(t, "parameters"),
			MinCohort: rapid.IntRange(2, 4).Draw(t, "least"), CohortSize: rapid.IntRange(0, 14).Draw(t, "size"), Slots: MetricSlots + 10, MaxCohort: 12,
			Strategy: StrategySpec{Name: rapid.SampledFrom([]string{FedAvg, FedNova, Cyclic}).Draw(t, "name"), ServerLearningRate: 1, Weighting: WeightBySamples},
		}
		if terms.Strategy.Name == FedNova {
			terms.Strategy.MaxSteps = 5
		}
		if terms.Strategy.Name == FedAvg && rapid.Bool().Draw(t, "robust") {
			terms.Strategy.Robust = RobustSpec{Rule: Median, Groups: 3}
		}
		groups := max(terms.Strategy.Robust.Groups, 1)
		if terms.CohortSize > 0 {
			terms.CohortSize = max(terms.CohortSize, groups*terms.MinCohort)
		}
		all := nodesOf(rapid.IntRange(0, 20).Draw(t, "candidates"))
		for i := range all {
			if rapid.IntRange(0, 3).Draw(t, "weak") == 0 {
				all[i].MaxShards = rapid.IntRange(1, 4).Draw(t, "carries")
			}
		}
		round := rapid.Uint64Range(1, 1000).Draw(t, "round")
		cohort, err := DrawCohort(terms, all, round)
		slices.Reverse(all)
		again, errAgain := DrawCohort(terms, all, round)
		if !reflect.DeepEqual(cohort, again) || (err == nil) != (errAgain == nil) {
			t.Fatal("another order of the candidates gives another cohort")
		}
		size, _ := terms.Strategy.UploadSize(terms.Parameters)
		shards, _ := ShardMap(size, terms.Slots)
		able := 0 // that carry all
		for _, c := range all {
			if !c.weak(len(shards)) {
				able++
			}
		}
		if err != nil {
			var short *ShortCohortError
			if !errors.As(err, &short) {
				t.Fatal(err)
			}
			if able == len(all) && able >= groups*terms.MinCohort && groups*terms.MinCohort <= terms.MaxCohort {
				t.Fatalf("%d strong nodes were refused: %v", able, err)
			}
			return
		}
		plan := Plan{Shards: cohort.Shards, Groups: cohort.Groups, WeightUnit: cohort.WeightUnit, Cohort: cohort.Assignments}
		if cohort.Shards != groups*len(shards) || plan.UploadShards() != len(shards) {
			t.Fatalf("%d sums for %d groups of %d shards", cohort.Shards, groups, len(shards))
		}
		most := len(all)
		if terms.CohortSize > 0 {
			most = min(most, terms.CohortSize)
		}
		if terms.Strategy.Name == Cyclic {
			most = min(most, terms.MinCohort)
		}
		most = min(most, terms.MaxCohort)
		var names []NodeID
		for _, a := range cohort.Assignments {
			names = append(names, a.Node)
			for _, s := range a.Shards {
				if s/len(shards) != a.Shards[0]/len(shards) {
					t.Fatalf("%s is in two groups: %v", a.Node, a.Shards)
				}
			}
			if terms.Strategy.WholeVector() && len(a.Shards) != len(shards) {
				t.Fatalf("%s carries %d of %d shards", a.Node, len(a.Shards), len(shards))
			}
		}
		if len(names) > most || !terms.Strategy.WholeVector() && len(names) != most || !slices.IsSorted(names) || len(slices.Compact(names)) != len(cohort.Assignments) {
			t.Fatalf("a cohort of %v, want %d", names, most)
		}
		for s, n := range plan.Contributors(names) {
			if n < terms.MinCohort {
				t.Fatalf("sum %d has %d contributors", s, n)
			}
		}
	})
}

// In cyclic every node has its turn.
func TestCyclicTakesTurns(t *testing.T) {
	terms := Terms{Job: "job", MinCohort: 2, MaxCohort: 256, Strategy: oneOf(Cyclic)}
	for _, n := range []int{4, 5} {
		turns := map[NodeID]int{}
		for round := uint64(1); round <= uint64(n); round++ {
			for _, c := range SampleCohort(terms, nodesOf(n), round) {
				turns[c.Node]++
			}
		}
		for node, k := range turns {
			if k != 2 || len(turns) != n {
				t.Errorf("%d nodes: %s had %d turns, want 2: %v", n, node, k, turns)
			}
		}
	}
}

// Each reason to wait is told.
func TestShortCohorts(t *testing.T) {
	base := Terms{Job: "job", Parameters: 20, MinCohort: 2, Slots: MetricSlots + 10, MaxCohort: 256, Strategy: oneOf(FedAvg)}
	weak := nodesOf(5)
	for i := range weak[1:] {
		weak[1+i].MaxShards = 1
	}
	grouped := base
	grouped.Strategy.Robust = RobustSpec{Rule: Median, Groups: 3}
	whole := base
	whole.Strategy = oneOf(Scaffold)
	for name, c := range map[string]struct {
		terms      Terms
		candidates []Candidate
		want       string
	}{
		"few":     {base, nodesOf(1), "nodes: 1 of at least 2 joined the job and are reachable"},
		"groups":  {grouped, nodesOf(5), "nodes: 5 of at least 6 joined the job and are reachable, for 3 groups of 2"},
		"thin":    {base, weak[1:4], "nodes that can carry more: shard 0 of 2 would have fewer than 2 contributors"},
		"partial": {whole, weak, "nodes that can carry 4 ciphertexts: 1 of at least 2; scaffold does not cut an upload into parts"},
	} {
		_, err := DrawCohort(c.terms, c.candidates, 1)
		var short *ShortCohortError
		if !errors.As(err, &short) || short.Needs != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	base.Strategy.Name = "krum"
	if _, err := DrawCohort(base, nodesOf(4), 1); err == nil {
		t.Error("an unknown strategy was planned")
	}
}

// A sample with too many weak nodes is drawn again instead of waiting for ever.
func TestThinSamplesAreDrawnAgain(t *testing.T) {
	terms := Terms{Job: "job", Parameters: 40, MinCohort: 2, CohortSize: 3, Slots: MetricSlots + 10, MaxCohort: 256, Strategy: oneOf(FedAvg)}
	all := nodesOf(8)
	for i := range all[:4] {
		all[i].MaxShards = 1
	}
	for round := range uint64(50) {
		if _, err := DrawCohort(terms, all, round+1); err != nil {
			t.Errorf("round %d: %v", round+1, err)
		}
	}
}

// A buffered federation loses no client: buffers are full, hold distinct
// clients, and say how stale each update is.
func TestAsyncClock(t *testing.T) {
	terms := Terms{Job: "job", Seed: 3, Parameters: 5, MinCohort: 2, CohortSize: 6, Slots: 100, MaxCohort: 256, Strategy: oneOf(FedBuff)}
	clock, err := NewAsyncClock(terms, nodesOf(9))
	if err != nil {
		t.Fatal(err)
	}
	seen, stale := map[NodeID]bool{}, 0
	started := map[string]bool{}
	for version := range uint64(40) {
		oldest := clock.Oldest()
		buffer := clock.Buffer()
		if len(buffer) != 4 {
			t.Fatalf("a buffer of %d", len(buffer))
		}
		for i, a := range buffer {
			if i > 0 && a.Node <= buffer[i-1].Node {
				t.Fatalf("%v is not sorted or names one twice", buffer)
			}
			if a.Base < oldest || a.Base > version || a.Staleness != version-a.Base {
				t.Fatalf("version %d: %+v; the oldest base was %d", version, a, oldest)
			}
			key := fmt.Sprint(a.Node, a.Base)
			if started[key] {
				t.Fatalf("%s started twice from version %d", a.Node, a.Base)
			}
			started[key], seen[a.Node] = true, true
			if a.Staleness == 3 && a.Scale != 0.5 {
				t.Errorf("staleness 3 is scaled by %v, want 1/sqrt(4)", a.Scale)
			}
			if a.Staleness > 0 {
				stale++
			}
		}
		plan, err := terms.BufferPlan(Plan{Slots: 100}, buffer, version+1)
		if err != nil || len(plan.Cohort) != 4 || plan.Cohort[1].Weight != 1 || plan.Round != version+1 {
			t.Fatalf("%+v: %v", plan, err)
		}
	}
	if len(seen) != 9 || stale == 0 {
		t.Errorf("%d clients were heard, %d updates were stale", len(seen), stale)
	}
	weak := nodesOf(9)
	weak[0].MaxShards, terms.Parameters = 1, 200
	for name, c := range map[string]func() ([]Candidate, Terms){
		"strategy": func() ([]Candidate, Terms) { x := terms; x.Strategy = oneOf(FedAvg); return nodesOf(9), x },
		"minimum":  func() ([]Candidate, Terms) { x := terms; x.MinCohort = 5; return nodesOf(9), x },
		"suite":    func() ([]Candidate, Terms) { x := terms; x.MaxCohort = 3; return nodesOf(9), x },
		"few":      func() ([]Candidate, Terms) { return nodesOf(3), terms },
		"weak":     func() ([]Candidate, Terms) { return weak, terms },
	} {
		candidates, x := c()
		if _, err := NewAsyncClock(x, candidates); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
