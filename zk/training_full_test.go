package zk

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/training"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// Trainings of the sizes that docs/benchmarks.md speaks of, once each. Their
// set-up takes half a minute, so the default run leaves it to CREDENCE_FULL=1.
func TestFullSizeTrainings(t *testing.T) {
	if os.Getenv("CREDENCE_FULL") != "1" {
		t.Skip("full-size set-up takes half a minute: run with CREDENCE_FULL=1")
	}
	s, err := he.LookupSuite("rlwe4096-d1-v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		model fixedpoint.Model
		kind  tabular.Targets
		local fixedpoint.Local
		clip  fl.Clip
	}{
		{fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 30, Outputs: 1}, tabular.Binary, fixedpoint.Local{LearningRate: 0.5, Steps: 8, Batch: 32}, fl.Clip{Value: 1, Norm: 2}},
		{fixedpoint.Model{Kind: fixedpoint.Softmax, Features: 64, Outputs: 10}, tabular.OneHot, fixedpoint.Local{LearningRate: 0.5, Steps: 1}, fl.Clip{Value: 1}},
	} {
		l := tabular.Layout{Rows: 128, Features: tc.model.Features, Kind: tc.kind, Targets: tc.model.Outputs, Bits: 12}
		shape, err := TrainingShapeOf(l, tc.model, tc.local, tc.clip, s)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := SetupTraining(shape, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		trainer, err := NewTrainer(keys, nil)
		if err != nil {
			t.Fatal(err)
		}
		st, table, secret, link := realStatement(t, trainer)
		proof, err := trainer.ProveTraining(context.Background(), st, table, secret, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := trainer.VerifyTraining(st, proof); err != nil {
			t.Errorf("%s: %v", shape.Name(), err)
		}
		st.Rows--
		if err := trainer.VerifyTraining(st, proof); err == nil {
			t.Errorf("%s: a row fewer is accepted", shape.Name())
		}
	}
}

// realStatement is a statement about the bundled digits if the shape is theirs,
// about random data otherwise, from a random model; messages are committed to
// directly: the encryption's own attestation has its own benchmark.
func realStatement(tb testing.TB, t *Trainer) (*TrainingStatement, *tabular.Table, *TableSecret, *Link) {
	tb.Helper()
	s := t.Shape()
	rng := rand.New(rand.NewPCG(1, 2))
	table, err := tabular.New(s.Layout, s.Layout.Rows)
	if err != nil {
		tb.Fatal(err)
	}
	if s.Layout.Features == 64 && s.Layout.Classes() == 10 {
		realDigits(tb, table)
	} else {
		for i := range table.Used {
			for j := range s.Layout.Features {
				table.SetFeature(i, j, rng.Int64N(512)-256)
			}
			if err := table.SetClass(i, rng.IntN(s.Layout.Classes())); err != nil {
				tb.Fatal(err)
			}
		}
	}
	commitment, secret, err := t.SRS().CommitTable(table)
	if err != nil {
		tb.Fatal(err)
	}
	st := &TrainingStatement{
		Scope: &Scope{Genesis: fl.Digest{1}, Job: "job", Round: 1, Plan: fl.Digest{2}, EpochKey: fl.Digest{3}, Client: "alice", Bound: 1},
		Table: commitment, Rows: table.Used, Base: make([]int32, s.Model.Parameters()), Noise: make([]uint32, s.Model.Parameters()),
	}
	for i := range st.Base {
		st.Base[i] = rng.Int32N(1<<15) - 1<<14
	}
	batch, norm := 0, 0.0
	if s.Batches {
		batch = table.Used / 4
	}
	if s.Norm {
		norm = 0.1
	}
	if st.Steps, err = s.Model.Steps(0.1, table.Used, batch, s.Steps, 1); err != nil {
		tb.Fatal(err)
	}
	if st.Quantiser, err = fixedpoint.NewQuantiser(1, norm, s.ValueBits, 1, 1); err != nil {
		tb.Fatal(err)
	}
	values, err := st.Train(s.Model, table)
	if err != nil {
		tb.Fatal(err)
	}
	var shards []ShardInput
	for k, shard := range s.Shards {
		st.Scope.Shards = append(st.Scope.Shards, k)
		shards = append(shards, ShardInput{Values: append(make([]int32, fl.MetricSlots), values[shard.Offset:shard.Offset+shard.Length]...)})
	}
	link := new(Link)
	if err := link.draw(shards); err != nil {
		tb.Fatal(err)
	}
	for k := range shards {
		v := link.shards[k]
		point, err := t.SRS().commit(training.Message(v.values, s.N, s.Digits, s.SlotBits, v.masks[:]))
		if err != nil {
			tb.Fatal(err)
		}
		st.Messages = append(st.Messages, point)
	}
	return st, table, secret, link
}
