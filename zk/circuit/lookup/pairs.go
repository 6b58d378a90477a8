package lookup

import (
	"fmt"

	"github.com/consensys/gnark/frontend"
)

// AssertPairs asserts that every pair (places[i], values[i]) is one of
// (t, table[t]), t = 0..len(table)-1, and that counts is the histogram of the
// places. Pairs become single values by a second challenge, fold: f = place +
// fold*value. Both challenges must have been drawn after all places, values and
// counts were committed, independently of each other. It costs
// 2*len(places)+len(table)+1 constraints.
//
// Two different pairs give one f for at most one fold, so f is a table's entry
// and the pair is not for at most len(places)*len(table) values of fold;
// otherwise lemma 5 of Haböck holds as in AssertBelow.
func AssertPairs(api frontend.API, challenge, fold frontend.Variable, places, values []frontend.Variable, table []uint32, counts []frontend.Variable) error {
	if len(places) < 2 || len(places) != len(values) || len(table) < 2 || len(table) != len(counts) {
		return fmt.Errorf("lookup: %d places and %d values in a table of %d with %d counts: want two of each at least, and as many", len(places), len(values), len(table), len(counts))
	}
	queries := make([]frontend.Variable, len(places))
	for i := range places {
		f := api.Add(places[i], api.Mul(values[i], fold))
		queries[i] = api.DivUnchecked(1, api.Sub(challenge, f))
	}
	entries := make([]frontend.Variable, len(table))
	for t, m := range counts {
		entry := api.Add(t, api.Mul(fold, table[t]))
		entries[t] = api.DivUnchecked(m, api.Sub(challenge, entry))
	}
	api.AssertIsEqual(sum(api, queries), sum(api, entries))
	return nil
}
