package baseline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"credence/client"
	"credence/fl"
	"credence/he"
	"credence/models"
)

// Job is what to train; the fields mean what they mean in client.JobOptions.
type Job struct {
	ID        fl.JobID // part of the seed of the stochastic rounding
	Model     models.Spec
	Training  models.TrainConfig // local, in each round
	Strategy  fl.StrategySpec
	Clip      fl.Clip
	Rounds    int
	MinCohort int   // 0: 2; a round with fewer updates is an error
	SampleCap int64 // 0: none
	Seed      uint64
}

// Client is one node's data. Test may be empty: figures are then of Train.
type Client struct {
	Node        fl.NodeID
	Train, Test fl.Examples
}

// Version is what one round publishes.
type Version struct {
	Round  uint64    // from 1
	Params []float32 // the new global model
	// Figures of the model that the round started from, on the clients' data.
	Figures fl.Figures
	Clients int // updates in the sum; clients whose training diverged declined
}

// Federate trains a job over the clients in the clear, in the units of a
// suite (values in a ciphertext, bits of a value, largest cohort), and hands
// every version to publish, in order, in this goroutine; an error of publish
// ends the training. At most workers clients train at once; 0 means one for
// every processor. It returns the last version's parameters.
//
// The models equal those of a live federation with the same job, seed, suite
// and data, as long as every node answers every round and none is weak.
func Federate(ctx context.Context, suite *he.Suite, job Job, clients []Client, workers int, publish func(Version) error) ([]float32, error) {
	model, err := models.New(job.Model)
	if err != nil {
		return nil, err
	}
	f, err := newFederation(suite, job, model, clients, workers)
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	global := model.Init(job.Seed)
	for number := range uint64(job.Rounds) {
		v, err := f.round(ctx, number+1, global)
		if err != nil {
			return nil, fmt.Errorf("baseline: round %d: %w", number+1, err)
		}
		global = v.Params
		if publish != nil {
			if err := publish(v); err != nil {
				return nil, err
			}
		}
	}
	return global, nil
}

// federation is a job made ready: what stays the same in every round.
type federation struct {
	job      Job
	model    *models.Model
	clients  []Client // sorted by name, as a plan has them
	strategy fl.Strategy
	plan     fl.Plan // of every round but for its number
	slots    []int   // used in each shard
	workers  int
}

func newFederation(suite *he.Suite, job Job, model *models.Model, clients []Client, workers int) (*federation, error) {
	strategy, err := fl.NewStrategy(job.Strategy)
	if err != nil {
		return nil, err
	}
	if job.MinCohort == 0 {
		job.MinCohort = 2
	}
	switch {
	case job.Rounds < 1:
		return nil, fmt.Errorf("%d rounds: want at least 1", job.Rounds)
	case job.MinCohort < 2 || len(clients) < job.MinCohort || len(clients) > suite.MaxCohort():
		return nil, fmt.Errorf("%d clients, at least %d in a round: suite %s sums 2 to %d updates", len(clients), job.MinCohort, suite.Name(), suite.MaxCohort())
	}
	f := &federation{job: job, model: model, strategy: strategy, workers: workers, clients: slices.Clone(clients)}
	if f.workers <= 0 {
		f.workers = runtime.GOMAXPROCS(0)
	}
	slices.SortFunc(f.clients, func(a, b Client) int { return cmp.Compare(a.Node, b.Node) })
	shards, err := fl.ShardMap(model.NumParameters(), suite.Values())
	if err != nil {
		return nil, err
	}
	all := make([]int, len(shards))
	for i, s := range shards {
		all[i] = i
		f.slots = append(f.slots, fl.MetricSlots+s.Length)
	}
	samples := make(map[fl.NodeID]int64, len(clients))
	for _, c := range f.clients {
		n := int64(c.Train.Rows)
		if job.SampleCap > 0 {
			n = min(n, job.SampleCap)
		}
		if _, twice := samples[c.Node]; twice {
			return nil, fmt.Errorf("client %s is named twice", c.Node)
		}
		samples[c.Node] = n
	}
	weights, unit, err := fl.Weights(job.Strategy, samples)
	if err != nil {
		return nil, err
	}
	f.plan = fl.Plan{
		Job: job.ID, Slots: suite.Values(), Shards: len(shards), WeightUnit: unit, MinCohort: job.MinCohort,
		Clip: job.Clip, ValueBits: suite.ValueBits(), ProofLevel: fl.ProofNone, Seed: job.Seed,
	}
	for _, c := range f.clients {
		f.plan.Cohort = append(f.plan.Cohort, fl.Assignment{Node: c.Node, Shards: all, Weight: weights[c.Node]})
	}
	return f, nil
}

// round trains every client from global and applies the strategy to the mean.
func (f *federation) round(ctx context.Context, number uint64, global []float32) (Version, error) {
	plan := f.plan
	plan.Round = number
	sum := &sums{values: make([][]int64, plan.Shards)}
	for s, n := range f.slots {
		sum.values[s] = make([]int64, n)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(f.workers, len(f.clients)) {
		wg.Go(func() {
			for i := range next {
				if err := f.train(ctx, plan, i, global, sum); err != nil {
					cancel(fmt.Errorf("%s: %w", f.clients[i].Node, err)) // the first one counts
				}
			}
		})
	}
	for i := range f.clients {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return Version{}, err
	}
	if n := len(sum.contributors); n < f.job.MinCohort {
		return Version{}, fmt.Errorf("%d of %d clients sent an update: want at least %d; the training of the others diverged", n, len(f.clients), f.job.MinCohort)
	}
	contributors := make([][]fl.NodeID, plan.Shards)
	for s := range contributors {
		contributors[s] = sum.contributors
	}
	mean, figures, err := fl.MeanUpdate(plan, len(global), contributors, sum.values)
	if err != nil {
		return Version{}, err
	}
	params, err := f.strategy.Apply(global, mean)
	if err != nil {
		return Version{}, err
	}
	return Version{Round: number, Params: params, Figures: figures, Clients: len(sum.contributors)}, nil
}

// train does one client's work and adds it to the sum. A client whose training
// diverges declines, as a live node does.
func (f *federation) train(ctx context.Context, plan fl.Plan, i int, global []float32, sum *sums) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c := f.clients[i]
	update, err := client.LocalUpdate(ctx, f.model, f.job.Training, global, c.Train, c.Test, plan, plan.Cohort[i])
	var diverged *models.DivergedError
	if errors.As(err, &diverged) {
		return nil
	}
	if err != nil {
		return err
	}
	values, err := fl.QuantiseUpdate(plan, c.Node, update.Delta, update.Figures)
	if err != nil {
		return err
	}
	sum.add(c.Node, values)
	return nil
}

// sums adds up quantised updates, each slot on its own.
type sums struct {
	mu           sync.Mutex
	values       [][]int64 // by shard
	contributors []fl.NodeID
}

func (s *sums) add(node fl.NodeID, update []fl.ShardValues) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, shard := range update {
		into := s.values[shard.Shard]
		for i, v := range shard.Values {
			into[i] += int64(v)
		}
	}
	s.contributors = append(s.contributors, node)
}
