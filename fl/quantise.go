package fl

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
)

// Quantiser maps real numbers to signed integers of b bits and sums of them
// back. It rounds stochastically, so the quantised value's expectation is the
// value itself (QSGD: Alistarh et al., NeurIPS 2017, section 3.1) and the mean
// over a cohort is unbiased.
type Quantiser struct {
	clip  float64 // values are clipped to [-clip, clip]
	value float64 // [-value, value] maps to [-top, top]; at least clip
	top   int32   // 2^(b-1)-1
}

// NewQuantiser makes a quantiser of the range [-clip.Value, clip.Value] with
// values of b bits, 2 <= b <= 31.
func NewQuantiser(clip Clip, b int) (Quantiser, error) {
	if err := clip.Validate(); err != nil {
		return Quantiser{}, err
	}
	if b < 2 || b > 31 {
		return Quantiser{}, fmt.Errorf("quantiser: %d value bits: want 2 to 31", b)
	}
	return Quantiser{clip: clip.Value, value: clip.Value, top: 1<<(b-1) - 1}, nil
}

// Max returns the largest quantised value, 2^(b-1)-1; the smallest is -Max.
func (q Quantiser) Max() int32 { return q.top }

// Step returns the real width of one unit: Value/Max, or wider where a plan
// leaves room for noise.
func (q Quantiser) Step() float64 { return q.value / float64(q.top) }

// Quantise clips x to the clip's range, multiplies it by weight/unit
// (1 <= weight <= unit) and rounds it to a neighbouring integer, up with a
// probability equal to the fraction. It draws exactly one number from source.
// The result is always within [-Max, Max]. NaN and infinities are errors: they
// say that training diverged.
func (q Quantiser) Quantise(x float64, weight, unit int64, source rand.Source) (int32, error) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("%v is not a finite number; has training diverged?", x)
	}
	x = min(max(x, -q.clip), q.clip)
	// Each product is rounded on its own (the conversions forbid fusing it with
	// what follows), so that every machine gets the same bits.
	y := float64(float64(x/q.value) * float64(q.top))
	y = float64(y * float64(float64(weight)/float64(unit)))
	floor := math.Floor(y)
	if uniform := float64(source.Uint64()>>11) * 0x1p-53; uniform < y-floor {
		floor++
	}
	return min(max(int32(floor), -q.top), q.top), nil
}

// Mean returns the weighted mean that a sum of quantised values stands for:
// sum * Step / (weights/unit), weights being the sum of the contributors'
// weights, at least 1.
func (q Quantiser) Mean(sum, weights, unit int64) float64 {
	return float64(sum) / (float64(q.top) * (float64(weights) / float64(unit))) * q.value
}

// RoundingSource returns the generator of a client's stochastic rounding in a
// round. It follows from the plan's public seed, so that a client which
// repeats a round after a crash sends the same update; the secrecy of the
// update rests on the encryption alone.
func RoundingSource(plan Plan, node NodeID) *rand.ChaCha8 {
	var seed, round [8]byte
	binary.LittleEndian.PutUint64(seed[:], plan.Seed)
	binary.LittleEndian.PutUint64(round[:], plan.Round)
	return rand.NewChaCha8(DigestOf("rounding/v1", seed[:], []byte(plan.Job), round[:], []byte(node)))
}

// ClipNorm scales the update in place so that its L2 norm is at most norm,
// and returns the norm that it had. A norm of 0 bounds nothing. An update that
// is not finite is an error.
func ClipNorm(update []float64, norm float64) (before float64, err error) {
	before, err = l2(update)
	if err != nil {
		return before, err
	}
	if norm > 0 && before > norm {
		for i, v := range update {
			update[i] = shrink(v, before, norm)
		}
	}
	return before, nil
}

// shrink returns v * norm/before without overflow or early underflow.
func shrink(v, before, norm float64) float64 { return float64(v/before) * norm }

// l2 returns the Euclidean norm of the concatenation of the parts. Values are
// scaled by the largest, so that no square overflows. A norm beyond the range
// of float64 is an error.
func l2(parts ...[]float64) (float64, error) {
	var largest float64
	for _, part := range parts {
		for i, v := range part {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return 0, fmt.Errorf("update: coordinate %d is %v, not a finite number; has training diverged?", i, v)
			}
			largest = max(largest, math.Abs(v))
		}
	}
	if largest == 0 {
		return 0, nil
	}
	var sum float64
	for _, part := range parts {
		for _, v := range part {
			r := v / largest
			sum += float64(r * r)
		}
	}
	norm := largest * math.Sqrt(sum)
	if math.IsInf(norm, 0) {
		return 0, fmt.Errorf("update: its norm is beyond every float64; has training diverged?")
	}
	return norm, nil
}
