package models

import (
	"fmt"
	"math"
	"sync"

	"credence/fl"
)

// Tensor is one named tensor's place in the flat parameter vector.
//
// A dense layer i has layer<i>.weight of shape [out, in] and layer<i>.bias of
// shape [out]; a convolution has a weight of shape [filters, channels, kernel,
// kernel]. Values are row-major. Layers are counted from 0, convolutions first.
type Tensor struct {
	Name   string
	Shape  []int
	Offset int // first value in the vector
	Length int // product of Shape
}

// layer is one parametric layer with its place in the network.
type layer struct {
	conv            bool
	in, out         int // units, or channels and filters
	kernel          int // conv: side of the kernel
	height, width   int // conv: size of the image that enters
	weight, bias    Tensor
	activationAfter bool // false for the last layer
}

// Model is a specification with its layout and its compiled graphs. It holds
// no parameters. All methods may be called from several goroutines at once;
// each running call has a compiled graph of its own, and finished calls leave
// theirs for the next one.
type Model struct {
	spec    Spec
	layers  []layer
	tensors []Tensor
	size    int
	chunk   int // most rows of one graph run

	mu   sync.Mutex
	idle []*engine // most recently used last, at most maxIdle
}

// Bounds on one graph run. A larger batch is the sum of several runs, so memory
// grows neither with the batch nor, times the batch, with the model.
const (
	maxChunk     = 512
	maxRunValues = 1 << 24 // values in all layers of all rows
)

// maxIdle bounds the compiled graphs that a Model keeps between calls: one for
// training and two for evaluation, and the same once more.
const maxIdle = 6

// New returns the model that spec describes, or what Validate says is wrong
// with it.
func New(spec Spec) (*Model, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	m := &Model{spec: spec.normal()}
	m.layers = m.spec.layers()
	m.tensors = m.spec.tensors()
	for _, t := range m.tensors {
		m.size += t.Length
	}
	row := m.spec.Inputs // values that one example occupies in all layers
	for _, l := range m.layers {
		if l.conv {
			row += l.out * l.height * l.width
		} else {
			row += l.out
		}
	}
	m.chunk = min(max(maxRunValues/row, 2), maxChunk)
	return m, nil
}

// Spec returns the specification with defaults filled in.
func (m *Model) Spec() Spec { return m.spec.normal() }

// NumParameters returns the length of the flat parameter vector.
func (m *Model) NumParameters() int { return m.size }

// Tensors returns the named tensors in the order of the vector, which they
// cover without gaps.
func (m *Model) Tensors() []Tensor {
	out := make([]Tensor, len(m.tensors))
	for i, t := range m.tensors {
		t.Shape = append([]int(nil), t.Shape...)
		out[i] = t
	}
	return out
}

// LastLayers returns how many parameters the last n layers have: they are the
// last ones of the vector. n is 1 to one less than the model's layers.
func (m *Model) LastLayers(n int) (int, error) {
	if len(m.layers) < 2 {
		return 0, fmt.Errorf("models: a %s has one layer, so none can stay apart as the last: want a model of at least two, such as an mlp", m.spec.Kind)
	}
	if n < 1 || n >= len(m.layers) {
		return 0, fmt.Errorf("models: the last %d layers of a %s of %d: want 1 to %d; with all of them nothing would be left", n, m.spec.Kind, len(m.layers), len(m.layers)-1)
	}
	return m.size - m.layers[len(m.layers)-n].weight.Offset, nil
}

// CheckParameters reports a vector of the wrong length or with a value that is
// not finite.
func (m *Model) CheckParameters(params []float32) error {
	if len(params) != m.size {
		return fmt.Errorf("models: %d parameters for a %s of %d", len(params), m.spec.Kind, m.size)
	}
	if i := firstNotFinite(params); i >= 0 {
		return fmt.Errorf("models: parameter %d (%s) is not a finite number", i, m.tensorAt(i))
	}
	return nil
}

// checkExamples reports examples that do not fit the model.
func (m *Model) checkExamples(data fl.Examples) error {
	if err := data.Validate(); err != nil {
		return err
	}
	switch {
	case data.Features != m.spec.Inputs:
		return fmt.Errorf("models: examples have %d features, the %s has %d inputs", data.Features, m.spec.Kind, m.spec.Inputs)
	case data.Classes != m.spec.Classes:
		return fmt.Errorf("models: examples have %d classes, the %s has %d", data.Classes, m.spec.Kind, m.spec.Classes)
	}
	return nil
}

func (m *Model) tensorAt(i int) string {
	for _, t := range m.tensors {
		if i < t.Offset+t.Length {
			return t.Name
		}
	}
	return "beyond the last tensor"
}

func firstNotFinite(values []float32) int {
	const exponent = 0x7f800000 // all ones in Inf and NaN only
	for i, v := range values {
		if math.Float32bits(v)&exponent == exponent {
			return i
		}
	}
	return -1
}

// layers derives the layers from the specification; Offset fields included.
func (s Spec) layers() []layer {
	var out []layer
	in := s.Inputs
	if s.Kind == CNN {
		height, width, channels := s.Image.Height, s.Image.Width, s.Image.Channels
		for _, c := range s.Conv {
			out = append(out, layer{conv: true, in: channels, out: c.Filters, kernel: c.Kernel, height: height, width: width})
			height, width, channels = height/2, width/2, c.Filters
		}
		in = height * width * channels
	}
	for _, units := range s.Hidden {
		out = append(out, layer{in: in, out: units})
		in = units
	}
	outputs := s.Classes
	if s.Kind == Logistic {
		outputs = 1
	}
	out = append(out, layer{in: in, out: outputs})

	offset := 0
	place := func(name string, shape ...int) Tensor {
		t := Tensor{Name: name, Shape: shape, Offset: offset, Length: 1}
		for _, d := range shape {
			t.Length *= d
		}
		offset += t.Length
		return t
	}
	for i := range out {
		l := &out[i]
		shape := []int{l.out, l.in}
		if l.conv {
			shape = []int{l.out, l.in, l.kernel, l.kernel}
		}
		l.weight = place(fmt.Sprintf("layer%d.weight", i), shape...)
		l.bias = place(fmt.Sprintf("layer%d.bias", i), l.out)
		l.activationAfter = i < len(out)-1
	}
	return out
}

func (s Spec) tensors() []Tensor {
	var out []Tensor
	for _, l := range s.layers() {
		out = append(out, l.weight, l.bias)
	}
	return out
}
