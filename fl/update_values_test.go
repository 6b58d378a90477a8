package fl

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var testOpened = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func quantisePlan(params, slots, b int, cohort []Assignment, unit int64, clip Clip) Plan {
	shards, err := ShardMap(params, slots)
	if err != nil {
		panic(err)
	}
	return Plan{Job: "job", Round: 1, Slots: slots, Shards: len(shards), Cohort: cohort, WeightUnit: unit, Clip: clip, ValueBits: b, Seed: 3}
}

// A whole round in the clear: random cohorts, each client holding some of the
// shards, sums opened again. The mean must be within one step of the weighted
// mean of the clipped updates, and the figures must recombine exactly.
func TestUpdatesAddUpToTheWeightedMean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.IntRange(4, 20).Draw(t, "b")
		slots := rapid.IntRange(MetricSlots+1, MetricSlots+12).Draw(t, "slots")
		params := rapid.IntRange(1, 40).Draw(t, "params")
		n := rapid.IntRange(2, 12).Draw(t, "n")
		unit := rapid.Int64Range(1, 50).Draw(t, "unit")
		clip := Clip{Value: rapid.Float64Range(0.01, 10).Draw(t, "clip")}
		shards, err := ShardMap(params, slots)
		if err != nil {
			t.Fatal(err)
		}
		cohort := make([]Assignment, n)
		for i := range cohort {
			cohort[i] = Assignment{Node: NodeID(rune('a' + i)), Weight: rapid.Int64Range(1, unit).Draw(t, "weight")}
			for s := range shards {
				if i == 0 || rapid.Bool().Draw(t, "assigned") {
					cohort[i].Shards = append(cohort[i].Shards, s)
				}
			}
			if len(cohort[i].Shards) == 0 {
				cohort[i].Shards = []int{rapid.IntRange(0, len(shards)-1).Draw(t, "shard")}
			}
		}
		plan := quantisePlan(params, slots, b, cohort, unit, clip)
		contributors := make([][]NodeID, len(shards))
		sums := make([][]int64, len(shards))
		for s := range sums {
			sums[s] = make([]int64, slots)
		}
		expect, weights := make([]float64, params), make([]int64, len(shards))
		var wantFigures Figures
		for _, a := range cohort {
			update := make([]float64, params)
			for i := range update {
				update[i] = rapid.Float64Range(-2*clip.Value, 2*clip.Value).Draw(t, "x")
			}
			limit := FigureLimit(b)
			count := rapid.Int64Range(0, limit).Draw(t, "count")
			figures := Figures{LossMilli: rapid.Int64Range(0, limit).Draw(t, "loss"), Count: count, Correct: rapid.Int64Range(0, count).Draw(t, "correct")}
			wantFigures, err = wantFigures.plus(figures)
			if err != nil {
				t.Fatal(err)
			}
			values, err := QuantiseUpdate(plan, a.Node, update, figures)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range values {
				if v.Shard != a.Shards[i] || len(v.Values) != MetricSlots+shards[v.Shard].Length {
					t.Fatalf("%s sends %d values for shard %d", a.Node, len(v.Values), v.Shard)
				}
				contributors[v.Shard] = append(contributors[v.Shard], a.Node)
				weights[v.Shard] += a.Weight
				for slot, x := range v.Values {
					if x < -(1<<(b-1)-1) || x > 1<<(b-1)-1 {
						t.Fatalf("value %d does not fit %d bits", x, b)
					}
					sums[v.Shard][slot] += int64(x)
				}
				for j := range shards[v.Shard].Length {
					p := shards[v.Shard].Offset + j
					expect[p] += float64(a.Weight) * min(max(update[p], -clip.Value), clip.Value)
				}
			}
		}
		mean, figures, err := meanUpdate(plan, params, contributors, sums)
		if err != nil {
			t.Fatal(err)
		}
		if figures != wantFigures {
			t.Fatalf("figures %+v, want %+v", figures, wantFigures)
		}
		for s, shard := range shards {
			// n roundings, each less than a step off, divided by the weights.
			tolerance := clip.Value / float64(int(1)<<(b-1)-1) * float64(len(contributors[s])) * float64(unit) / float64(weights[s]) * (1 + 1e-9)
			for p := shard.Offset; p < shard.Offset+shard.Length; p++ {
				if want := expect[p] / float64(weights[s]); math.Abs(mean[p]-want) > tolerance {
					t.Fatalf("parameter %d: mean %v, want %v within %v", p, mean[p], want, tolerance)
				}
			}
		}
	})
}

// Figures of any cohort a suite admits recombine exactly, at the extremes too.
func TestFiguresRecombine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.IntRange(2, 31).Draw(t, "b")
		n := rapid.IntRange(1, 1024).Draw(t, "n")
		limit := FigureLimit(b)
		draw := rapid.OneOf(rapid.Int64Range(0, limit), rapid.SampledFrom([]int64{0, limit}))
		kinds := make([]Figures, rapid.IntRange(1, 4).Draw(t, "kinds"))
		for i := range kinds {
			kinds[i] = Figures{LossMilli: draw.Draw(t, "loss"), Count: draw.Draw(t, "count")}
			kinds[i].Correct = min(kinds[i].Count, draw.Draw(t, "correct"))
		}
		sums := make([]int64, MetricSlots+1)
		var want Figures
		for i := range n {
			packed, err := PackShard(&kinds[i%len(kinds)], []int32{0}, b)
			if err != nil {
				t.Fatal(err)
			}
			for slot, v := range packed {
				sums[slot] += int64(v)
			}
			if want, err = want.plus(kinds[i%len(kinds)]); err != nil {
				t.Fatal(err)
			}
		}
		got, _, err := UnpackShard(0, sums, n, 1, b)
		if err != nil || got != want {
			t.Fatalf("figures %+v, %v: want %+v", got, err, want)
		}
	})
}

func TestFiguresAreRefused(t *testing.T) {
	for name, f := range map[string]Figures{
		"negative loss":  {LossMilli: -1},
		"negative count": {Count: -1, Correct: -1},
		"more correct":   {Correct: 2, Count: 1},
		"over the limit": {LossMilli: FigureLimit(14) + 1},
	} {
		if _, err := PackShard(&f, nil, 14); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, loss := range []float64{-1, math.NaN(), math.Inf(1), 1e18} {
		if _, err := NewFigures(loss, 0, 0); err == nil {
			t.Errorf("a loss of %v was accepted", loss)
		}
	}
	f, err := NewFigures(12.3456, 3, 4)
	if err != nil || f != (Figures{12346, 3, 4}) {
		t.Errorf("figures %+v, %v", f, err)
	}
	if loss, ok := f.MeanLoss(); !ok || loss != 12.346/4 {
		t.Errorf("mean loss %v, %v", loss, ok)
	}
	if accuracy, ok := f.Accuracy(); !ok || accuracy != 0.75 {
		t.Errorf("accuracy %v, %v", accuracy, ok)
	}
	if _, ok := (Figures{}).MeanLoss(); ok {
		t.Error("a mean of nothing")
	}
	if _, ok := (Figures{}).Accuracy(); ok {
		t.Error("an accuracy of nothing")
	}
	var wrong *RangeError
	huge := make([]int64, MetricSlots)
	huge[8] = 2 * 63
	if _, _, err := UnpackShard(5, append(huge, 0), 2, 1, 31); !errors.As(err, &wrong) || wrong.Shard != 5 || wrong.Slot != 8 {
		t.Errorf("figures beyond what clients may send: %v", err)
	}
	huge[8] = 8 // 2^51 of two clients: 2 * (2^50-1) is less
	if _, _, err := UnpackShard(5, append(huge, 0), 2, 1, 31); !errors.As(err, &wrong) {
		t.Errorf("figures just beyond what clients may send: %v", err)
	}
	if _, err := (Figures{Count: math.MaxInt64}).plus(Figures{Count: 1}); err == nil {
		t.Error("a sum of figures that overflows was accepted")
	}
}

func TestOpenedSumsAreRangeChecked(t *testing.T) {
	cohort := []Assignment{{"a", []int{0, 1}, 1}, {"b", []int{0, 1}, 1}}
	plan := quantisePlan(10, MetricSlots+8, 8, cohort, 1, Clip{Value: 1})
	both := [][]NodeID{{"a", "b"}, {"a", "b"}}
	sums := func(shard, slot int, v int64) [][]int64 {
		s := [][]int64{make([]int64, MetricSlots+8), make([]int64, MetricSlots+8)}
		s[shard][slot] = v
		return s
	}
	for name, c := range map[string]struct {
		shard, slot int
		value       int64
		ok          bool
	}{
		"largest parameter":     {1, MetricSlots, 2 * 127, true},
		"smallest parameter":    {0, MetricSlots, -2 * 127, true},
		"parameter above":       {1, MetricSlots + 1, 2*127 + 1, false},
		"parameter below":       {0, MetricSlots + 7, -2*127 - 1, false},
		"largest limb":          {0, 0, 2 * 63, true},
		"limb above":            {1, 3, 2*63 + 1, false},
		"negative limb":         {0, 11, -1, false},
		"padding":               {1, MetricSlots + 7, 1, false},
		"minimum of all values": {0, MetricSlots + 3, math.MinInt64, false},
	} {
		_, _, err := meanUpdate(plan, 10, both, sums(c.shard, c.slot, c.value))
		var wrong *RangeError
		switch {
		case c.ok && err != nil:
			t.Errorf("%s: %v", name, err)
		case !c.ok && (!errors.As(err, &wrong) || wrong.Shard != c.shard || wrong.Slot != c.slot || wrong.Error() == ""):
			t.Errorf("%s: error %v does not name shard %d, slot %d", name, err, c.shard, c.slot)
		}
	}
	var wrong *RangeError
	if _, _, err := meanUpdate(plan, 10, both, sums(1, 9, 1)); !errors.As(err, &wrong) || wrong.Shard != 1 || wrong.Slot != 9 {
		t.Errorf("more correct answers than examples: %v", err)
	}
	// Figures in many shards, each of them possible, together beyond int64.
	crowd := make([]Assignment, 8000)
	names := make([]NodeID, len(crowd))
	for i := range crowd {
		names[i] = NodeID("n" + strconv.Itoa(i))
		crowd[i] = Assignment{names[i], []int{0, 1}, 1}
	}
	many := quantisePlan(10, MetricSlots+8, 20, crowd, 1, Clip{Value: 1})
	full := sums(0, 8, 30_000)
	full[1][8] = full[0][8]
	if _, _, err := meanUpdate(many, 10, [][]NodeID{names, names}, full); !errors.As(err, &wrong) || wrong.Shard != 1 {
		t.Errorf("figures beyond int64: %v", err)
	}
	good := sums(0, 0, 0)
	for name, f := range map[string]func() error{
		"length": func() error { _, _, err := meanUpdate(plan, 17, both, good); return err },
		"shards": func() error { _, _, err := meanUpdate(plan, 10, both[:1], good); return err },
		"sums":   func() error { _, _, err := meanUpdate(plan, 10, both, good[:1]); return err },
		"stranger": func() error {
			_, _, err := meanUpdate(plan, 10, [][]NodeID{{"a", "x"}, {"a", "b"}}, good)
			return err
		},
		"twice":  func() error { _, _, err := meanUpdate(plan, 10, [][]NodeID{{"a", "a"}, {"a", "b"}}, good); return err },
		"nobody": func() error { _, _, err := meanUpdate(plan, 10, [][]NodeID{{}, {"a", "b"}}, good); return err },
		"short": func() error {
			_, _, err := meanUpdate(plan, 10, both, [][]int64{make([]int64, MetricSlots+7), {1}})
			return err
		},
		"long": func() error {
			_, _, err := meanUpdate(plan, 10, both, [][]int64{make([]int64, MetricSlots+9), good[1]})
			return err
		},
	} {
		if f() == nil {
			t.Errorf("wrong %s was accepted", name)
		}
	}
}

func TestQuantiseUpdate(t *testing.T) {
	cohort := []Assignment{{"a", []int{1}, 1}, {"b", []int{0, 1}, 2}}
	plan := quantisePlan(10, MetricSlots+8, 14, cohort, 2, Clip{Value: 1, Norm: 0.5})
	update := []float64{math.NaN(), 9, 9, 9, 9, 9, 9, 9, 3, 4} // shard 0 is not a's and is not read
	values, err := QuantiseUpdate(plan, "a", update, Figures{Count: 5})
	if err != nil {
		t.Fatal(err)
	}
	if len(values) != 1 || values[0].Shard != 1 || len(values[0].Values) != MetricSlots+2 {
		t.Fatalf("values %+v", values)
	}
	// norm 5 is scaled to 0.5, then halved by the weight: 0.15 and 0.2 of 8191.
	for i, want := range []float64{0.15 * 8191, 0.2 * 8191} {
		if got := float64(values[0].Values[MetricSlots+i]); math.Abs(got-want) > 1 {
			t.Errorf("value %d is %v, want about %v", i, got, want)
		}
	}
	again, err := QuantiseUpdate(plan, "a", update, Figures{Count: 5})
	if err != nil || !slices.Equal(again[0].Values, values[0].Values) {
		t.Errorf("repeating the round gave other values: %v", err)
	}
	if _, err := QuantiseUpdate(plan, "b", update, Figures{}); err == nil {
		t.Error("NaN was accepted")
	}
	if _, err := QuantiseUpdate(plan, "c", update, Figures{}); CodeOf(err) != CodeNotInCohort {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := QuantiseUpdate(plan, "a", make([]float64, 17), Figures{}); err == nil {
		t.Error("an update of another length was accepted")
	}
	if _, err := QuantiseUpdate(plan, "a", update, Figures{Count: -1}); err == nil {
		t.Error("wrong figures were accepted")
	}
	plan.Cohort[0].Weight = 3
	if _, err := QuantiseUpdate(plan, "a", update, Figures{}); err == nil {
		t.Error("a weight above the unit was accepted")
	}
	plan.Cohort[0] = Assignment{"a", []int{5}, 1}
	if _, err := QuantiseUpdate(plan, "a", update, Figures{}); err == nil {
		t.Error("a shard outside the map was accepted")
	}
	plan.ValueBits = 40
	if _, err := QuantiseUpdate(plan, "b", update, Figures{}); err == nil {
		t.Error("40 value bits were accepted")
	}
}

func BenchmarkQuantiseUpdate(b *testing.B) {
	const params = 1 << 20
	shards, err := ShardMap(params, 32768)
	if err != nil {
		b.Fatal(err)
	}
	all := make([]int, len(shards))
	for i := range all {
		all[i] = i
	}
	plan := quantisePlan(params, 32768, 14, []Assignment{{"a", all, 1}}, 1, Clip{Value: 1, Norm: 100})
	update := make([]float64, params)
	for i := range update {
		update[i] = float64(i%2000)/1000 - 1
	}
	b.SetBytes(params * 8)
	for b.Loop() {
		if _, err := QuantiseUpdate(plan, "a", update, Figures{}); err != nil {
			b.Fatal(err)
		}
	}
}

// meanUpdate is GroupMeans for a plan without groups.
func meanUpdate(plan Plan, size int, contributors [][]NodeID, sums [][]int64) ([]float64, Figures, error) {
	means, figures, err := GroupMeans(plan, size, contributors, sums)
	if err != nil {
		return nil, figures, err
	}
	return means[0], figures, nil
}
