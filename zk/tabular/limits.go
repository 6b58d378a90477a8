package tabular

import (
	"encoding/binary"
	"fmt"

	"credence/fl"
)

// Limits are public bounds on a table with a known number n of valid rows, as
// integers in the units of the grid. All bounds are inclusive.
type Limits struct {
	Numbers []NumberLimits // one a number: the features, then real targets
	Missing []int64        // one a feature: the most marks
	Classes []int64        // one a class: the fewest rows; empty for real targets
}

// NumberLimits bound one column over its n valid rows, with S the sum of its
// cells and Q the sum of their squares. Imputed cells count like any other.
type NumberLimits struct {
	Min, Max             int64 // every cell
	SumMin, SumMax       int64 // S = n * mean
	SpreadMin, SpreadMax int64 // n*Q - S^2 = n^2 * variance (of the population)
}

// NoLimits returns the widest limits on a table of n rows: every well-formed
// table is within them.
func (l Layout) NoLimits(n int) Limits {
	out := Limits{Numbers: make([]NumberLimits, l.Numbers()), Missing: make([]int64, l.Features), Classes: make([]int64, l.Classes())}
	for i := range out.Numbers {
		out.Numbers[i] = l.widest()
	}
	for i := range out.Missing {
		out.Missing[i] = int64(n)
	}
	return out
}

// widest bounds a number by what a table of full capacity can hold at all.
func (l Layout) widest() NumberLimits {
	h, r := l.Half(), int64(l.Rows)
	return NumberLimits{Min: -h, Max: h - 1, SumMin: -r * h, SumMax: r * h, SpreadMin: 0, SpreadMax: r * r * h * h}
}

// CheckLimits reports ErrLayout for limits that are not those of this layout
// and n rows: of another size, outside the widest ones, or with a minimum
// above its maximum. What it accepts, a circuit can hold without wrapping.
func (l Layout) CheckLimits(n int, m Limits) error {
	if err := l.Check(); err != nil {
		return err
	}
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: limits: %s", ErrLayout, fmt.Sprintf(format, args...))
	}
	if n < 1 || n > l.Rows {
		return refuse("%d rows, the layout holds 1 to %d", n, l.Rows)
	}
	if len(m.Numbers) != l.Numbers() || len(m.Missing) != l.Features || len(m.Classes) != l.Classes() {
		return refuse("on %d numbers, %d features and %d classes, the layout has %d, %d and %d",
			len(m.Numbers), len(m.Missing), len(m.Classes), l.Numbers(), l.Features, l.Classes())
	}
	w := l.widest()
	for i, b := range m.Numbers {
		for _, p := range []struct {
			what                string
			min, max, low, high int64
		}{
			{"values", b.Min, b.Max, w.Min, w.Max},
			{"sum", b.SumMin, b.SumMax, w.SumMin, w.SumMax},
			{"spread", b.SpreadMin, b.SpreadMax, w.SpreadMin, w.SpreadMax},
		} {
			if p.min > p.max || p.min < p.low || p.max > p.high {
				return refuse("number %d: %s in [%d, %d]: want an interval within [%d, %d]", i, p.what, p.min, p.max, p.low, p.high)
			}
		}
	}
	for i, v := range m.Missing {
		if v < 0 || v > int64(n) {
			return refuse("feature %d: at most %d missing: want 0 to %d", i, v, n)
		}
	}
	for i, v := range m.Classes {
		if v < 0 || v > int64(n) {
			return refuse("class %d: at least %d rows: want 0 to %d", i, v, n)
		}
	}
	return nil
}

// Vector lists the limits in the order in which circuits take them: for each
// number Min, Max-Min, SumMin, SumMax, SpreadMin and SpreadMax; then Missing;
// then Classes.
func (m Limits) Vector() []int64 {
	out := make([]int64, 0, 6*len(m.Numbers)+len(m.Missing)+len(m.Classes))
	for _, b := range m.Numbers {
		out = append(out, b.Min, b.Max-b.Min, b.SumMin, b.SumMax, b.SpreadMin, b.SpreadMax)
	}
	return append(append(out, m.Missing...), m.Classes...)
}

// LimitCount is the length of Limits.Vector for this layout.
func (l Layout) LimitCount() int { return 6*l.Numbers() + l.Features + l.Classes() }

// Digest identifies the limits.
func (m Limits) Digest() fl.Digest {
	var b []byte
	for _, n := range []int{len(m.Numbers), len(m.Missing), len(m.Classes)} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	for _, v := range m.Vector() {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return fl.DigestOf("zk/tabular/limits/v1", b)
}

// Measure returns the tightest limits that the table itself satisfies. They
// are as secret as the table.
func (t *Table) Measure() Limits {
	l := t.Layout
	out := Limits{Numbers: make([]NumberLimits, l.Numbers()), Missing: make([]int64, l.Features), Classes: make([]int64, l.Classes())}
	n := int64(t.Used)
	for j := range out.Numbers {
		b := NumberLimits{Min: l.Half(), Max: -l.Half()}
		var sum, squares int64
		for i := range t.Used {
			v := t.Row(i)[l.Number(j)]
			b.Min, b.Max = min(b.Min, v), max(b.Max, v)
			sum += v
			squares += v * v
		}
		b.SumMin, b.SumMax = sum, sum
		b.SpreadMin = n*squares - sum*sum
		b.SpreadMax = b.SpreadMin
		out.Numbers[j] = b
	}
	for j := range out.Missing {
		for i := range t.Used {
			if t.Missing(i, j) {
				out.Missing[j]++
			}
		}
	}
	for c, k := range t.ClassCounts() {
		out.Classes[c] = int64(k)
	}
	return out
}

// Within reports, without a figure of the table, the first limit that the
// table does not meet (ErrTable).
func (t *Table) Within(m Limits) error {
	if err := t.Layout.CheckLimits(t.Used, m); err != nil {
		return err
	}
	got := t.Measure()
	for i, b := range m.Numbers {
		g := got.Numbers[i]
		for _, p := range []struct {
			what string
			ok   bool
		}{
			{"a value", b.Min <= g.Min && g.Max <= b.Max},
			{"the mean", b.SumMin <= g.SumMin && g.SumMin <= b.SumMax},
			{"the variance", b.SpreadMin <= g.SpreadMin && g.SpreadMin <= b.SpreadMax},
		} {
			if !p.ok {
				return fmt.Errorf("%w: number %d: %s is outside the limits", ErrTable, i, p.what)
			}
		}
	}
	for i, v := range m.Missing {
		if got.Missing[i] > v {
			return fmt.Errorf("%w: feature %d: more values are missing than the %d allowed", ErrTable, i, v)
		}
	}
	for i, v := range m.Classes {
		if got.Classes[i] < v {
			return fmt.Errorf("%w: class %d has fewer than %d rows", ErrTable, i, v)
		}
	}
	return nil
}
