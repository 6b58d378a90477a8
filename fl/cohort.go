package fl

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Candidate is a node that may be sampled into a cohort.
type Candidate struct {
	Node      NodeID
	Samples   int64 // declared, already cut to the job's SampleCap; at least 1
	MaxShards int   // ciphertexts that it can carry in a round; 0: all
}

// Terms are what the cohort of a job's round follows from, beside its
// candidates.
type Terms struct {
	Job        JobID
	Seed       uint64 // public
	Strategy   StrategySpec
	Parameters int // of the model
	CohortSize int // 0: every candidate
	MinCohort  int
	Slots      int // values in a ciphertext
	MaxCohort  int // updates that the suite can add
	// Whole: nodes that cannot carry a whole upload are not sampled.
	Whole bool
}

// Terms returns a job's terms for a suite with slots values in a ciphertext
// that sums up to maxCohort updates.
func (s JobSpec) Terms(slots, maxCohort int) Terms {
	return Terms{
		Job: s.Job, Seed: s.Seed, Strategy: s.Strategy, Parameters: s.Parameters, CohortSize: s.CohortSize, MinCohort: s.MinCohort,
		Slots: slots, MaxCohort: maxCohort, Whole: s.WholeUploads(),
	}
}

// Cohort is who does what in a round: the part of a Plan that follows from
// Terms and candidates.
type Cohort struct {
	Assignments []Assignment // sorted by name
	WeightUnit  int64
	Shards      int // see Plan
	Groups      int // see Plan
}

// WholeUploads reports whether every client of the job carries the whole
// upload: the strategy or the proof of its training speaks of all of it.
func (s JobSpec) WholeUploads() bool { return s.Strategy.WholeVector() || s.ProofLevel.Trained() }

// wholeBecause names what does not go with parts of an upload.
func (t Terms) wholeBecause() string {
	if t.Strategy.WholeVector() {
		return t.Strategy.Name
	}
	return "proof level " + string(ProofTrained)
}

// ShortCohortError says that a round cannot be planned with these candidates,
// and what would help. More of them, or stronger ones, may come.
type ShortCohortError struct{ Needs string }

// Error implements error.
func (e *ShortCohortError) Error() string { return "the round waits for " + e.Needs }

// DrawCohort plans who takes part in a round and carries what. It is a
// function of its arguments alone, so the aggregator and a simulation draw the
// same. Candidates are distinct; their order does not count. A
// *ShortCohortError says that they do not suffice.
func DrawCohort(t Terms, candidates []Candidate, round uint64) (Cohort, error) {
	size, err := t.Strategy.UploadSize(t.Parameters)
	if err != nil {
		return Cohort{}, err
	}
	shards, err := ShardMap(size, t.Slots)
	if err != nil {
		return Cohort{}, err
	}
	able := slices.Clone(candidates)
	if t.Whole || t.Strategy.WholeVector() {
		able = slices.DeleteFunc(able, func(c Candidate) bool { return c.weak(len(shards)) })
	}
	groups := max(t.Strategy.Robust.Groups, 1)
	if need := groups * t.MinCohort; len(able) < need {
		switch {
		case len(able) < len(candidates):
			return Cohort{}, &ShortCohortError{fmt.Sprintf("nodes that can carry %d ciphertexts: %d of at least %d; %s does not cut an upload into parts", len(shards), len(able), need, t.wholeBecause())}
		case groups > 1:
			return Cohort{}, &ShortCohortError{fmt.Sprintf("nodes: %d of at least %d joined the job and are reachable, for %d groups of %d", len(able), need, groups, t.MinCohort)}
		}
		return Cohort{}, &ShortCohortError{fmt.Sprintf("nodes: %d of at least %d joined the job and are reachable", len(able), need)}
	}
	thin := -1
	for attempt := range drawAttempts {
		var out Cohort
		if out, thin, err = t.draw(able, shards, attempt, round); err != nil || thin < 0 {
			return out, err
		}
	}
	return Cohort{}, &ShortCohortError{fmt.Sprintf("nodes that can carry more: shard %d of %d would have fewer than %d contributors", thin, len(shards), t.MinCohort)}
}

// drawAttempts is how often a cohort is drawn anew when weak nodes leave a shard
// of it without enough contributors.
const drawAttempts = 16

// draw samples a cohort and gives out the shards. It returns the first shard
// with too few contributors, or -1.
func (t Terms) draw(able []Candidate, shards []Shard, attempt int, round uint64) (Cohort, int, error) {
	cohort := t.sample(able, attempt, round)
	samples := make(map[NodeID]int64, len(cohort))
	for _, c := range cohort {
		samples[c.Node] = c.Samples
	}
	weights, unit, err := Weights(t.Strategy, samples)
	if err != nil {
		return Cohort{}, -1, err
	}
	groups := max(t.Strategy.Robust.Groups, 1)
	out := Cohort{WeightUnit: unit, Shards: groups * len(shards), Groups: t.Strategy.Robust.Groups}
	for g, members := range t.split(cohort, len(shards), attempt, round) {
		assignments, thin := AssignShards(members, weights, len(shards), t.MinCohort, round)
		if thin >= 0 {
			return Cohort{}, thin, nil
		}
		for _, a := range assignments {
			for i := range a.Shards {
				a.Shards[i] += g * len(shards)
			}
			out.Assignments = append(out.Assignments, a)
		}
	}
	slices.SortFunc(out.Assignments, func(x, y Assignment) int { return cmp.Compare(x.Node, y.Node) })
	return out, -1, nil
}

// weak reports whether a node cannot carry all of so many shards.
func (c Candidate) weak(shards int) bool { return c.MaxShards > 0 && c.MaxShards < shards }

// SampleCohort draws a round's cohort, sorted by name. The draw follows from
// the job's public seed and the round, so anyone can repeat it. Cyclic takes
// the candidates in turn, a minimum cohort at a time.
func SampleCohort(t Terms, candidates []Candidate, round uint64) []Candidate {
	return t.sample(candidates, 0, round)
}

func (t Terms) sample(candidates []Candidate, attempt int, round uint64) []Candidate {
	cohort := slices.Clone(candidates)
	slices.SortFunc(cohort, byName)
	size := len(cohort)
	if t.CohortSize > 0 {
		size = min(size, t.CohortSize)
	}
	size = min(size, t.MaxCohort)
	if t.Strategy.Name == Cyclic {
		size = min(size, t.MinCohort)
	}
	if size == len(cohort) {
		return cohort
	}
	if t.Strategy.Name == Cyclic {
		n := uint64(len(cohort))
		start := int(((round-1)%n*uint64(size) + uint64(attempt)) % n)
		cohort = slices.Concat(cohort[start:], cohort[:start])
	} else {
		rng := t.generator("cohort/v1", attempt, round)
		rng.Shuffle(len(cohort), func(i, k int) { cohort[i], cohort[k] = cohort[k], cohort[i] })
	}
	cohort = cohort[:size]
	slices.SortFunc(cohort, byName)
	return cohort
}

func byName(x, y Candidate) int { return cmp.Compare(x.Node, y.Node) }

// generator returns a generator for one purpose in one round. It is public.
func (t Terms) generator(purpose string, attempt int, round uint64) *rand.Rand {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], t.Seed)
	binary.LittleEndian.PutUint64(b[8:], round)
	fields := [][]byte{[]byte(t.Job), b[:]}
	if attempt > 0 {
		fields = append(fields, []byte{byte(attempt)})
	}
	return rand.New(rand.NewChaCha8(DigestOf(purpose, fields...)))
}

// split deals a cohort at random into the groups of a robust rule, each sorted
// by name; without a rule there is one group. Nodes that carry all shards are
// dealt first, so that every group gets its part of them and of the weak ones.
func (t Terms) split(cohort []Candidate, shards, attempt int, round uint64) [][]Candidate {
	groups := t.Strategy.Robust.Groups
	if groups == 0 {
		return [][]Candidate{cohort}
	}
	order := slices.Clone(cohort)
	t.generator("groups/v1", attempt, round).Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	out := make([][]Candidate, groups)
	dealt := 0
	for _, weak := range []bool{false, true} {
		for _, c := range order {
			if c.weak(shards) == weak {
				out[dealt%groups] = append(out[dealt%groups], c)
				dealt++
			}
		}
	}
	for _, members := range out {
		slices.SortFunc(members, byName)
	}
	return out
}

// AssignShards gives every client its shards: all of them, or for a weak node
// as many as it can carry, always the ones that fewest clients have so far.
// The round number rotates ties, so that over time a weak node sees the whole
// model. It returns the first shard with fewer than least contributors, or -1.
func AssignShards(cohort []Candidate, weights map[NodeID]int64, shards, least int, round uint64) ([]Assignment, int) {
	load := make([]int, shards)
	out := make([]Assignment, len(cohort))
	assign := func(i int, indexes []int) {
		slices.Sort(indexes)
		for _, s := range indexes {
			load[s]++
		}
		out[i] = Assignment{Node: cohort[i].Node, Shards: indexes, Weight: weights[cohort[i].Node]}
	}
	order := make([]int, shards)
	for s := range order {
		order[s] = (s + int(round%uint64(shards))) % shards
	}
	for i, c := range cohort {
		if !c.weak(shards) {
			assign(i, slices.Clone(order))
		}
	}
	for i, c := range cohort {
		if c.weak(shards) {
			byLoad := slices.Clone(order)
			slices.SortStableFunc(byLoad, func(x, y int) int { return cmp.Compare(load[x], load[y]) })
			assign(i, byLoad[:c.MaxShards])
		}
	}
	return out, slices.IndexFunc(load, func(n int) bool { return n < least })
}
