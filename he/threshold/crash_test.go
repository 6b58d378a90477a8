package threshold

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"credence/he"
)

// world is what everyone outside a crashing holder has seen of it. Whatever it
// answered once it must answer again, and no sum may be answered for two
// digests.
type world struct {
	t       *testing.T
	label   string
	c       *committee // holder 0 crashes, the others do not
	seen    map[string][]byte
	digests map[SumID][32]byte
	sums    map[SumID][2]*he.Sum // an honest sum and an attacker's
	noise   map[SumID]map[string]Dealing
	erased  bool
	// confirming: the member was told that the epoch's key is published.
	confirming bool
}

func (w *world) note(what string, v []byte) {
	w.t.Helper()
	if prev, ok := w.seen[what]; ok && !bytes.Equal(prev, v) {
		w.t.Fatalf("%s: %s answered twice, differently", w.label, what)
	}
	w.seen[what] = bytes.Clone(v)
}

func (w *world) noteDealing(what string, d Dealing) {
	for _, b := range d {
		w.note(what+"/"+b.Receiver, b.Box)
	}
	digest := d.Digest()
	w.note(what, digest[:])
}

// ask requests a share of one of the two sums and records what came.
func (w *world) ask(h *KeyHolder, id SumID, which int) error {
	noise := w.noise[id]
	if noise == nil {
		return fmt.Errorf("%w: noise not dealt yet", ErrNotReady)
	}
	sum := w.sums[id][which]
	share, err := h.Release(w.c.request(id, sum, noise, h.Self()))
	if err != nil {
		return err
	}
	if d, opened := w.digests[id]; opened && d != sum.Digest() {
		w.t.Fatalf("%s: %v answered for two ciphertexts", w.label, id)
	}
	w.digests[id] = sum.Digest()
	w.note("share "+id.String(), share)
	return nil
}

var crashSums = []SumID{{"job", 1, 0}, {"job", 2, 0}}

// drive takes the holder from nothing to an erased epoch, repeating whatever
// was done before, and stops at the first error.
func (w *world) drive(h *KeyHolder, rng *rand.Rand) error {
	if w.erased {
		return nil
	}
	key, err := h.SealKey(testEpoch)
	if errors.Is(err, ErrEpochErased) && len(w.digests) == len(crashSums) {
		// The crash came during the erasure: finish that.
		if err := h.EraseEpoch(testEpoch); err != nil {
			return err
		}
		w.erased = true
		return nil
	}
	if err != nil {
		return err
	}
	w.note("seal key", key)
	if w.c.epoch == nil {
		cfg := EpochConfig{Suite: tinyD1, Context: []byte("genesis"), Number: testEpoch, Threshold: 2,
			Members: []Member{{h.Self(), 1, key}}}
		for i, other := range w.c.holders {
			cfg.Members = append(cfg.Members, Member{other.Self(), i + 2, must[[]byte](w.t)(other.SealKey(testEpoch))})
		}
		w.c.epoch = must[*Epoch](w.t)(NewEpoch(cfg))
	}
	commitment, err := h.Commit(w.c.epoch)
	if err != nil {
		return err
	}
	w.note("commitment", commitment[:])
	commitments := map[string][32]byte{h.Self(): commitment}
	for _, o := range w.c.holders {
		commitments[o.Self()] = must[[32]byte](w.t)(o.Commit(w.c.epoch))
	}
	reveal, err := h.Reveal(testEpoch, commitments)
	if err != nil {
		return err
	}
	w.note("reveal", reveal)
	boxes, err := h.Deal(testEpoch)
	if err != nil {
		return err
	}
	w.noteDealing("key box", boxes)
	reveals := map[string][]byte{h.Self(): reveal}
	all := map[string]Dealing{h.Self(): boxes}
	for _, o := range w.c.holders {
		reveals[o.Self()] = must[[]byte](w.t)(o.Reveal(testEpoch, commitments))
		all[o.Self()] = must[Dealing](w.t)(o.Deal(testEpoch))
	}
	pk, err := h.Complete(testEpoch, reveals, addressed(all, h.Self()))
	if err != nil {
		return err
	}
	w.note("public key", pk.Bytes())
	for _, o := range w.c.holders {
		must[*he.PublicKey](w.t)(o.Complete(testEpoch, reveals, addressed(all, o.Self())))
	}
	w.c.pk = pk
	if err := w.selfTest(h, all); err != nil {
		return err
	}
	for _, id := range crashSums {
		if _, made := w.sums[id]; !made {
			a, _ := w.c.randomSum(w.t, rng, 1)
			b, _ := w.c.randomSum(w.t, rng, 1)
			w.sums[id] = [2]*he.Sum{a, b}
		}
		if _, closed := w.seen["closed "+id.String()]; closed {
			continue
		}
		mine, err := h.DealNoise(testEpoch, id)
		if errors.Is(err, ErrRoundClosed) && id == crashSums[0] {
			// The crash came while it was being closed: finish that.
			if err := h.CloseRound(id.Job, id.Round); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		w.noteDealing("noise box "+id.String(), mine)
		if w.noise[id] == nil {
			w.noise[id] = map[string]Dealing{h.Self(): mine}
			for _, o := range w.c.holders {
				w.noise[id][o.Self()] = must[Dealing](w.t)(o.DealNoise(testEpoch, id))
			}
		}
		if err := w.ask(h, id, 0); err != nil && !errors.Is(err, ErrSecondDigest) {
			return err
		}
		if id == crashSums[0] {
			if err := h.CloseRound(id.Job, id.Round); err != nil {
				return err
			}
			w.seen["closed "+id.String()] = nil
		}
	}
	if err := h.EraseEpoch(testEpoch); err != nil {
		return err
	}
	w.erased = true
	return nil
}

// selfTest answers a complaint, takes part in the self-test and confirms the
// epoch.
func (w *world) selfTest(h *KeyHolder, dealings map[string]Dealing) error {
	key, err := h.Answer(testEpoch, KeySubject(), memberName(1))
	if errors.Is(err, ErrNotReady) && w.confirming {
		return h.Confirm(testEpoch)
	}
	if err != nil {
		return err
	}
	w.note("answer", key)
	for _, target := range []string{memberName(1)} { // the collective test does less
		n, err := w.c.epoch.target(target)
		if err != nil {
			return err
		}
		id := TestSum(testEpoch, n)
		mine, err := h.DealNoise(testEpoch, id)
		if errors.Is(err, ErrRoundClosed) && w.confirming {
			return h.Confirm(testEpoch)
		}
		if err != nil {
			return err
		}
		w.noteDealing("noise box "+id.String(), mine)
		noise := map[string]Dealing{h.Self(): mine}
		for _, o := range w.c.holders {
			noise[o.Self()] = must[Dealing](w.t)(o.DealNoise(testEpoch, id))
		}
		share, err := h.ReleaseTest(TestRequest{Epoch: testEpoch, Target: target, KeyShare: addressed(dealings, h.Self())[memberName(1)], Noise: addressed(noise, h.Self())})
		if err != nil {
			return err
		}
		w.note("share "+id.String(), share)
	}
	w.confirming = true
	return h.Confirm(testEpoch)
}

// attack asks for the other ciphertext of every sum; it must be refused
// wherever the first was answered.
func (w *world) attack(h *KeyHolder) {
	w.t.Helper()
	for id := range w.sums {
		err := w.ask(h, id, 1)
		first, opened := w.digests[id]
		if opened && first == w.sums[id][0].Digest() && !errors.Is(err, ErrSecondDigest) && !errors.Is(err, ErrStateUnsure) {
			w.t.Fatalf("%s: second ciphertext for %v: %v", w.label, id, err)
		}
	}
}

func newWorld(t *testing.T, label string) *world {
	w := &world{t: t, label: label, c: &committee{}, seen: map[string][]byte{}, digests: map[SumID][32]byte{},
		sums: map[SumID][2]*he.Sum{}, noise: map[SumID]map[string]Dealing{}}
	for i := range 2 {
		w.c.holders = append(w.c.holders, must[*KeyHolder](t)(openHolder(newMemory(), memberName(i+1))))
	}
	return w
}

// TestCrashAtEveryWrite fails every single storage operation of a holder's
// life, in every way: before or after it took effect, with torn data, with the
// machine going down (losing what was not synced, or not) or the process going on.
// After each, an attacker asks for other ciphertexts, and the run is completed.
func TestCrashAtEveryWrite(t *testing.T) {
	type mode struct {
		name                       string
		down, done, torn, powerCut bool
	}
	modes := []mode{
		{"crash before, power cut", true, false, false, true},
		{"crash before, files kept", true, false, false, false},
		{"crash before, torn write kept", true, false, true, false},
		{"crash before, torn write, power cut", true, false, true, true},
		{"crash after, power cut", true, true, false, true},
		{"crash after, files kept", true, true, false, false},
		{"error before, goes on", false, false, false, true},
		{"error after, goes on", false, true, false, true},
		{"torn write, goes on", false, false, true, true},
	}
	total := 0
	for _, m := range modes {
		for at := 1; ; at++ {
			rng := rand.New(rand.NewPCG(1, uint64(at)))
			w := newWorld(t, fmt.Sprintf("%s at operation %d", m.name, at))
			st := newMemory()
			st.failAt, st.down, st.done, st.torn = at, m.down, m.done, m.torn
			h, err := openHolder(st, memberName(0))
			if err == nil {
				err = w.drive(h, rng)
			}
			if !st.failed {
				if err != nil {
					t.Fatalf("%s: undisturbed run: %v", w.label, err)
				}
				total += at - 1
				if at < 30 {
					t.Fatalf("only %d operations were tried", at-1)
				}
				break
			}
			// Go on in the same process where it still runs, to the end or until
			// the holder says that it is unsure.
			for try := 0; !m.down && h != nil && try < 3 && !w.erased; try++ {
				w.attack(h)
				if err := w.drive(h, rng); errors.Is(err, ErrStateUnsure) {
					break
				}
			}
			// Then restart, and restart once more through a power cut: what was
			// visible after the first must have become durable.
			for _, cut := range []bool{m.powerCut, true, true} {
				st = st.reboot(cut)
				h = must[*KeyHolder](t)(openHolder(st, memberName(0)))
				w.attack(h)
				if err := w.drive(h, rng); err != nil {
					t.Fatalf("%s: after the restart: %v", w.label, err)
				}
				w.attack(h)
			}
			if len(w.digests) != len(crashSums) {
				t.Fatalf("%s: %d sums answered", w.label, len(w.digests))
			}
			for name := range st.visible {
				if bytes.Contains([]byte(name), []byte(".key")) || bytes.Contains([]byte(name), []byte(".seal")) {
					t.Fatalf("%s: secret file %s survives EraseEpoch", w.label, name)
				}
			}
		}
	}
	t.Logf("%d failures injected", total)
}

// TestUnsureHolderStops: after a failure that may or may not have taken effect
// the holder answers nothing until it is opened again, for its record could vanish
// in a power cut.
func TestUnsureHolderStops(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, failing := range []int{2, 3} { // rename, syncDir
		c := newCommittee(t, tinyD1, 3, 2)
		id := SumID{"job", 1, 0}
		sum, _ := c.randomSum(t, rng, 2)
		other, _ := c.randomSum(t, rng, 2)
		noise := c.noise(t, id, 3)
		h, st := c.holders[0], c.stores[0]
		st.ops, st.failAt, st.done = 0, failing, true
		if _, err := h.Release(c.request(id, sum, noise, h.Self())); !errors.Is(err, ErrStateUnsure) {
			t.Fatalf("failing operation %d: %v", failing, err)
		}
		if _, err := h.Release(c.request(id, sum, noise, h.Self())); !errors.Is(err, ErrStateUnsure) {
			t.Fatalf("an unsure holder answered: %v", err)
		}
		if _, err := h.PublicKey(testEpoch); !errors.Is(err, ErrStateUnsure) {
			t.Fatalf("an unsure holder answered: %v", err)
		}
		h = must[*KeyHolder](t)(openHolder(st.reboot(false), h.Self()))
		must[[]byte](t)(h.Release(c.request(id, sum, noise, h.Self())))
		if _, err := h.Release(c.request(id, other, noise, h.Self())); !errors.Is(err, ErrSecondDigest) {
			t.Fatalf("second ciphertext: %v", err)
		}
	}
}

// TestFullDisk: a failed write changes nothing and says what it was doing; with
// space again the same holder goes on.
func TestFullDisk(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	c := newCommittee(t, tinyD1, 3, 2)
	id := SumID{"job", 1, 0}
	sum, _ := c.randomSum(t, rng, 2)
	noise := c.noise(t, id, 3)
	st := c.stores[0]
	st.ops, st.failAt, st.torn = 0, 1, true
	_, err := c.holders[0].Release(c.request(id, sum, noise, memberName(0)))
	if !errors.Is(err, errCrash) || errors.Is(err, ErrStateUnsure) {
		t.Fatalf("full disk: %v", err)
	}
	must[[]byte](t)(c.holders[0].Release(c.request(id, sum, noise, memberName(0))))
}
