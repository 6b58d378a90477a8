package aggregator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/privacy"
)

// errSpent says that a job's privacy budget allows no further round.
var errSpent = errors.New("its privacy budget is spent")

// charges counts, for private jobs, how many plans name each client. It holds
// what it read: stored plans never change.
type charges struct {
	mu   sync.Mutex
	jobs map[fl.JobID]*charged
}

type charged struct {
	upTo   uint64 // the last round that is counted
	rounds map[fl.NodeID]int
}

// chargedBy returns how many plans of a job, up to and with a round, name each
// client, and the most of them.
func (a *Aggregator) chargedBy(ctx context.Context, job fl.JobID, upTo uint64) (map[fl.NodeID]int, int, error) {
	a.charges.mu.Lock()
	defer a.charges.mu.Unlock()
	if a.charges.jobs == nil {
		a.charges.jobs = map[fl.JobID]*charged{}
	}
	held := a.charges.jobs[job]
	if held == nil || held.upTo > upTo {
		held = &charged{rounds: map[fl.NodeID]int{}}
	}
	next := &charged{upTo: held.upTo, rounds: maps.Clone(held.rounds)}
	for next.upTo < upTo {
		r, err := a.store.Round(ctx, job, next.upTo+1)
		if err != nil {
			return nil, 0, err
		}
		var plan fl.Plan
		if err := a.readOwn(r.Plan, &plan); err != nil {
			return nil, 0, err
		}
		for _, c := range plan.Cohort {
			next.rounds[c.Node]++
		}
		next.upTo++
	}
	if old := a.charges.jobs[job]; old == nil || old.upTo <= next.upTo {
		a.charges.jobs[job] = next
	}
	most := 0
	for _, n := range next.rounds {
		most = max(most, n)
	}
	return maps.Clone(next.rounds), most, nil
}

// checkPrivacy refuses a job whose noise does not fit this federation's values,
// or whose budget does not even pay for one round.
func (a *Aggregator) checkPrivacy(s fl.JobSpec, shards int) error {
	if !s.Privacy.On() {
		return nil
	}
	n, err := fl.NewNoise(s.Privacy, s.Clip, a.suite.ValueBits(), shards*(a.suite.Values()-fl.MetricSlots))
	if err != nil {
		return fl.Refuse(fl.CodeNotAllowed, s.Owner, "%s", err)
	}
	if privacy.Affordable(s.Privacy, n.Coordinates) < 1 {
		return fl.Refuse(fl.CodeNotAllowed, s.Owner, "one round with noise multiplier %v spends epsilon %s at delta %v: more than the budget of %v",
			s.Privacy.NoiseMultiplier, privacy.FormatEpsilon(privacy.Spent(s.Privacy, n.Coordinates, 1)), s.Privacy.Delta, s.Privacy.Epsilon)
	}
	return nil
}

// affords removes the candidates whose budget is spent. When fewer than the job
// needs could ever take part again, reachable or not, it returns errSpent.
func (a *Aggregator) affords(ctx context.Context, j jobState, candidates []fl.Candidate) ([]fl.Candidate, map[fl.NodeID]int, error) {
	if !j.spec.Privacy.On() {
		return candidates, nil, nil
	}
	upload, err := j.spec.Strategy.UploadSize(j.spec.Parameters)
	if err != nil {
		return nil, nil, err
	}
	shards, err := fl.ShardMap(upload, a.suite.Values())
	if err != nil {
		return nil, nil, err
	}
	most := privacy.Affordable(j.spec.Privacy, len(shards)*(a.suite.Values()-fl.MetricSlots))
	rounds, _, err := a.chargedBy(ctx, j.spec.Job, j.LastRound)
	if err != nil {
		return nil, nil, err
	}
	parties, err := a.store.Parties(ctx)
	if err != nil {
		return nil, nil, err
	}
	left := 0
	for _, p := range parties {
		if _, joined := j.Joins[p.Enrolment.Node]; joined && p.Revocation == nil && rounds[p.Enrolment.Node] < most {
			left++
		}
	}
	if need := max(j.spec.Strategy.Robust.Groups, 1) * j.spec.MinCohort; j.LastRound > 0 && left < need {
		return nil, nil, fmt.Errorf("%w: a client takes part in at most %d rounds, and %d clients of the %d that a round needs have any left", errSpent, most, left, need)
	}
	var able []fl.Candidate
	for _, c := range candidates {
		if rounds[c.Node] < most {
			able = append(able, c)
		}
	}
	return able, rounds, nil
}

// charge returns what taking part costs each client of a cohort; nil without
// privacy.
func charge(cohort []fl.Assignment, rounds map[fl.NodeID]int) []int {
	if rounds == nil {
		return nil
	}
	out := make([]int, len(cohort))
	for i, c := range cohort {
		out[i] = rounds[c.Node] + 1
	}
	return out
}

// newestManifest returns the manifest of a job's newest model; ok is false
// before the first.
func (a *Aggregator) newestManifest(ctx context.Context, j jobState) (m fl.Manifest, ok bool, err error) {
	if j.Version == 0 {
		return m, false, nil
	}
	versions, err := a.store.Models(ctx, j.spec.Job)
	if err != nil {
		return m, false, err
	}
	for _, v := range versions {
		if v.Version != j.Version {
			continue
		}
		doc, err := a.store.Document(ctx, v.Manifest)
		if err != nil {
			return m, false, err
		}
		return m, true, a.readOwn(doc, &m)
	}
	return m, false, fmt.Errorf("reading the store: job %s has no version %d: %w", j.spec.Job, j.Version, store.ErrNotFound)
}

// nextClip returns the clip of a job's next plan.
func (a *Aggregator) nextClip(ctx context.Context, j jobState) (fl.Clip, error) {
	if !j.spec.Privacy.Adaptive.On() {
		return j.spec.Clip, nil
	}
	m, ok, err := a.newestManifest(ctx, j)
	if err != nil || !ok || m.NextClip == (fl.Clip{}) {
		return j.spec.Clip, err
	}
	return m.NextClip, nil
}
