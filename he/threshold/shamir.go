package threshold

import (
	"fmt"
	"math/big"
	"math/bits"

	"credence/he"
)

// A sharing is a polynomial of degree t-1 over R_Q whose value at 0 is the
// secret (Shamir, "How to share a secret", 1979), applied to each coefficient
// and residue: Z_Q is a ring, but the points 1..n and their differences are
// units modulo every prime of Q, which is all that interpolation needs.
type sharing struct{ coeffs []*he.Poly }

func newSharing(secret *he.Poly, t int) *sharing {
	s := &sharing{coeffs: []*he.Poly{secret.Clone()}}
	for range t - 1 {
		s.coeffs = append(s.coeffs, secret.Suite().UniformPoly())
	}
	return s
}

// at evaluates the sharing by Horner's rule. Point 0 is refused: it is the
// secret.
func (s *sharing) at(point int) (*he.Poly, error) {
	if point < 1 {
		return nil, fmt.Errorf("%w: evaluation point %d", ErrBadEpoch, point)
	}
	out := s.coeffs[len(s.coeffs)-1].Clone()
	for i := len(s.coeffs) - 2; i >= 0; i-- {
		out.MulSmall(uint64(point)).Add(s.coeffs[i])
	}
	return out, nil
}

func (s *sharing) erase() {
	for _, c := range s.coeffs {
		c.Erase()
	}
}

// field does the small arithmetic of interpolation modulo one prime.
type field struct {
	q   uint64
	inv []uint64 // inverses of 1..max, inv[0] unused
}

func newField(q uint64, largest int) field {
	f := field{q: q, inv: make([]uint64, largest+1)}
	m := new(big.Int).SetUint64(q)
	for i := 1; i <= largest; i++ {
		f.inv[i] = new(big.Int).ModInverse(big.NewInt(int64(i)), m).Uint64()
	}
	return f
}

// lagrange returns the coefficients L_i with f(x) = sum L_i f(points[i]) for
// every polynomial of degree below len(points). Points must be distinct and
// within 0..largest of the field, x too.
func (f field) lagrange(points []int, x int) []uint64 {
	out := make([]uint64, len(points))
	for i, pi := range points {
		v := uint64(1)
		for j, pj := range points {
			if j == i {
				continue
			}
			v = mulMod(v, f.signed(x-pj), f.q)
			v = mulMod(v, f.signedInverse(pi-pj), f.q)
		}
		out[i] = v
	}
	return out
}

func (f field) signed(d int) uint64 {
	if d < 0 {
		return f.q - uint64(-d)
	}
	return uint64(d)
}

func (f field) signedInverse(d int) uint64 {
	if d < 0 {
		return f.q - f.inv[-d]
	}
	return f.inv[d]
}

// mulMod is a*b mod q for a, b < q.
func mulMod(a, b, q uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return bits.Rem64(hi, lo, q)
}

// addMod is a+b mod q for a, b < q < 2^63.
func addMod(a, b, q uint64) uint64 {
	if a += b; a >= q {
		a -= q
	}
	return a
}
