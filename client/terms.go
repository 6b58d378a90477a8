package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"credence/datasets"
	"credence/fl"
	"credence/models"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
	"credence/zk/trained"
)

// TrainedOptions are what an owner says about a job at proof level trained
// beside its model and training. Zero values have defaults.
type TrainedOptions struct {
	// Rows is the capacity of a node's table: the most training rows that a node
	// may have. Proofs cost by it, used or not. No default.
	Rows int `yaml:"rows"`
	// FeatureBits is the width of a feature on the grid of 2^-8: with b bits, after
	// the schema's normalisation, features are in [-2^(b-9), 2^(b-9)). Default 14.
	FeatureBits int `yaml:"feature_bits"`
	// ClipFeatures sets features beyond that range to its end; without it a node
	// that has one cannot join.
	ClipFeatures bool `yaml:"clip_features"`
	// StepsPerProof cuts a long training into proofs of so many steps each; 0: one.
	StepsPerProof int `yaml:"steps_per_proof"`
	// Require and MinClassRows are what every node must prove of its rows when it
	// joins.
	Require      []datasets.Requirement `yaml:"require"`
	MinClassRows map[string]int         `yaml:"min_class_rows"`
}

const (
	defaultFeatureBits = 14
	// NotProven is what level trained does not prove, for whoever chooses it.
	NotProven = `that the data are true, that labels were not flipped or rows repeated before
the commitment, or that a node has no other data`
)

// trainedTerms puts what an owner asks for into the words of the proofs. It
// refuses models and training that cannot be proven, and says what to change.
func trainedTerms(model models.Spec, training models.TrainConfig, schema *datasets.Schema, o TrainedOptions) (*fl.TrainedTerms, error) {
	refuse := func(format string, args ...any) (*fl.TrainedTerms, error) {
		return nil, fmt.Errorf("proof level trained: %s", fmt.Sprintf(format, args...))
	}
	if o.FeatureBits == 0 {
		o.FeatureBits = defaultFeatureBits
	}
	m, local, err := models.FixedPoint(model, training)
	if err != nil {
		return nil, err
	}
	if local.Epochs > 0 {
		if local.Batch > 0 {
			return refuse("epochs of batches are another number of steps at every node: set steps, or leave batch_size out")
		}
		local.Steps = local.Epochs
	}
	t := &fl.TrainedTerms{
		Kind: string(m.Kind), Features: m.Features, Outputs: m.Outputs, Hidden: m.Hidden, LearningRate: local.LearningRate,
		Steps: local.Steps, Batch: local.Batch, PartSteps: o.StepsPerProof, Seed: local.Seed, ClipFeatures: o.ClipFeatures,
	}
	layout := tabular.Layout{Rows: o.Rows, Features: m.Features, Kind: tabular.OneHot, Targets: m.Outputs, Bits: o.FeatureBits}
	switch m.Kind {
	case fixedpoint.Linear:
		layout.Kind = tabular.Real
	case fixedpoint.Logistic:
		layout.Kind = tabular.Binary
	}
	if err := layout.Check(); err != nil {
		return refuse("trained.rows %d, feature_bits %d: %s", o.Rows, o.FeatureBits, err)
	}
	t.Table = layout.Name()
	digest, err := schema.Digest()
	if err != nil {
		return nil, err
	}
	t.TableSchema = digest
	if len(o.Require) == 0 && len(o.MinClassRows) == 0 {
		return t, nil
	}
	requirements, err := schema.Requirements(layout, o.Require, o.MinClassRows)
	if err != nil {
		return nil, err
	}
	t.Requirements, err = json.Marshal(requirements)
	return t, err
}

// checkTerms checks that the terms that a job's proofs rest on say what its
// model, training and schema say: an aggregator reads only the former.
func checkTerms(job *trained.Job, model models.Spec, training models.TrainConfig, schema *datasets.Schema) error {
	t := job.Spec.Trained
	layout := job.Table.Layout
	want, err := trainedTerms(model, training, schema, TrainedOptions{
		Rows: layout.Rows, FeatureBits: layout.Bits, ClipFeatures: t.ClipFeatures, StepsPerProof: t.PartSteps,
	})
	if err != nil {
		return err
	}
	want.Requirements = t.Requirements // in the units of the features, as the owner asks them
	if !reflect.DeepEqual(want, t) {
		return errors.New("the terms that the job's proofs are to show are not those of its model, training and schema")
	}
	return nil
}
