package models

import (
	"fmt"
	"math"
)

// Optimizer names a rule that turns gradients into steps.
type Optimizer string

// The optimisers, as PyTorch defines them.
const (
	SGD      Optimizer = "sgd"      // w -= rate * g
	Momentum Optimizer = "momentum" // v = momentum*v + g; w -= rate * v (Polyak, 1964)
	Adam     Optimizer = "adam"     // Kingma and Ba, 2015, algorithm 1
)

// DefaultMomentum is the momentum when none is set.
const DefaultMomentum = 0.9

// maxSteps bounds a local training run.
const maxSteps = 1 << 24

// TrainConfig says how a node trains locally. Zero values that have a default
// mean the default.
type TrainConfig struct {
	Optimizer    Optimizer `json:"optimizer,omitempty" yaml:"optimizer,omitempty"`       // empty means sgd
	LearningRate float64   `json:"learning_rate" yaml:"learning_rate"`                   // above 0
	Momentum     float64   `json:"momentum,omitempty" yaml:"momentum,omitempty"`         // momentum only: in (0, 1), 0 means 0.9
	Beta1        float64   `json:"beta1,omitempty" yaml:"beta1,omitempty"`               // adam only: in (0, 1), 0 means 0.9
	Beta2        float64   `json:"beta2,omitempty" yaml:"beta2,omitempty"`               // adam only: in (0, 1), 0 means 0.999
	Epsilon      float64   `json:"epsilon,omitempty" yaml:"epsilon,omitempty"`           // adam only: above 0, 0 means 1e-8
	WeightDecay  float64   `json:"weight_decay,omitempty" yaml:"weight_decay,omitempty"` // adds weight_decay*w to the gradient of weights, not of biases
	Epochs       int       `json:"epochs,omitempty" yaml:"epochs,omitempty"`             // passes over the data; either this or steps
	Steps        int       `json:"steps,omitempty" yaml:"steps,omitempty"`               // optimiser steps; either this or epochs
	BatchSize    int       `json:"batch_size,omitempty" yaml:"batch_size,omitempty"`     // examples a step; 0 means all
	Seed         uint64    `json:"seed,omitempty" yaml:"seed,omitempty"`                 // of the order of the examples in each epoch
	Schedule     Schedule  `json:"schedule,omitzero" yaml:"schedule,omitempty"`          // of the learning rate, over rounds
	EarlyStop    EarlyStop `json:"early_stop,omitzero" yaml:"early_stop,omitempty"`      // within a round
}

// Validate reports the first setting that is out of its range or does not
// belong to the optimiser.
func (c TrainConfig) Validate() error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("models: training: %w", err)
	}
	return nil
}

func (c TrainConfig) validate() error {
	o := c.optimizer()
	switch {
	case o != SGD && o != Momentum && o != Adam:
		return fmt.Errorf("optimizer %q is unknown: want sgd, momentum or adam", c.Optimizer)
	case !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0):
		return fmt.Errorf("learning_rate is %v: want a finite number above 0", c.LearningRate)
	case c.Momentum != 0 && o != Momentum:
		return fmt.Errorf("momentum is set, but the optimizer is %s", o)
	case (c.Beta1 != 0 || c.Beta2 != 0 || c.Epsilon != 0) && o != Adam:
		return fmt.Errorf("beta1, beta2 or epsilon is set, but the optimizer is %s", o)
	case !(c.WeightDecay >= 0) || math.IsInf(c.WeightDecay, 0):
		return fmt.Errorf("weight_decay is %v: want a finite number of at least 0", c.WeightDecay)
	case !(c.Epsilon >= 0) || math.IsInf(c.Epsilon, 0):
		return fmt.Errorf("epsilon is %v: want a finite number above 0", c.Epsilon)
	case c.Epochs < 0 || c.Epochs > maxSteps || c.Steps < 0 || c.Steps > maxSteps:
		return fmt.Errorf("%d epochs, %d steps: want at most %d", c.Epochs, c.Steps, maxSteps)
	case (c.Epochs == 0) == (c.Steps == 0):
		return fmt.Errorf("%d epochs and %d steps: set exactly one of them", c.Epochs, c.Steps)
	case c.BatchSize < 0:
		return fmt.Errorf("batch_size is %d: want at least 1, or 0 for all examples", c.BatchSize)
	}
	for _, r := range []struct {
		name  string
		value float64
	}{{"momentum", c.Momentum}, {"beta1", c.Beta1}, {"beta2", c.Beta2}} {
		if r.value < 0 || r.value >= 1 || math.IsNaN(r.value) {
			return fmt.Errorf("%s is %v: want a number in (0, 1)", r.name, r.value)
		}
	}
	if err := c.Schedule.validate(); err != nil {
		return err
	}
	return c.EarlyStop.validate(c)
}

func (c TrainConfig) optimizer() Optimizer {
	if c.Optimizer == "" {
		return SGD
	}
	return c.Optimizer
}

func orDefault(v, fallback float64) float64 {
	if v == 0 {
		return fallback
	}
	return v
}
