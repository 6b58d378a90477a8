package client

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"credence/fl"
	"credence/fl/privacy"
	"credence/he"
	"credence/models"
)

// private makes the stage's plan one of a private job.
func (s *sealed) private(change func(*fl.Plan)) fl.Plan {
	plan := s.plan
	plan.Clip.Norm = 1
	plan.Privacy = fl.Privacy{NoiseMultiplier: 3, Delta: 1e-5, MinHonest: 3}
	plan.Privacy.Epsilon = privacy.Spent(plan.Privacy, 2*(plan.Slots-fl.MetricSlots), 4)
	plan.Round = 9
	plan.Charged = []int{4, 1, 2, 3}
	if change != nil {
		change(&plan)
	}
	return plan
}

// A plan beyond the job's budget goes no further than its signature: the check
// is the same for a client that would encrypt and for a member that would
// release a share.
func TestPlansBeyondTheBudget(t *testing.T) {
	s := newSealed(t)
	if err := s.node.verifyPlan(s.sign(s.private(nil)), new(fl.Plan)); err != nil {
		t.Errorf("a plan within its budget: %v", err)
	}
	s = newSealed(t)
	over := s.private(func(p *fl.Plan) { p.Charged[2] = 5 })
	if err := s.node.verifyPlan(s.sign(over), new(fl.Plan)); err == nil || !strings.Contains(err.Error(), "budget does not allow round 9") {
		t.Errorf("a plan that charges a fifth round: %v", err)
	}
}

// Every client counts its own rounds.
func TestClientsCountTheirRounds(t *testing.T) {
	s := newSealed(t)
	for _, round := range []uint64{1, 4, 7, 12} { // the last is after the plan
		s.must(s.node.outbox.keep("j", round, s.planDoc, nil))
	}
	s.must(os.MkdirAll(s.node.outbox.folder("j", 5), 0o700)) // a round without an update
	s.must(s.node.outbox.keep("other", 3, s.planDoc, nil))
	if err := s.node.checkCharge(s.private(nil)); err != nil {
		t.Errorf("charged for the fourth round, and it is: %v", err)
	}
	var decline *declineError
	if err := s.node.checkCharge(s.private(func(p *fl.Plan) { p.Charged[0] = 3 })); !errors.As(err, &decline) || !strings.Contains(err.Error(), "charges this node's privacy budget for 3 rounds and it took part in 3 before") {
		t.Errorf("charged for too few rounds: %v", err)
	}
	if err := s.node.checkCharge(s.plan); err != nil {
		t.Errorf("without privacy: %v", err)
	}
}

func TestConsentToPrivacy(t *testing.T) {
	none := fl.JobSpec{}
	private := fl.JobSpec{Privacy: fl.Privacy{NoiseMultiplier: 1, Epsilon: 4, Delta: 1e-6, MinHonest: 3}}
	for _, v := range []struct {
		name   string
		policy Consent
		spec   fl.JobSpec
		want   string // "" to accept
	}{
		{"no policy", Consent{}, none, ""},
		{"no policy, private", Consent{}, private, ""},
		{"no noise", Consent{MaxEpsilon: 5}, none, "epsilon: infinity"},
		{"enough", Consent{MaxEpsilon: 4}, private, ""},
		{"too much", Consent{MaxEpsilon: 3.9}, private, "allows 3.9"},
		{"delta", Consent{MaxEpsilon: 4, MaxDelta: 1e-7}, private, "at 1e-07"},
		{"honest", Consent{MaxEpsilon: 4, MaxMinHonest: 2}, private, "at most 2"},
		{"honest enough", Consent{MaxEpsilon: 4, MaxMinHonest: 3}, private, ""},
	} {
		if err := v.policy.allows(v.spec); (err == nil) != (v.want == "") || err != nil && !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v, want %q", v.name, err, v.want)
		}
	}
	loose := private
	loose.Privacy.Delta = 1e-4
	if err := (Consent{MaxEpsilon: 4}).allows(loose); err == nil {
		t.Error("a delta above the default was accepted")
	}
}

func TestConfigRefusesPrivacyWithoutMeaning(t *testing.T) {
	for text, want := range map[string]string{
		"max_epsilon: -1":                      "consent.max_epsilon",
		"max_epsilon: .inf":                    "consent.max_epsilon",
		"max_epsilon: 1\n  max_delta: 1":       "consent.max_delta",
		"max_delta: 1e-6":                      "belong to max_epsilon",
		"max_min_honest: 2":                    "belong to max_epsilon",
		"max_epsilon: 1\n  max_min_honest: -1": "consent.max_min_honest",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, configFile), []byte("address: a:1\nconsent:\n  "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestResolvePrivacy(t *testing.T) {
	suite, err := he.LookupSuite("rlwe4096-d1-v1")
	if err != nil {
		t.Fatal(err)
	}
	const upload, rounds, minCohort = 1000, 20, 10
	resolve := func(o PrivacyOptions) (fl.Privacy, error) { return o.Resolve(suite, upload, rounds, minCohort) }
	p, err := resolve(PrivacyOptions{})
	if err != nil || p.On() {
		t.Errorf("none asked for: %+v, %v", p, err)
	}
	p, err = resolve(PrivacyOptions{Epsilon: 6, Delta: 1e-5, HonestFraction: 0.75})
	if err != nil || p.MinHonest != 7 || p.Epsilon != 6 || privacy.Spent(p, 4069, rounds) > 6 || privacy.Spent(p, 4069, rounds) < 5.9 {
		t.Errorf("calibrated: %+v, %v", p, err)
	}
	p, err = resolve(PrivacyOptions{NoiseMultiplier: 2, Delta: 1e-5, MinHonest: 5})
	if err != nil || p.Epsilon < privacy.Spent(p, 4069, rounds) || p.Epsilon > privacy.Spent(p, 4069, rounds)+0.001 {
		t.Errorf("from the noise: %+v, %v", p, err)
	}
	for name, v := range map[string]struct {
		o    PrivacyOptions
		want string
	}{
		"nothing said":   {PrivacyOptions{Delta: 1e-5, MinHonest: 2}, "neither noise_multiplier nor epsilon"},
		"no delta":       {PrivacyOptions{Epsilon: 1, MinHonest: 2}, "delta 0"},
		"nobody":         {PrivacyOptions{Epsilon: 1, Delta: 1e-5}, "one of min_honest and honest_fraction"},
		"both":           {PrivacyOptions{Epsilon: 1, Delta: 1e-5, MinHonest: 2, HonestFraction: 0.5}, "one of min_honest and honest_fraction"},
		"too many":       {PrivacyOptions{Epsilon: 1, Delta: 1e-5, MinHonest: 11}, "min_honest 11"},
		"fraction":       {PrivacyOptions{Epsilon: 1, Delta: 1e-5, HonestFraction: 1.5}, "honest_fraction 1.5"},
		"negative":       {PrivacyOptions{Epsilon: -1, Delta: 1e-5, MinHonest: 2}, "want numbers above 0"},
		"negative count": {PrivacyOptions{Epsilon: 1, Delta: 1e-5, MinHonest: -2}, "min_honest -2"},
		"overspent":      {PrivacyOptions{NoiseMultiplier: 1, Epsilon: 1, Delta: 1e-5, MinHonest: 2}, "more than 1"},
		"hardly noise":   {PrivacyOptions{NoiseMultiplier: 0.01, Delta: 1e-5, MinHonest: 2}, "means nothing"},
	} {
		if got, err := resolve(v.o); err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %+v, %v, want %q", name, got, err, v.want)
		}
	}
}

// An adaptive clip may move, in its proportions; another may not.
func TestClipFollowsTheJob(t *testing.T) {
	spec := fl.JobSpec{Clip: fl.Clip{Value: 0.25, Norm: 2}}
	moved := fl.Plan{Clip: fl.Clip{Value: 0.125, Norm: 1}}
	if sameClip(spec, moved) || !sameClip(spec, fl.Plan{Clip: spec.Clip}) {
		t.Error("a fixed clip moved, or stands")
	}
	spec.Privacy.Adaptive.Quantile = 0.5
	if !sameClip(spec, moved) || sameClip(spec, fl.Plan{Clip: fl.Clip{Value: 0.25, Norm: 1}}) || sameClip(spec, fl.Plan{Clip: fl.Clip{Value: 0.125, Norm: 1, PerShard: true}}) {
		t.Error("an adaptive clip changes its proportions, or does not move")
	}
}

// What everybody sees of a client whose training fails is what it would have
// seen anyway.
func TestFailedTrainingShowsNothing(t *testing.T) {
	model, err := models.New(models.Spec{Kind: models.Logistic, Inputs: 2, Classes: 2})
	if err != nil {
		t.Fatal(err)
	}
	train := fl.Examples{Rows: 10, Features: 2, Classes: 2, X: make([]float32, 20), Y: make([]int32, 10)}
	for i := range train.X {
		train.X[i] = float32(i)
	}
	for _, c := range []models.TrainConfig{{LearningRate: 0.01, Epochs: 3, BatchSize: 4}, {LearningRate: 0.01, Steps: 7}, {LearningRate: 0.01, Epochs: 2}} {
		w := LocalWork{Model: model, Training: c, Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightUniform}, Train: train}
		r := LocalRound{Global: make([]float32, 3), Plan: fl.Plan{Slots: 100, Shards: 1, Round: 1}, Assignment: fl.Assignment{Shards: []int{0}}}
		u, err := w.Update(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		none, err := w.nothing(r)
		if err != nil || none.Steps != u.Steps || len(none.Upload) != len(u.Upload) {
			t.Errorf("%s: %d steps, %d values: want %d and %d (%v)", strconv.Itoa(c.Steps), none.Steps, len(none.Upload), u.Steps, len(u.Upload), err)
		}
		for _, v := range none.Upload {
			if v != 0 || math.Signbit(v) {
				t.Fatal("it is not nothing")
			}
		}
	}
	if err := CheckPrivacy(fl.Privacy{NoiseMultiplier: 1}, models.TrainConfig{EarlyStop: models.EarlyStop{Patience: 2}}); err == nil || !strings.Contains(err.Error(), "early_stop") {
		t.Errorf("early stop in a private job: %v", err)
	}
	if err := CheckPrivacy(fl.Privacy{}, models.TrainConfig{EarlyStop: models.EarlyStop{Patience: 2}}); err != nil {
		t.Error(err)
	}
}

// A plan whose privacy or clip is not the job's is declined before anything is
// read or trained.
func TestPlansOfAnotherPrivacyAreDeclined(t *testing.T) {
	for name, change := range map[string]func(*fl.Plan){
		"less noise":      func(p *fl.Plan) { p.Privacy.NoiseMultiplier /= 2 },
		"a larger budget": func(p *fl.Plan) { p.Privacy.Epsilon++ },
		"more honest":     func(p *fl.Plan) { p.Privacy.MinHonest++ },
		"no privacy":      func(p *fl.Plan) { p.Privacy, p.Charged = fl.Privacy{}, nil },
		"another clip":    func(p *fl.Plan) { p.Clip.Norm *= 2 },
	} {
		s := newSealed(t)
		plan := s.private(nil)
		w := &work{specID: plan.JobSpec}
		w.spec = fl.JobSpec{Clip: plan.Clip, Privacy: plan.Privacy, ProofLevel: plan.ProofLevel, MinCohort: plan.MinCohort, InitialModel: plan.BaseModel,
			Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightUniform}}
		change(&plan)
		var decline *declineError
		if _, err := s.node.localRound(t.Context(), w, s.planDoc.Digest(), plan); !errors.As(err, &decline) || !strings.Contains(err.Error(), "does not follow from the job") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
