package trained

import (
	"fmt"

	"credence/fl"
	"credence/zk"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// Exact is what a client's training in a round comes to. A table, a plan and a
// base model leave nothing to choose, so a client's update is either this or
// refused.
type Exact struct {
	Values []int32   // one a parameter: what the client encrypts
	Change []float64 // of the parameters, before it was bounded and quantised
	Steps  int
}

// Train computes what a client of a plan gets when it trains its table from the
// plan's base model: the values that Statement's training gives, without a
// commitment or a proof. Errors of package fixedpoint say that training left the
// ranges of what can be proven.
func (j *Job) Train(plan fl.Plan, client fl.NodeID, global []float32, t *tabular.Table) (Exact, error) {
	st, err := zk.TrainingStatementOf(plan, &zk.Scope{Client: client}, j.Model, global, j.local(plan), nil, t.Used)
	if err != nil {
		return Exact{}, err
	}
	run, err := j.Model.Train(unpadded(t), st.Base, st.Steps)
	if err != nil {
		return Exact{}, fmt.Errorf("training: %w", err)
	}
	end := run.End()
	q, err := st.Quantiser.Quantise(st.Base, end, st.Noise)
	if err != nil {
		return Exact{}, fmt.Errorf("training: %w", err)
	}
	out := Exact{Values: q.Values, Change: make([]float64, len(end)), Steps: len(st.Steps)}
	for i := range end {
		out.Change[i] = float64(end[i]-st.Base[i]) / (1 << fixedpoint.WeightFraction)
	}
	return out, nil
}

// unpadded is a table without most of its padding, which weighs nothing and
// costs as much as rows. It shares the table's memory.
func unpadded(t *tabular.Table) *tabular.Table {
	small := *t
	small.Layout.Rows = max(t.Used, tabular.MinRows)
	small.Cells = t.Cells[:small.Layout.Cells()]
	return &small
}
