package baseline_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"credence/datasets"
	"credence/experiments/baseline"
	"credence/fl"
	"credence/he"
	"credence/models"
)

// digitsModels are the models of the comparison on the digits data.
var digitsModels = []models.Spec{
	{Kind: models.Softmax, Inputs: 64, Classes: 10},
	{Kind: models.MLP, Inputs: 64, Classes: 10, Hidden: []int{32}},
}

// digitsRun is one federated and one central training with the same settings
// and the same number of passes over the rows.
type digitsRun struct {
	curve   map[uint64]float64 // test accuracy by round
	central float64
}

const (
	digitsClients = 10
	digitsEpochs  = 2
)

func runDigits(ctx context.Context, tb testing.TB, set *datasets.Dataset, suite *he.Suite, spec models.Spec, seed uint64, marks []uint64) digitsRun {
	tb.Helper()
	model, err := models.New(spec)
	if err != nil {
		tb.Fatal(err)
	}
	accuracy := func(params []float32) float64 {
		e, err := model.Evaluate(params, set.Test)
		if err != nil {
			tb.Fatal(err)
		}
		return e.Accuracy()
	}
	training := models.TrainConfig{LearningRate: 0.5, Epochs: digitsEpochs, BatchSize: 10, Seed: seed}
	job := baseline.Job{
		ID: "digits", Model: spec, Training: training,
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip:     fl.Clip{Value: 2}, Rounds: int(marks[len(marks)-1]), Seed: seed,
	}
	run := digitsRun{curve: map[uint64]float64{}}
	_, err = baseline.Federate(ctx, suite, job, skewed(tb, set, digitsClients, seed), 0, func(v baseline.Version) error {
		if slices.Contains(marks, v.Round) {
			run.curve[v.Round] = accuracy(v.Params)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	training.Epochs *= job.Rounds
	params, err := baseline.Central(ctx, spec, training, set.Train, seed)
	if err != nil {
		tb.Fatal(err)
	}
	run.central = accuracy(params)
	return run
}

// TestDigits guards the comparison with loose bounds on a short run; the
// figures are BenchmarkDigits'.
func TestDigits(t *testing.T) {
	set := builtin(t, datasets.Digits)
	suite := lookup(t, "rlwe4096-d1-v1")
	for _, spec := range digitsModels {
		t.Run(string(spec.Kind), func(t *testing.T) {
			run := runDigits(t.Context(), t, set, suite, spec, 1, []uint64{1, 30})
			t.Logf("after 1 round %.4f, after 30 rounds %.4f, central %.4f", run.curve[1], run.curve[30], run.central)
			if run.central < 0.965 || run.curve[30] < 0.94 || run.curve[30] < run.central-0.04 {
				t.Errorf("after 30 rounds %.4f, central %.4f", run.curve[30], run.central)
			}
		})
	}
}

// BenchmarkDigits prints the table of docs/benchmarks.md:
//
//	go test ./experiments/baseline -run '^$' -bench Digits -benchtime 1x
func BenchmarkDigits(b *testing.B) {
	set := builtin(b, datasets.Digits)
	suite := lookup(b, "rlwe4096-d1-v1")
	marks := []uint64{1, 5, 10, 20, 50, 100}
	const seeds = 5
	for _, spec := range digitsModels {
		b.Run(string(spec.Kind), func(b *testing.B) {
			for b.Loop() {
				byRound, central := make([][]float64, len(marks)), []float64{}
				for seed := range uint64(seeds) {
					run := runDigits(b.Context(), b, set, suite, spec, seed+1, marks)
					for i, m := range marks {
						byRound[i] = append(byRound[i], run.curve[m])
					}
					central = append(central, run.central)
				}
				var line strings.Builder
				for i, m := range marks {
					mean, std := meanStd(byRound[i])
					fmt.Fprintf(&line, "  round %d: %.4f ± %.4f\n", m, mean, std)
				}
				federated, _ := meanStd(byRound[len(marks)-1])
				mean, std := meanStd(central)
				b.Logf("%d seeds, test accuracy of %d rows\n%s  central: %.4f ± %.4f", seeds, set.Test.Rows, line.String(), mean, std)
				b.ReportMetric(federated, "federated-accuracy")
				b.ReportMetric(mean, "central-accuracy")
			}
		})
	}
}

// meanStd returns the mean and the sample standard deviation.
func meanStd(x []float64) (mean, std float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		std += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, math.Sqrt(std)
}
