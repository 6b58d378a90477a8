package models

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"credence/fl"
)

func TestLayoutIsPyTorchs(t *testing.T) {
	m := newModel(t, allSpecs()["cnn"])
	want := []Tensor{
		{"layer0.weight", []int{3, 2, 3, 3}, 0, 54}, {"layer0.bias", []int{3}, 54, 3},
		{"layer1.weight", []int{2, 3, 1, 1}, 57, 6}, {"layer1.bias", []int{2}, 63, 2},
		{"layer2.weight", []int{4, 2}, 65, 8}, {"layer2.bias", []int{4}, 73, 4},
		{"layer3.weight", []int{3, 4}, 77, 12}, {"layer3.bias", []int{3}, 89, 3},
	}
	if diff := cmp.Diff(want, m.Tensors()); diff != "" {
		t.Error(diff)
	}
	if m.NumParameters() != 92 {
		t.Errorf("%d parameters, want 92", m.NumParameters())
	}
}

func TestSpecRefusals(t *testing.T) {
	good := allSpecs()
	change := func(name string, f func(*Spec)) Spec { s := good[name].normal(); f(&s); return s }
	for want, spec := range map[string]Spec{
		"kind is missing":              {},
		`kind "svm" is unknown`:        {Kind: "svm", Inputs: 1, Classes: 2},
		"inputs is 0":                  {Kind: Softmax, Classes: 2},
		"separates exactly 2":          {Kind: Logistic, Inputs: 1, Classes: 3},
		"classes is 1":                 {Kind: Softmax, Inputs: 1, Classes: 1},
		"without hidden layers":        {Kind: MLP, Inputs: 1, Classes: 2},
		"softmax has no hidden":        {Kind: Softmax, Inputs: 1, Classes: 2, Hidden: []int{1}},
		"logistic has no activation":   {Kind: Logistic, Inputs: 1, Classes: 2, Activation: ReLU},
		"17 hidden layers":             {Kind: MLP, Inputs: 1, Classes: 2, Hidden: make([]int, 17)},
		"belong to a cnn, not to mlp":  {Kind: MLP, Inputs: 1, Classes: 2, Hidden: []int{1}, Conv: []Conv{{1, 1}}},
		`activation "gelu" is unknown`: {Kind: MLP, Inputs: 1, Classes: 2, Hidden: []int{1}, Activation: "gelu"},
		"hidden layer 1 has 0 units":   {Kind: MLP, Inputs: 1, Classes: 2, Hidden: []int{1, 0}},
		"parameters: want at most":     {Kind: MLP, Inputs: 1 << 20, Classes: 2, Hidden: []int{1 << 16}},
		"needs an image shape":         change("cnn", func(s *Spec) { s.Image = nil }),
		"image of 1 x 5 pixels: want":  change("cnn", func(s *Spec) { s.Image.Height = 1 }),
		"has 84 values, but inputs":    change("cnn", func(s *Spec) { s.Image.Width = 7 }),
		"kernel 2":                     change("cnn", func(s *Spec) { s.Conv[0].Kernel = 2 }),
		"0 filters":                    change("cnn", func(s *Spec) { s.Conv[0].Filters = 0 }),
		"too small for 2x2 pooling":    change("cnn", func(s *Spec) { s.Conv = append(s.Conv, s.Conv...) }),
		"values for one example": {Kind: CNN, Inputs: 1 << 20, Classes: 2, Image: &Image{1 << 10, 1 << 10, 1},
			Conv: []Conv{{5, 1}}},
	} {
		if _, err := New(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	if _, err := ParseSpec([]byte(`{"kind":"softmax","inputs":2,"classes":2,"layers":3}`)); err == nil {
		t.Error("an unknown key was accepted")
	}
	if _, err := ParseSpec([]byte(`{"kind":"softmax","inputs":2,"classes":2}{}`)); err == nil {
		t.Error("trailing data was accepted")
	}
}

// The digests pin the generator, its seeding and the layout: a federation's
// nodes must start from the same parameters whatever release they run.
func TestInitIsPinned(t *testing.T) {
	digest := func(params []float32) string {
		h := sha256.New()
		if err := binary.Write(h, binary.LittleEndian, params); err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
	got := map[string]string{}
	for name, spec := range allSpecs() {
		got[name] = digest(newModel(t, spec).Init(7))
	}
	want := map[string]string{
		"cnn": "24331d61f4865cff", "cnn-relu": "14d8d2d696559f00",
		"linear": "6dcfc1c1a46cfe1c", "logistic": "2400c23160108f3c", "logistic-1": "bcf7eeb39624a588",
		"mlp-relu": "28de28d4fe3e7cbc", "mlp-sigmoid-1": "a07b29a602e6c525", "mlp-tanh": "6556cd30583b74eb",
		"softmax": "6dcfc1c1a46cfe1c", "softmax-2": "4762fbfa54daa097",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	m := newModel(t, allSpecs()["mlp-relu"])
	if cmp.Equal(m.Init(1), m.Init(2)) {
		t.Error("two seeds give the same parameters")
	}
	order := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	newStream("shuffle/v1", 7).shuffle(order)
	if diff := cmp.Diff([]int{9, 4, 7, 6, 8, 0, 1, 2, 5, 3}, order); diff != "" {
		t.Error(diff)
	}
}

func TestInitRange(t *testing.T) {
	m := newModel(t, Spec{Kind: MLP, Inputs: 100, Classes: 50, Hidden: []int{200}})
	params := m.Init(3)
	for i, bound := range []float64{math.Sqrt(6.0 / 100), 0, math.Sqrt(6.0 / 250), 0} {
		tensor := m.Tensors()[i]
		var sum, square, top float64
		for _, v := range params[tensor.Offset:][:tensor.Length] {
			sum += float64(v)
			square += float64(v) * float64(v)
			top = math.Max(top, math.Abs(float64(v)))
		}
		n := float64(tensor.Length)
		if top > bound || math.Abs(sum/n) > 0.03*bound || math.Abs(square/n-bound*bound/3) > 0.03*bound*bound {
			t.Errorf("%s: mean %v, variance %v, top %v for a bound of %v", tensor.Name, sum/n, square/n, top, bound)
		}
	}
}

func TestGradientMatchesFiniteDifferences(t *testing.T) {
	for name, spec := range allSpecs() {
		t.Run(name, func(t *testing.T) {
			m := newModel(t, spec)
			for _, rows := range []int{1, 7} { // 1 row is padded
				params, data := normals(m.size, 11), someExamples(spec, rows, 5)
				grad, loss, err := m.Gradient(params, data)
				if err != nil {
					t.Fatal(err)
				}
				at := widen(params)
				if want := referenceLoss(m, at, data); math.Abs(loss-want) > 1e-5*(1+want) {
					t.Errorf("loss %v, want %v", loss, want)
				}
				const h = 1e-6
				for i := range at {
					keep := at[i]
					at[i] = keep + h
					up := referenceLoss(m, at, data)
					at[i] = keep - h
					down := referenceLoss(m, at, data)
					at[i] = keep
					if want := (up - down) / (2 * h); math.Abs(float64(grad[i])-want) > 1e-4*(1+math.Abs(want)) {
						t.Errorf("%d rows, gradient %d (%s) is %v, want %v", rows, i, m.tensorAt(i), grad[i], want)
					}
				}
			}
		})
	}
}

// A batch larger than one graph run is a sum of runs.
func TestGradientOfManyRows(t *testing.T) {
	spec := allSpecs()["mlp-tanh"]
	m := newModel(t, spec)
	params, data := normals(m.size, 1), someExamples(spec, 2*maxChunk+77, 2)
	grad, loss, err := m.Gradient(params, data)
	if err != nil {
		t.Fatal(err)
	}
	if want := referenceLoss(m, widen(params), data); math.Abs(loss-want) > 1e-5 {
		t.Errorf("loss %v, want %v", loss, want)
	}
	at := widen(params)
	for i := range at {
		keep := at[i]
		at[i] = keep + 1e-6
		up := referenceLoss(m, at, data)
		at[i] = keep - 1e-6
		down := referenceLoss(m, at, data)
		at[i] = keep
		if want := (up - down) / 2e-6; math.Abs(float64(grad[i])-want) > 1e-4 {
			t.Errorf("gradient %d is %v, want %v", i, grad[i], want)
		}
	}
}

func TestPredictAndEvaluateMatchTheReference(t *testing.T) {
	for name, spec := range allSpecs() {
		t.Run(name, func(t *testing.T) {
			m := newModel(t, spec)
			for _, rows := range []int{0, 1, fewRows + 1, manyRows + 3} {
				params, data := normals(m.size, 3), someExamples(spec, rows, 4)
				p, err := m.Predict(params, data.X)
				if err != nil {
					t.Fatal(err)
				}
				if len(p) != rows*spec.Classes {
					t.Fatalf("%d probabilities for %d rows", len(p), rows)
				}
				got, err := m.Evaluate(params, data)
				if err != nil {
					t.Fatal(err)
				}
				want := Evaluation{Count: int64(rows)}
				for r := range rows {
					z := referenceLogits(m, widen(params), data.Row(r))
					var sum float64
					best := 0
					for c, v := range z {
						sum += math.Exp(v)
						if v > z[best] {
							best = c
						}
					}
					if spec.Kind == Linear {
						one := data
						one.Rows, one.X, one.Y = 1, data.Row(r), data.Y[r:r+1]
						want.LossSum += referenceLoss(m, widen(params), one)
					} else {
						want.LossSum += math.Log(sum) - z[data.Y[r]]
					}
					if best == int(data.Y[r]) {
						want.Correct++
					}
					for c, v := range z {
						w := math.Exp(v) / sum
						if spec.Kind == Linear {
							w = v
						}
						if math.Abs(w-float64(p[r*spec.Classes+c])) > 1e-5 {
							t.Errorf("row %d, class %d: %v, want %v", r, c, p[r*spec.Classes+c], w)
						}
					}
				}
				if got.Count != want.Count || got.Correct != want.Correct || math.Abs(got.LossSum-want.LossSum) > 1e-4*(1+want.LossSum) {
					t.Errorf("evaluation %+v, want %+v", got, want)
				}
			}
		})
	}
}

// Logits of +-1000 overflow a naive soft-max and a naive logarithm.
func TestLossIsStable(t *testing.T) {
	for _, spec := range []Spec{{Kind: Logistic, Inputs: 1, Classes: 2}, {Kind: Softmax, Inputs: 1, Classes: 2}} {
		m := newModel(t, spec)
		params := make([]float32, m.size)
		params[m.layers[0].weight.Length-1] = 1000 // the weight of class 1
		data := fl.Examples{Rows: 3, Features: 1, Classes: 2, X: []float32{1, -1, 1}, Y: []int32{1, 0, 0}}
		got, err := m.Evaluate(params, data)
		if err != nil {
			t.Fatal(err)
		}
		if (got != Evaluation{LossSum: 1000, Correct: 2, Count: 3}) {
			t.Errorf("%s: %+v", spec.Kind, got)
		}
		grad, loss, err := m.Gradient(params, data)
		if err != nil || math.Abs(loss-1000./3) > 1e-3 || firstNotFinite(grad) >= 0 {
			t.Errorf("%s: gradient %v, loss %v, error %v", spec.Kind, grad, loss, err)
		}
	}
}

func TestRefusesWhatDoesNotFit(t *testing.T) {
	spec := allSpecs()["softmax"]
	m := newModel(t, spec)
	good, data := m.Init(1), someExamples(spec, 4, 1)
	nan := append([]float32(nil), good...)
	nan[13] = float32(math.NaN())
	huge := make([]float32, m.size)
	for i := range huge {
		huge[i] = math.MaxFloat32
	}
	wide, more := data, data
	wide.Features, wide.Rows, wide.Y = 8, 2, data.Y[:2]
	more.Classes = 4
	for _, c := range []struct {
		params []float32
		data   fl.Examples
		want   string
	}{
		{good[1:], data, "14 parameters for a softmax of 15"},
		{nan, data, "parameter 13 (layer0.bias) is not a finite"},
		{huge, data, "too large"},
		{good, wide, "examples have 8 features, the softmax has 4"},
		{good, more, "examples have 4 classes, the softmax has 3"},
	} {
		if _, err := m.Evaluate(c.params, c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error with %q, got %v", c.want, err)
		}
	}
	if _, err := m.Predict(good, data.X[1:]); err == nil {
		t.Error("a broken row was accepted")
	}
	if _, err := m.Predict(good, []float32{0, 0, float32(math.Inf(1)), 0}); err == nil {
		t.Error("an infinite feature was accepted")
	}
}

// A wide model runs in small pieces: memory is bounded by the run, not by the
// batch, and a batch cut into pieces is the same sum.
func TestWideModelsRunInPieces(t *testing.T) {
	m := newModel(t, Spec{Kind: CNN, Inputs: 1 << 16, Classes: 2, Image: &Image{256, 256, 1}, Conv: []Conv{{32, 1}}})
	if m.chunk != 7 {
		t.Errorf("%d rows a run", m.chunk)
	}
	narrow := newModel(t, allSpecs()["cnn"])
	pieces := newModel(t, allSpecs()["cnn"])
	pieces.chunk = 3
	params, data := normals(narrow.size, 1), someExamples(narrow.spec, 10, 1)
	want, _, err := narrow.Gradient(params, data)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := pieces.Gradient(params, data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if math.Abs(float64(want[i]-got[i])) > 1e-5 {
			t.Errorf("gradient %d: %v in pieces, %v at once", i, got[i], want[i])
		}
	}
}

// Calls on one model from several goroutines do not disturb each other.
func TestConcurrentUse(t *testing.T) {
	spec := allSpecs()["mlp-relu"]
	m := newModel(t, spec)
	data := someExamples(spec, 20, 1)
	cfg := TrainConfig{LearningRate: 0.1, Epochs: 2, BatchSize: 6}
	want, err := m.Train(t.Context(), m.Init(1), data, cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := m.Train(t.Context(), m.Init(1), data, cfg, nil, nil)
			if err != nil || !cmp.Equal(want, got) {
				t.Errorf("a concurrent run differs: %v", err)
			}
			if _, err := m.Evaluate(got.Params, data); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(m.idle) > maxIdle {
		t.Errorf("%d idle graphs", len(m.idle))
	}
}
