package privacyattack

import (
	"fmt"
	"math"
	"testing"

	"credence/datasets"
	"credence/fl"
	"credence/fl/privacy"
	"credence/models"
)

// BenchmarkPrivacyUtility trains softmax regression on digits with and without
// noise, for cohorts of several sizes over which the same rows are divided, and
// reports the accuracy on the test rows. Everybody takes part in every round and
// adds noise.
func BenchmarkPrivacyUtility(b *testing.B) {
	set, err := datasets.Builtin(datasets.Digits)
	if err != nil {
		b.Fatal(err)
	}
	model, err := models.New(models.Spec{Kind: models.Softmax, Inputs: 64, Classes: 10})
	if err != nil {
		b.Fatal(err)
	}
	const rounds = 20
	for _, clients := range []int{10, 100, 1000} {
		for _, epsilon := range []float64{1, 4, 8, math.Inf(1)} {
			b.Run(fmt.Sprintf("clients=%d/epsilon=%v", clients, epsilon), func(b *testing.B) {
				round := Round{Clients: clients, Clip: fl.Clip{Value: 1, Norm: 1}, Privacy: fl.Privacy{Epsilon: epsilon, Delta: 1e-5, MinHonest: clients}}
				view := ViewSum
				if !math.IsInf(epsilon, 1) {
					view = ViewPrivate
					if round.Privacy.NoiseMultiplier, err = privacy.Calibrate(round.Privacy, usualSlots, rounds); err != nil {
						b.Fatal(err)
					}
				}
				parts, err := datasets.IID(set.Train, clients, 1)
				if err != nil {
					b.Fatal(err)
				}
				var accuracy, square float64
				for b.Loop() {
					const seeds = 3
					accuracy, square = 0, 0
					for seed := range uint64(seeds) {
						global := make([]float32, model.NumParameters())
						for r := range uint64(rounds) {
							updates := make([][]float64, clients)
							for c := range updates {
								training := models.TrainConfig{LearningRate: 0.5, Epochs: 1, BatchSize: 16, Seed: seed*1_000_000 + r*1000 + uint64(c)}
								if updates[c], err = localUpdate(b.Context(), model, training, usualSlots, global, set.Train.Subset(parts[c])); err != nil {
									b.Fatal(err)
								}
							}
							round.Seed = seed*1000 + r
							mean, err := round.See(view, updates)
							if err != nil {
								b.Fatal(err)
							}
							for i := range global {
								global[i] += float32(mean[i])
							}
						}
						e, err := model.Evaluate(global, set.Test)
						if err != nil {
							b.Fatal(err)
						}
						a := float64(e.Correct) / float64(e.Count)
						accuracy += a / seeds
						square += a * a / seeds
					}
				}
				b.ReportMetric(accuracy, "accuracy")
				b.ReportMetric(math.Sqrt(max(0, square-accuracy*accuracy)), "deviation")
				b.ReportMetric(round.Privacy.NoiseMultiplier, "noise")
			})
		}
	}
}
