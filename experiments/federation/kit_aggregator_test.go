package federation_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"credence/client"
	"credence/client/audit"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/round"
	"credence/fl/translog"
	"credence/he"
	"credence/he/threshold"
	"credence/zk"
)

// errLie stands for every *audit.Lie in the table.
var errLie = errors.New("a lie that an audit named")

// scene is a round in which the aggregator lies: to an honest member, about a
// victim, with the help of a client that does what it wants.
type scene struct {
	*hostile
	*current
	member   *simNode // honest, on the committee
	victim   fl.NodeID
	colluder *simNode
	fakes    uint64 // rounds that do not exist, for plans that nobody has seen
}

// show logs a false seal and asks the honest member for its share.
func (s *scene) show(seal fl.Seal) error {
	s.t.Helper()
	signed := s.sign(seal)
	s.enter(s.number, signed)
	return s.ask(s.member, decryptTask(s.current, signed))
}

// honestly returns every contributor's own ciphertext.
func (s *scene) honestly(node fl.NodeID, shard int) *he.Ciphertext {
	return s.ciphertext(s.headers[node], shard)
}

// collude puts an update of the colluder's into the seal that the aggregator
// never checked.
func (s *scene) collude(m *made) fl.Seal {
	s.t.Helper()
	for _, raw := range append(slices.Clone(m.ciphertexts), m.attestation) {
		s.put(raw)
	}
	header := s.signAs(s.colluder.id, s.colluder.home.Keys.Signing, m.header)
	s.enter(s.number, header)
	seal := s.seal
	seal.Headers = slices.Clone(seal.Headers)
	seal.Headers[slices.Index(seal.Clients, s.colluder.id)] = header.Digest()
	s.sums(&seal, func(node fl.NodeID, shard int) *he.Ciphertext {
		if node == s.colluder.id {
			return s.ciphertext(m.header, shard)
		}
		return s.honestly(node, shard)
	})
	return seal
}

// falsePlan signs and logs a plan for a round that does not exist.
func (s *scene) falsePlan(change func(*fl.Plan)) fl.Envelope {
	s.t.Helper()
	plan := s.plan
	s.fakes++
	plan.Round = 100 + s.fakes
	change(&plan)
	signed := s.sign(plan)
	s.enter(s.number, signed)
	return signed
}

// train asks the member to train for a plan.
func (s *scene) train(plan, key fl.Envelope) error {
	s.t.Helper()
	return s.ask(s.member, trainTask(s.jobDoc(), plan, key))
}

func (s *scene) jobDoc() fl.Envelope {
	s.t.Helper()
	job, err := s.agg.Store().Job(s.ctx, "job")
	s.must(err)
	return job.Spec
}

// epochKey signs and logs another epoch key and a plan under it.
func (s *scene) epochKey(change func(*fl.EpochKey)) error {
	s.t.Helper()
	var key fl.EpochKey
	s.must(s.key.Read(&key))
	key.Reveals = slices.Clone(key.Reveals)
	change(&key)
	signed := s.sign(key)
	s.enter(s.number, signed)
	return s.train(s.falsePlan(func(p *fl.Plan) { p.EpochKey = signed.Digest() }), signed)
}

// sealLies are what a lying aggregator shows an honest member of the committee
// in a sealed round, before the member has answered.
var sealLies = []attack{
	{
		name: "sums minus one: the sum leaves out a client that the seal lists", lines: []string{"cohort minus one"}, by: byMember, want: zk.ErrCommitment,
		tell: func(s *scene) error {
			seal := s.seal
			s.sums(&seal, func(node fl.NodeID, shard int) *he.Ciphertext {
				if node == s.victim {
					return s.zero(s.current)
				}
				return s.honestly(node, shard)
			})
			return s.show(seal)
		},
	},
	{
		name: "one client's ciphertext, presented as the sum", lines: []string{"second decryption of one client"}, by: byMember, want: zk.ErrCommitment,
		tell: func(s *scene) error {
			seal := s.seal
			s.sums(&seal, func(node fl.NodeID, shard int) *he.Ciphertext {
				if node == s.victim {
					return s.honestly(node, shard)
				}
				return s.zero(s.current)
			})
			return s.show(seal)
		},
	},
	{
		name: "one client alone in the seal", lines: []string{"second decryption of one client"}, by: byMember, want: client.ErrSeal,
		tell: func(s *scene) error {
			seal := s.seal
			for _, node := range s.seal.Clients {
				if node != s.victim && len(seal.Clients) > 2 {
					drop(&seal, node)
				}
			}
			return s.show(seal)
		},
	},
	{
		name: "a forged sum: any polynomials in range", lines: []string{"forged sum"}, by: byMember, want: zk.ErrCommitment,
		tell: func(s *scene) error {
			seal := s.seal
			s.sums(&seal, func(fl.NodeID, int) *he.Ciphertext {
				raw := append(s.suite.UniformPoly().Bytes(), s.suite.UniformPoly().Bytes()...)
				c, err := s.suite.ParseCiphertext(raw)
				s.must(err)
				return c
			})
			return s.show(seal)
		},
	},
	{
		name: "a ciphertext swapped after its receipt", lines: []string{"ciphertext differs from commitment"}, by: byMember, want: zk.ErrCommitment,
		tell: func(s *scene) error {
			m := s.update(s.current, s.colluder.id, nil)
			for i := range m.ciphertexts { // another one than the attested
				m.ciphertexts[i] = s.zero(s.current).Bytes()
			}
			assigned, _ := s.plan.Assigned(s.colluder.id)
			m.name(assigned.Shards)
			return s.show(s.collude(m))
		},
	},
	{
		name: "an update whose proof is for another client, let in by the aggregator", lines: []string{"re-attributed update", "proof for another client"}, by: byMember, want: zk.ErrRejected,
		tell: func(s *scene) error {
			return s.show(s.collude(s.update(s.current, s.colluder.id, func(c *zk.Scope) { c.Client = s.victim })))
		},
	},
	{
		name: "an update above the norm, let in by the aggregator", lines: []string{"value or norm out of bounds"}, by: byMember, want: zk.ErrRejected,
		tell: func(s *scene) error {
			return s.show(s.collude(s.update(s.current, s.colluder.id, func(c *zk.Scope) { c.Bound += 1000 })))
		},
	},
	{
		name: "one client's ciphertext a second time under another name", lines: []string{"re-attributed update"}, by: byMember, want: client.ErrSeal,
		tell: func(s *scene) error {
			m := s.update(s.current, s.colluder.id, nil)
			m.ciphertexts[0] = s.ciphertext(s.headers[s.victim], m.header.Ciphertexts[0].Shard).Bytes()
			assigned, _ := s.plan.Assigned(s.colluder.id)
			m.name(assigned.Shards)
			return s.show(s.collude(m))
		},
	},
	{
		name: "a seal that is not in the log", lines: []string{"forked plan or log"}, by: byMember, want: translog.ErrNotInLog,
		tell: func(s *scene) error {
			seal := s.seal
			seal.SealedAt = seal.SealedAt.Add(1e6)
			return s.ask(s.member, decryptTask(s.current, s.sign(seal)))
		},
	},
	{
		name: "a seal without the noise of enough members", lines: []string{"seal that does not follow"}, by: byMember, want: client.ErrSeal,
		tell: func(s *scene) error {
			seal := s.seal
			seal.Dealers, seal.Dealings = seal.Dealers[:2], seal.Dealings[:2]
			return s.show(seal)
		},
	},
	{
		name: "a second plan for the round", lines: []string{"forked plan or log"}, by: byClient, want: client.ErrOtherPlan,
		tell: func(s *scene) error {
			return s.train(s.falsePlan(func(p *fl.Plan) { p.Round, p.BaseModel = s.number, fl.DigestBytes([]byte("another model")) }), s.key)
		},
	},
	{
		name: "a plan that is not in the log", lines: []string{"forked plan or log"}, by: byClient, want: translog.ErrNotInLog,
		tell: func(s *scene) error {
			plan := s.plan
			plan.Round = 8
			return s.train(s.sign(plan), s.key)
		},
	},
	{
		name: "a plan at a lower proof level", lines: []string{"downgraded level"}, by: byClient, want: client.ErrBelowFloor,
		tell: func(s *scene) error {
			return s.train(s.falsePlan(func(p *fl.Plan) { p.ProofLevel, p.ProofKeys = fl.ProofNone, fl.Digest{} }), s.key)
		},
	},
	{
		name: "a job at a lower proof level", lines: []string{"downgraded level"}, by: byClient, want: client.ErrBelowFloor,
		tell: func(s *scene) error {
			var job fl.JobSpec
			s.must(s.jobDoc().Read(&job))
			job.Job, job.ProofLevel = "low", fl.ProofNone
			signed := s.signAs("lab", s.lab.Keys.Signing, job) // its owner is in it
			s.enter(s.number, signed)
			return s.ask(s.member, &flpb.Task{Task: &flpb.Task_Offer{Offer: &flpb.OfferTask{JobSpec: signed.Encode()}}})
		},
	},
	{
		name: "a cohort below the genesis' minimum", lines: []string{"cohort minus one"}, by: byClient, want: fl.ErrMalformed,
		tell: func(s *scene) error {
			return s.train(s.falsePlan(func(p *fl.Plan) { p.MinCohort = 1 }), s.key)
		},
	},
	{
		name: "a collective key of the aggregator's own", lines: []string{"rogue key share"}, by: byClient, want: client.ErrEpochKey,
		tell: func(s *scene) error {
			return s.epochKey(func(k *fl.EpochKey) {
				own := he.NewPublicKey(s.suite.UniformPoly(), [he.SeedBytes]byte{1})
				k.PublicKey = s.put(own.Bytes())
			})
		},
	},
	{
		name: "a collective key with a member's share that is not attested", lines: []string{"rogue key share"}, by: byClient, want: client.ErrEpochKey,
		tell: func(s *scene) error {
			return s.rogueShare(func(r *fl.KeyReveal, _ fl.KeyReveal) { r.Attestation = fl.Digest{} })
		},
	},
	{
		name: "a collective key with another's attestation for a member's share", lines: []string{"rogue key share"}, by: byClient, want: zk.ErrCommitment,
		tell: func(s *scene) error {
			return s.rogueShare(func(r *fl.KeyReveal, other fl.KeyReveal) { r.Attestation = other.Attestation })
		},
	},
	{
		name: "another version of the proof keys, with a trapdoor", lines: []string{"keys tampered with"}, by: byClient, want: client.ErrProofKeys,
		tell: func(s *scene) error {
			var keys fl.ProofKeys
			doc, err := s.agg.Store().Document(s.ctx, s.plan.ProofKeys)
			s.must(err)
			s.must(doc.Read(&keys))
			path := filepath.Join(s.nodeDir(s.member.id), "node.yaml")
			before, err := os.ReadFile(path)
			s.must(err)
			pins := "proof_keys:\n"
			for i := range keys.Circuits {
				pins += "  - sha256:" + keys.Circuits[i].Manifest.String() + "\n"
			}
			s.must(os.WriteFile(path, append(slices.Clone(before), pins...), 0o600))
			s.close(s.member)
			s.open(s.member)
			keys.Circuits = slices.Clone(keys.Circuits)
			keys.Circuits[0].Manifest = fl.DigestBytes([]byte("made alone"))
			signed := s.sign(keys)
			s.enter(s.number, signed)
			return s.train(s.falsePlan(func(p *fl.Plan) { p.ProofKeys = signed.Digest() }), s.key)
		},
	},
}

// rogueShare signs another reveal of a colluding member and an epoch key that
// rests on it.
func (s *scene) rogueShare(change func(r *fl.KeyReveal, other fl.KeyReveal)) error {
	s.t.Helper()
	return s.epochKey(func(k *fl.EpochKey) {
		var reveal, other fl.KeyReveal
		for i, into := range []*fl.KeyReveal{&reveal, &other} {
			doc, err := s.agg.Store().Document(s.ctx, k.Reveals[i])
			s.must(err)
			s.must(doc.Read(into))
		}
		change(&reveal, other)
		signed := s.signAs(reveal.Node, s.node(reveal.Node).home.Keys.Signing, reveal)
		s.enter(s.number, signed)
		k.Reveals[0] = signed.Digest()
	})
}

// TestMaliciousAggregator plays a fully corrupt aggregator against honest nodes
// at proof level bounded. Nothing that it tries opens one client's update or
// publishes a sum that is not the sum, and the rounds are published by the
// honest rest.
func TestMaliciousAggregator(t *testing.T) {
	t.Parallel()
	h := newHostile(t, 3)
	members, others := h.committee()
	h.reachRound(1, round.Decrypting)
	s := &scene{hostile: h, current: h.see(1), member: members[0], victim: others[0].id, colluder: others[1]}
	for _, a := range sealLies {
		h.caught(a, a.tell(s))
	}

	// The member answers for the true sum, and from then on for no other.
	if _, err := s.member.node.Pass(h.ctx); err != nil {
		t.Fatalf("after %d lies the honest member says: %v", len(sealLies), err)
	}
	second := s.seal
	drop(&second, s.victim)
	s.sums(&second, s.honestly)
	h.caught(secondSum, s.show(second))
	h.reachRound(1, round.Published)
	h.cheap()

	// Round 2: two clients get receipts for updates that the aggregator drops.
	h.reachRound(2, round.Open)
	left, member := others[0], members[1]
	for _, n := range []*simNode{left, member} {
		h.keepUpdate(n)
	}
	h.reachRound(2, round.Decrypting)
	left.answer, member.answer = nil, nil
	c := h.see(2)
	if slices.Contains(c.seal.Clients, left.id) || len(c.seal.Clients) < 3 {
		t.Fatalf("sealed were %v", c.seal.Clients)
	}
	_, err := member.node.Pass(h.ctx)
	h.caught(dropped, err)
	replay := &scene{hostile: h, current: c, member: members[2], victim: left.id}
	again := c.seal
	again.Clients, again.Headers, again.Accepted, again.Sums = s.seal.Clients, s.seal.Headers, s.seal.Accepted, s.seal.Sums
	h.caught(replayedSet, replay.show(again))
	h.reachRound(2, round.Published, member)
	h.cheap()

	// The client that is on no committee finds it out by its receipt, and says so.
	_ = h.later(h.ctx, left)
	said := h.status(left)
	if len(said.Wronged) != 1 || !strings.Contains(said.LastError, client.ErrLeftOut.Error()) {
		t.Errorf("the client that was left out says %+v", said)
	} else {
		h.caught(droppedClient, fmt.Errorf("%w", client.ErrLeftOut))
	}
	evidence := filepath.Join(h.nodeDir(left.id), "outbox", "job", "2", "wronged.json")
	if info, err := os.Stat(evidence); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the evidence: %v", err)
	}

	// A fork, and the end of the work with this aggregator for whoever saw it.
	h.reachRound(3, round.Open, members[3])
	h.fork(members[3])
	_, err = members[3].node.Pass(h.ctx)
	h.caught(forked, err)
	members[3].after = nil
	if _, err = members[3].node.Pass(h.ctx); !errors.Is(err, translog.ErrFork) {
		t.Errorf("after a fork the node goes on: %v", err)
	}
	h.reachRound(3, round.Published)
	h.cheap()

	// Everything is in the log, and an auditor reads it there.
	_, err = audit.Audit(h.ctx, audit.Connection(h.owner()), audit.Selection{}, nil)
	var lie *audit.Lie
	if errors.As(err, &lie) {
		err = fmt.Errorf("%w: %w", errLie, err)
	}
	h.caught(audited, err)
}

// The lies that are told outside a sealed round.
var (
	secondSum     = attack{name: "the cohort minus one, after the member has answered for all", lines: []string{"second decryption", "cohort minus one"}, by: byMember, want: threshold.ErrSecondDigest}
	dropped       = attack{name: "a client dropped after its receipt, seen by itself on the committee", lines: []string{"cohort minus one"}, by: byMember, want: client.ErrLeftOut}
	droppedClient = attack{name: "a client dropped after its receipt, seen by itself after publication", lines: []string{"cohort minus one"}, by: byClient, want: client.ErrLeftOut}
	replayedSet   = attack{name: "the sealed set of an earlier round", lines: []string{"replayed sealed set"}, by: byMember, want: client.ErrSeal}
	audited       = attack{name: "any of these, read in the log afterwards", lines: []string{"forked plan or log"}, by: byAuditor, want: errLie}
	forked        = attack{name: "a forked log", lines: []string{"forked plan or log"}, by: byClient, want: translog.ErrFork}
)

// keepUpdate lets the aggregator sign a receipt for a node's update without
// taking it in.
func (h *hostile) keepUpdate(n *simNode) {
	n.answer = func(req, reply any) bool {
		submit, ok := req.(*flpb.SubmitRequest)
		if !ok {
			return false
		}
		doc, err := fl.DecodeEnvelope(submit.GetDocument())
		if err != nil || doc.Kind != (fl.UpdateHeader{}).Kind() {
			return false
		}
		genesis := h.agg.GenesisDigest()
		reply.(*flpb.SubmitResponse).Receipt = h.sign(fl.Receipt{Genesis: genesis, Subject: doc.Digest(), Of: doc.Kind, Node: n.id, AcceptedAt: fl.Instant(h.clock.now())}).Encode()
		return true
	}
}

// fork shows a node a log of as many entries as it holds, with another root,
// under the aggregator's own signature.
func (h *hostile) fork(n *simNode) {
	key := h.aggregator.Signing
	n.after = func(req, reply any) {
		answer, ok := reply.(*flpb.GetCheckpointResponse)
		if !ok {
			return
		}
		origin := translog.Origin(h.agg.GenesisDigest())
		c, err := translog.Open(answer.GetCheckpoint(), origin, h.agg.Genesis().AggregatorKey)
		if err != nil {
			h.t.Errorf("opening the true checkpoint: %v", err)
			return
		}
		c.Root[0] ^= 1
		answer.Checkpoint, err = translog.Sign(c, key)
		if err != nil {
			h.t.Errorf("signing a false checkpoint: %v", err)
		}
	}
}
