package privacy

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// vectors is testdata/vectors.json, written by testdata/vectors.py.
type vectors struct {
	Versions     map[string]string `json:"versions"`
	Orders       []float64         `json:"orders"`
	OpacusOrders []float64         `json:"opacus_orders"`
	Cases        []struct {
		Sampling             string
		Rate, Noise, Delta   float64
		Steps                int
		GoogleRDP            []float64 `json:"google_rdp"`
		GoogleEpsilon        float64   `json:"google_epsilon"`
		GoogleDelta          float64   `json:"google_delta_at_1"`
		GoogleDefaultEpsilon float64   `json:"google_default_epsilon"`
		OpacusRDP            []float64 `json:"opacus_rdp"`
		OpacusEpsilon        float64   `json:"opacus_epsilon"`
	} `json:"cases"`
}

func close(got, want, tolerance float64) bool {
	return got == want || math.Abs(got-want) <= tolerance*math.Max(math.Abs(got), math.Abs(want))
}

// The accountant against Google's dp_accounting and Meta's Opacus: Renyi
// divergences, epsilon, and delta.
func TestPublishedVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Cases) < 14 || v.Versions["dp-accounting"] != "0.4.4" || v.Versions["opacus"] != "1.5.2" {
		t.Fatalf("%d cases of %v", len(v.Cases), v.Versions)
	}
	for _, c := range v.Cases {
		divergence := func(alpha float64) float64 {
			switch c.Sampling {
			case "poisson":
				return PoissonRDP(c.Rate, c.Noise, alpha)
			case "without_replacement":
				return WithoutReplacementRDP(c.Rate, c.Noise, alpha)
			}
			return GaussianRDP(c.Noise, alpha)
		}
		name := c.Sampling + " " + strconv.FormatFloat(c.Rate, 'g', 4, 64) + " x " + strconv.Itoa(c.Steps)
		a, err := NewAccountant(v.Orders)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Add(c.Steps, divergence); err != nil {
			t.Fatal(err)
		}
		_, spent := a.RDP()
		for i, want := range c.GoogleRDP {
			// At fractional orders dp_accounting sums alternating terms in
			// absolute value, an upper bound. Without replacement it takes
			// differences of large numbers, which cancel in high orders and
			// leave it with the coarser of its two bounds.
			alpha := v.Orders[i]
			switch {
			case c.Sampling == "poisson" && alpha != math.Trunc(alpha):
				if spent[i] > want*(1+1e-7) {
					t.Errorf("%s: order %v: divergence %v, dp_accounting's bound %v", name, alpha, spent[i], want)
				}
			case c.Sampling == "without_replacement":
				if alpha > 20 && spent[i] < want {
					continue
				}
				if !close(spent[i], want, 1e-6) {
					t.Errorf("%s: order %v: divergence %v, dp_accounting %v", name, alpha, spent[i], want)
				}
			default:
				if !close(spent[i], want, 1e-7) {
					t.Errorf("%s: order %v: divergence %v, dp_accounting %v", name, alpha, spent[i], want)
				}
			}
		}
		tolerance := 1e-9
		if c.Sampling != "none" {
			tolerance = 2e-3
		}
		if e, _ := a.Epsilon(c.Delta); !close(e, c.GoogleEpsilon, tolerance) {
			t.Errorf("%s: epsilon %v, dp_accounting %v", name, e, c.GoogleEpsilon)
		}
		if d := a.Delta(1); !close(d, c.GoogleDelta, 10*tolerance) {
			t.Errorf("%s: delta at epsilon 1 %v, dp_accounting %v", name, d, c.GoogleDelta)
		}
		// With the orders of its own: as tight as dp_accounting with its own.
		var own Accountant
		if err := own.Add(c.Steps, divergence); err != nil {
			t.Fatal(err)
		}
		if e, _ := own.Epsilon(c.Delta); !close(e, c.GoogleDefaultEpsilon, 2e-3) {
			t.Errorf("%s: epsilon %v, dp_accounting at its own orders %v", name, e, c.GoogleDefaultEpsilon)
		}
		if c.OpacusRDP == nil {
			continue
		}
		if a, err = NewAccountant(v.OpacusOrders); err != nil {
			t.Fatal(err)
		}
		if err := a.Add(c.Steps, divergence); err != nil {
			t.Fatal(err)
		}
		_, spent = a.RDP()
		for i, want := range c.OpacusRDP {
			if !close(spent[i], want, 1e-6) {
				t.Errorf("%s: order %v: divergence %v, Opacus %v", name, v.OpacusOrders[i], spent[i], want)
			}
		}
		if e, _ := a.Epsilon(c.Delta); !close(e, c.OpacusEpsilon, 1e-7) {
			t.Errorf("%s: epsilon %v, Opacus %v", name, e, c.OpacusEpsilon)
		}
	}
}

// Fourteen published values suffice to see that the conversion is right; that
// it is nearly tight shows against the exact curve of the Gaussian mechanism
// (Balle, Wang, ICML 2018, theorem 8), which it may never undercut.
func TestConversionAgainstTheExactGaussian(t *testing.T) {
	phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	for _, noise := range []float64{0.5, 1, 2, 5, 20} {
		for _, delta := range []float64{1e-3, 1e-5, 1e-9} {
			exact := func(e float64) float64 {
				return phi(0.5/noise-e*noise) - math.Exp(e)*phi(-0.5/noise-e*noise)
			}
			e := ConcentratedEpsilon(0.5/(noise*noise), 0, delta)
			if got := exact(e); got > delta {
				t.Errorf("noise %v: claims (%v, %v); the exact delta is %v", noise, e, delta, got)
			}
			if got := exact(0.75 * e); got < delta {
				t.Errorf("noise %v, delta %v: epsilon %v is more than a third above the exact one", noise, delta, e)
			}
		}
	}
}

func TestConcentratedEpsilonIsTheBestOrders(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		rho := math.Exp(rapid.Float64Range(-12, 5).Draw(r, "log rho"))
		constant := rapid.SampledFrom([]float64{0, 1e-12, 1e-3}).Draw(r, "constant")
		delta := math.Exp(rapid.Float64Range(-30, -1).Draw(r, "log delta"))
		e := ConcentratedEpsilon(rho, constant, delta)
		for _, alpha := range DefaultOrders() {
			if at := EpsilonAt(alpha, rho*alpha+constant, delta); at < e*(1-1e-9)-1e-12 {
				r.Fatalf("order %v gives %v, the search %v", alpha, at, e)
			}
		}
		if twice := ConcentratedEpsilon(2*rho, constant, delta); twice < e {
			r.Fatalf("spending twice costs %v, once %v", twice, e)
		}
	})
}

// Epsilon and delta are each other's inverse, and composition adds.
func TestAccountantComposes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		noise := rapid.Float64Range(0.5, 50).Draw(r, "noise")
		times := rapid.IntRange(1, 50).Draw(r, "times")
		delta := math.Exp(rapid.Float64Range(-25, -2).Draw(r, "log delta"))
		one := func(alpha float64) float64 { return GaussianRDP(noise, alpha) }
		var together, apart Accountant
		if err := together.Add(times, one); err != nil {
			r.Fatal(err)
		}
		for range times {
			if err := apart.Add(1, one); err != nil {
				r.Fatal(err)
			}
		}
		e, _ := together.Epsilon(delta)
		if f, _ := apart.Epsilon(delta); !close(e, f, 1e-9) {
			r.Fatalf("%v together, %v one by one", e, f)
		}
		if back := together.Delta(e); back > delta*(1+1e-9) {
			r.Fatalf("epsilon %v for delta %v, and back %v", e, delta, back)
		}
	})
}

func TestAmplificationOnlyEverHelps(t *testing.T) {
	for _, alpha := range []float64{2, 3, 8, 32} {
		before := 0.0
		for _, q := range []float64{0, 1e-4, 1e-2, 0.1, 0.5, 0.9, 1} {
			d := PoissonRDP(q, 1.3, alpha)
			if d < before || d > GaussianRDP(1.3, alpha)*(1+1e-12) {
				t.Errorf("order %v, rate %v: divergence %v after %v", alpha, q, d, before)
			}
			before = d
		}
	}
}

// The bound on sums of discrete Gaussians against the divergence itself,
// computed by convolution: it must cover it, at deviations where the sum is
// visibly not one discrete Gaussian, and be close where it nearly is.
func TestSumRDPCoversTheDivergence(t *testing.T) {
	for _, v := range []float64{0.25, 0.3, 0.5, 1, 4} {
		for _, n := range []int{1, 2, 3, 5} {
			reach := 60
			one, _, _ := weights(reach, func(x float64) float64 { return -x * x / (2 * v) })
			sum := one
			for range n - 1 {
				sum = convolve(sum, one)
			}
			for _, distance := range []int{1, 3} {
				for _, alpha := range []float64{1.5, 2, 6} {
					var moment float64
					for i := distance; i < len(sum); i++ {
						if p, q := sum[i], sum[i-distance]; p > 1e-290 && q > 1e-290 {
							moment += math.Exp(alpha*math.Log(p) + (1-alpha)*math.Log(q))
						}
					}
					exact := math.Log(moment) / (alpha - 1)
					bound, err := SumRDP(n, v, float64(distance), 1, alpha)
					if err != nil {
						t.Fatal(err)
					}
					if exact > bound*(1+1e-9) {
						t.Errorf("%d of variance %v at distance %d, order %v: divergence %v above its bound %v", n, v, distance, alpha, exact, bound)
					}
					if v == 4 && bound > exact*1.01 {
						t.Errorf("%d of variance %v at distance %d, order %v: bound %v for %v", n, v, distance, alpha, bound, exact)
					}
				}
			}
		}
	}
	if g := SumGap(1, 0.25); g != 0 {
		t.Errorf("one discrete Gaussian differs from itself by %v", g)
	}
	if a, b := SumGap(900, 0.3), SumGap(100_000, 0.3); !(b > a) {
		t.Errorf("gap of 900: %v, of 100000: %v", a, b)
	}
}

func convolve(a, b []float64) []float64 {
	out := make([]float64, len(a)+len(b)-1)
	for i, x := range a {
		for j, y := range b {
			out[i+j] += x * y
		}
	}
	return out
}

func TestAccountantRefuses(t *testing.T) {
	for _, orders := range [][]float64{nil, {1}, {2, math.Inf(1)}, {math.NaN()}} {
		if _, err := NewAccountant(orders); err == nil {
			t.Errorf("orders %v were accepted", orders)
		}
	}
	var a Accountant
	if a.Add(-1, func(float64) float64 { return 1 }) == nil || a.Add(1, func(float64) float64 { return math.NaN() }) == nil || a.Add(1, func(float64) float64 { return -1 }) == nil {
		t.Error("a mechanism without meaning was spent")
	}
	for _, delta := range []float64{0, -1, 1, math.NaN()} {
		if e := EpsilonAt(2, 1, delta); !math.IsInf(e, 1) {
			t.Errorf("delta %v gives epsilon %v", delta, e)
		}
	}
	if _, err := SumRDP(3, 0.2, 1, 1, 2); err == nil {
		t.Error("the bound was used below its range")
	}
	if e, _ := (&Accountant{}).Epsilon(1e-5); e != 0 {
		t.Errorf("nothing costs %v", e)
	}
}

func TestFormatEpsilon(t *testing.T) {
	for e, want := range map[float64]string{0: "0.000", 1.2341: "1.235", 3: "3.000", 1e12: Infinity, math.Inf(1): Infinity} {
		if got := FormatEpsilon(e); got != want {
			t.Errorf("%v: %s, want %s", e, got, want)
		}
	}
	if FormatEpsilon(math.NaN()) != Infinity {
		t.Error("no number is no infinity")
	}
}

// The ternary moments against the differences that they are, where those do not
// cancel.
func TestMomentsAreDifferences(t *testing.T) {
	for _, noise := range []float64{0.5, 0.7, 1} {
		got := logDifferences(noise, 24)
		for i := range got {
			n := 2 * i
			var sum float64
			for k := 0; k <= n; k++ {
				x := float64(k)
				binomial, _ := logBinomial(float64(n), x)
				sum += float64(1-2*(k%2)) * math.Exp(binomial+x*(x-1)/(2*noise*noise)-float64(n*(n-1))/(2*noise*noise))
			}
			if want := math.Log(sum) + float64(n*(n-1))/(2*noise*noise); math.Abs(got[i]-want) > 1e-9*math.Max(1, want) {
				t.Errorf("noise %v, order %d: %v, want %v", noise, n, got[i], want)
			}
		}
	}
}
