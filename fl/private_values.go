package fl

import (
	"fmt"
	"math"
	"slices"
)

// countSlot is the first of the MetricSlots. Private rounds publish no figures,
// since an exact figure would be outside their guarantee; where the clip adapts,
// this slot of shard 0 carries the count instead.
const countSlot = 0

// roundings is how often an update is rounded again. One rounding is short
// enough with probability above 0.39 (roundedNorm), so nobody sees the end.
const roundings = 200

// QuantiseNoiseless is QuantiseUpdate for a private plan, but for the noise:
// package privacy calls it, adds the noise, and nothing else should encrypt what
// it returns. The rounded values' norm is at most Noise.Sensitivity, whatever
// the update. Of the MetricSlots the first holds plus or minus Noise.CountScale
// in shard 0 where the clip adapts (plus: the update was within the norm); all
// else is zero.
func QuantiseNoiseless(plan Plan, node NodeID, update []float64) ([]ShardValues, error) {
	noise, err := plan.Noise()
	if err != nil {
		return nil, err
	}
	assignment, parts, err := plan.clippedParts(node, update)
	if err != nil {
		return nil, err
	}
	quantiser, err := plan.Quantiser()
	if err != nil {
		return nil, err
	}
	source := RoundingSource(plan, node)
	out := make([]ShardValues, len(parts))
	for try := 0; ; try++ {
		var squares float64
		for i, part := range parts {
			values, err := part.quantise(quantiser, plan, assignment, source)
			if err != nil {
				return nil, err
			}
			if try >= roundings {
				towardsZero(values)
			}
			for _, v := range values {
				squares += float64(v) * float64(v) // whole numbers: exact below 2^53
			}
			out[i] = ShardValues{Shard: part.shard, Values: append(make([]int32, MetricSlots, MetricSlots+len(values)), values...)}
			if noise.CountScale > 0 && part.shard%plan.UploadShards() == 0 {
				out[i].Values[countSlot] = int32(noise.CountScale)
				if part.norm > part.bound {
					out[i].Values[countSlot] = -int32(noise.CountScale)
				}
			}
		}
		switch {
		case squares <= noise.Sensitivity*noise.Sensitivity:
			return out, nil
		case try > roundings: // towardsZero rules it out
			return nil, fmt.Errorf("the rounded update's norm is %v units: above its bound %v", math.Sqrt(squares), noise.Sensitivity)
		}
	}
}

// towardsZero brings every value one unit nearer to zero: no rounding away from
// zero is left, so the norm is at most that before rounding.
func towardsZero(values []int32) {
	for i, v := range values {
		switch {
		case v > 0:
			values[i]--
		case v < 0:
			values[i]++
		}
	}
}

// unpackPrivate is UnpackShard for private plans. Where the updates are
// attested, a sum out of reach is a client's doing: it is brought within reach,
// as withinReach does it for other plans.
func (p Plan) unpackPrivate(shard int, sums []int64, n, params, b int) (Figures, []int64, error) {
	if n < 1 || params < 1 || len(sums) < MetricSlots+params {
		return Figures{}, nil, fmt.Errorf("shard %d: %d sums over %d contributions for %d parameters", shard, len(sums), n, params)
	}
	noise, err := p.Noise()
	if err != nil {
		return Figures{}, nil, err
	}
	value := int64(n) * (1<<(b-1) - 1)
	out := slices.Clone(sums[MetricSlots : MetricSlots+params])
	for slot, sum := range sums {
		most := value
		switch {
		case slot == countSlot && noise.CountScale > 0 && shard%p.UploadShards() == 0:
			most = noise.mostCount(int64(n))
		case slot < MetricSlots || slot >= MetricSlots+params:
			most = 0
		}
		switch {
		case sum >= -most && sum <= most:
		case !p.ProofLevel.Attested():
			return Figures{}, nil, &RangeError{Shard: shard, Slot: slot, Sum: sum, Low: -most, High: most}
		case slot >= MetricSlots && slot < MetricSlots+params:
			out[slot-MetricSlots] = min(max(sum, -most), most)
		}
	}
	return Figures{}, out, nil
}

// mostCount is the largest sum of n clients' noised votes on the clip.
func (n Noise) mostCount(clients int64) int64 { return clients * (n.CountScale + n.CountBound) }

// nextClip returns the clip of the plan after this one, where it adapts: norm
// and value times exp(-LearningRate * (share - Quantile)), share being the
// noised share of the clients within the norm (Andrew et al. 2021, algorithm 1).
// The sums have been checked, but for an attested client's nonsense.
func (p Plan) nextClip(contributors [][]NodeID, sums [][]int64) (Clip, error) {
	adaptive := p.Privacy.Adaptive
	if !adaptive.On() {
		return Clip{}, nil
	}
	noise, err := p.Noise()
	if err != nil {
		return Clip{}, err
	}
	var count, clients int64
	for s := 0; s < len(sums); s += p.UploadShards() {
		n := int64(len(contributors[s]))
		most := noise.mostCount(n)
		count += min(max(sums[s][countSlot], -most), most)
		clients += n
	}
	share := (float64(count)/float64(noise.CountScale*clients) + 1) / 2
	factor := math.Exp(-adaptive.LearningRate * (min(max(share, 0), 1) - adaptive.Quantile))
	// Single precision, so that machines whose exponential differs in the last
	// bit agree.
	next := Clip{Value: float64(float32(p.Clip.Value * factor)), Norm: float64(float32(p.Clip.Norm * factor))}
	if !(next.Value > 0) || !(next.Norm >= minNorm && next.Norm <= maxNorm) {
		return p.Clip, nil // stay where numbers make sense
	}
	return next, nil
}

// An adaptive clip stays between these norms.
const minNorm, maxNorm = 1e-12, 1e12
