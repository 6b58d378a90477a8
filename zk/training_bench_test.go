//go:build unix

package zk

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

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
		{softmax, 128, 1}, {softmax, 128, 2}, {softmax, 128, 4}, {softmax, 128, 8},
		{softmax, 256, 1}, {softmax, 512, 1}, {softmax, 1024, 1},
		{mlp, 64, 1}, {mlp, 64, 2}, {mlp, 64, 4}, {mlp, 64, 8},
		{mlp, 128, 1}, {mlp, 256, 1}, {mlp, 512, 1},
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
			st, table, secret, link := realStatement(b, trainer)

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

// cpuSeconds is the processor time that this process has used.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
