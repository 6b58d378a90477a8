package aggregator

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"credence/fl"
	"credence/he/threshold"
)

// until runs the making of a key up to a stage of generate, and returns the
// epoch.
func (b *bench) until(stage int) epochState {
	b.Helper()
	_, err := b.a.OpenEpoch(b.ctx, b.members)
	b.must(err)
	for s := range stage {
		b.contribute(s)
	}
	return b.newestEpoch()
}

// spoil replaces the box for a victim in a dealing by one whose sealed key does
// not open, and keeps the checks consistent: digests are not part of what
// anyone but the receiver can check.
func (p *party) spoil(d []fl.Box, victim fl.NodeID) []fl.Box {
	d = slices.Clone(d)
	for i, box := range d {
		if box.Receiver == victim {
			raw := bytes.Clone(p.b.blob(box.Digest))
			raw[3] ^= 1
			d[i].Digest = p.put(raw)
		}
	}
	return d
}

// complain is the complaint that the holder's error makes.
func (p *party) complain(e epochState, stage fl.Stage, plan fl.Digest, shard int, dealings map[fl.NodeID]fl.Envelope, err error) fl.Complaint {
	p.b.Helper()
	c := fl.Complaint{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Stage: stage, Plan: plan}
	var complaint *threshold.ComplaintError
	if !errors.As(err, &complaint) {
		p.b.Fatalf("%s does not complain: %v", p.name, err)
	}
	for _, x := range complaint.Charges {
		dealer := fl.NodeID(x.Dealer)
		c.Charges = append(c.Charges, fl.Charge{Dealer: dealer, Dealing: dealings[dealer].Digest(), Shard: shard, Key: x.Key})
	}
	return c
}

func (p *party) tryComplete(e epochState, answers map[fl.NodeID][]byte) error {
	reveals := map[string][]byte{}
	for _, m := range e.plan.Members {
		var r fl.KeyReveal
		p.b.must(e.Reveals[m].Read(&r))
		reveals[string(m)] = p.b.blob(r.Reveal)
	}
	received := p.received(e, e.Dealings, 0)
	for m, key := range answers {
		r := received[string(m)]
		r.Key = key
		received[string(m)] = r
	}
	_, err := p.holder.Complete(e.Number, reveals, received)
	return err
}

// wantTask checks what a member is asked for next, in words.
func (b *bench) wantTask(e epochState, node fl.NodeID, want string) {
	b.Helper()
	tasks, err := b.a.epochTasks(b.ctx, node)
	b.must(err)
	got := ""
	for _, task := range tasks {
		got += task.GetEpoch().GetStep() + task.GetEpoch().GetStage()
	}
	if got != want {
		b.Fatalf("%s is asked for %q in epoch %d, want %q", node, got, e.Number, want)
	}
}

func (b *bench) wantVoid(guilty fl.NodeID, ground fl.Ground) {
	b.Helper()
	b.must(b.a.Pass(b.ctx))
	views, err := b.a.EpochViews(b.ctx)
	b.must(err)
	v := views[len(views)-1]
	if v.Step != "void" || len(v.Verdicts) != 1 || v.Verdicts[0].Guilty != guilty || v.Verdicts[0].Ground != ground {
		b.Fatalf("epoch is %+v, want it void for %s of %s", v, ground, guilty)
	}
	for _, m := range b.members {
		b.wantTask(b.newestEpoch(), m, "")
	}
	b.parties["alpha"].refuses("a document for a void epoch", fl.CodeLate, fl.KeyAcceptance{Genesis: b.a.genesisID, EpochPlan: b.newestEpoch().planID, Node: "alpha", Dealings: []fl.Digest{v.Verdicts[0].Evidence[0]}})
	b.generate(nil) // a new epoch is not held back
}

func TestEpochDisputes(t *testing.T) {
	t.Run("a dealing off any polynomial is refused", func(t *testing.T) {
		b := newBench(t, "alpha", "beta", "gamma")
		e := b.until(3)
		p := b.parties["beta"]
		d := p.keyDealing(e)
		d.Boxes[2].Check = bytes.Clone(d.Boxes[2].Check)
		d.Boxes[2].Check[1] ^= 1
		p.refuses("a dealing off any polynomial", fl.CodeMalformed, d)
	})
	t.Run("an attestation that nobody asked for", func(t *testing.T) {
		b := newBench(t, "alpha", "beta", "gamma")
		p := b.parties["beta"]
		reveal := p.keyReveal(b.until(2))
		reveal.Attestation = p.put(make([]byte, 100))
		p.refuses("an attestation in an epoch without", fl.CodeProof, reveal)
	})
	t.Run("a wrong share convicts its dealer", func(t *testing.T) {
		// The victim has the committed key: it shows it, and anyone can judge.
		b, e := disputedKey(t)
		alpha := b.parties["alpha"]
		err := alpha.tryComplete(e, nil)
		c := alpha.complain(e, fl.StageKey, fl.Digest{}, 0, e.Dealings, err)
		if len(c.Charges) != 1 || c.Charges[0].Dealer != "beta" || len(c.Charges[0].Key) != 0 {
			t.Fatalf("complaint %+v", c)
		}
		b.must(alpha.submit(c))
		b.must(alpha.submit(c)) // again
		other := c
		other.Charges = []fl.Charge{{Dealer: "gamma", Dealing: e.Dealings["gamma"].Digest()}}
		alpha.refuses("a second complaint", fl.CodeConflict, other)
		b.wantTask(e, "alpha", "")
		b.wantTask(e, "beta", "answeraccept")
		b.wantTask(e, "gamma", "accept")
		// The dealer answers: the contents no longer give the published check, since
		// the box is part of the challenge.
		b.must(b.parties["beta"].submit(b.parties["beta"].answer(c, e.Dealings)))
		b.wantVoid("beta", fl.GroundDealing)
	})
	t.Run("silence convicts a dealer", func(t *testing.T) {
		b, e := disputedKey(t)
		alpha := b.parties["alpha"]
		b.must(alpha.submit(alpha.complain(e, fl.StageKey, fl.Digest{}, 0, e.Dealings, alpha.tryComplete(e, nil))))
		b.must(b.a.Pass(b.ctx))
		b.clock.add(9 * time.Minute)
		b.must(b.a.Pass(b.ctx))
		if b.newestEpoch().void() {
			t.Fatal("void before the time is up")
		}
		b.clock.add(2 * time.Minute)
		b.wantVoid("beta", fl.GroundSilence)
	})
	t.Run("a complaint without a reason convicts the complainer", func(t *testing.T) {
		b := newBench(t, "alpha", "beta", "gamma")
		e := b.until(4)
		gamma := b.parties["gamma"]
		key, err := b.parties["beta"].holder.Answer(e.Number, threshold.KeySubject(), "gamma") // what it found in its box
		b.must(err)
		b.must(gamma.submit(fl.Complaint{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "gamma", Stage: fl.StageKey,
			Charges: []fl.Charge{{Dealer: "beta", Dealing: e.Dealings["beta"].Digest(), Key: key}}}))
		b.wantVoid("gamma", fl.GroundComplaint)
	})
	t.Run("an answer ends a complaint without a key", func(t *testing.T) {
		b := newBench(t, "alpha", "beta", "gamma")
		e := b.until(4)
		gamma, beta := b.parties["gamma"], b.parties["beta"]
		c := fl.Complaint{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "gamma", Stage: fl.StageKey,
			Charges: []fl.Charge{{Dealer: "beta", Dealing: e.Dealings["beta"].Digest()}}}
		b.must(gamma.submit(c))
		a := beta.answer(c, e.Dealings)
		bad := a
		bad.Keys = []fl.AnsweredKey{{Key: make([]byte, 32)}}
		beta.refuses("a key that is not the committed one", fl.CodeMalformed, bad)
		bad.Keys = append(slices.Clone(a.Keys), fl.AnsweredKey{Shard: 1, Key: a.Keys[0].Key})
		beta.refuses("a key too many", fl.CodeMalformed, bad)
		bad = a
		bad.Receiver = "alpha"
		beta.refuses("an answer to another", fl.CodeMalformed, bad)
		stray := a
		stray.Node = "alpha"
		b.parties["alpha"].refuses("an answer of somebody not charged", fl.CodeMalformed, stray)
		b.must(beta.submit(a))
		b.must(b.a.Pass(b.ctx))
		e = b.newestEpoch()
		if e.void() {
			t.Fatalf("void: %+v", e.verdicts)
		}
		b.wantTask(e, "gamma", "accept")
		b.must(gamma.tryComplete(e, map[fl.NodeID][]byte{"beta": a.Keys[0].Key}))
		for s := 4; s < 7; s++ {
			b.contribute(s)
		}
		b.must(b.a.Pass(b.ctx))
		if b.newestEpoch().key == nil {
			t.Fatal("the epoch did not close")
		}
		gamma.refuses("a complaint after the key", fl.CodeLate, fl.Complaint{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "gamma", Stage: fl.StageTest, Charges: c.Charges})
	})
	t.Run("complaints about nothing are refused", func(t *testing.T) {
		b := newBench(t, "alpha", "beta", "gamma")
		e := b.until(4)
		gamma := b.parties["gamma"]
		c := fl.Complaint{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "gamma", Stage: fl.StageKey}
		for what, x := range map[string]fl.Charge{
			"no dealing":         {Dealer: "beta", Dealing: fl.DigestBytes([]byte("x"))},
			"another's dealing":  {Dealer: "beta", Dealing: e.Dealings["alpha"].Digest()},
			"no member":          {Dealer: "lab", Dealing: e.Dealings["alpha"].Digest()},
			"a shard it has not": {Dealer: "beta", Dealing: e.Dealings["beta"].Digest(), Shard: 1},
		} {
			c.Charges = []fl.Charge{x}
			gamma.refuses("a complaint about "+what, fl.CodeMalformed, c)
		}
		c.Charges = []fl.Charge{{Dealer: "beta", Dealing: e.Dealings["beta"].Digest()}}
		c.Stage = fl.StageTest
		gamma.refuses("a complaint about another stage", fl.CodeMalformed, c)
		c.Stage, c.Plan = fl.StageRound, e.planID
		gamma.refuses("a complaint about a round without a key", fl.CodeWrongAddressee, c)
		gamma.refuses("an acceptance of other dealings", fl.CodeMalformed, fl.KeyAcceptance{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "gamma", Dealings: []fl.Digest{e.planID, e.planID, e.planID}})
		gamma.refuses("noise before the acceptances", fl.CodeNotReady, fl.TestNoise{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "gamma", Stage: fl.StageTest,
			Boxes: []fl.Box{{Receiver: "gamma", Digest: e.planID, Commitment: e.planID, Check: []byte{1}}}})
	})
}

// disputedKey is an epoch in which beta sealed alpha's key share so that it
// does not open.
func disputedKey(t *testing.T) (*bench, epochState) {
	b := newBench(t, "alpha", "beta", "gamma")
	e := b.until(3)
	for _, m := range b.members {
		d := b.parties[m].keyDealing(e)
		if m == "beta" {
			d.Boxes = b.parties[m].spoil(d.Boxes, "alpha")
		}
		b.must(b.parties[m].submit(d))
	}
	return b, b.newestEpoch()
}

// answer publishes the keys that a complaint asks a dealer for.
func (p *party) answer(c fl.Complaint, dealings map[fl.NodeID]fl.Envelope) fl.ComplaintAnswer {
	e, err := p.b.a.epochOf(p.b.ctx, c.EpochPlan)
	p.b.must(err)
	te, err := e.threshold()
	p.b.must(err)
	a := fl.ComplaintAnswer{Genesis: c.Genesis, EpochPlan: c.EpochPlan, Node: p.name, Stage: c.Stage, Plan: c.Plan, Complaint: p.b.parties[c.Node].sign(c).Digest(), Receiver: c.Node}
	for _, x := range c.Charges {
		if x.Dealer != p.name || len(x.Key) > 0 {
			continue
		}
		subject, _, err := threshold.DealingFromDocument(te, e.planID, p.name, dealings[p.name], x.Shard)
		p.b.must(err)
		key, err := p.holder.Answer(e.Number, subject, string(c.Node))
		p.b.must(err)
		a.Keys = append(a.Keys, fl.AnsweredKey{Shard: x.Shard, Key: key})
	}
	return a
}

// TestSelfTestDisputes: wrong shares of the self-test name their senders; when
// the test fails every dealing is tested by itself.
func TestSelfTestDisputes(t *testing.T) {
	// forge replaces a share of a test by another polynomial.
	forge := func(b *bench, s fl.TestShare, which ...int) fl.TestShare {
		s.Shares = slices.Clone(s.Shares)
		for _, i := range which {
			s.Shares[i].Digest = b.parties[s.Node].put(b.a.suite.UniformPoly().Bytes())
		}
		return s
	}
	t.Run("one wrong share among four", func(t *testing.T) {
		b := newBench(t, "alpha", "beta", "gamma", "delta")
		e := b.until(6)
		for _, m := range b.members {
			s := b.parties[m].testShare(e, fl.StageTest)
			if m == "gamma" {
				b.parties[m].refuses("a share of other noise", fl.CodeMalformed, fl.TestShare{Genesis: s.Genesis, EpochPlan: s.EpochPlan, Node: s.Node, Stage: s.Stage, Noise: s.Noise[1:], Shares: s.Shares})
				s = forge(b, s, 0)
			}
			b.must(b.parties[m].submit(s))
		}
		b.wantVoid("gamma", fl.GroundTestShare)
	})
	t.Run("nobody can be named", func(t *testing.T) {
		// Three members at threshold 2: two wrong shares leave nothing to agree on.
		b := newBench(t, "alpha", "beta", "gamma")
		e := b.until(6)
		for i, m := range b.members {
			s := b.parties[m].testShare(e, fl.StageTest)
			if i > 0 {
				s = forge(b, s, 0)
			}
			b.must(b.parties[m].submit(s))
		}
		e = b.newestEpoch()
		b.wantTask(e, "alpha", "") // the next pass finds it
		b.must(b.a.Pass(b.ctx))
		b.wantTask(e, "alpha", "noisetrial")
		b.parties["alpha"].refuses("a share before the noise", fl.CodeNotReady, b.parties["alpha"].trialShare(e))
		for _, m := range b.members {
			b.must(b.parties[m].submit(b.parties[m].testNoise(e, fl.StageTrial)))
		}
		e = b.newestEpoch()
		b.wantTask(e, "alpha", "sharetrial")
		for i, m := range b.members {
			s := b.parties[m].testShare(e, fl.StageTrial)
			if i > 0 {
				s = forge(b, s, 0, 1, 2)
			}
			b.must(b.parties[m].submit(s))
		}
		b.wantVoid("", fl.GroundNobody)
	})
}

func (p *party) trialShare(e epochState) fl.TestShare {
	return fl.TestShare{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Stage: fl.StageTrial, Noise: e.inOrder(e.noise[fl.StageTest]),
		Shares: []fl.ShareRef{{Shard: 1, Digest: e.planID}, {Shard: 2, Digest: e.planID}, {Shard: 3, Digest: e.planID}}}
}

// disputedRound is a round in decryption; with spoilt, beta's noise does not
// give its shares.
func disputedRound(t *testing.T, spoilt bool) (*bench, roundNow, map[fl.NodeID]fl.Envelope) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.generate(nil)
	b.startJob(b.jobSpec("job"))
	r := b.round("job", 1)
	for _, m := range b.members {
		d := b.parties[m].noise(r)
		if m == "beta" && spoilt {
			d.Boxes = b.parties[m].spoil(d.Boxes, "alpha")
		}
		b.must(b.parties[m].submit(d))
		b.must(b.parties[m].submit(b.parties[m].update(r)))
	}
	b.must(b.a.Pass(b.ctx))
	r = b.round("job", 1)
	if r.phase != "decrypting" {
		t.Fatalf("the round is %s", r.phase)
	}
	dealings := map[fl.NodeID]fl.Envelope{}
	for i, dealer := range r.seal.Dealers {
		doc, err := b.a.store.Document(b.ctx, r.seal.Dealings[i])
		b.must(err)
		dealings[dealer] = doc
	}
	return b, r, dealings
}

// tasksInRounds says what a party is asked for in rounds.
func (b *bench) tasksInRounds(node fl.NodeID) (train, noise, answers int, share bool) {
	b.Helper()
	tasks, err := b.a.roundTasks(b.ctx, node)
	b.must(err)
	for _, task := range tasks {
		switch {
		case task.GetTrain() != nil:
			train++
		case task.GetNoise() != nil:
			noise++
		case task.GetDecrypt() != nil:
			share, answers = true, len(task.GetDecrypt().GetAnswers())
		}
	}
	return train, noise, answers, share
}

// withoutBeta plays the next round with the noise of the others.
func (b *bench) withoutBeta(number uint64) {
	b.Helper()
	b.clock.add(2 * time.Second)
	b.must(b.a.Pass(b.ctx))
	r := b.round("job", number)
	beta := b.parties["beta"]
	beta.refuses("noise of a convicted member", fl.CodeNotAllowed, beta.noise(r))
	if train, noise, _, _ := b.tasksInRounds("beta"); train != 1 || noise != 0 {
		b.Fatalf("beta is asked for %d updates and %d dealings", train, noise)
	}
	for _, m := range b.members {
		if m != "beta" {
			b.must(b.parties[m].submit(b.parties[m].noise(r)))
		}
		b.must(b.parties[m].submit(b.parties[m].update(r)))
	}
	for range 2 {
		b.must(b.a.Pass(b.ctx))
		b.clock.add(2 * time.Second)
	}
	r = b.round("job", number)
	if !slices.Equal(r.seal.Dealers, []fl.NodeID{"alpha", "gamma"}) {
		b.Fatalf("dealers %v of a round that is %s", r.seal.Dealers, r.phase)
	}
	for _, m := range b.members {
		b.must(b.parties[m].submit(b.parties[m].share(r)))
	}
	b.must(b.a.Pass(b.ctx))
	if r := b.round("job", number); r.phase != "published" {
		b.Fatalf("round %d is %s", number, r.phase)
	}
}

// TestWrongNoise: noise that nobody can use ends the round at once, convicts
// its dealer, and the next round does without it.
func TestWrongNoise(t *testing.T) {
	b, r, dealings := disputedRound(t, true)
	for i, m := range []fl.NodeID{"alpha", "gamma"} {
		p := b.parties[m]
		_, err := p.tryShare(r)
		c := p.complain(r.epoch, fl.StageRound, r.planID, 0, dealings, err)
		if len(c.Charges) != 1 || c.Charges[0].Dealer != "beta" || (len(c.Charges[0].Key) == 0) != (i == 0) {
			t.Fatalf("complaint %+v", c)
		}
		b.must(p.submit(c))
		b.must(p.submit(c))
		// Everybody may look at the box that it is about, and at no other.
		id := p.sign(c).Digest()
		b.must(b.a.mayRead(b.ctx, "lab", boxOf(b, dealings["beta"], m), id))
		if err := b.a.mayRead(b.ctx, "lab", boxOf(b, dealings["beta"], "beta"), id); fl.CodeOf(err) != fl.CodeNotAllowed {
			t.Fatalf("a box that nobody complained about: %v", err)
		}
		if _, _, _, share := b.tasksInRounds(m); share {
			t.Fatalf("%s is asked for a share while its complaint stands", m)
		}
	}
	b.must(b.a.Pass(b.ctx))
	e := b.newestEpoch()
	if len(e.verdicts) != 1 || e.verdicts[0].Guilty != "beta" || e.verdicts[0].Ground != fl.GroundDealing || e.void() {
		t.Fatalf("verdicts %+v", e.verdicts)
	}
	if r := b.round("job", 1); r.phase != "aborted" {
		t.Fatalf("the round is %s", r.phase)
	}
	b.withoutBeta(2)
	// The evidence outlives the round: another process judges the same.
	evidence := boxOf(b, dealings["beta"], "gamma")
	b.clock.add(25 * time.Hour)
	b.must(b.a.Pass(b.ctx))
	if _, err := b.a.blobs.Get(b.ctx, boxOf(b, dealings["alpha"], "gamma")); err == nil {
		t.Fatal("the round was not pruned")
	}
	if _, err := b.a.blobs.Get(b.ctx, evidence); err != nil {
		t.Fatalf("the evidence: %v", err)
	}
	b.a.court.forget()
	b.must(b.a.Pass(b.ctx))
	if e := b.newestEpoch(); len(e.verdicts) != 1 {
		t.Fatalf("verdicts %+v", e.verdicts)
	}
}

// forget is what a restart does to the court.
func (c *court) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judged, c.waiting, c.results, c.announced = nil, nil, nil, nil
}

// TestRoundDisputes: a member that cannot take its noise share is missing, no
// more: the others open the sum. Its complaint is settled apart.
func TestRoundDisputes(t *testing.T) {
	complaint := func(b *bench, r roundNow, dealings map[fl.NodeID]fl.Envelope) fl.Complaint {
		return fl.Complaint{Genesis: b.a.genesisID, EpochPlan: r.epoch.planID, Node: "alpha", Stage: fl.StageRound, Plan: r.planID,
			Charges: []fl.Charge{{Dealer: "beta", Dealing: dealings["beta"].Digest()}}}
	}
	t.Run("silence", func(t *testing.T) {
		b, r, dealings := disputedRound(t, false)
		b.must(b.parties["alpha"].submit(complaint(b, r, dealings)))
		b.wantTask(r.epoch, "beta", "answer")
		for _, m := range b.members[1:] {
			b.must(b.parties[m].submit(b.parties[m].share(r)))
		}
		b.clock.add(2 * time.Second)
		b.must(b.a.Pass(b.ctx))
		if r := b.round("job", 1); r.phase != "published" {
			t.Fatalf("the round is %s", r.phase)
		}
		b.clock.add(11 * time.Minute)
		b.must(b.a.Pass(b.ctx))
		views, err := b.a.EpochViews(b.ctx)
		b.must(err)
		if v := views[0]; v.Step != "closed" || v.Disputes != 1 || len(v.Verdicts) != 1 || v.Verdicts[0].Guilty != "beta" || v.Verdicts[0].Ground != fl.GroundSilence {
			t.Fatalf("view %+v", v)
		}
		b.wantTask(r.epoch, "beta", "")
	})
	t.Run("an answer gives the share", func(t *testing.T) {
		b, r, dealings := disputedRound(t, false)
		c := complaint(b, r, dealings)
		b.must(b.parties["alpha"].submit(c))
		if _, _, _, share := b.tasksInRounds("alpha"); share {
			t.Fatal("asked for a share while the complaint stands")
		}
		b.must(b.parties["beta"].submit(b.parties["beta"].answer(c, dealings)))
		b.must(b.a.Pass(b.ctx))
		if _, _, answers, share := b.tasksInRounds("alpha"); !share || answers != 1 {
			t.Fatalf("asked again: %t, with %d answers", share, answers)
		}
		if len(b.newestEpoch().verdicts) != 0 {
			t.Fatal("a verdict although nobody can be blamed")
		}
		b.wantTask(r.epoch, "beta", "")
	})
	t.Run("a lie", func(t *testing.T) {
		b, r, dealings := disputedRound(t, false)
		c := complaint(b, r, dealings)
		c.Charges[0].Key = b.parties["beta"].answer(c, dealings).Keys[0].Key // it found it in its box
		b.must(b.parties["alpha"].submit(c))
		b.must(b.a.Pass(b.ctx))
		e := b.newestEpoch()
		if len(e.verdicts) != 1 || e.verdicts[0].Guilty != "alpha" || e.verdicts[0].Ground != fl.GroundComplaint {
			t.Fatalf("verdicts %+v", e.verdicts)
		}
	})
}

func boxOf(b *bench, doc fl.Envelope, receiver fl.NodeID) fl.Digest {
	var d fl.NoiseDealing
	b.must(doc.Read(&d))
	for _, box := range d.Boxes {
		if box.Receiver == receiver {
			return box.Digest
		}
	}
	return fl.Digest(sha256.Sum256(nil))
}
