package fl

import (
	"fmt"
	"math"
	"math/bits"
)

// Noise is what every client of a private round adds to its quantised values,
// in units of the quantiser. Everybody derives the same numbers from the plan:
// they are made of operations that round alike on every machine.
type Noise struct {
	// Step is the real width of one unit. With noise, the range of the values
	// holds the clip and the noise's tail, so units are wider than without.
	Step float64
	// Sensitivity is the most by which one client's rounded values, before the
	// noise, can change a sum, in L2 norm.
	Sensitivity float64
	// Variance is the parameter of one client's discrete Gaussian, for each
	// value; at least MinNoiseVariance.
	Variance uint64
	// Bound is the largest noise of a value: a client draws anew beyond it.
	Bound int64
	// Coordinates is how many values a whole upload has at most.
	Coordinates int

	// CountScale stands for one client in the count of an adaptive clip, 0
	// without one; CountVariance and CountBound are the noise of the count.
	CountScale    int64
	CountVariance uint64
	CountBound    int64
}

const (
	// MinNoiseVariance keeps the sum of clients' noises so close to one discrete
	// Gaussian that the difference never matters.
	MinNoiseVariance = 16
	// TailBits: with probability below 2^-TailBits each, an honest client's
	// noise exceeds Bound somewhere, or SquareBound. It then draws anew; the
	// accountant counts the difference.
	TailBits = 101
)

const ln2 = 0.6931471805599454 // rounded up

// NewNoise derives the noise of a round from the privacy and the clip of its
// plan, for values of b bits and uploads of at most coordinates values. Noise
// that does not fit the values, or that rounding would more than double, is an
// error that says what to change.
func NewNoise(p Privacy, clip Clip, b, coordinates int) (Noise, error) {
	if b < 4 || b > 31 || coordinates < 1 || coordinates > MaxParameters || !(clip.Norm > 0) || !(clip.Value > 0) || !(p.NoiseMultiplier > 0) || p.MinHonest < 1 {
		return Noise{}, fmt.Errorf("noise: %d values of %d bits, norm %v, noise multiplier %v, %d honest: out of range", coordinates, b, clip.Norm, p.NoiseMultiplier, p.MinHonest)
	}
	top := int64(1)<<(b-1) - 1
	at := func(step float64) (n Noise, fits bool) {
		n = Noise{Step: step, Coordinates: coordinates}
		n.Sensitivity = roundedNorm(clip.Norm/step, coordinates)
		deviation := float64(p.UpdateNoise() * n.Sensitivity)
		variance := math.Ceil(float64(deviation*deviation) / float64(p.MinHonest))
		clipped := math.Ceil(clip.Value/step) + 1
		if !(variance < 1<<40 && clipped < 1<<32) {
			return n, false
		}
		n.Variance = max(uint64(variance), 1)
		n.Bound = tailBound(n.Variance, coordinates)
		return n, int64(clipped)+n.Bound <= top
	}
	low, high := clip.Value/float64(top), clip.Value
	for i := 0; ; i++ {
		if _, fits := at(high); fits {
			break
		}
		if i == 64 {
			return Noise{}, fmt.Errorf("noise: with %d honest clients, a noise multiplier of %v and %d values, noise does not fit %d bits: ask for less noise, more honest clients, or a smaller model", p.MinHonest, p.NoiseMultiplier, coordinates, b)
		}
		low, high = high, 2*high
	}
	for range 40 {
		middle := float64(low+high) / 2
		if _, fits := at(middle); fits {
			high = middle
		} else {
			low = middle
		}
	}
	n, _ := at(high)
	switch {
	case n.Variance < MinNoiseVariance:
		return Noise{}, fmt.Errorf("noise: with %d honest clients and a noise multiplier of %v, a client's noise has a deviation below %d units of %d-bit values: raise clip.norm against clip.value, or ask for more noise", p.MinHonest, p.NoiseMultiplier, 4, b)
	case n.Sensitivity > 2*clip.Norm/n.Step:
		return Noise{}, fmt.Errorf("noise: %d values of %d bits leave %.0f units for clip.norm, and rounding would more than double the noise: lower clip.value, ask for less noise, or take a suite with wider values", coordinates, b, clip.Norm/n.Step)
	}
	if p.Adaptive.On() {
		if err := n.count(p, top); err != nil {
			return Noise{}, err
		}
	}
	return n, nil
}

// count chooses the scale of the count, the largest power of two up to 64
// clients' worth that fits.
func (n *Noise) count(p Privacy, top int64) error {
	for scale := int64(64); scale > 0; scale /= 2 {
		// One client moves the count by one unit of scale: whether within the
		// clip or not, it sends plus or minus one. That is half a client either
		// way, hence twice the noise.
		deviation := float64(2 * p.Adaptive.CountNoise * float64(scale))
		variance := math.Ceil(float64(deviation*deviation) / float64(p.MinHonest))
		if !(variance < 1<<40) {
			continue
		}
		bound := tailBound(uint64(variance), 1)
		if variance >= MinNoiseVariance && bound+scale <= top {
			n.CountScale, n.CountVariance, n.CountBound = scale, uint64(variance), bound
			return nil
		}
	}
	return fmt.Errorf("noise: a count noise of %v clients from %d honest ones does not fit the values: choose another", p.Adaptive.CountNoise, p.MinHonest)
}

// roundedNorm returns the largest norm that n values of norm r may have after
// they are rounded as Noise says: each moves by less than 1, which adds at most
// sqrt(n); or QuantiseNoiseless rounds again until it adds no more than is
// likely (Kairouz, Liu, Steinke 2021, theorem 1, with beta =
// exp(-1/2): r^2 + n/4 + r + sqrt(n)/2).
func roundedNorm(r float64, n int) float64 {
	root := math.Sqrt(float64(n))
	always := r + root
	likely := math.Sqrt(float64(r*r) + float64(n)/4 + r + root/2)
	return min(always, likely)
}

// tailBound returns a B that a discrete Gaussian of variance v exceeds in any of
// n values with probability below 2^-TailBits: 2n*exp(-B^2/2v) (it is
// sub-Gaussian: Canonne, Kamath, Steinke 2020, section 2).
func tailBound(v uint64, n int) int64 {
	exponent := ln2 * float64(bits.Len64(2*uint64(n))+TailBits)
	return int64(math.Ceil(math.Sqrt(float64(2*float64(v)) * exponent)))
}

// SquareBound returns what the sum of squares of the noise of n values exceeds
// with probability below 2^-TailBits: v*(n + 2*sqrt(n*t) + 2t), t = TailBits *
// ln 2 (Laurent, Massart, Annals of Statistics 2000, lemma 1; its proof needs
// of a normal variable only that it is sub-Gaussian).
func (n Noise) SquareBound(values int) uint64 {
	t := float64(TailBits * ln2)
	spread := float64(values) + float64(2*math.Sqrt(float64(values)*t)) + float64(2*t)
	return uint64(math.Ceil(float64(float64(n.Variance) * spread)))
}

// Noise returns the noise of a private plan.
func (p Plan) Noise() (Noise, error) {
	return NewNoise(p.Privacy, p.Clip, p.ValueBits, p.UploadShards()*(p.Slots-MetricSlots))
}

// Quantiser returns the quantiser of a plan. With privacy, its units are wider,
// so that noise fits beside the clipped values.
func (p Plan) Quantiser() (Quantiser, error) {
	q, err := NewQuantiser(p.Clip, p.ValueBits)
	if err != nil || !p.Privacy.On() {
		return q, err
	}
	n, err := p.Noise()
	if err != nil {
		return Quantiser{}, err
	}
	q.value = float64(n.Step * float64(q.top))
	return q, nil
}

// squareBound is SquareBound for private plans: the rounded update's norm and
// the noise's add, and the count is one more value.
func (n Noise) squareBound(plan Plan, a Assignment) (uint64, error) {
	values := len(a.Shards) * (plan.Slots - MetricSlots)
	radius := float64(float64(plan.Clip.Norm/n.Step)*float64(float64(a.Weight)/float64(plan.WeightUnit))) + math.Sqrt(float64(values))
	radius = float64(min(radius, n.Sensitivity)*(1+1e-9)) + math.Sqrt(float64(n.SquareBound(values)))
	radius *= 1 + 1e-9
	square := math.Ceil(float64(radius * radius))
	top := float64(int64(1)<<(plan.ValueBits-1) - 1)
	square = min(square, float64(values)*float64(top*top))
	count := float64(n.CountScale + n.CountBound)
	if total := square + float64(count*count); total < 1<<61 {
		return uint64(total), nil
	}
	return 0, fmt.Errorf("plan: %d coordinates with noise: their squares do not fit an attestation", values)
}
