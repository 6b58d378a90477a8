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
	rows     int
	training bool // has targets, a loss and gradients; otherwise logits only

	x, targets []float32   // input buffers, row-major
	params     [][]float32 // one buffer a tensor, dense weights transposed
	machine    gorgonia.VM

	logits gorgonia.Value
	loss   gorgonia.Value
	grads  []gorgonia.Value // as params
}

// buildMu serialises graph construction: gorgonia keeps constants, and the
// pools behind its type inference, in package variables.
var buildMu sync.Mutex

// acquire returns an idle engine of that shape or compiles one.
func (m *Model) acquire(rows int, training bool) (*engine, error) {
	m.mu.Lock()
	for i, e := range m.idle {
		if e.rows == rows && e.training == training {
			m.idle = append(m.idle[:i], m.idle[i+1:]...)
			m.mu.Unlock()
			return e, nil
		}
	}
	m.mu.Unlock()
	return m.compile(rows, training)
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
func (m *Model) compile(rows int, training bool) (*engine, error) {
	buildMu.Lock()
	defer buildMu.Unlock()
	e := &engine{rows: rows, training: training}
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
	for i, l := range m.layers {
		wShape := l.weight.Shape
		if !l.conv {
			wShape = []int{l.in, l.out}
		}
		w, wBuffer := input(l.weight.Name, wShape...)
		b, bBuffer := input(l.bias.Name, l.out)
		wrt = append(wrt, w, b)
		e.params = append(e.params, wBuffer, bBuffer)
		var err error
		if h, err = m.apply(l, h, w, b); err != nil {
			return nil, fmt.Errorf("models: build layer %d of a %s: %w", i, m.spec.Kind, err)
		}
	}
	gorgonia.Read(h, &e.logits)
	if !training {
		e.machine = gorgonia.NewTapeMachine(g)
		return e, nil
	}

	var targets *gorgonia.Node
	targets, e.targets = input("targets", rows, m.spec.Classes)
	loss, err := crossEntropy(h, targets)
	if err != nil {
		return nil, fmt.Errorf("models: build the loss of a %s: %w", m.spec.Kind, err)
	}
	grads, err := gorgonia.Grad(loss, wrt...)
	if err != nil {
		return nil, fmt.Errorf("models: differentiate a %s: %w", m.spec.Kind, err)
	}
	roots := gorgonia.Nodes{gorgonia.Read(loss, &e.loss)}
	e.grads = make([]gorgonia.Value, len(grads))
	for i, grad := range grads {
		roots = append(roots, gorgonia.Read(grad, &e.grads[i]))
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
	for i, l := range m.layers {
		dw, err := floats(e.grads[2*i], l.weight.Length)
		if err != nil {
			return fmt.Errorf("models: gradient of %s: %w", l.weight.Name, err)
		}
		db, err := floats(e.grads[2*i+1], l.bias.Length)
		if err != nil {
			return fmt.Errorf("models: gradient of %s: %w", l.bias.Name, err)
		}
		w := sum[l.weight.Offset:][:l.weight.Length]
		if l.conv {
			for j, v := range dw {
				w[j] += v
			}
		} else {
			for o := range l.out {
				row := w[o*l.in : (o+1)*l.in]
				for j := range row {
					row[j] += dw[j*l.out+o]
				}
			}
		}
		b := sum[l.bias.Offset:][:l.bias.Length]
		for j, v := range db {
			b[j] += v
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
	if e.training {
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
