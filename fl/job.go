package fl

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Bounds on a job. They keep every sum of the protocol far from overflow and
// every document far from MaxDocument.
const (
	MaxParameters = 64 << 20
	MaxRounds     = 100_000
	MaxSamples    = 1 << 40
	MaxBudget     = 1 << 50
)

// Clip bounds a client's update before it is quantised.
type Clip struct {
	// Value is the L-infinity bound: each coordinate of the update is clipped
	// to [-Value, Value]. It is also the range of the quantiser.
	Value float64 `json:"value" yaml:"value"`
	// Norm is the L2 bound of the whole update; 0 means none.
	Norm float64 `json:"norm" yaml:"norm"`
	// PerShard splits Norm over the shards, in proportion to the root of their
	// lengths, and bounds each by its part (McMahan et al., ICLR 2018, section
	// 2.2, there for layers): one large shard then does not shrink the others.
	PerShard bool `json:"per_shard,omitempty" yaml:"per_shard,omitempty"`
}

// Validate refuses bounds that are not finite or not positive.
func (c Clip) Validate() error {
	if !(c.Value > 0) || math.IsInf(c.Value, 0) || !(c.Norm >= 0) || math.IsInf(c.Norm, 0) {
		return fmt.Errorf("clip: value %v, norm %v: want a finite value > 0 and a finite norm >= 0", c.Value, c.Norm)
	}
	if c.PerShard && c.Norm == 0 {
		return errors.New("clip: per_shard without a norm: there is nothing to split")
	}
	return nil
}

// Rates divide what a round pays, in parts per thousand of the round's
// share of the budget. They sum to 1000.
type Rates struct {
	Work       int `json:"work" yaml:"work"`
	Timeliness int `json:"timeliness" yaml:"timeliness"`
	Committee  int `json:"committee" yaml:"committee"`
	Operator   int `json:"operator" yaml:"operator"`
	// Training is paid for work that is proven: at proof level trained, in the same
	// proportions as Work. Other jobs have none.
	Training int `json:"training,omitempty" yaml:"training,omitempty"`
}

// Validate refuses rates that are negative or do not sum to 1000.
func (r Rates) Validate() error {
	for _, rate := range []int{r.Work, r.Timeliness, r.Committee, r.Operator, r.Training} {
		if rate < 0 || rate > 1000 { // so that no sum overflows
			return fmt.Errorf("rates: %d: want parts per thousand", rate)
		}
	}
	if r.Work+r.Timeliness+r.Committee+r.Operator+r.Training != 1000 {
		return fmt.Errorf("rates: work %d, timeliness %d, committee %d, operator %d, training %d: want parts per thousand that sum to 1000", r.Work, r.Timeliness, r.Committee, r.Operator, r.Training)
	}
	return nil
}

// JobSpec is what a model owner asks a federation to do and what it pays. Its
// owner signs it.
type JobSpec struct {
	Genesis Digest `json:"genesis"`
	Job     JobID  `json:"job"`
	Owner   NodeID `json:"owner"`
	// Schema is the digest of the data schema that a node's data must follow;
	// SchemaText is that schema.
	Schema     Digest `json:"schema"`
	SchemaText string `json:"schema_text"`
	// Model and Training are read by the nodes (packages models and client);
	// to the aggregator they are opaque.
	Model         json.RawMessage `json:"model"`
	Training      json.RawMessage `json:"training"`
	Parameters    int             `json:"parameters"`    // length of the parameter vector
	InitialModel  Digest          `json:"initial_model"` // blob: see EncodeParameters
	Strategy      StrategySpec    `json:"strategy"`
	Clip          Clip            `json:"clip"`
	Privacy       Privacy         `json:"privacy,omitzero"` // differential privacy; zero for none
	Rounds        int             `json:"rounds"`           // rounds to publish
	CohortSize    int             `json:"cohort_size"`      // clients sampled a round; 0: every client that joined
	MinCohort     int             `json:"min_cohort"`       // at least the genesis'
	RoundDeadline int             `json:"round_deadline"`   // seconds from the plan to the seal
	ProofLevel    ProofLevel      `json:"proof_level"`
	// SampleCap and StepCap bound what a client's declared samples and
	// optimiser steps may count for in weights and payouts; 0 means no bound.
	SampleCap int64  `json:"sample_cap"`
	StepCap   int64  `json:"step_cap"`
	Budget    int64  `json:"budget"` // credits put into escrow
	Rates     Rates  `json:"rates"`
	Seed      uint64 `json:"seed"` // public: sampling, shuffling
	// Trained is there at proof level trained and at no other.
	Trained *TrainedTerms `json:"trained,omitempty"`
}

// Kind implements Document.
func (JobSpec) Kind() Kind { return "job/v1" }

// Validate implements Document.
func (s JobSpec) Validate() error {
	switch {
	case s.Genesis.IsZero():
		return errNoGenesis
	case s.Parameters < 1 || s.Parameters > MaxParameters:
		return fmt.Errorf("job: %d parameters: want 1 to %d", s.Parameters, MaxParameters)
	case s.InitialModel.IsZero():
		return errors.New("job: no initial model")
	case s.Schema != DigestBytes([]byte(s.SchemaText)):
		return errors.New("job: the schema's digest is not that of the schema's text")
	case s.Rounds < 1 || s.Rounds > MaxRounds:
		return fmt.Errorf("job: %d rounds: want 1 to %d", s.Rounds, MaxRounds)
	case s.MinCohort < 2:
		return fmt.Errorf("job: minimum cohort %d: want at least 2", s.MinCohort)
	case s.CohortSize != 0 && s.CohortSize < s.MinCohort:
		return fmt.Errorf("job: cohort size %d below the minimum cohort %d", s.CohortSize, s.MinCohort)
	case s.RoundDeadline < 1 || s.RoundDeadline > 30*24*3600:
		return fmt.Errorf("job: round deadline of %d s: want 1 s to 30 days", s.RoundDeadline)
	case s.Budget < 0 || s.Budget > MaxBudget:
		return fmt.Errorf("job: budget %d: want 0 to %d", s.Budget, int64(MaxBudget))
	case s.SampleCap < 0 || s.SampleCap > MaxSamples || s.StepCap < 0 || s.StepCap > MaxSamples:
		return fmt.Errorf("job: sample cap %d, step cap %d: want 0 to %d", s.SampleCap, s.StepCap, int64(MaxSamples))
	case len(s.Model) == 0 || len(s.Training) == 0:
		return errors.New("job: no model or no training")
	}
	if err := s.validateStrategy(); err != nil {
		return err
	}
	if err := s.validateTrained(); err != nil {
		return err
	}
	return firstError(s.Job.Validate(), s.Owner.Validate(), s.Clip.Validate(), s.Rates.Validate(), s.ProofLevel.Validate(), s.validatePrivacy())
}

// validateStrategy refuses strategies that a live federation cannot carry out
// for this job.
func (s JobSpec) validateStrategy() error {
	if err := s.Strategy.Validate(); err != nil {
		return err
	}
	if err := s.Strategy.live(); err != nil {
		return err
	}
	if err := s.Strategy.CheckClip(s.Clip); err != nil {
		return err
	}
	if _, err := s.Strategy.UploadSize(s.Parameters); err != nil {
		return err
	}
	if groups := s.Strategy.Robust.Groups; groups > 0 && s.CohortSize != 0 && s.CohortSize < groups*s.MinCohort {
		return fmt.Errorf("job: cohort size %d: %d groups of at least %d clients need %d; raise cohort_size or lower robust.groups",
			s.CohortSize, groups, s.MinCohort, groups*s.MinCohort)
	}
	return nil
}

// JobJoin is a node's consent to take part in a job, and what it declares it
// brings. The node checked the job against its own policy before it signed.
type JobJoin struct {
	Genesis Digest `json:"genesis"`
	JobSpec Digest `json:"job_spec"`
	Job     JobID  `json:"job"`
	Node    NodeID `json:"node"`
	// Samples is the number of training rows. It is public: it weighs the
	// update and the payout.
	Samples int64 `json:"samples"`
	// Dataset is the node's DatasetCommitment, whose rows Samples must be; zero but
	// at proof level trained.
	Dataset  Digest    `json:"dataset,omitzero"`
	JoinedAt time.Time `json:"joined_at"` // by the node's clock
}

// Kind implements Document.
func (JobJoin) Kind() Kind { return "job-join/v1" }

// Validate implements Document.
func (j JobJoin) Validate() error {
	if j.Samples < 1 || j.Samples > MaxSamples {
		return fmt.Errorf("job join: %d samples: want 1 to %d", j.Samples, int64(MaxSamples))
	}
	return firstError(validSubject(j.Genesis, j.JobSpec, j.Node), j.Job.Validate(), validTime("job join: joined_at", j.JoinedAt))
}

// JobCancel ends a job at its owner's wish; what is left in escrow returns.
type JobCancel struct {
	Genesis Digest `json:"genesis"`
	JobSpec Digest `json:"job_spec"`
	Job     JobID  `json:"job"`
	Owner   NodeID `json:"owner"`
	Reason  string `json:"reason"`
}

// Kind implements Document.
func (JobCancel) Kind() Kind { return "job-cancel/v1" }

// Validate implements Document.
func (c JobCancel) Validate() error {
	return firstError(validSubject(c.Genesis, c.JobSpec, c.Owner), c.Job.Validate())
}
