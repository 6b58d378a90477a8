package privacy

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// Limits of the samplers' parameters, so that all their arithmetic fits 128
// bits.
const (
	MaxVariance    = 1 << 48 // of DiscreteGaussian, numerator over denominator
	MaxDenominator = 1 << 7
	MaxScale       = 1 << 30 // numerator and denominator of DiscreteLaplace
)

// Sampler draws exactly from discrete distributions, by integer arithmetic on
// uniform bits. It is not safe for concurrent use.
type Sampler struct {
	source io.Reader
	buffer [4096]byte
	unread int // at the end of buffer
	bits   uint64
	left   int // bits left in bits
	err    error
}

// NewSampler returns a sampler over a source of uniform bytes; nil is
// crypto/rand. Another source makes sense where a seed is the point: in tests
// and simulations.
func NewSampler(source io.Reader) *Sampler {
	if source == nil {
		source = rand.Reader
	}
	return &Sampler{source: source}
}

// Erase overwrites the random bytes that the sampler holds.
func (s *Sampler) Erase() {
	clear(s.buffer[:])
	s.unread, s.bits, s.left = 0, 0, 0
}

// Err returns the first error of the source. After one, samples are worthless;
// every method that returns samples reports it.
func (s *Sampler) Err() error { return s.err }

func (s *Sampler) word() uint64 {
	if s.unread < 8 {
		if s.err != nil {
			return 0
		}
		if _, err := io.ReadFull(s.source, s.buffer[:]); err != nil {
			s.err = fmt.Errorf("privacy: reading random bytes: %w", err)
			return 0
		}
		s.unread = len(s.buffer)
	}
	at := len(s.buffer) - s.unread
	s.unread -= 8
	w := binary.LittleEndian.Uint64(s.buffer[at:])
	clear(s.buffer[at : at+8])
	return w
}

func (s *Sampler) bit() bool {
	if s.left == 0 {
		s.bits, s.left = s.word(), 64
	}
	b := s.bits&1 == 1
	s.bits >>= 1
	s.left--
	return b
}

// below draws uniformly from [0, n), n > 0, by rejection (Lemire, ACM TOMACS
// 2019, algorithm 5).
func (s *Sampler) below(n uint64) uint64 {
	hi, lo := bits.Mul64(s.word(), n)
	if lo < n {
		for reject := -n % n; lo < reject && s.err == nil; {
			hi, lo = bits.Mul64(s.word(), n)
		}
	}
	return hi
}

// u128 is an unsigned integer of 128 bits.
type u128 struct{ hi, lo uint64 }

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a u128) minus(b u128) u128 {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return u128{hi, lo}
}

// times returns a*k; the product must fit.
func (a u128) times(k uint64) u128 {
	hi, lo := bits.Mul64(a.lo, k)
	return u128{hi + a.hi*k, lo}
}

func square(a uint64) u128 {
	hi, lo := bits.Mul64(a, a)
	return u128{hi, lo}
}

// bernoulli returns true with probability n/d, n <= d, d > 0.
func (s *Sampler) bernoulli(n, d u128) bool {
	if d.hi == 0 {
		return s.below(d.lo) < n.lo || !n.less(d)
	}
	mask := uint64(math.MaxUint64) >> bits.LeadingZeros64(d.hi)
	for s.err == nil {
		if u := (u128{s.word() & mask, s.word()}); u.less(d) {
			return u.less(n)
		}
	}
	return false
}

// bernoulliExp returns true with probability exp(-n/d) (Canonne, Kamath,
// Steinke 2020, algorithm 1). n/d must be below 2^32 or so, and d*K must fit
// 128 bits for every K that can occur: K exceeds k with probability 1/k!.
func (s *Sampler) bernoulliExp(n, d u128) bool {
	for !n.less(d) && s.err == nil { // exp(-1) for each whole unit
		if !s.bernoulliExpUnit(u128{0, 1}, u128{0, 1}) {
			return false
		}
		n = n.minus(d)
	}
	return s.bernoulliExpUnit(n, d)
}

// bernoulliExpUnit is bernoulliExp for n <= d.
func (s *Sampler) bernoulliExpUnit(n, d u128) bool {
	k := uint64(1)
	for s.bernoulli(n, d.times(k)) && s.err == nil {
		k++
	}
	return k&1 == 1
}

// DiscreteLaplace draws an integer x with probability in proportion to
// exp(-|x|*d/n): the discrete Laplace distribution of scale n/d (Canonne,
// Kamath, Steinke 2020, algorithm 2). n and d are 1 to MaxScale.
func (s *Sampler) DiscreteLaplace(n, d uint64) (int64, error) {
	if n < 1 || d < 1 || n > MaxScale || d > MaxScale {
		return 0, fmt.Errorf("privacy: discrete Laplace of scale %d/%d: want both 1 to %d", n, d, MaxScale)
	}
	return s.laplace(n, d), s.err
}

func (s *Sampler) laplace(n, d uint64) int64 {
	for s.err == nil {
		u := s.below(n)
		if !s.bernoulliExpUnit(u128{0, u}, u128{0, n}) {
			continue
		}
		v := uint64(0)
		for v < 1<<32 && s.bernoulliExpUnit(u128{0, 1}, u128{0, 1}) && s.err == nil {
			v++
		}
		y := int64((u + n*v) / d)
		negative := s.bit()
		switch {
		case negative && y == 0:
			continue // or zero would count twice
		case negative:
			return -y
		}
		return y
	}
	return 0
}

// DiscreteGaussian draws an integer x with probability in proportion to
// exp(-x^2*d/(2n)): the discrete Gaussian of parameter sigma^2 = n/d
// (Canonne, Kamath, Steinke 2020, algorithm 3). Its variance is at most n/d
// and hardly less once that exceeds 1. 0 < n/d <= MaxVariance, d at most
// MaxDenominator.
func (s *Sampler) DiscreteGaussian(n, d uint64) (int64, error) {
	if n < 1 || d < 1 || d > MaxDenominator || n/d >= MaxVariance {
		return 0, fmt.Errorf("privacy: discrete Gaussian of variance %d/%d: want above 0, below %d, and a denominator of at most %d", n, d, uint64(MaxVariance), MaxDenominator)
	}
	return s.gaussian(n, d, scaleFor(n, d)), s.err
}

// scaleFor returns floor(sigma)+1.
func scaleFor(n, d uint64) uint64 {
	t := uint64(math.Sqrt(float64(n / d)))
	for t*t > n/d {
		t--
	}
	for (t+1)*(t+1) <= n/d {
		t++
	}
	return t + 1
}

func (s *Sampler) gaussian(n, d, t uint64) int64 {
	// Accept y with probability exp(-(|y| - n/(d*t))^2 * d/(2n))
	//                       = exp(-(|y|*t*d - n)^2 / (2*n*d*t^2)).
	hi, lo := bits.Mul64(2*n*d, t*t) // below 2^63 and about 2^48
	divisor := u128{hi, lo}
	// The exponent's numerator fits 128 bits below this. A larger |y| is more
	// than 200 standard deviations out: it has no chance to be accepted.
	most := uint64(1<<63-1) / (t * d)
	for s.err == nil {
		y := s.laplace(t, 1)
		if magnitude := uint64(max(y, -y)); magnitude < most {
			x := magnitude * t * d
			if x < n {
				x = n - x
			} else {
				x -= n
			}
			if s.bernoulliExp(square(x), divisor) {
				return y
			}
		}
	}
	return 0
}
