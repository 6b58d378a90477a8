package rlwe

import (
	"math/big"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// An attack is a false statement with the best witness a cheating prover could
// build for it: everything is consistent but for the one thing that the named
// constraint forbids.
type attack struct {
	name    string
	catches Constraint
	message bool // needs a message
	// before bends the instance and the assignment, before the challenge.
	before func(in *instance, a *Assignment)
	// after bends what does not have to be fixed before the challenge.
	after func(in *instance, a *Assignment, r fr.Element)
}

var attacks = []attack{
	{name: "u = 2", catches: CheckTernary, before: func(in *instance, a *Assignment) {
		a.U[3].SetUint64(3)
		in.recompute(a)
	}},
	{name: "u = -2", catches: CheckTernary, before: func(in *instance, a *Assignment) {
		a.U[0].SetInt64(-1)
		in.recompute(a)
	}},
	{name: "e = 20", catches: CheckError, before: func(in *instance, a *Assignment) {
		a.Errors[5].SetInt64(int64(2*in.shape.Error + 1))
		in.recompute(a)
	}},
	{name: "e = -20 in the last row", catches: CheckError, before: func(in *instance, a *Assignment) {
		a.Errors[len(a.Errors)-1].SetInt64(-1)
		in.recompute(a)
	}},
	{name: "k one above its bound", catches: CheckQuotient, before: func(in *instance, a *Assignment) {
		a.Quotient[7].SetInt64(int64(2*in.shape.Quotient + 1))
		in.recompute(a)
	}},
	{name: "k one below its bound, last row", catches: CheckQuotient, before: func(in *instance, a *Assignment) {
		a.Quotient[len(a.Quotient)-1].SetInt64(-1)
		in.recompute(a)
	}},
	{name: "k that makes any c an encryption", catches: CheckQuotient, before: func(in *instance, a *Assignment) {
		// c + 1 with k - 1/Q, which is an element of the field.
		in.c[0][0].Add(&in.c[0][0], one())
		var q fr.Element
		q.SetBigInt(in.shape.Q)
		q.Inverse(&q)
		a.Quotient[0].Sub(&a.Quotient[0], &q)
	}},
	{name: "digit one above its range", catches: CheckDigits, message: true, before: func(in *instance, a *Assignment) {
		a.Digits[9].SetInt64(int64(in.shape.table()))
		in.recompute(a)
		in.renorm(a)
	}},
	{name: "digit one below its range", catches: CheckDigits, message: true, before: func(in *instance, a *Assignment) {
		a.Digits[len(a.Digits)-1].SetInt64(-1)
		in.recompute(a)
		in.renorm(a)
	}},
	{name: "histogram that hides the norm", catches: CheckDigits, message: true, before: func(in *instance, a *Assignment) {
		// The norm of a zero vector for another one. Where the norm is not
		// taken from the histogram, the false histogram alone must be caught.
		clear(a.CountV)
		a.CountV[in.shape.table()/2].SetUint64(uint64(len(a.Digits)))
		in.renorm(a)
	}},
	{name: "c0 differs by one", catches: CheckRow0, before: func(in *instance, _ *Assignment) {
		in.c[0][0].Add(&in.c[0][0], one())
	}},
	{name: "key of row 0 differs by one", catches: CheckRow0, before: func(in *instance, _ *Assignment) {
		in.p[0][1].Add(&in.p[0][1], one())
	}},
	{name: "c1 differs by one", catches: CheckRow1, message: true, before: func(in *instance, _ *Assignment) {
		in.c[1][0].Add(&in.c[1][0], one())
	}},
	{name: "row 1 encrypts under another u", catches: CheckRow1, message: true, before: func(in *instance, a *Assignment) {
		c0 := append([]fr.Element{}, in.c[0]...)
		h0 := in.h[0]
		b := in.shape.NewAssignment()
		copy(b.Vector, a.Vector)
		b.U[0].SetUint64((b.U[0].Uint64() + 1) % 3)
		in.recompute(b)
		in.c[0], in.h[0] = c0, h0
	}},
	{name: "partial norm smaller by one", catches: CheckPartial, message: true, before: func(in *instance, a *Assignment) {
		in.partial[0].Sub(&in.partial[0], one())
		in.total[0].Sub(&in.total[0], one())
		a.Total[0].Sub(&a.Total[0], one())
	}},
	{name: "total that is not the committed one", catches: CheckTotal, message: true, before: func(_ *instance, a *Assignment) {
		a.Total[0].SetZero()
		a.Norm[2].SetZero()
	}},
	{name: "norm one above its bound", catches: CheckBound, message: true, before: func(in *instance, a *Assignment) {
		a.Norm[2].Sub(&in.total[0], one())
	}},
	{name: "errors chosen after the challenge", catches: CommitWitness, before: anyCipher, after: func(in *instance, a *Assignment, r fr.Element) {
		fitAfter(a.Errors[:in.shape.N], r, *one(), fault(in, r))
	}},
	{name: "quotients chosen after the challenge", catches: CommitWitness, before: anyCipher, after: func(in *instance, a *Assignment, r fr.Element) {
		var minusQ fr.Element
		minusQ.SetBigInt(in.shape.Q)
		minusQ.Neg(&minusQ)
		fitAfter(a.Quotient[:in.shape.N], r, minusQ, fault(in, r))
	}},
	{name: "counts chosen after the challenge", catches: CommitCounts, message: true, before: func(in *instance, a *Assignment) {
		a.Digits[1].SetInt64(int64(in.shape.table()))
		in.recompute(a)
		in.renorm(a)
	}, after: func(in *instance, a *Assignment, r fr.Element) {
		// The entry of value zero adds nothing to the norm.
		centre := in.shape.table() / 2
		a.CountV[centre].Add(&a.CountV[centre], missing(a.Digits, a.CountV, r, centre))
	}},
	{name: "masks chosen after the challenge", catches: CommitMasks, before: func(in *instance, _ *Assignment) {
		in.c[0][0].Add(&in.c[0][0], one())
	}, after: func(in *instance, a *Assignment, r fr.Element) {
		d := in.shape.RingAt(&r)
		d.Inverse(&d)
		a.Masks[0].Add(&a.Masks[0], &d)
	}},
	{name: "partial norm chosen after the challenge", catches: CommitPartial, message: true, before: func(in *instance, a *Assignment) {
		in.partial[0].Sub(&in.partial[0], one())
		in.total[0].Sub(&in.total[0], one())
		a.Total[0].Sub(&a.Total[0], one())
	}, after: func(_ *instance, a *Assignment, r fr.Element) {
		r.Inverse(&r)
		a.Partial[0].Sub(&a.Partial[0], &r)
	}},
	{name: "total chosen after the challenge", catches: CommitTotal, message: true, before: func(_ *instance, a *Assignment) {
		a.Norm[2].SetZero()
	}, after: func(in *instance, a *Assignment, r fr.Element) {
		a.Total[0].SetZero()
		r.Inverse(&r)
		r.Mul(&r, &in.total[0])
		a.Total[1].Add(&a.Total[1], &r)
	}},
	{name: "proof moved to another statement", catches: CommitIdentity, after: func(_ *instance, a *Assignment, _ fr.Element) {
		a.Statement[1].SetUint64(13)
	}},
}

// Each attack is caught by the whole circuit, passes when its constraint is
// left out, and is still caught when any other one is left out instead.
func TestOnlyTheNamedConstraintCatchesEachAttack(t *testing.T) {
	for i, base := range []*instance{honest(t, tiny4), keyShare(t, tiny4), honest(t, tiny1), oneLimb(honest(t, tiny4))} {
		caught := map[Constraint]bool{}
		for _, at := range attacks {
			if at.message && !base.shape.HasMessage() {
				continue
			}
			caught[at.catches] = true
			for _, drop := range append([]Constraint{""}, allConstraints...) {
				if i > 1 && drop != "" && drop != at.catches {
					continue // the diagonal is enough; the matrix is run on the first two
				}
				if base.shape.Rows == 1 && drop == CheckRow0 && at.catches != drop {
					continue // the only row: without it nothing speaks of c at all
				}
				shape := base.shape.without(drop)
				accepted := at.try(t, base.with(shape)) == nil
				if accepted != (drop == at.catches) {
					t.Errorf("%s, %d limbs: attack %q with constraint %q left out: accepted %v",
						shape.Name, shape.Limbs, at.name, drop, accepted)
				}
			}
		}
		for _, c := range allConstraints {
			if base.shape.HasMessage() && !caught[c] {
				t.Errorf("%s: no attack for constraint %q", base.shape.Name, c)
			}
		}
		t.Logf("%s, %d limbs: %d of %d constraints are each alone against an attack", base.shape.Name, base.shape.Limbs, len(caught), len(allConstraints))
	}
}

// What is not committed before the challenge is chosen after it. The attacks
// above leave out a whole group; that every single secret is in its group is
// seen on the compiled circuit.
func TestUncommittedSecretsAreFound(t *testing.T) {
	for _, c := range []Constraint{CommitWitness, CommitCounts, CommitMasks, CommitPartial, CommitTotal} {
		in := honest(t, tiny4)
		if n := len(compile(t, in.shape.without(c)).Uncommitted()); n == 0 {
			t.Errorf("left out %q and found every secret committed", c)
		}
	}
}

func (at attack) try(t *testing.T, in *instance) error {
	sys := compile(t, in.shape)
	var mask fr.Element
	mask.SetUint64(424242)
	a := in.assign(t)
	if at.before != nil {
		at.before(in, a)
	}
	r := challenge(sys, a, mask)
	in.publish(a, r)
	if at.after != nil {
		at.after(in, a, r)
	}
	return solve(t, sys, a, mask)
}

// anyCipher publishes a c0 that has nothing to do with the witness.
func anyCipher(in *instance, _ *Assignment) {
	var v fr.Element
	for i := range in.c[0] {
		in.c[0][i].Add(&in.c[0][i], v.SetUint64(12345))
	}
}

// fault is what row 0 misses at r after anyCipher.
func fault(in *instance, r fr.Element) fr.Element {
	f := make([]fr.Element, in.shape.N)
	for i := range f {
		f[i].SetUint64(12345)
	}
	return Evaluate(f, &r)
}

// fitAfter bends two wires of one row so that they make up for a fault of the
// row at r and leave their side of the lookup as it was, which takes no short
// vector: with r known, each is one equation over the field. With x and y for r
// minus the wires, w and z for what they weigh in the row, both hold where
//
//	1/x + 1/y = A    and    w*x + z*y = C,
//
// a quadratic equation for x. Every second pair of wires has a solution.
func fitAfter(wires []fr.Element, r, factor, fault fr.Element) {
	power := func(i int) (v fr.Element) {
		v = factor
		for range i {
			v.Mul(&v, &r)
		}
		return v
	}
	for j := 1; j < len(wires); j++ {
		var x, y, a, c, t fr.Element
		w, z := power(0), power(j)
		x.Sub(&r, &wires[0])
		y.Sub(&r, &wires[j])
		a.Inverse(&x)
		a.Add(&a, t.Inverse(&y))
		c.Mul(&w, &x)
		c.Add(&c, t.Mul(&z, &y)).Sub(&c, &fault)
		// A*w*x^2 + (z - w - A*C)*x + C = 0.
		var square, middle, root fr.Element
		square.Mul(&a, &w)
		middle.Sub(&z, &w).Sub(&middle, t.Mul(&a, &c))
		root.Square(&middle)
		t.Mul(&square, &c).Double(&t).Double(&t)
		root.Sub(&root, &t)
		if root.Sqrt(&root) == nil {
			continue
		}
		square.Double(&square).Inverse(&square)
		x.Sub(&root, &middle).Mul(&x, &square)
		if x.IsZero() {
			continue
		}
		y.Sub(&c, t.Mul(&w, &x)).Div(&y, &z)
		wires[0].Sub(&r, &x)
		wires[j].Sub(&r, &y)
		return
	}
	panic("no pair of wires fits")
}

// with returns a deep copy of the instance for another shape of the same ring.
func (in *instance) with(s *Shape) *instance {
	out := *in
	out.shape = s
	clone := func(v [][]fr.Element) [][]fr.Element {
		w := make([][]fr.Element, len(v))
		for i := range v {
			w[i] = append([]fr.Element{}, v[i]...)
		}
		return w
	}
	out.p, out.c, out.h = clone(in.p), clone(in.c), clone(in.h)
	out.partial = append([]fr.Element{}, in.partial...)
	out.total = append([]fr.Element{}, in.total...)
	return &out
}

// oneLimb is the same instance with a table of all digits, as the large suites
// have it.
func oneLimb(in *instance) *instance {
	s := *in.shape
	s.Limbs, s.Name = 1, s.Name+"/one-limb"
	return in.with(&s)
}

// keyShare is an honest key-share instance: c = a*u + e with u = -s.
func keyShare(t *testing.T, name string) *instance {
	t.Helper()
	s := suite(t, name)
	sh, err := KeyShareShape(s)
	if err != nil {
		t.Fatal(err)
	}
	rnd := s.SampleRandomness()
	u, err := s.SmallPoly(rnd.U)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.SmallPoly(rnd.E0)
	if err != nil {
		t.Fatal(err)
	}
	a := s.CRS([32]byte{9})
	share := a.Clone().Mul(u).Add(e)
	in := &instance{shape: sh, secret: &Secret{U: rnd.U, Errors: [][]int8{rnd.E0}}}
	in.addRow(t, 0, a.Bytes(), share.Bytes(), s.CoefficientBytes())
	if err := in.try(t, compile(t, sh), nil, nil); err != nil {
		t.Fatalf("honest key share: %v", err)
	}
	return in
}

// recompute makes the published polynomials fit whatever the wires hold.
func (in *instance) recompute(a *Assignment) {
	s := in.shape
	n := s.N
	var q, v fr.Element
	q.SetBigInt(s.Q)
	for row := range s.Rows {
		prod := make([]fr.Element, 2*n)
		for i := range n {
			var u fr.Element
			u.Sub(&a.U[i], one())
			for j := range n {
				prod[i+j].Add(&prod[i+j], v.Mul(&u, &in.p[row][j]))
			}
		}
		in.h[row] = append([]fr.Element{}, prod[n:]...)
		for i := range n {
			c := &in.c[row][i]
			c.Sub(&prod[i], &prod[n+i])
			c.Add(c, &a.Errors[row*n+i]).Sub(c, v.SetUint64(uint64(s.Error)))
			v.Sub(&a.Quotient[row*n+i], v.SetUint64(uint64(s.Quotient)))
			c.Sub(c, v.Mul(&v, &q))
			for j := 0; row == 0 && j < s.Digits; j++ {
				scale := new(big.Int).Lsh(s.Delta, uint(j*s.SlotBits))
				d := in.digit(a, i*s.Digits+j)
				c.Add(c, v.Mul(v.SetBigInt(scale), &d))
			}
		}
	}
}

func (in *instance) digit(a *Assignment, i int) fr.Element {
	if in.shape.Limbs == 1 {
		return a.Digits[i]
	}
	var v fr.Element
	v.SetUint64(uint64(in.shape.table()))
	v.Mul(&v, &a.Digits[2*i+1])
	v.Add(&v, &a.Digits[2*i])
	return v
}

// renorm makes W and T commit to the norm that the wires hold, and the bound
// equal to it.
func (in *instance) renorm(a *Assignment) {
	s := in.shape
	var sum, v, half fr.Element
	half.SetUint64(1 << (s.ValueBits - 1))
	if s.Limbs == 1 {
		for t := range a.CountV {
			v.SetUint64(uint64(t))
			v.Sub(&v, &half).Square(&v).Mul(&v, &a.CountV[t])
			sum.Add(&sum, &v)
		}
	} else {
		for i := range s.Values() {
			v = in.digit(a, i)
			v.Sub(&v, &half).Square(&v)
			sum.Add(&sum, &v)
		}
	}
	in.partial[0], in.total[0] = sum, sum
	a.Total[0] = sum
	a.Norm[2] = sum
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

func one() *fr.Element {
	var v fr.Element
	return v.SetOne()
}
