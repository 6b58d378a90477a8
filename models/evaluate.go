package models

import (
	"fmt"
	"math"

	"credence/fl"
)

// Rows of the two graphs that evaluation uses: a small one for single
// predictions, a large one for data sets.
const (
	fewRows  = 16
	manyRows = 256
)

// Evaluation sums a model's performance over examples; sums of evaluations of
// disjoint examples are the evaluation of all of them.
type Evaluation struct {
	LossSum float64 // negative log-likelihood of the labels, in nats, summed; of a linear model half the squared error
	Correct int64   // examples whose most probable class is the label; the lowest class wins a tie
	Count   int64   // examples
}

// Loss returns the mean loss, or NaN without examples.
func (e Evaluation) Loss() float64 { return e.LossSum / float64(e.Count) }

// Accuracy returns the fraction that is correct, or NaN without examples.
func (e Evaluation) Accuracy() float64 { return float64(e.Correct) / float64(e.Count) }

// Evaluate measures params on data, which may be empty. Parameters so large
// that a loss overflows are an error.
func (m *Model) Evaluate(params []float32, data fl.Examples) (Evaluation, error) {
	if err := m.checkExamples(data); err != nil {
		return Evaluation{}, err
	}
	var out Evaluation
	err := m.eachRow(params, data, func(row int, p []float64, lse float64) {
		best := 0
		for c, z := range p {
			if z > p[best] {
				best = c
			}
		}
		if m.spec.Kind == Linear {
			out.LossSum += halfSquares(p, int(data.Y[row]))
		} else {
			out.LossSum += lse - p[data.Y[row]]
		}
		out.Count++
		if best == int(data.Y[row]) {
			out.Correct++
		}
	})
	if err == nil && (math.IsNaN(out.LossSum) || math.IsInf(out.LossSum, 0)) {
		err = fmt.Errorf("models: evaluate: the loss is not a finite number: the parameters of this %s are too large", m.spec.Kind)
	}
	if err != nil {
		return Evaluation{}, err
	}
	return out, nil
}

// Predict returns the probability of each class for each example: rows*classes
// values, row-major; of a linear model its estimates, which may leave [0, 1]. x holds the features, row-major, so its length must be a
// multiple of the model's inputs.
func (m *Model) Predict(params, x []float32) ([]float32, error) {
	if len(x)%m.spec.Inputs != 0 {
		return nil, fmt.Errorf("models: predict: %d feature values do not make rows of %d", len(x), m.spec.Inputs)
	}
	if i := firstNotFinite(x); i >= 0 {
		return nil, fmt.Errorf("models: predict: row %d, feature %d is not a finite number", i/m.spec.Inputs, i%m.spec.Inputs)
	}
	data := fl.Examples{Rows: len(x) / m.spec.Inputs, Features: m.spec.Inputs, Classes: m.spec.Classes, X: x}
	out := make([]float32, 0, data.Rows*data.Classes)
	err := m.eachRow(params, data, func(_ int, p []float64, lse float64) {
		for _, z := range p {
			if m.spec.Kind != Linear {
				z = math.Exp(z - lse)
			}
			out = append(out, float32(z))
		}
	})
	if err != nil {
		return nil, err
	}
	if i := firstNotFinite(out); i >= 0 {
		return nil, fmt.Errorf("models: predict: row %d overflows: the parameters of this %s are too large", i/m.spec.Classes, m.spec.Kind)
	}
	return out, nil
}

// eachRow calls f for each row with its logits, one a class, and their
// log-sum-exp. The labels of data are not read.
func (m *Model) eachRow(params []float32, data fl.Examples, f func(row int, logits []float64, lse float64)) error {
	if err := m.CheckParameters(params); err != nil {
		return err
	}
	if data.Rows == 0 {
		return nil
	}
	size := manyRows
	if data.Rows <= fewRows {
		size = fewRows
	}
	size = m.chunkRows(size)
	e, err := m.acquire(size, predicting)
	if err != nil {
		return err
	}
	defer m.release(e)
	e.setParameters(m, params)
	outputs := m.layers[len(m.layers)-1].out
	p := make([]float64, m.spec.Classes)
	rows := make([]int, 0, size)
	for from := 0; from < data.Rows; from += size {
		rows = rows[:0]
		for r := from; r < min(from+size, data.Rows); r++ {
			rows = append(rows, r)
		}
		e.rows = len(rows)
		e.setRows(data, rows, 0)
		e.run()
		for i, r := range rows {
			f(r, p, logSumExp(p, e.logits[i*outputs:][:outputs]))
		}
	}
	return nil
}
