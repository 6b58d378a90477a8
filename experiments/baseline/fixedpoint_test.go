package baseline

import (
	"context"
	"math"
	"testing"

	"credence/datasets"
	"credence/models"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// The same learner, from the same initial parameters and with the same steps,
// in float32 by gorgonia and in integers by package fixedpoint, whose features
// are rounded to 2^-8 as well: test accuracy differs by at most one row in a
// hundred. The figures are in docs/benchmarks.md.
func TestFixedPointLearnsAsWell(t *testing.T) {
	for _, tc := range []struct {
		data     string
		model    fixedpoint.Model
		training models.TrainConfig
	}{
		{datasets.BreastCancer, fixedpoint.Model{Kind: fixedpoint.Linear, Features: 30, Outputs: 2}, models.TrainConfig{LearningRate: 0.05, Steps: 50}},
		{datasets.BreastCancer, fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 30, Outputs: 1}, models.TrainConfig{LearningRate: 0.5, Steps: 50}},
		{datasets.BreastCancer, fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 30, Outputs: 1}, models.TrainConfig{LearningRate: 0.2, Steps: 56, BatchSize: 32, Seed: 1}},
		{datasets.Digits, fixedpoint.Model{Kind: fixedpoint.Softmax, Features: 64, Outputs: 10}, models.TrainConfig{LearningRate: 1, Steps: 60}},
		{datasets.Digits, fixedpoint.Model{Kind: fixedpoint.MLP, Features: 64, Outputs: 10, Hidden: 32}, models.TrainConfig{LearningRate: 0.3, Steps: 90, BatchSize: 64, Seed: 1}},
	} {
		ds, err := datasets.Builtin(tc.data)
		if err != nil {
			t.Fatal(err)
		}
		spec := models.Spec{Kind: models.Kind(tc.model.Kind), Inputs: ds.Train.Features, Classes: ds.Train.Classes}
		if tc.model.Hidden > 0 {
			spec.Hidden = []int{tc.model.Hidden}
		}
		m, err := models.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		const seed = 1
		float, err := Central(context.Background(), spec, tc.training, ds.Train, seed)
		if err != nil {
			t.Fatal(err)
		}

		layout := tabular.Layout{Rows: ds.Train.Rows, Features: ds.Train.Features, Targets: tc.model.Outputs, Bits: 12}
		frac := 0
		switch tc.model.Kind {
		case fixedpoint.Linear:
			layout.Kind, frac = tabular.Real, fixedpoint.FeatureFraction
		case fixedpoint.Logistic:
			layout.Kind = tabular.Binary
		default:
			layout.Kind = tabular.OneHot
		}
		table, report, err := datasets.Tabulate(ds.Train, nil, tabular.Spec{
			Layout: layout, Frac: fixedpoint.FeatureFraction, TargetFrac: frac, Clip: true, Schema: [32]byte{1},
		})
		if err != nil {
			t.Fatal(err)
		}
		start, err := tc.model.Weights(m.Init(seed))
		if err != nil {
			t.Fatal(err)
		}
		steps, err := tc.model.Steps(tc.training.LearningRate, ds.Train.Rows, tc.training.BatchSize, tc.training.Steps, tc.training.Seed)
		if err != nil {
			t.Fatal(err)
		}
		run, err := tc.model.Train(table, start, steps)
		if err != nil {
			t.Fatal(err)
		}
		var accuracy [2]float64
		for i, params := range [][]float32{float, fixedpoint.Params(run.End())} {
			e, err := m.Evaluate(params, ds.Test)
			if err != nil {
				t.Fatal(err)
			}
			accuracy[i] = e.Accuracy()
		}
		t.Logf("%s, %s, %d steps of %d rows: float %.4f, fixed point %.4f (%d test rows, %d cells clipped)",
			tc.data, tc.model.Kind, tc.training.Steps, tc.training.BatchSize, accuracy[0], accuracy[1], ds.Test.Rows, report.Clipped)
		if math.Abs(accuracy[0]-accuracy[1]) > 0.01 || accuracy[1] < 0.8 {
			t.Errorf("%s, %s: accuracy %.4f in floats and %.4f in fixed point", tc.data, tc.model.Kind, accuracy[0], accuracy[1])
		}
	}
}
