package fl

import (
	"errors"
	"fmt"
	"math"
	"math/big"
)

// Figures are the evaluation of a global model on the nodes' own data, summed
// over the cohort.
type Figures struct {
	LossMilli int64 `json:"loss_milli"` // sum of the examples' losses, in thousandths
	Correct   int64 `json:"correct"`
	Count     int64 `json:"count"`
}

const (
	figureLimbs = MetricSlots / 3 // slots for each of the three figures
	limbBits    = 6               // of each limb; small, so that figures hardly count in an update's norm
	figureBits  = 50              // no client's figure exceeds 2^figureBits-1, so 2^13 of them fit an int64
)

var errFiguresOverflow = errors.New("figures: their sum does not fit 63 bits")

// NewFigures makes the figures of one node: lossSum is the sum (not the mean)
// of its examples' losses. A loss that is negative, not finite or beyond what
// an update can carry is an error: the model has diverged.
func NewFigures(lossSum float64, correct, count int64) (Figures, error) {
	milli := math.Round(lossSum * 1000)
	if !(milli >= 0 && milli < 1<<figureBits) {
		return Figures{}, fmt.Errorf("figures: sum of losses %v: want 0 to %v; has training diverged?", lossSum, float64(1<<figureBits)/1000)
	}
	f := Figures{LossMilli: int64(milli), Correct: correct, Count: count}
	return f, f.Validate()
}

// Validate refuses negative figures and more correct answers than examples.
func (f Figures) Validate() error {
	if f.LossMilli < 0 || f.Correct < 0 || f.Count < 0 || f.Correct > f.Count {
		return fmt.Errorf("figures: loss %d, %d correct of %d: want none negative and no more correct than counted", f.LossMilli, f.Correct, f.Count)
	}
	return nil
}

// MeanLoss returns the mean loss of an example; ok is false when there is none.
func (f Figures) MeanLoss() (loss float64, ok bool) {
	if f.Count < 1 {
		return 0, false
	}
	return float64(f.LossMilli) / 1000 / float64(f.Count), true
}

// Accuracy returns the share of correct answers, 0 to 1; ok is false when
// there was no example.
func (f Figures) Accuracy() (accuracy float64, ok bool) {
	if f.Count < 1 {
		return 0, false
	}
	return float64(f.Correct) / float64(f.Count), true
}

// FigureLimit returns the largest figure that one client can send with values
// of b bits: nine limbs, and never more than 50 bits.
func FigureLimit(b int) int64 {
	return 1<<min(figureLimbs*figureLimb(b), figureBits) - 1
}

// figureLimb returns the bits of a limb when values have b bits: limbBits, or
// half of a value's positive range where that is less.
func figureLimb(b int) int { return min(limbBits, max(b-2, 0)) }

// limbs writes the figures as MetricSlots limbs of figureLimb(b) bits, least
// significant first. A limb is at most half of a value's positive range, so
// adding limbs over any cohort that a suite admits neither carries nor
// overflows.
func (f Figures) limbs(b int) ([]int32, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	out := make([]int32, 0, MetricSlots)
	for _, v := range f.list() {
		if limit := FigureLimit(b); v > limit {
			return nil, fmt.Errorf("figures: loss %d, %d correct of %d: with values of %d bits none may exceed %d", f.LossMilli, f.Correct, f.Count, b, limit)
		}
		for range figureLimbs {
			out = append(out, int32(v&(1<<figureLimb(b)-1)))
			v >>= figureLimb(b)
		}
	}
	return out, nil
}

func (f Figures) list() [3]int64 { return [3]int64{f.LossMilli, f.Correct, f.Count} }

// openFigures recombines the sums of limbs over n contributions, each sum
// already known to be between 0 and n times a limb. Figures that no n honest
// clients can add up to are a *RangeError.
func openFigures(shard int, sums []int64, n, b int) (Figures, error) {
	var out [3]int64
	for i := range out {
		total := new(big.Int)
		for k := figureLimbs - 1; k >= 0; k-- {
			total.Lsh(total, uint(figureLimb(b))).Add(total, big.NewInt(sums[i*figureLimbs+k]))
		}
		limit := new(big.Int).Mul(big.NewInt(int64(n)), big.NewInt(FigureLimit(b)))
		if limit.Cmp(maxFigures) > 0 {
			limit = maxFigures
		}
		if total.Cmp(limit) > 0 {
			last := (i+1)*figureLimbs - 1
			return Figures{}, &RangeError{Shard: shard, Slot: last, Sum: sums[last], High: new(big.Int).Rsh(limit, uint(figureLimb(b)*(figureLimbs-1))).Int64()}
		}
		out[i] = total.Int64()
	}
	// Each client's figures are in one shard whole, so this holds shard by shard.
	if correct, count := out[1], out[2]; correct > count {
		return Figures{}, &RangeError{Shard: shard, Slot: figureLimbs, Sum: correct, High: count}
	}
	return Figures{LossMilli: out[0], Correct: out[1], Count: out[2]}, nil
}

// maxFigures bounds what a shard's figures may come to: 2^13 clients' worth.
var maxFigures = big.NewInt(math.MaxInt64)

// plus adds figures, which are not negative.
func (f Figures) plus(g Figures) (Figures, error) {
	sum := Figures{LossMilli: f.LossMilli + g.LossMilli, Correct: f.Correct + g.Correct, Count: f.Count + g.Count}
	if sum.LossMilli < 0 || sum.Correct < 0 || sum.Count < 0 {
		return f, errFiguresOverflow
	}
	return sum, nil
}
