package rlwe

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/backend/witness"

	"credence/zk/circuit/norm"
)

// An Assignment is a witness vector with named views into it. The views are
// in the order of Circuit's fields, public inputs first.
type Assignment struct {
	Vector fr.Vector

	Statement, Cipher, Key, Norm, Link []fr.Element

	U, Errors, Quotient, Digits    []fr.Element
	Masks, Partial, Total          []fr.Element
	LinkMask                       []fr.Element
	CountU, CountE, CountK, CountV []fr.Element

	public int
	shape  *Shape
}

// NewAssignment returns a zero assignment.
func (s *Shape) NewAssignment() *Assignment {
	norms, partial, total, table := 0, 0, 0, 0
	if s.HasMessage() {
		norms, partial, total, table = 3, norm.Masks, norm.Masks+1, s.table()
	}
	link, masks := 0, 0
	if s.Link {
		link, masks = 1, LinkMasks
	}
	sizes := []int{
		2, s.Rows, s.Rows, norms, link,
		s.N, s.Rows * s.N, s.Rows * s.N, s.Limbs * s.Values(), 2 * s.Rows, partial, total, masks,
		3, 2*s.Error + 1, 2*s.Quotient + 1, table,
	}
	n := 0
	for _, k := range sizes {
		n += k
	}
	a := &Assignment{Vector: make(fr.Vector, n), public: 2 + 2*s.Rows + norms + link, shape: s}
	at := 0
	for i, view := range []*[]fr.Element{
		&a.Statement, &a.Cipher, &a.Key, &a.Norm, &a.Link,
		&a.U, &a.Errors, &a.Quotient, &a.Digits, &a.Masks, &a.Partial, &a.Total, &a.LinkMask,
		&a.CountU, &a.CountE, &a.CountK, &a.CountV,
	} {
		*view = a.Vector[at : at+sizes[i] : at+sizes[i]]
		at += sizes[i]
	}
	return a
}

// PublicInputs is the number of public inputs, the constant one and the
// challenge not counted.
func (s *Shape) PublicInputs() int {
	n := 2 + 2*s.Rows
	if s.HasMessage() {
		n += 3
	}
	if s.Link {
		n++
	}
	return n
}

// Witness returns the assignment in gnark's form.
func (a *Assignment) Witness() (witness.Witness, error) {
	w, err := witness.New(fr.Modulus())
	if err != nil {
		return nil, fmt.Errorf("rlwe: making a witness: %w", err)
	}
	values := make(chan any, 256)
	go func() {
		defer close(values)
		for i := range a.Vector {
			values <- a.Vector[i]
		}
	}()
	if err := w.Fill(a.public, len(a.Vector)-a.public, values); err != nil {
		return nil, fmt.Errorf("rlwe: filling a witness: %w", err)
	}
	return w, nil
}

// Erase overwrites the assignment with zeros.
func (a *Assignment) Erase() { clear(a.Vector) }

// Secret is what a prover knows.
type Secret struct {
	U      []int8   // N coefficients, ternary
	Errors [][]int8 // a row each: N coefficients, |e| <= Error
	Values []int32  // at most Values() signed values; missing ones are zero
}

// digits returns the digits of the message, shifted to start at zero.
func (s *Shape) digits(values []int32) ([]uint64, error) {
	if len(values) > s.Values() {
		return nil, fmt.Errorf("rlwe: %d values, %s holds %d", len(values), s.Name, s.Values())
	}
	if !s.HasMessage() {
		return nil, nil
	}
	half := int64(1) << (s.ValueBits - 1)
	out := make([]uint64, s.Values())
	for i := range out {
		v := int64(0)
		if i < len(values) {
			v = int64(values[i])
		}
		if v < -half || v >= half {
			return nil, fmt.Errorf("rlwe: value %d is outside [%d, %d) of %s", i, -half, half, s.Name)
		}
		out[i] = uint64(v + half)
	}
	return out, nil
}

// SquareSum is the sum of the squares of signed values.
func SquareSum(values []int32) uint64 {
	var sum uint64
	for _, v := range values {
		sum += uint64(int64(v) * int64(v))
	}
	return sum
}

// Fill sets every value of the assignment that does not depend on the
// challenge and is not a mask: the secret, the quotients k (signed, Rows*N of
// them) and the histograms.
func (a *Assignment) Fill(secret *Secret, k [][]int) error {
	s := a.shape
	if len(secret.U) != s.N || len(secret.Errors) != s.Rows || len(k) != s.Rows {
		return fmt.Errorf("rlwe: %s wants N=%d and %d rows of errors and quotients", s.Name, s.N, s.Rows)
	}
	digits, err := s.digits(secret.Values)
	if err != nil {
		return err
	}
	set := func(what string, at, counts []fr.Element, histogram []uint64, v []int, bound int) error {
		for i, x := range v {
			if x < -bound || x > bound {
				return fmt.Errorf("rlwe: %s coefficient %d is outside its bound of %d in %s", what, i, bound, s.Name)
			}
			at[i].SetUint64(uint64(x + bound))
			histogram[x+bound]++
		}
		for t := range counts {
			counts[t].SetUint64(histogram[t])
		}
		return nil
	}
	hu, he, hk := make([]uint64, 3), make([]uint64, 2*s.Error+1), make([]uint64, 2*s.Quotient+1)
	if err := set("u", a.U, a.CountU, hu, widen(secret.U), 1); err != nil {
		return err
	}
	for row := range s.Rows {
		if len(secret.Errors[row]) != s.N || len(k[row]) != s.N {
			return fmt.Errorf("rlwe: row %d of %s needs %d errors and quotients", row, s.Name, s.N)
		}
		at := row * s.N
		if err := set("error", a.Errors[at:at+s.N], a.CountE, he, widen(secret.Errors[row]), s.Error); err != nil {
			return err
		}
		if err := set("quotient", a.Quotient[at:at+s.N], a.CountK, hk, k[row], s.Quotient); err != nil {
			return err
		}
	}
	hv := make([]uint64, len(a.CountV))
	for i, d := range digits {
		for l := range s.Limbs {
			limb := d % uint64(len(hv))
			d /= uint64(len(hv))
			a.Digits[i*s.Limbs+l].SetUint64(limb)
			hv[limb]++
		}
	}
	for t := range hv {
		a.CountV[t].SetUint64(hv[t])
	}
	return nil
}

func widen(v []int8) []int {
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out
}
