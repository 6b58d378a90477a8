package aggregator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"credence/fl"
	"credence/fl/round"
)

// liveWithin is how recently a node must have been heard of to be sampled.
// Nodes poll at least every maxWait.
const liveWithin = 2 * maxWait

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
	joined, rounds, err := a.affords(ctx, j, joined)
	if err != nil {
		return fl.Plan{}, "", err
	}
	now, window := a.now(), a.opts.JoinWindow
	if j.spec.ProofLevel.Trained() {
		window *= joinPatience
	}
	switch {
	case len(joined) < j.spec.MinCohort:
		return fl.Plan{}, fmt.Sprintf("nodes: %d of at least %d joined the job and are reachable", len(joined), j.spec.MinCohort), nil
	case j.LastRound == 0 && len(missing) > 0 && now.Sub(j.SubmitTime) < window: // a cohort of the quickest would be no sample
		return fl.Plan{}, fmt.Sprintf("answers from %v", missing), nil
	}
	var proofKeys fl.Digest
	if j.spec.ProofLevel.Attested() {
		var waits string
		if proofKeys, waits, err = a.keysForJob(ctx, j.specID, j.spec); err != nil || waits != "" {
			return fl.Plan{}, waits, err
		}
	}
	number := j.LastRound + 1
	cohort, err := fl.DrawCohort(j.spec.Terms(a.suite.Values(), a.suite.MaxCohort()), joined, number)
	var short *fl.ShortCohortError
	if errors.As(err, &short) {
		return fl.Plan{}, short.Needs, nil
	}
	if err != nil {
		return fl.Plan{}, "", err
	}
	population := 0
	if j.spec.Strategy.Name == fl.Scaffold {
		population = len(j.Joins)
	}
	state, err := a.baseState(ctx, j)
	if err != nil {
		return fl.Plan{}, "", err
	}
	clip, err := a.nextClip(ctx, j)
	if err != nil {
		return fl.Plan{}, "", err
	}
	return fl.Plan{
		Genesis: a.genesisID, JobSpec: j.specID, Job: j.spec.Job, Round: number,
		EpochKey: epoch.keyID, Epoch: epoch.Number, BaseModel: j.Model,
		Slots: a.suite.Values(), Shards: cohort.Shards, Groups: cohort.Groups, Cohort: cohort.Assignments, WeightUnit: cohort.WeightUnit,
		Population: population, BaseState: state,
		MinCohort: j.spec.MinCohort, Clip: clip, Privacy: j.spec.Privacy, Charged: charge(cohort.Assignments, rounds), ValueBits: a.suite.ValueBits(), ProofLevel: j.spec.ProofLevel, ProofKeys: proofKeys, Seed: j.spec.Seed,
		OpenedAt: now, Deadline: now.Add(time.Duration(j.spec.RoundDeadline) * time.Second),
	}, "", nil
}

// candidates returns the nodes that joined a job and are enrolled and
// reachable, sorted by name, and the reachable nodes that have not joined.
func (a *Aggregator) candidates(ctx context.Context, j jobState) (joined []fl.Candidate, missing []fl.NodeID, err error) {
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
		joined = append(joined, fl.Candidate{Node: e.Node, Samples: samples, MaxShards: e.Capability.MaxShards})
	}
	slices.SortFunc(joined, func(x, y fl.Candidate) int { return cmp.Compare(x.Node, y.Node) })
	return joined, missing, nil
}

// baseState returns what the strategy kept with the newest model; the zero
// digest when it keeps nothing or there is no version yet.
func (a *Aggregator) baseState(ctx context.Context, j jobState) (fl.Digest, error) {
	if j.Version == 0 || j.spec.Strategy.StateSize(j.spec.Parameters) == 0 {
		return fl.Digest{}, nil
	}
	m, _, err := a.newestManifest(ctx, j)
	return m.State, err
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
