package models

import (
	"errors"
	"fmt"
	"sync"

	_ "go4.org/unsafe/assume-no-moving-gc" // gorgonia 0.9.18 needs it, or it panics at start-up
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"credence/fl"
)

// engine is a compiled graph for a fixed number of rows, with the buffers that
// it reads. It serves one goroutine at a time.
type engine struct {
	rows    int
	purpose purpose

	x, targets []float32   // input buffers, row-major
	params     [][]float32 // one buffer a tensor, dense weights transposed
	machine    gorgonia.VM

	logits gorgonia.Value
	loss   gorgonia.Value
	grads  []gorgonia.Value // as params; nil where purpose has no gradient
}

// purpose says what a graph computes: the logits when empty, else the loss, and
// the gradient of each tensor whose byte is 1. It is a string so that it
// compares. Gradients that nobody asked for cost nothing: a node that trains
// the last layers only does not propagate back to the first.
type purpose string

const predicting purpose = ""

// training is the purpose of moving the given spans.
func (m *Model) training(spans []span) purpose {
	wanted := make([]byte, len(m.tensors))
	for i, t := range m.tensors {
		for _, s := range spans {
			if max(s.from, t.Offset) < min(s.to, t.Offset+t.Length) {
				wanted[i] = 1
			}
		}
	}
	return purpose(wanted)
}

func (p purpose) gradient(tensor int) bool { return p[tensor] == 1 }

// buildMu serialises graph construction: gorgonia keeps constants, and the
// pools behind its type inference, in package variables.
var buildMu sync.Mutex

// acquire returns an idle engine of that shape or compiles one.
func (m *Model) acquire(rows int, purpose purpose) (*engine, error) {
	m.mu.Lock()
	for i, e := range m.idle {
		if e.rows == rows && e.purpose == purpose {
			m.idle = append(m.idle[:i], m.idle[i+1:]...)
			m.mu.Unlock()
			return e, nil
		}
	}
	m.mu.Unlock()
	return m.compile(rows, purpose)
}

// release keeps the engine for the next call, in place of the one that was
// used longest ago if there are too many.
func (m *Model) release(e *engine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = append(m.idle, e)
	if len(m.idle) > maxIdle {
		m.idle[0] = nil
		m.idle = m.idle[1:]
	}
}

// compile builds the graph for rows examples, at least 2: gorgonia treats some
// one-row matrices as vectors.
func (m *Model) compile(rows int, purpose purpose) (*engine, error) {
	buildMu.Lock()
	defer buildMu.Unlock()
	e := &engine{rows: rows, purpose: purpose}
	g := gorgonia.NewGraph()

	input := func(name string, shape ...int) (*gorgonia.Node, []float32) {
		t := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithShape(shape...),
			gorgonia.WithName(name), gorgonia.WithValue(t)), t.Data().([]float32)
	}
	shape := []int{rows, m.spec.Inputs}
	if m.spec.Kind == CNN {
		shape = []int{rows, m.spec.Image.Channels, m.spec.Image.Height, m.spec.Image.Width}
	}
	var h *gorgonia.Node
	h, e.x = input("x", shape...)

	var wrt gorgonia.Nodes
	var moving []int // the tensor behind each node of wrt
	for i, l := range m.layers {
		wShape := l.weight.Shape
		if !l.conv {
			wShape = []int{l.in, l.out}
		}
		w, wBuffer := input(l.weight.Name, wShape...)
		b, bBuffer := input(l.bias.Name, l.out)
		for j, n := range []*gorgonia.Node{w, b} {
			if purpose != predicting && purpose.gradient(2*i+j) {
				wrt, moving = append(wrt, n), append(moving, 2*i+j)
			}
		}
		e.params = append(e.params, wBuffer, bBuffer)
		var err error
		if h, err = m.apply(l, h, w, b); err != nil {
			return nil, fmt.Errorf("models: build layer %d of a %s: %w", i, m.spec.Kind, err)
		}
	}
	gorgonia.Read(h, &e.logits)
	if purpose == predicting {
		e.machine = gorgonia.NewTapeMachine(g)
		return e, nil
	}

	var targets *gorgonia.Node
	targets, e.targets = input("targets", rows, m.spec.Classes)
	loss, err := lossOf(m.spec.Kind)(h, targets)
	if err != nil {
		return nil, fmt.Errorf("models: build the loss of a %s: %w", m.spec.Kind, err)
	}
	var grads gorgonia.Nodes
	if len(wrt) > 0 {
		if grads, err = gorgonia.Grad(loss, wrt...); err != nil {
			return nil, fmt.Errorf("models: differentiate a %s: %w", m.spec.Kind, err)
		}
	}
	roots := gorgonia.Nodes{gorgonia.Read(loss, &e.loss)}
	e.grads = make([]gorgonia.Value, len(m.tensors))
	for i, grad := range grads {
		roots = append(roots, gorgonia.Read(grad, &e.grads[moving[i]]))
	}
	// Only what the loss and the gradients need: without this the machine would
	// also compute the gradient of the examples.
	e.machine = gorgonia.NewTapeMachine(g.ExactSubgraphRoots(roots...))
	return e, nil
}

// apply adds one layer to the graph.
func (m *Model) apply(l layer, h, w, b *gorgonia.Node) (*gorgonia.Node, error) {
	var err error
	if l.conv {
		if h, err = convolve(h, w); err != nil {
			return nil, err
		}
	} else {
		if h.Dims() > 2 {
			rows := h.Shape()[0]
			if h, err = gorgonia.Reshape(h, tensor.Shape{rows, h.Shape().TotalSize() / rows}); err != nil {
				return nil, err
			}
		}
		if h, err = gorgonia.Mul(h, w); err != nil {
			return nil, err
		}
	}
	if h, err = addBias(h, b); err != nil {
		return nil, err
	}
	if l.activationAfter {
		switch m.spec.Activation {
		case ReLU:
			h, err = gorgonia.Rectify(h)
		case Tanh:
			h, err = gorgonia.Tanh(h)
		case Sigmoid:
			h, err = gorgonia.Sigmoid(h)
		}
		if err != nil {
			return nil, err
		}
	}
	if l.conv {
		return maxPool(h)
	}
	return h, nil
}

// setParameters copies the flat vector into the graph's buffers.
func (e *engine) setParameters(m *Model, params []float32) {
	for i, l := range m.layers {
		w := params[l.weight.Offset:][:l.weight.Length]
		if l.conv {
			copy(e.params[2*i], w)
		} else {
			transpose(e.params[2*i], w, l.out, l.in)
		}
		copy(e.params[2*i+1], params[l.bias.Offset:][:l.bias.Length])
	}
}

// addGradients adds the gradients of the last run to the flat vector.
func (e *engine) addGradients(m *Model, sum []float32) error {
	for i, t := range m.tensors {
		if !e.purpose.gradient(i) {
			continue
		}
		grad, err := floats(e.grads[i], t.Length)
		if err != nil {
			return fmt.Errorf("models: gradient of %s: %w", t.Name, err)
		}
		to := sum[t.Offset:][:t.Length]
		if len(t.Shape) != 2 {
			for j, v := range grad {
				to[j] += v
			}
			continue
		}
		out, in := t.Shape[0], t.Shape[1] // transposed in the graph
		for o := range out {
			row := to[o*in : (o+1)*in]
			for j := range row {
				row[j] += grad[j*out+o]
			}
		}
	}
	return nil
}

// setRows fills the input buffers with the given rows of data and pads the
// rest with rows that count for nothing. Each row weighs weight in the loss.
func (e *engine) setRows(data fl.Examples, rows []int, weight float32) {
	for i, r := range rows {
		copy(e.x[i*data.Features:], data.Row(r))
	}
	clear(e.x[len(rows)*data.Features:])
	if e.purpose != predicting {
		clear(e.targets)
		for i, r := range rows {
			e.targets[i*data.Classes+int(data.Y[r])] = weight
		}
	}
}

// run executes the graph on the buffers' contents.
func (e *engine) run() error {
	defer e.machine.Reset()
	if err := e.machine.RunAll(); err != nil {
		return fmt.Errorf("models: run the graph: %w", err)
	}
	return nil
}

// lossValue is the loss of the last run.
func (e *engine) lossValue() (float64, error) {
	scalar, ok := e.loss.(*gorgonia.F32)
	if !ok {
		return 0, errors.New("models: run the graph: the loss is not a scalar")
	}
	return float64(*scalar), nil
}

// transpose writes the rows x cols matrix src to dst as cols x rows.
func transpose(dst, src []float32, rows, cols int) {
	for r := range rows {
		for c, v := range src[r*cols : (r+1)*cols] {
			dst[c*rows+r] = v
		}
	}
}
