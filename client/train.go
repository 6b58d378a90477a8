package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"credence/fl"
	"credence/fl/flpb"
	"credence/models"
	"credence/zk"
)

// work is a job as a node trains it: the model and the data stay loaded
// between rounds.
type work struct {
	spec     fl.JobSpec
	specID   fl.Digest
	model    *models.Model
	training models.TrainConfig
	train    fl.Examples
	test     fl.Examples
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
	if w.model, w.training, err = ReadWork(w.spec); err != nil {
		return nil, &declineError{err}
	}
	if w.train, w.test, err = n.config.load(w.spec.SchemaText); err != nil {
		return nil, &declineError{err}
	}
	if w.train.Rows == 0 {
		return nil, &declineError{errors.New("the data hold no training rows")}
	}
	n.log.Info("data loaded", "job", w.spec.Job, "train", w.train.Rows, "test", w.test.Rows, "features", w.train.Features)
	n.jobs[w.specID] = w
	return w, nil
}

// ReadWork decodes the parts of a job that only nodes and owners read: the
// model and the training settings.
func ReadWork(spec fl.JobSpec) (*models.Model, models.TrainConfig, error) {
	modelSpec, err := models.ParseSpec(spec.Model)
	if err != nil {
		return nil, models.TrainConfig{}, fmt.Errorf("the job's model: %w", err)
	}
	model, err := models.New(modelSpec)
	if err != nil {
		return nil, models.TrainConfig{}, fmt.Errorf("the job's model: %w", err)
	}
	if model.NumParameters() != spec.Parameters {
		return nil, models.TrainConfig{}, fmt.Errorf("the job says %d parameters and its model has %d", spec.Parameters, model.NumParameters())
	}
	var training models.TrainConfig
	if err := fl.DecodeCanonical(spec.Training, &training); err != nil {
		return nil, models.TrainConfig{}, fmt.Errorf("the job's training: %w", err)
	}
	return model, training, training.Validate()
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
	if err := n.send(ctx, fl.JobJoin{
		Genesis: n.home.GenesisID, JobSpec: w.specID, Job: w.spec.Job, Node: n.home.Node, Samples: int64(w.train.Rows), JoinedAt: fl.Instant(n.now()),
	}); err != nil {
		return err
	}
	n.log.Info("joined job", "job", w.spec.Job, "owner", w.spec.Owner, "samples", w.train.Rows)
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
		header, ciphertexts, err = n.makeUpdate(ctx, task, planEnvelope.Digest(), plan, k)
		var decline *declineError
		if errors.As(err, &decline) {
			reason := decline.Error()
			n.log.Warn("declining the round", "job", plan.Job, "round", plan.Round, "reason", reason)
			return n.send(ctx, fl.Decline{Genesis: plan.Genesis, Plan: planEnvelope.Digest(), Job: plan.Job, Round: plan.Round, Node: n.home.Node, Reason: reason[:min(len(reason), 1000)]})
		}
		if err != nil {
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

// makeUpdate trains, quantises and encrypts.
func (n *Node) makeUpdate(ctx context.Context, task *flpb.TrainTask, planID fl.Digest, plan fl.Plan, k *epochKey) (fl.Envelope, [][]byte, error) {
	w, err := n.openJob(ctx, task.GetJobSpec())
	if err != nil {
		return fl.Envelope{}, nil, err
	}
	assignment, in := plan.Assigned(n.home.Node)
	switch {
	case !in:
		return fl.Envelope{}, nil, errors.New("the plan does not name this node")
	case plan.JobSpec != w.specID || plan.Clip != w.spec.Clip || plan.ProofLevel != w.spec.ProofLevel || plan.MinCohort < w.spec.MinCohort:
		return fl.Envelope{}, nil, &declineError{errors.New("the plan does not follow from the job that this node consented to")}
	}
	var raw []byte
	err = n.apart(func() (err error) {
		raw, err = n.remote.Fetch(ctx, plan.BaseModel, planID)
		return err
	})
	if err != nil {
		return fl.Envelope{}, nil, err
	}
	global, err := fl.DecodeParameters(raw, w.spec.Parameters)
	if err != nil {
		return fl.Envelope{}, nil, err
	}
	started := n.now()
	var update Update
	err = n.apart(func() (err error) {
		update, err = LocalUpdate(ctx, w.model, w.training, global, w.train, w.test, plan, assignment)
		return err
	})
	var diverged *models.DivergedError
	if errors.As(err, &diverged) {
		return fl.Envelope{}, nil, &declineError{err}
	}
	if err != nil {
		return fl.Envelope{}, nil, err
	}
	trained := n.now()
	values, err := fl.QuantiseUpdate(plan, n.home.Node, update.Delta, update.Figures)
	if err != nil {
		return fl.Envelope{}, nil, err
	}
	header := fl.UpdateHeader{
		Genesis: plan.Genesis, Plan: planID, EpochKey: plan.EpochKey, Job: plan.Job, Round: plan.Round, Node: n.home.Node,
		Steps: int64(update.Steps), ProofLevel: plan.ProofLevel,
	}
	ciphertexts, err := n.encrypt(ctx, plan, k, values, &header)
	if err != nil {
		return fl.Envelope{}, nil, err
	}
	signed, err := fl.Sign(header, n.home.Node, n.home.Keys.Signing)
	if err != nil {
		return fl.Envelope{}, nil, err
	}
	n.log.Info("update made", "job", plan.Job, "round", plan.Round, "steps", update.Steps, "loss", update.Loss,
		"train", trained.Sub(started).Round(time.Millisecond), "encrypt", n.now().Sub(trained).Round(time.Millisecond))
	return signed, ciphertexts, nil
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

// Update is what local training gives: the change of the whole parameter
// vector and the evaluation of the model that it started from.
type Update struct {
	Delta   []float64
	Figures fl.Figures
	Steps   int
	Loss    float64
}

// LocalUpdate trains the assigned shards of a global model on a node's data,
// starting the shuffle from the plan's public seed, and evaluates the global
// model on the node's held-out rows (on its training rows when it holds none
// out). It is the one definition of local work, for live nodes and for
// baselines.
func LocalUpdate(ctx context.Context, model *models.Model, training models.TrainConfig, global []float32, train, test fl.Examples, plan fl.Plan, assignment fl.Assignment) (Update, error) {
	held := test
	if held.Rows == 0 {
		held = train
	}
	evaluation, err := model.Evaluate(global, held)
	if err != nil {
		return Update{}, err
	}
	all, err := fl.ShardMap(len(global), plan.Slots)
	if err != nil {
		return Update{}, err
	}
	shards := make([]fl.Shard, 0, len(assignment.Shards))
	for _, s := range assignment.Shards {
		shards = append(shards, all[s])
	}
	training.Seed ^= plan.Seed + plan.Round*0x9e3779b97f4a7c15
	result, err := model.Train(ctx, global, train, training, shards, nil)
	if err != nil {
		return Update{}, err
	}
	figures, err := fl.NewFigures(evaluation.LossSum, evaluation.Correct, evaluation.Count)
	if err != nil {
		return Update{}, err
	}
	u := Update{Delta: make([]float64, len(global)), Steps: result.Steps, Loss: result.Loss, Figures: figures}
	for i, after := range result.Params {
		u.Delta[i] = float64(after) - float64(global[i])
	}
	return u, nil
}

// EncodeTraining and EncodeModel write the parts of a job that ReadWork reads.
func EncodeTraining(c models.TrainConfig) (json.RawMessage, error) { return json.Marshal(c) }

// EncodeModel writes a model's specification.
func EncodeModel(s models.Spec) (json.RawMessage, error) { return json.Marshal(s) }
