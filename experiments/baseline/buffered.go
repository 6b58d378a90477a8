package baseline

import (
	"context"
	"errors"
	"fmt"

	"credence/client"
	"credence/fl"
	"credence/models"
)

// buffered runs FedBuff: CohortSize clients train at any time, each from the
// version that was newest when it began, and every Buffer finished updates make
// a version. Who finishes when is decided by fl.AsyncClock; training itself is
// done when an update is due, so memory holds one version for each that is
// still being trained from.
func (f *federation) buffered(ctx context.Context, publish func(Version) error) ([]float32, error) {
	clock, err := fl.NewAsyncClock(f.terms, f.candidates)
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	v := Version{Params: f.model.Init(f.job.Seed)}
	versions := map[uint64]Version{0: v}
	for number := range uint64(f.job.Rounds) {
		if v, err = f.fill(ctx, clock, number+1, versions); err != nil {
			return nil, fmt.Errorf("baseline: version %d: %w", number+1, err)
		}
		versions[number+1] = v
		for old := range versions {
			if old < clock.Oldest() {
				delete(versions, old)
			}
		}
		if publish != nil {
			if err := publish(v); err != nil {
				return nil, err
			}
		}
	}
	return v.Params, nil
}

// fill collects one buffer and makes the version of it.
func (f *federation) fill(ctx context.Context, clock *fl.AsyncClock, number uint64, versions map[uint64]Version) (Version, error) {
	arrivals := clock.Buffer()
	plan, err := f.terms.BufferPlan(f.plan, arrivals, number)
	if err != nil {
		return Version{}, err
	}
	sum := newSums(plan, f.slots)
	for i, a := range arrivals {
		if err := context.Cause(ctx); err != nil {
			return Version{}, err
		}
		c := f.clients[a.Node]
		work := client.LocalWork{Model: f.model, Training: f.job.Training, Strategy: f.job.Strategy, Rounds: f.job.Rounds, Train: c.Train, Test: c.Test}
		own := plan
		own.Round = a.Base + 1 // the order of its rows and the learning rate follow from where it starts
		update, err := work.Update(ctx, client.LocalRound{Global: versions[a.Base].Params, Plan: own, Assignment: plan.Cohort[i]})
		var diverged *models.DivergedError
		if errors.As(err, &diverged) {
			continue
		}
		if err != nil {
			return Version{}, fmt.Errorf("%s: %w", a.Node, err)
		}
		for k := range update.Upload {
			update.Upload[k] *= a.Scale
		}
		values, err := fl.QuantiseUpdate(plan, plan.Cohort[i].Node, update.Upload, update.Figures)
		if err != nil {
			return Version{}, fmt.Errorf("%s: %w", a.Node, err)
		}
		sum.add(plan.Cohort[i].Node, values, update)
	}
	if n := len(sum.kept); n < f.job.MinCohort {
		return Version{}, fmt.Errorf("%d of %d clients sent an update: want at least %d; the training of the others diverged", n, len(arrivals), f.job.MinCohort)
	}
	made, err := fl.Advance(f.job.Strategy, plan, sum.contributors, sum.values, versions[number-1].Params, nil)
	if err != nil {
		return Version{}, err
	}
	return Version{Round: number, Params: made.Params, Figures: made.Figures, Clients: len(sum.kept)}, nil
}
