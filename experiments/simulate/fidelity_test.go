package simulate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"credence/experiments/simulate"
	"credence/fl"
	"credence/models"
)

// everyStrategy is a small job of each strategy, and one of robust groups (the
// rules differ only after the sums are opened).
func everyStrategy() map[string]simulate.Job {
	out := map[string]simulate.Job{}
	for _, name := range fl.StrategyNames() {
		j := job(fl.StrategySpec{Name: name})
		j.Model.Hidden, j.ProofLevel, j.Rounds, j.CohortSize = []int{1}, fl.ProofBounded, 2, 3
		switch name {
		case fl.FedSGD:
			j.Training = models.TrainConfig{LearningRate: 1, Epochs: 1}
		case fl.FedProx, fl.Ditto:
			j.Strategy.Mu = 0.1
		case fl.Scaffold:
			j.Strategy.VariateClip, j.Strategy.Weighting = 1, fl.WeightUniform
		case fl.FedNova:
			j.Strategy.MaxSteps = 100
		case fl.FedBuff:
			// Four train at any time and two make a version, so that the second one
			// has a stale update in it.
			j.Strategy.Buffer, j.CohortSize, j.Rounds = 2, 4, 3
		case fl.FedPer:
			j.Strategy.PersonalLayers = 1
		}
		out[name] = j
	}
	j := out[fl.FedAvg]
	j.CohortSize, j.Rounds, j.Strategy.Robust = 6, 1, fl.RobustSpec{Rule: fl.Median, Groups: 3}
	out["fedavg over groups"] = j
	return out
}

// Every strategy gives the same models, server states and personal results
// under encryption and with proofs as it does in plain, to the bit.
func TestEveryStrategyIsTheSameUnderEncryption(t *testing.T) {
	c := clients(t, 6)
	keys, err := proofKeys()
	if err != nil {
		t.Fatal(err)
	}
	s := suite(t, tiny)
	channels := []struct {
		name string
		open func() (simulate.Channel, error)
	}{
		{"plain", func() (simulate.Channel, error) { return simulate.Plain(s, fl.ProofBounded), nil }},
		{"encrypted", func() (simulate.Channel, error) { return simulate.NewEncrypted(s, 3, 2) }},
		{"attested", func() (simulate.Channel, error) { return simulate.NewAttested(s, 3, 2, keys) }},
	}
	for name, j := range everyStrategy() {
		t.Run(name, func(t *testing.T) {
			var want string
			for _, x := range channels {
				channel, err := x.open()
				if err != nil {
					t.Fatal(err)
				}
				sim := start(t, simulate.Options{Suite: s, Job: j, Channel: channel}, c)
				got := ""
				for range j.Rounds {
					r := step(t, sim)
					if r.Count(simulate.Accepted) != len(r.Clients) || (x.name == "plain") != (r.Times.Encrypt == 0) || (x.name == "attested") != (r.Times.Prove > 0) {
						t.Errorf("%s: %d of %d updates accepted, times %+v", x.name, r.Count(simulate.Accepted), len(r.Clients), r.Times)
					}
					// In hexadecimal a float prints all of its bits.
					got += fmt.Sprintf("%d %x %x %v\n", r.Round, r.Params, r.State, r.Figures)
				}
				for i := range sim.Clients() {
					own, err := sim.EvaluateClient(i)
					if err != nil {
						t.Fatal(err)
					}
					got += fmt.Sprintf("%x\n", own)
				}
				if err := channel.Close(); err != nil {
					t.Error(err)
				}
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("%s gives\n%s\nplain gave\n%s", x.name, got, want)
				}
			}
		})
	}
}

// The buffers of the test above hold updates of different versions.
func TestBuffersHoldStaleUpdates(t *testing.T) {
	j := everyStrategy()[fl.FedBuff]
	c := clients(t, 6)
	sim := start(t, simulate.Options{Suite: suite(t, tiny), Job: j}, c)
	var candidates []fl.Candidate
	for _, x := range sim.Clients() {
		candidates = append(candidates, fl.Candidate{Node: x.Node, Samples: int64(x.Train.Rows)})
	}
	s := suite(t, tiny)
	clock, err := fl.NewAsyncClock(fl.Terms{
		Job: j.ID, Seed: j.Seed, Strategy: j.Strategy, Parameters: sim.Model().NumParameters(), CohortSize: j.CohortSize,
		MinCohort: 2, Slots: s.Values(), MaxCohort: s.MaxCohort(),
	}, candidates)
	if err != nil {
		t.Fatal(err)
	}
	stale, mixed := 0, 0
	for range j.Rounds {
		bases := map[uint64]bool{}
		r := step(t, sim)
		for i, a := range clock.Buffer() {
			bases[a.Base] = true
			if r.Clients[i].Node != a.Node {
				t.Fatalf("round %d: client %d is %s, the clock says %s", r.Round, i, r.Clients[i].Node, a.Node)
			}
			if a.Staleness > 0 {
				stale++
			}
		}
		if len(bases) > 1 {
			mixed++
		}
	}
	if stale == 0 || mixed == 0 {
		t.Errorf("%d stale updates, %d buffers of several versions: want some of both", stale, mixed)
	}
}

// late is a plain channel in which the first of two failing clients fails only
// after the second one did, where more than one worker makes that possible.
type late struct {
	simulate.Channel
	first, second fl.NodeID
	alone         bool
	failed        chan struct{}
}

func (c *late) Send(ctx context.Context, a fl.Assignment, values []fl.ShardValues) (simulate.Sent, error) {
	switch a.Node {
	case c.first:
		if !c.alone {
			<-c.failed
		}
		return simulate.Sent{}, errors.New("no way through")
	case c.second:
		defer close(c.failed)
		return simulate.Sent{}, errors.New("no way through")
	}
	return c.Channel.Send(ctx, a, values)
}

// Of several clients that fail in a round the error names the first in the
// cohort's order, whichever failed first.
func TestErrorNamesTheFirstClient(t *testing.T) {
	c := clients(t, 6)
	s := suite(t, tiny)
	j := job(fl.StrategySpec{Name: fl.FedAvg})
	j.CohortSize = 0
	for _, workers := range []int{1, 2, 4} {
		channel := &late{Channel: simulate.Plain(s, fl.ProofNone), first: "c-01", second: "c-03", alone: workers == 1, failed: make(chan struct{})}
		_, err := start(t, simulate.Options{Suite: s, Job: j, Channel: channel, Workers: workers}, c).Step(t.Context())
		if err == nil || err.Error() != "simulation: round 1: client c-01: no way through" {
			t.Errorf("%d workers: got %v", workers, err)
		}
	}

	// Training diverges at two clients, the later of which is through at once.
	for _, at := range []int{2, 4} {
		for i := range c[at].Train.X {
			c[at].Train.X[i] = 3e38
		}
	}
	c[2].Train.X = slices.Repeat(c[2].Train.X, 40)
	c[2].Train.Y = slices.Repeat(c[2].Train.Y, 40)
	c[2].Train.Rows *= 40
	var want string
	for _, workers := range []int{1, 2, 4} {
		_, err := start(t, simulate.Options{Suite: s, Job: j, Workers: workers, StopOnDivergence: true}, c).Step(t.Context())
		var who *simulate.ClientError
		if !errors.As(err, &who) || who.Client != "c-02" {
			t.Fatalf("%d workers: got %v", workers, err)
		}
		if want == "" {
			want = err.Error()
		}
		if err.Error() != want {
			t.Errorf("%d workers: got %v, one worker %s", workers, err, want)
		}
	}
}
