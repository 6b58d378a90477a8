package models

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"credence/fl"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// float32Unit is half the distance of 1 to the next float32.
const float32Unit = 1.0 / (1 << 24)

// pair is one model, one data set and one local training, in both worlds.
type pair struct {
	fixed  fixedpoint.Model
	float  *Model
	table  *tabular.Table
	data   fl.Examples
	start  []float32 // on the grid of weights
	steps  []fixedpoint.Step
	rates  []float64 // effective learning rate of each step
	config TrainConfig
}

// drawPair draws a model, data on the grid of features, and settings.
func drawPair(t *rapid.T) *pair {
	p := &pair{}
	kind := rapid.SampledFrom([]fixedpoint.Kind{fixedpoint.Linear, fixedpoint.Logistic, fixedpoint.Softmax, fixedpoint.MLP}).Draw(t, "kind")
	classes := rapid.IntRange(2, 5).Draw(t, "classes")
	spec := Spec{Kind: Kind(kind), Inputs: rapid.IntRange(1, 6).Draw(t, "features"), Classes: classes}
	p.fixed = fixedpoint.Model{Kind: kind, Features: spec.Inputs, Outputs: classes}
	l := tabular.Layout{Features: spec.Inputs, Targets: classes, Kind: tabular.OneHot, Bits: 12}
	switch kind {
	case fixedpoint.Linear:
		l.Kind = tabular.Real
	case fixedpoint.Logistic:
		spec.Classes, p.fixed.Outputs, l.Kind, l.Targets = 2, 1, tabular.Binary, 1
	case fixedpoint.MLP:
		p.fixed.Hidden = rapid.IntRange(1, 5).Draw(t, "hidden")
		spec.Hidden = []int{p.fixed.Hidden}
	}
	rows := rapid.IntRange(1, 20).Draw(t, "rows")
	l.Rows = rows + rapid.IntRange(1, 4).Draw(t, "padding")
	var err error
	if p.float, err = New(spec); err != nil {
		t.Fatal(err)
	}
	if p.table, err = tabular.New(l, rows); err != nil {
		t.Fatal(err)
	}
	p.data = fl.Examples{Rows: rows, Features: spec.Inputs, Classes: spec.Classes}
	cell := rapid.Int64Range(-512, 512)
	for i := range rows {
		for j := range spec.Inputs {
			c := cell.Draw(t, "cell")
			p.table.SetFeature(i, j, c)
			p.data.X = append(p.data.X, float32(c)/(1<<fixedpoint.FeatureFraction))
		}
		class := rapid.IntRange(0, spec.Classes-1).Draw(t, "class")
		p.data.Y = append(p.data.Y, int32(class))
		if kind == fixedpoint.Linear {
			p.table.SetTarget(i, class, 1<<fixedpoint.FeatureFraction)
		} else if err := p.table.SetClass(i, class); err != nil {
			t.Fatal(err)
		}
	}
	weights := make([]int32, p.fixed.Parameters())
	for i := range weights {
		weights[i] = rapid.Int32Range(-1<<17, 1<<17).Draw(t, "weight")
	}
	p.start = fixedpoint.Params(weights)

	p.config = TrainConfig{
		LearningRate: rapid.Float64Range(0.01, 1).Draw(t, "rate"), BatchSize: rapid.IntRange(0, rows).Draw(t, "batch"),
		Steps: rapid.IntRange(1, 5).Draw(t, "steps"), Seed: rapid.Uint64().Draw(t, "seed"),
	}
	if p.steps, err = p.fixed.Steps(p.config.LearningRate, rows, p.config.BatchSize, p.config.Steps, p.config.Seed); err != nil {
		t.Fatal(err)
	}
	for _, s := range p.steps {
		n := len(s.Batch)
		if s.Batch == nil {
			n = rows
		}
		p.rates = append(p.rates, math.Ldexp(float64(s.Rate)*float64(n), -p.fixed.RateFraction()))
	}
	return p
}

// The fixed-point trainer and gorgonia's float32 trainer agree within the
// tolerance that zk/circuit/training/SPEC.md derives, section 9.
func TestFixedPointTrainingIsWithinItsToleranceOfFloats(t *testing.T) {
	var worst, smallest float64 = 0, math.Inf(1)
	rapid.Check(t, func(t *rapid.T) {
		p := drawPair(t)
		base, err := p.fixed.Weights(p.start)
		if err != nil {
			t.Fatal(err)
		}
		run, err := p.fixed.Train(p.table, base, p.steps)
		if errors.Is(err, fixedpoint.ErrRange) {
			t.Skip("the learning rate makes the weights diverge") // rapid draws another case
		}
		if err != nil {
			t.Fatal(err)
		}
		result, err := p.float.Train(context.Background(), p.start, p.data, p.config, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		bound := p.tolerance()
		for i, w := range fixedpoint.Params(run.End()) {
			if d := math.Abs(float64(w) - float64(result.Params[i])); d > bound {
				t.Fatalf("%s: parameter %d differs by %g, tolerance %g", p.fixed.Kind, i, d, bound)
			} else if d > 0 {
				worst = max(worst, d/bound)
			}
		}
		smallest = min(smallest, bound)
	})
	t.Logf("largest difference: %.2f of its tolerance; smallest tolerance %g", worst, smallest)
}

// tolerance bounds the distance of the two results, coordinate by coordinate.
// It follows the float trajectory in float64 and carries d, a bound on the
// distance of the two trainers' weights before a step, through the step.
func (p *pair) tolerance() float64 {
	params := widen(p.start)
	d := 0.0
	for t, s := range p.steps {
		rows := s.Batch
		if rows == nil {
			for i := range p.data.Rows {
				rows = append(rows, i)
			}
		}
		nominal := p.config.LearningRate
		grad, err := p.step(params, rows, d)
		largest := 0.0
		for i, g := range grad {
			// The rate itself is rounded: err is the gradient's, this the rate's.
			largest = max(largest, p.rates[t]*err[i]+math.Abs(p.rates[t]-nominal)*math.Abs(g))
			params[i] -= nominal * g
		}
		top := 0.0
		for _, w := range params {
			top = max(top, math.Abs(w))
		}
		// New weights are rounded to the grid, and to a float32.
		d += largest + 1.0/(1<<(fixedpoint.WeightFraction+1)) + 4*float32Unit*top
	}
	return d
}

// step returns the gradient of the mean loss at params over the rows, in
// float64, and for each coordinate a bound on how far off the gradient of
// either trainer can be when its weights are within d of params.
func (p *pair) step(params []float64, rows []int, d float64) (grad, bound []float64) {
	m := p.fixed
	layers := m.Layers()
	last := layers[len(layers)-1]
	grad, bound = make([]float64, len(params)), make([]float64, len(params))
	n := float64(len(rows))
	const rounding = 1.0 / (1 << (fixedpoint.ScoreFraction + 1))
	for _, r := range rows {
		x := append([]float64{1}, widen(p.data.Row(r))...)
		in, inErr := x, make([]float64, len(x))
		var score, scoreErr []float64
		if m.Kind == fixedpoint.MLP {
			score, scoreErr = affine(params, layers[0], x, inErr, d)
			in, inErr = []float64{1}, []float64{0}
			for j, u := range score {
				scoreErr[j] += rounding
				in, inErr = append(in, max(u, 0)), append(inErr, scoreErr[j])
			}
		}
		z, zErr := affine(params, last, in, inErr, d)
		e, eErr := p.errors(z, zErr, int(p.data.Y[r]))
		for k := range e {
			for j := range in {
				at := last.Index(j, k)
				grad[at] += in[j] * e[k] / n
				bound[at] += (math.Abs(in[j])*eErr[k] + inErr[j]*(math.Abs(e[k])+eErr[k])) / n
			}
		}
		if m.Kind != fixedpoint.MLP {
			continue
		}
		for h := range m.Hidden {
			var back, backErr float64
			for k := range e {
				w := params[last.Index(h+1, k)]
				back += e[k] * w
				backErr += math.Abs(w)*eErr[k] + d*(math.Abs(e[k])+eErr[k])
			}
			backErr += float32Unit * 8 * (1 + math.Abs(back))
			on := score[h] > 0
			if math.Abs(score[h]) <= scoreErr[h]+rounding { // either side may be on
				backErr += math.Abs(back)
			} else if !on {
				backErr = 0
			}
			if !on {
				back = 0
			}
			for j := range x {
				at := layers[0].Index(j, h)
				grad[at] += x[j] * back / n
				bound[at] += math.Abs(x[j]) * backErr / n
			}
		}
	}
	for i := range bound {
		bound[i] += float32Unit * (n + 8) * (1 + math.Abs(grad[i])) // sums in float32
	}
	return grad, bound
}

// affine returns a layer's scores and how far off they can be.
func affine(params []float64, l fixedpoint.Layer, in, inErr []float64, d float64) (z, bound []float64) {
	z, bound = make([]float64, l.Out), make([]float64, l.Out)
	for k := range z {
		for j := range in {
			w := params[l.Index(j, k)]
			z[k] += w * in[j]
			bound[k] += d*(math.Abs(in[j])+inErr[j]) + math.Abs(w)*inErr[j]
			bound[k] += float32Unit * float64(len(in)+2) * math.Abs(w*in[j])
		}
	}
	return z, bound
}

// errors returns the outputs' errors, and how far off they can be when the
// scores are.
func (p *pair) errors(z, zErr []float64, class int) (e, bound []float64) {
	const rounding, entry = 1.0 / (1 << (fixedpoint.ScoreFraction + 1)), 1.0 / (1 << (fixedpoint.CurveFraction + 1))
	e, bound = slices.Clone(z), make([]float64, len(z))
	switch p.fixed.Kind {
	case fixedpoint.Linear:
		e[class]--
		return e, slices.Clone(zErr)
	case fixedpoint.Logistic:
		e[0] = 1/(1+math.Exp(-z[0])) - float64(class)
		bound[0] = (zErr[0]+rounding)/4 + entry + 8*float32Unit
		return e, bound
	}
	top, widest := slices.Max(z), slices.Max(zErr)+rounding
	var sum float64
	for _, v := range z {
		sum += math.Exp(v - top)
	}
	for k := range e {
		e[k] = math.Exp(z[k]-top) / sum
		// The log-odds of a class move by at most twice a score's error, the
		// probability by a quarter of that; then the table and the reciprocal.
		bound[k] = widest/2 + float64(len(z))*entry + 1.0/(1<<15) + 8*float32Unit
	}
	e[class]--
	return e, bound
}

func TestFixedPointRefusesWhatIsNotProven(t *testing.T) {
	sgd := TrainConfig{LearningRate: 0.1, Steps: 3, BatchSize: 4, Seed: 5}
	for name, spec := range allSpecs() {
		m, local, err := FixedPoint(spec, sgd)
		switch name {
		case "linear", "logistic", "logistic-1", "softmax", "softmax-2":
			if err != nil || m.Parameters() != newModel(t, spec).NumParameters() || local.Steps != 3 || local.Batch != 4 || local.Seed != 5 {
				t.Errorf("%s: %+v, %+v, %v", name, m, local, err)
			}
		default:
			if !errors.Is(err, ErrNotProvable) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if m, _, err := FixedPoint(Spec{Kind: MLP, Inputs: 4, Classes: 3, Hidden: []int{5}}, sgd); err != nil || m.Hidden != 5 {
		t.Errorf("one hidden layer: %+v, %v", m, err)
	}
	for name, c := range map[string]TrainConfig{
		"adam": {Optimizer: Adam, LearningRate: 0.1, Steps: 1}, "momentum": {Optimizer: Momentum, LearningRate: 0.1, Steps: 1},
		"decay": {LearningRate: 0.1, Steps: 1, WeightDecay: 0.1},
	} {
		if _, _, err := FixedPoint(allSpecs()["softmax"], c); !errors.Is(err, ErrNotProvable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Both trainers visit the rows in the same order.
func TestFixedPointBatchesAreTheModels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(1, 40).Draw(t, "rows")
		batch := rapid.IntRange(1, rows).Draw(t, "batch")
		steps := rapid.IntRange(1, 12).Draw(t, "steps")
		seed := rapid.Uint64().Draw(t, "seed")
		got, err := fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 1, Outputs: 1}.Steps(0.5, rows, batch, steps, seed)
		if err != nil {
			t.Fatal(err)
		}
		order := make([]int, rows)
		for i := range order {
			order[i] = i
		}
		stream := newStream("shuffle/v1", seed)
		perEpoch := (rows + batch - 1) / batch
		for i, s := range got {
			if batch == rows {
				if s.Batch != nil {
					t.Fatalf("step %d has a batch of all rows", i)
				}
				continue
			}
			if i%perEpoch == 0 {
				stream.shuffle(order)
			}
			from := i % perEpoch * batch
			want := slices.Sorted(slices.Values(order[from:min(from+batch, rows)]))
			if !slices.Equal(s.Batch, want) {
				t.Fatalf("step %d: rows %v, want %v", i, s.Batch, want)
			}
		}
	})
}
