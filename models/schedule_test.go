package models

import (
	"math"
	"testing"

	"credence/fl"
)

func TestSchedules(t *testing.T) {
	for name, c := range map[string]struct {
		schedule Schedule
		rounds   int
		want     []float64 // of a learning rate of 1, by round from 1
	}{
		"none": {Schedule{}, 2, []float64{1, 1, 1}},
		// torch.optim.lr_scheduler.StepLR(step_size=2, gamma=0.1)
		"step": {Schedule{Kind: StepDecay, Factor: 0.1, Every: 2}, 5, []float64{1, 1, 0.1, 0.1, 0.01, 0.01}},
		// ExponentialLR(gamma=0.5)
		"exponential": {Schedule{Kind: ExponentialDecay, Factor: 0.5}, 4, []float64{1, 0.5, 0.25, 0.125, 0.125}},
		// CosineAnnealingLR(T_max=4), and with eta_min=0.2
		"cosine":       {Schedule{Kind: CosineDecay}, 4, []float64{1, 0.8535533905932737, 0.5, 0.14644660940672627}},
		"cosine final": {Schedule{Kind: CosineDecay, Final: 0.2}, 4, []float64{1, 0.882842712474619, 0.6, 0.317157287525381}},
		"warmup":       {Schedule{Warmup: 3}, 6, []float64{0.25, 0.5, 0.75, 1, 1, 1}},
		"warmup step":  {Schedule{Kind: StepDecay, Factor: 0.5, Every: 1, Warmup: 1}, 4, []float64{0.5, 1, 0.5, 0.25}},
	} {
		cfg := TrainConfig{LearningRate: 1, Epochs: 1, Schedule: c.schedule}
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i, want := range c.want {
			got, err := cfg.AtRound(i+1, c.rounds)
			if err != nil || math.Abs(got.LearningRate-want) > 1e-12 || got.Schedule != (Schedule{}) {
				t.Errorf("%s: round %d has rate %v, want %v: %v", name, i+1, got.LearningRate, want, err)
			}
		}
	}
	cfg := TrainConfig{LearningRate: 1, Epochs: 1, Schedule: Schedule{Kind: ExponentialDecay, Factor: 1e-300}}
	if _, err := cfg.AtRound(3, 3); err == nil {
		t.Error("a learning rate of 0 was accepted")
	}
	for _, r := range [][2]int{{0, 1}, {1, 0}} {
		if _, err := cfg.AtRound(r[0], r[1]); err == nil {
			t.Errorf("round %d of %d was accepted", r[0], r[1])
		}
	}
}

func TestScheduleAndEarlyStopRefusals(t *testing.T) {
	for name, c := range map[string]TrainConfig{
		"kind":            {Schedule: Schedule{Kind: "linear"}},
		"no factor":       {Schedule: Schedule{Kind: StepDecay, Every: 1}},
		"factor above 1":  {Schedule: Schedule{Kind: ExponentialDecay, Factor: 1.1}},
		"nan factor":      {Schedule: Schedule{Kind: ExponentialDecay, Factor: math.NaN()}},
		"other's factor":  {Schedule: Schedule{Kind: CosineDecay, Factor: 0.5}},
		"no every":        {Schedule: Schedule{Kind: StepDecay, Factor: 0.5}},
		"other's every":   {Schedule: Schedule{Kind: ExponentialDecay, Factor: 0.5, Every: 2}},
		"final above 1":   {Schedule: Schedule{Kind: CosineDecay, Final: 2}},
		"other's final":   {Schedule: Schedule{Kind: ExponentialDecay, Factor: 0.5, Final: 0.1}},
		"negative warmup": {Schedule: Schedule{Warmup: -1}},
		"no patience":     {EarlyStop: EarlyStop{MinDelta: 0.1}},
		"negative delta":  {EarlyStop: EarlyStop{Patience: 1, MinDelta: -1}},
		"nan delta":       {EarlyStop: EarlyStop{Patience: 1, MinDelta: math.NaN()}},
	} {
		c.LearningRate, c.Epochs = 1, 3
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, c := range map[string]TrainConfig{
		"one epoch": {LearningRate: 1, Epochs: 1, EarlyStop: EarlyStop{Patience: 1}},
		"steps":     {LearningRate: 1, Steps: 9, EarlyStop: EarlyStop{Patience: 1}},
	} {
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// tinyProblem is a logistic regression on four points.
func tinyProblem(t *testing.T) (*Model, fl.Examples, []float32) {
	t.Helper()
	m, err := New(Spec{Kind: Logistic, Inputs: 2, Classes: 2})
	if err != nil {
		t.Fatal(err)
	}
	data := fl.Examples{Rows: 4, Features: 2, Classes: 2, X: []float32{1, 0, 0, 1, -1, 0.5, 0.25, -1}, Y: []int32{1, 0, 0, 1}}
	return m, data, []float32{0.5, -0.5, 0.25}
}

func TestEarlyStop(t *testing.T) {
	m, data, start := tinyProblem(t)
	cfg := TrainConfig{LearningRate: 0.1, Epochs: 50, BatchSize: 2, Seed: 1}
	full, err := m.Train(t.Context(), start, data, cfg, nil, nil)
	if err != nil || full.Epochs != 50 {
		t.Fatalf("%d epochs: %v", full.Epochs, err)
	}
	cfg.EarlyStop = EarlyStop{Patience: 2, MinDelta: 10} // no epoch improves by that much on the first
	got, err := m.Train(t.Context(), start, data, cfg, nil, nil)
	if err != nil || got.Epochs != 3 || got.Steps != 6 {
		t.Errorf("stopped after %d epochs, %d steps: %v; want 3, 6", got.Epochs, got.Steps, err)
	}
	cfg.EarlyStop, cfg.Epochs = EarlyStop{}, 3
	want, err := m.Train(t.Context(), start, data, cfg, nil, nil)
	if err != nil || want.Params[0] != got.Params[0] || want.Loss != got.Loss {
		t.Errorf("stopping early gave %v (%v), three epochs give %v (%v): %v", got.Params, got.Loss, want.Params, want.Loss, err)
	}
}

// Steps of plain descent with both corrections against the same steps taken by
// hand with the model's own gradient: w -= rate*(g + mu*(w-centre) + drift).
func TestCorrectionsByHand(t *testing.T) {
	m, data, start := tinyProblem(t)
	centre, drift := []float32{1, 1, 1}, []float32{0.5, 0, -0.25}
	const rate, mu, steps = 0.1, 2, 5
	got, err := m.TrainWith(t.Context(), start, data, TrainConfig{LearningRate: rate, Steps: steps}, TrainOptions{Mu: mu, Center: centre, Drift: drift})
	if err != nil {
		t.Fatal(err)
	}
	want := append([]float32(nil), start...)
	for range steps {
		grad, _, err := m.Gradient(want, data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i] -= rate * (grad[i] + mu*(want[i]-centre[i]) + drift[i])
		}
	}
	for i := range want {
		if math.Abs(float64(got.Params[i]-want[i])) > 1e-6 {
			t.Errorf("parameter %d is %v, want %v", i, got.Params[i], want[i])
		}
	}
	// Only the shards move, corrections included.
	got, err = m.TrainWith(t.Context(), start, data, TrainConfig{LearningRate: rate, Steps: steps},
		TrainOptions{Shards: []fl.Shard{{Offset: 1, Length: 1}}, Mu: mu, Center: centre, Drift: drift})
	if err != nil || got.Params[0] != start[0] || got.Params[2] != start[2] || got.Params[1] == start[1] {
		t.Errorf("shard 1 alone: %v: %v", got.Params, err)
	}
	for name, o := range map[string]TrainOptions{
		"negative mu":    {Mu: -1, Center: centre},
		"nan mu":         {Mu: math.NaN(), Center: centre},
		"no centre":      {Mu: 1},
		"short drift":    {Drift: drift[:1]},
		"infinite drift": {Drift: []float32{0, 0, float32(math.Inf(1))}},
	} {
		if _, err := m.TrainWith(t.Context(), start, data, TrainConfig{LearningRate: rate, Steps: 1}, o); err == nil {
			t.Errorf("%s: trained", name)
		}
	}
}

func TestLastLayers(t *testing.T) {
	m, err := New(Spec{Kind: MLP, Inputs: 3, Classes: 2, Hidden: []int{4, 5}})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]int{1: 5*2 + 2, 2: 5*2 + 2 + 4*5 + 5} {
		if got, err := m.LastLayers(n); err != nil || got != want {
			t.Errorf("the last %d layers have %d parameters: %v; want %d", n, got, err, want)
		}
	}
	for _, n := range []int{0, 3, -1} {
		if _, err := m.LastLayers(n); err == nil {
			t.Errorf("%d last layers were found", n)
		}
	}
	if m, err = New(Spec{Kind: Softmax, Inputs: 3, Classes: 4}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.LastLayers(1); err == nil || err.Error() != "models: a softmax has one layer, so none can stay apart as the last: want a model of at least two, such as an mlp" {
		t.Errorf("the last of one layer: got %v", err)
	}
}
