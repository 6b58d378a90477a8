package fl

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Arrival is one update that reaches a buffered (FedBuff) server.
type Arrival struct {
	Node    NodeID
	Samples int64
	// Base is the version that the client started from, 0 for the initial model.
	Base uint64
	// Staleness is how many versions were made since; Scale, by which the server
	// multiplies the update, is 1/sqrt(1+Staleness) (Nguyen et al. 2022, section 5).
	Staleness uint64
	Scale     float64
}

// AsyncClock decides, on a virtual clock, which client of a simulated buffered
// federation starts when and finishes when. It follows from the terms' public
// seed. Task lengths are half-normal, as in Nguyen et al. 2022, section 5.
//
// A client has at most one update in a buffer: two in one sum would halve what
// the sum hides. Until the buffer is full it rests.
type AsyncClock struct {
	rng        *rand.Rand
	size       int // of a buffer
	concurrent int
	idle       []Candidate // may start, by name
	resting    []Candidate // in the open buffer
	training   tasks
	now        uint64
	started    uint64 // tasks, for ties
	version    uint64 // newest
}

// NewAsyncClock starts a federation at version 0: the terms' CohortSize clients
// (0: all of them) train at any time.
func NewAsyncClock(t Terms, candidates []Candidate) (*AsyncClock, error) {
	size, err := t.Strategy.UploadSize(t.Parameters)
	if err != nil {
		return nil, err
	}
	shards, err := ShardMap(size, t.Slots)
	if err != nil {
		return nil, err
	}
	c := &AsyncClock{rng: t.generator("async/v1", 0, 0), size: t.Strategy.Buffer, concurrent: len(candidates), idle: slices.Clone(candidates)}
	if t.CohortSize > 0 {
		c.concurrent = min(c.concurrent, t.CohortSize)
	}
	switch {
	case t.Strategy.Name != FedBuff:
		return nil, fmt.Errorf("strategy: %s is not buffered", t.Strategy.Name)
	case c.size < t.MinCohort || c.size > t.MaxCohort:
		return nil, fmt.Errorf("strategy: fedbuff: a buffer of %d updates: want the minimum cohort, %d, to the suite's largest sum, %d", c.size, t.MinCohort, t.MaxCohort)
	case len(candidates) < c.size:
		return nil, fmt.Errorf("strategy: fedbuff: %d clients never fill a buffer of %d: a client has one update in it", len(candidates), c.size)
	case slices.ContainsFunc(candidates, func(x Candidate) bool { return x.weak(len(shards)) }):
		return nil, errors.New("strategy: fedbuff does not cut an upload into parts: every client must carry all shards")
	}
	slices.SortFunc(c.idle, byName)
	c.start()
	return c, nil
}

// start puts idle clients, drawn at random, to work.
func (c *AsyncClock) start() {
	for len(c.idle) > 0 && len(c.training) < c.concurrent {
		i := c.rng.IntN(len(c.idle))
		// A normal deviate as a sum of twelve uniform ones: the library's own may
		// change with its version.
		normal := -6.0
		for range 12 {
			normal += float64(c.rng.Uint64()>>11) * 0x1p-53
		}
		c.started++
		heap.Push(&c.training, task{client: c.idle[i], base: c.version, number: c.started, done: c.now + 1 + uint64(math.Abs(normal)*(1<<20))})
		c.idle = slices.Delete(c.idle, i, i+1)
	}
}

// Buffer lets time pass until the buffer that makes the next version is full,
// and returns what is in it, sorted by name.
func (c *AsyncClock) Buffer() []Arrival {
	out := make([]Arrival, 0, c.size)
	for len(out) < c.size {
		if len(c.training) == 0 { // never: a client that is not in the buffer trains
			return out
		}
		t, _ := heap.Pop(&c.training).(task)
		c.now = t.done
		stale := c.version - t.base
		out = append(out, Arrival{Node: t.client.Node, Samples: t.client.Samples, Base: t.base, Staleness: stale, Scale: 1 / math.Sqrt(1+float64(stale))})
		c.resting = append(c.resting, t.client)
		if len(out) == c.size { // the next ones start from the new version
			c.version++
			c.idle = append(c.idle, c.resting...)
			c.resting = nil
			slices.SortFunc(c.idle, byName)
		}
		c.start()
	}
	slices.SortFunc(out, func(x, y Arrival) int { return cmp.Compare(x.Node, y.Node) })
	return out
}

// Oldest returns the oldest version that a client is still training from.
func (c *AsyncClock) Oldest() uint64 {
	oldest := c.version
	for _, t := range c.training {
		oldest = min(oldest, t.base)
	}
	return oldest
}

// BufferPlan completes the plan of the sum of a buffer, from the parts that are
// the same in every round.
func (t Terms) BufferPlan(base Plan, buffer []Arrival, number uint64) (Plan, error) {
	size, err := t.Strategy.UploadSize(t.Parameters)
	if err != nil {
		return Plan{}, err
	}
	shards, err := ShardMap(size, t.Slots)
	if err != nil {
		return Plan{}, err
	}
	samples := make(map[NodeID]int64, len(buffer))
	for _, a := range buffer {
		samples[a.Node] = a.Samples
	}
	weights, unit, err := Weights(t.Strategy, samples)
	if err != nil {
		return Plan{}, err
	}
	base.Round, base.Shards, base.WeightUnit, base.Cohort = number, len(shards), unit, nil
	for _, a := range buffer {
		all := make([]int, len(shards))
		for s := range all {
			all[s] = s
		}
		base.Cohort = append(base.Cohort, Assignment{Node: a.Node, Shards: all, Weight: weights[a.Node]})
	}
	return base, nil
}

// task is a client's training under way.
type task struct {
	client       Candidate
	base         uint64
	number, done uint64
}

// tasks is a heap of tasks, the one that is done first on top.
type tasks []task

func (t tasks) Len() int { return len(t) }
func (t tasks) Less(i, j int) bool {
	return t[i].done < t[j].done || t[i].done == t[j].done && t[i].number < t[j].number
}
func (t tasks) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push implements heap.Interface.
func (t *tasks) Push(x any) {
	if v, ok := x.(task); ok {
		*t = append(*t, v)
	}
}

// Pop implements heap.Interface.
func (t *tasks) Pop() any {
	n := len(*t)
	last := (*t)[n-1]
	*t = (*t)[:n-1]
	return last
}
