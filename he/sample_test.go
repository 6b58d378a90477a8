package he

import (
	"math"
	"math/big"
	"testing"
)

// TestGaussTable recomputes the table in floating point.
func TestGaussTable(t *testing.T) {
	var w [ErrorBound + 1]float64
	total := 0.0
	for k := range w {
		w[k] = math.Exp(-float64(k*k) / (2 * 3.2 * 3.2))
		if k > 0 {
			w[k] *= 2
		}
		total += w[k]
	}
	cum := 0.0
	for k, got := range gaussCDT {
		cum += w[k]
		if want := cum / total; math.Abs(float64(got)/(1<<63)-want) > 1e-14 {
			t.Errorf("entry %d is %.17g, want %.17g", k, float64(got)/(1<<63), want)
		}
	}
}

func TestSmallSamplers(t *testing.T) {
	const n = 1 << 19
	src := systemSource()
	var sum, sq float64
	for _, e := range src.gaussVector(n) {
		if e > ErrorBound || e < -ErrorBound {
			t.Fatalf("error %d", e)
		}
		sum += float64(e)
		sq += float64(e) * float64(e)
	}
	// Six standard deviations: mean 3.2/sqrt(n), variance 10.24*sqrt(2/n).
	if mean := sum / n; math.Abs(mean) > 6*3.2/math.Sqrt(n) {
		t.Errorf("error mean %g", mean)
	}
	if v := sq / n; math.Abs(v-10.24) > 6*10.24*math.Sqrt(2.0/n) {
		t.Errorf("error variance %g", v)
	}
	count := map[int8]int{}
	for _, u := range src.ternaryVector(n) {
		count[u]++
	}
	for _, v := range []int8{-1, 0, 1} {
		if d := float64(count[v]) - n/3.0; math.Abs(d) > 6*math.Sqrt(n*2.0/9) {
			t.Errorf("ternary %d: %d of %d", v, count[v], n)
		}
	}
	if len(count) != 3 {
		t.Errorf("ternary values %v", count)
	}
}

// TestSmudgingMoments compares the sampler with the exact moments of the
// uniform law on [-B, B]: mean 0, variance B(B+1)/3 and fourth moment
// B(B+1)(3B^2+3B-1)/15, for B = 2^40 .. 2^130 and values beside them.
func TestSmudgingMoments(t *testing.T) {
	const n = 20000
	src := systemSource()
	for k := 40; k <= 130; k += 6 {
		for _, off := range []int64{-1, 0, 12345} {
			b := new(big.Int).Lsh(big.NewInt(1), uint(k))
			b.Add(b, big.NewInt(off))
			const w = 4
			limbs := make([]uint64, n*w)
			src.symmetric(b, w, limbs)
			mean, second, fourth := new(big.Int), new(big.Int), new(big.Int)
			x, t2 := new(big.Int), new(big.Int)
			low := 0
			for i := range n {
				setLimbs(x, limbs[i*w:(i+1)*w])
				x.Sub(x, b)
				if x.CmpAbs(b) > 0 {
					t.Fatalf("B=%v: a draw outside [-B, B]", b)
				}
				low += int(x.Bit(0))
				mean.Add(mean, x)
				t2.Mul(x, x)
				second.Add(second, t2)
				fourth.Add(fourth, t2.Mul(t2, t2))
			}
			b1 := new(big.Int).Add(b, big.NewInt(1))
			bb1 := new(big.Int).Mul(b, b1)
			// Exact: var = bb1/3, m4 = bb1(3 bb1 - 1)/15.
			m4 := new(big.Int).Mul(bb1, big.NewInt(3))
			m4.Sub(m4, big.NewInt(1)).Mul(m4, bb1)
			ratio := func(got, want *big.Int, scale int64) float64 {
				r, _ := new(big.Rat).SetFrac(new(big.Int).Mul(got, big.NewInt(scale)), new(big.Int).Mul(want, big.NewInt(n))).Float64()
				return r
			}
			// Relative standard errors: mean sigma/sqrt(n); of x^2,
			// sqrt(m4/var^2-1) = sqrt(4/5); of x^4, sqrt(25/9-1) = 4/3.
			se := 1 / math.Sqrt(n)
			if r := ratio(mean, b, 1); math.Abs(r) > 6*se/math.Sqrt(3) {
				t.Errorf("B=%v: mean %g B", b, r)
			}
			if r := ratio(second, bb1, 3); math.Abs(r-1) > 6*math.Sqrt(0.8)*se {
				t.Errorf("B=%v: variance is %g of the exact one", b, r)
			}
			if r := ratio(fourth, m4, 15); math.Abs(r-1) > 6*4.0/3*se {
				t.Errorf("B=%v: fourth moment is %g of the exact one", b, r)
			}
			if d := math.Abs(float64(low) - n/2.0); d > 6*math.Sqrt(n)/2 {
				t.Errorf("B=%v: lowest bit set %d of %d times", b, low, n)
			}
		}
	}
}

// TestSmudgingExact counts every outcome of a small bound.
func TestSmudgingExact(t *testing.T) {
	const n, b = 110000, 5
	limbs := make([]uint64, n)
	systemSource().symmetric(big.NewInt(b), 1, limbs)
	count := make([]int, 2*b+1)
	for _, v := range limbs {
		count[v]++
	}
	for v, c := range count {
		if d := float64(c) - n/11.0; math.Abs(d) > 6*math.Sqrt(n/11.0) {
			t.Errorf("outcome %d: %d times of %d", v-b, c, n)
		}
	}
}

// TestSmudgingPoly checks the shift to [-B, B] in residues.
func TestSmudgingPoly(t *testing.T) {
	forSuites(t, func(t *testing.T, s *Suite) {
		p := s.SmudgingPoly()
		out := make([]*big.Int, s.N())
		for i := range out {
			out[i] = new(big.Int)
		}
		s.r.PolyToBigintCentered(p.p, 1, out)
		signs := 0
		large := 0
		for _, x := range out {
			if x.CmpAbs(s.smudge) > 0 {
				t.Fatal("a coefficient beyond the bound")
			}
			signs += x.Sign()
			if x.BitLen() >= s.smudge.BitLen()-2 {
				large++
			}
		}
		if float64(max(signs, -signs)) > 6*math.Sqrt(float64(s.N())) || large < s.N()/2 {
			t.Errorf("signs sum to %d, %d of %d large", signs, large, s.N())
		}
		p.Erase()
		if !p.Equal(s.NewPoly()) {
			t.Error("Erase left something")
		}
	})
}
