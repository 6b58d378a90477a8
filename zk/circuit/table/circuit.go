package table

import (
	"errors"
	"fmt"

	"github.com/consensys/gnark/frontend"

	"credence/zk/circuit/committed"
	"credence/zk/circuit/lookup"
	"credence/zk/tabular"
)

// A Constraint names one group of constraints, so that tests can compile the
// circuit without it and show that something then slips through.
type Constraint string

// The groups of constraints, and the groups of values that must be committed
// before the challenge.
const (
	CheckValue   Constraint = "table"        // T(r) is what the commitment opens to
	CheckPrefix  Constraint = "valid prefix" // n ones, then zeros
	CheckCount   Constraint = "row count"    // n is the public number of rows
	CheckPadding Constraint = "padding"      // rows beyond n are zero
	CheckRange   Constraint = "range"        // every limb is in the table of limbs
	CheckClasses Constraint = "classes"      // one class a row

	CheckLimits    Constraint = "limits"        // the limits are the public ones
	CheckUpper     Constraint = "upper limit"   // a cell and its distance to the maximum add up
	CheckMarks     Constraint = "marks"         // marks are bits
	CheckMissing   Constraint = "missing"       // marks of a feature at most so many
	CheckLabels    Constraint = "label counts"  // rows of a class at least so many
	CheckSumMin    Constraint = "least sum"     // sum of a column
	CheckSumMax    Constraint = "greatest sum"  // sum of a column
	CheckSpreadMin Constraint = "least spread"  // n*Q - S^2
	CheckSpreadMax Constraint = "widest spread" // n*Q - S^2

	CommitIdentity Constraint = "commit statement"
	CommitCells    Constraint = "commit cells"
	CommitBlind    Constraint = "commit blinding"
	CommitCounts   Constraint = "commit counts"
	CommitLimits   Constraint = "commit limits"
	CommitSlack    Constraint = "commit differences"
)

// Circuit is a relation as gnark sees it. The order of its fields is the order
// of the witness vector (Assignment). All small secrets are stored as
// non-negative integers, which keeps the prover's multi-exponentiations short.
type Circuit struct {
	Statement [2]frontend.Variable `gnark:",public"` // digest halves
	Rows      frontend.Variable    `gnark:",public"` // n
	Value     frontend.Variable    `gnark:",public"` // T(r)
	// With limits: sum_k limit_k r^k, in the order of tabular.Limits.Vector.
	Bounds []frontend.Variable `gnark:",public"`

	Valid []frontend.Variable // Rows
	// Numbers: Limbs of every number, row-major, low limb first. Registration:
	// of x + 2^(Bits-1). Validation: of x - Min, and x itself in the padding.
	Numbers []frontend.Variable
	// Classes: target cells of layouts with classes, row-major.
	Classes []frontend.Variable
	// Marks: the mark cells. Validation: their bits, one a feature.
	Marks []frontend.Variable
	Blind []frontend.Variable

	Limits []frontend.Variable
	Above  []frontend.Variable // Limbs of Max - x, and -x = 0 in the padding
	Slack  []frontend.Variable // limbs of the differences of check, in its order

	Counts []frontend.Variable // histogram of all limbs

	shape *Shape
}

// NewCircuit returns a circuit of the given shape to compile.
func NewCircuit(s *Shape) *Circuit {
	c := &Circuit{shape: s}
	for i, view := range c.groups() {
		*view = make([]frontend.Variable, s.sizes()[i])
	}
	return c
}

// groups lists the slices of the circuit in the order of the witness.
func (c *Circuit) groups() []*[]frontend.Variable {
	return []*[]frontend.Variable{
		&c.Bounds, &c.Valid, &c.Numbers, &c.Classes, &c.Marks, &c.Blind, &c.Limits, &c.Above, &c.Slack, &c.Counts,
	}
}

// sizes are the lengths of groups.
func (s *Shape) sizes() []int {
	l := s.Layout
	bounds, classes, marks, limits, above := 0, 0, l.Rows*l.Marks(), 0, 0
	if l.Classes() > 0 {
		classes = l.Rows * l.Targets
	}
	if s.validates() {
		bounds, marks, limits, above = 1, l.Rows*l.Features, l.LimitCount(), s.Limbs*s.numbers()
	}
	return []int{bounds, l.Rows, s.Limbs * s.numbers(), classes, marks, Blinds, limits, above, s.slackLimbs(), s.entries()}
}

// Compile builds the constraint system of a shape.
func Compile(s *Shape) (*committed.System, error) { return committed.Compile(s.Name(), NewCircuit(s)) }

// Define states the relation.
func (c *Circuit) Define(api frontend.API) error {
	s := c.shape
	r, err := c.challenge(api)
	if err != nil {
		return err
	}
	if !s.skip[CheckRange] {
		limbs := append(append(append([]frontend.Variable{}, c.Numbers...), c.Above...), c.Slack...)
		if err := lookup.AssertBelow(api, r, limbs, c.Counts); err != nil {
			return fmt.Errorf("table: the lookup of limbs: %w", err)
		}
	}
	cells := c.cells(api)
	sums, err := Evaluate(api, s.Layout, r, cells)
	if err != nil {
		return err
	}
	if !s.skip[CheckValue] {
		api.AssertIsEqual(sums.Value, c.Value)
	}
	if !s.skip[CheckPrefix] {
		AssertPrefix(api, c.Valid)
	}
	if !s.skip[CheckCount] {
		api.AssertIsEqual(cells.Count(api), c.Rows)
	}
	if !s.skip[CheckPadding] {
		AssertPadding(api, cells, sums)
	}
	if s.Layout.Classes() > 0 && !s.skip[CheckClasses] {
		AssertClasses(api, s.Layout, cells)
	}
	if s.validates() {
		c.validate(api, r, cells)
	}
	return nil
}

// challenge commits to everything the prover chooses, and to the statement.
func (c *Circuit) challenge(api frontend.API) (frontend.Variable, error) {
	committer, ok := api.(frontend.Committer)
	if !ok {
		return nil, errors.New("table: this proof system has no commitments: compile with the R1CS builder")
	}
	var all []frontend.Variable
	for _, g := range []struct {
		name   Constraint
		values [][]frontend.Variable
	}{
		{CommitIdentity, [][]frontend.Variable{c.Statement[:]}},
		{CommitCells, [][]frontend.Variable{c.Valid, c.Numbers, c.Classes, c.Marks}},
		{CommitBlind, [][]frontend.Variable{c.Blind}},
		{CommitLimits, [][]frontend.Variable{c.Limits}},
		{CommitSlack, [][]frontend.Variable{c.Above, c.Slack}},
		{CommitCounts, [][]frontend.Variable{c.Counts}},
	} {
		for _, v := range g.values {
			if !c.shape.skip[g.name] {
				all = append(all, v...)
			}
		}
	}
	r, err := committer.Commit(all...)
	if err != nil {
		return nil, fmt.Errorf("table: committing to the witness: %w", err)
	}
	return r, nil
}

// cells returns the signed cells as expressions.
func (c *Circuit) cells(api frontend.API) *Cells {
	s, l := c.shape, c.shape.Layout
	out := &Cells{Valid: c.Valid, Blind: c.Blind, Targets: c.Classes, Marks: c.Marks}
	numbers := make([]frontend.Variable, s.numbers())
	for i := range numbers {
		x := s.join(api, c.Numbers[i*s.Limbs:(i+1)*s.Limbs])
		if s.validates() {
			least := c.Limits[limitsANumber*(i%l.Numbers())]
			numbers[i] = api.Add(x, api.Mul(least, c.Valid[i/l.Numbers()]))
		} else {
			numbers[i] = api.Sub(x, l.Half())
		}
	}
	if l.Kind == tabular.Real {
		for i := range l.Rows {
			n := row(numbers, i, l.Numbers())
			out.Features, out.Targets = append(out.Features, n[:l.Features]...), append(out.Targets, n[l.Features:]...)
		}
	} else {
		out.Features = numbers
	}
	if s.validates() {
		out.Marks = make([]frontend.Variable, 0, l.Rows*l.Marks())
		for i := range l.Rows {
			bits := row(c.Marks, i, l.Features)
			for at := 0; at < l.Features; at += tabular.MarkBits {
				out.Marks = append(out.Marks, weighted(api, bits[at:min(at+tabular.MarkBits, l.Features)], 1))
			}
		}
	}
	return out
}

// join puts limbs together, low limb first: a linear expression.
func (s *Shape) join(api frontend.API, limbs []frontend.Variable) frontend.Variable {
	return weighted(api, limbs, s.limbBits())
}

// weighted is sum_k v_k * 2^(k*bits), a linear expression.
func weighted(api frontend.API, v []frontend.Variable, bits int) frontend.Variable {
	terms := make([]frontend.Variable, len(v))
	for k := range v {
		terms[k] = api.Mul(v[k], power2(k*bits))
	}
	return sum(api, terms)
}
