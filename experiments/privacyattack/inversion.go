package privacyattack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

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
		return nil, 0, errNoBias
	}
	x = make([]float64, inputs)
	for i := range x {
		x[i] = update[best*inputs+i] / bias[best]
	}
	return x, label, nil
}

// errNoBias says that nothing can be read out of an update.
var errNoBias = errors.New("privacyattack: the update moves no bias")

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

// InversionOptions are what Invert attacks.
type InversionOptions struct {
	Round    Round
	Model    models.Spec        // linear, logistic, softmax or mlp
	Training models.TrainConfig // of a client; of it, one step is taken
	Params   []float32          // the model that the round starts from
	Trials   int                // rounds that are attacked, at least 1
	// Rows is how many of its rows each client takes its step on; fewer where it
	// has fewer. One is the attack at its strongest.
	Rows int
	Keep int // trials whose Pictures are kept
}

// InversionResult is how well examples were read out of a view.
type InversionResult struct {
	View    View
	Epsilon string // of the round towards the victim
	// Similarity is the mean over the trials of the cosine similarity of the
	// reconstruction and the victim's row that is nearest to it.
	Similarity, SimilarityLow, SimilarityHigh float64
	// Baseline is that of the mean row, which needs no attack.
	Baseline float64
	// Identified is the share of reconstructions to which, among all candidates,
	// a row of the victim's is the most similar; Chance is that of guessing.
	Identified, IdentifiedLow, IdentifiedHigh, Chance float64
	// Labels is the share of reconstructions whose label is one of the victim's.
	Labels   float64
	Trials   int
	Pictures []Picture // of the first trials
}

// Picture is what one trial recovered, in the features that a model trains on.
type Picture struct {
	Original, Recovered []float64
	Label, Read         int
}

// maxCandidates bounds the rows that a reconstruction is compared with.
const maxCandidates = 2000

// Check refuses what Invert cannot attack, before it takes any time.
func (o InversionOptions) Check(clients []fl.Examples) error {
	switch {
	case o.Model.Kind == models.CNN:
		return errors.New("privacyattack: inversion reads a dense first layer, and a cnn begins with a convolution")
	case o.Trials < 1 || o.Rows < 1:
		return fmt.Errorf("privacyattack: %d trials with %d rows of a client: want at least 1 of both", o.Trials, o.Rows)
	case len(clients) < o.Round.Clients:
		return fmt.Errorf("privacyattack: %d clients hold rows: a round of %d needs more", len(clients), o.Round.Clients)
	}
	return nil
}

// Invert lets a cohort take one step of training on rows of their own, and reads
// an example of the victim's out of each view of what they send. Every trial
// draws the cohort, its victim and the rows anew from clients' rows.
//
// Intervals are of 95 %: the normal one of a mean over the trials, and Wilson's
// (1927) of a share.
func Invert(ctx context.Context, o InversionOptions, clients []fl.Examples) ([]InversionResult, error) {
	if err := o.Check(clients); err != nil {
		return nil, err
	}
	model, err := models.New(o.Model)
	if err != nil {
		return nil, err
	}
	if err := model.CheckParameters(o.Params); err != nil {
		return nil, err
	}
	training := o.Training
	training.Steps, training.Epochs, training.BatchSize, training.EarlyStop = 1, 0, 0, models.EarlyStop{}
	rng := rand.New(rand.NewPCG(o.Round.Seed, 1))
	pool := newCandidates(clients, rng)
	out := make([]InversionResult, 0, 3)
	similar := make([][]float64, len(Views()))
	for _, view := range Views() {
		epsilon, err := o.Round.Epsilon(view, len(o.Params))
		if err != nil {
			return nil, err
		}
		out = append(out, InversionResult{View: view, Epsilon: epsilon, Trials: o.Trials})
	}
	for trial := range o.Trials {
		cohort := rng.Perm(len(clients))[:o.Round.Clients]
		updates := make([][]float64, len(cohort))
		var own fl.Examples
		for i, c := range cohort {
			rows := clients[c].Subset(rng.Perm(clients[c].Rows)[:min(o.Rows, clients[c].Rows)])
			if i == 0 {
				own = rows
			}
			here := training
			here.Seed += uint64(trial)<<20 + uint64(i)
			if updates[i], err = localUpdate(ctx, model, here, o.Round.slots(), o.Params, rows); err != nil {
				return nil, err
			}
		}
		here := o.Round
		here.Seed += uint64(trial)
		for i := range out {
			seen, err := here.See(out[i].View, updates)
			if err != nil {
				return nil, err
			}
			x, label, err := read(model, seen)
			if err != nil {
				return nil, err
			}
			similar[i] = append(similar[i], out[i].add(pool, own, x, label, trial < o.Keep))
		}
	}
	for i := range out {
		r := &out[i]
		for _, sum := range []*float64{&r.Baseline, &r.Identified, &r.Chance, &r.Labels} {
			*sum /= float64(o.Trials)
		}
		r.Similarity, r.SimilarityLow, r.SimilarityHigh = normalInterval(similar[i])
		r.IdentifiedLow, r.IdentifiedHigh = wilson(r.Identified, o.Trials)
	}
	return out, nil
}

// read inverts the first layer and takes the label from the last one's biases.
// An update that moves no bias shows nothing: zeros.
func read(model *models.Model, update []float64) (x []float64, label int, err error) {
	first := model.Tensors()[0]
	outputs, inputs := first.Shape[0], first.Length/first.Shape[0]
	x, label, err = InvertLinear(update, inputs, outputs)
	if errors.Is(err, errNoBias) {
		return make([]float64, inputs), 0, nil
	}
	if err != nil || len(model.Spec().Hidden) == 0 {
		return x, label, err
	}
	label = 0
	last := update[len(update)-model.Spec().Classes:]
	for c, g := range last {
		if g > last[label] {
			label = c
		}
	}
	return x, label, nil
}

// add counts one trial, in sums that Invert divides, and returns the similarity
// that it reached.
func (r *InversionResult) add(pool candidates, own fl.Examples, x []float64, label int, keep bool) float64 {
	rows, _ := vectors(own)
	best, at, base := math.Inf(-1), 0, math.Inf(-1)
	for i, row := range rows {
		if c := Cosine(x, row); c > best {
			best, at = c, i
		}
		base = max(base, Cosine(pool.mean, row))
	}
	r.Baseline += base
	nearest, others := true, 0
	for _, row := range pool.rows {
		if slices.ContainsFunc(rows, func(o []float64) bool { return slices.Equal(o, row) }) {
			continue
		}
		others++
		nearest = nearest && Cosine(x, row) < best
	}
	if nearest {
		r.Identified++
	}
	r.Chance += float64(len(rows)) / float64(len(rows)+others)
	if slices.Contains(own.Y, int32(label)) { // #nosec G115 -- below the number of classes
		r.Labels++
	}
	if keep {
		r.Pictures = append(r.Pictures, Picture{Original: rows[at], Recovered: x, Label: int(own.Y[at]), Read: label})
	}
	return best
}

// candidates are the rows that a reconstruction could be of.
type candidates struct {
	rows [][]float64
	mean []float64
}

func newCandidates(clients []fl.Examples, rng *rand.Rand) candidates {
	type place struct{ client, row int }
	var all []place
	for c, rows := range clients {
		for i := range rows.Rows {
			all = append(all, place{c, i})
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var out candidates
	for _, p := range all[:min(len(all), maxCandidates)] {
		row, _ := vectors(clients[p.client].Subset([]int{p.row}))
		out.rows = append(out.rows, row[0])
	}
	out.mean = make([]float64, len(out.rows[0]))
	for _, row := range out.rows {
		for j, v := range row {
			out.mean[j] += v / float64(len(out.rows))
		}
	}
	return out
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

// localUpdate is a node's own local work (client.LocalWork) from a model.
func localUpdate(ctx context.Context, model *models.Model, training models.TrainConfig, slots int, global []float32, rows fl.Examples) ([]float64, error) {
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
