package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"credence/client"
	"credence/fl"
	"credence/zk"
	"credence/zk/trained"
)

// fileDataset files a node's commitment to the rows that it trains a job on.
func (a *auditor) fileDataset(r ref) error {
	f, err := open(a, r, "", func(d *fl.DatasetCommitment) fl.Digest { return d.Genesis }, func(d *fl.DatasetCommitment) fl.NodeID { return d.Node })
	if err != nil {
		return err
	}
	j, err := a.jobOf(r, f.body.Job, f.body.JobSpec)
	if err != nil {
		return err
	}
	if held, twice := j.datasets[f.body.Node]; twice {
		return a.lie(r.String(), "%s committed to a data set for job %s already, by entry %d", f.body.Node, f.body.Job, held.at)
	}
	if j.proven == nil {
		return a.lie(r.String(), "job %s is at proof level %s and takes no dataset commitments", f.body.Job, j.spec.body.ProofLevel)
	}
	if err := j.proven.CheckDocument(j.spec.id, f.body.Node, f.body); err != nil {
		return a.lie(r.String(), "%v", err)
	}
	if _, logged := a.keyNamed(f.body.ProofKeys, r.at); !logged {
		return a.lie(r.String(), "the proof keys %s that it names are not in the log before it", f.body.ProofKeys.Short())
	}
	j.datasets[f.body.Node] = f
	return a.enrolled(r.String(), f.body.Node, fl.RoleNode, r.at)
}

// checkJoined checks that a consent declares the rows of the commitment that it
// names.
func (a *auditor) checkJoined(j *jobLog, f filed[fl.JobJoin]) error {
	if j.proven == nil {
		if !f.body.Dataset.IsZero() {
			return a.lie(f.String(), "it names a dataset commitment, and its job is at proof level %s", j.spec.body.ProofLevel)
		}
		return nil
	}
	d, committed := j.datasets[f.body.Node]
	switch {
	case !committed || d.id != f.body.Dataset:
		return a.lie(f.String(), "its dataset commitment %s is not in the log before it", f.body.Dataset.Short())
	case d.body.Rows != f.body.Samples:
		return a.differs(f.String(), "it declares another number of samples than its dataset commitment proves", d.body.Rows, f.body.Samples)
	}
	return nil
}

// trainedKeysOf loads the keys of a job at level trained that a proof-keys
// document names, in the same way as keysOf.
func (a *auditor) trainedKeysOf(ctx context.Context, doc filed[fl.ProofKeys], j *jobLog) (_ *proofKeys, err error) {
	id := fl.DigestOf("audit/trained-keys", doc.id[:], j.spec.id[:])
	if k := a.keys[id]; k != nil {
		return k, nil
	}
	started := time.Now()
	dir, err := os.MkdirTemp("", "credence-audit-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the proof keys: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	folder, err := zk.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	k := &proofKeys{doc: doc, epochs: map[fl.Digest]*zk.EpochKey{}}
	k.trained, err = j.proven.Load(folder, func(circuit string) (fl.Digest, error) {
		named, ok := doc.body.Circuit(circuit)
		if !ok {
			return fl.Digest{}, a.lie(doc.String(), "it holds no keys for %s", circuit)
		}
		return named.Manifest, folder.ImportVerifier(named, zk.Origin(doc.body.Setup), func(digest fl.Digest) ([]byte, error) {
			return a.blob(ctx, doc.String(), "file of the keys for "+circuit, digest, doc.id)
		})
	}, false, func(stage string, done, total int) { a.progress.report(stage, done, total) })
	if err != nil {
		return nil, a.refusedKeys(doc, err)
	}
	k.update = k.trained.Update
	a.checked("proof keys that are those of the logged document, for this circuit", len(j.proven.Circuits()), started)
	if doc.body.Setup == fl.SetupLocal {
		a.notChecked("who made the proof keys: they come from a local set-up, whose maker could forge attestations")
	}
	a.notChecked("at proof level trained: %s", oneLine(client.NotProven))
	a.keys[id] = k
	return k, nil
}

// oneLine joins a text that is broken for people.
func oneLine(text string) string {
	out := []rune(text)
	for i, r := range out {
		if r == '\n' {
			out[i] = ' '
		}
	}
	return string(out)
}

// checkDatasets verifies the commitments of a round's cohort, on whose rows the
// weights rest, each once.
func (a *auditor) checkDatasets(ctx context.Context, r *roundLog, k *proofKeys) error {
	started := time.Now()
	checked := 0
	for _, c := range r.plan.body.Cohort {
		d := r.job.datasets[c.Node] // checkCohort has seen that it joined with it
		if r.job.verified[c.Node] {
			continue
		}
		var proofs [2][]byte
		for i, blob := range []struct {
			what   string
			digest fl.Digest
		}{{"registration", d.body.Registration}, {"validation", d.body.Validation}} {
			if blob.digest.IsZero() {
				continue
			}
			var err error
			if proofs[i], err = a.blob(ctx, d.String(), blob.what+" of the data set", blob.digest, d.id); err != nil {
				return err
			}
		}
		switch err := r.job.proven.VerifyDataset(k.trained, d.body, proofs[0], proofs[1]); {
		case errors.Is(err, trained.ErrDataset):
			return a.lie(d.String(), "%v", err)
		case err != nil:
			return err
		}
		r.job.verified[c.Node] = true
		checked++
	}
	a.checked("committed data sets, with their rows and the job's requirements", checked, started)
	return nil
}

// checkTrainings verifies, in a batch, that every sealed update is what the
// plan's training on its client's committed rows gives. Claims are those of
// their encryptions, in the order of the seal.
func (a *auditor) checkTrainings(ctx context.Context, r *roundLog, k *proofKeys, claims []zk.Claim) error {
	started := time.Now()
	plan, spec := r.plan.body, r.job.spec.body
	global, err := a.parameters(ctx, r.plan.String(), "base model", plan.BaseModel, r.plan.id, spec.Parameters)
	if err != nil {
		return err
	}
	trainings := make([]zk.TrainingClaim, len(claims))
	where := make([]string, len(claims))
	for i, node := range r.seal.body.Clients {
		h := r.headers[node]
		d := r.job.datasets[node]
		where[i] = fmt.Sprintf("blob %s (training attestation, named by %s)", h.body.Training.Short(), h)
		switch {
		case h.body.Dataset != r.job.joins[node].body.Dataset:
			return a.differs(h.String(), "it is of another dataset commitment than its client joined with", r.job.joins[node].body.Dataset, h.body.Dataset)
		case h.body.Steps != int64(spec.Trained.Steps):
			return a.differs(h.String(), "it declares another number of steps than the job's training has", spec.Trained.Steps, h.body.Steps)
		}
		raw, err := a.blob(ctx, h.String(), "training attestation", h.body.Training, h.id)
		if err != nil {
			return err
		}
		if trainings[i], err = r.job.proven.Claim(k.trained, plan, claims[i].Scope, global, d.body, claims[i].Attestation, raw); err != nil {
			return a.lie(where[i], "%v", err)
		}
	}
	index, err := k.trained.Verify(trainings)
	switch {
	case err != nil && index >= 0:
		return a.lie(where[index], "%v", err)
	case err != nil:
		return fmt.Errorf("verifying the training attestations of %s: %w", r, err)
	}
	a.checked("attestations of trainings, in batches", len(trainings), started)
	return nil
}
