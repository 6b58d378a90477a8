package fl

import (
	"fmt"
	"math"
	"slices"
)

// The smoothed Weiszfeld iteration of Pillutla et al., "Robust Aggregation for
// Federated Learning", IEEE TSP 2022, algorithm 2. Their experiments find 3 to
// 5 iterations enough; more cost little here.
const (
	weiszfeldSteps     = 32
	weiszfeldSmoothing = 1e-6
)

// combine makes one mean of the groups' means. Groups count the same whatever
// their weights are, so that declaring many samples does not buy a say over
// other groups. Without a rule there is one mean, which it returns.
func (r RobustSpec) combine(means [][]float64) ([]float64, error) {
	if r == (RobustSpec{}) {
		if len(means) != 1 {
			return nil, fmt.Errorf("%d groups and no rule to combine them", len(means))
		}
		return means[0], nil
	}
	if len(means) != r.Groups {
		return nil, fmt.Errorf("%d groups: the rule is for %d", len(means), r.Groups)
	}
	for _, m := range means {
		if len(m) != len(means[0]) {
			return nil, fmt.Errorf("group means of %d and %d values", len(means[0]), len(m))
		}
	}
	switch r.Rule {
	case Median:
		return trimmed(means, (len(means)-1)/2), nil
	case TrimmedMean:
		return trimmed(means, r.Trim), nil
	}
	return geometricMedian(means), nil
}

// trimmed returns, for each coordinate, the mean of what is left after dropping
// the drop lowest and highest (Yin et al., "Byzantine-Robust Distributed
// Learning", ICML 2018, definitions 1 and 2). With all but one or two dropped
// it is the median.
func trimmed(means [][]float64, drop int) []float64 {
	out := make([]float64, len(means[0]))
	column := make([]float64, len(means))
	for i := range out {
		for g, m := range means {
			column[g] = m[i]
		}
		slices.Sort(column)
		var sum float64
		for _, v := range column[drop : len(column)-drop] {
			sum += v
		}
		out[i] = sum / float64(len(column)-2*drop)
	}
	return out
}

// geometricMedian returns a vector whose summed Euclidean distance to the means
// is nearly the least.
func geometricMedian(means [][]float64) []float64 {
	z := trimmed(means, 0)
	weights := make([]float64, len(means))
	for range weiszfeldSteps {
		var total float64
		for g, m := range means {
			var square float64
			for i, v := range m {
				d := v - z[i]
				square += float64(d * d)
			}
			weights[g] = 1 / max(math.Sqrt(square), weiszfeldSmoothing)
			total += weights[g]
		}
		for i := range z {
			var sum float64
			for g, m := range means {
				sum += float64(weights[g] * m[i])
			}
			z[i] = sum / total
		}
	}
	return z
}
