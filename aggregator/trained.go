package aggregator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/flpb"
	"credence/zk"
	"credence/zk/trained"
)

// joinPatience is how many join windows a job at level trained waits for the
// answers of live nodes: each makes and proves a commitment to its data first.
const joinPatience = 10

// trainedJob derives what the terms of a stored job at level trained imply.
// Specifications never change, so that is done once.
func (a *Aggregator) trainedJob(id fl.Digest, spec fl.JobSpec) (*trained.Job, error) {
	if known, ok := a.trainedJobs.Load(id); ok {
		return known.(*trained.Job), nil
	}
	job, err := trained.Read(spec, a.suite)
	if err != nil {
		return nil, err
	}
	a.trainedJobs.Store(id, job)
	return job, nil
}

// checkTrained refuses a job whose training could not be proven.
func (a *Aggregator) checkTrained(s fl.JobSpec) error {
	if !s.ProofLevel.Trained() {
		return nil
	}
	if _, err := trained.Read(s, a.suite); err != nil {
		return fl.Refuse(fl.CodeMalformed, s.Owner, "%s", err)
	}
	return nil
}

// trainedKeysID names what is loaded for one job under one proof-keys document.
func trainedKeysID(keys, spec fl.Digest) fl.Digest {
	return fl.DigestOf("aggregator/trained-keys", keys[:], spec[:])
}

// trainedKeys returns the keys of a job at level trained. They are loaded once,
// without their proving halves.
func (a *Aggregator) trainedKeys(ctx context.Context, id, specID fl.Digest) (*proofKeys, error) {
	a.proofMu.Lock()
	defer a.proofMu.Unlock()
	if k := a.proofs[trainedKeysID(id, specID)]; k != nil {
		return k, nil
	}
	envelope, err := a.store.Document(ctx, specID)
	if err != nil {
		return nil, err
	}
	var spec fl.JobSpec
	if err := envelope.Read(&spec); err != nil {
		return nil, err
	}
	k := &proofKeys{epochs: map[fl.Digest]*zk.EpochKey{}}
	if k.job, err = a.trainedJob(specID, spec); err != nil {
		return nil, err
	}
	if envelope, err = a.store.Document(ctx, id); err != nil {
		return nil, err
	}
	if err := a.readOwn(envelope, &k.doc); err != nil {
		return nil, err
	}
	folder, err := a.proofStore()
	if err != nil {
		return nil, err
	}
	k.keys, err = k.job.Load(folder, func(circuit string) (fl.Digest, error) {
		named, ok := k.doc.Circuit(circuit)
		if !ok {
			return fl.Digest{}, fmt.Errorf("the proof keys %s hold none", id.Short())
		}
		return named.Manifest, folder.ImportVerifier(named, zk.Origin(k.doc.Setup), func(digest fl.Digest) ([]byte, error) { return a.blobs.Get(ctx, digest) })
	}, false, nil)
	if err != nil {
		return nil, err
	}
	k.update = k.keys.Update
	a.proofs[trainedKeysID(id, specID)] = k
	return k, nil
}

// updateKeys returns the keys that a plan's updates are attested with.
func (a *Aggregator) updateKeys(ctx context.Context, plan fl.Plan) (*proofKeys, error) {
	if plan.ProofLevel.Trained() {
		return a.trainedKeys(ctx, plan.ProofKeys, plan.JobSpec)
	}
	return a.proofKeysFor(ctx, plan.ProofKeys)
}

// keysForJob returns the proof keys that a job's proofs are for now: the newest,
// if they hold keys for all its circuits. Otherwise it says in words what is
// missing.
func (a *Aggregator) keysForJob(ctx context.Context, specID fl.Digest, spec fl.JobSpec) (id fl.Digest, waits string, err error) {
	envelope, err := a.store.ProofKeys(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return id, "proof keys: import those of a ceremony, or, for a demonstration, make them here (credence federation proofs)", nil
	}
	if err != nil {
		return id, "", err
	}
	if !spec.ProofLevel.Trained() {
		return envelope.Digest(), "", nil
	}
	job, err := a.trainedJob(specID, spec)
	if err != nil {
		return id, "", err
	}
	var doc fl.ProofKeys
	if err := a.readOwn(envelope, &doc); err != nil {
		return id, "", err
	}
	if missing := job.Missing(doc); len(missing) > 0 {
		return id, fmt.Sprintf("proof keys for %s: import them or, for a demonstration, make them here (credence federation proofs setup --local --job)", missing[0]), nil
	}
	return envelope.Digest(), "", nil
}

// offer is the offer of a job; nil while a job at level trained has no keys with
// which nodes could prove their data.
func (a *Aggregator) offer(ctx context.Context, envelope fl.Envelope) (*flpb.OfferTask, error) {
	offer := &flpb.OfferTask{JobSpec: envelope.Encode()}
	// Every poll of every node asks, and specifications never change.
	var spec fl.JobSpec
	digest := envelope.Digest()
	if known, ok := a.offered.Load(digest); ok {
		spec = known.(fl.JobSpec)
	} else {
		if err := envelope.Read(&spec); err != nil {
			return nil, err
		}
		a.offered.Store(digest, spec)
	}
	if !spec.ProofLevel.Trained() {
		return offer, nil
	}
	keys, waits, err := a.keysForJob(ctx, digest, spec)
	if err != nil || waits != "" {
		return nil, err
	}
	offer.ProofKeys = keys[:]
	return offer, nil
}

// keepsRunning refuses proof keys that take those of a running job away: the
// commitments that its nodes made are of the keys that there are.
func (a *Aggregator) keepsRunning(ctx context.Context, before, after fl.ProofKeys) error {
	jobs, err := a.store.RunningJobs(ctx)
	if err != nil {
		return err
	}
	for _, stored := range jobs {
		j, err := readJob(stored)
		if err != nil {
			return err
		}
		if !j.spec.ProofLevel.Trained() || len(j.Joins) == 0 {
			continue
		}
		job, err := a.trainedJob(j.specID, j.spec)
		if err != nil {
			return err
		}
		if len(job.Missing(before)) == 0 && !job.SameKeys(before, after) {
			return fmt.Errorf("job %s at level %s runs with the present proof keys, which these would replace: let it end, or cancel it, first", j.spec.Job, fl.ProofTrained)
		}
	}
	return nil
}

// acceptDataset takes in a node's commitment to the rows that it trains a job
// on: the proofs of it must be here and hold.
func (a *Aggregator) acceptDataset(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.DatasetCommitment
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	if err := a.addressed(from, d.Genesis, d.Node); err != nil {
		return time.Time{}, err
	}
	j, err := a.job(ctx, d.Node, d.Job)
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case !from.Has(fl.RoleNode):
		return time.Time{}, fl.Refuse(fl.CodeNotAllowed, d.Node, "%s may not train: it was not enrolled with role %q", d.Node, fl.RoleNode)
	case d.JobSpec != j.specID:
		return time.Time{}, fl.Refuse(fl.CodeWrongAddressee, d.Node, "the dataset commitment is for another version of job %s", d.Job)
	case !j.spec.ProofLevel.Trained():
		return time.Time{}, fl.Refuse(fl.CodeProofLevel, d.Node, "job %s is at proof level %s: it takes no dataset commitments", d.Job, j.spec.ProofLevel)
	case j.Phase != store.JobRunning:
		return time.Time{}, fl.Refuse(fl.CodeLate, d.Node, "job %s is %s", d.Job, j.Phase)
	}
	if current, waits, err := a.keysForJob(ctx, j.specID, j.spec); err != nil || waits != "" || current != d.ProofKeys {
		if err != nil {
			return time.Time{}, err
		}
		if err := a.sameKeys(ctx, j, d, current, waits); err != nil {
			return time.Time{}, err
		}
	}
	k, err := a.trainedKeys(ctx, d.ProofKeys, j.specID)
	if err != nil {
		return time.Time{}, err
	}
	if err := k.job.CheckDocument(j.specID, d.Node, d); err != nil {
		return time.Time{}, fl.Refuse(fl.CodeProof, d.Node, "%s", err)
	}
	var proofs [2][]byte
	for i, blob := range []struct {
		what   string
		digest fl.Digest
	}{{"registration", d.Registration}, {"validation", d.Validation}} {
		if blob.digest.IsZero() {
			continue
		}
		if proofs[i], err = a.takeBlob(ctx, d.Node, blob.what, blob.digest, trained.AttestationBytes); err != nil {
			return time.Time{}, err
		}
	}
	if err := k.job.VerifyDataset(k.keys, d, proofs[0], proofs[1]); err != nil {
		if errors.Is(err, trained.ErrDataset) {
			err = fl.Refuse(fl.CodeProof, d.Node, "%s", err)
		}
		return time.Time{}, err
	}
	if err := a.store.CommitDataset(ctx, doc); err != nil {
		return time.Time{}, err
	}
	a.log.Info("dataset committed", "job", d.Job, "node", d.Node, "rows", d.Rows)
	return a.now(), nil
}

// sameKeys refuses a commitment under other keys than the job's rounds use. A
// newer document with the same keys for this job may have crossed with it.
func (a *Aggregator) sameKeys(ctx context.Context, j jobState, d fl.DatasetCommitment, current fl.Digest, waits string) error {
	if waits != "" {
		return fl.Refuse(fl.CodeNotReady, d.Node, "job %s waits for %s", d.Job, waits)
	}
	var docs [2]fl.ProofKeys
	for i, id := range []fl.Digest{current, d.ProofKeys} {
		envelope, err := a.store.Document(ctx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && envelope.Kind != (fl.ProofKeys{}).Kind() {
			return fl.Refuse(fl.CodeProof, d.Node, "the dataset commitment names proof keys %s, which there are not", id.Short())
		}
		if err != nil {
			return err
		}
		if err := a.readOwn(envelope, &docs[i]); err != nil {
			return err
		}
	}
	job, err := a.trainedJob(j.specID, j.spec)
	if err != nil {
		return err
	}
	if !job.SameKeys(docs[0], docs[1]) {
		return fl.Refuse(fl.CodeProof, d.Node, "the dataset commitment is proven with other keys than the job's: restart the node and join again")
	}
	return nil
}

// checkJoined checks that a consent names a commitment that was taken in, and
// declares the rows that it proves.
func (a *Aggregator) checkJoined(ctx context.Context, j jobState, d fl.JobJoin) error {
	if !j.spec.ProofLevel.Trained() {
		if !d.Dataset.IsZero() {
			return fl.Refuse(fl.CodeProofLevel, d.Node, "job %s is at proof level %s: joining it names no dataset commitment", d.Job, j.spec.ProofLevel)
		}
		return nil
	}
	c, err := a.dataset(ctx, d.Node, d.Dataset)
	if err != nil {
		return err
	}
	switch {
	case c.JobSpec != j.specID || c.Node != d.Node:
		return fl.Refuse(fl.CodeProof, d.Node, "joining job %s names a dataset commitment of another node or job", d.Job)
	case c.Rows != d.Samples:
		return fl.Refuse(fl.CodeProof, d.Node, "joining job %s declares %d samples, and its dataset commitment proves %d rows", d.Job, d.Samples, c.Rows)
	}
	return nil
}

// dataset reads a dataset commitment that was taken in.
func (a *Aggregator) dataset(ctx context.Context, node fl.NodeID, id fl.Digest) (fl.DatasetCommitment, error) {
	var c fl.DatasetCommitment
	envelope, err := a.store.Document(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && envelope.Kind != c.Kind() {
		return c, fl.Refuse(fl.CodeProof, node, "no dataset commitment %s was handed in", id.Short())
	}
	if err != nil {
		return c, err
	}
	return c, envelope.Read(&c)
}

// verifyTraining checks that the update behind a verified attestation of its
// encryption is what the plan's training on the client's committed rows gives.
func (a *Aggregator) verifyTraining(ctx context.Context, k *proofKeys, plan fl.Plan, scope *zk.Scope, h fl.UpdateHeader, att *zk.Attestation) error {
	refuse := func(format string, args ...any) error {
		return fl.Refuse(fl.CodeProof, h.Node, "%s", fmt.Sprintf(format, args...))
	}
	j, err := a.job(ctx, h.Node, h.Job)
	if err != nil {
		return err
	}
	var join fl.JobJoin
	if err := j.Joins[h.Node].Read(&join); err != nil {
		return err
	}
	switch {
	case h.Dataset != join.Dataset:
		return refuse("the update is of another dataset commitment than %s joined job %s with", h.Node, h.Job)
	case h.Steps != int64(k.job.Spec.Trained.Steps):
		return refuse("the update declares %d steps: the job's training has %d", h.Steps, k.job.Spec.Trained.Steps)
	}
	d, err := a.dataset(ctx, h.Node, h.Dataset)
	if err != nil {
		return err
	}
	size, err := a.blobs.Size(ctx, h.Training)
	if err == nil && size > int64(k.job.MaxTrainingBytes()) {
		return fl.Refuse(fl.CodeMalformed, h.Node, "training attestation of %d bytes: want at most %d", size, k.job.MaxTrainingBytes())
	}
	raw, err := a.takeBlob(ctx, h.Node, "training attestation", h.Training, int(size))
	if err != nil {
		return err
	}
	global, err := a.blobs.Get(ctx, plan.BaseModel)
	if err != nil {
		return err
	}
	params, err := fl.DecodeParameters(global, k.job.Spec.Parameters)
	if err != nil {
		return err
	}
	claim, err := k.job.Claim(k.keys, plan, scope, params, d, att, raw)
	if err != nil {
		return refuse("%s", err)
	}
	index, err := k.keys.Verify([]zk.TrainingClaim{claim})
	if err != nil && index >= 0 {
		return refuse("%s", err)
	}
	return err
}

// jobKeys makes the keys of jobs by a local set-up, or reads them.
func (a *Aggregator) jobKeys(from *zk.Store, jobs []fl.JobSpec, make bool, progress zk.Progress) ([]zk.AnyKeys, error) {
	var out []zk.AnyKeys
	for _, spec := range jobs {
		job, err := trained.Read(spec, a.suite)
		if err != nil {
			return nil, err
		}
		var keys []zk.AnyKeys
		if make {
			keys, err = job.SetUp(from, progress)
		} else {
			keys, err = job.Read(from, progress)
		}
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			named := func(other zk.AnyKeys) bool { return other.Manifest().Shape == k.Manifest().Shape }
			if !slices.ContainsFunc(out, named) {
				out = append(out, k)
			}
		}
	}
	return out, nil
}
