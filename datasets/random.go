package datasets

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
)

// stream is a seeded source of draws whose every step is fixed here: ChaCha8
// (C2SP chacha8rand, as in math/rand/v2) keyed by SHA-256 of purpose and seed,
// with our own bounded integers and shuffle, so that no library's change of
// algorithm can move a row from one part to another. A seed is the point: it
// decides who gets which public row, never a key.
type stream struct{ src *rand.ChaCha8 }

func newStream(purpose string, seed uint64) *stream {
	key := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("credence/datasets/"+purpose+"/v1\x00"), seed))
	return &stream{src: rand.NewChaCha8(key)}
}

// below draws uniformly from [0, n), n >= 1 (Lemire 2019, without bias).
func (s *stream) below(n int) int {
	bound := uint64(n)
	hi, lo := bits.Mul64(s.src.Uint64(), bound)
	if lo < bound {
		for least := -bound % bound; lo < least; {
			hi, lo = bits.Mul64(s.src.Uint64(), bound)
		}
	}
	return int(hi)
}

// open draws uniformly from (0, 1) with 53 bits.
func (s *stream) open() float64 {
	return (float64(s.src.Uint64()>>11) + 0.5) / (1 << 53)
}

// shuffle is Fisher-Yates from the end.
func (s *stream) shuffle(v []int) {
	for i := len(v) - 1; i > 0; i-- {
		j := s.below(i + 1)
		v[i], v[j] = v[j], v[i]
	}
}

// normal draws from N(0,1) by Marsaglia's polar method.
func (s *stream) normal() float64 {
	for {
		u, v := 2*s.open()-1, 2*s.open()-1
		if q := u*u + v*v; q > 0 && q < 1 {
			return u * math.Sqrt(-2*math.Log(q)/q)
		}
	}
}

// logGamma draws the logarithm of a Gamma(alpha, 1) variate (Marsaglia and
// Tsang 2000; below 1 by Gamma(alpha+1)*U^(1/alpha)). In logarithms, so that a
// small alpha does not underflow to a vector of zeros.
func (s *stream) logGamma(alpha float64) float64 {
	boost := 0.0
	if alpha < 1 {
		boost = math.Log(s.open()) / alpha
		alpha++
	}
	d := alpha - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := s.normal()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(s.open()) < 0.5*x*x+d-d*v+d*math.Log(v) {
			return math.Log(d) + math.Log(v) + boost
		}
	}
}

// dirichlet draws n proportions from the symmetric Dirichlet(alpha).
func (s *stream) dirichlet(n int, alpha float64) []float64 {
	p := make([]float64, n)
	top := math.Inf(-1)
	for i := range p {
		p[i] = s.logGamma(alpha)
		top = max(top, p[i])
	}
	sum := 0.0
	for i := range p {
		p[i] = math.Exp(p[i] - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// apportion divides total into whole parts proportional to p by the largest
// remainder; ties go to the lower index. The parts sum to total.
func apportion(total int, p []float64) []int {
	out := make([]int, len(p))
	rest := make([]float64, len(p))
	left := total
	for i, q := range p {
		exact := q * float64(total)
		out[i] = min(int(exact), left)
		rest[i] = exact - float64(out[i])
		left -= out[i]
	}
	for ; left > 0; left-- {
		best := 0
		for i := range rest {
			if rest[i] > rest[best] {
				best = i
			}
		}
		out[best]++
		rest[best]--
	}
	return out
}
