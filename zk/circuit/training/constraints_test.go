package training

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"credence/zk/circuit/committed"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

var update = flag.Bool("update", false, "rewrite testdata/constraints*.txt")

const real1 = "rlwe4096-d1-v1"

var (
	breast = fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 30, Outputs: 1}
	digits = fixedpoint.Model{Kind: fixedpoint.Softmax, Features: 64, Outputs: 10}
	deep   = fixedpoint.Model{Kind: fixedpoint.MLP, Features: 64, Outputs: 10, Hidden: 32}
	least  = fixedpoint.Model{Kind: fixedpoint.Linear, Features: 30, Outputs: 2}
)

// realShapes are one of each kind of the sizes of docs/benchmarks.md.
func realShapes(t testing.TB) []*Shape {
	return []*Shape{
		shapeOf(t, breast, 128, 1, false, false, Whole, real1),
		shapeOf(t, breast, 128, 8, false, false, Whole, real1),
		shapeOf(t, breast, 128, 8, true, true, Whole, real1),
		shapeOf(t, least, 128, 1, false, false, Whole, real1),
		shapeOf(t, digits, 128, 1, false, false, Whole, real1),
		shapeOf(t, digits, 128, 4, false, false, Whole, real1),
		shapeOf(t, digits, 128, 4, false, false, Inner, real1),
		shapeOf(t, deep, 64, 1, false, false, Whole, real1),
	}
}

// publishedShapes are the other sizes that docs/benchmarks.md gives a count
// for: those that compile in a moment, and those that take seconds together.
func publishedShapes(t testing.TB) (quick, slow []*Shape) {
	whole := func(m fixedpoint.Model, rows, steps int) *Shape {
		return shapeOf(t, m, rows, steps, false, false, Whole, real1)
	}
	return []*Shape{
			whole(breast, 128, 2), whole(breast, 128, 4), whole(breast, 256, 4), whole(breast, 512, 4), whole(breast, 1024, 4),
			whole(digits, 128, 2), whole(digits, 256, 1),
			shapeOf(t, deep, 64, 1, false, false, Inner, real1),
		}, []*Shape{
			whole(breast, 128, 136), whole(breast, 128, 137),
			whole(digits, 128, 8), whole(digits, 128, 10), whole(digits, 128, 11), whole(digits, 512, 1), whole(digits, 1024, 1),
			whole(deep, 64, 2), whole(deep, 64, 3), whole(deep, 64, 4), whole(deep, 64, 8),
			whole(deep, 128, 1), whole(deep, 256, 1), whole(deep, 512, 1),
			shapeOf(t, deep, 64, 2, false, false, Inner, real1),
		}
}

// The cost of every circuit is pinned: shape, constraints, committed values,
// public inputs. Every count that docs/benchmarks.md publishes is among them,
// the largest with CREDENCE_FULL=1 only.
func TestConstraintsArePinned(t *testing.T) {
	quick, slow := publishedShapes(t)
	pin(t, "constraints.txt", append(append(shapes(t), realShapes(t)...), quick...))
	if os.Getenv("CREDENCE_FULL") == "1" {
		pin(t, "constraints-large.txt", slow)
	}
}

// counts of a shape, and those that are known already.
type counts struct{ constraints, committed, public int }

var counted sync.Map

// count compiles a shape once and keeps its counts, not the system: all
// together are large.
func count(t *testing.T, s *Shape) counts {
	t.Helper()
	if n, ok := counted.Load(s.Name()); ok {
		return n.(counts)
	}
	sys, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	n := counts{sys.Constraints(), sys.CommittedValues(), sys.PublicInputs()}
	counted.Store(s.Name(), n)
	return n
}

func pin(t *testing.T, name string, shapes []*Shape) {
	t.Helper()
	var got strings.Builder
	fmt.Fprintln(&got, "# shape constraints committed public")
	for _, s := range shapes {
		n := count(t, s)
		fmt.Fprintln(&got, s.Name(), n.constraints, n.committed, n.public)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
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
		t.Errorf("constraints changed: if that is meant, run CREDENCE_FULL=1 go test ./zk/circuit/training -run Pinned -update\ngot\n%swant\n%s", got.String(), want)
	}
}

// cost is what a shape's constraints are for.
type cost struct {
	cells    int // of all matrix products' inputs and outputs
	products int // evaluations of those cells at the challenges
	lookups  int // limbs, curve and their tables
	rest     int // activations, clipping, the message
}

// costOf derives the counts from the relation.
func costOf(s *Shape) cost {
	m, l := s.Model, s.Layout
	rows, out, params := l.Rows, m.Outputs, m.Parameters()
	var c cost
	n := s.Steps * rows * out
	// The data enter two products a step, and are paid for once.
	c.products = rows*l.Width() + rows*m.Features + 2*rows + rows*(out-1)
	for _, layer := range m.Layers() {
		c.cells += s.Steps * (2*rows*(layer.In+1) + 2*layer.Size() + 2*rows*layer.Out)
		c.products += s.Steps * (2*layer.Size() + 2*rows*layer.Out)
	}
	if h := m.Hidden; h > 0 {
		// Inputs of the last layer, twice; the errors that arrive at them, as a
		// third product; two a row for the weights of the rows in it.
		c.products += s.Steps*(2*rows*h+rows*h+rows*out+h*out+2*rows) + rows*out
		c.cells += s.Steps * (rows*out + h*out + rows*h)
		c.rest += s.Steps * 3 * rows * h // two of a rectifier, one for the error through it
	}
	sizes := s.sizes()
	names := map[string]int{}
	for i, name := range secretNames {
		names[name] = sizes[i]
	}
	for _, name := range limbNames {
		c.lookups += names[name]
	}
	c.lookups += limbTable
	if curve := len(s.curve()); curve > 0 {
		c.lookups += 2*n + curve
	}
	switch m.Kind {
	case fixedpoint.Logistic:
		c.rest += 2 * n
	case fixedpoint.Softmax, fixedpoint.MLP:
		c.rest += 2*n + 4*s.Steps*rows // saturation and distance; a row's reciprocal
	}
	if s.Batches {
		c.rest += s.Steps * rows * (1 + len(m.Layers()))
	}
	c.rest += params // the public base
	if s.quantises() {
		c.rest += 7*params + params/s.Digits // change, rounding, two rectifiers, their sum; the message
	} else {
		c.rest += params
	}
	if s.Norm {
		c.rest += params
	}
	return c
}

// The counts follow from the relation, and matrix products take at most two
// constraints for every cell of their inputs and outputs.
func TestConstraintsFollowFromTheRelation(t *testing.T) {
	all := realShapes(t)
	if os.Getenv("CREDENCE_FULL") == "1" {
		quick, slow := publishedShapes(t)
		all = append(append(all, quick...), slow...)
	}
	for _, s := range all {
		c := costOf(s)
		total := count(t, s).constraints
		other := total - c.products - c.lookups - c.rest
		t.Logf("%s: %d (%.2f a cell) = %d products (%.2f a cell) + %d lookups + %d rest + %d", s.Name(), total, float64(total)/float64(c.cells),
			c.products, float64(c.products)/float64(c.cells), c.lookups, c.rest, other)
		if limit := 120 + 6*s.Steps + s.Steps*(s.Model.Features+s.Model.Hidden); other < -limit || other > limit {
			t.Errorf("%s: %d rows beside those that follow from the relation", s.Name(), other)
		}
		if c.products > 2*c.cells {
			t.Errorf("%s: %d constraints for the %d cells of its products", s.Name(), c.products, c.cells)
		}
	}
}

// The work of rows x parameters x steps grows by 2, 4 and 8 and the circuit
// grows no faster.
func TestConstraintsGrowNoFasterThanTheWork(t *testing.T) {
	small := fixedpoint.Model{Kind: fixedpoint.Softmax, Features: 16, Outputs: 5}
	for name, grown := range map[string]func(k int) *Shape{
		"rows":  func(k int) *Shape { return shapeOf(t, small, 8*k, 2, false, false, Whole, real1) },
		"steps": func(k int) *Shape { return shapeOf(t, small, 8, 2*k, false, false, Whole, real1) },
		"features": func(k int) *Shape {
			m := small
			m.Features = 8 * k
			return shapeOf(t, m, 8, 2, false, false, Whole, real1)
		},
	} {
		var one *committed.System
		for _, k := range []int{1, 2, 4, 8} {
			sys := compile(t, grown(k), "")
			if one == nil {
				one = sys
			}
			t.Logf("%s x %d: %d constraints", name, k, sys.Constraints())
			if sys.Constraints() > k*one.Constraints() {
				t.Errorf("%s x %d: %d constraints, more than %d times %d", name, k, sys.Constraints(), k, one.Constraints())
			}
		}
	}
}

// A shape that does not fit is refused, whichever part is wrong.
func TestShapesAreChecked(t *testing.T) {
	l := tabular.Layout{Rows: 6, Features: 3, Kind: tabular.OneHot, Targets: 3, Bits: 10}
	su := suite(t, tiny4)
	for name, bad := range map[string]func() error{
		"no steps": func() error { _, err := NewShape(l, softmax, 0, false, false, Whole, su); return err },
		"steps": func() error {
			_, err := NewShape(l, softmax, fixedpoint.MaxSteps+1, false, false, Whole, su)
			return err
		},
		"part":    func() error { _, err := NewShape(l, softmax, 1, false, false, "half", su); return err },
		"norm":    func() error { _, err := NewShape(l, softmax, 1, false, true, Inner, su); return err },
		"targets": func() error { _, err := NewShape(l, logistic, 1, false, false, Whole, su); return err },
		"features": func() error {
			m := softmax
			m.Features++
			_, err := NewShape(l, m, 1, false, false, Whole, su)
			return err
		},
		"layout": func() error {
			bad := l
			bad.Rows = 0
			_, err := NewShape(bad, softmax, 1, false, false, Whole, su)
			return err
		},
		"hidden": func() error {
			m := softmax
			m.Hidden = 3
			_, err := NewShape(l, m, 1, false, false, Whole, su)
			return err
		},
		"too large": func() error {
			big := l
			big.Rows = tabular.MaxRows
			_, err := NewShape(big, softmax, fixedpoint.MaxSteps, false, false, Whole, su)
			return err
		},
	} {
		if err := bad(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
