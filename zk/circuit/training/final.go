package training

import (
	"math/big"

	"github.com/consensys/gnark/frontend"

	"credence/fl"
	"credence/zk/fixedpoint"
)

// quantise states the values that are encrypted: the change from the base,
// scaled into its norm bound, times the public factor, rounded with the public
// noise and clipped. It leaves the values in b.now.
func (b *builder) quantise() {
	c, api := b.c, b.api
	n := b.s.Model.Parameters()
	change := make([]frontend.Variable, n)
	for i := range change {
		change[i] = api.Sub(b.now[i], api.Sub(c.Secret.Base[i], weightShift))
	}
	factor, limit := c.Quantiser[0], c.Quantiser[1]
	scaled := api.Mul(b.horner(b.r, change), factor)
	noise := c.Noise[0]
	shift := fixedpoint.NoiseBits
	if b.s.Norm {
		scaled = api.Mul(scaled, b.shrink(change))
		noise = api.Mul(noise, 1<<fixedpoint.ShrinkBits)
		shift += fixedpoint.ShrinkBits
	}
	values, rounded := make([]frontend.Variable, n), make([]frontend.Variable, n)
	for i := range values {
		// low is max(0, x+limit), high max(0, 2*limit-low).
		x, low := b.rectify(c.LowOn[i], b.limbs(c.LowSlack, i, clipLimbs))
		y, high := b.rectify(c.HighOn[i], b.limbs(c.HighSlack, i, clipLimbs))
		b.equal(CheckClip, api.Add(y, low), api.Mul(limit, 2))
		values[i] = api.Sub(limit, high)
		rounded[i] = api.Add(api.Mul(api.Sub(x, limit), uint64(1)<<shift), b.limbs(c.QuantiseRest, i, b.s.quantiseLimbs()))
	}
	b.equal(CheckQuantise, b.horner(b.r, rounded), api.Add(scaled, noise))
	b.now = values
}

// shrink returns the factor that brings the change within its norm bound: the
// largest f of 1..2^16 with f^2 * square <= 2^32 * bound.
func (b *builder) shrink(change []frontend.Variable) frontend.Variable {
	c, api := b.c, b.api
	squares := make([]frontend.Variable, len(change))
	for i, d := range change {
		squares[i] = api.Mul(d, d)
	}
	square := b.sum(squares)
	dropped := b.limbs(c.Shrink, 0, shrinkLimbs)
	factor := api.Sub(1<<fixedpoint.ShrinkBits, dropped)
	bound := api.Mul(c.Quantiser[2], new(big.Int).Lsh(big.NewInt(1), 2*fixedpoint.ShrinkBits))
	room := b.wide(c.Shrink[shrinkLimbs:][:normLimbs])
	b.equal(CheckShrink, api.Mul(api.Mul(factor, factor), square), api.Sub(bound, room))
	// Where something was dropped, one unit more would be too much.
	more := api.Add(factor, 1)
	next := api.Mul(api.Mul(more, more), square)
	over := b.wide(c.Shrink[shrinkLimbs+normLimbs:][:normLimbs])
	if b.on(CheckShrinkLeast) {
		on := c.ShrinkOn[0]
		api.AssertIsBoolean(on)
		api.AssertIsEqual(api.Mul(on, api.Sub(next, bound, 1)), over)
		api.AssertIsEqual(api.Mul(dropped, api.Sub(1, on)), 0)
	}
	return factor
}

// wide is a value of many limbs.
func (b *builder) wide(v []frontend.Variable) frontend.Variable {
	out := v[0]
	for l := 1; l < len(v); l++ {
		out = b.api.Add(out, b.api.Mul(v[l], new(big.Int).Lsh(big.NewInt(1), uint(limbBits*l))))
	}
	return out
}

// messages states that the values are the digits of the committed messages: a
// shard's message is sum_i X^i * sum_j 2^(SlotBits*j) * value_(i*Digits+j),
// the figures first, and masks from X^N on.
func (b *builder) messages() {
	c, api, s := b.c, b.api, b.s
	toMask := b.r // r^N
	for n := s.N; n > 1; n /= 2 {
		toMask = api.Mul(toMask, toMask)
	}
	for k, shard := range s.Shards {
		var values []frontend.Variable
		for i := range fl.MetricSlots {
			values = append(values, api.Sub(b.limbs(c.Figures, k*fl.MetricSlots+i, figureLimbs), figureShift))
		}
		values = append(values, b.now[shard.Offset:shard.Offset+shard.Length]...)
		var coefficients []frontend.Variable
		for from := 0; from < len(values); from += s.Digits {
			v := values[from:min(from+s.Digits, len(values))]
			packed := v[0]
			for j := 1; j < len(v); j++ {
				packed = api.Add(packed, api.Mul(v[j], new(big.Int).Lsh(big.NewInt(1), uint(s.SlotBits*j))))
			}
			coefficients = append(coefficients, packed)
		}
		mask := api.Mul(b.horner(b.r, c.MessageMask[k*MessageMasks:][:MessageMasks]), toMask)
		b.equal(CheckMessage, api.Add(b.horner(b.r, coefficients), mask), c.Messages[k])
	}
}
