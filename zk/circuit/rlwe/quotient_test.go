package rlwe

import (
	"errors"
	"math/big"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/frontend"
	"pgregory.net/rapid"

	"credence/he"
)

// The quotients of any encryption that he makes satisfy both rows as
// polynomial identities: at a random point, and with k within its bound.
func TestQuotientsFitEveryEncryption(t *testing.T) {
	for _, name := range []string{tiny1, tiny4} {
		s := suite(t, name)
		sh, err := UpdateShape(s)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(r *rapid.T) {
			pk := he.NewPublicKey(s.UniformPoly(), [32]byte{byte(rapid.Int().Draw(r, "seed"))})
			values := rapid.SliceOfN(rapid.Int32Range(s.MinValue(), s.MaxValue()), 0, s.Values()).Draw(r, "values")
			ct, rnd, err := pk.EncryptForProof(values)
			if err != nil {
				r.Fatal(err)
			}
			secret := &Secret{U: rnd.U, Errors: [][]int8{rnd.E0, rnd.E1}, Values: values}
			var x fr.Element
			if _, err := x.SetRandom(); err != nil {
				r.Fatal(err)
			}
			b := ct.Bytes()
			for row, key := range []*he.Poly{pk.P(), pk.A()} {
				p, err := sh.Lift(key.Bytes(), s.CoefficientBytes(), true)
				if err != nil {
					r.Fatal(err)
				}
				c, err := sh.Lift(b[row*len(b)/2:(row+1)*len(b)/2], s.CoefficientBytes(), false)
				if err != nil {
					r.Fatal(err)
				}
				k, h, err := sh.NewMultiplier(p).Quotients(row, secret, c)
				if err != nil {
					r.Fatal(err)
				}
				if !identity(sh, row, secret, p, c, h, k, &x) {
					r.Fatalf("row %d of %s does not hold at a random point", row, sh.Name)
				}
				c[3].Add(&c[3], one())
				if _, _, err := sh.NewMultiplier(p).Quotients(row, secret, c); !errors.Is(err, ErrWitness) {
					r.Fatalf("c off by one: %v", err)
				}
			}
		})
	}
}

// identity evaluates row at x in the plainest way.
func identity(sh *Shape, row int, secret *Secret, p, c, h []fr.Element, k []int, x *fr.Element) bool {
	digits, err := sh.digits(secret.Values)
	if err != nil {
		return false
	}
	g, u := make([]fr.Element, sh.N), make([]fr.Element, sh.N)
	for i := range g {
		u[i].SetInt64(int64(secret.U[i]))
		v := new(big.Int).Mul(big.NewInt(int64(-k[i])), sh.Q)
		v.Add(v, big.NewInt(int64(secret.Errors[row][i])))
		for j := 0; row == 0 && j < sh.Digits; j++ {
			m := new(big.Int).Mul(sh.Delta, new(big.Int).SetUint64(digits[i*sh.Digits+j]))
			v.Add(v, m.Lsh(m, uint(j*sh.SlotBits)))
		}
		g[i].SetBigInt(v)
	}
	left, gr := Evaluate(p, x), Evaluate(g, x)
	ur, hr, right, ring := Evaluate(u, x), Evaluate(h, x), Evaluate(c, x), sh.RingAt(x)
	left.Mul(&left, &ur).Add(&left, &gr)
	hr.Mul(&hr, &ring)
	right.Add(&right, &hr)
	return left.Equal(&right)
}

func TestLiftIsStrict(t *testing.T) {
	s := suite(t, tiny4)
	sh, err := UpdateShape(s)
	if err != nil {
		t.Fatal(err)
	}
	w := s.CoefficientBytes()
	put := func(v *big.Int) []byte {
		b := make([]byte, s.PolyBytes())
		be := v.FillBytes(make([]byte, w))
		for i := range be {
			b[i] = be[w-1-i]
		}
		return b
	}
	half := new(big.Int).Rsh(s.Q(), 1)
	for _, c := range []struct {
		v, want *big.Int
		centre  bool
	}{
		{half, half, true},
		{new(big.Int).Add(half, big.NewInt(1)), new(big.Int).Sub(new(big.Int).Add(half, big.NewInt(1)), s.Q()), true},
		{new(big.Int).Sub(s.Q(), big.NewInt(1)), big.NewInt(-1), true},
		{new(big.Int).Sub(s.Q(), big.NewInt(1)), new(big.Int).Sub(s.Q(), big.NewInt(1)), false},
	} {
		got, err := sh.Lift(put(c.v), w, c.centre)
		if err != nil {
			t.Fatal(err)
		}
		var want fr.Element
		want.SetBigInt(c.want)
		if !got[0].Equal(&want) {
			t.Errorf("%v lifted to %v", c.v, got[0].String())
		}
	}
	if _, err := sh.Lift(put(s.Q()), w, true); err == nil {
		t.Error("Q itself was lifted")
	}
	if _, err := sh.Lift(make([]byte, s.PolyBytes()-1), w, true); err == nil {
		t.Error("a short polynomial was lifted")
	}
}

// The witness vector is in the order in which gnark reads the circuit.
func TestAssignmentIsInTheOrderOfTheCircuit(t *testing.T) {
	sh, err := UpdateShape(suite(t, tiny4))
	if err != nil {
		t.Fatal(err)
	}
	a, c := sh.NewAssignment(), NewCircuit(sh)
	n := 0
	number := func(vars []frontend.Variable, view []fr.Element) {
		if len(vars) != len(view) {
			t.Fatalf("%d variables for %d values", len(vars), len(view))
		}
		for i := range vars {
			n++
			vars[i] = n
			view[i].SetUint64(uint64(n))
		}
	}
	number(c.Statement[:], a.Statement)
	for _, f := range []struct {
		vars []frontend.Variable
		view []fr.Element
	}{
		{c.Cipher, a.Cipher}, {c.Key, a.Key}, {c.Norm, a.Norm}, {c.U, a.U}, {c.Errors, a.Errors}, {c.Quotient, a.Quotient},
		{c.Digits, a.Digits}, {c.Masks, a.Masks}, {c.Partial, a.Partial}, {c.Total, a.Total},
		{c.CountU, a.CountU}, {c.CountE, a.CountE}, {c.CountK, a.CountK}, {c.CountV, a.CountV},
	} {
		number(f.vars, f.view)
	}
	want, err := frontend.NewWitness(c, fr.Modulus())
	if err != nil {
		t.Fatal(err)
	}
	v, ok := want.Vector().(fr.Vector)
	if !ok || len(v) != len(a.Vector) {
		t.Fatalf("gnark's witness has %d values, the assignment %d", len(v), len(a.Vector))
	}
	for i := range v {
		if !v[i].Equal(&a.Vector[i]) {
			t.Fatalf("position %d differs", i)
		}
	}
	public, err := want.Public()
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := public.Vector().(fr.Vector); !ok || len(p) != sh.PublicInputs() {
		t.Errorf("%d public inputs, want %d", len(p), sh.PublicInputs())
	}
}

// A suite whose integers could wrap around the field is refused, whichever
// number is too large.
func TestShapesThatCouldWrapAreRefused(t *testing.T) {
	for name, change := range map[string]func(s *Shape){
		"modulus":      func(s *Shape) { s.Q = new(big.Int).Lsh(s.Q, 30) },
		"cohort":       func(s *Shape) { s.Cohort <<= 30 },
		"quotient":     func(s *Shape) { s.Quotient = 1 << 40 },
		"scale":        func(s *Shape) { s.Delta = s.Q },
		"digits' bits": func(s *Shape) { s.ValueBits = 22 },
		"limbs":        func(s *Shape) { s.Limbs = 3 },
		"norm":         func(s *Shape) { s.N, s.ValueBits = 1<<20, 16 },
	} {
		sh, err := UpdateShape(suite(t, tiny4))
		if err != nil {
			t.Fatal(err)
		}
		change(sh)
		if err := sh.check(); !errors.Is(err, ErrShape) {
			t.Errorf("%s too large: %v", name, err)
		}
	}
}
