package audit

import (
	"context"
	"fmt"
	"time"

	"credence/fl"
	"credence/he"
	"credence/he/threshold"
)

// epochKey is a collective key whose making was checked.
type epochKey struct {
	log    *epochLog
	epoch  *threshold.Epoch
	public *he.PublicKey
}

// checkEpochs checks the making of every collective key that the selected
// rounds use, or of all when everything is selected.
func (a *auditor) checkEpochs(ctx context.Context) error {
	wanted := map[fl.Digest]bool{}
	selected := 0
	for _, j := range a.book.jobs {
		for _, r := range j.rounds {
			if a.sel.includes(r.plan.body.Job, r.plan.body.Round) {
				wanted[r.plan.body.EpochKey] = true
				selected++
			}
		}
	}
	if selected == 0 && (a.sel.Job != "" || a.sel.Round != 0) {
		return fmt.Errorf("the log holds no round of job %q to audit (round %d)", a.sel.Job, a.sel.Round)
	}
	for i, e := range a.book.epochs {
		if e.key == nil {
			a.notChecked("epoch %d has no key: only its documents' signatures and order were checked", e.plan.body.Epoch)
			continue
		}
		if a.sel.Job != "" && !wanted[e.key.id] {
			continue
		}
		k, err := a.checkEpoch(ctx, e)
		if err != nil {
			return err
		}
		a.epochs[e.key.id] = k
		a.progress.report("checking how the keys were made", i+1, len(a.book.epochs))
	}
	return a.checkVerdicts(ctx)
}

// ofMembers returns one document of every member, in their order, decoded: the
// ones that the epoch key names.
func ofMembers[D any, P interface {
	*D
	fl.Document
}](a *auditor, e *epochLog, place string, named []fl.Digest) ([]D, []ref, error) {
	members := e.plan.body.Members
	if len(named) != len(members) {
		return nil, nil, a.differs(e.key.String(), "it names another number of "+place, len(members), len(named))
	}
	bodies, refs := make([]D, len(members)), make([]ref, len(members))
	for i, m := range members {
		r, ok := e.docs[place][m]
		switch {
		case !ok:
			return nil, nil, a.lie(e.key.String(), "the %s of %s, %s, is not in the log", place, m, named[i].Short())
		case r.id != named[i]:
			return nil, nil, a.differs(e.key.String(), fmt.Sprintf("it names another %s of %s than the log holds", place, m), r.id, named[i])
		case r.at > e.key.at:
			return nil, nil, a.lie(r.String(), "the epoch key that names it was logged before it")
		}
		if err := r.doc.Read(P(&bodies[i])); err != nil {
			return nil, nil, a.lie(r.String(), "%v", err)
		}
		if err := a.counts(r); err != nil {
			return nil, nil, err
		}
		refs[i] = r
	}
	return bodies, refs, nil
}

// inOrder checks that every document of one step came before the next step's.
func (a *auditor) inOrder(steps ...[]ref) error {
	var last ref
	for i, step := range steps {
		for _, r := range step {
			if i > 0 && r.at < last.at {
				return a.lie(r.String(), "it was logged before %s, on which its step depends", last)
			}
		}
		for _, r := range step {
			if r.at > last.at {
				last = r
			}
		}
	}
	return nil
}

// checkEpoch repeats what a collective key follows from.
func (a *auditor) checkEpoch(ctx context.Context, e *epochLog) (*epochKey, error) {
	started := time.Now()
	key := e.key.body
	if key.Epoch != e.plan.body.Epoch {
		return nil, a.differs(e.key.String(), "its number is not its plan's", e.plan.body.Epoch, key.Epoch)
	}
	_, sealKeys, err := ofMembers[fl.SealKey](a, e, string(fl.SealKey{}.Kind()), key.SealKeys)
	if err != nil {
		return nil, err
	}
	commitments, committed, err := ofMembers[fl.KeyCommitment](a, e, string(fl.KeyCommitment{}.Kind()), key.Commitments)
	if err != nil {
		return nil, err
	}
	reveals, revealed, err := ofMembers[fl.KeyReveal](a, e, string(fl.KeyReveal{}.Kind()), key.Reveals)
	if err != nil {
		return nil, err
	}
	dealings, dealt, err := ofMembers[fl.KeyDealing](a, e, string(fl.KeyDealing{}.Kind()), key.Dealings)
	if err != nil {
		return nil, err
	}
	acceptances, accepted, err := ofMembers[fl.KeyAcceptance](a, e, string(fl.KeyAcceptance{}.Kind()), key.Acceptances)
	if err != nil {
		return nil, err
	}
	if err := a.inOrder([]ref{e.plan.ref}, sealKeys, committed, revealed, dealt, accepted); err != nil {
		return nil, err
	}
	a.checked("documents of a key in order: commitments before reveals", 5*len(sealKeys), started)

	started = time.Now()
	k := &epochKey{log: e}
	envelopes := map[fl.NodeID]fl.Envelope{}
	for i, m := range e.plan.body.Members {
		envelopes[m] = sealKeys[i].doc
	}
	if k.epoch, err = threshold.EpochFromDocuments(e.plan.doc, envelopes); err != nil {
		return nil, a.lie(e.key.String(), "%v", err)
	}
	promised, opened := map[string][32]byte{}, map[string][]byte{}
	for i, m := range e.plan.body.Members {
		promised[string(m)] = commitments[i].Commitment
		if opened[string(m)], err = a.blob(ctx, revealed[i].String(), "key share of "+string(m), reveals[i].Reveal, revealed[i].id); err != nil {
			return nil, err
		}
		if err := threshold.VerifyReveal(k.epoch, string(m), promised[string(m)], opened[string(m)]); err != nil {
			return nil, a.lie(revealed[i].String(), "the key share does not open its commitment: %v", err)
		}
	}
	a.checked("key shares that open their commitments", len(reveals), started)
	started = time.Now()
	if k.public, err = threshold.CollectiveKey(k.epoch, promised, opened); err != nil {
		return nil, a.lie(e.key.String(), "%v", err)
	}
	if got := fl.DigestBytes(k.public.Bytes()); got != key.PublicKey {
		return nil, a.differs(e.key.String(), "the collective key is not the sum of the members' key shares", got, key.PublicKey)
	}
	if _, err := a.blob(ctx, e.key.String(), "collective key", key.PublicKey, e.key.id); err != nil {
		return nil, err
	}
	a.checked("collective keys that are the sum of the key shares", 1, started)
	if err := a.checkKeyShares(ctx, k, reveals, revealed, opened); err != nil {
		return nil, err
	}
	started = time.Now()
	public := map[string]threshold.Dealing{}
	for i, m := range e.plan.body.Members {
		public[string(m)] = threshold.DealingFromBoxes(dealings[i].Boxes, 0)
		if err := threshold.VerifyDealing(k.epoch, threshold.KeySubject(), string(m), public[string(m)]); err != nil {
			return nil, a.lie(dealt[i].String(), "%v", err)
		}
		if !sameDigests(acceptances[i].Dealings, key.Dealings) {
			return nil, a.lie(accepted[i].String(), "%s accepted other key dealings than the epoch key names", m)
		}
	}
	a.checked("key dealings that are consistent and accepted", len(dealings), started)
	return k, a.selfTest(ctx, k, opened, public)
}

// selfTest opens the self-test of a collective key again.
func (a *auditor) selfTest(ctx context.Context, k *epochKey, reveals map[string][]byte, dealings map[string]threshold.Dealing) error {
	started := time.Now()
	e, key := k.log, k.log.key.body
	noises, dealt, err := ofMembers[fl.TestNoise](a, e, inStage(fl.TestNoise{}.Kind(), fl.StageTest), key.TestNoise)
	if err != nil {
		return err
	}
	answers, answered, err := ofMembers[fl.TestShare](a, e, inStage(fl.TestShare{}.Kind(), fl.StageTest), key.TestShares)
	if err != nil {
		return err
	}
	if err := a.inOrder(dealt, answered); err != nil {
		return err
	}
	var shares []threshold.DecryptionShare
	for i, m := range e.plan.body.Members {
		dealing := threshold.DealingFromBoxes(noises[i].Boxes, 0)
		if err := threshold.VerifyDealing(k.epoch, threshold.NoiseSubject(threshold.TestSum(key.Epoch, 0)), string(m), dealing); err != nil {
			return a.lie(dealt[i].String(), "%v", err)
		}
		if !sameDigests(answers[i].Noise, key.TestNoise) || len(answers[i].Shares) != 1 {
			return a.lie(answered[i].String(), "it answers another test than the epoch key's")
		}
		raw, err := a.blob(ctx, answered[i].String(), "share of the self-test by "+string(m), answers[i].Shares[0].Digest, answered[i].id)
		if err != nil {
			return err
		}
		shares = append(shares, threshold.DecryptionShare{Member: string(m), Share: raw})
	}
	transcript, err := threshold.Transcript(k.epoch, reveals, dealings)
	if err != nil {
		return a.lie(e.key.String(), "%v", err)
	}
	opened, err := threshold.VerifyTest(k.epoch, transcript, k.public, "", len(e.plan.body.Members), shares)
	if err != nil {
		return a.lie(e.key.String(), "%v", err)
	}
	if len(opened.Wrong) > 0 {
		return a.lie(e.key.String(), "the self-test has wrong shares, of %q, and the epoch got a key", opened.Wrong)
	}
	a.checked("self-tests that open to zero", 1, started)
	return nil
}

func sameDigests(x, y []fl.Digest) bool {
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i] != y[i] {
			return false
		}
	}
	return true
}
