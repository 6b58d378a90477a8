package trained

import (
	"errors"
	"fmt"
	"slices"

	"credence/fl"
	"credence/he"
	"credence/zk"
	"credence/zk/circuit/rlwe"
	"credence/zk/circuit/table"
	"credence/zk/circuit/training"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

var (
	// ErrTerms: a job whose training cannot be proven, and why.
	ErrTerms = errors.New("trained: the job's terms are refused")
	// ErrDataset: a dataset commitment that is not for the job, or not proven.
	ErrDataset = errors.New("trained: the dataset commitment is refused")
	// ErrTraining: an update whose training is not proven.
	ErrTraining = errors.New("trained: the training attestation is refused")
)

// A Job is a job at proof level trained, with everything that its terms imply.
// It is immutable.
type Job struct {
	Spec  fl.JobSpec
	Model fixedpoint.Model
	// Table is what the job fixes about every node's table.
	Table tabular.Spec
	// Requirements on every node's rows; nil when the job has none.
	Requirements *tabular.Requirements

	linked                   *rlwe.Shape
	registration, validation *table.Shape    // validation is nil without requirements
	final, inner             *training.Shape // inner is nil when one proof covers all steps
}

// Read checks that the training of a job can be proven under a suite, and
// derives its circuits. The job itself is valid (fl.JobSpec.Validate).
func Read(spec fl.JobSpec, suite *he.Suite) (*Job, error) {
	j, err := read(spec, suite)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTerms, err)
	}
	return j, nil
}

func read(spec fl.JobSpec, suite *he.Suite) (*Job, error) {
	t := spec.Trained
	if !spec.ProofLevel.Trained() || t == nil {
		return nil, fmt.Errorf("proof level %s: no training is to be proven", spec.ProofLevel)
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	j := &Job{Spec: spec, Model: fixedpoint.Model{Kind: fixedpoint.Kind(t.Kind), Features: t.Features, Outputs: t.Outputs, Hidden: t.Hidden}}
	if err := j.Model.Validate(); err != nil {
		return nil, err
	}
	if n := j.Model.Parameters(); n != spec.Parameters {
		return nil, fmt.Errorf("the job says %d parameters, a %s of %d features, %d outputs and %d hidden units has %d", spec.Parameters, t.Kind, t.Features, t.Outputs, t.Hidden, n)
	}
	layout, err := tabular.ParseLayout(t.Table)
	if err != nil {
		return nil, err
	}
	j.Table = TableSpec(layout, t.ClipFeatures, t.TableSchema)
	if err := j.Model.CheckSpec(j.Table); err != nil {
		return nil, err
	}
	if len(t.Requirements) > 0 {
		j.Requirements = new(tabular.Requirements)
		if err := fl.DecodeCanonical(t.Requirements, j.Requirements); err != nil {
			return nil, fmt.Errorf("its requirements on data: %w", err)
		}
	}
	if err := j.CheckRows(layout.Rows); err != nil {
		return nil, fmt.Errorf("a full table: %w", err)
	}
	if _, err := fixedpoint.NewQuantiser(spec.Clip.Value, spec.Clip.Norm, suite.ValueBits(), 1, 1); err != nil {
		return nil, err
	}
	return j, j.shapes(suite)
}

// TableSpec is what a job with such terms fixes about its tables: features, and
// real targets, are on the grid of proven training.
func TableSpec(layout tabular.Layout, clip bool, schema fl.Digest) tabular.Spec {
	s := tabular.Spec{Layout: layout, Frac: fixedpoint.FeatureFraction, Clip: clip, Schema: schema}
	if layout.Kind == tabular.Real {
		s.TargetFrac = fixedpoint.FeatureFraction
	}
	return s
}

// shapes derives the circuits.
func (j *Job) shapes(suite *he.Suite) error {
	t := j.Spec.Trained
	var err error
	if j.linked, err = rlwe.LinkedShape(suite); err != nil {
		return err
	}
	if j.registration, err = table.NewShape(table.Registration, j.Table.Layout); err != nil {
		return err
	}
	if j.Requirements != nil {
		if j.validation, err = table.NewShape(table.Validation, j.Table.Layout); err != nil {
			return err
		}
	}
	part, steps := training.Whole, t.Steps
	if t.PartSteps > 0 {
		part, steps = training.Last, t.PartSteps
		if j.inner, err = training.NewShape(j.Table.Layout, j.Model, steps, t.Batch > 0, false, training.Inner, suite); err != nil {
			return err
		}
	}
	j.final, err = training.NewShape(j.Table.Layout, j.Model, steps, t.Batch > 0, j.Spec.Clip.Norm > 0, part, suite)
	return err
}

// Circuits names the circuits of the job's proofs, in a fixed order.
func (j *Job) Circuits() []string {
	names := []string{j.linked.Name, j.registration.Name()}
	if j.validation != nil {
		names = append(names, j.validation.Name())
	}
	if j.inner != nil {
		names = append(names, j.inner.Name())
	}
	return append(names, j.final.Name())
}

// Missing returns the circuits of the job that a proof-keys document names no
// keys for, or, of a local set-up, keys of another one than the encryption's: a
// later job with larger tables has brought its own.
func (j *Job) Missing(keys fl.ProofKeys) []string {
	linked, _ := keys.Circuit(j.linked.Name)
	return slices.DeleteFunc(j.Circuits(), func(name string) bool {
		c, ok := keys.Circuit(name)
		return ok && (keys.Setup != fl.SetupLocal || c.SRS == linked.SRS)
	})
}

// SameKeys reports whether two proof-keys documents name the same keys for the
// job's circuits.
func (j *Job) SameKeys(a, b fl.ProofKeys) bool {
	for _, name := range j.Circuits() {
		x, inA := a.Circuit(name)
		y, inB := b.Circuit(name)
		if !inA || !inB || x != y {
			return false
		}
	}
	return true
}

// CheckRows refuses a number of rows that the job's steps or requirements
// cannot be proven for.
func (j *Job) CheckRows(rows int) error {
	if rows < 1 || rows > j.Table.Layout.Rows {
		return fmt.Errorf("%d rows: tables of this job hold 1 to %d", rows, j.Table.Layout.Rows)
	}
	// The rates of all steps; the steps themselves may take much memory.
	t := j.Spec.Trained
	sizes := []int{rows}
	if t.Batch > 0 && t.Batch < rows {
		sizes[0] = t.Batch
		if last := rows % t.Batch; last > 0 && t.Steps > rows/t.Batch {
			sizes = append(sizes, last)
		}
	}
	for _, size := range sizes {
		if _, err := j.Model.Rate(t.LearningRate, size); err != nil {
			return err
		}
	}
	if j.Requirements == nil {
		return nil
	}
	_, err := j.Requirements.Limits(j.Table, rows)
	return err
}

// CheckWeight refuses a plan in which a client's weight does not follow from
// its proven rows.
func (j *Job) CheckWeight(plan fl.Plan, d fl.DatasetCommitment) error {
	assigned, in := plan.Assigned(d.Node)
	if !in {
		return fmt.Errorf("%w: the plan does not name %s", ErrDataset, d.Node)
	}
	rows := d.Rows
	if limit := j.Spec.SampleCap; limit > 0 {
		rows = min(rows, limit)
	}
	weights, _, err := fl.Weights(j.Spec.Strategy, map[fl.NodeID]int64{d.Node: rows})
	if err != nil {
		return err
	}
	if want := weights[d.Node]; assigned.Weight != want {
		return fmt.Errorf("%w: the plan gives %s weight %d, from its proven %d rows follows %d", ErrDataset, d.Node, assigned.Weight, d.Rows, want)
	}
	return nil
}

// local is the job's training in a round. The order of the rows follows from
// public seeds, as at the other levels.
func (j *Job) local(plan fl.Plan) fixedpoint.Local {
	t := j.Spec.Trained
	return fixedpoint.Local{LearningRate: t.LearningRate, Steps: t.Steps, Batch: t.Batch, Seed: t.Seed ^ (plan.Seed + plan.Round*0x9e3779b97f4a7c15)}
}

// Statement is what a client of a plan attests about its training: everything
// but the messages, which follow from the attestation of the encryption.
// Global is the plan's base model. Scope is zk.ScopeOf's.
func (j *Job) Statement(plan fl.Plan, scope *zk.Scope, global []float32, d fl.DatasetCommitment) (*zk.TrainingStatement, error) {
	commitment, err := zk.ParseTableCommitment(d.Commitment)
	if err != nil {
		return nil, err
	}
	return zk.TrainingStatementOf(plan, scope, j.Model, global, j.local(plan), commitment, int(d.Rows)) // #nosec G115 -- checked with the dataset
}

// CheckDocument checks that a dataset commitment is of this job and this node,
// of the job's tables, and of a number of rows that it can be trained with. It
// checks no proof.
func (j *Job) CheckDocument(jobID fl.Digest, node fl.NodeID, d fl.DatasetCommitment) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrDataset, fmt.Sprintf(format, args...))
	}
	switch {
	case d.Genesis != j.Spec.Genesis || d.Job != j.Spec.Job || d.JobSpec != jobID:
		return refuse("it is for another federation, job or version of the job")
	case d.Node != node:
		return refuse("it is %s's, not %s's", d.Node, node)
	case d.Spec != j.Table.Digest():
		return refuse("it is of another layout, schema or quantisation than the job's tables")
	case d.Validation.IsZero() != (j.Requirements == nil):
		return refuse("the job's requirements on data and its proof that they are met do not go together")
	case d.Rows > int64(j.Table.Layout.Rows):
		return refuse("%d rows: tables of this job hold 1 to %d", d.Rows, j.Table.Layout.Rows)
	}
	if err := j.CheckRows(int(d.Rows)); err != nil {
		return refuse("%s", err)
	}
	return nil
}
