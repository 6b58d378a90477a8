package tabular

import (
	"fmt"
	"math"

	"credence/fl"
)

// MaxFrac is the finest grid: 2^-MaxFrac.
const MaxFrac = 24

// A Spec is what a job fixes about all its tables: their layout, and how a
// value becomes an integer.
type Spec struct {
	Layout Layout `json:"layout"`
	// Frac: a feature x becomes floor(x*2^Frac + 1/2). 0 to MaxFrac.
	Frac int `json:"frac"`
	// TargetFrac is Frac for real targets, and zero for the other kinds.
	TargetFrac int `json:"target_frac,omitempty"`
	// Clip: a number beyond the layout's range becomes the nearest one in it.
	// Without it such a number is an error.
	Clip bool `json:"clip,omitempty"`
	// Schema is the digest of the schema of the files behind the table
	// (datasets.Schema.Digest): what the columns mean, how they are normalised.
	Schema fl.Digest `json:"schema"`
}

// Check reports ErrLayout for a specification outside its bounds.
func (s Spec) Check() error {
	if err := s.Layout.Check(); err != nil {
		return err
	}
	switch {
	case s.Frac < 0 || s.Frac > MaxFrac:
		return fmt.Errorf("%w: a grid of 2^-%d: want 2^0 to 2^-%d", ErrLayout, s.Frac, MaxFrac)
	case s.TargetFrac < 0 || s.TargetFrac > MaxFrac || s.Layout.Kind != Real && s.TargetFrac != 0:
		return fmt.Errorf("%w: targets on a grid of 2^-%d: want 2^0 to 2^-%d for real targets, and 0 for others", ErrLayout, s.TargetFrac, MaxFrac)
	case s.Schema.IsZero():
		return fmt.Errorf("%w: the schema must be named", ErrLayout)
	}
	return nil
}

// Digest identifies the specification. It is part of every statement about a
// table.
func (s Spec) Digest() fl.Digest {
	clip := byte(0)
	if s.Clip {
		clip = 1
	}
	return fl.DigestOf("zk/tabular/spec/v1", []byte(s.Layout.Name()), []byte{byte(s.Frac), byte(s.TargetFrac), clip}, s.Schema[:])
}

// frac is the grid of number i.
func (s Spec) frac(i int) int {
	if i < s.Layout.Features {
		return s.Frac
	}
	return s.TargetFrac
}

// Quantise returns number i's cell for a value, and whether it was clipped. A
// value that is not finite, or beyond the range and not to be clipped, is
// ErrTable.
func (s Spec) Quantise(i int, v float64) (cell int64, clipped bool, err error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, false, fmt.Errorf("%w: the value is not a finite number", ErrTable)
	}
	half := s.Layout.Half()
	x := math.Floor(math.Ldexp(v, s.frac(i)) + 0.5)
	switch {
	case x >= -float64(half) && x < float64(half):
		return int64(x), false, nil
	case !s.Clip:
		return 0, false, fmt.Errorf("%w: the value is outside [%v, %v], what %d bits hold on a grid of 2^-%d",
			ErrTable, s.Value(i, -half), s.Value(i, half-1), s.Layout.Bits, s.frac(i))
	case x < 0:
		return -half, true, nil
	}
	return half - 1, true, nil
}

// Value is what a cell of number i stands for.
func (s Spec) Value(i int, cell int64) float64 { return math.Ldexp(float64(cell), -s.frac(i)) }
