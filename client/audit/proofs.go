package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"credence/fl"
	"credence/he/threshold"
	"credence/zk"
	"credence/zk/circuit/rlwe"
	"credence/zk/trained"
)

// proofKeys are the federation's keys, ready to verify with.
type proofKeys struct {
	doc    filed[fl.ProofKeys]
	update *zk.Keys
	epochs map[fl.Digest]*zk.EpochKey // by EpochKey document
	shares *zk.Keys                   // for key shares; nil until one is attested
	// trained are a job's keys at level trained, whose update keys are linked ones.
	trained *trained.Keys
}

// keysOf loads the keys that a proof-keys document names. Every file is
// hashed, the manifest must be the one named, and the circuit is compiled anew,
// so the keys are for this circuit and no other.
func (a *auditor) keysOf(ctx context.Context, doc filed[fl.ProofKeys]) (*proofKeys, error) {
	if k := a.keys[doc.id]; k != nil {
		return k, nil
	}
	shape, err := rlwe.UpdateShape(a.suite)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	k := &proofKeys{doc: doc, epochs: map[fl.Digest]*zk.EpochKey{}}
	if k.update, err = a.loadKeys(ctx, doc, shape); err != nil {
		return nil, err
	}
	a.checked("proof keys that are those of the logged document, for this circuit", 1, started)
	if doc.body.Setup == fl.SetupLocal {
		a.notChecked("who made the proof keys: they come from a local set-up, whose maker could forge attestations")
	}
	a.keys[doc.id] = k
	return k, nil
}

// loadKeys brings the verifying half of the keys of a circuit into a folder
// that is removed again, and loads them.
func (a *auditor) loadKeys(ctx context.Context, doc filed[fl.ProofKeys], shape *rlwe.Shape) (_ *zk.Keys, err error) {
	named, ok := doc.body.Circuit(shape.Name)
	if !ok {
		return nil, a.lie(doc.String(), "it holds no keys for %s", shape.Name)
	}
	dir, err := os.MkdirTemp("", "credence-audit-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the proof keys: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	folder, err := zk.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	fetch := func(digest fl.Digest) ([]byte, error) {
		return a.blob(ctx, doc.String(), "file of the keys for "+shape.Name, digest, doc.id)
	}
	if err := folder.ImportVerifier(named, zk.Origin(doc.body.Setup), fetch); err != nil {
		return nil, a.refusedKeys(doc, err)
	}
	keys, err := folder.LoadVerifier(shape, named.Manifest, func(stage string, done, total int) { a.progress.report(stage, done, total) })
	if err != nil {
		return nil, a.refusedKeys(doc, err)
	}
	return keys, nil
}

// refusedKeys makes a lie of what package zk says against keys.
func (a *auditor) refusedKeys(doc filed[fl.ProofKeys], err error) error {
	var lie *Lie
	if errors.As(err, &lie) {
		return lie
	}
	if errors.Is(err, zk.ErrKeys) || errors.Is(err, zk.ErrEncoding) {
		return a.lie(doc.String(), "%v", err)
	}
	return err
}

// keyNamed returns the proof-keys document of a digest, if it was logged before
// an entry.
func (a *auditor) keyNamed(id fl.Digest, before int64) (filed[fl.ProofKeys], bool) {
	for _, k := range a.book.proofKeys {
		if k.id == id && k.at < before {
			return k, true
		}
	}
	return filed[fl.ProofKeys]{}, false
}

// checkKeyShares checks the attestations of a key's shares, which the epoch plan
// asks for where the federation's floor does.
func (a *auditor) checkKeyShares(ctx context.Context, k *epochKey, reveals []fl.KeyReveal, refs []ref, opened map[string][]byte) error {
	plan := k.log.plan
	if plan.body.ProofKeys.IsZero() {
		for i, r := range reveals {
			if !r.Attestation.IsZero() {
				return a.lie(refs[i].String(), "it names an attestation, for which the epoch's plan names no proof keys")
			}
		}
		a.notChecked("that the key shares of epoch %d are of short secrets: they carry no attestations", k.epoch.Number())
		return nil
	}
	doc, _ := a.keyNamed(plan.body.ProofKeys, plan.at)
	keys, err := a.keysOf(ctx, doc)
	if err != nil {
		return err
	}
	shape, err := rlwe.KeyShareShape(a.suite)
	if err != nil {
		return err
	}
	if keys.shares == nil {
		if keys.shares, err = a.loadKeys(ctx, doc, shape); err != nil {
			return err
		}
	}
	started := time.Now()
	common, err := keys.shares.NewCommonKey(a.suite, k.epoch.CRSSeed())
	if err != nil {
		return err
	}
	for i, r := range reveals {
		if r.Attestation.IsZero() {
			return a.lie(refs[i].String(), "its key share is not attested, and the epoch's plan asks for it")
		}
		raw, err := a.blob(ctx, refs[i].String(), "attestation of the key share of "+string(r.Node), r.Attestation, refs[i].id)
		if err != nil {
			return err
		}
		att, err := zk.ParseKeyShareProof(shape, raw)
		if err != nil {
			return a.lie(refs[i].String(), "%v", err)
		}
		share, err := threshold.MemberKey(k.epoch, string(r.Node), opened[string(r.Node)])
		if err != nil {
			return a.lie(refs[i].String(), "%v", err)
		}
		if err := keys.shares.VerifyKeyShare(zk.MemberScopeOf(plan.body, common, r.Node), common, share.P(), att); err != nil {
			return a.lie(refs[i].String(), "%v", err)
		}
	}
	a.checked("attestations of key shares", len(reveals), started)
	return nil
}

// checkAttestations verifies the attestation of every sealed update, in a
// batch, and returns the commitments to the ciphertexts of each shard.
func (a *auditor) checkAttestations(ctx context.Context, r *roundLog, k *proofKeys) ([][][2]zk.Commitment, error) {
	started := time.Now()
	plan := r.plan.body
	epoch := k.epochs[plan.EpochKey]
	if epoch == nil {
		var err error
		if epoch, err = k.update.NewEpochKey(a.epochs[plan.EpochKey].public); err != nil {
			return nil, err
		}
		k.epochs[plan.EpochKey] = epoch
	}
	commitments := make([][][2]zk.Commitment, plan.Shards)
	var linked []zk.Claim // kept where their trainings are attested
	var failed error
	claims := iter.Seq[zk.Claim](func(yield func(zk.Claim) bool) {
		for _, client := range r.seal.body.Clients {
			h := r.headers[client]
			claim, err := a.claim(ctx, r, h, k, epoch)
			if err != nil {
				failed = err
				return
			}
			for place, shard := range claim.Scope.Shards {
				commitments[shard] = append(commitments[shard], claim.Attestation.Commitments(place))
			}
			if k.trained != nil {
				linked = append(linked, claim)
			}
			if !yield(claim) {
				return
			}
		}
	})
	rejected, err := k.update.VerifyUpdates(epoch, claims)
	switch {
	case failed != nil:
		return nil, failed
	case err != nil:
		return nil, fmt.Errorf("verifying the attestations of %s: %w", r, err)
	case len(rejected) > 0:
		h := r.headers[r.seal.body.Clients[rejected[0].Index]]
		return nil, a.lie(fmt.Sprintf("blob %s (attestation, named by %s)", h.body.Attestation.Short(), h), "%v", rejected[0].Err)
	}
	a.checked("attestations of updates, in batches", len(r.seal.body.Clients), started)
	if k.trained != nil {
		return commitments, a.checkTrainings(ctx, r, k, linked)
	}
	return commitments, nil
}

// claim reads a header's attestation.
func (a *auditor) claim(ctx context.Context, r *roundLog, h filed[fl.UpdateHeader], k *proofKeys, epoch *zk.EpochKey) (zk.Claim, error) {
	raw, err := a.blob(ctx, h.String(), "attestation", h.body.Attestation, h.id)
	if err != nil {
		return zk.Claim{}, err
	}
	where := fmt.Sprintf("blob %s (attestation, named by %s)", h.body.Attestation.Short(), h)
	att, err := zk.ParseAttestation(k.update.Shape(), raw)
	if err != nil {
		return zk.Claim{}, a.lie(where, "%v", err)
	}
	scope, err := zk.ScopeOf(r.plan.body, r.plan.id, epoch.Digest(), h.body.Node)
	if err != nil {
		return zk.Claim{}, a.lie(where, "%v", err)
	}
	if att.Shards() != len(scope.Shards) {
		return zk.Claim{}, a.differs(where, "it attests another number of shards", len(scope.Shards), att.Shards())
	}
	return zk.Claim{Scope: scope, Attestation: att}, nil
}
