package simulate

import (
	"fmt"
	"time"

	"credence/experiments/adversary"
	"credence/fl"
)

// Outcome is how a client's round ended.
type Outcome int

// The outcomes.
const (
	Accepted Outcome = iota // its update is in the sum
	Declined                // it sent none: its training diverged
	Refused                 // a check refused what it sent

	left Outcome = -1 // its round was aborted
)

// Result is one round.
type Result struct {
	Round   uint64    // of the plan: aborted ones count
	Version uint64    // from 1
	Aborted int       // rounds that were tried in vain before this one
	Params  []float32 // the new global model; not to be changed
	State   []float32 // what the strategy keeps with it; nil when it keeps nothing
	// Figures of the model that the round started from, summed over the cohort.
	Figures fl.Figures
	Clip    fl.Clip // of the round
	// Epsilon is what the client that was charged most has spent; nil without
	// privacy.
	Epsilon   *float64
	Clients   []ClientResult // in the order of the cohort, by name
	BytesDown int64          // models and strategy states fetched
	Times     Times          // summed over all parties
	Wall      time.Duration
}

// ClientResult is one client's part of a round.
type ClientResult struct {
	Node    fl.NodeID
	Outcome Outcome
	Reason  string         // of a refusal, a decline, or an update of noise alone
	Attack  adversary.Kind // that controls it in this round; "" for an honest one
	// Figures of the model that it started from on its own rows; nil when it did
	// not get that far, or did not look.
	Figures *fl.Figures
	// Personal are those of the client's own model of ditto; nil elsewhere.
	Personal *fl.Figures
	// Loss is the mean training loss of the last epoch; nil when it did not train.
	Loss *float64
	// Norm is the L2 norm of the update before the clip.
	Norm    float64
	Clipped bool // Norm exceeded the plan's
	Seconds float64
	BytesUp int64
	Credits int64
}

// Count counts the clients with an outcome.
func (r Result) Count(o Outcome) int {
	n := 0
	for _, c := range r.Clients {
		if c.Outcome == o {
			n++
		}
	}
	return n
}

// Times says where a round's time went, summed over all parties.
type Times struct{ Train, Encrypt, Prove, Verify, Decrypt time.Duration }

func (t *Times) add(o Times) {
	t.Train += o.Train
	t.Encrypt += o.Encrypt
	t.Prove += o.Prove
	t.Verify += o.Verify
	t.Decrypt += o.Decrypt
}

// ClientError says which client a round failed at.
type ClientError struct {
	Client fl.NodeID
	Err    error
}

// Error implements error.
func (e *ClientError) Error() string { return fmt.Sprintf("client %s: %v", e.Client, e.Err) }

// Unwrap returns the cause.
func (e *ClientError) Unwrap() error { return e.Err }
