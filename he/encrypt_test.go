package he

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestCRSGolden pins the derivation; the digests were computed by an independent
// implementation of cSHAKE256 and the rejection loop.
func TestCRSGolden(t *testing.T) {
	seed := [SeedBytes]byte{}
	for i := range seed {
		seed[i] = byte(i)
	}
	want := map[string]string{
		"rlwe8192-d4-v1":        "b0f51bfc596bdbd0569b8b07d7092e86beddfaa5f4968926d1c06951eaa63264",
		"rlwe4096-d1-v1":        "3c1a601eb5b79cec1cbe9525c4b963ae2b662c86cb472007edd46a6dfa334842",
		"insecure-rlwe64-d1-v1": "13ef43c2bccff6a65df2ca26617aabb67ce5ab154db154204540be2d40014f12",
		"insecure-rlwe64-d4-v1": "83f9a18763922f0e47679ca4891b3bfab8735acce8ae0f7cc6c5c34ea608da89",
	}
	forSuites(t, func(t *testing.T, s *Suite) {
		a := s.CRS(seed)
		sum := sha256.Sum256(a.Bytes())
		if got := hex.EncodeToString(sum[:]); got != want[s.Name()] {
			t.Errorf("CRS polynomial changed: %s", got)
		}
		seed2 := seed
		seed2[31] ^= 1
		if s.CRS(seed2).Equal(a) {
			t.Error("two seeds, one polynomial")
		}
	})
}

func TestCodecRoundTrip(t *testing.T) {
	s := Suites()[3]
	key := newTestKey(s)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "cohort")
		sum := s.NewSum()
		plain := make([]int64, s.Values())
		for range n {
			v := rapid.SliceOfN(rapid.Int32Range(s.MinValue(), s.MaxValue()), 0, s.Values()).Draw(t, "values")
			ct, err := key.pk.Encrypt(v)
			if err != nil {
				t.Fatal(err)
			}
			if err := sum.Add(ct); err != nil {
				t.Fatal(err)
			}
			for i, x := range v {
				plain[i] += int64(x)
			}
		}
		got, err := s.DecodePhase(key.phase(sum), n, s.FreshNoiseBound(n, 1))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, plain) {
			t.Fatal("sum differs")
		}
	})
}

// TestDecodeAtTheEdges puts the worst admissible noise, of either sign, on the
// least and greatest sums of every cohort size that is a power of two.
func TestDecodeAtTheEdges(t *testing.T) {
	forSuites(t, func(t *testing.T, s *Suite) {
		bound := s.NoiseBound(s.MaxCohort(), s.MaxCommittee(), s.MaxCommittee())
		for n := 1; n <= s.MaxCohort(); n *= 2 {
			for kind := range 2 {
				m := s.NewPoly()
				mustAdd(t, s.encode(testVector(s, kind, nil), m.p))
				phase := s.NewPoly().AddScaled(m, s.deltaRNS).MulSmall(uint64(n))
				for _, sign := range []int64{1, -1} {
					noise := new(big.Int).Mul(bound, big.NewInt(sign))
					shifted := phase.Clone()
					s.r.AddScalarBigint(shifted.p, noise, shifted.p)
					got, err := s.DecodePhase(shifted, n, bound)
					mustAdd(t, err)
					want := int64(n) * int64([]int32{s.MinValue(), s.MaxValue()}[kind])
					for _, g := range got {
						if g != want {
							t.Fatalf("cohort %d: got %d, want %d", n, g, want)
						}
					}
					s.r.AddScalarBigint(shifted.p, big.NewInt(sign), shifted.p)
					if _, err := s.DecodePhase(shifted, n, bound); !errors.Is(err, ErrNoise) {
						t.Fatalf("noise one beyond the bound: %v", err)
					}
				}
			}
		}
	})
}

func TestDecodeRefusals(t *testing.T) {
	s := Suites()[2]
	key := newTestKey(s)
	ct, err := key.pk.Encrypt(testVector(s, 1, nil))
	mustAdd(t, err)
	sum := s.NewSum()
	for range 3 {
		mustAdd(t, sum.Add(ct))
	}
	bound := s.FreshNoiseBound(3, 1)
	phase := key.phase(sum)
	if _, err := s.DecodePhase(phase, 2, bound); !errors.Is(err, ErrSumRange) {
		t.Errorf("three maxima decoded as two: %v", err)
	}
	if _, err := s.DecodePhase(phase, 0, bound); !errors.Is(err, ErrEmptySum) {
		t.Errorf("empty: %v", err)
	}
	if _, err := s.DecodePhase(phase, s.MaxCohort()+1, bound); !errors.Is(err, ErrCohortFull) {
		t.Errorf("too many: %v", err)
	}
	if _, err := s.DecodePhase(s.UniformPoly(), 3, bound); !errors.Is(err, ErrNoise) {
		t.Errorf("a random polynomial: %v", err)
	}
	if s.WithinNoise(s.UniformPoly(), bound) || !s.WithinNoise(phase.Select([]int{3, 0, 9}), bound) {
		t.Error("WithinNoise")
	}
}

func TestEncryptRefusals(t *testing.T) {
	forSuites(t, func(t *testing.T, s *Suite) {
		key := newTestKey(s)
		if _, err := key.pk.Encrypt(make([]int32, s.Values()+1)); !errors.Is(err, ErrTooManyValues) {
			t.Errorf("too many: %v", err)
		}
		for _, v := range []int32{s.MinValue() - 1, s.MaxValue() + 1, -1 << 31, 1<<31 - 1} {
			_, err := key.pk.Encrypt([]int32{0, v})
			if !errors.Is(err, ErrValueRange) {
				t.Errorf("%d: %v", v, err)
			}
			if err != nil && v < s.MinValue()-1 && strings.Contains(err.Error(), fmt.Sprint(v)) {
				t.Error("the refusal reveals the value")
			}
		}
		for _, change := range []func(r *Randomness){
			func(r *Randomness) { r.U[0] = 2 },
			func(r *Randomness) { r.U[1] = -2 },
			func(r *Randomness) { r.E0[0] = ErrorBound + 1 },
			func(r *Randomness) { r.E1[0] = -ErrorBound - 1 },
			func(r *Randomness) { r.E1 = r.E1[1:] },
			func(r *Randomness) { r.E0[3] = -128 },
		} {
			r := s.SampleRandomness()
			change(r)
			if _, err := key.pk.EncryptWith(nil, r); !errors.Is(err, ErrNotCanonical) {
				t.Errorf("bad randomness: %v", err)
			}
		}
	})
}

// TestEncryptionEquation recomputes c0 and c1 from the randomness with schoolbook
// integer arithmetic, as a prover will state it.
func TestEncryptionEquation(t *testing.T) {
	s := Suites()[3]
	key := newTestKey(s)
	values := testVector(s, 3, rand.New(rand.NewPCG(1, 2)))
	ct, r, err := key.pk.EncryptForProof(values)
	mustAdd(t, err)
	again, err := key.pk.EncryptWith(values, r)
	mustAdd(t, err)
	if !bytes.Equal(ct.Bytes(), again.Bytes()) {
		t.Fatal("encryption with given randomness is not deterministic")
	}
	coeffs := func(p *Poly) []*big.Int {
		out := make([]*big.Int, s.N())
		for i := range out {
			out[i] = new(big.Int)
		}
		s.r.PolyToBigint(p.p, 1, out)
		return out
	}
	small := func(v []int8) []*big.Int {
		out := make([]*big.Int, len(v))
		for i, x := range v {
			out[i] = big.NewInt(int64(x))
		}
		return out
	}
	mul := func(a, b []*big.Int) []*big.Int {
		n := len(a)
		out := make([]*big.Int, n)
		for i := range out {
			out[i] = new(big.Int)
		}
		for i := range a {
			for j := range b {
				p := new(big.Int).Mul(a[i], b[j])
				if i+j < n {
					out[i+j].Add(out[i+j], p)
				} else {
					out[i+j-n].Sub(out[i+j-n], p)
				}
			}
		}
		return out
	}
	m := make([]*big.Int, s.N())
	for i := range m {
		m[i] = new(big.Int)
		for j := range s.Digits() {
			d := big.NewInt(int64(values[i*s.Digits()+j]) + 1<<(s.ValueBits()-1))
			m[i].Add(m[i], d.Lsh(d, uint(j*s.SlotBits())))
		}
		m[i].Mul(m[i], s.delta)
	}
	c0, c1 := ct.Polys()
	for half, want := range [][]*big.Int{mul(coeffs(key.pk.P()), small(r.U)), mul(coeffs(key.pk.A()), small(r.U))} {
		got := coeffs([]*Poly{c0, c1}[half])
		for i := range want {
			want[i].Add(want[i], small([][]int8{r.E0, r.E1}[half])[i])
			if half == 0 {
				want[i].Add(want[i], m[i])
			}
			if want[i].Mod(want[i], s.q).Cmp(got[i]) != 0 {
				t.Fatalf("c%d differs at coefficient %d", half, i)
			}
		}
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", r, r, r), "[") {
		t.Error("printing randomness reveals it")
	}
	r.Erase()
	for _, v := range [][]int8{r.U, r.E0, r.E1} {
		if slices.ContainsFunc(v, func(x int8) bool { return x != 0 }) {
			t.Fatal("randomness survives Erase")
		}
	}
}

func TestPolyAndKeyEncodings(t *testing.T) {
	forSuites(t, func(t *testing.T, s *Suite) {
		p := s.UniformPoly()
		b := p.Bytes()
		back, err := s.ParsePoly(b)
		mustAdd(t, err)
		if !back.Equal(p) {
			t.Fatal("polynomial does not survive its encoding")
		}
		// Against math/big, so that the conversion is not its own witness.
		want := make([]*big.Int, s.N())
		for i := range want {
			want[i] = new(big.Int)
		}
		s.r.PolyToBigint(p.p, 1, want)
		for i, w := range want {
			le := slices.Clone(b[i*s.coefBytes : (i+1)*s.coefBytes])
			slices.Reverse(le)
			if new(big.Int).SetBytes(le).Cmp(w) != 0 {
				t.Fatalf("coefficient %d differs from math/big", i)
			}
		}
		key := newTestKey(s)
		pk, err := s.ParsePublicKey(key.pk.Bytes())
		mustAdd(t, err)
		if pk.Digest() != key.pk.Digest() || !pk.A().Equal(key.pk.A()) {
			t.Fatal("public key does not survive its encoding")
		}
		// Exactly Q, and Q-1, in the last coefficient.
		qb := s.q.FillBytes(make([]byte, s.coefBytes))
		slices.Reverse(qb)
		copy(b[len(b)-s.coefBytes:], qb)
		if _, err := s.ParsePoly(b); !errors.Is(err, ErrNotCanonical) {
			t.Errorf("coefficient Q: %v", err)
		}
		b[len(b)-s.coefBytes]-- // Q is odd
		if _, err := s.ParsePoly(b); err != nil {
			t.Errorf("coefficient Q-1: %v", err)
		}
		for _, n := range []int{0, 1, len(b) - 1, len(b) + 1} {
			if _, err := s.ParsePoly(make([]byte, n)); !errors.Is(err, ErrLength) {
				t.Errorf("%d bytes: %v", n, err)
			}
			if _, err := s.ParseCiphertext(make([]byte, n)); !errors.Is(err, ErrLength) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		if _, err := s.ParsePublicKey(b); !errors.Is(err, ErrLength) {
			t.Errorf("short key: %v", err)
		}
		if _, err := s.SmallPoly(make([]int8, 3)); !errors.Is(err, ErrLength) {
			t.Errorf("short polynomial: %v", err)
		}
	})
}

func FuzzParseCiphertext(f *testing.F) {
	s := Suites()[2]
	key := newTestKey(s)
	ct, err := key.pk.Encrypt([]int32{5})
	mustAdd(f, err)
	f.Add(ct.Bytes())
	f.Add(ct.Bytes()[1:])
	f.Add(bytes.Repeat([]byte{0xff}, s.CiphertextBytes()))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := s.ParseCiphertext(b)
		if err == nil && !bytes.Equal(got.Bytes(), b) {
			t.Fatal("accepted an encoding that is not canonical")
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	s := Suites()[3]
	f.Add(newTestKey(s).pk.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := s.ParsePublicKey(b)
		if err == nil && !bytes.Equal(got.Bytes(), b) {
			t.Fatal("accepted an encoding that is not canonical")
		}
	})
}
