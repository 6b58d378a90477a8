package table

import (
	"github.com/consensys/gnark/frontend"

	"credence/zk/tabular"
)

// AssertPrefix asserts that the valid cells are n ones followed by zeros, with
// 1 <= n <= Rows. It costs one constraint a row.
//
// The differences of neighbours, with a zero after the last, are boolean and
// add up to the first cell, which is one: so exactly one of them is one.
func AssertPrefix(api frontend.API, valid []frontend.Variable) {
	api.AssertIsEqual(valid[0], 1)
	for i := range valid {
		d := valid[i]
		if i+1 < len(valid) {
			d = api.Sub(valid[i], valid[i+1])
		}
		api.AssertIsBoolean(d)
	}
}

// AssertPadding asserts that every cell of a row that is not valid is zero. It
// costs one constraint a row: the row's polynomial is zero at the challenge.
// The valid cells must be boolean.
func AssertPadding(api frontend.API, c *Cells, s *Sums) {
	for i := range c.Valid {
		// A row q*valid = body, with q of the prover's choice, has a solution
		// for any body when valid is one, and for none but zero when it is zero.
		api.DivUnchecked(s.body[i], c.Valid[i])
	}
}

// AssertClasses asserts that the targets of each valid row are one class: a
// single bit, or one-hot. It costs one constraint a target cell, and one a row
// for one-hot targets. The layout must have classes.
func AssertClasses(api frontend.API, l tabular.Layout, c *Cells) {
	for _, t := range c.Targets {
		api.AssertIsBoolean(t)
	}
	if l.Kind != tabular.OneHot {
		return
	}
	for i := range l.Rows {
		api.AssertIsEqual(sum(api, row(c.Targets, i, l.Targets)), c.Valid[i])
	}
}
