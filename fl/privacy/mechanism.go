package privacy

import (
	"fmt"
	"math"
	"sort"

	"credence/fl"
)

// Quantise turns a client's update into the values that it encrypts
// (fl.QuantiseUpdate) and, where the plan asks for privacy, adds this client's
// share of the noise. The figures of a private plan stay with the client. The
// sampler is used for private plans only; nil draws from crypto/rand.
//
// The noise is drawn anew for every call: keep the result, and never encrypt two
// for one round.
func Quantise(plan fl.Plan, node fl.NodeID, update []float64, figures fl.Figures, s *Sampler) ([]fl.ShardValues, error) {
	if !plan.Privacy.On() {
		return fl.QuantiseUpdate(plan, node, update, figures)
	}
	values, err := fl.QuantiseNoiseless(plan, node, update)
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = NewSampler(nil)
		defer s.Erase()
	}
	return values, addNoise(plan, values, s)
}

// addNoise adds discrete Gaussian noise to the values, and to the count where
// the clip adapts. Noise beyond the bounds of fl.Noise is drawn anew: that keeps
// the values in range and the norm attestable, and Spent counts it.
func addNoise(plan fl.Plan, values []fl.ShardValues, s *Sampler) error {
	noise, err := plan.Noise()
	if err != nil {
		return err
	}
	total := 0
	for _, shard := range values {
		total += len(shard.Values) - fl.MetricSlots
	}
	drawn, err := s.within(total, noise.Variance, noise.Bound, noise.SquareBound(total))
	if err != nil {
		return err
	}
	defer clear(drawn)
	next := drawn
	for _, shard := range values {
		for i := fl.MetricSlots; i < len(shard.Values); i++ {
			shard.Values[i] += int32(next[0])
			next = next[1:]
		}
		if noise.CountScale == 0 || shard.Shard%plan.UploadShards() != 0 {
			continue
		}
		count, err := s.within(1, noise.CountVariance, noise.CountBound, math.MaxUint64)
		if err != nil {
			return err
		}
		shard.Values[0] += int32(count[0])
	}
	return nil
}

// within draws n discrete Gaussians of a variance, all of them again until none
// exceeds bound in magnitude and the sum of their squares does not exceed
// squares.
func (s *Sampler) within(n int, variance uint64, bound int64, squares uint64) ([]int64, error) {
	drawn, t := make([]int64, n), scaleFor(variance, 1)
	for {
		sum, fits := uint64(0), true
		for i := range drawn {
			y := s.gaussian(variance, 1, t)
			drawn[i] = y
			fits = fits && y >= -bound && y <= bound
			sum += uint64(y * y)
		}
		if s.err != nil {
			return nil, s.err
		}
		if fits && sum <= squares {
			return drawn, nil
		}
	}
}

// Spent returns the epsilon, at the delta of p, of everything that a job has
// published once a client was charged for the given number of rounds;
// coordinates is how many values its whole upload has at most
// (fl.Noise.Coordinates; more is safe). +Inf when there is no noise, or when
// delta is too small for the tail of the noise.
//
// Every round is one Gaussian mechanism of noise multiplier p.NoiseMultiplier
// (update and count together) and sensitivity 1, plus the gap between a sum of
// discrete Gaussians and one (SumGap). No amplification by sampling is claimed:
// plans, and so cohorts, are public. What cutting the noise's tail changes is
// charged to delta: with probability at most tail anything else happened, on
// either of two neighbours, so delta pays (1 + e^epsilon) * tail.
func Spent(p fl.Privacy, coordinates, charged int) float64 {
	if charged == 0 {
		return 0
	}
	if !p.On() {
		return math.Inf(1)
	}
	rho := float64(charged) / (2 * p.NoiseMultiplier * p.NoiseMultiplier)
	gap := float64(charged) * SumGap(p.MinHonest, fl.MinNoiseVariance) * float64(coordinates+1)
	// Three bounds are kept by each honest client in each round: on every value,
	// on the norm, and on the count.
	tail := 3 * float64(charged) * float64(p.MinHonest) * math.Exp2(-fl.TailBits)
	epsilon := ConcentratedEpsilon(rho, gap, p.Delta)
	for range 100 {
		left := p.Delta - (1+math.Exp(epsilon))*tail
		if !(left > 0) {
			return math.Inf(1)
		}
		next := ConcentratedEpsilon(rho, gap, left)
		if next <= epsilon*(1+1e-12) {
			return max(next, epsilon)
		}
		epsilon = next
	}
	return math.Inf(1)
}

// Affordable returns the largest number of rounds that a client may be charged
// for within the budget of p, at most fl.MaxRounds.
func Affordable(p fl.Privacy, coordinates int) int {
	if !p.On() {
		return fl.MaxRounds
	}
	return sort.Search(fl.MaxRounds, func(rounds int) bool { return !(Spent(p, coordinates, rounds+1) <= p.Epsilon) })
}

// Calibrate returns the least noise multiplier, to four significant digits and
// rounded up, with which rounds rounds stay within the budget of p; what p says
// about noise is ignored.
func Calibrate(p fl.Privacy, coordinates, rounds int) (float64, error) {
	spent := func(z float64) float64 {
		p.NoiseMultiplier = z
		return Spent(p, coordinates, rounds)
	}
	if rounds < 1 || rounds > fl.MaxRounds || !(p.Epsilon > 0) || !(p.Delta > 0 && p.Delta < 1) || p.MinHonest < 1 {
		return 0, fmt.Errorf("privacy: epsilon %v and delta %v over %d rounds: want an epsilon above 0, a delta between 0 and 1, and rounds", p.Epsilon, p.Delta, rounds)
	}
	low, high := -20.0, 20.0 // exponents of two
	if spent(math.Exp2(high)) > p.Epsilon {
		return 0, fmt.Errorf("privacy: no noise gives epsilon %v and delta %v over %d rounds: ask for fewer rounds or a larger budget", p.Epsilon, p.Delta, rounds)
	}
	for range 60 {
		if middle := (low + high) / 2; spent(math.Exp2(middle)) <= p.Epsilon {
			high = middle
		} else {
			low = middle
		}
	}
	z := math.Exp2(high)
	unit := math.Pow(10, math.Floor(math.Log10(z))-3)
	z = math.Ceil(z/unit) * unit
	if spent(z) > p.Epsilon {
		z += unit
	}
	return z, nil
}

// SpentByPlan returns Spent for a private plan when a client was charged for
// the given number of rounds.
func SpentByPlan(plan fl.Plan, charged int) float64 {
	return Spent(plan.Privacy, plan.UploadShards()*(plan.Slots-fl.MetricSlots), charged)
}

// Allows checks that the budget of a plan allows every client of the cohort to
// take part: what a client checks before it encrypts and a committee member
// before its share leaves.
func Allows(plan fl.Plan) error {
	if !plan.Privacy.On() {
		return nil
	}
	most := plan.MostCharged()
	if spent := SpentByPlan(plan, most); !(spent <= plan.Privacy.Epsilon) {
		return fmt.Errorf("the job's privacy budget does not allow round %d: a client charged for %d rounds has spent epsilon %s of %v at delta %v", plan.Round, most, FormatEpsilon(spent), plan.Privacy.Epsilon, plan.Privacy.Delta)
	}
	return nil
}

// Statement returns what a manifest says of the privacy of the models up to and
// with a plan's round, when no client was charged for more rounds than charged.
func Statement(plan fl.Plan, charged int) (epsilon string, delta float64) {
	if !plan.Privacy.On() {
		return Infinity, 0
	}
	return FormatEpsilon(SpentByPlan(plan, charged)), plan.Privacy.Delta
}

// SameStatement reports whether two statements agree but for the last bits of
// floating-point functions, which machines may compute differently.
func SameStatement(plan fl.Plan, charged int, epsilon string, delta float64) bool {
	if !plan.Privacy.On() {
		return epsilon == Infinity && delta == 0
	}
	spent := SpentByPlan(plan, charged)
	return delta == plan.Privacy.Delta && (epsilon == FormatEpsilon(spent) || epsilon == FormatEpsilon(spent*(1-1e-9)) || epsilon == FormatEpsilon(spent*(1+1e-9)))
}
