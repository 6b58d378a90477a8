package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"credence/client"
	"credence/datasets"
	"credence/fl"
	"credence/models"
)

// maxJobFile bounds a job file; the largest real one is a few kilobytes.
const maxJobFile = 1 << 20

// jobFile is a job as its owner writes it down. Missing keys have defaults,
// unknown ones are errors.
type jobFile struct {
	Job      fl.JobID           `yaml:"job"`
	Schema   string             `yaml:"schema"` // path, relative to the job file
	Model    models.Spec        `yaml:"model"`
	Training models.TrainConfig `yaml:"training"`
	Strategy fl.StrategySpec    `yaml:"strategy"`
	Clip     fl.Clip            `yaml:"clip"`

	Privacy       client.PrivacyOptions `yaml:"privacy"`
	Rounds        int                   `yaml:"rounds"`
	CohortSize    int                   `yaml:"cohort_size"`
	MinCohort     int                   `yaml:"min_cohort"`
	RoundDeadline time.Duration         `yaml:"round_deadline"`
	ProofLevel    fl.ProofLevel         `yaml:"proof_level"`
	SampleCap     int64                 `yaml:"sample_cap"`
	StepCap       int64                 `yaml:"step_cap"`
	Trained       client.TrainedOptions `yaml:"trained"`
	Budget        int64                 `yaml:"budget"`
	Rates         fl.Rates              `yaml:"rates"`
	Seed          uint64                `yaml:"seed"`
}

// jobExample is a complete job file; `credence job example` prints it and the
// demonstration runs it.
const jobExample = `# What a federation is to train, and what its owner pays for it.
# Submit it: credence job submit job.yaml --dir OWNER

# A name that no other job of the federation has.
job: screening

# The data that a node must have: the path of a schema, from this file's folder.
schema: schema.yaml

# The model: linear, logistic, softmax, mlp (with hidden: [64, 32] and
# activation: relu, tanh or sigmoid) or cnn. Its inputs and classes follow from
# the schema.
model:
  kind: logistic

# What each node does in a round: optimizer sgd, momentum or adam; either epochs
# or steps; batch_size 0 means all rows. The learning rate may follow the rounds
# (schedule: {kind: cosine, warmup: 2}), and epochs may end early
# (early_stop: {patience: 2}).
training:
  optimizer: sgd
  learning_rate: 0.1
  epochs: 2
  batch_size: 16

# How the mean of the updates becomes the next model, weighted by samples or
# uniform: fedavg, fedsgd, fedprox, fedavgm, fedadagrad, fedyogi, fedadam,
# scaffold, fednova, cyclic, fedper or ditto; their settings and robust groups
# are in docs/strategies.md. (Default: as here.)
strategy:
  name: fedavg
  server_learning_rate: 1
  weighting: samples

# Bounds on an update: of each value, and of the whole in L2 norm (0: none).
# The quantiser's range is the first. (Default: as here.)
clip:
  value: 1
  norm: 0

# Differential privacy: noise that every node adds before it encrypts. It needs
# clip.norm. Either epsilon (what all rounds together may spend) or
# noise_multiplier; delta; and how many nodes of a sum are honest: min_honest,
# or honest_fraction of the minimum cohort. (Default: none, epsilon: infinity.)
# privacy:
#   epsilon: 8
#   delta: 1e-5
#   min_honest: 2

rounds: 12           # models to publish
round_deadline: 2m   # for the updates of one round (default: 5m)
cohort_size: 0       # nodes sampled for a round; 0: all that joined
min_cohort: 0        # fewest updates in a sum; 0: the federation's minimum
proof_level: ""      # none, bounded or trained; "": the federation's minimum
sample_cap: 0        # most rows that a node's weight and pay count; 0: no cap
step_cap: 0          # most optimiser steps that its pay counts; 0: no cap
seed: 5              # public: initial model, cohorts, order of the rows

# At proof_level trained every update is proven to be what these steps give on
# the rows that a node committed to when it joined: plain sgd, and linear,
# logistic, softmax, or an mlp with one hidden layer of relu. It is not proven
# that the data are true, that labels were not flipped or rows repeated before
# the commitment, or that a node has no other data.
#
# trained:
#   rows: 256            # most training rows of a node; proofs cost by it
#   feature_bits: 14     # features, normalised, are within 2^(feature_bits-9)
#   clip_features: false # true: set features beyond that to its end
#   steps_per_proof: 0   # cut long trainings into proofs of so many steps
#   require:             # what a node proves of its rows before it joins
#     - {column: mean radius, min: 0, mean_max: 30, missing_max: 0.1}
#   min_class_rows: {malignant: 5}

# Credits put into escrow, and their division in parts per thousand. What is
# left at the end comes back. (Default of the rates: as here.)
budget: 1200
rates:
  work: 700
  timeliness: 100
  committee: 150
  operator: 50
  training: 0        # for proven training; proof_level trained only
`

// typeNames are what the YAML library calls our types in its messages.
var typeNames = regexp.MustCompile(` in type [\w.]+`)

// parseJob reads a job file's text. Errors name the line where there is one.
func parseJob(name string, text []byte) (jobFile, error) {
	f := jobFile{
		Strategy:      fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip:          fl.Clip{Value: 1},
		RoundDeadline: 5 * time.Minute,
	}
	if len(text) > maxJobFile {
		return f, fmt.Errorf("%s: %d bytes: a job file has at most %d", name, len(text), maxJobFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	err := dec.Decode(&f)
	var wrong *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF):
		return f, fmt.Errorf("%s is empty; an example: credence job example", name)
	case errors.As(err, &wrong):
		return f, fmt.Errorf("%s: %s; what may stand there: credence job example", name, typeNames.ReplaceAllString(strings.Join(wrong.Errors, "; "), ""))
	case err != nil:
		return f, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("%s: something follows the job after a line \"---\": one job a file", name)
	}
	if f.Rates == (fl.Rates{}) {
		f.Rates = fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}
	}
	return f, f.validate(name)
}

func (f jobFile) validate(name string) error {
	switch {
	case f.Job == "":
		return fmt.Errorf("%s: job is missing: want a name", name)
	case f.Schema == "":
		return fmt.Errorf("%s: schema is missing: want the path of a schema.yaml", name)
	case f.Rounds < 1:
		return fmt.Errorf("%s: rounds: want at least 1", name)
	case f.RoundDeadline < time.Second || f.RoundDeadline%time.Second != 0:
		return fmt.Errorf("%s: round_deadline: %s: want whole seconds, at least 1s", name, f.RoundDeadline)
	}
	for _, err := range []error{f.Job.Validate(), f.Training.Validate(), f.Strategy.Validate(), f.Clip.Validate(), f.Privacy.Validate(), f.Rates.Validate()} {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// options completes a job with its schema.
func (f jobFile) options(schema *datasets.Schema, text string) (client.JobOptions, error) {
	m := f.Model
	if m.Inputs == 0 {
		m.Inputs = schema.Features()
	}
	if m.Classes == 0 {
		m.Classes = len(schema.Classes())
	}
	if m.Inputs != schema.Features() || m.Classes != len(schema.Classes()) {
		return client.JobOptions{}, fmt.Errorf("the model has %d inputs and %d classes, the schema %s has %d and %d; leave both out of the job file",
			m.Inputs, m.Classes, schema.Name, schema.Features(), len(schema.Classes()))
	}
	if err := m.Validate(); err != nil {
		return client.JobOptions{}, err
	}
	return client.JobOptions{
		Job: f.Job, SchemaText: text, Model: m, Training: f.Training, Strategy: f.Strategy, Clip: f.Clip, Privacy: f.Privacy,
		Rounds: f.Rounds, CohortSize: f.CohortSize, MinCohort: f.MinCohort, RoundDeadline: int(f.RoundDeadline / time.Second),
		ProofLevel: f.ProofLevel, Trained: f.Trained, SampleCap: f.SampleCap, StepCap: f.StepCap, Budget: f.Budget, Rates: f.Rates, Seed: f.Seed,
	}, nil
}

// loadJob reads a job file and the schema that it names.
func loadJob(path string) (client.JobOptions, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return client.JobOptions{}, fmt.Errorf("reading the job: %w", err)
	}
	f, err := parseJob(path, text)
	if err != nil {
		return client.JobOptions{}, err
	}
	if !filepath.IsAbs(f.Schema) {
		f.Schema = filepath.Join(filepath.Dir(path), f.Schema)
	}
	schemaText, err := os.ReadFile(f.Schema)
	if err != nil {
		return client.JobOptions{}, fmt.Errorf("%s: reading its schema: %w", path, err)
	}
	schema, err := datasets.ParseSchema(f.Schema, schemaText)
	if err != nil {
		return client.JobOptions{}, err
	}
	o, err := f.options(schema, string(schemaText))
	if err != nil {
		return client.JobOptions{}, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}
