package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
)

// sealed is a round as a lying aggregator shows it to alpha: it signs and logs
// whatever it likes, so that nothing but the node's own checks stands between
// the lie and a decryption share.
type sealed struct {
	*stage
	node    *Node
	double  *double
	homes   map[fl.NodeID]*Home
	plan    fl.Plan
	planDoc fl.Envelope
	epoch   fl.EpochPlan
	headers map[fl.NodeID]fl.UpdateHeader
	seal    fl.Seal
}

func newSealed(t *testing.T) *sealed {
	s := &sealed{stage: newStage(t), homes: map[fl.NodeID]*Home{}, headers: map[fl.NodeID]fl.UpdateHeader{}}
	s.node, s.double = s.member("alpha", newHistory())
	s.homes["alpha"] = s.node.home
	for _, name := range []fl.NodeID{"beta", "gamma", "delta"} {
		r, _ := s.party(name, nil)
		s.homes[name] = r.home
	}
	members := []fl.NodeID{"alpha", "beta", "delta", "gamma"}
	s.epoch = fl.EpochPlan{Members: members, Threshold: 2}
	s.plan = fl.Plan{
		Genesis: s.id, JobSpec: fl.DigestBytes([]byte("job")), Job: "j", Round: 1, EpochKey: fl.Digest{1}, Epoch: 1, BaseModel: fl.DigestBytes([]byte("base")),
		Slots: s.node.suite.Values(), Shards: 2, WeightUnit: 1, MinCohort: 3, Clip: fl.Clip{Value: 1}, ValueBits: s.node.suite.ValueBits(), ProofLevel: fl.ProofNone,
		OpenedAt: stageStart, Deadline: stageStart.Add(time.Minute),
	}
	for _, m := range members {
		s.plan.Cohort = append(s.plan.Cohort, fl.Assignment{Node: m, Shards: []int{0, 1}, Weight: 1})
	}
	s.planDoc = s.sign(s.plan)
	s.seal = fl.Seal{
		Genesis: s.id, Plan: s.planDoc.Digest(), Job: "j", Round: 1, Clients: slices.Clone(members),
		Dealers: members[:2], Dealings: []fl.Digest{{1}, {2}}, SealedAt: stageStart,
		Sums: []fl.SealedSum{
			{Shard: 0, Contributors: slices.Clone(members), C0: fl.Digest{3}, C1: fl.Digest{4}}, {Shard: 1, Contributors: slices.Clone(members), C0: fl.Digest{5}, C1: fl.Digest{6}},
		},
	}
	for i, m := range members {
		s.headers[m] = fl.UpdateHeader{
			Genesis: s.id, Plan: s.planDoc.Digest(), EpochKey: s.plan.EpochKey, Job: "j", Round: 1, Node: m, ProofLevel: fl.ProofNone,
			Ciphertexts: []fl.ShardCiphertext{{Shard: 0, Digest: fl.Digest{10, byte(i)}}, {Shard: 1, Digest: fl.Digest{11, byte(i)}}},
		}
	}
	return s
}

// force signs a document without asking whether it is valid.
func (s *sealed) force(doc fl.Document, signer fl.NodeID, key ed25519.PrivateKey) fl.Envelope {
	s.Helper()
	payload, err := json.Marshal(doc)
	s.must(err)
	kind := "credence/" + string(doc.Kind())
	pre := fmt.Appendf(nil, "DSSEv1 %d %s %d %s %d %s", len(kind), kind, len(signer), signer, len(payload), payload)
	return fl.Envelope{Kind: doc.Kind(), Signer: signer, Payload: payload, Signature: ed25519.Sign(key, pre)}
}

// show logs the round and has the node verify it.
func (s *sealed) show(sealDoc fl.Envelope, headers ...fl.Envelope) error {
	s.double.add(headers...)
	s.double.add(s.planDoc, sealDoc)
	_, err := s.node.verifySeal(s.Context(), sealDoc, s.planDoc.Digest(), s.plan, s.epoch)
	return err
}

// honest signs the headers of the seal's clients and enters them.
func (s *sealed) honest() (out []fl.Envelope) {
	s.Helper()
	s.seal.Headers, s.seal.Accepted = nil, nil
	for _, m := range s.seal.Clients {
		e := s.force(s.headers[m], m, s.homes[m].Keys.Signing)
		out = append(out, e)
		s.seal.Headers = append(s.seal.Headers, e.Digest())
		s.seal.Accepted = append(s.seal.Accepted, stageStart)
	}
	return out
}

// accepted is the aggregator's receipt for alpha's header.
func (s *sealed) accepted(header fl.Digest, at time.Time) fl.Envelope {
	return s.sign(fl.Receipt{Genesis: s.id, Subject: header, Of: fl.UpdateHeader{}.Kind(), Node: "alpha", AcceptedAt: at})
}

// revoke shows a party as revoked from now on.
func (s *sealed) revoke(node fl.NodeID, at time.Time) {
	s.Helper()
	for _, p := range s.parties {
		e, err := fl.DecodeEnvelope(p.GetEnrolment())
		s.must(err)
		var d fl.Enrolment
		s.must(e.Read(&d))
		if d.Node == node {
			p.Revocation = s.sign(fl.Revocation{Genesis: s.id, Node: node, RevokedAt: at}).Encode()
		}
	}
}

func without(nodes []fl.NodeID, drop ...fl.NodeID) []fl.NodeID {
	return slices.DeleteFunc(slices.Clone(nodes), func(n fl.NodeID) bool { return slices.Contains(drop, n) })
}

// TestLyingSeals shows a committee member every kind of false seal: it says
// what is wrong and releases nothing.
func TestLyingSeals(t *testing.T) {
	leaveOut := func(s *sealed, nodes ...fl.NodeID) {
		s.seal.Clients = without(s.seal.Clients, nodes...)
		for i := range s.seal.Sums {
			s.seal.Sums[i].Contributors = without(s.seal.Sums[i].Contributors, nodes...)
		}
	}
	header := func(node fl.NodeID, change func(*fl.UpdateHeader)) func(*sealed) error {
		return func(s *sealed) error {
			h := s.headers[node]
			h.Ciphertexts = slices.Clone(h.Ciphertexts)
			change(&h)
			s.headers[node] = h
			headers := s.honest()
			return s.show(s.force(s.seal, fl.AggregatorID, s.signing), headers...)
		}
	}
	seal := func(change func(*sealed)) func(*sealed) error {
		return func(s *sealed) error {
			change(s)
			headers := s.honest()
			return s.show(s.force(s.seal, fl.AggregatorID, s.signing), headers...)
		}
	}
	for _, test := range []struct {
		name string
		want string // "" for the honest one
		show func(*sealed) error
	}{
		{"the honest seal", "", seal(func(*sealed) {})},
		{"the cohort minus one, this node not among them", "", seal(func(s *sealed) { leaveOut(s, "beta") })},
		{"without this node's accepted update", "left it out of the seal", seal(func(s *sealed) {
			own := s.force(s.headers["alpha"], "alpha", s.homes["alpha"].Keys.Signing)
			s.must(s.node.outbox.receive("j", 1, own.Digest(), s.accepted(own.Digest(), stageStart)))
			leaveOut(s, "alpha")
		})},
		{"with another update of this node than the accepted one", "left it out of the seal", seal(func(s *sealed) {
			s.must(s.node.outbox.receive("j", 1, fl.Digest{99}, s.accepted(fl.Digest{99}, stageStart)))
		})},
		{"with this node's update at a later time than its receipt says", "came later than its receipt", seal(func(s *sealed) {
			own := s.force(s.headers["alpha"], "alpha", s.homes["alpha"].Keys.Signing)
			s.must(s.node.outbox.receive("j", 1, own.Digest(), s.accepted(own.Digest(), stageStart.Add(-time.Millisecond))))
		})},
		{"with this node's update at an earlier time than its receipt for the second copy says", "", seal(func(s *sealed) {
			own := s.force(s.headers["alpha"], "alpha", s.homes["alpha"].Keys.Signing)
			s.must(s.node.outbox.receive("j", 1, own.Digest(), s.accepted(own.Digest(), stageStart.Add(time.Second))))
		})},
		{"below the minimum cohort", "the minimum cohort is 3", seal(func(s *sealed) { leaveOut(s, "beta", "gamma") })},
		{"one client alone", "want the same number, at least 2", seal(func(s *sealed) { leaveOut(s, "beta", "gamma", "delta") })},
		{"one shard below the minimum cohort", "are not those of the updates", seal(func(s *sealed) {
			s.seal.Sums[1].Contributors = without(s.seal.Sums[1].Contributors, "gamma", "delta")
		})},
		{"a client twice", "twice", seal(func(s *sealed) {
			s.seal.Clients = []fl.NodeID{"alpha", "beta", "beta", "gamma"}
			for i := range s.seal.Sums {
				s.seal.Sums[i].Contributors = s.seal.Clients
			}
		})},
		{"one ciphertext under two names", "is in the seal twice", header("beta", func(h *fl.UpdateHeader) { h.Ciphertexts[0].Digest = fl.Digest{10, 0} })},
		{"an update for another round", "for another plan, round or epoch", header("beta", func(h *fl.UpdateHeader) { h.Round = 2 })},
		{"an update for another plan", "for another plan, round or epoch", header("beta", func(h *fl.UpdateHeader) { h.Plan = fl.Digest{7} })},
		{"an update for another job", "for another plan, round or epoch", header("beta", func(h *fl.UpdateHeader) { h.Job = "k" })},
		{"an update under another key", "for another plan, round or epoch", header("beta", func(h *fl.UpdateHeader) { h.EpochKey = fl.Digest{7} })},
		{"an update of another federation", "for another plan, round or epoch", header("beta", func(h *fl.UpdateHeader) { h.Genesis = fl.Digest{7} })},
		{"an update that speaks for another", "for another plan, round or epoch", header("beta", func(h *fl.UpdateHeader) { h.Node = "gamma" })},
		{"an update without one of its shards", "exactly the assigned shards", header("beta", func(h *fl.UpdateHeader) { h.Ciphertexts = h.Ciphertexts[:1] })},
		{"an update with a shard too many", "exactly the assigned shards", header("beta", func(h *fl.UpdateHeader) {
			h.Ciphertexts = append(h.Ciphertexts, fl.ShardCiphertext{Shard: 2, Digest: fl.Digest{9}})
		})},
		{"an update with shards in disorder", "not ascending", header("beta", func(h *fl.UpdateHeader) { slices.Reverse(h.Ciphertexts) })},
		{"an update at another proof level", "proof level", header("beta", func(h *fl.UpdateHeader) { h.ProofLevel = "believed" })},
		{"an update that the aggregator signed itself", "bad signature", func(s *sealed) error {
			s.homes["beta"] = &Home{Keys: &identity.Keys{Signing: s.signing}}
			headers := s.honest()
			return s.show(s.sign(s.seal), headers...)
		}},
		{"an update under another's name", "signed by gamma", func(s *sealed) error {
			headers := s.honest()
			i := slices.Index(s.seal.Clients, "beta")
			headers[i] = s.force(s.headers["beta"], "gamma", s.homes["gamma"].Keys.Signing)
			s.seal.Headers[i] = headers[i].Digest()
			return s.show(s.sign(s.seal), headers...)
		}},
		{"an update of nobody", "not enrolled", seal(func(s *sealed) {
			keys, err := identity.Generate()
			s.must(err)
			s.homes["ghost"] = &Home{Keys: keys}
			h := s.headers["beta"]
			h.Node = "ghost"
			s.headers["ghost"] = h
			replace := func(nodes []fl.NodeID) []fl.NodeID {
				out := append(without(nodes, "beta"), "ghost")
				slices.Sort(out)
				return out
			}
			s.seal.Clients = replace(s.seal.Clients)
			for i := range s.seal.Sums {
				s.seal.Sums[i].Contributors = replace(s.seal.Sums[i].Contributors)
			}
		})},
		{"an update of a party outside the plan", "the plan does not name it", seal(func(s *sealed) {
			s.plan.Cohort = s.plan.Cohort[:3] // it was shown a smaller one
		})},
		{"an update of a party enrolled after the plan", "enrolled after the plan", seal(func(s *sealed) {
			s.plan.OpenedAt = stageStart.Add(-time.Second)
		})},
		{"an update of a revoked party", "revoked", seal(func(s *sealed) { s.revoke("beta", stageStart) })},
		{"an update of a party that was revoked since this node looked it up", "revoked", seal(func(s *sealed) {
			_, revoked, err := s.node.remote.Member(s.Context(), "beta")
			s.must(err)
			if revoked {
				s.Error("revoked already")
			}
			s.revoke("beta", stageStart)
		})},
		{"an update that crossed with its client's revocation", "", seal(func(s *sealed) { s.revoke("beta", stageStart.Add(time.Millisecond)) })},
		{"a contributor left out of a sum", "are not those of the updates", seal(func(s *sealed) {
			s.seal.Sums[0].Contributors = without(s.seal.Sums[0].Contributors, "gamma")
		})},
		{"a sum too few", "the plan has 2 shards", seal(func(s *sealed) { s.seal.Sums = s.seal.Sums[:1] })},
		{"too few noise dealers", "dealers", seal(func(s *sealed) { s.seal.Dealers, s.seal.Dealings = s.seal.Dealers[:1], s.seal.Dealings[:1] })},
		{"a noise dealer outside the committee", "not in the committee", seal(func(s *sealed) { s.epoch.Members = []fl.NodeID{"alpha", "gamma", "delta"} })},
		{"for another plan", "for another plan", seal(func(s *sealed) { s.seal.Plan = fl.Digest{8} })},
		{"for another round", "for another plan", seal(func(s *sealed) { s.seal.Round = 2 })},
		{"for another job", "for another plan", seal(func(s *sealed) { s.seal.Job = "k" })},
		{"for another federation", "for another plan", seal(func(s *sealed) { s.seal.Genesis = fl.Digest{8} })},
		{"signed by a node", "not by the aggregator", func(s *sealed) error {
			headers := s.honest()
			return s.show(s.force(s.seal, "beta", s.homes["beta"].Keys.Signing), headers...)
		}},
		{"signed with another key", "bad signature", func(s *sealed) error {
			headers := s.honest()
			return s.show(s.force(s.seal, fl.AggregatorID, s.homes["beta"].Keys.Signing), headers...)
		}},
		{"with headers that do not exist", "not", func(s *sealed) error {
			s.honest()
			return s.show(s.sign(s.seal))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSealed(t)
			err := test.show(s)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want a sentence with %q", err, test.want)
			}
		})
	}
}

// TestLyingPlans shows a node plans that it must not follow.
func TestLyingPlans(t *testing.T) {
	for _, test := range []struct {
		name, want string
		change     func(*sealed, *fl.Plan)
	}{
		{"for another federation", "another federation", func(_ *sealed, p *fl.Plan) { p.Genesis = fl.Digest{8} }},
		{"below the genesis' proof floor", "proof level none", func(s *sealed, _ *fl.Plan) { s.node.home.Genesis.ProofFloor = fl.ProofBounded }},
		{"below the genesis' minimum cohort", "minimum cohort", func(s *sealed, _ *fl.Plan) { s.node.home.Genesis.MinCohort = 4 }},
		{"for another suite", "suite", func(_ *sealed, p *fl.Plan) { p.Slots++ }},
		{"for values of other bits", "suite", func(_ *sealed, p *fl.Plan) { p.ValueBits++ }},
	} {
		s := newSealed(t)
		plan := s.plan
		test.change(s, &plan)
		if err := s.node.verifyPlan(s.sign(plan), new(fl.Plan)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("a plan %s: got %v, want a sentence with %q", test.name, err, test.want)
		}
	}
	s := newSealed(t)
	s.must(s.node.verifyPlan(s.planDoc, new(fl.Plan)))
	s.must(s.node.verifyPlan(s.planDoc, new(fl.Plan)))
	other := s.plan
	other.BaseModel = fl.DigestBytes([]byte("another model"))
	if err := s.node.verifyPlan(s.sign(other), new(fl.Plan)); !errors.Is(err, ErrOtherPlan) {
		t.Errorf("a second plan for a round: %v", err)
	}
	if err := s.node.verifyPlan(s.force(s.plan, "beta", s.homes["beta"].Keys.Signing), new(fl.Plan)); !errors.Is(err, fl.ErrBadSignature) {
		t.Errorf("a plan by a node: %v", err)
	}
}

// liar answers the calls of a Remote with what a test wants.
type liar struct {
	flpb.FederationClient
	receipt  func(fl.Envelope) []byte
	download func(*flpb.DownloadRequest) *flpb.DownloadResponse
	status   *flpb.UploadStatusResponse
	upload   func(*flpb.UploadRequest) *flpb.UploadResponse
	sent     int
	document []byte
}

func (l *liar) Submit(_ context.Context, r *flpb.SubmitRequest, _ ...grpc.CallOption) (*flpb.SubmitResponse, error) {
	e, err := fl.DecodeEnvelope(r.GetDocument())
	return &flpb.SubmitResponse{Receipt: l.receipt(e)}, err
}

func (l *liar) Download(_ context.Context, r *flpb.DownloadRequest, _ ...grpc.CallOption) (*flpb.DownloadResponse, error) {
	return l.download(r), nil
}

func (l *liar) UploadStatus(context.Context, *flpb.UploadStatusRequest, ...grpc.CallOption) (*flpb.UploadStatusResponse, error) {
	return l.status, nil
}

func (l *liar) Upload(_ context.Context, r *flpb.UploadRequest, _ ...grpc.CallOption) (*flpb.UploadResponse, error) {
	l.sent += len(r.GetData())
	return l.upload(r), nil
}

func (l *liar) GetDocument(context.Context, *flpb.GetDocumentRequest, ...grpc.CallOption) (*flpb.GetDocumentResponse, error) {
	return &flpb.GetDocumentResponse{Document: l.document}, nil
}

// TestLyingAnswers gives a party false receipts, blobs and documents.
func TestLyingAnswers(t *testing.T) {
	s := newSealed(t)
	l := &liar{}
	r := s.node.remote
	r.api, r.blobs, r.chunk, r.log = l, l, 100, slog.New(slog.DiscardHandler)
	ctx := t.Context()
	doc := fl.Decline{Genesis: s.id, Plan: s.planDoc.Digest(), Job: "j", Round: 1, Node: "alpha"}
	receipt := func(e fl.Envelope, change func(*fl.Receipt)) fl.Receipt {
		out := fl.Receipt{Genesis: s.id, Subject: e.Digest(), Of: e.Kind, Node: "alpha", AcceptedAt: stageStart}
		change(&out)
		return out
	}
	for name, make := range map[string]func(fl.Envelope) []byte{
		"for another document": func(e fl.Envelope) []byte {
			return s.sign(receipt(e, func(r *fl.Receipt) { r.Subject = fl.Digest{9} })).Encode()
		},
		"for another node": func(e fl.Envelope) []byte {
			return s.sign(receipt(e, func(r *fl.Receipt) { r.Node = "beta" })).Encode()
		},
		"by another": func(e fl.Envelope) []byte {
			return s.force(receipt(e, func(*fl.Receipt) {}), fl.AggregatorID, s.homes["beta"].Keys.Signing).Encode()
		},
		"of another kind": func(e fl.Envelope) []byte { return s.planDoc.Encode() },
		"cut short":       func(e fl.Envelope) []byte { return s.sign(receipt(e, func(*fl.Receipt) {})).Encode()[:40] },
		"that is none":    func(fl.Envelope) []byte { return nil },
	} {
		l.receipt = make
		if _, err := r.Submit(ctx, doc); err == nil || !strings.Contains(err.Error(), "receipt") {
			t.Errorf("a receipt %s: %v", name, err)
		}
	}
	blob := bytes.Repeat([]byte("model"), 100)
	digest := fl.DigestBytes(blob)
	for name, answer := range map[string]*flpb.DownloadResponse{
		"other bytes":             {Data: bytes.Repeat([]byte("wrong"), 100), Size: 500},
		"a negative size":         {Data: blob, Size: -1},
		"an impossible size":      {Data: blob[:100], Size: 1 << 62},
		"more than its size":      {Data: blob, Size: 100},
		"nothing of a great deal": {Size: 1 << 30},
		"nothing at all":          {},
	} {
		l.download = func(*flpb.DownloadRequest) *flpb.DownloadResponse { return answer }
		if _, err := r.Fetch(ctx, digest, s.id); err == nil || !strings.Contains(err.Error(), "downloading blob") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, raw := range map[string][]byte{"another document": s.sign(s.plan).Encode(), "no document": []byte("{}")} {
		l.document = raw
		if _, err := r.Document(ctx, fl.Digest{5}); err == nil || !strings.Contains(err.Error(), "fetching document") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, status := range map[string]*flpb.UploadStatusResponse{"more than there is": {Offset: 501}, "less than nothing": {Offset: -1}} {
		l.status, l.sent = status, 0
		if _, err := r.Upload(ctx, blob); err == nil || l.sent != 0 {
			t.Errorf("an upload of which the aggregator has %s: %v, sent %d bytes", name, err, l.sent)
		}
	}
	l.status = &flpb.UploadStatusResponse{}
	l.upload = func(r *flpb.UploadRequest) *flpb.UploadResponse { return &flpb.UploadResponse{Offset: r.GetOffset()} }
	if _, err := r.Upload(ctx, blob); err == nil || !strings.Contains(err.Error(), "continues at byte") {
		t.Errorf("an upload that never moves: %v", err)
	}
	l.upload = func(*flpb.UploadRequest) *flpb.UploadResponse { return &flpb.UploadResponse{Offset: int64(len(blob))} }
	l.status = &flpb.UploadStatusResponse{Offset: 450}
	if _, err := r.Upload(ctx, blob); !errors.Is(err, errNonsense) {
		t.Errorf("an upload that is never complete: %v", err)
	}
	// It resumes where the aggregator is, and sends nothing twice.
	l.status, l.sent = &flpb.UploadStatusResponse{Offset: 300}, 0
	l.upload = func(r *flpb.UploadRequest) *flpb.UploadResponse {
		return &flpb.UploadResponse{Offset: r.GetOffset() + int64(len(r.GetData())), Complete: r.GetLast()}
	}
	if _, err := r.Upload(ctx, blob); err != nil || l.sent != 200 {
		t.Errorf("resuming at byte 300 of 500: %v, sent %d bytes", err, l.sent)
	}
}

// TestSwappedKeys: an aggregator that shows other keys for a party than
// before, or drops it, is found out.
func TestSwappedKeys(t *testing.T) {
	s := newSealed(t)
	r := s.node.remote
	if _, _, err := r.Member(t.Context(), "beta"); err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(s.parties)
	keys, err := identity.Generate()
	s.must(err)
	for i, p := range before {
		e, err := fl.DecodeEnvelope(p.GetEnrolment())
		s.must(err)
		var d fl.Enrolment
		s.must(e.Read(&d))
		if d.Node == "beta" {
			d.SigningKey = keys.SigningPublic()
			s.parties[i] = &flpb.Party{Enrolment: s.sign(d).Encode()}
		}
	}
	if _, _, err := r.Member(t.Context(), "stranger"); err == nil || !strings.Contains(err.Error(), "changed or dropped the enrolment of beta") {
		t.Errorf("after swapped keys: %v", err)
	}
	s.parties = before[:1]
	if _, _, err := r.Member(t.Context(), "stranger"); err == nil || !strings.Contains(err.Error(), "changed or dropped the enrolment of") {
		t.Errorf("after a dropped party: %v", err)
	}
}

// TestOneBadProofIsNoFork: what a damaged answer costs is one more question.
func TestOneBadProofIsNoFork(t *testing.T) {
	s := newStage(t)
	r, d := s.party("alpha", newHistory(s.filler("a", 7)...))
	_, err := r.Checkpoint(t.Context())
	s.must(err)
	d.add(s.filler("b", 6)...)
	answers := 0
	d.checkpoint = func(a *flpb.GetCheckpointResponse) {
		if answers++; answers == 1 {
			a.Proof[0][3] ^= 16
		}
	}
	if _, err := r.Checkpoint(t.Context()); err != nil || r.Forked() != nil || answers != 2 {
		t.Errorf("one damaged proof: %v after %d answers, forked: %v", err, answers, r.Forked())
	}
}

// TestFullDiskSentence: the node says what a full disk is.
func TestFullDiskSentence(t *testing.T) {
	s := newSealed(t)
	s.node.log, s.node.opts.Now = slog.New(slog.DiscardHandler), time.Now
	s.node.report(fmt.Errorf("writing the update: %w", syscall.ENOSPC))
	if got := s.node.status.LastError; !strings.Contains(got, "disk is full: make room") {
		t.Errorf("the status says %q", got)
	}
}
