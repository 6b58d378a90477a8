package credit

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"credence/fl"

	"pgregory.net/rapid"
)

var (
	at  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ref = fl.DigestBytes([]byte("document"))
)

func must(t *testing.T) func(Transaction, error) Transaction {
	return func(tx Transaction, err error) Transaction {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
}

func TestLifeOfABudget(t *testing.T) {
	ok := must(t)
	l := NewLedger()
	postings, err := RoundPostings(Round{Job: "j", Round: 1, Escrow: 90, RoundsLeft: 3, Rates: fl.Rates{Work: 800, Operator: 200},
		OpenedAt: at, Deadline: at.Add(time.Hour), Clients: []Work{{"a", 1, 10, 1, at}, {"b", 1, 20, 1, at}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tx := range []Transaction{
		ok(Grant("owner", 100, ref, at)),
		ok(Escrow("j", "owner", 90, ref, at)),
		ok(Payout("j", 1, postings, ref, at)),
		ok(Refund("j", "owner", 60, ref, at)),
	} {
		for range 2 { // entering twice is entering once
			if err := l.Apply(tx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for account, want := range map[string]int64{Issuer: -100, Operator: 6, "party/owner": 70, "party/a": 8, "party/b": 16, "escrow/j": 0, "party/nobody": 0} {
		if got := l.Balance(account); got != want {
			t.Errorf("%s holds %d, want %d", account, got, want)
		}
	}
	if got := fmt.Sprint(l.Accounts()); got != "[escrow/j issuer operator party/a party/b party/owner]" {
		t.Errorf("accounts %s", got)
	}
}

func TestLedgerRefuses(t *testing.T) {
	ok := must(t)
	l := NewLedger()
	if err := l.Apply(ok(Grant("owner", 100, ref, at))); err != nil {
		t.Fatal(err)
	}

	err := l.Apply(ok(Escrow("j", "owner", 101, ref, at)))
	var overdraft *Overdraft
	if !errors.As(err, &overdraft) || overdraft.Account != "party/owner" || overdraft.Balance != 100 || fl.CodeOf(err) != fl.CodeFunds {
		t.Errorf("overdraft: %v", err)
	}
	var refusal *fl.Refusal
	if !errors.As(err, &refusal) || refusal.Party != "owner" {
		t.Errorf("the refusal names %v", refusal)
	}
	if err := l.Apply(ok(Refund("j", "owner", 1, ref, at))); fl.CodeOf(err) != fl.CodeFunds {
		t.Errorf("empty escrow: %v", err)
	}
	if err := l.Apply(ok(Grant("owner", 99, ref, at))); fl.CodeOf(err) != fl.CodeConflict {
		t.Errorf("same id, other content: %v", err)
	}
	later := ok(Grant("owner", 100, ref, at.Add(time.Hour)))
	if err := l.Apply(later); err != nil {
		t.Errorf("same content later: %v", err)
	}
	if err := l.Apply(ok(Grant("owner", fl.MaxPosting, fl.DigestBytes([]byte("x")), at))); !errors.Is(err, ErrOverflow) {
		t.Errorf("overflow: %v", err)
	}
	if l.Balance("party/owner") != 100 || l.Balance(Issuer) != -100 {
		t.Error("a refused transaction changed a balance")
	}

	posting := func(account string, amount int64) fl.Posting { return fl.Posting{Account: account, Amount: amount} }
	for name, tx := range map[string]Transaction{
		"no id":          {Ref: ref, Postings: []fl.Posting{posting(Issuer, 0)}},
		"no ref":         {ID: "x", Postings: []fl.Posting{posting(Issuer, 0)}},
		"no postings":    {ID: "x", Ref: ref},
		"unbalanced":     {ID: "x", Ref: ref, Postings: []fl.Posting{posting(Issuer, -2), posting(Operator, 1)}},
		"no account":     {ID: "x", Ref: ref, Postings: []fl.Posting{posting("", 0)}},
		"odd account":    {ID: "x", Ref: ref, Postings: []fl.Posting{posting("treasury", 0)}},
		"odd party":      {ID: "x", Ref: ref, Postings: []fl.Posting{posting("party/A B", 0)}},
		"odd escrow":     {ID: "x", Ref: ref, Postings: []fl.Posting{posting("escrow/", 0)}},
		"too large":      {ID: "x", Ref: ref, Postings: []fl.Posting{posting(Issuer, -fl.MaxPosting-1), posting(Operator, fl.MaxPosting+1)}},
		"wraps to zero":  {ID: "x", Ref: ref, Postings: []fl.Posting{posting(Operator, math.MaxInt64), posting(Operator, math.MaxInt64), posting(Operator, 2)}},
		"smallest int64": {ID: "x", Ref: ref, Postings: []fl.Posting{posting(Issuer, math.MinInt64), posting(Operator, math.MinInt64)}},
		"one account's sum overflows": {ID: "x", Ref: ref, Postings: []fl.Posting{
			posting(Operator, fl.MaxPosting), posting(Operator, 1), posting(Issuer, -fl.MaxPosting), posting(Issuer, -1)}},
	} {
		if err := l.Apply(tx); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := Settle(Transaction{}, l.Balance); err == nil {
		t.Error("an empty transaction settles")
	}
}

func TestConstructorsRefuse(t *testing.T) {
	for name, f := range map[string]func() (Transaction, error){
		"grant of 0":        func() (Transaction, error) { return Grant("a", 0, ref, at) },
		"negative grant":    func() (Transaction, error) { return Grant("a", -5, ref, at) },
		"grant to no name":  func() (Transaction, error) { return Grant("", 5, ref, at) },
		"grant without ref": func() (Transaction, error) { return Grant("a", 5, fl.Digest{}, at) },
		"negative budget":   func() (Transaction, error) { return Escrow("j", "a", -1, ref, at) },
		"escrow of no job":  func() (Transaction, error) { return Escrow("", "a", 1, ref, at) },
		"negative refund":   func() (Transaction, error) { return Refund("j", "a", -1, ref, at) },
		"payout of nothing": func() (Transaction, error) { return Payout("j", 1, nil, ref, at) },
		"payout from a party": func() (Transaction, error) {
			return Payout("j", 1, []fl.Posting{{Account: "party/a", Amount: -1}, {Account: Operator, Amount: 1}}, ref, at)
		},
		"payout from another job": func() (Transaction, error) {
			return Payout("j", 1, []fl.Posting{{Account: "escrow/k", Amount: -1}, {Account: Operator, Amount: 1}}, ref, at)
		},
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := Escrow("j", "a", 0, ref, at); err != nil {
		t.Errorf("a job without a budget: %v", err)
	}
}

// Random transactions, most of them invalid: the sum of all balances stays
// zero and nobody but the issuer goes below it.
func TestLedgerConserves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLedger()
		accounts := []string{Issuer, Operator, "party/a", "party/b", "escrow/j"}
		for range rapid.IntRange(1, 40).Draw(t, "transactions") {
			tx := Transaction{ID: rapid.StringMatching("[a-z]{1,2}").Draw(t, "id"), Ref: ref, At: at}
			var sum int64
			for range rapid.IntRange(1, 4).Draw(t, "postings") {
				amount := rapid.OneOf(rapid.Int64Range(-50, 50), rapid.Int64()).Draw(t, "amount")
				tx.Postings = append(tx.Postings, fl.Posting{Account: rapid.SampledFrom(accounts).Draw(t, "account"), Amount: amount})
				sum += amount
			}
			tx.Postings = append(tx.Postings, fl.Posting{Account: rapid.SampledFrom(accounts).Draw(t, "account"), Amount: -sum})
			before := balances(l)
			if err := l.Apply(tx); err != nil && before != balances(l) {
				t.Fatalf("%v changed balances from %s to %s", err, before, balances(l))
			}
			var total int64
			for _, account := range l.Accounts() {
				total += l.Balance(account)
				if account != Issuer && l.Balance(account) < 0 {
					t.Fatalf("%s holds %d", account, l.Balance(account))
				}
			}
			if total != 0 {
				t.Fatalf("balances sum to %d", total)
			}
		}
	})
}

func balances(l *Ledger) string {
	var s string
	for _, account := range l.Accounts() {
		s += fmt.Sprintf("%s=%d ", account, l.Balance(account))
	}
	return s
}
