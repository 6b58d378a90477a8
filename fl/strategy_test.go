package fl

import (
	"math"
	"slices"
	"testing"
)

// oneOf returns a valid specification of a strategy.
func oneOf(name string) StrategySpec {
	s := StrategySpec{Name: name, ServerLearningRate: 0.5, Weighting: WeightUniform}
	switch name {
	case FedProx, Ditto:
		s.Mu = 0.1
	case Scaffold:
		s.VariateClip = 10
	case FedNova:
		s.MaxSteps = 10
	case FedBuff:
		s.Buffer = 4
	case FedPer:
		s.PersonalLayers, s.PersonalParameters = 1, 1
	}
	return s
}

func made(t testing.TB, spec StrategySpec) Strategy {
	t.Helper()
	s, err := NewStrategy(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The strategies whose server does nothing but take a step.
func TestServerStep(t *testing.T) {
	for _, name := range []string{FedAvg, FedSGD, FedProx, Cyclic, FedBuff, Ditto} {
		s := made(t, oneOf(name))
		global, mean := []float32{1, -2, 0}, []float64{0.5, 0.25, -1}
		next, state, err := s.Apply(Opened{Global: global, Mean: mean})
		if err != nil || s.Name() != name || state != nil {
			t.Fatalf("%s: state %v, %v", s.Name(), state, err)
		}
		if want := []float32{1.25, -1.875, -0.5}; !slices.Equal(next, want) {
			t.Errorf("%s gives %v, want %v", name, next, want)
		}
		if global[0] != 1 || mean[0] != 0.5 {
			t.Errorf("%s changed its arguments", name)
		}
		if upload, err := s.Upload(Local{Delta: mean}, Clip{Value: 1}); err != nil || !slices.Equal(upload, mean) {
			t.Errorf("%s uploads %v: %v", name, upload, err)
		}
	}
}

func TestFedPerLeavesTheHeadAlone(t *testing.T) {
	s := made(t, oneOf(FedPer))
	upload, err := s.Upload(Local{Delta: []float64{1, 2, 3}}, Clip{Value: 1})
	if err != nil || !slices.Equal(upload, []float64{1, 2}) {
		t.Errorf("uploads %v: %v", upload, err)
	}
	next, _, err := s.Apply(Opened{Global: []float32{1, 1, 7}, Mean: []float64{2, 4}})
	if err != nil || !slices.Equal(next, []float32{2, 3, 7}) {
		t.Errorf("gives %v: %v", next, err)
	}
	if _, _, err := s.Apply(Opened{Global: []float32{1, 1, 7}, Mean: []float64{2, 4, 6}}); err == nil {
		t.Error("a mean that reaches into the head was applied")
	}
	if _, err := s.Upload(Local{Delta: []float64{1}}, Clip{Value: 1}); err == nil {
		t.Error("nothing was uploaded")
	}
}

// Three rounds of the server's optimisers against an independent evaluation of
// the papers' formulas in double precision. FedAvgM is small enough for a hand:
// v = 1, 1.4, -0.74; x = 1 + 0.5*(1+1.4-0.74).
func TestServerOptimisers(t *testing.T) {
	means := [][]float64{{1, -0.5}, {0.5, 0.25}, {-2, 0.125}}
	for _, c := range []struct {
		spec         StrategySpec
		params, kept []float64
	}{
		{StrategySpec{Name: FedAvgM, ServerLearningRate: 0.5}, []float64{1.83, -1.3775}, []float64{-0.74, -0.055}},
		{StrategySpec{Name: FedAdagrad, ServerLearningRate: 0.1}, []float64{1.0573323582691598, -1.0333750418579575}, []float64{-2, 0.125, 5.250001, 0.328126}},
		{StrategySpec{Name: FedYogi, ServerLearningRate: 0.1}, []float64{1.1909542123512704, -1.1425982406268504}, []float64{-0.074, -0.0055, 0.052501, 0.00328225}},
		{StrategySpec{Name: FedAdam, ServerLearningRate: 0.1}, []float64{1.1913807665293445, -1.1428175931831455}, []float64{-0.074, -0.0055, 0.052276970299, 0.003226220299}},
	} {
		c.spec.Weighting = WeightUniform
		s := made(t, c.spec)
		o := Opened{Global: []float32{1, -1}}
		for _, mean := range means {
			o.Mean = mean
			next, state, err := s.Apply(o)
			if err != nil {
				t.Fatal(err)
			}
			o.Global, o.State = next, state
		}
		for i, want := range c.params {
			if got := float64(o.Global[i]); math.Abs(got-want) > 1e-6 {
				t.Errorf("%s: parameter %d is %v, want %v", c.spec.Name, i, got, want)
			}
		}
		if len(o.State) != c.spec.StateSize(2) {
			t.Fatalf("%s keeps %d values, not %d", c.spec.Name, len(o.State), c.spec.StateSize(2))
		}
		for i, want := range c.kept {
			if got := float64(o.State[i]); math.Abs(got-want) > 1e-6 {
				t.Errorf("%s: state %d is %v, want %v", c.spec.Name, i, got, want)
			}
		}
		if _, _, err := s.Apply(Opened{Global: []float32{1, 1}, Mean: []float64{1, 1}, State: []float32{1}}); err == nil {
			t.Errorf("%s took a short state", c.spec.Name)
		}
		if _, _, err := s.Apply(Opened{Global: []float32{1, 1}, Mean: []float64{1, 1e300}}); err == nil {
			t.Errorf("%s kept a state that is not finite", c.spec.Name)
		}
	}
}

// One round of SCAFFOLD by hand: N = 4 nodes of which 2 take part, c = 0.5,
// client 1 moves by -1 and client 2 by +3 in K = 2 steps of rate 0.5:
// dc_1 = -0.5 + 1/1 = 0.5, dc_2 = -0.5 - 3/1 = -3.5; c becomes 0.5 + 2/4*(-1.5).
func TestScaffoldByHand(t *testing.T) {
	spec := StrategySpec{Name: Scaffold, ServerLearningRate: 1, Weighting: WeightUniform, VariateClip: 4}
	s, clip := made(t, spec), Clip{Value: 8}
	var mean []float64
	for _, l := range []Local{{Delta: []float64{-1}, Variate: []float64{0.5}}, {Delta: []float64{3}, Variate: []float64{-3.5}}} {
		upload, err := s.Upload(l, clip)
		if err != nil || len(upload) != 2 {
			t.Fatalf("%v: %v", upload, err)
		}
		sent, err := SentVariate(spec, clip, upload)
		if err != nil || !slices.Equal(sent, l.Variate) {
			t.Errorf("sent %v of %v: %v", sent, l.Variate, err)
		}
		if mean == nil {
			mean = make([]float64, 2)
		}
		for i, v := range upload {
			mean[i] += v / 2
		}
	}
	next, state, err := s.Apply(Opened{Global: []float32{10}, State: []float32{0.5}, Mean: mean, Clip: clip, Clients: 2, Population: 4})
	if err != nil || next[0] != 11 || state[0] != -0.25 {
		t.Errorf("x = %v, c = %v: %v; want 11, -0.25", next, state, err)
	}
	// What is clipped is what the client remembers, and the norm holds for both parts.
	upload, err := s.Upload(Local{Delta: []float64{30}, Variate: []float64{40}}, Clip{Value: 8, Norm: 1})
	if err != nil || math.Hypot(upload[0], upload[1]) > 1+1e-12 {
		t.Errorf("uploads %v: %v", upload, err)
	}
	if upload, err = s.Upload(Local{Delta: []float64{30}, Variate: []float64{40}}, clip); err != nil || !slices.Equal(upload, []float64{8, 8}) {
		t.Errorf("uploads %v: %v", upload, err)
	}
	for name, o := range map[string]Opened{
		"population": {Global: []float32{1}, Mean: []float64{1, 1}, Clip: clip, Clients: 3, Population: 2},
		"no clients": {Global: []float32{1}, Mean: []float64{1, 1}, Clip: clip, Population: 2},
		"length":     {Global: []float32{1}, Mean: []float64{1}, Clip: clip, Clients: 2, Population: 2},
		"no clip":    {Global: []float32{1}, Mean: []float64{1, 1}, Clients: 2, Population: 2},
	} {
		if _, _, err := s.Apply(o); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	if _, err := s.Upload(Local{Delta: []float64{1}}, clip); err == nil {
		t.Error("an upload without a variate")
	}
	if _, err := SentVariate(oneOf(FedAvg), clip, []float64{1, 2}); err == nil {
		t.Error("fedavg sent a variate")
	}
}

// Two clients of equal weight with 1 and 3 steps that move by 2 and 12: FedNova
// moves by (1+3)/2 * (2/1 + 12/3)/2 = 6, FedAvg by 7.
func TestFedNovaByHand(t *testing.T) {
	spec := StrategySpec{Name: FedNova, ServerLearningRate: 1, Weighting: WeightUniform, MaxSteps: 4}
	s := made(t, spec)
	for _, clip := range []Clip{{Value: 16}, {Value: 16, Norm: 100}} {
		mean := make([]float64, 2)
		for _, l := range []Local{{Delta: []float64{2}, Normaliser: 1}, {Delta: []float64{12}, Normaliser: 3}} {
			upload, err := s.Upload(l, clip)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range upload {
				mean[i] += v / 2
			}
		}
		next, state, err := s.Apply(Opened{Global: []float32{10}, Mean: mean, Clip: clip, Clients: 2})
		if err != nil || next[0] != 16 || state != nil {
			t.Errorf("clip %v: %v, %v", clip, next, err)
		}
	}
	// The norm bounds both, and never scales the steps.
	clip := Clip{Value: 1, Norm: 1}
	upload, err := s.Upload(Local{Delta: []float64{400}, Normaliser: 4}, clip)
	if err != nil || math.Hypot(upload[0], upload[1]) > 1 || upload[1] != stepRange(clip) {
		t.Errorf("uploads %v: %v", upload, err)
	}
	for _, a := range []float64{0, -1, 4.01, math.NaN()} {
		if _, err := s.Upload(Local{Delta: []float64{1}, Normaliser: a}, clip); err == nil {
			t.Errorf("normaliser %v was accepted", a)
		}
	}
	if _, _, err := s.Apply(Opened{Global: []float32{1}, Mean: []float64{1, -1}, Clip: clip}); err == nil {
		t.Error("a negative number of steps was applied")
	}
	if _, _, err := s.Apply(Opened{Global: []float32{1}, Mean: []float64{1}, Clip: clip}); err == nil {
		t.Error("a mean without steps was applied")
	}
}

func TestStrategiesRefuseWhatIsNotFinite(t *testing.T) {
	for _, name := range []string{FedAvg, FedAvgM, FedAdam} {
		s := made(t, oneOf(name))
		for what, c := range map[string]struct {
			global []float32
			mean   []float64
		}{
			"lengths":     {[]float32{1}, []float64{1, 2}},
			"nan mean":    {[]float32{1}, []float64{math.NaN()}},
			"large mean":  {[]float32{1}, []float64{1e300}},
			"nan global":  {[]float32{float32(math.NaN())}, []float64{0}},
			"float32 max": {[]float32{math.MaxFloat32}, []float64{math.MaxFloat32}},
		} {
			if what == "float32 max" && name == FedAdam {
				continue // a step of the rate at most
			}
			if _, _, err := s.Apply(Opened{Global: c.global, Mean: c.mean}); err == nil {
				t.Errorf("%s: %s was accepted", name, what)
			}
		}
	}
}

func TestStrategySpecValidate(t *testing.T) {
	for _, name := range StrategyNames() {
		if err := oneOf(name).Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	group := RobustSpec{Rule: Median, Groups: 3}
	for name, c := range map[string]struct {
		of     string
		change func(*StrategySpec)
	}{
		"name":                  {FedSGD, func(s *StrategySpec) { s.Name = "krum" }},
		"empty":                 {FedSGD, func(s *StrategySpec) { s.Name = "" }},
		"zero rate":             {FedSGD, func(s *StrategySpec) { s.ServerLearningRate = 0 }},
		"negative rate":         {FedSGD, func(s *StrategySpec) { s.ServerLearningRate = -1 }},
		"nan rate":              {FedSGD, func(s *StrategySpec) { s.ServerLearningRate = math.NaN() }},
		"infinite rate":         {FedSGD, func(s *StrategySpec) { s.ServerLearningRate = math.Inf(1) }},
		"weighting":             {FedSGD, func(s *StrategySpec) { s.Weighting = "loss" }},
		"another's mu":          {FedAvg, func(s *StrategySpec) { s.Mu = 1 }},
		"another's momentum":    {FedAdam, func(s *StrategySpec) { s.Momentum = 0.5 }},
		"another's beta1":       {FedAvgM, func(s *StrategySpec) { s.Beta1 = 0.5 }},
		"another's beta2":       {FedAdagrad, func(s *StrategySpec) { s.Beta2 = 0.5 }},
		"another's tau":         {FedAvgM, func(s *StrategySpec) { s.Tau = 0.5 }},
		"another's variate":     {FedNova, func(s *StrategySpec) { s.VariateClip = 1 }},
		"another's steps":       {Scaffold, func(s *StrategySpec) { s.MaxSteps = 1 }},
		"another's buffer":      {FedAvg, func(s *StrategySpec) { s.Buffer = 4 }},
		"another's layers":      {FedAvg, func(s *StrategySpec) { s.PersonalLayers = 1 }},
		"another's personal":    {Ditto, func(s *StrategySpec) { s.PersonalParameters = 1 }},
		"no mu":                 {FedProx, func(s *StrategySpec) { s.Mu = 0 }},
		"negative mu":           {Ditto, func(s *StrategySpec) { s.Mu = -1 }},
		"nan mu":                {FedProx, func(s *StrategySpec) { s.Mu = math.NaN() }},
		"infinite mu":           {FedProx, func(s *StrategySpec) { s.Mu = math.Inf(1) }},
		"momentum 1":            {FedAvgM, func(s *StrategySpec) { s.Momentum = 1 }},
		"beta1 1":               {FedAdam, func(s *StrategySpec) { s.Beta1 = 1 }},
		"beta2 1":               {FedYogi, func(s *StrategySpec) { s.Beta2 = 1 }},
		"negative tau":          {FedYogi, func(s *StrategySpec) { s.Tau = -1 }},
		"no variate clip":       {Scaffold, func(s *StrategySpec) { s.VariateClip = 0 }},
		"scaffold by samples":   {Scaffold, func(s *StrategySpec) { s.Weighting = WeightBySamples }},
		"no steps":              {FedNova, func(s *StrategySpec) { s.MaxSteps = 0 }},
		"many steps":            {FedNova, func(s *StrategySpec) { s.MaxSteps = maxNormaliser + 1 }},
		"no buffer":             {FedBuff, func(s *StrategySpec) { s.Buffer = 1 }},
		"no layers":             {FedPer, func(s *StrategySpec) { s.PersonalLayers = 0 }},
		"negative personal":     {FedPer, func(s *StrategySpec) { s.PersonalParameters = -1 }},
		"unknown rule":          {FedAvg, func(s *StrategySpec) { s.Robust = RobustSpec{Rule: "krum", Groups: 3} }},
		"two groups":            {FedAvg, func(s *StrategySpec) { s.Robust = RobustSpec{Rule: Median, Groups: 2} }},
		"too many groups":       {FedAvg, func(s *StrategySpec) { s.Robust = RobustSpec{Rule: Median, Groups: MaxGroups + 1} }},
		"trim without its rule": {FedAvg, func(s *StrategySpec) { s.Robust = RobustSpec{Rule: Median, Groups: 3, Trim: 1} }},
		"no trim":               {FedAvg, func(s *StrategySpec) { s.Robust = RobustSpec{Rule: TrimmedMean, Groups: 3} }},
		"all trimmed":           {FedAvg, func(s *StrategySpec) { s.Robust = RobustSpec{Rule: TrimmedMean, Groups: 4, Trim: 2} }},
		"groups of cyclic":      {Cyclic, func(s *StrategySpec) { s.Robust = group }},
		"groups of fedbuff":     {FedBuff, func(s *StrategySpec) { s.Robust = group }},
		"groups of scaffold":    {Scaffold, func(s *StrategySpec) { s.Robust = group }},
		"groups of fednova":     {FedNova, func(s *StrategySpec) { s.Robust = group }},
	} {
		bad := oneOf(c.of)
		c.change(&bad)
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

// What sets the strategies apart for the rest of the system.
func TestTraits(t *testing.T) {
	for _, name := range StrategyNames() {
		s := oneOf(name)
		whole, state, plain := name == Scaffold || name == FedNova, name == Scaffold || name == FedPer || name == Ditto,
			!slices.Contains([]string{FedProx, Scaffold, FedNova, FedBuff, FedPer}, name)
		if s.WholeVector() != whole || s.ClientState() != state || s.PlainUpdate() != plain {
			t.Errorf("%s: whole vector %t, client state %t, plain update %t", name, s.WholeVector(), s.ClientState(), s.PlainUpdate())
		}
	}
}

func TestUploadSize(t *testing.T) {
	for name, want := range map[string]int{FedAvg: 10, FedAdam: 10, Scaffold: 20, FedNova: 11, FedPer: 9} {
		if got, err := oneOf(name).UploadSize(10); err != nil || got != want {
			t.Errorf("%s uploads %d values: %v; want %d", name, got, err, want)
		}
	}
	for name, params := range map[string]int{FedAvg: 0, FedPer: 1, Scaffold: MaxParameters/2 + 1, FedNova: MaxParameters} {
		if _, err := oneOf(name).UploadSize(params); err == nil {
			t.Errorf("%s uploads a model of %d parameters", name, params)
		}
	}
}

func TestWeights(t *testing.T) {
	samples := map[NodeID]int64{"a": 10, "b": 400, "c": 1}
	weights, unit, err := Weights(StrategySpec{Name: FedAvg, ServerLearningRate: 1, Weighting: WeightBySamples}, samples)
	if err != nil || unit != 400 || weights["a"] != 10 || weights["b"] != 400 || weights["c"] != 1 {
		t.Errorf("by samples: %v of %d, %v", weights, unit, err)
	}
	weights, unit, err = Weights(StrategySpec{Name: FedAvg, ServerLearningRate: 1, Weighting: WeightUniform}, samples)
	if err != nil || unit != 1 || weights["a"] != 1 || weights["b"] != 1 {
		t.Errorf("uniform: %v of %d, %v", weights, unit, err)
	}
	for name, bad := range map[string]map[NodeID]int64{"nobody": nil, "zero": {"a": 0}, "negative": {"a": -1}, "too many": {"a": MaxSamples + 1}} {
		if _, _, err := Weights(StrategySpec{Name: FedAvg, ServerLearningRate: 1, Weighting: WeightUniform}, bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
