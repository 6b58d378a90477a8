package datasets

import (
	"fmt"
	"slices"

	"credence/fl"
)

// ByLabels gives each client rows of few classes: the rows are sorted by class
// and cut into clients*labelsEach pieces whose sizes differ by at most one, and
// each client gets labelsEach of them at random (the pathological division of
// McMahan et al., AISTATS 2017, section 3). A piece that lies over a border has
// rows of two classes. It needs clients*labelsEach <= rows.
func ByLabels(e fl.Examples, clients, labelsEach int, seed uint64) ([][]int, error) {
	if labelsEach < 1 {
		return nil, &Error{Kind: ErrPartition, Problem: fmt.Sprintf("%d classes a client", labelsEach), Remedy: "ask for at least 1"}
	}
	if err := checkClients(e.Rows, clients, labelsEach); err != nil {
		return nil, err
	}
	st := newStream("labels", seed)
	rows := ascending(e.Rows)
	st.shuffle(rows)
	slices.SortStableFunc(rows, func(a, b int) int { return int(e.Y[a]) - int(e.Y[b]) })
	pieces := clients * labelsEach
	sizes := make([]int, pieces)
	for i := range sizes {
		sizes[i] = e.Rows / pieces
		if i < e.Rows%pieces {
			sizes[i]++
		}
	}
	cut := deal(rows, sizes)
	order := ascending(pieces)
	st.shuffle(order)
	parts := make([][]int, clients)
	for i, piece := range order {
		parts[i/labelsEach] = append(parts[i/labelsEach], cut[piece]...)
	}
	for _, p := range parts {
		slices.Sort(p)
	}
	return parts, nil
}
