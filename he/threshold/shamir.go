package threshold

import (
	"fmt"
	"math/big"
	"math/bits"
	"slices"

	"github.com/tuneinsight/lattigo/v5/ring"

	"credence/he"
)

// A sharing is a polynomial of degree t-1 over R_Q whose value at 0 is the
// secret (Shamir, "How to share a secret", 1979), applied to each coefficient
// and residue: Z_Q is a ring, but the points 0..n and their differences are
// units modulo every prime of Q, which is all that interpolation needs.
//
// It is drawn by its values at t-1 of the receivers' points, which determine it
// with the secret: uniform values there are uniform coefficients. These values
// are expanded from seeds, so what is sealed to those receivers is a seed of 32
// bytes instead of a share.
type sharing struct {
	points []int          // 0, then those of the seeded receivers
	values []*he.Poly     // at the points
	seeds  map[int][]byte // by point
	fields []field
}

// newSharing shares a secret by polynomials of degree len(seeded); points go up
// to largest.
func newSharing(secret *he.Poly, seeded []int, largest int) *sharing {
	s := &sharing{points: append([]int{0}, seeded...), values: []*he.Poly{secret.Clone()}, seeds: map[int][]byte{}}
	for _, p := range seeded {
		s.seeds[p] = newSeed()
		s.values = append(s.values, secret.Suite().ExpandUniform([he.SeedBytes]byte(s.seeds[p])))
	}
	for _, q := range secret.Suite().Primes() {
		s.fields = append(s.fields, newField(q, largest))
	}
	return s
}

// seededPoints are the points at which a dealer draws its sharing, its own and
// those after it: every member receives equally many seeds.
func seededPoints(e *Epoch, dealer string) []int {
	d, _ := e.member(dealer)
	out := make([]int, e.cfg.Threshold-1)
	for i := range out {
		out[i] = (d.Point-1+i)%len(e.cfg.Members) + 1
	}
	return out
}

// seeded reports whether a receiver's share of a dealing is a seed.
func seeded(e *Epoch, dealer, receiver string) bool {
	r, ok := e.member(receiver)
	return ok && slices.Contains(seededPoints(e, dealer), r.Point)
}

// at evaluates the sharing. Point 0 is refused: it is the secret.
func (s *sharing) at(point int) (*he.Poly, error) {
	if point < 1 {
		return nil, fmt.Errorf("%w: evaluation point %d", ErrBadEpoch, point)
	}
	if i := slices.Index(s.points, point); i > 0 {
		return s.values[i].Clone(), nil
	}
	suite := s.values[0].Suite()
	rings := suite.Ring().SubRings
	weights := s.weights(point)
	out := suite.NewPoly()
	scalar := make([]uint64, len(s.fields))
	for j, v := range s.values {
		for k, sr := range rings {
			scalar[k] = ring.MForm(weights[k][j], sr.Modulus, sr.BRedConstant)
		}
		out.AddScaled(v, scalar)
	}
	return out, nil
}

// weights are the Lagrange coefficients of a point over the sharing's own, by
// prime.
func (s *sharing) weights(point int) [][]uint64 {
	out := make([][]uint64, len(s.fields))
	for k, f := range s.fields {
		out[k] = f.lagrange(s.points, point)
	}
	return out
}

// answers computes, for each of the points, the answer to a challenge of the
// share there. <w, f(x)> is itself a polynomial in x: it takes t inner products,
// the values for the n receivers then cost nothing.
func (s *sharing) answers(c challenge, masks *maskSharing, points []int) [][]uint64 {
	primes := len(s.fields)
	zeros := make([][]uint64, len(s.values))
	for j := range zeros {
		zeros[j] = make([]uint64, repetitions*primes)
	}
	own := c.respondAll(s.values, zeros)
	out := make([][]uint64, len(points))
	for i, x := range points {
		weights := s.weights(x)
		out[i] = masks.at(x)
		for r := range out[i] {
			k := r % primes
			for j, l := range weights[k] {
				out[i][r] = addMod(out[i][r], mulMod(l, own[j][r], s.fields[k].q), s.fields[k].q)
			}
		}
	}
	return out
}

func (s *sharing) erase() {
	for _, v := range s.values {
		v.Erase()
	}
	for _, seed := range s.seeds {
		clear(seed)
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
