package models

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"credence/fl"
)

func TestTrainConfigRefusals(t *testing.T) {
	good := TrainConfig{LearningRate: 0.1, Epochs: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]func(*TrainConfig){
		`optimizer "lbfgs"`:         func(c *TrainConfig) { c.Optimizer = "lbfgs" },
		"learning_rate is 0":        func(c *TrainConfig) { c.LearningRate = 0 },
		"learning_rate is NaN":      func(c *TrainConfig) { c.LearningRate = math.NaN() },
		"learning_rate is +Inf":     func(c *TrainConfig) { c.LearningRate = math.Inf(1) },
		"momentum is set":           func(c *TrainConfig) { c.Momentum = 0.9 },
		"beta1, beta2 or epsilon":   func(c *TrainConfig) { c.Beta2 = 0.9 },
		"weight_decay is -1":        func(c *TrainConfig) { c.WeightDecay = -1 },
		"weight_decay is NaN":       func(c *TrainConfig) { c.WeightDecay = math.NaN() },
		"epsilon is -1":             func(c *TrainConfig) { c.Optimizer, c.Epsilon = Adam, -1 },
		"momentum is 1:":            func(c *TrainConfig) { c.Optimizer, c.Momentum = Momentum, 1 },
		"beta1 is NaN":              func(c *TrainConfig) { c.Optimizer, c.Beta1 = Adam, math.NaN() },
		"set exactly one of them":   func(c *TrainConfig) { c.Steps = 1 },
		"0 epochs and 0 steps":      func(c *TrainConfig) { c.Epochs = 0 },
		"batch_size is -1":          func(c *TrainConfig) { c.BatchSize = -1 },
		"-1 epochs, 0 steps: want":  func(c *TrainConfig) { c.Epochs = -1 },
		"99999999 epochs, 0 steps:": func(c *TrainConfig) { c.Epochs = 99999999 },
	} {
		c := good
		f(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// Three steps of each optimiser on the gradients 1, -2, 0.5 from w = 1, by hand.
func TestOptimisersByHand(t *testing.T) {
	m := newModel(t, Spec{Kind: Logistic, Inputs: 1, Classes: 2}) // a weight and a bias
	gradients := []float32{1, -2, 0.5}
	for _, c := range []struct {
		cfg          TrainConfig
		weight, bias []float64 // after each step
	}{
		{TrainConfig{LearningRate: 0.1}, []float64{0.9, 1.1, 1.05}, []float64{0.9, 1.1, 1.05}},
		// the weight's gradients become 1+0.5*1, -2+0.5*0.85, 0.5+0.5*1.0075
		{TrainConfig{LearningRate: 0.1, WeightDecay: 0.5}, []float64{0.85, 1.0075, 0.907125}, []float64{0.9, 1.1, 1.05}},
		// velocities 1, -1.5, -0.25
		{TrainConfig{Optimizer: Momentum, LearningRate: 0.1, Momentum: 0.5}, []float64{0.9, 1.05, 1.075}, []float64{0.9, 1.05, 1.075}},
		// m = 0.5, -0.75, -0.125; v = 0.25, 1.1875, 0.953125; corrected by
		// 0.5, 0.75, 0.875 and 0.25, 0.4375, 0.578125
		{TrainConfig{Optimizer: Adam, LearningRate: 0.1, Beta1: 0.5, Beta2: 0.75},
			[]float64{0.9, 0.9 + 0.1/math.Sqrt(1.1875/0.4375), 0.9 + 0.1/math.Sqrt(1.1875/0.4375) + 0.1*(0.125/0.875)/math.Sqrt(0.953125/0.578125)}, nil},
	} {
		if c.bias == nil {
			c.bias = c.weight
		}
		s, err := newStepper(m, c.cfg, TrainOptions{})
		if err != nil {
			t.Fatal(err)
		}
		params := []float32{1, 1}
		for i, g := range gradients {
			s.step(params, []float32{g, g})
			if math.Abs(float64(params[0])-c.weight[i]) > 1e-6 || math.Abs(float64(params[1])-c.bias[i]) > 1e-6 {
				t.Errorf("%+v, step %d: %v, want %v and %v", c.cfg, i+1, params, c.weight[i], c.bias[i])
			}
		}
	}
}

// The optimum of a regularised logistic regression is where the gradient
// vanishes; the loss is convex, so full-batch training must find it, and any
// start must find the same one.
func TestLogisticReachesTheOptimum(t *testing.T) {
	spec := Spec{Kind: Logistic, Inputs: 3, Classes: 2}
	m := newModel(t, spec)
	data := someExamples(spec, 200, 9)
	for r := range data.Rows { // learnable with noise
		x := data.Row(r)
		data.Y[r] = 0
		if x[0]-0.5*x[1]+0.25*normals(1, uint64(r))[0] > 0.1 {
			data.Y[r] = 1
		}
	}
	const decay = 0.01
	var found [][]float32
	for _, c := range []struct {
		cfg  TrainConfig
		seed uint64
	}{
		{TrainConfig{LearningRate: 1, Steps: 1500, WeightDecay: decay}, 1},
		{TrainConfig{Optimizer: Momentum, LearningRate: 0.5, Steps: 400, WeightDecay: decay}, 2},
		{TrainConfig{Optimizer: Adam, LearningRate: 0.03, Steps: 1500, WeightDecay: decay}, 3},
	} {
		out, err := m.Train(t.Context(), m.Init(c.seed), data, c.cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		grad, _, err := m.Gradient(out.Params, data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range grad {
			if i < spec.Inputs {
				grad[i] += decay * out.Params[i]
			}
			if math.Abs(float64(grad[i])) > 1e-4 {
				t.Errorf("%s: gradient %d is %v at the end", c.cfg.Optimizer, i, grad[i])
			}
		}
		found = append(found, out.Params)
	}
	for _, other := range found[1:] {
		for i, v := range other {
			if math.Abs(float64(v-found[0][i])) > 2e-2 {
				t.Errorf("optima differ: %v and %v", found[0], other)
			}
		}
	}
}

// A network that is not convex must learn what softmax regression cannot.
func TestNetworksLearnXOR(t *testing.T) {
	data := fl.Examples{Rows: 4, Features: 2, Classes: 2, X: []float32{-1, -1, -1, 1, 1, -1, 1, 1}, Y: []int32{0, 1, 1, 0}}
	m := newModel(t, Spec{Kind: MLP, Inputs: 2, Classes: 2, Hidden: []int{8}, Activation: Tanh})
	out, err := m.Train(t.Context(), m.Init(1), data, TrainConfig{Optimizer: Adam, LearningRate: 0.05, Steps: 300}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Evaluate(out.Params, data)
	if err != nil || e.Accuracy() != 1 || e.Loss() > 0.05 {
		t.Errorf("%+v, %v", e, err)
	}
}

func bitsOf(params []float32) []uint32 {
	out := make([]uint32, len(params))
	for i, v := range params {
		out[i] = math.Float32bits(v)
	}
	return out
}

func TestTrainingIsReproducible(t *testing.T) {
	specs := allSpecs()
	// Large enough for gonum's parallel matrix product.
	specs["wide"] = Spec{Kind: MLP, Inputs: 150, Classes: 10, Hidden: []int{200}}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			data := someExamples(spec, 150, 1)
			cfg := TrainConfig{Optimizer: Adam, LearningRate: 0.01, Epochs: 2, BatchSize: 64, Seed: 5}
			run := func(m *Model, procs int) Result {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				out, err := m.Train(t.Context(), m.Init(1), data, cfg, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			m := newModel(t, spec)
			first := run(m, 1)
			for _, again := range []Result{run(m, 2), run(newModel(t, spec), 4)} {
				if !cmp.Equal(bitsOf(first.Params), bitsOf(again.Params)) || first.Loss != again.Loss {
					t.Error("two runs differ")
				}
			}
			cfg.Seed = 6
			if other := run(m, 2); cmp.Equal(first.Params, other.Params) {
				t.Error("the seed changes nothing")
			}
		})
	}
}

// Whatever shards a node trains, only their coordinates move; a full map of
// shards is the same as none.
func TestOnlyTheShardsMove(t *testing.T) {
	for _, name := range []string{"logistic", "mlp-relu", "cnn"} {
		spec := allSpecs()[name]
		m := newModel(t, spec)
		data := someExamples(spec, 9, 3)
		rapid.Check(t, func(t *rapid.T) {
			slots := fl.MetricSlots + rapid.IntRange(1, m.size).Draw(t, "room")
			all, err := fl.ShardMap(m.size, slots)
			if err != nil {
				t.Fatal(err)
			}
			chosen := []fl.Shard{}
			moves := make([]bool, m.size)
			for _, s := range all {
				if rapid.Bool().Draw(t, "train") {
					chosen = append(chosen, s)
					for i := range s.Length {
						moves[s.Offset+i] = true
					}
				}
			}
			cfg := TrainConfig{Optimizer: rapid.SampledFrom([]Optimizer{SGD, Momentum, Adam}).Draw(t, "optimizer"),
				LearningRate: 0.1, Steps: 2, BatchSize: 4, WeightDecay: 0.1}
			start := normals(m.size, 4)
			kept := append([]float32(nil), start...)
			out, err := m.Train(context.Background(), start, data, cfg, chosen, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range start {
				if math.Float32bits(start[i]) != math.Float32bits(kept[i]) {
					t.Fatalf("the caller's parameter %d changed", i)
				}
				if !moves[i] && math.Float32bits(out.Params[i]) != math.Float32bits(start[i]) {
					t.Fatalf("frozen parameter %d moved", i)
				}
			}
			full, err := m.Train(context.Background(), start, data, cfg, all, nil)
			if err != nil {
				t.Fatal(err)
			}
			none, err := m.Train(context.Background(), start, data, cfg, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !cmp.Equal(bitsOf(full.Params), bitsOf(none.Params)) {
				t.Fatal("all shards differ from no restriction")
			}
			if cmp.Equal(full.Params, start) {
				t.Fatal("nothing moved")
			}
		})
	}
}

func TestBadShards(t *testing.T) {
	m := newModel(t, allSpecs()["softmax"])
	data := someExamples(m.spec, 3, 1)
	for want, shards := range map[string][]fl.Shard{
		"does not lie in the 15 parameters": {{Offset: 10, Length: 6}},
		"shard 3 of 0 values":               {{Index: 3, Offset: 1}},
		"from -1":                           {{Offset: -1, Length: 3}},
		"of 9223372036854775807 values":     {{Offset: 5, Length: math.MaxInt}},
		"overlap at parameter 4":            {{Offset: 4, Length: 2}, {Offset: 0, Length: 5}},
	} {
		_, err := m.Train(t.Context(), m.Init(1), data, TrainConfig{LearningRate: 1, Steps: 1}, shards, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// One epoch of plain SGD over batches of 4, 4 and 3 is three steps on the mean
// gradients of the shuffled rows: no example is dropped or counted twice.
func TestLastBatchCountsInFull(t *testing.T) {
	spec := allSpecs()["softmax"]
	m := newModel(t, spec)
	data := someExamples(spec, 11, 2)
	var seen []Progress
	out, err := m.Train(t.Context(), m.Init(1), data, TrainConfig{LearningRate: 0.5, Epochs: 1, BatchSize: 4, Seed: 3}, nil,
		func(p Progress) { seen = append(seen, p) })
	if err != nil {
		t.Fatal(err)
	}
	order := make([]int, 11)
	for i := range order {
		order[i] = i
	}
	newStream("shuffle/v1", 3).shuffle(order)
	want := m.Init(1)
	var total float64
	for i, rows := range [][]int{order[:4], order[4:8], order[8:]} {
		grad, loss, err := m.Gradient(want, data.Subset(rows))
		if err != nil {
			t.Fatal(err)
		}
		for j := range want {
			want[j] -= 0.5 * grad[j]
		}
		if p := seen[i]; p.Step != i+1 || p.Steps != 3 || p.Epoch != 1 || math.Abs(p.Loss-loss) > 1e-6 {
			t.Errorf("progress %+v, want loss %v", p, loss)
		}
		total += loss * float64(len(rows))
	}
	for i := range want {
		if math.Abs(float64(want[i]-out.Params[i])) > 1e-6 {
			t.Errorf("parameter %d is %v, want %v", i, out.Params[i], want[i])
		}
	}
	if out.Steps != 3 || out.Epochs != 1 || out.Examples != 11 || math.Abs(out.Loss-total/11) > 1e-6 {
		t.Errorf("result %+v, want a loss of %v", out, total/11)
	}
}

func TestStepsAndEpochsCount(t *testing.T) {
	spec := allSpecs()["logistic"]
	m := newModel(t, spec)
	data := someExamples(spec, 10, 2)
	for _, c := range []struct {
		cfg           TrainConfig
		steps, epochs int
		examples      int64
	}{
		{TrainConfig{LearningRate: 0.1, Epochs: 3}, 3, 3, 30},
		{TrainConfig{LearningRate: 0.1, Epochs: 2, BatchSize: 99}, 2, 2, 20},
		{TrainConfig{LearningRate: 0.1, Epochs: 2, BatchSize: 3}, 8, 2, 20},
		{TrainConfig{LearningRate: 0.1, Steps: 5, BatchSize: 3}, 5, 2, 13},
	} {
		out, err := m.Train(t.Context(), m.Init(1), data, c.cfg, nil, nil)
		if err != nil || out.Steps != c.steps || out.Epochs != c.epochs || out.Examples != c.examples {
			t.Errorf("%+v: %d steps, %d epochs, %d examples, %v", c.cfg, out.Steps, out.Epochs, out.Examples, err)
		}
	}
}

func TestDivergenceNamesTheStep(t *testing.T) {
	for _, name := range []string{"softmax", "mlp-relu", "cnn-relu"} {
		m := newModel(t, allSpecs()[name])
		data := someExamples(m.spec, 8, 1)
		var last int
		_, err := m.Train(t.Context(), m.Init(1), data, TrainConfig{LearningRate: 1e30, Steps: 50, WeightDecay: 1}, nil, func(p Progress) { last = p.Step })
		var diverged *DivergedError
		if !errors.As(err, &diverged) || diverged.Step != last+1 || diverged.What == "" {
			t.Errorf("%s: after step %d: %v", name, last, err)
		}
	}
}

// An image so bright that the second convolution gets a NaN (Inf - Inf, whether
// or not products are rounded before they are added) at any place of a pooling
// block must end training, not vanish in the maximum.
func TestOverflowBeforePoolingIsReported(t *testing.T) {
	m := newModel(t, Spec{Kind: CNN, Inputs: 16, Classes: 2, Image: &Image{4, 4, 1}, Conv: []Conv{{2, 1}, {1, 1}}})
	params := m.Init(1)
	copy(params[m.tensors[0].Offset:], []float32{4, 4})
	copy(params[m.tensors[2].Offset:], []float32{1, -1}) // one channel minus the other
	for pixel, at := range []int{0, 2, 8, 10} {
		data := someExamples(m.spec, 2, 1)
		data.X[at] = math.MaxFloat32
		var diverged *DivergedError
		_, err := m.Train(t.Context(), params, data, TrainConfig{LearningRate: 0.1, Steps: 2}, nil, nil)
		if !errors.As(err, &diverged) || diverged.Step != 1 {
			t.Errorf("pixel %d: %v", pixel, err)
		}
		if _, err := m.Predict(params, data.X); err == nil {
			t.Errorf("pixel %d: a prediction from an overflow", pixel)
		}
	}
}

func TestTrainStopsWithItsContext(t *testing.T) {
	m := newModel(t, allSpecs()["logistic"])
	data := someExamples(m.spec, 8, 1)
	reason := errors.New("the node is leaving")
	ctx, cancel := context.WithCancelCause(t.Context())
	var last int
	_, err := m.Train(ctx, m.Init(1), data, TrainConfig{LearningRate: 0.1, Steps: 100}, nil, func(p Progress) {
		if last = p.Step; last == 3 {
			cancel(reason)
		}
	})
	if !errors.Is(err, reason) || last != 3 {
		t.Errorf("after step %d: %v", last, err)
	}
}

// gorgonia's machines are known to keep memory between runs when they are not
// reset: thousands of steps must not grow the heap.
func TestMemoryDoesNotGrow(t *testing.T) {
	m := newModel(t, allSpecs()["mlp-relu"])
	data := someExamples(m.spec, 32, 1)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	train := func(steps int) {
		if _, err := m.Train(t.Context(), m.Init(1), data, TrainConfig{LearningRate: 0.01, Steps: steps, BatchSize: 16}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	train(200)
	before := heap()
	train(2000)
	if after := heap(); after > before+256<<10 {
		t.Errorf("the heap grew from %d to %d bytes over 2000 steps", before, after)
	}
}
