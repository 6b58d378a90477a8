package zk

import (
	"fmt"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/training"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// TrainingShapeOf returns the shape of a whole local training in one proof: what
// a job fixes, for every client and round. Jobs that count epochs need full
// batches, because the number of steps may not depend on a client's rows.
func TrainingShapeOf(l tabular.Layout, m fixedpoint.Model, local fixedpoint.Local, clip fl.Clip, s *he.Suite) (*training.Shape, error) {
	batches := local.Batch > 0
	if batches && local.Epochs > 0 {
		return nil, fmt.Errorf("%w: epochs in batches of %d are another number of steps for each client: set steps", ErrScope, local.Batch)
	}
	steps, err := local.Count(1)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScope, err)
	}
	return training.NewShape(l, m, steps, batches, clip.Norm > 0, training.Whole, s)
}

// TrainingStatementOf returns the statement of a client's training in a round.
// Everything but the messages follows from the plan, the global model it
// starts from, the job's settings and the client's registered table, so prover
// and verifiers derive the same one. Scope is ScopeOf's; the messages are set
// once the update is attested.
func TrainingStatementOf(plan fl.Plan, scope *Scope, m fixedpoint.Model, global []float32, local fixedpoint.Local, data *TableCommitment, rows int) (*TrainingStatement, error) {
	assigned, ok := plan.Assigned(scope.Client)
	if !ok {
		return nil, fmt.Errorf("%w: the plan does not name %s", ErrScope, scope.Client)
	}
	base, err := m.Weights(global)
	if err != nil {
		return nil, fmt.Errorf("zk: the plan's base model: %w", err)
	}
	steps, err := m.LocalSteps(local, rows)
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
