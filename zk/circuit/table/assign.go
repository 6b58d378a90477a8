package table

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/zk/tabular"
)

// An Assignment is a witness vector with named views into it, in the order of
// Circuit's fields, public inputs first.
type Assignment struct {
	Vector fr.Vector

	Statement   []fr.Element
	Rows, Value *fr.Element
	Bounds      []fr.Element

	Valid, Numbers, Classes, Marks, Blind []fr.Element
	Limits, Above, Slack, Counts          []fr.Element

	histogram []uint64 // of all limbs, as Counts
	shape     *Shape
}

// NewAssignment returns a zero assignment.
func (s *Shape) NewAssignment() *Assignment {
	sizes := s.sizes()
	n := 4
	for _, k := range sizes {
		n += k
	}
	a := &Assignment{Vector: make(fr.Vector, n), histogram: make([]uint64, s.entries()), shape: s}
	a.Statement, a.Rows, a.Value = a.Vector[0:2:2], &a.Vector[2], &a.Vector[3]
	at := 4
	for i, view := range []*[]fr.Element{
		&a.Bounds, &a.Valid, &a.Numbers, &a.Classes, &a.Marks, &a.Blind, &a.Limits, &a.Above, &a.Slack, &a.Counts,
	} {
		*view = a.Vector[at : at+sizes[i] : at+sizes[i]]
		at += sizes[i]
	}
	return a
}

// Erase overwrites the assignment with zeros.
func (a *Assignment) Erase() { clear(a.Vector); clear(a.histogram) }

// Fill sets everything but the statement, the value at the challenge and that
// of the limits. Limits are read for validation only. It refuses a table that
// is not well-formed, is of another layout or is not within the limits
// (tabular.ErrTable), and limits that CheckLimits refuses.
func (a *Assignment) Fill(t *tabular.Table, blind [Blinds]fr.Element, limits tabular.Limits) error {
	s, l := a.shape, a.shape.Layout
	if t.Layout != l {
		return fmt.Errorf("table: %w: of layout %s in a circuit for %s", tabular.ErrTable, t.Layout.Name(), l.Name())
	}
	if err := t.Check(); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if s.validates() {
		if err := t.Within(limits); err != nil {
			return fmt.Errorf("table: %w", err)
		}
		a.SetLimits(limits)
	}
	clear(a.histogram)
	a.Rows.SetUint64(uint64(t.Used))
	copy(a.Blind, blind[:])
	for i := range l.Rows {
		a.fillRow(t, i, limits)
	}
	if s.validates() {
		a.fillSlack(t, limits)
	}
	for v, n := range a.histogram {
		a.Counts[v].SetUint64(n)
	}
	return nil
}

// SetLimits sets the limits.
func (a *Assignment) SetLimits(limits tabular.Limits) {
	for k, v := range limits.Vector() {
		a.Limits[k].SetInt64(v)
	}
}

func (a *Assignment) fillRow(t *tabular.Table, i int, limits tabular.Limits) {
	s, l := a.shape, a.shape.Layout
	cells, n := t.Row(i), l.Numbers()
	valid := cells[0]
	a.Valid[i].SetInt64(valid)
	for j := range n {
		x, at := cells[l.Number(j)], (i*n+j)*s.Limbs
		if !s.validates() {
			a.split(a.Numbers[at:at+s.Limbs], uint64(x+l.Half()))
			continue
		}
		b := limits.Numbers[j]
		a.split(a.Numbers[at:at+s.Limbs], uint64(x-b.Min*valid))
		a.split(a.Above[at:at+s.Limbs], uint64(b.Max*valid-x))
	}
	if l.Classes() > 0 {
		for c := range l.Targets {
			a.Classes[i*l.Targets+c].SetInt64(cells[l.Target(c)])
		}
	}
	if !s.validates() {
		for m := range l.Marks() {
			a.Marks[i*l.Marks()+m].SetInt64(cells[l.Mark(m)])
		}
		return
	}
	for j := range l.Features {
		if t.Missing(i, j) {
			a.Marks[i*l.Features+j].SetOne()
		}
	}
}

// fillSlack sets the differences in the order of Circuit.validate.
func (a *Assignment) fillSlack(t *tabular.Table, limits tabular.Limits) {
	s, got := a.shape, t.Measure()
	rest := a.Slack
	put := func(limbs int, difference int64) {
		a.split(rest[:limbs], uint64(difference))
		rest = rest[limbs:]
	}
	for j, b := range limits.Numbers {
		g := got.Numbers[j]
		put(s.sumLimbs(), g.SumMin-b.SumMin)
		put(s.sumLimbs(), b.SumMax-g.SumMin)
		put(s.spreadLimbs(), g.SpreadMin-b.SpreadMin)
		put(s.spreadLimbs(), b.SpreadMax-g.SpreadMin)
	}
	for j, most := range limits.Missing {
		put(s.countLimbs(), most-got.Missing[j])
	}
	for k, least := range limits.Classes {
		put(s.countLimbs(), got.Classes[k]-least)
	}
}

// split writes v in limbs, low limb first, and counts them.
func (a *Assignment) split(into []fr.Element, v uint64) {
	bits := a.shape.limbBits()
	for k := range into {
		limb := v & (1<<bits - 1)
		into[k].SetUint64(limb)
		a.histogram[limb]++
		v >>= bits
	}
}

// Polynomial returns the coefficients of T: the cells, then the blinding.
func Polynomial(t *tabular.Table, blind [Blinds]fr.Element) []fr.Element {
	out := make([]fr.Element, len(t.Cells)+Blinds)
	for i, v := range t.Cells {
		out[i].SetInt64(v)
	}
	copy(out[len(t.Cells):], blind[:])
	return out
}

// LimitsAt is sum_k limit_k * r^k, which verifiers compute for themselves.
func LimitsAt(limits tabular.Limits, r *fr.Element) fr.Element {
	v := limits.Vector()
	var acc, x fr.Element
	for k := len(v) - 1; k >= 0; k-- {
		acc.Mul(&acc, r).Add(&acc, x.SetInt64(v[k]))
	}
	return acc
}
