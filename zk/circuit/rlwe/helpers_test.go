package rlwe

import (
	"crypto/sha256"
	"errors"
	"math/big"
	"os"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/constraint/solver"
	fcs "github.com/consensys/gnark/frontend/cs"
	"github.com/consensys/gnark/logger"

	"credence/he"
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

var compiled sync.Map

// compile returns the system of a shape, once for each set of left-out
// constraints.
func compile(t testing.TB, s *Shape) *System {
	t.Helper()
	key := s.Name
	for _, c := range allConstraints {
		if s.skip[c] {
			key += "-" + string(c)
		}
	}
	if sys, ok := compiled.Load(key); ok {
		return sys.(*System)
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

// committedPublic returns the public inputs under the commitment.
func committedPublic(sys *System, a *Assignment) []fr.Element {
	if sys.Shape.skip[CommitIdentity] {
		return nil
	}
	return a.Statement
}

// challenge draws r for an assignment.
func challenge(sys *System, a *Assignment, mask fr.Element) fr.Element {
	return oracle(committedPublic(sys, a), sys.Committed(a, mask))
}

// solve reports whether the constraint system accepts the assignment.
func solve(t testing.TB, sys *System, a *Assignment, mask fr.Element) error {
	t.Helper()
	w, err := a.Witness()
	if err != nil {
		t.Fatal(err)
	}
	n := len(committedPublic(sys, a))
	commit := solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder),
		func(_ *big.Int, in, out []*big.Int) error {
			if len(in) != 1+n+len(sys.CommittedWires()) {
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

// instance is one honest statement and witness, with every polynomial in the
// clear so that a test can bend it.
type instance struct {
	shape   *Shape
	p, c, h [][]fr.Element
	k       [][]int
	secret  *Secret
	bound   uint64
	// total is T's coefficients; by default those of W.
	partial, total []fr.Element
	link           []fr.Element // M, of linked shapes
}

// honest encrypts random values with he itself and solves for the quotients.
func honest(t testing.TB, name string) *instance {
	t.Helper()
	s := suite(t, name)
	sh, err := UpdateShape(s)
	if err != nil {
		t.Fatal(err)
	}
	sk := s.TernaryPoly()
	pk := he.NewPublicKey(s.CRS([32]byte{7}).Mul(sk).Neg().Add(s.ErrorPoly()), [32]byte{7})
	values := make([]int32, s.Values())
	for i := range values {
		values[i] = s.MinValue() + int32(uint32(i)*2654435761%(1<<s.ValueBits()))
	}
	ct, rnd, err := pk.EncryptForProof(values)
	if err != nil {
		t.Fatal(err)
	}
	c0, c1 := ct.Polys()
	in := &instance{shape: sh, secret: &Secret{U: rnd.U, Errors: [][]int8{rnd.E0, rnd.E1}, Values: values}}
	for row, pair := range [][2]*he.Poly{{pk.P(), c0}, {pk.A(), c1}} {
		in.addRow(t, row, pair[0].Bytes(), pair[1].Bytes(), s.CoefficientBytes())
	}
	in.setNorm(SquareSum(values), SquareSum(values))
	return in
}

func (in *instance) addRow(t testing.TB, row int, p, c []byte, width int) {
	t.Helper()
	lp, err := in.shape.Lift(p, width, true)
	if err != nil {
		t.Fatal(err)
	}
	lc, err := in.shape.Lift(c, width, false)
	if err != nil {
		t.Fatal(err)
	}
	k, h, err := in.shape.NewMultiplier(lp).Quotients(row, in.secret, lc)
	if err != nil {
		t.Fatal(err)
	}
	in.p, in.c, in.h, in.k = append(in.p, lp), append(in.c, lc), append(in.h, h), append(in.k, k)
}

// setNorm makes W and T commit to sum, with fixed masks.
func (in *instance) setNorm(sum, bound uint64) {
	in.partial = make([]fr.Element, 4)
	for i := range in.partial {
		in.partial[i].SetUint64(uint64(1000 + i))
	}
	in.partial[0].SetUint64(sum)
	in.total = append([]fr.Element{}, in.partial...)
	in.bound = bound
}

// assign builds the assignment up to the challenge. Edit may change it.
func (in *instance) assign(t testing.TB) *Assignment {
	t.Helper()
	a := in.shape.NewAssignment()
	if err := a.Fill(in.secret, in.k); err != nil {
		t.Fatal(err)
	}
	a.Statement[0].SetUint64(11)
	a.Statement[1].SetUint64(12)
	for i := range a.Masks {
		a.Masks[i].SetUint64(uint64(77 + i))
	}
	if in.shape.HasMessage() {
		copy(a.Partial, in.partial[1:])
		copy(a.Total, in.total)
		a.Norm[2].SetUint64(in.bound)
	}
	return a
}

// publish sets the public inputs that depend on r: what the verifier would
// compute from the published polynomials c, h + mask, p, W and T.
func (in *instance) publish(a *Assignment, r fr.Element) {
	ring := in.shape.RingAt(&r)
	for row := range in.shape.Rows {
		h := append([]fr.Element{}, in.h[row]...)
		var m fr.Element
		h[0].Add(&h[0], m.SetUint64(uint64(77+2*row)))
		h[1].Add(&h[1], m.SetUint64(uint64(78+2*row)))
		v := Evaluate(h, &r)
		v.Mul(&v, &ring)
		cr := Evaluate(in.c[row], &r)
		a.Cipher[row].Add(&v, &cr)
		a.Key[row] = Evaluate(in.p[row], &r)
	}
	if in.shape.HasMessage() {
		a.Norm[0] = Evaluate(in.partial, &r)
		a.Norm[1] = Evaluate(in.total, &r)
	}
	if in.shape.Link {
		a.Link[0] = Evaluate(in.link, &r)
	}
}

// try runs the two passes and reports what the constraint system says. Edit
// changes the assignment before the challenge, late after it.
func (in *instance) try(t testing.TB, sys *System, edit, late func(a *Assignment, r fr.Element)) error {
	t.Helper()
	var mask, none fr.Element
	mask.SetUint64(424242)
	a := in.assign(t)
	if edit != nil {
		edit(a, none)
	}
	r := challenge(sys, a, mask)
	in.publish(a, r)
	if late != nil {
		late(a, r)
	}
	return solve(t, sys, a, mask)
}
