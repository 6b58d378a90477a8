package simulate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"credence/client"
	"credence/experiments/adversary"
	"credence/fl"
	"credence/fl/privacy"
	"credence/models"
	"credence/zk/circuit/rlwe"
	"credence/zk/trained"
)

// outcome is a client's result with what stays in the simulation.
type outcome struct {
	ClientResult
	local client.LocalState
	steps int
	exact *trained.Exact // at level trained: of the rows that it trained on
	times Times
}

// work lets the cohort train and send. Results are in the order of the cohort.
func (s *Simulation) work(ctx context.Context, plan fl.Plan) ([]outcome, error) {
	results := make([]outcome, len(plan.Cohort))
	var colluders []int
	for i, a := range plan.Cohort {
		results[i].Node = a.Node
		if attack := s.attack(a.Node, plan.Round); attack != nil {
			results[i].Attack = attack.Kind
			if attack.Kind == adversary.ALIE {
				colluders = append(colluders, i)
			}
		}
	}
	// Those who collude look at each other's honest updates first.
	updates := make([]client.Update, len(colluders))
	err := s.parallel(ctx, len(colluders), func(ctx context.Context, worker, k int) error {
		i := colluders[k]
		u, err := s.train(ctx, worker, plan, i, &results[i])
		updates[k] = u
		return err
	})
	if err != nil {
		return nil, err
	}
	common := s.collude(plan, results, colluders, updates)
	err = s.parallel(ctx, len(plan.Cohort), func(ctx context.Context, worker, i int) error {
		r := &results[i]
		if r.Outcome != Accepted {
			return nil // a colluder that declined above
		}
		if u, mine := common[i]; mine {
			return s.send(ctx, plan, i, u, r)
		}
		u, err := s.train(ctx, worker, plan, i, r)
		if err != nil || r.Outcome != Accepted {
			return err
		}
		return s.send(ctx, plan, i, u, r)
	})
	return results, err
}

// collude puts the common update in place of each colluder's own.
func (s *Simulation) collude(plan fl.Plan, results []outcome, colluders []int, updates []client.Update) map[int]client.Update {
	var honest [][]float64
	var attack *adversary.Spec
	for k, i := range colluders {
		if results[i].Outcome == Accepted {
			honest = append(honest, updates[k].Upload)
			attack = s.attack(plan.Cohort[i].Node, plan.Round)
		}
	}
	out := map[int]client.Update{}
	if len(honest) == 0 {
		return out
	}
	upload := attack.Collude(honest, len(plan.Cohort))
	for k, i := range colluders {
		if results[i].Outcome == Accepted {
			updates[k].Upload = upload
			out[i] = updates[k]
		}
	}
	return out
}

func (s *Simulation) attack(node fl.NodeID, round uint64) *adversary.Spec {
	if s.opts.Roster == nil {
		return nil
	}
	return s.opts.Roster.Attack(node, int(round))
}

// parallel runs f for 0..n-1 on the workers. An error keeps those that come
// after it from starting, and the error of the smallest i is returned. Which
// one that is does not depend on timing: they start in order, so everything
// before an i that ran has been started too, and is waited for.
func (s *Simulation) parallel(ctx context.Context, n int, f func(ctx context.Context, worker, i int) error) error {
	var mu sync.Mutex
	failed, failure := n, error(nil)
	open := func(i int) bool {
		mu.Lock()
		defer mu.Unlock()
		return i < failed
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for worker := range min(len(s.workers), n) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() != nil || !open(i) {
					continue
				}
				if err := f(ctx, worker, i); err != nil {
					mu.Lock()
					if i < failed {
						failed, failure = i, err
					}
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return failure
}

// train does one client's local work, honest or not. A client that declines is
// marked so and gives no update.
func (s *Simulation) train(ctx context.Context, worker int, plan fl.Plan, i int, r *outcome) (client.Update, error) {
	a := plan.Cohort[i]
	at := s.place[a.Node]
	c, attack := s.clients[at], s.attack(a.Node, plan.Round)
	if attack != nil && attack.Kind == adversary.FreeRider {
		u, err := s.freeRide(attack, plan, c)
		r.steps = u.Steps
		return u, err
	}
	work := client.LocalWork{Model: s.workers[worker], Training: s.job.Training, Strategy: s.job.Strategy, Rounds: s.job.Rounds, Train: c.Train, Test: c.Test}
	if attack != nil {
		work.Train = s.poisoned[a.Node]
		if work.Test.Rows == 0 {
			work.Test = c.Train // the figures are of the client's real rows
		}
	}
	round := client.LocalRound{Global: s.state.params, ServerState: s.state.server, Mine: s.state.clients[at].local, Plan: plan, Assignment: a}
	scale := 1.0
	if s.buffered != nil {
		arrival := s.buffered.arrivals[i]
		// The order of its rows and the learning rate follow from where it starts.
		round.Global, round.Plan.Round, scale = s.state.versions[arrival.Base], arrival.Base+1, arrival.Scale
	}
	started := time.Now()
	var u client.Update
	var err error
	if s.proven != nil {
		u, err = s.trainExact(work, plan, a, attack, r)
	} else {
		u, err = work.Update(ctx, round)
	}
	took := time.Since(started)
	r.times.Train += took
	r.Seconds = took.Seconds()
	var diverged *models.DivergedError
	var unfit *client.LocalError
	failed := errors.As(err, &diverged) || errors.As(err, &unfit)
	switch {
	case failed && s.privacy != nil && !s.opts.StopOnDivergence:
		// Who declines would depend on the data: the client sends noise alone, as a
		// live one does.
		size, err := s.job.Strategy.UploadSize(len(s.state.params))
		r.steps, r.local, r.Reason = steps(s.job.Training, c.Train.Rows), round.Mine, "noise alone: its training diverged"
		return client.Update{Upload: make([]float64, size), State: round.Mine, Steps: r.steps}, err
	case errors.As(err, &diverged) && (attack != nil || !s.opts.StopOnDivergence), errors.As(err, &unfit) && !s.opts.StopOnDivergence:
		r.Outcome, r.Reason = Declined, err.Error()
		return u, nil
	case err != nil:
		return u, &ClientError{a.Node, err}
	}
	r.Figures, r.Personal, r.steps, r.local = &u.Figures, u.Personal, u.Steps, u.State
	if s.proven == nil { // training in integers adds up no loss
		r.Loss = &u.Loss
	}
	if scale != 1 {
		for k := range u.Upload {
			u.Upload[k] *= scale
		}
	}
	return u, nil
}

// freeRide makes the update of a client that does not train: it claims the
// steps that it was asked for.
func (s *Simulation) freeRide(attack *adversary.Spec, plan fl.Plan, c Client) (client.Update, error) {
	n := len(s.state.params)
	var change []float64
	if s.state.previous != nil {
		change = make([]float64, n)
		for i, v := range s.state.params {
			change[i] = float64(v) - float64(s.state.previous[i])
		}
	}
	u := client.Update{Steps: steps(s.job.Training, c.Train.Rows)}
	strategy, err := fl.NewStrategy(s.job.Strategy)
	if err != nil {
		return u, err
	}
	u.Upload, err = strategy.Upload(fl.Local{
		Delta: s.opts.Roster.FreeRide(attack, c.Node, int(plan.Round), n, change), Variate: make([]float64, n), Normaliser: 1,
	}, plan.Clip)
	return u, err
}

// steps is how many optimiser steps a training asks for.
func steps(t models.TrainConfig, rows int) int {
	if t.Steps > 0 {
		return t.Steps
	}
	batch := t.BatchSize
	if batch == 0 || batch > rows {
		batch = rows
	}
	return t.Epochs * ((rows + batch - 1) / batch)
}

// send quantises a client's update and gives it to the channel.
func (s *Simulation) send(ctx context.Context, plan fl.Plan, i int, u client.Update, r *outcome) error {
	a := plan.Cohort[i]
	attack := s.attack(a.Node, plan.Round)
	rogue := attack != nil && attack.Model()
	if rogue && attack.Kind != adversary.ALIE {
		attack.Distort(u.Upload)
	}
	r.Norm = norm(u.Upload)
	r.Clipped = plan.Clip.Norm > 0 && r.Norm > plan.Clip.Norm
	var values []fl.ShardValues
	var err error
	switch {
	case r.exact != nil && !rogue:
		values, err = client.PackProven(plan, a, u.Figures, r.exact.Values)
	case s.privacy != nil && !rogue:
		values, err = privacy.Quantise(plan, a.Node, u.Upload, u.Figures, s.privacy.sampler(plan, a.Node))
	case rogue:
		values, err = rogueValues(plan, a, u.Upload, u.Figures, attack.Adaptive)
	default:
		values, err = fl.QuantiseUpdate(plan, a.Node, u.Upload, u.Figures)
	}
	if err != nil {
		return &ClientError{a.Node, err}
	}
	var sent Sent
	if s.proven != nil {
		sent, err = s.sendProven(ctx, plan, a, u.Figures, values, r)
	} else {
		sent, err = s.channel.Send(ctx, a, values)
	}
	r.times.add(sent.Times)
	r.BytesUp = sent.Bytes
	var refused *RefusedError
	if errors.As(err, &refused) {
		r.Outcome, r.Reason = Refused, refused.Error()
		return nil
	}
	if err != nil {
		return &ClientError{a.Node, err}
	}
	return nil
}

func norm(v []float64) float64 {
	var square float64
	for _, x := range v {
		square += x * x
	}
	return math.Sqrt(square)
}

// rogueValues quantises as a client does that ignores the norm bound and its
// weight: only the range of a value holds it. An adaptive one that faces a
// proof shrinks its values to what can be proven.
func rogueValues(plan fl.Plan, a fl.Assignment, update []float64, figures fl.Figures, adaptive bool) ([]fl.ShardValues, error) {
	shards, err := plan.UploadMap(len(update))
	if err != nil {
		return nil, err
	}
	q, err := plan.Quantiser()
	if err != nil {
		return nil, err
	}
	var out []fl.ShardValues
	var square uint64
	for i, index := range a.Shards {
		shard := shards[index%len(shards)]
		values := make([]int32, shard.Length)
		for k, x := range update[shard.Offset : shard.Offset+shard.Length] {
			if math.IsNaN(x) {
				return nil, fmt.Errorf("coordinate %d of the update is not a number", shard.Offset+k)
			}
			values[k] = int32(min(max(math.Round(x/q.Step()), -float64(q.Max())), float64(q.Max())))
		}
		square += rlwe.SquareSum(values)
		packed := &figures
		if i > 0 || plan.Privacy.On() {
			packed = nil // the figures of a private plan stay with the client
		}
		if values, err = fl.PackShard(packed, values, plan.ValueBits); err != nil {
			return nil, err
		}
		out = append(out, fl.ShardValues{Shard: index, Values: values})
	}
	if !adaptive || !plan.ProofLevel.Attested() {
		return out, nil
	}
	bound, err := fl.SquareBound(plan, a)
	if err != nil {
		return nil, err
	}
	all := squareOf(out)
	if all <= bound {
		return out, nil
	}
	// What the figures take is not the attacker's to shrink. Rounding towards
	// zero keeps the sum below.
	factor := math.Sqrt(float64(bound-min(all-square, bound)) / float64(square))
	for _, shard := range out {
		for k := fl.MetricSlots; k < len(shard.Values); k++ {
			shard.Values[k] = int32(float64(shard.Values[k]) * factor)
		}
	}
	return out, nil
}

func squareOf(values []fl.ShardValues) uint64 {
	var sum uint64
	for _, v := range values {
		sum += rlwe.SquareSum(v.Values)
	}
	return sum
}
