package table

import (
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/test"

	"credence/zk/tabular"
)

// sums compares what Evaluate and FeatureColumns give with what the test
// computed by itself.
type sums struct {
	R, Value, Row             frontend.Variable `gnark:",public"`
	Features, Targets, Column []frontend.Variable
	Valid, X, T, M, B         []frontend.Variable
	layout                    tabular.Layout
}

func newSums(l tabular.Layout) *sums {
	vars := func(n int) []frontend.Variable { return make([]frontend.Variable, n) }
	return &sums{
		Features: vars(l.Rows), Targets: vars(l.Rows), Column: vars(l.Features), Valid: vars(l.Rows), X: vars(l.Rows * l.Features),
		T: vars(l.Rows * l.Targets), M: vars(l.Rows * l.Marks()), B: vars(Blinds), layout: l,
	}
}

func (s *sums) Define(api frontend.API) error {
	c := &Cells{Valid: s.Valid, Features: s.X, Targets: s.T, Marks: s.M, Blind: s.B}
	got, err := Evaluate(api, s.layout, s.R, c)
	if err != nil {
		return err
	}
	api.AssertIsEqual(got.Value, s.Value)
	api.AssertIsEqual(got.Row, s.Row)
	for i := range s.Features {
		api.AssertIsEqual(got.Features[i], s.Features[i])
		api.AssertIsEqual(got.Targets[i], s.Targets[i])
	}
	for j, v := range FeatureColumns(api, s.layout, got, c) {
		api.AssertIsEqual(v, s.Column[j])
	}
	return nil
}

func TestEvaluate(t *testing.T) {
	for _, l := range []tabular.Layout{
		{Rows: 3, Features: 1, Kind: tabular.Binary, Targets: 1, Bits: 4},
		{Rows: 4, Features: 3, Kind: tabular.OneHot, Targets: 2, Bits: 4},
		{Rows: 2, Features: 33, Kind: tabular.Real, Targets: 3, Bits: 4},
	} {
		w := newSums(l)
		f := make([]fr.Element, l.Cells()+Blinds)
		for i := range f {
			f[i].SetInt64(int64(i*i%13) - 6)
		}
		var r, x fr.Element
		r.SetUint64(123456789)
		weight := func(n int) *fr.Element {
			x.SetOne()
			for range n {
				x.Mul(&x, &r)
			}
			return &x
		}
		cell := func(i, j int) *fr.Element { return &f[i*l.Width()+j] }
		part := func(n int, of func(k int) *fr.Element, step int) fr.Element {
			var acc, t fr.Element
			for k := range n {
				acc.Add(&acc, t.Mul(of(k), weight(k*step)))
			}
			return acc
		}
		w.R, w.Row = r, *weight(l.Width())
		w.Value = part(len(f), func(k int) *fr.Element { return &f[k] }, 1)
		for i := range l.Rows {
			w.Features[i] = part(l.Features, func(k int) *fr.Element { return cell(i, l.Feature(k)) }, 1)
			w.Targets[i] = part(l.Targets, func(k int) *fr.Element { return cell(i, l.Target(k)) }, 1)
			w.Valid[i] = *cell(i, 0)
			for j := range l.Features {
				w.X[i*l.Features+j] = *cell(i, l.Feature(j))
			}
			for j := range l.Targets {
				w.T[i*l.Targets+j] = *cell(i, l.Target(j))
			}
			for j := range l.Marks() {
				w.M[i*l.Marks()+j] = *cell(i, l.Mark(j))
			}
		}
		for j := range l.Features {
			w.Column[j] = part(l.Rows, func(k int) *fr.Element { return cell(k, l.Feature(j)) }, l.Width())
		}
		w.B[0], w.B[1] = f[l.Cells()], f[l.Cells()+1]
		if err := test.IsSolved(newSums(l), w, ecc.BN254.ScalarField()); err != nil {
			t.Errorf("%s: %v", l.Name(), err)
		}
		// One constraint a cell, one more a feature's cell, and the powers.
		ccs, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, newSums(l))
		if err != nil {
			t.Fatal(err)
		}
		equalities := 2 + 2*l.Rows + l.Features
		if got, most := ccs.GetNbConstraints()-equalities, l.Cells()+l.Rows*l.Features+40; got > most {
			t.Errorf("%s: %d constraints, more than %d", l.Name(), got, most)
		}
	}
}
