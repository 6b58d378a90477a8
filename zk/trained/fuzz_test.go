package trained

import (
	"encoding/json"
	"testing"

	"credence/fl"
	"credence/he"
)

// FuzzRead: whatever terms an owner signs, reading them is an error or gives a
// job that can be asked everything, without a panic.
func FuzzRead(f *testing.F) {
	for _, edit := range []func(*fl.TrainedTerms){
		func(*fl.TrainedTerms) {},
		func(t *fl.TrainedTerms) { t.PartSteps = 2 },
		func(t *fl.TrainedTerms) { t.Batch = 3 },
		func(t *fl.TrainedTerms) { t.Requirements = json.RawMessage(`{"numbers":[{"min":-1},{},{}]}`) },
		func(t *fl.TrainedTerms) { t.Kind, t.Table, t.Hidden = "mlp", "r16384-f2-b16-onehot2", 1024 },
	} {
		terms := *spec().Trained
		edit(&terms)
		raw, err := json.Marshal(terms)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, 3, 1.0, 0.0)
	}
	suite, err := he.LookupSuite("insecure-rlwe64-d1-v1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, parameters int, value, norm float64) {
		s := spec()
		if json.Unmarshal(raw, s.Trained) != nil {
			return
		}
		s.Parameters, s.Clip = parameters, fl.Clip{Value: value, Norm: norm}
		j, err := Read(s, suite)
		if err != nil {
			return
		}
		for _, rows := range []int{-1, 0, 1, j.Table.Layout.Rows, j.Table.Layout.Rows + 1} {
			if err := j.CheckRows(rows); err == nil && (rows < 1 || rows > j.Table.Layout.Rows) {
				t.Errorf("%d rows in %s", rows, j.Table.Layout.Name())
			}
		}
		d := document()
		d.Spec = j.Table.Digest()
		_ = j.CheckDocument(fl.Digest{9}, "alpha", d)
		if len(j.Missing(fl.ProofKeys{})) != len(j.Circuits()) || j.MaxTrainingBytes() < 400 {
			t.Error("a job without circuits")
		}
	})
}
