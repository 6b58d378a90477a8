package he

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// weighted is a sum of ciphertexts beside the plain sum of what they encrypt.
type weighted struct {
	sum   *Sum
	plain []int64
}

func (w weighted) merge(t testing.TB, o weighted) weighted {
	mustAdd(t, w.sum.Merge(o.sum))
	for i := range w.plain {
		w.plain[i] += o.plain[i]
	}
	return w
}

// TestSumsEqualPlaintextSums opens 200 random cohorts for each suite, sizes 2
// to the suite's largest, and compares bit for bit. Cohorts are assembled from
// a pool of 24 real encryptions: rung[l][k] is a random sum of 2^l of them, and
// a cohort of size n takes one rung for each bit of n.
func TestSumsEqualPlaintextSums(t *testing.T) {
	forSuites(t, func(t *testing.T, s *Suite) {
		rng := rand.New(rand.NewPCG(7, uint64(s.N())))
		key := newTestKey(s)
		const pool = 24
		empty := func() weighted { return weighted{s.NewSum(), make([]int64, s.Values())} }
		var rungs [][]weighted
		base := make([]weighted, pool)
		for k := range base {
			v := testVector(s, min(k, 3), rng)
			ct, err := key.pk.Encrypt(v)
			mustAdd(t, err)
			base[k] = empty()
			mustAdd(t, base[k].sum.Add(ct))
			for i, x := range v {
				base[k].plain[i] = int64(x)
			}
		}
		rungs = append(rungs, base)
		for size := 2; size <= s.MaxCohort(); size *= 2 {
			prev := rungs[len(rungs)-1]
			next := make([]weighted, 6)
			for k := range next {
				a, b := k, k // rungs 0 and 1 stay all-minimum and all-maximum
				if k > 1 {
					a, b = rng.IntN(len(prev)), rng.IntN(len(prev))
				}
				next[k] = empty().merge(t, prev[a]).merge(t, prev[b])
			}
			rungs = append(rungs, next)
		}
		cohort := func(n int, pick func(rung int) int) weighted {
			w := empty()
			for l := range rungs {
				if n>>l&1 == 1 {
					w = w.merge(t, rungs[l][pick(l)])
				}
			}
			return w
		}
		check := func(w weighted, n int) {
			t.Helper()
			if w.sum.Count() != n {
				t.Fatalf("count %d, want %d", w.sum.Count(), n)
			}
			if !slices.Equal(key.open(t, w.sum), w.plain) {
				t.Fatalf("cohort of %d: opened sum differs from the plain sum", n)
			}
		}
		m := s.MaxCohort()
		check(cohort(m, func(int) int { return 0 }), m)
		check(cohort(m, func(int) int { return 1 }), m)
		check(cohort(2, func(int) int { return 0 }), 2)
		check(cohort(m-1, func(int) int { return 1 }), m-1)
		for range 196 {
			n := 2 + rng.IntN(m-1)
			check(cohort(n, func(l int) int { return rng.IntN(len(rungs[l])) }), n)
		}
	})
}

func TestSumAssociativeAndCanonical(t *testing.T) {
	forSuites(t, func(t *testing.T, s *Suite) {
		rng := rand.New(rand.NewPCG(9, 9))
		key := newTestKey(s)
		var cts []*Ciphertext
		for k := range 5 {
			ct, err := key.pk.Encrypt(testVector(s, k, rng))
			mustAdd(t, err)
			back, err := s.ParseCiphertext(ct.Bytes())
			mustAdd(t, err)
			if !bytes.Equal(back.Bytes(), ct.Bytes()) {
				t.Fatal("ciphertext does not survive its encoding")
			}
			cts = append(cts, back)
		}
		all, left, right := s.NewSum(), s.NewSum(), s.NewSum()
		for i, ct := range cts {
			mustAdd(t, all.Add(ct))
			if i < 2 {
				mustAdd(t, left.Add(ct))
			} else {
				mustAdd(t, right.Add(ct))
			}
		}
		mustAdd(t, right.Merge(left))
		if !bytes.Equal(all.Bytes(), right.Bytes()) || all.Digest() != right.Digest() {
			t.Fatal("the order of addition changed the bytes")
		}
		back, err := s.ParseSum(all.Bytes())
		mustAdd(t, err)
		if back.Digest() != all.Digest() || back.Count() != 5 {
			t.Fatal("sum does not survive its encoding")
		}
		c1, err := s.ParseSumPart(all.PartBytes(C1), C1)
		mustAdd(t, err)
		if SumDigest(all.PartDigest(C0), c1.Digest()) != all.Digest() {
			t.Fatal("a holder of c1 and the digest of c0 names another sum")
		}
		_, want := all.Reduce()
		if !c1.Reduce().Equal(want) || !all.Part(C1).Reduce().Equal(want) {
			t.Fatal("part reduces differently")
		}
	})
}

func TestSumRefusals(t *testing.T) {
	s := Suites()[2]
	other := Suites()[3]
	key := newTestKey(s)
	ct, err := key.pk.Encrypt([]int32{1, -1})
	mustAdd(t, err)
	sum := s.NewSum()
	for range s.MaxCohort() {
		mustAdd(t, sum.Add(ct))
	}
	before := sum.Digest()
	if err := sum.Add(ct); !errors.Is(err, ErrCohortFull) {
		t.Errorf("one too many: %v", err)
	}
	if err := sum.Merge(sum); !errors.Is(err, ErrCohortFull) {
		t.Errorf("merge too many: %v", err)
	}
	if sum.Digest() != before {
		t.Error("a refused addition changed the sum")
	}
	if err := other.NewSum().Add(ct); !errors.Is(err, ErrSuiteMismatch) {
		t.Errorf("other suite: %v", err)
	}
	if err := other.NewSum().Merge(sum); !errors.Is(err, ErrSuiteMismatch) {
		t.Errorf("other suite: %v", err)
	}
	good := sum.Bytes()
	half := len(good) / 2
	mutate := func(f func(b []byte) []byte) error {
		_, err := s.ParseSum(f(bytes.Clone(good)))
		return err
	}
	for _, c := range []struct {
		why  string
		want error
		f    func(b []byte) []byte
	}{
		{"truncated", ErrLength, func(b []byte) []byte { return b[:len(b)-1] }},
		{"oversized", ErrLength, func(b []byte) []byte { return append(b, 0) }},
		{"empty", ErrLength, func(b []byte) []byte { return nil }},
		{"bad magic", ErrNotCanonical, func(b []byte) []byte { b[0] ^= 1; return b }},
		{"parts swapped", ErrNotCanonical, func(b []byte) []byte { return append(bytes.Clone(b[half:]), b[:half]...) }},
		{"c0 twice", ErrNotCanonical, func(b []byte) []byte { copy(b[half:], b[:half]); return b }},
		{"count beyond cohort", ErrCohortFull, func(b []byte) []byte { b[6] = 0xff; return b }},
		{"huge coefficient", ErrNotCanonical, func(b []byte) []byte { b[half-1] = 0xff; return b }},
		{"counts differ", ErrHalvesDiffer, func(b []byte) []byte {
			clear(b[half+sumHeaderBytes:])
			b[half+5], b[half+6] = 3, 0
			return b
		}},
		{"count zero with content", ErrNotCanonical, func(b []byte) []byte { b[5], b[6] = 0, 0; return b }},
	} {
		if err := mutate(c.f); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.why, err, c.want)
		}
	}
	if _, err := s.ParseSumPart(sum.PartBytes(C0), Part(7)); err == nil {
		t.Error("part 7 accepted")
	}
}

func FuzzParseSum(f *testing.F) {
	s := Suites()[2]
	key := newTestKey(s)
	ct, err := key.pk.Encrypt([]int32{5})
	mustAdd(f, err)
	sum := s.NewSum()
	f.Add(sum.Bytes())
	mustAdd(f, sum.Add(ct))
	f.Add(sum.Bytes())
	f.Add(sum.Bytes()[:10])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := s.ParseSum(b)
		if err == nil && !bytes.Equal(got.Bytes(), b) {
			t.Fatal("accepted an encoding that is not canonical")
		}
		part, err := s.ParseSumPart(b, C1)
		if err == nil && !bytes.Equal(part.Bytes(), b) {
			t.Fatal("accepted a part that is not canonical")
		}
	})
}
