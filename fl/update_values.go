package fl

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// ShardValues is what one ciphertext of an update carries: MetricSlots limbs
// of figures, then the quantised parameters of the shard.
type ShardValues struct {
	Shard  int
	Values []int32
}

// RangeError says that a slot of an opened sum holds what no cohort of honest
// clients can have sent: an update was malformed, or the sum is not the sum.
// It is not the aggregator's fault and opening again does not help. Slots
// below MetricSlots are figures; their bounds may follow from other slots.
type RangeError struct {
	Shard, Slot    int
	Sum, Low, High int64
}

// Error implements error.
func (e *RangeError) Error() string {
	return fmt.Sprintf("opened sum of shard %d, slot %d is %d: want %d to %d; an update was malformed or the sum is wrong", e.Shard, e.Slot, e.Sum, e.Low, e.High)
}

// PackShard lays the figures (nil: zeros) before the values of a shard; b is
// the number of value bits.
func PackShard(figures *Figures, values []int32, b int) ([]int32, error) {
	out := make([]int32, MetricSlots, MetricSlots+len(values))
	if figures != nil {
		limbs, err := figures.limbs(b)
		if err != nil {
			return nil, err
		}
		copy(out, limbs)
	}
	return append(out, values...), nil
}

// UnpackShard splits the sums of a shard over n contributions into figures
// and sums of params parameters. It checks every slot against what n honest
// contributions can add up to: a limb against n*63, a parameter
// against n*(2^(b-1)-1), padding against 0. A slot outside is a *RangeError.
// The parameters' sums alias sums.
func UnpackShard(shard int, sums []int64, n, params, b int) (Figures, []int64, error) {
	if b < 2 || b > 31 || n < 1 || params < 1 || len(sums) < MetricSlots+params {
		return Figures{}, nil, fmt.Errorf("shard %d: %d sums over %d contributions for %d parameters of %d bits", shard, len(sums), n, params, b)
	}
	limb, value := int64(n)*(1<<figureLimb(b)-1), int64(n)*(1<<(b-1)-1)
	for slot, sum := range sums {
		low, high := -value, value
		switch {
		case slot < MetricSlots:
			low, high = 0, limb
		case slot >= MetricSlots+params:
			low, high = 0, 0
		}
		if sum < low || sum > high {
			return Figures{}, nil, &RangeError{Shard: shard, Slot: slot, Sum: sum, Low: low, High: high}
		}
	}
	figures, err := openFigures(shard, sums[:MetricSlots], n, b)
	if err != nil {
		return Figures{}, nil, err
	}
	return figures, sums[MetricSlots : MetricSlots+params], nil
}

// QuantiseUpdate turns a client's update into the values of the ciphertexts
// it sends: one entry for each assigned shard, ascending, without padding.
//
// The update is the whole vector that the strategy uploads (Strategy.Upload),
// for most the difference to the plan's base model; what lies outside the
// assigned shards is not read. The
// assigned part is scaled to the plan's L2 bound, then each coordinate is
// clipped to the L-infinity bound (so both hold), weighted and rounded with
// RoundingSource. The figures go into the first assigned shard. The update is
// not modified. A client that the plan does not name, a length that does not
// give the plan's shard map and a value that is not finite are errors, and so
// is a plan with privacy: its values need noise (QuantiseNoiseless).
func QuantiseUpdate(plan Plan, node NodeID, update []float64, figures Figures) ([]ShardValues, error) {
	if plan.Privacy.On() {
		return nil, fmt.Errorf("plan: round %d of job %s is private: quantise with package privacy, which adds the noise", plan.Round, plan.Job)
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
	for i, part := range parts {
		values, err := part.quantise(quantiser, plan, assignment, source)
		if err != nil {
			return nil, err
		}
		var first *Figures
		if i == 0 {
			first = &figures
		}
		if values, err = PackShard(first, values, plan.ValueBits); err != nil {
			return nil, fmt.Errorf("shard %d: %w", part.shard, err)
		}
		out[i] = ShardValues{Shard: part.shard, Values: values}
	}
	return out, nil
}

// clippedPart is one assigned shard of an update and the norm that it is scaled
// from, to a bound, where it exceeds that.
type clippedPart struct {
	shard       int
	values      []float64
	norm, bound float64 // bound 0: none
}

// clippedParts cuts an update into the client's shards and measures them: all
// together, or each by itself where the plan clips by shard.
func (p Plan) clippedParts(node NodeID, update []float64) (Assignment, []clippedPart, error) {
	assignment, ok := p.Assigned(node)
	if !ok {
		return assignment, nil, Refuse(CodeNotInCohort, node, "the plan of job %s, round %d does not name it", p.Job, p.Round)
	}
	if assignment.Weight < 1 || assignment.Weight > p.WeightUnit {
		return assignment, nil, fmt.Errorf("plan: %s has weight %d: want 1 to %d", node, assignment.Weight, p.WeightUnit)
	}
	shards, err := p.UploadMap(len(update))
	if err != nil {
		return assignment, nil, err
	}
	parts := make([]clippedPart, len(assignment.Shards))
	all := make([][]float64, len(parts))
	for i, s := range assignment.Shards {
		if s < 0 || s >= p.Shards {
			return assignment, nil, fmt.Errorf("plan: %s is assigned shard %d of %d", node, s, p.Shards)
		}
		shard := shards[s%len(shards)]
		all[i] = update[shard.Offset : shard.Offset+shard.Length]
		parts[i] = clippedPart{shard: s, values: all[i], bound: p.Clip.Norm}
	}
	norm, err := l2(all...)
	if err != nil {
		return assignment, nil, err
	}
	for i := range parts {
		parts[i].norm = norm
		if p.Clip.PerShard {
			if parts[i].norm, err = l2(all[i]); err != nil {
				return assignment, nil, err
			}
			parts[i].bound = p.Clip.Norm * math.Sqrt(float64(len(all[i]))/float64(len(update)))
		}
	}
	return assignment, parts, nil
}

func (c clippedPart) quantise(q Quantiser, plan Plan, a Assignment, source rand.Source) ([]int32, error) {
	out := make([]int32, len(c.values))
	for i, v := range c.values {
		if c.bound > 0 && c.norm > c.bound {
			v = shrink(v, c.norm, c.bound)
		}
		value, err := q.Quantise(v, a.Weight, plan.WeightUnit, source)
		if err != nil {
			return nil, fmt.Errorf("shard %d: coordinate %d: %w", c.shard, i, err)
		}
		out[i] = value
	}
	return out, nil
}

// GroupMeans turns the opened sums of a round into the mean upload of every
// group of the plan, each size long (one group without a robust rule), and the
// cohort's figures. contributors[s] says whose ciphertexts are in sums[s];
// sums[s] holds the MetricSlots, the values of its shard and possibly padding.
// Each sum is divided by the weights of its own contributors. A sum that no
// honest cohort can produce is a *RangeError that names its index and the slot;
// where the updates are attested it is brought within reach instead, for it is
// a client's doing and not the aggregator's.
func GroupMeans(plan Plan, size int, contributors [][]NodeID, sums [][]int64) ([][]float64, Figures, error) {
	shards, err := plan.UploadMap(size)
	if err != nil {
		return nil, Figures{}, err
	}
	if len(contributors) != plan.Shards || len(sums) != plan.Shards {
		return nil, Figures{}, fmt.Errorf("mean update: contributors of %d shards, sums of %d: want %d", len(contributors), len(sums), plan.Shards)
	}
	quantiser, err := plan.Quantiser()
	if err != nil {
		return nil, Figures{}, err
	}
	weights, err := plan.shardWeights(contributors)
	if err != nil {
		return nil, Figures{}, err
	}
	means := make([][]float64, max(plan.Groups, 1))
	for g := range means {
		means[g] = make([]float64, size)
	}
	var figures Figures
	for s := range sums {
		shard, mean := shards[s%len(shards)], means[s/len(shards)]
		if len(sums[s]) > plan.Slots {
			return nil, Figures{}, fmt.Errorf("shard %d: %d sums: a ciphertext holds %d", s, len(sums[s]), plan.Slots)
		}
		opened, unpack := sums[s], UnpackShard
		switch {
		case plan.Privacy.On():
			unpack = plan.unpackPrivate
		case plan.ProofLevel.Attested():
			opened = withinReach(s, opened, len(contributors[s]), shard.Length, plan.ValueBits)
		}
		part, values, err := unpack(s, opened, len(contributors[s]), shard.Length, plan.ValueBits)
		if err != nil {
			return nil, Figures{}, err
		}
		if figures, err = figures.plus(part); err != nil && !plan.ProofLevel.Attested() { // no client has figures in two shards
			return nil, Figures{}, &RangeError{Shard: s, Slot: 0, Sum: sums[s][0]}
		}
		for i, sum := range values {
			mean[shard.Offset+i] = quantiser.Mean(sum, weights[s], plan.WeightUnit)
		}
	}
	return means, figures, nil
}

// UploadMap returns the shards of one upload of size values, whose number must
// be what the plan states. Sum s of the plan is of shard s%len(map), in group
// s/len(map).
func (p Plan) UploadMap(size int) ([]Shard, error) {
	shards, err := ShardMap(size, p.Slots)
	if err != nil {
		return nil, err
	}
	groups := max(p.Groups, 1)
	if len(shards)*groups != p.Shards {
		return nil, fmt.Errorf("plan: %d values in ciphertexts of %d are %d shards for each of %d groups; the plan says %d in all", size, p.Slots, len(shards), groups, p.Shards)
	}
	return shards, nil
}

// shardWeights sums, for each shard, the weights of its contributors, all of
// whom must be distinct and assigned to it.
func (p Plan) shardWeights(contributors [][]NodeID) ([]int64, error) {
	type place struct {
		node  NodeID
		shard int
	}
	open := make(map[place]int64)
	for _, a := range p.Cohort {
		for _, s := range a.Shards {
			open[place{a.Node, s}] = a.Weight
		}
	}
	weights := make([]int64, len(contributors))
	for s, nodes := range contributors {
		if len(nodes) == 0 {
			return nil, fmt.Errorf("shard %d: no contributor", s)
		}
		for _, node := range nodes {
			weight, ok := open[place{node, s}]
			if !ok {
				return nil, fmt.Errorf("shard %d: contributor %s is not assigned to it, or is named twice", s, node)
			}
			delete(open, place{node, s})
			weights[s] += weight
		}
	}
	return weights, nil
}
