package population

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"credence/datasets"
	"credence/experiments/config"
	"credence/experiments/simulate"
	"credence/fl"
)

// Divide makes the clients of one training. seed is that of the division where
// the file gives none. Clients are named client-0, client-1, ..., with leading
// zeros so that names sort like numbers, or after the values of a column.
func (d *Data) Divide(e *config.Experiment, p config.Partition, seed uint64) ([]simulate.Client, error) {
	seed = PartitionSeed(p, seed)
	names, train, test, err := d.parts(p, seed)
	if err != nil {
		return nil, e.At("partition", err)
	}
	out := make([]simulate.Client, len(train))
	for i := range train {
		if len(train[i]) == 0 {
			held := 0
			if test != nil {
				held = len(test[i])
			}
			return nil, e.At("partition", fmt.Errorf("client %s has no training row (and %d for testing): a client without rows cannot train; ask for fewer clients, a larger min_rows or another split", names[i], held))
		}
		out[i] = simulate.Client{Node: names[i], Train: d.Train.Subset(train[i])}
		out[i].Test = d.Test.Subset(nil)
		if test != nil {
			out[i].Test = d.Test.Subset(test[i])
		}
	}
	weaken(out, p.Weak, seed)
	return out, nil
}

// weaken gives some clients a small capability.
func weaken(clients []simulate.Client, weak config.Weak, seed uint64) {
	rng := rand.New(rand.NewChaCha8(fl.DigestOf("population/weak/v1", binary.LittleEndian.AppendUint64(nil, seed))))
	for _, i := range rng.Perm(len(clients))[:int(math.Round(weak.Fraction*float64(len(clients))))] {
		clients[i].MaxShards = weak.MaxShards
	}
}

// PartitionSeed is the seed that divides the rows in a repeat.
func PartitionSeed(p config.Partition, seed uint64) uint64 {
	if p.Seed != nil {
		return *p.Seed
	}
	return seed
}

// parts returns the clients' names and rows; test is nil when the test rows
// stay with the server.
func (d *Data) parts(p config.Partition, seed uint64) (names []fl.NodeID, train, test [][]int, err error) {
	if p.Method == config.ByColumn {
		return d.byColumn(p)
	}
	switch p.Method {
	case config.ByIID:
		train, err = datasets.IID(d.Train, p.Clients, seed)
	case config.ByDirichlet:
		train, err = datasets.Dirichlet(d.Train, p.Clients, p.Alpha, p.MinRows, seed)
	case config.ByQuantity:
		train, err = datasets.QuantitySkew(d.Train, p.Clients, p.Alpha, p.MinRows, seed)
	case config.ByLabels:
		train, err = datasets.ByLabels(d.Train, p.Clients, p.LabelsEach, seed)
	default:
		err = fmt.Errorf("method %q is none that this program knows", p.Method)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if p.HeldOut == config.AtClients {
		if test, err = datasets.IID(d.Test, p.Clients, seed); err != nil {
			return nil, nil, nil, fmt.Errorf("held_out clients: %w", err)
		}
	}
	return numbered(p.Clients), train, test, nil
}

// numbered names clients so that names sort like numbers.
func numbered(n int) []fl.NodeID {
	width := len(strconv.Itoa(n - 1))
	out := make([]fl.NodeID, n)
	for i := range out {
		out[i] = fl.NodeID(fmt.Sprintf("client-%0*d", width, i))
	}
	return out
}

// byColumn makes a client of every value that the column has.
func (d *Data) byColumn(p config.Partition) (names []fl.NodeID, train, test [][]int, err error) {
	if d.table == nil {
		return nil, nil, nil, errors.New("method column needs one file with both kinds of rows; leave test_file out")
	}
	cells, err := d.table.Column(p.Column)
	if err != nil {
		return nil, nil, nil, err
	}
	values, _, err := datasets.ByValue(cells)
	if err != nil {
		return nil, nil, nil, err
	}
	place := make(map[string]int, len(values))
	for i, v := range values {
		place[v] = i
	}
	divide := func(rows []int) [][]int {
		out := make([][]int, len(values))
		for i, row := range rows {
			c := place[cells[row]]
			out[c] = append(out[c], i)
		}
		return out
	}
	train = divide(d.rows[0])
	if p.HeldOut == config.AtClients {
		test = divide(d.rows[1])
	}
	return named(values), train, test, nil
}

// named makes names of a column's values when all of them can be names.
func named(values []string) []fl.NodeID {
	out := make([]fl.NodeID, len(values))
	for i, v := range values {
		out[i] = fl.NodeID(strings.ReplaceAll(strings.ToLower(v), " ", "-"))
		if out[i].Validate() != nil || slices.Contains(out[:i], out[i]) {
			return numbered(len(values))
		}
	}
	return out
}

// Labels counts a client's training rows of each class.
func Labels(c simulate.Client) []int64 { return countLabels(c.Train) }
