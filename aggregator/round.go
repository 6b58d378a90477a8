package aggregator

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"credence/aggregator/blob"
	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/privacy"
	"credence/fl/round"
	"credence/he"
	"credence/he/threshold"
)

// stepExtras is what one transition stores beside the machine's state.
type stepExtras struct {
	documents   []fl.Envelope
	model       *store.ModelVersion
	transaction *credit.Transaction
	jobPhase    store.JobPhase
	refund      *credit.Transaction
}

// mayStep asks the machine whether it would take an event, without a change.
func (a *Aggregator) mayStep(ctx context.Context, job fl.JobID, number uint64, event round.Event) error {
	r, err := a.store.Round(ctx, job, number)
	if err != nil {
		return err
	}
	state, err := a.roundState(ctx, r)
	if err != nil {
		return err
	}
	_, _, err = round.Step(state, event)
	return err
}

// roundState decodes the stored state of a round.
func (a *Aggregator) roundState(ctx context.Context, r store.Round) (round.State, error) {
	if state, held := a.rounds.state(r); held {
		return state, nil
	}
	var plan fl.Plan
	if err := a.readOwn(r.Plan, &plan); err != nil {
		return round.State{}, err
	}
	config, err := a.roundConfig(ctx, plan)
	if err != nil {
		return round.State{}, err
	}
	state, err := round.Decode(config, r.State)
	if err == nil {
		a.rounds.keep(r, state)
	}
	return state, err
}

// epochPlan returns the plan of an epoch. It never changes, and every look at a
// round needs it, so it is read with all the epoch's documents only once.
func (a *Aggregator) epochPlan(ctx context.Context, number uint64) (fl.EpochPlan, error) {
	if plan, known := a.epochPlans.Load(number); known {
		return plan.(fl.EpochPlan), nil
	}
	epoch, err := a.epoch(ctx, number)
	if err != nil {
		return fl.EpochPlan{}, err
	}
	a.epochPlans.Store(number, epoch.plan)
	return epoch.plan, nil
}

func (a *Aggregator) roundConfig(ctx context.Context, plan fl.Plan) (round.Config, error) {
	epoch, err := a.epochPlan(ctx, plan.Epoch)
	return round.Config{
		Plan: plan, Epoch: epoch, SealGrace: a.opts.Grace, ShareGrace: a.opts.Grace, DecryptTimeout: a.opts.DecryptTimeout,
	}, err
}

// step feeds an event to a round and stores the new state with everything that
// belongs to the transition. When another process was faster, it reads again
// and retries; the machine then decides anew.
func (a *Aggregator) step(ctx context.Context, job fl.JobID, number uint64, event round.Event, extras stepExtras) error {
	var stale error // of the attempt before
	for seen := int64(-1); ; {
		r, err := a.store.Round(ctx, job, number)
		if err != nil {
			return err
		}
		if r.Version == seen {
			return fmt.Errorf("round %d of job %s: %w", number, job, stale) // not the round, but its job has moved on
		}
		seen = r.Version
		before, err := a.roundState(ctx, r)
		if err != nil {
			return err
		}
		after, _, err := round.Step(before, event)
		if err != nil {
			return err
		}
		if after.Version == before.Version {
			return nil // the event says nothing new
		}
		encoded, err := after.Encode()
		if err != nil {
			return err
		}
		err = a.store.StepRound(ctx, store.RoundStep{
			Job: job, Round: number, From: r.Version, Phase: string(after.Phase), State: encoded, Final: after.Phase.Final(),
			Documents: extras.documents, Model: extras.model, Transaction: extras.transaction,
			JobPhase: extras.jobPhase, Refund: extras.refund,
		})
		if errors.Is(err, store.ErrStale) {
			stale = err
			continue
		}
		if err != nil {
			return fmt.Errorf("round %d of job %s: %w", number, job, err)
		}
		if before.Phase != after.Phase {
			a.log.Info("round "+string(after.Phase), "job", job, "round", number, "accepted", len(after.Updates), "reason", after.Reason)
		}
		a.wake.signal()
		return nil
	}
}

// runRounds advances every active round: it tells the machine the time and
// carries out the effects that are pending.
func (a *Aggregator) runRounds(ctx context.Context) error {
	active, err := a.store.ActiveRounds(ctx)
	if err != nil {
		return err
	}
	var failed error // one round's trouble does not hold up the others
	for _, r := range active {
		if err := a.runRound(ctx, r); err != nil && !refused(err) {
			failed = errors.Join(failed, fmt.Errorf("round %d of job %s: %w", r.Number, r.Job, err))
		}
	}
	return failed
}

// refused reports whether the machine turned an event down, which here means
// that another process was faster.
func refused(err error) bool { return fl.CodeOf(err) != "" }

func (a *Aggregator) runRound(ctx context.Context, r store.Round) error {
	jobs, err := a.jobs(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(jobs, func(j jobState) bool { return j.spec.Job == r.Job }) {
		j, err := a.job(ctx, "", r.Job)
		if err != nil {
			return err
		}
		if j.Phase != store.JobRunning {
			// It was opened in the moment in which the job ended: nothing can be
			// published or paid any more.
			return a.step(ctx, r.Job, r.Number, round.Cancelled{Reason: fmt.Sprintf("job %s is %s", r.Job, j.Phase), At: a.now()}, stepExtras{})
		}
	}
	if err := a.reportRevoked(ctx, r); err != nil {
		return err
	}
	if err := a.step(ctx, r.Job, r.Number, round.Tick{At: a.now()}, stepExtras{}); err != nil {
		return err
	}
	if r, err = a.store.Round(ctx, r.Job, r.Number); err != nil {
		return err
	}
	state, err := a.roundState(ctx, r)
	if err != nil {
		return err
	}
	for _, effect := range round.Pending(state) {
		switch effect := effect.(type) {
		case round.ComputeSums:
			err = a.seal(ctx, r, state, effect)
		case round.OpenSums:
			err = a.open(ctx, r, state, effect)
		}
		if errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrNotFound) {
			// The disk lost what a client was given a receipt for. The round
			// cannot be published; the job goes on with the next one.
			a.log.Error("a stored blob is damaged", "job", r.Job, "round", r.Number, "error", err)
			err = a.step(ctx, r.Job, r.Number, round.Cancelled{Reason: "the aggregator's storage is damaged: " + err.Error(), At: a.now()}, stepExtras{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reportRevoked tells the machine about parties that were revoked since the
// round opened.
func (a *Aggregator) reportRevoked(ctx context.Context, r store.Round) error {
	revoked, err := a.store.Revoked(ctx) // mostly none, and a cohort is large
	if err != nil || len(revoked) == 0 {
		return err
	}
	state, err := a.roundState(ctx, r)
	if err != nil {
		return err
	}
	epoch, err := a.epochPlan(ctx, state.Plan().Epoch)
	if err != nil {
		return err
	}
	for _, node := range revoked {
		_, known := state.Revoked[node]
		if _, client := state.Plan().Assigned(node); known || !client && epoch.Point(node) == 0 {
			continue
		}
		if err := a.step(ctx, r.Job, r.Number, round.Revoked{Node: node, At: a.now()}, stepExtras{}); err != nil && !refused(err) {
			return err
		}
	}
	return nil
}

// opened is what the frozen set of decryption shares gave.
type opened struct {
	sums    [][]int64 // by shard
	checked int       // shares beyond the threshold that agreed, over all shards the fewest
	wrong   []fl.NodeID
}

// open combines the frozen set of decryption shares and publishes the round;
// when shares are wrong it tells the machine whose.
func (a *Aggregator) open(ctx context.Context, r store.Round, state round.State, effect round.OpenSums) error {
	sealDoc, err := a.store.Document(ctx, state.Seal)
	if err != nil {
		return err
	}
	var seal fl.Seal
	if err := a.readOwn(sealDoc, &seal); err != nil {
		return err
	}
	got, err := a.combine(ctx, state, seal, effect.Holders)
	// Combining leaves many times the model behind, and publishing makes several
	// vectors as large as the model: not beside all of that.
	runtime.GC()
	if errors.Is(err, threshold.ErrUnattributed) || errors.Is(err, threshold.ErrNotEnoughShares) ||
		errors.Is(err, he.ErrNoise) || errors.Is(err, he.ErrSumRange) {
		a.log.Error("wrong decryption shares", "job", r.Job, "round", r.Number, "members", got.wrong, "error", err)
		return a.step(ctx, r.Job, r.Number, round.OpenFailed{Wrong: got.wrong, At: a.now()}, stepExtras{})
	}
	if err != nil {
		return err
	}
	if len(got.wrong) > 0 {
		a.log.Error("wrong decryption shares", "job", r.Job, "round", r.Number, "members", got.wrong)
	}
	return a.publish(ctx, r, state, seal, effect.Holders, got)
}

// combine opens the sum of every shard. The members whose share of any shard
// is wrong are named in opened.wrong, also when it returns an error.
func (a *Aggregator) combine(ctx context.Context, state round.State, seal fl.Seal, holders []fl.NodeID) (opened, error) {
	epoch, err := a.epoch(ctx, state.Plan().Epoch)
	if err != nil {
		return opened{}, err
	}
	te, err := epoch.threshold()
	if err != nil {
		return opened{}, err
	}
	refs := make(map[fl.NodeID]fl.DecryptionShare, len(holders))
	for _, node := range holders {
		doc, err := a.store.Document(ctx, state.Shares[node].Digest)
		if err != nil {
			return opened{}, err
		}
		var d fl.DecryptionShare
		if err := doc.Read(&d); err != nil {
			return opened{}, err
		}
		refs[node] = d
	}
	out := opened{checked: len(holders)}
	var failed error
	for shard, sealed := range seal.Sums {
		sum, err := a.sealedSum(ctx, sealed)
		if err != nil {
			return opened{}, err
		}
		shares := make([]threshold.DecryptionShare, len(holders))
		for i, node := range holders {
			raw, err := a.blobs.Get(ctx, refs[node].Shares[shard].Digest)
			if err != nil {
				return opened{}, err
			}
			shares[i] = threshold.DecryptionShare{Member: string(node), Share: raw}
		}
		got, err := threshold.Combine(te, sum, len(seal.Dealers), shares)
		if err != nil {
			failed = fmt.Errorf("shard %d: %w", shard, err)
			continue
		}
		for _, member := range got.Wrong {
			if node := fl.NodeID(member); !slices.Contains(out.wrong, node) {
				out.wrong = append(out.wrong, node)
			}
		}
		out.sums = append(out.sums, got.Values)
		out.checked = min(out.checked, len(got.Agreeing)-te.Threshold())
	}
	slices.Sort(out.wrong)
	return out, failed
}

// sealedSum reads both halves of a shard's sum.
func (a *Aggregator) sealedSum(ctx context.Context, sealed fl.SealedSum) (*he.Sum, error) {
	var parts [2]*he.SumPart
	for i, half := range []struct {
		part   he.Part
		digest fl.Digest
	}{{he.C0, sealed.C0}, {he.C1, sealed.C1}} {
		raw, err := a.blobs.Get(ctx, half.digest)
		if err != nil {
			return nil, err
		}
		if parts[i], err = a.suite.ParseSumPart(raw, half.part); err != nil {
			return nil, err
		}
	}
	return he.JoinSum(parts[0], parts[1])
}

// publish applies the strategy, and stores the model, the manifest, the
// payout and the end of the round in one transaction. Everything follows from
// stored state, so doing it again after a crash gives the same bytes.
func (a *Aggregator) publish(ctx context.Context, r store.Round, state round.State, seal fl.Seal, holders []fl.NodeID, got opened) error {
	plan := state.Plan()
	j, err := a.job(ctx, "", r.Job)
	if err != nil {
		return err
	}
	// Another replica may have published the round meanwhile; the job as read
	// above would be that of the next version then.
	now, err := a.store.Round(ctx, r.Job, r.Number)
	if err != nil || round.Phase(now.Phase).Final() {
		return err
	}
	contributors := make([][]fl.NodeID, len(seal.Sums))
	for i, s := range seal.Sums {
		contributors[i] = s.Contributors
	}
	next, err := a.nextModel(ctx, j, plan, contributors, got.sums)
	var outside *fl.RangeError
	var impossible *fl.StrategyError
	if errors.As(err, &outside) || errors.As(err, &impossible) {
		return a.step(ctx, r.Job, r.Number, round.Cancelled{Reason: err.Error(), At: a.now()}, stepExtras{})
	}
	if err != nil {
		return err
	}
	postings, err := a.payout(ctx, j, r, state, seal, holders, got.wrong)
	if err != nil {
		return err
	}
	setup, err := a.setupOf(ctx, plan)
	if err != nil {
		return err
	}
	_, most, err := a.chargedBy(ctx, r.Job, r.Number)
	if err != nil {
		return err
	}
	epsilon, delta := privacy.Statement(plan, most)
	model, figures := next.model, next.Figures
	manifest := fl.Manifest{
		Genesis: a.genesisID, JobSpec: j.specID, Job: r.Job, Round: r.Number, Version: j.Version + 1,
		Plan: r.Plan.Digest(), Seal: state.Seal, EpochKey: plan.EpochKey,
		KeyHolders: without(holders, got.wrong), WrongShare: union(state.Wrong, got.wrong), SharesChecked: got.checked,
		BaseModel: plan.BaseModel, Model: model, State: next.kept, Figures: figures, ProofLevel: plan.ProofLevel, ProofSetup: setup,
		Epsilon: epsilon, Delta: delta, NextClip: next.Clip,
		Postings: postings, SealedAt: state.SealedAt, OpenedAt: state.OpenedAt,
	}
	doc, err := a.sign(manifest)
	if err != nil {
		return err
	}
	tx, err := credit.Payout(r.Job, r.Number, postings, doc.Digest(), state.OpenedAt)
	if err != nil {
		return err
	}
	extras := stepExtras{
		documents: []fl.Envelope{doc}, transaction: &tx,
		model: &store.ModelVersion{Job: r.Job, Version: manifest.Version, Round: r.Number, Model: model, Manifest: doc.Digest()},
	}
	if len(tx.Postings) == 0 {
		extras.transaction = nil
	}
	if int(manifest.Version) >= j.spec.Rounds {
		extras.jobPhase = store.JobDone
		var spent int64
		for _, p := range postings {
			if p.Account == credit.EscrowAccount(r.Job) {
				spent -= p.Amount
			}
		}
		if extras.refund, err = a.refund(ctx, j, spent, doc.Digest()); err != nil {
			return err
		}
	}
	err = a.step(ctx, r.Job, r.Number, round.Opened{Manifest: doc.Digest(), Wrong: got.wrong, At: a.now()}, extras)
	if err == nil {
		a.log.Info("model published", "job", r.Job, "round", r.Number, "version", manifest.Version, "model", model.Short(),
			"cohort", len(seal.Clients), "correct", figures.Correct, "count", figures.Count)
	}
	return err
}

// madeModel is what is left of the next model once it and what the strategy
// keeps are stored.
type madeModel struct {
	fl.NextModel
	model, kept fl.Digest
}

// nextModel makes the next model from the opened sums and stores it with what
// the strategy keeps.
func (a *Aggregator) nextModel(ctx context.Context, j jobState, plan fl.Plan, contributors [][]fl.NodeID, sums [][]int64) (made madeModel, err error) {
	var raw []byte // the new model takes the place of the last that was read: it may be large
	read := func(digest fl.Digest, n int) (_ []float32, err error) {
		if raw, err = a.blobs.Get(ctx, digest); err != nil {
			return nil, err
		}
		return fl.DecodeParameters(raw, n)
	}
	global, err := read(plan.BaseModel, j.spec.Parameters)
	if err != nil {
		return made, err
	}
	var state []float32
	if !plan.BaseState.IsZero() {
		if state, err = read(plan.BaseState, j.spec.Strategy.StateSize(j.spec.Parameters)); err != nil {
			return made, err
		}
	}
	if made.NextModel, err = fl.Advance(j.spec.Strategy, plan, contributors, sums, global, state); err != nil {
		return made, err
	}
	if made.State != nil {
		raw = fl.AppendParameters(raw[:0], made.State)
		if made.kept, err = a.blobs.Put(ctx, raw); err != nil {
			return made, err
		}
	}
	made.model, err = a.blobs.Put(ctx, fl.AppendParameters(raw[:0], made.Params))
	made.Params, made.State = nil, nil // stored, and as large as the model
	return made, err
}

// payout computes what the round pays.
func (a *Aggregator) payout(ctx context.Context, j jobState, r store.Round, state round.State, seal fl.Seal, holders, wrong []fl.NodeID) ([]fl.Posting, error) {
	plan := state.Plan()
	balances, err := a.store.Balances(ctx)
	if err != nil {
		return nil, err
	}
	pay := credit.Round{
		Job: r.Job, Round: r.Number, Escrow: balances[credit.EscrowAccount(r.Job)], RoundsLeft: j.spec.Rounds - int(j.Version),
		Rates: j.spec.Rates, Caps: credit.Caps{Samples: j.spec.SampleCap, Steps: j.spec.StepCap},
		OpenedAt: plan.OpenedAt, Deadline: plan.Deadline, Proven: plan.ProofLevel.Trained(),
	}
	for i, node := range seal.Clients {
		doc, err := a.store.Document(ctx, seal.Headers[i])
		if err != nil {
			return nil, err
		}
		var h fl.UpdateHeader
		var join fl.JobJoin
		if err := errors.Join(doc.Read(&h), j.Joins[node].Read(&join)); err != nil {
			return nil, err
		}
		pay.Clients = append(pay.Clients, credit.Work{
			Node: node, Shards: len(h.Ciphertexts), Samples: join.Samples, Steps: h.Steps, AcceptedAt: state.Updates[node].At,
		})
	}
	for _, node := range holders {
		pay.Members = append(pay.Members, credit.Duty{Node: node, Wrong: slices.Contains(wrong, node)})
	}
	return credit.RoundPostings(pay)
}

// union merges two sets of nodes, sorted.
func union(a, b []fl.NodeID) []fl.NodeID {
	out := append(append([]fl.NodeID{}, a...), b...) // never nil: a document says [], not null
	slices.Sort(out)
	return slices.Compact(out)
}

func without(nodes, drop []fl.NodeID) []fl.NodeID {
	out := []fl.NodeID{}
	for _, n := range nodes {
		if !slices.Contains(drop, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}
