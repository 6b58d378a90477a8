package models

import (
	"math"
	"math/rand/v2"
	"testing"

	"credence/fl"
)

// allSpecs has one specification of each kind, activation and odd shape that
// the tests of this package go through.
func allSpecs() map[string]Spec {
	return map[string]Spec{
		"linear":        {Kind: Linear, Inputs: 4, Classes: 3},
		"logistic":      {Kind: Logistic, Inputs: 5, Classes: 2},
		"logistic-1":    {Kind: Logistic, Inputs: 1, Classes: 2},
		"softmax":       {Kind: Softmax, Inputs: 4, Classes: 3},
		"softmax-2":     {Kind: Softmax, Inputs: 1, Classes: 2},
		"mlp-relu":      {Kind: MLP, Inputs: 4, Classes: 3, Hidden: []int{6, 5}},
		"mlp-tanh":      {Kind: MLP, Inputs: 3, Classes: 2, Hidden: []int{4}, Activation: Tanh},
		"mlp-sigmoid-1": {Kind: MLP, Inputs: 3, Classes: 4, Hidden: []int{1}, Activation: Sigmoid},
		"cnn": {Kind: CNN, Inputs: 2 * 6 * 5, Classes: 3, Image: &Image{Height: 6, Width: 5, Channels: 2},
			Conv: []Conv{{Filters: 3, Kernel: 3}, {Filters: 2, Kernel: 1}}, Hidden: []int{4}, Activation: Tanh},
		"cnn-relu": {Kind: CNN, Inputs: 16, Classes: 2, Image: &Image{Height: 4, Width: 4, Channels: 1},
			Conv: []Conv{{Filters: 2, Kernel: 5}}},
	}
}

func newModel(t testing.TB, spec Spec) *Model {
	t.Helper()
	m, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func normals(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

func someExamples(spec Spec, rows int, seed uint64) fl.Examples {
	e := fl.Examples{Rows: rows, Features: spec.Inputs, Classes: spec.Classes,
		X: normals(rows*spec.Inputs, seed), Y: make([]int32, rows)}
	r := rand.New(rand.NewPCG(seed, 2))
	for i := range e.Y {
		e.Y[i] = int32(r.IntN(spec.Classes))
	}
	return e
}

// referenceLogits is the plainest forward pass we could write, in float64, from
// the definitions: it shares no code with the graphs but the layout.
func referenceLogits(m *Model, params []float64, x []float32) []float64 {
	h := make([]float64, len(x))
	for i, v := range x {
		h[i] = float64(v)
	}
	act := map[Activation]func(float64) float64{
		"": func(v float64) float64 { return v }, ReLU: func(v float64) float64 { return math.Max(v, 0) },
		Tanh: math.Tanh, Sigmoid: func(v float64) float64 { return 1 / (1 + math.Exp(-v)) },
	}[m.spec.Activation]
	for _, l := range m.layers {
		w := params[l.weight.Offset:][:l.weight.Length]
		b := params[l.bias.Offset:][:l.bias.Length]
		if !l.conv {
			y := make([]float64, l.out)
			for o := range y {
				y[o] = b[o]
				for i, v := range h {
					y[o] += w[o*l.in+i] * v
				}
				if l.activationAfter {
					y[o] = act(y[o])
				}
			}
			h = y
			continue
		}
		at := func(c, y, x int) float64 {
			if y < 0 || y >= l.height || x < 0 || x >= l.width {
				return 0
			}
			return h[(c*l.height+y)*l.width+x]
		}
		ph, pw := l.height/2, l.width/2
		pooled := make([]float64, l.out*ph*pw)
		for i := range pooled {
			pooled[i] = math.Inf(-1)
		}
		for f := range l.out {
			for y := range 2 * ph {
				for x := range 2 * pw {
					s := b[f]
					for c := range l.in {
						for ky := range l.kernel {
							for kx := range l.kernel {
								s += w[((f*l.in+c)*l.kernel+ky)*l.kernel+kx] * at(c, y+ky-l.kernel/2, x+kx-l.kernel/2)
							}
						}
					}
					o := (f*ph+y/2)*pw + x/2
					pooled[o] = math.Max(pooled[o], act(s))
				}
			}
		}
		h = pooled
	}
	if m.spec.Kind == Logistic {
		return []float64{0, h[0]}
	}
	return h
}

func referenceLoss(m *Model, params []float64, data fl.Examples) float64 {
	var sum float64
	for r := range data.Rows {
		z := referenceLogits(m, params, data.Row(r))
		if m.spec.Kind == Linear {
			for c, v := range z {
				if c == int(data.Y[r]) {
					v--
				}
				sum += v * v / 2
			}
			continue
		}
		var total float64
		for _, v := range z {
			total += math.Exp(v)
		}
		sum += math.Log(total) - z[data.Y[r]]
	}
	return sum / float64(data.Rows)
}

func widen(in []float32) []float64 {
	out := make([]float64, len(in))
	for i, v := range in {
		out[i] = float64(v)
	}
	return out
}
