package threshold

import (
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"credence/he"
)

// TestAnySubsetOpens: random subsets, orders and culprits. At or above t+2f
// shares the sum opens and exactly the culprits are named; below it nothing wrong
// ever comes out.
func TestAnySubsetOpens(t *testing.T) {
	c := newCommittee(t, tinyD1, 8, 3)
	id := SumID{"job", 1, 0}
	sum, plain := c.randomSum(t, rand.New(rand.NewPCG(4, 4)), 4)
	good := c.release(t, id, sum, c.noise(t, id, 5), 0, 1, 2, 3, 4, 5, 6, 7)
	rapid.Check(t, func(t *rapid.T) {
		who := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7}).Draw(t, "order")
		who = who[:rapid.IntRange(0, 8).Draw(t, "received")]
		f := rapid.IntRange(0, len(who)).Draw(t, "wrong")
		var shares []DecryptionShare
		var culprits []string
		for k, i := range who {
			s := good[i]
			if k < f {
				s = c.corrupt(s)
				culprits = append(culprits, s.Member)
			}
			shares = append(shares, s)
		}
		slices.Sort(culprits)
		o, err := Combine(c.epoch, sum, 5, shares)
		switch {
		case len(who) < 3:
			if !errors.Is(err, ErrNotEnoughShares) {
				t.Fatalf("%d shares: %v", len(who), err)
			}
		case len(who) >= 3+2*f:
			if err != nil || !slices.Equal(o.Wrong, culprits) {
				t.Fatalf("%d shares, %d wrong: %v", len(who), f, err)
			}
		case err != nil && !errors.Is(err, ErrUnattributed):
			t.Fatalf("%d shares, %d wrong: %v", len(who), f, err)
		}
		if err == nil && !slices.Equal(o.Values, plain) {
			t.Fatalf("%d shares, %d wrong: a wrong sum came out", len(who), f)
		}
	})
}

// TestSharingProperty: any t shares interpolate to the secret, and the value at
// any other point follows, modulo every prime.
func TestSharingProperty(t *testing.T) {
	s, err := he.LookupSuite(tinyD4)
	ok(t, err)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, s.MaxCommittee()).Draw(t, "n")
		k := rapid.IntRange(2, n).Draw(t, "t")
		points := make([]int, n)
		for i := range points {
			points[i] = i + 1
		}
		points = rapid.Permutation(points).Draw(t, "points")[:k]
		secret := s.UniformPoly()
		drawn := make([]int, n)
		for i := range drawn {
			drawn[i] = i + 1
		}
		sharing := newSharing(secret, rapid.Permutation(drawn).Draw(t, "drawn at")[:k-1], n)
		x := rapid.IntRange(0, n).Draw(t, "x")
		want := secret
		if x > 0 {
			want, err = sharing.at(x)
			if err != nil {
				t.Fatal(err)
			}
		}
		got := s.NewPoly()
		for j, p := range points {
			share, err := sharing.at(p)
			if err != nil {
				t.Fatal(err)
			}
			for r, q := range s.Primes() {
				l := newField(q, n).lagrange(points, x)[j]
				row := got.RNS().Coeffs[r]
				for i, v := range share.RNS().Coeffs[r] {
					row[i] = addMod(row[i], mulMod(l, v, q), q)
				}
			}
		}
		if !got.Equal(want) {
			t.Fatalf("interpolating %v at %d", points, x)
		}
		sharing.erase()
		if !sharing.values[0].Equal(s.NewPoly()) || secret.Equal(s.NewPoly()) {
			t.Fatal("erase must wipe the sharing's copy and nothing else")
		}
	})
}

// TestConcurrentRequests: of many simultaneous requests for two ciphertexts
// only one ciphertext is ever answered.
func TestConcurrentRequests(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	c := newCommittee(t, tinyD1, 3, 2)
	sums := [2]*he.Sum{}
	sums[0], _ = c.randomSum(t, rng, 2)
	sums[1], _ = c.randomSum(t, rng, 2)
	id := SumID{"job", 1, 0}
	noise := c.noise(t, id, 3)
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered := map[int]int{}
	for i := range 16 {
		req := c.request(id, sums[i%2], noise, memberName(0))
		wg.Go(func() {
			_, err := c.holders[0].Release(req)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				answered[i%2]++
			} else if !errors.Is(err, ErrSecondDigest) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(answered) != 1 || answered[0]+answered[1] != 8 {
		t.Fatalf("answers by ciphertext: %v", answered)
	}
}

func FuzzOpenBox(f *testing.F) {
	c := newCommittee(f, tinyD1, 2, 2)
	self, dealer := memberName(0), memberName(1)
	d := c.dealings[dealer]
	rec, _ := d.box(self)
	f.Add(rec.Box)
	f.Add(rec.Box[1:])
	f.Add([]byte{})
	private, _, err := c.holders[0].get(dirEpochs, epochFile(testEpoch, "seal"), kindSealKey)
	ok(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		// A dealer that seals the fuzzer's bytes: its digest names them.
		lying := slices.Clone(d)
		lying[0].Digest = sha256.Sum256(b)
		share, charge, err := c.holders[0].takeShare(c.epoch, KeySubject(), dealer, Received{Dealing: lying, Box: b}, private)
		if (share != nil) != slices.Equal(b, rec.Box) || err != nil && !errors.Is(err, ErrBox) {
			t.Fatalf("box of %d bytes: %v %v", len(b), charge, err)
		}
	})
}

func FuzzReveal(f *testing.F) {
	c := newCommittee(f, tinyD1, 2, 2)
	f.Add(c.reveals[memberName(1)])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		reveals := map[string][]byte{memberName(0): c.reveals[memberName(0)], memberName(1): b}
		_, err := CollectiveKey(c.epoch, c.commitments, reveals)
		if (err == nil) != slices.Equal(b, c.reveals[memberName(1)]) {
			t.Fatalf("reveal of %d bytes: %v", len(b), err)
		}
	})
}
