package table

import (
	"crypto/sha256"
	"errors"
	"math/big"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/constraint/solver"
	fcs "github.com/consensys/gnark/frontend/cs"
	"github.com/consensys/gnark/logger"

	"credence/zk/circuit/committed"
	"credence/zk/tabular"
)

func TestMain(m *testing.M) {
	logger.Disable()
	os.Exit(m.Run())
}

// Tiny layouts of every kind, with one limb and with two.
var tiny = []tabular.Layout{
	{Rows: 4, Features: 2, Kind: tabular.Binary, Targets: 1, Bits: 5},
	{Rows: 5, Features: 3, Kind: tabular.OneHot, Targets: 3, Bits: 8},
	{Rows: 4, Features: 2, Kind: tabular.Real, Targets: 1, Bits: 5},
}

func newShape(t testing.TB, relation Relation, l tabular.Layout) *Shape {
	t.Helper()
	s, err := NewShape(relation, l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sample is a table of Rows-1 rows, with a missing value in the last feature.
func sample(t testing.TB, l tabular.Layout) *tabular.Table {
	t.Helper()
	n := l.Rows - 1
	out, err := tabular.New(l, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		for j := range l.Numbers() {
			out.Row(i)[l.Number(j)] = int64(i*5+j*3)%(l.Half()+3) - 2
		}
		if l.Classes() > 0 {
			if err := out.SetClass(i, i%l.Classes()); err != nil {
				t.Fatal(err)
			}
		}
	}
	out.SetMissing(1, l.Features-1)
	return out
}

var compiled sync.Map

func compile(t testing.TB, s *Shape) *committed.System {
	t.Helper()
	key := s.Name()
	for _, c := range allConstraints {
		if s.skip[c] {
			key += "-" + string(c)
		}
	}
	if sys, ok := compiled.Load(key); ok {
		return sys.(*committed.System)
	}
	sys, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	compiled.Store(key, sys)
	return sys
}

// without returns the shape with one group of constraints left out.
func (s *Shape) without(c Constraint) *Shape {
	out := *s
	out.skip = map[Constraint]bool{c: true}
	return &out
}

// An instance is a statement and the witness for it, built without any of the
// checks of Fill: whatever the cells are, everything else is made consistent
// with them, and only what the circuit checks can refuse it.
type instance struct {
	shape  *Shape
	cells  []int64        // the witness
	limits tabular.Limits // of the witness
	// What the statement says: the committed polynomial, rows and limits.
	poly   []fr.Element
	rows   int64
	public tabular.Limits
	blind  [Blinds]fr.Element
}

func honest(t testing.TB, s *Shape) *instance {
	t.Helper()
	table := sample(t, s.Layout)
	in := &instance{shape: s, cells: table.Cells, rows: int64(table.Used), limits: table.Measure()}
	in.blind[0].SetUint64(1001)
	in.blind[1].SetUint64(1002)
	in.public = cloneLimits(in.limits)
	in.poly = Polynomial(table, in.blind)
	return in
}

func cloneLimits(m tabular.Limits) tabular.Limits {
	return tabular.Limits{Numbers: slices.Clone(m.Numbers), Missing: slices.Clone(m.Missing), Classes: slices.Clone(m.Classes)}
}

// set changes a cell, in the witness and in the committed polynomial.
func (in *instance) set(i, column int, v int64) {
	at := i*in.shape.Layout.Width() + column
	in.cells[at] = v
	in.poly[at].SetInt64(v)
}

func (in *instance) cell(i, column int) int64 { return in.cells[i*in.shape.Layout.Width()+column] }

// assign builds the assignment up to the challenge.
func (in *instance) assign() *Assignment {
	s, l := in.shape, in.shape.Layout
	a := s.NewAssignment()
	a.Statement[0].SetUint64(11)
	a.Statement[1].SetUint64(12)
	a.Rows.SetInt64(in.rows)
	copy(a.Blind, in.blind[:])
	if s.validates() {
		a.SetLimits(in.limits)
	}
	for i := range l.Rows {
		valid := in.cell(i, 0)
		a.Valid[i].SetInt64(valid)
		for j := range l.Numbers() {
			x, at := in.cell(i, l.Number(j)), (i*l.Numbers()+j)*s.Limbs
			if !s.validates() {
				a.force(a.Numbers[at:at+s.Limbs], x+l.Half())
				continue
			}
			b := in.limits.Numbers[j]
			a.force(a.Numbers[at:at+s.Limbs], x-b.Min*valid)
			a.force(a.Above[at:at+s.Limbs], b.Max*valid-x)
		}
		for c := range l.Targets {
			if l.Classes() > 0 {
				a.Classes[i*l.Targets+c].SetInt64(in.cell(i, l.Target(c)))
			}
		}
		for j := range l.Features {
			mark := in.cell(i, l.Mark(j/tabular.MarkBits))
			if s.validates() {
				a.Marks[i*l.Features+j].SetInt64(mark >> (j % tabular.MarkBits) & 1)
			} else {
				a.Marks[i*l.Marks()+j/tabular.MarkBits].SetInt64(mark)
			}
		}
	}
	if s.validates() {
		in.forceSlack(a)
	}
	for v, n := range a.histogram {
		a.Counts[v].SetUint64(n)
	}
	return a
}

// force writes v in limbs; what does not fit stays whole in the lowest.
func (a *Assignment) force(into []fr.Element, v int64) {
	if v >= 0 && v < 1<<(len(into)*a.shape.limbBits()) {
		a.split(into, uint64(v))
		return
	}
	clear(into)
	into[0].SetInt64(v)
	a.histogram[0] += uint64(len(into) - 1)
}

// forceSlack writes the differences that the witness has, negative or not.
func (in *instance) forceSlack(a *Assignment) {
	s, l := in.shape, in.shape.Layout
	rest := a.Slack
	put := func(limbs int, difference int64) {
		a.force(rest[:limbs], difference)
		rest = rest[limbs:]
	}
	for j, b := range in.limits.Numbers {
		var sum, squares int64
		for i := range l.Rows {
			x := in.cell(i, l.Number(j))
			sum += x
			squares += x * x
		}
		spread := in.rows*squares - sum*sum
		put(s.sumLimbs(), sum-b.SumMin)
		put(s.sumLimbs(), b.SumMax-sum)
		put(s.spreadLimbs(), spread-b.SpreadMin)
		put(s.spreadLimbs(), b.SpreadMax-spread)
	}
	for j, most := range in.limits.Missing {
		var got int64
		for i := range l.Rows {
			got += int64(a.Marks[i*l.Features+j].Uint64())
		}
		put(s.countLimbs(), most-got)
	}
	for k, least := range in.limits.Classes {
		put(s.countLimbs(), in.labels(k)-least)
	}
}

func (in *instance) labels(class int) int64 {
	l := in.shape.Layout
	var ones int64
	for i := range l.Rows {
		if l.Kind == tabular.Binary {
			ones += in.cell(i, l.Target(0))
		} else {
			ones += in.cell(i, l.Target(class))
		}
	}
	if l.Kind == tabular.Binary && class == 0 {
		return in.rows - ones
	}
	return ones
}

// publish sets the public inputs that depend on r, as a verifier has them.
func (in *instance) publish(a *Assignment, r fr.Element) {
	a.Value.SetZero()
	for i := len(in.poly) - 1; i >= 0; i-- {
		a.Value.Mul(a.Value, &r).Add(a.Value, &in.poly[i])
	}
	if in.shape.validates() {
		a.Bounds[0] = LimitsAt(in.public, &r)
	}
}

// oracle is the challenge as a hash of the committed values: what the Pedersen
// commitment is to the real prover, without keys.
func oracle(public, private []fr.Element) fr.Element {
	h := sha256.New()
	for _, v := range append(append([]fr.Element{}, public...), private...) {
		b := v.Bytes()
		_, _ = h.Write(b[:])
	}
	var r fr.Element
	r.SetBytes(h.Sum(nil))
	return r
}

func committedPublic(s *Shape, a *Assignment) []fr.Element {
	if s.skip[CommitIdentity] {
		return nil
	}
	return a.Statement
}

// try runs the two passes and reports what the constraint system says. Early
// changes the assignment before the challenge, late after it.
func (in *instance) try(t testing.TB, early func(a *Assignment), late func(a *Assignment, r fr.Element)) error {
	t.Helper()
	sys := compile(t, in.shape)
	var mask fr.Element
	mask.SetUint64(424242)
	a := in.assign()
	if early != nil {
		early(a)
	}
	r := oracle(committedPublic(in.shape, a), sys.Committed(a.Vector, mask))
	in.publish(a, r)
	if late != nil {
		late(a, r)
	}
	w, err := sys.Witness(a.Vector)
	if err != nil {
		t.Fatal(err)
	}
	n := len(committedPublic(in.shape, a))
	commit := solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder),
		func(_ *big.Int, inputs, out []*big.Int) error {
			if len(inputs) != 1+n+sys.CommittedValues() {
				return errors.New("unexpected number of committed values")
			}
			v := make([]fr.Element, len(inputs)-1)
			for i := range v {
				v[i].SetBigInt(inputs[i+1])
			}
			again := oracle(v[:n], v[n:])
			again.BigInt(out[0])
			return nil
		})
	return sys.R1CS.IsSolved(w, commit, sys.FixMask(mask))
}

func one() *fr.Element {
	var v fr.Element
	return v.SetOne()
}
