package fl

import (
	"math"
	"testing"
)

// TestAttestedSumsAreBroughtWithinReach: at level bounded a value where none
// belongs, which its client attested, ends no round: it is not read, or held to
// what honest clients can send.
func TestAttestedSumsAreBroughtWithinReach(t *testing.T) {
	cohort := []Assignment{{"a", []int{0, 1}, 1}, {"b", []int{0, 1}, 1}}
	plan := quantisePlan(10, MetricSlots+8, 8, cohort, 1, Clip{Value: 1})
	both := [][]NodeID{{"a", "b"}, {"a", "b"}}
	for name, c := range map[string]struct {
		shard, slot int
		value       int64
		at          int // parameter that changes, -1 for none
		mean        float64
		count       int64
	}{
		"nothing":               {0, MetricSlots, 0, -1, 0, 7},
		"largest parameter":     {1, MetricSlots, 2 * 127, 8, 1, 7},
		"parameter above":       {1, MetricSlots + 1, 2*127 + 1, 9, 1, 7},
		"parameter below":       {0, MetricSlots + 7, -2 * 128, 7, -1, 7},
		"minimum of all values": {0, MetricSlots + 3, math.MinInt64, 3, -1, 7},
		"padding":               {1, MetricSlots + 7, 99, -1, 0, 7},
		"limb above":            {1, 3, 2*63 + 1, -1, 0, 7},
		"negative limb":         {0, 11, -1, -1, 0, 0},
		"more correct than all": {0, 9, 100, -1, 0, 0},
	} {
		sums := [][]int64{make([]int64, MetricSlots+8), make([]int64, MetricSlots+8)}
		sums[0][18] = 7 // examples
		sums[c.shard][c.slot] += c.value
		if _, _, err := GroupMeans(plan, 10, both, sums); (err != nil) != (name != "nothing" && name != "largest parameter") {
			t.Errorf("%s, not attested: %v", name, err)
		}
		attested := plan
		attested.ProofLevel = ProofBounded
		before := sums[c.shard][c.slot]
		means, figures, err := GroupMeans(attested, 10, both, sums)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		mean := means[0]
		if figures.Count != c.count || sums[c.shard][c.slot] != before {
			t.Errorf("%s: figures %+v, want %d examples; the sums changed: %t", name, figures, c.count, sums[c.shard][c.slot] != before)
		}
		for i, m := range mean {
			want := 0.0
			if i == c.at {
				want = c.mean
			}
			if math.Abs(m-want) > 1e-9 {
				t.Errorf("%s: parameter %d has mean %v, want %v", name, i, m, want)
			}
		}
	}
	if _, _, err := GroupMeans(func() Plan { p := plan; p.ProofLevel = ProofBounded; return p }(), 10, both, [][]int64{make([]int64, 5), make([]int64, MetricSlots+8)}); err == nil {
		t.Error("a sum that is too short was accepted")
	}
}
