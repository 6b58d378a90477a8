package fl

import "slices"

// withinReach brings the opened sums of one shard to what n honest clients can
// reach, for rounds whose updates are attested: no client can send more than
// value bits and its norm allow, but an attestation does not say which slots
// hold parameters, which hold figures, and which nothing. A client that puts
// values where none belong must not be able to end the round unnamed, so
//
//   - slots beyond the shard's parameters are not read,
//   - a parameter's sum is held to n times a client's largest value, either way,
//   - figures that n honest clients cannot add up to count as none.
//
// Figures are declared and prove nothing at any level; a liar can spoil them
// with figures that are possible, too.
func withinReach(shard int, sums []int64, n, params, b int) []int64 {
	out := slices.Clone(sums[:min(len(sums), MetricSlots+params)])
	if len(out) < MetricSlots+params {
		return out // too short: UnpackShard says so
	}
	top := int64(n) * (1<<(b-1) - 1)
	limb := int64(n) * (1<<figureLimb(b) - 1)
	possible := true
	for _, sum := range out[:MetricSlots] {
		possible = possible && sum >= 0 && sum <= limb
	}
	if possible {
		_, err := openFigures(shard, out[:MetricSlots], n, b)
		possible = err == nil
	}
	if !possible {
		clear(out[:MetricSlots])
	}
	for i, sum := range out[MetricSlots:] {
		out[MetricSlots+i] = min(max(sum, -top), top)
	}
	return out
}
