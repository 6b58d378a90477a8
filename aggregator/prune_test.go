package aggregator

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"credence/aggregator/blob"
	"credence/aggregator/store"
	"credence/fl"
)

// has reports whether a blob is stored.
func (b *bench) has(digest fl.Digest) bool {
	b.Helper()
	_, err := b.a.blobs.Size(b.ctx, digest)
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		b.Fatal(err)
	}
	return err == nil
}

// playRound plays a round to its end; update makes each client's update.
func (b *bench) playRound(number uint64, update func(*party, roundNow) fl.UpdateHeader) (r roundNow, headers []fl.UpdateHeader, dealings []fl.NoiseDealing) {
	b.Helper()
	r = b.round("j", number)
	for _, m := range b.members {
		p := b.parties[m]
		d, h := p.noise(r), update(p, r)
		b.must(p.submit(d))
		b.must(p.submit(h))
		headers, dealings = append(headers, h), append(dealings, d)
	}
	b.clock.add(2 * time.Second)
	b.must(b.a.Pass(b.ctx))
	r = b.round("j", number)
	for _, m := range b.members {
		b.must(b.parties[m].submit(b.parties[m].share(r)))
	}
	b.clock.add(2 * time.Second)
	b.must(b.a.Pass(b.ctx))
	if r = b.round("j", number); r.phase != "published" {
		b.Fatalf("round %d is %s", number, r.phase)
	}
	return r, headers, dealings
}

func (b *bench) keepAlive() {
	b.Helper()
	for _, m := range b.members {
		b.must(b.a.store.Seen(b.ctx, m, b.a.now()))
	}
}

// stubborn fails to note that a round is pruned, as a process does that is
// killed just before.
type stubborn struct{ store.Store }

var errInjected = errors.New("injected")

func (stubborn) SetPruned(context.Context, fl.JobID, uint64) error { return errInjected }

func TestPrune(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.a.opts.Retain = time.Hour
	b.generate(nil)
	spec := b.jobSpec("j")
	spec.Rounds = 3
	b.startJob(spec)
	honest := func(p *party, r roundNow) fl.UpdateHeader { return p.update(r) }
	first, headers, dealings := b.playRound(1, honest)
	var own, boxes []fl.Digest
	for _, h := range headers {
		for _, c := range h.Ciphertexts {
			own = append(own, c.Digest)
		}
	}
	for _, d := range dealings {
		for _, x := range d.Boxes {
			boxes = append(boxes, x.Digest)
		}
	}
	state := func(digests []fl.Digest) (n int) {
		for _, d := range digests {
			if b.has(d) {
				n++
			}
		}
		return n
	}
	// While round 2 is open, alpha hands in what it handed in for round 1.
	b.keepAlive()
	b.must(b.a.Pass(b.ctx))
	r := b.round("j", 2)
	again := b.parties["alpha"].update(r)
	again.Ciphertexts = headers[0].Ciphertexts
	b.must(b.parties["alpha"].submit(again))
	fresh := b.parties["beta"].update(r)
	b.must(b.parties["beta"].submit(fresh))

	b.clock.add(30 * time.Second)
	b.must(b.a.prune(b.ctx))
	if got := state(append(own, boxes...)); got != len(own)+len(boxes) {
		t.Fatalf("%d blobs of %d before the retention period is over", got, len(own)+len(boxes))
	}
	// The process dies after deleting and before noting it, and another one
	// goes on.
	real := b.a.store
	b.a.store = stubborn{real}
	b.clock.add(2 * time.Hour)
	if err := b.a.prune(b.ctx); !errors.Is(err, errInjected) {
		t.Fatalf("got %v", err)
	}
	b.a.store = real
	b.must(b.a.Close())
	a, err := Open(b.ctx, filepath.Join(b.dir, "aggregator"), b.options())
	b.must(err)
	b.a = a
	b.a.opts.Retain = time.Hour
	b.must(b.a.prune(b.ctx))
	kept, err := b.a.store.KeptRounds(b.ctx)
	b.must(err)
	if len(kept) != 0 {
		t.Errorf("%d rounds are still to be pruned", len(kept))
	}
	if got := state(boxes); got != 0 {
		t.Errorf("%d noise boxes are left", got)
	}
	for i, d := range own {
		if inUse := d == again.Ciphertexts[0].Digest; b.has(d) != inUse {
			t.Errorf("ciphertext %d: stored %v, in use %v", i, b.has(d), inUse)
		}
	}
	// What the open round, an auditor and the models need is there.
	need := []fl.Digest{fresh.Ciphertexts[0].Digest, first.seal.Sums[0].C0, first.seal.Sums[0].C1, spec.InitialModel}
	models, err := b.a.store.Models(b.ctx, "j")
	b.must(err)
	need = append(need, models[0].Model)
	docs, err := b.a.store.RoundDocuments(b.ctx, "j", 1)
	b.must(err)
	for _, doc := range docs {
		var d fl.DecryptionShare
		if doc.Kind == d.Kind() {
			b.must(doc.Read(&d))
			need = append(need, d.Shares[0].Digest)
		}
	}
	e := b.newestEpoch()
	for _, m := range b.members {
		var reveal fl.KeyReveal
		b.must(e.Reveals[m].Read(&reveal))
		need = append(need, reveal.Reveal)
	}
	if got := state(need); got != len(need) || len(need) != 11 {
		t.Errorf("%d of %d needed blobs are left", got, len(need))
	}
}

// TestPruneHostileDealing: a dealer that calls the boxes of the key its noise
// does not get them deleted.
func TestPruneHostileDealing(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.a.opts.Retain = time.Second
	b.generate(nil)
	b.startJob(b.jobSpec("j"))
	r := b.round("j", 1)
	var key fl.KeyDealing
	b.must(r.epoch.Dealings["beta"].Read(&key))
	d := b.parties["alpha"].noise(r)
	for i, of := range []int{1, 0, 2} { // a box for its dealer is shorter than the others
		d.Boxes[i].Digest = key.Boxes[of].Digest
	}
	b.must(b.parties["alpha"].submit(d))
	honest := b.parties["beta"].noise(r)
	b.must(b.parties["beta"].submit(honest))
	b.clock.add(2 * time.Minute) // nobody trains: the round is given up
	b.must(b.a.Pass(b.ctx))
	b.clock.add(2 * time.Second)
	b.must(b.a.Pass(b.ctx))
	for i := range key.Boxes {
		if !b.has(key.Boxes[i].Digest) {
			t.Errorf("the key's box %d is gone", i)
		}
		if b.has(honest.Boxes[i].Digest) {
			t.Errorf("the noise box %d of a round that was given up is left", i)
		}
	}
}

// TestAbandonedUploads: what nobody continued for a day is swept.
func TestAbandonedUploads(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.clock.add(time.Since(b.clock.now())) // files carry the real time
	digest := fl.DigestBytes([]byte("whole"))
	_, err := b.a.staging.Append(b.ctx, "alpha", digest, 0, []byte("wh"))
	b.must(err)
	offset := func() int64 {
		n, err := b.a.staging.Offset(b.ctx, "alpha", digest)
		b.must(err)
		return n
	}
	b.must(b.a.prune(b.ctx))
	if offset() != 2 {
		t.Fatal("a fresh upload was swept")
	}
	b.clock.add(stagingStale + time.Minute)
	b.must(b.a.prune(b.ctx))
	if offset() != 0 {
		t.Error("an abandoned upload is left")
	}
}

// TestPruneKeepsEvidence: the boxes that a complaint is about stay, those of
// the other dealers go.
func TestPruneKeepsEvidence(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.a.opts.Retain = time.Second
	b.generate(nil)
	b.startJob(b.jobSpec("j"))
	r := b.round("j", 1)
	accused, other := b.parties["alpha"].sign(b.parties["alpha"].noise(r)), b.parties["beta"].sign(b.parties["beta"].noise(r))
	for name, doc := range map[fl.NodeID]fl.Envelope{"alpha": accused, "beta": other} {
		_, err := b.parties[name].hand(doc.Encode())
		b.must(err)
	}
	b.must(b.parties["gamma"].submit(fl.Complaint{
		Genesis: b.a.genesisID, EpochPlan: r.epoch.planID, Node: "gamma", Stage: fl.StageRound, Plan: r.planID,
		Charges: []fl.Charge{{Dealer: "alpha", Dealing: accused.Digest()}},
	}))
	b.clock.add(2 * time.Minute) // nobody trains: the round is given up
	b.must(b.a.Pass(b.ctx))
	b.clock.add(2 * time.Second)
	b.must(b.a.Pass(b.ctx))
	var kept, gone fl.NoiseDealing
	b.must(errors.Join(accused.Read(&kept), other.Read(&gone)))
	for i := range kept.Boxes {
		if !b.has(kept.Boxes[i].Digest) || b.has(gone.Boxes[i].Digest) {
			t.Errorf("box %d: evidence is stored: %v, another dealer's is: %v", i, b.has(kept.Boxes[i].Digest), b.has(gone.Boxes[i].Digest))
		}
	}
}
