package training

import (
	"github.com/consensys/gnark/frontend"

	"credence/zk/circuit/table"
	"credence/zk/fixedpoint"
)

// A builder states the relation step by step. Products of matrices are checked
// by Freivalds' method: the axis of rows is weighted by powers of r^Width, the
// axis of a layer's inputs by powers of r, the axis of its outputs by powers
// of the second challenge. Both challenges come after every value.
type builder struct {
	api     frontend.API
	c       *Circuit
	s       *Shape
	r, fold frontend.Variable

	cells *table.Cells
	sums  *table.Sums
	// The inputs of a row are one where it is valid, and its features.
	columns []frontend.Variable // an input each: its sum with the rows' weights
	inputs  []frontend.Variable // a row each: sum_j r^j * input j
	targets []frontend.Variable // a row each: sum_k fold^k * target k
	// target columns, weighted by rows; mlp only.
	targetColumns []frontend.Variable

	now []frontend.Variable // weights before the step at hand, signed

	zeros map[Constraint][]frontend.Variable // see zero
}

func (b *builder) on(c Constraint) bool { return !b.s.skip[c] }

func (b *builder) equal(c Constraint, x, y frontend.Variable) {
	if b.on(c) {
		b.api.AssertIsEqual(x, y)
	}
}

// zero asserts that one of x and y is zero. Both are integers that are never
// negative and whose products, all added up, are far below the field's order,
// so it is enough that their sum is zero (settle).
func (b *builder) zero(c Constraint, x, y frontend.Variable) {
	if b.on(c) {
		b.zeros[c] = append(b.zeros[c], b.api.Mul(x, y))
	}
}

func (b *builder) settle() {
	for _, c := range []Constraint{CheckAbove, CheckBelow} {
		if products := b.zeros[c]; len(products) > 0 {
			b.api.AssertIsEqual(b.sum(products), 0)
		}
	}
}

// shifted returns the values minus a shift.
func (b *builder) shifted(v []frontend.Variable, by any) []frontend.Variable {
	out := make([]frontend.Variable, len(v))
	for i := range v {
		out[i] = b.api.Sub(v[i], by)
	}
	return out
}

// limbs returns value i of n limbs each.
func (b *builder) limbs(v []frontend.Variable, i, n int) frontend.Variable {
	out := v[i*n]
	for l := 1; l < n; l++ {
		out = b.api.Add(out, b.api.Mul(v[i*n+l], uint64(1)<<(limbBits*l)))
	}
	return out
}

func (b *builder) sum(v []frontend.Variable) frontend.Variable {
	switch len(v) {
	case 0:
		return 0
	case 1:
		return v[0]
	}
	return b.api.Add(v[0], v[1], v[2:]...)
}

func (b *builder) horner(x frontend.Variable, v []frontend.Variable) frontend.Variable {
	return table.Horner(b.api, x, v)
}

// table evaluates the committed table and takes from it what all products with
// the data need: two constraints a cell, for any number of steps.
func (b *builder) table() error {
	l, c, api := b.s.Layout, b.c, b.api
	b.cells = &table.Cells{
		Valid: c.Valid, Features: b.shifted(c.Secret.Features, l.Half()), Targets: c.Targets, Marks: c.Marks, Blind: c.Blind,
	}
	if l.Classes() == 0 {
		b.cells.Targets = b.shifted(c.Targets, l.Half())
	}
	var err error
	if b.sums, err = table.Evaluate(api, l, b.r, b.cells); err != nil {
		return err
	}
	b.equal(CheckTable, b.sums.Value, c.Table)
	b.equal(CheckCount, b.cells.Count(api), c.Rows)
	const one = 1 << fixedpoint.FeatureFraction // on the grid of the features
	b.columns = append([]frontend.Variable{api.Mul(b.horner(b.sums.Row, c.Valid), one)}, table.FeatureColumns(api, l, b.sums, b.cells)...)
	for i := range l.Rows {
		b.inputs = append(b.inputs, api.Add(api.Mul(c.Valid[i], one), api.Mul(b.r, b.sums.Features[i])))
		b.targets = append(b.targets, b.horner(b.fold, b.cells.Targets[i*l.Targets:(i+1)*l.Targets]))
	}
	if b.s.Model.Kind == fixedpoint.MLP {
		b.targetColumns = b.byColumn(b.cells.Targets, l.Targets)
	}
	return nil
}

// byColumn returns, for each column of a matrix over the rows, its sum with
// the rows' weights.
func (b *builder) byColumn(v []frontend.Variable, width int) []frontend.Variable {
	out := make([]frontend.Variable, width)
	column := make([]frontend.Variable, b.s.Layout.Rows)
	for j := range out {
		for i := range column {
			column[i] = v[i*width+j]
		}
		out[j] = b.horner(b.sums.Row, column)
	}
	return out
}

// atFold returns the value of a matrix over the rows at (rows' weights, fold).
func (b *builder) atFold(v []frontend.Variable, width int) frontend.Variable {
	rows := make([]frontend.Variable, b.s.Layout.Rows)
	for i := range rows {
		rows[i] = b.horner(b.fold, v[i*width:(i+1)*width])
	}
	return b.horner(b.sums.Row, rows)
}

// weights ties the base and the start to what is public or committed.
func (b *builder) weights() {
	c := b.c
	var base, start []frontend.Variable
	if b.s.quantises() {
		base = b.shifted(c.Secret.Base, weightShift)
		b.equal(CheckBase, b.horner(b.r, base), c.Public.Base[0])
	}
	b.now = base
	if b.s.ownStart() {
		start = b.shifted(c.Secret.Start, weightShift)
		masked := append(append([]frontend.Variable{}, start...), c.StartMask...)
		b.equal(CheckStart, b.horner(b.r, masked), c.Public.Start[0])
		b.now = start
	}
}

// batches ties the masks to the public ones.
func (b *builder) batches() {
	if b.s.Batches {
		b.equal(CheckBatches, b.horner(b.r, b.c.Batch), b.c.Batches[0])
	}
}

// after returns the weights after step t, signed.
func (b *builder) after(t int) []frontend.Variable {
	n := b.s.Model.Parameters()
	out := make([]frontend.Variable, n)
	for i := range out {
		out[i] = b.api.Sub(b.limbs(b.c.Weights, t*n+i, weightLimbs), weightShift)
	}
	return out
}

// rectify returns x and max(0, x) from a bit and a non-negative slack: x is
// slack+1 where on and -slack where not. Each x has one such pair.
func (b *builder) rectify(on, slack frontend.Variable) (x, out frontend.Variable) {
	if b.on(CheckRectifier) {
		b.api.AssertIsBoolean(on)
	}
	product := b.api.Mul(slack, on)
	out = b.api.Add(product, on)
	return b.api.Sub(b.api.Add(product, out), slack), out
}
