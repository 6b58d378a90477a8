package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/privacy"
	"credence/models"
	"credence/zk"
)

// work is a job as a node trains it: the model and the data stay loaded
// between rounds.
type work struct {
	LocalWork
	spec   fl.JobSpec
	specID fl.Digest
	proven *provenWork // nil below level trained
}

// openJob decodes a job, checks its owner's signature and loads what it needs.
func (n *Node) openJob(ctx context.Context, raw []byte) (*work, error) {
	envelope, err := fl.DecodeEnvelope(raw)
	if err != nil {
		return nil, err
	}
	if w := n.jobs[envelope.Digest()]; w != nil {
		return w, nil
	}
	w := &work{specID: envelope.Digest()}
	if err := n.openMembers(ctx, envelope, envelope.Signer, &w.spec); err != nil {
		return nil, err
	}
	owner, revoked, err := n.remote.Member(ctx, w.spec.Owner)
	switch {
	case err != nil:
		return nil, err
	case w.spec.Genesis != n.home.GenesisID:
		return nil, errors.New("the job is for another federation")
	case !w.spec.ProofLevel.AtLeast(n.home.Genesis.ProofFloor):
		return nil, &declineError{fmt.Errorf("%w: the job is at proof level %s and the genesis asks for at least %s", ErrBelowFloor, w.spec.ProofLevel, n.home.Genesis.ProofFloor)}
	case w.spec.Owner != envelope.Signer || !owner.Has(fl.RoleOwner) || revoked:
		return nil, fmt.Errorf("the job is signed by %s, who may not submit it", envelope.Signer)
	}
	if err := n.remote.RequireLogged(ctx, envelope); err != nil {
		return nil, fmt.Errorf("job %s: %w", w.spec.Job, err)
	}
	if err := n.config.Consent.allows(w.spec); err != nil {
		return nil, &declineError{err}
	}
	if w.LocalWork, err = ReadWork(w.spec); err != nil {
		return nil, &declineError{err}
	}
	if w.spec.ProofLevel.Trained() {
		w.proven, w.Train, w.Test, err = n.openProven(w)
	} else {
		w.Train, w.Test, err = n.config.load(w.spec.SchemaText)
	}
	if err != nil {
		return nil, &declineError{err}
	}
	if w.Train.Rows == 0 {
		return nil, &declineError{errors.New("the data hold no training rows")}
	}
	n.log.Info("data loaded", "job", w.spec.Job, "train", w.Train.Rows, "test", w.Test.Rows, "features", w.Train.Features)
	n.jobs[w.specID] = w
	return w, nil
}

// ReadWork decodes the parts of a job that only nodes and owners read, the model
// and the training settings, and checks that they and the strategy go together.
// The result has no data.
func ReadWork(spec fl.JobSpec) (LocalWork, error) {
	modelSpec, err := models.ParseSpec(spec.Model)
	if err != nil {
		return LocalWork{}, fmt.Errorf("the job's model: %w", err)
	}
	model, err := models.New(modelSpec)
	if err != nil {
		return LocalWork{}, fmt.Errorf("the job's model: %w", err)
	}
	if model.NumParameters() != spec.Parameters {
		return LocalWork{}, fmt.Errorf("the job says %d parameters and its model has %d", spec.Parameters, model.NumParameters())
	}
	var training models.TrainConfig
	if err := fl.DecodeCanonical(spec.Training, &training); err != nil {
		return LocalWork{}, fmt.Errorf("the job's training: %w", err)
	}
	if err := training.Validate(); err != nil {
		return LocalWork{}, err
	}
	if err := CheckWork(spec.Strategy, training, model); err != nil {
		return LocalWork{}, fmt.Errorf("the job's training: %w", err)
	}
	if err := CheckPrivacy(spec.Privacy, training); err != nil {
		return LocalWork{}, fmt.Errorf("the job's training: %w", err)
	}
	return LocalWork{Model: model, Training: training, Strategy: spec.Strategy, Rounds: spec.Rounds}, nil
}

// declineError is a reason why this node does not take part; it is told to the
// aggregator in words.
type declineError struct{ reason error }

func (e *declineError) Error() string { return e.reason.Error() }
func (e *declineError) Unwrap() error { return e.reason }

// consider answers the offer of a job: it consents when the policy allows it
// and the data are there, and stays out otherwise.
func (n *Node) consider(ctx context.Context, task *flpb.OfferTask) error {
	w, err := n.openJob(ctx, task.GetJobSpec())
	if err != nil {
		return err
	}
	join := fl.JobJoin{Genesis: n.home.GenesisID, JobSpec: w.specID, Job: w.spec.Job, Node: n.home.Node, Samples: int64(w.Train.Rows)}
	if w.proven != nil {
		keys := fl.Digest{}
		if copy(keys[:], task.GetProofKeys()) != len(keys) {
			return fmt.Errorf("job %s at level %s is offered without proof keys", w.spec.Job, w.spec.ProofLevel)
		}
		d, err := n.commitDataset(ctx, w, keys)
		if err != nil {
			return err
		}
		if err := n.submitDataset(ctx, d); err != nil {
			return err
		}
		join.Dataset = d.signed.Digest()
	}
	join.JoinedAt = fl.Instant(n.now())
	if err := n.send(ctx, join); err != nil {
		return err
	}
	n.log.Info("joined job", "job", w.spec.Job, "owner", w.spec.Owner, "samples", w.Train.Rows)
	return nil
}

// trainRound makes this node's update for a round, or takes the one that is in
// the outbox already, and submits it.
func (n *Node) trainRound(ctx context.Context, task *flpb.TrainTask) error {
	planEnvelope, plan, k, err := n.roundContext(ctx, task.GetPlan(), task.GetEpochKey())
	if err != nil {
		return err
	}
	header, ciphertexts, ready, err := n.outbox.update(plan.Job, plan.Round)
	if err != nil {
		return err
	}
	if !ready {
		if n.now().After(plan.Deadline) {
			return fl.Refuse(fl.CodeLate, n.home.Node, "round %d of job %s ended at %s by this machine's clock", plan.Round, plan.Job, plan.Deadline.Format(time.RFC3339))
		}
		var state []byte
		header, ciphertexts, state, err = n.makeUpdate(ctx, task, planEnvelope.Digest(), plan, k)
		var decline *declineError
		if errors.As(err, &decline) {
			reason := decline.Error()
			n.log.Warn("declining the round", "job", plan.Job, "round", plan.Round, "reason", reason)
			return n.send(ctx, fl.Decline{Genesis: plan.Genesis, Plan: planEnvelope.Digest(), Job: plan.Job, Round: plan.Round, Node: n.home.Node, Reason: reason[:min(len(reason), 1000)]})
		}
		if err != nil {
			return err
		}
		if err := n.outbox.keepState(plan.Job, plan.Round, state); err != nil { // before the header, which says that the update is whole
			return err
		}
		if err := n.outbox.keep(plan.Job, plan.Round, header, ciphertexts); err != nil {
			return err
		}
	}
	var receipt fl.Envelope
	err = n.apart(func() error {
		// An update that was ready may have been sent in part before a restart.
		if _, err := n.remote.uploadAll(ctx, ciphertexts, !ready); err != nil {
			return err
		}
		var err error
		_, receipt, err = n.remote.submit(ctx, header)
		return err
	})
	if err != nil {
		return err
	}
	n.log.Info("update accepted", "job", plan.Job, "round", plan.Round)
	n.note(func(s *Status) { s.Rounds++; s.LastRound = fmt.Sprintf("round %d of job %s", plan.Round, plan.Job) })
	n.await(plan.Job, plan.Round)
	return n.outbox.receive(plan.Job, plan.Round, header.Digest(), receipt)
}

// makeUpdate trains, quantises and encrypts. state is what the node keeps if the
// round is published, encoded; nil when it keeps nothing.
func (n *Node) makeUpdate(ctx context.Context, task *flpb.TrainTask, planID fl.Digest, plan fl.Plan, k *epochKey) (signed fl.Envelope, ciphertexts [][]byte, state []byte, err error) {
	fail := func(err error) (fl.Envelope, [][]byte, []byte, error) { return fl.Envelope{}, nil, nil, err }
	w, err := n.openJob(ctx, task.GetJobSpec())
	if err != nil {
		return fail(err)
	}
	var local LocalRound
	err = n.apart(func() (err error) {
		local, err = n.localRound(ctx, w, planID, plan)
		return err
	})
	if err != nil {
		return fail(err)
	}
	if w.proven != nil {
		signed, ciphertexts, err = n.makeProven(ctx, w, local, planID, k)
		return signed, ciphertexts, nil, err
	}
	started := n.now()
	var update Update
	err = n.apart(func() (err error) {
		update, err = w.Update(ctx, local)
		return err
	})
	var diverged *models.DivergedError
	var unfit *LocalError
	switch {
	case err != nil && ctx.Err() == nil && plan.Privacy.On():
		n.log.Error("training failed: sending noise alone", "job", plan.Job, "round", plan.Round, "error", err)
		if update, err = w.nothing(local); err != nil {
			return fail(err)
		}
	case errors.As(err, &diverged) || errors.As(err, &unfit):
		return fail(&declineError{err})
	case err != nil:
		return fail(err)
	}
	trained := n.now()
	values, err := privacy.Quantise(plan, n.home.Node, update.Upload, update.Figures, nil)
	if err != nil {
		return fail(err)
	}
	header := fl.UpdateHeader{
		Genesis: plan.Genesis, Plan: planID, EpochKey: plan.EpochKey, Job: plan.Job, Round: plan.Round, Node: n.home.Node,
		Steps: int64(update.Steps), ProofLevel: plan.ProofLevel,
	}
	if ciphertexts, err = n.encrypt(ctx, plan, k, values, &header); err != nil {
		return fail(err)
	}
	if signed, err = fl.Sign(header, n.home.Node, n.home.Keys.Signing); err != nil {
		return fail(err)
	}
	n.log.Info("update made", "job", plan.Job, "round", plan.Round, "steps", update.Steps, "loss", update.Loss,
		"train", trained.Sub(started).Round(time.Millisecond), "encrypt", n.now().Sub(trained).Round(time.Millisecond))
	if own := update.Personal; own != nil {
		n.log.Info("own model", "job", plan.Job, "round", plan.Round, "correct", own.Correct, "count", own.Count)
	}
	if w.Strategy.ClientState() {
		state = EncodeLocalState(update.State)
	}
	return signed, ciphertexts, state, nil
}

// localRound gathers what local work needs: the plan's model, what the strategy
// kept with it, and what this node kept. A plan that does not follow from the
// job that the node consented to is declined.
func (n *Node) localRound(ctx context.Context, w *work, planID fl.Digest, plan fl.Plan) (LocalRound, error) {
	r := LocalRound{Plan: plan}
	var in bool
	r.Assignment, in = plan.Assigned(n.home.Node)
	s := w.spec.Strategy
	switch {
	case !in:
		return r, errors.New("the plan does not name this node")
	case !w.follows(plan):
		return r, &declineError{errors.New("the plan does not follow from the job that this node consented to")}
	}
	if err := n.checkCharge(plan); err != nil {
		return r, err
	}
	read := func(digest fl.Digest, size int) ([]float32, error) {
		raw, err := n.remote.Fetch(ctx, digest, planID)
		if err != nil {
			return nil, err
		}
		return fl.DecodeParameters(raw, size)
	}
	var err error
	if r.Global, err = read(plan.BaseModel, w.spec.Parameters); err != nil {
		return r, err
	}
	if s.Name == fl.Scaffold && !plan.BaseState.IsZero() { // the clients of the others do not need it
		if r.ServerState, err = read(plan.BaseState, s.StateSize(w.spec.Parameters)); err != nil {
			return r, err
		}
	}
	if s.ClientState() {
		r.Mine, err = n.localState(ctx, w, plan)
	}
	return r, err
}

// follows reports whether a plan's terms are those of the job: nothing that the
// node consented to is changed, the groups are the job's, and there is a
// strategy's state where one was kept. (A round may give the initial model
// again, so that model alone does not say whether it is the first.)
func (w *work) follows(plan fl.Plan) bool {
	s := w.spec.Strategy
	switch {
	case plan.JobSpec != w.specID || plan.ProofLevel != w.spec.ProofLevel || plan.MinCohort < w.spec.MinCohort:
		return false
	case !sameClip(w.spec, plan) || plan.Privacy != w.spec.Privacy:
		return false
	case plan.Groups != s.Robust.Groups:
		return false
	case s.StateSize(w.spec.Parameters) == 0:
		return plan.BaseState.IsZero()
	}
	return !plan.BaseState.IsZero() || plan.BaseModel == w.spec.InitialModel
}

// encrypt makes the ciphertexts of an update and, where the plan asks for it,
// their attestation. It fills in the header and returns the blobs to upload.
func (n *Node) encrypt(ctx context.Context, plan fl.Plan, k *epochKey, values []fl.ShardValues, header *fl.UpdateHeader) ([][]byte, error) {
	var blobs [][]byte
	var shards []zk.ShardInput
	defer func() {
		for _, s := range shards {
			s.Randomness.Erase()
		}
	}()
	err := n.apart(func() error {
		for _, shard := range values {
			ciphertext, randomness, err := k.public.EncryptForProof(shard.Values)
			if err != nil {
				return fmt.Errorf("encrypting shard %d: %w", shard.Shard, err)
			}
			shards = append(shards, zk.ShardInput{Values: shard.Values, Ciphertext: ciphertext, Randomness: randomness})
			b := ciphertext.Bytes()
			blobs = append(blobs, b)
			header.Ciphertexts = append(header.Ciphertexts, fl.ShardCiphertext{Shard: shard.Shard, Digest: fl.DigestBytes(b)})
		}
		return nil
	})
	if err != nil || !plan.ProofLevel.Attested() {
		return blobs, err
	}
	p, err := n.proofs(ctx, plan, k)
	if err != nil {
		return nil, err
	}
	started := n.now()
	var attestation []byte
	prover := *p // the other lane may come to another epoch's key meanwhile
	err = n.apart(func() (err error) {
		attestation, err = n.attest(ctx, plan, header.Plan, &prover, shards)
		return err
	})
	if err != nil {
		return nil, err
	}
	took := n.now().Sub(started)
	n.note(func(s *Status) { s.Proofs += len(shards); s.ProofTime += took.Seconds() })
	n.log.Info("update attested", "job", plan.Job, "round", plan.Round, "shards", len(shards), "setup", p.setup, "prove", took.Round(time.Millisecond))
	header.Attestation = fl.DigestBytes(attestation)
	return append(blobs, attestation), nil
}

// EncodeTraining and EncodeModel write the parts of a job that ReadWork reads.
func EncodeTraining(c models.TrainConfig) (json.RawMessage, error) { return json.Marshal(c) }

// EncodeModel writes a model's specification.
func EncodeModel(s models.Spec) (json.RawMessage, error) { return json.Marshal(s) }
