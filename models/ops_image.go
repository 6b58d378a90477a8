package models

import (
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// window is the geometry of a convolution of stride 1 that keeps the image's
// size: an image of channels x height x width, unrolled for an odd kernel to a
// matrix of channels*kernel^2 rows and height*width columns (im2col).
type window struct{ channels, height, width, kernel int }

func (g window) depth() int { return g.channels * g.kernel * g.kernel }
func (g window) space() int { return g.height * g.width }

// each calls f once for each row of pixels that a kernel position touches:
// col[c:c+n] is image[i:i+n] there; columns outside it are padding.
func (g window) each(f func(c, i, n int)) {
	pad := g.kernel / 2
	row := 0
	for ch := range g.channels {
		for ky := range g.kernel {
			for kx := range g.kernel {
				left, right := max(0, pad-kx), min(g.width, g.width+pad-kx)
				for y := max(0, pad-ky); left < right && y < min(g.height, g.height+pad-ky); y++ {
					f(row*g.space()+y*g.width+left, (ch*g.height+y+ky-pad)*g.width+left+kx-pad, right-left)
				}
				row++
			}
		}
	}
}

// unroll writes the matrix of one image to col, whose padding must be zero.
func (g window) unroll(col, image []float32) {
	g.each(func(c, i, n int) { copy(col[c:c+n], image[i:i+n]) })
}

// roll adds each value of col to the pixel that it came from.
func (g window) roll(image, col []float32) {
	g.each(func(c, i, n int) {
		for j, v := range col[c : c+n] {
			image[i+j] += v
		}
	})
}

func matrix(rows, cols int, data []float32) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: data}
}

// convolve is the cross-correlation that networks call a convolution: x of
// shape [rows, channels, height, width], w of shape [filters, channels, kernel,
// kernel], stride 1, zero padding of kernel/2. One matrix product an image.
func convolve(x, w *gorgonia.Node) (*gorgonia.Node, error) {
	in, wShape := x.Shape().Clone(), w.Shape().Clone()
	g := window{in[1], in[2], in[3], wShape[2]}
	filters := wShape[0]
	out := tensor.Shape{in[0], filters, in[2], in[3]}
	imageSize, outSize := g.channels*g.space(), filters*g.space()
	// Buffers of their own: unroll leaves the padding zero, the product to the
	// image writes it. A graph serves one goroutine at a time.
	col, product := make([]float32, g.depth()*g.space()), make([]float32, g.depth()*g.space())
	op := &kernel{
		name: "convolve", capacity: in[0], in: []tensor.Shape{in, wShape}, out: out, wrt: []bool{true, true},
		run: func(rows int, y []float32, args [][]float32) {
			weights := matrix(filters, g.depth(), args[1])
			for r := range rows {
				g.unroll(col, args[0][r*imageSize:][:imageSize])
				blas32.Gemm(blas.NoTrans, blas.NoTrans, 1, weights, matrix(g.depth(), g.space(), col),
					0, matrix(filters, g.space(), y[r*outSize:][:outSize]))
			}
		},
	}
	op.diff = func(nodes gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		toImage := &kernel{
			name: "convolveGradImage", capacity: in[0], in: []tensor.Shape{wShape, out}, out: in,
			run: func(rows int, dx []float32, args [][]float32) {
				clear(dx[:rows*imageSize])
				weights := matrix(filters, g.depth(), args[0])
				for r := range rows {
					blas32.Gemm(blas.Trans, blas.NoTrans, 1, weights, matrix(filters, g.space(), args[1][r*outSize:][:outSize]),
						0, matrix(g.depth(), g.space(), product))
					g.roll(dx[r*imageSize:][:imageSize], product)
				}
			},
		}
		toWeights := &kernel{
			name: "convolveGradWeights", capacity: in[0], in: []tensor.Shape{in, out}, out: wShape,
			run: func(rows int, dw []float32, args [][]float32) {
				clear(dw)
				for r := range rows {
					g.unroll(col, args[0][r*imageSize:][:imageSize])
					blas32.Gemm(blas.NoTrans, blas.Trans, 1, matrix(filters, g.space(), args[1][r*outSize:][:outSize]),
						matrix(g.depth(), g.space(), col), 1, matrix(filters, g.depth(), dw))
				}
			},
		}
		dx, err := toImage.apply(nodes[1], grad)
		if err != nil {
			return nil, fmt.Errorf("models: differentiate a convolution by its image: %w", err)
		}
		dw, err := toWeights.apply(nodes[0], grad)
		if err != nil {
			return nil, fmt.Errorf("models: differentiate a convolution by its weights: %w", err)
		}
		return gorgonia.Nodes{dx, dw}, nil
	}
	return op.apply(x, w)
}

// maxPool halves an image's sides: each value is the largest of a 2x2 block; an
// odd last row or column is dropped. On a tie the first in row-major order gets
// the gradient. A NaN counts as the largest, so that an overflow before the pool
// reaches the loss and is reported.
func maxPool(x *gorgonia.Node) (*gorgonia.Node, error) {
	in := x.Shape().Clone()
	height, width := in[2], in[3]
	out := tensor.Shape{in[0], in[1], height / 2, width / 2}
	channels := in[1]
	// each calls f with the index of every output and of the input it comes from.
	each := func(rows int, x []float32, f func(o, i int)) {
		o := 0
		for p := range rows * channels {
			for y := 0; y+1 < height; y += 2 {
				for c := 0; c+1 < width; c += 2 {
					corner := (p*height+y)*width + c
					best := corner
					for _, i := range [3]int{corner + 1, corner + width, corner + width + 1} {
						if x[i] > x[best] || x[i] != x[i] {
							best = i
						}
					}
					f(o, best)
					o++
				}
			}
		}
	}
	op := &kernel{
		name: "maxPool", capacity: in[0], in: []tensor.Shape{in}, out: out, wrt: []bool{true},
		run: func(rows int, y []float32, args [][]float32) {
			each(rows, args[0], func(o, i int) { y[o] = args[0][i] })
		},
	}
	op.diff = func(nodes gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		back := &kernel{
			name: "maxPoolGrad", capacity: in[0], in: []tensor.Shape{in, out}, out: in,
			run: func(rows int, dx []float32, args [][]float32) {
				clear(dx[:rows*channels*height*width])
				each(rows, args[0], func(o, i int) { dx[i] = args[1][o] })
			},
		}
		dx, err := back.apply(nodes[0], grad)
		if err != nil {
			return nil, fmt.Errorf("models: differentiate max-pooling: %w", err)
		}
		return gorgonia.Nodes{dx}, nil
	}
	return op.apply(x)
}
