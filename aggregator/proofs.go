package aggregator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"credence/aggregator/store"
	"credence/fl"
	"credence/he"
	"credence/he/threshold"
	"credence/zk"
	"credence/zk/circuit/rlwe"
	"credence/zk/trained"
)

const proofFolder = "zk"

// proofKeys are proof keys ready to verify with.
type proofKeys struct {
	doc      fl.ProofKeys
	update   *zk.Keys
	keyShare *zk.Keys
	epochs   map[fl.Digest]*zk.EpochKey // by EpochKey document
	// Of one job at level trained, whose update keys are linked ones; nil otherwise.
	job  *trained.Job
	keys *trained.Keys
}

// proofStore is the folder of proof keys. Its files are named by their
// contents, so all documents' keys share it.
func (a *Aggregator) proofStore() (*zk.Store, error) {
	return zk.OpenStore(filepath.Join(a.dir, proofFolder))
}

// shapes returns the relations that a federation of a suite needs keys for.
func shapes(suite *he.Suite) ([]*rlwe.Shape, error) {
	update, err := rlwe.UpdateShape(suite)
	if err != nil {
		return nil, err
	}
	keyShare, err := rlwe.KeyShareShape(suite)
	return []*rlwe.Shape{update, keyShare}, err
}

// SetUpProofs makes proof keys by a local, single-party set-up, or takes them
// from an earlier one in the cache folder, and adopts them. Whoever ran it
// could forge proofs; documents and screens say "local" for ever after. Jobs at
// level trained need keys of their own; they need not be submitted yet.
func (a *Aggregator) SetUpProofs(ctx context.Context, cache string, progress zk.Progress, jobs ...fl.JobSpec) error {
	if current, err := a.currentProofKeys(ctx); err == nil && len(jobs) > 0 && current.Setup != fl.SetupLocal {
		return fmt.Errorf("the federation's proof keys come from a %s: keys made here for job %s would put a local set-up in the place of all of them, and a document names keys of one origin; run such jobs in a federation with local keys", current.Setup, jobs[0].Job)
	}
	keys, err := zk.OpenStore(cache)
	if err != nil {
		return err
	}
	wanted, err := shapes(a.suite)
	if err != nil {
		return err
	}
	var made []zk.AnyKeys
	for _, shape := range wanted {
		k, err := keys.LoadOrSetup(shape, progress)
		if err != nil {
			return err
		}
		made = append(made, k)
	}
	more, err := a.jobKeys(keys, jobs, true, progress)
	if err != nil {
		return err
	}
	return a.adopt(ctx, keys, append(made, more...))
}

// ImportProofs adopts the keys in a folder that a ceremony left, and those of
// jobs at level trained.
func (a *Aggregator) ImportProofs(ctx context.Context, folder string, progress zk.Progress, jobs ...fl.JobSpec) error {
	keys, err := zk.OpenStore(folder)
	if err != nil {
		return err
	}
	wanted, err := shapes(a.suite)
	if err != nil {
		return err
	}
	var read []zk.AnyKeys
	for _, shape := range wanted {
		k, err := keys.Load(shape, fl.Digest{}, progress)
		if err != nil {
			return err
		}
		read = append(read, k)
	}
	more, err := a.jobKeys(keys, jobs, false, progress)
	if err != nil {
		return err
	}
	return a.adopt(ctx, keys, append(read, more...))
}

// adopt stores the keys' files as blobs and signs the document that names them.
// Keys of other circuits that are in use stay in use, if they have the same
// origin.
func (a *Aggregator) adopt(ctx context.Context, from *zk.Store, keys []zk.AnyKeys) error {
	doc := fl.ProofKeys{Genesis: a.genesisID, Setup: string(keys[0].Manifest().Origin), AdoptedAt: a.now()}
	for _, k := range keys {
		m := k.Manifest()
		if string(m.Origin) != doc.Setup {
			return fmt.Errorf("proof keys of two origins: %s is %s, the others are %s", m.Shape, m.Origin, doc.Setup)
		}
		for _, digest := range []fl.Digest{m.Proving, m.Verifying, m.SRS} {
			b, err := from.Read(digest)
			if err != nil {
				return err
			}
			if _, err := a.blobs.Put(ctx, b); err != nil {
				return err
			}
		}
		doc.Circuits = append(doc.Circuits, m.Describe())
	}
	current, err := a.currentProofKeys(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	default:
		for _, c := range current.Circuits {
			if _, named := doc.Circuit(c.Shape); !named && current.Setup == doc.Setup {
				doc.Circuits = append(doc.Circuits, c)
			}
		}
		if sameKeys(current, doc) {
			return nil // adopted already
		}
		if err := a.keepsRunning(ctx, current, doc); err != nil {
			return err
		}
	}
	envelope, err := a.sign(doc)
	if err != nil {
		return err
	}
	if err := a.store.AdoptProofKeys(ctx, envelope); err != nil {
		return fmt.Errorf("adopting proof keys: %w", err)
	}
	a.log.Info("proof keys adopted", "setup", doc.Setup, "document", envelope.Digest().Short())
	a.wake.signal()
	return nil
}

func sameKeys(a, b fl.ProofKeys) bool {
	if a.Setup != b.Setup || len(a.Circuits) != len(b.Circuits) {
		return false
	}
	for i := range a.Circuits {
		if a.Circuits[i] != b.Circuits[i] {
			return false
		}
	}
	return true
}

func (a *Aggregator) currentProofKeys(ctx context.Context) (fl.ProofKeys, error) {
	var doc fl.ProofKeys
	envelope, err := a.store.ProofKeys(ctx)
	if err != nil {
		return doc, err
	}
	return doc, a.readOwn(envelope, &doc)
}

// ProofKeys returns the proof keys in use, and whether there are any.
func (a *Aggregator) ProofKeys(ctx context.Context) (fl.ProofKeys, bool, error) {
	doc, err := a.currentProofKeys(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return fl.ProofKeys{}, false, nil
	}
	return doc, err == nil, err
}

// proofKeysFor returns the keys that a plan names. They are loaded once.
func (a *Aggregator) proofKeysFor(ctx context.Context, id fl.Digest) (*proofKeys, error) {
	a.proofMu.Lock()
	defer a.proofMu.Unlock()
	if k := a.proofs[id]; k != nil {
		return k, nil
	}
	envelope, err := a.store.Document(ctx, id)
	if err != nil {
		return nil, err
	}
	k := &proofKeys{epochs: map[fl.Digest]*zk.EpochKey{}}
	if err := a.readOwn(envelope, &k.doc); err != nil {
		return nil, err
	}
	folder, err := a.proofStore()
	if err != nil {
		return nil, err
	}
	wanted, err := shapes(a.suite)
	if err != nil {
		return nil, err
	}
	for i, shape := range wanted {
		named, ok := k.doc.Circuit(shape.Name)
		if !ok {
			return nil, fmt.Errorf("the proof keys hold none for %s", shape.Name)
		}
		fetch := func(digest fl.Digest) ([]byte, error) { return a.blobs.Get(ctx, digest) }
		if err := folder.Import(named, zk.Origin(k.doc.Setup), fetch); err != nil {
			return nil, err
		}
		keys, err := folder.Load(shape, named.Manifest, nil)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			k.update = keys
		} else {
			k.keyShare = keys
		}
	}
	a.proofs[id] = k
	return k, nil
}

// epochKeyOf prepares the collective key of an epoch for verification.
func (a *Aggregator) epochKeyOf(ctx context.Context, k *proofKeys, plan fl.Plan) (*zk.EpochKey, error) {
	a.proofMu.Lock()
	defer a.proofMu.Unlock()
	if e := k.epochs[plan.EpochKey]; e != nil {
		return e, nil
	}
	envelope, err := a.store.Document(ctx, plan.EpochKey)
	if err != nil {
		return nil, err
	}
	var doc fl.EpochKey
	if err := a.readOwn(envelope, &doc); err != nil {
		return nil, err
	}
	raw, err := a.blobs.Get(ctx, doc.PublicKey)
	if err != nil {
		return nil, err
	}
	public, err := a.suite.ParsePublicKey(raw)
	if err != nil {
		return nil, err
	}
	e, err := k.update.NewEpochKey(public)
	if err != nil {
		return nil, err
	}
	k.epochs[plan.EpochKey] = e
	return e, nil
}

// attestation decodes the attestation that a header names.
func (a *Aggregator) attestation(ctx context.Context, k *proofKeys, h fl.UpdateHeader) (*zk.Attestation, error) {
	if err := a.needBlob(ctx, h.Node, "attestation", h.Attestation, zk.AttestationBytes(k.update.Shape(), len(h.Ciphertexts))); err != nil {
		return nil, err
	}
	raw, err := a.blobs.Get(ctx, h.Attestation)
	if err != nil {
		return nil, err
	}
	att, err := zk.ParseAttestation(k.update.Shape(), raw)
	if err != nil {
		return nil, fl.Refuse(fl.CodeProof, h.Node, "attestation: %s", err)
	}
	return att, nil
}

// verifyAttestation checks a client's attestation, and that its ciphertexts
// are the ones attested.
func (a *Aggregator) verifyAttestation(ctx context.Context, plan fl.Plan, planID fl.Digest, h fl.UpdateHeader, ciphertexts []*he.Ciphertext) error {
	k, err := a.updateKeys(ctx, plan)
	if err != nil {
		return err
	}
	epoch, err := a.epochKeyOf(ctx, k, plan)
	if err != nil {
		return err
	}
	att, err := a.attestation(ctx, k, h)
	if err != nil {
		return err
	}
	scope, err := zk.ScopeOf(plan, planID, epoch.Digest(), h.Node)
	if err != nil {
		return fl.Refuse(fl.CodeProof, h.Node, "%s", err)
	}
	if err := k.update.VerifyUpdate(scope, epoch, att); err != nil {
		return fl.Refuse(fl.CodeProof, h.Node, "%s", err)
	}
	if err := k.update.SRS().CheckCiphertexts(ciphertexts, att); err != nil {
		return fl.Refuse(fl.CodeProof, h.Node, "%s", err)
	}
	if k.job == nil {
		return nil
	}
	return a.verifyTraining(ctx, k, plan, scope, h, att)
}

// liarError says that a sealed sum is not the sum of the attested ciphertexts,
// and whose ciphertext differs from its commitment.
type liarError struct {
	node  fl.NodeID
	shard int
}

func (e *liarError) Error() string {
	return fmt.Sprintf("the ciphertext of %s for shard %d is not the one it attested", e.node, e.shard)
}

// checkSum checks the sum of a shard against the commitments of its
// contributors. When they differ, it finds by bisection whose stored
// ciphertext is not the one attested: halves whose own sums agree are dropped.
func (a *Aggregator) checkSum(ctx context.Context, plan fl.Plan, shard int, sum *he.Sum, contributors []fl.NodeID, headers map[fl.NodeID]fl.UpdateHeader) error {
	k, err := a.updateKeys(ctx, plan)
	if err != nil {
		return err
	}
	commitments := make([][2]zk.Commitment, len(contributors))
	for i, node := range contributors {
		att, err := a.attestation(ctx, k, headers[node])
		if err != nil {
			return err
		}
		for place, c := range headers[node].Ciphertexts {
			if c.Shard == shard {
				commitments[i] = att.Commitments(place)
			}
		}
	}
	err = k.update.SRS().CheckSum(sum, commitments)
	if !errors.Is(err, zk.ErrCommitment) {
		return err
	}
	for len(contributors) > 1 {
		half := len(contributors) / 2
		part, err := a.sumOf(ctx, shard, contributors[:half], headers)
		if err != nil {
			return err
		}
		switch err := k.update.SRS().CheckSum(part, commitments[:half]); {
		case errors.Is(err, zk.ErrCommitment):
			contributors, commitments = contributors[:half], commitments[:half]
		case err != nil:
			return err
		default:
			contributors, commitments = contributors[half:], commitments[half:]
		}
	}
	return &liarError{node: contributors[0], shard: shard}
}

// setupOf says where the proof keys of a plan come from.
func (a *Aggregator) setupOf(ctx context.Context, plan fl.Plan) (string, error) {
	if !plan.ProofLevel.Attested() {
		return "", nil
	}
	k, err := a.proofKeysFor(ctx, plan.ProofKeys)
	if err != nil {
		return "", err
	}
	return k.doc.Setup, nil
}

// verifyKeyShare checks a member's attestation that its key share has a short
// secret and a short error, where the epoch asks for one.
func (a *Aggregator) verifyKeyShare(ctx context.Context, e epochState, te *threshold.Epoch, d fl.KeyReveal, reveal []byte) error {
	if e.plan.ProofKeys.IsZero() != d.Attestation.IsZero() {
		return fl.Refuse(fl.CodeProof, d.Node, "key share: the epoch and the reveal disagree on whether there is an attestation")
	}
	if d.Attestation.IsZero() {
		return nil
	}
	k, err := a.proofKeysFor(ctx, e.plan.ProofKeys)
	if err != nil {
		return err
	}
	raw, err := a.takeBlob(ctx, d.Node, "attestation", d.Attestation, zk.KeyShareProofBytes(k.keyShare.Shape()))
	if err != nil {
		return err
	}
	att, err := zk.ParseKeyShareProof(k.keyShare.Shape(), raw)
	if err != nil {
		return fl.Refuse(fl.CodeProof, d.Node, "key share: %s", err)
	}
	share, err := threshold.MemberKey(te, string(d.Node), reveal)
	if err != nil {
		return fl.Refuse(fl.CodeMalformed, d.Node, "key share: %s", err)
	}
	common, err := k.keyShare.NewCommonKey(a.suite, te.CRSSeed())
	if err != nil {
		return err
	}
	if err := k.keyShare.VerifyKeyShare(zk.MemberScopeOf(e.plan, common, d.Node), common, share.P(), att); err != nil {
		return fl.Refuse(fl.CodeProof, d.Node, "key share: %s", err)
	}
	return nil
}
