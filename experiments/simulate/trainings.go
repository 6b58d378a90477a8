package simulate

import (
	"context"
	"errors"
	"time"

	"credence/fl"
	"credence/he"
	"credence/zk"
	"credence/zk/tabular"
	"credence/zk/trained"
)

// trainings is what an attested channel keeps at level trained.
type trainings struct {
	*encrypted
	job      *trained.Job
	proofs   *trained.Keys
	datasets map[fl.NodeID]trained.Dataset
}

// NewTrained is NewAttested at proof level trained: clients prove their tables
// when they join, and in each round that their update is what the job's steps
// give on them. keys are those of the job.
func NewTrained(suite *he.Suite, members, threshold int, job *trained.Job, keys *trained.Keys) (Channel, error) {
	c, err := newAttested(suite, members, threshold, keys.Update)
	if err != nil {
		return nil, err
	}
	return &trainings{encrypted: c, job: job, proofs: keys, datasets: map[fl.NodeID]trained.Dataset{}}, nil
}

// Commit implements provenChannel.
func (c *trainings) Commit(node fl.NodeID, table *tabular.Table) error {
	refuse := func(err error) error { return &RefusedError{node, err} }
	commitment, secret, err := c.proofs.Registration.SRS().CommitTable(table)
	if err != nil {
		return err
	}
	d := trained.Dataset{Table: table, Secret: secret, Document: fl.DatasetCommitment{
		Genesis: c.job.Spec.Genesis, JobSpec: simulated, Job: c.job.Spec.Job, Node: node, Spec: c.job.Table.Digest(),
		Commitment: commitment.Bytes(), Rows: int64(table.Used), CommittedAt: opening,
	}}
	registration, validation, err := c.job.Prove(c.proofs, d)
	if errors.Is(err, tabular.ErrTable) || errors.Is(err, tabular.ErrLayout) {
		if unmet := meets(c.job, node, table); unmet != nil {
			return unmet // there is no proof to join with
		}
		return err
	}
	if err != nil {
		return err
	}
	d.Document.Registration = fl.DigestBytes(registration)
	if validation != nil {
		d.Document.Validation = fl.DigestBytes(validation)
	}
	if err := c.job.CheckDocument(simulated, node, d.Document); err != nil {
		return refuse(err)
	}
	if err := c.job.VerifyDataset(c.proofs, d.Document, registration, validation); err != nil {
		return refuse(err)
	}
	c.datasets[node] = d
	return nil
}

// SendTrained implements provenChannel. A client that sends anything but the
// exact result can attest its encryption, and beside it the training that it
// should have sent; the two are not of the same values, and the verifier sees
// that. So does a client that trained on other rows.
func (c *trainings) SendTrained(ctx context.Context, a fl.Assignment, values, exact []fl.ShardValues, global []float32) (Sent, error) {
	return c.send(a, values, func(inputs []zk.ShardInput, sent *Sent) (*zk.Attestation, error) {
		link := new(zk.Link)
		defer func() { link.Erase() }()
		att, err := c.attest(ctx, a, inputs, link, sent)
		if err != nil {
			return nil, err
		}
		scope, err := zk.ScopeOf(c.plan, c.id, c.epoch.Digest(), a.Node)
		if err != nil {
			return nil, err
		}
		started := time.Now()
		trainedAtt := att
		if !same(values, exact) {
			others, err := c.encrypt(exact)
			defer erase(others)
			if err != nil {
				return nil, err
			}
			link.Erase()
			link = new(zk.Link)
			if trainedAtt, err = c.keys.ProveUpdate(ctx, scope, c.epoch, others, zk.ProveOptions{Link: link}); err != nil {
				return nil, err
			}
		}
		d := c.datasets[a.Node]
		st, err := c.job.Statement(c.plan, scope, global, d.Document)
		if err != nil {
			return nil, err
		}
		raw, err := c.proofs.ProveTraining(ctx, st, d, trainedAtt, link, nil)
		if err != nil {
			return nil, err
		}
		sent.Times.Prove += time.Since(started)
		sent.Bytes += int64(len(raw))
		started = time.Now()
		defer func() { sent.Times.Verify += time.Since(started) }()
		if err := c.job.CheckWeight(c.plan, d.Document); err != nil {
			return nil, &RefusedError{a.Node, err}
		}
		claim, err := c.job.Claim(c.proofs, c.plan, scope, global, d.Document, att, raw)
		if err != nil {
			return nil, &RefusedError{a.Node, err}
		}
		if index, err := c.proofs.Verify([]zk.TrainingClaim{claim}); err != nil {
			if index < 0 {
				return nil, err
			}
			return nil, &RefusedError{a.Node, err}
		}
		return att, nil
	})
}
