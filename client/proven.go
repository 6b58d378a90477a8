package client

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"credence/fl"
	"credence/zk"
	"credence/zk/fixedpoint"
)

// makeProven makes an update at level trained: it trains on the grid of the
// proofs, encrypts, and attests both the encryption and the training. The
// figures evaluate the plan's model, as at the other levels.
func (n *Node) makeProven(ctx context.Context, w *work, local LocalRound, planID fl.Digest, k *epochKey) (fl.Envelope, [][]byte, error) {
	plan := local.Plan
	fail := func(err error) (fl.Envelope, [][]byte, error) { return fl.Envelope{}, nil, err }
	d, err := n.committed(w)
	if err != nil {
		return fail(err)
	}
	if d == nil {
		return fail(&declineError{fmt.Errorf("this node has no commitment to its data for job %s: it joined from another folder, and without the commitment's secret no training can be proven", plan.Job)})
	}
	p, err := n.provenKeys(ctx, plan.ProofKeys, plan.JobSpec, true)
	if err != nil {
		return fail(err)
	}
	if err := p.prepare(k); err != nil {
		return fail(err)
	}
	prover := *p // the other lane may come to another epoch's key meanwhile
	var signed fl.Envelope
	var blobs [][]byte
	err = n.apart(func() (err error) {
		signed, blobs, err = n.proveUpdate(ctx, w, local, planID, k, &prover, d)
		return err
	})
	return signed, blobs, err
}

// proveUpdate is what of makeProven takes long and needs no lock.
func (n *Node) proveUpdate(ctx context.Context, w *work, local LocalRound, planID fl.Digest, k *epochKey, p *proofKeys, d *dataset) (fl.Envelope, [][]byte, error) {
	plan := local.Plan
	fail := func(err error) (fl.Envelope, [][]byte, error) { return fl.Envelope{}, nil, err }
	if err := d.holds(p.keys); err != nil {
		return fail(err)
	}
	scope, err := zk.ScopeOf(plan, planID, p.epoch.Digest(), n.home.Node)
	if err != nil {
		return fail(err)
	}
	started := n.now()
	st, err := p.job.Statement(plan, scope, local.Global, d.Document)
	if err != nil {
		return fail(provable(err))
	}
	values, err := st.Train(p.job.Model, d.Table)
	if err != nil {
		return fail(provable(err))
	}
	figures, err := w.Figures(local.Global)
	if err != nil {
		return fail(err)
	}
	shards, err := PackProven(plan, local.Assignment, figures, values)
	if err != nil {
		return fail(err)
	}
	trainedAt := n.now()
	header := fl.UpdateHeader{
		Genesis: plan.Genesis, Plan: planID, EpochKey: plan.EpochKey, Job: plan.Job, Round: plan.Round, Node: n.home.Node,
		Steps: int64(len(st.Steps)), ProofLevel: plan.ProofLevel, Dataset: d.signed.Digest(),
	}
	blobs, err := n.attestProven(ctx, p, d, st, k, shards, &header)
	if err != nil {
		return fail(err)
	}
	took := n.now().Sub(trainedAt)
	n.note(func(s *Status) { s.Proofs += len(shards) + 1; s.ProofTime += took.Seconds() })
	signed, err := fl.Sign(header, n.home.Node, n.home.Keys.Signing)
	if err != nil {
		return fail(err)
	}
	n.log.Info("update made, training attested", "job", plan.Job, "round", plan.Round, "steps", len(st.Steps), "rows", st.Rows, "setup", p.setup,
		"train", trainedAt.Sub(started).Round(time.Millisecond), "prove", took.Round(time.Millisecond))
	return signed, blobs, nil
}

// provable makes a decline of what this node's rows do not allow.
func provable(err error) error {
	if errors.Is(err, fixedpoint.ErrRange) || errors.Is(err, fixedpoint.ErrModel) {
		return &declineError{fmt.Errorf("training cannot be proven: %w", err)}
	}
	return err
}

// PackProven lays figures and trained values out for the ciphertexts of a
// client that carries the whole model.
func PackProven(plan fl.Plan, assigned fl.Assignment, figures fl.Figures, values []int32) ([]fl.ShardValues, error) {
	shards, err := plan.UploadMap(len(values))
	if err != nil {
		return nil, err
	}
	if len(assigned.Shards) != len(shards) {
		return nil, fmt.Errorf("the plan assigns %d of %d shards: proven training covers all", len(assigned.Shards), len(shards))
	}
	out := make([]fl.ShardValues, len(shards))
	for i, shard := range shards {
		var first *fl.Figures
		if i == 0 {
			first = &figures
		}
		out[i].Shard = assigned.Shards[i]
		if out[i].Values, err = fl.PackShard(first, values[shard.Offset:shard.Offset+shard.Length], plan.ValueBits); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// attestProven encrypts an update, attests the encryption and, linked to it,
// the training. It completes the header and returns the blobs to upload.
func (n *Node) attestProven(ctx context.Context, p *proofKeys, d *dataset, st *zk.TrainingStatement, k *epochKey, values []fl.ShardValues, header *fl.UpdateHeader) ([][]byte, error) {
	var blobs [][]byte
	var shards []zk.ShardInput
	defer func() {
		for _, s := range shards {
			s.Randomness.Erase()
		}
	}()
	for _, shard := range values {
		ciphertext, randomness, err := k.public.EncryptForProof(shard.Values)
		if err != nil {
			return nil, fmt.Errorf("encrypting shard %d: %w", shard.Shard, err)
		}
		shards = append(shards, zk.ShardInput{Values: shard.Values, Ciphertext: ciphertext, Randomness: randomness})
		b := ciphertext.Bytes()
		blobs = append(blobs, b)
		header.Ciphertexts = append(header.Ciphertexts, fl.ShardCiphertext{Shard: shard.Shard, Digest: fl.DigestBytes(b)})
	}
	link := new(zk.Link)
	defer link.Erase()
	att, err := p.update.ProveUpdate(ctx, st.Scope, p.epoch, shards, zk.ProveOptions{Parallel: min(len(shards), runtime.GOMAXPROCS(0)), Link: link})
	if err != nil {
		return nil, fmt.Errorf("attesting the update: %w", err)
	}
	training, err := p.keys.ProveTraining(ctx, st, d.Dataset, att, link, nil)
	if err != nil {
		return nil, err
	}
	attestation := att.Bytes()
	header.Attestation, header.Training = fl.DigestBytes(attestation), fl.DigestBytes(training)
	return append(blobs, attestation, training), nil
}

// provenClaim is what a member checks of one sealed update at level trained,
// once its encryption is verified.
type provenClaim struct {
	client fl.NodeID
	header fl.Digest
	body   fl.UpdateHeader
	update zk.Claim
}

// verifyTrainings checks, in one batch, that every sealed update is what the
// plan's training on its client's committed rows gives, and that the weights
// rest on the proven rows.
func (n *Node) verifyTrainings(ctx context.Context, p *proofKeys, plan fl.Plan, planID fl.Digest, sealed []provenClaim) error {
	raw, err := n.remote.Fetch(ctx, plan.BaseModel, planID)
	if err != nil {
		return err
	}
	global, err := fl.DecodeParameters(raw, p.job.Spec.Parameters)
	if err != nil {
		return err
	}
	claims := make([]zk.TrainingClaim, len(sealed))
	for i, s := range sealed {
		fail := func(err error) error { return fmt.Errorf("the sealed update of %s: %w", s.client, err) }
		d, err := n.verifiedDataset(ctx, p, plan.JobSpec, s.body.Dataset, s.client)
		if err != nil {
			return fail(err)
		}
		if err := p.job.CheckWeight(plan, d); err != nil {
			return fail(err)
		}
		if s.body.Steps != int64(p.job.Spec.Trained.Steps) {
			return fail(fmt.Errorf("it declares %d steps: the job's training has %d", s.body.Steps, p.job.Spec.Trained.Steps))
		}
		proof, err := n.remote.Fetch(ctx, s.body.Training, s.header)
		if err != nil {
			return err
		}
		if claims[i], err = p.job.Claim(p.keys, plan, s.update.Scope, global, d, s.update.Attestation, proof); err != nil {
			return fail(err)
		}
	}
	index, err := p.keys.Verify(claims)
	if err != nil && index >= 0 {
		return fmt.Errorf("the sealed update of %s: %w", sealed[index].client, err)
	}
	return err
}
