package fl

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestQuantiserStaysInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.IntRange(2, 31).Draw(t, "b")
		clip := math.Abs(rapid.Float64().Filter(func(f float64) bool { return f != 0 && !math.IsInf(f, 0) && !math.IsNaN(f) }).Draw(t, "clip"))
		q, err := NewQuantiser(Clip{Value: clip}, b)
		if err != nil {
			t.Fatal(err)
		}
		unit := rapid.Int64Range(1, MaxSamples).Draw(t, "unit")
		weight := rapid.Int64Range(1, unit).Draw(t, "weight")
		source := RoundingSource(Plan{Seed: rapid.Uint64().Draw(t, "seed")}, "a")
		x := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{clip, -clip, clip / 2, 0, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64})).Draw(t, "x")
		v, err := q.Quantise(x, weight, unit, source)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			if err == nil {
				t.Fatalf("%v was accepted", x)
			}
			return
		}
		if err != nil || v < -q.Max() || v > q.Max() {
			t.Fatalf("quantise(%v) = %d, %v: want within %d", x, v, err, q.Max())
		}
	})
}

// The mean of many roundings of one value approaches the value: with n draws
// the error of the mean has deviation at most 0.5/sqrt(n) steps.
func TestStochasticRoundingIsUnbiased(t *testing.T) {
	const n = 40_000
	q, err := NewQuantiser(Clip{Value: 2}, 8)
	if err != nil {
		t.Fatal(err)
	}
	source := RoundingSource(Plan{Seed: 7}, "a")
	for _, c := range []struct {
		x            float64
		weight, unit int64
	}{{0.3, 1, 1}, {-0.3, 1, 1}, {1.999, 1, 1}, {-1.2345, 3, 7}, {0.001, 1, 1}, {1e-9, 1, 1}} {
		var sum int64
		for range n {
			v, err := q.Quantise(c.x, c.weight, c.unit, source)
			if err != nil {
				t.Fatal(err)
			}
			sum += int64(v)
		}
		got := float64(sum) / n
		want := c.x / q.Step() * float64(c.weight) / float64(c.unit)
		if math.Abs(got-want) > 5*0.5/math.Sqrt(n) {
			t.Errorf("mean of roundings of %v (weight %d/%d) is %v steps, want %v", c.x, c.weight, c.unit, got, want)
		}
	}
}

func TestQuantiserEndsAreExact(t *testing.T) {
	q, err := NewQuantiser(Clip{Value: 0.1}, 14)
	if err != nil {
		t.Fatal(err)
	}
	source := RoundingSource(Plan{}, "a")
	for x, want := range map[float64]int32{0.1: 8191, -0.1: -8191, 5: 8191, -5: -8191, 0: 0} {
		if got, err := q.Quantise(x, 1, 1, source); err != nil || got != want {
			t.Errorf("quantise(%v) = %d, %v: want %d", x, got, err, want)
		}
	}
}

func TestNewQuantiserRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		clip Clip
		b    int
	}{
		"no clip":       {Clip{}, 8},
		"negative clip": {Clip{Value: -1}, 8},
		"infinite clip": {Clip{Value: math.Inf(1)}, 8},
		"nan clip":      {Clip{Value: math.NaN()}, 8},
		"nan norm":      {Clip{Value: 1, Norm: math.NaN()}, 8},
		"negative norm": {Clip{Value: 1, Norm: -1}, 8},
		"one bit":       {Clip{Value: 1}, 1},
		"32 bits":       {Clip{Value: 1}, 32},
	} {
		if _, err := NewQuantiser(c.clip, c.b); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestClipNorm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		update := rapid.SliceOfN(rapid.Float64Range(-1e300, 1e300), 0, 50).Draw(t, "update")
		norm := rapid.Float64Range(1e-6, 1e6).Draw(t, "norm")
		original := append([]float64(nil), update...)
		before, err := ClipNorm(update, norm)
		if err != nil {
			t.Fatal(err)
		}
		after, err := l2(update)
		if err != nil || after > norm*(1+1e-12) {
			t.Fatalf("norm %v after clipping to %v: %v", after, norm, err)
		}
		if before <= norm {
			for i := range update {
				if update[i] != original[i] {
					t.Fatalf("an update within the bound was changed at %d", i)
				}
			}
		}
	})
	update := []float64{3, 4}
	if before, err := ClipNorm(update, 0); err != nil || before != 5 || update[0] != 3 {
		t.Errorf("norm 0 changed the update: %v, %v, %v", before, update, err)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, err := ClipNorm([]float64{1, bad}, 1); err == nil || !strings.Contains(err.Error(), "coordinate 1") {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := ClipNorm([]float64{math.MaxFloat64, math.MaxFloat64}, 1); err == nil {
		t.Error("an update whose norm overflows was accepted")
	}
}

// The rounding generator is part of what makes a run repeatable: its stream
// is pinned.
func TestRoundingSourceIsPinned(t *testing.T) {
	a := RoundingSource(Plan{Seed: 1, Job: "j", Round: 2}, "north")
	if got, want := a.Uint64(), uint64(0x7c85d19c4903e617); got != want {
		t.Errorf("first number %#x, want %#x", got, want)
	}
	first := RoundingSource(Plan{Seed: 1, Job: "j", Round: 2}, "north").Uint64()
	for name, other := range map[string]uint64{
		"seed":  RoundingSource(Plan{Seed: 2, Job: "j", Round: 2}, "north").Uint64(),
		"job":   RoundingSource(Plan{Seed: 1, Job: "k", Round: 2}, "north").Uint64(),
		"round": RoundingSource(Plan{Seed: 1, Job: "j", Round: 3}, "north").Uint64(),
		"node":  RoundingSource(Plan{Seed: 1, Job: "j", Round: 2}, "south").Uint64(),
	} {
		if other == first {
			t.Errorf("another %s gives the same stream", name)
		}
	}
}

// Mean is the exact rational sum*Step*unit/weights up to a few roundings.
func TestMeanIsAccurate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.IntRange(2, 31).Draw(t, "b")
		clip := rapid.Float64Range(1e-30, 1e30).Draw(t, "clip")
		q, err := NewQuantiser(Clip{Value: clip}, b)
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.Int64Range(1, 1024).Draw(t, "n")
		unit := rapid.Int64Range(1, MaxSamples).Draw(t, "unit")
		weights := rapid.Int64Range(n, n*unit+n).Draw(t, "weights")
		sum := rapid.Int64Range(-n*int64(q.Max()), n*int64(q.Max())).Draw(t, "sum")
		want := new(big.Rat).SetInt64(sum)
		want.Mul(want, new(big.Rat).SetFloat64(clip)).Quo(want, new(big.Rat).SetInt64(int64(q.Max())))
		want.Mul(want, big.NewRat(unit, weights))
		exact, _ := want.Float64()
		if got := q.Mean(sum, weights, unit); math.Abs(got-exact) > 1e-14*math.Abs(exact) {
			t.Fatalf("mean %v, want %v", got, exact)
		}
	})
}
