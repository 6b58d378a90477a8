package models

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/gonum"
	"gorgonia.org/gorgonia"
)

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// The tape computes, bit for bit, what gorgonia's own machine computes from the
// same graph, which allocates every value and reuses none.
func TestTapeComputesWhatGorgoniaDoes(t *testing.T) {
	const rows = 6
	for name, spec := range allSpecs() {
		m := newModel(t, spec)
		purpose := m.training([]span{{0, m.size}})
		theirs, n, err := m.build(rows, purpose)
		if err != nil {
			t.Fatal(err)
		}
		var loss gorgonia.Value
		grads := make([]gorgonia.Value, len(n.grads))
		roots := gorgonia.Nodes{gorgonia.Read(n.loss, &loss)}
		for i, g := range n.grads {
			roots = append(roots, gorgonia.Read(g, &grads[i]))
		}
		machine := gorgonia.NewTapeMachine(n.graph.ExactSubgraphRoots(roots...))
		ours, err := m.compile(rows, purpose)
		if err != nil {
			t.Fatal(err)
		}
		for run := range 3 {
			data := someExamples(spec, rows, uint64(run))
			for _, e := range []*engine{theirs, ours} {
				e.setParameters(m, m.Init(uint64(run)))
				e.setRows(data, []int{3, 1, 0, 5, 2}, 0.2) // and one that is padding
			}
			ours.run()
			if err := machine.RunAll(); err != nil {
				t.Fatal(err)
			}
			machine.Reset()
			if got, want := ours.loss[0], float32(*loss.(*gorgonia.F32)); got != want {
				t.Errorf("%s: the loss is %v, by gorgonia's machine %v", name, got, want)
			}
			for i, grad := range grads {
				want, err := floats(grad, m.tensors[i].Length)
				if err != nil {
					t.Fatal(err)
				}
				if !sameBits(ours.grads[i], want) {
					t.Errorf("%s: the gradient of %s differs from gorgonia's machine's", name, m.tensors[i].Name)
				}
			}
		}
	}
}

// Only a graph of our own operations can be recorded.
func TestTapeRefusesForeignOperations(t *testing.T) {
	g := gorgonia.NewGraph()
	x := gorgonia.NewMatrix(g, gorgonia.Float32, gorgonia.WithShape(2, 2), gorgonia.WithName("x"))
	y, err := gorgonia.Tanh(x)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := record(gorgonia.Nodes{y}); err == nil {
		t.Error("recorded gorgonia's tanh")
	}
}

// What a graph computes depends neither on its capacity nor on what its buffers
// held before: clients of different sizes share it.
func TestCapacityDoesNotChangeBits(t *testing.T) {
	for name, spec := range allSpecs() {
		shared := newModel(t, spec)
		for _, rows := range []int{40, 3, 17, 1, 33, 16} {
			data := someExamples(spec, rows, uint64(rows))
			params := shared.Init(uint64(rows))
			got, gotLoss, err := shared.Gradient(params, data)
			if err != nil {
				t.Fatal(err)
			}
			fresh := newModel(t, spec)
			e, err := fresh.compile(fresh.chunkRows(rows), fresh.training([]span{{0, fresh.size}}))
			if err != nil {
				t.Fatal(err)
			}
			fresh.release(e) // of exactly these rows
			want, wantLoss, err := fresh.Gradient(params, data)
			if err != nil {
				t.Fatal(err)
			}
			if !sameBits(got, want) || gotLoss != wantLoss {
				t.Errorf("%s: %d rows in a larger graph have another gradient or loss", name, rows)
			}
		}
		if len(shared.idle) != 1 {
			t.Errorf("%s: %d graphs for the clients, whose largest came first", name, len(shared.idle))
		}
	}
}

// Each activation and its derivative, by the plain definition in float64.
func TestActivations(t *testing.T) {
	for _, c := range []struct {
		name  string
		f     func(y, x []float32)
		plain func(float64) float64
	}{
		{"relu", relu, func(v float64) float64 { return math.Max(v, 0) }},
		{"tanh", tanh, math.Tanh},
		{"sigmoid", sigmoid, func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }},
	} {
		x := append(normals(500, 1), 0, float32(math.Copysign(0, -1)), 100, -100, 50, -50)
		y := make([]float32, len(x))
		c.f(y, x)
		for i, v := range x {
			if want := c.plain(float64(v)); math.Abs(float64(y[i])-want) > 2e-7*math.Max(1, math.Abs(want)) {
				t.Errorf("%s(%v) is %v, want %v", c.name, v, y[i], want)
			}
		}
	}
	// The edge cases by which relu differs from a plain maximum.
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	y := make([]float32, 4)
	relu(y, []float32{nan, math.Float32frombits(math.Float32bits(nan) | 1<<31), -inf, inf})
	if y[0] == y[0] || y[1] == y[1] || y[2] == y[2] || y[3] != inf {
		t.Errorf("relu of NaN, -NaN, -Inf, Inf is %v: want NaN, NaN, NaN, Inf", y)
	}
	dx := make([]float32, 3)
	reluGrad(dx, []float32{0, float32(math.Copysign(0, -1)), -1e-40}, []float32{5, 5, 5})
	if fmt.Sprint(dx) != "[5 5 0]" {
		t.Errorf("the gradient at 0, -0 and below is %v: want 5, 5, 0", dx)
	}
}

func TestTranspose(t *testing.T) {
	for _, rows := range []int{1, 2, 15, 16, 17, 40} {
		for _, cols := range []int{1, 3, 16, 33} {
			src, dst := normals(rows*cols, 1), make([]float32, rows*cols)
			transpose(dst, src, rows, cols)
			for i, v := range src {
				if r, c := i/cols, i%cols; dst[c*rows+r] != v {
					t.Fatalf("%d x %d: row %d, column %d is %v, want %v", rows, cols, r, c, dst[c*rows+r], v)
				}
			}
		}
	}
}

// Which BLAS the products are computed with is the build tag's choice alone.
func TestBLAS(t *testing.T) {
	_, ours := blas32.Implementation().(gonum.Implementation)
	if ours == openBLAS {
		t.Errorf("gonum's BLAS: %v, tag openblas: %v", ours, openBLAS)
	}
}

// A step allocates nothing once the graph is compiled, but for what gonum's
// product of large matrices does.
func TestStepsDoNotAllocate(t *testing.T) {
	m := newModel(t, allSpecs()["cnn-relu"])
	data := someExamples(m.spec, 8, 1)
	params, grad := m.Init(1), make([]float32, m.size)
	e, err := m.acquire(8, m.training([]span{{0, m.size}}))
	if err != nil {
		t.Fatal(err)
	}
	rows := []int{0, 1, 2, 3, 4, 5, 6, 7}
	if n := testing.AllocsPerRun(20, func() { m.gradient(e, params, data, rows, grad) }); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
}
