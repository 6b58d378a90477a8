package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	"credence/fl"
	"credence/fl/privacy"
	"credence/he"
	"credence/he/threshold"
)

// epochKey is a closed epoch as this node verified it: every document is
// signed by its member, and the collective key follows from the reveals.
type epochKey struct {
	id     fl.Digest
	doc    fl.EpochKey
	planID fl.Digest
	plan   fl.EpochPlan
	epoch  *threshold.Epoch
	public *he.PublicKey
	// reveals are the members' key shares as they opened them.
	reveals map[string][]byte
}

// verifyEpochKey fetches and checks everything that a closed epoch rests on.
func (n *Node) verifyEpochKey(ctx context.Context, id fl.Digest) (*epochKey, error) {
	if n.epoch != nil && n.epoch.id == id {
		return n.epoch, nil
	}
	envelope, err := n.remote.Document(ctx, id)
	if err != nil {
		return nil, err
	}
	k := &epochKey{id: id}
	if err := n.openAggregators(envelope, &k.doc); err != nil {
		return nil, err
	}
	planEnvelope, err := n.remote.Document(ctx, k.doc.EpochPlan)
	if err != nil {
		return nil, err
	}
	if err := n.verifyEpochPlan(planEnvelope, &k.plan); err != nil {
		return nil, err
	}
	k.planID = planEnvelope.Digest()
	members := k.plan.Members
	if len(k.doc.SealKeys) != len(members) || k.doc.Epoch != k.plan.Epoch {
		return nil, fmt.Errorf("%w: it does not belong to its plan", ErrEpochKey)
	}
	logged := []fl.Envelope{envelope, planEnvelope}
	sealKeys := map[fl.NodeID]fl.Envelope{}
	commitments, reveals := map[string][32]byte{}, map[string][]byte{}
	revealDocs := map[fl.NodeID]fl.Envelope{}
	for i, m := range members {
		var c fl.KeyCommitment
		var r fl.KeyReveal
		var s fl.SealKey
		var signed [3]fl.Envelope
		for j, want := range []struct {
			digest fl.Digest
			into   fl.Document
		}{{k.doc.SealKeys[i], &s}, {k.doc.Commitments[i], &c}, {k.doc.Reveals[i], &r}} {
			if signed[j], err = n.remote.Document(ctx, want.digest); err != nil {
				return nil, err
			}
			if err := n.openMembers(ctx, signed[j], m, want.into); err != nil {
				return nil, err
			}
		}
		if c.EpochPlan != k.planID || r.EpochPlan != k.planID || c.Node != m || r.Node != m {
			return nil, fmt.Errorf("%w: a key document of %s is for another epoch or member", ErrEpochKey, m)
		}
		logged = append(logged, signed[:]...)
		sealKeys[m], commitments[string(m)], revealDocs[m] = signed[0], c.Commitment, signed[2]
		if reveals[string(m)], err = n.remote.Fetch(ctx, r.Reveal, k.doc.Reveals[i]); err != nil {
			return nil, err
		}
	}
	if k.epoch, err = threshold.EpochFromDocuments(planEnvelope, sealKeys); err != nil {
		return nil, err
	}
	k.reveals = reveals
	if k.public, err = threshold.CollectiveKey(k.epoch, commitments, reveals); err != nil {
		return nil, fmt.Errorf("epoch %d: %w", k.plan.Epoch, err)
	}
	if got := fl.DigestBytes(k.public.Bytes()); got != k.doc.PublicKey {
		return nil, fmt.Errorf("epoch %d: %w: it is not the sum of their key shares", k.plan.Epoch, ErrEpochKey)
	}
	if err := n.verifyKeyShares(ctx, k.plan, k.epoch, revealDocs, reveals); err != nil {
		return nil, fmt.Errorf("epoch %d: %w", k.plan.Epoch, err)
	}
	rest, err := n.verifyMaking(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("epoch %d: %w", k.plan.Epoch, err)
	}
	if err := n.remote.RequireLogged(ctx, append(logged, rest...)...); err != nil {
		return nil, fmt.Errorf("epoch %d: %w", k.plan.Epoch, err)
	}
	n.epoch = k
	return k, nil
}

// verifyEpochPlan checks an epoch plan against the genesis.
func (n *Node) verifyEpochPlan(envelope fl.Envelope, plan *fl.EpochPlan) error {
	if err := n.openAggregators(envelope, plan); err != nil {
		return err
	}
	g := n.home.Genesis
	switch {
	case plan.Genesis != n.home.GenesisID:
		return fmt.Errorf("%w: the epoch plan is for another federation", ErrEpochKey)
	case plan.Suite != g.Suite:
		return fmt.Errorf("%w: the epoch plan is for suite %s and the genesis says %s", ErrEpochKey, plan.Suite, g.Suite)
	case plan.ProofKeys.IsZero() == g.ProofFloor.Attested():
		return fmt.Errorf("%w: the epoch plan's proof keys do not go with the genesis' proof level %s", ErrBelowFloor, g.ProofFloor)
	case len(plan.Members) != g.Committee.Members || plan.Threshold != g.Committee.Threshold:
		return fmt.Errorf("%w: the epoch plan has a committee of %d of %d and the genesis says %d of %d", ErrEpochKey, plan.Threshold, len(plan.Members), g.Committee.Threshold, g.Committee.Members)
	}
	return nil
}

// openAggregators decodes a document that the aggregator must have signed.
func (n *Node) openAggregators(envelope fl.Envelope, doc fl.Document) error {
	if envelope.Signer != fl.AggregatorID {
		return fmt.Errorf("%w: a %s signed by %s, not by the aggregator", fl.ErrBadSignature, envelope.Kind, envelope.Signer)
	}
	return envelope.Open(n.home.Genesis.AggregatorKey, doc)
}

// openMembers decodes a document that a given enrolled party must have signed.
func (n *Node) openMembers(ctx context.Context, envelope fl.Envelope, by fl.NodeID, doc fl.Document) error {
	if envelope.Signer != by {
		return fmt.Errorf("%w: a %s signed by %s, not by %s", fl.ErrBadSignature, envelope.Kind, envelope.Signer, by)
	}
	enrolment, _, err := n.remote.Member(ctx, by)
	if err != nil {
		return err
	}
	return envelope.Open(enrolment.SigningKey, doc)
}

// verifyPlan checks a plan against the genesis, the job and this node's own
// consent, and that it was not shown a different one for the same round.
func (n *Node) verifyPlan(envelope fl.Envelope, plan *fl.Plan) error {
	if err := n.openAggregators(envelope, plan); err != nil {
		return err
	}
	switch {
	case plan.Genesis != n.home.GenesisID:
		return fmt.Errorf("%w: it is for another federation", ErrPlan)
	case plan.MinCohort < n.home.Genesis.MinCohort:
		return fmt.Errorf("%w: its minimum cohort is %d and the genesis says %d", ErrPlan, plan.MinCohort, n.home.Genesis.MinCohort)
	case !plan.ProofLevel.AtLeast(n.home.Genesis.ProofFloor):
		// Without this an aggregator could switch the members' checks off: they
		// verify attestations because the plan says so.
		return fmt.Errorf("%w: the plan is at proof level %s and the genesis asks for at least %s", ErrBelowFloor, plan.ProofLevel, n.home.Genesis.ProofFloor)
	case plan.Slots != n.suite.Values() || plan.ValueBits != n.suite.ValueBits():
		return fmt.Errorf("%w: it is for ciphertexts of %d values of %d bits, suite %s has %d of %d", ErrPlan, plan.Slots, plan.ValueBits, n.suite.Name(), n.suite.Values(), n.suite.ValueBits())
	}
	if err := privacy.Allows(*plan); err != nil {
		return err
	}
	return n.outbox.pinPlan(plan.Job, plan.Round, envelope)
}

// verifySeal makes the checks of a committee member before its decryption
// share leaves: the seal is the aggregator's, it follows from the plan, every
// update in it is signed by a distinct enrolled client of the cohort, every sum
// has the minimum cohort, and this node's own accepted update is in.
func (n *Node) verifySeal(ctx context.Context, sealEnvelope fl.Envelope, planID fl.Digest, plan fl.Plan, epoch fl.EpochPlan) (fl.Seal, error) {
	var seal fl.Seal
	if err := n.openAggregators(sealEnvelope, &seal); err != nil {
		return seal, err
	}
	switch {
	case seal.Genesis != n.home.GenesisID || seal.Plan != planID || seal.Job != plan.Job || seal.Round != plan.Round:
		return seal, fmt.Errorf("%w: it is for another plan", ErrSeal)
	case len(seal.Clients) < plan.MinCohort:
		return seal, fmt.Errorf("%w: it holds %d updates: the minimum cohort is %d", ErrSeal, len(seal.Clients), plan.MinCohort)
	case len(seal.Sums) != plan.Shards:
		return seal, fmt.Errorf("%w: it holds %d sums: the plan has %d shards", ErrSeal, len(seal.Sums), plan.Shards)
	case len(seal.Dealers) < epoch.Threshold:
		return seal, fmt.Errorf("%w: it uses the noise of %d members: it takes at least %d", ErrSeal, len(seal.Dealers), epoch.Threshold)
	}
	// Whom a member knows it looks up once; who was revoked since then it would
	// not hear of.
	if err := n.remote.refreshMembers(ctx); err != nil {
		return seal, err
	}
	byShard := make([][]fl.NodeID, plan.Shards)
	ciphertexts := map[fl.Digest]bool{}
	logged := []fl.Envelope{sealEnvelope}
	for i, client := range seal.Clients {
		header, signed, err := n.verifyHeader(ctx, seal.Headers[i], client, seal.Accepted[i], planID, plan)
		if err != nil {
			return seal, fmt.Errorf("the sealed update of %s: %w", client, err)
		}
		logged = append(logged, signed)
		for _, c := range header.Ciphertexts {
			if ciphertexts[c.Digest] {
				return seal, fmt.Errorf("the sealed update of %s: %w: its ciphertext of shard %d is in the seal twice", client, ErrSeal, c.Shard)
			}
			ciphertexts[c.Digest] = true
			byShard[c.Shard] = append(byShard[c.Shard], client)
		}
	}
	for shard, sum := range seal.Sums {
		slices.Sort(byShard[shard])
		if !slices.Equal(sum.Contributors, byShard[shard]) {
			return seal, fmt.Errorf("%w: its contributors to shard %d are not those of the updates", ErrSeal, shard)
		}
		if len(sum.Contributors) < plan.MinCohort {
			return seal, fmt.Errorf("%w: its sum of shard %d has %d contributors: the minimum cohort is %d", ErrSeal, shard, len(sum.Contributors), plan.MinCohort)
		}
	}
	if err := n.ownInSeal(seal); err != nil {
		return seal, err
	}
	for _, dealer := range seal.Dealers {
		if epoch.Point(dealer) == 0 {
			return seal, fmt.Errorf("%w: it uses noise of %s, which is not in the committee", ErrSeal, dealer)
		}
	}
	return seal, n.remote.RequireLogged(ctx, logged...)
}

// verifyHeader fetches and checks the sealed update of a client that was
// accepted at a given time. A client that was revoked later sent it rightly: the
// seal may cross with its revocation.
func (n *Node) verifyHeader(ctx context.Context, digest fl.Digest, client fl.NodeID, accepted time.Time, planID fl.Digest, plan fl.Plan) (fl.UpdateHeader, fl.Envelope, error) {
	var h fl.UpdateHeader
	envelope, err := n.remote.Document(ctx, digest)
	if err != nil {
		return h, envelope, err
	}
	if err := n.openMembers(ctx, envelope, client, &h); err != nil {
		return h, envelope, err
	}
	enrolment, revoked, err := n.remote.Member(ctx, client)
	if err != nil {
		return h, envelope, err
	}
	revoked = revoked && !n.remote.revoked[client].After(accepted)
	assigned, in := plan.Assigned(client)
	switch {
	case !in:
		return h, envelope, fmt.Errorf("%w: the plan does not name it", ErrSeal)
	case revoked:
		return h, envelope, fmt.Errorf("%w: its membership was revoked", ErrSeal)
	case enrolment.EnrolledAt.After(plan.OpenedAt):
		return h, envelope, fmt.Errorf("%w: it was enrolled after the plan", ErrSeal)
	case h.Node != client || h.Plan != planID || h.EpochKey != plan.EpochKey || h.Genesis != plan.Genesis || h.Job != plan.Job || h.Round != plan.Round:
		return h, envelope, fmt.Errorf("%w: it is for another plan, round or epoch", ErrSeal)
	case h.ProofLevel != plan.ProofLevel:
		return h, envelope, fmt.Errorf("%w: proof level %s: the plan asks for %s", ErrSeal, h.ProofLevel, plan.ProofLevel)
	case !slices.EqualFunc(h.Ciphertexts, assigned.Shards, func(c fl.ShardCiphertext, s int) bool { return c.Shard == s }):
		return h, envelope, fmt.Errorf("%w: it does not hold exactly the assigned shards", ErrSeal)
	}
	return h, envelope, nil
}
