package fixedpoint

import (
	"fmt"
	"slices"

	"credence/zk/tabular"
)

// A Step is one gradient step's public part.
type Step struct {
	// Rate is the learning rate divided by the number of rows in the batch, in
	// units of 2^-RateFraction (Model.Rate).
	Rate uint64
	// Batch lists the step's rows, ascending; nil is all rows.
	Batch []int
}

// MaxRate bounds a rate, for the bounds of SPEC.md.
const MaxRate = 1 << 32

// A Run is a whole local training with everything that was computed on the
// way: what a proof needs. Slices over rows have a layout's Rows entries;
// padded rows are computed like the others and weigh nothing.
type Run struct {
	Model Model
	Table *tabular.Table
	Start []int32
	Steps []*StepTrace
}

// End returns the trained weights.
func (r *Run) End() []int32 {
	if len(r.Steps) == 0 {
		return r.Start
	}
	return r.Steps[len(r.Steps)-1].End
}

// A StepTrace is one step with all that was computed in it. Two-dimensional
// values are row-major.
type StepTrace struct {
	Step
	Start, End []int32  // weights before and after
	Remainder  []uint64 // of the update's rounding, a parameter each

	Hidden *HiddenTrace // mlp only
	// Scores of the last layer, Rows*Outputs: 2^16*rounded + remainder -
	// 2^15; linear keeps the exact score instead.
	Score          []int64
	ScoreRemainder []uint32

	// Curve: the place in the table, what lay beyond its ends, and its value.
	Place, Above, Below, Value []uint32
	// Softmax, a row each: the largest rounded score, the sum of exps, its
	// reciprocal and the remainder of the division.
	Top                       []int32
	Sum, Reciprocal, Division []uint32
}

// A HiddenTrace is the hidden layer of one step, Rows*Hidden values each.
type HiddenTrace struct {
	Remainder []uint32 // of the score's rounding
	On        []bool   // the rounded score is at least 1
	Slack     []uint32 // rounded score - 1 where on, minus it where off
	Out       []int32  // max(0, rounded score)
	Back      []int64  // error arriving from above: sum over outputs of error*weight
}

// Train runs the steps from the given weights, on the grid.
func (m Model) Train(t *tabular.Table, start []int32, steps []Step) (*Run, error) {
	if err := m.CheckLayout(t.Layout); err != nil {
		return nil, err
	}
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("fixedpoint: %w", err)
	}
	if len(start) != m.Parameters() {
		return nil, fmt.Errorf("%w: %d weights for a %s of %d parameters", ErrModel, len(start), m.Kind, m.Parameters())
	}
	for i, w := range start {
		if !weightInRange(int64(w)) {
			return nil, fmt.Errorf("%w: weight %d of the start", ErrRange, i)
		}
	}
	if len(steps) < 1 || len(steps) > MaxSteps {
		return nil, fmt.Errorf("%w: %d steps: want 1 to %d", ErrModel, len(steps), MaxSteps)
	}
	run := &Run{Model: m, Table: t, Start: start}
	for i, s := range steps {
		if err := s.Check(t.Used); err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		trace, err := m.step(t, run.End(), s)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		run.Steps = append(run.Steps, trace)
	}
	return run, nil
}

func weightInRange(w int64) bool { return w >= -1<<(WeightBits-1) && w < 1<<(WeightBits-1) }

// Check reports ErrModel for a rate outside its bounds and for a batch that is
// empty, repeats a row or names one that a table of so many rows has not.
func (s Step) Check(rows int) error {
	if s.Rate < 1 || s.Rate >= MaxRate {
		return fmt.Errorf("%w: a rate of %d: want 1 to %d", ErrModel, s.Rate, MaxRate-1)
	}
	if s.Batch != nil && len(s.Batch) == 0 {
		return fmt.Errorf("%w: an empty batch", ErrModel)
	}
	for i, x := range s.Batch {
		if x < 0 || x >= rows || i > 0 && x <= s.Batch[i-1] {
			return fmt.Errorf("%w: a batch's rows must ascend within 0..%d, each once", ErrModel, rows-1)
		}
	}
	return nil
}

// step computes one gradient step.
func (m Model) step(t *tabular.Table, start []int32, s Step) (*StepTrace, error) {
	st := &StepTrace{Step: s, Start: start}
	layers := m.Layers()
	rows := t.Layout.Rows
	errs := make([]int64, rows*m.Outputs) // errors of the outputs
	last := layers[len(layers)-1]
	first := make([][]int64, rows)
	for i := range first {
		first[i] = m.input(t, i)
	}
	input := func(i int) []int64 { return first[i] }

	// Forward: what enters the last layer, its scores, their curve.
	lastInput := input
	if m.Kind == MLP {
		if err := m.forwardHidden(t, st, layers[0]); err != nil {
			return nil, err
		}
		in := make([]int64, rows*(1+m.Hidden))
		for i := range rows {
			row := in[i*(1+m.Hidden):][:1+m.Hidden]
			row[0] = t.Row(i)[0] << ScoreFraction // the bias counts valid rows only
			for j, h := range st.Hidden.Out[i*m.Hidden:][:m.Hidden] {
				row[1+j] = int64(h)
			}
		}
		lastInput = func(i int) []int64 { return in[i*(1+m.Hidden):][:1+m.Hidden] }
	}
	st.Score = make([]int64, rows*m.Outputs)
	for i := range rows {
		for k := range m.Outputs {
			st.Score[i*m.Outputs+k] = dot(lastInput(i), start, last, k)
		}
	}
	if err := m.curve(st, rows); err != nil {
		return nil, err
	}
	for i := range rows {
		for k := range m.Outputs {
			at := i*m.Outputs + k
			target := t.Target(i, k)
			switch m.Kind {
			case Linear:
				errs[at] = st.Score[at] - target<<WeightFraction
			case Logistic:
				errs[at] = int64(st.Value[at]) - target<<CurveFraction
			default:
				errs[at] = int64(st.Value[at])*int64(st.Reciprocal[i]) - target<<ProbabilityFraction
			}
		}
	}

	// Backward.
	chosen := make([]bool, rows)
	for i := range chosen {
		chosen[i] = s.Batch == nil
	}
	for _, i := range s.Batch {
		chosen[i] = true
	}
	st.End = make([]int32, len(start))
	st.Remainder = make([]uint64, len(start))
	if m.Kind == MLP {
		back := make([]int64, rows*m.Hidden)
		st.Hidden.Back = make([]int64, rows*m.Hidden)
		for i := range rows {
			for j := range m.Hidden {
				var sum int64
				for k := range m.Outputs {
					sum += errs[i*m.Outputs+k] * int64(start[last.Index(j+1, k)])
				}
				st.Hidden.Back[i*m.Hidden+j] = sum
				if st.Hidden.On[i*m.Hidden+j] {
					back[i*m.Hidden+j] = sum
				}
			}
		}
		if err := st.update(layers[0], chosen, input, back); err != nil {
			return nil, err
		}
	}
	return st, st.update(last, chosen, lastInput, errs)
}

// input returns a row as the first layer sees it: one, on the grid of the
// features, and the features; zeros in the padding.
func (m Model) input(t *tabular.Table, i int) []int64 {
	row := slices.Clone(t.Row(i)[:1+m.Features])
	row[0] <<= FeatureFraction
	return row
}

// dot returns the exact score of output k: [1, inputs] times the weights.
func dot(in []int64, weights []int32, l Layer, k int) int64 {
	var z int64
	for j, x := range in {
		if x != 0 {
			z += x * int64(weights[l.Index(j, k)])
		}
	}
	return z
}

// shiftRound returns floor(z/2^ScoreShift + 1/2) and what it leaves:
// z = 2^ScoreShift*q + rest - 2^(ScoreShift-1).
func shiftRound(z int64) (q int64, rest uint32) {
	z += 1 << (ScoreShift - 1)
	return z >> ScoreShift, uint32(z & (1<<ScoreShift - 1))
}

func (m Model) forwardHidden(t *tabular.Table, st *StepTrace, l Layer) error {
	n := t.Layout.Rows * m.Hidden
	h := &HiddenTrace{Remainder: make([]uint32, n), On: make([]bool, n), Slack: make([]uint32, n), Out: make([]int32, n)}
	st.Hidden = h
	for i := range t.Layout.Rows {
		in := m.input(t, i)
		for j := range m.Hidden {
			at := i*m.Hidden + j
			q, rest := shiftRound(dot(in, st.Start, l, j))
			h.Remainder[at], h.On[at] = rest, q >= 1
			slack := -q
			if h.On[at] {
				slack, h.Out[at] = q-1, int32(q)
			}
			if slack >= 1<<HiddenBits {
				return fmt.Errorf("%w: a hidden unit's score reaches %d", ErrRange, 1<<(HiddenBits-ScoreFraction))
			}
			h.Slack[at] = uint32(slack)
		}
	}
	return nil
}

// curve rounds the scores and applies sigmoid or softmax.
func (m Model) curve(st *StepTrace, rows int) error {
	if m.Kind == Linear {
		return nil
	}
	n := rows * m.Outputs
	st.ScoreRemainder, st.Place, st.Above, st.Value = make([]uint32, n), make([]uint32, n), make([]uint32, n), make([]uint32, n)
	rounded := make([]int64, n)
	for at, z := range st.Score {
		rounded[at], st.ScoreRemainder[at] = shiftRound(z)
	}
	tooLarge := func() error {
		return fmt.Errorf("%w: a score lies %d beyond its table", ErrRange, 1<<(ExcessBits-ScoreFraction))
	}
	if m.Kind == Logistic {
		st.Below = make([]uint32, n)
		table, reach := SigmoidTable(), int64(SigmoidReach())
		for at, q := range rounded {
			in := min(max(q, -reach), reach)
			above, below := max(q-in, 0), max(in-q, 0)
			if above >= 1<<ExcessBits || below >= 1<<ExcessBits {
				return tooLarge()
			}
			st.Above[at], st.Below[at] = uint32(above), uint32(below)
			st.Place[at] = uint32(in + reach)
			st.Value[at] = table[in+reach]
		}
		return nil
	}
	table := ExpTable()
	st.Top, st.Sum = make([]int32, rows), make([]uint32, rows)
	st.Reciprocal, st.Division = make([]uint32, rows), make([]uint32, rows)
	for i := range rows {
		q := rounded[i*m.Outputs:][:m.Outputs]
		top := q[0]
		for _, x := range q {
			top = max(top, x)
		}
		if top < -1<<(TopBits-1) || top >= 1<<(TopBits-1) {
			return tooLarge()
		}
		st.Top[i] = int32(top)
		for k, x := range q {
			at := i*m.Outputs + k
			place := min(top-x, int64(len(table)-1))
			above := top - x - place
			if above >= 1<<ExcessBits {
				return tooLarge()
			}
			st.Place[at], st.Above[at], st.Value[at] = uint32(place), uint32(above), table[place]
			st.Sum[i] += table[place]
		}
		// The reciprocal, rounded: floor((2^27 + s) / 2s).
		s := uint64(st.Sum[i])
		n := uint64(2)<<ProbabilityFraction + s
		st.Reciprocal[i], st.Division[i] = uint32(n/(2*s)), uint32(n%(2*s))
	}
	return nil
}

// update moves one layer's weights against the gradient of its inputs and
// errors (Rows*l.Out of them) over the chosen rows.
func (st *StepTrace) update(l Layer, chosen []bool, input func(int) []int64, errs []int64) error {
	grad := make([]wide, l.Size())
	for i, in := range chosen {
		if !in {
			continue
		}
		for j, x := range input(i) {
			if x == 0 {
				continue
			}
			for k, e := range errs[i*l.Out:][:l.Out] {
				at := l.Index(j, k) - l.Offset
				grad[at] = grad[at].add(product(x, e))
			}
		}
	}
	for at, g := range grad {
		scaled := g.times(st.Rate).add(wideOf(1).shiftLeft(l.Shift - 1))
		delta, rest, ok := scaled.divide(l.Shift)
		p := l.Offset + at
		w := int64(st.Start[p]) - delta
		if !ok || delta > 1<<40 || delta < -1<<40 || !weightInRange(w) {
			return fmt.Errorf("%w: a weight reaches %d", ErrRange, 1<<(WeightBits-1-WeightFraction))
		}
		st.End[p], st.Remainder[p] = int32(w), rest
	}
	return nil
}

// CheckWeights reports ErrRange for a weight outside its range.
func CheckWeights(w []int32) error {
	for i, x := range w {
		if !weightInRange(int64(x)) {
			return fmt.Errorf("%w: weight %d", ErrRange, i)
		}
	}
	return nil
}
