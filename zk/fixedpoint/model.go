package fixedpoint

import (
	"errors"
	"fmt"
	"math"

	"credence/zk/tabular"
)

// Fractions and widths, in bits. SPEC.md of zk/circuit/training bounds every
// integer from them.
const (
	FeatureFraction = 8
	WeightFraction  = 16
	WeightBits      = 24 // a weight is in [-2^23, 2^23)
	ScoreFraction   = 8
	ScoreShift      = FeatureFraction + WeightFraction - ScoreFraction // 16: dropped from a score
	ExcessBits      = 16                                               // what may lie beyond a table's end
	TopBits         = 24                                               // a row's largest score is in [-2^23, 2^23)
	HiddenBits      = 16                                               // a hidden unit is below 2^16
	CurveFraction   = 12                                               // of sigmoid and exp

	// The probability of softmax is exp * reciprocal, with this many fraction
	// bits together.
	ProbabilityFraction = 26
	// ReciprocalBits: the sum of a row's exps is at least 2^12, so the
	// reciprocal is at most 2^14.
	ReciprocalBits = 16
)

// Limits of a model. They keep every integer below the bounds of SPEC.md.
const (
	MaxFeatures = 1 << 12
	MaxOutputs  = 1 << 8
	MaxHidden   = 1 << 10
	MaxRows     = tabular.MaxRows
	MaxSteps    = 1 << 10
)

var (
	// ErrModel: a model, a table or a setting outside the limits.
	ErrModel = errors.New("fixedpoint: model refused")
	// ErrRange: a value left its range while training; the learning rate is too
	// high or the features are not normalised.
	ErrRange = errors.New("fixedpoint: value out of range")
)

// Kind names a family of models. The names are those of package models.
type Kind string

// The kinds.
const (
	Linear   Kind = "linear"   // targets are numbers; loss (z-y)^2/2, summed over targets
	Logistic Kind = "logistic" // one target, 0 or 1
	Softmax  Kind = "softmax"  // one-hot targets
	MLP      Kind = "mlp"      // one hidden layer of rectifiers, softmax output
)

// A Model is the shape of what is trained.
type Model struct {
	Kind     Kind `json:"kind"`
	Features int  `json:"features"`         // inputs, at least 1
	Outputs  int  `json:"outputs"`          // targets: 1 for logistic, the classes for softmax and mlp
	Hidden   int  `json:"hidden,omitempty"` // hidden units; mlp only
}

// Validate reports the first thing that is wrong, wrapping ErrModel.
func (m Model) Validate() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrModel, m.Kind, fmt.Sprintf(format, args...))
	}
	switch m.Kind {
	case Linear, Softmax, MLP:
	case Logistic:
		if m.Outputs != 1 {
			return refuse("%d targets: want 1", m.Outputs)
		}
	default:
		return fmt.Errorf("%w: kind %q: want linear, logistic, softmax or mlp", ErrModel, m.Kind)
	}
	switch {
	case m.Features < 1 || m.Features > MaxFeatures:
		return refuse("%d features: want 1 to %d", m.Features, MaxFeatures)
	case m.Outputs < 1 || m.Outputs > MaxOutputs:
		return refuse("%d outputs: want 1 to %d", m.Outputs, MaxOutputs)
	case m.exponential() && m.Outputs < 2:
		return refuse("%d classes: want at least 2", m.Outputs)
	case (m.Kind == MLP) != (m.Hidden > 0) || m.Hidden < 0 || m.Hidden > MaxHidden:
		return refuse("%d hidden units: an mlp has 1 to %d, others none", m.Hidden, MaxHidden)
	}
	return nil
}

func (m Model) exponential() bool { return m.Kind == Softmax || m.Kind == MLP }

// ErrorFraction is the number of fraction bits of an output's error.
func (m Model) ErrorFraction() int {
	switch m.Kind {
	case Linear:
		return FeatureFraction + WeightFraction
	case Logistic:
		return CurveFraction
	}
	return ProbabilityFraction
}

// RateFraction is the number of fraction bits of a step's rate, chosen so that
// the bits that an update's rounding drops are whole limbs of 8.
func (m Model) RateFraction() int {
	switch m.Kind {
	case Linear:
		return 24
	case Logistic:
		return 28
	}
	return 22
}

// A Layer is one affine map with its place in the flat parameter vector, which
// is laid out as package models lays it out: the weight [Out][In], row-major,
// then the bias [Out].
type Layer struct {
	In, Out, Offset int
	// Shift is the number of bits that the layer's update drops.
	Shift int
}

// Index returns the place of the parameter that leads from input j to output
// k, where input 0 is the constant one (the bias).
func (l Layer) Index(j, k int) int {
	if j == 0 {
		return l.Offset + l.In*l.Out + k
	}
	return l.Offset + k*l.In + j - 1
}

// Size is the number of parameters.
func (l Layer) Size() int { return (l.In + 1) * l.Out }

// Layers returns the layers from the inputs on.
func (m Model) Layers() []Layer {
	base := m.RateFraction() + m.ErrorFraction() - WeightFraction
	if m.Kind != MLP {
		return []Layer{{In: m.Features, Out: m.Outputs, Shift: base + FeatureFraction}}
	}
	// The error of a hidden unit is an error times a weight.
	first := Layer{In: m.Features, Out: m.Hidden, Shift: base + FeatureFraction + WeightFraction}
	return []Layer{first, {In: m.Hidden, Out: m.Outputs, Offset: first.Size(), Shift: base + ScoreFraction}}
}

// Parameters is the length of the flat vector.
func (m Model) Parameters() int {
	n := 0
	for _, l := range m.Layers() {
		n += l.Size()
	}
	return n
}

// Weights rounds parameters to the grid of weights. It is how the global
// model, which is public, enters training.
func (m Model) Weights(params []float32) ([]int32, error) {
	if len(params) != m.Parameters() {
		return nil, fmt.Errorf("%w: %d parameters for a %s of %d", ErrModel, len(params), m.Kind, m.Parameters())
	}
	out := make([]int32, len(params))
	for i, p := range params {
		// The product and the sum are exact: 24 bits scaled by a power of two.
		x := math.Floor(float64(p)*(1<<WeightFraction) + 0.5)
		if !(x >= -(1<<(WeightBits-1)) && x < 1<<(WeightBits-1)) { // NaN too
			return nil, fmt.Errorf("%w: parameter %d of the global model: want a finite number below %d", ErrRange, i, 1<<(WeightBits-1-WeightFraction))
		}
		out[i] = int32(x)
	}
	return out, nil
}

// Params returns weights as numbers. It is exact.
func Params(weights []int32) []float32 {
	out := make([]float32, len(weights))
	for i, w := range weights {
		out[i] = float32(w) / (1 << WeightFraction)
	}
	return out
}

// CheckLayout reports ErrModel when tables of a layout are not what the model
// trains on: its columns, and classes where it wants classes.
func (m Model) CheckLayout(l tabular.Layout) error {
	if err := m.Validate(); err != nil {
		return err
	}
	if err := l.Check(); err != nil {
		return fmt.Errorf("fixedpoint: %w", err)
	}
	want := tabular.OneHot
	switch m.Kind {
	case Linear:
		want = tabular.Real
	case Logistic:
		want = tabular.Binary
	}
	if l.Kind != want || l.Features != m.Features || l.Targets != m.Outputs {
		return fmt.Errorf("%w: a %s of %d features and %d outputs on tables %s: want %s targets and the same numbers",
			ErrModel, m.Kind, m.Features, m.Outputs, l.Name(), want)
	}
	return nil
}

// CheckSpec is CheckLayout for a whole specification: its numbers must be on
// the grid of features.
func (m Model) CheckSpec(s tabular.Spec) error {
	if err := m.CheckLayout(s.Layout); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return fmt.Errorf("fixedpoint: %w", err)
	}
	if s.Frac != FeatureFraction || s.Layout.Kind == tabular.Real && s.TargetFrac != FeatureFraction {
		return fmt.Errorf("%w: tables with %d and %d fraction bits: training wants %d", ErrModel, s.Frac, s.TargetFrac, FeatureFraction)
	}
	return nil
}
