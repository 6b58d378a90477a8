package datasets

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"credence/fl"
	"credence/zk/tabular"
)

const wardSchema = `
version: 1
columns:
  - {name: age, kind: numeric, normalise: minmax, min: 0, max: 100, missing: impute, impute: "50"}
  - {name: sex, kind: categorical, categories: [f, m], missing: impute, impute: f}
  - {name: dose, kind: numeric, missing: drop}
  - {name: outcome, kind: label, classes: [well, ill]}
split: {method: column, column: part}
`

func ward(t testing.TB) (*Schema, tabular.Spec) {
	t.Helper()
	s, err := ParseSchema("ward.yaml", []byte(strings.Replace(wardSchema, "split:", "  - {name: part, kind: ignore}\nsplit:", 1)))
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return s, tabular.Spec{Layout: tabular.Layout{Rows: 8, Features: 4, Kind: tabular.Binary, Targets: 1, Bits: 10}, Frac: 4, Schema: d}
}

func wardFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ward.csv")
	if err := os.WriteFile(path, []byte("age,sex,dose,outcome,part\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadTable(t *testing.T) {
	s, spec := ward(t)
	path := wardFile(t, "25,f,1.5,well,train\n,m,2,ill,train\n10,f,,well,train\n40,m,3,ill,test\n100,,-4,ill,train\n")
	tab, l, err := LoadTable(path, "", s, spec)
	if err != nil {
		t.Fatal(err)
	}
	if tab.Used != 3 || l.Table != (TableReport{Rows: 3, Missing: 3}) || l.Test.Rows != 1 || l.Report.RowsDropped != 1 {
		t.Errorf("%d rows, %+v, %d for testing, %+v", tab.Used, l.Table, l.Test.Rows, l.Report)
	}
	want := [][]int64{{1, 4, 16, 0, 24, 0, 0}, {1, 8, 0, 16, 32, 1, 0b0001}, {1, 16, 16, 0, -64, 1, 0b0110}}
	for i, row := range want {
		for j, v := range row {
			if got := tab.Row(i)[j]; got != v {
				t.Errorf("row %d, column %d: %d, want %d", i, j, got, v)
			}
		}
	}
	// The table is the examples, to half a grid step.
	for i := range l.Train.Rows {
		for j := range l.Train.Features {
			if d := math.Abs(spec.Value(j, tab.Feature(i, j)) - float64(l.Train.X[i*l.Train.Features+j])); d > 1.0/32 {
				t.Errorf("row %d, feature %d differs by %v", i, j, d)
			}
		}
	}
}

func TestLoadTableRefused(t *testing.T) {
	s, spec := ward(t)
	good := "25,f,1.5,well,train\n"
	for name, c := range map[string]struct {
		text  string
		spec  func(spec *tabular.Spec)
		kind  error
		parts []string
	}{
		"beyond the range":     {good + "30,f,32,ill,train\n", nil, ErrValue, []string{"line 3", `column "dose"`, "10 bits"}},
		"below the range":      {"30,f,-32.1,ill,train\n" + good, nil, ErrValue, []string{"line 2", `column "dose"`}},
		"not a number":         {good + "30,f,NaN,ill,train\n", nil, ErrValue, []string{"line 3", `column "dose"`, "finite"}},
		"infinite":             {good + "30,f,1e999,ill,train\n", nil, ErrValue, []string{"line 3", `column "dose"`}},
		"a label out of range": {good + "30,f,1,dead,train\n", nil, ErrLabel, []string{"line 3", `column "outcome"`}},
		"too many rows":        {strings.Repeat(good, 9), nil, ErrLimit, []string{"9 training rows", "1 to 8"}},
		"another schema":       {good, func(spec *tabular.Spec) { spec.Schema[0] ^= 1 }, ErrSchema, []string{"another schema"}},
		"no specification":     {good, func(spec *tabular.Spec) { *spec = tabular.Spec{} }, ErrSchema, []string{"correct the job"}},
		"other features":       {good, func(spec *tabular.Spec) { spec.Layout.Features = 3 }, ErrSchema, []string{"4 features"}},
		"other classes":        {good, func(spec *tabular.Spec) { spec.Layout.Kind, spec.Layout.Targets = tabular.OneHot, 3 }, ErrSchema, []string{"2 classes"}},
		"a class that does not fit": {strings.Replace(good, "well", "ill", 1), func(spec *tabular.Spec) {
			spec.Layout.Kind, spec.TargetFrac = tabular.Real, 9
		}, ErrLabel, []string{"line 2"}},
	} {
		other := spec
		if c.spec != nil {
			c.spec(&other)
		}
		_, _, err := LoadTable(wardFile(t, c.text), "", s, other)
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range c.parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
		if strings.Contains(err.Error(), "32.1") {
			t.Errorf("%s: the error quotes a cell: %v", name, err)
		}
	}
	clip := spec
	clip.Clip = true
	tab, l, err := LoadTable(wardFile(t, good+"30,f,32,ill,train\n30,f,-99,ill,train\n"), "", s, clip)
	if err != nil || l.Table.Clipped != 2 || tab.Feature(1, 3) != 511 || tab.Feature(2, 3) != -512 {
		t.Errorf("clipping: %+v, %v", l.Table, err)
	}
	if _, _, err := LoadTable(wardFile(t, good), wardFile(t, good), s, spec); !errors.Is(err, ErrSplit) {
		t.Errorf("a second file: %v", err)
	}
	pair := *s
	pair.Split = Split{Method: SplitFile}
	digest, err := pair.Digest()
	if err != nil {
		t.Fatal(err)
	}
	spec.Schema = digest
	if _, _, err := LoadTable(wardFile(t, good), "", &pair, spec); !errors.Is(err, ErrSplit) {
		t.Errorf("no second file: %v", err)
	}
	if tab, l, err := LoadTable(wardFile(t, good), wardFile(t, good+good), &pair, spec); err != nil || tab.Used != 1 || l.Test.Rows != 2 {
		t.Errorf("a pair of files: %v", err)
	}
	if _, _, err := LoadTable(filepath.Join(t.TempDir(), "none.csv"), "", s, spec); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestTabulateTargets(t *testing.T) {
	e := fl.Examples{Rows: 2, Features: 1, Classes: 3, X: []float32{1, -1}, Y: []int32{2, 1}}
	spec := tabular.Spec{Layout: tabular.Layout{Rows: 2, Features: 1, Bits: 8}, Frac: 4, Schema: fl.Digest{1}}
	for _, c := range []struct {
		kind    tabular.Targets
		targets int
		want    []int64 // of both rows
	}{{tabular.OneHot, 3, []int64{0, 0, 1, 0, 1, 0}}, {tabular.Real, 1, []int64{8, 4}}, {tabular.Real, 3, []int64{0, 0, 4, 0, 4, 0}}} {
		s := spec
		s.Layout.Kind, s.Layout.Targets = c.kind, c.targets
		if c.kind == tabular.Real {
			s.TargetFrac = 2
		}
		tab, _, err := Tabulate(e, nil, s)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range c.want {
			if got := tab.Target(i/c.targets, i%c.targets); got != v {
				t.Errorf("%s%d, target %d: %d, want %d", c.kind, c.targets, i, got, v)
			}
		}
	}
	spec.Layout.Kind, spec.Layout.Targets = tabular.OneHot, 3
	for name, change := range map[string]func(e *fl.Examples){
		"not a number": func(e *fl.Examples) { e.X = []float32{float32(math.NaN()), 0} },
		"infinite":     func(e *fl.Examples) { e.X = []float32{0, float32(math.Inf(1))} },
		"label":        func(e *fl.Examples) { e.Y = []int32{0, 3} },
		"short":        func(e *fl.Examples) { e.X = e.X[1:] },
		"no rows":      func(e *fl.Examples) { *e = fl.Examples{Features: 1, Classes: 3} },
	} {
		other := e
		change(&other)
		var typed *Error
		if _, _, err := Tabulate(other, nil, spec); !errors.As(err, &typed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Quantisation keeps the order and is off by at most half a step.
func TestTabulateProperty(t *testing.T) {
	spec := tabular.Spec{Layout: tabular.Layout{Rows: 16, Features: 2, Kind: tabular.Binary, Targets: 1, Bits: 12}, Frac: 8, Schema: fl.Digest{1}}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 16).Draw(t, "rows")
		e := fl.Examples{Rows: n, Features: 2, Classes: 2}
		for range n {
			e.X = append(e.X, rapid.Float32Range(-7.9, 7.9).Draw(t, "x"), rapid.Float32Range(-7.9, 7.9).Draw(t, "x"))
			e.Y = append(e.Y, rapid.Int32Range(0, 1).Draw(t, "y"))
		}
		tab, report, err := Tabulate(e, nil, spec)
		if err != nil || report.Clipped > 0 {
			t.Fatal(err, report)
		}
		for i := range n {
			for j := range 2 {
				if d := math.Abs(spec.Value(j, tab.Feature(i, j)) - float64(e.X[2*i+j])); d > 1.0/512 {
					t.Fatalf("off by %v", d)
				}
			}
			if tab.Target(i, 0) != int64(e.Y[i]) {
				t.Fatal("another label")
			}
		}
	})
}

// Both bundled sets fit a table of few bits.
func TestTabulateBuiltin(t *testing.T) {
	for _, c := range []struct {
		name   string
		layout tabular.Layout
	}{
		{BreastCancer, tabular.Layout{Rows: 512, Features: 30, Kind: tabular.Binary, Targets: 1, Bits: 14}},
		{Digits, tabular.Layout{Rows: 1438, Features: 64, Kind: tabular.OneHot, Targets: 10, Bits: 10}},
	} {
		d, err := Builtin(c.name)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := d.Schema.Digest()
		if err != nil {
			t.Fatal(err)
		}
		tab, report, err := Tabulate(d.Train, nil, tabular.Spec{Layout: c.layout, Frac: 8, Schema: digest})
		if err != nil || report.Clipped > 0 || tab.Used != d.Train.Rows {
			t.Errorf("%s: %+v, %v", c.name, report, err)
		}
	}
}

func TestRequirementsOfColumns(t *testing.T) {
	s, spec := ward(t)
	v := func(x float64) *float64 { return &x }
	got, err := s.Requirements(spec.Layout, []Requirement{
		{Column: "age", Min: v(18), Max: v(90), MeanMin: v(30), StdMax: v(20), MissingMax: v(0.1)},
		{Column: "sex", MissingMax: v(0.2)},
		{Column: "sex=m", MeanMax: v(0.75)},
		{Column: "dose", StdMin: v(2)},
	}, map[string]int{"ill": 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		got  *float64
		want float64
	}{
		{got.Numbers[0].Min, 0.18}, {got.Numbers[0].Max, 0.9}, {got.Numbers[0].MeanMin, 0.3}, {got.Numbers[0].VarianceMax, 0.04}, {got.Numbers[0].MissingMax, 0.1},
		{got.Numbers[1].MissingMax, 0.2}, {got.Numbers[2].MissingMax, 0.2}, {got.Numbers[2].MeanMax, 0.75}, {got.Numbers[3].VarianceMin, 4},
	} {
		if c.got == nil || math.Abs(*c.got-c.want) > 1e-12 {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	if len(got.Classes) != 2 || got.Classes[0] != 0 || got.Classes[1] != 3 {
		t.Errorf("classes %v", got.Classes)
	}
	// They translate to limits that a conforming file meets and others do not.
	for text, want := range map[string]bool{
		"25,f,1,well,train\n40,m,7,ill,train\n35,m,1,ill,train\n30,f,8,ill,train\n":  true,
		"25,f,1,well,train\n40,m,7,well,train\n35,m,1,ill,train\n30,f,8,ill,train\n": false, // two ill
		"25,f,1,well,train\n40,m,7,ill,train\n35,m,1,ill,train\n91,f,8,ill,train\n":  false, // an age
		"25,f,1,well,train\n40,m,7,ill,train\n35,m,1,ill,train\n,f,8,ill,train\n":    false, // a quarter missing
		"25,m,1,well,train\n40,m,7,ill,train\n35,m,1,ill,train\n30,m,8,ill,train\n":  false, // all men
		"25,f,1,well,train\n40,m,2,ill,train\n35,m,1,ill,train\n30,f,2,ill,train\n":  false, // one dose
	} {
		tab, l, err := LoadTable(wardFile(t, text), "", s, spec)
		if err != nil {
			t.Fatal(err)
		}
		limits, err := got.Limits(spec, l.Train.Rows)
		if err != nil {
			t.Fatal(err)
		}
		if err := tab.Within(limits); (err == nil) != want {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
	own := *s
	own.Columns = append([]Column{}, s.Columns...)
	own.Columns[2].Normalise = PerNode
	for name, c := range map[string]struct {
		s       *Schema
		columns []Requirement
		classes map[string]int
	}{
		"no such column":      {s, []Requirement{{Column: "weight"}}, nil},
		"the label":           {s, []Requirement{{Column: "outcome"}}, nil},
		"an ignored column":   {s, []Requirement{{Column: "part"}}, nil},
		"a category's bounds": {s, []Requirement{{Column: "sex", Min: v(0)}}, nil},
		"twice":               {s, []Requirement{{Column: "age"}, {Column: "age"}}, nil},
		"figures of its own":  {&own, []Requirement{{Column: "dose", Max: v(1)}}, nil},
		"negative deviation":  {s, []Requirement{{Column: "dose", StdMin: v(-1)}}, nil},
		"no such class":       {s, nil, map[string]int{"dead": 1}},
		"invalid schema":      {&Schema{}, nil, nil},
	} {
		if _, err := c.s.Requirements(spec.Layout, c.columns, c.classes); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := own.Requirements(spec.Layout, []Requirement{{Column: "dose", MissingMax: v(0)}}, nil); err != nil {
		t.Errorf("missing values of a column with figures of its own: %v", err)
	}
	if _, err := s.Requirements(tabular.Layout{}, nil, nil); !errors.Is(err, ErrSchema) {
		t.Errorf("no layout: %v", err)
	}
}
