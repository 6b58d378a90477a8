package he

import (
	"encoding/binary"
	"math/big"
	"math/bits"

	"github.com/tuneinsight/lattigo/v5/ring"
)

// maxLimbs is the widest integer handled, in 64-bit limbs: a sum of a whole
// cohort of coefficients. It also keeps such sums below the 254-bit scalar
// fields used by proofs for every published suite.
const maxLimbs = 4

// converter moves polynomials between residues modulo the primes (RNS, what
// the ring multiplies) and integers of w limbs (what the wire and sums carry).
// Integers lie flat: coefficient i is limbs [i*w, (i+1)*w), least first.
type converter struct {
	w      int
	q      [maxLimbs]uint64 // Q
	primes []uint64
	mred   []uint64
	// inv[i][j] = (q_j)^-1 mod q_i for j < i, Montgomery form (Garner).
	inv  [][]uint64
	bred [][]uint64
	// pow[i][l] = 2^(64(l+1)) mod q_i, so that MRed(limb, pow) = limb*2^(64l).
	pow [][]uint64
}

func newConverter(r *ring.Ring, q *big.Int, w int) converter {
	c := converter{w: w, q: limbsOf(q)}
	for _, s := range r.SubRings {
		c.primes = append(c.primes, s.Modulus)
		c.mred = append(c.mred, s.MRedConstant)
		c.bred = append(c.bred, s.BRedConstant)
	}
	for i, qi := range c.primes {
		m := new(big.Int).SetUint64(qi)
		inv := make([]uint64, i)
		for j := range inv {
			v := new(big.Int).ModInverse(new(big.Int).SetUint64(c.primes[j]), m)
			inv[j] = ring.MForm(v.Uint64(), qi, c.bred[i])
		}
		c.inv = append(c.inv, inv)
		pow := make([]uint64, w)
		for l := range pow {
			v := new(big.Int).Lsh(big.NewInt(1), uint(64*(l+1)))
			pow[l] = v.Mod(v, m).Uint64()
		}
		c.pow = append(c.pow, pow)
	}
	return c
}

func limbsOf(v *big.Int) (out [maxLimbs]uint64) {
	var buf [8 * maxLimbs]byte
	v.FillBytes(buf[:])
	for l := range out {
		out[l] = binary.BigEndian.Uint64(buf[8*(maxLimbs-1-l):])
	}
	return out
}

// toIntegers writes the coefficients of p, in [0,Q), into out (N*w limbs). It
// is Garner's mixed-radix conversion (Knuth, TAOCP 2, 4.3.2).
func (c *converter) toIntegers(p ring.Poly, out []uint64) {
	k, w := len(c.primes), c.w
	var digit [8]uint64
	for i := range len(p.Coeffs[0]) {
		for a := range k {
			qa, ma := c.primes[a], c.mred[a]
			v := p.Coeffs[a][i]
			for b := range a {
				d := digit[b]
				if d >= qa {
					d = ring.BRedAdd(d, qa, c.bred[a])
				}
				if v < d {
					v += qa
				}
				v = ring.MRed(v-d, c.inv[a][b], qa, ma)
			}
			digit[a] = v
		}
		// Horner: digit[0] + q0*(digit[1] + q1*(...)).
		acc := out[i*w : (i+1)*w]
		clear(acc)
		for a := k - 1; a >= 0; a-- {
			carry := digit[a]
			for l := range acc {
				hi, lo := bits.Mul64(acc[l], c.primes[a])
				var cc uint64
				acc[l], cc = bits.Add64(lo, carry, 0)
				carry = hi + cc
			}
		}
	}
	clear(digit[:])
}

// toRNS reduces integers of w limbs (any size) modulo each prime.
func (c *converter) toRNS(in []uint64, p ring.Poly) {
	w := c.w
	for a, qa := range c.primes {
		pow, ma, row := c.pow[a], c.mred[a], p.Coeffs[a]
		for i := range row {
			v := in[i*w : (i+1)*w]
			var r uint64
			for l, limb := range v {
				r += ring.MRed(limb, pow[l], qa, ma)
				if r >= qa {
					r -= qa
				}
			}
			row[i] = r
		}
	}
}

// encode writes n integers of w limbs with width bytes each, little endian.
func (c *converter) encode(in []uint64, width int, out []byte) []byte {
	w := c.w
	var buf [8 * maxLimbs]byte
	for i := 0; i < len(in); i += w {
		for l := range w {
			binary.LittleEndian.PutUint64(buf[8*l:], in[i+l])
		}
		out = append(out, buf[:width]...)
	}
	return out
}

// decode reads integers of width bytes and reports whether each is at most
// largest.
func (c *converter) decode(in []byte, width int, largest *[maxLimbs]uint64, out []uint64) bool {
	w := c.w
	var buf [8 * maxLimbs]byte
	ok := true
	for i := 0; i < len(out); i += w {
		copy(buf[:width], in)
		in = in[width:]
		for l := range w {
			out[i+l] = binary.LittleEndian.Uint64(buf[8*l:])
		}
		// largest - value must not borrow.
		var borrow uint64
		for l := range w {
			_, borrow = bits.Sub64(largest[l], out[i+l], borrow)
		}
		ok = ok && borrow == 0
	}
	return ok
}
