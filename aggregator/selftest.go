package aggregator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/he"
	"credence/he/threshold"
)

// inOrder returns the digests of one document of every member, in their order.
func (e epochState) inOrder(docs map[fl.NodeID]fl.Envelope) []fl.Digest {
	out := make([]fl.Digest, len(e.plan.Members))
	for i, m := range e.plan.Members {
		out[i] = docs[m].Digest()
	}
	return out
}

func (a *Aggregator) acceptKeyAcceptance(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.KeyAcceptance
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.openEpochFor(ctx, from, d.Genesis, d.EpochPlan, d.Node)
	switch {
	case err != nil:
		return time.Time{}, err
	case !e.complete(e.Dealings):
		return time.Time{}, fl.Refuse(fl.CodeNotReady, d.Node, "not every member has dealt its key yet")
	case !slices.Equal(d.Dealings, e.inOrder(e.Dealings)):
		return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "the acceptance is of other dealings than those of epoch %d", e.Number)
	}
	return a.addEpochDocument(ctx, e, doc)
}

// tests returns the first shard of a self-test's stage and how many it has.
func (e epochState) tests(stage fl.Stage) (first, shards int) {
	if stage == fl.StageTrial {
		return 1, len(e.plan.Members)
	}
	return 0, 1
}

// testing refuses what belongs to a self-test that is not due.
func (a *Aggregator) testing(ctx context.Context, e epochState, stage fl.Stage, node fl.NodeID) error {
	switch {
	case !e.complete(e.acceptances):
		return fl.Refuse(fl.CodeNotReady, node, "not every member has accepted its key shares yet")
	case stage == fl.StageTrial && e.key != nil:
		return fl.Refuse(fl.CodeLate, node, "epoch %d passed its self-test", e.Number)
	case stage == fl.StageTest:
		return nil
	case !e.complete(e.shares[fl.StageTest]):
		return fl.Refuse(fl.CodeNotReady, node, "the self-test of epoch %d is not over", e.Number)
	}
	passed, err := a.selfTest(ctx, e)
	if err == nil && passed.ok {
		return fl.Refuse(fl.CodeLate, node, "epoch %d passed its self-test", e.Number)
	}
	return err
}

func (a *Aggregator) acceptTestNoise(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.TestNoise
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.openEpochFor(ctx, from, d.Genesis, d.EpochPlan, d.Node)
	if err != nil {
		return time.Time{}, err
	}
	if err := a.testing(ctx, e, d.Stage, d.Node); err != nil {
		return time.Time{}, err
	}
	first, shards := e.tests(d.Stage)
	err = a.checkDealing(ctx, e, d.Node, d.Boxes, first, shards, func(shard int) threshold.Subject {
		return threshold.NoiseSubject(threshold.TestSum(e.Number, shard))
	})
	if err != nil {
		return time.Time{}, err
	}
	return a.addEpochDocument(ctx, e, doc)
}

func (a *Aggregator) acceptTestShare(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.TestShare
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.openEpochFor(ctx, from, d.Genesis, d.EpochPlan, d.Node)
	if err != nil {
		return time.Time{}, err
	}
	if err := a.testing(ctx, e, d.Stage, d.Node); err != nil {
		return time.Time{}, err
	}
	_, shards := e.tests(d.Stage)
	switch {
	case !e.complete(e.noise[d.Stage]):
		return time.Time{}, fl.Refuse(fl.CodeNotReady, d.Node, "not every member has dealt noise for the self-test yet")
	case !slices.Equal(d.Noise, e.inOrder(e.noise[d.Stage])):
		return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "the test share uses other noise than that of epoch %d", e.Number)
	case len(d.Shares) != shards:
		return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "%d test shares: want %d", len(d.Shares), shards)
	}
	for _, s := range d.Shares {
		raw, err := a.takeBlob(ctx, d.Node, "test share", s.Digest, a.suite.PolyBytes())
		if err != nil {
			return time.Time{}, err
		}
		if _, err := a.suite.ParsePoly(raw); err != nil {
			return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "test share %d: %s", s.Shard, err)
		}
	}
	return a.addEpochDocument(ctx, e, doc)
}

// keyMaterial is what an epoch's key and its self-test follow from.
type keyMaterial struct {
	epoch      *threshold.Epoch
	reveals    map[string][]byte
	public     *he.PublicKey
	transcript [32]byte
}

func (a *Aggregator) keyMaterial(ctx context.Context, e epochState) (keyMaterial, error) {
	m := keyMaterial{reveals: map[string][]byte{}}
	var err error
	if m.epoch, err = e.threshold(); err != nil {
		return m, err
	}
	commitments, dealings := map[string][32]byte{}, map[string]threshold.Dealing{}
	for _, member := range e.plan.Members {
		var c fl.KeyCommitment
		var r fl.KeyReveal
		var d fl.KeyDealing
		if err := errors.Join(e.Commitments[member].Read(&c), e.Reveals[member].Read(&r), e.Dealings[member].Read(&d)); err != nil {
			return m, err
		}
		raw, err := a.blobs.Get(ctx, r.Reveal)
		if err != nil {
			return m, err
		}
		commitments[string(member)], m.reveals[string(member)] = c.Commitment, raw
		dealings[string(member)] = threshold.DealingFromBoxes(d.Boxes, 0)
	}
	if m.public, err = threshold.CollectiveKey(m.epoch, commitments, m.reveals); err != nil {
		return m, fmt.Errorf("epoch %d: %w", e.Number, err)
	}
	m.transcript, err = threshold.Transcript(m.epoch, m.reveals, dealings)
	return m, err
}

// testShares reads every member's share of one test.
func (a *Aggregator) testShares(ctx context.Context, e epochState, stage fl.Stage, index int) ([]threshold.DecryptionShare, error) {
	var out []threshold.DecryptionShare
	for _, m := range e.plan.Members {
		var d fl.TestShare
		if err := e.shares[stage][m].Read(&d); err != nil {
			return nil, err
		}
		raw, err := a.blobs.Get(ctx, d.Shares[index].Digest)
		if err != nil {
			return nil, err
		}
		out = append(out, threshold.DecryptionShare{Member: string(m), Share: raw})
	}
	return out, nil
}

// testResult is what the self-test of the collective key gave.
type testResult struct {
	ok     bool
	public []byte
	wrong  []string // members whose shares of the test are wrong, by agreement of the others
	reason string   // why it failed
}

// selfTest opens the self-test of the collective key, once all shares are in.
// The result follows from stored documents and is kept in memory.
func (a *Aggregator) selfTest(ctx context.Context, e epochState) (testResult, error) {
	if r, known := a.court.result(e.planID); known {
		return r, nil
	}
	m, err := a.keyMaterial(ctx, e)
	if err != nil {
		return testResult{}, err
	}
	shares, err := a.testShares(ctx, e, fl.StageTest, 0)
	if err != nil {
		return testResult{}, err
	}
	r := testResult{public: m.public.Bytes()}
	opened, err := threshold.VerifyTest(m.epoch, m.transcript, m.public, "", len(e.plan.Members), shares)
	switch {
	case err == nil && opened.Ground == threshold.ByNoise:
		r.reason = fmt.Sprintf("the self-test's shares of %q do not fit those of the others", opened.Wrong)
	case err == nil:
		r.ok, r.wrong = true, opened.Wrong
	case failedTest(err):
		r.reason = err.Error()
	default:
		return testResult{}, err
	}
	a.court.keep(e.planID, r)
	return r, nil
}

// failedTest reports whether an error says something about the shares, and not
// about this machine.
func failedTest(err error) bool {
	return errors.Is(err, threshold.ErrSelfTest) || errors.Is(err, threshold.ErrUnattributed) || errors.Is(err, threshold.ErrNotEnoughShares)
}

// closeEpochs finishes the newest epoch when all that it waits for is in: it
// gets its key when the self-test passes, and a verdict when it does not.
func (a *Aggregator) closeEpochs(ctx context.Context) error {
	all, err := a.epochs(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	e := all[len(all)-1]
	if e.key != nil || e.void() || !e.complete(e.acceptances) || !e.complete(e.shares[fl.StageTest]) {
		return nil
	}
	result, err := a.selfTest(ctx, e)
	if err != nil {
		return fmt.Errorf("self-test of epoch %d: %w", e.Number, err)
	}
	switch {
	case !result.ok && !e.complete(e.shares[fl.StageTrial]):
		if a.court.announce(e.planID) {
			a.log.Error("the self-test failed: every member's dealing is tested by itself", "epoch", e.Number, "reason", result.reason)
			a.wake.signal()
		}
		return nil
	case !result.ok:
		return a.concludeTrial(ctx, e, result)
	case len(result.wrong) > 0:
		for _, member := range result.wrong {
			if err := a.convict(ctx, e, fl.Verdict{
				Guilty: fl.NodeID(member), Ground: fl.GroundTestShare, Evidence: e.inOrder(e.shares[fl.StageTest]),
				Reason: fmt.Sprintf("%s sent a wrong share of the self-test: the others agree with each other", member),
			}); err != nil {
				return err
			}
		}
		return nil
	}
	return a.closeEpoch(ctx, e, result.public)
}

func (a *Aggregator) closeEpoch(ctx context.Context, e epochState, public []byte) error {
	key := fl.EpochKey{
		Genesis: a.genesisID, EpochPlan: e.planID, Epoch: e.Number,
		SealKeys: e.inOrder(e.SealKeys), Commitments: e.inOrder(e.Commitments), Reveals: e.inOrder(e.Reveals), Dealings: e.inOrder(e.Dealings),
		Acceptances: e.inOrder(e.acceptances), TestNoise: e.inOrder(e.noise[fl.StageTest]), TestShares: e.inOrder(e.shares[fl.StageTest]),
	}
	var err error
	if key.PublicKey, err = a.blobs.Put(ctx, public); err != nil {
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

// concludeTrial names the dealers whose own test fails. When none does, or the
// shares of the tests contradict each other, nobody is named.
func (a *Aggregator) concludeTrial(ctx context.Context, e epochState, result testResult) error {
	m, err := a.keyMaterial(ctx, e)
	if err != nil {
		return err
	}
	evidence := e.inOrder(e.shares[fl.StageTrial])
	named := false
	for i, member := range e.plan.Members {
		shares, err := a.testShares(ctx, e, fl.StageTrial, i)
		if err != nil {
			return err
		}
		pk, err := threshold.MemberKey(m.epoch, string(member), m.reveals[string(member)])
		if err != nil {
			return err
		}
		opened, err := threshold.VerifyTest(m.epoch, m.transcript, pk, string(member), len(e.plan.Members), shares)
		switch {
		case errors.Is(err, threshold.ErrSelfTest):
			named = true
			err = a.convict(ctx, e, fl.Verdict{Guilty: member, Ground: fl.GroundSelfTest, Evidence: evidence,
				Reason: fmt.Sprintf("%s dealt other shares than those of its key share", member)})
		case err == nil && opened.Ground != threshold.ByNoise:
			for _, wrong := range opened.Wrong {
				named = true
				err = errors.Join(err, a.convict(ctx, e, fl.Verdict{Guilty: fl.NodeID(wrong), Ground: fl.GroundTestShare, Evidence: evidence,
					Reason: fmt.Sprintf("%s sent a wrong share of the self-test: the others agree with each other", wrong)}))
			}
		case failedTest(err):
			err = nil // it says that somebody is wrong, not who
		}
		if err != nil {
			return err
		}
	}
	if named {
		return nil
	}
	return a.convict(ctx, e, fl.Verdict{Ground: fl.GroundNobody, Evidence: evidence, Reason: cut(result.reason)})
}

// cut keeps a reason within what a document holds.
func cut(reason string) string {
	const most = 900
	if len(reason) > most {
		reason = reason[:most]
	}
	return reason
}
