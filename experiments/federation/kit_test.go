package federation_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"credence/aggregator/blob/disk"
	"credence/aggregator/store"
	"credence/client"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/fl/round"
	"credence/he"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

// hostile is a live federation at proof level bounded in which a test plays
// the dishonest parties, with their real keys, certificates and folders. The
// honest ones are real nodes, and the aggregator is a real one wherever it is
// not the one that lies.
type hostile struct {
	*simulation
	aggregator *identity.Keys
	suite      *he.Suite
	proofs     *zk.Keys // of updates
}

func newHostile(t *testing.T, rounds int) *hostile {
	s := calmAt(t, fl.ProofBounded, rounds)
	h := &hostile{simulation: s}
	var err error
	h.aggregator, err = identity.Load(filepath.Join(s.dir, "aggregator"))
	s.must(err)
	h.suite, err = he.LookupSuite(simSuite)
	s.must(err)
	h.proofs = h.keysOf(rlwe.UpdateShape)
	return h
}

func (h *hostile) keysOf(shapeOf func(*he.Suite) (*rlwe.Shape, error)) *zk.Keys {
	h.t.Helper()
	shape, err := shapeOf(h.suite)
	h.must(err)
	folder, err := zk.OpenStore(proofCache())
	h.must(err)
	keys, err := folder.Load(shape, fl.Digest{}, nil)
	h.must(err)
	return keys
}

// current is what everybody may know of a round, decoded.
type current struct {
	number  uint64
	round   store.Round
	plan    fl.Plan
	planID  fl.Digest
	key     fl.Envelope // epoch-key/v1
	public  *he.PublicKey
	proof   *zk.EpochKey
	seal    fl.Seal
	headers map[fl.NodeID]fl.UpdateHeader
}

// see reads a round of the job.
func (h *hostile) see(number uint64) *current {
	h.t.Helper()
	c := &current{number: number, headers: map[fl.NodeID]fl.UpdateHeader{}}
	var err error
	c.round, err = h.agg.Store().Round(h.ctx, "job", number)
	h.must(err)
	h.must(c.round.Plan.Read(&c.plan))
	c.planID = c.round.Plan.Digest()
	c.key, err = h.agg.Store().Document(h.ctx, c.plan.EpochKey)
	h.must(err)
	var key fl.EpochKey
	h.must(c.key.Read(&key))
	c.public, err = h.suite.ParsePublicKey(h.blob(key.PublicKey))
	h.must(err)
	c.proof, err = h.proofs.NewEpochKey(c.public)
	h.must(err)
	docs, err := h.agg.Store().RoundDocuments(h.ctx, "job", number)
	h.must(err)
	for _, d := range docs {
		switch d.Kind {
		case fl.Seal{}.Kind():
			if c.seal.Plan.IsZero() { // the first one is the aggregator's own
				h.must(d.Read(&c.seal))
			}
		case fl.UpdateHeader{}.Kind():
			var u fl.UpdateHeader
			h.must(d.Read(&u))
			if _, known := c.headers[u.Node]; !known {
				c.headers[u.Node] = u
			}
		}
	}
	return c
}

// withBlobs uses the aggregator's blobs as whoever runs it can.
func (h *hostile) withBlobs(use func(*disk.Store)) {
	h.t.Helper()
	blobs, err := disk.Open(filepath.Join(h.dir, "aggregator", "blobs"), disk.Options{})
	h.must(err)
	use(blobs)
	h.must(blobs.Close())
}

func (h *hostile) blob(digest fl.Digest) (raw []byte) {
	h.t.Helper()
	h.withBlobs(func(b *disk.Store) {
		var err error
		raw, err = b.Get(h.ctx, digest)
		h.must(err)
	})
	return raw
}

func (h *hostile) put(raw []byte) (digest fl.Digest) {
	h.t.Helper()
	h.withBlobs(func(b *disk.Store) {
		var err error
		digest, err = b.Put(h.ctx, raw)
		h.must(err)
	})
	return digest
}

// sign signs as the aggregator, valid or not.
func (h *hostile) sign(doc fl.Document) fl.Envelope {
	return h.signAs(fl.AggregatorID, h.aggregator.Signing, doc)
}

func (h *hostile) signAs(signer fl.NodeID, key ed25519.PrivateKey, doc fl.Document) fl.Envelope {
	h.t.Helper()
	payload, err := json.Marshal(doc)
	h.must(err)
	kind := "credence/" + string(doc.Kind())
	pre := fmt.Appendf(nil, "DSSEv1 %d %s %d %s %d %s", len(kind), kind, len(signer), signer, len(payload), payload)
	return fl.Envelope{Kind: doc.Kind(), Signer: signer, Payload: payload, Signature: ed25519.Sign(key, pre)}
}

// enter puts documents into the log, as an aggregator can that checks nothing.
func (h *hostile) enter(number uint64, docs ...fl.Envelope) {
	h.t.Helper()
	r, err := h.agg.Store().Round(h.ctx, "job", number)
	h.must(err)
	h.must(h.agg.Store().StepRound(h.ctx, store.RoundStep{Job: "job", Round: number, From: r.Version, Phase: r.Phase, State: r.State, Documents: docs}))
}

// errSent says that a node let something leave that it should have kept.
var errSent = errors.New("the node sent something")

// ask gives a node tasks of the test's making instead of the aggregator's, lets
// it act once, and returns what it says. It is errSent when a document or a blob
// left it.
func (h *hostile) ask(n *simNode, tasks ...*flpb.Task) error {
	h.t.Helper()
	sent := false
	n.tasks = func(w *flpb.WorkResponse) { w.Tasks = tasks }
	n.before = func(req any) error {
		switch req.(type) {
		case *flpb.UploadRequest, *flpb.SubmitRequest:
			sent = true
		}
		return nil
	}
	_, err := n.node.Pass(h.ctx)
	n.tasks, n.before = nil, nil
	if sent {
		return errors.Join(errSent, err)
	}
	return err
}

func decryptTask(c *current, seal fl.Envelope) *flpb.Task {
	return &flpb.Task{Task: &flpb.Task_Decrypt{Decrypt: &flpb.DecryptTask{Plan: c.round.Plan.Encode(), Seal: seal.Encode(), EpochKey: c.key.Encode()}}}
}

func trainTask(spec, plan, key fl.Envelope) *flpb.Task {
	return &flpb.Task{Task: &flpb.Task_Train{Train: &flpb.TrainTask{JobSpec: spec.Encode(), Plan: plan.Encode(), EpochKey: key.Encode()}}}
}

// ciphertext reads a client's ciphertext of one shard.
func (h *hostile) ciphertext(u fl.UpdateHeader, shard int) *he.Ciphertext {
	h.t.Helper()
	at := slices.IndexFunc(u.Ciphertexts, func(c fl.ShardCiphertext) bool { return c.Shard == shard })
	if at < 0 {
		return nil
	}
	c, err := h.suite.ParseCiphertext(h.blob(u.Ciphertexts[at].Digest))
	h.must(err)
	return c
}

// zero encrypts nothing, to make up the number of contributions.
func (h *hostile) zero(c *current) *he.Ciphertext {
	h.t.Helper()
	ct, err := c.public.Encrypt(make([]int32, h.suite.Values()))
	h.must(err)
	return ct
}

// sums enters the sums of a seal: for every shard those of its contributors'
// ciphertexts, as choose returns them.
func (h *hostile) sums(seal *fl.Seal, choose func(node fl.NodeID, shard int) *he.Ciphertext) {
	h.t.Helper()
	seal.Sums = slices.Clone(seal.Sums)
	for i := range seal.Sums {
		total := h.suite.NewSum()
		for _, node := range seal.Sums[i].Contributors {
			h.must(total.Add(choose(node, i)))
		}
		seal.Sums[i].C0, seal.Sums[i].C1 = h.put(total.PartBytes(he.C0)), h.put(total.PartBytes(he.C1))
	}
}

// drop removes a client from a seal's lists.
func drop(seal *fl.Seal, victim fl.NodeID) {
	i := slices.Index(seal.Clients, victim)
	seal.Clients = slices.Delete(slices.Clone(seal.Clients), i, i+1)
	seal.Headers = slices.Delete(slices.Clone(seal.Headers), i, i+1)
	seal.Accepted = slices.Delete(slices.Clone(seal.Accepted), i, i+1)
	seal.Sums = slices.Clone(seal.Sums)
	for s := range seal.Sums {
		seal.Sums[s].Contributors = slices.DeleteFunc(slices.Clone(seal.Sums[s].Contributors), func(n fl.NodeID) bool { return n == victim })
	}
}

// made is an update as a cheating client makes it.
type made struct {
	shards      []zk.ShardInput
	ciphertexts [][]byte
	attestation []byte
	header      fl.UpdateHeader
}

// update makes a client's update of small values, attested for a scope that the
// test may bend, and not yet uploaded.
func (h *hostile) update(c *current, node fl.NodeID, bend func(*zk.Scope)) *made {
	h.t.Helper()
	return h.updateOf(c, node, func(i int) int32 { return int32(i % 3) }, bend)
}

func (h *hostile) updateOf(c *current, node fl.NodeID, value func(i int) int32, bend func(*zk.Scope)) *made {
	h.t.Helper()
	assigned, in := c.plan.Assigned(node)
	if !in {
		h.t.Fatalf("%s is not in the cohort", node)
	}
	scope, err := zk.ScopeOf(c.plan, c.planID, c.proof.Digest(), node)
	h.must(err)
	if bend != nil {
		bend(scope)
	}
	m := &made{header: fl.UpdateHeader{
		Genesis: c.plan.Genesis, Plan: c.planID, EpochKey: c.plan.EpochKey, Job: c.plan.Job, Round: c.plan.Round, Node: node, Steps: 1, ProofLevel: c.plan.ProofLevel,
	}}
	for range assigned.Shards {
		values := make([]int32, h.suite.Values())
		for i := range values {
			values[i] = value(i)
		}
		ct, random, err := c.public.EncryptForProof(values)
		h.must(err)
		m.shards = append(m.shards, zk.ShardInput{Values: values, Ciphertext: ct, Randomness: random})
		m.ciphertexts = append(m.ciphertexts, ct.Bytes())
	}
	att, err := h.proofs.ProveUpdate(h.ctx, scope, c.proof, m.shards, zk.ProveOptions{})
	h.must(err)
	m.attestation = att.Bytes()
	m.name(assigned.Shards)
	return m
}

// name enters the blobs into the header.
func (m *made) name(shards []int) {
	m.header.Ciphertexts = nil
	for i, raw := range m.ciphertexts {
		m.header.Ciphertexts = append(m.header.Ciphertexts, fl.ShardCiphertext{Shard: shards[i], Digest: fl.DigestBytes(raw)})
	}
	m.header.Attestation = fl.DigestBytes(m.attestation)
}

// hand uploads an update and submits it over a party's own connection.
func (h *hostile) hand(n *simNode, m *made) error {
	h.t.Helper()
	remote := h.connection(n)
	for _, raw := range append(slices.Clone(m.ciphertexts), m.attestation) {
		if _, err := remote.Upload(h.ctx, raw); err != nil {
			return err
		}
	}
	_, err := remote.Submit(h.ctx, m.header)
	return err
}

// reachRound lets everybody but some act until a round is in a phase.
func (h *hostile) reachRound(number uint64, phase round.Phase, but ...*simNode) {
	h.t.Helper()
	h.until(fmt.Sprintf("round %d is %s", number, phase), but, func() bool {
		r, err := h.agg.Store().Round(h.ctx, "job", number)
		if errors.Is(err, store.ErrNotFound) {
			return false
		}
		h.must(err)
		if r.Phase == string(round.Aborted) {
			h.t.Fatalf("round %d was aborted: %s", number, r.State)
		}
		return r.Phase == string(phase)
	})
}

// node finds a party.
func (h *hostile) node(id fl.NodeID) *simNode {
	i := slices.IndexFunc(h.nodes, func(n *simNode) bool { return n.id == id })
	return h.nodes[i]
}

// caught expects the error by which an attack is found out.
func (h *hostile) caught(a attack, err error) {
	h.t.Helper()
	caught(h.t, a, err)
}

func caught(t *testing.T, a attack, err error) {
	t.Helper()
	if err == nil || errors.Is(err, errSent) || !errors.Is(err, a.want) {
		t.Errorf("%s: got %v, want %v", a.name, err, a.want)
	}
}

// status reads what a node tells the people who run it.
func (h *hostile) status(n *simNode) client.Status {
	h.t.Helper()
	s, err := client.ReadStatus(h.nodeDir(n.id))
	h.must(err)
	return s
}

// later moves the clock past what a node waits between two looks.
func (h *hostile) later(ctx context.Context, n *simNode) error {
	h.clock.add(10 * time.Second)
	_, err := n.node.Pass(ctx)
	return err
}
