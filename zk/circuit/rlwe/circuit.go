package rlwe

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark/frontend"

	"credence/zk/circuit/lookup"
	"credence/zk/circuit/norm"
)

// A Constraint names one group of constraints, so that tests can compile the
// circuit without it and show that something then slips through.
type Constraint string

// The groups of constraints, and the groups of values that must be committed
// before the challenge.
const (
	CheckTernary   Constraint = "ternary"       // u in {-1,0,1}
	CheckError     Constraint = "error"         // |e| <= 19, every row
	CheckQuotient  Constraint = "quotient"      // |k| <= K, every row
	CheckDigits    Constraint = "digits"        // digits in [0,2^b)
	CheckRow0      Constraint = "row 0"         // c0 = p0*u + e0 + Delta*m
	CheckRow1      Constraint = "row 1"         // c1 = p1*u + e1
	CheckPartial   Constraint = "partial norm"  // the committed partial norm is this shard's
	CheckTotal     Constraint = "total norm"    // the total is what its commitment holds
	CheckBound     Constraint = "norm bound"    // total <= bound
	CheckLink      Constraint = "link"          // the committed message is the encrypted one
	CommitWitness  Constraint = "commit digits" // u, e, k, digits
	CommitCounts   Constraint = "commit counts"
	CommitMasks    Constraint = "commit masks"
	CommitPartial  Constraint = "commit partial norm"
	CommitTotal    Constraint = "commit total norm"
	CommitIdentity Constraint = "commit statement"
)

// Circuit is the relation as gnark sees it. The order of its fields is the
// order of the witness vector (Assignment). All small secret values are stored
// shifted to start at zero: u+1, e+19, k+K, v+2^(b-1); small non-negative
// scalars are what keeps the prover's multi-exponentiations short.
type Circuit struct {
	Statement [2]frontend.Variable `gnark:",public"` // digest halves
	Cipher    []frontend.Variable  `gnark:",public"` // row i: c_i(r) + (r^N+1)*h_i(r)
	Key       []frontend.Variable  `gnark:",public"` // row i: p_i(r)
	// With a message: W(r), T(r) and the bound (package norm).
	Norm []frontend.Variable `gnark:",public"`
	// With a link: the message, masked, at r.
	Link []frontend.Variable `gnark:",public"`

	U        []frontend.Variable // N
	Errors   []frontend.Variable // Rows*N
	Quotient []frontend.Variable // Rows*N
	Digits   []frontend.Variable // Limbs*Values, value i's at [i*Limbs, (i+1)*Limbs), low limb first
	Masks    []frontend.Variable // 2 a row: h_i is published as h_i + m0 + m1*X
	Partial  []frontend.Variable // norm.Masks coefficients of W, from X on
	Total    []frontend.Variable // T: norm.Masks+1 coefficients
	LinkMask []frontend.Variable // LinkMasks coefficients of the message, from X^N on

	CountU, CountE, CountK, CountV []frontend.Variable

	shape *Shape
}

// NewCircuit returns a circuit of the given shape to compile.
func NewCircuit(s *Shape) *Circuit {
	vars := func(n int) []frontend.Variable { return make([]frontend.Variable, n) }
	c := &Circuit{
		Cipher: vars(s.Rows), Key: vars(s.Rows),
		U: vars(s.N), Errors: vars(s.Rows * s.N), Quotient: vars(s.Rows * s.N), Masks: vars(2 * s.Rows),
		CountU: vars(3), CountE: vars(2*s.Error + 1), CountK: vars(2*s.Quotient + 1),
		shape: s,
	}
	if s.HasMessage() {
		c.Norm = vars(3)
		c.Digits, c.CountV = vars(s.Limbs*s.Values()), vars(s.table())
		c.Partial, c.Total = vars(norm.Masks), vars(norm.Masks+1)
	}
	if s.Link {
		c.Link, c.LinkMask = vars(1), vars(LinkMasks)
	}
	return c
}

// Define states the relation of SPEC.md.
func (c *Circuit) Define(api frontend.API) error {
	s := c.shape
	if s == nil {
		return errors.New("rlwe: circuit without a shape: use NewCircuit")
	}
	r, err := c.challenge(api)
	if err != nil {
		return err
	}
	// The statement enters through the challenge. This row gives its two
	// inputs columns of their own as well, so that the proof equation itself
	// depends on them.
	api.Mul(c.Statement[0], c.Statement[1])

	if err := c.ranges(api, r); err != nil {
		return err
	}

	// r^N + 1, N a power of two.
	rn := r
	for n := s.N; n > 1; n /= 2 {
		rn = api.Mul(rn, rn)
	}
	ring := api.Add(rn, 1)

	u := make([]frontend.Variable, s.N)
	for i := range u {
		u[i] = api.Sub(c.U[i], 1)
	}
	ur := horner(api, r, u)
	for row := range s.Rows {
		small := horner(api, r, c.smallPart(api, row))
		mask := api.Mul(horner(api, r, c.Masks[2*row:2*row+2]), ring)
		if !s.skip[[]Constraint{CheckRow0, CheckRow1}[row]] {
			api.AssertIsEqual(api.Add(api.Mul(ur, c.Key[row]), small, mask), c.Cipher[row])
		}
	}
	if s.Link && !s.skip[CheckLink] {
		link := api.Add(horner(api, r, c.message(api)), api.Mul(horner(api, r, c.LinkMask), rn))
		api.AssertIsEqual(link, c.Link[0])
	}
	if s.HasMessage() {
		return c.bound(api, r)
	}
	return nil
}

// message returns the coefficients of the message with signed digits, as
// linear expressions: sum_j 2^(SlotBits*j) * value_(i*Digits+j).
func (c *Circuit) message(api frontend.API) []frontend.Variable {
	s := c.shape
	half := int64(1) << (s.ValueBits - 1)
	out := make([]frontend.Variable, s.N)
	for i := range out {
		out[i] = api.Sub(c.digit(api, i*s.Digits), half)
		for j := 1; j < s.Digits; j++ {
			v := api.Sub(c.digit(api, i*s.Digits+j), half)
			out[i] = api.Add(out[i], api.Mul(v, new(big.Int).Lsh(big.NewInt(1), uint(s.SlotBits*j))))
		}
	}
	return out
}

// challenge commits to everything the prover chooses, and to the statement.
func (c *Circuit) challenge(api frontend.API) (frontend.Variable, error) {
	committer, ok := api.(frontend.Committer)
	if !ok {
		return nil, errors.New("rlwe: this proof system has no commitments: compile with the R1CS builder")
	}
	var all []frontend.Variable
	for _, g := range []struct {
		name   Constraint
		values [][]frontend.Variable
	}{
		{CommitIdentity, [][]frontend.Variable{c.Statement[:]}},
		{CommitWitness, [][]frontend.Variable{c.U, c.Errors, c.Quotient, c.Digits}},
		{CommitMasks, [][]frontend.Variable{c.Masks, c.LinkMask}},
		{CommitPartial, [][]frontend.Variable{c.Partial}},
		{CommitTotal, [][]frontend.Variable{c.Total}},
		{CommitCounts, [][]frontend.Variable{c.CountU, c.CountE, c.CountK, c.CountV}},
	} {
		for _, v := range g.values {
			if !c.shape.skip[g.name] {
				all = append(all, v...)
			}
		}
	}
	r, err := committer.Commit(all...)
	if err != nil {
		return nil, fmt.Errorf("rlwe: committing to the witness: %w", err)
	}
	return r, nil
}

// ranges places every small value in its table.
func (c *Circuit) ranges(api frontend.API, r frontend.Variable) error {
	for _, t := range []struct {
		name           Constraint
		values, counts []frontend.Variable
	}{
		{CheckTernary, c.U, c.CountU},
		{CheckError, c.Errors, c.CountE},
		{CheckQuotient, c.Quotient, c.CountK},
		{CheckDigits, c.Digits, c.CountV},
	} {
		if len(t.values) == 0 || c.shape.skip[t.name] {
			continue
		}
		if err := lookup.AssertBelow(api, r, t.values, t.counts); err != nil {
			return fmt.Errorf("rlwe: the %s lookup: %w", t.name, err)
		}
	}
	return nil
}

// smallPart returns the coefficients of e - Q*k, plus Delta*m in row 0, as
// linear expressions: no constraint.
func (c *Circuit) smallPart(api frontend.API, row int) []frontend.Variable {
	s := c.shape
	minusQ := new(big.Int).Neg(s.Q)
	shift := new(big.Int).Mul(s.Q, big.NewInt(int64(s.Quotient)))
	shift.Sub(shift, big.NewInt(int64(s.Error)))
	scale := make([]*big.Int, s.Digits)
	for j := range scale {
		scale[j] = new(big.Int).Lsh(s.Delta, uint(j*s.SlotBits))
	}
	out := make([]frontend.Variable, s.N)
	for i := range out {
		rest := []frontend.Variable{shift}
		if row == 0 {
			for j, f := range scale {
				rest = append(rest, api.Mul(c.digit(api, i*s.Digits+j), f))
			}
		}
		out[i] = api.Add(c.Errors[row*s.N+i], api.Mul(c.Quotient[row*s.N+i], minusQ), rest...)
	}
	return out
}

// bound shows the shard's part of the norm and the total (package norm).
func (c *Circuit) bound(api frontend.API, r frontend.Variable) error {
	s := c.shape
	sum, err := c.squareSum(api)
	if err != nil {
		return fmt.Errorf("rlwe: the norm: %w", err)
	}
	if !s.skip[CheckPartial] {
		w := append([]frontend.Variable{sum}, c.Partial...)
		api.AssertIsEqual(horner(api, r, w), c.Norm[0])
	}
	if !s.skip[CheckTotal] {
		api.AssertIsEqual(horner(api, r, c.Total), c.Norm[1])
	}
	if !s.skip[CheckBound] {
		norm.AssertAtMost(api, c.Total[0], c.Norm[2])
	}
	return nil
}

// digit returns digit i, v + 2^(b-1), as a linear expression of its limbs.
func (c *Circuit) digit(api frontend.API, i int) frontend.Variable {
	if c.shape.Limbs == 1 {
		return c.Digits[i]
	}
	return api.Add(c.Digits[2*i], api.Mul(c.Digits[2*i+1], c.shape.table()))
}

// squareSum returns the sum of v^2 over this shard's values.
func (c *Circuit) squareSum(api frontend.API) (frontend.Variable, error) {
	s := c.shape
	half := int64(1) << (s.ValueBits - 1)
	if s.Limbs == 1 {
		return norm.OfHistogram(api, c.CountV, half)
	}
	values := make([]frontend.Variable, s.Values())
	for i := range values {
		values[i] = api.Sub(c.digit(api, i), half)
	}
	return norm.OfValues(api, values)
}

// horner evaluates the polynomial with the given coefficients, lowest first.
// It costs one constraint a coefficient but the highest.
func horner(api frontend.API, r frontend.Variable, coefficients []frontend.Variable) frontend.Variable {
	last := len(coefficients) - 1
	acc := coefficients[last]
	for i := last - 1; i >= 0; i-- {
		acc = api.Add(api.Mul(acc, r), coefficients[i])
	}
	return acc
}
