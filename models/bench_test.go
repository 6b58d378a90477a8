package models

import (
	"syscall"
	"testing"
	"time"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/gonum"

	"credence/fl"
)

// processorTime is what this process has used of all processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// productRate is the floating-point operations a second of processor time of
// float32 products of 512 x 512 matrices, the best of three tries: the peak that
// steps are held against.
func productRate(b *testing.B, sgemm blas.Float32Level3) float64 {
	b.Helper()
	const n = 512
	x, y, z := normals(n*n, 1), normals(n*n, 2), make([]float32, n*n)
	best := 0.0
	for range 3 {
		began, products := processorTime(b), 0
		for processorTime(b)-began < 60*time.Millisecond {
			sgemm.Sgemm(blas.NoTrans, blas.NoTrans, n, n, n, 1, x, n, y, n, 0, z, n)
			products++
		}
		best = max(best, float64(products)*2*n*n*n/(processorTime(b)-began).Seconds())
	}
	return best
}

// stepOperations is the number of floating-point operations of the matrix
// products of a step, forward and back.
func stepOperations(m *Model, rows int) float64 {
	var sum float64
	for i, l := range m.layers {
		once := 2 * float64(rows) * float64(l.weight.Length)
		if l.conv {
			once *= float64(l.height * l.width)
		}
		sum += 2 * once // the output, the gradient of the weights
		if i > 0 {
			sum += once // the gradient of the input
		}
	}
	return sum
}

// BenchmarkStep reports the processor time of a training step and, as the share
// of the peak, what its matrix products would take at the rate of gonum's own
// product of large matrices, measured in the same run (gonum-peak); with the
// build tag openblas also at the rate of OpenBLAS's (own-peak).
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name  string
		spec  Spec
		batch int
	}{
		{"logistic-30/batch32", Spec{Kind: Logistic, Inputs: 30, Classes: 2}, 32},
		{"softmax-64-10/batch10", Spec{Kind: Softmax, Inputs: 64, Classes: 10}, 10},
		{"mlp-64-32-10/batch10", Spec{Kind: MLP, Inputs: 64, Classes: 10, Hidden: []int{32}}, 10},
		{"mlp-64-32-10/batch32", Spec{Kind: MLP, Inputs: 64, Classes: 10, Hidden: []int{32}}, 32},
		{"mlp-784-256-10/batch64", Spec{Kind: MLP, Inputs: 784, Classes: 10, Hidden: []int{256}}, 64},
		{"cnn-8x8-8f3-16f3-10/batch32", Spec{Kind: CNN, Inputs: 64, Classes: 10, Image: &Image{8, 8, 1}, Conv: []Conv{{8, 3}, {16, 3}}}, 32},
		{"cnn-28x28-8f3-16f3-10/batch32", Spec{Kind: CNN, Inputs: 784, Classes: 10, Image: &Image{28, 28, 1}, Conv: []Conv{{8, 3}, {16, 3}}}, 32},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := newModel(b, c.spec)
			data := someExamples(c.spec, c.batch, 1)
			params := m.Init(1)
			cfg := TrainConfig{LearningRate: 0.001, Steps: 1}
			if _, err := m.Train(b.Context(), params, data, cfg, nil, nil); err != nil {
				b.Fatal(err)
			}
			peak, own := productRate(b, gonum.Implementation{}), productRate(b, blas32.Implementation())
			b.ReportAllocs()
			b.ResetTimer()
			began := processorTime(b)
			cfg.Steps = b.N
			if _, err := m.Train(b.Context(), params, data, cfg, nil, nil); err != nil {
				b.Fatal(err)
			}
			step := (processorTime(b) - began).Seconds() / float64(b.N)
			b.ReportMetric(step*1e6, "cpu-us/step")
			b.ReportMetric(peak/1e9, "peak-GFLOPS")
			b.ReportMetric(100*stepOperations(m, c.batch)/step/peak, "%gonum-peak")
			b.ReportMetric(100*stepOperations(m, c.batch)/step/own, "%own-peak")
		})
	}
}

// BenchmarkStepOfAllRows is a step of all examples of clients that have 20 to
// 419 rows each: what a graph for each number of rows would cost shows here.
func BenchmarkStepOfAllRows(b *testing.B) {
	m := newModel(b, Spec{Kind: MLP, Inputs: 64, Classes: 10, Hidden: []int{32}})
	data := someExamples(m.spec, 419, 1)
	params := m.Init(1)
	for i := 0; b.Loop(); i++ {
		some := data
		some.Rows = 20 + 7*i%400
		some.X, some.Y = data.X[:some.Rows*some.Features], data.Y[:some.Rows]
		if _, err := m.Train(b.Context(), params, some, TrainConfig{LearningRate: 0.001, Steps: 1}, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// A node that trains the last layer only is spared the way back to the first.
func BenchmarkStepOfLastLayer(b *testing.B) {
	m := newModel(b, Spec{Kind: CNN, Inputs: 64, Classes: 10, Image: &Image{8, 8, 1}, Conv: []Conv{{8, 3}, {16, 3}}})
	data := someExamples(m.spec, 32, 1)
	last := m.layers[len(m.layers)-1].weight
	shards := []fl.Shard{{Offset: last.Offset, Length: m.size - last.Offset}}
	if _, err := m.Train(b.Context(), m.Init(1), data, TrainConfig{LearningRate: 0.001, Steps: b.N}, shards, nil); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		m := newModel(b, allSpecs()["cnn"])
		if _, err := m.compile(32, m.training([]span{{0, m.size}})); err != nil {
			b.Fatal(err)
		}
	}
}
