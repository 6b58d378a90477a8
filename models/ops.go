package models

import (
	"fmt"
	"hash"
	"hash/fnv"
	"math"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// kernel is what every operation in our gorgonia graphs shares: fixed types and
// shapes, and a function from input buffers to the output buffer. Shapes are
// those of a full graph; run computes the first rows examples alone, at most
// capacity, and neither reads nor writes what belongs to the others.
type kernel struct {
	name     string
	capacity int            // examples of a full graph
	in       []tensor.Shape // shapes of the inputs; an empty one is a scalar
	out      tensor.Shape
	args     gorgonia.Nodes // what it is applied to
	run      func(rows int, out []float32, in [][]float32)
	diff     func(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) // nil: not differentiable
	wrt      []bool                                                                    // inputs that diff returns a gradient for
}

// apply adds the operation to the graph of its arguments.
func (k *kernel) apply(args ...*gorgonia.Node) (*gorgonia.Node, error) {
	k.args = args
	return gorgonia.ApplyOp(k, args...)
}

var (
	_ gorgonia.SDOp            = (*kernel)(nil)
	_ gorgonia.UsePreallocDoer = (*kernel)(nil)
)

func typeOf(s tensor.Shape) hm.Type {
	if len(s) == 0 {
		return tensor.Float32
	}
	return gorgonia.TensorType{Dims: len(s), Of: tensor.Float32}
}

// Arity, Type, InferShape and the rest implement gorgonia.Op.
func (k *kernel) Arity() int { return len(k.in) }

func (k *kernel) Type() hm.Type {
	types := make([]hm.Type, 0, len(k.in)+1)
	for _, s := range k.in {
		types = append(types, typeOf(s))
	}
	return hm.NewFnType(append(types, typeOf(k.out))...)
}

func (k *kernel) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) { return k.out.Clone(), nil }
func (k *kernel) ReturnsPtr() bool                                      { return false }
func (k *kernel) CallsExtern() bool                                     { return false }
func (k *kernel) OverwritesInput() int                                  { return -1 }
func (k *kernel) String() string                                        { return k.name }

func (k *kernel) DiffWRT(inputs int) []bool {
	if k.wrt == nil {
		return make([]bool, inputs)
	}
	return k.wrt
}

func (k *kernel) WriteHash(h hash.Hash) {
	fmt.Fprintf(h, "credence/%s/%v/%v", k.name, k.in, k.out) //nolint:errcheck // a hash never fails
}

func (k *kernel) Hashcode() uint32 {
	h := fnv.New32a()
	k.WriteHash(h)
	return h.Sum32()
}

func (k *kernel) SymDiff(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	if k.diff == nil {
		return nil, fmt.Errorf("models: %s has no derivative", k.name)
	}
	return k.diff(in, out, grad)
}

// Do and UsePreallocDo let gorgonia's own machines run a full graph, which the
// tests compare with ours.
func (k *kernel) Do(inputs ...gorgonia.Value) (gorgonia.Value, error) {
	if len(k.out) == 0 {
		return k.UsePreallocDo(gorgonia.NewF32(0), inputs...)
	}
	return k.UsePreallocDo(tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(k.out...)), inputs...)
}

func (k *kernel) UsePreallocDo(prealloc gorgonia.Value, inputs ...gorgonia.Value) (gorgonia.Value, error) {
	if len(inputs) != len(k.in) {
		return nil, fmt.Errorf("models: %s got %d inputs, want %d", k.name, len(inputs), len(k.in))
	}
	buffers := make([][]float32, len(inputs))
	for i, v := range inputs {
		b, err := floats(v, k.in[i].TotalSize())
		if err != nil {
			return nil, fmt.Errorf("models: %s, input %d: %w", k.name, i, err)
		}
		buffers[i] = b
	}
	if scalar, ok := prealloc.(*gorgonia.F32); ok {
		var out [1]float32
		k.run(k.capacity, out[:], buffers)
		*scalar = gorgonia.F32(out[0])
		return scalar, nil
	}
	out, err := floats(prealloc, k.out.TotalSize())
	if err != nil {
		return nil, fmt.Errorf("models: %s, output: %w", k.name, err)
	}
	k.run(k.capacity, out, buffers)
	return prealloc, nil
}

// floats returns the buffer behind a value of want elements.
func floats(v gorgonia.Value, want int) ([]float32, error) {
	switch t := v.(type) {
	case *gorgonia.F32:
		return []float32{float32(*t)}, nil
	case *tensor.Dense:
		data, ok := t.Data().([]float32)
		if !ok || len(data) != want || t.RequiresIterator() {
			return nil, fmt.Errorf("tensor of shape %v is not %d contiguous float32 values", t.Shape(), want)
		}
		return data, nil
	}
	return nil, fmt.Errorf("unexpected value of type %T", v)
}

// addBias adds b[j] to every value of channel j of x, which has shape
// [rows, channels] or [rows, channels, height, width].
func addBias(x, b *gorgonia.Node) (*gorgonia.Node, error) {
	shape, channels := x.Shape().Clone(), b.Shape().TotalSize()
	space := shape.TotalSize() / (shape[0] * channels)
	op := &kernel{
		name: "addBias", capacity: shape[0], in: []tensor.Shape{shape, {channels}}, out: shape, wrt: []bool{true, true},
		run: func(rows int, out []float32, in [][]float32) {
			x, b := in[0][:rows*channels*space], in[1]
			if space == 1 {
				for ; len(x) > 0; x, out = x[channels:], out[channels:] {
					for c, v := range x[:channels] {
						out[c] = v + b[c]
					}
				}
				return
			}
			for i := 0; i < len(x); i += space {
				add := b[i/space%channels]
				for j, v := range x[i : i+space] {
					out[i+j] = v + add
				}
			}
		},
	}
	op.diff = func(_ gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		sum := &kernel{
			name: "sumToBias", capacity: shape[0], in: []tensor.Shape{shape}, out: tensor.Shape{channels},
			run: func(rows int, out []float32, in [][]float32) {
				clear(out)
				dy := in[0][:rows*channels*space]
				if space == 1 {
					for ; len(dy) > 0; dy = dy[channels:] {
						for c, v := range dy[:channels] {
							out[c] += v
						}
					}
					return
				}
				for i := 0; i < len(dy); i += space {
					var s float32
					for _, v := range dy[i : i+space] {
						s += v
					}
					out[i/space%channels] += s
				}
			},
		}
		db, err := sum.apply(grad)
		if err != nil {
			return nil, fmt.Errorf("models: differentiate the bias: %w", err)
		}
		return gorgonia.Nodes{grad, db}, nil
	}
	return op.apply(x, b)
}

// crossEntropy is the weighted negative log-likelihood of the targets, a
// scalar. Row r of targets holds the row's weight at its class and zero
// elsewhere; a row of zeros is padding and counts for nothing. logits has
// shape [rows, classes], or [rows, 1] for a logistic model, whose class 0 has
// the logit 0.
func crossEntropy(logits, targets *gorgonia.Node) (*gorgonia.Node, error) {
	zShape, tShape := logits.Shape().Clone(), targets.Shape().Clone()
	outputs, classes := zShape[1], tShape[1]
	p := make([]float64, classes) // a graph serves one goroutine at a time
	op := &kernel{
		name: "crossEntropy", capacity: zShape[0], in: []tensor.Shape{zShape, tShape}, out: tensor.Shape{}, wrt: []bool{true, false},
		run: func(rows int, out []float32, in [][]float32) {
			var sum float64
			for r := range rows {
				lse := logSumExp(p, in[0][r*outputs:][:outputs])
				for c, w := range in[1][r*classes:][:classes] {
					if w != 0 {
						sum += float64(w) * (lse - p[c])
					}
				}
			}
			out[0] = float32(sum)
		},
	}
	op.diff = func(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		back := &kernel{
			name: "crossEntropyGrad", capacity: zShape[0], in: []tensor.Shape{zShape, tShape, {}}, out: zShape,
			run: func(rows int, out []float32, in [][]float32) {
				for r := range rows {
					target := in[1][r*classes:][:classes]
					var weight float64
					for _, w := range target {
						weight += float64(w)
					}
					lse := logSumExp(p, in[0][r*outputs:][:outputs])
					for o := range outputs {
						c := o + classes - outputs
						var d float64
						if weight != 0 {
							d = weight*math.Exp(p[c]-lse) - float64(target[c])
						}
						out[r*outputs+o] = float32(d * float64(in[2][0]))
					}
				}
			},
		}
		dz, err := back.apply(in[0], in[1], grad)
		if err != nil {
			return nil, fmt.Errorf("models: differentiate the loss: %w", err)
		}
		return gorgonia.Nodes{dz, nil}, nil
	}
	return op.apply(logits, targets)
}

// logSumExp writes one row's logits, widened to one a class, into p and returns
// log(sum(exp(p))), with the maximum taken out so that nothing overflows.
func logSumExp(p []float64, logits []float32) float64 {
	p[0] = 0 // stays for a logistic model, whose one logit is class 1's
	for i, z := range logits {
		p[i+len(p)-len(logits)] = float64(z)
	}
	top := p[0]
	for _, v := range p[1:] {
		top = math.Max(top, v) // NaN if any is NaN
	}
	var sum float64
	for _, v := range p {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}
