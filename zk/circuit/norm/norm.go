// Package norm bounds the Euclidean norm of values that a lookup has already
// placed in a table.
//
// # Why it is nearly free
//
// A lookup (package lookup) proves the exact histogram of its values. The sum
// of squares is the inner product of that histogram with the squares of the
// table's entries, which are constants: a linear expression, without a single
// multiplication (OfHistogram). Where a table of all values would be longer
// than the vector, one multiplication a value is cheaper (OfValues).
//
// # A bound over several circuits
//
// One update may span several shards, each with a proof of its own, and no
// shard's partial norm may be published. Each proof therefore commits to its
// partial sum S as the constant coefficient of a polynomial
//
//	W(X) = S + m1*X + m2*X^2 + m3*X^3        m1, m2, m3 uniform
//
// under KZG, and shows in the circuit that W(r) is what the commitment opens
// to at the proof's own challenge r. Commitments add: the sum of the shards' W
// has the total in its constant coefficient, and one proof (that of the
// closing shard) shows that total to be within the bound. Three masks are
// enough: a shard's W is seen through its commitment, its opening at its own
// challenge, and its part in the opening of the total at one further point.
package norm

import (
	"fmt"

	"github.com/consensys/gnark/frontend"
)

// Bits is the range of the difference bound - total. A total and a bound must
// both be below 2^Bits as integers, which Shape checks of package rlwe ensure.
const Bits = 62

// Masks is the number of uniform coefficients that hide a partial sum.
const Masks = 3

// OfHistogram returns the sum of (t-centre)^2 over the values whose histogram
// is counts. It adds no constraint. The histogram must come from a lookup.
func OfHistogram(api frontend.API, counts []frontend.Variable, centre int64) (frontend.Variable, error) {
	if len(counts) < 2 || len(counts) > 1<<30 || centre < 0 || centre >= 1<<30 {
		return nil, fmt.Errorf("norm: %d table entries around %d: squares would not fit %d bits", len(counts), centre, Bits)
	}
	terms := make([]frontend.Variable, len(counts))
	for t, m := range counts {
		d := int64(t) - centre
		terms[t] = api.Mul(m, d*d)
	}
	return api.Add(terms[0], terms[1], terms[2:]...), nil
}

// OfValues returns the sum of the squares of the values. It costs one
// constraint a value. That the values are short must be shown elsewhere.
func OfValues(api frontend.API, values []frontend.Variable) (frontend.Variable, error) {
	if len(values) < 2 {
		return nil, fmt.Errorf("norm: %d values, want at least 2", len(values))
	}
	squares := make([]frontend.Variable, len(values))
	for i, v := range values {
		squares[i] = api.Mul(v, v)
	}
	return api.Add(squares[0], squares[1], squares[2:]...), nil
}

// AssertAtMost asserts total <= bound, where both are integers below 2^Bits.
func AssertAtMost(api frontend.API, total, bound frontend.Variable) {
	// bound-total is in (-2^Bits, 2^Bits); a negative one is p minus something
	// below 2^Bits, far outside the range of Bits bits.
	api.ToBinary(api.Sub(bound, total), Bits)
}
