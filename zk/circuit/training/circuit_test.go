package training

import (
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/frontend"

	"credence/zk/fixedpoint"
)

var (
	linear   = fixedpoint.Model{Kind: fixedpoint.Linear, Features: 3, Outputs: 2}
	logistic = fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 3, Outputs: 1}
	softmax  = fixedpoint.Model{Kind: fixedpoint.Softmax, Features: 3, Outputs: 3}
	mlp      = fixedpoint.Model{Kind: fixedpoint.MLP, Features: 3, Outputs: 2, Hidden: 4}
)

// shapes are instances of every kind of model, part and option.
func shapes(t testing.TB) []*Shape {
	return []*Shape{
		shapeOf(t, linear, 6, 2, false, false, Whole, tiny4),
		shapeOf(t, logistic, 6, 2, false, false, Whole, tiny4),
		shapeOf(t, logistic, 6, 1, true, true, Last, tiny1),
		shapeOf(t, softmax, 6, 2, false, true, Whole, tiny4),
		shapeOf(t, softmax, 6, 1, true, false, Inner, tiny4),
		shapeOf(t, mlp, 6, 2, true, false, Whole, tiny1),
		shapeOf(t, fixedpoint.Model{Kind: fixedpoint.MLP, Features: 2, Outputs: 2, Hidden: 12}, 6, 1, false, false, Whole, tiny1), // two shards
	}
}

func TestHonestWitnessIsAccepted(t *testing.T) {
	for _, s := range shapes(t) {
		in := honest(t, s)
		sys := compile(t, s, "")
		if err := in.try(t, sys, nil, nil); err != nil {
			t.Errorf("%s: %v", s.Name(), err)
		}
		if w := sys.Uncommitted(); len(w) > 0 {
			t.Errorf("%s: %d secret inputs are not under the commitment, the first is wire %d", s.Name(), len(w), w[0])
		}
		if got := sys.CommittedPublic(); len(got) != 2 || got[0] != 1 || got[1] != 2 {
			t.Errorf("%s: the committed public inputs are wires %v, want the statement's 1 and 2", s.Name(), got)
		}
		if sys.PublicInputs() != s.PublicInputs() {
			t.Errorf("%s: %d public inputs, the shape says %d", s.Name(), sys.PublicInputs(), s.PublicInputs())
		}
	}
}

// The witness vector is in the order in which gnark reads the circuit.
func TestAssignmentIsInTheOrderOfTheCircuit(t *testing.T) {
	for _, s := range shapes(t) {
		a, c := s.NewAssignment(), NewCircuit(s)
		n := 0
		number := func(vars []frontend.Variable, view []fr.Element) {
			if len(vars) != len(view) {
				t.Fatalf("%s: %d variables for %d values", s.Name(), len(vars), len(view))
			}
			for i := range vars {
				n++
				vars[i] = n
				view[i].SetUint64(uint64(n))
			}
		}
		one := func(v *frontend.Variable, view *fr.Element) {
			n++
			*v = n
			view.SetUint64(uint64(n))
		}
		number(c.Statement[:], a.Statement)
		one(&c.Fold, a.Fold)
		one(&c.Rows, a.Rows)
		number(c.Rates, a.Rates)
		number(c.Quantiser, a.Quantiser)
		one(&c.Table, a.Table)
		for i, v := range c.evaluations() {
			number(*v, [][]fr.Element{a.Base, a.Start, a.End, a.Batches, a.Noise, a.Messages}[i])
		}
		for i, v := range c.groups() {
			number(*v, a.secret[secretNames[i]])
		}
		want, err := frontend.NewWitness(c, fr.Modulus())
		if err != nil {
			t.Fatal(err)
		}
		v, ok := want.Vector().(fr.Vector)
		if !ok || len(v) != len(a.Vector) {
			t.Fatalf("%s: gnark's witness has %d values, the assignment %d", s.Name(), len(v), len(a.Vector))
		}
		for i := range v {
			if !v[i].Equal(&a.Vector[i]) {
				t.Fatalf("%s: position %d differs", s.Name(), i)
			}
		}
	}
}

func TestLimbGroupsAreTheCircuits(t *testing.T) {
	s := shapes(t)[3]
	c := NewCircuit(s)
	n := 0
	byName := map[string][]frontend.Variable{}
	for i, v := range c.groups() {
		byName[secretNames[i]] = *v
	}
	for _, v := range c.limbs() {
		n += len(v)
	}
	for _, name := range limbNames {
		n -= len(byName[name])
	}
	if n != 0 || len(c.limbs()) != len(limbNames) {
		t.Error("the assignment counts other limbs than the circuit looks up")
	}
}
