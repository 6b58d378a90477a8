package client

import (
	"bytes"
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"credence/datasets"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/models"
)

// localWork is a small network on the breast cancer data, and a round of it in
// which the client carries everything.
func localWork(t *testing.T, strategy fl.StrategySpec, training models.TrainConfig) (LocalWork, LocalRound) {
	t.Helper()
	set, err := datasets.Builtin(datasets.BreastCancer)
	if err != nil {
		t.Fatal(err)
	}
	model, err := models.New(models.Spec{Kind: models.MLP, Inputs: 30, Classes: 2, Hidden: []int{4}})
	if err != nil {
		t.Fatal(err)
	}
	strategy.ServerLearningRate, strategy.Weighting = 1, fl.WeightUniform
	if strategy, err = CompleteStrategy(strategy, training, model); err != nil {
		t.Fatal(err)
	}
	w := LocalWork{Model: model, Training: training, Strategy: strategy, Rounds: 10, Train: set.Train.Subset([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}), Test: set.Test}
	size, err := strategy.UploadSize(model.NumParameters())
	if err != nil {
		t.Fatal(err)
	}
	shards, err := fl.ShardMap(size, 64)
	if err != nil {
		t.Fatal(err)
	}
	r := LocalRound{Global: model.Init(1), Plan: fl.Plan{Job: "job", Round: 1, Slots: 64, Shards: len(shards), Clip: fl.Clip{Value: 100}, Seed: 5}}
	for s := range shards {
		r.Assignment.Shards = append(r.Assignment.Shards, s)
	}
	return w, r
}

func update(t *testing.T, w LocalWork, r LocalRound) Update {
	t.Helper()
	u, err := w.Update(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

var oneStep = models.TrainConfig{LearningRate: 0.05, Steps: 1}

// With one local step SCAFFOLD's new variate is the client's gradient at the
// global model, whatever the variates were (algorithm 1, option II), and the step
// is against g - c_i + c.
func TestScaffoldOfOneStep(t *testing.T) {
	w, r := localWork(t, fl.StrategySpec{Name: fl.Scaffold, VariateClip: 100}, oneStep)
	n := w.Model.NumParameters()
	grad, _, err := w.Model.Gradient(r.Global, w.Train)
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []bool{false, true} {
		if known {
			r.ServerState, r.Mine.Variate = make([]float32, n), make([]float32, n)
			for i := range n {
				r.ServerState[i], r.Mine.Variate[i] = float32(i%7)/10, float32(i%5)/-10
			}
		}
		u := update(t, w, r)
		if len(u.Upload) != 2*n || len(u.State.Variate) != n || u.State.Personal != nil {
			t.Fatalf("%d values uploaded, %d kept", len(u.Upload), len(u.State.Variate))
		}
		for i := range n {
			near(t, "the new variate", float64(u.State.Variate[i]), float64(grad[i]), 1e-4)
			near(t, "the step", u.Upload[i], -0.05*float64(grad[i]-at(r.Mine.Variate, i)+at(r.ServerState, i)), 1e-6)
			near(t, "the change sent", u.Upload[n+i], float64(u.State.Variate[i]-at(r.Mine.Variate, i)), 1e-6)
		}
	}
	// A change beyond the clip is cut, and the client remembers what it sent.
	w.Strategy.VariateClip = 0.01
	u := update(t, w, r)
	for i := range n {
		if d := math.Abs(float64(u.State.Variate[i] - r.Mine.Variate[i])); d > 0.01+1e-6 {
			t.Fatalf("variate %d changed by %v", i, d)
		}
	}
}

// FedNova's normaliser is the sum of the weights of the gradients: 2 steps with
// momentum 0.9 weigh them 1.9 and 1; 3 steps with mu*rate = 0.1 weigh them
// 0.81, 0.9 and 1.
func TestNormalisers(t *testing.T) {
	near(t, "sgd", normaliser(models.TrainConfig{LearningRate: 0.3}, 0, 7), 7, 0)
	near(t, "momentum", normaliser(models.TrainConfig{Optimizer: models.Momentum, Momentum: 0.9}, 0, 2), 2.9, 1e-12)
	near(t, "default momentum", normaliser(models.TrainConfig{Optimizer: models.Momentum}, 0, 2), 2.9, 1e-12)
	near(t, "proximal", normaliser(models.TrainConfig{LearningRate: 0.5}, 0.2, 3), 2.71, 1e-12)

	w, r := localWork(t, fl.StrategySpec{Name: fl.FedNova, MaxSteps: 40}, models.TrainConfig{LearningRate: 0.05, Epochs: 5, BatchSize: 2})
	u := update(t, w, r)
	n := w.Model.NumParameters()
	if len(u.Upload) != n+1 || u.Steps != 30 {
		t.Fatalf("%d values after %d steps", len(u.Upload), u.Steps)
	}
	near(t, "the normaliser sent", u.Upload[n], 30./40*100, 1e-9)
	plain, q := localWork(t, fl.StrategySpec{Name: fl.FedAvg}, w.Training)
	for i, d := range update(t, plain, q).Upload {
		near(t, "the update of a step", u.Upload[i], d/30, 1e-12)
	}
	w.Strategy.MaxSteps = 29
	var unfit *LocalError
	if _, err := w.Update(t.Context(), r); !errors.As(err, &unfit) {
		t.Errorf("30 steps with max_steps 29: %v", err)
	}
}

// The personal head of FedPer is trained, kept and evaluated, and never sent.
func TestFedPerKeepsItsHead(t *testing.T) {
	w, r := localWork(t, fl.StrategySpec{Name: fl.FedPer, PersonalLayers: 1}, models.TrainConfig{LearningRate: 0.1, Epochs: 3, BatchSize: 4})
	n := w.Model.NumParameters()
	const head = 4*2 + 2
	first := update(t, w, r)
	if len(first.Upload) != n-head || len(first.State.Personal) != head || first.State.Variate != nil {
		t.Fatalf("%d values uploaded, %d kept", len(first.Upload), len(first.State.Personal))
	}
	if slices.Equal(first.State.Personal, r.Global[n-head:]) {
		t.Error("the head did not learn")
	}
	// A weak node trains its shards and the head.
	weak := r
	weak.Assignment.Shards = []int{1}
	some := update(t, w, weak)
	if some.Upload[0] != 0 || slices.Equal(some.State.Personal, r.Global[n-head:]) {
		t.Error("a weak node trained a shard that is not its own, or not its head")
	}
	// The next round begins with the head that it kept.
	r.Mine = first.State
	second := update(t, w, r)
	own := append(slices.Clone(r.Global[:n-head]), first.State.Personal...)
	e, err := w.Model.Evaluate(own, w.Test)
	if err != nil || second.Figures.Correct != e.Correct {
		t.Errorf("%d correct, want %d: %v", second.Figures.Correct, e.Correct, err)
	}
	if second.Figures == first.Figures || slices.Equal(second.State.Personal, first.State.Personal) {
		t.Error("the second round is the first again")
	}
}

// Ditto sends what FedAvg sends, and its own model stays nearer the global one
// the larger mu is.
func TestDitto(t *testing.T) {
	training := models.TrainConfig{LearningRate: 0.05, Epochs: 4, BatchSize: 4}
	plain, q := localWork(t, fl.StrategySpec{Name: fl.FedAvg}, training)
	want := update(t, plain, q)
	var distance []float64
	for _, mu := range []float64{0.01, 5} {
		w, r := localWork(t, fl.StrategySpec{Name: fl.Ditto, Mu: mu}, training)
		u := update(t, w, r)
		if !slices.Equal(u.Upload, want.Upload) || u.Personal == nil || *u.Personal != u.Figures {
			t.Errorf("mu %v: another update than FedAvg's, or no figures of its own model", mu)
		}
		var sum float64
		for i, v := range u.State.Personal {
			sum += math.Pow(float64(v-r.Global[i]), 2)
		}
		distance = append(distance, sum)
		r.Mine, r.Plan.Round = u.State, 2
		again := update(t, w, r)
		if *again.Personal == again.Figures || slices.Equal(again.State.Personal, u.State.Personal) {
			t.Errorf("mu %v: the own model was not taken up", mu)
		}
	}
	if distance[1] >= distance[0] {
		t.Errorf("squared distances %v: a larger mu holds the own model nearer", distance)
	}
	w, r := localWork(t, fl.StrategySpec{Name: fl.FedProx, Mu: 5}, training)
	if u := update(t, w, r); slices.Equal(u.Upload, want.Upload) {
		t.Error("fedprox trains like fedavg")
	}
}

// A scheduled rate counts for the round's, in the steps and in what is derived
// from them.
func TestScheduleInARound(t *testing.T) {
	training := oneStep
	training.Schedule = models.Schedule{Kind: models.ExponentialDecay, Factor: 0.5}
	w, r := localWork(t, fl.StrategySpec{Name: fl.Scaffold, VariateClip: 100}, training)
	first := update(t, w, r)
	r.Plan.Round = 3
	third := update(t, w, r)
	n := w.Model.NumParameters()
	for i := range n {
		near(t, "the third step", third.Upload[i], first.Upload[i]/4, 1e-6)
		near(t, "the third variate", third.Upload[n+i], first.Upload[n+i], 1e-3)
	}
}

func TestCheckWork(t *testing.T) {
	model, err := models.New(models.Spec{Kind: models.MLP, Inputs: 30, Classes: 2, Hidden: []int{4}})
	if err != nil {
		t.Fatal(err)
	}
	sgd := models.TrainConfig{LearningRate: 1, Epochs: 1}
	change := func(f func(*models.TrainConfig)) models.TrainConfig { c := sgd; f(&c); return c }
	adam := change(func(c *models.TrainConfig) { c.Optimizer = models.Adam })
	momentum := change(func(c *models.TrainConfig) { c.Optimizer = models.Momentum })
	per := fl.StrategySpec{Name: fl.FedPer, PersonalLayers: 1, PersonalParameters: 10}
	for _, ok := range []struct {
		s fl.StrategySpec
		c models.TrainConfig
	}{
		{fl.StrategySpec{Name: fl.FedSGD}, sgd}, {fl.StrategySpec{Name: fl.FedAvg}, adam}, {fl.StrategySpec{Name: fl.Scaffold}, sgd},
		{fl.StrategySpec{Name: fl.FedNova}, momentum}, {fl.StrategySpec{Name: fl.FedNova, Mu: 0.5}, sgd}, {per, adam},
	} {
		if err := CheckWork(ok.s, ok.c, model); err != nil {
			t.Errorf("%s: %v", ok.s.Name, err)
		}
	}
	for name, bad := range map[string]struct {
		s fl.StrategySpec
		c models.TrainConfig
	}{
		"fedsgd with adam":         {fl.StrategySpec{Name: fl.FedSGD}, adam},
		"fedsgd, two epochs":       {fl.StrategySpec{Name: fl.FedSGD}, change(func(c *models.TrainConfig) { c.Epochs = 2 })},
		"fedsgd with batches":      {fl.StrategySpec{Name: fl.FedSGD}, change(func(c *models.TrainConfig) { c.BatchSize = 8 })},
		"fedsgd with a rate":       {fl.StrategySpec{Name: fl.FedSGD}, change(func(c *models.TrainConfig) { c.LearningRate = 0.1 })},
		"fedsgd with a schedule":   {fl.StrategySpec{Name: fl.FedSGD}, change(func(c *models.TrainConfig) { c.Schedule.Warmup = 1 })},
		"scaffold with momentum":   {fl.StrategySpec{Name: fl.Scaffold}, momentum},
		"fednova with adam":        {fl.StrategySpec{Name: fl.FedNova}, adam},
		"fednova with both":        {fl.StrategySpec{Name: fl.FedNova, Mu: 0.1}, momentum},
		"fednova with a large mu":  {fl.StrategySpec{Name: fl.FedNova, Mu: 1}, sgd},
		"fedper of all layers":     {fl.StrategySpec{Name: fl.FedPer, PersonalLayers: 2}, sgd},
		"fedper of another number": {fl.StrategySpec{Name: fl.FedPer, PersonalLayers: 1, PersonalParameters: 11}, sgd},
	} {
		if CheckWork(bad.s, bad.c, model) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	full := fl.StrategySpec{Name: fl.FedPer, ServerLearningRate: 1, Weighting: fl.WeightUniform, PersonalLayers: 1}
	if full, err = CompleteStrategy(full, sgd, model); err != nil || full.PersonalParameters != 10 {
		t.Errorf("%d personal parameters: %v", full.PersonalParameters, err)
	}
	full.PersonalLayers = 2
	if _, err := CompleteStrategy(full, sgd, model); err == nil {
		t.Error("a model of which all layers are personal was completed")
	}
	if _, err := CompleteStrategy(fl.StrategySpec{}, sgd, model); err == nil {
		t.Error("no strategy was completed")
	}
}

func TestLocalRoundRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		of     string
		change func(*LocalRound)
	}{
		"short model":         {fl.FedAvg, func(r *LocalRound) { r.Global = r.Global[1:] }},
		"state of another":    {fl.FedAvg, func(r *LocalRound) { r.ServerState = make([]float32, len(r.Global)) }},
		"variate of another":  {fl.FedAvg, func(r *LocalRound) { r.Mine.Variate = make([]float32, len(r.Global)) }},
		"short variate":       {fl.Scaffold, func(r *LocalRound) { r.Mine.Variate = make([]float32, 3) }},
		"part of the vector":  {fl.Scaffold, func(r *LocalRound) { r.Assignment.Shards = r.Assignment.Shards[1:] }},
		"personal of another": {fl.Scaffold, func(r *LocalRound) { r.Mine.Personal = make([]float32, len(r.Global)) }},
		"short own model":     {fl.Ditto, func(r *LocalRound) { r.Mine.Personal = make([]float32, 3) }},
		"another shard map":   {fl.FedAvg, func(r *LocalRound) { r.Plan.Shards++ }},
	} {
		spec := fl.StrategySpec{Name: c.of}
		switch c.of {
		case fl.Scaffold:
			spec.VariateClip = 1
		case fl.Ditto:
			spec.Mu = 1
		}
		w, r := localWork(t, spec, oneStep)
		c.change(&r)
		if _, err := w.Update(t.Context(), r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzDecodeLocalState: what decodes encodes to the same bytes.
func FuzzDecodeLocalState(f *testing.F) {
	f.Add(EncodeLocalState(LocalState{}))
	f.Add(EncodeLocalState(LocalState{Variate: []float32{1, -2}, Personal: []float32{0.5}}))
	f.Add([]byte(localStateMagic + "\xff\xff\xff\xff"))
	f.Add(append([]byte(localStateMagic), 1, 0, 0, 0, 0, 0, 0xc0, 0x7f, 0, 0, 0, 0))
	f.Add([]byte("credence/local-state/v2\n\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := DecodeLocalState(raw); err == nil && !bytes.Equal(EncodeLocalState(s), raw) {
			t.Fatalf("%q does not round-trip", raw)
		}
	})
}

func TestDecodeLocalStateRefuses(t *testing.T) {
	good := EncodeLocalState(LocalState{Variate: []float32{1}})
	if s, err := DecodeLocalState(good); err != nil || !slices.Equal(s.Variate, []float32{1}) || s.Personal != nil {
		t.Errorf("%+v: %v", s, err)
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "another version": bytes.Replace(good, []byte("v1"), []byte("v2"), 1), "cut": good[:len(good)-1], "longer": append(slices.Clone(good), 0),
		"huge": append([]byte(localStateMagic), 0xff, 0xff, 0xff, 0xff), "nan": append([]byte(localStateMagic), 1, 0, 0, 0, 0, 0, 0xc0, 0x7f, 0, 0, 0, 0),
	} {
		if _, err := DecodeLocalState(bad); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

// ListModels answers with every manifest of the history.
func (d *double) ListModels(context.Context, *flpb.ListModelsRequest, ...grpc.CallOption) (*flpb.ListModelsResponse, error) {
	out := &flpb.ListModelsResponse{}
	for _, raw := range d.history.entries {
		if e, err := fl.DecodeEnvelope(raw); err == nil && e.Kind == (fl.Manifest{}).Kind() {
			out.Models = append(out.Models, &flpb.ModelVersion{Manifest: raw})
		}
	}
	return out, nil
}

// A node goes on from the last round that was published with its update in it:
// neither from an aborted round, nor from one that it was too late for. A receipt
// that never came does not matter.
func TestLocalStateFollowsWhatWasPublished(t *testing.T) {
	s := newSealed(t)
	w := &work{specID: fl.DigestBytes([]byte("job"))}
	keep := func(round uint64) {
		s.must(s.node.outbox.keepState("j", round, EncodeLocalState(LocalState{Personal: []float32{float32(round)}})))
	}
	publish := func(round, version uint64, job string, clients ...fl.NodeID) {
		two := []fl.Digest{{1}, {2}}
		seal := s.sign(fl.Seal{
			Genesis: s.id, Plan: fl.Digest{1}, Job: "j", Round: round, Headers: two, Clients: clients, Accepted: []time.Time{stageStart, stageStart},
			Dealers: clients, Dealings: two, Sums: []fl.SealedSum{{Contributors: clients, C0: fl.Digest{3}, C1: fl.Digest{4}}}, SealedAt: stageStart,
		})
		s.double.add(seal, s.sign(fl.Manifest{
			Genesis: s.id, JobSpec: fl.DigestBytes([]byte(job)), Job: "j", Round: round, Version: version, Plan: fl.Digest{1}, Seal: seal.Digest(), EpochKey: fl.Digest{3},
			KeyHolders: []fl.NodeID{}, WrongShare: []fl.NodeID{}, BaseModel: fl.Digest{4}, Model: fl.Digest{5}, ProofLevel: fl.ProofNone, Epsilon: "infinity",
			Postings: []fl.Posting{}, SealedAt: stageStart, OpenedAt: stageStart,
		}))
	}
	from := func(round uint64, want ...float32) {
		t.Helper()
		got, err := s.node.localState(s.Context(), w, fl.Plan{Job: "j", Round: round})
		if err != nil || !slices.Equal(got.Personal, want) {
			t.Errorf("round %d goes on from %v: %v; want %v", round, got.Personal, err, want)
		}
	}
	from(1)
	keep(1)
	from(2) // aborted, as far as anybody knows
	publish(1, 1, "job", "alpha", "beta")
	from(2, 1)
	keep(2) // aborted
	keep(3)
	publish(3, 2, "job", "beta", "gamma") // without this node
	from(4, 1)
	keep(4)
	publish(4, 3, "another", "alpha", "beta")
	from(5, 1)
	publish(4, 3, "job", "alpha", "beta")
	from(5, 4)
	if rounds, err := s.node.outbox.statesBefore("j", 99); err != nil || !slices.Equal(rounds, []uint64{4}) {
		t.Errorf("states of the rounds %v are kept: %v", rounds, err)
	}
	path := filepath.Join(s.node.outbox.folder("j", 4), stateFile)
	s.must(identity.WriteFile(path, []byte("spoilt")))
	if _, err := s.node.localState(s.Context(), w, fl.Plan{Job: "j", Round: 5}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged state: %v", err)
	}
}

// A node trains by no plan whose groups or state do not follow from the job
// that it consented to.
func TestPlansThatDoNotFollowAreDeclined(t *testing.T) {
	s := newSealed(t)
	initial := fl.DigestBytes([]byte("initial"))
	for name, c := range map[string]struct {
		of     string
		change func(*fl.Plan)
		fine   bool
	}{
		"as consented":                  {of: fl.FedAvg, fine: true, change: func(*fl.Plan) {}},
		"with a state":                  {of: fl.FedAvgM, fine: true, change: func(p *fl.Plan) { p.BaseState = fl.Digest{1} }},
		"the first":                     {of: fl.FedAvgM, fine: true, change: func(p *fl.Plan) { p.BaseModel = initial }},
		"another clip":                  {of: fl.FedAvg, change: func(p *fl.Plan) { p.Clip.Norm = 1 }},
		"groups":                        {of: fl.FedAvg, change: func(p *fl.Plan) { p.Groups = 2 }},
		"a state that is not kept":      {of: fl.FedAvg, change: func(p *fl.Plan) { p.BaseState = fl.Digest{1} }},
		"no state after the first":      {of: fl.FedAvgM, change: func(*fl.Plan) {}},
		"a minimum below the job's":     {of: fl.FedAvg, change: func(p *fl.Plan) { p.MinCohort = 2 }},
		"another proof level":           {of: fl.FedAvg, change: func(p *fl.Plan) { p.ProofLevel = fl.ProofBounded }},
		"of another job than consented": {of: fl.FedAvg, change: func(p *fl.Plan) { p.JobSpec = fl.Digest{9} }},
	} {
		w := &work{specID: s.plan.JobSpec, spec: fl.JobSpec{
			Parameters: 10, InitialModel: initial, Clip: s.plan.Clip, ProofLevel: s.plan.ProofLevel, MinCohort: s.plan.MinCohort,
			Strategy: fl.StrategySpec{Name: c.of},
		}}
		plan := s.plan
		c.change(&plan)
		if w.follows(plan) != c.fine {
			t.Errorf("%s: follows: %t", name, !c.fine)
		}
		var decline *declineError
		if c.fine {
			continue // it goes on to fetch the model
		}
		if _, err := s.node.localRound(s.Context(), w, fl.Digest{7}, plan); !errors.As(err, &decline) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
