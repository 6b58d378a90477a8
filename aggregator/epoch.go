package aggregator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/he/threshold"
)

// epochState is an epoch as stored, with its plan and key decoded.
type epochState struct {
	store.Epoch
	plan   fl.EpochPlan
	planID fl.Digest
	key    *fl.EpochKey // nil until closed
	keyID  fl.Digest
}

// complete reports whether every member's document is among docs.
func (e epochState) complete(docs map[fl.NodeID]fl.Envelope) bool {
	return len(docs) == len(e.plan.Members)
}

func (a *Aggregator) epochs(ctx context.Context) ([]epochState, error) {
	stored, err := a.store.Epochs(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]epochState, len(stored))
	for i, s := range stored {
		out[i] = epochState{Epoch: s, planID: s.Plan.Digest()}
		if err := a.readOwn(s.Plan, &out[i].plan); err != nil {
			return nil, err
		}
		if s.Key != nil {
			out[i].key, out[i].keyID = new(fl.EpochKey), s.Key.Digest()
			if err := a.readOwn(*s.Key, out[i].key); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (a *Aggregator) epoch(ctx context.Context, number uint64) (epochState, error) {
	all, err := a.epochs(ctx)
	if err != nil {
		return epochState{}, err
	}
	if number < 1 || number > uint64(len(all)) {
		return epochState{}, fl.Refuse(fl.CodeNotFound, "", "there is no epoch %d", number)
	}
	return all[number-1], nil
}

// currentEpoch returns the newest epoch with a key, or false.
func (a *Aggregator) currentEpoch(ctx context.Context) (epochState, bool, error) {
	all, err := a.epochs(ctx)
	if err != nil {
		return epochState{}, false, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].key != nil {
			return all[i], true, nil
		}
	}
	return epochState{}, false, nil
}

// OpenEpoch starts the generation of a new collective key by the given
// committee, whose size is the genesis' policy. An epoch that is not closed
// yet is given up: the members only ever serve the newest one.
func (a *Aggregator) OpenEpoch(ctx context.Context, members []fl.NodeID) (uint64, error) {
	if want := a.genesis.Committee.Members; len(members) != want {
		return 0, fmt.Errorf("a committee of %d: the genesis says %d", len(members), want)
	}
	for _, m := range members {
		party, err := a.member(ctx, m)
		if err != nil {
			return 0, err
		}
		if !party.Enrolment.Has(fl.RoleNode) {
			return 0, fmt.Errorf("%s has no role %q and cannot hold a key share", m, fl.RoleNode)
		}
	}
	all, err := a.epochs(ctx)
	if err != nil {
		return 0, err
	}
	plan := fl.EpochPlan{
		Genesis: a.genesisID, Epoch: uint64(len(all)) + 1, Suite: a.genesis.Suite,
		Members: members, Threshold: a.genesis.Committee.Threshold, OpenedAt: a.now(),
	}
	envelope, err := a.sign(plan)
	if err != nil {
		return 0, err
	}
	if err := a.store.OpenEpoch(ctx, envelope); err != nil {
		return 0, fmt.Errorf("opening epoch %d: %w", plan.Epoch, err)
	}
	a.log.Info("epoch opened", "epoch", plan.Epoch, "members", members, "threshold", plan.Threshold)
	a.wake.signal()
	return plan.Epoch, nil
}

// openEpochFor returns the epoch that a member's document belongs to: it must
// be the newest one, still open.
func (a *Aggregator) openEpochFor(ctx context.Context, from fl.Enrolment, genesis, plan fl.Digest, node fl.NodeID) (epochState, error) {
	if err := a.addressed(from, genesis, node); err != nil {
		return epochState{}, err
	}
	all, err := a.epochs(ctx)
	if err != nil {
		return epochState{}, err
	}
	for i, e := range all {
		switch {
		case e.planID != plan:
			continue
		case e.plan.Point(node) == 0:
			return epochState{}, fl.Refuse(fl.CodeNotAllowed, node, "%s is not in the committee of epoch %d", node, e.Number)
		case i != len(all)-1:
			return epochState{}, fl.Refuse(fl.CodeWrongAddressee, node, "epoch %d is over", e.Number)
		}
		return e, nil
	}
	return epochState{}, fl.Refuse(fl.CodeWrongAddressee, node, "the document is for an epoch that is not this federation's")
}

func (a *Aggregator) addEpochDocument(ctx context.Context, e epochState, doc fl.Envelope) (time.Time, error) {
	at := a.now()
	if err := a.store.AddEpochDocument(ctx, e.Number, doc); err != nil {
		return at, err
	}
	a.log.Info("epoch contribution", "epoch", e.Number, "kind", doc.Kind, "member", doc.Signer)
	return at, nil
}

func (a *Aggregator) acceptSealKey(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.SealKey
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.openEpochFor(ctx, from, d.Genesis, d.EpochPlan, d.Node)
	if err != nil {
		return time.Time{}, err
	}
	return a.addEpochDocument(ctx, e, doc)
}

func (a *Aggregator) acceptKeyCommitment(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.KeyCommitment
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.openEpochFor(ctx, from, d.Genesis, d.EpochPlan, d.Node)
	if err != nil {
		return time.Time{}, err
	}
	if !e.complete(e.SealKeys) {
		return time.Time{}, fl.Refuse(fl.CodeNotReady, d.Node, "not every member has published its seal key yet")
	}
	return a.addEpochDocument(ctx, e, doc)
}

func (a *Aggregator) acceptKeyReveal(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.KeyReveal
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.openEpochFor(ctx, from, d.Genesis, d.EpochPlan, d.Node)
	if err != nil {
		return time.Time{}, err
	}
	if !e.complete(e.Commitments) {
		return time.Time{}, fl.Refuse(fl.CodeNotReady, d.Node, "not every member has committed to its key share yet")
	}
	raw, err := a.takeBlob(ctx, d.Node, "key share", d.Reveal, threshold.RevealBytes(a.suite))
	if err != nil {
		return time.Time{}, err
	}
	te, err := e.threshold()
	if err != nil {
		return time.Time{}, err
	}
	var commitment fl.KeyCommitment
	if err := e.Commitments[d.Node].Read(&commitment); err != nil {
		return time.Time{}, err
	}
	if err := threshold.VerifyReveal(te, string(d.Node), commitment.Commitment, raw); err != nil {
		return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "key share: %s", err)
	}
	return a.addEpochDocument(ctx, e, doc)
}

func (a *Aggregator) acceptKeyDealing(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.KeyDealing
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.openEpochFor(ctx, from, d.Genesis, d.EpochPlan, d.Node)
	if err != nil {
		return time.Time{}, err
	}
	if !e.complete(e.Reveals) {
		return time.Time{}, fl.Refuse(fl.CodeNotReady, d.Node, "not every member has revealed its key share yet")
	}
	if err := a.checkBoxes(ctx, d.Node, d.Boxes, e.plan.Members, 1); err != nil {
		return time.Time{}, err
	}
	return a.addEpochDocument(ctx, e, doc)
}

// boxBytes is the size of one sealed share.
func (a *Aggregator) boxBytes() int { return threshold.BoxBytes(a.suite) }

// threshold returns the epoch in the terms of package threshold.
func (e epochState) threshold() (*threshold.Epoch, error) {
	return threshold.EpochFromDocuments(e.Plan, e.SealKeys)
}

// closeEpochs computes the collective key of an epoch whose documents are all
// in.
func (a *Aggregator) closeEpochs(ctx context.Context) error {
	all, err := a.epochs(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	e := all[len(all)-1]
	if e.key != nil || !e.complete(e.Dealings) {
		return nil
	}
	te, err := e.threshold()
	if err != nil {
		return err
	}
	key := fl.EpochKey{Genesis: a.genesisID, EpochPlan: e.planID, Epoch: e.Number}
	commitments, reveals := map[string][32]byte{}, map[string][]byte{}
	for _, m := range e.plan.Members {
		var c fl.KeyCommitment
		var r fl.KeyReveal
		if err := errors.Join(e.Commitments[m].Read(&c), e.Reveals[m].Read(&r)); err != nil {
			return err
		}
		raw, err := a.blobs.Get(ctx, r.Reveal)
		if err != nil {
			return err
		}
		commitments[string(m)], reveals[string(m)] = c.Commitment, raw
		key.SealKeys = append(key.SealKeys, e.SealKeys[m].Digest())
		key.Commitments = append(key.Commitments, e.Commitments[m].Digest())
		key.Reveals = append(key.Reveals, e.Reveals[m].Digest())
		key.Dealings = append(key.Dealings, e.Dealings[m].Digest())
	}
	public, err := threshold.CollectiveKey(te, commitments, reveals)
	if err != nil {
		return fmt.Errorf("epoch %d: %w", e.Number, err)
	}
	if key.PublicKey, err = a.blobs.Put(ctx, public.Bytes()); err != nil {
		return err
	}
	key.ClosedAt = a.now()
	doc, err := a.sign(key)
	if err != nil {
		return err
	}
	if err := a.store.CloseEpoch(ctx, e.Number, doc); err != nil && !errors.Is(err, store.ErrConflict) {
		return err // a conflict is another replica that closed it a moment earlier
	}
	a.log.Info("epoch closed", "epoch", e.Number, "public_key", key.PublicKey.Short())
	a.wake.signal()
	return nil
}
