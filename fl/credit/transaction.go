package credit

import (
	"fmt"
	"time"

	"credence/fl"
)

// Transaction is one double entry: postings that sum to zero. Its ID says
// what it is for ("grant/<token digest>", "escrow/<job>", "payout/<job>/<round>",
// "refund/<job>"), so the same payment can never be entered twice.
type Transaction struct {
	ID       string       `json:"id"`
	Ref      fl.Digest    `json:"ref"` // the document it derives from
	Postings []fl.Posting `json:"postings"`
	At       time.Time    `json:"at"`
}

// Validate refuses an empty transaction and one that does not sum to zero.
func (t Transaction) Validate() error {
	if t.ID == "" || len(t.Postings) == 0 || t.Ref.IsZero() {
		return fmt.Errorf("credit: transaction %q: no id, no reference or no postings", t.ID)
	}
	var sum int64
	for _, p := range t.Postings {
		if p.Account == "" {
			return fmt.Errorf("credit: transaction %s: a posting names no account", t.ID)
		}
		sum += p.Amount
	}
	if sum != 0 {
		return fmt.Errorf("credit: transaction %s sums to %d: want 0", t.ID, sum)
	}
	return nil
}
