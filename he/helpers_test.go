package he

import (
	"math/rand/v2"
	"testing"
)

// testKey is a one-member key: enough to open what this package makes.
type testKey struct {
	pk     *PublicKey
	secret *Poly
}

func newTestKey(s *Suite) testKey {
	seed := [SeedBytes]byte{1, 2, 3}
	sk := s.TernaryPoly()
	p := s.CRS(seed).Mul(sk).Neg().Add(s.ErrorPoly())
	return testKey{pk: NewPublicKey(p, seed), secret: sk}
}

// phase is c0 + c1*s.
func (k testKey) phase(sum *Sum) *Poly {
	c0, c1 := sum.Reduce()
	return c1.Mul(k.secret).Add(c0)
}

func (k testKey) open(t testing.TB, sum *Sum) []int64 {
	t.Helper()
	s := k.pk.Suite()
	got, err := s.DecodePhase(k.phase(sum), sum.Count(), s.FreshNoiseBound(sum.Count(), 1))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// testVector makes a vector: kind 0 all minimum, 1 all maximum, 2 extremes at
// random, 3 uniform.
func testVector(s *Suite, kind int, rng *rand.Rand) []int32 {
	v := make([]int32, s.Values())
	span := int64(s.MaxValue()) - int64(s.MinValue()) + 1
	for i := range v {
		switch kind {
		case 0:
			v[i] = s.MinValue()
		case 1:
			v[i] = s.MaxValue()
		case 2:
			v[i] = []int32{s.MinValue(), s.MaxValue(), 0, -1}[rng.IntN(4)]
		default:
			v[i] = int32(int64(s.MinValue()) + rng.Int64N(span))
		}
	}
	return v
}

func forSuites(t *testing.T, f func(t *testing.T, s *Suite)) {
	for _, s := range Suites() {
		t.Run(s.Name(), func(t *testing.T) { f(t, s) })
	}
}

func mustAdd(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
