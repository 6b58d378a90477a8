package datasets

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// wards is a schema that uses every kind of column.
const wards = `version: 1
name: wards
missing_values: [NA, "?"]
columns:
  - {name: age, kind: numeric, normalise: minmax, min: 0, max: 100}
  - {name: weight, kind: numeric, normalise: per-node, missing: impute, impute: mean}
  - {name: pressure, kind: numeric, missing: impute, impute: 120, normalise: standard, mean: 120, std: 10}
  - {name: sex, kind: categorical, categories: [f, m], missing: drop}
  - {name: hospital, kind: ignore}
  - {name: outcome, kind: label, classes: [well, ill], values: {"0": well, "1": ill}}
  - {name: part, kind: ignore}
split: {method: column, column: part, test: held out}
`

func parse(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := ParseSchema("schema.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemaFeatures(t *testing.T) {
	s := parse(t, wards)
	want := []string{"age", "weight", "pressure", "sex=f", "sex=m"}
	if diff := cmp.Diff(want, s.FeatureNames()); diff != "" {
		t.Errorf("features (-want +got):\n%s", diff)
	}
	if s.Features() != len(want) {
		t.Errorf("Features() is %d, want %d", s.Features(), len(want))
	}
	if diff := cmp.Diff([]string{"well", "ill"}, s.Classes()); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
}

// Every refusal names its line and kind.
func TestSchemaRefused(t *testing.T) {
	cases := []struct {
		name, old, new string // a change to wards
		line           int
		contains       string
	}{
		{"unknown key", "kind: ignore}\n  - {name: outcome", "kind: ignore, colour: red}\n  - {name: outcome", 9, `unknown key "colour"`},
		{"unknown key at the top", "name: wards", "nom: wards", 2, `unknown key "nom"`},
		{"repeated key", "name: wards", "version: 1", 2, "already defined"},
		{"not YAML", "[f, m]", "[f, m", 7, "this line and the next"},
		{"wrong type", "min: 0", "min: low", 5, "cannot"},
		{"version", "version: 1", "version: 2", 0, "version 2"},
		{"two documents", "version: 1", "version: 1\n---\nversion: 1", 0, ""},
		{"kind", "kind: numeric, normalise: minmax", "kind: number, normalise: minmax", 5, ""},
		{"no name", "{name: age,", "{", 5, "name is empty"},
		{"name twice", "{name: weight", "{name: age", 6, "two columns"},
		{"no figures", ", mean: 120, std: 10", "", 7, "needs mean"},
		{"std zero", "std: 10", "std: 0", 7, "positive std"},
		{"std infinite", "std: 10", "std: .inf", 7, "finite"},
		{"mean not a number", "mean: 120", "mean: .nan", 7, "finite"},
		{"min above max", "min: 0", "min: 100", 5, "min below max"},
		{"figures unused", "normalise: per-node", "normalise: per-node, std: 3", 6, "no figures"},
		{"normalised category", "categories: [f, m]", "categories: [f, m], std: 3", 8, "only a numeric"},
		{"no categories", ", categories: [f, m]", "", 8, "0 categories"},
		{"category twice", "[f, m]", "[f, f]", 8, "twice"},
		{"missing category", "[f, m]", "[f, NA]", 8, "missing values"},
		{"spaces", "[f, m]", `[f, " m"]`, 8, "spaces"},
		{"impute nothing", ", impute: mean", "", 6, "go together"},
		{"impute a word", "impute: 120", "impute: normal", 7, "not a number"},
		{"impute a stranger", "missing: drop", "missing: impute, impute: x", 8, "not one of the categories"},
		{"impute the label", "classes: [well, ill]", "missing: impute, impute: well, classes: [well, ill]", 10, "cannot be imputed"},
		{"policy", "missing: drop", "missing: ignore", 8, "unknown policy"},
		{"one class", `[well, ill], values: {"0": well, "1": ill}`, "[well]", 10, "1 classes"},
		{"value of no class", `"1": ill`, `"1": dead`, 10, "values"},
		{"class means another", `"1": ill`, `well: ill`, 10, "another"},
		{"no label", `kind: label, classes: [well, ill], values: {"0": well, "1": ill}`, "kind: ignore", 0, "label"},
		{"second label", "{name: hospital, kind: ignore}", "{name: hospital, kind: label, classes: [a, b]}", 10, "second label"},
		{"split column", "column: part", "column: area", 12, "not a column"},
		{"split column is a feature", "column: part", "column: age", 12, "not a column"},
		{"split words", "test: held out", "test: train", 12, "differ"},
		{"split fraction", "method: column, column: part, test: held out", "method: fraction, fraction: 1", 12, "between 0 and 1"},
		{"split not a number", "method: column, column: part, test: held out", "method: fraction, fraction: .nan", 12, "between 0 and 1"},
		{"split mixed", "test: held out", "seed: 3", 12, "belong"},
		{"split method", "method: column, column: part, test: held out", "method: luck", 12, "unknown split"},
		{"delimiter", "name: wards", "delimiter: x", 0, "delimiter"},
		{"extra without header", "name: wards", "no_header: true\nextra_columns: true", 0, "header"},
	}
	for _, c := range cases {
		text := strings.Replace(wards, c.old, c.new, 1)
		if text == wards {
			t.Errorf("%s: the case changes nothing", c.name)
			continue
		}
		_, err := ParseSchema("s.yaml", []byte(text))
		var e *Error
		if !errors.Is(err, ErrSchema) || !errors.As(err, &e) {
			t.Errorf("%s: got %v, want ErrSchema", c.name, err)
			continue
		}
		if e.Line != c.line || !strings.Contains(err.Error(), c.contains) || e.File != "s.yaml" {
			t.Errorf("%s: line %d, want %d, and %q in: %v", c.name, e.Line, c.line, c.contains, err)
		}
	}
	if _, err := ParseSchema("s", nil); !errors.Is(err, ErrSchema) {
		t.Errorf("empty: got %v, want ErrSchema", err)
	}
	if _, err := ParseSchema("s", make([]byte, MaxSchemaBytes+1)); !errors.Is(err, ErrLimit) {
		t.Errorf("long: got %v, want ErrLimit", err)
	}
	if _, err := LoadSchema("testdata/none.yaml"); err == nil {
		t.Error("a schema that is not there was loaded")
	}
}

// The digest sees meaning, not spelling.
func TestSchemaDigest(t *testing.T) {
	digest := func(text string) string {
		d, err := parse(t, text).Digest()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", d)
	}
	base := digest(wards)
	for _, c := range [][2]string{
		{"name: wards", "name: wards # a comment"},
		{"name: wards", "name: wards\ndelimiter: ','"},
		{`[NA, "?"]`, `["?", "", NA]`},
		{"max: 100", "max: 1e2"},
		{"test: held out", "train: train, test: held out"},
		{"{name: age, kind: numeric", "{kind: numeric, missing: refuse, name: age"},
	} {
		if text := strings.Replace(wards, c[0], c[1], 1); text == wards || digest(text) != base {
			t.Errorf("%q in place of %q changed the digest", c[1], c[0])
		}
	}
	for _, c := range [][2]string{
		{"[f, m]", "[m, f]"}, {"[well, ill]", "[ill, well]"}, {"max: 100", "max: 101"}, {"impute: 120", "impute: 121"},
		{"name: age", "name: years"}, {"test: held out", "test: test"}, {"missing: drop", "missing: refuse"}, {`"?"`, `"-"`},
	} {
		if text := strings.Replace(wards, c[0], c[1], 1); text == wards || digest(text) == base {
			t.Errorf("%q in place of %q left the digest alone", c[1], c[0])
		}
	}
	if _, err := (&Schema{}).Digest(); !errors.Is(err, ErrSchema) {
		t.Errorf("digest of an invalid schema: %v", err)
	}
	if _, err := (&Schema{}).YAML(); !errors.Is(err, ErrSchema) {
		t.Errorf("YAML of an invalid schema: %v", err)
	}
}

// genSchema draws valid schemas with awkward words in them.
func genSchema(t *rapid.T) *Schema {
	words := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z0-9_:#{}"',;\-~é 日]{1,6}[a-z0-9]`), 8, 8, strings.TrimSpace).Draw(t, "words")
	for i := range words {
		words[i] = strings.TrimSpace(words[i])
	}
	figure := rapid.Float64Range(-1e6, 1e6)
	f := func(v float64) *float64 { return &v }
	s := &Schema{Version: 1, Name: rapid.SampledFrom(words).Draw(t, "name"), Delimiter: rapid.SampledFrom([]string{"", ",", ";", "\t"}).Draw(t, "delimiter")}
	num := Column{Name: words[0], Kind: Numeric}
	switch rapid.IntRange(0, 3).Draw(t, "normalise") {
	case 1:
		num.Normalise, num.Mean, num.Std = Standard, f(figure.Draw(t, "mean")), f(rapid.Float64Range(1e-3, 1e6).Draw(t, "std"))
	case 2:
		num.Normalise, num.Min, num.Max = MinMax, f(-rapid.Float64Range(0, 10).Draw(t, "min")), f(rapid.Float64Range(1, 10).Draw(t, "max"))
	case 3:
		num.Normalise, num.Missing, num.Impute = PerNode, Impute, ImputeMean
	}
	s.Columns = []Column{num,
		{Name: words[1], Kind: Categorical, Categories: words[2:4], Missing: rapid.SampledFrom([]Missing{"", Drop, Refuse}).Draw(t, "missing")},
		{Name: words[4], Kind: Label, Classes: words[5:7], Values: map[string]string{words[7]: words[5]}},
		{Name: words[5], Kind: Ignore}}
	switch rapid.IntRange(0, 2).Draw(t, "split") {
	case 1:
		s.Split = Split{Method: SplitFraction, Fraction: rapid.Float64Range(0.01, 0.99).Draw(t, "fraction"), Seed: rapid.Uint64().Draw(t, "seed"), Stratified: rapid.Bool().Draw(t, "stratified")}
	case 2:
		s.Split = Split{Method: SplitColumn, Column: words[5]}
	}
	return s
}

func TestSchemaRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(t)
		text, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSchema("s", text)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Fatalf("(-want +got):\n%s\n%s", diff, text)
		}
		a, err := s.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := got.Digest(); err != nil || a != b {
			t.Fatalf("digests %x and %x, %v", a, b, err)
		}
	})
}

func TestParseNumber(t *testing.T) {
	for cell, want := range map[string]float64{"1": 1, "-2.5": -2.5, "+1e3": 1000, ".5": 0.5, "5.": 5, "0": 0, "3.4e38": 3.4e38, "1e-400": 0} {
		if got, err := parseNumber(cell); err != nil || got != want {
			t.Errorf("%q: %v, %v", cell, got, err)
		}
	}
	for _, cell := range []string{"", "NaN", "-inf", "Infinity", "0x10", "1_000", "1e39", "1e400", "3,5", "1 2", "--1", "e", "secret"} {
		got, err := parseNumber(cell)
		if err == nil || math.IsNaN(got) {
			t.Errorf("%q was read as %v", cell, got)
		}
		if err != nil && len(cell) > 3 && strings.Contains(err.Error(), cell) {
			t.Errorf("the error quotes the cell: %v", err)
		}
	}
}

// The largest schemas a node accepts, built to be slow, are decoded or refused
// quickly: a schema may come from somebody else.
func TestSchemaHostile(t *testing.T) {
	pad := func(head, item, tail string) string {
		return head + strings.Repeat(item, (MaxSchemaBytes-len(head)-len(tail))/len(item)) + tail
	}
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'k'; c++ {
		laughs += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "]\n"
	}
	var distinct strings.Builder
	distinct.WriteString("version: 1\ncolumns: [{kind: label, values: {")
	for i := int64(0); distinct.Len() < MaxSchemaBytes-16; i++ {
		distinct.WriteString(strconv.FormatInt(i, 36) + ", ")
	}
	for name, text := range map[string]string{
		"distinct keys": distinct.String() + "}}]",
		"nested lists":  pad("", "[", ""),
		"nested maps":   pad("", "{a: ", ""),
		"nested dashes": pad("", "- ", ""),
		"aliases":       laughs,
		"many keys":     pad("version: 1\nvalues: {", "a, ", "}"),
		"many columns":  pad("version: 1\ncolumns: [", "{},", "]"),
		"one long word": pad("name: ", "x", ""),
		"comments":      pad("", "#\n", ""),
		"anchors":       pad("", "&a ", ""),
		"quotes":        pad("name: \"", "\\t", "\""),
		"categories":    pad("version: 1\ncolumns: [{name: a, kind: categorical, categories: [", "a,", "]}]"),
	} {
		start := time.Now() // generous: pairwise comparison took minutes
		if _, err := ParseSchema(name, []byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
}

func FuzzParseSchema(f *testing.F) {
	f.Add([]byte(wards))
	for _, n := range BuiltinNames() {
		text, err := data.ReadFile("data/" + n + ".schema.yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("version: 1\ncolumns: [{name: a, kind: label, classes: [0, 1]}, {name: b, kind: numeric}]\nsplit: {method: fraction, fraction: 0.5}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("version: 1\n<<: {columns: [{kind: numeric}]}"))
	f.Add([]byte("---\n...\n---\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSchema("fuzz", text)
		if err != nil {
			if !errors.Is(err, ErrSchema) && !errors.Is(err, ErrLimit) {
				t.Fatalf("no kind: %v", err)
			}
			return
		}
		again, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		s2, err := ParseSchema("again", again)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, again)
		}
		a, aerr := s.Digest()
		b, berr := s2.Digest()
		if aerr != nil || berr != nil || a != b {
			t.Fatalf("digests %x (%v) and %x (%v):\n%s", a, aerr, b, berr, again)
		}
	})
}
