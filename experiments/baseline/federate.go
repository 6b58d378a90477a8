package baseline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"

	"credence/client"
	"credence/fl"
	"credence/he"
	"credence/models"
)

// Job is what to train; the fields mean what they mean in client.JobOptions.
type Job struct {
	ID       fl.JobID // part of the seed of the stochastic rounding
	Model    models.Spec
	Training models.TrainConfig // local, in each round
	Strategy fl.StrategySpec
	Clip     fl.Clip
	Rounds   int
	// CohortSize is the number of clients sampled for a round; 0: all. For fedbuff
	// it is how many train at the same time.
	CohortSize int
	MinCohort  int   // 0: 2; a round with fewer updates is an error
	SampleCap  int64 // 0: none
	Seed       uint64
}

// Client is one node's data. Test may be empty: figures are then of Train.
type Client struct {
	Node        fl.NodeID
	Train, Test fl.Examples
	MaxShards   int // ciphertexts that it carries in a round; 0: all
}

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
// The models equal those of a live federation with the same job, seed, suite
// and data, as long as every node answers every round. fedbuff has no live
// counterpart; it is simulated on a virtual clock.
func Federate(ctx context.Context, suite *he.Suite, job Job, clients []Client, workers int, publish func(Version) error) ([]float32, error) {
	model, err := models.New(job.Model)
	if err != nil {
		return nil, err
	}
	f, err := newFederation(suite, job, model, clients, workers)
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	if f.job.Strategy.Name == fl.FedBuff {
		return f.buffered(ctx, publish)
	}
	v := Version{Params: model.Init(job.Seed)}
	for number := range uint64(job.Rounds) {
		if v, err = f.round(ctx, number+1, v); err != nil {
			return nil, fmt.Errorf("baseline: round %d: %w", number+1, err)
		}
		if publish != nil {
			if err := publish(v); err != nil {
				return nil, err
			}
		}
	}
	return v.Params, nil
}

// federation is a job made ready: what stays the same in every round, and what
// its clients keep.
type federation struct {
	job        Job
	model      *models.Model
	clients    map[fl.NodeID]Client
	candidates []fl.Candidate
	terms      fl.Terms
	plan       fl.Plan // of every round but for its number and cohort
	slots      []int   // used in each shard of an upload
	workers    int
	kept       map[fl.NodeID]client.LocalState
}

func newFederation(suite *he.Suite, job Job, model *models.Model, clients []Client, workers int) (*federation, error) {
	var err error
	if job.Strategy, err = client.CompleteStrategy(job.Strategy, job.Training, model); err != nil {
		return nil, err
	}
	if job.MinCohort == 0 {
		job.MinCohort = 2
	}
	switch {
	case job.Rounds < 1:
		return nil, fmt.Errorf("%d rounds: want at least 1", job.Rounds)
	case job.MinCohort < 2 || len(clients) < job.MinCohort || job.CohortSize != 0 && job.CohortSize < job.MinCohort:
		return nil, fmt.Errorf("%d clients, %d of them in a round, at least %d: want 2 or more in a round", len(clients), job.CohortSize, job.MinCohort)
	case job.CohortSize > suite.MaxCohort() || job.CohortSize == 0 && len(clients) > suite.MaxCohort():
		return nil, fmt.Errorf("%d clients, %d of them in a round: suite %s sums at most %d updates", len(clients), job.CohortSize, suite.Name(), suite.MaxCohort())
	}
	f := &federation{job: job, model: model, workers: workers, clients: make(map[fl.NodeID]Client, len(clients)), kept: make(map[fl.NodeID]client.LocalState)}
	if f.workers <= 0 {
		f.workers = runtime.GOMAXPROCS(0)
	}
	for _, c := range clients {
		n := int64(c.Train.Rows)
		if job.SampleCap > 0 {
			n = min(n, job.SampleCap)
		}
		if _, twice := f.clients[c.Node]; twice {
			return nil, fmt.Errorf("client %s is named twice", c.Node)
		}
		f.clients[c.Node] = c
		f.candidates = append(f.candidates, fl.Candidate{Node: c.Node, Samples: n, MaxShards: c.MaxShards})
	}
	size, err := job.Strategy.UploadSize(model.NumParameters())
	if err != nil {
		return nil, err
	}
	shards, err := fl.ShardMap(size, suite.Values())
	if err != nil {
		return nil, err
	}
	for _, s := range shards {
		f.slots = append(f.slots, fl.MetricSlots+s.Length)
	}
	f.terms = fl.Terms{
		Job: job.ID, Seed: job.Seed, Strategy: job.Strategy, Parameters: model.NumParameters(),
		CohortSize: job.CohortSize, MinCohort: job.MinCohort, Slots: suite.Values(), MaxCohort: suite.MaxCohort(),
	}
	f.plan = fl.Plan{
		Job: job.ID, Slots: suite.Values(), MinCohort: job.MinCohort,
		Clip: job.Clip, ValueBits: suite.ValueBits(), ProofLevel: fl.ProofNone, Seed: job.Seed,
	}
	if job.Strategy.Name == fl.Scaffold {
		f.plan.Population = len(clients)
	}
	return f, nil
}

// round trains a cohort from the version before and makes the next.
func (f *federation) round(ctx context.Context, number uint64, before Version) (Version, error) {
	cohort, err := fl.DrawCohort(f.terms, f.candidates, number)
	if err != nil {
		return Version{}, err
	}
	plan := f.plan
	plan.Round, plan.Cohort, plan.WeightUnit, plan.Shards, plan.Groups = number, cohort.Assignments, cohort.WeightUnit, cohort.Shards, cohort.Groups
	sum := newSums(plan, f.slots)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan fl.Assignment)
	var wg sync.WaitGroup
	for range min(f.workers, len(plan.Cohort)) {
		wg.Go(func() {
			for a := range next {
				if err := f.train(ctx, plan, a, before, sum); err != nil {
					cancel(fmt.Errorf("%s: %w", a.Node, err)) // the first one counts
				}
			}
		})
	}
	for _, a := range plan.Cohort {
		next <- a
	}
	close(next)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return Version{}, err
	}
	if n := len(sum.kept); n < f.job.MinCohort {
		return Version{}, fmt.Errorf("%d of %d clients sent an update: want at least %d; the training of the others diverged", n, len(plan.Cohort), f.job.MinCohort)
	}
	for s, nodes := range sum.contributors {
		if len(nodes) < f.job.MinCohort {
			return Version{}, fmt.Errorf("shard %d has %d contributors: want at least %d; the training of the others diverged", s, len(nodes), f.job.MinCohort)
		}
	}
	made, err := fl.Advance(f.job.Strategy, plan, sum.contributors, sum.values, before.Params, before.State)
	if err != nil {
		return Version{}, err
	}
	maps.Copy(f.kept, sum.kept)
	return Version{Round: number, Params: made.Params, State: made.State, Figures: made.Figures, Personal: sum.personal, Clients: len(sum.kept)}, nil
}

// train does one client's work and adds it to the sum. A client whose training
// diverges declines, as a live node does.
func (f *federation) train(ctx context.Context, plan fl.Plan, a fl.Assignment, from Version, sum *sums) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c := f.clients[a.Node]
	work := client.LocalWork{Model: f.model, Training: f.job.Training, Strategy: f.job.Strategy, Rounds: f.job.Rounds, Train: c.Train, Test: c.Test}
	update, err := work.Update(ctx, client.LocalRound{Global: from.Params, ServerState: from.State, Mine: f.kept[a.Node], Plan: plan, Assignment: a})
	var diverged *models.DivergedError
	if errors.As(err, &diverged) {
		return nil
	}
	if err != nil {
		return err
	}
	values, err := fl.QuantiseUpdate(plan, a.Node, update.Upload, update.Figures)
	if err != nil {
		return err
	}
	sum.add(a.Node, values, update)
	return nil
}

// sums adds up quantised updates, each slot on its own.
type sums struct {
	mu           sync.Mutex
	values       [][]int64     // by sum of the plan
	contributors [][]fl.NodeID // to each
	kept         map[fl.NodeID]client.LocalState
	personal     fl.Figures
}

// newSums makes empty sums; slots are the values of each shard of an upload.
func newSums(plan fl.Plan, slots []int) *sums {
	s := &sums{values: make([][]int64, plan.Shards), contributors: make([][]fl.NodeID, plan.Shards), kept: make(map[fl.NodeID]client.LocalState)}
	for i := range s.values {
		s.values[i] = make([]int64, slots[i%len(slots)])
	}
	return s
}

func (s *sums) add(node fl.NodeID, values []fl.ShardValues, update client.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, shard := range values {
		into := s.values[shard.Shard]
		for i, v := range shard.Values {
			into[i] += int64(v)
		}
		s.contributors[shard.Shard] = append(s.contributors[shard.Shard], node)
	}
	s.kept[node] = update.State
	if own := update.Personal; own != nil {
		s.personal.LossMilli += own.LossMilli
		s.personal.Correct += own.Correct
		s.personal.Count += own.Count
	}
}
