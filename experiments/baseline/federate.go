package baseline

import (
	"context"

	"credence/experiments/simulate"
	"credence/fl"
	"credence/he"
)

// Job is what to train.
type Job = simulate.Job

// Client is one node's data.
type Client = simulate.Client

// Version is what one round publishes.
type Version struct {
	Round  uint64    // from 1
	Params []float32 // the new global model
	State  []float32 // what the strategy keeps with it; nil when it keeps nothing
	// Figures of the model that the round started from, on the clients' data.
	Figures fl.Figures
	// Personal sums what the cohort's own models of Ditto reached on the same rows.
	Personal fl.Figures
	Clients  int // updates in the sum; clients whose training diverged declined
}

// Federate trains a job over the clients in the clear, in the units of a
// suite (values in a ciphertext, bits of a value, largest cohort), and hands
// every version to publish, in order, in this goroutine; an error of publish
// ends the training. At most workers clients train at once; 0 means one for
// every processor. It returns the last version's parameters.
//
// It is package simulate at its plainest: honest clients, no checkpoint.
func Federate(ctx context.Context, suite *he.Suite, job Job, clients []Client, workers int, publish func(Version) error) ([]float32, error) {
	s, err := simulate.New(simulate.Options{Suite: suite, Job: job, Workers: workers}, clients)
	if err != nil {
		return nil, err
	}
	for range job.Rounds {
		r, err := s.Step(ctx)
		if err != nil {
			return nil, err
		}
		v := Version{Round: r.Round, Params: r.Params, State: r.State, Figures: r.Figures, Clients: r.Count(simulate.Accepted)}
		for _, c := range r.Clients {
			if own := c.Personal; own != nil && c.Outcome == simulate.Accepted {
				v.Personal.LossMilli += own.LossMilli
				v.Personal.Correct += own.Correct
				v.Personal.Count += own.Count
			}
		}
		if publish != nil {
			if err := publish(v); err != nil {
				return nil, err
			}
		}
	}
	return s.Params(), nil
}
