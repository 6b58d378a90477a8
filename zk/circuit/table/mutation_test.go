package table

import (
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"pgregory.net/rapid"

	"credence/zk/tabular"
)

var allConstraints = []Constraint{
	CheckValue, CheckPrefix, CheckCount, CheckPadding, CheckRange, CheckClasses,
	CheckLimits, CheckUpper, CheckMarks, CheckMissing, CheckLabels, CheckSumMin, CheckSumMax, CheckSpreadMin, CheckSpreadMax,
	CommitIdentity, CommitCells, CommitBlind, CommitCounts, CommitLimits, CommitSlack,
}

// An attack is a false statement with the best witness a cheating prover could
// build for it: everything is consistent but for the one thing that the named
// constraint forbids.
type attack struct {
	name    string
	catches Constraint
	only    func(s *Shape) bool // shapes it applies to, nil for all
	// bend changes the instance, early the assignment before the challenge,
	// late what does not have to be fixed before it.
	bend  func(in *instance)
	early func(in *instance, a *Assignment)
	late  func(in *instance, a *Assignment, r fr.Element)
	// retry: late solves a quadratic equation, which has a root for every other
	// challenge; a prover tries again.
	retry bool
}

func validates(s *Shape) bool { return s.validates() }
func registers(s *Shape) bool { return !s.validates() }
func kind(k tabular.Targets) func(s *Shape) bool {
	return func(s *Shape) bool { return s.Layout.Kind == k }
}
func classes(s *Shape) bool { return s.Layout.Classes() > 0 }
func both(a, b func(s *Shape) bool) func(s *Shape) bool {
	return func(s *Shape) bool { return a(s) && b(s) }
}

// slackOf returns where the k-th difference is in Slack, and its limbs.
func (s *Shape) slackOf(k int) (at, limbs int) {
	n := s.Layout.Numbers()
	for i := 0; ; i++ {
		switch {
		case i < 4*n && i%4 < 2:
			limbs = s.sumLimbs()
		case i < 4*n:
			limbs = s.spreadLimbs()
		default:
			limbs = s.countLimbs()
		}
		if i == k {
			return at, limbs
		}
		at += limbs
	}
}

// hide replaces a negative difference by zero, in the limbs and in the
// histogram.
func (a *Assignment) hide(k int) {
	at, limbs := a.shape.slackOf(k)
	clear(a.Slack[at : at+limbs])
	a.Counts[0].Add(&a.Counts[0], one())
}

// speaksOf is the one constraint that an attack on a commitment gets around.
var speaksOf = map[Constraint]Constraint{
	CommitBlind: CheckValue, CommitIdentity: CheckValue, CommitCells: CheckValue, CommitSlack: CheckSumMin,
}

func last(s *Shape) int { return s.Layout.Rows - 1 } // the one row of padding

var attacks = []attack{
	{name: "another feature than committed", catches: CheckValue, bend: func(in *instance) {
		in.poly[in.shape.Layout.Feature(0)].Add(&in.poly[in.shape.Layout.Feature(0)], one())
	}},
	{name: "a label flipped in the commitment", catches: CheckValue, bend: func(in *instance) {
		at := in.shape.Layout.Width() + in.shape.Layout.Target(0)
		in.poly[at].Add(&in.poly[at], one())
	}},
	{name: "more rows than committed", catches: CheckValue, bend: func(in *instance) {
		in.poly[0].SetZero()
	}},
	{name: "another blinding", catches: CheckValue, bend: func(in *instance) {
		at := in.shape.Layout.Cells()
		in.poly[at].Add(&in.poly[at], one())
	}},
	{name: "valid rows with a hole", catches: CheckPrefix, bend: func(in *instance) {
		l := in.shape.Layout
		for column := range l.Width() {
			in.set(last(in.shape), column, in.cell(1, column))
			in.set(1, column, 0)
		}
	}},
	{name: "one row counted twice", catches: CheckPrefix, only: both(registers, kind(tabular.Binary)), bend: func(in *instance) {
		in.set(0, 0, 2)
		in.rows++
		in.fit()
	}},
	{name: "a row counted as minus one", catches: CheckPrefix, only: both(registers, kind(tabular.Binary)), bend: func(in *instance) {
		in.set(last(in.shape), 0, -1)
		in.rows--
	}},
	{name: "no rows at all", catches: CheckPrefix, bend: func(in *instance) {
		for i := range in.cells {
			in.set(i/in.shape.Layout.Width(), i%in.shape.Layout.Width(), 0)
		}
		in.rows = 0
		in.fit()
	}},
	{name: "one row more than there are", catches: CheckCount, bend: func(in *instance) { in.rows++; in.fit() }},
	{name: "one row fewer than there are", catches: CheckCount, bend: func(in *instance) { in.rows--; in.fit() }},
	{name: "a feature in the padding", catches: CheckPadding, only: registers, bend: func(in *instance) {
		in.set(last(in.shape), in.shape.Layout.Feature(0), 1)
	}},
	{name: "a target in the padding", catches: CheckPadding, only: both(registers, func(s *Shape) bool { return s.Layout.Kind != tabular.OneHot }), bend: func(in *instance) {
		in.set(last(in.shape), in.shape.Layout.Target(0), 1)
	}},
	{name: "a mark in the padding", catches: CheckPadding, bend: func(in *instance) {
		in.set(last(in.shape), in.shape.Layout.Mark(0), 1)
		in.fit()
	}},
	{name: "a number one above its bits", catches: CheckRange, only: registers, bend: func(in *instance) {
		in.set(0, in.shape.Layout.Number(0), in.shape.Layout.Half())
	}},
	{name: "a number one below its bits", catches: CheckRange, only: registers, bend: func(in *instance) {
		l := in.shape.Layout
		in.set(1, l.Number(l.Numbers()-1), -l.Half()-1)
	}},
	{name: "both classes in a bit", catches: CheckClasses, only: kind(tabular.Binary), bend: func(in *instance) {
		in.set(0, in.shape.Layout.Target(0), 2)
		in.fit()
	}},
	{name: "a negative label", catches: CheckClasses, only: kind(tabular.Binary), bend: func(in *instance) {
		in.set(0, in.shape.Layout.Target(0), -1)
		in.fit()
	}},
	{name: "two classes in a row", catches: CheckClasses, only: kind(tabular.OneHot), bend: func(in *instance) {
		l := in.shape.Layout
		in.set(0, l.Target(0), 1)
		in.set(0, l.Target(1), 1)
		in.fit()
	}},
	{name: "no class in a row", catches: CheckClasses, only: kind(tabular.OneHot), bend: func(in *instance) {
		for c := range in.shape.Layout.Targets {
			in.set(0, in.shape.Layout.Target(c), 0)
		}
		in.fit()
	}},
	{name: "classes that only add up", catches: CheckClasses, only: kind(tabular.OneHot), bend: func(in *instance) {
		l := in.shape.Layout
		in.set(0, l.Target(0), 2)
		in.set(0, l.Target(1), -1)
		in.set(0, l.Target(2), 0)
		in.fit()
	}},

	{name: "stricter limits than proven: maximum", catches: CheckLimits, only: validates, bend: func(in *instance) { in.public.Numbers[0].Max-- }},
	{name: "stricter limits than proven: missing", catches: CheckLimits, only: validates, bend: func(in *instance) {
		in.public.Missing[in.shape.Layout.Features-1] = 0
	}},
	{name: "a value one below the minimum", catches: CheckRange, only: validates, bend: func(in *instance) {
		in.limits.Numbers[0].Min++
		in.public = in.limits
	}},
	{name: "a value one above the maximum", catches: CheckRange, only: validates, bend: func(in *instance) {
		in.limits.Numbers[0].Max--
		in.public = in.limits
	}},
	{name: "a value one above the maximum, its distance zero", catches: CheckUpper, only: validates, bend: func(in *instance) {
		in.limits.Numbers[0].Max--
		in.public = in.limits
	}, early: func(_ *instance, a *Assignment) {
		s := a.shape
		for i := 0; i < len(a.Above); i += s.Limbs * s.Layout.Numbers() {
			if !a.Above[i].IsUint64() {
				a.Above[i].SetZero()
				a.Counts[0].Add(&a.Counts[0], one())
			}
		}
	}},
	{name: "a mark counted for another feature", catches: CheckMarks, only: both(validates, func(s *Shape) bool { return s.Layout.Features == 2 }), bend: func(in *instance) {
		in.limits.Missing = []int64{2, 0}
		in.public = in.limits
	}, early: func(in *instance, a *Assignment) {
		// The row's cell is 2^1: feature 1 is missing, or feature 0 twice.
		a.Marks[2].SetUint64(2)
		a.Marks[3].SetZero()
		clear(a.histogram)
		a.recount(in)
	}},
	{name: "one more missing than allowed", catches: CheckMissing, only: validates, bend: func(in *instance) {
		in.limits.Missing[in.shape.Layout.Features-1]--
		in.public = in.limits
	}, early: func(_ *instance, a *Assignment) {
		l := a.shape.Layout
		a.hide(4*l.Numbers() + l.Features - 1)
	}},
	{name: "one row of a class too few", catches: CheckLabels, only: both(validates, classes), bend: func(in *instance) {
		in.limits.Classes[1]++
		in.public = in.limits
	}, early: func(_ *instance, a *Assignment) {
		l := a.shape.Layout
		a.hide(4*l.Numbers() + l.Features + 1)
	}},
	{name: "a sum below its least by one", catches: CheckSumMin, only: validates, bend: func(in *instance) {
		in.limits.Numbers[1].SumMin++
		in.public = in.limits
	}, early: func(_ *instance, a *Assignment) { a.hide(4) }},
	{name: "a sum above its greatest by one", catches: CheckSumMax, only: validates, bend: func(in *instance) {
		in.limits.Numbers[1].SumMax--
		in.public = in.limits
	}, early: func(_ *instance, a *Assignment) { a.hide(5) }},
	{name: "a spread below its least by one", catches: CheckSpreadMin, only: validates, bend: func(in *instance) {
		in.limits.Numbers[0].SpreadMin++
		in.public = in.limits
	}, early: func(_ *instance, a *Assignment) { a.hide(2) }},
	{name: "a spread above its widest by one", catches: CheckSpreadMax, only: validates, bend: func(in *instance) {
		in.limits.Numbers[0].SpreadMax--
		in.public = in.limits
	}, early: func(_ *instance, a *Assignment) { a.hide(3) }},
	{name: "a negative difference in a limb", catches: CheckRange, only: validates, bend: func(in *instance) {
		in.limits.Numbers[0].SpreadMax--
		in.public = in.limits
	}},

	{name: "counts chosen after the challenge", catches: CommitCounts, only: registers, bend: func(in *instance) {
		in.set(0, in.shape.Layout.Number(0), in.shape.Layout.Half())
	}, late: func(_ *instance, a *Assignment, r fr.Element) {
		a.Counts[1].Add(&a.Counts[1], missing(a.Numbers, a.Counts, r, 1))
	}},
	{name: "blinding chosen after the challenge", catches: CommitBlind, bend: func(in *instance) {
		in.poly[1].Add(&in.poly[1], one())
	}, late: func(in *instance, a *Assignment, r fr.Element) {
		// The committed table is more by r: the blinding's weight is r^cells.
		var w fr.Element
		w.SetOne()
		for range in.shape.Layout.Cells() - 1 {
			w.Mul(&w, &r)
		}
		a.Blind[0].Add(&a.Blind[0], w.Inverse(&w))
	}},
	{name: "cells chosen after the challenge", catches: CommitCells, only: registers, retry: true, bend: func(in *instance) {
		in.set(0, in.shape.Layout.Number(0), in.shape.Layout.Half())
	}, early: func(_ *instance, a *Assignment) {
		// The number beyond its bits, and the next one, will be two limbs with
		// the sum of inverses of 0 and of what the next one is.
		a.force(a.Numbers[:a.shape.Limbs], 0)
		a.Counts[0].Add(&a.Counts[0], one())
	}, late: func(in *instance, a *Assignment, r fr.Element) {
		n := a.shape.Limbs
		next := a.Numbers[n]
		var weight, d, t, zero fr.Element
		weight.Square(&r)
		d.SetInt64(2 * in.shape.Layout.Half())
		d.Mul(&d, &r).Add(&d, t.Mul(&weight, &next))
		solvePair(&a.Numbers[0], &a.Numbers[n], r, r, weight, d, zero, next)
	}},
	{name: "differences chosen after the challenge", catches: CommitSlack, only: validates, retry: true, bend: func(in *instance) {
		in.limits.Numbers[1].SumMin++
		in.public = in.limits
	}, early: func(_ *instance, a *Assignment) { a.hide(4) }, late: func(_ *instance, a *Assignment, r fr.Element) {
		at, _ := a.shape.slackOf(4)
		var base, d, zero fr.Element
		base.SetUint64(uint64(a.shape.entries()))
		d.SetInt64(-1)
		solvePair(&a.Slack[at], &a.Slack[at+1], r, *one(), base, d, zero, zero)
	}},
	{name: "limits chosen after the challenge", catches: CommitLimits, only: validates, bend: func(in *instance) {
		in.public = cloneLimits(in.limits)
		in.public.Missing[in.shape.Layout.Features-1]--
	}, late: func(_ *instance, a *Assignment, r fr.Element) {
		// One more missing than the public limit is r^k too much; two widths
		// that leave every row's comparison as it is make up for it.
		l := a.shape.Layout
		k := limitsANumber*l.Numbers() + l.Features - 1
		var d, t fr.Element
		d.Sub(pow(r, 2), pow(r, limitsANumber+1)).Inverse(&d).Mul(&d, pow(r, k))
		a.Limits[limitsANumber+1].Add(&a.Limits[limitsANumber+1], &d)
		a.Limits[1].Sub(&a.Limits[1], t.Mul(&d, &r))
	}},
	{name: "proof moved to another statement", catches: CommitIdentity, late: func(_ *instance, a *Assignment, _ fr.Element) {
		a.Statement[1].SetUint64(13)
	}},
}

func pow(r fr.Element, n int) *fr.Element {
	var x fr.Element
	x.SetOne()
	for range n {
		x.Mul(&x, &r)
	}
	return &x
}

// solvePair sets x0, x1 with w0*x0 + w1*x1 = d whose inverses at r add up to
// those of g0 and g1, if there are any: with u = r - x0 = a - k*v and v = r - x1,
// u + v = s*u*v.
func solvePair(x0, x1 *fr.Element, r, w0, w1, d, g0, g1 fr.Element) {
	var a, k, s, t fr.Element
	t.Inverse(&w0)
	k.Mul(&w1, &t)
	a.Add(&w0, &w1).Mul(&a, &r).Sub(&a, &d).Mul(&a, &t)
	s.Sub(&r, &g0).Inverse(&s)
	t.Sub(&r, &g1).Inverse(&t)
	s.Add(&s, &t)
	// s*k*v^2 + (1 - k - s*a)*v + a = 0
	var p, q, root, v fr.Element
	p.Mul(&s, &k)
	q.Mul(&s, &a).Add(&q, &k).Sub(&q, one())
	root.Square(&q)
	t.Mul(&p, &a)
	root.Sub(&root, t.Double(&t).Double(&t))
	if root.Sqrt(&root) == nil {
		return
	}
	v.Add(&q, &root)
	p.Double(&p).Inverse(&p)
	v.Mul(&v, &p)
	x1.Sub(&r, &v)
	t.Mul(&k, &v)
	v.Sub(&a, &t)
	x0.Sub(&r, &v)
}

// fit makes the limits what the bent cells satisfy.
func (in *instance) fit() {
	l := in.shape.Layout
	for j := range in.limits.Numbers {
		in.limits.Numbers[j] = l.NoLimits(l.Rows).Numbers[j]
		in.limits.Numbers[j].SpreadMin = -in.limits.Numbers[j].SpreadMax // n may be false
	}
	for j := range in.limits.Missing {
		in.limits.Missing[j] = int64(l.Rows)
	}
	for k := range in.limits.Classes {
		in.limits.Classes[k] = min(0, in.labels(k))
	}
	in.public = in.limits
}

// recount rebuilds differences and histogram after marks were changed.
func (a *Assignment) recount(in *instance) {
	for _, group := range [][]fr.Element{a.Numbers, a.Above} {
		for i := range group {
			a.histogram[group[i].Uint64()]++
		}
	}
	in.forceSlack(a)
	for v, n := range a.histogram {
		a.Counts[v].SetUint64(n)
	}
}

// missing is what count t must grow by to balance the two sides at r.
func missing(values, counts []fr.Element, r fr.Element, t int) *fr.Element {
	var diff, v, entry fr.Element
	for i := range values {
		v.Sub(&r, &values[i]).Inverse(&v)
		diff.Add(&diff, &v)
	}
	for i := range counts {
		v.Sub(&r, entry.SetUint64(uint64(i))).Inverse(&v)
		diff.Sub(&diff, v.Mul(&v, &counts[i]))
	}
	v.Sub(&r, entry.SetUint64(uint64(t)))
	diff.Mul(&diff, &v)
	return &diff
}

func shapes(t testing.TB) []*Shape {
	var out []*Shape
	for _, l := range tiny {
		for _, relation := range []Relation{Registration, Validation} {
			out = append(out, newShape(t, relation, l))
		}
	}
	return out
}

// Each attack is caught by the whole circuit, passes when its constraint is
// left out, and is still caught when any other one is left out instead.
func TestOnlyTheNamedConstraintCatchesEachAttack(t *testing.T) {
	caught := map[Constraint]bool{}
	for _, s := range shapes(t) {
		for _, at := range attacks {
			if at.only != nil && !at.only(s) {
				continue
			}
			caught[at.catches] = true
			for _, drop := range append([]Constraint{""}, allConstraints...) {
				if drop == CommitIdentity && at.catches != drop {
					continue // changes the challenge alone
				}
				if drop == speaksOf[at.catches] && drop != "" {
					continue // without it nothing speaks of what is chosen late at all
				}
				accepted := false
				for salt := uint64(0); !accepted && (salt == 0 || at.retry && salt < 8); salt++ {
					accepted = at.try(t, s.without(drop), salt) == nil
				}
				if accepted != (drop == at.catches) {
					t.Errorf("%s, %d limbs: attack %q with constraint %q left out: accepted %v", s.Name(), s.Limbs, at.name, drop, accepted)
				}
			}
		}
	}
	for _, c := range allConstraints {
		if !caught[c] {
			t.Errorf("no attack for constraint %q", c)
		}
	}
}

// try mounts the attack. The salt changes the challenge and nothing else.
func (at attack) try(t *testing.T, s *Shape, salt uint64) error {
	in := honest(t, s)
	if at.bend != nil {
		at.bend(in)
	}
	return in.try(t, func(a *Assignment) {
		a.Statement[0].SetUint64(11 + salt)
		if at.early != nil {
			at.early(in, a)
		}
	}, func(a *Assignment, r fr.Element) {
		if at.late != nil {
			at.late(in, a, r)
		}
	})
}

// What is not committed before the challenge is chosen after it: every secret
// input of a circuit is under its commitment, and the statement is.
func TestUncommittedSecretsAreFound(t *testing.T) {
	for _, s := range shapes(t) {
		if n := compile(t, s).Uncommitted(); len(n) > 0 {
			t.Errorf("%s: %d secret inputs are not under the commitment", s.Name(), len(n))
		}
		if got := compile(t, s).CommittedPublic(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("%s: the committed public inputs are wires %v, want the statement's 1 and 2", s.Name(), got)
		}
		if n := compile(t, s).PublicInputs(); n != s.PublicInputs() {
			t.Errorf("%s: %d public inputs, want %d", s.Name(), n, s.PublicInputs())
		}
		for _, c := range []Constraint{CommitCells, CommitBlind, CommitCounts, CommitLimits, CommitSlack} {
			if !s.validates() && (c == CommitLimits || c == CommitSlack) {
				continue
			}
			if n := len(compile(t, s.without(c)).Uncommitted()); n == 0 {
				t.Errorf("%s: left out %q and found every secret committed", s.Name(), c)
			}
		}
	}
}

// The witness that Fill makes is the one of the tests, and is accepted.
func TestFillIsHonest(t *testing.T) {
	for _, s := range shapes(t) {
		in := honest(t, s)
		table := sample(t, s.Layout)
		for name, limits := range map[string]tabular.Limits{"tight": table.Measure(), "none": s.Layout.NoLimits(table.Used)} {
			in.limits, in.public = limits, limits
			a := s.NewAssignment()
			if err := a.Fill(table, in.blind, limits); err != nil {
				t.Fatal(err)
			}
			copy(a.Statement, in.assign().Statement)
			if want := in.assign(); !slices.Equal(a.Vector, want.Vector) {
				t.Errorf("%s, %s limits: Fill differs from the relation", s.Name(), name)
			}
			if err := in.try(t, nil, nil); err != nil {
				t.Errorf("%s, %s limits: %v", s.Name(), name, err)
			}
		}
	}
}

// The circuit accepts exactly the tables that are within the limits: bounds
// drawn around the tight ones, each off by one at most.
func TestCircuitMeansWithin(t *testing.T) {
	s := newShape(t, Validation, tiny[0])
	rapid.Check(t, func(rt *rapid.T) {
		table, err := tabular.New(s.Layout, rapid.IntRange(1, s.Layout.Rows).Draw(rt, "rows"))
		if err != nil {
			rt.Fatal(err)
		}
		for i := range table.Used {
			for j := range s.Layout.Features {
				table.SetFeature(i, j, rapid.Int64Range(-s.Layout.Half(), s.Layout.Half()-1).Draw(rt, "cell"))
				if rapid.Bool().Draw(rt, "missing") {
					table.SetMissing(i, j)
				}
			}
			table.SetTarget(i, 0, rapid.Int64Range(0, 1).Draw(rt, "class"))
		}
		limits := table.Measure()
		nudge := func(v *int64) { *v += rapid.SampledFrom([]int64{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, -1}).Draw(rt, "off by") }
		for j := range limits.Numbers {
			b := &limits.Numbers[j]
			for _, v := range []*int64{&b.Min, &b.Max, &b.SumMin, &b.SumMax, &b.SpreadMin, &b.SpreadMax} {
				nudge(v)
			}
		}
		for j := range limits.Missing {
			nudge(&limits.Missing[j])
		}
		for j := range limits.Classes {
			nudge(&limits.Classes[j])
		}
		if s.Layout.CheckLimits(table.Used, limits) != nil {
			return // a verifier refuses these before it looks at a proof
		}
		in := &instance{shape: s, cells: table.Cells, rows: int64(table.Used), limits: limits, public: limits}
		in.poly = Polynomial(table, in.blind)
		if got, want := in.try(t, nil, nil) == nil, table.Within(limits) == nil; got != want {
			rt.Fatalf("the circuit accepts: %v, the table is within its limits: %v", got, want)
		}
	})
}
