package aggregator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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

	acceptances map[fl.NodeID]fl.Envelope
	noise       map[fl.Stage]map[fl.NodeID]fl.Envelope // of the self-tests
	shares      map[fl.Stage]map[fl.NodeID]fl.Envelope
	complaints  []complaint
	answers     []answer
	verdicts    []fl.Verdict
}

// void reports whether the epoch was given up because somebody cheated.
func (e epochState) void() bool { return e.key == nil && len(e.verdicts) > 0 }

// convicted reports whether a member was found guilty in the epoch.
func (e epochState) convicted(node fl.NodeID) bool {
	return slices.ContainsFunc(e.verdicts, func(v fl.Verdict) bool { return v.Guilty == node })
}

// complete reports whether every member's document is among docs.
func (e epochState) complete(docs map[fl.NodeID]fl.Envelope) bool {
	return len(docs) == len(e.plan.Members)
}

func (a *Aggregator) epochs(ctx context.Context) ([]epochState, error) {
	stored, err := a.store.Epochs(ctx)
	if err != nil || len(stored) == 0 {
		return nil, err
	}
	a.epochCache.mu.Lock()
	defer a.epochCache.mu.Unlock()
	if held := a.epochCache.epochs; len(held) == len(stored) && a.epochCache.of == &stored[0] {
		return held, nil
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
		if err := out[i].readOthers(); err != nil {
			return nil, err
		}
	}
	a.epochCache.epochs, a.epochCache.of = out, &stored[0]
	return out, nil
}

// epochCache keeps the epochs as decoded from a slice of the store's, which is
// the same one as long as nothing was added. They are not changed.
type epochCache struct {
	mu     sync.Mutex
	of     *store.Epoch
	epochs []epochState
}

// readOthers sorts the documents of the later steps.
func (e *epochState) readOthers() error {
	e.acceptances = map[fl.NodeID]fl.Envelope{}
	e.noise = map[fl.Stage]map[fl.NodeID]fl.Envelope{fl.StageTest: {}, fl.StageTrial: {}}
	e.shares = map[fl.Stage]map[fl.NodeID]fl.Envelope{fl.StageTest: {}, fl.StageTrial: {}}
	for _, doc := range e.Others {
		var err error
		switch kind := doc.Kind; {
		case e.key != nil && (kind == fl.KeyAcceptance{}.Kind() || kind == fl.TestNoise{}.Kind() || kind == fl.TestShare{}.Kind()):
			continue // the key is made; nobody asks for these any more
		}
		switch doc.Kind {
		case fl.KeyAcceptance{}.Kind():
			e.acceptances[doc.Signer] = doc
		case fl.TestNoise{}.Kind():
			var d fl.TestNoise
			if err = doc.Read(&d); err == nil {
				e.noise[d.Stage][d.Node] = doc
			}
		case fl.TestShare{}.Kind():
			var d fl.TestShare
			if err = doc.Read(&d); err == nil {
				e.shares[d.Stage][d.Node] = doc
			}
		case fl.Complaint{}.Kind():
			c := complaint{id: doc.Digest(), doc: doc}
			err = doc.Read(&c.Complaint)
			e.complaints = append(e.complaints, c)
		case fl.ComplaintAnswer{}.Kind():
			a := answer{doc: doc}
			err = doc.Read(&a.ComplaintAnswer)
			e.answers = append(e.answers, a)
		case fl.Verdict{}.Kind():
			var v fl.Verdict
			err = doc.Read(&v)
			e.verdicts = append(e.verdicts, v)
		}
		if err != nil {
			return fmt.Errorf("reading epoch %d: %w", e.Number, err)
		}
	}
	return nil
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

// epochOf returns the epoch of a plan.
func (a *Aggregator) epochOf(ctx context.Context, plan fl.Digest) (epochState, error) {
	all, err := a.epochs(ctx)
	if err != nil {
		return epochState{}, err
	}
	for _, e := range all {
		if e.planID == plan {
			return e, nil
		}
	}
	return epochState{}, fl.Refuse(fl.CodeNotFound, "", "there is no epoch of plan %s", plan.Short())
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
	var proofKeys fl.Digest
	if a.genesis.ProofFloor.Attested() {
		envelope, err := a.store.ProofKeys(ctx)
		if errors.Is(err, store.ErrNotFound) {
			return 0, errors.New("the members have to attest their key shares, and there are no proof keys yet: import those of a ceremony (federation proofs import)")
		}
		if err != nil {
			return 0, err
		}
		proofKeys = envelope.Digest()
	}
	plan := fl.EpochPlan{
		ProofKeys: proofKeys,
		Genesis:   a.genesisID, Epoch: uint64(len(all)) + 1, Suite: a.genesis.Suite,
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
		case e.void():
			return epochState{}, fl.Refuse(fl.CodeLate, node, "epoch %d is void: %s", e.Number, e.verdicts[0].Reason)
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
	if err := a.verifyKeyShare(ctx, e, te, d, raw); err != nil {
		return time.Time{}, err
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
	if err := a.checkDealing(ctx, e, d.Node, d.Boxes, 0, 1, func(int) threshold.Subject { return threshold.KeySubject() }); err != nil {
		return time.Time{}, err
	}
	return a.addEpochDocument(ctx, e, doc)
}

// threshold returns the epoch in the terms of package threshold.
func (e epochState) threshold() (*threshold.Epoch, error) {
	return threshold.EpochFromDocuments(e.Plan, e.SealKeys)
}
