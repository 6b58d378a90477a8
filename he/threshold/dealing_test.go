package threshold

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"credence/fl"
	"credence/he"
)

// forged deals a secret as deal does, with the contents of the boxes changed
// before they are sealed. The checks are those of the true polynomial.
func forged(t testing.TB, e *Epoch, subject Subject, dealer string, secret *he.Poly, seed []byte, change func(payloads []*payload)) Dealing {
	t.Helper()
	sharing, masks := newSharing(secret, seededPoints(e, dealer), len(e.cfg.Members)), newMasks(e)
	var payloads []*payload
	var points []int
	for _, m := range e.cfg.Members {
		share, err := sharing.at(m.Point)
		ok(t, err)
		payloads = append(payloads, &payload{share: share, seed: slices.Clone(sharing.seeds[m.Point]), masks: masks.at(m.Point)})
		points = append(points, m.Point)
	}
	change(payloads)
	d := must[Dealing](t)(sealPayloads(e, subject, dealer, payloads, seed))
	for i, y := range sharing.answers(challengeOf(e, subject, dealer, d), masks, points) {
		d[i].Check = encodeResidues(y)
	}
	return d
}

// truthful replaces the checks of a dealing by what its boxes really give.
func truthful(t testing.TB, e *Epoch, subject Subject, dealer string, d Dealing, seed []byte) Dealing {
	t.Helper()
	d = slices.Clone(d)
	for i, b := range d {
		context := boxContext(e, subject, dealer, b.Receiver)
		p := must[*payload](t)(openBody(e, dealer, b.Receiver, context, contentKey(seed, context), b.Box))
		d[i].Check = encodeResidues(challengeOf(e, subject, dealer, d).respond(p.share, p.masks))
	}
	return d
}

// TestDealingIsChecked covers what anyone refuses of a dealing's public part.
func TestDealingIsChecked(t *testing.T) {
	c := newCommittee(t, tinyD1, 5, 3)
	x := memberName(1)
	q := c.epoch.suite.Primes()
	for name, change := range map[string]func(d Dealing) Dealing{
		"one box less":      func(d Dealing) Dealing { return d[:4] },
		"one box more":      func(d Dealing) Dealing { return append(d, d[4]) },
		"no boxes":          func(Dealing) Dealing { return nil },
		"another order":     func(d Dealing) Dealing { d[0], d[1] = d[1], d[0]; return d },
		"a stranger's name": func(d Dealing) Dealing { d[0].Receiver = "mallory"; return d },
		"a receiver twice":  func(d Dealing) Dealing { d[1] = d[0]; return d },
		"a short check":     func(d Dealing) Dealing { d[2].Check = d[2].Check[1:]; return d },
		"no check":          func(d Dealing) Dealing { d[2].Check = nil; return d },
		"a residue of q":    func(d Dealing) Dealing { binary.LittleEndian.PutUint64(d[2].Check[8:], q[1]); return d },
		"a residue plus its prime": func(d Dealing) Dealing {
			y, _ := parseResidues(c.epoch.suite, d[0].Check)
			binary.LittleEndian.PutUint64(d[0].Check, y[0]+q[0])
			return d
		},
		"a residue above all": func(d Dealing) Dealing { binary.LittleEndian.PutUint64(d[2].Check, ^uint64(0)); return d },
		"checks of a higher degree": func(d Dealing) Dealing {
			for i := range d {
				y, _ := parseResidues(c.epoch.suite, d[i].Check)
				x := uint64(i + 1)
				y[1] = addMod(y[1], x*x*x, q[1])
				d[i].Check = encodeResidues(y)
			}
			return d
		},
	} {
		d := withoutBoxes(c.dealings[x])
		for i := range d {
			d[i].Check = bytes.Clone(d[i].Check)
		}
		ok(t, VerifyDealing(c.epoch, KeySubject(), x, d))
		err := VerifyDealing(c.epoch, KeySubject(), x, change(d))
		t.Run(name, func(t *testing.T) { wantBlamed(t, err, x, ErrDealing) })
	}
	wantBlamed(t, VerifyDealing(c.epoch, KeySubject(), "mallory", c.dealings[x]), "mallory", ErrNotMember)
	// At degree t-1 the checks are a sharing; adding one more keeps them one.
	rapid.Check(t, func(t *rapid.T) {
		d := withoutBoxes(c.dealings[x])
		i, j := rapid.IntRange(0, 4).Draw(t, "receiver"), rapid.IntRange(0, len(d[0].Check)/8-1).Draw(t, "residue")
		by := rapid.Uint64Range(1, q[j%len(q)]-1).Draw(t, "by")
		y, _ := parseResidues(c.epoch.suite, d[i].Check)
		y[j] = addMod(y[j], by, q[j%len(q)])
		d[i].Check = encodeResidues(y)
		if err := VerifyDealing(c.epoch, KeySubject(), x, d); !errors.Is(err, ErrDealing) {
			t.Fatalf("one check off by %d: %v", by, err)
		}
	})
}

// TestWrongShareIsShown: whatever a dealer puts into one receiver's box beside
// the promised share, that receiver finds it, everyone can verify it, and
// nobody else is bothered.
func TestWrongShareIsShown(t *testing.T) {
	c := newCommittee(t, tinyD1, 5, 3)
	s := c.epoch.Suite()
	cheat, victim := memberName(1), memberName(3)
	id := SumID{"job", 1, 0}
	subject := NoiseSubject(id)
	seed := newSeed()
	for name, change := range map[string]func(p []*payload){
		"another share":                func(p []*payload) { p[3].share = s.UniformPoly() },
		"a share off by one":           func(p []*payload) { p[3].share.RNS().Coeffs[1][17] ^= 1 },
		"another's share":              func(p []*payload) { p[3].share = p[2].share },
		"another mask":                 func(p []*payload) { p[3].masks[2] ^= 1 },
		"a mask of another point":      func(p []*payload) { p[3].masks = p[2].masks },
		"a mask that is not canonical": func(p []*payload) { p[3].masks[1] = s.Primes()[1] },
	} {
		t.Run(name, func(t *testing.T) {
			d := forged(t, c.epoch, subject, cheat, s.SmudgingPoly(), seed, change)
			ok(t, VerifyDealing(c.epoch, subject, cheat, d))
			private := privateOf(t, c, 3)
			share, charge, err := c.holders[3].takeShare(c.epoch, subject, cheat, addressed(map[string]Dealing{cheat: d}, victim)[cheat], private)
			if err != nil || share != nil || charge == nil || charge.Dealer != cheat || len(charge.Key) == 0 {
				t.Fatalf("charge %+v, error %v", charge, err)
			}
			ruling := must[Ruling](t)(Judge(c.epoch, subject, cheat, withoutBoxes(d), victim, d[3].Box, charge.Key))
			if ruling.Guilty != cheat || !errors.Is(ruling.Reason, ErrDealing) && !errors.Is(ruling.Reason, ErrBox) {
				t.Fatalf("ruling %+v", ruling)
			}
			if share, charge, err := c.holders[2].takeShare(c.epoch, subject, cheat, addressed(map[string]Dealing{cheat: d}, memberName(2))[cheat], privateOf(t, c, 2)); share == nil || charge != nil || err != nil {
				t.Fatalf("another receiver: %v %v", charge, err)
			}
			// With the checks that these boxes give the dealing is refused at once.
			if name == "a mask that is not canonical" {
				return
			}
			wantBlamed(t, VerifyDealing(c.epoch, subject, cheat, truthful(t, c.epoch, subject, cheat, d, seed)), cheat, ErrDealing)
		})
	}
}

// TestWrongSeedIsShown: the same where the receiver's share is a seed. The
// receivers of seeds are the dealer and those after it.
func TestWrongSeedIsShown(t *testing.T) {
	c := newCommittee(t, tinyD4, 5, 3)
	s := c.epoch.Suite()
	cheat, victim, at := memberName(4), memberName(0), 0
	if !slices.Equal(seededPoints(c.epoch, cheat), []int{5, 1}) {
		t.Fatalf("seeds go to points %v", seededPoints(c.epoch, cheat))
	}
	subject := NoiseSubject(SumID{"job", 1, 0})
	for name, change := range map[string]func(p []*payload){
		"another seed":             func(p []*payload) { p[at].seed = newSeed() },
		"another's seed":           func(p []*payload) { p[at].seed = p[4].seed },
		"a seed off by a bit":      func(p []*payload) { p[at].seed[7] ^= 1 },
		"another mask":             func(p []*payload) { p[at].masks[0] ^= 1 },
		"a share and not its seed": func(p []*payload) { p[at].seed = nil },
	} {
		t.Run(name, func(t *testing.T) {
			d := forged(t, c.epoch, subject, cheat, s.SmudgingPoly(), newSeed(), change)
			r := addressed(map[string]Dealing{cheat: d}, victim)[cheat]
			share, charge, err := c.holders[at].takeShare(c.epoch, subject, cheat, r, privateOf(t, c, at))
			if name == "a share and not its seed" { // the relay does not take it in
				wantBlamed(t, err, cheat, ErrBox)
				return
			}
			if err != nil || share != nil || charge == nil || len(charge.Key) == 0 {
				t.Fatalf("charge %+v, error %v", charge, err)
			}
			ruling := must[Ruling](t)(Judge(c.epoch, subject, cheat, withoutBoxes(d), victim, d[at].Box, charge.Key))
			if ruling.Guilty != cheat || !errors.Is(ruling.Reason, ErrDealing) {
				t.Fatalf("ruling %+v", ruling)
			}
		})
	}
}

// TestSeedsAreSpread: every member receives as many seeds as every other, and a
// dealing is as long as its seeds and shares.
func TestSeedsAreSpread(t *testing.T) {
	for n := 2; n <= 6; n++ {
		for threshold := 2; threshold <= n; threshold++ {
			c := newCommittee(t, tinyD1, n, threshold)
			got := map[string]int{}
			for dealer, d := range c.dealings {
				for _, b := range d {
					if want := BoxBytes(c.epoch, dealer, b.Receiver); len(b.Box) != want {
						t.Fatalf("%d of %d: a box of %d bytes, want %d", threshold, n, len(b.Box), want)
					}
					if seeded(c.epoch, dealer, b.Receiver) {
						got[b.Receiver]++
					}
				}
			}
			for i := range n {
				if got[memberName(i)] != threshold-1 {
					t.Errorf("%d of %d: %v", threshold, n, got)
				}
			}
		}
	}
}

func privateOf(t testing.TB, c *committee, i int) []byte {
	t.Helper()
	private, _, err := c.holders[i].get(dirEpochs, epochFile(testEpoch, "seal"), kindSealKey)
	ok(t, err)
	return private
}

// reseal replaces one box of a dealing and everything that follows from it, as
// a dealer can that knows all its secrets.
func reseal(t testing.TB, c *committee, subject Subject, cheat string, d Dealing, i int, key, committed, plain []byte) Dealing {
	t.Helper()
	m := c.epoch.cfg.Members[i]
	context := boxContext(c.epoch, subject, cheat, m.ID)
	d = slices.Clone(d)
	d[i].Box = must[[]byte](t)(sealBox(m.SealKey, context, key, plain))
	d[i].Digest = sha256.Sum256(d[i].Box)
	d[i].Commitment = commitKey(context, committed)
	return d
}

// TestWrongBoxIsAnswered: a box that does not give its key is complained about
// without one; the dealer's answer decides.
func TestWrongBoxIsAnswered(t *testing.T) {
	c := newCommittee(t, tinyD1, 4, 2)
	s := c.epoch.Suite()
	cheat, victim := memberName(2), memberName(0)
	subject := KeySubject()
	context := boxContext(c.epoch, subject, cheat, victim)
	good, other := newSeed(), newSeed()
	plain := (&payload{share: s.UniformPoly(), masks: make([]uint64, CheckBytes(s)/8)}).encode()
	honest := c.dealings[cheat]
	take := func(t *testing.T, d Dealing, key []byte) (*he.Poly, *Charge, error) {
		t.Helper()
		r := addressed(map[string]Dealing{cheat: d}, victim)[cheat]
		r.Key = key
		return c.holders[0].takeShare(c.epoch, subject, cheat, r, privateOf(t, c, 0))
	}
	keyless := func(t *testing.T, d Dealing) {
		t.Helper()
		if _, charge, err := take(t, d, nil); err != nil || charge == nil || len(charge.Key) != 0 {
			t.Fatalf("charge %+v, error %v", charge, err)
		}
	}
	t.Run("sealed key that is not the committed one", func(t *testing.T) {
		d := reseal(t, c, subject, cheat, honest, 0, other, good, plain)
		keyless(t, d)
		ruling := must[Ruling](t)(Judge(c.epoch, subject, cheat, d, victim, d[0].Box, good))
		if ruling.Guilty != cheat || !errors.Is(ruling.Reason, ErrBox) {
			t.Fatalf("ruling %+v", ruling)
		}
		// The dealer has no other answer: another key is not the committed one.
		if err := CheckKey(c.epoch, subject, cheat, d, victim, other); !errors.Is(err, ErrKey) {
			t.Fatal(err)
		}
	})
	t.Run("sealed key that does not open", func(t *testing.T) {
		d := slices.Clone(honest)
		d[0].Box = bytes.Clone(d[0].Box)
		d[0].Box[40] ^= 1
		d[0].Digest = sha256.Sum256(d[0].Box)
		keyless(t, d)
	})
	t.Run("a right answer gives the share", func(t *testing.T) {
		key := must[[]byte](t)(c.holders[2].Answer(testEpoch, subject, victim))
		share, charge, err := take(t, honest, key)
		if err != nil || charge != nil || share == nil {
			t.Fatalf("charge %+v, error %v", charge, err)
		}
		sealed, _, err := take(t, honest, nil)
		ok(t, err)
		if !share.Equal(sealed) {
			t.Fatal("the answer gives another share than the box")
		}
	})
	t.Run("a wrong answer is the dealer's", func(t *testing.T) {
		_, _, err := take(t, honest, other)
		wantBlamed(t, err, cheat, ErrKey)
	})
	t.Run("contents that are no payload", func(t *testing.T) {
		for name, plain := range map[string][]byte{
			"all ones": bytes.Repeat([]byte{0xff}, payloadBytes(s, false)),
			"zeros":    make([]byte, payloadBytes(s, false)),
		} {
			d := reseal(t, c, subject, cheat, honest, 0, good, good, plain)
			_, charge, err := take(t, d, nil)
			if err != nil || charge == nil || !bytes.Equal(charge.Key, good) {
				t.Fatalf("%s: charge %+v, error %v", name, charge, err)
			}
			ruling := must[Ruling](t)(Judge(c.epoch, subject, cheat, d, victim, d[0].Box, charge.Key))
			if ruling.Guilty != cheat {
				t.Fatalf("%s: ruling %+v", name, ruling)
			}
		}
	})
	t.Run("lying complainers", func(t *testing.T) {
		key := contentKeyOf(t, c, 0, cheat)
		if commitKey(context, key) != honest[0].Commitment {
			t.Fatal("the box gives another key than the committed one")
		}
		for want, key := range map[error][]byte{ErrFalseComplaint: key, ErrKey: other} {
			ruling := must[Ruling](t)(Judge(c.epoch, subject, cheat, honest, victim, honest[0].Box, key))
			if ruling.Guilty != victim || !errors.Is(ruling.Reason, want) {
				t.Fatalf("ruling %+v, want %v", ruling, want)
			}
		}
		// Another receiver's key opens nothing here.
		ruling := must[Ruling](t)(Judge(c.epoch, subject, cheat, honest, victim, honest[0].Box, must[[]byte](t)(c.holders[2].Answer(testEpoch, subject, memberName(1)))))
		if ruling.Guilty != victim {
			t.Fatalf("ruling %+v", ruling)
		}
	})
	t.Run("nothing to judge", func(t *testing.T) {
		key := contentKeyOf(t, c, 0, cheat)
		_, err := Judge(c.epoch, subject, cheat, honest, victim, honest[1].Box, key)
		wantBlamed(t, err, cheat, ErrBox)
		_, err = Judge(c.epoch, subject, cheat, honest, victim, nil, key)
		wantBlamed(t, err, cheat, ErrBox)
		_, err = Judge(c.epoch, subject, cheat, honest[1:], victim, honest[0].Box, key)
		wantBlamed(t, err, cheat, ErrDealing)
	})
}

// contentKeyOf is the key that receiver i finds in the box of a dealer.
func contentKeyOf(t testing.TB, c *committee, i int, dealer string) []byte {
	t.Helper()
	return must[[]byte](t)(unsealKey(privateOf(t, c, i), boxContext(c.epoch, KeySubject(), dealer, memberName(i)), c.dealings[dealer][i].Box))
}

// TestComplaintsKeepNothing: a completion and a release with wrong boxes name
// every dealer at once, keep nothing, and work once answers or right boxes are in.
func TestComplaintsKeepNothing(t *testing.T) {
	c := startCommittee(t, tinyD1, 4, 2)
	c.exchange(t)
	h, s := c.holders[0], c.epoch.Suite()
	received := addressed(c.dealings, h.Self())
	var keys [2][]byte
	for i, k := range []int{1, 3} {
		x := memberName(k)
		keys[i] = must[[]byte](t)(c.holders[k].Answer(testEpoch, KeySubject(), h.Self()))
		// The sealed key is damaged; its contents are right.
		d := slices.Clone(received[x].Dealing)
		box := bytes.Clone(received[x].Box)
		box[0] ^= 1
		d[0].Digest = sha256.Sum256(box)
		received[x] = Received{Dealing: d, Box: box}
	}
	_, err := h.Complete(testEpoch, c.reveals, received)
	var complaint *ComplaintError
	if !errors.As(err, &complaint) || len(complaint.Charges) != 2 || complaint.Charges[0].Dealer != memberName(1) || complaint.Charges[1].Dealer != memberName(3) {
		t.Fatalf("two wrong boxes: %v", err)
	}
	wantBlamed(t, err, memberName(1), ErrBox)
	if _, err := h.PublicKey(testEpoch); !errors.Is(err, ErrNotReady) {
		t.Fatalf("a refused completion left a key: %v", err)
	}
	// The digest is part of the challenge, so these contents no longer give the
	// published check, and a keyed complaint follows.
	for i, k := range []int{1, 3} {
		r := received[memberName(k)]
		r.Key = keys[i]
		received[memberName(k)] = r
	}
	if _, err = h.Complete(testEpoch, c.reveals, received); !errors.As(err, &complaint) || len(complaint.Charges[0].Key) == 0 {
		t.Fatalf("answered: %v", err)
	}
	honest := addressed(c.dealings, h.Self())
	r := honest[memberName(1)]
	r.Key = keys[0]
	honest[memberName(1)] = r
	must[*he.PublicKey](t)(h.Complete(testEpoch, c.reveals, honest))
	delete(honest, memberName(1))
	honest[memberName(1)] = Received{Dealing: r.Dealing, Box: r.Box}
	must[*he.PublicKey](t)(h.Complete(testEpoch, c.reveals, honest)) // with or without the answer
	for _, o := range c.holders[1:] {
		c.pk = must[*he.PublicKey](t)(o.Complete(testEpoch, c.reveals, addressed(c.dealings, o.Self())))
	}

	// Noise: the victim releases nothing, the others open the sum.
	id := SumID{"job", 1, 0}
	sum, plain := c.randomSum(t, rand.New(rand.NewPCG(1, 1)), 2)
	noise := c.noise(t, id, 3)
	cheat := memberName(1)
	noise[cheat] = forged(t, c.epoch, NoiseSubject(id), cheat, s.SmudgingPoly(), newSeed(), func(p []*payload) { p[0].share = s.UniformPoly() })
	if _, err := h.Release(c.request(id, sum, noise, h.Self())); !errors.As(err, &complaint) || complaint.Charges[0].Dealer != cheat {
		t.Fatalf("wrong noise: %v", err)
	}
	if _, found, err := h.Released(id); found || err != nil {
		t.Fatalf("a refused release was recorded: %v", err)
	}
	o, err := Combine(c.epoch, sum, 3, c.release(t, id, sum, noise, 1, 2, 3))
	ok(t, err)
	wantOpened(t, o, plain)
}

// TestAnswersEnd: content keys are there as long as a complaint may come.
func TestAnswersEnd(t *testing.T) {
	c := newCommittee(t, tinyD1, 3, 2)
	h, x := c.holders[0], memberName(1)
	if _, err := h.Answer(testEpoch, KeySubject(), "mallory"); !errors.Is(err, ErrNotMember) {
		t.Fatal(err)
	}
	if _, err := h.Answer(testEpoch, NoiseSubject(SumID{"job", 1, 0}), x); !errors.Is(err, ErrNotReady) {
		t.Fatal(err)
	}
	id := SumID{"job", 1, 0}
	d := must[Dealing](t)(h.DealNoise(testEpoch, id))
	key := must[[]byte](t)(h.Answer(testEpoch, NoiseSubject(id), x))
	ok(t, CheckKey(c.epoch, NoiseSubject(id), h.Self(), d, x, key))
	ok(t, h.Confirm(testEpoch))
	ok(t, h.Confirm(testEpoch))
	if _, err := h.Answer(testEpoch, KeySubject(), x); !errors.Is(err, ErrNotReady) {
		t.Fatal(err)
	}
	ok(t, h.CloseRound("job", 1))
	if _, err := h.Answer(testEpoch, NoiseSubject(id), x); !errors.Is(err, ErrNotReady) {
		t.Fatal(err)
	}
	ok(t, h.EraseEpoch(testEpoch))
	if err := h.Confirm(testEpoch); !errors.Is(err, ErrEpochErased) {
		t.Fatal(err)
	}
	if _, err := h.Answer(testEpoch, KeySubject(), x); !errors.Is(err, ErrEpochErased) {
		t.Fatal(err)
	}
}

// TestAnyTamperingIsFound: a change of any coefficients of one share by any
// amounts is found by its receiver.
func TestAnyTamperingIsFound(t *testing.T) {
	c := newCommittee(t, tinyD4, 4, 2)
	s := c.epoch.Suite()
	cheat := memberName(0)
	subject := NoiseSubject(SumID{"job", 3, 1})
	private := privateOf(t, c, 2)
	rapid.Check(t, func(rt *rapid.T) {
		coefficients := rapid.SliceOfNDistinct(rapid.IntRange(0, s.N()-1), 1, 8, rapid.ID[int]).Draw(rt, "coefficients")
		prime := rapid.IntRange(0, len(s.Primes())-1).Draw(rt, "prime")
		d := forged(t, c.epoch, subject, cheat, s.SmudgingPoly(), newSeed(), func(p []*payload) {
			q := s.Primes()[prime]
			row := p[2].share.RNS().Coeffs[prime]
			for _, x := range coefficients {
				row[x] = addMod(row[x], rapid.Uint64Range(1, q-1).Draw(rt, "by"), q)
			}
		})
		_, charge, err := c.holders[2].takeShare(c.epoch, subject, cheat, addressed(map[string]Dealing{cheat: d}, memberName(2))[cheat], private)
		if err != nil || charge == nil || len(charge.Key) == 0 {
			rt.Fatalf("not found: %v %v", charge, err)
		}
	})
}

// TestMaskHides: the checks of the same secret with the same shares differ, and
// t-1 receivers' checks say nothing about another's: they are uniform.
func TestMaskHides(t *testing.T) {
	c := newCommittee(t, tinyD1, 3, 2)
	zero := c.epoch.Suite().NewPoly()
	seen := map[string]bool{}
	for range 50 {
		d := must[Dealing](t)(deal(c.epoch, KeySubject(), memberName(0), zero, newSeed()))
		for _, b := range d {
			if seen[string(b.Check)] {
				t.Fatal("a check repeats")
			}
			seen[string(b.Check)] = true
		}
		// The value at 0 is <w, secret> + mask(0) = mask(0) here: not zero.
		y := make([][]uint64, 2)
		for i := range y {
			y[i], _ = parseResidues(c.epoch.suite, d[i].Check)
		}
		for k, q := range c.epoch.suite.Primes() {
			l := newField(q, 3).lagrange([]int{1, 2}, 0)
			if addMod(mulMod(l[0], y[0][k], q), mulMod(l[1], y[1][k], q), q) == 0 {
				t.Fatal("the checks show an inner product of the secret")
			}
		}
	}
}

func FuzzParsePayload(f *testing.F) {
	s, err := he.LookupSuite(tinyD1)
	ok(f, err)
	good := (&payload{share: s.UniformPoly(), masks: []uint64{1, 2, 3, 4}}).encode()
	seed := (&payload{seed: newSeed(), masks: []uint64{1, 2, 3, 4}}).encode()
	for _, seeded := range []bool{false, true} {
		f.Add(seeded, good)
		f.Add(seeded, good[1:])
		f.Add(seeded, seed)
		f.Add(seeded, seed[1:])
	}
	f.Fuzz(func(t *testing.T, seeded bool, b []byte) {
		p, err := parsePayload(s, seeded, b)
		if err == nil && !bytes.Equal(p.encode(), b) || err != nil && !errors.Is(err, ErrBox) {
			t.Fatalf("payload of %d bytes: %v", len(b), err)
		}
	})
}

func FuzzVerifyDealing(f *testing.F) {
	c := newCommittee(f, tinyD1, 4, 2)
	x := memberName(0)
	d := c.dealings[x]
	f.Add(uint8(0), d[0].Check)
	f.Add(uint8(3), d[3].Check[1:])
	f.Fuzz(func(t *testing.T, i uint8, check []byte) {
		changed := withoutBoxes(d)
		at := int(i) % len(d)
		changed[at].Check = check
		if err := VerifyDealing(c.epoch, KeySubject(), x, changed); (err == nil) != bytes.Equal(check, d[at].Check) {
			t.Fatalf("check of %d bytes: %v", len(check), err)
		}
	})
}

// TestDealingDocumentFits: a noise dealing of the largest committee for a
// million parameters stays below a document's bound.
func TestDealingDocumentFits(t *testing.T) {
	s, err := he.LookupSuite("rlwe8192-d4-v1")
	ok(t, err)
	const shards = 31 // 1,000,000 parameters
	d := fl.NoiseDealing{Genesis: fl.Digest{1}, Plan: fl.Digest{1}, Job: fl.JobID(strings.Repeat("j", 63)), Round: 1 << 40, Node: fl.NodeID(strings.Repeat("n", 63))}
	for shard := range shards {
		for i := range s.MaxCommittee() {
			d.Boxes = append(d.Boxes, fl.Box{Receiver: fl.NodeID(strings.Repeat("r", 61) + fmt.Sprintf("%02d", i)), Shard: shard,
				Digest: fl.Digest{1}, Commitment: fl.Digest{1}, Check: make([]byte, CheckBytes(s))})
		}
	}
	e, err := fl.Sign(d, d.Node, ed25519.NewKeyFromSeed(make([]byte, 32)))
	ok(t, err)
	n := len(e.Encode())
	t.Logf("%d bytes, %.0f a box", n, float64(n)/float64(len(d.Boxes)))
	if n > fl.MaxDocument/2 {
		t.Errorf("a dealing document of %d bytes leaves no room: at most %d", n, fl.MaxDocument/2)
	}
}
