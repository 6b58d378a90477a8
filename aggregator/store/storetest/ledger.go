package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
)

func testLedger(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	equal(t, conserved(t, s), map[string]int64{})
	grant := transfer("grant/1", "issuer", "party/a", 10)
	must(t, s.Transact(ctx, grant))
	later := grant
	later.At = start.Add(time.Hour)
	must(t, s.Transact(ctx, later)) // a repeated payment happens later
	for _, other := range []credit.Transaction{
		transfer("grant/1", "issuer", "party/a", 11),
		transfer("grant/1", "issuer", "party/b", 10),
		{ID: grant.ID, Ref: digest("another"), At: start, Postings: grant.Postings},
	} {
		wants(t, s.Transact(ctx, other), store.ErrConflict)
	}
	wants(t, s.Transact(ctx, transfer("pay/1", "party/a", "party/b", 11)), store.ErrFunds)
	must(t, s.Transact(ctx, transfer("pay/1", "party/a", "party/b", 10))) // the id was not used up
	must(t, s.Transact(ctx, transfer("pay/2", "party/b", "operator", 0+1)))

	const half = 1 << 62
	for _, bad := range []credit.Transaction{
		{},
		{ID: "x", Ref: digest("x"), At: start},
		{ID: "x", At: start, Postings: grant.Postings},
		{ID: "x", Ref: digest("x"), At: start, Postings: grant.Postings[:1]},
		{ID: "x", Ref: digest("x"), At: start, Postings: []fl.Posting{{Account: "", Amount: 0}}},
		{ID: "x", Ref: digest("x"), At: start, Postings: []fl.Posting{{Account: "elsewhere", Amount: 0}}},
		// Four times 2^62 is zero modulo 2^64.
		{ID: "x", Ref: digest("x"), At: start, Postings: []fl.Posting{{Account: "party/a", Amount: half}, {Account: "party/a", Amount: half}, {Account: "party/b", Amount: half}, {Account: "party/b", Amount: half}}},
	} {
		refuses(t, s.Transact(ctx, bad))
	}
	equal(t, conserved(t, s), map[string]int64{"issuer": -10, "party/a": 0, "party/b": 9, "operator": 1})

	ids := func(account string) (ids []string) {
		history, err := s.History(ctx, account)
		must(t, err)
		for _, entry := range history {
			ids = append(ids, entry.ID)
		}
		return ids
	}
	equal(t, ids(""), []string{"grant/1", "pay/1", "pay/2"})
	equal(t, ids("party/a"), []string{"grant/1", "pay/1"})
	equal(t, ids("operator"), []string{"pay/2"})
	equal(t, ids("party/z"), []string(nil))
	history, err := s.History(ctx, "issuer")
	must(t, err)
	equal(t, history, []credit.Transaction{grant}) // with the time of the first entry
}

// testConservation runs random transactions, repeated and conflicting ones
// among them, beside the in-memory ledger, which is the reference.
func testConservation(t *testing.T, open Open) {
	accounts := []string{"issuer", "operator", "party/a", "party/b", "escrow/j"}
	rapid.Check(t, func(r *rapid.T) {
		s, err := open(t.Context(), t.TempDir())
		must(t, err)
		defer func() { must(t, s.Close()) }()
		reference := credit.NewLedger()
		for range rapid.IntRange(1, 12).Draw(r, "transactions") {
			legs := rapid.IntRange(1, 4).Draw(r, "legs")
			entry := credit.Transaction{ID: fmt.Sprintf("t/%d", rapid.IntRange(0, 6).Draw(r, "id")), Ref: digest("ref"), At: start}
			var sum int64
			for range legs {
				p := fl.Posting{Account: rapid.SampledFrom(accounts).Draw(r, "account"), Amount: rapid.Int64Range(-20, 20).Draw(r, "amount")}
				entry.Postings = append(entry.Postings, p)
				sum += p.Amount
			}
			entry.Postings = append(entry.Postings, fl.Posting{Account: rapid.SampledFrom(accounts).Draw(r, "last"), Amount: -sum})
			want, got := reference.Apply(entry), s.Transact(t.Context(), entry)
			overdraft := new(credit.Overdraft)
			if (want == nil) != (got == nil) || errors.As(want, &overdraft) != errors.Is(got, store.ErrFunds) ||
				(fl.CodeOf(want) == fl.CodeConflict) != errors.Is(got, store.ErrConflict) {
				r.Fatalf("the store answers %v, the reference %v", got, want)
			}
		}
		balances := conserved(t, s)
		for _, account := range accounts {
			if balances[account] != reference.Balance(account) {
				r.Fatalf("%s holds %d, by the reference %d", account, balances[account], reference.Balance(account))
			}
		}
	})
}
