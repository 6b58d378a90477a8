package threshold

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math/big"
	rand2 "math/rand/v2"
	"slices"
	"testing"

	"credence/he"
)

// rogue replaces member i's contribution: it reveals the key of s and deals
// what dealt says, given s and the common polynomial a.
func rogue(t testing.TB, c *committee, i int, dealt func(s, a *he.Poly) *he.Poly) {
	t.Helper()
	e, h := c.epoch, c.holders[i]
	s, a := e.suite.TernaryPoly(), e.suite.CRS(e.CRSSeed())
	reveal := make([]byte, saltBytes)
	_, _ = rand.Read(reveal)
	reveal = append(reveal, a.Clone().Mul(s).Neg().Add(e.suite.ErrorPoly()).Bytes()...)
	d := must[Dealing](t)(deal(e, KeySubject(), h.self, dealt(s, a), newSeed()))
	ok(t, h.put(dirEpochs, epochFile(e.Number(), "commit"), kindCommit, (&commitState{self: h.self, epoch: e, reveal: reveal, dealing: d}).encode()))
}

// inverse is 1/a in R_Q.
func inverse(t testing.TB, a *he.Poly) *he.Poly {
	t.Helper()
	out := a.Clone()
	r := a.Suite().Ring()
	p := out.RNS()
	r.NTT(p, p)
	for k, q := range a.Suite().Primes() {
		m := new(big.Int).SetUint64(q)
		for x, v := range p.Coeffs[k] {
			inv := new(big.Int).ModInverse(new(big.Int).SetUint64(v), m)
			if inv == nil {
				t.Fatal("a is not invertible")
			}
			p.Coeffs[k][x] = inv.Uint64()
		}
	}
	r.INTT(p, p)
	return out
}

// completeAll exchanges and completes.
func (c *committee) completeAll(t testing.TB) {
	t.Helper()
	c.exchange(t)
	for _, h := range c.holders {
		c.pk = must[*he.PublicKey](t)(h.Complete(testEpoch, c.reveals, addressed(c.dealings, h.Self())))
	}
}

// test has every member take part in the self-test of a target.
func (c *committee) test(t testing.TB, target string) (shares []DecryptionShare) {
	t.Helper()
	n := must[int](t)(c.epoch.target(target))
	noise := c.noise(t, TestSum(testEpoch, n), len(c.holders))
	for _, h := range c.holders {
		req := TestRequest{Epoch: testEpoch, Target: target, Noise: addressed(noise, h.Self())}
		if target != "" {
			req.KeyShare = addressed(c.dealings, h.Self())[target]
		}
		share := must[[]byte](t)(h.ReleaseTest(req))
		if again := must[[]byte](t)(h.ReleaseTest(req)); !bytes.Equal(again, share) {
			t.Fatal("another share the second time")
		}
		shares = append(shares, DecryptionShare{h.Self(), share})
	}
	return shares
}

func (c *committee) verify(t testing.TB, target string, shares []DecryptionShare) (*Opened, error) {
	t.Helper()
	transcript := must[[32]byte](t)(Transcript(c.epoch, c.reveals, c.dealings))
	pk := c.pk
	if target != "" {
		pk = must[*he.PublicKey](t)(MemberKey(c.epoch, target, c.reveals[target]))
	}
	return VerifyTest(c.epoch, transcript, pk, target, len(c.holders), shares)
}

// TestSelfTestNamesTheDealer: the test of the collective key passes for honest
// members and fails when one deals other shares than those of its key share;
// then the tests of single dealings name it and nobody else.
func TestSelfTestNamesTheDealer(t *testing.T) {
	for name, dealt := range map[string]func(s, a *he.Poly) *he.Poly{
		"honest":           nil,
		"another secret":   func(s, _ *he.Poly) *he.Poly { return s.Suite().TernaryPoly() },
		"nothing":          func(s, _ *he.Poly) *he.Poly { return s.Suite().NewPoly() },
		"uniform":          func(s, _ *he.Poly) *he.Poly { return s.Suite().UniformPoly() },
		"off by one":       func(s, _ *he.Poly) *he.Poly { s.RNS().Coeffs[0][5] ^= 1; return s },
		"off in one place": func(s, _ *he.Poly) *he.Poly { return addMonomial(s, 63, 1) },
		// a*(dealt - s) is small, so that opening (p, a) itself looks right. Only a
		// ciphertext with errors of its own shows that the dealt secret is large.
		"tuned to a": func(s, a *he.Poly) *he.Poly { return inverse(t, a).Mul(s.Suite().ErrorPoly()).Add(s) },
	} {
		t.Run(name, func(t *testing.T) {
			c := startCommittee(t, tinyD1, 5, 3)
			cheat := memberName(2)
			if dealt != nil {
				rogue(t, c, 2, dealt)
			}
			c.completeAll(t)
			opened, err := c.verify(t, "", c.test(t, ""))
			if dealt == nil {
				ok(t, err)
				if len(opened.Wrong) != 0 || len(opened.Agreeing) != 5 {
					t.Fatalf("opened %+v", opened)
				}
			} else if !errors.Is(err, ErrSelfTest) {
				t.Fatalf("the self-test of a spoilt key: %v", err)
			}
			for _, h := range c.holders {
				_, err := c.verify(t, h.Self(), c.test(t, h.Self()))
				if guilty := dealt != nil && h.Self() == cheat; guilty && !errors.Is(err, ErrSelfTest) || !guilty && err != nil {
					t.Fatalf("the test of %s: %v", h.Self(), err)
				}
			}
		})
	}
}

// addMonomial adds by*X^at modulo every prime.
func addMonomial(p *he.Poly, at int, by uint64) *he.Poly {
	for k, q := range p.Suite().Primes() {
		row := p.RNS().Coeffs[k]
		row[at] = addMod(row[at], by<<40%q, q)
	}
	return p
}

// TestTunedKeyShareWouldPassANaiveTest keeps the reason for the random
// ciphertext: opening (p, a) itself does not find a dealer that knows a.
func TestTunedKeyShareWouldPassANaiveTest(t *testing.T) {
	c := startCommittee(t, tinyD1, 3, 2)
	rogue(t, c, 1, func(s, a *he.Poly) *he.Poly { return inverse(t, a).Mul(s.Suite().ErrorPoly()).Add(s) })
	c.completeAll(t)
	// The encryption of zero with u = 1 and no errors is (p, a).
	s := c.epoch.Suite()
	one := &he.Randomness{U: make([]int8, s.N()), E0: make([]int8, s.N()), E1: make([]int8, s.N())}
	one.U[0] = 1
	sum := s.NewSum()
	ok(t, sum.Add(must[*he.Ciphertext](t)(c.pk.EncryptWith(nil, one))))
	id := SumID{"job", 1, 0}
	noise := c.noise(t, id, 3)
	o, err := Combine(c.epoch, sum, 3, c.release(t, id, sum, noise, 0, 1, 2))
	if err != nil || slices.ContainsFunc(o.Values, func(v int64) bool { return v != 0 }) {
		t.Fatalf("a tuned key share is found by opening (p, a): %v; the self-test could be simpler", err)
	}
	if _, err := c.verify(t, "", c.test(t, "")); !errors.Is(err, ErrSelfTest) {
		t.Fatalf("the self-test: %v", err)
	}
}

// TestSelfTestAttacks: wrong shares of the test are named, and the holder opens
// nothing else in its name.
func TestSelfTestAttacks(t *testing.T) {
	c := startCommittee(t, tinyD1, 5, 3)
	c.completeAll(t)
	shares := c.test(t, "")
	bad := slices.Clone(shares)
	bad[3] = c.corrupt(bad[3])
	opened, err := c.verify(t, "", bad)
	ok(t, err)
	if !slices.Equal(opened.Wrong, []string{memberName(3)}) || opened.Ground != ByAgreement {
		t.Fatalf("opened %+v", opened)
	}
	if _, err := c.verify(t, "", bad[1:4]); !errors.Is(err, ErrUnattributed) {
		t.Fatalf("a wrong share among t: %v", err)
	}
	if _, err := c.verify(t, "", shares[:2]); !errors.Is(err, ErrNotEnoughShares) {
		t.Fatalf("two shares: %v", err)
	}
	if _, err := c.verify(t, memberName(0), shares); err == nil {
		t.Fatal("shares of one test passed for another")
	}
	other := must[[32]byte](t)(Transcript(c.epoch, c.reveals, c.dealings))
	other[0] ^= 1
	if _, err := VerifyTest(c.epoch, other, c.pk, "", 5, shares); err == nil {
		t.Fatal("shares of another transcript passed")
	}
	// Noise that is a multiple of Delta leaves no remainder: the value tells.
	shifted := startCommittee(t, tinyD1, 5, 3)
	shifted.completeAll(t)
	suite, place := c.epoch.Suite(), TestSum(testEpoch, 0)
	delta := suite.NewPoly()
	for k, q := range suite.Primes() {
		delta.RNS().Coeffs[k][9] = new(big.Int).Mod(suite.Delta(), new(big.Int).SetUint64(q)).Uint64()
	}
	x := shifted.holders[1]
	seed := newSeed()
	state := &noiseState{id: place, epoch: testEpoch, seed: seed, dealing: must[Dealing](t)(deal(shifted.epoch, NoiseSubject(place), x.self, delta, seed))}
	ok(t, x.put(dirNoise, sumName(place), kindNoise, state.encode()))
	if _, err := shifted.verify(t, "", shifted.test(t, "")); !errors.Is(err, ErrSelfTest) {
		t.Fatalf("a test that opens to Delta: %v", err)
	}
	h := c.holders[0]
	id := TestSum(testEpoch, 0)
	noise := c.noise(t, id, 5)
	sum, _ := c.randomSum(t, rand2.New(rand2.NewPCG(6, 6)), 2)
	if _, err := h.Release(c.request(id, sum, noise, h.Self())); !errors.Is(err, ErrReserved) {
		t.Fatalf("a client's ciphertext in the place of a test: %v", err)
	}
	if err := h.CloseRound(testJob, testEpoch); !errors.Is(err, ErrReserved) {
		t.Fatal(err)
	}
	_, err = h.ReleaseTest(TestRequest{Epoch: testEpoch, Target: "mallory"})
	wantBlamed(t, err, "mallory", ErrNotMember)
	if _, err := h.ReleaseTest(TestRequest{Epoch: testEpoch, Noise: addressed(c.noise(t, id, 4), h.Self())}); !errors.Is(err, ErrSecondDealerSet) {
		t.Fatalf("another dealer set: %v", err)
	}
	if _, err := h.ReleaseTest(TestRequest{Epoch: 9}); !errors.Is(err, ErrNotReady) {
		t.Fatal(err)
	}
	ok(t, h.Confirm(testEpoch))
	if _, err := h.DealNoise(testEpoch, TestSum(testEpoch, 1)); !errors.Is(err, ErrRoundClosed) {
		t.Fatalf("a test after the key is confirmed: %v", err)
	}
}
