package privacy

import (
	"fmt"
	"math"
)

// The Renyi divergences below are of a mechanism that adds Gaussian noise of
// standard deviation noise * sensitivity, at order alpha > 1. They hold for
// the discrete Gaussian of the same parameter as well: its divergence is the
// same at integer distances (Canonne, Kamath, Steinke 2020, proposition 5).

// GaussianRDP returns alpha/(2*noise^2) (Mironov 2017, proposition 7): the
// Renyi divergence of the Gaussian mechanism of the given noise multiplier.
func GaussianRDP(noise, alpha float64) float64 {
	switch {
	case noise == 0:
		return math.Inf(1)
	default:
		return alpha / (2 * noise * noise)
	}
}

// SumRDP returns a bound on the Renyi divergence of order alpha when n honest
// clients each add discrete Gaussian noise of variance v in each of
// coordinates coordinates, for sensitivity distance in L2 norm (Kairouz, Liu,
// Steinke 2021, proposition 14): a sum of discrete Gaussians is not one, and the
// difference, SumGap, counts in every coordinate. v must be at least 1/4.
func SumRDP(n int, v, distance float64, coordinates int, alpha float64) (float64, error) {
	if n < 1 || !(v >= 0.25) || !(distance >= 0) || coordinates < 1 {
		return 0, fmt.Errorf("privacy: noise of variance %v of %d clients in %d coordinates at distance %v: want a variance of at least 1/4 and the rest positive", v, n, coordinates, distance)
	}
	gap, d, total := SumGap(n, v), float64(coordinates), float64(n)*v
	apart := alpha*distance*distance/(2*total) + gap*d
	joined := distance/math.Sqrt(total) + gap*math.Sqrt(d)
	return min(apart, alpha/2*joined*joined), nil
}

// SumGap bounds how far, in max divergence, the sum of n discrete Gaussians of
// variance v each is from a discrete Gaussian of variance n*v, for one
// coordinate: 10 * sum over k = 1..n-1 of exp(-2*pi^2*v*k/(k+1)) (Kairouz,
// Liu, Steinke 2021, proposition 14). It is below 10^-16 once v exceeds 4.
func SumGap(n int, v float64) float64 {
	var sum float64
	for k := 1; k < n; k++ {
		sum += math.Exp(-2 * math.Pi * math.Pi * v * float64(k) / float64(k+1))
		if k > 1000 { // the terms fall towards exp(-2*pi^2*v); bound the rest by the last
			sum += float64(n-1-k) * math.Exp(-2*math.Pi*math.Pi*v*float64(k)/float64(k+1))
			break
		}
	}
	return 10 * sum
}

// PoissonRDP returns the Renyi divergence of order alpha of the Gaussian
// mechanism on a Poisson sample of rate q (Mironov, Talwar, Zhang: Renyi
// Differential Privacy of the Sampled Gaussian Mechanism, 2019, sections 3.3
// and 3.4). It holds for neighbours that differ by one member's presence, and
// only while nobody learns who was sampled. For discrete noise it holds at
// integer orders.
func PoissonRDP(q, noise, alpha float64) float64 {
	switch {
	case q == 0:
		return 0
	case noise == 0 || math.IsInf(alpha, 1):
		return math.Inf(1)
	case q == 1:
		return GaussianRDP(noise, alpha)
	case alpha == math.Trunc(alpha):
		return poissonMomentInt(q, noise, int(alpha)) / (alpha - 1)
	}
	return poissonMoment(q, noise, alpha) / (alpha - 1)
}

// poissonMomentInt returns log A_alpha for an integer order: the binomial
// expansion of the mixture's moment (Mironov et al. 2019, section 3.3).
func poissonMomentInt(q, noise float64, alpha int) float64 {
	total := math.Inf(-1)
	for k := range alpha + 1 {
		x := float64(k)
		binomial, _ := logBinomial(float64(alpha), x)
		term := binomial + x*math.Log(q) + float64(alpha-k)*math.Log1p(-q)
		total = logAdd(total, term+(x*x-x)/(2*noise*noise))
	}
	return total
}

// poissonMoment returns log A_alpha for a fractional order: two series over
// the halves of the line at which the mixture's parts are equal (Mironov et al.
// 2019, section 3.4). Their terms alternate in sign once k exceeds alpha; the
// signs are summed apart.
func poissonMoment(q, noise, alpha float64) float64 {
	sums := [2]float64{math.Inf(-1), math.Inf(-1)} // of positive and of negative terms
	middle := noise*noise*math.Log(1/q-1) + 0.5
	for k := 0; k < 100_000; k++ {
		i := float64(k)
		j := alpha - i
		binomial, sign := logBinomial(alpha, i)
		s0 := binomial + i*math.Log(q) + j*math.Log1p(-q) + (i*i-i)/(2*noise*noise) + logUpperTail((i-middle)/noise)
		s1 := binomial + j*math.Log(q) + i*math.Log1p(-q) + (j*j-j)/(2*noise*noise) + logUpperTail((middle-j)/noise)
		side := (1 - sign) / 2
		sums[side] = logAdd(sums[side], logAdd(s0, s1))
		if max(s0, s1) < -30 && i > alpha {
			return logSub(sums[0], min(sums[0], sums[1]))
		}
	}
	return math.Inf(1) // no convergence: say nothing rather than something wrong
}

// WithoutReplacementRDP returns a bound on the Renyi divergence of order alpha
// of the Gaussian mechanism on a uniform sample of a fixed share q of the
// members, for neighbours that differ in one member's data (Wang, Balle,
// Kasiviswanathan: Subsampled Renyi Differential Privacy and Analytical
// Moments Accountant, AISTATS 2019, theorem 27; fractional orders by corollary
// 10). It holds only while nobody learns who was sampled. Noise is relative to
// the sensitivity between such neighbours.
func WithoutReplacementRDP(q, noise, alpha float64) float64 {
	switch {
	case q == 0:
		return 0
	case noise == 0 || math.IsInf(alpha, 1):
		return math.Inf(1)
	case q == 1:
		return GaussianRDP(noise, alpha)
	}
	low := math.Floor(alpha)
	t := alpha - low
	moment := withoutReplacementMoment(q, noise, int(low))
	if t > 0 {
		moment = (1-t)*moment + t*withoutReplacementMoment(q, noise, int(low)+1)
	}
	return moment / (alpha - 1)
}

func withoutReplacementMoment(q, noise float64, alpha int) float64 {
	if alpha < 2 {
		return 0
	}
	cgf := func(x float64) float64 { return x * (x + 1) / (2 * noise * noise) }
	two := 1 / (noise * noise) // the divergence of order 2
	total := 0.0               // log 1
	differences := logDifferences(noise, min(alpha+1, differenced))
	for k := 2; k <= alpha; k++ {
		x := float64(k)
		s := math.Ln2 + cgf(x-1)
		switch {
		case k == 2:
			s = min(math.Log(4)+two+math.Log1p(-math.Exp(-two)), two+math.Ln2)
		case k < differenced:
			s = min(s, math.Log(4)+(differences[k/2]+differences[(k+1)/2])/2)
		}
		binomial, _ := logBinomial(float64(alpha), x)
		total = logAdd(total, s+x*math.Log(q)+binomial)
	}
	return total
}

// differenced is below which order theorem 27's ternary moments are evaluated;
// from there its coarser bound alone is taken, which the powers of q make small.
const differenced = 256

// logDifferences returns the logarithms of the forward differences of exp(cgf)
// at 0 of the even orders 2i up to most, at index i: moments of the likelihood
// ratio minus 1 of two Gaussians at the distance of the sensitivity.
// Differences of numbers so large would cancel to nothing; the moment is the
// integral of something positive, by the trapezoidal rule (which converges
// exponentially here), in logarithms.
func logDifferences(noise float64, most int) []float64 {
	const step = 0.1
	spread := 12 + 2*math.Sqrt(float64(most))
	var grid, ratios []float64
	for x := -spread; x <= spread+float64(most)/noise; x += step {
		exponent := x/noise - 1/(2*noise*noise)
		ratio := math.Log(math.Abs(math.Expm1(exponent)))
		if exponent > 700 {
			ratio = exponent
		}
		grid, ratios = append(grid, -x*x/2), append(ratios, ratio)
	}
	out := make([]float64, most/2+1)
	for i := range out {
		n, peak, sum := float64(2*i), math.Inf(-1), 0.0
		for j, r := range ratios {
			if i == 0 {
				r = 0 // 0 * log 0
			}
			peak = max(peak, n*r+grid[j])
		}
		for j, r := range ratios {
			if e := n*r + grid[j] - peak; e > -50 {
				sum += math.Exp(e)
			}
		}
		out[i] = peak + math.Log(sum*step) - math.Log(2*math.Pi)/2
	}
	return out
}

// logAdd returns log(exp(a) + exp(b)).
func logAdd(a, b float64) float64 {
	low, high := min(a, b), max(a, b)
	if math.IsInf(low, -1) || math.IsInf(high, 1) {
		return high
	}
	return high + math.Log1p(math.Exp(low-high))
}

// logSub returns log(exp(high) - exp(low)), high >= low.
func logSub(high, low float64) float64 {
	if high == low {
		return math.Inf(-1)
	}
	return high + math.Log1p(-math.Exp(low-high))
}

// logBinomial returns the logarithm of the absolute value of the binomial
// coefficient n over k, n real, and its sign.
func logBinomial(n, k float64) (float64, int) {
	a, _ := math.Lgamma(n + 1)
	b, _ := math.Lgamma(k + 1)
	c, sign := math.Lgamma(n - k + 1)
	return a - b - c, sign
}

// logUpperTail returns the logarithm of the probability that a standard normal
// variable exceeds x.
func logUpperTail(x float64) float64 {
	if x < 10 {
		return math.Log(math.Erfc(x/math.Sqrt2) / 2)
	}
	// Mills' ratio by its continued fraction (Abramowitz, Stegun 26.2.14).
	fraction := x
	for k := 60; k > 0; k-- {
		fraction = x + float64(k)/fraction
	}
	return -x*x/2 - math.Log(fraction) - math.Log(2*math.Pi)/2
}
