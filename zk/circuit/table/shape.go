package table

import (
	"fmt"
	"math/bits"

	"credence/zk/tabular"
)

// A Relation says what is proven of a table.
type Relation string

// The relations.
const (
	// Registration: the table behind a commitment is well-formed and has a
	// public number of rows.
	Registration Relation = "dataset"
	// Validation: registration, and public limits on the data.
	Validation Relation = "validation"
)

// A Shape is one circuit: a relation on tables of one layout.
type Shape struct {
	Relation Relation
	Layout   tabular.Layout
	Limbs    int // limbs of Bits/Limbs bits a number is looked up in: 1 or 2
	skip     map[Constraint]bool
}

// NewShape returns the circuit of a relation on tables of a layout.
func NewShape(relation Relation, l tabular.Layout) (*Shape, error) {
	if err := l.Check(); err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	if relation != Registration && relation != Validation {
		return nil, fmt.Errorf("table: %w: unknown relation %q", tabular.ErrLayout, relation)
	}
	one, two := &Shape{Relation: relation, Layout: l, Limbs: 1}, &Shape{Relation: relation, Layout: l, Limbs: 2}
	if l.Bits%2 == 0 && two.lookups() < one.lookups() {
		return two, nil
	}
	return one, nil
}

// Name is the name of the circuit and of its keys: "dataset/<layout>" or
// "validation/<layout>".
func (s *Shape) Name() string { return string(s.Relation) + "/" + s.Layout.Name() }

func (s *Shape) validates() bool { return s.Relation == Validation }

// limbBits is the size of a limb; the table of limbs has 2^limbBits entries.
func (s *Shape) limbBits() int { return s.Layout.Bits / s.Limbs }

func (s *Shape) entries() int { return 1 << s.limbBits() }

// numbers is the number of cells that hold numbers.
func (s *Shape) numbers() int { return s.Layout.Rows * s.Layout.Numbers() }

// The widths, in limbs, of differences that must not be negative: of two
// counts of rows, of two sums of a column, of two spreads (tabular.Limits).
func (s *Shape) countLimbs() int { return s.inLimbs(bits.Len(uint(s.Layout.Rows))) }

func (s *Shape) sumLimbs() int { return s.inLimbs(bits.Len(uint(s.Layout.Rows)) + s.Layout.Bits) }

func (s *Shape) spreadLimbs() int {
	return s.inLimbs(2*bits.Len(uint(s.Layout.Rows)) + 2*s.Layout.Bits)
}

func (s *Shape) inLimbs(n int) int { return (n + s.limbBits() - 1) / s.limbBits() }

// slackLimbs is the number of limbs of all such differences.
func (s *Shape) slackLimbs() int {
	if !s.validates() {
		return 0
	}
	l := s.Layout
	return l.Numbers()*2*(s.sumLimbs()+s.spreadLimbs()) + (l.Features+l.Classes())*s.countLimbs()
}

// lookups is the number of constraints of the lookup argument, which decides
// between one limb and two.
func (s *Shape) lookups() int {
	n := s.Limbs * s.numbers()
	if s.validates() {
		n *= 2
	}
	return n + s.slackLimbs() + s.entries()
}

// PublicInputs is the number of public inputs, the constant one and the
// challenge not counted: two halves of the statement, the number of rows, the
// table's value at r and, for validation, that of the limits.
func (s *Shape) PublicInputs() int {
	if s.validates() {
		return 5
	}
	return 4
}
