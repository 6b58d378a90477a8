package models

import (
	"fmt"
	"math"

	"github.com/chewxy/math32"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// dense is the product of x, of shape [rows, ...] with in values a row, and the
// transpose of w, of shape [out, in]: [rows, out].
//
// The products are those of the transposed weights, in whose order gonum adds
// up; only the weights' gradient is computed in w's own shape, which has the
// same sums.
func dense(x, w *gorgonia.Node) (*gorgonia.Node, error) {
	xShape, wShape := x.Shape().Clone(), w.Shape().Clone()
	outputs, inputs := wShape[0], wShape[1]
	if xShape.TotalSize() != xShape[0]*inputs {
		return nil, fmt.Errorf("models: values of shape %v enter a layer of %d inputs", xShape, inputs)
	}
	out := tensor.Shape{xShape[0], outputs}
	// transposed is w's transpose, written by each run forward, which comes before
	// its run backward. A graph serves one goroutine at a time.
	var transposed []float32
	if outputs > 1 {
		transposed = make([]float32, inputs*outputs)
	}
	op := &kernel{
		name: "dense", capacity: xShape[0], in: []tensor.Shape{xShape, wShape}, out: out, wrt: []bool{true, true},
		run: func(rows int, y []float32, args [][]float32) {
			if outputs == 1 { // one sum a row, without a call for each of its terms
				for r := range rows {
					var sum float32
					for i, v := range args[0][r*inputs:][:inputs] {
						sum += float32(v * args[1][i])
					}
					y[r] = sum
				}
				return
			}
			transpose(transposed, args[1], outputs, inputs)
			blas32.Gemm(blas.NoTrans, blas.NoTrans, 1, matrix(rows, inputs, args[0]), matrix(inputs, outputs, transposed),
				0, matrix(rows, outputs, y))
		},
	}
	op.diff = func(nodes gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		toInput := &kernel{
			name: "denseGradInput", capacity: xShape[0], in: []tensor.Shape{wShape, out}, out: xShape,
			run: func(rows int, dx []float32, args [][]float32) {
				weights := transposed
				if outputs == 1 {
					weights = args[0]
				}
				blas32.Gemm(blas.NoTrans, blas.Trans, 1, matrix(rows, outputs, args[1]), matrix(inputs, outputs, weights),
					0, matrix(rows, inputs, dx))
			},
		}
		toWeights := &kernel{
			name: "denseGradWeights", capacity: xShape[0], in: []tensor.Shape{xShape, out}, out: wShape,
			run: func(rows int, dw []float32, args [][]float32) {
				blas32.Gemm(blas.Trans, blas.NoTrans, 1, matrix(rows, outputs, args[1]), matrix(rows, inputs, args[0]),
					0, matrix(outputs, inputs, dw))
			},
		}
		dx, err := toInput.apply(nodes[1], grad)
		if err != nil {
			return nil, fmt.Errorf("models: differentiate a layer by its input: %w", err)
		}
		dw, err := toWeights.apply(nodes[0], grad)
		if err != nil {
			return nil, fmt.Errorf("models: differentiate a layer by its weights: %w", err)
		}
		return gorgonia.Nodes{dx, dw}, nil
	}
	return op.apply(x, w)
}

// transpose writes the rows x cols matrix src to dst as cols x rows, in tiles
// whose lines stay in the first cache.
func transpose(dst, src []float32, rows, cols int) {
	const tile = 16 // a line of 64 bytes
	for top := 0; top < rows; top += tile {
		bottom := min(top+tile, rows)
		for left := 0; left < cols; left += tile {
			right := min(left+tile, cols)
			for c := left; c < right; c++ {
				to := dst[c*rows+top : c*rows+bottom]
				at := top*cols + c
				for r := range to {
					to[r] = src[at]
					at += cols
				}
			}
		}
	}
}

// activate applies an activation to every value.
func activate(a Activation, x *gorgonia.Node) (*gorgonia.Node, error) {
	switch a {
	case ReLU:
		return pointwise("relu", x, relu, reluGrad, false)
	case Tanh:
		return pointwise("tanh", x, tanh, tanhGrad, true)
	case Sigmoid:
		return pointwise("sigmoid", x, sigmoid, sigmoidGrad, false)
	}
	return nil, fmt.Errorf("models: activation %q is unknown", a)
}

// pointwise applies f(y, x) to all values at once; df(dx, v, dy) is its way
// back, where v is y if ofOutput and else x.
func pointwise(name string, x *gorgonia.Node, f func(y, x []float32), df func(dx, v, dy []float32), ofOutput bool) (*gorgonia.Node, error) {
	shape := x.Shape().Clone()
	size := shape.TotalSize() / shape[0]
	op := &kernel{
		name: name, capacity: shape[0], in: []tensor.Shape{shape}, out: shape, wrt: []bool{true},
		run: func(rows int, y []float32, args [][]float32) { f(y[:rows*size], args[0][:rows*size]) },
	}
	op.diff = func(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		v := in[0]
		if ofOutput {
			v = out
		}
		back := &kernel{
			name: name + "Grad", capacity: shape[0], in: []tensor.Shape{shape, shape}, out: shape,
			run: func(rows int, dx []float32, args [][]float32) {
				df(dx[:rows*size], args[0][:rows*size], args[1][:rows*size])
			},
		}
		dx, err := back.apply(v, grad)
		if err != nil {
			return nil, fmt.Errorf("models: differentiate %s: %w", name, err)
		}
		return gorgonia.Nodes{dx}, nil
	}
	return op.apply(x)
}

// reluFactor is 1 where the activation lets a value through and 0 where it does
// not, without a branch, which the processor would guess wrong half the time. A
// product with it keeps NaN and makes one of -Inf, so that an overflow reaches
// the loss and is reported.
func reluFactor(v float32) float32 {
	b := math.Float32bits(v)
	negative := (b >> 31) & ((b<<1 | -(b << 1)) >> 31) // not of -0
	return math.Float32frombits(0x3f800000 &^ -negative)
}

func relu(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] = v * reluFactor(v)
	}
}

func reluGrad(dx, x, dy []float32) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	for i, v := range x {
		dx[i] = dy[i] * reluFactor(v)
	}
}

func tanh(y, x []float32) {
	for i, v := range x {
		y[i] = math32.Tanh(v)
	}
}

func tanhGrad(dx, y, dy []float32) {
	for i, v := range y {
		dx[i] = float32(1-float32(v*v)) * dy[i]
	}
}

// logistic is 1/(1+exp(-v)), to the rounding of float32 beyond its bounds, too.
func logistic(v float32) float32 {
	switch {
	case v < -88:
		return 0
	case v > 15:
		return 1
	}
	return float32(1 / (1 + math.Exp(float64(-v))))
}

func sigmoid(y, x []float32) {
	for i, v := range x {
		y[i] = logistic(v)
	}
}

// sigmoidGrad has logistic(-x) for 1-logistic(x), which loses no digits.
func sigmoidGrad(dx, x, dy []float32) {
	for i, v := range x {
		dx[i] = float32(logistic(v)*logistic(-v)) * dy[i]
	}
}
