package fl

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Strategy makes the next global model. It is given the global model and the
// weighted mean of the cohort's updates, never a single update: that is a
// privacy rule made of types.
//
// Apply is a pure function, bit for bit the same on every machine, so that an
// auditor repeats the step. It modifies neither argument.
type Strategy interface {
	// Name is the strategy's name in StrategySpec.
	Name() string
	// Apply returns the new global model. Both vectors have the model's length.
	Apply(global []float32, mean []float64) ([]float32, error)
}

// The strategies and weightings.
const (
	// FedAvg adds the mean of the clients' model differences, each after local
	// training of any length, to the global model (McMahan et al., AISTATS 2017,
	// algorithm 1; with a server learning rate other than 1 it is the FedOpt of
	// Reddi et al., ICLR 2021, with plain SGD at the server).
	FedAvg = "fedavg"
	// FedSGD takes one step along the mean gradient (McMahan et al. 2017, section
	// 2). Its algebra is FedAvg's: the job must ask for exactly one local step
	// over all of a node's rows (one epoch, batch of the full data) with plain
	// SGD at a local learning rate of 1, so that the update is minus the
	// gradient; ServerLearningRate is then the learning rate.
	FedSGD = "fedsgd"

	// WeightBySamples weighs an update by the client's declared number of rows.
	WeightBySamples = "samples"
	// WeightUniform gives every update the same weight.
	WeightUniform = "uniform"
)

// StrategyNames returns the names that StrategySpec.Name may have.
func StrategyNames() []string { return []string{FedAvg, FedSGD} }

// Validate refuses unknown strategies and weightings, and learning rates that
// are not finite and positive.
func (s StrategySpec) Validate() error {
	switch {
	case !slices.Contains(StrategyNames(), s.Name):
		return fmt.Errorf("strategy: name %q: want one of %q", s.Name, StrategyNames())
	case !(s.ServerLearningRate > 0) || math.IsInf(s.ServerLearningRate, 0):
		return fmt.Errorf("strategy: server_learning_rate %v: want a finite number > 0", s.ServerLearningRate)
	case s.Weighting != WeightBySamples && s.Weighting != WeightUniform:
		return fmt.Errorf("strategy: weighting %q: want %q or %q", s.Weighting, WeightBySamples, WeightUniform)
	}
	return nil
}

// NewStrategy makes the strategy that the specification names.
func NewStrategy(spec StrategySpec) (Strategy, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	return serverStep{name: spec.Name, rate: spec.ServerLearningRate}, nil
}

// serverStep is global + rate*mean: FedAvg and FedSGD, which differ only in
// what the clients were asked to do.
type serverStep struct {
	name string
	rate float64
}

func (s serverStep) Name() string { return s.name }

func (s serverStep) Apply(global []float32, mean []float64) ([]float32, error) {
	if len(global) != len(mean) {
		return nil, fmt.Errorf("%s: a model of %d parameters, a mean of %d", s.name, len(global), len(mean))
	}
	next := make([]float32, len(global))
	for i, g := range global {
		// The conversion forbids fusing the product into the sum, which some
		// machines would do and others not.
		v := float32(float64(g) + float64(s.rate*mean[i]))
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%s: parameter %d becomes %v: global %v, mean %v, rate %v", s.name, i, v, g, mean[i], s.rate)
		}
		next[i] = v
	}
	return next, nil
}

// Weights returns each client's Assignment.Weight and the Plan.WeightUnit for
// a cohort with the given declared numbers of samples (1 to MaxSamples each,
// already cut to the job's SampleCap).
func Weights(spec StrategySpec, samples map[NodeID]int64) (weights map[NodeID]int64, unit int64, err error) {
	if err := spec.Validate(); err != nil {
		return nil, 0, err
	}
	if len(samples) == 0 {
		return nil, 0, errors.New("weights: empty cohort")
	}
	weights = make(map[NodeID]int64, len(samples))
	for node, n := range samples {
		if n < 1 || n > MaxSamples {
			return nil, 0, fmt.Errorf("weights: %s declares %d samples: want 1 to %d", node, n, int64(MaxSamples))
		}
		if spec.Weighting == WeightUniform {
			n = 1
		}
		weights[node] = n
		unit = max(unit, n)
	}
	return weights, unit, nil
}
