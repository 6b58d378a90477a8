package fl

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// TrainedTerms are what a job at level trained fixes of its clients' local
// training and of the tables it trains on, in the words of the proofs, so that
// an aggregator, a committee member and an auditor can check proofs without
// reading models and data. Nodes check that they say what the job's model,
// training and schema say. What a combination must satisfy beyond the ranges
// here is checked by package zk/trained, which every party runs.
type TrainedTerms struct {
	Kind     string `json:"kind"`             // linear, logistic, softmax or mlp (zk/fixedpoint)
	Features int    `json:"features"`         // inputs of the model
	Outputs  int    `json:"outputs"`          // 1 for logistic, else the classes
	Hidden   int    `json:"hidden,omitempty"` // hidden units of an mlp

	LearningRate float64 `json:"learning_rate"` // of plain gradient descent
	Steps        int     `json:"steps"`         // gradient steps a round, 1 to MaxTrainedSteps
	Batch        int     `json:"batch"`         // rows a step; 0: all rows
	// PartSteps is how many steps one proof covers, for trainings that are too
	// large for one; 0: all of them. It divides Steps.
	PartSteps int    `json:"part_steps,omitempty"`
	Seed      uint64 `json:"seed"` // public: with the plan's seed and round, the order of the rows

	// Table is the layout of every node's table (zk/tabular.Layout.Name): its
	// capacity in rows, its columns and the bits of a feature.
	Table string `json:"table"`
	// TableSchema identifies the schema behind the table (datasets.Schema.Digest).
	TableSchema Digest `json:"table_schema"`
	// ClipFeatures sets a feature beyond the table's range to its end. Without it a
	// node with such a value cannot join.
	ClipFeatures bool `json:"clip_features"`
	// Requirements are what every node's rows must satisfy and prove when joining
	// (zk/tabular.Requirements, canonical JSON); none when absent.
	Requirements json.RawMessage `json:"requirements,omitempty"`
}

// MaxTrainedSteps is the most gradient steps of a proven local training.
const MaxTrainedSteps = 1 << 10

// Validate checks the ranges that need no other package.
func (t TrainedTerms) Validate() error {
	switch {
	case t.Kind == "" || t.Table == "":
		return errors.New("trained: names no kind of model or no table")
	case t.Features < 1 || t.Outputs < 1 || t.Hidden < 0:
		return fmt.Errorf("trained: %d features, %d outputs, %d hidden units: want at least 1 of each, or no hidden ones", t.Features, t.Outputs, t.Hidden)
	case !(t.LearningRate > 0) || math.IsInf(t.LearningRate, 0):
		return fmt.Errorf("trained: learning rate %v: want a finite number above 0", t.LearningRate)
	case t.Steps < 1 || t.Steps > MaxTrainedSteps:
		return fmt.Errorf("trained: %d steps: want 1 to %d", t.Steps, MaxTrainedSteps)
	case t.Batch < 0:
		return fmt.Errorf("trained: batches of %d rows", t.Batch)
	case t.PartSteps < 0 || t.PartSteps >= t.Steps || t.PartSteps > 0 && t.Steps%t.PartSteps != 0:
		return fmt.Errorf("trained: parts of %d steps in a training of %d: want 0, or a smaller divisor", t.PartSteps, t.Steps)
	case t.TableSchema.IsZero():
		return errors.New("trained: names no schema for the table")
	}
	return nil
}

// validateTrained refuses what proofs of training do not speak of.
func (s JobSpec) validateTrained() error {
	if (s.ProofLevel == ProofTrained) != (s.Trained != nil) {
		return fmt.Errorf("job: proof level %s and the terms of proven training do not go together", s.ProofLevel)
	}
	if s.Trained == nil {
		if s.Rates.Training != 0 {
			return fmt.Errorf("job: a rate for proven training at proof level %s: want level %s, or no such rate", s.ProofLevel, ProofTrained)
		}
		return nil
	}
	switch {
	case !s.Strategy.PlainUpdate() || s.Strategy.ClientState():
		return fmt.Errorf("job: proof level %s cannot prove the local training of strategy %s: choose fedavg, fedsgd, fedavgm, fedadagrad, fedyogi, fedadam or cyclic", ProofTrained, s.Strategy.Name)
	case s.Strategy.Robust.Groups != 0:
		return fmt.Errorf("job: proof level %s does not go with robust groups: choose one of the two", ProofTrained)
	case s.Privacy.On():
		return fmt.Errorf("job: proof level %s does not go with noise for differential privacy, which changes the values that are proven: choose one of the two", ProofTrained)
	case s.Clip.PerShard:
		return fmt.Errorf("job: proof level %s bounds the norm of the whole update: leave clip.per_shard out", ProofTrained)
	}
	return s.Trained.Validate()
}

// DatasetCommitment is a node's promise of the rows that it trains a job on: a
// hiding commitment to its table, how many rows that has, and where the proofs
// of both are. The node makes it once, when it joins the job; every update is
// proven to be trained on this table and no other.
type DatasetCommitment struct {
	Genesis Digest `json:"genesis"`
	JobSpec Digest `json:"job_spec"`
	Job     JobID  `json:"job"`
	Node    NodeID `json:"node"`
	// ProofKeys is the document whose keys the proofs are for.
	ProofKeys Digest `json:"proof_keys"`
	// Spec is the digest of the table's specification (zk/tabular.Spec): layout,
	// schema and quantisation.
	Spec       Digest `json:"spec"`
	Commitment []byte `json:"commitment"` // zk.TableCommitment
	Rows       int64  `json:"rows"`       // proven, not declared
	// Registration is a blob: the proof that the table is well-formed and has Rows
	// rows. Validation is one too: that it satisfies the job's requirements; zero
	// when there are none.
	Registration Digest    `json:"registration"`
	Validation   Digest    `json:"validation,omitzero"`
	CommittedAt  time.Time `json:"committed_at"` // by the node's clock
}

// maxCommitment bounds an encoded commitment to a table.
const maxCommitment = 256

// Kind implements Document.
func (DatasetCommitment) Kind() Kind { return "dataset-commitment/v1" }

// Validate implements Document.
func (d DatasetCommitment) Validate() error {
	switch {
	case d.ProofKeys.IsZero() || d.Spec.IsZero() || d.Registration.IsZero():
		return errors.New("dataset commitment: names no proof keys, no specification or no registration")
	case len(d.Commitment) == 0 || len(d.Commitment) > maxCommitment:
		return fmt.Errorf("dataset commitment: a commitment of %d bytes: want 1 to %d", len(d.Commitment), maxCommitment)
	case d.Rows < 1 || d.Rows > MaxSamples:
		return fmt.Errorf("dataset commitment: %d rows: want 1 to %d", d.Rows, int64(MaxSamples))
	}
	return firstError(validSubject(d.Genesis, d.JobSpec, d.Node), d.Job.Validate(), validTime("dataset commitment: committed_at", d.CommittedAt))
}
