package table

import (
	"fmt"

	"github.com/consensys/gnark/frontend"

	"credence/zk/tabular"
)

// Cells are the cells of a table in a circuit, as linear expressions of
// committed wires: signed integers, row-major within each group.
type Cells struct {
	Valid    []frontend.Variable // Rows
	Features []frontend.Variable // Rows*Features
	Targets  []frontend.Variable // Rows*Targets
	Marks    []frontend.Variable // Rows*Marks
	Blind    []frontend.Variable // 2: the coefficients from degree Rows*Width on
}

func (c *Cells) check(l tabular.Layout) error {
	if err := l.Check(); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if len(c.Valid) != l.Rows || len(c.Features) != l.Rows*l.Features || len(c.Targets) != l.Rows*l.Targets ||
		len(c.Marks) != l.Rows*l.Marks() || len(c.Blind) != Blinds {
		return fmt.Errorf("table: cells of another layout than %s", l.Name())
	}
	return nil
}

// Blinds is the number of uniform coefficients behind the cells. A commitment
// is seen at the trapdoor and opened at one point, so two are enough for one
// opening; every proof opens a commitment of its own (a re-blinded one).
const Blinds = 2

// Sums are what one pass over a table at the challenge r gives. All of it is
// paid for by the evaluation, one constraint a cell.
type Sums struct {
	Features []frontend.Variable // a row each: sum_j r^j * feature j, j from 0
	Targets  []frontend.Variable // a row each: sum_c r^c * target c, c from 0
	Row      frontend.Variable   // r^Width, the weight of one row to the next
	Value    frontend.Variable   // T(r), blinding included
	body     []frontend.Variable // a row each: all its cells but the valid one
}

// Evaluate evaluates the committed polynomial
//
//	T(X) = sum_ij cell_ij * X^(i*Width+j) + X^(Rows*Width)*(b0 + b1*X)
//
// at r. It costs Rows*Width constraints and about four times log2(Rows*Width).
// The caller asserts that Value is what a commitment opens to at r, and has
// committed to all wires before r was drawn.
func Evaluate(api frontend.API, l tabular.Layout, r frontend.Variable, c *Cells) (*Sums, error) {
	if err := c.check(l); err != nil {
		return nil, err
	}
	s := &Sums{
		Features: make([]frontend.Variable, l.Rows), Targets: make([]frontend.Variable, l.Rows),
		body: make([]frontend.Variable, l.Rows), Row: power(api, r, l.Width()),
	}
	afterFeatures, afterTargets := power(api, r, l.Features), power(api, r, l.Targets)
	rows := make([]frontend.Variable, l.Rows)
	for i := range l.Rows {
		s.Features[i] = Horner(api, r, row(c.Features, i, l.Features))
		s.Targets[i] = Horner(api, r, row(c.Targets, i, l.Targets))
		tail := api.Add(s.Targets[i], api.Mul(afterTargets, Horner(api, r, row(c.Marks, i, l.Marks()))))
		s.body[i] = api.Add(s.Features[i], api.Mul(afterFeatures, tail))
		rows[i] = api.Add(c.Valid[i], api.Mul(r, s.body[i]))
	}
	blind := api.Mul(power(api, s.Row, l.Rows), Horner(api, r, c.Blind))
	s.Value = api.Add(Horner(api, s.Row, rows), blind)
	return s, nil
}

// FeatureColumns returns, for each feature j, sum_i w^i * feature j of row i,
// where w is Sums.Row. It costs one constraint a feature's cell. With
// Sums.Features it is what Freivalds' check of a matrix product needs of the
// table, for any number of products.
func FeatureColumns(api frontend.API, l tabular.Layout, s *Sums, c *Cells) []frontend.Variable {
	out := make([]frontend.Variable, l.Features)
	column := make([]frontend.Variable, l.Rows)
	for j := range out {
		for i := range column {
			column[i] = c.Features[i*l.Features+j]
		}
		out[j] = Horner(api, s.Row, column)
	}
	return out
}

// Count is the number of valid rows, a linear expression.
func (c *Cells) Count(api frontend.API) frontend.Variable { return sum(api, c.Valid) }

func row(v []frontend.Variable, i, width int) []frontend.Variable { return v[i*width : (i+1)*width] }

func sum(api frontend.API, v []frontend.Variable) frontend.Variable {
	if len(v) == 1 {
		return v[0]
	}
	return api.Add(v[0], v[1], v[2:]...)
}

// Horner evaluates the polynomial with the given coefficients, lowest first.
// It costs one constraint a coefficient but the highest.
func Horner(api frontend.API, r frontend.Variable, coefficients []frontend.Variable) frontend.Variable {
	last := len(coefficients) - 1
	acc := coefficients[last]
	for i := last - 1; i >= 0; i-- {
		acc = api.Add(api.Mul(acc, r), coefficients[i])
	}
	return acc
}

// power returns x^n for n >= 1.
func power(api frontend.API, x frontend.Variable, n int) frontend.Variable {
	var out frontend.Variable
	for ; ; x = api.Mul(x, x) {
		if n&1 == 1 {
			if out == nil {
				out = x
			} else {
				out = api.Mul(out, x)
			}
		}
		if n >>= 1; n == 0 {
			return out
		}
	}
}
