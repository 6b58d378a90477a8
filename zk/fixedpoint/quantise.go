package fixedpoint

import (
	"fmt"
	"math"
	"math/big"
)

// Fractions of the quantiser, in bits.
const (
	NoiseBits      = 24 // of the public noise and of the quantiser's factor
	ShrinkBits     = 16 // of the factor that brings an update to its L2 bound
	ClipBits       = 24 // a quantised value is below 2^24 in size before it is clipped
	MaxNormSquare  = 1 << 62
	maxClipFactor  = 1 << 48
	maxQuantised   = 1 << 15
	maxShrinkSteps = 1 << ShrinkBits
)

// A Quantiser turns the change of weights into the integers that are
// encrypted. It is public: it follows from a plan.
type Quantiser struct {
	// Factor is what one unit of a weight counts in units of the quantised
	// value, in units of 2^-NoiseBits.
	Factor uint64
	// Limit clips: quantised values are in [-Limit, Limit].
	Limit int32
	// NormSquare is the largest sum of squares of the change of weights, in
	// units of 2^-2*WeightFraction; a larger change is scaled down to it. 0
	// means no bound.
	NormSquare uint64
}

// NewQuantiser follows a plan's clipping: values in [-value, value] (L-infinity)
// map to [-(2^(bits-1)-1), 2^(bits-1)-1] times weight/unit, and the whole
// change is scaled to an L2 norm of at most norm (0: no bound). Compared with
// fl.Quantiser, Factor is rounded down to a multiple of 2^-24, and the clipping
// happens after the rounding, so a clipped coordinate is exactly
// ceil(top*weight/unit).
func NewQuantiser(value, norm float64, bits int, weight, unit int64) (Quantiser, error) {
	refuse := func(format string, args ...any) (Quantiser, error) {
		return Quantiser{}, fmt.Errorf("%w: quantiser: %s", ErrModel, fmt.Sprintf(format, args...))
	}
	if !(value > 0) || math.IsInf(value, 0) || !(norm >= 0) || math.IsInf(norm, 0) {
		return refuse("clip value %v, norm %v: want a finite value above 0 and a finite norm", value, norm)
	}
	if bits < 2 || bits > 16 || weight < 1 || unit < weight {
		return refuse("%d bits, weight %d of %d: want 2 to 16 bits and a weight of at most the unit", bits, weight, unit)
	}
	top := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(1<<(bits-1)-1), big.NewInt(weight)), big.NewInt(unit))
	factor := new(big.Rat).Quo(top, new(big.Rat).SetFloat64(value))
	factor.Mul(factor, new(big.Rat).SetFrac64(1<<NoiseBits, 1<<WeightFraction))
	// Rounded down, so that a bound on the values' norm that holds for the
	// exact factor holds for this one.
	mu := new(big.Int).Div(factor.Num(), factor.Denom())
	if mu.Sign() == 0 || mu.Cmp(big.NewInt(maxClipFactor)) >= 0 {
		return refuse("a clip value of %v is outside what the grid of weights can express", value)
	}
	limit := new(big.Int).Add(top.Num(), new(big.Int).Sub(top.Denom(), big.NewInt(1)))
	limit.Div(limit, top.Denom())
	q := Quantiser{Factor: mu.Uint64(), Limit: int32(limit.Int64())}
	if norm > 0 {
		n := new(big.Rat).SetFloat64(norm)
		n.Mul(n, n).Mul(n, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 2*WeightFraction)))
		square := new(big.Int).Div(n.Num(), n.Denom())
		if square.Sign() == 0 || square.Cmp(big.NewInt(MaxNormSquare)) >= 0 {
			return refuse("a norm of %v is outside what the grid of weights can express", norm)
		}
		q.NormSquare = square.Uint64()
	}
	return q, nil
}

// Validate refuses settings outside the bounds of SPEC.md.
func (q Quantiser) Validate() error {
	if q.Factor < 1 || q.Factor >= maxClipFactor || q.Limit < 1 || q.Limit >= maxQuantised || q.NormSquare >= MaxNormSquare {
		return fmt.Errorf("%w: quantiser with factor %d, limit %d, square %d", ErrModel, q.Factor, q.Limit, q.NormSquare)
	}
	return nil
}

// A Quantised is a clipped and quantised change of weights with all that was
// computed on the way.
type Quantised struct {
	Values []int32 // one a parameter, in [-Limit, Limit]

	Square    uint64   // sum of squares of the change
	Shrink    uint64   // the change is multiplied by Shrink/2^ShrinkBits; 2^ShrinkBits within the bound
	Remainder []uint64 // of the division by 2^NoiseBits, or by 2^(NoiseBits+ShrinkBits) under a norm bound
	// Rounded + Limit is clipped to [0, 2*Limit] by two rectifiers; of each,
	// whether it is on, and score-1 where on, minus the score where off.
	LowOn, HighOn       []bool
	LowSlack, HighSlack []uint32
}

// Quantise computes, with change d = end - base and x = floor((d*Factor*Shrink
// + noise*2^ShrinkBits) / 2^(NoiseBits+ShrinkBits)), the values min(max(x,
// -Limit), Limit). Noise is uniform in [0, 2^NoiseBits), a number a parameter:
// public, so that the rounding has one result.
func (q Quantiser) Quantise(base, end []int32, noise []uint32) (*Quantised, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	n := len(base)
	if len(end) != n || len(noise) != n {
		return nil, fmt.Errorf("%w: %d weights, %d before, %d of noise", ErrModel, len(end), n, len(noise))
	}
	out := &Quantised{
		Values: make([]int32, n), Remainder: make([]uint64, n), Shrink: 1 << ShrinkBits,
		LowOn: make([]bool, n), HighOn: make([]bool, n), LowSlack: make([]uint32, n), HighSlack: make([]uint32, n),
	}
	for i := range base {
		d := int64(end[i]) - int64(base[i])
		s := uint64(d * d)
		if out.Square+s < s || out.Square+s >= MaxNormSquare {
			return nil, fmt.Errorf("%w: the norm of the update", ErrRange)
		}
		out.Square += s
	}
	shift := NoiseBits
	if q.NormSquare > 0 {
		shift += ShrinkBits
		var err error
		if out.Shrink, err = shrink(out.Square, q.NormSquare); err != nil {
			return nil, err
		}
	}
	for i := range base {
		d := int64(end[i]) - int64(base[i])
		x := product(d, int64(q.Factor))
		if q.NormSquare > 0 {
			x = x.times(out.Shrink)
		}
		if noise[i] >= 1<<NoiseBits {
			return nil, fmt.Errorf("%w: noise %d has more than %d bits", ErrModel, i, NoiseBits)
		}
		x = x.add(wideOf(int64(noise[i])).shiftLeft(shift - NoiseBits))
		value, rest, ok := x.divide(shift)
		if !ok || value >= 1<<(ClipBits-1) || value <= -1<<(ClipBits-1) {
			return nil, fmt.Errorf("%w: an update beyond what its clip value can express", ErrRange)
		}
		out.Remainder[i] = rest
		low := rectify(value+int64(q.Limit), &out.LowOn[i], &out.LowSlack[i])
		high := rectify(2*int64(q.Limit)-low, &out.HighOn[i], &out.HighSlack[i])
		out.Values[i] = int32(int64(q.Limit) - high)
	}
	return out, nil
}

// rectify returns max(0, x) with the two numbers that prove it.
func rectify(x int64, on *bool, slack *uint32) int64 {
	if *on = x >= 1; *on {
		*slack = uint32(x - 1)
		return x
	}
	*slack = uint32(-x)
	return 0
}

// shrink returns the largest f of 1..2^ShrinkBits with f^2*square <=
// 2^(2*ShrinkBits)*bound.
func shrink(square, bound uint64) (uint64, error) {
	scaled := new(big.Int).Lsh(new(big.Int).SetUint64(bound), 2*ShrinkBits)
	if square <= bound {
		return 1 << ShrinkBits, nil
	}
	f := new(big.Int).Sqrt(scaled.Div(scaled, new(big.Int).SetUint64(square)))
	if f.Sign() == 0 {
		return 0, fmt.Errorf("%w: an update more than %d times its norm bound", ErrRange, maxShrinkSteps)
	}
	return f.Uint64(), nil
}
