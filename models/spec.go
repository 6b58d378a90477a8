package models

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Kind names a family of models.
type Kind string

// The kinds of model.
const (
	Linear   Kind = "linear"   // least squares on one-hot classes, an output a class (Hastie et al., 2009, section 4.2)
	Logistic Kind = "logistic" // binary, one output: P(class 1) = sigmoid(w.x + b)
	Softmax  Kind = "softmax"  // multinomial logistic regression
	MLP      Kind = "mlp"      // multi-layer perceptron with a soft-max output
	CNN      Kind = "cnn"      // convolutions, each with 2x2 max-pooling, then dense layers
)

// Activation names the function between the layers of an mlp or cnn.
type Activation string

// The activations.
const (
	ReLU    Activation = "relu"
	Tanh    Activation = "tanh"
	Sigmoid Activation = "sigmoid"
)

// Limits on a specification. They bound what a foreign file or a job can make
// a node allocate; a model that a federation trains today is far below them.
const (
	MaxParameters = 1 << 24 // values in the flat vector: 64 MiB of float32
	maxInputs     = 1 << 20
	maxClasses    = 1 << 16
	maxWidth      = 1 << 16 // units of a layer, filters of a convolution
	maxLayers     = 16
	maxImageSide  = 1 << 10
	maxKernel     = 15
	maxActivation = 1 << 22 // values that one example occupies in one layer
	maxSpecJSON   = 1 << 16
)

// Image is the shape that a cnn gives to its inputs. An example's features are
// in the order channel, row, column (PyTorch's CHW).
type Image struct {
	Height   int `json:"height" yaml:"height"`     // pixels
	Width    int `json:"width" yaml:"width"`       // pixels
	Channels int `json:"channels" yaml:"channels"` // 1 for grey
}

// Conv is one convolution of a cnn: stride 1, zero padding that keeps the
// image's size, then the activation, then 2x2 max-pooling with stride 2 (an odd
// last row or column is dropped, as PyTorch and ONNX do by default).
type Conv struct {
	Filters int `json:"filters" yaml:"filters"`
	Kernel  int `json:"kernel" yaml:"kernel"` // side of the square kernel, odd
}

// Spec describes a model completely: two equal specifications have the same
// parameter layout. It is what a job names and what an exported file carries.
type Spec struct {
	Kind       Kind       `json:"kind" yaml:"kind"`
	Inputs     int        `json:"inputs" yaml:"inputs"`                             // features of one example
	Classes    int        `json:"classes" yaml:"classes"`                           // 2 for logistic
	Hidden     []int      `json:"hidden,omitempty" yaml:"hidden,omitempty"`         // units of each hidden dense layer; mlp at least one, cnn any number
	Activation Activation `json:"activation,omitempty" yaml:"activation,omitempty"` // mlp and cnn; empty means relu
	Image      *Image     `json:"image,omitempty" yaml:"image,omitempty"`           // cnn only
	Conv       []Conv     `json:"conv,omitempty" yaml:"conv,omitempty"`             // cnn only, at least one
}

// ParseSpec decodes a specification from JSON. An unknown key, trailing data
// or a specification that Validate refuses is an error.
func ParseSpec(data []byte) (Spec, error) {
	if len(data) > maxSpecJSON {
		return Spec{}, fmt.Errorf("models: specification of %d bytes: want at most %d", len(data), maxSpecJSON)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var s Spec
	if err := decoder.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("models: decode specification: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Spec{}, errors.New("models: decode specification: data after the JSON object")
	}
	if err := s.Validate(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

// Validate reports the first thing that is wrong with the specification:
// a missing or meaningless field for its kind, or a size beyond the limits.
func (s Spec) Validate() error {
	if err := s.validateFields(); err != nil {
		return fmt.Errorf("models: specification: %w", err)
	}
	size := 0
	for _, t := range s.tensors() {
		size += t.Length
	}
	if size > MaxParameters {
		return fmt.Errorf("models: specification: %d parameters: want at most %d; use fewer or smaller layers", size, MaxParameters)
	}
	return nil
}

func (s Spec) validateFields() error {
	switch s.Kind {
	case Linear, Logistic, Softmax, MLP, CNN:
	case "":
		return errors.New("kind is missing: want linear, logistic, softmax, mlp or cnn")
	default:
		return fmt.Errorf("kind %q is unknown: want linear, logistic, softmax, mlp or cnn", s.Kind)
	}
	deep := s.Kind == MLP || s.Kind == CNN
	switch {
	case s.Inputs < 1 || s.Inputs > maxInputs:
		return fmt.Errorf("inputs is %d: want 1 to %d", s.Inputs, maxInputs)
	case s.Kind == Logistic && s.Classes != 2:
		return fmt.Errorf("classes is %d: logistic separates exactly 2; use softmax for more", s.Classes)
	case s.Classes < 2 || s.Classes > maxClasses:
		return fmt.Errorf("classes is %d: want 2 to %d", s.Classes, maxClasses)
	case s.Kind == MLP && len(s.Hidden) == 0:
		return errors.New("mlp without hidden layers: name at least one, or use softmax")
	case !deep && len(s.Hidden) > 0:
		return fmt.Errorf("%s has no hidden layers; use mlp", s.Kind)
	case !deep && s.Activation != "":
		return fmt.Errorf("%s has no activation; use mlp", s.Kind)
	case len(s.Hidden) > maxLayers:
		return fmt.Errorf("%d hidden layers: want at most %d", len(s.Hidden), maxLayers)
	case s.Kind != CNN && (s.Image != nil || len(s.Conv) > 0):
		return fmt.Errorf("image and conv belong to a cnn, not to %s", s.Kind)
	}
	switch s.Activation {
	case "", ReLU, Tanh, Sigmoid:
	default:
		return fmt.Errorf("activation %q is unknown: want relu, tanh or sigmoid", s.Activation)
	}
	for i, units := range s.Hidden {
		if units < 1 || units > maxWidth {
			return fmt.Errorf("hidden layer %d has %d units: want 1 to %d", i, units, maxWidth)
		}
	}
	if s.Kind == CNN {
		return s.validateImage()
	}
	return nil
}

func (s Spec) validateImage() error {
	if s.Image == nil || len(s.Conv) == 0 {
		return errors.New("a cnn needs an image shape and at least one conv layer, such as image: {height: 28, width: 28, channels: 1}, conv: [{filters: 8, kernel: 3}]")
	}
	height, width, channels := s.Image.Height, s.Image.Width, s.Image.Channels
	switch {
	case height < 2 || height > maxImageSide || width < 2 || width > maxImageSide:
		return fmt.Errorf("image of %d x %d pixels: want sides of 2 to %d", height, width, maxImageSide)
	case channels < 1 || channels > maxWidth:
		return fmt.Errorf("image of %d channels: want 1 to %d", channels, maxWidth)
	case height*width*channels != s.Inputs:
		return fmt.Errorf("image of %d x %d pixels and %d channels has %d values, but inputs is %d", height, width, channels, height*width*channels, s.Inputs)
	case len(s.Conv) > maxLayers:
		return fmt.Errorf("%d conv layers: want at most %d", len(s.Conv), maxLayers)
	}
	for i, c := range s.Conv {
		switch {
		case c.Filters < 1 || c.Filters > maxWidth:
			return fmt.Errorf("conv layer %d has %d filters: want 1 to %d", i, c.Filters, maxWidth)
		case c.Kernel < 1 || c.Kernel > maxKernel || c.Kernel%2 == 0:
			return fmt.Errorf("conv layer %d has kernel %d: want an odd side of 1 to %d", i, c.Kernel, maxKernel)
		case height < 2 || width < 2:
			return fmt.Errorf("conv layer %d gets an image of %d x %d pixels: too small for 2x2 pooling; use fewer conv layers", i, height, width)
		case height*width*c.Kernel*c.Kernel*channels > maxActivation || height*width*c.Filters > maxActivation:
			return fmt.Errorf("conv layer %d needs more than %d values for one example: use a smaller image, kernel or number of filters", i, maxActivation)
		}
		height, width, channels = height/2, width/2, c.Filters
	}
	return nil
}

// normal returns the specification with defaults filled in, so that equal
// models have equal specifications.
func (s Spec) normal() Spec {
	if (s.Kind == MLP || s.Kind == CNN) && s.Activation == "" {
		s.Activation = ReLU
	}
	s.Hidden = append([]int(nil), s.Hidden...)
	s.Conv = append([]Conv(nil), s.Conv...)
	if s.Image != nil {
		image := *s.Image
		s.Image = &image
	}
	return s
}
