package fl

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRobustRulesByHand(t *testing.T) {
	means := [][]float64{{1, 10}, {2, -10}, {3, 0}, {100, 1}, {2, 2}}
	for _, c := range []struct {
		rule RobustSpec
		want []float64
	}{
		{RobustSpec{Rule: Median, Groups: 5}, []float64{2, 1}},
		{RobustSpec{Rule: TrimmedMean, Groups: 5, Trim: 1}, []float64{7. / 3, 1}},
		{RobustSpec{Rule: TrimmedMean, Groups: 5, Trim: 2}, []float64{2, 1}},
	} {
		got, err := c.rule.combine(means)
		if err != nil || math.Abs(got[0]-c.want[0]) > 1e-12 || math.Abs(got[1]-c.want[1]) > 1e-12 {
			t.Errorf("%v: got %v, want %v: %v", c.rule, got, c.want, err)
		}
	}
	// An even number of groups: the mean of the two in the middle.
	if got, err := (RobustSpec{Rule: Median, Groups: 4}).combine([][]float64{{1}, {4}, {2}, {90}}); err != nil || got[0] != 3 {
		t.Errorf("median of four: %v, %v", got, err)
	}
	// The Fermat point of an equilateral triangle is its centre; of collinear
	// points, the middle one.
	h := math.Sqrt(3)
	got, err := (RobustSpec{Rule: GeometricMedian, Groups: 3}).combine([][]float64{{-1, 0}, {1, 0}, {0, h}})
	if err != nil || math.Hypot(got[0], got[1]-h/3) > 1e-9 {
		t.Errorf("geometric median %v: %v", got, err)
	}
	got, err = (RobustSpec{Rule: GeometricMedian, Groups: 3}).combine([][]float64{{0, 0}, {1, 1}, {1000, 1000}})
	if err != nil || math.Hypot(got[0]-1, got[1]-1) > 0.05 {
		t.Errorf("geometric median of a line %v: %v", got, err)
	}
	// A published case: for (0,0), (12,0), (0,16) with all angles below 120
	// degrees the sum of distances at the Fermat point is known in closed form.
	points := [][]float64{{0, 0}, {12, 0}, {0, 16}}
	if got, err = (RobustSpec{Rule: GeometricMedian, Groups: 3}).combine(points); err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, p := range points {
		sum += math.Hypot(p[0]-got[0], p[1]-got[1])
	}
	// (a^2+b^2+c^2)/2 + 2*sqrt(3)*area is the square of that sum.
	if want := math.Sqrt((144+256+400)/2 + 2*math.Sqrt(3)*96); math.Abs(sum-want) > 1e-3 {
		t.Errorf("summed distance %v, want %v", sum, want)
	}
	for name, bad := range map[string][][]float64{"few": {{1}, {2}}, "ragged": {{1}, {2, 3}, {4}}} {
		if _, err := (RobustSpec{Rule: Median, Groups: 3}).combine(bad); err == nil {
			t.Errorf("%s: combined", name)
		}
	}
	if _, err := (RobustSpec{}).combine(means); err == nil {
		t.Error("five groups were combined by no rule")
	}
}

// A minority of bad groups, however far off, moves no rule outside what the
// good ones say; the plain mean goes anywhere.
func TestRobustRulesHoldAgainstAMinority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.IntRange(3, 9).Draw(t, "groups")
		bad := rapid.IntRange(1, (groups-1)/2).Draw(t, "bad")
		means := make([][]float64, groups)
		low, high := math.Inf(1), math.Inf(-1)
		for g := range means {
			v := rapid.Float64Range(-1, 1).Draw(t, "good")
			if g < bad {
				v = rapid.Float64Range(-1e6, 1e6).Draw(t, "bad")
			} else {
				low, high = min(low, v), max(high, v)
			}
			means[g] = []float64{v}
		}
		for _, r := range []RobustSpec{{Rule: Median, Groups: groups}, {Rule: TrimmedMean, Groups: groups, Trim: bad}} {
			got, err := r.combine(means)
			if err != nil || got[0] < low-1e-9 || got[0] > high+1e-9 {
				t.Fatalf("%v of %v: %v, want within [%v, %v]: %v", r, means, got, low, high, err)
			}
		}
		// On a line the geometric median is a median, up to the smoothing and the
		// number of iterations.
		got, err := (RobustSpec{Rule: GeometricMedian, Groups: groups}).combine(means)
		if err != nil || math.Abs(got[0]) > 1000 {
			t.Fatalf("geometric median of %v: %v: %v", means, got, err)
		}
	})
}

// Advance opens a round with groups: six clients in three groups, two shards;
// one group lies, the median does not follow it.
func TestAdvanceWithGroups(t *testing.T) {
	spec := oneOf(FedAvg)
	spec.ServerLearningRate, spec.Robust = 1, RobustSpec{Rule: Median, Groups: 3}
	const params = 15
	terms := Terms{Job: "job", Seed: 1, Strategy: spec, Parameters: params, MinCohort: 2, Slots: MetricSlots + 10, MaxCohort: 256}
	cohort, err := DrawCohort(terms, nodesOf(6), 1)
	if err != nil {
		t.Fatal(err)
	}
	plan := Plan{Job: "job", Round: 1, Slots: terms.Slots, Shards: cohort.Shards, Groups: cohort.Groups, Cohort: cohort.Assignments,
		WeightUnit: cohort.WeightUnit, MinCohort: 2, Clip: Clip{Value: 1}, ValueBits: 16, Seed: 1}
	sums, contributors := make([][]int64, plan.Shards), make([][]NodeID, plan.Shards)
	for i := range sums {
		sums[i] = make([]int64, plan.Slots)
	}
	for _, a := range plan.Cohort {
		update := make([]float64, params)
		for i := range update {
			update[i] = 0.25
			if a.Shards[0] == 0 { // the first group
				update[i] = -1
			}
		}
		values, err := QuantiseUpdate(plan, a.Node, update, Figures{Correct: 1, Count: 2})
		if err != nil || len(values) != 2 {
			t.Fatalf("%d shards: %v", len(values), err)
		}
		for _, v := range values {
			contributors[v.Shard] = append(contributors[v.Shard], a.Node)
			for i, x := range v.Values {
				sums[v.Shard][i] += int64(x)
			}
		}
	}
	next, err := Advance(spec, plan, contributors, slices.Clone(sums), make([]float32, params), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range next.Params {
		if math.Abs(float64(v)-0.25) > 1e-3 {
			t.Errorf("parameter %d is %v", i, v)
		}
	}
	if (next.Figures != Figures{Correct: 6, Count: 12}) {
		t.Errorf("figures %+v", next.Figures)
	}
	// What a round cannot be made of.
	var outside *RangeError
	bad := slices.Clone(sums)
	bad[5] = slices.Clone(sums[5])
	bad[5][MetricSlots] = 1 << 40
	if _, err := Advance(spec, plan, contributors, bad, make([]float32, params), nil); !errors.As(err, &outside) || outside.Shard != 5 {
		t.Errorf("a sum out of range: %v", err)
	}
	var impossible *StrategyError
	huge := make([]float32, params)
	huge[3] = math.MaxFloat32
	wild := spec
	wild.ServerLearningRate = math.MaxFloat32 * 8
	if _, err := Advance(wild, plan, contributors, slices.Clone(sums), huge, nil); !errors.As(err, &impossible) {
		t.Errorf("a model that is not finite: %v", err)
	}
	wild = spec
	wild.Robust.Groups = 4
	if _, err := Advance(wild, plan, contributors, slices.Clone(sums), huge, nil); err == nil {
		t.Error("three groups passed for four")
	}
	if _, err := Advance(oneOf(FedAvgM), plan, contributors, slices.Clone(sums), huge, make([]float32, 3)); err == nil {
		t.Error("a short state was taken")
	}
	if _, err := Advance(StrategySpec{}, plan, contributors, slices.Clone(sums), huge, nil); err == nil {
		t.Error("no strategy was applied")
	}
}
