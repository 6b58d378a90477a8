package credit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"credence/fl"
)

// The accounts that are not named after a party or a job. The issuer's
// balance is minus the credits in circulation.
const (
	Issuer   = "issuer"
	Operator = "operator"
)

// PartyAccount returns the account of an enrolled party.
func PartyAccount(node fl.NodeID) string { return "party/" + string(node) }

// EscrowAccount returns the account that holds a job's unspent budget.
func EscrowAccount(job fl.JobID) string { return "escrow/" + string(job) }

// validAccount refuses names that are none of the four kinds.
func validAccount(account string) error {
	if account == Issuer || account == Operator {
		return nil
	}
	kind, name, _ := strings.Cut(account, "/")
	switch kind {
	case "party":
		return fl.NodeID(name).Validate()
	case "escrow":
		return fl.JobID(name).Validate()
	}
	return fmt.Errorf("account %q: want %s, %s, party/NODE or escrow/JOB", account, Issuer, Operator)
}

// Transaction is one double entry: postings that sum to zero. Its ID says
// what it is for ("grant/<token digest>", "escrow/<job>", "payout/<job>/<round>",
// "refund/<job>"), so the same payment can never be entered twice.
type Transaction struct {
	ID       string       `json:"id"`
	Ref      fl.Digest    `json:"ref"` // the document it derives from
	Postings []fl.Posting `json:"postings"`
	At       time.Time    `json:"at"`
}

// Validate refuses an empty transaction, an unknown kind of account and
// postings that do not sum to zero.
func (t Transaction) Validate() error {
	if t.ID == "" || len(t.Postings) == 0 || t.Ref.IsZero() {
		return fmt.Errorf("credit: transaction %q: no id, no reference or no postings", t.ID)
	}
	for _, p := range t.Postings {
		if err := validAccount(p.Account); err != nil {
			return fmt.Errorf("credit: transaction %s: %w", t.ID, err)
		}
	}
	if err := fl.ValidatePostings(t.Postings); err != nil {
		return fmt.Errorf("credit: transaction %s: %w", t.ID, err)
	}
	return nil
}

// equal reports whether both enter the same amounts for the same reason. The
// time is not compared: a repeated payment after a crash happens later.
func (t Transaction) equal(o Transaction) bool {
	return t.ID == o.ID && t.Ref == o.Ref && slices.Equal(t.Postings, o.Postings)
}

// Grant issues credits to a party. ref identifies the grant; the same ref
// grants once.
func Grant(to fl.NodeID, amount int64, ref fl.Digest, at time.Time) (Transaction, error) {
	return transfer("grant/"+ref.String(), Issuer, PartyAccount(to), amount, 1, "grant", ref, at)
}

// Escrow moves a job's budget, 0 or more, from its owner into escrow. jobSpec
// is the digest of the job.
func Escrow(job fl.JobID, owner fl.NodeID, budget int64, jobSpec fl.Digest, at time.Time) (Transaction, error) {
	return transfer("escrow/"+string(job), PartyAccount(owner), EscrowAccount(job), budget, 0, "budget", jobSpec, at)
}

// Refund returns what is left in a job's escrow, 0 or more, to its owner. ref
// is the document that ended the job: the last manifest or the cancellation.
func Refund(job fl.JobID, owner fl.NodeID, left int64, ref fl.Digest, at time.Time) (Transaction, error) {
	return transfer("refund/"+string(job), EscrowAccount(job), PartyAccount(owner), left, 0, "refund", ref, at)
}

// Payout enters the postings of a published round (see RoundPostings), which
// its manifest states.
func Payout(job fl.JobID, round uint64, postings []fl.Posting, manifest fl.Digest, at time.Time) (Transaction, error) {
	t := Transaction{ID: fmt.Sprintf("payout/%s/%d", job, round), Ref: manifest, Postings: slices.Clone(postings), At: fl.Instant(at)}
	for _, p := range t.Postings {
		if p.Amount < 0 && p.Account != EscrowAccount(job) {
			return Transaction{}, fmt.Errorf("credit: %s takes from %s: a payout takes from the job's escrow alone", t.ID, p.Account)
		}
	}
	return t, t.Validate()
}

func transfer(id, from, to string, amount, least int64, memo string, ref fl.Digest, at time.Time) (Transaction, error) {
	if amount < least {
		return Transaction{}, fmt.Errorf("credit: %s: amount %d: want at least %d", id, amount, least)
	}
	t := Transaction{ID: id, Ref: ref, At: fl.Instant(at), Postings: []fl.Posting{
		{Account: from, Amount: -amount, Memo: memo}, {Account: to, Amount: amount, Memo: memo}}}
	return t, t.Validate()
}

// Overdraft says that a transaction would take an account below zero. It is
// also an fl.Refusal with code fl.CodeFunds.
type Overdraft struct {
	Transaction string
	Account     string
	Balance     int64 // before
	Change      int64 // that the transaction asks for, negative
}

// Error implements error.
func (o *Overdraft) Error() string {
	return fmt.Sprintf("credit: %s takes %d from %s, which holds %d", o.Transaction, -o.Change, o.Account, o.Balance)
}

// Unwrap makes the error a refusal.
func (o *Overdraft) Unwrap() error {
	kind, name, _ := strings.Cut(o.Account, "/")
	if kind != "party" {
		name = ""
	}
	return fl.Refuse(fl.CodeFunds, fl.NodeID(name), "%s takes %d from %s, which holds %d", o.Transaction, -o.Change, o.Account, o.Balance)
}

// ErrOverflow says that an account would hold more than fl.MaxPosting.
var ErrOverflow = errors.New("credit: an account would hold more than it can")
