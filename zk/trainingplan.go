package zk

import (
	"fmt"

	"credence/fl"
	"credence/zk/fixedpoint"
)

// A LocalTraining is what a job fixes of a client's gradient steps.
type LocalTraining struct {
	LearningRate float64
	Steps        int    // gradient steps; with Epochs 0
	Epochs       int    // passes over the rows; with Steps 0
	Batch        int    // rows a step; 0 means all
	Seed         uint64 // public: the order of the rows in each epoch
}

// Count is the number of gradient steps on so many rows.
func (c LocalTraining) Count(rows int) (int, error) {
	if rows < 1 || c.Batch < 0 || c.Steps < 0 || c.Epochs < 0 || (c.Steps == 0) == (c.Epochs == 0) {
		return 0, fmt.Errorf("%w: %d steps and %d epochs in batches of %d over %d rows: set either steps or epochs", ErrScope, c.Steps, c.Epochs, c.Batch, rows)
	}
	if c.Steps > 0 {
		return c.Steps, nil
	}
	per := 1
	if c.Batch > 0 && c.Batch < rows {
		per = (rows + c.Batch - 1) / c.Batch
	}
	if c.Epochs > fixedpoint.MaxSteps/per {
		return 0, fmt.Errorf("%w: %d epochs of %d steps: want at most %d steps", ErrScope, c.Epochs, per, fixedpoint.MaxSteps)
	}
	return c.Epochs * per, nil
}

// TrainingStatementOf returns the statement of a client's training in a round.
// Everything but the messages follows from the plan, the global model it
// starts from, the job's settings and the client's registered table, so prover
// and verifiers derive the same one. Scope is ScopeOf's; the messages are set
// once the update is attested.
func TrainingStatementOf(plan fl.Plan, scope *Scope, m fixedpoint.Model, global []float32, local LocalTraining, data *TableCommitment, rows int) (*TrainingStatement, error) {
	assigned, ok := plan.Assigned(scope.Client)
	if !ok {
		return nil, fmt.Errorf("%w: the plan does not name %s", ErrScope, scope.Client)
	}
	base, err := m.Weights(global)
	if err != nil {
		return nil, fmt.Errorf("zk: the plan's base model: %w", err)
	}
	count, err := local.Count(rows)
	if err != nil {
		return nil, err
	}
	steps, err := m.Steps(local.LearningRate, rows, local.Batch, count, local.Seed)
	if err != nil {
		return nil, fmt.Errorf("zk: the plan's steps: %w", err)
	}
	q, err := fixedpoint.NewQuantiser(plan.Clip.Value, plan.Clip.Norm, plan.ValueBits, assigned.Weight, plan.WeightUnit)
	if err != nil {
		return nil, fmt.Errorf("zk: the plan's clipping: %w", err)
	}
	noise := make([]uint32, len(base))
	source := fl.RoundingSource(plan, scope.Client)
	for i := range noise {
		noise[i] = uint32(source.Uint64() >> (64 - fixedpoint.NoiseBits))
	}
	return &TrainingStatement{Scope: scope, Table: data, Rows: rows, Base: base, Steps: steps, Quantiser: q, Noise: noise}, nil
}
