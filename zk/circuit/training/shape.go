package training

import (
	"errors"
	"fmt"
	"slices"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/rlwe"
	"credence/zk/circuit/table"
	"credence/zk/fixedpoint"
	"credence/zk/tabular"
)

// ErrShape: a combination of model, table and suite that the circuit cannot
// carry.
var ErrShape = errors.New("training: shape refused")

// A Part says which part of a local training one proof covers.
type Part string

// The parts.
const (
	// Whole: from the public global model to the encrypted digits.
	Whole Part = "whole"
	// Inner: from weights (public or committed) to committed weights.
	Inner Part = "inner"
	// Last: from committed weights to the encrypted digits.
	Last Part = "last"
)

// maxValues bounds a shape's committed values, so that no name of a shape can
// make a party allocate without end: 2^24 rows of a proof take a day.
const maxValues = 1 << 24

// A Shape is one instance of the relation. Learning rates, batches, clipping,
// noise and the global model are public inputs of a proof, so one set of keys
// serves every round of every job with this shape.
type Shape struct {
	Layout tabular.Layout
	Model  fixedpoint.Model
	Steps  int
	// Batches: steps use parts of the rows. Without it every step uses all.
	Batches bool
	// Norm: the update is scaled to an L2 bound before it is quantised.
	Norm bool
	Part Part

	// Suite is what the update is encrypted under; it lays out the message.
	Suite            string
	N                int // coefficients of a ciphertext
	Digits, SlotBits int // values in a coefficient, and their distance in bits
	ValueBits        int
	Shards           []fl.Shard
	skip             map[Constraint]bool
}

// NewShape checks that everything fits together: the model trains on the
// layout, and the suite's slots can carry its values.
func NewShape(l tabular.Layout, m fixedpoint.Model, steps int, batches, norm bool, part Part, s *he.Suite) (*Shape, error) {
	if err := m.CheckLayout(l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, err)
	}
	sh := &Shape{
		Layout: l, Model: m, Steps: steps, Batches: batches, Norm: norm, Part: part,
		Suite: s.Name(), N: s.N(), Digits: s.Digits(), SlotBits: s.SlotBits(), ValueBits: s.ValueBits(),
	}
	var err error
	if sh.Shards, err = fl.ShardMap(m.Parameters(), s.Values()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShape, err)
	}
	return sh, sh.check()
}

func (s *Shape) check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrShape, fmt.Sprintf(format, args...))
	}
	switch {
	case s.Steps < 1 || s.Steps > fixedpoint.MaxSteps:
		return refuse("%d steps: want 1 to %d", s.Steps, fixedpoint.MaxSteps)
	case !slices.Contains([]Part{Whole, Inner, Last}, s.Part):
		return refuse("part %q: want %s, %s or %s", s.Part, Whole, Inner, Last)
	case s.Part == Inner && s.Norm:
		return refuse("an inner part has no norm")
	case s.Layout.Rows < 2 || s.Model.Parameters() < 2:
		return refuse("%d rows, %d parameters: want at least 2", s.Layout.Rows, s.Model.Parameters())
	// Slots hold values of at most figureBits bits with room for a sign, so
	// that a coefficient is made of digits in one way only.
	case s.ValueBits > figureBits || s.Digits > 1 && s.SlotBits < figureBits+1 || s.Digits*s.SlotBits > 240:
		return refuse("values of %d bits in %d slots of %d", s.ValueBits, s.Digits, s.SlotBits)
	}
	total := 0
	for _, n := range s.sizes() {
		if total += n; total > maxValues {
			return refuse("%s needs more than %d committed values: fewer steps, rows or units", s.Name(), maxValues)
		}
	}
	return nil
}

// figureBits is the width in which the values of the evaluation figures are
// kept apart from the parameters that share a coefficient with them.
const figureBits = 16

// Name is the shape in a word, and the name of its keys.
func (s *Shape) Name() string {
	kind := string(s.Model.Kind)
	if s.Model.Hidden > 0 {
		kind += fmt.Sprintf("%d", s.Model.Hidden)
	}
	steps := fmt.Sprintf("%d", s.Steps)
	if s.Batches {
		steps += "-batches"
	}
	if s.Norm {
		steps += "-norm"
	}
	return fmt.Sprintf("training/%s/%s/%s/%s/%s", kind, s.Layout.Name(), steps, s.Part, s.Suite)
}

// quantises tells whether the part ends in encrypted digits.
func (s *Shape) quantises() bool { return s.Part != Inner }

// ownStart tells whether the first step starts from other weights than those
// that the update is the difference to.
func (s *Shape) ownStart() bool { return s.Part != Whole }

// Powers is the number of powers that the SRS needs: of a blinded table, of a
// masked message and of masked weights.
func (s *Shape) Powers() int {
	return max(s.Layout.Cells()+table.Blinds, s.N+MessageMasks, s.Model.Parameters()+WeightMasks)
}

// Masks of committed polynomials: one more than the proofs that open them.
const (
	MessageMasks = rlwe.LinkMasks // the encryption's proof and this one
	WeightMasks  = 3              // the part that ends in them and the part that starts from them
)
