// Package lookup shows that many values lie in a small set of consecutive
// integers, at one constraint a value and one a table entry.
//
// # What it proves
//
// It is the logarithmic-derivative argument (Haböck, "Multivariate lookups
// based on logarithmic derivatives", eprint 2022/1530, lemma 5): the values
// f_1..f_n all lie in {0..T-1}, and entry t occurs exactly counts[t] times, if
// and only if
//
//	sum_i 1/(X - f_i) = sum_t counts[t]/(X - t)
//
// as rational functions, provided n is below the field's characteristic. The
// circuit checks that at one point, the challenge, so two different sides pass
// for at most n+T points.
//
// # What it trusts
//
// The caller must have committed to every value and to every count before the
// challenge was drawn; nothing here can check that. Sub-tables are kept apart
// by giving each its own identity, at one more constraint each, and not by a
// tag added to the value: a tag is itself part of a field element that a
// prover chooses, and a value could be moved into another sub-table's range.
//
// Since the counts are exact, any function of the multiset of values is a
// linear function of the counts. Package norm uses that.
package lookup

import (
	"fmt"

	"github.com/consensys/gnark/frontend"
)

// AssertBelow asserts that every value is an integer of 0..len(counts)-1 and
// that counts is their histogram. The challenge must have been drawn after all
// values and counts were committed. It costs len(values)+len(counts)+1
// constraints.
func AssertBelow(api frontend.API, challenge frontend.Variable, values, counts []frontend.Variable) error {
	if len(values) < 2 || len(counts) < 2 {
		return fmt.Errorf("lookup: %d values in a table of %d: both must be at least 2", len(values), len(counts))
	}
	queries := make([]frontend.Variable, len(values))
	for i, f := range values {
		// The quotient exists only if the divisor is not zero: with a zero
		// divisor the row reads 0*x = 1, which nothing satisfies.
		queries[i] = api.DivUnchecked(1, api.Sub(challenge, f))
	}
	entries := make([]frontend.Variable, len(counts))
	for t, m := range counts {
		// Here a zero divisor would leave the quotient free. It needs the
		// challenge to be one of the T entries, which is in the error bound.
		entries[t] = api.DivUnchecked(m, api.Sub(challenge, t))
	}
	api.AssertIsEqual(sum(api, queries), sum(api, entries))
	return nil
}

// Constraints is the number of constraints AssertBelow adds.
func Constraints(values, entries int) int { return values + entries + 1 }

func sum(api frontend.API, v []frontend.Variable) frontend.Variable {
	return api.Add(v[0], v[1], v[2:]...)
}
