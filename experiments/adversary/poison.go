package adversary

import (
	"math"
	"math/rand/v2"
	"slices"

	"credence/fl"
)

// Poison returns the rows that a client under the attack trains on: its own,
// changed, or the same when the attack is not on data. It copies.
func (s Spec) Poison(data fl.Examples) fl.Examples {
	switch s.Kind {
	case LabelFlip:
		data.Y = slices.Clone(data.Y)
		for i, y := range data.Y {
			switch {
			case s.From == nil:
				data.Y[i] = int32(data.Classes) - 1 - y
			case int(y) == *s.From:
				data.Y[i] = int32(*s.To)
			}
		}
	case Backdoor:
		// Copies of the first rows, so that what is added does not depend on a
		// draw; partitions are shuffled already. At least one.
		share := s.Share
		if share == 0 {
			share = 0.5
		}
		n := min(max(int(math.Round(share*float64(data.Rows))), 1), data.Rows)
		copies := make([]int, n)
		for i := range copies {
			copies[i] = i
		}
		added := s.Triggered(data.Subset(copies))
		data = fl.Examples{
			Rows: data.Rows + n, Features: data.Features, Classes: data.Classes,
			X: slices.Concat(data.X, added.X), Y: slices.Concat(data.Y, added.Y),
		}
	}
	return data
}

// Triggered returns copies of the rows with the trigger set and the target as
// their label.
func (s Spec) Triggered(data fl.Examples) fl.Examples {
	data.X, data.Y = slices.Clone(data.X), slices.Clone(data.Y)
	for i := range data.Rows {
		for _, f := range s.Trigger {
			data.X[i*data.Features+f] = float32(s.Value)
		}
		data.Y[i] = int32(*s.Target)
	}
	return data
}

// Probe returns what a backdoor's success is measured on: the rows of other
// classes than the target, triggered. The accuracy on them is the share that
// the attacker gets its way with.
func (s Spec) Probe(test fl.Examples) fl.Examples {
	var rows []int
	for i, y := range test.Y {
		if int(y) != *s.Target {
			rows = append(rows, i)
		}
	}
	return s.Triggered(test.Subset(rows))
}

// Distort turns the update that honest training on the (poisoned) data gives
// into the one that the client sends, in place. It is for attacks on the
// update other than ALIE, which needs all of them (Collude).
func (s Spec) Distort(update []float64) {
	factor := s.Scale
	switch {
	case s.Kind == SignFlip && factor == 0:
		factor = -1
	case s.Kind == SignFlip:
		factor = -factor
	case s.Kind == Scaling && factor == 0:
		factor = 10
	case factor == 0:
		return
	}
	for i := range update {
		update[i] *= factor
	}
}

// Collude returns ALIE's common update: mean - z*std of the malicious clients'
// honest updates, for a cohort of the given size. The updates must be in a
// fixed order, for a sum of floating-point numbers depends on it.
func (s Spec) Collude(updates [][]float64, cohort int) []float64 {
	z := s.Z
	if z == 0 {
		z = alieZ(cohort, len(updates))
	}
	out := make([]float64, len(updates[0]))
	for i := range out {
		mean := 0.0
		for _, u := range updates {
			mean += u[i]
		}
		mean /= float64(len(updates))
		variance := 0.0
		for _, u := range updates {
			variance += (u[i] - mean) * (u[i] - mean)
		}
		out[i] = mean - z*math.Sqrt(variance/float64(len(updates)))
	}
	return out
}

// alieZ is the paper's z_max: with n clients of which m are malicious,
// s = floor(n/2+1) - m honest ones must lie further out than the attackers for
// these to belong to a majority, so z is the largest with
// Phi(z) < (n-m-s)/(n-m). It is at least 0; when m alone are a majority, the
// value at which one honest client is left out.
func alieZ(n, m int) float64 {
	honest := n - m
	if honest < 1 {
		return 0
	}
	supporters := max(n/2+1-m, 1)
	p := float64(honest-supporters) / float64(honest)
	if p <= 0.5 {
		return 0
	}
	return math.Sqrt2 * math.Erfinv(2*p-1)
}

// FreeRide returns the update of a client that did not train: zeros, or the
// model's previous change with noise. previous may be nil in the first round.
func (r *Roster) FreeRide(s *Spec, client fl.NodeID, round int, params int, previous []float64) []float64 {
	out := make([]float64, params)
	if s.Noise == 0 || previous == nil {
		return out
	}
	square := 0.0
	for _, v := range previous {
		square += v * v
	}
	deviation := s.Noise * math.Sqrt(square/float64(len(previous)))
	rng := rand.New(source("free-rider", r.seed, []byte(client), []byte{byte(round), byte(round >> 8), byte(round >> 16), byte(round >> 24)}))
	for i := range out {
		out[i] = previous[i] + deviation*rng.NormFloat64()
	}
	return out
}
