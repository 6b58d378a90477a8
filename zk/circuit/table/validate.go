package table

import (
	"math/big"

	"github.com/consensys/gnark/frontend"

	"credence/zk/tabular"
)

// limitsANumber is the number of limits on one number (tabular.Limits.Vector).
const limitsANumber = 6

func power2(n int) *big.Int { return new(big.Int).Lsh(big.NewInt(1), uint(n)) }

// validate asserts that the table is within the limits, and that the limits
// are the public ones.
func (c *Circuit) validate(api frontend.API, r frontend.Variable, cells *Cells) {
	s, l := c.shape, c.shape.Layout
	if !s.skip[CheckLimits] {
		api.AssertIsEqual(Horner(api, r, c.Limits), c.Bounds[0])
	}
	if !s.skip[CheckMarks] {
		for _, m := range c.Marks {
			api.AssertIsBoolean(m)
		}
	}
	if !s.skip[CheckUpper] {
		c.upper(api, r)
	}
	slack := c.Slack
	// atLeast asserts x >= least, in so many limbs.
	atLeast := func(name Constraint, limbs int, x, least frontend.Variable) {
		if !s.skip[name] {
			api.AssertIsEqual(api.Sub(x, least), s.join(api, slack[:limbs]))
		}
		slack = slack[limbs:]
	}
	for j := range l.Numbers() {
		limits := c.Limits[limitsANumber*j : limitsANumber*(j+1)]
		column := make([]frontend.Variable, l.Rows)
		squares := make([]frontend.Variable, l.Rows)
		for i := range column {
			column[i] = number(l, cells, i, j)
			squares[i] = api.Mul(column[i], column[i])
		}
		total := sum(api, column)
		spread := api.Sub(api.Mul(c.Rows, sum(api, squares)), api.Mul(total, total))
		atLeast(CheckSumMin, s.sumLimbs(), total, limits[2])
		atLeast(CheckSumMax, s.sumLimbs(), limits[3], total)
		atLeast(CheckSpreadMin, s.spreadLimbs(), spread, limits[4])
		atLeast(CheckSpreadMax, s.spreadLimbs(), limits[5], spread)
	}
	missing := c.Limits[limitsANumber*l.Numbers():]
	for j := range l.Features {
		marks := make([]frontend.Variable, l.Rows)
		for i := range marks {
			marks[i] = c.Marks[i*l.Features+j]
		}
		atLeast(CheckMissing, s.countLimbs(), missing[j], sum(api, marks))
	}
	for k, count := range c.labelCounts(api) {
		atLeast(CheckLabels, s.countLimbs(), count, missing[l.Features+k])
	}
}

// upper asserts, for every number, (x - Min*valid) + above = (Max-Min)*valid,
// a row at a time as polynomials at the challenge: one constraint a number.
func (c *Circuit) upper(api frontend.API, r frontend.Variable) {
	s, n := c.shape, c.shape.Layout.Numbers()
	widths := make([]frontend.Variable, n)
	for j := range widths {
		widths[j] = c.Limits[limitsANumber*j+1]
	}
	atR := Horner(api, r, widths)
	for i := range c.Valid {
		both := make([]frontend.Variable, n)
		for j := range both {
			at := (i*n + j) * s.Limbs
			both[j] = api.Add(s.join(api, c.Numbers[at:at+s.Limbs]), s.join(api, c.Above[at:at+s.Limbs]))
		}
		api.AssertIsEqual(Horner(api, r, both), api.Mul(atR, c.Valid[i]))
	}
}

// number is number j of row i.
func number(l tabular.Layout, c *Cells, i, j int) frontend.Variable {
	if j < l.Features {
		return c.Features[i*l.Features+j]
	}
	return c.Targets[i*l.Targets+j-l.Features]
}

// labelCounts returns the rows of each class, linear expressions.
func (c *Circuit) labelCounts(api frontend.API) []frontend.Variable {
	l := c.shape.Layout
	switch l.Kind {
	case tabular.Binary:
		ones := sum(api, c.Classes)
		return []frontend.Variable{api.Sub(c.Rows, ones), ones}
	case tabular.OneHot:
		out := make([]frontend.Variable, l.Targets)
		column := make([]frontend.Variable, l.Rows)
		for k := range out {
			for i := range column {
				column[i] = c.Classes[i*l.Targets+k]
			}
			out[k] = sum(api, column)
		}
		return out
	}
	return nil
}
