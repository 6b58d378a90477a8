package fl

import (
	"math"
	"slices"
	"testing"
)

func TestStrategies(t *testing.T) {
	for _, name := range StrategyNames() {
		spec := StrategySpec{Name: name, ServerLearningRate: 0.5, Weighting: WeightUniform}
		s, err := NewStrategy(spec)
		if err != nil {
			t.Fatal(err)
		}
		global, mean := []float32{1, -2, 0}, []float64{0.5, 0.25, -1}
		next, err := s.Apply(global, mean)
		if err != nil || s.Name() != name {
			t.Fatalf("%s: %v", s.Name(), err)
		}
		if want := []float32{1.25, -1.875, -0.5}; !slices.Equal(next, want) {
			t.Errorf("%s gives %v, want %v", name, next, want)
		}
		if global[0] != 1 || mean[0] != 0.5 {
			t.Errorf("%s changed its arguments", name)
		}
	}
}

func TestStrategyRefusesWhatIsNotFinite(t *testing.T) {
	s, err := NewStrategy(StrategySpec{FedAvg, 1, WeightBySamples})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		global []float32
		mean   []float64
	}{
		"lengths":     {[]float32{1}, []float64{1, 2}},
		"nan mean":    {[]float32{1}, []float64{math.NaN()}},
		"large mean":  {[]float32{1}, []float64{1e300}},
		"nan global":  {[]float32{float32(math.NaN())}, []float64{0}},
		"float32 max": {[]float32{math.MaxFloat32}, []float64{math.MaxFloat32}},
	} {
		if _, err := s.Apply(c.global, c.mean); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestStrategySpecValidate(t *testing.T) {
	good := StrategySpec{FedSGD, 0.1, WeightUniform}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*StrategySpec){
		"name":          func(s *StrategySpec) { s.Name = "krum" },
		"empty":         func(s *StrategySpec) { s.Name = "" },
		"zero rate":     func(s *StrategySpec) { s.ServerLearningRate = 0 },
		"negative rate": func(s *StrategySpec) { s.ServerLearningRate = -1 },
		"nan rate":      func(s *StrategySpec) { s.ServerLearningRate = math.NaN() },
		"infinite rate": func(s *StrategySpec) { s.ServerLearningRate = math.Inf(1) },
		"weighting":     func(s *StrategySpec) { s.Weighting = "loss" },
	} {
		bad := good
		change(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := NewStrategy(bad); err == nil {
			t.Errorf("%s: made", name)
		}
		if _, _, err := Weights(bad, map[NodeID]int64{"a": 1}); err == nil {
			t.Errorf("%s: weighed", name)
		}
	}
}

func TestWeights(t *testing.T) {
	samples := map[NodeID]int64{"a": 10, "b": 400, "c": 1}
	weights, unit, err := Weights(StrategySpec{FedAvg, 1, WeightBySamples}, samples)
	if err != nil || unit != 400 || weights["a"] != 10 || weights["b"] != 400 || weights["c"] != 1 {
		t.Errorf("by samples: %v of %d, %v", weights, unit, err)
	}
	weights, unit, err = Weights(StrategySpec{FedAvg, 1, WeightUniform}, samples)
	if err != nil || unit != 1 || weights["a"] != 1 || weights["b"] != 1 {
		t.Errorf("uniform: %v of %d, %v", weights, unit, err)
	}
	for name, bad := range map[string]map[NodeID]int64{"nobody": nil, "zero": {"a": 0}, "negative": {"a": -1}, "too many": {"a": MaxSamples + 1}} {
		if _, _, err := Weights(StrategySpec{FedAvg, 1, WeightUniform}, bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
