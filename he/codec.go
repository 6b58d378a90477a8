package he

import (
	"fmt"
	"math/big"

	"github.com/tuneinsight/lattigo/v5/ring"
)

// encode packs values into an RNS plaintext polynomial m (not yet scaled by
// Delta). Value i*D+j is digit j of coefficient i, stored as v + 2^(b-1);
// values past the end of the slice are zero, so they carry the same offset and
// decode needs no length.
func (s *Suite) encode(values []int32, m ring.Poly) error {
	if len(values) > s.Values() {
		return fmt.Errorf("%w: %d values, suite %s holds %d; split the vector into shards",
			ErrTooManyValues, len(values), s.p.name, s.Values())
	}
	lo, hi := s.MinValue(), s.MaxValue()
	for i, v := range values {
		if v < lo || v > hi {
			return fmt.Errorf("%w: value %d is outside [%d, %d] of suite %s",
				ErrValueRange, i, lo, hi, s.p.name)
		}
	}
	d, slot := s.p.digits, uint(s.p.slotBits)
	offset := int64(1) << (s.p.valueBits - 1)
	w := s.conv.w
	limbs := make([]uint64, s.p.n*w)
	for i := range s.p.n {
		coef := limbs[i*w : (i+1)*w]
		for j := range d {
			digit := uint64(offset)
			if k := i*d + j; k < len(values) {
				digit = uint64(int64(values[k]) + offset)
			}
			at := uint(j) * slot
			coef[at/64] |= digit << (at % 64)
			if at%64+slot > 64 {
				coef[at/64+1] |= digit >> (64 - at%64)
			}
		}
	}
	s.conv.toRNS(limbs, m)
	clear(limbs)
	return nil
}

// DecodePhase turns an opened polynomial phase = Delta*m + noise into the sums
// of the digits: Values() signed integers, entry i*D+j the sum of value i*D+j
// over exactly contributions ciphertexts. The noise must be at most bound in
// every coefficient (ErrNoise otherwise), and each sum must be one that many
// in-range values can reach (ErrSumRange otherwise). The noise itself is
// neither returned nor reported.
func (s *Suite) DecodePhase(phase *Poly, contributions int, bound *big.Int) ([]int64, error) {
	if err := s.checkCount(contributions); err != nil {
		return nil, err
	}
	out := make([]int64, 0, s.Values())
	ranged := true
	within := s.openCoefficients(phase, s.p.n, bound, func(m *big.Int) {
		digits := limbsOf(m)
		for j := range s.p.digits {
			v, ok := s.digit(&digits, j, contributions)
			ranged = ranged && ok
			out = append(out, v)
		}
	})
	if !within {
		return nil, fmt.Errorf("%w: opening a sum of %d under suite %s", ErrNoise, contributions, s.p.name)
	}
	if !ranged {
		return nil, fmt.Errorf("%w: a digit of a sum of %d under suite %s", ErrSumRange, contributions, s.p.name)
	}
	return out, nil
}

// digit extracts the signed sum in digit j and whether that many contributions
// can reach it.
func (s *Suite) digit(m *[maxLimbs]uint64, j, contributions int) (int64, bool) {
	at, slot := uint(j*s.p.slotBits), uint(s.p.slotBits)
	v := m[at/64] >> (at % 64)
	if at%64+slot > 64 {
		v |= m[at/64+1] << (64 - at%64)
	}
	v &= 1<<slot - 1
	n := int64(contributions)
	ok := int64(v) <= n*(1<<s.p.valueBits-1)
	return int64(v) - n<<(s.p.valueBits-1), ok
}

// WithinNoise reports whether every coefficient of phase, which may come from
// Poly.Select, is within bound of a multiple of Delta. It is the cheap half of
// DecodePhase, for discarding wrong combinations of shares.
func (s *Suite) WithinNoise(phase *Poly, bound *big.Int) bool {
	return s.openCoefficients(phase, len(phase.p.Coeffs[0]), bound, func(*big.Int) {})
}

// openCoefficients rounds the first n coefficients to multiples of Delta and
// hands each multiple, in [0, 2^(D*S)), to visit. It reports whether every
// remainder was at most bound in absolute value.
func (s *Suite) openCoefficients(phase *Poly, n int, bound *big.Int, visit func(m *big.Int)) bool {
	w := s.conv.w
	head := ring.Poly{Coeffs: make([][]uint64, len(s.p.primes))}
	for i := range head.Coeffs {
		head.Coeffs[i] = phase.p.Coeffs[i][:n]
	}
	limbs := make([]uint64, n*w)
	s.conv.toIntegers(head, limbs)
	half := new(big.Int).Rsh(s.delta, 1)
	top := new(big.Int).Lsh(big.NewInt(1), uint(s.p.digits*s.p.slotBits))
	x, m, noise := new(big.Int), new(big.Int), new(big.Int)
	within := true
	for i := range n {
		setLimbs(x, limbs[i*w:(i+1)*w])
		noise.Add(x, half)
		m.QuoRem(noise, s.delta, noise)
		noise.Sub(noise, half)
		if m.Cmp(top) >= 0 {
			// The coefficient is just below Q: zero with negative noise.
			m.SetInt64(0)
			noise.Sub(x, s.q)
		}
		if noise.CmpAbs(bound) > 0 {
			within = false
		}
		visit(m)
	}
	clear(limbs)
	noise.SetInt64(0)
	return within
}

// setLimbs sets x to the little-endian limbs v.
func setLimbs(x *big.Int, v []uint64) {
	words := x.Bits()[:0]
	for _, l := range v {
		words = append(words, big.Word(l))
		if bitsPerWord == 32 {
			words = append(words, big.Word(l>>32))
		}
	}
	x.SetBits(words)
}

// bitsPerWord is the size of a big.Word on this machine.
const bitsPerWord = 32 << (^big.Word(0) >> 63)

func (s *Suite) checkCount(n int) error {
	if n < 1 {
		return ErrEmptySum
	}
	if n > s.p.maxCohort {
		return fmt.Errorf("%w: %d contributions, suite %s allows %d", ErrCohortFull, n, s.p.name, s.p.maxCohort)
	}
	return nil
}
