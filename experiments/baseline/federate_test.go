package baseline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"credence/datasets"
	"credence/experiments/baseline"
	"credence/fl"
	"credence/he"
	"credence/models"
)

func builtin(t testing.TB, name string) *datasets.Dataset {
	t.Helper()
	set, err := datasets.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func lookup(t testing.TB, name string) *he.Suite {
	t.Helper()
	suite, err := he.LookupSuite(name)
	if err != nil {
		t.Fatal(err)
	}
	return suite
}

// skewed splits a data set's training rows by Dirichlet label skew of 0.5.
func skewed(t testing.TB, set *datasets.Dataset, clients int, seed uint64) []baseline.Client {
	t.Helper()
	parts, err := datasets.Dirichlet(set.Train, clients, 0.5, 20, seed)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]baseline.Client, clients)
	for i, rows := range parts {
		out[i] = baseline.Client{Node: fl.NodeID(fmt.Sprintf("node-%02d", i)), Train: set.Train.Subset(rows)}
	}
	return out
}

func smallJob(rounds int) baseline.Job {
	return baseline.Job{
		ID: "small", Model: models.Spec{Kind: models.MLP, Inputs: 30, Classes: 2, Hidden: []int{4}},
		Training: models.TrainConfig{LearningRate: 0.1, Epochs: 1, BatchSize: 16, Seed: 3},
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip:     fl.Clip{Value: 1, Norm: 5}, Rounds: rounds, Seed: 9,
	}
}

// Any number of workers and any order of the clients give the same bits.
func TestWorkersDoNotChangeTheModel(t *testing.T) {
	set := builtin(t, datasets.BreastCancer)
	clients := skewed(t, set, 6, 1)
	suite := lookup(t, "insecure-rlwe64-d1-v1")
	var want []float32
	for _, workers := range []int{1, 2, 5, 0} {
		got, err := baseline.Federate(t.Context(), suite, smallJob(3), clients, workers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want != nil && !slices.Equal(got, want) {
			t.Errorf("%d workers give another model", workers)
		}
		want = got
		slices.Reverse(clients)
	}
}

func TestVersionsAreInOrderAndCounted(t *testing.T) {
	set := builtin(t, datasets.BreastCancer)
	var rounds []uint64
	_, err := baseline.Federate(t.Context(), lookup(t, "insecure-rlwe64-d1-v1"), smallJob(3), skewed(t, set, 4, 1), 0, func(v baseline.Version) error {
		rounds = append(rounds, v.Round)
		if v.Clients != 4 || v.Figures.Count != int64(set.Train.Rows) {
			t.Errorf("round %d: %d clients, figures of %d rows", v.Round, v.Clients, v.Figures.Count)
		}
		return nil
	})
	if err != nil || !slices.Equal(rounds, []uint64{1, 2, 3}) {
		t.Errorf("rounds %v: %v", rounds, err)
	}
}

func TestRefusals(t *testing.T) {
	set := builtin(t, datasets.BreastCancer)
	suite := lookup(t, "insecure-rlwe64-d1-v1")
	clients := skewed(t, set, 4, 1)
	stop := errors.New("stop")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx     context.Context
		change  func(*baseline.Job)
		clients []baseline.Client
		want    error // nil: any
	}{
		"one client":    {clients: clients[:1]},
		"named twice":   {clients: append(clients[:3:3], clients[0])},
		"no rounds":     {change: func(j *baseline.Job) { j.Rounds = 0 }},
		"no strategy":   {change: func(j *baseline.Job) { j.Strategy.Name = "best" }},
		"no clip":       {change: func(j *baseline.Job) { j.Clip.Value = 0 }},
		"all diverge":   {change: func(j *baseline.Job) { j.Training.LearningRate = 1e38 }},
		"cancelled":     {ctx: cancelled, want: context.Canceled},
		"publish fails": {want: stop},
	} {
		t.Run(name, func(t *testing.T) {
			job := smallJob(2)
			if tc.change != nil {
				tc.change(&job)
			}
			if tc.clients == nil {
				tc.clients = clients
			}
			if tc.ctx == nil {
				tc.ctx = t.Context()
			}
			_, err := baseline.Federate(tc.ctx, suite, job, tc.clients, 0, func(baseline.Version) error {
				if errors.Is(tc.want, stop) {
					return stop
				}
				return nil
			})
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
