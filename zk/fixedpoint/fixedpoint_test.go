package fixedpoint

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"credence/zk/tabular"
)

func (a wide) big() *big.Int {
	x := new(big.Int).Lsh(new(big.Int).SetUint64(a.hi), 64)
	x.Add(x, new(big.Int).SetUint64(a.lo))
	if a.hi>>63 == 1 {
		x.Sub(x, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	return x
}

func TestWideIsInteger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := rapid.Int64().Draw(t, "x"), rapid.Int64Range(-1<<45, 1<<45).Draw(t, "y")
		z, rate := rapid.Int64().Draw(t, "z"), rapid.Uint64Range(1, 1<<16).Draw(t, "rate")
		shift := rapid.IntRange(1, 63).Draw(t, "shift")
		a := product(x, y).add(wideOf(z)).times(rate).add(wideOf(1).shiftLeft(shift - 1))
		want := new(big.Int).Mul(big.NewInt(x), big.NewInt(y))
		want.Add(want, big.NewInt(z)).Mul(want, new(big.Int).SetUint64(rate))
		want.Add(want, new(big.Int).Lsh(big.NewInt(1), uint(shift-1)))
		if a.big().Cmp(want) != 0 {
			t.Fatalf("%v, want %v", a.big(), want)
		}
		q, rest, ok := a.divide(shift)
		r := new(big.Int)
		quotient, _ := new(big.Int).DivMod(want, new(big.Int).Lsh(big.NewInt(1), uint(shift)), r)
		if ok != quotient.IsInt64() || ok && (q != quotient.Int64() || rest != r.Uint64()) {
			t.Fatalf("%v / 2^%d = %d, %d, %v", want, shift, q, rest, ok)
		}
	})
}

// The tables are what their formulas say, and saturate where they say.
func TestCurves(t *testing.T) {
	exp := ExpTable()
	for j, v := range exp {
		if math.Abs(float64(v)-4096*math.Exp(-float64(j)/256)) > 0.5+1e-9 {
			t.Errorf("exp(-%d/256) is %d", j, v)
		}
		if (v == 0) != (j == len(exp)-1) {
			t.Errorf("entry %d of %d is %d: zero belongs at the end alone", j, len(exp), v)
		}
	}
	sigmoid, reach := SigmoidTable(), SigmoidReach()
	for i, v := range sigmoid {
		if math.Abs(float64(v)-4096/(1+math.Exp(-float64(i-reach)/256))) > 0.5+1e-9 {
			t.Errorf("sigmoid(%d/256) is %d", i-reach, v)
		}
		if (v == 0) != (i == 0) || (v == 4096) != (i == len(sigmoid)-1) {
			t.Errorf("entry %d of %d is %d: the ends belong at the ends alone", i, len(sigmoid), v)
		}
	}
	if len(exp) != 2308 || reach != 2307 || len(sigmoid) != 4615 {
		t.Errorf("tables of %d and %d entries", len(exp), len(sigmoid))
	}
}

// Every rounding in a trace is the one that its rule defines: the parts of a
// number add up to it.
func TestTracesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom([]Model{
			{Kind: Linear, Features: 2, Outputs: 2}, {Kind: Logistic, Features: 3, Outputs: 1},
			{Kind: Softmax, Features: 2, Outputs: 4}, {Kind: MLP, Features: 2, Outputs: 2, Hidden: 3},
		}).Draw(t, "model")
		table := drawTable(t, m)
		start := make([]int32, m.Parameters())
		for i := range start {
			start[i] = rapid.Int32Range(-1<<19, 1<<19).Draw(t, "weight")
		}
		run, err := m.Train(table, start, []Step{{Rate: rapid.Uint64Range(1, 1<<24).Draw(t, "rate")}})
		if errors.Is(err, ErrRange) {
			t.Skip("out of range") // rapid draws another case
		}
		if err != nil {
			t.Fatal(err)
		}
		st := run.Steps[0]
		for i := range st.Place {
			q := int64(st.Place[i]) - int64(SigmoidReach()) + int64(st.Above[i])
			if m.Kind == Logistic {
				q -= int64(st.Below[i])
			} else {
				q = int64(st.Top[i/m.Outputs]) - int64(st.Place[i]) - int64(st.Above[i])
			}
			if z := q<<ScoreShift + int64(st.ScoreRemainder[i]) - 1<<(ScoreShift-1); z != st.Score[i] || st.ScoreRemainder[i] >= 1<<ScoreShift {
				t.Fatalf("score %d: parts give %d, not %d", i, z, st.Score[i])
			}
		}
		for i := range st.Sum {
			s := int64(st.Sum[i])
			if 2*s*int64(st.Reciprocal[i])+int64(st.Division[i]) != 2<<ProbabilityFraction+s || int64(st.Division[i]) >= 2*s {
				t.Fatalf("row %d: the reciprocal of %d is %d", i, s, st.Reciprocal[i])
			}
		}
		if h := st.Hidden; h != nil {
			for i, on := range h.On {
				if on && int64(h.Out[i]) != int64(h.Slack[i])+1 || !on && h.Out[i] != 0 {
					t.Fatalf("hidden unit %d: on %v, slack %d, out %d", i, on, h.Slack[i], h.Out[i])
				}
			}
		}
	})
}

func drawTable(t *rapid.T, m Model) *tabular.Table {
	l := tabular.Layout{Rows: 5, Features: m.Features, Targets: m.Outputs, Kind: tabular.OneHot, Bits: 12}
	switch m.Kind {
	case Linear:
		l.Kind = tabular.Real
	case Logistic:
		l.Kind = tabular.Binary
	}
	table, err := tabular.New(l, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range table.Used {
		for j := range l.Numbers() {
			table.Row(i)[l.Number(j)] = rapid.Int64Range(-2048, 2047).Draw(t, "cell")
		}
		if l.Classes() > 0 {
			if err := table.SetClass(i, rapid.IntRange(0, l.Classes()-1).Draw(t, "class")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return table
}

// The quantiser agrees with exact arithmetic, keeps its bounds, and is at most
// one unit from what real numbers give before clipping.
func TestQuantise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "parameters")
		value := rapid.Float64Range(0.01, 10).Draw(t, "clip")
		norm := rapid.SampledFrom([]float64{0, 0.5, 3}).Draw(t, "norm")
		q, err := NewQuantiser(value, norm, 14, rapid.Int64Range(1, 5).Draw(t, "weight"), 5)
		if err != nil {
			t.Fatal(err)
		}
		base, end, noise := make([]int32, n), make([]int32, n), make([]uint32, n)
		for i := range base {
			base[i] = rapid.Int32Range(-1<<18, 1<<18).Draw(t, "base")
			end[i] = base[i] + rapid.Int32Range(-1<<18, 1<<18).Draw(t, "change")
			noise[i] = rapid.Uint32Range(0, 1<<NoiseBits-1).Draw(t, "noise")
		}
		out, err := q.Quantise(base, end, noise)
		if errors.Is(err, ErrRange) {
			t.Skip("beyond the clip value") // rapid draws another case
		}
		if err != nil {
			t.Fatal(err)
		}
		var square float64
		for i := range base {
			x := float64(end[i]-base[i]) / (1 << WeightFraction)
			square += x * x
		}
		shrunk := 1.0
		if norm > 0 && square > norm*norm {
			shrunk = norm / math.Sqrt(square)
		}
		if norm > 0 && float64(out.Shrink)/(1<<ShrinkBits) > shrunk*(1+1e-12) {
			t.Fatalf("shrunk by %d/2^16, the norm asks for %v", out.Shrink, shrunk)
		}
		for i, v := range out.Values {
			x := float64(end[i]-base[i]) * float64(out.Shrink) / (1 << ShrinkBits) * float64(q.Factor) / (1 << NoiseBits)
			want := min(max(math.Floor(x+float64(noise[i])/(1<<NoiseBits)), -float64(q.Limit)), float64(q.Limit))
			if math.Abs(float64(v)-want) > 1e-6 && math.Abs(x-math.Round(x)) > 1e-6 {
				t.Fatalf("value %d is %d, want %v", i, v, want)
			}
			if v > q.Limit || v < -q.Limit {
				t.Fatalf("value %d is beyond the limit", v)
			}
		}
	})
}

func TestSettingsAreRefused(t *testing.T) {
	m := Model{Kind: Logistic, Features: 2, Outputs: 1}
	l := tabular.Layout{Rows: 4, Features: 2, Kind: tabular.Binary, Targets: 1, Bits: 12}
	table, err := tabular.New(l, 3)
	if err != nil {
		t.Fatal(err)
	}
	start := make([]int32, m.Parameters())
	one := []Step{{Rate: 1}}
	high := slices.Clone(start)
	high[1] = 1 << 23
	for name, bad := range map[string]struct {
		err  func() error
		want error
	}{
		"kind":      {func() error { return Model{Kind: "cnn"}.Validate() }, ErrModel},
		"features":  {func() error { return Model{Kind: Linear, Outputs: 1}.Validate() }, ErrModel},
		"outputs":   {func() error { return Model{Kind: Logistic, Features: 1, Outputs: 2}.Validate() }, ErrModel},
		"classes":   {func() error { return Model{Kind: Softmax, Features: 1, Outputs: 1}.Validate() }, ErrModel},
		"hidden":    {func() error { return Model{Kind: Softmax, Features: 1, Outputs: 2, Hidden: 1}.Validate() }, ErrModel},
		"no hidden": {func() error { return Model{Kind: MLP, Features: 1, Outputs: 2}.Validate() }, ErrModel},
		"layout":    {func() error { return Model{Kind: Linear, Features: 2, Outputs: 1}.CheckLayout(l) }, ErrModel},
		"grid":      {func() error { return m.CheckSpec(tabular.Spec{Layout: l, Frac: 7, Schema: [32]byte{1}}) }, ErrModel},
		"schema":    {func() error { return m.CheckSpec(tabular.Spec{Layout: l, Frac: 8}) }, tabular.ErrLayout},
		"weights":   {func() error { _, err := m.Train(table, start[1:], one); return err }, ErrModel},
		"weight":    {func() error { _, err := m.Train(table, high, one); return err }, ErrRange},
		"no steps":  {func() error { _, err := m.Train(table, start, nil); return err }, ErrModel},
		"no rate":   {func() error { _, err := m.Train(table, start, []Step{{}}); return err }, ErrModel},
		"rate":      {func() error { _, err := m.Train(table, start, []Step{{Rate: MaxRate}}); return err }, ErrModel},
		"empty":     {func() error { _, err := m.Train(table, start, []Step{{Rate: 1, Batch: []int{}}}); return err }, ErrModel},
		"padding":   {func() error { _, err := m.Train(table, start, []Step{{Rate: 1, Batch: []int{3}}}); return err }, ErrModel},
		"repeated":  {func() error { _, err := m.Train(table, start, []Step{{Rate: 1, Batch: []int{1, 1}}}); return err }, ErrModel},
		"cells": {func() error {
			bad := *table
			bad.Cells = slices.Clone(table.Cells)
			bad.Cells[1] = 1 << 20
			_, err := m.Train(&bad, start, one)
			return err
		}, tabular.ErrTable},
		"NaN":            {func() error { _, err := m.Weights([]float32{0, float32(math.NaN()), 0}); return err }, ErrRange},
		"infinite":       {func() error { _, err := m.Weights([]float32{0, float32(math.Inf(1)), 0}); return err }, ErrRange},
		"128":            {func() error { _, err := m.Weights([]float32{0, 0, 128}); return err }, ErrRange},
		"parameters":     {func() error { _, err := m.Weights(nil); return err }, ErrModel},
		"learning rate":  {func() error { _, err := m.Rate(math.NaN(), 1); return err }, ErrModel},
		"slow":           {func() error { _, err := m.Rate(1e-9, 100); return err }, ErrModel},
		"fast":           {func() error { _, err := m.Rate(1e9, 1); return err }, ErrModel},
		"rows":           {func() error { _, err := m.Steps(0.1, 0, 0, 1, 0); return err }, ErrModel},
		"batch":          {func() error { _, err := m.Steps(0.1, 4, -1, 1, 0); return err }, ErrModel},
		"clip":           {func() error { _, err := NewQuantiser(math.Inf(1), 0, 14, 1, 1); return err }, ErrModel},
		"clip too large": {func() error { _, err := NewQuantiser(1e12, 0, 14, 1, 1); return err }, ErrModel},
		"clip too small": {func() error { _, err := NewQuantiser(1e-12, 0, 14, 1, 1); return err }, ErrModel},
		"norm":           {func() error { _, err := NewQuantiser(1, -1, 14, 1, 1); return err }, ErrModel},
		"norm too small": {func() error { _, err := NewQuantiser(1, 1e-9, 14, 1, 1); return err }, ErrModel},
		"bits":           {func() error { _, err := NewQuantiser(1, 0, 17, 1, 1); return err }, ErrModel},
		"unit":           {func() error { _, err := NewQuantiser(1, 0, 14, 2, 1); return err }, ErrModel},
		"no quantiser":   {func() error { _, err := Quantiser{}.Quantise(start, start, nil); return err }, ErrModel},
		"noise": {func() error {
			_, err := Quantiser{Factor: 1, Limit: 1}.Quantise(start, start, []uint32{0, 1 << NoiseBits, 0})
			return err
		}, ErrModel},
		"far too long": {func() error {
			_, err := Quantiser{Factor: 1, Limit: 1, NormSquare: 1}.Quantise(start, []int32{1 << 22, 0, 0}, []uint32{0, 0, 0})
			return err
		}, ErrRange},
		"clipped value": {func() error {
			_, err := Quantiser{Factor: 1 << 40, Limit: 1}.Quantise(start, []int32{1 << 22, 0, 0}, []uint32{0, 0, 0})
			return err
		}, ErrRange},
	} {
		if err := bad.err(); !errors.Is(err, bad.want) {
			t.Errorf("%s: %v, want %v", name, err, bad.want)
		}
	}
}

// Scores far beyond the tables saturate, and farther ones are refused.
func TestSaturation(t *testing.T) {
	m := Model{Kind: Logistic, Features: 1, Outputs: 1}
	table, err := tabular.New(tabular.Layout{Rows: 2, Features: 1, Kind: tabular.Binary, Targets: 1, Bits: 16}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for score, want := range map[int64]error{100: nil, -100: nil, 260: nil, 300: ErrRange, -300: ErrRange} {
		table.SetFeature(0, 0, score<<(FeatureFraction-2)) // times a weight of 4
		run, err := m.Train(table, []int32{4 << WeightFraction, 0}, []Step{{Rate: 1}})
		if !errors.Is(err, want) {
			t.Errorf("score %d: %v, want %v", score, err, want)
		}
		if err == nil && run.Steps[0].Value[0] != map[bool]uint32{true: 4096}[score > 0] {
			t.Errorf("score %d: sigmoid is %d", score, run.Steps[0].Value[0])
		}
	}
}
