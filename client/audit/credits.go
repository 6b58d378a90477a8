package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"credence/fl"
	"credence/fl/credit"
)

// maxAborts is how many rounds in a row are given up before a job fails.
const maxAborts = 5

// checkCredits replays the ledger from the log: every transaction must be one
// that the documents ask for, once, and the balances that follow must be those
// stated.
func (a *auditor) checkCredits(ctx context.Context) error {
	ledger := credit.NewLedger()
	done := map[string]entered{}
	// The stated balances belong to a moment after statedAt entries.
	matched := false
	var closest string
	note := func() {
		if !matched {
			matched, closest = sameBalances(ledger, a.stated)
		}
	}
	started := time.Now()
	for _, e := range a.book.transactions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.at >= a.statedAt {
			note()
		}
		if before, twice := done[e.tx.ID]; twice {
			return a.lie(e.String(), "it is paid twice: the first time by entry %d", before.at)
		}
		if err := a.checkTransaction(e, ledger, done); err != nil {
			return err
		}
		if err := ledger.Apply(e.tx); err != nil {
			return a.lie(e.String(), "%v", err)
		}
		done[e.tx.ID] = e
		kind, _, _ := strings.Cut(e.tx.ID, "/")
		a.checked("transactions recomputed: "+kind, 1, started)
		started = time.Now()
	}
	note()
	if err := a.nothingOwed(ledger, done); err != nil {
		return err
	}
	if !matched {
		return a.lie("the stated balances", "they do not follow from the log: %s", closest)
	}
	a.checked("balances that follow from the log", len(a.stated), started)
	return nil
}

// sameBalances compares a ledger with stated balances, and says in words where
// they first differ.
func sameBalances(ledger *credit.Ledger, stated map[string]int64) (bool, string) {
	accounts := ledger.Accounts()
	for account := range stated {
		accounts = append(accounts, account)
	}
	slices.Sort(accounts)
	for _, account := range slices.Compact(accounts) {
		if want := ledger.Balance(account); stated[account] != want {
			return false, fmt.Sprintf("%s: expected %d, found %d", account, want, stated[account])
		}
	}
	return true, ""
}

// checkTransaction checks that a transaction is what the documents ask for.
func (a *auditor) checkTransaction(e entered, ledger *credit.Ledger, done map[string]entered) error {
	kind, rest, _ := strings.Cut(e.tx.ID, "/")
	switch kind {
	case "grant":
		return a.checkGrant(e)
	case "escrow":
		j, err := a.jobPaid(e, fl.JobID(rest))
		if err != nil {
			return err
		}
		want, err := credit.Escrow(j.spec.body.Job, j.spec.body.Owner, j.spec.body.Budget, j.spec.id, e.tx.At)
		return a.same(e, want, err)
	case "payout":
		return a.checkPayout(e, ledger, done)
	case "refund":
		return a.checkRefund(e, ledger)
	}
	return a.lie(e.String(), "nothing asks for it: want a grant, an escrow, a payout or a refund")
}

// same compares a transaction with the one that it has to be.
func (a *auditor) same(e entered, want credit.Transaction, err error) error {
	switch {
	case err != nil:
		return a.lie(e.String(), "%v", err)
	case e.tx.ID != want.ID:
		return a.differs(e.String(), "it is entered under another name", want.ID, e.tx.ID)
	case e.tx.Ref != want.Ref:
		return a.differs(e.String(), "it refers to another document", want.Ref, e.tx.Ref)
	}
	for i := range max(len(want.Postings), len(e.tx.Postings)) {
		var x, y fl.Posting
		if i < len(want.Postings) {
			x = want.Postings[i]
		}
		if i < len(e.tx.Postings) {
			y = e.tx.Postings[i]
		}
		if x != y {
			return a.differs(e.String(), fmt.Sprintf("posting %d is not what is due", i+1), posting(x), posting(y))
		}
	}
	return nil
}

func posting(p fl.Posting) string {
	if p.Account == "" {
		return "none"
	}
	return fmt.Sprintf("%+d to %s (%s)", p.Amount, p.Account, p.Memo)
}

// checkGrant checks that a grant gives credits of the issuer to an enrolled
// party. How many is the operator's choice.
func (a *auditor) checkGrant(e entered) error {
	if len(e.tx.Postings) != 2 {
		return a.differs(e.String(), "a grant has two postings", 2, len(e.tx.Postings))
	}
	kind, name, _ := strings.Cut(e.tx.Postings[1].Account, "/")
	m := a.book.parties[fl.NodeID(name)]
	if kind != "party" || m == nil || m.at > e.at {
		return a.lie(e.String(), "it is to %s, which is no party enrolled before it", e.tx.Postings[1].Account)
	}
	want, err := credit.Grant(fl.NodeID(name), e.tx.Postings[1].Amount, e.tx.Ref, e.tx.At)
	return a.same(e, want, err)
}

func (a *auditor) jobPaid(e entered, job fl.JobID) (*jobLog, error) {
	j := a.book.jobNames[job]
	if j == nil || j.spec.at > e.at {
		return nil, a.lie(e.String(), "job %s is not in the log before it", job)
	}
	return j, nil
}

// roundPaid returns the round that a payout is named after, or nil.
func (a *auditor) roundPaid(id string) *roundLog {
	_, rest, _ := strings.Cut(id, "/")
	job, number, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(number, 10, 64)
	j := a.book.jobNames[fl.JobID(job)]
	if err != nil || j == nil || n < 1 || n > uint64(len(j.rounds)) || id != fmt.Sprintf("payout/%s/%d", job, n) {
		return nil
	}
	return j.rounds[n-1]
}

// checkPayout recomputes what a published round pays.
func (a *auditor) checkPayout(e entered, ledger *credit.Ledger, done map[string]entered) error {
	r := a.roundPaid(e.tx.ID)
	if r == nil || r.manifest == nil || r.manifest.at > e.at {
		return a.lie(e.String(), "it pays for a round that was not published before it")
	}
	job := r.plan.body.Job
	if _, over := done["refund/"+string(job)]; over {
		return a.lie(e.String(), "the escrow of job %s was refunded before it", job)
	}
	due, err := a.due(r, ledger.Balance(credit.EscrowAccount(job)))
	if err != nil {
		return err
	}
	if where := r.manifest.String(); !slices.Equal(due, r.manifest.body.Postings) {
		stated := credit.Transaction{ID: e.tx.ID, Ref: r.manifest.id, Postings: r.manifest.body.Postings}
		err := a.same(entered{e.at, stated}, credit.Transaction{ID: e.tx.ID, Ref: r.manifest.id, Postings: due}, nil)
		var lie *Lie
		if errors.As(err, &lie) {
			lie.Where = where
		}
		return err
	}
	want, err := credit.Payout(job, r.plan.body.Round, due, r.manifest.id, e.tx.At)
	return a.same(e, want, err)
}

// due returns the postings of a published round.
func (a *auditor) due(r *roundLog, escrow int64) ([]fl.Posting, error) {
	spec, plan, seal, m := r.job.spec.body, r.plan.body, r.seal.body, r.manifest.body
	pay := credit.Round{
		Job: plan.Job, Round: plan.Round, Escrow: escrow, RoundsLeft: spec.Rounds - int(m.Version) + 1, // #nosec G115 -- a version is at most its round, at most the job's rounds
		Rates: spec.Rates, Caps: credit.Caps{Samples: spec.SampleCap, Steps: spec.StepCap},
		OpenedAt: plan.OpenedAt, Deadline: plan.Deadline, Proven: plan.ProofLevel.Trained(),
	}
	for i, client := range seal.Clients {
		h, sent := r.headers[client]
		join, joined := r.job.joins[client]
		if !sent || !joined || h.id != seal.Headers[i] {
			return nil, a.lie(r.seal.String(), "it holds an update of %s that the log does not", client)
		}
		pay.Clients = append(pay.Clients, credit.Work{
			Node: client, Shards: len(h.body.Ciphertexts), Samples: join.body.Samples, Steps: h.body.Steps, AcceptedAt: seal.Accepted[i],
		})
	}
	for _, node := range m.KeyHolders {
		pay.Members = append(pay.Members, credit.Duty{Node: node})
	}
	due, err := credit.RoundPostings(pay)
	if err != nil {
		return nil, a.lie(r.manifest.String(), "%v", err)
	}
	return due, nil
}

// checkRefund checks that a job's escrow goes back whole to its owner, once the
// job is over.
func (a *auditor) checkRefund(e entered, ledger *credit.Ledger) error {
	_, name, _ := strings.Cut(e.tx.ID, "/")
	j, err := a.jobPaid(e, fl.JobID(name))
	if err != nil {
		return err
	}
	published := j.published(e.at)
	var because fl.Digest
	aborted := 0
	for _, r := range j.rounds {
		if r.plan.at < e.at {
			aborted++
			if r.manifest != nil && r.manifest.at < e.at {
				aborted = 0
			}
		}
	}
	switch {
	case len(published) >= j.spec.body.Rounds:
		because = published[len(published)-1].manifest.id
	case j.cancel != nil && j.cancel.at < e.at:
		because = j.cancel.id
	case aborted >= maxAborts, a.budgetSpent(j, e.at):
		because = j.spec.id
	default:
		return a.lie(e.String(), "job %s was not over: %d of %d rounds were published, it was not cancelled, its last %d rounds were given up, and no privacy budget was spent", name, len(published), j.spec.body.Rounds, aborted)
	}
	want, err := credit.Refund(j.spec.body.Job, j.spec.body.Owner, ledger.Balance(credit.EscrowAccount(j.spec.body.Job)), because, e.tx.At)
	return a.same(e, want, err)
}

// nothingOwed checks that every job's budget went into escrow, that every
// published round was paid and that no finished job holds anything back.
func (a *auditor) nothingOwed(ledger *credit.Ledger, done map[string]entered) error {
	started := time.Now()
	checked := 0
	for _, j := range a.book.jobs {
		job := j.spec.body.Job
		if _, ok := done["escrow/"+string(job)]; !ok {
			return a.lie(j.spec.String(), "its budget of %d was never put into escrow", j.spec.body.Budget)
		}
		published := 0
		for _, r := range j.rounds {
			if r.manifest == nil {
				continue
			}
			published++
			if _, ok := done[fmt.Sprintf("payout/%s/%d", job, r.plan.body.Round)]; !ok {
				return a.lie(r.manifest.String(), "it was never paid")
			}
			checked++
		}
		left := ledger.Balance(credit.EscrowAccount(job))
		if _, refunded := done["refund/"+string(job)]; left != 0 && (refunded || published >= j.spec.body.Rounds || j.cancel != nil) {
			return a.lie(j.spec.String(), "the job is over and %d credits are left in its escrow", left)
		}
		checked++
	}
	a.checked("jobs and rounds paid in full", checked, started)
	return nil
}
