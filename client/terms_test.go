package client

import (
	"strings"
	"testing"

	"credence/datasets"
	"credence/fl"
	"credence/he"
	"credence/models"
	"credence/zk/trained"
)

const termsSchema = `version: 1
columns:
  - {name: age, kind: numeric, normalise: minmax, min: 0, max: 100}
  - {name: outcome, kind: label, classes: [well, ill]}
`

func termsOptions() JobOptions {
	return JobOptions{
		Job: "j", SchemaText: termsSchema, Model: models.Spec{Kind: models.Logistic, Inputs: 1, Classes: 2},
		Training: models.TrainConfig{LearningRate: 0.5, Steps: 2, BatchSize: 4}, Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip: fl.Clip{Value: 1}, Rounds: 1, MinCohort: 2, RoundDeadline: 60, ProofLevel: fl.ProofTrained, Rates: fl.Rates{Work: 1000}, Trained: TrainedOptions{Rows: 8},
	}
}

// What cannot be proven is refused when a job is drafted, with what to change.
func TestTermsRefuse(t *testing.T) {
	spec, initial, err := termsOptions().Draft(fl.Genesis{Suite: "insecure-rlwe64-d1-v1"})
	if err != nil || len(initial) != 8 || spec.Trained == nil || spec.Trained.Table != "r8-f1-b14-binary" {
		t.Fatalf("%+v, %v", spec.Trained, err)
	}
	for name, c := range map[string]struct {
		change func(*JobOptions)
		want   string
	}{
		"a deep mlp": {func(o *JobOptions) {
			o.Model = models.Spec{Kind: models.MLP, Inputs: 1, Classes: 2, Hidden: []int{2, 2}}
		}, "one hidden layer"},
		"another activation": {func(o *JobOptions) {
			o.Model = models.Spec{Kind: models.MLP, Inputs: 1, Classes: 2, Hidden: []int{2}, Activation: models.Tanh}
		}, "relu"},
		"a cnn": {func(o *JobOptions) {
			o.Model = models.Spec{Kind: models.CNN, Inputs: 16, Classes: 2, Image: &models.Image{Height: 4, Width: 4, Channels: 1}, Conv: []models.Conv{{Filters: 1, Kernel: 3}}}
		}, "want linear, logistic, softmax"},
		"epochs of batches": {func(o *JobOptions) { o.Training.Steps, o.Training.Epochs = 0, 1 }, "set steps"},
		"momentum":          {func(o *JobOptions) { o.Training.Optimizer = models.Momentum }, "want plain sgd"},
		"weight decay":      {func(o *JobOptions) { o.Training.WeightDecay = 0.1 }, "want plain sgd"},
		"no rows":           {func(o *JobOptions) { o.Trained.Rows = 0 }, "trained.rows 0"},
		"too many bits":     {func(o *JobOptions) { o.Trained.FeatureBits = 17 }, "feature_bits 17"},
		"a column that is not there": {func(o *JobOptions) {
			o.Trained.Require = []datasets.Requirement{{Column: "weight"}}
		}, "weight"},
		"a class that is not there": {func(o *JobOptions) { o.Trained.MinClassRows = map[string]int{"dead": 1} }, "dead"},
	} {
		o := termsOptions()
		c.change(&o)
		if _, _, err := o.Draft(fl.Genesis{Suite: "insecure-rlwe64-d1-v1"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A node does not consent to proofs of anything else than the job's model,
// training and schema say.
func TestTermsAreTheJobs(t *testing.T) {
	suite, err := he.LookupSuite("insecure-rlwe64-d1-v1")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := datasets.ParseSchema("schema", []byte(termsSchema))
	if err != nil {
		t.Fatal(err)
	}
	o := termsOptions()
	o.Trained.MinClassRows = map[string]int{"ill": 2}
	for name, change := range map[string]func(*fl.TrainedTerms){
		"":                  func(*fl.TrainedTerms) {},
		"the learning rate": func(t *fl.TrainedTerms) { t.LearningRate = 0.25 },
		"the steps":         func(t *fl.TrainedTerms) { t.Steps = 3 },
		"the batch":         func(t *fl.TrainedTerms) { t.Batch = 0 },
		"the seed":          func(t *fl.TrainedTerms) { t.Seed = 1 },
		"the schema":        func(t *fl.TrainedTerms) { t.TableSchema = fl.Digest{1} },
	} {
		spec, _, err := o.Draft(fl.Genesis{Suite: suite.Name()})
		if err != nil {
			t.Fatal(err)
		}
		change(spec.Trained)
		job, err := trained.Read(spec, suite)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if (Consent{}).allows(spec) != nil || (Consent{NoRequirements: true}).allows(spec) == nil {
			t.Error("requirements on data are not a matter of the node's policy")
		}
		if err := checkTerms(job, o.Model, o.Training, schema); (err == nil) != (name == "") {
			t.Errorf("%s differs: %v", name, err)
		}
	}
}
