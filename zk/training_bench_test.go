//go:build unix

package zk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/training"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// benchTrainings are the shapes of docs/benchmarks.md with CREDENCE_FULL=1,
// and small ones otherwise.
func benchTrainings() (suiteName string, sizes []benchSize) {
	logistic := fixedpoint.Model{Kind: fixedpoint.Logistic, Features: 30, Outputs: 1}
	softmax := fixedpoint.Model{Kind: fixedpoint.Softmax, Features: 64, Outputs: 10}
	mlp := fixedpoint.Model{Kind: fixedpoint.MLP, Features: 64, Outputs: 10, Hidden: 32}
	if os.Getenv("CREDENCE_FULL") != "1" {
		logistic.Features = 3
		return tiny4, []benchSize{{logistic, 8, 1}, {logistic, 8, 2}}
	}
	return "rlwe4096-d1-v1", []benchSize{
		{logistic, 128, 1}, {logistic, 128, 2}, {logistic, 128, 4}, {logistic, 128, 8},
		{logistic, 256, 4}, {logistic, 512, 4}, {logistic, 1024, 4},
		{softmax, 128, 1}, {softmax, 128, 4}, {softmax, 128, 8}, {mlp, 64, 1}, {mlp, 64, 4},
	}
}

type benchSize struct {
	model       fixedpoint.Model
	rows, steps int
}

// BenchmarkTraining proves and verifies local trainings. Times are CPU-seconds
// of the process: the machine may be shared. Without -benchtime 1x a full run
// takes long, most of it set-up.
func BenchmarkTraining(b *testing.B) {
	suiteName, sizes := benchTrainings()
	s, err := he.LookupSuite(suiteName)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range sizes {
		m := size.model
		name := fmt.Sprintf("%s/rows=%d/params=%d/steps=%d", m.Kind, size.rows, m.Parameters(), size.steps)
		b.Run(name, func(b *testing.B) {
			l := tabular.Layout{Rows: size.rows, Features: m.Features, Kind: tabular.OneHot, Targets: m.Outputs, Bits: 12}
			if m.Kind == fixedpoint.Logistic {
				l.Kind = tabular.Binary
			}
			shape, err := training.NewShape(l, m, size.steps, false, false, training.Whole, s)
			if err != nil {
				b.Fatal(err)
			}
			start := cpuSeconds(b)
			keys, err := SetupTraining(shape, nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			trainer, err := NewTrainer(keys, nil)
			if err != nil {
				b.Fatal(err)
			}
			setup := cpuSeconds(b) - start
			st, table, secret, link := benchStatement(b, trainer)

			var proof *TrainingAttestation
			start = cpuSeconds(b)
			b.ResetTimer()
			for b.Loop() {
				if proof, err = trainer.ProveTraining(context.Background(), st, table, secret, link, nil); err != nil {
					b.Fatal(err)
				}
			}
			prove := (cpuSeconds(b) - start) / float64(b.N)
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)

			const verifications = 20
			start = cpuSeconds(b)
			wall := time.Now()
			for range verifications {
				if err := trainer.VerifyTraining(st, proof); err != nil {
					b.Fatal(err)
				}
			}
			verify := (cpuSeconds(b) - start) / verifications
			work := float64(size.rows * m.Parameters() * size.steps)
			b.ReportMetric(float64(keys.circuit.Constraints()), "constraints")
			b.ReportMetric(setup, "setup-cpu-s")
			b.ReportMetric(prove, "prove-cpu-s")
			b.ReportMetric(1e6*prove/work, "us/row*param*step")
			b.ReportMetric(1e3*verify, "verify-cpu-ms")
			b.ReportMetric(1e3*time.Since(wall).Seconds()/verifications, "verify-ms")
			b.ReportMetric(float64(mem.Sys)/(1<<20), "MiB")
			b.ReportMetric(float64(len(proof.Bytes())), "bytes")
		})
	}
}

// benchStatement is a statement about random data, with messages committed to
// directly: the encryption's own attestation has its own benchmark.
func benchStatement(b *testing.B, t *Trainer) (*TrainingStatement, *tabular.Table, *TableSecret, *Link) {
	b.Helper()
	s := t.Shape()
	rng := rand.New(rand.NewPCG(1, 2))
	table, err := tabular.New(s.Layout, s.Layout.Rows)
	if err != nil {
		b.Fatal(err)
	}
	for i := range table.Used {
		for j := range s.Layout.Features {
			table.SetFeature(i, j, rng.Int64N(512)-256)
		}
		if err := table.SetClass(i, rng.IntN(s.Layout.Classes())); err != nil {
			b.Fatal(err)
		}
	}
	commitment, secret, err := t.SRS().CommitTable(table)
	if err != nil {
		b.Fatal(err)
	}
	st := &TrainingStatement{
		Scope: &Scope{Genesis: fl.Digest{1}, Job: "job", Round: 1, Plan: fl.Digest{2}, EpochKey: fl.Digest{3}, Client: "alice", Bound: 1},
		Table: commitment, Rows: table.Used, Base: make([]int32, s.Model.Parameters()), Noise: make([]uint32, s.Model.Parameters()),
	}
	for i := range st.Base {
		st.Base[i] = rng.Int32N(1<<15) - 1<<14
	}
	if st.Steps, err = s.Model.Steps(0.1, table.Used, 0, s.Steps, 1); err != nil {
		b.Fatal(err)
	}
	if st.Quantiser, err = fixedpoint.NewQuantiser(1, 0, s.ValueBits, 1, 1); err != nil {
		b.Fatal(err)
	}
	values, err := st.Train(s.Model, table)
	if err != nil {
		b.Fatal(err)
	}
	var shards []ShardInput
	for k, shard := range s.Shards {
		st.Scope.Shards = append(st.Scope.Shards, k)
		shards = append(shards, ShardInput{Values: append(make([]int32, fl.MetricSlots), values[shard.Offset:shard.Offset+shard.Length]...)})
	}
	link := new(Link)
	if err := link.draw(shards); err != nil {
		b.Fatal(err)
	}
	for k := range shards {
		v := link.shards[k]
		point, err := t.SRS().commit(training.Message(v.values, s.N, s.Digits, s.SlotBits, v.masks[:]))
		if err != nil {
			b.Fatal(err)
		}
		st.Messages = append(st.Messages, point)
	}
	return st, table, secret, link
}

// cpuSeconds is the processor time that this process has used.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
