package federation_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"credence/aggregator/blob/disk"
	"credence/aggregator/store"
	"credence/client"
	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/fl/round"
	"credence/he"
	"credence/models"
)

// These tests use the simulation's federation, but decide themselves who acts.

// calm makes a federation of seven nodes, five of them on the committee, with
// a job under way on a network without faults.
func calm(t *testing.T) *simulation { return calmAt(t, fl.ProofNone, 1) }

// calmAt is calm at a proof level, for a job of so many rounds.
func calmAt(t *testing.T, level fl.ProofLevel, rounds int) *simulation {
	s := newSimulationAt(t, 1, level)
	s.network.Set(federation.Faults{})
	s.until("the key is made", nil, s.hasKey)
	norm, kind := 0.0, models.Logistic
	if level.Attested() {
		norm, kind = 0.5, models.Softmax // of two shards
	}
	_, err := s.owner().SubmitJob(s.ctx, client.JobOptions{
		Job: "job", SchemaText: s.text, Model: models.Spec{Kind: kind, Inputs: 30, Classes: 2},
		Training: models.TrainConfig{LearningRate: 0.1, Epochs: 1, BatchSize: 16, Seed: 1},
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples}, Clip: fl.Clip{Value: 1, Norm: norm},
		ProofLevel: level, Rounds: rounds, MinCohort: 3, RoundDeadline: 60, Budget: 100, Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: 2,
	})
	s.must(err)
	s.jobs, s.live = append(s.jobs, "job"), append(s.live, "job")
	return s
}

// until lets everybody but some act in turn, a second apart, until a
// condition holds.
func (s *simulation) until(what string, but []*simNode, done func() bool) {
	s.t.Helper()
	var errs []error
	for range 200 {
		if done() {
			return
		}
		errs = nil
		for _, n := range s.nodes {
			if n.node != nil && !slices.Contains(but, n) {
				_, err := n.node.Pass(s.ctx)
				errs = append(errs, err)
			}
			if done() { // as soon as it does
				return
			}
		}
		s.must(s.agg.Pass(s.ctx))
		s.clock.add(time.Second)
	}
	s.t.Fatalf("it never came to it that %s: %v", what, errors.Join(errs...))
}

func (s *simulation) hasKey() bool {
	epochs, err := s.agg.Store().Epochs(s.ctx)
	s.must(err)
	return epochs[0].Key != nil
}

// phase returns the phase of the job's first round.
func (s *simulation) phase() round.Phase {
	r, err := s.agg.Store().Round(s.ctx, "job", 1)
	if errors.Is(err, store.ErrNotFound) {
		return ""
	}
	s.must(err)
	return round.Phase(r.Phase)
}

func (s *simulation) reach(phase round.Phase, but ...*simNode) {
	s.t.Helper()
	s.until("the round is "+string(phase), but, func() bool { return s.phase() == phase })
}

// committee splits the nodes into members and others.
func (s *simulation) committee() (members, others []*simNode) {
	epochs, err := s.agg.Store().Epochs(s.ctx)
	s.must(err)
	var plan fl.EpochPlan
	s.must(epochs[len(epochs)-1].Plan.Read(&plan))
	for _, n := range s.nodes {
		if plan.Point(n.id) != 0 {
			members = append(members, n)
		} else {
			others = append(others, n)
		}
	}
	return members, others
}

// published checks the whole outcome.
func (s *simulation) published() fl.Manifest {
	s.t.Helper()
	s.reach(round.Published)
	s.cheap()
	s.thorough()
	s.openedOnce()
	models, err := s.agg.Store().Models(s.ctx, "job")
	s.must(err)
	doc, err := s.agg.Store().Document(s.ctx, models[0].Manifest)
	s.must(err)
	var m fl.Manifest
	s.must(doc.Read(&m))
	return m
}

var errKilled = status.Error(codes.Canceled, "the node was killed")

// TestNodeKilledMidUpload: the node that comes back sends the same ciphertext
// from the chunk on that is missing, and not one byte twice.
func TestNodeKilledMidUpload(t *testing.T) {
	t.Parallel()
	s := calm(t)
	_, others := s.committee()
	n := others[0]
	s.reach(round.Open)
	sent, chunks := 0, 0
	n.before = func(req any) error {
		if up, ok := req.(*flpb.UploadRequest); ok {
			if chunks++; chunks == 2 {
				n.calls = 0
				return errKilled
			}
			sent += len(up.GetData())
		}
		return nil
	}
	s.until("the node dies", nil, func() bool { return n.calls == 0 })
	s.close(n)
	outbox := filepath.Join(s.nodeDir(n.id), "outbox", "job", "1")
	before, err := filepath.Glob(filepath.Join(outbox, "*.ct"))
	s.must(err)
	header, err := os.ReadFile(filepath.Join(outbox, "header.json"))
	s.must(err)
	if len(before) != 1 || sent == 0 {
		t.Fatalf("the node holds %v and sent %d bytes", before, sent)
	}
	info, err := os.Stat(before[0])
	s.must(err)
	first := sent

	s.open(n)
	n.before = func(req any) error {
		switch r := req.(type) {
		case *flpb.UploadRequest:
			if want := strings.TrimSuffix(filepath.Base(before[0]), ".ct"); fl.Digest(r.GetDigest()).String() != want || r.GetOffset() < int64(first) {
				t.Errorf("after the restart it sends %x from byte %d", r.GetDigest(), r.GetOffset())
			}
			sent += len(r.GetData())
		case *flpb.SubmitRequest:
			if string(r.GetDocument()) != string(header) {
				t.Error("after the restart it submits another header")
			}
		}
		return nil
	}
	_, err = n.node.Pass(s.ctx)
	s.must(err)
	if int64(sent) != info.Size() {
		t.Errorf("a ciphertext of %d bytes took %d", info.Size(), sent)
	}
	n.before = nil
	s.published()
}

// TestMembersKilledBeforeDecryption: two of five members are gone, three open
// the sum.
func TestMembersKilledBeforeDecryption(t *testing.T) {
	t.Parallel()
	s := calm(t)
	members, _ := s.committee()
	s.reach(round.Decrypting)
	s.close(members[1])
	s.close(members[3])
	m := s.published()
	if len(m.KeyHolders) != 3 || slices.Contains(m.KeyHolders, members[1].id) || slices.Contains(m.KeyHolders, members[3].id) {
		t.Errorf("opened by %v", m.KeyHolders)
	}
}

// TestMemberKilledAfterRelease: a member that dies between its release and the
// aggregator's receipt sends the same share again.
func TestMemberKilledAfterRelease(t *testing.T) {
	t.Parallel()
	s := calm(t)
	members, _ := s.committee()
	n := members[2]
	var shares []string
	n.before = func(req any) error {
		if submit, ok := req.(*flpb.SubmitRequest); ok {
			if e, err := fl.DecodeEnvelope(submit.GetDocument()); err == nil && e.Kind == (fl.DecryptionShare{}).Kind() {
				shares = append(shares, string(submit.GetDocument()))
				if len(shares) == 1 {
					n.calls = 0
					return errKilled
				}
			}
		}
		return nil
	}
	s.until("the member dies", nil, func() bool { return n.calls == 0 })
	s.close(n)
	s.open(n)
	_, err := n.node.Pass(s.ctx)
	s.must(err)
	if len(shares) != 2 || shares[0] != shares[1] {
		t.Errorf("it sent %d shares; want the same one twice", len(shares))
	}
	n.before = nil
	if m := s.published(); !slices.Contains(m.KeyHolders, n.id) {
		t.Errorf("opened by %v, without %s", m.KeyHolders, n.id)
	}
}

// TestSecondSum: an aggregator that also signs, logs and asks for the cohort
// minus one, which would give it that one's update as the difference of the
// two sums, gets no share from a member that has answered.
func TestSecondSum(t *testing.T) {
	t.Parallel()
	s := calm(t)
	members, others := s.committee()
	n := members[0]
	s.reach(round.Decrypting, n)
	_, err := n.node.Pass(s.ctx)
	s.must(err)

	r, err := s.agg.Store().Round(s.ctx, "job", 1)
	s.must(err)
	docs, err := s.agg.Store().RoundDocuments(s.ctx, "job", 1)
	s.must(err)
	var seal fl.Seal
	s.must(docs[slices.IndexFunc(docs, func(e fl.Envelope) bool { return e.Kind == seal.Kind() })].Read(&seal))
	victim := slices.Index(seal.Clients, others[0].id)
	seal.Clients = slices.Delete(slices.Clone(seal.Clients), victim, victim+1)
	seal.Headers = slices.Delete(slices.Clone(seal.Headers), victim, victim+1)
	seal.Accepted = slices.Delete(slices.Clone(seal.Accepted), victim, victim+1)
	blobs, err := disk.Open(filepath.Join(s.dir, "aggregator", "blobs"), disk.Options{})
	s.must(err)
	suite, err := he.LookupSuite(simSuite)
	s.must(err)
	sum := suite.NewSum()
	for _, digest := range seal.Headers {
		doc, err := s.agg.Store().Document(s.ctx, digest)
		s.must(err)
		var h fl.UpdateHeader
		s.must(doc.Read(&h))
		raw, err := blobs.Get(s.ctx, h.Ciphertexts[0].Digest)
		s.must(err)
		c, err := suite.ParseCiphertext(raw)
		s.must(err)
		s.must(sum.Add(c))
	}
	half := func(part he.Part) fl.Digest {
		digest, err := blobs.Put(s.ctx, sum.PartBytes(part))
		s.must(err)
		return digest
	}
	seal.Sums = []fl.SealedSum{{Contributors: seal.Clients, C0: half(he.C0), C1: half(he.C1)}}
	s.must(blobs.Close())
	keys, err := identity.Load(filepath.Join(s.dir, "aggregator"))
	s.must(err)
	second, err := fl.Sign(seal, fl.AggregatorID, keys.Signing)
	s.must(err)
	s.must(s.agg.Store().StepRound(s.ctx, store.RoundStep{Job: "job", Round: 1, From: r.Version, Phase: r.Phase, State: r.State, Documents: []fl.Envelope{second}}))
	epochs, err := s.agg.Store().Epochs(s.ctx)
	s.must(err)

	ask := func(n *simNode) (err error, released bool) {
		n.tasks = func(w *flpb.WorkResponse) {
			w.Tasks = []*flpb.Task{{Task: &flpb.Task_Decrypt{Decrypt: &flpb.DecryptTask{Plan: r.Plan.Encode(), Seal: second.Encode(), EpochKey: epochs[0].Key.Encode()}}}}
		}
		n.before = func(req any) error {
			switch req.(type) {
			case *flpb.UploadRequest, *flpb.SubmitRequest:
				released = true
			}
			return nil
		}
		_, err = n.node.Pass(s.ctx)
		n.tasks, n.before = nil, nil
		return err, released
	}
	if err, released := ask(n); err == nil || !strings.Contains(err.Error(), "released already") || released {
		t.Errorf("asked for a second sum: %v, sent something: %t", err, released)
	}
	s.close(n)
	s.open(n)
	if err, released := ask(n); err == nil || !strings.Contains(err.Error(), "released already") || released {
		t.Errorf("asked again after a restart: %v, sent something: %t", err, released)
	}
	s.reach(round.Published)
	s.cheap()
	s.openedOnce()
}

// TestCertificates: one that ended is renewed by itself, also when the node was
// off all the time; a revoked node is told why, and stops.
func TestCertificates(t *testing.T) {
	t.Parallel()
	s := calm(t)
	connected, off, out := s.nodes[0], s.nodes[1], s.nodes[2]
	s.close(off)
	s.clock.add(31 * 24 * time.Hour)
	s.open(off)
	for _, n := range []*simNode{connected, off} {
		if _, err := n.node.Pass(s.ctx); err != nil {
			t.Errorf("%s, a day after its certificate ended: %v", n.id, err)
		}
		if ends := n.home.CertificateEnds(); !ends.Before(s.clock.now()) {
			t.Fatalf("the test's own certificate ends at %s", ends) // it proves nothing then
		}
		st, err := client.ReadStatus(s.nodeDir(n.id))
		s.must(err)
		if st.Certificate.Before(s.clock.now().Add(29 * 24 * time.Hour)) {
			t.Errorf("%s has a certificate until %s", n.id, st.Certificate)
		}
	}
	s.must(s.agg.Revoke(s.ctx, out.id, "it left the consortium"))
	if err := out.node.Run(s.ctx); fl.CodeOf(err) != fl.CodeRevoked {
		t.Errorf("a revoked node runs until: %v", err)
	}
	st, err := client.ReadStatus(s.nodeDir(out.id))
	s.must(err)
	if !strings.Contains(st.LastError, "was revoked on 2026-06-01") || !strings.Contains(st.LastError, "it left the consortium") {
		t.Errorf("its status says %q", st.LastError)
	}
	out.revoked = true
}

// TestWrongClock: a node whose clock is off is told so, and goes on when the
// clock is right.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	s := calm(t)
	n := s.nodes[4]
	for _, c := range []struct {
		skew time.Duration
		want string
	}{
		{7 * time.Minute, "clock"},      // what it signs is refused, and the node sees the difference itself
		{-time.Hour, "clocks is wrong"}, // it believes that the server's certificate is not valid yet
		{90 * 24 * time.Hour, "clock"},  // or no longer
	} {
		n.skew = c.skew
		s.close(n)
		s.open(n)
		_, err := n.node.Pass(s.ctx)
		st, statusErr := client.ReadStatus(s.nodeDir(n.id))
		s.must(statusErr)
		if err == nil || !strings.Contains(st.LastError, c.want) {
			t.Errorf("a clock that is off by %s: %v; its status says %q", c.skew, err, st.LastError)
		}
	}
	n.skew = 0
	s.close(n)
	s.open(n)
	if _, err := n.node.Pass(s.ctx); err != nil {
		t.Errorf("with the right time: %v", err)
	}
	s.published()
}

// TestFullDisk gives a member's folder a file system of its own and fills it:
// the node says so, and goes on by itself once there is room.
func TestFullDisk(t *testing.T) {
	s := calm(t)
	members, _ := s.committee()
	n := members[0]
	s.reach(round.Open)
	s.close(n)
	dir := s.nodeDir(n.id)
	moved := dir + ".moved"
	s.must(os.Rename(dir, moved))
	s.must(os.Mkdir(dir, 0o700))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		t.Skipf("mounting a small file system takes rights that this test does not have: %v", err)
	}
	t.Cleanup(func() { s.close(n); s.must(syscall.Unmount(dir, syscall.MNT_DETACH)) })
	copyPrivate(t, moved, dir)
	n.said = new(bytes.Buffer)
	s.open(n)
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	s.must(err)
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	s.must(f.Close())
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	_, err = n.node.Pass(s.ctx)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("with a full disk: %v", err)
	}
	if said := n.said.String(); !strings.Contains(said, "disk is full: make room") {
		t.Errorf("with a full disk its log says: %s", said)
	}
	s.must(os.Remove(filler))
	if _, err := n.node.Pass(s.ctx); err != nil {
		t.Errorf("once there is room again: %v", err)
	}
	s.published()
}

func copyPrivate(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), raw, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAggregatorRestarts takes the aggregator away again and again while nodes
// and aggregator run by themselves.
func TestAggregatorRestarts(t *testing.T) {
	t.Parallel()
	c := newClinic(t, "insecure-rlwe64-d1-v1", nil)
	if _, err := c.owner.SubmitJob(t.Context(), c.job(3)); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if !c.rest(time.Duration(80+60*i)*time.Millisecond, nil) {
			return
		}
		if err := c.StopAggregator(); err != nil {
			t.Fatal(err)
		}
		if err := c.RestartAggregator(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if v := c.await(time.Minute); v.GetPhase() != "done" {
		t.Fatalf("the job is %s: %s", v.GetPhase(), v.GetReason())
	}
	c.audit(3)
}
