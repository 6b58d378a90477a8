package training

import (
	"github.com/consensys/gnark/frontend"

	"credence/zk/fixedpoint"
)

// A pass is one layer's inputs as the products need them.
type pass struct {
	layer fixedpoint.Layer
	// columns: for each input, the constant one first, its sum over the rows
	// with the rows' weights.
	columns []frontend.Variable
	// rows: for each row, its inputs weighted by powers of r.
	rows []frontend.Variable
}

// step states one gradient step and moves b.now past it.
func (b *builder) step(t int) {
	m := b.s.Model
	layers := m.Layers()
	first := pass{layer: layers[0], columns: b.columns, rows: b.inputs}
	last := first
	var mlp *hiddenLayer
	if m.Kind == fixedpoint.MLP {
		mlp = b.hidden(t, first)
		last = pass{layer: layers[1], columns: mlp.columns, rows: mlp.rows}
	}
	scores, errs := b.outputs(t)
	b.equal(CheckScores, b.atFold(scores, m.Outputs), b.productOf(last))

	after := b.after(t)
	b.update(t, CheckUpdate, last, after, errs)
	if mlp != nil {
		b.update(t, CheckUpdateFirst, first, after, b.back(t, mlp))
	}
	b.now = after
}

// productOf returns the value of inputs times weights at (rows' weights, fold).
func (b *builder) productOf(p pass) frontend.Variable {
	terms := make([]frontend.Variable, len(p.columns))
	for j, column := range p.columns {
		terms[j] = b.api.Mul(column, b.horner(b.fold, b.weightsOf(p.layer, j)))
	}
	return b.sum(terms)
}

// weightsOf returns the weights that leave input j of a layer.
func (b *builder) weightsOf(l fixedpoint.Layer, j int) []frontend.Variable {
	out := make([]frontend.Variable, l.Out)
	for k := range out {
		out[k] = b.now[l.Index(j, k)]
	}
	return out
}

// rounded returns the score that a rounded one and its rest stand for.
func (b *builder) rounded(q, rest frontend.Variable) frontend.Variable {
	const unit = 1 << fixedpoint.ScoreShift
	return b.api.Sub(b.api.Add(b.api.Mul(q, unit), rest), unit/2)
}

// outputs returns the scores of the last layer that the trace claims, and the
// rows' errors weighted by powers of fold.
func (b *builder) outputs(t int) (scores, errs []frontend.Variable) {
	c, api, m := b.c, b.api, b.s.Model
	rows := b.s.Layout.Rows
	scores, errs = make([]frontend.Variable, rows*m.Outputs), make([]frontend.Variable, rows)
	weigh := func(i int, v []frontend.Variable) frontend.Variable {
		return b.horner(b.fold, v[i*m.Outputs:(i+1)*m.Outputs])
	}
	at := t * rows * m.Outputs
	switch m.Kind {
	case fixedpoint.Linear:
		for i := range scores {
			scores[i] = api.Sub(c.Score[at+i], uint64(scoreShift))
		}
		for i := range errs {
			errs[i] = api.Sub(weigh(i, scores), api.Mul(b.targets[i], 1<<fixedpoint.WeightFraction))
		}
		return scores, errs
	case fixedpoint.Logistic:
		for i := range scores {
			above, below := b.limbs(c.Above, at+i, excessLimbs), b.limbs(c.Below, at+i, excessLimbs)
			value := c.Value[at+i]
			b.zero(CheckAbove, above, api.Sub(1<<fixedpoint.CurveFraction, value))
			b.zero(CheckBelow, below, value)
			q := api.Sub(api.Add(c.Place[at+i], above), below, fixedpoint.SigmoidReach())
			scores[i] = b.rounded(q, b.limbs(c.ScoreRest, at+i, scoreLimbs))
		}
		for i := range errs {
			errs[i] = api.Sub(c.Value[at+i], api.Mul(b.targets[i], 1<<fixedpoint.CurveFraction))
		}
		return scores, errs
	}
	values := c.Value[at : at+rows*m.Outputs]
	for i := range rows {
		top := api.Sub(b.limbs(c.Top, t*rows+i, topLimbs), topShift)
		var away frontend.Variable = 1
		for k := range m.Outputs {
			at := at + i*m.Outputs + k
			above := b.limbs(c.Above, at, excessLimbs)
			b.zero(CheckAbove, above, c.Value[at])
			distance := api.Add(c.Place[at], above)
			away = api.Mul(away, distance)
			scores[i*m.Outputs+k] = b.rounded(api.Sub(top, distance), b.limbs(c.ScoreRest, at, scoreLimbs))
		}
		b.equal(CheckTop, away, 0)
		sum := b.sum(values[i*m.Outputs : (i+1)*m.Outputs])
		reciprocal := b.reciprocal(t*rows+i, sum)
		errs[i] = api.Sub(api.Mul(weigh(i, values), reciprocal), api.Mul(b.targets[i], 1<<fixedpoint.ProbabilityFraction))
	}
	return scores, errs
}

// reciprocal returns 2^26/sum, rounded: 2*sum*x = 2^27 + sum - rest with rest
// in [0, 2*sum).
func (b *builder) reciprocal(at int, sum frontend.Variable) frontend.Variable {
	api, c := b.api, b.c
	x := b.limbs(c.Reciprocal, at, recipLimbs)
	rest, gap := b.limbs(c.Division, at, divideLimbs), b.limbs(c.DivisionGap, at, divideLimbs)
	twice := api.Mul(sum, 2)
	right := api.Sub(api.Add(sum, 2<<fixedpoint.ProbabilityFraction), rest)
	b.equal(CheckReciprocal, api.Mul(twice, x), right)
	b.equal(CheckDivision, api.Add(rest, gap, 1), twice)
	return x
}

// update states the new weights of a layer: with G the product of the inputs
// and the errors over the step's rows, rate*G + 2^(shift-1) = 2^shift*(old -
// new) + rest, coefficient by coefficient.
func (b *builder) update(t int, name Constraint, p pass, after, errs []frontend.Variable) {
	api, l := b.api, p.layer
	rows := b.s.Layout.Rows
	terms := make([]frontend.Variable, rows)
	for i := range terms {
		e := errs[i]
		if b.s.Batches {
			e = api.Mul(e, b.c.Batch[t*rows+i])
		}
		terms[i] = api.Mul(p.rows[i], e)
	}
	gradient := api.Mul(b.sum(terms), b.c.Rates[t])

	from, perStep := 0, 0 // place of this layer's rests
	for _, layer := range b.s.Model.Layers() {
		n := layer.Size() * layer.Shift / limbBits
		if layer.Offset < l.Offset {
			from += n
		}
		perStep += n
	}
	from += t * perStep
	rest := b.c.UpdateRest[from : from+l.Size()*l.Shift/limbBits]
	inputs := make([]frontend.Variable, l.In+1)
	for j := range inputs {
		outputs := make([]frontend.Variable, l.Out)
		for k := range outputs {
			at := l.Index(j, k)
			moved := api.Mul(api.Sub(b.now[at], after[at]), uint64(1)<<l.Shift)
			outputs[k] = api.Sub(api.Add(moved, b.limbs(rest, at-l.Offset, l.Shift/limbBits)), uint64(1)<<(l.Shift-1))
		}
		inputs[j] = b.horner(b.fold, outputs)
	}
	b.equal(name, b.horner(b.r, inputs), gradient)
}

// hiddenLayer is what the later parts of a step need of the rectifiers.
type hiddenLayer struct {
	columns, rows []frontend.Variable // as in pass
	on            []frontend.Variable // R*H bits
}

// hidden states the hidden layer: scores, rounding, rectifiers.
func (b *builder) hidden(t int, in pass) *hiddenLayer {
	c, units, rows := b.c, b.s.Model.Hidden, b.s.Layout.Rows
	at := t * rows * units
	scores, out := make([]frontend.Variable, rows*units), make([]frontend.Variable, rows*units)
	h := &hiddenLayer{on: c.HiddenOn[at : at+rows*units]}
	for i := range scores {
		var q frontend.Variable
		q, out[i] = b.rectify(h.on[i], b.limbs(c.HiddenSlack, at+i, slackLimbs))
		scores[i] = b.rounded(q, b.limbs(c.HiddenRest, at+i, scoreLimbs))
	}
	b.equal(CheckHidden, b.atFold(scores, units), b.productOf(in))
	h.columns = append([]frontend.Variable{b.columns[0]}, b.byColumn(out, units)...)
	for i := range rows {
		one := b.api.Mul(c.Valid[i], 1<<fixedpoint.ScoreFraction)
		row := append([]frontend.Variable{one}, out[i*units:(i+1)*units]...)
		h.rows = append(h.rows, b.horner(b.r, row))
	}
	return h
}

// back states the errors that arrive at the hidden units, the outputs' errors
// times their weights, and returns those of the units that are on, weighted by
// powers of fold, a row each.
func (b *builder) back(t int, h *hiddenLayer) []frontend.Variable {
	c, api, m := b.c, b.api, b.s.Model
	rows, last := b.s.Layout.Rows, m.Layers()[1]
	at := t * rows * m.Hidden
	back := make([]frontend.Variable, rows*m.Hidden)
	for i := range back {
		back[i] = api.Sub(c.HiddenBack[at+i], uint64(backShift))
	}

	// sum_i w^i * error_ik = sum_i (w^i * reciprocal_i) * value_ik - 2^26 * target column k.
	weighted := make([]frontend.Variable, rows*m.Outputs)
	var weight frontend.Variable = 1
	for i := range rows {
		if i > 0 {
			weight = api.Mul(weight, b.sums.Row)
		}
		scale := api.Mul(b.limbs(c.Reciprocal, t*rows+i, recipLimbs), weight)
		for k := range m.Outputs {
			weighted[i*m.Outputs+k] = api.Mul(c.Value[(t*rows+i)*m.Outputs+k], scale)
		}
	}
	terms := make([]frontend.Variable, m.Outputs)
	for k := range terms {
		column := make([]frontend.Variable, rows)
		for i := range column {
			column[i] = weighted[i*m.Outputs+k]
		}
		errs := api.Sub(b.sum(column), api.Mul(b.targetColumns[k], 1<<fixedpoint.ProbabilityFraction))
		weights := make([]frontend.Variable, m.Hidden)
		for j := range weights {
			weights[j] = b.now[last.Index(j+1, k)]
		}
		terms[k] = api.Mul(errs, b.horner(b.fold, weights))
	}
	b.equal(CheckBack, b.atFold(back, m.Hidden), b.sum(terms))

	out := make([]frontend.Variable, rows)
	for i := range out {
		masked := make([]frontend.Variable, m.Hidden)
		for j := range masked {
			masked[j] = api.Mul(back[i*m.Hidden+j], h.on[i*m.Hidden+j])
		}
		out[i] = b.horner(b.fold, masked)
	}
	return out
}
