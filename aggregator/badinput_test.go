package aggregator

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"credence/fl"
	"credence/fl/flpb"
	"credence/he/threshold"
)

// refused expects that a message was turned down with a code, that the
// sentence names the sender, and that the store is as it was before.
func (b *bench) refused(what string, want fl.Code, sender fl.NodeID, do func() error) {
	b.Helper()
	before := b.dump()
	err := do()
	var r *fl.Refusal
	switch {
	case !errors.As(err, &r):
		b.Errorf("%s: got %v, want a refusal (%s)", what, err, want)
	case r.Code != want:
		b.Errorf("%s: got %v, want code %s", what, err, want)
	case r.Party != sender:
		b.Errorf("%s: %q names %q, want %q", what, r.Reason, r.Party, sender)
	case len(r.Reason) < 10 || strings.Contains(r.Reason, b.dir):
		b.Errorf("%s: the reason %q is no sentence for others to read", what, r.Reason)
	}
	if after := b.dump(); after != before {
		b.Errorf("%s: the store changed:\n%s", what, firstDifference(before, after))
	}
}

// refuses is refused for a document that the party signs properly.
func (p *party) refuses(what string, want fl.Code, doc fl.Document) {
	p.b.Helper()
	p.b.refused(what, want, p.name, func() error { return p.submit(doc) })
}

// forge signs a document that does not validate, as a hostile party would.
func (p *party) forge(doc fl.Document) []byte {
	payload, err := json.Marshal(doc)
	p.b.must(err)
	return p.seal(doc.Kind(), p.name, payload)
}

// seal signs any payload as whoever it likes to be, with the party's own key.
func (p *party) seal(kind fl.Kind, signer fl.NodeID, payload []byte) []byte {
	// The signature covers the kind, the signer and the payload; the bytes are
	// those of package fl, written down once more.
	pre := fmt.Appendf(nil, "DSSEv1 %d credence/%s %d %s %d %s", len("credence/"+kind), kind, len(signer), signer, len(payload), payload)
	e := fl.Envelope{Kind: kind, Signer: signer, Payload: payload, Signature: ed25519.Sign(p.keys.Signing, pre)}
	raw, err := json.Marshal(e)
	p.b.must(err)
	return raw
}

// mangles hands in what an honest document becomes on a hostile way: each of
// them must be refused without a trace, and the honest one still be accepted.
func (p *party) mangles(doc fl.Document) {
	p.b.Helper()
	b, kind := p.b, string(doc.Kind())
	e := p.sign(doc)
	raw := e.Encode()
	send := func(name string, want fl.Code, raw []byte) {
		b.Helper()
		b.refused(kind+": "+name, want, p.name, func() error { _, err := p.hand(raw); return err })
	}
	send("empty", fl.CodeMalformed, nil)
	for _, n := range []int{1, len(raw) / 3, len(raw) - 1} {
		send(fmt.Sprintf("truncated to %d bytes", n), fl.CodeMalformed, raw[:n])
	}
	send("a byte after the end", fl.CodeMalformed, append(slices.Clone(raw), '\n'))
	send("white space inside", fl.CodeMalformed, bytes.Replace(raw, []byte(`":`), []byte(`": `), 1))
	send("over the limit", fl.CodeMalformed, append(slices.Clone(raw), bytes.Repeat([]byte(" "), fl.MaxDocument)...))
	for _, at := range []int{0, 3, len(raw) / 2, len(raw) - 3} {
		flipped := slices.Clone(raw)
		flipped[at] ^= 4
		b.refusedAny(kind+": bit flipped at "+fmt.Sprint(at), p.name, func() error { _, err := p.hand(flipped); return err },
			fl.CodeMalformed, fl.CodeBadSignature, fl.CodeNotAllowed)
	}
	forged := e
	forged.Signature = bytes.Repeat([]byte{7}, len(e.Signature))
	send("signature of nobody", fl.CodeBadSignature, forged.Encode())
	for name, other := range b.parties {
		if name != p.name {
			stolen := e
			stolen.Signature = other.sign(doc).Signature
			send("signed with the key of another", fl.CodeBadSignature, stolen.Encode())
			as := other.sign(doc)
			send("signed by another", fl.CodeNotAllowed, as.Encode())
			break
		}
	}
	send("in the aggregator's name", fl.CodeNotAllowed, p.seal(doc.Kind(), fl.AggregatorID, e.Payload))
	send("of an unknown kind", fl.CodeMalformed, p.seal("gift/v1", p.name, e.Payload))
	send("as another kind", fl.CodeMalformed, p.seal(otherKind(doc), p.name, e.Payload))
	send("with an unknown field", fl.CodeMalformed, p.seal(doc.Kind(), p.name, slices.Concat([]byte(`{"x":1,`), e.Payload[1:])))
	send("no object", fl.CodeMalformed, p.seal(doc.Kind(), p.name, []byte(`[]`)))
	send("null", fl.CodeMalformed, p.seal(doc.Kind(), p.name, []byte(`null`)))

	var fields map[string]any
	b.must(json.Unmarshal(e.Payload, &fields))
	foreign := bytes.Replace(e.Payload, []byte(b.a.genesisID.String()), []byte(fl.DigestBytes([]byte("elsewhere")).String()), 1)
	send("for another federation", fl.CodeWrongAddressee, p.seal(doc.Kind(), p.name, foreign))
	who := "node"
	if _, ok := fields[who]; !ok {
		who = "owner"
	}
	speaks := bytes.Replace(e.Payload, fmt.Appendf(nil, `"%s":"%s"`, who, p.name), fmt.Appendf(nil, `"%s":"%s"`, who, "somebody"), 1)
	send("speaking for another", fl.CodeNotAllowed, p.seal(doc.Kind(), p.name, speaks))
}

func otherKind(doc fl.Document) fl.Kind {
	if doc.Kind() == (fl.JobCancel{}).Kind() {
		return fl.Decline{}.Kind()
	}
	return fl.JobCancel{}.Kind()
}

func (b *bench) refusedAny(what string, sender fl.NodeID, do func() error, codes ...fl.Code) {
	b.Helper()
	before := b.dump()
	err := do()
	var r *fl.Refusal
	if !errors.As(err, &r) || !slices.Contains(codes, r.Code) || r.Party != sender {
		b.Errorf("%s: got %v, want one of %v that names %s", what, err, codes, sender)
	}
	if after := b.dump(); after != before {
		b.Errorf("%s: the store changed:\n%s", what, firstDifference(before, after))
	}
}

// accepts hands in a document twice: the second time is a receipt again, and
// nothing else.
func (p *party) accepts(doc fl.Document) {
	p.b.Helper()
	raw := p.sign(doc).Encode()
	first, err := p.hand(raw)
	p.b.must(err)
	before := p.b.dump()
	second, err := p.hand(raw)
	if err != nil || second.Subject != first.Subject || p.b.dump() != before {
		p.b.Errorf("%s a second time: %v; want a receipt again and nothing changed", doc.Kind(), err)
	}
}

// TestBadInput walks a federation through its life and, before every honest
// message, sends everything that must be refused in its place.
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := newBench(t, "alpha", "beta", "gamma")
	guest := b.enrol("guest", 0, fl.RoleObserver)
	b.serve()
	alpha, beta, lab := b.parties["alpha"], b.parties["beta"], b.parties["lab"]
	other := fl.DigestBytes([]byte("another document"))

	b.badEpoch(guest)
	b.badJob(guest)

	// A round takes noise and updates.
	r := b.round("job", 1)
	noise := alpha.noise(r)
	alpha.mangles(noise)
	guestNoise := noise
	guestNoise.Node = guest.name
	guest.refuses("noise by a party that is no member", fl.CodeNotAllowed, guestNoise)
	change := func(f func(d *fl.NoiseDealing)) fl.NoiseDealing {
		d := noise
		d.Boxes = slices.Clone(noise.Boxes)
		f(&d)
		return d
	}
	alpha.refuses("noise for another plan", fl.CodeWrongAddressee, change(func(d *fl.NoiseDealing) { d.Plan = other }))
	alpha.refuses("noise for another round", fl.CodeWrongAddressee, change(func(d *fl.NoiseDealing) { d.Round = 2 }))
	alpha.refuses("noise for another job", fl.CodeWrongAddressee, change(func(d *fl.NoiseDealing) { d.Job = "other" }))
	alpha.refuses("incomplete noise", fl.CodeMalformed, change(func(d *fl.NoiseDealing) { d.Boxes = d.Boxes[:2] }))
	alpha.refuses("noise in another order", fl.CodeMalformed, change(func(d *fl.NoiseDealing) { d.Boxes[0], d.Boxes[1] = d.Boxes[1], d.Boxes[0] }))
	alpha.refuses("a box that was not uploaded", fl.CodeNotReady, change(func(d *fl.NoiseDealing) { d.Boxes[1].Digest = other }))
	short := alpha.put(make([]byte, 10))
	alpha.refuses("a box of another size", fl.CodeMalformed, change(func(d *fl.NoiseDealing) { d.Boxes[1].Digest = short }))
	alpha.accepts(noise)
	te, err := b.newestEpoch().threshold()
	b.must(err)
	second := alpha.put(bytes.Repeat([]byte{1}, threshold.BoxBytes(te, "alpha", string(noise.Boxes[0].Receiver))))
	alpha.refuses("a second noise dealing", fl.CodeConflict, change(func(d *fl.NoiseDealing) { d.Boxes[0].Digest = second }))

	b.badUpdate(r, guest)
	for _, p := range []*party{beta, b.parties["gamma"]} {
		b.must(p.submit(p.noise(r)))
	}
	early := fl.DecryptionShare{Genesis: b.a.genesisID, Seal: other, Job: "job", Round: 1, Node: "alpha", Shares: []fl.ShareRef{{Digest: other}}}
	alpha.refuses("a share before the seal", fl.CodeWrongAddressee, early)
	b.must(b.parties["gamma"].submit(b.parties["gamma"].update(r)))
	b.must(b.a.Pass(b.ctx))

	// The round is sealed and takes shares.
	late := b.parties["gamma"].update(r)
	b.parties["gamma"].refuses("another update after the seal", fl.CodeConflict, late)
	beta.refuses("a decline after an update", fl.CodeConflict, fl.Decline{Genesis: b.a.genesisID, Plan: r.planID, Job: "job", Round: 1, Node: "beta"})
	b.badShare(guest)
	for _, m := range b.members {
		p := b.parties[m]
		p.accepts(p.share(b.round("job", 1)))
	}
	b.must(b.a.Pass(b.ctx))
	published := b.round("job", 1)
	models, err := b.a.store.Models(b.ctx, "job")
	b.must(err)
	if published.phase != "published" || len(models) != 1 || models[0].Model != b.expectModel(published) {
		t.Fatalf("after all that, round 1 is %s", published.phase)
	}
	// Everything of a round that is over comes too late, but for repetitions.
	alpha.accepts(noise)
	alpha.accepts(alpha.share(published))
	next := b.round("job", 2)
	alpha.refuses("the update of one round in another", fl.CodeWrongAddressee, func() fl.Document { h := alpha.update(published); h.Round = 2; return h }())

	// A deadline passes; a revoked party is out.
	b.must(alpha.submit(alpha.update(next)))
	b.clock.add(61 * time.Second)
	beta.refuses("an update after the deadline", fl.CodeLate, beta.update(next))
	gamma := b.parties["gamma"]
	last := gamma.update(next)
	b.must(b.a.Revoke(b.ctx, "gamma", "left the consortium"))
	gamma.refuses("a message of a revoked party", fl.CodeRevoked, last)
	b.refused("a poll of a revoked party", fl.CodeRevoked, "gamma", func() error {
		_, err := gamma.api.Work(b.ctx, &flpb.WorkRequest{})
		return flpb.FromStatus(err)
	})
	cancel := fl.JobCancel{Genesis: b.a.genesisID, JobSpec: published.plan.JobSpec, Job: "job", Owner: "lab", Reason: "enough"}
	lab.mangles(cancel)
	lab.refuses("a cancellation of another version", fl.CodeWrongAddressee, func() fl.Document { c := cancel; c.JobSpec = other; return c }())
	lab.refuses("a cancellation of no job", fl.CodeNotFound, func() fl.Document { c := cancel; c.Job = "none"; return c }())
	rival := b.enrol("rival", 100, fl.RoleOwner)
	rival.connect()
	rival.refuses("a cancellation by another owner", fl.CodeNotAllowed, func() fl.Document { c := cancel; c.Owner = "rival"; return c }())
	lab.accepts(cancel)
	b.checkLedger()
}

// badEpoch generates a key between refusals.
func (b *bench) badEpoch(guest *party) {
	b.Helper()
	alpha, other := b.parties["alpha"], fl.DigestBytes([]byte("another epoch"))
	if _, err := b.a.OpenEpoch(b.ctx, b.members); err != nil {
		b.Fatal(err)
	}
	stale := b.newestEpoch()
	b.generate(func(stage int) {
		e := b.newestEpoch()
		switch stage {
		case 0:
			key := alpha.sealKey(e)
			alpha.mangles(key)
			key.EpochPlan = stale.planID
			alpha.refuses("a seal key for a stale epoch", fl.CodeWrongAddressee, key)
			key.EpochPlan = other
			alpha.refuses("a seal key for no epoch", fl.CodeWrongAddressee, key)
			guest.refuses("a seal key of no member", fl.CodeNotAllowed, fl.SealKey{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: guest.name, Key: make([]byte, 32)})
			alpha.refuses("a commitment before the seal keys", fl.CodeNotReady, fl.KeyCommitment{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "alpha", Commitment: other})
			alpha.accepts(alpha.sealKey(e))
			key = alpha.sealKey(e)
			key.Key = bytes.Repeat([]byte{9}, 32)
			alpha.refuses("a second seal key", fl.CodeConflict, key)
		case 1:
			alpha.refuses("a reveal before the commitments", fl.CodeNotReady, fl.KeyReveal{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "alpha", Reveal: other})
			c := alpha.keyCommitment(e)
			alpha.mangles(c)
			alpha.accepts(c)
			c.Commitment = other
			alpha.refuses("a second commitment", fl.CodeConflict, c)
		case 2:
			alpha.refuses("a dealing before the reveals", fl.CodeNotReady, fl.KeyDealing{Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "alpha", Boxes: []fl.Box{{Receiver: "alpha", Digest: other, Commitment: other, Check: []byte{1}}}})
			reveal := alpha.keyReveal(e)
			alpha.mangles(reveal)
			good := b.blob(reveal.Reveal)
			for name, raw := range map[string][]byte{
				"short":                    good[:len(good)-1],
				"that does not open it":    append([]byte{good[0] ^ 1}, good[1:]...),
				"of which a bit is wrong":  append(slices.Clone(good[:len(good)-1]), good[len(good)-1]^1),
				"that is another member's": b.blob(b.parties["beta"].keyReveal(e).Reveal),
			} {
				bad := reveal
				bad.Reveal = alpha.put(raw)
				alpha.refuses("a reveal "+name, fl.CodeMalformed, bad)
			}
			bad := reveal
			bad.Reveal = other
			alpha.refuses("a reveal that was not uploaded", fl.CodeNotReady, bad)
			alpha.accepts(reveal)
		case 3:
			d := alpha.keyDealing(e)
			alpha.mangles(d)
			bad := d
			bad.Boxes = d.Boxes[:2]
			alpha.refuses("an incomplete key dealing", fl.CodeMalformed, bad)
			bad.Boxes = slices.Clone(d.Boxes)
			bad.Boxes[0], bad.Boxes[1] = bad.Boxes[1], bad.Boxes[0]
			alpha.refuses("a key dealing in another order", fl.CodeMalformed, bad)
			bad.Boxes = slices.Clone(d.Boxes)
			bad.Boxes[1].Check = slices.Clone(d.Boxes[0].Check)
			alpha.refuses("a key dealing whose checks lie on no polynomial", fl.CodeMalformed, bad)
			alpha.refuses("an acceptance before the dealings", fl.CodeNotReady, fl.KeyAcceptance{
				Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "alpha", Dealings: []fl.Digest{other, other, other},
			})
			alpha.accepts(d)
		case 4:
			b.badComplaint(e, guest)
			accepted := alpha.keyAcceptance(e)
			alpha.mangles(accepted)
			bad := accepted
			bad.Dealings = slices.Clone(accepted.Dealings)
			bad.Dealings[1] = other
			alpha.refuses("an acceptance of other dealings", fl.CodeMalformed, bad)
			guest.refuses("an acceptance of no member", fl.CodeNotAllowed, func() fl.Document { d := accepted; d.Node = guest.name; return d }())
			alpha.refuses("a test before the acceptances", fl.CodeNotReady, fl.TestShare{
				Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "alpha", Stage: fl.StageTest, Noise: []fl.Digest{other}, Shares: []fl.ShareRef{{Digest: other}},
			})
			alpha.accepts(accepted)
		case 5:
			noise := alpha.testNoise(e, fl.StageTest)
			alpha.mangles(noise)
			bad := noise
			bad.Boxes = noise.Boxes[:2]
			alpha.refuses("incomplete test noise", fl.CodeMalformed, bad)
			bad = noise
			bad.Boxes = slices.Clone(noise.Boxes)
			bad.Boxes[1].Check = slices.Clone(noise.Boxes[0].Check)
			alpha.refuses("test noise whose checks lie on no polynomial", fl.CodeMalformed, bad)
			guest.refuses("test noise of no member", fl.CodeNotAllowed, func() fl.Document { d := noise; d.Node = guest.name; return d }())
			alpha.accepts(noise)
		case 6:
			share := alpha.testShare(e, fl.StageTest)
			alpha.mangles(share)
			bad := share
			bad.Noise = slices.Clone(share.Noise)
			bad.Noise[1] = other
			alpha.refuses("a test share with other noise", fl.CodeMalformed, bad)
			bad = share
			bad.Shares = []fl.ShareRef{{Digest: other}}
			alpha.refuses("a test share that is not uploaded", fl.CodeNotReady, bad)
			bad.Shares = []fl.ShareRef{{Digest: alpha.put([]byte("short"))}}
			alpha.refuses("a test share of another size", fl.CodeMalformed, bad)
			bad.Shares = []fl.ShareRef{{Digest: alpha.put(bytes.Repeat([]byte{0xff}, b.a.suite.PolyBytes()))}}
			alpha.refuses("a test share that is not canonical", fl.CodeMalformed, bad)
			guest.refuses("a test share of no member", fl.CodeNotAllowed, func() fl.Document { d := share; d.Node = guest.name; return d }())
			alpha.accepts(share)
		}
	})
	alpha.refuses("a seal key for an epoch that is closed", fl.CodeConflict, func() fl.Document {
		k := alpha.sealKey(b.newestEpoch())
		k.Key = bytes.Repeat([]byte{9}, 32)
		return k
	}())
}

// badComplaint accuses without ground: charges that name no box of the accused
// are refused, and so is whoever is no member.
func (b *bench) badComplaint(e epochState, guest *party) {
	b.Helper()
	alpha, other := b.parties["alpha"], fl.DigestBytes([]byte("nothing"))
	c := fl.Complaint{
		Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "alpha", Stage: fl.StageKey,
		Charges: []fl.Charge{{Dealer: "beta", Dealing: other}},
	}
	alpha.refuses("a complaint about a dealing that does not exist", fl.CodeMalformed, c)
	c.Charges = []fl.Charge{{Dealer: "guest", Dealing: e.Dealings["beta"].Digest()}}
	alpha.refuses("a complaint about no member", fl.CodeMalformed, c)
	c.Charges = []fl.Charge{{Dealer: "beta", Dealing: e.Dealings["gamma"].Digest()}}
	alpha.refuses("a complaint about another's dealing", fl.CodeMalformed, c)
	c.Charges = []fl.Charge{{Dealer: "beta", Dealing: e.Dealings["beta"].Digest(), Shard: 1}}
	alpha.refuses("a complaint about a shard that there is not", fl.CodeMalformed, c)
	c.Charges, c.Node = []fl.Charge{{Dealer: "beta", Dealing: e.Dealings["beta"].Digest()}}, guest.name
	guest.refuses("a complaint of no member", fl.CodeNotAllowed, c)
	alpha.refuses("an answer to no complaint", fl.CodeMalformed, fl.ComplaintAnswer{
		Genesis: b.a.genesisID, EpochPlan: e.planID, Node: "alpha", Receiver: "beta", Complaint: other, Stage: fl.StageKey,
		Keys: []fl.AnsweredKey{{Key: make([]byte, 32)}},
	})
}

// badJob submits a job and joins it, between refusals.
func (b *bench) badJob(guest *party) {
	b.Helper()
	lab, alpha := b.parties["lab"], b.parties["alpha"]
	spec := b.jobSpec("job")
	lab.refuses("a job whose model is not uploaded", fl.CodeNotReady, spec)
	lab.put(fl.EncodeParameters(make([]float32, testParameters)))
	lab.mangles(spec)
	change := func(f func(s *fl.JobSpec)) fl.JobSpec {
		s := spec
		f(&s)
		return s
	}
	guest.refuses("a job by an observer", fl.CodeNotAllowed, change(func(s *fl.JobSpec) { s.Owner = guest.name }))
	lab.refuses("a job that is too expensive", fl.CodeFunds, change(func(s *fl.JobSpec) { s.Budget = 1001 }))
	lab.refuses("a job for too large a cohort", fl.CodeNotAllowed, change(func(s *fl.JobSpec) { s.CohortSize = 100_000 }))
	lab.refuses("a job whose model has another size", fl.CodeMalformed, change(func(s *fl.JobSpec) { s.Parameters = 21 }))
	nan := lab.put(slices.Concat(make([]byte, 4*testParameters-4), []byte{0, 0, 0xc0, 0x7f}))
	lab.refuses("a job whose model is not finite", fl.CodeMalformed, change(func(s *fl.JobSpec) { s.InitialModel = nan }))
	b.refused("a job with the floor undercut", fl.CodeMalformed, "lab", func() error {
		_, err := lab.hand(lab.forge(change(func(s *fl.JobSpec) { s.MinCohort = 1 })))
		return err
	})
	b.refused("a job at a proof level that does not exist", fl.CodeMalformed, "lab", func() error {
		_, err := lab.hand(lab.forge(change(func(s *fl.JobSpec) { s.ProofLevel = "believed" })))
		return err
	})
	b.refused("a job with a negative budget", fl.CodeMalformed, "lab", func() error {
		_, err := lab.hand(lab.forge(change(func(s *fl.JobSpec) { s.Budget = -5 })))
		return err
	})
	lab.refuses("a job whose training cannot be proven", fl.CodeMalformed, change(func(s *fl.JobSpec) {
		s.ProofLevel = fl.ProofTrained
		s.Trained = &fl.TrainedTerms{Kind: "cnn", Features: 2, Outputs: 1, LearningRate: 1, Steps: 1, Table: "r4-f2-b10-real1", TableSchema: b.a.genesisID}
	}))
	lab.accepts(spec)
	lab.refuses("another job of that name", fl.CodeConflict, change(func(s *fl.JobSpec) { s.Seed = 4 }))

	j, err := b.a.store.Job(b.ctx, "job")
	b.must(err)
	join := alpha.join(j.Spec)
	alpha.mangles(join)
	alpha.refuses("a join of no job", fl.CodeNotFound, func() fl.Document { d := join; d.Job = "none"; return d }())
	alpha.refuses("a join of another version", fl.CodeWrongAddressee, func() fl.Document { d := join; d.JobSpec = b.a.genesisID; return d }())
	for _, skew := range []time.Duration{-time.Hour, 6 * time.Minute} {
		alpha.refuses("a join with a wrong clock", fl.CodeClock, func() fl.Document { d := join; d.JoinedAt = d.JoinedAt.Add(skew); return d }())
	}
	guest.refuses("a join by an observer", fl.CodeNotAllowed, func() fl.Document { d := join; d.Node = guest.name; return d }())
	alpha.refuses("a join that names data of a job that proves no training", fl.CodeProofLevel, func() fl.Document { d := join; d.Dataset = b.a.genesisID; return d }())
	alpha.refuses("data for a job that proves no training", fl.CodeProofLevel, fl.DatasetCommitment{
		Genesis: b.a.genesisID, JobSpec: j.Spec.Digest(), Job: "job", Node: "alpha", ProofKeys: b.a.genesisID, Spec: b.a.genesisID, Commitment: []byte{1}, Rows: 1,
		Registration: b.a.genesisID, CommittedAt: join.JoinedAt,
	})
	alpha.accepts(join)
	alpha.refuses("a second consent", fl.CodeConflict, func() fl.Document { d := join; d.Samples++; return d }())
	for _, m := range b.members[1:] {
		b.must(b.parties[m].submit(b.parties[m].join(j.Spec)))
	}
	b.clock.add(time.Second)
	b.must(b.a.Pass(b.ctx))
}

// badUpdate takes in the updates of alpha and beta, between refusals.
func (b *bench) badUpdate(r roundNow, guest *party) {
	b.Helper()
	alpha, beta, other := b.parties["alpha"], b.parties["beta"], fl.DigestBytes([]byte("nothing"))
	h := alpha.update(r)
	alpha.mangles(h)
	change := func(f func(h *fl.UpdateHeader)) fl.UpdateHeader {
		c := h
		c.Ciphertexts = slices.Clone(h.Ciphertexts)
		f(&c)
		return c
	}
	guest.refuses("an update from outside the cohort", fl.CodeNotInCohort, change(func(h *fl.UpdateHeader) { h.Node = guest.name }))
	alpha.refuses("an update for another plan", fl.CodeWrongAddressee, change(func(h *fl.UpdateHeader) { h.Plan = other }))
	alpha.refuses("an update for another epoch", fl.CodeWrongAddressee, change(func(h *fl.UpdateHeader) { h.EpochKey = other }))
	alpha.refuses("an update for another round", fl.CodeWrongAddressee, change(func(h *fl.UpdateHeader) { h.Round = 7 }))
	alpha.refuses("an update for another job", fl.CodeWrongAddressee, change(func(h *fl.UpdateHeader) { h.Job = "other" }))
	alpha.refuses("an update with a shard too many", fl.CodeMalformed, change(func(h *fl.UpdateHeader) {
		h.Ciphertexts = append(h.Ciphertexts, fl.ShardCiphertext{Shard: 1, Digest: h.Ciphertexts[0].Digest})
	}))
	alpha.refuses("an update with another shard", fl.CodeMalformed, change(func(h *fl.UpdateHeader) { h.Ciphertexts[0].Shard = 3 }))
	b.refused("an update without a shard", fl.CodeMalformed, "alpha", func() error {
		_, err := alpha.hand(alpha.forge(change(func(h *fl.UpdateHeader) { h.Ciphertexts = nil })))
		return err
	})
	b.refused("an update with shards in disorder", fl.CodeMalformed, "alpha", func() error {
		_, err := alpha.hand(alpha.forge(change(func(h *fl.UpdateHeader) {
			h.Ciphertexts = []fl.ShardCiphertext{{Shard: 1, Digest: other}, h.Ciphertexts[0]}
		})))
		return err
	})
	b.refused("an update at another proof level", fl.CodeMalformed, "alpha", func() error {
		_, err := alpha.hand(alpha.forge(change(func(h *fl.UpdateHeader) { h.ProofLevel = "trained" })))
		return err
	})
	alpha.refuses("an update whose ciphertext is not uploaded", fl.CodeNotReady, change(func(h *fl.UpdateHeader) { h.Ciphertexts[0].Digest = other }))
	good := b.blob(h.Ciphertexts[0].Digest)
	width := b.a.suite.CoefficientBytes()
	tooLarge := slices.Clone(good)
	q := b.a.suite.Q().FillBytes(make([]byte, width))
	slices.Reverse(q) // little-endian: exactly Q
	copy(tooLarge[5*width:], q)
	for name, raw := range map[string][]byte{
		"short":                good[:len(good)-1],
		"long":                 append(slices.Clone(good), 0),
		"with a coefficient Q": tooLarge,
		"of all ones":          bytes.Repeat([]byte{0xff}, len(good)),
	} {
		digest := alpha.put(raw)
		alpha.refuses("a ciphertext "+name, fl.CodeMalformed, change(func(h *fl.UpdateHeader) { h.Ciphertexts[0].Digest = digest }))
	}
	alpha.accepts(h)
	alpha.refuses("a second update", fl.CodeConflict, alpha.update(r))
	alpha.refuses("a decline after the update", fl.CodeConflict, fl.Decline{Genesis: b.a.genesisID, Plan: r.planID, Job: "job", Round: 1, Node: "alpha"})
	decline := fl.Decline{Genesis: b.a.genesisID, Plan: r.planID, Job: "job", Round: 1, Node: "beta", Reason: "no"}
	beta.mangles(decline)
	decline.Plan = other
	beta.refuses("a decline of another plan", fl.CodeWrongAddressee, decline)

	copied := beta.update(r)
	copied.Ciphertexts = h.Ciphertexts
	beta.refuses("a copy of another's ciphertext", fl.CodeConflict, copied)
	b.must(beta.submit(beta.update(r)))
}

// badShare sends what must not be taken for alpha's decryption share.
func (b *bench) badShare(guest *party) {
	b.Helper()
	alpha, other := b.parties["alpha"], fl.DigestBytes([]byte("nothing"))
	r := b.round("job", 1)
	if r.phase != "decrypting" {
		b.Fatalf("the round is %s", r.phase)
	}
	d := alpha.share(r)
	alpha.mangles(d)
	change := func(f func(d *fl.DecryptionShare)) fl.DecryptionShare {
		c := d
		c.Shares = slices.Clone(d.Shares)
		f(&c)
		return c
	}
	guest.refuses("a share of no member", fl.CodeNotAllowed, change(func(d *fl.DecryptionShare) { d.Node = guest.name }))
	alpha.refuses("a share for another seal", fl.CodeWrongAddressee, change(func(d *fl.DecryptionShare) { d.Seal = other }))
	alpha.refuses("a share for another round", fl.CodeWrongAddressee, change(func(d *fl.DecryptionShare) { d.Round = 9 }))
	alpha.refuses("a share for another job", fl.CodeWrongAddressee, change(func(d *fl.DecryptionShare) { d.Job = "other" }))
	alpha.refuses("a share too many", fl.CodeMalformed, change(func(d *fl.DecryptionShare) { d.Shares = append(d.Shares, fl.ShareRef{Shard: 1, Digest: other}) }))
	alpha.refuses("a share that is not uploaded", fl.CodeNotReady, change(func(d *fl.DecryptionShare) { d.Shares[0].Digest = other }))
	short, ones := alpha.put([]byte("short")), alpha.put(bytes.Repeat([]byte{0xff}, b.a.suite.PolyBytes()))
	alpha.refuses("a share of another size", fl.CodeMalformed, change(func(d *fl.DecryptionShare) { d.Shares[0].Digest = short }))
	alpha.refuses("a share that is not canonical", fl.CodeMalformed, change(func(d *fl.DecryptionShare) { d.Shares[0].Digest = ones }))
	alpha.accepts(d)
	second := alpha.put(make([]byte, b.a.suite.PolyBytes()))
	alpha.refuses("a second share", fl.CodeConflict, change(func(d *fl.DecryptionShare) { d.Shares[0].Digest = second }))
}
