package rlwe

import (
	"math/big"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/he"
)

// linked is an honest instance of a linked shape.
func linked(t testing.TB, name string) *instance {
	t.Helper()
	in := honest(t, name)
	sh, err := LinkedShape(suite(t, name))
	if err != nil {
		t.Fatal(err)
	}
	in.shape = sh
	in.link = make([]fr.Element, sh.N, sh.N+LinkMasks)
	var v, f fr.Element
	for i, x := range in.secret.Values {
		f.SetBigInt(new(big.Int).Lsh(big.NewInt(1), uint(i%sh.Digits*sh.SlotBits)))
		c := &in.link[i/sh.Digits]
		c.Add(c, v.Mul(v.SetInt64(int64(x)), &f))
	}
	for i := range LinkMasks {
		in.link = append(in.link, fr.NewElement(uint64(31+i)))
	}
	return in
}

func setLinkMasks(a *Assignment, _ fr.Element) {
	for i := range a.LinkMask {
		a.LinkMask[i].SetUint64(uint64(31 + i))
	}
}

func TestLinkHoldsForTheEncryptedMessage(t *testing.T) {
	for _, name := range []string{tiny1, tiny4} {
		in := linked(t, name)
		sys := compile(t, in.shape)
		if err := in.try(t, sys, setLinkMasks, nil); err != nil {
			t.Errorf("%s: %v", in.shape.Name, err)
		}
		if n := len(sys.Uncommitted()); n > 0 {
			t.Errorf("%s: %d secrets are not under the commitment", in.shape.Name, n)
		}
	}
}

// A commitment to other values is caught by the link alone, and masks chosen
// after the challenge by their place under the commitment.
func TestLinkIsOfTheEncryptedMessage(t *testing.T) {
	for _, at := range []struct {
		name    string
		catches Constraint
		bend    func(in *instance)
		late    func(in *instance, a *Assignment, r fr.Element)
	}{
		{"a value one larger", CheckLink, func(in *instance) { in.link[0].Add(&in.link[0], one()) }, nil},
		{"two digits swapped for one sum", CheckLink, func(in *instance) {
			in.link[1].Sub(&in.link[1], one())
			in.link[0].Add(&in.link[0], one())
		}, nil},
		{"a coefficient beyond the masks", CheckLink, func(in *instance) { in.link = append(in.link, *one()) }, nil},
		{"masks chosen after the challenge", CommitMasks, func(in *instance) { in.link[0].Add(&in.link[0], one()) },
			func(in *instance, a *Assignment, r fr.Element) {
				d := r // r^N
				for n := in.shape.N; n > 1; n /= 2 {
					d.Square(&d)
				}
				d.Inverse(&d)
				a.LinkMask[0].Add(&a.LinkMask[0], &d)
			}},
	} {
		for _, drop := range []Constraint{"", at.catches, CheckRow0, CheckDigits} {
			in := linked(t, tiny4)
			sys, err := Compile(in.shape.without(drop))
			if err != nil {
				t.Fatal(err)
			}
			in.shape = sys.Shape
			at.bend(in)
			var late func(a *Assignment, r fr.Element)
			if at.late != nil {
				late = func(a *Assignment, r fr.Element) { at.late(in, a, r) }
			}
			if accepted := in.try(t, sys, setLinkMasks, late) == nil; accepted != (drop == at.catches) {
				t.Errorf("%s with %q left out: accepted %v", at.name, drop, accepted)
			}
		}
	}
}

// A link costs an evaluation of the message.
func TestLinkCostsAnEvaluation(t *testing.T) {
	for _, name := range he.Names() {
		plain, err := UpdateShape(suite(t, name))
		if err != nil {
			t.Fatal(err)
		}
		with, err := LinkedShape(suite(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if d := compile(t, with).Constraints() - compile(t, plain).Constraints(); d != plain.N+3 {
			t.Errorf("%s: %d constraints more than %s, want %d", with.Name, d, plain.Name, plain.N+3)
		}
	}
}
