package simulate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"credence/client"
	"credence/datasets"
	"credence/experiments/adversary"
	"credence/experiments/simulate"
	"credence/fl"
	"credence/fl/privacy"
	"credence/he"
	"credence/models"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tiny = "insecure-rlwe64-d1-v1"

func suite(t testing.TB, name string) *he.Suite {
	t.Helper()
	s, err := he.LookupSuite(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func clients(t testing.TB, n int) []simulate.Client {
	t.Helper()
	set, err := datasets.Builtin(datasets.BreastCancer)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := datasets.Dirichlet(set.Train, n, 0.5, 4, 3)
	if err != nil {
		t.Fatal(err)
	}
	var out []simulate.Client
	for i, rows := range parts {
		out = append(out, simulate.Client{Node: fl.NodeID(fmt.Sprintf("c-%02d", i)), Train: set.Train.Subset(rows)})
	}
	return out
}

func job(strategy fl.StrategySpec) simulate.Job {
	if strategy.ServerLearningRate == 0 {
		strategy.ServerLearningRate = 1
	}
	if strategy.Weighting == "" {
		strategy.Weighting = fl.WeightBySamples
	}
	return simulate.Job{
		ID: "small", Model: models.Spec{Kind: models.MLP, Inputs: 30, Classes: 2, Hidden: []int{3}},
		Training: models.TrainConfig{LearningRate: 0.1, Epochs: 1, BatchSize: 16},
		Strategy: strategy, Clip: fl.Clip{Value: 1, Norm: 1}, Rounds: 4, CohortSize: 6, Budget: 1000,
		Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: 9,
	}
}

func roster(t testing.TB, clients []simulate.Client, specs ...adversary.Spec) *adversary.Roster {
	t.Helper()
	var names []fl.NodeID
	for _, c := range clients {
		names = append(names, c.Node)
	}
	r, err := adversary.NewRoster(specs, names, 5)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func start(t testing.TB, o simulate.Options, c []simulate.Client) *simulate.Simulation {
	t.Helper()
	s, err := simulate.New(o, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func step(t testing.TB, s *simulate.Simulation) simulate.Result {
	t.Helper()
	r, err := s.Step(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func train(t testing.TB, o simulate.Options, c []simulate.Client) []float32 {
	t.Helper()
	s := start(t, o, c)
	for range o.Job.Rounds {
		step(t, s)
	}
	return s.Params()
}

// variants are jobs of every kind of state.
func variants() map[string]simulate.Job {
	out := map[string]simulate.Job{}
	for _, strategy := range []fl.StrategySpec{
		{Name: fl.FedAvg},
		{Name: fl.FedAdam},
		{Name: fl.Scaffold, VariateClip: 1, Weighting: fl.WeightUniform},
		{Name: fl.FedPer, PersonalLayers: 1},
		{Name: fl.Ditto, Mu: 0.1},
		{Name: fl.FedBuff, Buffer: 4},
		{Name: fl.FedAvg, Robust: fl.RobustSpec{Rule: fl.Median, Groups: 3}},
	} {
		out[strategy.Name+strategy.Robust.Rule] = job(strategy)
	}
	out["private"] = privateJob()
	return out
}

func privateJob() simulate.Job {
	j := job(fl.StrategySpec{Name: fl.FedAvg})
	j.Privacy = client.PrivacyOptions{NoiseMultiplier: 1, Delta: 1e-5, MinHonest: 2, Adaptive: fl.AdaptiveClip{Quantile: 0.5, LearningRate: 0.2, CountNoise: 1}}
	return j
}

// Any number of workers and any order of the clients give the same bits,
// whatever the strategy and under attack.
func TestWorkersDoNotChangeTheModel(t *testing.T) {
	c := clients(t, 9)
	attackers := roster(t, c, adversary.Spec{Kind: adversary.ALIE, Fraction: 0.25}, adversary.Spec{Kind: adversary.FreeRider, Fraction: 0.1, Noise: 1})
	for name, j := range variants() {
		t.Run(name, func(t *testing.T) {
			var want []float32
			for _, workers := range []int{1, 2, 4, 0} {
				slices.Reverse(c)
				got := train(t, simulate.Options{Suite: suite(t, tiny), Job: j, Workers: workers, Roster: attackers}, c)
				if want != nil && !slices.Equal(got, want) {
					t.Errorf("%d workers give another model", workers)
				}
				want = got
			}
		})
	}
}

// A simulation that was saved and restored goes on to the same bits and counts.
func TestRestoreGoesOn(t *testing.T) {
	c := clients(t, 9)
	attackers := roster(t, c, adversary.Spec{Kind: adversary.FreeRider, Fraction: 0.2, Noise: 1})
	for name, j := range variants() {
		t.Run(name, func(t *testing.T) {
			o := simulate.Options{Suite: suite(t, tiny), Job: j, Roster: attackers}
			whole := start(t, o, c)
			step(t, whole)
			step(t, whole)
			saved, err := whole.Save()
			if err != nil {
				t.Fatal(err)
			}
			resumed := start(t, o, c)
			if err := resumed.Restore(saved); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*simulate.Simulation{whole, resumed} {
				step(t, s)
				step(t, s)
			}
			if !slices.Equal(whole.Params(), resumed.Params()) {
				t.Error("another model")
			}
			for i := range whole.Clients() {
				a, b := whole.Tally(i), resumed.Tally(i)
				a.SecondsTrain, b.SecondsTrain = 0, 0
				if a != b {
					t.Errorf("client %d: %+v and %+v", i, a, b)
				}
				x, err := whole.EvaluateClient(i)
				y, err2 := resumed.EvaluateClient(i)
				if err != nil || err2 != nil || x != y {
					t.Errorf("client %d evaluates to %+v (%v) and %+v (%v)", i, x, err, y, err2)
				}
			}
		})
	}
}

var proofKeys = sync.OnceValues(func() (*zk.Keys, error) {
	s, err := he.LookupSuite(tiny)
	if err != nil {
		return nil, err
	}
	shape, err := rlwe.UpdateShape(s)
	if err != nil {
		return nil, err
	}
	return zk.Setup(shape, nil, nil)
})

// All fidelities give the same models and refuse the same updates, attackers
// included.
func TestFidelitiesAgree(t *testing.T) {
	c := clients(t, 5)
	keys, err := proofKeys()
	if err != nil {
		t.Fatal(err)
	}
	j := job(fl.StrategySpec{Name: fl.FedAvg})
	j.ProofLevel, j.Rounds, j.CohortSize = fl.ProofBounded, 2, 0
	attackers := roster(t, c, adversary.Spec{Kind: adversary.Scaling, Fraction: 0.2, Scale: 50}, adversary.Spec{Kind: adversary.SignFlip, Fraction: 0.2, Scale: 50, Adaptive: true})
	encrypted, err := simulate.NewEncrypted(suite(t, tiny), 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	attested, err := simulate.NewAttested(suite(t, tiny), 3, 2, keys)
	if err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		refused int
		bytes   int64
		params  []float32
	}
	run := func(channel simulate.Channel) outcome {
		s := start(t, simulate.Options{Suite: suite(t, tiny), Job: j, Channel: channel, Roster: attackers}, c)
		var out outcome
		for range j.Rounds {
			r := step(t, s)
			out.refused += r.Count(simulate.Refused)
			for _, x := range r.Clients {
				if x.Outcome == simulate.Accepted {
					out.bytes += x.BytesUp
				}
				if x.Outcome == simulate.Refused && !strings.Contains(x.Reason, "norm exceeds the bound") {
					t.Errorf("%s was refused: %s", x.Node, x.Reason)
				}
			}
		}
		if channel != nil {
			if err := channel.Close(); err != nil {
				t.Error(err)
			}
		}
		out.params = s.Params()
		return out
	}
	plain, proven := run(nil), run(attested)
	if plain.refused != 2 || proven.refused != 2 {
		t.Errorf("plain refused %d updates, attested %d: want 2, the scaled ones", plain.refused, proven.refused)
	}
	if !slices.Equal(plain.params, proven.params) {
		t.Error("attested gives another model than plain")
	}
	if plain.bytes != proven.bytes {
		t.Errorf("plain counts %d bytes, attested sends %d", plain.bytes, proven.bytes)
	}
	// The bound leaves room for the noise, and refuses the same updates.
	noisy := j
	noisy.Privacy = privateJob().Privacy
	again, err := simulate.NewAttested(suite(t, tiny), 3, 2, keys)
	if err != nil {
		t.Fatal(err)
	}
	quiet := j
	j = noisy
	private, privateProven := run(nil), run(again)
	j = quiet
	if private.refused != privateProven.refused || !slices.Equal(private.params, privateProven.params) || slices.Equal(private.params, plain.params) {
		t.Errorf("with noise plain refused %d updates, attested %d; same models: %t", private.refused, privateProven.refused, slices.Equal(private.params, privateProven.params))
	}
	// Without proofs nothing is refused, and the sums are the same again.
	j.ProofLevel = fl.ProofNone
	plain, open := run(nil), run(encrypted)
	if plain.refused != 0 || open.refused != 0 || !slices.Equal(plain.params, open.params) || plain.bytes != open.bytes {
		t.Errorf("plain refused %d, encrypted %d; bytes %d and %d; same models: %t", plain.refused, open.refused, plain.bytes, open.bytes, slices.Equal(plain.params, open.params))
	}
	if slices.Equal(proven.params, open.params) {
		t.Error("the scaled update changed nothing")
	}
}

// What an attacker sends at level bounded is held to the bound, which alone
// refuses it: adaptive clients come in, at the bound.
func TestBoundHoldsAttackers(t *testing.T) {
	c := clients(t, 6)
	for _, x := range []struct {
		level    fl.ProofLevel
		adaptive bool
		refused  int
	}{{fl.ProofNone, false, 0}, {fl.ProofBounded, false, 3}, {fl.ProofBounded, true, 0}} {
		j := job(fl.StrategySpec{Name: fl.FedAvg})
		j.ProofLevel = x.level
		attackers := roster(t, c, adversary.Spec{Kind: adversary.SignFlip, Fraction: 0.5, Scale: 1000, Adaptive: x.adaptive})
		r := step(t, start(t, simulate.Options{Suite: suite(t, tiny), Job: j, Roster: attackers}, c))
		if r.Count(simulate.Refused) != x.refused {
			t.Errorf("%+v: %d refused", x, r.Count(simulate.Refused))
		}
		for _, k := range r.Clients {
			if (k.Attack != "") != (k.Norm > 20) {
				t.Errorf("%s (attack %q) has a norm of %v", k.Node, k.Attack, k.Norm)
			}
		}
	}
}

func TestFreeRidersArePaid(t *testing.T) {
	c := clients(t, 6)
	attackers := roster(t, c, adversary.Spec{Kind: adversary.FreeRider, Fraction: 0.34})
	s := start(t, simulate.Options{Suite: suite(t, tiny), Job: job(fl.StrategySpec{Name: fl.FedAvg}), Roster: attackers, Committee: []fl.NodeID{"member"}}, c)
	var paid int64
	for range 4 {
		for _, k := range step(t, s).Clients {
			paid += k.Credits
			if k.Attack == adversary.FreeRider && (k.Credits == 0 || k.Figures != nil || k.Loss != nil) {
				t.Errorf("a free rider: %+v", k)
			}
		}
	}
	// 800 of 1000 parts go to clients, and rounding to the operator.
	if paid != 800 {
		t.Errorf("%d credits were paid to clients, want 800", paid)
	}
}

func TestDivergence(t *testing.T) {
	c := clients(t, 4)
	for i := range c[1].Train.X {
		c[1].Train.X[i] = 3e38
	}
	j := job(fl.StrategySpec{Name: fl.FedAvg})
	j.CohortSize = 0
	s := start(t, simulate.Options{Suite: suite(t, tiny), Job: j, StopOnDivergence: true}, c)
	_, err := s.Step(t.Context())
	var at *simulate.ClientError
	if !errors.As(err, &at) || at.Client != "c-01" || !strings.HasPrefix(err.Error(), "simulation: round 1: client c-01: ") || s.Version() != 0 {
		t.Errorf("got %v after round %d", err, s.Version())
	}
	for i := range c[1].Train.X {
		c[1].Train.X[i] = 0
	}
	j.Training.LearningRate = 1e38
	_, err = start(t, simulate.Options{Suite: suite(t, tiny), Job: j, StopOnDivergence: true}, c).Step(t.Context())
	var diverged *models.DivergedError
	if !errors.As(err, &diverged) {
		t.Errorf("got %v", err)
	}
	private := privateJob()
	private.Training.LearningRate, private.CohortSize = 1e38, 0
	if r := step(t, start(t, simulate.Options{Suite: suite(t, tiny), Job: private}, c)); r.Count(simulate.Accepted) != 4 || r.Clients[0].Reason != "noise alone: its training diverged" {
		t.Errorf("a private round: %+v", r.Clients)
	}
	_, err = start(t, simulate.Options{Suite: suite(t, tiny), Job: j}, c).Step(t.Context())
	if err == nil || !strings.Contains(err.Error(), "updates in a sum: want at least 2; of a cohort of 4, ") {
		t.Errorf("got %v", err)
	}
}

// A private job spends what the accountant says, moves its clip, repeats its
// noise, and ends when the budget does.
func TestPrivacy(t *testing.T) {
	c := clients(t, 6)
	j := privateJob()
	s := start(t, simulate.Options{Suite: suite(t, tiny), Job: j}, c)
	var norms []float64
	for round := 1; round <= j.Rounds; round++ {
		r := step(t, s)
		norms = append(norms, r.Clip.Norm)
		p := fl.Privacy{NoiseMultiplier: 1, Delta: 1e-5, MinHonest: 2, Adaptive: j.Privacy.Adaptive}
		coordinates := 3 * (64 - fl.MetricSlots) // 101 parameters
		if want := privacy.Spent(p, coordinates, round); r.Epsilon == nil || *r.Epsilon != want {
			t.Errorf("round %d: epsilon %v, want %v", round, r.Epsilon, want)
		}
		if r.Figures != (fl.Figures{}) {
			t.Errorf("round %d publishes figures %+v", round, r.Figures)
		}
	}
	if norms[0] != 1 || norms[1] == norms[0] {
		t.Errorf("the clip does not move: %v", norms)
	}
	quiet := j
	quiet.Privacy = client.PrivacyOptions{}
	if slices.Equal(s.Params(), train(t, simulate.Options{Suite: suite(t, tiny), Job: quiet}, c)) {
		t.Error("the noise changes nothing")
	}

	j.Privacy = client.PrivacyOptions{NoiseMultiplier: 1, Epsilon: 2, Delta: 1e-5, MinHonest: 2}
	j.Rounds = 3
	if _, err := simulate.New(simulate.Options{Suite: suite(t, tiny), Job: j}, c); err == nil || !strings.Contains(err.Error(), "more than 2: leave noise_multiplier out") {
		t.Errorf("rounds beyond the budget: got %v", err)
	}
	j.Privacy, j.Clip.Norm = client.PrivacyOptions{Epsilon: 2, Delta: 1e-5, MinHonest: 2}, 0
	if _, err := simulate.New(simulate.Options{Suite: suite(t, tiny), Job: j}, c); err == nil || !strings.Contains(err.Error(), "privacy needs clip.norm") {
		t.Errorf("no clip: got %v", err)
	}
}

// A round whose groups are left with too few updates makes no version; another
// one is drawn.
func TestAbortedRounds(t *testing.T) {
	c := clients(t, 9)
	j := job(fl.StrategySpec{Name: fl.FedAvg, Robust: fl.RobustSpec{Rule: fl.Median, Groups: 3}})
	j.ProofLevel, j.CohortSize = fl.ProofBounded, 7
	attackers := roster(t, c, adversary.Spec{Kind: adversary.Scaling, Fraction: 0.12, Scale: 1000})
	o := simulate.Options{Suite: suite(t, tiny), Job: j, Roster: attackers}
	s := start(t, o, c)
	aborted, last := 0, uint64(0)
	for version := uint64(1); version <= 4; version++ {
		r := step(t, s)
		if r.Version != version || r.Round != last+uint64(r.Aborted)+1 {
			t.Errorf("version %d is of round %d, %d aborted, after %d", r.Version, r.Round, r.Aborted, last)
		}
		aborted, last = aborted+r.Aborted, r.Round
	}
	refused := 0
	for i := range s.Clients() {
		refused += s.Tally(i).Refused
	}
	if aborted == 0 || refused < aborted {
		t.Errorf("%d rounds aborted, %d updates refused", aborted, refused)
	}
	// With everybody in every round there is no other cohort to try.
	j.CohortSize, j.MinCohort = 0, 3
	o.Job = j
	_, err := start(t, o, c).Step(t.Context())
	if err == nil || err.Error() != "simulation: round 11: 2 updates in a sum: want at least 3; of a cohort of 9, 0 declined because their training diverged and 1 updates were refused" {
		t.Errorf("got %v", err)
	}
}

// An interrupted step leaves the simulation where it was.
func TestInterruptedStep(t *testing.T) {
	c := clients(t, 8)
	for name, j := range variants() {
		o := simulate.Options{Suite: suite(t, tiny), Job: j}
		s := start(t, o, c)
		step(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Step(ctx); !errors.Is(err, context.Canceled) || s.Version() != 1 {
			t.Errorf("%s: got %v after round %d", name, err, s.Version())
		}
		for range 3 {
			step(t, s)
		}
		if !slices.Equal(s.Params(), train(t, o, c)) {
			t.Errorf("%s: an interrupted step changed what came after", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	c := clients(t, 4)
	empty := clients(t, 4)
	empty[2].Train = empty[2].Train.Subset(nil)
	twice := append(slices.Clone(c), c[0])
	for want, x := range map[string]struct {
		change  func(*simulate.Job)
		clients []simulate.Client
	}{
		"client c-02 has no training row":  {func(*simulate.Job) {}, empty},
		"client c-00 is named twice":       {func(*simulate.Job) {}, twice},
		"0 rounds: want at least 1":        {func(j *simulate.Job) { j.Rounds = 0 }, c},
		"4 clients, at least 5 in a round": {func(j *simulate.Job) { j.MinCohort = 5 }, c},
		"strategy: name":                   {func(j *simulate.Job) { j.Strategy.Name = "best" }, c},
		"strategy: personal_layers: models: the la": {func(j *simulate.Job) {
			j.Strategy = fl.StrategySpec{Name: fl.FedPer, PersonalLayers: 2, ServerLearningRate: 1, Weighting: fl.WeightUniform}
		}, c},
	} {
		j := job(fl.StrategySpec{Name: fl.FedAvg})
		x.change(&j)
		if _, err := simulate.New(simulate.Options{Suite: suite(t, tiny), Job: j}, x.clients); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func saved(t testing.TB, strategy fl.StrategySpec) (*simulate.Simulation, []byte) {
	t.Helper()
	s := start(t, simulate.Options{Suite: suite(t, tiny), Job: job(strategy)}, clients(t, 6))
	step(t, s)
	text, err := s.Save()
	if err != nil {
		t.Fatal(err)
	}
	return s, text
}

func TestRestoreRefusals(t *testing.T) {
	s, text := saved(t, fl.StrategySpec{Name: fl.FedBuff, Buffer: 3})
	before := slices.Clone(s.Params())
	for name, c := range map[string]struct{ old, by, want string }{
		"job":      {`"job":"small"`, `"job":"other"`, "it is of job other with 6 clients"},
		"version":  {`"version":1`, `"version":5`, "it is after round 1, version 5 of 4"},
		"round":    {`"round":1`, `"round":50`, "it is after round 50, version 1 of 4"},
		"escrow":   {`"escrow":`, `"escrow":9`, "credits of 1000"},
		"client":   {`"c-03"`, `"c-33"`, "client 3 is c-33, here it is c-03"},
		"key":      {`"round":1`, `"rounds":1`, "unknown field"},
		"model":    {`"params":"`, `"params":"AAAA`, "the model has"},
		"tally":    {`"Declined":0`, `"Declined":-1`, "has a negative count"},
		"versions": {`"versions":{`, `"versions":{},"versions_":{`, "unknown field"},
		"variate":  {`{"node":"c-00"`, `{"variate":"AAAA","node":"c-00"`, "a control variate has 3 bytes"},
	} {
		damaged := strings.Replace(string(text), c.old, c.by, 1)
		if damaged == string(text) {
			t.Fatalf("%s: nothing was changed in %s", name, text)
		}
		if err := s.Restore([]byte(damaged)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if !slices.Equal(before, s.Params()) || s.Version() != 1 {
		t.Error("a refused state changed the simulation")
	}
	if err := s.Restore(bytes.Replace(text, []byte(`"versions":`), []byte(`"versions":null,"versions":`), 1)); err != nil {
		t.Errorf("Go's decoder takes the last of two keys: %v", err)
	}
}

func FuzzRestore(f *testing.F) {
	s, text := saved(f, fl.StrategySpec{Name: fl.FedBuff, Buffer: 3})
	f.Add(text)
	f.Add([]byte(`{"job":"small","round":1,"params":null,"clients":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := s.Restore(text); err == nil && len(s.Params()) != s.Model().NumParameters() {
			t.Error("a model of another length")
		}
	})
}
