package training

import (
	"os"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// An attack is a false statement with the best witness a cheating prover could
// build for it: everything is consistent but for the one thing that the named
// constraint forbids. Row 5 of every table here is padding: its cells are zero,
// so what a prover claims about its scores moves no weight, and a lie about it
// is a lie about one constraint.
type attack struct {
	name    string
	catches Constraint
	on      []fixedpoint.Kind // nil: every kind
	only    func(s *Shape) bool
	prepare func(t *testing.T, in *instance)
	before  func(in *instance, a *Assignment)
	after   func(in *instance, a *Assignment, r fr.Element)
}

var (
	curved = []fixedpoint.Kind{fixedpoint.Logistic, fixedpoint.Softmax, fixedpoint.MLP}
	oneLay = []fixedpoint.Kind{fixedpoint.Linear, fixedpoint.Logistic, fixedpoint.Softmax}
)

func quantises(s *Shape) bool { return s.quantises() }
func batches(s *Shape) bool   { return s.Batches }

// add adds v to value i of a group.
func add(a *Assignment, group string, i int, v int64) {
	var d fr.Element
	x := &a.secret[group][i]
	x.Add(x, d.SetInt64(v))
}

// idle is the place of output k of a row that moves no weight in step 0: one
// that its batch leaves out, or the padded last row.
func idle(in *instance, k int) int { return idleRow(in)*in.shape.Model.Outputs + k }

func idleRow(in *instance) int {
	if batch := in.steps[0].Batch; batch != nil {
		for i := range in.table.Used {
			if !slices.Contains(batch, i) {
				return i
			}
		}
	}
	return in.shape.Layout.Rows - 1
}

// unclipped is a parameter whose change is below the limit.
func unclipped(in *instance) int {
	return slices.IndexFunc(in.witness.Quantised.Values, func(v int32) bool { return v < in.q.Limit })
}

// recurve sets the curve's value at a place, and the histograms.
func recurve(in *instance, a *Assignment, at int) {
	a.secret["value"][at].SetUint64(uint64(in.shape.curve()[a.secret["place"][at].Uint64()]))
	a.count()
}

// divide sets the idle row's reciprocal to that of its claimed values.
func divide(in *instance, a *Assignment) {
	var sum uint64
	for k := range in.shape.Model.Outputs {
		sum += a.secret["value"][idle(in, k)].Uint64()
	}
	row, n := idleRow(in), uint64(2)<<fixedpoint.ProbabilityFraction+sum
	a.setLimbs("reciprocal", row, recipLimbs, n/(2*sum))
	a.setLimbs("division", row, divideLimbs, n%(2*sum))
	a.setLimbs("division gap", row, divideLimbs, 2*sum-1-n%(2*sum))
	a.count()
}

// lateScores gives two scores of the last step what the bent weight 0 (from the
// first feature to output 0) lacks in the update, so that the product of the
// scores stays what it is: two linear equations at the known challenges.
func lateScores(in *instance, a *Assignment, r fr.Element) {
	l, last := in.shape.Layout, in.shape.Steps-1
	row := func(i int) (weight, input fr.Element) { // r^(Width*i), and sum_j r^j * input j
		weight.SetOne()
		for range i * l.Width() {
			weight.Mul(&weight, &r)
		}
		var t fr.Element
		for j := l.Features - 1; j >= 0; j-- {
			input.Add(&input, t.SetInt64(in.table.Feature(i, j)))
			input.Mul(&input, &r)
		}
		input.Add(&input, t.SetUint64(1<<fixedpoint.FeatureFraction))
		return weight, input
	}
	w0, v0 := row(0)
	w1, v1 := row(1)
	// d0*w0 + d1*w1 = 0 and rate*(d0*v0 + d1*v1) = -2^shift * r.
	var ratio, det, d0, d1 fr.Element
	ratio.Div(&w0, &w1)
	det.Mul(&v1, &ratio)
	det.Sub(&v0, &det).Mul(&det, &a.Rates[last])
	d0.SetUint64(1 << in.shape.Model.Layers()[0].Shift)
	d0.Mul(&d0, &r).Neg(&d0).Div(&d0, &det)
	d1.Mul(&d0, &ratio).Neg(&d1)
	at := last * l.Rows * in.shape.Model.Outputs
	for i, d := range []fr.Element{d0, d1} {
		z := &a.secret["score"][at+i*in.shape.Model.Outputs]
		z.Add(z, &d)
	}
}

// missing is what the count of zero must grow by to balance a lookup at r.
func missing(values, counts []fr.Element, r fr.Element) *fr.Element {
	var diff, v, entry fr.Element
	for i := range values {
		v.Sub(&r, &values[i]).Inverse(&v)
		diff.Add(&diff, &v)
	}
	for i := range counts {
		v.Sub(&r, entry.SetUint64(uint64(i))).Inverse(&v)
		diff.Sub(&diff, v.Mul(&v, &counts[i]))
	}
	return diff.Mul(&diff, &r)
}

func one() *fr.Element {
	var v fr.Element
	return v.SetOne()
}

var attacks = []attack{
	// What the run is about.
	{name: "another dataset than committed", catches: CheckTable, prepare: func(t *testing.T, in *instance) {
		in.tablePoly[1].Add(&in.tablePoly[1], one())
	}},
	{name: "a row more than counted", catches: CheckCount, before: func(_ *instance, a *Assignment) {
		a.Rows.Sub(a.Rows, one())
	}},
	{name: "fewer rows than counted", catches: CheckCount, before: func(_ *instance, a *Assignment) {
		a.Rows.Add(a.Rows, one())
	}},
	{name: "another starting model", catches: CheckBase, only: quantises, prepare: func(t *testing.T, in *instance) {
		in.basePoly[0].Add(&in.basePoly[0], one())
	}},
	{name: "other committed weights at the start", catches: CheckStart, only: func(s *Shape) bool { return s.ownStart() }, prepare: func(t *testing.T, in *instance) {
		in.startPoly[0].Add(&in.startPoly[0], one())
	}},
	{name: "other committed weights at the end", catches: CheckEnd, only: func(s *Shape) bool { return !s.quantises() }, prepare: func(t *testing.T, in *instance) {
		in.endPoly[0].Sub(&in.endPoly[0], one())
	}},
	{name: "a row swapped for another in a batch", catches: CheckBatches, only: batches, prepare: func(t *testing.T, in *instance) {
		for i := range in.table.Used {
			in.batchPoly[i].Sub(one(), &in.batchPoly[i])
		}
	}},
	{name: "a row that counts twice in a batch", catches: CheckBatches, only: batches, prepare: func(t *testing.T, in *instance) {
		// The gradient with the first row of the batch counted twice is that of
		// a table with a copy of it in a row that the batch leaves out.
		picked, spare := in.steps[0].Batch[0], idle(in, 0)/in.shape.Model.Outputs
		copied := &tabular.Table{Layout: in.table.Layout, Used: in.table.Used, Cells: slices.Clone(in.table.Cells)}
		copy(copied.Row(spare), in.table.Row(picked))
		batch := append(slices.Clone(in.steps[0].Batch), spare)
		slices.Sort(batch)
		run, err := in.shape.Model.Train(copied, in.witness.Run.Start, []fixedpoint.Step{{Rate: in.steps[0].Rate, Batch: batch}})
		if err != nil {
			t.Fatal(err)
		}
		in.bend(t, 0, func(st *fixedpoint.StepTrace) { st.End, st.Remainder = run.End(), run.Steps[0].Remainder })
	}, before: func(in *instance, a *Assignment) {
		add(a, "batch", in.steps[0].Batch[0], 1)
	}},

	// The steps.
	{name: "gradient scaled", catches: CheckUpdate, prepare: func(t *testing.T, in *instance) {
		in.bend(t, 0, func(st *fixedpoint.StepTrace) {
			for i, old := range st.Start {
				st.End[i] += st.End[i] - old
			}
		})
	}, on: oneLay},
	{name: "gradient sign-flipped", catches: CheckUpdate, prepare: func(t *testing.T, in *instance) {
		in.bend(t, 0, func(st *fixedpoint.StepTrace) {
			for i, old := range st.Start {
				st.End[i] = 2*old - st.End[i]
			}
		})
	}, on: oneLay},
	{name: "one weight off by one", catches: CheckUpdate, prepare: func(t *testing.T, in *instance) {
		in.bend(t, 0, func(st *fixedpoint.StepTrace) { st.End[len(st.End)-1]++ })
	}},
	{name: "one weight of the first layer off by one", catches: CheckUpdateFirst, on: []fixedpoint.Kind{fixedpoint.MLP}, prepare: func(t *testing.T, in *instance) {
		in.bend(t, 0, func(st *fixedpoint.StepTrace) { st.End[0]-- })
	}},
	{name: "another learning rate", catches: CheckUpdate, on: oneLay, before: func(_ *instance, a *Assignment) {
		a.Rates[0].Add(&a.Rates[0], one())
	}},
	{name: "update rounded up", catches: CheckRange, prepare: func(t *testing.T, in *instance) {
		in.bend(t, 0, func(st *fixedpoint.StepTrace) { st.End[0]++ })
	}, before: func(in *instance, a *Assignment) {
		l := in.shape.Model.Layers()[0]
		add(a, "update rest", l.Shift/limbBits-1, limbTable)
		a.count()
	}},
	{name: "exact score that is not the product", catches: CheckScores, on: []fixedpoint.Kind{fixedpoint.Linear}, before: func(in *instance, a *Assignment) {
		add(a, "score", idle(in, 0), 1)
	}},
	{name: "score that is not the product", catches: CheckScores, on: curved, before: func(in *instance, a *Assignment) {
		add(a, "score rest", idle(in, 0)*scoreLimbs, 1)
		a.count()
	}},
	{name: "value that is not the curve's", catches: CheckCurve, on: []fixedpoint.Kind{fixedpoint.Logistic}, before: func(in *instance, a *Assignment) {
		add(a, "value", idle(in, 0), 1)
	}},
	{name: "exp that is not the curve's", catches: CheckCurve, on: []fixedpoint.Kind{fixedpoint.Softmax}, before: func(in *instance, a *Assignment) {
		add(a, "value", idle(in, 0), 8)
		divide(in, a)
	}},
	{name: "saturated before the curve's end", catches: CheckAbove, on: []fixedpoint.Kind{fixedpoint.Logistic}, before: func(in *instance, a *Assignment) {
		at := idle(in, 0)
		add(a, "place", at, -1)
		add(a, "above", at*excessLimbs, 1)
		recurve(in, a, at)
	}},
	{name: "saturated before the curve's lower end", catches: CheckBelow, on: []fixedpoint.Kind{fixedpoint.Logistic}, before: func(in *instance, a *Assignment) {
		at := idle(in, 0)
		add(a, "place", at, 1)
		add(a, "below", at*excessLimbs, 1)
		recurve(in, a, at)
	}},
	{name: "distance cut short", catches: CheckAbove, on: []fixedpoint.Kind{fixedpoint.Softmax}, only: batches, before: func(in *instance, a *Assignment) {
		for k := range in.shape.Model.Outputs {
			at := idle(in, k)
			if in.witness.Run.Steps[0].Place[at] > 0 {
				add(a, "place", at, -1)
				add(a, "above", at*excessLimbs, 1)
				recurve(in, a, at)
				break
			}
		}
		divide(in, a)
	}},
	{name: "largest score above every score", catches: CheckTop, on: []fixedpoint.Kind{fixedpoint.Softmax}, before: func(in *instance, a *Assignment) {
		add(a, "top", idleRow(in)*topLimbs, 1)
		for k := range in.shape.Model.Outputs {
			add(a, "place", idle(in, k), 1)
			recurve(in, a, idle(in, k))
		}
		divide(in, a)
	}},
	{name: "scores of a row rounded by another amount", catches: CheckRange, on: []fixedpoint.Kind{fixedpoint.Softmax}, before: func(in *instance, a *Assignment) {
		// All rests one larger, the row's maximum smaller by 2^-16.
		for k := range in.shape.Model.Outputs {
			add(a, "score rest", idle(in, k)*scoreLimbs, 1)
		}
		d := fr.NewElement(1 << fixedpoint.ScoreShift)
		top := &a.secret["top"][idleRow(in)*topLimbs]
		top.Sub(top, d.Inverse(&d))
		a.count()
	}},
	{name: "reciprocal off by one", catches: CheckReciprocal, on: []fixedpoint.Kind{fixedpoint.Softmax}, before: func(in *instance, a *Assignment) {
		add(a, "reciprocal", idleRow(in)*recipLimbs, 1)
		a.count()
	}},
	{name: "remainder of a division as large as the divisor", catches: CheckDivision, on: []fixedpoint.Kind{fixedpoint.Softmax}, before: func(in *instance, a *Assignment) {
		row := idleRow(in)
		st := in.witness.Run.Steps[0]
		add(a, "reciprocal", row*recipLimbs, -1)
		a.setLimbs("division", row, divideLimbs, uint64(st.Division[row]+2*st.Sum[row]))
		a.setLimbs("division gap", row, divideLimbs, 0)
		a.count()
	}},

	// The hidden layer.
	{name: "hidden score that is not the product", catches: CheckHidden, on: []fixedpoint.Kind{fixedpoint.MLP}, before: func(in *instance, a *Assignment) {
		add(a, "hidden rest", (in.shape.Layout.Rows-1)*in.shape.Model.Hidden*scoreLimbs, 1)
		a.count()
	}},
	{name: "error arriving at a hidden unit", catches: CheckBack, on: []fixedpoint.Kind{fixedpoint.MLP}, before: func(in *instance, a *Assignment) {
		add(a, "hidden back", (in.shape.Layout.Rows-1)*in.shape.Model.Hidden, 1)
	}},
	{name: "a third of a rectifier", catches: CheckRectifier, on: []fixedpoint.Kind{fixedpoint.MLP}, only: batches, prepare: func(t *testing.T, in *instance) {
		// Nothing leaves the last hidden unit, so its output is seen nowhere but
		// in the gradient, which the padded row is not part of.
		l := in.shape.Model.Layers()[1]
		start := slices.Clone(in.witness.Run.Start)
		for k := range l.Out {
			start[l.Index(l.In, k)] = 0
		}
		in.witness.Base = start
		in.run(t, start, in.steps)
	}, before: func(in *instance, a *Assignment) {
		at := in.shape.Layout.Rows*in.shape.Model.Hidden - 1
		third := fr.NewElement(3)
		a.secret["hidden on"][at].Inverse(&third)
		a.secret["hidden slack"][at*slackLimbs].SetOne() // score: 2*on*slack + on - slack = 0
		a.count()
	}},

	// The update.
	{name: "a factor that leaves the update too long", catches: CheckShrink, only: func(s *Shape) bool { return s.Norm }, prepare: func(t *testing.T, in *instance) {
		long := in.q
		long.NormSquare = fixedpoint.MaxNormSquare - 1
		quantised, err := long.Quantise(in.witness.Base, in.witness.Run.End(), in.noise)
		if err != nil {
			t.Fatal(err)
		}
		if in.witness.Quantised.Shrink == quantised.Shrink {
			t.Fatal("the bound does not bind: the test shows nothing")
		}
		in.witness.Quantised = quantised
		in.encode(quantised.Values)
	}, before: func(_ *instance, a *Assignment) {
		clear(a.secret["shrink"])
		a.count()
	}},
	{name: "a factor that shortens the update more than needed", catches: CheckShrinkLeast, only: func(s *Shape) bool { return s.Norm }, prepare: func(t *testing.T, in *instance) {
		short := in.q
		short.NormSquare /= 2
		quantised, err := short.Quantise(in.witness.Base, in.witness.Run.End(), in.noise)
		if err != nil {
			t.Fatal(err)
		}
		in.witness.Quantised = quantised
		in.encode(quantised.Values)
	}, before: func(_ *instance, a *Assignment) {
		clear(a.secret["shrink"][shrinkLimbs+normLimbs:])
		a.secret["shrink on"][0].SetZero()
		a.count()
	}},
	{name: "rounded with other noise", catches: CheckQuantise, only: quantises, prepare: func(t *testing.T, in *instance) {
		in.noisePoly[0].Add(&in.noisePoly[0], one())
	}},
	{name: "another weight", catches: CheckQuantise, only: quantises, before: func(_ *instance, a *Assignment) {
		a.Quantiser[0].Double(&a.Quantiser[0])
	}},
	{name: "a value at its limit that is not", catches: CheckClip, only: quantises, prepare: func(t *testing.T, in *instance) {
		values := slices.Clone(in.witness.Quantised.Values)
		values[unclipped(in)] = in.q.Limit
		in.encode(values)
	}, before: func(in *instance, a *Assignment) {
		a.secret["high on"][unclipped(in)].SetZero()
		a.setLimbs("high slack", unclipped(in), clipLimbs, 0)
		a.count()
	}},
	{name: "digits that are not the update's", catches: CheckMessage, only: quantises, prepare: func(t *testing.T, in *instance) {
		values := slices.Clone(in.witness.Quantised.Values)
		values[0]++
		in.encode(values)
	}},
	{name: "a value in the padding of a message", catches: CheckMessage, only: quantises, prepare: func(t *testing.T, in *instance) {
		last := in.messages[len(in.messages)-1]
		last[in.shape.N-1].SetOne()
	}},

	// The challenge.
	{name: "counts chosen after the challenge", catches: CommitCounts, prepare: func(t *testing.T, in *instance) {
		in.bend(t, 0, func(st *fixedpoint.StepTrace) { st.End[0]++ })
	}, before: func(in *instance, a *Assignment) {
		l := in.shape.Model.Layers()[0]
		add(a, "update rest", l.Shift/limbBits-1, limbTable)
		a.count()
	}, after: func(_ *instance, a *Assignment, r fr.Element) {
		var limbs []fr.Element
		for _, name := range limbNames {
			limbs = append(limbs, a.secret[name]...)
		}
		a.secret["count limbs"][0].Add(&a.secret["count limbs"][0], missing(limbs, a.secret["count limbs"], r))
	}},
	{name: "blinding chosen after the challenge", catches: CommitMasks, prepare: func(t *testing.T, in *instance) {
		in.tablePoly[1].Add(&in.tablePoly[1], one())
	}, after: func(in *instance, a *Assignment, r fr.Element) {
		// r^1 more, as a blinding coefficient at r^cells.
		var d fr.Element
		d.SetOne()
		for range in.shape.Layout.Cells() - 1 {
			d.Mul(&d, &r)
		}
		d.Inverse(&d)
		a.secret["blind"][0].Add(&a.secret["blind"][0], &d)
	}},
	{name: "cells chosen after the challenge", catches: CommitTable, prepare: func(t *testing.T, in *instance) {
		in.tablePoly[1].Add(&in.tablePoly[1], one())
	}, after: func(in *instance, a *Assignment, r fr.Element) {
		// A mark trains nothing: the first row's carries what row and column 1 lack.
		d := *one()
		for range in.shape.Layout.Mark(0) - 1 {
			d.Mul(&d, &r)
		}
		d.Inverse(&d)
		a.secret["marks"][0].Add(&a.secret["marks"][0], &d)
	}},
	{name: "scores chosen after the challenge", catches: CommitTrace, on: []fixedpoint.Kind{fixedpoint.Linear}, prepare: func(t *testing.T, in *instance) {
		in.bend(t, in.shape.Steps-1, func(st *fixedpoint.StepTrace) { st.End[0]++ })
	}, after: lateScores},
	{name: "starting weights chosen after the challenge", catches: CommitWeights, on: []fixedpoint.Kind{fixedpoint.Linear}, prepare: func(t *testing.T, in *instance) {
		in.bend(t, 0, func(st *fixedpoint.StepTrace) { st.End[in.shape.Model.Layers()[0].Index(0, 0)]++ })
	}, after: lateBase},
	{name: "rounding chosen after the challenge", catches: CommitDigits, only: func(s *Shape) bool { return quantises(s) && !s.Norm }, prepare: func(t *testing.T, in *instance) {
		in.noisePoly[0].Add(&in.noisePoly[0], one())
	}, after: lateRests},
	{name: "proof moved to another statement", catches: CommitIdentity, after: func(_ *instance, a *Assignment, _ fr.Element) {
		a.Statement[1].SetUint64(13)
	}},
}

// Each attack is refused by the whole circuit and accepted when its constraint
// alone is left out. So what refuses it is that constraint.
func TestOnlyTheNamedConstraintCatchesEachAttack(t *testing.T) {
	caught := map[Constraint]bool{}
	most := 2 // shapes an attack is tried on
	if os.Getenv("CREDENCE_FULL") == "1" {
		most = len(shapes(t))
	}
	tried := map[string]int{}
	for _, s := range shapes(t) {
		for _, at := range attacks {
			if at.on != nil && !slices.Contains(at.on, s.Model.Kind) || at.only != nil && !at.only(s) {
				continue
			}
			if tried[at.name]++; tried[at.name] > most {
				continue
			}
			caught[at.catches] = true
			if at.try(t, s, "") == nil {
				t.Errorf("%s: attack %q is accepted", s.Name(), at.name)
			}
			if err := at.try(t, s, at.catches); err != nil {
				t.Errorf("%s: attack %q is refused without constraint %q: %v", s.Name(), at.name, at.catches, err)
			}
		}
	}
	for _, c := range allConstraints {
		if !caught[c] {
			t.Errorf("no attack for constraint %q", c)
		}
	}
}

func (at attack) try(t *testing.T, s *Shape, without Constraint) error {
	t.Helper()
	in := honest(t, s)
	if at.prepare != nil {
		at.prepare(t, in)
	}
	var before func(a *Assignment)
	if at.before != nil {
		before = func(a *Assignment) { at.before(in, a) }
	}
	var after func(a *Assignment, r fr.Element)
	if at.after != nil {
		after = func(a *Assignment, r fr.Element) { at.after(in, a, r) }
	}
	return in.try(t, compile(t, s, without), before, after)
}

// What is not committed before the challenge is chosen after it (the late...
// attacks). That no value of a group is forgotten is checked of the system
// itself (TestHonestWitnessIsAccepted, for every shape), which this test trusts
// to notice.
func TestUncommittedSecretsAreFound(t *testing.T) {
	s := shapeOf(t, softmax, 6, 1, true, true, Whole, tiny4)
	for _, c := range []Constraint{CommitTable, CommitWeights, CommitTrace, CommitDigits, CommitMasks, CommitCounts} {
		if n := len(compile(t, s, c).Uncommitted()); n == 0 {
			t.Errorf("left out %q and found every secret committed", c)
		}
	}
}

var allConstraints = []Constraint{
	CheckRange, CheckTable, CheckCount, CheckBase, CheckStart, CheckEnd, CheckBatches, CheckHidden, CheckRectifier, CheckScores,
	CheckCurve, CheckAbove, CheckBelow, CheckTop, CheckReciprocal, CheckDivision, CheckBack, CheckUpdate, CheckUpdateFirst,
	CheckShrink, CheckShrinkLeast, CheckQuantise, CheckClip, CheckMessage,
	CommitIdentity, CommitTable, CommitWeights, CommitTrace, CommitDigits, CommitMasks, CommitCounts,
}
