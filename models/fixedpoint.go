package models

import (
	"errors"
	"fmt"
	"reflect"

	"credence/zk/fixedpoint"
)

// ErrNotProvable: a model or a training that proof level "trained" does not
// provide for.
var ErrNotProvable = errors.New("models: no proof of training for this")

// FixedPoint returns what proof level "trained" makes of a model and its local
// training: the same steps in integers, within the tolerance of
// zk/circuit/training/SPEC.md. It refuses, with ErrNotProvable, what cannot be
// proven: other models than linear, logistic, softmax and a perceptron with one
// hidden layer of rectifiers, other optimisers than plain gradient descent.
func FixedPoint(s Spec, c TrainConfig) (fixedpoint.Model, fixedpoint.Local, error) {
	refuse := func(format string, args ...any) (fixedpoint.Model, fixedpoint.Local, error) {
		return fixedpoint.Model{}, fixedpoint.Local{}, fmt.Errorf("%w: %s", ErrNotProvable, fmt.Sprintf(format, args...))
	}
	if err := s.Validate(); err != nil {
		return fixedpoint.Model{}, fixedpoint.Local{}, err
	}
	if err := c.Validate(); err != nil {
		return fixedpoint.Model{}, fixedpoint.Local{}, err
	}
	s = s.normal()
	m := fixedpoint.Model{Kind: fixedpoint.Kind(s.Kind), Features: s.Inputs, Outputs: s.Classes}
	switch s.Kind {
	case Linear, Softmax:
	case Logistic:
		m.Outputs = 1
	case MLP:
		if len(s.Hidden) != 1 || s.Activation != ReLU {
			return refuse("an mlp has one hidden layer with relu, this has %d with %s", len(s.Hidden), s.Activation)
		}
		m.Hidden = s.Hidden[0]
	default:
		return refuse("a %s: want linear, logistic, softmax or mlp", s.Kind)
	}
	// Whatever else a training may be told, now or later, is no part of the proof.
	plain := TrainConfig{Optimizer: c.Optimizer, LearningRate: c.LearningRate, Epochs: c.Epochs, Steps: c.Steps, BatchSize: c.BatchSize, Seed: c.Seed}
	if c.optimizer() != SGD || !reflect.DeepEqual(c, plain) {
		return refuse("optimizer %s: want plain sgd, with a learning rate, epochs or steps, a batch size and a seed and nothing else", c.optimizer())
	}
	if err := m.Validate(); err != nil {
		return refuse("%v", err)
	}
	local := fixedpoint.Local{LearningRate: c.LearningRate, Steps: c.Steps, Epochs: c.Epochs, Batch: c.BatchSize, Seed: c.Seed}
	return m, local, nil
}
