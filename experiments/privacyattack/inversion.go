package privacyattack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"credence/client"
	"credence/fl"
	"credence/models"
)

// InvertLinear reads the input and the label of one example out of its gradient,
// or the update of one gradient step, of a linear layer with bias: for output c
// the gradient of the weights is g_c*x and that of the bias g_c, so their
// quotient is x (Phong et al., IEEE TIFS 2018, section 3; Geiping et al., NeurIPS
// 2020, proposition 3.1). The label is the output whose gradient has the sign of
// its own (Zhao, Mopuri, Bilen: iDLG, 2020); with one output it is 0 or 1. Of an
// update over several examples it gives a weighted mean of their inputs.
//
// update holds the weights, inputs*outputs values with the inputs of an output
// together, and then the biases (models.Tensor). An update without any bias gradient is an error.
func InvertLinear(update []float64, inputs, outputs int) (x []float64, label int, err error) {
	if inputs < 1 || outputs < 1 || len(update) < inputs*outputs+outputs {
		return nil, 0, fmt.Errorf("privacyattack: an update of %d values is none of a layer of %d inputs and %d outputs", len(update), inputs, outputs)
	}
	bias := update[inputs*outputs : inputs*outputs+outputs]
	best := 0
	for c, g := range bias {
		if math.Abs(g) > math.Abs(bias[best]) {
			best = c
		}
		if g > bias[label] {
			label = c // the update goes against the gradient, p-1 for the label
		}
	}
	if outputs == 1 && bias[0] > 0 {
		label = 1
	}
	if bias[best] == 0 {
		return nil, 0, errors.New("privacyattack: the update moves no bias")
	}
	x = make([]float64, inputs)
	for i := range x {
		x[i] = update[best*inputs+i] / bias[best]
	}
	return x, label, nil
}

// Cosine returns the cosine similarity of two vectors, 0 if one of them is 0.
func Cosine(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += a[i] * b[i]
		aa += a[i] * a[i]
		bb += b[i] * b[i]
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// InversionResult is how well examples were read out of a view.
type InversionResult struct {
	View    View
	Epsilon string // of the round towards the victim
	// Similarity is the mean cosine similarity of reconstruction and truth.
	Similarity float64
	// Baseline is that of the mean image, which needs no attack.
	Baseline float64
	// Identified is the share of reconstructions to which, among all examples, the
	// victim's is the most similar; Chance is that of guessing.
	Identified, Chance float64
	// Labels is the share of labels that were read.
	Labels float64
	Trials int
	// Example and Reconstruction are of the first trial.
	Example, Reconstruction []float64
}

// Invert lets clients of one example each take one step of gradient descent from
// the initial softmax model, and reads the victim's example out of each view. In
// every trial the clients' examples are drawn anew from data.
func Invert(ctx context.Context, round Round, data fl.Examples, trials int) ([]InversionResult, error) {
	model, err := models.New(models.Spec{Kind: models.Softmax, Inputs: data.Features, Classes: data.Classes})
	if err != nil {
		return nil, err
	}
	if trials < 1 || data.Rows < round.Clients {
		return nil, fmt.Errorf("privacyattack: %d trials with %d examples for %d clients", trials, data.Rows, round.Clients)
	}
	rows, average := vectors(data)
	global := make([]float32, model.NumParameters())
	rng := rand.New(rand.NewPCG(round.Seed, 1))
	out := make([]InversionResult, 0, 3)
	for _, view := range Views() {
		epsilon, err := round.Epsilon(view, len(global))
		if err != nil {
			return nil, err
		}
		out = append(out, InversionResult{View: view, Epsilon: epsilon, Chance: 1 / float64(data.Rows), Trials: trials})
	}
	for trial := range trials {
		picked := rng.Perm(data.Rows)[:round.Clients]
		updates := make([][]float64, round.Clients)
		for i, row := range picked {
			if updates[i], err = oneStep(ctx, model, global, data.Subset([]int{row})); err != nil {
				return nil, err
			}
		}
		victim := picked[0]
		here := round
		here.Seed += uint64(trial)
		for i := range out {
			seen, err := here.See(out[i].View, updates)
			if err != nil {
				return nil, err
			}
			x, label, err := InvertLinear(seen, data.Features, data.Classes)
			if err != nil {
				return nil, err
			}
			out[i].add(rows, average, victim, x, label == int(data.Y[victim]), trial == 0)
		}
	}
	return out, nil
}

func (r *InversionResult) add(rows [][]float64, average []float64, victim int, x []float64, label, first bool) {
	share := 1 / float64(r.Trials)
	own := Cosine(x, rows[victim])
	r.Similarity += share * own
	r.Baseline += share * Cosine(average, rows[victim])
	nearest := true
	for i, row := range rows {
		nearest = nearest && (i == victim || Cosine(x, row) < own)
	}
	if nearest {
		r.Identified += share
	}
	if label {
		r.Labels += share
	}
	if first {
		r.Example, r.Reconstruction = rows[victim], x
	}
}

// vectors returns the rows of a data set and their mean.
func vectors(data fl.Examples) (rows [][]float64, mean []float64) {
	mean = make([]float64, data.Features)
	for i := range data.Rows {
		row := make([]float64, data.Features)
		for j := range row {
			row[j] = float64(data.X[i*data.Features+j])
			mean[j] += row[j] / float64(data.Rows)
		}
		rows = append(rows, row)
	}
	return rows, mean
}

// oneStep is the update of one gradient step over all of the rows.
func oneStep(ctx context.Context, model *models.Model, global []float32, rows fl.Examples) ([]float64, error) {
	return localUpdate(ctx, model, models.TrainConfig{LearningRate: 1, Steps: 1}, global, rows)
}

// localUpdate is a node's own local work (client.LocalWork) from a model.
func localUpdate(ctx context.Context, model *models.Model, training models.TrainConfig, global []float32, rows fl.Examples) ([]float64, error) {
	w := client.LocalWork{
		Model: model, Training: training, Train: rows, Rounds: 1,
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightUniform},
	}
	shards, err := fl.ShardMap(len(global), slots)
	if err != nil {
		return nil, err
	}
	r := client.LocalRound{Global: global, Plan: fl.Plan{Slots: slots, Shards: len(shards), Round: 1}}
	for s := range shards {
		r.Assignment.Shards = append(r.Assignment.Shards, s)
	}
	u, err := w.Update(ctx, r)
	return u.Upload, err
}
