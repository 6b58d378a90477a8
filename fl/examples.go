package fl

import (
	"fmt"
	"math"
)

// Examples is a labelled data set in memory: Rows rows of Features features,
// row-major, with one class label a row. It is what a loader hands to a
// trainer; it never leaves a node.
type Examples struct {
	Rows     int
	Features int
	Classes  int       // labels are in [0, Classes)
	X        []float32 // Rows*Features values, row-major
	Y        []int32   // Rows labels
}

// Validate reports the first inconsistency: a length that does not match, a
// value that is not finite, a label out of range. Rows are counted from 0.
func (e Examples) Validate() error {
	switch {
	case e.Rows < 0 || e.Features < 1 || e.Classes < 2:
		return fmt.Errorf("fl: examples: %d rows, %d features, %d classes: want rows >= 0, features >= 1, classes >= 2", e.Rows, e.Features, e.Classes)
	case len(e.X) != e.Rows*e.Features:
		return fmt.Errorf("fl: examples: %d feature values for %d rows of %d", len(e.X), e.Rows, e.Features)
	case len(e.Y) != e.Rows:
		return fmt.Errorf("fl: examples: %d labels for %d rows", len(e.Y), e.Rows)
	}
	for i, v := range e.X {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("fl: examples: row %d, feature %d is not a finite number", i/e.Features, i%e.Features)
		}
	}
	for i, y := range e.Y {
		if y < 0 || int(y) >= e.Classes {
			return fmt.Errorf("fl: examples: row %d has label %d, want 0 to %d", i, y, e.Classes-1)
		}
	}
	return nil
}

// Row returns the features of row i; the slice aliases e.X.
func (e Examples) Row(i int) []float32 { return e.X[i*e.Features : (i+1)*e.Features] }

// Subset returns the examples at the given rows, in that order, as a copy.
func (e Examples) Subset(rows []int) Examples {
	out := Examples{Rows: len(rows), Features: e.Features, Classes: e.Classes,
		X: make([]float32, 0, len(rows)*e.Features), Y: make([]int32, 0, len(rows))}
	for _, r := range rows {
		out.X = append(out.X, e.Row(r)...)
		out.Y = append(out.Y, e.Y[r])
	}
	return out
}
