package datasets

import (
	"fmt"
	"math"
	"slices"

	"credence/fl"
)

// Partitioners divide the rows of a data set among clients. Each returns one
// ascending list of row numbers a client; every row is in exactly one list.
// They are deterministic in their seed (on one processor architecture: the
// last bit of a logarithm may differ between two).

// IID deals shuffled rows into parts whose sizes differ by at most one. It
// needs 1 <= clients <= rows.
func IID(e fl.Examples, clients int, seed uint64) ([][]int, error) {
	if err := checkClients(e.Rows, clients, 1); err != nil {
		return nil, err
	}
	rows := ascending(e.Rows)
	newStream("iid", seed).shuffle(rows)
	sizes := make([]int, clients)
	for i := range sizes {
		sizes[i] = e.Rows / clients
		if i < e.Rows%clients {
			sizes[i]++
		}
	}
	return deal(rows, sizes), nil
}

// Dirichlet gives each client its own mixture of classes: for every class the
// clients' shares are drawn from a symmetric Dirichlet(alpha), 1e-3 <= alpha
// <= 1e6 (Hsu, Qi and Brown 2019; label skew as in Li et al. 2022, NIID-Bench).
// A small alpha concentrates a class in few clients; a large one approaches
// IID. Clients left with fewer than minRows (>= 1) are then topped up, one
// random row at a time, from whichever client is largest; it needs
// clients*minRows <= rows.
func Dirichlet(e fl.Examples, clients int, alpha float64, minRows int, seed uint64) ([][]int, error) {
	if err := checkClients(e.Rows, clients, minRows); err != nil {
		return nil, err
	}
	if err := checkAlpha(alpha); err != nil {
		return nil, err
	}
	byClass := make([][]int, e.Classes)
	for i, y := range e.Y {
		if y < 0 || int(y) >= e.Classes {
			return nil, &Error{Kind: ErrLabel, Problem: fmt.Sprintf("row %d has label %d of %d classes", i, y, e.Classes), Remedy: "validate the examples first"}
		}
		byClass[y] = append(byClass[y], i)
	}
	st := newStream("dirichlet", seed)
	parts := make([][]int, clients)
	for _, rows := range byClass {
		st.shuffle(rows)
		for c, part := range deal(rows, apportion(len(rows), st.dirichlet(clients, alpha))) {
			parts[c] = append(parts[c], part...)
		}
	}
	for {
		least, most := 0, 0
		for c := range parts {
			if len(parts[c]) < len(parts[least]) {
				least = c
			}
			if len(parts[c]) > len(parts[most]) {
				most = c
			}
		}
		if len(parts[least]) >= minRows {
			break
		}
		// The largest has more than minRows, or all would have exactly as
		// many as there are rows for.
		from := parts[most]
		k := st.below(len(from))
		parts[least] = append(parts[least], from[k])
		from[k] = from[len(from)-1]
		parts[most] = from[:len(from)-1]
	}
	for _, p := range parts {
		slices.Sort(p)
	}
	return parts, nil
}

// QuantitySkew gives clients parts of very different sizes and like classes:
// minRows (>= 1) each, and the rest by shares drawn from a symmetric
// Dirichlet(alpha), 1e-3 <= alpha <= 1e6 (NIID-Bench, Li et al. 2022, section
// IV-B). It needs clients*minRows <= rows.
func QuantitySkew(e fl.Examples, clients int, alpha float64, minRows int, seed uint64) ([][]int, error) {
	if err := checkClients(e.Rows, clients, minRows); err != nil {
		return nil, err
	}
	if err := checkAlpha(alpha); err != nil {
		return nil, err
	}
	st := newStream("quantity", seed)
	rows := ascending(e.Rows)
	st.shuffle(rows)
	sizes := apportion(e.Rows-clients*minRows, st.dirichlet(clients, alpha))
	for c := range sizes {
		sizes[c] += minRows
	}
	return deal(rows, sizes), nil
}

// ByValue makes one part of each distinct value, one value a row (see
// Table.Column): one institution a value. Names ascend; parts follow them.
func ByValue(values []string) (names []string, parts [][]int, err error) {
	if len(values) == 0 {
		return nil, nil, &Error{Kind: ErrPartition, Problem: "there are no rows to divide", Remedy: "check the file"}
	}
	rows := map[string][]int{}
	for i, v := range values {
		if v == "" {
			return nil, nil, &Error{Kind: ErrPartition, Problem: fmt.Sprintf("row %d (counted from 0) has no value", i), Remedy: "every row must belong to someone; fill it in"}
		}
		rows[v] = append(rows[v], i)
	}
	for v := range rows {
		names = append(names, v)
	}
	slices.Sort(names)
	for _, n := range names {
		parts = append(parts, rows[n])
	}
	return names, parts, nil
}

func checkClients(rows, clients, minRows int) error {
	if clients >= 1 && minRows >= 1 && clients <= rows/minRows {
		return nil
	}
	return &Error{Kind: ErrPartition, Problem: fmt.Sprintf("%d rows cannot give %d clients at least %d each", rows, clients, minRows),
		Remedy: "ask for fewer clients or a smaller minimum (both at least 1)"}
}

func checkAlpha(alpha float64) error {
	if alpha >= 1e-3 && alpha <= 1e6 && !math.IsNaN(alpha) {
		return nil
	}
	return &Error{Kind: ErrPartition, Problem: fmt.Sprintf("alpha %v is out of range", alpha), Remedy: "use 0.001 (very uneven) to 1000000 (even)"}
}

func ascending(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// deal cuts rows into consecutive parts of the given sizes, each sorted.
func deal(rows []int, sizes []int) [][]int {
	out := make([][]int, len(sizes))
	for i, n := range sizes {
		out[i] = slices.Clone(rows[:n:n])
		slices.Sort(out[i])
		rows = rows[n:]
	}
	return out
}
