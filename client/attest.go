package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"time"

	"credence/fl"
	"credence/he"
	"credence/he/threshold"
	"credence/zk"
	"credence/zk/circuit/rlwe"
	"credence/zk/trained"
)

const proofFolder = "zk"

// proofKeys are the federation's proof keys, ready to prove and to verify
// with, and the collective key of one epoch prepared for them.
type proofKeys struct {
	id       fl.Digest
	setup    string
	update   *zk.Keys
	keyShare *zk.Keys
	keyID    fl.Digest // of the epoch key
	epoch    *zk.EpochKey
	// Of one job at level trained, whose update keys are linked ones; nil otherwise.
	job  *trained.Job
	keys *trained.Keys
}

// proofs returns the proof keys that a plan names, fetching what is missing.
// The plan's document is the federation's choice: signed, and in the log.
func (n *Node) proofs(ctx context.Context, plan fl.Plan, k *epochKey) (*proofKeys, error) {
	var p *proofKeys
	var err error
	if plan.ProofLevel.Trained() {
		w := n.jobs[plan.JobSpec]
		p, err = n.provenKeys(ctx, plan.ProofKeys, plan.JobSpec, w != nil)
	} else {
		p, err = n.proofsAt(ctx, plan.ProofKeys)
	}
	if err != nil {
		return nil, err
	}
	return p, p.prepare(k)
}

// prepare makes an epoch's collective key ready for proofs about it.
func (p *proofKeys) prepare(k *epochKey) error {
	if p.keyID == k.id {
		return nil
	}
	epoch, err := p.update.NewEpochKey(k.public)
	if err != nil {
		return err
	}
	p.epoch, p.keyID = epoch, k.id
	return nil
}

// proofsAt returns the proof keys of a document; they are loaded once.
func (n *Node) proofsAt(ctx context.Context, id fl.Digest) (*proofKeys, error) {
	if n.proof == nil || n.proof.id != id {
		p, err := n.loadProofs(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("the federation's proof keys: %w", err)
		}
		n.proof = p
	}
	return n.proof, nil
}

// proofDocument fetches a proof-keys document and checks that it is the
// federation's.
func (n *Node) proofDocument(ctx context.Context, id fl.Digest) (doc fl.ProofKeys, err error) {
	envelope, err := n.remote.Document(ctx, id)
	if err != nil {
		return doc, err
	}
	if err := n.openAggregators(envelope, &doc); err != nil {
		return doc, err
	}
	if doc.Genesis != n.home.GenesisID {
		return doc, errors.New("they are for another federation")
	}
	return doc, n.remote.RequireLogged(ctx, envelope)
}

func (n *Node) loadProofs(ctx context.Context, id fl.Digest) (*proofKeys, error) {
	doc, err := n.proofDocument(ctx, id)
	if err != nil {
		return nil, err
	}
	// Files are named by their contents, so all documents' keys share the folder.
	folder, err := zk.OpenStore(filepath.Join(n.home.Dir, proofFolder))
	if err != nil {
		return nil, err
	}
	fetch := func(digest fl.Digest) ([]byte, error) { return n.remote.Fetch(ctx, digest, id) }
	load := func(makeShape func(*he.Suite) (*rlwe.Shape, error)) (*zk.Keys, error) {
		shape, err := makeShape(n.suite)
		if err != nil {
			return nil, err
		}
		named, ok := doc.Circuit(shape.Name)
		if !ok {
			return nil, fmt.Errorf("they hold none for %s", shape.Name)
		}
		if err := n.config.pinned(named, doc.Setup); err != nil {
			return nil, err
		}
		if err := folder.Import(named, zk.Origin(doc.Setup), fetch); err != nil {
			return nil, err
		}
		return folder.Load(shape, named.Manifest, nil)
	}
	p := &proofKeys{id: id, setup: doc.Setup}
	if p.update, err = load(rlwe.UpdateShape); err != nil {
		return nil, err
	}
	if p.keyShare, err = load(rlwe.KeyShareShape); err != nil {
		return nil, err
	}
	if doc.Setup == fl.SetupLocal {
		n.log.Warn("the proof keys come from a local set-up: whoever made them can forge proofs; for demonstrations only")
	}
	return p, nil
}

// attester proves this member's key share in an epoch; nil where the epoch
// asks for no attestations.
func (n *Node) attester(ctx context.Context, plan fl.EpochPlan, epoch *threshold.Epoch) (threshold.Attester, error) {
	if plan.ProofKeys.IsZero() {
		return nil, nil
	}
	keys, common, err := n.keyShareKeys(ctx, plan, epoch)
	if err != nil {
		return nil, err
	}
	return func(secret, noise *he.Poly) ([]byte, error) {
		att, err := keys.ProveKeyShare(zk.MemberScopeOf(plan, common, n.home.Node), common, secret, noise)
		if err != nil {
			return nil, err
		}
		return att.Bytes(), nil
	}, nil
}

func (n *Node) keyShareKeys(ctx context.Context, plan fl.EpochPlan, epoch *threshold.Epoch) (*zk.Keys, *zk.CommonKey, error) {
	p, err := n.proofsAt(ctx, plan.ProofKeys)
	if err != nil {
		return nil, nil, err
	}
	common, err := p.keyShare.NewCommonKey(n.suite, epoch.CRSSeed())
	return p.keyShare, common, err
}

// verifyKeyShares checks every member's attestation of its key share, so that
// the collective key has a short secret whoever the members are.
func (n *Node) verifyKeyShares(ctx context.Context, plan fl.EpochPlan, epoch *threshold.Epoch, docs map[fl.NodeID]fl.Envelope, reveals map[string][]byte) error {
	if plan.ProofKeys.IsZero() {
		return nil // verifyEpochPlan has refused this where the genesis asks for more
	}
	keys, common, err := n.keyShareKeys(ctx, plan, epoch)
	if err != nil {
		return err
	}
	for _, m := range plan.Members {
		var r fl.KeyReveal
		if err := docs[m].Read(&r); err != nil {
			return err
		}
		if r.Attestation.IsZero() {
			return fmt.Errorf("%w: the key share of %s is not attested", ErrEpochKey, m)
		}
		raw, err := n.remote.Fetch(ctx, r.Attestation, docs[m].Digest())
		if err != nil {
			return err
		}
		att, err := zk.ParseKeyShareProof(keys.Shape(), raw)
		if err != nil {
			return fmt.Errorf("the key share of %s: %w", m, err)
		}
		share, err := threshold.MemberKey(epoch, string(m), reveals[string(m)])
		if err != nil {
			return err
		}
		if err := keys.VerifyKeyShare(zk.MemberScopeOf(plan, common, m), common, share.P(), att); err != nil {
			return fmt.Errorf("the key share of %s: %w", m, err)
		}
	}
	return nil
}

// attest proves that an update's ciphertexts are well-formed encryptions of
// values within the plan's bounds.
func (n *Node) attest(ctx context.Context, plan fl.Plan, planID fl.Digest, p *proofKeys, shards []zk.ShardInput) ([]byte, error) {
	scope, err := zk.ScopeOf(plan, planID, p.epoch.Digest(), n.home.Node)
	if err != nil {
		return nil, err
	}
	att, err := p.update.ProveUpdate(ctx, scope, p.epoch, shards, zk.ProveOptions{Parallel: min(len(shards), runtime.GOMAXPROCS(0))})
	if err != nil {
		return nil, fmt.Errorf("attesting the update: %w", err)
	}
	return att.Bytes(), nil
}

// verifyAttested makes a member's checks on an attested round: every update in
// the seal is attested for this plan, and every sum is the sum of what was
// attested.
func (n *Node) verifyAttested(ctx context.Context, seal fl.Seal, sealID fl.Digest, plan fl.Plan, planID fl.Digest, p *proofKeys) error {
	commitments := make([][][2]zk.Commitment, plan.Shards)
	var failed error
	var proven []provenClaim
	claims := iter.Seq[zk.Claim](func(yield func(zk.Claim) bool) {
		for i, client := range seal.Clients {
			claim, places, h, err := n.claimOf(ctx, seal.Headers[i], client, seal.Accepted[i], plan, planID, p)
			if err != nil {
				failed = fmt.Errorf("the sealed update of %s: %w", client, err)
				return
			}
			for place, shard := range places {
				commitments[shard] = append(commitments[shard], claim.Attestation.Commitments(place))
			}
			if p.job != nil {
				proven = append(proven, provenClaim{client: client, header: seal.Headers[i], body: h, update: claim})
			}
			if !yield(claim) {
				return
			}
		}
	})
	rejected, err := p.update.VerifyUpdates(p.epoch, claims)
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case len(rejected) > 0:
		return fmt.Errorf("the sealed update of %s: %w", seal.Clients[rejected[0].Index], rejected[0].Err)
	}
	if p.job != nil {
		if err := n.verifyTrainings(ctx, p, plan, planID, proven); err != nil {
			return err
		}
	}
	for shard, sum := range seal.Sums {
		whole, err := n.sumOf(ctx, sum, sealID)
		if err != nil {
			return err
		}
		if err := p.update.SRS().CheckSum(whole, commitments[shard]); err != nil {
			return fmt.Errorf("the sum of shard %d is not the sum of the attested updates: %w", shard, err)
		}
	}
	if p.job != nil {
		return n.pinDatasets(plan, proven)
	}
	return nil
}

// claimOf fetches the attestation that a sealed header names.
func (n *Node) claimOf(ctx context.Context, header fl.Digest, client fl.NodeID, accepted time.Time, plan fl.Plan, planID fl.Digest, p *proofKeys) (zk.Claim, []int, fl.UpdateHeader, error) {
	fail := func(err error) (zk.Claim, []int, fl.UpdateHeader, error) {
		return zk.Claim{}, nil, fl.UpdateHeader{}, err
	}
	h, _, err := n.verifyHeader(ctx, header, client, accepted, planID, plan)
	if err != nil {
		return fail(err)
	}
	raw, err := n.remote.Fetch(ctx, h.Attestation, header)
	if err != nil {
		return fail(err)
	}
	att, err := zk.ParseAttestation(p.update.Shape(), raw)
	if err != nil {
		return fail(err)
	}
	scope, err := zk.ScopeOf(plan, planID, p.epoch.Digest(), client)
	if err != nil {
		return fail(err)
	}
	if att.Shards() != len(scope.Shards) {
		return fail(fmt.Errorf("its attestation is of %d shards: want %d", att.Shards(), len(scope.Shards)))
	}
	return zk.Claim{Scope: scope, Attestation: att}, scope.Shards, h, nil
}

// sumOf fetches both halves of a sealed sum.
func (n *Node) sumOf(ctx context.Context, sum fl.SealedSum, sealID fl.Digest) (*he.Sum, error) {
	var parts [2]*he.SumPart
	for i, half := range []struct {
		part   he.Part
		digest fl.Digest
	}{{he.C0, sum.C0}, {he.C1, sum.C1}} {
		raw, err := n.remote.Fetch(ctx, half.digest, sealID)
		if err != nil {
			return nil, err
		}
		if parts[i], err = n.suite.ParseSumPart(raw, half.part); err != nil {
			return nil, fmt.Errorf("the sum of shard %d: %w", sum.Shard, err)
		}
	}
	return he.JoinSum(parts[0], parts[1])
}
