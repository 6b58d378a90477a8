package training

import (
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/zk/circuit/table"
	"credence/zk/fixedpoint"
)

// An Assignment is a witness vector with named views into it, in the order of
// Circuit's fields.
type Assignment struct {
	Vector fr.Vector

	Statement                []fr.Element // 2
	Fold, Rows               *fr.Element
	Rates, Quantiser         []fr.Element
	Table                    *fr.Element
	Base, Start, End         []fr.Element // values at r
	Batches, Noise, Messages []fr.Element
	secret                   map[string][]fr.Element
	shape                    *Shape
}

// secretNames are the names of Secret's slices in the order of groups.
var secretNames = []string{
	"valid", "features", "targets", "marks", "blind", "base", "start", "start mask", "end mask",
	"weights", "update rest", "batch",
	"hidden rest", "hidden slack", "hidden on", "hidden back", "score", "score rest", "place", "value", "above", "below",
	"top", "reciprocal", "division", "division gap",
	"quantise rest", "low on", "high on", "low slack", "high slack", "shrink", "shrink on", "figures", "message mask",
	"count limbs", "count curve",
}

// limbNames are the groups of Secret.limbs.
var limbNames = []string{
	"weights", "update rest", "hidden rest", "hidden slack", "score rest", "above", "below", "top", "reciprocal",
	"division", "division gap", "quantise rest", "low slack", "high slack", "shrink", "figures",
}

// NewAssignment returns a zero assignment.
func (s *Shape) NewAssignment() *Assignment { return s.assignment(s.sizes()) }

// NewPublic returns a zero assignment of the public inputs alone, for
// verifiers.
func (s *Shape) NewPublic() *Assignment { return s.assignment(nil) }

func (s *Shape) assignment(sizes []int) *Assignment {
	settings, evaluations := s.publicSizes()
	n := s.PublicInputs()
	for _, k := range sizes {
		n += k
	}
	a := &Assignment{Vector: make(fr.Vector, n), secret: make(map[string][]fr.Element, len(sizes)), shape: s}
	at := 0
	take := func(k int) []fr.Element {
		at += k
		return a.Vector[at-k : at : at]
	}
	a.Statement, a.Fold, a.Rows = take(2), &take(1)[0], &take(1)[0]
	a.Rates, a.Quantiser = take(settings[0]), take(settings[1])
	a.Table = &take(1)[0]
	for i, view := range []*[]fr.Element{&a.Base, &a.Start, &a.End, &a.Batches, &a.Noise, &a.Messages} {
		*view = take(evaluations[i])
	}
	for i, n := range sizes {
		a.secret[secretNames[i]] = take(n)
	}
	return a
}

// PublicInputs is the number of public inputs, the constant one and the
// challenge not counted.
func (s *Shape) PublicInputs() int {
	settings, evaluations := s.publicSizes()
	n := 5
	for _, v := range [][]int{settings, evaluations} {
		for _, k := range v {
			n += k
		}
	}
	return n
}

// Erase overwrites the assignment with zeros.
func (a *Assignment) Erase() { clear(a.Vector) }

// Masks are the uniform coefficients that hide what is committed and opened.
type Masks struct {
	Blind    [table.Blinds]fr.Element   // of this proof's commitment to the table
	Messages [][MessageMasks]fr.Element // a shard each; nil in inner parts
	Start    [WeightMasks]fr.Element    // zero where the start is public
	End      [WeightMasks]fr.Element    // inner parts only
}

// A Witness is everything the prover knows about one proof.
type Witness struct {
	Run *fixedpoint.Run
	// Base is the public global model, where the part quantises.
	Base []int32
	// Quantised is the result of Run from Base, where the part quantises.
	Quantised *fixedpoint.Quantised
	// Figures are the first fl.MetricSlots values of each shard's message.
	Figures [][]int32
	Masks   Masks
}

// Settings sets the public inputs that no challenge enters. It refuses what is
// outside the bounds that SPEC.md rests on, and settings of another shape.
func (a *Assignment) Settings(rows int, steps []fixedpoint.Step, q fixedpoint.Quantiser) error {
	s := a.shape
	if rows < 1 || rows > s.Layout.Rows || len(steps) != s.Steps {
		return fmt.Errorf("%w: %d rows and %d steps for %s", ErrShape, rows, len(steps), s.Name())
	}
	a.Rows.SetUint64(uint64(rows))
	for t, st := range steps {
		if st.Batch != nil && !s.Batches {
			return fmt.Errorf("%w: step %d uses part of the rows, %s has no batches", ErrShape, t+1, s.Name())
		}
		if err := st.Check(rows); err != nil {
			return fmt.Errorf("%w: step %d: %w", ErrShape, t+1, err)
		}
		a.Rates[t].SetUint64(st.Rate)
	}
	if !s.quantises() {
		return nil
	}
	if err := q.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrShape, err)
	}
	if s.Norm != (q.NormSquare > 0) {
		return fmt.Errorf("%w: a quantiser with norm square %d for %s", ErrShape, q.NormSquare, s.Name())
	}
	a.Quantiser[0].SetUint64(q.Factor)
	a.Quantiser[1].SetUint64(uint64(q.Limit))
	if s.Norm {
		a.Quantiser[2].SetUint64(q.NormSquare)
	}
	return nil
}

// Fill sets every secret value, and the public settings that do not depend on
// a challenge.
func (a *Assignment) Fill(w *Witness, q fixedpoint.Quantiser) error {
	s, run := a.shape, w.Run
	if run.Model != s.Model || run.Table.Layout != s.Layout || len(run.Steps) != s.Steps {
		return fmt.Errorf("%w: a run of %d steps on %s for %s", ErrShape, len(run.Steps), run.Table.Layout.Name(), s.Name())
	}
	steps := make([]fixedpoint.Step, len(run.Steps))
	for t, st := range run.Steps {
		steps[t] = st.Step
	}
	if err := a.Settings(run.Table.Used, steps, q); err != nil {
		return err
	}
	a.fillTable(run, &w.Masks)
	if s.quantises() {
		if len(w.Base) != s.Model.Parameters() || w.Quantised == nil || len(w.Quantised.Values) != len(w.Base) ||
			len(w.Figures) != len(s.Shards) || len(w.Masks.Messages) != len(s.Shards) {
			return fmt.Errorf("%w: base, quantised values, figures or masks of another size than %s", ErrShape, s.Name())
		}
		fillShifted(a.secret["base"], w.Base, weightShift)
		if err := a.fillQuantised(w, q); err != nil {
			return err
		}
	} else {
		copy(a.secret["end mask"], w.Masks.End[:])
	}
	if s.ownStart() {
		fillShifted(a.secret["start"], run.Start, weightShift)
		copy(a.secret["start mask"], w.Masks.Start[:])
	}
	for t, st := range run.Steps {
		a.fillStep(t, st, run)
	}
	a.count()
	return nil
}

func fillShifted(out []fr.Element, v []int32, shift int64) {
	for i := range out {
		out[i].SetInt64(int64(v[i]) + shift)
	}
}

func (a *Assignment) fillTable(run *fixedpoint.Run, masks *Masks) {
	l, t := a.shape.Layout, run.Table
	targetShift := int64(0)
	if l.Classes() == 0 {
		targetShift = l.Half()
	}
	for i := range l.Rows {
		row := t.Row(i)
		a.secret["valid"][i].SetInt64(row[0])
		for j := range l.Features {
			a.secret["features"][i*l.Features+j].SetInt64(row[l.Feature(j)] + l.Half())
		}
		for j := range l.Targets {
			a.secret["targets"][i*l.Targets+j].SetInt64(row[l.Target(j)] + targetShift)
		}
		for j := range l.Marks() {
			a.secret["marks"][i*l.Marks()+j].SetInt64(row[l.Mark(j)])
		}
	}
	copy(a.secret["blind"], masks.Blind[:])
}

// setLimbs writes value i of a group of n limbs a value.
func (a *Assignment) setLimbs(group string, i, n int, v uint64) {
	out := a.secret[group][i*n : (i+1)*n]
	for l := range out {
		out[l].SetUint64(v % limbTable)
		v /= limbTable
	}
}

func (a *Assignment) setBit(group string, i int, on bool) {
	if on {
		a.secret[group][i].SetOne()
	}
}

func (a *Assignment) fillStep(t int, st *fixedpoint.StepTrace, run *fixedpoint.Run) {
	m, rows := run.Model, a.shape.Layout.Rows
	for i, w := range st.End {
		a.setLimbs("weights", t*len(st.End)+i, weightLimbs, uint64(int64(w)+weightShift))
	}
	perStep := len(a.secret["update rest"]) / a.shape.Steps
	rest := a.secret["update rest"][t*perStep : (t+1)*perStep]
	for _, layer := range m.Layers() {
		n := layer.Shift / limbBits
		for i := range layer.Size() {
			v := st.Remainder[layer.Offset+i]
			for l := range n {
				rest[i*n+l].SetUint64(v % limbTable)
				v /= limbTable
			}
		}
		rest = rest[layer.Size()*n:]
	}
	if a.shape.Batches {
		mask := a.secret["batch"][t*rows : (t+1)*rows]
		for i := range mask {
			a.setBit("batch", t*rows+i, st.Batch == nil && i < run.Table.Used)
		}
		for _, i := range st.Batch {
			mask[i].SetOne()
		}
	}
	if h := st.Hidden; h != nil {
		at := t * rows * m.Hidden
		var shift fr.Element
		shift.SetUint64(backShift)
		for i := range h.On {
			a.setLimbs("hidden rest", at+i, scoreLimbs, uint64(h.Remainder[i]))
			a.setLimbs("hidden slack", at+i, slackLimbs, uint64(h.Slack[i]))
			a.setBit("hidden on", at+i, h.On[i])
			back := &a.secret["hidden back"][at+i]
			back.SetInt64(h.Back[i]).Add(back, &shift)
		}
	}
	at := t * rows * m.Outputs
	if m.Kind == fixedpoint.Linear {
		for i, z := range st.Score {
			a.secret["score"][at+i].SetInt64(z + scoreShift)
		}
		return
	}
	for i := range st.Score {
		a.setLimbs("score rest", at+i, scoreLimbs, uint64(st.ScoreRemainder[i]))
		a.secret["place"][at+i].SetUint64(uint64(st.Place[i]))
		a.secret["value"][at+i].SetUint64(uint64(st.Value[i]))
		a.setLimbs("above", at+i, excessLimbs, uint64(st.Above[i]))
		if st.Below != nil {
			a.setLimbs("below", at+i, excessLimbs, uint64(st.Below[i]))
		}
	}
	for i := range st.Top {
		at := t*rows + i
		a.setLimbs("top", at, topLimbs, uint64(int64(st.Top[i])+topShift))
		a.setLimbs("reciprocal", at, recipLimbs, uint64(st.Reciprocal[i]))
		a.setLimbs("division", at, divideLimbs, uint64(st.Division[i]))
		a.setLimbs("division gap", at, divideLimbs, uint64(2*st.Sum[i]-1-st.Division[i]))
	}
}

func (a *Assignment) fillQuantised(w *Witness, q fixedpoint.Quantiser) error {
	v := w.Quantised
	for i := range v.Values {
		a.setLimbs("quantise rest", i, a.shape.quantiseLimbs(), v.Remainder[i])
		a.setBit("low on", i, v.LowOn[i])
		a.setBit("high on", i, v.HighOn[i])
		a.setLimbs("low slack", i, clipLimbs, uint64(v.LowSlack[i]))
		a.setLimbs("high slack", i, clipLimbs, uint64(v.HighSlack[i]))
	}
	if a.shape.Norm {
		a.fillShrink(v, q)
	}
	for k := range a.shape.Shards {
		if len(w.Figures[k]) != fl.MetricSlots {
			return fmt.Errorf("%w: %d figures in shard %d, want %d", ErrShape, len(w.Figures[k]), k, fl.MetricSlots)
		}
		for i, f := range w.Figures[k] {
			if f < -figureShift || f >= figureShift {
				return fmt.Errorf("%w: figure %d of shard %d has more than %d bits", ErrShape, i, k, figureBits)
			}
			a.setLimbs("figures", k*fl.MetricSlots+i, figureLimbs, uint64(int64(f)+figureShift))
		}
		copy(a.secret["message mask"][k*MessageMasks:], w.Masks.Messages[k][:])
	}
	return nil
}

// fillShrink sets the norm's part: what was dropped from the factor, how far
// below the bound it leads, and how far above it the next one would.
func (a *Assignment) fillShrink(v *fixedpoint.Quantised, q fixedpoint.Quantiser) {
	dropped := 1<<fixedpoint.ShrinkBits - v.Shrink
	a.setLimbs("shrink", 0, shrinkLimbs, dropped)
	bound := new(big.Int).Lsh(new(big.Int).SetUint64(q.NormSquare), 2*fixedpoint.ShrinkBits)
	at := func(f uint64) *big.Int {
		x := new(big.Int).SetUint64(f)
		return x.Mul(x, x).Mul(x, new(big.Int).SetUint64(v.Square))
	}
	write := func(from int, x *big.Int) {
		b := x.FillBytes(make([]byte, normLimbs))
		for l := range normLimbs {
			a.secret["shrink"][from+l].SetUint64(uint64(b[normLimbs-1-l]))
		}
	}
	write(shrinkLimbs, new(big.Int).Sub(bound, at(v.Shrink)))
	if dropped > 0 {
		a.secret["shrink on"][0].SetOne()
		over := new(big.Int).Sub(at(v.Shrink+1), bound)
		write(shrinkLimbs+normLimbs, over.Sub(over, big.NewInt(1)))
	}
}

// count sets the histograms of what is looked up. Values outside a table are
// not counted.
func (a *Assignment) count() {
	tally := func(into []fr.Element, groups ...[]fr.Element) {
		h := make([]uint64, len(into))
		for _, g := range groups {
			for i := range g {
				if g[i].IsUint64() && g[i].Uint64() < uint64(len(h)) {
					h[g[i].Uint64()]++
				}
			}
		}
		for i := range into {
			into[i].SetUint64(h[i])
		}
	}
	limbs := make([][]fr.Element, len(limbNames))
	for i, name := range limbNames {
		limbs[i] = a.secret[name]
	}
	tally(a.secret["count limbs"], limbs...)
	tally(a.secret["count curve"], a.secret["place"])
}
