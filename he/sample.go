package he

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"math/big"
	"math/bits"
)

// source draws uniform words from a byte stream through a small buffer that it
// wipes as it goes.
type source struct {
	fill func([]byte)
	buf  [4096]byte
	off  int
}

// systemSource expands 32 fresh bytes of crypto/rand, which ends the process
// rather than return less than full randomness, with AES-256 in counter mode:
// an element of R_Q takes a quarter of a megabyte, which is 20 times as long in
// coming from the system. A source is used for one draw, so no key lives on. The
// expanded key is out of reach, like every copy that the runtime makes: wiping
// the buffer narrows the window and does not close it.
func systemSource() *source {
	var key [SeedBytes]byte
	_, _ = rand.Read(key[:]) // never fails, see crypto/rand.Read
	defer clear(key[:])
	return seededSource(key)
}

// seededSource reads the stream of AES-256 in counter mode from counter 0 (NIST
// SP 800-38A) under a key.
func seededSource(key [SeedBytes]byte) *source {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("he: AES refuses a key of 32 bytes: " + err.Error())
	}
	stream := cipher.NewCTR(block, make([]byte, aes.BlockSize))
	return newSource(func(b []byte) {
		clear(b)
		stream.XORKeyStream(b, b)
	})
}

func newSource(fill func([]byte)) *source {
	s := &source{fill: fill}
	s.off = len(s.buf)
	return s
}

func (s *source) bytes(out []byte) {
	for len(out) > 0 {
		if s.off == len(s.buf) {
			s.fill(s.buf[:])
			s.off = 0
		}
		n := copy(out, s.buf[s.off:])
		clear(s.buf[s.off : s.off+n])
		s.off += n
		out = out[n:]
	}
}

func (s *source) uint64() uint64 {
	if s.off+8 <= len(s.buf) {
		v := binary.LittleEndian.Uint64(s.buf[s.off:])
		clear(s.buf[s.off : s.off+8])
		s.off += 8
		return v
	}
	var b [8]byte
	s.bytes(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// below draws an integer uniform below q, by rejection.
func (s *source) below(q uint64) uint64 {
	mask := uint64(1)<<bits.Len64(q) - 1
	for {
		if v := s.uint64() & mask; v < q {
			return v
		}
	}
}

func (s *source) wipe() { clear(s.buf[:]); s.off = len(s.buf) }

// gaussCDT[k] = round(2^63 * Pr[|e| <= k]) for the discrete Gaussian of
// standard deviation 3.2 restricted to |e| <= 19. Computed to 60 decimal
// digits; the test recomputes it.
var gaussCDT = [ErrorBound]uint64{
	0x0ff52b40a5917f1d, 0x2e5a25d4bf0e400e, 0x489ae26955b04bd6, 0x5d2bc20f621bf185,
	0x6bc8694c3cc80ff5, 0x7532d89ac6ba7dcf, 0x7ab396cb74436799, 0x7d9e4e916643eb08,
	0x7f05495819eb2051, 0x7fa1ce9c0039a957, 0x7fdfb3f212e8c4e9, 0x7ff5e6f9d2314fcc,
	0x7ffd1f97bc4406a3, 0x7fff40fa0088d11e, 0x7fffd2e835e1c57e, 0x7ffff6524386ff1e,
	0x7ffffe1db4769da5, 0x7fffffac0a1dcb09, 0x7ffffff428673853,
}

// gauss draws one error coefficient without branching on it: 63 bits choose
// the magnitude by scanning the whole table, one bit the sign.
func (s *source) gauss() int8 {
	w := s.uint64()
	u := w >> 1
	var magnitude uint64
	for _, c := range gaussCDT {
		_, below := bits.Sub64(u, c, 0) // 1 when u < c
		magnitude += 1 - below
	}
	sign := -int8(w & 1)
	return (int8(magnitude) ^ sign) - sign
}

func (s *source) gaussVector(n int) []int8 {
	out := make([]int8, n)
	for i := range out {
		out[i] = s.gauss()
	}
	return out
}

// ternaryVector draws each coefficient uniformly from {-1, 0, 1}, rejecting one
// of four two-bit patterns.
func (s *source) ternaryVector(n int) []int8 {
	out := make([]int8, n)
	var pool uint64
	left := 0
	for i := 0; i < n; {
		if left == 0 {
			pool, left = s.uint64(), 32
		}
		t := int8(pool & 3)
		pool >>= 2
		left--
		if t == 3 {
			continue
		}
		out[i] = t - 1
		i++
	}
	return out
}

// TernaryPoly draws a secret with coefficients uniform in {-1, 0, 1}.
func (s *Suite) TernaryPoly() *Poly {
	src := systemSource()
	defer src.wipe()
	v := src.ternaryVector(s.p.n)
	p := s.NewPoly()
	p.setSmall(v)
	clear(v)
	return p
}

// ErrorPoly draws a fresh error: discrete Gaussian, standard deviation 3.2,
// |e| <= ErrorBound.
func (s *Suite) ErrorPoly() *Poly {
	src := systemSource()
	defer src.wipe()
	v := src.gaussVector(s.p.n)
	p := s.NewPoly()
	p.setSmall(v)
	clear(v)
	return p
}

// UniformPoly draws a uniform element of R_Q.
func (s *Suite) UniformPoly() *Poly {
	src := systemSource()
	defer src.wipe()
	return s.uniform(src)
}

// ExpandUniform is the element of R_Q that a seed stands for. To who does not
// know the seed it is uniform, as far as AES-256 is a pseudorandom function. It
// reads words of 8 bytes, little endian, from AES-256 in counter mode under the
// seed, from counter 0: for each prime N residues, a word masked to the length
// of the prime and passed over when it is not below it.
func (s *Suite) ExpandUniform(seed [SeedBytes]byte) *Poly {
	src := seededSource(seed)
	defer src.wipe()
	return s.uniform(src)
}

func (s *Suite) uniform(src *source) *Poly {
	p := s.NewPoly()
	for i, q := range s.p.primes {
		row := p.p.Coeffs[i]
		for j := range row {
			row[j] = src.below(q)
		}
	}
	return p
}

// UniformResidues draws one uniform residue modulo each prime.
func (s *Suite) UniformResidues() []uint64 {
	src := systemSource()
	defer src.wipe()
	out := make([]uint64, len(s.p.primes))
	for i, q := range s.p.primes {
		out[i] = src.below(q)
	}
	return out
}

// SmudgingPoly draws a noise dealer's polynomial, each coefficient exactly
// uniform in [-B_sm, B_sm]. lattigo's large Gaussian sampler is not used: it is
// wrong at these widths.
func (s *Suite) SmudgingPoly() *Poly {
	src := systemSource()
	defer src.wipe()
	limbs := make([]uint64, s.p.n*s.conv.w)
	src.symmetric(s.smudge, s.conv.w, limbs)
	p := s.NewPoly()
	s.conv.toRNS(limbs, p.p)
	clear(limbs)
	// The draw is in [0, 2B]; shift it down to [-B, B].
	shift := s.r.NewRNSScalarFromBigint(new(big.Int).Neg(s.smudge))
	for i, sr := range s.r.SubRings {
		sr.AddScalar(p.p.Coeffs[i], shift[i], p.p.Coeffs[i])
	}
	return p
}

// symmetric fills out with integers of w limbs uniform in [0, 2*bound], by
// rejection, so every value is exactly as likely as every other.
func (s *source) symmetric(bound *big.Int, w int, out []uint64) {
	twice := new(big.Int).Lsh(bound, 1)
	top, n := limbsOf(twice), twice.BitLen()
	used := (n + 63) / 64
	var mask [maxLimbs]uint64
	for l := range mask {
		if left := n - 64*l; left > 0 {
			mask[l] = ^uint64(0) >> uint(64-min(left, 64))
		}
	}
	for i := 0; i < len(out); i += w {
		v := out[i : i+w]
		for {
			for l := range used {
				v[l] = s.uint64() & mask[l]
			}
			var borrow uint64
			for l := range used {
				_, borrow = bits.Sub64(top[l], v[l], borrow)
			}
			if borrow == 0 {
				break
			}
		}
	}
}
