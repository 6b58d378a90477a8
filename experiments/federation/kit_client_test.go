package federation_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/round"
	"credence/he"
	"credence/zk"
)

func refusal(code fl.Code) error { return &fl.Refusal{Code: code} }

// cheater is the client that lies to an honest aggregator.
func (s *scene) cheat(bend func(*zk.Scope)) *made {
	s.t.Helper()
	return s.update(s.current, s.colluder.id, bend)
}

// instead hands in other ciphertexts than the attested ones.
func (s *scene) instead(change func(shard int, c *he.Ciphertext) *he.Ciphertext) error {
	s.t.Helper()
	m := s.cheat(nil)
	assigned, _ := s.plan.Assigned(s.colluder.id)
	for i := range m.ciphertexts {
		m.ciphertexts[i] = change(assigned.Shards[i], m.shards[i].Ciphertext).Bytes()
	}
	m.name(assigned.Shards)
	return s.hand(s.colluder, m)
}

// proof hands in an update with a changed attestation.
func (s *scene) proof(change func(raw []byte) []byte) error {
	s.t.Helper()
	m := s.cheat(nil)
	m.attestation = change(slices.Clone(m.attestation))
	m.header.Attestation = fl.DigestBytes(m.attestation)
	return s.hand(s.colluder, m)
}

// header hands in an update with a changed header.
func (s *scene) header(change func(*fl.UpdateHeader)) error {
	s.t.Helper()
	m := s.cheat(nil)
	change(&m.header)
	return s.hand(s.colluder, m)
}

// clientLies are what a lying client hands to an honest aggregator in an open
// round.
var clientLies = []attack{
	{
		name: "values out of range: the attested ciphertext, doubled", lines: []string{"value or norm out of bounds", "ciphertext differs from commitment"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error {
			return s.instead(func(_ int, c *he.Ciphertext) *he.Ciphertext {
				c0, c1 := c.Polys()
				twice, err := s.suite.ParseCiphertext(append(c0.Add(c0).Bytes(), c1.Add(c1).Bytes()...))
				s.must(err)
				return twice
			})
		},
	},
	{
		name: "an update above the norm, proven against a larger bound", lines: []string{"value or norm out of bounds"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error {
			large := s.suite.MaxValue()
			return s.hand(s.colluder, s.updateOf(s.current, s.colluder.id, func(int) int32 { return large }, func(c *zk.Scope) { c.Bound = 1 << 60 }))
		},
	},
	{
		name: "a ciphertext that is not the attested one", lines: []string{"ciphertext differs from commitment"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error {
			return s.instead(func(int, *he.Ciphertext) *he.Ciphertext { return s.zero(s.current) })
		},
	},
	{
		name: "a proof for another round", lines: []string{"proof for another round"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error { return s.hand(s.colluder, s.cheat(func(c *zk.Scope) { c.Round++ })) },
	},
	{
		name: "a proof for another client", lines: []string{"proof for another client"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error { return s.hand(s.colluder, s.cheat(func(c *zk.Scope) { c.Client = s.victim })) },
	},
	{
		name: "a proof for another plan", lines: []string{"proof for another plan"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error { return s.hand(s.colluder, s.cheat(func(c *zk.Scope) { c.Plan[0] ^= 1 })) },
	},
	{
		name: "a proof for another job", lines: []string{"proof for another round"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error { return s.hand(s.colluder, s.cheat(func(c *zk.Scope) { c.Job = "other" })) },
	},
	{
		name: "an update and a proof under another epoch's key", lines: []string{"proof for another epoch", "stale epoch"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error {
			other := *s.current
			other.public = he.NewPublicKey(s.suite.UniformPoly(), [he.SeedBytes]byte{7})
			var err error
			other.proof, err = s.proofs.NewEpochKey(other.public)
			s.must(err)
			return s.hand(s.colluder, s.update(&other, s.colluder.id, nil))
		},
	},
	{
		name: "an update that names another epoch's key", lines: []string{"stale epoch"}, by: byAggregator, want: refusal(fl.CodeWrongAddressee),
		tell: func(s *scene) error { return s.header(func(u *fl.UpdateHeader) { u.EpochKey[0] ^= 1 }) },
	},
	{
		name: "random bytes for a proof", lines: []string{"malformed proof"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error {
			return s.proof(func(raw []byte) []byte { copy(raw[8:], bytes.Repeat([]byte{0x5a}, len(raw))); return raw })
		},
	},
	{
		name: "a proof cut short", lines: []string{"malformed proof"}, by: byAggregator, want: refusal(fl.CodeMalformed),
		tell: func(s *scene) error { return s.proof(func(raw []byte) []byte { return raw[:len(raw)-1] }) },
	},
	{
		name: "a field element that is not reduced", lines: []string{"non-canonical proof"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error {
			return s.proof(func(raw []byte) []byte { copy(raw[len(raw)-32:], bytes.Repeat([]byte{0xff}, 32)); return raw })
		},
	},
	{
		name: "one bit of a proof", lines: []string{"malformed proof"}, by: byAggregator, want: refusal(fl.CodeProof),
		tell: func(s *scene) error { return s.proof(func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw }) },
	},
	{
		name: "an update at a lower proof level", lines: []string{"downgraded level"}, by: byAggregator, want: refusal(fl.CodeProofLevel),
		tell: func(s *scene) error {
			return s.header(func(u *fl.UpdateHeader) { u.ProofLevel, u.Attestation = fl.ProofNone, fl.Digest{} })
		},
	},
	{
		name: "a shard less than the plan assigns", lines: []string{"encodings"}, by: byAggregator, want: refusal(fl.CodeMalformed),
		tell: func(s *scene) error { return s.header(func(u *fl.UpdateHeader) { u.Ciphertexts = u.Ciphertexts[:1] }) },
	},
	{
		name: "a ciphertext that is not canonical", lines: []string{"encodings"}, by: byAggregator, want: refusal(fl.CodeMalformed),
		tell: func(s *scene) error {
			m := s.cheat(nil)
			m.ciphertexts[0] = bytes.Repeat([]byte{0xff}, len(m.ciphertexts[0]))
			assigned, _ := s.plan.Assigned(s.colluder.id)
			m.name(assigned.Shards)
			return s.hand(s.colluder, m)
		},
	},
	{
		name: "an update signed by somebody who is not enrolled", lines: []string{"unenrolled, revoked or duplicate signer"}, by: byAggregator, want: refusal(fl.CodeBadSignature),
		tell: func(s *scene) error {
			return s.submit(s.signAs(s.colluder.id, s.aggregator.Signing, s.cheat(nil).header))
		},
	},
	{
		name: "an update signed by another node", lines: []string{"unenrolled, revoked or duplicate signer", "re-attributed update"}, by: byAggregator, want: refusal(fl.CodeNotAllowed),
		tell: func(s *scene) error {
			return s.submit(s.signAs(s.victim, s.node(s.victim).home.Keys.Signing, s.update(s.current, s.victim, nil).header))
		},
	},
}

// submit hands in a signed document over the cheater's connection.
func (s *scene) submit(doc fl.Envelope) error {
	_, err := s.connection(s.colluder).API().Submit(s.ctx, &flpb.SubmitRequest{Document: doc.Encode()})
	return flpb.FromStatus(err)
}

// The lies of clients that need a round that has gone further.
var (
	copied     = attack{name: "another client's ciphertexts and proof", lines: []string{"re-attributed update"}, by: byAggregator, want: refusal(fl.CodeConflict)}
	lateUpdate = attack{name: "an update after the seal", lines: []string{"replayed update"}, by: byAggregator, want: refusal(fl.CodeLate)}
	replayed   = attack{name: "an update of the round before, for this round", lines: []string{"replayed update", "proof for another round"}, by: byAggregator, want: refusal(fl.CodeProof)}
	resent     = attack{name: "the header of the round before, renumbered", lines: []string{"replayed update"}, by: byAggregator, want: refusal(fl.CodeWrongAddressee)}
	duplicate  = attack{name: "a second update of one client", lines: []string{"unenrolled, revoked or duplicate signer"}, by: byAggregator, want: refusal(fl.CodeConflict)}
	revoked    = attack{name: "an update of a revoked node", lines: []string{"unenrolled, revoked or duplicate signer"}, by: byAggregator, want: refusal(fl.CodeRevoked)}
)

// TestMaliciousClient plays a client that lies, with its own keys and
// certificate, to an honest aggregator at proof level bounded. All of it is
// refused with a reason and without a trace, and the honest rest publish.
func TestMaliciousClient(t *testing.T) {
	t.Parallel()
	h := newHostile(t, 2)
	members, others := h.committee()
	cheater, victim := others[0], members[0] // who train the same shards
	h.reachRound(1, round.Open)
	cheater.tasks = func(w *flpb.WorkResponse) { w.Tasks = nil } // it is there, and does what the test does
	s := &scene{hostile: h, current: h.see(1), colluder: cheater, victim: victim.id}
	for _, a := range clientLies {
		h.caught(a, a.tell(s))
	}
	_, err := victim.node.Pass(h.ctx)
	h.must(err)
	s.current = h.see(1)
	theirs := s.headers[victim.id]
	m := &made{attestation: h.blob(theirs.Attestation), header: theirs}
	m.header.Node = cheater.id
	for i := range theirs.Ciphertexts {
		m.ciphertexts = append(m.ciphertexts, h.blob(theirs.Ciphertexts[i].Digest))
	}
	h.caught(copied, h.hand(cheater, m))
	earlier := s.cheat(nil)
	h.reachRound(1, round.Decrypting)
	h.caught(lateUpdate, h.hand(cheater, earlier))
	h.reachRound(1, round.Published)
	h.cheap()
	if seal := h.see(1).seal; slices.Contains(seal.Clients, cheater.id) || len(seal.Clients) < 3 {
		t.Errorf("sealed were %v", seal.Clients)
	}

	h.reachRound(2, round.Open)
	s.current = h.see(2)
	resentHeader := *earlier
	resentHeader.header.Round = 2
	h.caught(resent, h.hand(cheater, &resentHeader))
	again := *earlier
	again.header.Round, again.header.Plan = 2, s.planID
	h.caught(replayed, h.hand(cheater, &again))
	honest := s.cheat(nil)
	if err := h.hand(cheater, honest); err != nil {
		t.Errorf("after all that an honest update of the same client: %v", err)
	}
	if err := h.hand(cheater, honest); err != nil {
		t.Errorf("the same update again: %v", err)
	}
	h.caught(duplicate, h.hand(cheater, s.cheat(nil)))
	h.must(h.agg.Revoke(h.ctx, cheater.id, "it cheats"))
	cheater.revoked = true
	h.caught(revoked, h.hand(cheater, s.cheat(nil)))
	h.reachRound(2, round.Published)
	if seal := h.see(2).seal; slices.Contains(seal.Clients, cheater.id) || len(seal.Clients) < 3 {
		t.Errorf("with a revoked client, sealed were %v", seal.Clients)
	}
	h.thorough()
	h.openedOnce()
}

// The lies of members of the committee.
var (
	errNamed = errors.New("named as wrong in the manifest")

	wrongShare    = attack{name: "a wrong decryption share", lines: []string{"decryption shares"}, by: byAggregator, want: errNamed}
	otherShare    = attack{name: "a second, different decryption share", lines: []string{"decryption shares"}, by: byAggregator, want: refusal(fl.CodeConflict)}
	malformed     = attack{name: "a decryption share that is not canonical", lines: []string{"decryption shares", "encodings"}, by: byAggregator, want: refusal(fl.CodeMalformed)}
	otherSeal     = attack{name: "a decryption share for another seal", lines: []string{"decryption shares"}, by: byAggregator, want: refusal(fl.CodeWrongAddressee)}
	lateShare     = attack{name: "a decryption share after publication", lines: []string{"decryption shares"}, by: byAggregator, want: refusal(fl.CodeLate)}
	outsideMember = attack{name: "a decryption share of a node that is no member", lines: []string{"decryption shares"}, by: byAggregator, want: refusal(fl.CodeNotAllowed)}
)

// share is a decryption share with the given polynomials.
func (s *scene) share(n *simNode, raw func() []byte, change func(*fl.DecryptionShare)) error {
	s.t.Helper()
	docs, err := s.agg.Store().RoundDocuments(s.ctx, "job", s.number)
	s.must(err)
	at := slices.IndexFunc(docs, func(e fl.Envelope) bool { return e.Kind == fl.Seal{}.Kind() })
	d := fl.DecryptionShare{Genesis: s.plan.Genesis, Seal: docs[at].Digest(), Job: s.plan.Job, Round: s.plan.Round, Node: n.id}
	remote := s.connection(n)
	for shard := range s.plan.Shards {
		digest, err := remote.Upload(s.ctx, raw())
		s.must(err)
		d.Shares = append(d.Shares, fl.ShareRef{Shard: shard, Digest: digest})
	}
	if change != nil {
		change(&d)
	}
	_, err = remote.Submit(s.ctx, d)
	return err
}

// TestMaliciousMember plays members of the committee that answer wrongly, not
// at all, late or twice: the sum is opened without them.
func TestMaliciousMember(t *testing.T) {
	t.Parallel()
	h := newHostile(t, 2)
	members, others := h.committee()
	liar := members[0]
	h.reachRound(1, round.Decrypting)
	s := &scene{hostile: h, current: h.see(1)}
	random := func() []byte { return h.suite.UniformPoly().Bytes() }
	h.caught(malformed, s.share(liar, func() []byte { return bytes.Repeat([]byte{0xff}, h.suite.PolyBytes()) }, nil))
	h.caught(otherSeal, s.share(liar, random, func(d *fl.DecryptionShare) { d.Seal[0] ^= 1 }))
	h.caught(outsideMember, s.share(others[0], random, nil))
	if err := s.share(liar, random, nil); err != nil {
		t.Errorf("a share that only the others' can refute: %v", err)
	}
	h.caught(otherShare, s.share(liar, random, nil))
	h.reachRound(1, round.Published, liar)
	h.cheap()
	named := func(number uint64) fl.Manifest {
		models, err := h.agg.Store().Models(h.ctx, "job")
		h.must(err)
		doc, err := h.agg.Store().Document(h.ctx, models[number-1].Manifest)
		h.must(err)
		var m fl.Manifest
		h.must(doc.Read(&m))
		return m
	}
	m := named(1)
	if !slices.Equal(m.WrongShare, []fl.NodeID{liar.id}) || slices.Contains(m.KeyHolders, liar.id) {
		t.Errorf("opened by %v, wrong were %v", m.KeyHolders, m.WrongShare)
	} else {
		h.caught(wrongShare, errNamed)
	}

	// Round 2: two members are silent, and one of them comes too late.
	h.reachRound(2, round.Decrypting)
	s.current = h.see(2)
	h.reachRound(2, round.Published, members[1], members[2])
	h.caught(lateShare, s.share(members[1], random, nil))
	if m := named(2); len(m.KeyHolders) != 3 || slices.Contains(m.KeyHolders, members[1].id) {
		t.Errorf("round 2 was opened by %v", m.KeyHolders)
	}
	h.cheap()
	h.thorough()
	h.openedOnce()
}
