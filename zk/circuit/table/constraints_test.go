package table

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"credence/zk/tabular"
)

var update = flag.Bool("update", false, "rewrite testdata/constraints.txt")

// pinned are the tiny layouts, the two bundled data sets as four institutions
// hold them, and one of them with twice and four times the rows.
func pinned() []tabular.Layout {
	out := append([]tabular.Layout{}, tiny...)
	for _, rows := range []int{128, 256, 512} {
		out = append(out, tabular.Layout{Rows: rows, Features: 30, Kind: tabular.Binary, Targets: 1, Bits: 14})
	}
	return append(out,
		tabular.Layout{Rows: 128, Features: 64, Kind: tabular.OneHot, Targets: 10, Bits: 10},
		tabular.Layout{Rows: 128, Features: 30, Kind: tabular.Real, Targets: 1, Bits: 14},
	)
}

// The cost of every circuit is pinned: constraints, cells, committed values.
func TestConstraintsArePinned(t *testing.T) {
	var got strings.Builder
	fmt.Fprintln(&got, "# circuit limbs constraints cells committed")
	for _, l := range pinned() {
		for _, relation := range []Relation{Registration, Validation} {
			s := newShape(t, relation, l)
			sys := compile(t, s)
			fmt.Fprintln(&got, s.Name(), s.Limbs, sys.Constraints(), l.Cells(), sys.CommittedValues())
		}
	}
	path := filepath.Join("testdata", "constraints.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got.String() {
		t.Errorf("constraints changed: if that is meant, run go test ./zk/circuit/table -run Pinned -update\ngot\n%swant\n%s", got.String(), want)
	}
}

// The counts follow from the relations.
func TestConstraintsFollowFromTheRelation(t *testing.T) {
	for _, l := range pinned() {
		for _, relation := range []Relation{Registration, Validation} {
			s := newShape(t, relation, l)
			// Evaluation, padding, prefix, lookups, classes.
			want := l.Cells() + 2*l.Rows + s.lookups()
			if l.Classes() > 0 {
				want += l.Rows * l.Targets
			}
			if l.Kind == tabular.OneHot {
				want += l.Rows
			}
			if s.validates() {
				// A number: its minimum, its square, its distance to the maximum;
				// a row's comparison; a mark; a limit.
				want += 3*s.numbers() + 2*l.Rows + l.Rows*l.Features + l.LimitCount()
				want += 6*l.Numbers() + l.Features + l.Classes() // two products and four comparisons a column, counts
			}
			if rest := compile(t, s).Constraints() - want; rest < -l.Rows || rest > 100 {
				t.Errorf("%s: %d constraints beside the %d that the relation explains", s.Name(), rest, want)
			}
		}
	}
}
