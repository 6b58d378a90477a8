package models

import (
	"fmt"
	"math/bits"
	"sync"

	_ "go4.org/unsafe/assume-no-moving-gc" // gorgonia 0.9.18 needs it, or it panics at start-up
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"credence/fl"
)

// engine is a compiled graph for any number of rows up to its capacity, with
// the buffers that it reads. It serves one goroutine at a time.
type engine struct {
	capacity int // rows that the buffers hold
	rows     int // rows that the next run computes, at most capacity
	purpose  purpose

	x, targets []float32   // input buffers, row-major
	params     [][]float32 // one buffer a tensor
	steps      []step

	logits []float32
	loss   []float32
	grads  [][]float32 // as params; nil where purpose has no gradient
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

// acquire returns an idle engine for runs of that many rows, the smallest that
// has room, or compiles one. What an engine computes does not depend on its
// capacity.
func (m *Model) acquire(rows int, purpose purpose) (*engine, error) {
	m.mu.Lock()
	best := -1
	for i, e := range m.idle {
		if e.capacity >= rows && e.purpose == purpose && (best < 0 || e.capacity < m.idle[best].capacity) {
			best = i
		}
	}
	if best >= 0 {
		e := m.idle[best]
		m.idle = append(m.idle[:best], m.idle[best+1:]...)
		m.mu.Unlock()
		e.rows = rows
		return e, nil
	}
	m.mu.Unlock()
	e, err := m.compile(m.capacity(rows), purpose)
	if err != nil {
		return nil, err
	}
	e.rows = rows
	return e, nil
}

// capacity is the next power of two, so that clients with tables of many sizes
// share a few graphs.
func (m *Model) capacity(rows int) int {
	return min(max(1<<bits.Len(uint(max(rows-1, 0))), 2), m.chunk)
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

// network is a graph and the nodes that are read from it.
type network struct {
	graph  *gorgonia.ExprGraph
	logits *gorgonia.Node
	loss   *gorgonia.Node   // nil when predicting
	grads  []*gorgonia.Node // one a tensor; nil where purpose has no gradient
}

// compile builds the graph for up to capacity examples, at least 2, and its tape.
func (m *Model) compile(capacity int, purpose purpose) (*engine, error) {
	e, n, err := m.build(capacity, purpose)
	if err != nil {
		return nil, err
	}
	// Only what is read is computed: without the loss nothing behind it, and the
	// gradient of the examples never.
	roots := gorgonia.Nodes{n.logits}
	if n.loss != nil {
		roots = gorgonia.Nodes{n.loss}
		for _, g := range n.grads {
			if g != nil {
				roots = append(roots, g)
			}
		}
	}
	steps, values, err := record(roots)
	if err != nil {
		return nil, fmt.Errorf("models: compile a %s: %w", m.spec.Kind, err)
	}
	e.steps = steps
	if n.loss == nil {
		e.logits = values[0]
		return e, nil
	}
	e.loss, values = values[0], values[1:]
	e.grads = make([][]float32, len(m.tensors))
	for i, g := range n.grads {
		if g != nil {
			e.grads[i], values = values[0], values[1:]
		}
	}
	return e, nil
}

// build makes the graph and the engine's input buffers. capacity is at least 2:
// gorgonia treats some one-row matrices as vectors.
func (m *Model) build(capacity int, purpose purpose) (*engine, network, error) {
	buildMu.Lock()
	defer buildMu.Unlock()
	e := &engine{capacity: capacity, rows: capacity, purpose: purpose}
	n := network{graph: gorgonia.NewGraph()}

	input := func(name string, shape ...int) (*gorgonia.Node, []float32) {
		t := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
		return gorgonia.NewTensor(n.graph, tensor.Float32, len(shape), gorgonia.WithShape(shape...),
			gorgonia.WithName(name), gorgonia.WithValue(t)), t.Data().([]float32)
	}
	shape := []int{capacity, m.spec.Inputs}
	if m.spec.Kind == CNN {
		shape = []int{capacity, m.spec.Image.Channels, m.spec.Image.Height, m.spec.Image.Width}
	}
	var h *gorgonia.Node
	h, e.x = input("x", shape...)

	var wrt gorgonia.Nodes
	var moving []int // the tensor behind each node of wrt
	for i, l := range m.layers {
		w, wBuffer := input(l.weight.Name, l.weight.Shape...)
		b, bBuffer := input(l.bias.Name, l.out)
		for j, n := range []*gorgonia.Node{w, b} {
			if purpose != predicting && purpose.gradient(2*i+j) {
				wrt, moving = append(wrt, n), append(moving, 2*i+j)
			}
		}
		e.params = append(e.params, wBuffer, bBuffer)
		var err error
		if h, err = m.apply(l, h, w, b); err != nil {
			return nil, n, fmt.Errorf("models: build layer %d of a %s: %w", i, m.spec.Kind, err)
		}
	}
	n.logits = h
	if purpose == predicting {
		return e, n, nil
	}

	var targets *gorgonia.Node
	targets, e.targets = input("targets", capacity, m.spec.Classes)
	var err error
	if n.loss, err = lossOf(m.spec.Kind)(h, targets); err != nil {
		return nil, n, fmt.Errorf("models: build the loss of a %s: %w", m.spec.Kind, err)
	}
	var grads gorgonia.Nodes
	if len(wrt) > 0 {
		if grads, err = gorgonia.Grad(n.loss, wrt...); err != nil {
			return nil, n, fmt.Errorf("models: differentiate a %s: %w", m.spec.Kind, err)
		}
	}
	n.grads = make([]*gorgonia.Node, len(m.tensors))
	for i, grad := range grads {
		n.grads[moving[i]] = grad
	}
	return e, n, nil
}

// apply adds one layer to the graph.
func (m *Model) apply(l layer, h, w, b *gorgonia.Node) (*gorgonia.Node, error) {
	var err error
	if l.conv {
		h, err = convolve(h, w)
	} else {
		h, err = dense(h, w)
	}
	if err != nil {
		return nil, err
	}
	if h, err = addBias(h, b); err != nil {
		return nil, err
	}
	if l.activationAfter {
		if h, err = activate(m.spec.Activation, h); err != nil {
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
	for i, t := range m.tensors {
		copy(e.params[i], params[t.Offset:][:t.Length])
	}
}

// addGradients adds the gradients of the last run to the flat vector.
func (e *engine) addGradients(m *Model, sum []float32) {
	for i, t := range m.tensors {
		if !e.purpose.gradient(i) {
			continue
		}
		to := sum[t.Offset:][:t.Length]
		for j, v := range e.grads[i] {
			to[j] += v
		}
	}
}

// setRows fills the input buffers with the given rows of data and pads those of
// the run beyond them with rows that count for nothing. Each row weighs weight
// in the loss.
func (e *engine) setRows(data fl.Examples, rows []int, weight float32) {
	for i, r := range rows {
		copy(e.x[i*data.Features:], data.Row(r))
	}
	clear(e.x[len(rows)*data.Features : e.rows*data.Features])
	if e.purpose != predicting {
		clear(e.targets[:e.rows*data.Classes])
		for i, r := range rows {
			e.targets[i*data.Classes+int(data.Y[r])] = weight
		}
	}
}

// run computes the first e.rows rows of the buffers' contents.
func (e *engine) run() {
	for _, s := range e.steps {
		s.run(e.rows, s.out, s.in)
	}
}
