package credit

import (
	"fmt"
	"maps"
	"slices"

	"credence/fl"
)

// Ledger holds the balances that follow from a sequence of transactions. It
// is not safe for concurrent use.
type Ledger struct {
	balances map[string]int64
	entered  map[string]Transaction
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{balances: make(map[string]int64), entered: make(map[string]Transaction)}
}

// Apply enters a transaction whole or, when it returns an error, not at all.
// A transaction that was entered before is entered no second time, and that is
// no error; another one under the same ID is an fl.Refusal with code
// fl.CodeConflict. An account other than the issuer's that would go below zero
// is an *Overdraft.
func (l *Ledger) Apply(t Transaction) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if held, ok := l.entered[t.ID]; ok {
		if !held.equal(t) {
			return fl.Refuse(fl.CodeConflict, "", "transaction %s was already entered with other content", t.ID)
		}
		return nil
	}
	after, err := Settle(t, l.Balance)
	if err != nil {
		return err
	}
	maps.Copy(l.balances, after)
	t.Postings = slices.Clone(t.Postings)
	l.entered[t.ID] = t
	return nil
}

// Settle returns the new balances of the accounts that a valid transaction
// touches, given their present ones, or the error that Apply would return. It
// is the rule for stores that keep balances themselves.
func Settle(t Transaction, balance func(account string) int64) (map[string]int64, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	change := make(map[string]int64, len(t.Postings))
	for _, p := range t.Postings {
		sum := change[p.Account] + p.Amount
		if sum > fl.MaxPosting || sum < -fl.MaxPosting {
			return nil, fmt.Errorf("%w: %s in %s", ErrOverflow, p.Account, t.ID)
		}
		change[p.Account] = sum
	}
	// In the order of names, so that the same mistake is always reported the same.
	for _, account := range slices.Sorted(maps.Keys(change)) {
		before := balance(account)
		after := before + change[account]
		switch {
		case account != Issuer && after < 0 && change[account] < 0:
			return nil, &Overdraft{Transaction: t.ID, Account: account, Balance: before, Change: change[account]}
		case after > fl.MaxPosting || after < -fl.MaxPosting:
			return nil, fmt.Errorf("%w: %s in %s", ErrOverflow, account, t.ID)
		}
		change[account] = after
	}
	return change, nil
}

// Balance returns what an account holds; 0 for one never used.
func (l *Ledger) Balance(account string) int64 { return l.balances[account] }

// Accounts returns the accounts that were ever used, sorted.
func (l *Ledger) Accounts() []string { return slices.Sorted(maps.Keys(l.balances)) }
