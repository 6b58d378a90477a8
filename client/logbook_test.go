package client

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/translog"
	"credence/he"
)

func wantFork(t *testing.T, err error) *ForkError {
	t.Helper()
	var fork *ForkError
	if !errors.Is(err, translog.ErrFork) || !errors.As(err, &fork) {
		t.Fatalf("got %v, want a fork", err)
	}
	return fork
}

func TestRequireLogged(t *testing.T) {
	s := newStage(t)
	docs := s.filler("a", 40)
	r, d := s.party("alpha", newHistory(docs[:10]...))
	s.must(r.RequireLogged(t.Context(), docs[:10]...))
	s.must(r.RequireLogged(t.Context(), docs[3:7]...))
	if d.calls["checkpoint"] != 1 || d.calls["inclusion"] != 1 {
		t.Errorf("calls %v for ten documents", d.calls)
	}
	d.add(docs[10:30]...)
	s.must(r.RequireLogged(t.Context(), docs[5:30]...))
	if d.calls["checkpoint"] != 2 || d.calls["inclusion"] != 2 {
		t.Errorf("calls %v after more documents", d.calls)
	}
	kept, _, err := r.logbook.held(checkpointFile)
	if err != nil || kept.Size != 30 {
		t.Errorf("checkpoint of %d entries is kept: %v", kept.Size, err)
	}
	// A process that starts again goes on from what it kept.
	again := s.connect(r.home, d)
	d.add(docs[30:]...)
	s.must(again.RequireLogged(t.Context(), docs[39]))
	if info, err := os.Stat(filepath.Join(r.home.Dir, checkpointFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestNotInTheLog(t *testing.T) {
	s := newStage(t)
	docs := s.filler("a", 10)
	r, d := s.party("alpha", newHistory(docs[:9]...))
	err := r.RequireLogged(t.Context(), docs[0], docs[9])
	if !errors.Is(err, translog.ErrNotInLog) || errors.Is(err, translog.ErrFork) {
		t.Fatalf("got %v", err)
	}
	d.add(docs[9])
	s.must(r.RequireLogged(t.Context(), docs[0], docs[9]))
}

// TestFork: an aggregator that has signed one history signs another.
func TestFork(t *testing.T) {
	for name, change := range map[string]struct{ before, after int }{"longer": {5, 9}, "same size": {6, 6}, "shorter": {8, 5}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			one, other := s.filler("one", 10), s.filler("other", 10)
			honest := newHistory(one[:change.before]...)
			r, d := s.party("alpha", honest)
			s.must(r.RequireLogged(t.Context(), one[0]))
			d.history = newHistory(append(append([]fl.Envelope{}, one[:4]...), other[4:change.after]...)...)
			fork := wantFork(t, r.RequireLogged(t.Context(), d.docs[other[4].Digest()]))
			held, shown := honest.rootText(t), d.history.rootText(t)
			for _, part := range []string{held, shown, fmt.Sprint(change.before), fmt.Sprint(change.after), evidenceFile, "FORKED"} {
				if !strings.Contains(fork.Error(), part) {
					t.Errorf("%q does not mention %s", fork, part)
				}
			}
			// Both checkpoints are kept, as the aggregator signed them.
			raw, err := os.ReadFile(filepath.Join(r.home.Dir, evidenceFile))
			s.must(err)
			var e Evidence
			s.must(json.Unmarshal(raw, &e))
			for i, text := range []string{e.Held, e.Shown} {
				c, err := translog.Open([]byte(text), translog.Origin(s.id), s.genesis.AggregatorKey)
				if err != nil || c.Size != int64([]int{change.before, change.after}[i]) {
					t.Errorf("evidence %d: %+v %v", i, c, err)
				}
			}
			// And nothing goes on, whatever is shown from now on.
			d.history = honest
			_ = wantFork(t, r.RequireLogged(t.Context(), one[0]))
			_ = wantFork(t, s.connect(r.home, d).RequireLogged(t.Context(), one[1]))
			_ = wantFork(t, s.connect(r.home, d).Forked())
			_, err = s.connect(r.home, d).Witness(t.Context(), time.Now)
			_ = wantFork(t, err)
			after, err := os.ReadFile(filepath.Join(r.home.Dir, evidenceFile))
			s.must(err)
			if !bytes.Equal(raw, after) {
				t.Error("the evidence was overwritten")
			}
			kept, _, err := r.logbook.held(checkpointFile)
			if err != nil || kept.Size != int64(change.before) {
				t.Errorf("the checkpoint is now of %d entries: %v", kept.Size, err)
			}
			s.must(os.WriteFile(filepath.Join(r.home.Dir, evidenceFile), []byte("{"), 0o600))
			if err := r.Forked(); !errors.Is(err, translog.ErrFork) {
				t.Errorf("damaged evidence: %v", err)
			}
		})
	}
}

func (h *history) rootText(t *testing.T) string {
	t.Helper()
	root, err := translog.Root(int64(len(h.entries)), h.tree)
	if err != nil {
		t.Fatal(err)
	}
	return root.String()
}

// TestForkEndsTheNode: a node does not start, and does not go on, with an
// aggregator that forked its log.
func TestForkEndsTheNode(t *testing.T) {
	if !terminal(fmt.Errorf("round 1: %w", &ForkError{})) {
		t.Error("a node goes on after a fork")
	}
}

func TestTamperedProofs(t *testing.T) {
	s := newStage(t)
	docs := s.filler("a", 13)
	for name, tamper := range map[string]func(*flpb.GetInclusionResponse){
		"flipped":     func(r *flpb.GetInclusionResponse) { r.Inclusions[0].Hashes[1][7] ^= 1 },
		"dropped":     func(r *flpb.GetInclusionResponse) { r.Inclusions[0].Hashes = r.Inclusions[0].Hashes[1:] },
		"added":       func(r *flpb.GetInclusionResponse) { h := r.Inclusions[0]; h.Hashes = append(h.Hashes, h.Hashes[0]) },
		"endless":     func(r *flpb.GetInclusionResponse) { h := r.Inclusions[0]; h.Hashes = make([][]byte, 1000) },
		"cut":         func(r *flpb.GetInclusionResponse) { h := r.Inclusions[0]; h.Hashes[0] = h.Hashes[0][:31] },
		"empty":       func(r *flpb.GetInclusionResponse) { r.Inclusions[0].Hashes = nil },
		"nil":         func(r *flpb.GetInclusionResponse) { r.Inclusions[0] = nil },
		"index":       func(r *flpb.GetInclusionResponse) { r.Inclusions[0].Index++ },
		"far index":   func(r *flpb.GetInclusionResponse) { r.Inclusions[0].Index = 1 << 40 },
		"minus index": func(r *flpb.GetInclusionResponse) { r.Inclusions[0].Index = -1 },
		"another":     func(r *flpb.GetInclusionResponse) { r.Inclusions[0] = r.Inclusions[1] },
		"swapped": func(r *flpb.GetInclusionResponse) {
			r.Inclusions[0], r.Inclusions[1] = r.Inclusions[1], r.Inclusions[0]
		},
		"too few":  func(r *flpb.GetInclusionResponse) { r.Inclusions = r.Inclusions[:1] },
		"too many": func(r *flpb.GetInclusionResponse) { r.Inclusions = append(r.Inclusions, r.Inclusions[0]) },
		"none":     func(r *flpb.GetInclusionResponse) { r.Inclusions = nil },
	} {
		r, d := s.party("alpha", newHistory(docs...))
		d.inclusion = tamper
		err := r.RequireLogged(t.Context(), docs[3], docs[8])
		if !errors.Is(err, translog.ErrNotInLog) && !errors.Is(err, translog.ErrMalformed) || r.Forked() != nil {
			t.Errorf("%s: got %v", name, err)
		}
		d.inclusion = nil
		s.must(r.RequireLogged(t.Context(), docs[3], docs[8]))
	}
}

func TestMalformedCheckpoints(t *testing.T) {
	s := newStage(t)
	docs := s.filler("a", 9)
	_, stranger, err := ed25519.GenerateKey(nil)
	s.must(err)
	foreign, err := translog.Sign(translog.Checkpoint{Origin: translog.Origin(s.id), Size: 9}, stranger)
	s.must(err)
	elsewhere, err := translog.Sign(translog.Checkpoint{Origin: "credence/elsewhere", Size: 9}, s.signing)
	s.must(err)
	for name, tamper := range map[string]func(*flpb.GetCheckpointResponse){
		"nothing":       func(r *flpb.GetCheckpointResponse) { r.Checkpoint = nil },
		"text":          func(r *flpb.GetCheckpointResponse) { r.Checkpoint = []byte("nine entries\n") },
		"cut":           func(r *flpb.GetCheckpointResponse) { r.Checkpoint = r.Checkpoint[:len(r.Checkpoint)-9] },
		"flipped":       func(r *flpb.GetCheckpointResponse) { r.Checkpoint[70] ^= 1 },
		"huge":          func(r *flpb.GetCheckpointResponse) { r.Checkpoint = bytes.Repeat([]byte("a"), 1<<20) },
		"strange key":   func(r *flpb.GetCheckpointResponse) { r.Checkpoint = foreign },
		"another log":   func(r *flpb.GetCheckpointResponse) { r.Checkpoint = elsewhere },
		"no proof hash": func(r *flpb.GetCheckpointResponse) { r.Proof[0] = nil },
		"long proof":    func(r *flpb.GetCheckpointResponse) { r.Proof = make([][]byte, 200) },
		"bad cosigned":  func(r *flpb.GetCheckpointResponse) { r.Cosigned = []byte("x") },
	} {
		r, d := s.party("alpha", newHistory(docs[:5]...))
		s.must(r.RequireLogged(t.Context(), docs[0]))
		d.add(docs[5:]...)
		d.checkpoint = tamper
		if err := r.RequireLogged(t.Context(), docs[8]); err == nil || errors.Is(err, translog.ErrFork) || r.Forked() != nil {
			t.Errorf("%s: got %v", name, err)
		}
		d.checkpoint = nil
		s.must(r.RequireLogged(t.Context(), docs[8]))
	}
	r, d := s.party("alpha", newHistory(docs...))
	s.must(r.RequireLogged(t.Context(), docs[0]))
	path := filepath.Join(r.home.Dir, checkpointFile)
	s.must(os.WriteFile(path, []byte("damaged"), 0o600))
	if err := s.connect(r.home, d).RequireLogged(t.Context(), docs[1]); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged memory of the log: %v", err)
	}
}

// TestTwoPlans: two clients are shown different plans for one round, each in a
// log of its own. Each alone is content; whoever compares finds out.
func TestTwoPlans(t *testing.T) {
	s := newStage(t)
	common, plans := s.filler("common", 4), s.filler("plan", 2)
	left, right := newHistory(append(common[:4:4], plans[0])...), newHistory(append(common[:4:4], plans[1])...)
	alpha, _ := s.party("alpha", left)
	beta, _ := s.party("beta", right)
	s.must(alpha.RequireLogged(t.Context(), plans[0]))
	s.must(beta.RequireLogged(t.Context(), plans[1]))

	// By hand: one gives the other its checkpoint.
	_, note, err := alpha.logbook.held(checkpointFile)
	s.must(err)
	_, err = beta.CompareCheckpoint(t.Context(), note)
	_ = wantFork(t, err)
	_ = wantFork(t, beta.RequireLogged(t.Context(), common[0]))

	// By a witness that was shown the left log: the aggregator shows what it
	// cosigned to one who was shown the right log.
	witness, at := s.party("witness", left)
	_, err = witness.Witness(t.Context(), func() time.Time { return stageStart })
	s.must(err)
	gamma, d := s.party("gamma", right)
	s.must(gamma.RequireLogged(t.Context(), plans[1]))
	d.cosigned = at.cosigned
	d.add(s.filler("more", 3)...)
	_, err = gamma.Checkpoint(t.Context())
	_ = wantFork(t, err)

	// And no witness puts its name to both.
	at.history = right
	_, err = witness.Witness(t.Context(), time.Now)
	_ = wantFork(t, err)
}

func TestCompareHonest(t *testing.T) {
	s := newStage(t)
	docs := s.filler("a", 20)
	alpha, d := s.party("alpha", newHistory(docs[:7]...))
	first, err := alpha.Checkpoint(t.Context())
	s.must(err)
	d.add(docs[7:]...)
	beta, _ := s.party("beta", d.history)
	for range 2 {
		own, err := beta.CompareCheckpoint(t.Context(), first.Note)
		if err != nil || own.Size != 20 {
			t.Fatalf("%+v %v", own, err)
		}
	}
	if _, err := beta.CompareCheckpoint(t.Context(), []byte("x")); err == nil || beta.Forked() != nil {
		t.Errorf("nonsense: %v", err)
	}
	// A checkpoint of more entries than the aggregator admits to.
	own, err := beta.Checkpoint(t.Context())
	s.must(err)
	gamma, _ := s.party("gamma", d.history.upTo(12))
	_, err = gamma.CompareCheckpoint(t.Context(), own.Note)
	_ = wantFork(t, err)
}

func TestWitnessNeverSignsTwoLogs(t *testing.T) {
	s := newStage(t)
	one, other := s.filler("one", 9), s.filler("other", 9)
	r, d := s.party("north", newHistory(one[:5]...))
	var sent [][]byte
	d.submit = func(note []byte) error { sent = append(sent, note); return errors.New("the network is down") }
	if _, err := r.Witness(t.Context(), func() time.Time { return stageStart }); err == nil {
		t.Fatal("a lost cosignature is not reported")
	}
	// It was kept before it left, so after a restart the same bytes are sent.
	d.submit = func(note []byte) error { sent = append(sent, note); return nil }
	r = s.connect(r.home, d)
	c, err := r.Witness(t.Context(), time.Now)
	s.must(err)
	if len(sent) != 2 || !bytes.Equal(sent[0], sent[1]) || c.Size != 5 {
		t.Errorf("%d notes of %d entries, the same: %v", len(sent), c.Size, bytes.Equal(sent[0], sent[1]))
	}
	d.add(one[5:7]...)
	c, err = r.Witness(t.Context(), time.Now)
	s.must(err)
	if _, kept, err := translog.Cosigned(sent[2], translog.Origin(s.id), s.genesis.AggregatorKey, "north", r.home.Keys.SigningPublic()); err != nil || kept != c.Checkpoint {
		t.Errorf("cosigned %+v, %v", kept, err)
	}
	c, err = r.Checkpoint(t.Context())
	s.must(err)
	if c.Cosigned != 7 || len(c.Witnesses) != 1 || c.Witnesses[0] != "north" {
		t.Errorf("cosigned %d by %v", c.Cosigned, c.Witnesses)
	}
	// Even without its other memory.
	s.must(os.Remove(filepath.Join(r.home.Dir, checkpointFile)))
	d.cosigned = nil
	d.history = newHistory(append(one[:6:6], other[6:]...)...)
	_, err = s.connect(r.home, d).Witness(t.Context(), time.Now)
	_ = wantFork(t, err)
	if len(sent) != 3 {
		t.Errorf("%d notes sent", len(sent))
	}
}

func TestReadLog(t *testing.T) {
	s := newStage(t)
	docs := s.filler("a", 40)
	r, d := s.party("alpha", newHistory(docs...))
	read := func() (n int, err error) {
		_, err = r.ReadLog(t.Context(), func(e LogEntry) error {
			if !bytes.Equal(e.Bytes, docs[n].Encode()) {
				t.Errorf("entry %d is another", n)
			}
			n++
			return nil
		})
		return n, err
	}
	if n, err := read(); n != 40 || err != nil {
		t.Fatal(n, err)
	}
	for name, tamper := range map[string]func(*flpb.ListEntriesResponse){
		"changed":  func(r *flpb.ListEntriesResponse) { r.Entries[7].Bytes = r.Entries[8].Bytes },
		"swapped":  func(r *flpb.ListEntriesResponse) { r.Entries[7], r.Entries[8] = r.Entries[8], r.Entries[7] },
		"missing":  func(r *flpb.ListEntriesResponse) { r.Entries = append(r.Entries[:7], r.Entries[8:]...) },
		"stopping": func(r *flpb.ListEntriesResponse) { r.Entries = nil },
		"longer":   func(r *flpb.ListEntriesResponse) { r.Entries = append(r.Entries, &flpb.Entry{Index: 40}) },
	} {
		d.entries = tamper
		if _, err := r.ReadLog(t.Context(), func(LogEntry) error { return nil }); err == nil {
			t.Errorf("%s: the log is accepted", name)
		}
	}
	d.entries = nil
	stop := errors.New("enough")
	if _, err := r.ReadLog(t.Context(), func(LogEntry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	p, err := r.Prove(t.Context(), docs[17].Digest())
	if err != nil || p.Inclusion.Index != 17 || p.Checkpoint.Size != 40 {
		t.Errorf("%+v %v", p, err)
	}
}

// TestLargeLog: 10,000 entries, of which one round needs 1,000.
func TestLargeLog(t *testing.T) {
	s := newStage(t)
	docs := s.filler("a", 10_000)
	r, d := s.party("alpha", newHistory(docs[:9_000]...))
	started := time.Now()
	s.must(r.RequireLogged(t.Context(), docs[0]))
	d.add(docs[9_000:]...)
	s.must(r.RequireLogged(t.Context(), docs[9_000:]...))
	if d.calls["checkpoint"] != 2 || d.calls["inclusion"] != 2 {
		t.Errorf("calls %v", d.calls)
	}
	n := 0
	c, err := r.ReadLog(t.Context(), func(LogEntry) error { n++; return nil })
	if err != nil || n != 10_000 || c.Size != 10_000 {
		t.Errorf("%d entries of %d, %v", n, c.Size, err)
	}
	t.Logf("1,001 proofs and 10,000 entries in %s", time.Since(started).Round(time.Millisecond))
}

// member makes a node of package client that sees the world through a double.
func (s *stage) member(name fl.NodeID, shown *history) (*Node, *double) {
	s.Helper()
	r, d := s.party(name, shown)
	suite, err := he.LookupSuite(s.genesis.Suite)
	s.must(err)
	return &Node{home: r.home, suite: suite, remote: r, outbox: outbox{filepath.Join(r.home.Dir, outboxFolder)}}, d
}

// TestMemberChecksTheLog: no decryption share leaves unless plan, epoch key,
// seal and every header are in the log, and no training starts without the
// plan.
func TestMemberChecksTheLog(t *testing.T) {
	s := newStage(t)
	n, d := s.member("alpha", newHistory(s.filler("x", 3)...))
	other, _ := s.party("beta", nil)
	key := s.sign(fl.Revocation{Genesis: s.id, Node: "x", Reason: "stands for the epoch key", RevokedAt: stageStart})
	plan := fl.Plan{
		Genesis: s.id, JobSpec: fl.DigestBytes([]byte("job")), Job: "j", Round: 1, EpochKey: key.Digest(), Epoch: 1, BaseModel: fl.DigestBytes([]byte("base")),
		Slots: n.suite.Values(), Shards: 1, Cohort: []fl.Assignment{{Node: "alpha", Shards: []int{0}, Weight: 1}, {Node: "beta", Shards: []int{0}, Weight: 1}},
		WeightUnit: 1, MinCohort: 2, Clip: fl.Clip{Value: 1}, ValueBits: n.suite.ValueBits(), ProofLevel: fl.ProofNone,
		OpenedAt: stageStart, Deadline: stageStart.Add(time.Minute),
	}
	planDoc := s.sign(plan)
	_, _, _, err := n.roundContext(t.Context(), planDoc.Encode(), key.Encode())
	if !errors.Is(err, translog.ErrNotInLog) {
		t.Fatalf("a plan that is not in the log: %v", err)
	}
	d.add(planDoc)
	if _, _, _, err := n.roundContext(t.Context(), planDoc.Encode(), key.Encode()); !errors.Is(err, translog.ErrNotInLog) {
		t.Fatalf("an epoch key that is not in the log: %v", err)
	}
	d.add(key)
	if _, _, _, err := n.roundContext(t.Context(), planDoc.Encode(), key.Encode()); err == nil || errors.Is(err, translog.ErrNotInLog) {
		t.Fatalf("a plan and key that are in the log: %v", err) // the key is none
	}

	seal := fl.Seal{
		Genesis: s.id, Plan: planDoc.Digest(), Job: "j", Round: 1, Clients: []fl.NodeID{"alpha", "beta"}, Accepted: []time.Time{stageStart, stageStart},
		Dealers: []fl.NodeID{"alpha", "beta"}, Dealings: []fl.Digest{{1}, {2}}, SealedAt: stageStart,
		Sums: []fl.SealedSum{{Contributors: []fl.NodeID{"alpha", "beta"}, C0: fl.Digest{3}, C1: fl.Digest{4}}},
	}
	var headers []fl.Envelope
	for i, home := range []*Home{n.home, other.home} {
		h, err := fl.Sign(fl.UpdateHeader{
			Genesis: s.id, Plan: planDoc.Digest(), EpochKey: key.Digest(), Job: "j", Round: 1, Node: home.Node, ProofLevel: fl.ProofNone,
			Ciphertexts: []fl.ShardCiphertext{{Digest: fl.Digest{byte(10 + i)}}},
		}, home.Node, home.Keys.Signing)
		s.must(err)
		headers = append(headers, h)
		seal.Headers = append(seal.Headers, h.Digest())
	}
	sealDoc := s.sign(seal)
	epoch := fl.EpochPlan{Members: []fl.NodeID{"alpha", "beta"}, Threshold: 2}
	for _, logged := range [][]fl.Envelope{{}, {sealDoc}, {sealDoc, headers[0]}, {headers[0], headers[1]}} {
		d.history = newHistory(append([]fl.Envelope{planDoc, key}, logged...)...)
		for _, h := range headers {
			d.docs[h.Digest()] = h // shown, but not logged
		}
		_ = os.Remove(filepath.Join(n.home.Dir, checkpointFile))
		if _, err := n.verifySeal(t.Context(), sealDoc, planDoc.Digest(), plan, epoch); !errors.Is(err, translog.ErrNotInLog) {
			t.Errorf("with %d of 3 documents in the log: %v", len(logged), err)
		}
	}
	d.add(sealDoc)
	if _, err := n.verifySeal(t.Context(), sealDoc, planDoc.Digest(), plan, epoch); err != nil {
		t.Errorf("everything is in the log: %v", err)
	}
}

// TestHashes: the reader of the tree in memory never goes out of bounds.
func TestHashes(t *testing.T) {
	for _, x := range []int64{-1, 1, 1 << 40} {
		if _, err := (hashes{tlog.Hash{}}).ReadHashes([]int64{x}); err == nil {
			t.Errorf("hash %d of one", x)
		}
	}
}

// TestNoiseIsLogged: noise that is not in the log is not released with.
func TestNoiseIsLogged(t *testing.T) {
	s := newStage(t)
	n, d := s.member("alpha", newHistory(s.filler("x", 3)...))
	dealing, err := fl.Sign(fl.NoiseDealing{
		Genesis: s.id, Plan: fl.Digest{1}, Job: "j", Round: 1, Node: "alpha",
		Boxes: []fl.Box{{Receiver: "alpha", Digest: fl.Digest{2}, Commitment: fl.Digest{3}, Check: []byte{4}}},
	}, "alpha", n.home.Keys.Signing)
	s.must(err)
	digest := dealing.Digest()
	d.docs[digest] = dealing // shown, but not logged
	seal := fl.Seal{Dealers: []fl.NodeID{"alpha"}, Dealings: []fl.Digest{digest}}
	// With no shards there is nothing to unseal: only the document is looked at.
	if _, err := n.noiseFor(t.Context(), seal, &epochKey{}, fl.Digest{1}, fl.Plan{}, nil); !errors.Is(err, translog.ErrNotInLog) {
		t.Errorf("got %v", err)
	}
	d.add(dealing)
	if _, err := n.noiseFor(t.Context(), seal, &epochKey{}, fl.Digest{1}, fl.Plan{}, nil); err != nil {
		t.Error(err)
	}
}
