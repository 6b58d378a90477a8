package datasets

import (
	"errors"
	"testing"

	"credence/fl"
)

// With as many rows of each class as a multiple of a piece, no piece lies over
// a border, so nobody has rows of more classes than asked for.
func TestByLabelsHasFewClasses(t *testing.T) {
	e := fl.Examples{Rows: 200, Features: 1, Classes: 10, X: make([]float32, 200), Y: make([]int32, 200)}
	for i := range e.Y {
		e.Y[i] = int32(i % 10)
	}
	parts, err := ByLabels(e, 10, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	for c, rows := range parts {
		classes := map[int32]bool{}
		for _, r := range rows {
			classes[e.Y[r]] = true
		}
		if len(rows) != 20 || len(classes) > 2 {
			t.Errorf("client %d has %d rows of %d classes", c, len(rows), len(classes))
		}
	}
	for _, c := range []struct{ clients, each int }{{10, 0}, {0, 2}, {101, 2}} {
		if _, err := ByLabels(e, c.clients, c.each, 1); !errors.Is(err, ErrPartition) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}
