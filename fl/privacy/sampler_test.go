package privacy

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"gonum.org/v1/gonum/stat/distuv"
)

func seeded(n byte) *Sampler { return NewSampler(rand.NewChaCha8([32]byte{n})) }

// weights returns the probabilities of -reach..reach in proportion to
// exp(exponent(x)), and the distribution's first moments.
func weights(reach int, exponent func(x float64) float64) (p []float64, variance, fourth float64) {
	var total float64
	for x := -reach; x <= reach; x++ {
		w := math.Exp(exponent(float64(x)))
		p = append(p, w)
		total += w
	}
	for i := range p {
		p[i] /= total
		x := float64(i - reach)
		variance += p[i] * x * x
		fourth += p[i] * x * x * x * x
	}
	return p, variance, fourth
}

// checkSamples compares samples with a distribution: mean and variance within
// six standard errors, and a chi-square test over the cells that are expected
// at least 20 times, at level 1e-6. The seeds are fixed: it passes or it does
// not.
func checkSamples(t *testing.T, name string, draws []int64, reach int, exponent func(float64) float64) {
	t.Helper()
	p, variance, fourth := weights(reach, exponent)
	n := float64(len(draws))
	counts := make([]float64, len(p))
	var sum, squares float64
	for _, x := range draws {
		if x < -int64(reach) || x > int64(reach) {
			t.Fatalf("%s: drew %d, which is out of any reach", name, x)
		}
		counts[x+int64(reach)]++
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	if mean := sum / n; math.Abs(mean) > 6*math.Sqrt(variance/n) {
		t.Errorf("%s: mean %v of %v draws", name, mean, n)
	}
	if v, e := squares/n, math.Sqrt((fourth-variance*variance)/n); math.Abs(v-variance) > 6*e {
		t.Errorf("%s: variance %v, want %v within %v", name, v, variance, 6*e)
	}
	var chi, seen, expected float64
	cells := 0
	for i := range p {
		if seen, expected = seen+counts[i], expected+p[i]*n; expected < 20 && i < len(p)-1 {
			continue
		}
		if expected > 0 {
			chi += (seen - expected) * (seen - expected) / expected
			cells++
		}
		seen, expected = 0, 0
	}
	if tail := (distuv.ChiSquared{K: float64(cells - 1)}).Survival(chi); cells > 1 && tail < 1e-6 {
		t.Errorf("%s: chi-square %v over %d cells: probability %v", name, chi, cells, tail)
	}
}

func TestDiscreteGaussian(t *testing.T) {
	for i, v := range []struct {
		n, d  uint64
		draws int
	}{{1, 4, 50_000}, {1, 2, 50_000}, {1, 1, 50_000}, {7, 3, 50_000}, {16, 1, 50_000}, {1_000, 1, 50_000}, {123_457, 100, 50_000}, {400_000, 1, 30_000}} {
		s, sigma2 := seeded(byte(i)), float64(v.n)/float64(v.d)
		draws := make([]int64, v.draws)
		for k := range draws {
			var err error
			if draws[k], err = s.DiscreteGaussian(v.n, v.d); err != nil {
				t.Fatal(err)
			}
		}
		checkSamples(t, "gaussian", draws, 10+int(12*math.Sqrt(sigma2)), func(x float64) float64 { return -x * x / (2 * sigma2) })
	}
}

func TestDiscreteLaplace(t *testing.T) {
	for i, v := range []struct{ n, d uint64 }{{1, 1}, {1, 3}, {3, 2}, {25, 1}, {1000, 7}} {
		s, scale := seeded(byte(100+i)), float64(v.n)/float64(v.d)
		draws := make([]int64, 50_000)
		for k := range draws {
			var err error
			if draws[k], err = s.DiscreteLaplace(v.n, v.d); err != nil {
				t.Fatal(err)
			}
		}
		checkSamples(t, "laplace", draws, 10+int(40*scale), func(x float64) float64 { return -math.Abs(x) / scale })
	}
}

// The largest parameters keep within 128 bits: the moments would not survive a
// carry that is lost.
func TestDiscreteGaussianAtTheLimit(t *testing.T) {
	s := seeded(7)
	n, d := uint64(MaxVariance)*MaxDenominator-1, uint64(MaxDenominator)
	sigma := math.Sqrt(float64(n) / float64(d))
	var sum, squares float64
	const draws = 20_000
	for range draws {
		x, err := s.DiscreteGaussian(n, d)
		if err != nil {
			t.Fatal(err)
		}
		sum += float64(x) / sigma
		squares += float64(x) / sigma * float64(x) / sigma
	}
	if mean, v := sum/draws, squares/draws; math.Abs(mean) > 6/math.Sqrt(draws) || math.Abs(v-1) > 6*math.Sqrt(2.0/draws) {
		t.Errorf("standardised mean %v, variance %v", mean, v)
	}
}

// exp(-g) for g below, at and above 1, and with divisors beyond 64 bits.
func TestBernoulliExp(t *testing.T) {
	big := uint64(1) << 40
	for i, v := range []struct {
		n, d u128
		g    float64
	}{{u128{0, 0}, u128{0, 1}, 0}, {u128{0, 1}, u128{0, 3}, 1.0 / 3}, {u128{0, 1}, u128{0, 1}, 1}, {u128{0, 7}, u128{0, 2}, 3.5}, {u128{big, 5}, u128{3 * big, 1}, 1.0 / 3}, {u128{5 * big, 5}, u128{4 * big, 0}, 1.25}} {
		s, hits := seeded(byte(50+i)), 0.0
		const n = 100_000
		for range n {
			if s.bernoulliExp(v.n, v.d) {
				hits++
			}
		}
		if p := math.Exp(-v.g); math.Abs(hits/n-p) > 6*math.Sqrt(p*(1-p)/n) {
			t.Errorf("exp(-%v): %v, want %v", v.g, hits/n, p)
		}
	}
}

func TestSamplerRefuses(t *testing.T) {
	s := seeded(0)
	for _, v := range [][2]uint64{{0, 1}, {1, 0}, {1, MaxDenominator + 1}, {MaxVariance, 1}, {MaxVariance * 2, 2}} {
		if _, err := s.DiscreteGaussian(v[0], v[1]); err == nil {
			t.Errorf("a discrete Gaussian of variance %d/%d was drawn", v[0], v[1])
		}
	}
	for _, v := range [][2]uint64{{0, 1}, {1, 0}, {MaxScale + 1, 1}, {1, MaxScale + 1}} {
		if _, err := s.DiscreteLaplace(v[0], v[1]); err == nil {
			t.Errorf("a discrete Laplace of scale %d/%d was drawn", v[0], v[1])
		}
	}
}

// A source that fails, or ends, is an error and never a constant.
func TestSamplerReportsItsSource(t *testing.T) {
	broken := errors.New("no entropy")
	for name, source := range map[string]io.Reader{
		"error": iotest.ErrReader(broken), "short": bytes.NewReader(make([]byte, 100)), "after a while": io.LimitReader(rand.NewChaCha8([32]byte{1}), 8192),
	} {
		s := NewSampler(source)
		var err error
		for range 100_000 {
			if _, err = s.DiscreteGaussian(1000, 1); err != nil {
				break
			}
		}
		if err == nil || s.Err() == nil {
			t.Errorf("%s: the sampler went on", name)
		}
		if name == "error" && !errors.Is(err, broken) {
			t.Errorf("%v does not say what the source said", err)
		}
	}
}

// Random bytes do not stay in memory once they are used, nor after Erase.
func TestSamplerErases(t *testing.T) {
	s := seeded(3)
	if _, err := s.DiscreteGaussian(100, 1); err != nil {
		t.Fatal(err)
	}
	used := len(s.buffer) - s.unread
	if used == 0 || !bytes.Equal(s.buffer[:used], make([]byte, used)) {
		t.Error("used random bytes stay in the buffer")
	}
	s.Erase()
	if s.buffer != [4096]byte{} || s.bits != 0 {
		t.Error("erased, and random bytes are left")
	}
}

func TestDefaultSourceIsNotConstant(t *testing.T) {
	s := NewSampler(nil)
	seen := map[int64]bool{}
	for range 50 {
		x, err := s.DiscreteGaussian(1<<40, 1)
		if err != nil {
			t.Fatal(err)
		}
		seen[x] = true
	}
	if len(seen) < 45 {
		t.Errorf("%d values in 50 draws of deviation 2^20", len(seen))
	}
}

func BenchmarkDiscreteGaussian(b *testing.B) {
	s := NewSampler(nil)
	for b.Loop() {
		if _, err := s.DiscreteGaussian(400_000, 1); err != nil {
			b.Fatal(err)
		}
	}
}
