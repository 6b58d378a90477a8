package training

import (
	"crypto/sha256"
	"errors"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/constraint/solver"
	fcs "github.com/consensys/gnark/frontend/cs"
	"github.com/consensys/gnark/logger"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/committed"
	"credence/zk/circuit/table"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

const (
	tiny1 = "insecure-rlwe64-d1-v1"
	tiny4 = "insecure-rlwe64-d4-v1"
)

func TestMain(m *testing.M) {
	logger.Disable()
	os.Exit(m.Run())
}

func suite(t testing.TB, name string) *he.Suite {
	t.Helper()
	s, err := he.LookupSuite(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shapeOf(t testing.TB, m fixedpoint.Model, rows, steps int, batches, norm bool, part Part, suiteName string) *Shape {
	t.Helper()
	l := tabular.Layout{Rows: rows, Features: m.Features, Targets: m.Outputs, Bits: 10}
	switch m.Kind {
	case fixedpoint.Linear:
		l.Kind = tabular.Real
	case fixedpoint.Logistic:
		l.Kind = tabular.Binary
	default:
		l.Kind = tabular.OneHot
	}
	s, err := NewShape(l, m, steps, batches, norm, part, suite(t, suiteName))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var compiled sync.Map

// compile returns the system of a shape with one group of constraints left
// out, or with none.
func compile(t testing.TB, s *Shape, without Constraint) *committed.System {
	t.Helper()
	out := *s
	out.skip = map[Constraint]bool{without: true}
	key := s.Name() + " without " + string(without)
	if sys, ok := compiled.Load(key); ok {
		return sys.(*committed.System)
	}
	sys, err := Compile(&out)
	if err != nil {
		t.Fatal(err)
	}
	compiled.Store(key, sys)
	return sys
}

// instance is an honest statement and witness with everything in the clear, so
// that a test can bend it.
type instance struct {
	shape   *Shape
	table   *tabular.Table
	steps   []fixedpoint.Step
	noise   []uint32
	q       fixedpoint.Quantiser
	witness *Witness

	// What is published, as polynomials; the public settings are set by Fill.
	tablePoly, basePoly, startPoly, endPoly, batchPoly, noisePoly []fr.Element
	messages                                                      [][]fr.Element
}

// randomTable has used valid rows of small random cells.
func randomTable(t testing.TB, s *Shape, used int, rng *rand.Rand) *tabular.Table {
	t.Helper()
	tb, err := tabular.New(s.Layout, used)
	if err != nil {
		t.Fatal(err)
	}
	for i := range used {
		for j := range s.Layout.Features {
			tb.SetFeature(i, j, rng.Int64N(512)-256)
		}
		if s.Layout.Classes() > 0 {
			if err := tb.SetClass(i, rng.IntN(s.Layout.Classes())); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for j := range s.Layout.Targets {
			tb.SetTarget(i, j, rng.Int64N(512)-256)
		}
	}
	return tb
}

// honest trains on random data, with padding in the table.
func honest(t testing.TB, s *Shape) *instance {
	t.Helper()
	rng := rand.New(rand.NewPCG(4, 5))
	in := &instance{shape: s, table: randomTable(t, s, s.Layout.Rows-2, rng)}
	weights := make([]int32, s.Model.Parameters())
	for i := range weights {
		weights[i] = rng.Int32N(1<<17) - 1<<16
	}
	batch := 0
	if s.Batches {
		batch = (in.table.Used + 1) / 2
	}
	var err error
	if in.steps, err = s.Model.Steps(0.5, in.table.Used, batch, s.Steps, 7); err != nil {
		t.Fatal(err)
	}
	in.noise = make([]uint32, len(weights))
	for i := range in.noise {
		in.noise[i] = rng.Uint32N(1 << fixedpoint.NoiseBits)
	}
	norm := 0.0
	if s.Norm {
		norm = 0.05
	}
	if in.q, err = fixedpoint.NewQuantiser(0.1, norm, s.ValueBits, 3, 4); err != nil {
		t.Fatal(err)
	}
	in.witness = &Witness{}
	for i := range in.witness.Masks.Blind {
		in.witness.Masks.Blind[i].SetUint64(uint64(91 + i))
	}
	if s.quantises() {
		in.witness.Base = weights
		if s.ownStart() {
			in.witness.Base = slices.Clone(weights)
			in.witness.Base[1] += 700
		}
		for k := range s.Shards {
			f := make([]int32, fl.MetricSlots)
			for i := range f {
				f[i] = int32(i+k) - 5
			}
			in.witness.Figures = append(in.witness.Figures, f)
			var m [MessageMasks]fr.Element
			for i := range m {
				m[i].SetUint64(uint64(1000*k + i))
			}
			in.witness.Masks.Messages = append(in.witness.Masks.Messages, m)
		}
	}
	for i := range WeightMasks {
		if s.ownStart() {
			in.witness.Masks.Start[i].SetUint64(uint64(500 + i))
		}
		in.witness.Masks.End[i].SetUint64(uint64(600 + i))
	}
	in.run(t, weights, in.steps)
	return in
}

// run trains, quantises and publishes.
func (in *instance) run(t testing.TB, start []int32, steps []fixedpoint.Step) {
	t.Helper()
	run, err := in.shape.Model.Train(in.table, start, steps)
	if err != nil {
		t.Fatal(err)
	}
	in.witness.Run = run
	in.publish(t)
}

// bend changes the trace of a step and trains on from its end.
func (in *instance) bend(t testing.TB, step int, change func(st *fixedpoint.StepTrace)) {
	t.Helper()
	run := in.witness.Run
	kept := run.Steps[:step+1]
	last := *kept[step]
	last.End = slices.Clone(last.End)
	change(&last)
	kept = append(slices.Clone(kept[:step]), &last)
	if step+1 < len(run.Steps) {
		rest, err := in.shape.Model.Train(in.table, last.End, in.steps[step+1:])
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, rest.Steps...)
	}
	in.witness.Run = &fixedpoint.Run{Model: run.Model, Table: run.Table, Start: run.Start, Steps: kept}
	in.publish(t)
}

// publish quantises the run's end and sets the published polynomials.
func (in *instance) publish(t testing.TB) {
	t.Helper()
	w, s := in.witness, in.shape
	in.tablePoly = table.Polynomial(in.table, w.Masks.Blind)
	in.startPoly = WeightPolynomial(w.Run.Start, w.Masks.Start[:])
	in.endPoly = WeightPolynomial(w.Run.End(), w.Masks.End[:])
	in.batchPoly = s.BatchPolynomial(in.steps, in.table.Used)
	if !s.quantises() {
		return
	}
	in.basePoly = WeightPolynomial(w.Base, nil)
	in.noisePoly = NoisePolynomial(in.noise)
	var err error
	if w.Quantised, err = in.q.Quantise(w.Base, w.Run.End(), in.noise); err != nil {
		t.Fatal(err)
	}
	in.encode(w.Quantised.Values)
}

// encode publishes values as messages.
func (in *instance) encode(values []int32) {
	in.messages = nil
	for k, shard := range in.shape.Shards {
		v := append(slices.Clone(in.witness.Figures[k]), values[shard.Offset:shard.Offset+shard.Length]...)
		in.messages = append(in.messages, Message(v, in.shape.N, in.shape.Digits, in.shape.SlotBits, in.witness.Masks.Messages[k][:]))
	}
}

// evaluate returns f(x), lowest coefficient first.
func evaluate(f []fr.Element, x *fr.Element) fr.Element {
	var acc fr.Element
	for i := len(f) - 1; i >= 0; i-- {
		acc.Mul(&acc, x).Add(&acc, &f[i])
	}
	return acc
}

// open sets the public inputs that a verifier computes or sees opened at r.
func (in *instance) open(a *Assignment, r fr.Element) {
	a.Fold.Set(ptr(Fold(fl.Digest{1}, &r)))
	*a.Table = evaluate(in.tablePoly, &r)
	for _, p := range []struct {
		into []fr.Element
		f    []fr.Element
	}{{a.Base, in.basePoly}, {a.Start, in.startPoly}, {a.End, in.endPoly}, {a.Batches, in.batchPoly}, {a.Noise, in.noisePoly}} {
		if len(p.into) > 0 {
			p.into[0] = evaluate(p.f, &r)
		}
	}
	for k := range a.Messages {
		a.Messages[k] = evaluate(in.messages[k], &r)
	}
}

func ptr[T any](v T) *T { return &v }

// try runs the two passes on a system and reports what it says.
func (in *instance) try(t testing.TB, sys *committed.System, before func(a *Assignment), after func(a *Assignment, r fr.Element)) error {
	t.Helper()
	a := in.shape.NewAssignment()
	if err := a.Fill(in.witness, in.q); err != nil {
		t.Fatal(err)
	}
	a.Statement[0].SetUint64(11)
	a.Statement[1].SetUint64(12)
	if before != nil {
		before(a)
	}
	var mask fr.Element
	mask.SetUint64(424242)
	n := len(sys.CommittedPublic())
	r := oracle(a.Statement[:n], sys.Committed(a.Vector, mask))
	in.open(a, r)
	if after != nil {
		after(a, r)
	}
	w, err := sys.Witness(a.Vector)
	if err != nil {
		t.Fatal(err)
	}
	commit := solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder),
		func(_ *big.Int, in, out []*big.Int) error {
			if len(in) != 1+n+sys.CommittedValues() {
				return errors.New("unexpected number of committed values")
			}
			v := make([]fr.Element, len(in)-1)
			for i := range v {
				v[i].SetBigInt(in[i+1])
			}
			r := oracle(v[:n], v[n:])
			r.BigInt(out[0])
			return nil
		})
	return sys.R1CS.IsSolved(w, commit, sys.FixMask(mask))
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
