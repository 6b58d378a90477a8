package models

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// lossOf is the loss that a kind trains with: a scalar of scores [rows,
// outputs] and targets [rows, classes], where row r of the targets holds the
// row's weight at its class.
func lossOf(k Kind) func(scores, targets *gorgonia.Node) (*gorgonia.Node, error) {
	if k == Linear {
		return squaredError
	}
	return crossEntropy
}

// squaredError is the weighted sum over the rows of half the squared distance
// between scores and one-hot targets. A row of zeros is padding.
func squaredError(scores, targets *gorgonia.Node) (*gorgonia.Node, error) {
	shape := scores.Shape().Clone()
	classes := shape[1]
	z := make([]float64, classes) // a graph serves one goroutine at a time
	op := &kernel{
		name: "squaredError", capacity: shape[0], in: []tensor.Shape{shape, shape}, out: tensor.Shape{}, wrt: []bool{true, false},
		run: func(rows int, out []float32, in [][]float32) {
			var sum float64
			for r := range rows {
				for c, w := range in[1][r*classes:][:classes] {
					if w == 0 {
						continue
					}
					for k, v := range in[0][r*classes:][:classes] {
						z[k] = float64(v)
					}
					sum += float64(w) * halfSquares(z, c)
				}
			}
			out[0] = float32(sum)
		},
	}
	op.diff = func(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		back := &kernel{
			name: "squaredErrorGrad", capacity: shape[0], in: []tensor.Shape{shape, shape, {}}, out: shape,
			run: func(rows int, out []float32, in [][]float32) {
				for r := range rows {
					target := in[1][r*classes:][:classes]
					var weight float32
					for _, w := range target {
						weight += w
					}
					for c := range classes {
						at := r*classes + c
						out[at] = 0 // a padded row's score may be anything
						if weight != 0 {
							out[at] = (weight*in[0][at] - target[c]) * in[2][0]
						}
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
	return op.apply(scores, targets)
}

// halfSquares is half the squared distance of scores to a one-hot class.
func halfSquares(scores []float64, class int) float64 {
	var sum float64
	for c, z := range scores {
		if c == class {
			z--
		}
		sum += z * z
	}
	return sum / 2
}
