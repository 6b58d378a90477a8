package tabular

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"credence/fl"
)

var layouts = []Layout{
	{Rows: 8, Features: 3, Kind: Binary, Targets: 1, Bits: 8},
	{Rows: 8, Features: 33, Kind: OneHot, Targets: 3, Bits: 5},
	{Rows: 4, Features: 2, Kind: Real, Targets: 2, Bits: 12},
}

func TestLayout(t *testing.T) {
	for i, want := range []struct {
		name                            string
		width, marks, numbers, coreSize int
	}{
		{"r8-f3-b8-binary", 6, 1, 3, 48}, {"r8-f33-b5-onehot3", 39, 2, 33, 312}, {"r4-f2-b12-real2", 6, 1, 4, 24},
	} {
		l := layouts[i]
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		if l.Name() != want.name || l.Width() != want.width || l.Marks() != want.marks || l.Numbers() != want.numbers || l.Cells() != want.coreSize {
			t.Errorf("%s: width %d, marks %d, numbers %d, cells %d, want %+v", l.Name(), l.Width(), l.Marks(), l.Numbers(), l.Cells(), want)
		}
		if back, err := ParseLayout(l.Name()); err != nil || back != l {
			t.Errorf("%s parses as %+v, %v", l.Name(), back, err)
		}
	}
	good := layouts[0]
	for name, change := range map[string]func(l *Layout){
		"one row":            func(l *Layout) { l.Rows = 1 },
		"too many rows":      func(l *Layout) { l.Rows = MaxRows + 1 },
		"no features":        func(l *Layout) { l.Features = 0 },
		"too many features":  func(l *Layout) { l.Features = math.MaxInt },
		"too few bits":       func(l *Layout) { l.Bits = 3 },
		"too many bits":      func(l *Layout) { l.Bits = 17 },
		"two bits":           func(l *Layout) { l.Targets = 2 },
		"one class":          func(l *Layout) { l.Kind, l.Targets = OneHot, 1 },
		"no targets":         func(l *Layout) { l.Kind, l.Targets = Real, 0 },
		"unknown kind":       func(l *Layout) { l.Kind = "other" },
		"no kind":            func(l *Layout) { l.Kind = "" },
		"too many cells":     func(l *Layout) { l.Rows, l.Features = MaxRows, 64 },
		"many, many classes": func(l *Layout) { l.Kind, l.Targets = OneHot, math.MaxInt },
	} {
		l := good
		change(&l)
		if err := l.Check(); !errors.Is(err, ErrLayout) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "r8-f3-b8", "r8-f3-b8-binary-", "r08-f3-b8-binary", "r+8-f3-b8-binary", "f3-r8-b8-binary", "r8-f3-b8-onehot", "r8-f3-b8-onehot03",
		"r8-f3-b8-binary1", "r8-f3-b8-real", "r1-f3-b8-binary", "r8-f3-b99-binary", strings.Repeat("r", 100),
	} {
		if _, err := ParseLayout(name); !errors.Is(err, ErrLayout) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzParseLayout(f *testing.F) {
	for _, l := range layouts {
		f.Add(l.Name())
	}
	f.Add("r8-f3-b8-real")
	f.Fuzz(func(t *testing.T, name string) {
		if l, err := ParseLayout(name); err == nil && (l.Name() != name || l.Check() != nil) {
			t.Errorf("%q parsed as %q", name, l.Name())
		}
	})
}

// drawTable makes any well-formed table.
func drawTable(t *rapid.T, l Layout) *Table {
	out, err := New(l, rapid.IntRange(1, l.Rows).Draw(t, "rows"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range out.Used {
		for j := range l.Numbers() {
			out.Row(i)[l.Number(j)] = rapid.Int64Range(-l.Half(), l.Half()-1).Draw(t, "cell")
		}
		for j := range l.Features {
			if rapid.Bool().Draw(t, "missing") {
				out.SetMissing(i, j)
			}
		}
		if l.Classes() > 0 {
			if err := out.SetClass(i, rapid.IntRange(0, l.Classes()-1).Draw(t, "class")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func TestTables(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := rapid.SampledFrom(layouts).Draw(t, "layout")
		tab := drawTable(t, l)
		if err := tab.Check(); err != nil {
			t.Fatal(err)
		}
		if err := tab.Within(tab.Measure()); err != nil {
			t.Fatal(err)
		}
		if err := tab.Within(l.NoLimits(tab.Used)); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, n := range tab.ClassCounts() {
			total += n
		}
		if l.Classes() > 0 && total != tab.Used {
			t.Fatalf("%d rows have a class, of %d", total, tab.Used)
		}
		// Any one bound tightened by one is one too many.
		m := tab.Measure()
		tight := map[string]func(){
			"min": func() { m.Numbers[0].Min++ }, "max": func() { m.Numbers[0].Max-- },
			"sum": func() { m.Numbers[0].SumMin++; m.Numbers[0].SumMax++ }, "spread": func() { m.Numbers[0].SpreadMin++; m.Numbers[0].SpreadMax++ },
			"missing": func() { m.Missing[0]-- },
		}
		if l.Classes() > 0 {
			tight["class"] = func() { m.Classes[0]++ }
		}
		for name, change := range tight {
			m = tab.Measure()
			change()
			if err := tab.Within(m); err == nil {
				t.Fatalf("%s tightened by one is met", name)
			}
		}
	})
}

func TestTablesRefused(t *testing.T) {
	for _, l := range layouts {
		fresh := func() *Table {
			tab, err := New(l, l.Rows-1)
			if err != nil {
				t.Fatal(err)
			}
			for i := range tab.Used {
				if l.Classes() > 0 {
					if err := tab.SetClass(i, 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			return tab
		}
		cases := map[string]func(tab *Table){
			"feature too high":   func(tab *Table) { tab.SetFeature(0, 0, l.Half()) },
			"feature too low":    func(tab *Table) { tab.SetFeature(0, 0, -l.Half()-1) },
			"padding":            func(tab *Table) { tab.SetFeature(l.Rows-1, 0, 1) },
			"target in padding":  func(tab *Table) { tab.SetTarget(l.Rows-1, 0, 1) },
			"valid padding":      func(tab *Table) { tab.Row(l.Rows - 1)[0] = 1 },
			"hole":               func(tab *Table) { tab.Row(0)[0] = 0 },
			"mark of no feature": func(tab *Table) { tab.Row(0)[l.Mark(l.Marks()-1)] = 1 << (l.Features % MarkBits) },
			"negative mark":      func(tab *Table) { tab.Row(0)[l.Mark(0)] = -1 },
			"target too high":    func(tab *Table) { tab.SetTarget(0, 0, max(2, l.Half())) },
			"target too low":     func(tab *Table) { tab.SetTarget(0, 0, -l.Half()-1) },
			"no rows":            func(tab *Table) { tab.Used = 0 },
			"too many rows":      func(tab *Table) { tab.Used = l.Rows + 1 },
			"too few cells":      func(tab *Table) { tab.Cells = tab.Cells[1:] },
		}
		if l.Kind == OneHot {
			cases["two classes"] = func(tab *Table) { tab.SetTarget(0, 0, 1) }
			cases["no class"] = func(tab *Table) { tab.SetTarget(0, 1, 0) }
		}
		for name, change := range cases {
			tab := fresh()
			change(tab)
			if err := tab.Check(); !errors.Is(err, ErrTable) {
				t.Errorf("%s: %s: %v", l.Name(), name, err)
			}
		}
	}
	if _, err := New(layouts[0], 9); !errors.Is(err, ErrTable) {
		t.Errorf("more rows than the capacity: %v", err)
	}
	if _, err := New(Layout{}, 1); !errors.Is(err, ErrLayout) {
		t.Errorf("no layout: %v", err)
	}
	tab, err := New(layouts[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range []int{-1, 2} {
		if err := tab.SetClass(0, class); !errors.Is(err, ErrTable) {
			t.Errorf("class %d of 2: %v", class, err)
		}
	}
	tab.Erase()
	if tab.Cells[0] != 0 {
		t.Error("an erased table still has cells")
	}
}

func TestQuantise(t *testing.T) {
	s := Spec{Layout: layouts[2], Frac: 8, TargetFrac: 4, Schema: fl.Digest{1}}
	for _, c := range []struct {
		number int
		v      float64
		want   int64
	}{{0, 0, 0}, {0, 1, 256}, {1, -1, -256}, {0, 1.0 / 512, 1}, {0, -1.0 / 512, 0}, {0, 1.0/512 - 1e-9, 0}, {2, 1, 16}, {3, -0.03, 0}, {0, -8, -2048}, {0, 2047.0 / 256, 2047}} {
		if got, clipped, err := s.Quantise(c.number, c.v); got != c.want || clipped || err != nil {
			t.Errorf("number %d, %v: %d, %v, %v, want %d", c.number, c.v, got, clipped, err, c.want)
		}
	}
	for _, v := range []float64{8, -8.01, 1e300, -1e300, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN()} {
		if _, _, err := s.Quantise(0, v); !errors.Is(err, ErrTable) {
			t.Errorf("%v: %v", v, err)
		}
		clip := s
		clip.Clip = true
		got, clipped, err := clip.Quantise(0, v)
		if math.IsInf(v, 0) || math.IsNaN(v) {
			if !errors.Is(err, ErrTable) {
				t.Errorf("clipping %v: %v", v, err)
			}
		} else if want := map[bool]int64{true: 2047, false: -2048}[v > 0]; got != want || !clipped || err != nil {
			t.Errorf("clipping %v: %d, %v, %v, want %d", v, got, clipped, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64Range(-8, 7.99).Draw(t, "v")
		cell, _, err := s.Quantise(0, v)
		if err != nil || math.Abs(s.Value(0, cell)-v) > 1.0/512 {
			t.Fatalf("%v became %v, %v", v, s.Value(0, cell), err)
		}
	})
}

// Everything in a specification is in its digest.
func TestSpecDigest(t *testing.T) {
	base := Spec{Layout: layouts[2], Frac: 8, TargetFrac: 4, Schema: fl.Digest{1}}
	if err := base.Check(); err != nil {
		t.Fatal(err)
	}
	seen := map[fl.Digest]string{base.Digest(): "base"}
	for name, change := range map[string]func(s *Spec){
		"layout": func(s *Spec) { s.Layout.Rows++ }, "frac": func(s *Spec) { s.Frac++ }, "target": func(s *Spec) { s.TargetFrac++ },
		"clip": func(s *Spec) { s.Clip = true }, "schema": func(s *Spec) { s.Schema[5]++ },
	} {
		s := base
		change(&s)
		if other, ok := seen[s.Digest()]; ok {
			t.Errorf("another %s has the digest of %s", name, other)
		}
		seen[s.Digest()] = name
	}
	for name, change := range map[string]func(s *Spec){
		"layout": func(s *Spec) { s.Layout.Rows = 0 }, "frac": func(s *Spec) { s.Frac = 25 }, "negative frac": func(s *Spec) { s.Frac = -1 },
		"target": func(s *Spec) { s.TargetFrac = 25 }, "target of classes": func(s *Spec) { s.Layout = layouts[0] }, "schema": func(s *Spec) { s.Schema = fl.Digest{} },
	} {
		s := base
		change(&s)
		if err := s.Check(); !errors.Is(err, ErrLayout) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func float(v float64) *float64 { return &v }

func TestRequirements(t *testing.T) {
	s := Spec{Layout: layouts[0], Frac: 4, Schema: fl.Digest{1}} // values -8 .. 7.9375
	r := Requirements{Numbers: []NumberRequirements{
		{Min: float(-1.03), Max: float(2.04), MeanMin: float(-0.51), MeanMax: float(0.51), VarianceMin: float(0.1), VarianceMax: float(3.999), MissingMax: float(0.35)},
		{Min: float(-1e9), Max: float(1e9), MeanMin: float(-1e300), MeanMax: float(1e300), VarianceMin: float(-1), VarianceMax: float(1e300)},
		{},
	}, Classes: []int{2, 0}}
	got, err := r.Limits(s, 6)
	if err != nil {
		t.Fatal(err)
	}
	want := layouts[0].NoLimits(6)
	// -1.03*16 = -16.48 -> -16; 2.04*16 = 32.64 -> 33; 6*16*0.51 = 48.96;
	// 36*256*0.1 = 921.6; 36*256*3.999 = 36854.784; 6*0.35 = 2.1.
	want.Numbers[0] = NumberLimits{Min: -16, Max: 33, SumMin: -48, SumMax: 48, SpreadMin: 922, SpreadMax: 36854}
	want.Missing[0], want.Classes[0] = 2, 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, c := range map[string]struct {
		change func(r *Requirements)
		kind   error
	}{
		"crossed":             {func(r *Requirements) { r.Numbers[0].Min = float(3) }, ErrLayout},
		"crossed means":       {func(r *Requirements) { r.Numbers[0].MeanMin = float(3) }, ErrLayout},
		"crossed variances":   {func(r *Requirements) { r.Numbers[0].VarianceMin = float(5) }, ErrLayout},
		"unreachable minimum": {func(r *Requirements) { r.Numbers[2].Min = float(8) }, ErrLayout},
		"unreachable maximum": {func(r *Requirements) { r.Numbers[2].Max = float(-9) }, ErrLayout},
		"unreachable mean":    {func(r *Requirements) { r.Numbers[2].MeanMin = float(1e200) }, ErrLayout},
		"negative variance":   {func(r *Requirements) { r.Numbers[2].VarianceMax = float(-1) }, ErrLayout},
		"not a number":        {func(r *Requirements) { r.Numbers[2].Max = float(math.NaN()) }, ErrLayout},
		"infinite":            {func(r *Requirements) { r.Numbers[2].Max = float(math.Inf(1)) }, ErrLayout},
		"a rate above one":    {func(r *Requirements) { r.Numbers[2].MissingMax = float(1.5) }, ErrLayout},
		"no rate":             {func(r *Requirements) { r.Numbers[2].MissingMax = float(math.NaN()) }, ErrLayout},
		"too few numbers":     {func(r *Requirements) { r.Numbers = r.Numbers[1:] }, ErrLayout},
		"too few classes":     {func(r *Requirements) { r.Classes = r.Classes[1:] }, ErrLayout},
		"negative class":      {func(r *Requirements) { r.Classes[0] = -1 }, ErrLayout},
		"too many of a class": {func(r *Requirements) { r.Classes[0] = 7 }, ErrTable},
	} {
		other := Requirements{Numbers: append([]NumberRequirements{}, r.Numbers...), Classes: append([]int{}, r.Classes...)}
		c.change(&other)
		if _, err := other.Limits(s, 6); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Limits(s, 9); !errors.Is(err, ErrTable) {
		t.Errorf("more rows than the capacity: %v", err)
	}
	if _, err := r.Limits(Spec{}, 6); !errors.Is(err, ErrLayout) {
		t.Errorf("no specification: %v", err)
	}
}

// Limits do what the words of the requirements say, for any table.
func TestRequirementsMeanWhatTheySay(t *testing.T) {
	s := Spec{Layout: layouts[0], Frac: 3, Schema: fl.Digest{1}}
	rapid.Check(t, func(t *rapid.T) {
		tab := drawTable(t, s.Layout)
		q := NumberRequirements{MeanMin: float(rapid.Float64Range(-16, 4).Draw(t, "mean")), VarianceMax: float(rapid.Float64Range(1, 200).Draw(t, "variance"))}
		limits, err := Requirements{Numbers: []NumberRequirements{q, {}, {}}}.Limits(s, tab.Used)
		if err != nil {
			t.Fatal(err)
		}
		var mean, squares float64
		for i := range tab.Used {
			v := s.Value(0, tab.Feature(i, 0))
			mean += v / float64(tab.Used)
			squares += v * v / float64(tab.Used)
		}
		variance := squares - mean*mean
		const slack = 1e-9 // of this test's floating point
		if math.Abs(mean-*q.MeanMin) < slack || math.Abs(variance-*q.VarianceMax) < slack {
			return
		}
		want := mean >= *q.MeanMin && variance <= *q.VarianceMax
		if got := tab.Within(limits) == nil; got != want {
			t.Fatalf("mean %v, variance %v: within %v, want %v", mean, variance, got, want)
		}
	})
}

func TestLimitsRefused(t *testing.T) {
	l := layouts[0]
	for name, change := range map[string]func(m *Limits){
		"too few numbers":  func(m *Limits) { m.Numbers = m.Numbers[1:] },
		"too few features": func(m *Limits) { m.Missing = m.Missing[1:] },
		"too few classes":  func(m *Limits) { m.Classes = m.Classes[1:] },
		"low":              func(m *Limits) { m.Numbers[0].Min = -129 },
		"high":             func(m *Limits) { m.Numbers[0].Max = 128 },
		"crossed":          func(m *Limits) { m.Numbers[0].Min, m.Numbers[0].Max = 1, 0 },
		"sum":              func(m *Limits) { m.Numbers[0].SumMax = 8*128 + 1 },
		"spread":           func(m *Limits) { m.Numbers[0].SpreadMin = -1 },
		"wide spread":      func(m *Limits) { m.Numbers[0].SpreadMax = 8*8*128*128 + 1 },
		"missing":          func(m *Limits) { m.Missing[0] = 7 },
		"negative missing": func(m *Limits) { m.Missing[0] = -1 },
		"class":            func(m *Limits) { m.Classes[0] = 7 },
		"negative class":   func(m *Limits) { m.Classes[0] = -1 },
	} {
		m := l.NoLimits(6)
		change(&m)
		if err := l.CheckLimits(6, m); !errors.Is(err, ErrLayout) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := l.NoLimits(6)
	if err := l.CheckLimits(6, m); err != nil || len(m.Vector()) != l.LimitCount() {
		t.Errorf("no limits: %v, %d of %d", err, len(m.Vector()), l.LimitCount())
	}
	for _, n := range []int{0, 9} {
		if err := l.CheckLimits(n, m); !errors.Is(err, ErrLayout) {
			t.Errorf("%d rows: %v", n, err)
		}
	}
	d := m.Digest()
	for i := range 6 {
		other := l.NoLimits(6)
		b := &other.Numbers[2]
		*[]*int64{&b.Min, &b.Max, &b.SumMin, &b.SumMax, &b.SpreadMin, &b.SpreadMax}[i]++
		if other.Digest() == d {
			t.Errorf("bound %d is not in the digest", i)
		}
	}
}
