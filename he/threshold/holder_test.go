package threshold

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"credence/he"
)

// TestEpochRefused covers what NewEpoch refuses, evaluation points first.
func TestEpochRefused(t *testing.T) {
	c := startCommittee(t, tinyD1, 4, 3)
	good := EpochConfig{Suite: tinyD1, Context: []byte("genesis"), Number: testEpoch, Threshold: 3, Members: c.epoch.Members()}
	for name, change := range map[string]func(cfg *EpochConfig){
		"point 0":            func(cfg *EpochConfig) { cfg.Members[0].Point = 0 },
		"negative point":     func(cfg *EpochConfig) { cfg.Members[0].Point = -1 },
		"point above n":      func(cfg *EpochConfig) { cfg.Members[0].Point = 5 },
		"point twice":        func(cfg *EpochConfig) { cfg.Members[0].Point = 2 },
		"name twice":         func(cfg *EpochConfig) { cfg.Members[0].ID = cfg.Members[1].ID },
		"no name":            func(cfg *EpochConfig) { cfg.Members[0].ID = "" },
		"long name":          func(cfg *EpochConfig) { cfg.Members[0].ID = strings.Repeat("x", 257) },
		"seal key twice":     func(cfg *EpochConfig) { cfg.Members[0].SealKey = cfg.Members[1].SealKey },
		"short seal key":     func(cfg *EpochConfig) { cfg.Members[0].SealKey = cfg.Members[0].SealKey[1:] },
		"threshold 1":        func(cfg *EpochConfig) { cfg.Threshold = 1 },
		"threshold above n":  func(cfg *EpochConfig) { cfg.Threshold = 5 },
		"one member":         func(cfg *EpochConfig) { cfg.Members = cfg.Members[:1] },
		"too many members":   func(cfg *EpochConfig) { cfg.Members = slices.Repeat(cfg.Members, 3) },
		"no context":         func(cfg *EpochConfig) { cfg.Context = nil },
		"unknown suite":      func(cfg *EpochConfig) { cfg.Suite = "loose" },
		"context beyond cap": func(cfg *EpochConfig) { cfg.Context = make([]byte, maxContext+1) },
	} {
		cfg := good
		cfg.Members = c.epoch.Members()
		change(&cfg)
		if _, err := NewEpoch(cfg); !errors.Is(err, ErrBadEpoch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	shuffled := good
	shuffled.Members = c.epoch.Members()
	slices.Reverse(shuffled.Members)
	e := must[*Epoch](t)(NewEpoch(shuffled))
	if e.Digest() != c.epoch.Digest() {
		t.Error("the order of the members changed the digest")
	}
	back := must[*Epoch](t)(ParseEpoch(e.Bytes()))
	if back.Digest() != e.Digest() {
		t.Error("epoch does not survive its encoding")
	}
	if _, err := newSharing(e.Suite().TernaryPoly(), []int{2, 3}, 5).at(0); err == nil {
		t.Error("a share at point 0 is the secret and was handed out")
	}
}

func FuzzParseEpoch(f *testing.F) {
	e := startCommittee(f, tinyD1, 3, 2).epoch
	f.Add(e.Bytes())
	f.Add(e.Bytes()[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEpoch(b)
		if err == nil && !bytes.Equal(e.Bytes(), b) {
			t.Fatal("accepted an encoding that is not canonical")
		}
	})
}

func FuzzRecords(f *testing.F) {
	c := newCommittee(f, tinyD1, 2, 2)
	c.noise(f, SumID{"j", 1, 2}, 1)
	for _, file := range c.stores[0].visible {
		f.Add(file.data[len(recordMagic)+1 : len(file.data)-32])
	}
	f.Add((&releasedState{id: SumID{"j", 1, 0}, suite: tinyD1, dealers: []string{"a"}, share: []byte{1}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeCommitState(b); err == nil && !bytes.Equal(c.encode(), b) {
			t.Fatal("commit state")
		}
		if k, err := decodeKeyState(b); err == nil && !bytes.Equal(k.encode(), b) {
			t.Fatal("key state")
		}
		if n, err := decodeNoiseState(b); err == nil && !bytes.Equal(n.encode(), b) {
			t.Fatal("noise state")
		}
		if r, err := decodeReleasedState(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Fatal("released state")
		}
		if _, err := decodeCommitments(b); err != nil && !errors.Is(err, ErrEncoding) {
			t.Fatal(err)
		}
	})
}

func wantBlamed(t *testing.T, err error, member string, want error) {
	t.Helper()
	var named *MemberError
	if !errors.Is(err, want) || !errors.As(err, &named) || named.Member != member {
		t.Fatalf("got %v, want %v naming %s", err, want, member)
	}
}

// TestEpochKeyAttacks: whatever a member or the relay does to the key
// generation is refused and named, and nothing is kept.
func TestEpochKeyAttacks(t *testing.T) {
	c := startCommittee(t, tinyD1, 4, 3)
	first := c.holders[0]
	_, err := first.Reveal(testEpoch, nil)
	if !errors.Is(err, ErrNotReady) {
		t.Fatalf("reveal before commit: %v", err)
	}
	for _, h := range c.holders {
		must[[32]byte](t)(h.Commit(c.epoch))
	}
	_, err = first.Complete(testEpoch, nil, nil)
	if !errors.Is(err, ErrNotReady) {
		t.Fatalf("complete before reveal: %v", err)
	}
	all := map[string][32]byte{}
	for _, h := range c.holders {
		all[h.Self()] = must[[32]byte](t)(h.Commit(c.epoch))
	}
	missing := map[string][32]byte{memberName(0): all[memberName(0)]}
	_, err = first.Reveal(testEpoch, missing)
	wantBlamed(t, err, memberName(1), ErrMissing)
	c.exchange(t)
	// A rushing member cannot swap its commitment once this one has revealed.
	swapped := map[string][32]byte{}
	for k, v := range all {
		swapped[k] = v
	}
	swapped[memberName(3)] = [32]byte{1}
	if _, err := first.Reveal(testEpoch, swapped); !errors.Is(err, ErrConflict) {
		t.Fatalf("swapped commitment: %v", err)
	}
	boxes := addressed(c.dealings, first.Self())
	clone := func() (map[string][]byte, map[string]Received) {
		r, b := map[string][]byte{}, addressed(c.dealings, first.Self())
		for k := range b {
			r[k] = bytes.Clone(c.reveals[k])
			b[k] = Received{Dealing: b[k].Dealing, Box: bytes.Clone(b[k].Box)}
		}
		return r, b
	}
	change := func(m map[string]Received, who string, f func(box []byte) []byte) {
		m[who] = Received{Dealing: m[who].Dealing, Box: f(m[who].Box)}
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 4; return b }
	}
	x := memberName(2)
	for name, attack := range map[string]struct {
		want  error
		apply func(reveals map[string][]byte, boxes map[string]Received)
	}{
		"rogue key share":  {ErrCommitment, func(r map[string][]byte, b map[string]Received) { r[x][saltBytes+3] ^= 1 }},
		"another salt":     {ErrCommitment, func(r map[string][]byte, b map[string]Received) { r[x][0] ^= 1 }},
		"copied key share": {ErrCommitment, func(r map[string][]byte, b map[string]Received) { r[x] = r[memberName(1)] }},
		"truncated reveal": {ErrEncoding, func(r map[string][]byte, b map[string]Received) { r[x] = r[x][1:] }},
		"oversized reveal": {ErrEncoding, func(r map[string][]byte, b map[string]Received) { r[x] = append(r[x], 0) }},
		"missing reveal":   {ErrMissing, func(r map[string][]byte, b map[string]Received) { delete(r, x) }},
		"missing box":      {ErrMissing, func(r map[string][]byte, b map[string]Received) { delete(b, x) }},
		"empty box":        {ErrBox, func(r map[string][]byte, b map[string]Received) { change(b, x, func([]byte) []byte { return nil }) }},
		"truncated box": {ErrBox, func(r map[string][]byte, b map[string]Received) {
			change(b, x, func(b []byte) []byte { return b[:len(b)-1] })
		}},
		"oversized box": {ErrBox, func(r map[string][]byte, b map[string]Received) {
			change(b, x, func(b []byte) []byte { return append(b, 0) })
		}},
		"flipped bit in key":   {ErrBox, func(r map[string][]byte, b map[string]Received) { change(b, x, flip(5)) }},
		"flipped bit in body":  {ErrBox, func(r map[string][]byte, b map[string]Received) { change(b, x, flip(99)) }},
		"flipped bit in tag":   {ErrBox, func(r map[string][]byte, b map[string]Received) { change(b, x, flip(-1)) }},
		"other receiver's box": {ErrBox, func(r map[string][]byte, b map[string]Received) { b[x] = addressed(c.dealings, memberName(1))[x] }},
		"other dealer's box":   {ErrBox, func(r map[string][]byte, b map[string]Received) { b[x] = b[memberName(3)] }},
	} {
		r, b := clone()
		attack.apply(r, b)
		_, err := first.Complete(testEpoch, r, b)
		t.Run(name, func(t *testing.T) { wantBlamed(t, err, x, attack.want) })
	}
	r, b := clone()
	r["mallory"] = r[x]
	_, err = first.Complete(testEpoch, r, b)
	wantBlamed(t, err, "mallory", ErrNotMember)
	if _, err := first.PublicKey(testEpoch); !errors.Is(err, ErrNotReady) {
		t.Fatalf("a refused completion left a key: %v", err)
	}
	// The honest messages still complete, and bind.
	pk := must[*he.PublicKey](t)(first.Complete(testEpoch, c.reveals, boxes))
	again := must[*he.PublicKey](t)(first.PublicKey(testEpoch))
	if pk.Digest() != again.Digest() {
		t.Fatal("public key changed")
	}
	r, b = clone()
	change(b, x, flip(5))
	if _, err := first.Complete(testEpoch, r, b); !errors.Is(err, ErrConflict) {
		t.Fatalf("second completion: %v", err)
	}
	// Another description under the same number, and an epoch without this member.
	cfg := EpochConfig{Suite: tinyD1, Context: []byte("forked"), Number: testEpoch, Threshold: 3, Members: c.epoch.Members()}
	if _, err := first.Commit(must[*Epoch](t)(NewEpoch(cfg))); !errors.Is(err, ErrConflict) {
		t.Fatalf("forked epoch: %v", err)
	}
	cfg.Number = 8
	if _, err := first.Commit(must[*Epoch](t)(NewEpoch(cfg))); !errors.Is(err, ErrNotReady) {
		t.Fatalf("no seal key: %v", err)
	}
	must[[]byte](t)(first.SealKey(8))
	if _, err := first.Commit(must[*Epoch](t)(NewEpoch(cfg))); !errors.Is(err, ErrConflict) {
		t.Fatalf("another seal key: %v", err)
	}
	cfg.Members[0].ID = "hospital-z"
	if _, err := first.Commit(must[*Epoch](t)(NewEpoch(cfg))); !errors.Is(err, ErrNotMember) {
		t.Fatalf("not a member: %v", err)
	}
}

// TestReleaseOnce: one ciphertext and one dealer set for each sum, for ever.
func TestReleaseOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	c := newCommittee(t, tinyD1, 4, 2)
	h := c.holders[0]
	id := SumID{"job", 1, 0}
	sum, plain := c.randomSum(t, rng, 3)
	other, _ := c.randomSum(t, rng, 3)
	noise := c.noise(t, id, 3)
	req := c.request(id, sum, noise, h.Self())
	reject := func(name string, want error, change func(r *ReleaseRequest)) {
		t.Helper()
		r := req
		r.Noise = addressed(noise, h.Self())
		change(&r)
		if _, err := h.Release(r); !errors.Is(err, want) {
			t.Fatalf("%s: got %v, want %v", name, err, want)
		}
	}
	x := memberName(1)
	elsewhere := c.noise(t, SumID{"job", 2, 0}, 3)
	otherShard := c.noise(t, SumID{"job", 1, 1}, 3)
	otherJob := c.noise(t, SumID{"job2", 1, 0}, 3)
	// Before anything is released: refusals keep nothing.
	reject("too few dealers", ErrNotEnoughDealers, func(r *ReleaseRequest) { delete(r.Noise, x); delete(r.Noise, memberName(2)) })
	reject("no dealers", ErrNotEnoughDealers, func(r *ReleaseRequest) { r.Noise = nil })
	reject("outsider deals", ErrNotMember, func(r *ReleaseRequest) { r.Noise["mallory"] = r.Noise[x] })
	reject("dealing of another round", ErrBox, func(r *ReleaseRequest) { r.Noise[x] = addressed(elsewhere, h.Self())[x] })
	reject("dealing of another shard", ErrBox, func(r *ReleaseRequest) { r.Noise[x] = addressed(otherShard, h.Self())[x] })
	reject("dealing of another job", ErrBox, func(r *ReleaseRequest) { r.Noise[x] = addressed(otherJob, h.Self())[x] })
	reject("another receiver's box", ErrBox, func(r *ReleaseRequest) { r.Noise[x] = addressed(noise, memberName(2))[x] })
	reject("another dealer's box", ErrBox, func(r *ReleaseRequest) { r.Noise[x] = r.Noise[memberName(2)] })
	reject("a key share as noise", ErrBox, func(r *ReleaseRequest) { r.Noise[x] = addressed(c.dealings, h.Self())[x] })
	reject("truncated box", ErrBox, func(r *ReleaseRequest) { r.Noise[x] = Received{Dealing: r.Noise[x].Dealing, Box: r.Noise[x].Box[1:]} })
	reject("flipped bit", ErrBox, func(r *ReleaseRequest) {
		box := bytes.Clone(r.Noise[x].Box)
		box[77] ^= 1
		r.Noise[x] = Received{Dealing: r.Noise[x].Dealing, Box: box}
	})
	reject("c0 for c1", he.ErrNotCanonical, func(r *ReleaseRequest) { r.C1 = sum.PartBytes(he.C0) })
	reject("truncated c1", he.ErrLength, func(r *ReleaseRequest) { r.C1 = r.C1[1:] })
	reject("empty sum", he.ErrEmptySum, func(r *ReleaseRequest) { r.C1 = c.epoch.Suite().NewSum().PartBytes(he.C1) })
	reject("unknown epoch", ErrNotReady, func(r *ReleaseRequest) { r.Epoch = 99 })
	reject("no job", ErrEncoding, func(r *ReleaseRequest) { r.Sum.Job = "" })
	reject("negative shard", ErrEncoding, func(r *ReleaseRequest) { r.Sum.Shard = -1 })
	if _, found, err := h.Released(id); err != nil || found {
		t.Fatalf("a refused request was recorded: %v", err)
	}
	share := must[[]byte](t)(h.Release(req))

	check := func(when string, shareKept error) {
		t.Helper()
		if got, err := h.Release(req); shareKept == nil && (err != nil || !bytes.Equal(got, share)) {
			t.Fatalf("%s: repeated request: %v", when, err)
		} else if !errors.Is(err, shareKept) {
			t.Fatalf("%s: repeated request: %v", when, err)
		}
		reject(when+": other c1", ErrSecondDigest, func(r *ReleaseRequest) { r.C1 = other.PartBytes(he.C1) })
		reject(when+": other c0", ErrSecondDigest, func(r *ReleaseRequest) { r.C0Digest = other.PartDigest(he.C0) })
		reject(when+": other epoch", ErrSecondDigest, func(r *ReleaseRequest) { r.Epoch = 8 })
		reject(when+": one dealer less", ErrSecondDealerSet, func(r *ReleaseRequest) { delete(r.Noise, x) })
		reject(when+": one dealer more", ErrSecondDealerSet, func(r *ReleaseRequest) { r.Noise[memberName(3)] = Received{} })
		rec, found, err := h.Released(id)
		if err != nil || !found || rec.Digest != sum.Digest() || rec.Epoch != testEpoch || len(rec.Dealers) != 3 {
			t.Fatalf("%s: record %v %v %v", when, rec, found, err)
		}
	}
	restart := func() {
		t.Helper()
		ok(t, h.Close())
		if _, err := h.Release(req); !errors.Is(err, ErrStateUnsure) {
			t.Fatalf("a closed holder answered: %v", err)
		}
		c.stores[0] = c.stores[0].reboot(true)
		h = must[*KeyHolder](t)(openHolder(c.stores[0], memberName(0)))
		c.holders[0] = h
	}
	check("at once", nil)
	restart()
	check("after a restart", nil)
	shares := c.release(t, id, sum, noise, 0, 3)
	o, err := Combine(c.epoch, sum, 3, shares)
	ok(t, err)
	wantOpened(t, o, plain)
	ok(t, h.EraseEpoch(testEpoch))
	check("after erasing the epoch", nil)
	reject("erased epoch", ErrEpochErased, func(r *ReleaseRequest) { r.Sum.Round = 50 })
	restart()
	check("after erasing and a restart", nil)
	ok(t, h.CloseRound("job", 1))
	ok(t, h.CloseRound("job", 1))
	check("after closing the round", ErrRoundClosed)
	restart()
	check("after closing and a restart", ErrRoundClosed)
	for name := range c.stores[0].visible {
		for _, ext := range []string{".key", ".seal", ".commit", ".commitments", ".answers"} {
			if strings.HasSuffix(name, ext) {
				t.Errorf("%s survives EraseEpoch", name)
			}
		}
		if strings.HasPrefix(name, "noise/"+roundName("job", 1)) {
			t.Errorf("%s survives CloseRound", name)
		}
	}
	for name, call := range map[string]func() error{
		"SealKey":  func() error { _, err := h.SealKey(testEpoch); return err },
		"Commit":   func() error { _, err := h.Commit(c.epoch); return err },
		"Reveal":   func() error { _, err := h.Reveal(testEpoch, c.commitments); return err },
		"Deal":     func() error { _, err := h.Deal(testEpoch); return err },
		"Complete": func() error { _, err := h.Complete(testEpoch, c.reveals, nil); return err },
		"Public":   func() error { _, err := h.PublicKey(testEpoch); return err },
		"Noise":    func() error { _, err := h.DealNoise(testEpoch, SumID{"job", 9, 0}); return err },
	} {
		if err := call(); !errors.Is(err, ErrEpochErased) {
			t.Errorf("%s after EraseEpoch: %v", name, err)
		}
	}
	if _, err := h.DealNoise(testEpoch, id); !errors.Is(err, ErrRoundClosed) {
		t.Errorf("noise dealt anew for a closed round: %v", err)
	}
}

func TestNoiseDealtOnce(t *testing.T) {
	c := newCommittee(t, tinyD1, 3, 2)
	h := c.holders[1]
	id := SumID{"job", 4, 2}
	first := must[Dealing](t)(h.DealNoise(testEpoch, id))
	if key := must[[]byte](t)(h.Answer(testEpoch, NoiseSubject(id), memberName(0))); CheckKey(c.epoch, NoiseSubject(id), h.Self(), first, memberName(0), key) != nil {
		t.Fatal("the answer is not the committed key")
	}
	c.stores[1] = c.stores[1].reboot(true)
	h = must[*KeyHolder](t)(openHolder(c.stores[1], h.Self()))
	again := must[Dealing](t)(h.DealNoise(testEpoch, id))
	for k := range first {
		if len(first) != 3 || !bytes.Equal(first[k].Box, again[k].Box) || first.Digest() != again.Digest() {
			t.Fatal("another dealing after a restart")
		}
	}
	if _, err := h.DealNoise(8, id); !errors.Is(err, ErrConflict) {
		t.Errorf("the same sum in another epoch: %v", err)
	}
	ok(t, h.CloseRound("job", 4))
	if _, err := h.DealNoise(testEpoch, SumID{"job", 4, 0}); !errors.Is(err, ErrRoundClosed) {
		t.Errorf("closed round: %v", err)
	}
}

// TestCorruptStateIsNotAbsentState: a damaged record must not look like no
// record.
func TestCorruptStateIsNotAbsentState(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	c := newCommittee(t, tinyD1, 3, 2)
	id := SumID{"job", 1, 0}
	sum, _ := c.randomSum(t, rng, 2)
	noise := c.noise(t, id, 2)
	c.release(t, id, sum, noise, 0)
	for name, file := range c.stores[0].visible {
		saved := bytes.Clone(file.data)
		for _, at := range []int{0, 5, len(saved) / 2, len(saved) - 1} {
			file.data[at] ^= 1
			_, err := c.holders[0].Release(c.request(id, sum, noise, memberName(0)))
			_, err2 := c.holders[0].Complete(testEpoch, c.reveals, addressed(c.dealings, memberName(0)))
			_, err3 := c.holders[0].DealNoise(testEpoch, id)
			_, err4 := c.holders[0].SealKey(testEpoch)
			_, err5 := c.holders[0].Answer(testEpoch, KeySubject(), memberName(1))
			if all := errors.Join(err, err2, err3, err4, err5); !errors.Is(all, ErrCorruptState) {
				t.Errorf("%s damaged at %d: %v", name, at, all)
			}
			file.data = bytes.Clone(saved)
		}
		file.data = nil
		_, err := c.holders[0].Release(c.request(id, sum, noise, memberName(0)))
		if strings.HasPrefix(name, dirReleased) && !errors.Is(err, ErrCorruptState) {
			t.Errorf("empty record: %v", err)
		}
		file.data = saved
	}
}

// TestDisk runs a holder on the real file system: modes, lock, restart.
func TestDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "holder")
	h := must[*KeyHolder](t)(Open(dir, "hospital-a"))
	key := must[[]byte](t)(h.SealKey(1))
	if _, err := Open(dir, "hospital-a"); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second holder on one directory: %v", err)
	}
	other := must[*KeyHolder](t)(Open(filepath.Join(t.TempDir(), "b"), "hospital-b"))
	e := must[*Epoch](t)(NewEpoch(EpochConfig{Suite: tinyD1, Context: []byte("g"), Number: 1, Threshold: 2, Members: []Member{
		{"hospital-a", 1, key}, {"hospital-b", 2, must[[]byte](t)(other.SealKey(1))},
	}}))
	ca := must[[32]byte](t)(h.Commit(e))
	cb := must[[32]byte](t)(other.Commit(e))
	all := map[string][32]byte{"hospital-a": ca, "hospital-b": cb}
	reveals := map[string][]byte{
		"hospital-a": must[[]byte](t)(h.Reveal(1, all)), "hospital-b": must[[]byte](t)(other.Reveal(1, all)),
	}
	boxes := map[string]Dealing{
		"hospital-a": must[Dealing](t)(h.Deal(1)), "hospital-b": must[Dealing](t)(other.Deal(1)),
	}
	pk := must[*he.PublicKey](t)(h.Complete(1, reveals, addressed(boxes, "hospital-a")))
	ok(t, h.Close())
	ok(t, h.Close())
	left := filepath.Join(dir, dirEpochs, "half-written"+tmpSuffix)
	ok(t, os.WriteFile(left, []byte("secret"), 0o600))
	h = must[*KeyHolder](t)(Open(dir, "hospital-a"))
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error("a half-written file survives Open")
	}
	if must[*he.PublicKey](t)(h.PublicKey(1)).Digest() != pk.Digest() {
		t.Error("public key changed across a restart")
	}
	if again := must[[32]byte](t)(h.Commit(e)); again != ca {
		t.Error("commitment changed across a restart")
	}
	if got := must[*Epoch](t)(h.Epoch(1)); got.Digest() != e.Digest() {
		t.Error("epoch changed across a restart")
	}
	ok(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	}))
	ok(t, h.EraseEpoch(1))
	ok(t, h.EraseEpoch(1))
	entries := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(dir, dirEpochs)))
	if len(entries) != 1 {
		t.Errorf("%d files left of an erased epoch", len(entries))
	}
	ok(t, h.Close())
	ok(t, other.Close())
	if _, err := Open(dir, ""); !errors.Is(err, ErrEncoding) {
		t.Errorf("no name: %v", err)
	}
}
