package aggregator

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/round"
)

// liveWithin is how recently a node must have been heard of to be sampled.
// Nodes poll at least every maxWait.
const liveWithin = 2 * maxWait

// candidate is a node that may be sampled into a cohort.
type candidate struct {
	node      fl.NodeID
	samples   int64
	maxShards int // 0: all
}

// plan makes the plan of a job's next round, or says in words what the job is
// waiting for.
func (a *Aggregator) plan(ctx context.Context, j jobState) (fl.Plan, string, error) {
	epoch, ok, err := a.currentEpoch(ctx)
	if err != nil {
		return fl.Plan{}, "", err
	}
	if !ok {
		return fl.Plan{}, "a committee key: open an epoch and let its members run", nil
	}
	joined, missing, err := a.candidates(ctx, j)
	if err != nil {
		return fl.Plan{}, "", err
	}
	now := a.now()
	want := max(j.spec.MinCohort, j.spec.CohortSize)
	switch {
	case len(joined) < j.spec.MinCohort:
		return fl.Plan{}, fmt.Sprintf("nodes: %d of at least %d joined the job and are reachable", len(joined), j.spec.MinCohort), nil
	case j.LastRound == 0 && len(missing) > 0 && (j.spec.CohortSize == 0 || len(joined) < want) && now.Sub(j.SubmitTime) < a.opts.JoinWindow:
		return fl.Plan{}, fmt.Sprintf("answers from %v", missing), nil
	}
	var proofKeys fl.Digest
	if j.spec.ProofLevel.Attested() {
		envelope, err := a.store.ProofKeys(ctx)
		if errors.Is(err, store.ErrNotFound) {
			return fl.Plan{}, "proof keys: import those of a ceremony, or, for a demonstration, make them here (credence federation proofs)", nil
		}
		if err != nil {
			return fl.Plan{}, "", err
		}
		proofKeys = envelope.Digest()
	}
	number := j.LastRound + 1
	cohort := sampleCohort(joined, j.spec, number, a.suite.MaxCohort())
	shards, err := fl.ShardMap(j.spec.Parameters, a.suite.Values())
	if err != nil {
		return fl.Plan{}, "", err
	}
	samples := make(map[fl.NodeID]int64, len(cohort))
	for _, c := range cohort {
		samples[c.node] = c.samples
	}
	weights, unit, err := fl.Weights(j.spec.Strategy, samples)
	if err != nil {
		return fl.Plan{}, "", err
	}
	assignments, thin := assignShards(cohort, weights, len(shards), j.spec.MinCohort, number)
	if thin >= 0 {
		return fl.Plan{}, fmt.Sprintf("nodes that can carry more: shard %d of %d would have fewer than %d contributors", thin, len(shards), j.spec.MinCohort), nil
	}
	return fl.Plan{
		Genesis: a.genesisID, JobSpec: j.specID, Job: j.spec.Job, Round: number,
		EpochKey: epoch.keyID, Epoch: epoch.Number, BaseModel: j.Model,
		Slots: a.suite.Values(), Shards: len(shards), Cohort: assignments, WeightUnit: unit,
		MinCohort: j.spec.MinCohort, Clip: j.spec.Clip, ValueBits: a.suite.ValueBits(), ProofLevel: j.spec.ProofLevel, ProofKeys: proofKeys, Seed: j.spec.Seed,
		OpenedAt: now, Deadline: now.Add(time.Duration(j.spec.RoundDeadline) * time.Second),
	}, "", nil
}

// candidates returns the nodes that joined a job and are enrolled and
// reachable, sorted by name, and the reachable nodes that have not joined.
func (a *Aggregator) candidates(ctx context.Context, j jobState) (joined []candidate, missing []fl.NodeID, err error) {
	parties, err := a.store.Parties(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := a.now()
	for _, p := range parties {
		e := p.Enrolment
		if p.Revocation != nil || !e.Has(fl.RoleNode) || p.LastSeen.IsZero() || now.Sub(p.LastSeen) > liveWithin {
			continue
		}
		join, ok := j.Joins[e.Node]
		if !ok {
			missing = append(missing, e.Node)
			continue
		}
		var d fl.JobJoin
		if err := join.Read(&d); err != nil {
			return nil, nil, err
		}
		samples := d.Samples
		if j.spec.SampleCap > 0 {
			samples = min(samples, j.spec.SampleCap)
		}
		joined = append(joined, candidate{node: e.Node, samples: samples, maxShards: e.Capability.MaxShards})
	}
	slices.SortFunc(joined, func(x, y candidate) int { return cmp.Compare(x.node, y.node) })
	return joined, missing, nil
}

// sampleCohort draws a round's cohort. The draw follows from the job's public
// seed and the round, so anyone can repeat it.
func sampleCohort(joined []candidate, spec fl.JobSpec, number uint64, most int) []candidate {
	size := len(joined)
	if spec.CohortSize > 0 {
		size = min(size, spec.CohortSize)
	}
	size = min(size, most)
	if size == len(joined) {
		return joined
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], spec.Seed)
	binary.LittleEndian.PutUint64(b[8:], number)
	rng := rand.New(rand.NewChaCha8(fl.DigestOf("cohort/v1", []byte(spec.Job), b[:])))
	cohort := slices.Clone(joined)
	rng.Shuffle(len(cohort), func(i, k int) { cohort[i], cohort[k] = cohort[k], cohort[i] })
	cohort = cohort[:size]
	slices.SortFunc(cohort, func(x, y candidate) int { return cmp.Compare(x.node, y.node) })
	return cohort
}

// assignShards gives every client its shards: all of them, or for a weak node
// as many as it can carry, always the ones that fewest clients have so far.
// The round number rotates ties, so that over time a weak node sees the whole
// model. It returns the first shard with fewer than least contributors, or -1.
func assignShards(cohort []candidate, weights map[fl.NodeID]int64, shards, least int, number uint64) ([]fl.Assignment, int) {
	load := make([]int, shards)
	out := make([]fl.Assignment, len(cohort))
	assign := func(i int, indexes []int) {
		slices.Sort(indexes)
		for _, s := range indexes {
			load[s]++
		}
		out[i] = fl.Assignment{Node: cohort[i].node, Shards: indexes, Weight: weights[cohort[i].node]}
	}
	weak := func(c candidate) bool { return c.maxShards > 0 && c.maxShards < shards }
	order := make([]int, shards)
	for s := range order {
		order[s] = (s + int(number%uint64(shards))) % shards
	}
	for i, c := range cohort {
		if !weak(c) {
			assign(i, slices.Clone(order))
		}
	}
	for i, c := range cohort {
		if weak(c) {
			byLoad := slices.Clone(order)
			slices.SortStableFunc(byLoad, func(x, y int) int { return cmp.Compare(load[x], load[y]) })
			assign(i, byLoad[:c.maxShards])
		}
	}
	return out, slices.IndexFunc(load, func(n int) bool { return n < least })
}

// openRound stores a plan with the round machine's first state.
func (a *Aggregator) openRound(ctx context.Context, plan fl.Plan) error {
	envelope, err := a.sign(plan)
	if err != nil {
		return err
	}
	config, err := a.roundConfig(ctx, plan)
	if err != nil {
		return err
	}
	state, err := round.New(config)
	if err != nil {
		return fmt.Errorf("opening round %d: %w", plan.Round, err)
	}
	encoded, err := state.Encode()
	if err != nil {
		return err
	}
	if err := a.store.OpenRound(ctx, envelope, string(state.Phase), encoded); err != nil {
		return fmt.Errorf("opening round %d: %w", plan.Round, err)
	}
	a.log.Info("round opened", "job", plan.Job, "round", plan.Round, "cohort", len(plan.Cohort), "shards", plan.Shards, "deadline", plan.Deadline)
	a.wake.signal()
	return nil
}
