package tabular

import "fmt"

// A Table is a data set as integers. It is secret: it holds people's records.
type Table struct {
	Layout Layout
	Used   int     // n: the first n rows are records, the others padding
	Cells  []int64 // Rows*Width, row-major
}

// New returns a table with n valid rows in which everything else is zero.
func New(l Layout, n int) (*Table, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	if n < 1 || n > l.Rows {
		return nil, fmt.Errorf("%w: %d rows, the layout holds 1 to %d", ErrTable, n, l.Rows)
	}
	t := &Table{Layout: l, Used: n, Cells: make([]int64, l.Cells())}
	for i := range n {
		t.Cells[i*l.Width()] = 1
	}
	return t, nil
}

// Row returns the cells of row i, from 0. It shares the table's memory.
func (t *Table) Row(i int) []int64 {
	w := t.Layout.Width()
	return t.Cells[i*w : (i+1)*w : (i+1)*w]
}

// Feature returns feature j of row i, both from 0.
func (t *Table) Feature(i, j int) int64 { return t.Row(i)[t.Layout.Feature(j)] }

// Target returns target j of row i, both from 0.
func (t *Table) Target(i, j int) int64 { return t.Row(i)[t.Layout.Target(j)] }

// SetFeature sets feature j of row i, both from 0.
func (t *Table) SetFeature(i, j int, v int64) { t.Row(i)[t.Layout.Feature(j)] = v }

// SetTarget sets target j of row i, both from 0.
func (t *Table) SetTarget(i, j int, v int64) { t.Row(i)[t.Layout.Target(j)] = v }

// SetClass sets the targets of row i to a class. The layout has classes.
func (t *Table) SetClass(i, class int) error {
	l := t.Layout
	if class < 0 || class >= l.Classes() {
		return fmt.Errorf("%w: row %d is of none of the layout's %d classes", ErrTable, i, l.Classes())
	}
	if l.Kind == Binary {
		t.SetTarget(i, 0, int64(class))
		return nil
	}
	for c := range l.Targets {
		t.SetTarget(i, c, 0)
	}
	t.SetTarget(i, class, 1)
	return nil
}

// Missing tells whether feature j of row i is marked as missing from the file.
func (t *Table) Missing(i, j int) bool {
	return t.Row(i)[t.Layout.Mark(j/MarkBits)]>>(j%MarkBits)&1 == 1
}

// SetMissing marks feature j of row i as missing from the file. Its cell keeps
// the value that was imputed.
func (t *Table) SetMissing(i, j int) {
	t.Row(i)[t.Layout.Mark(j/MarkBits)] |= 1 << (j % MarkBits)
}

// Check reports ErrTable when a cell is not what the layout allows, naming its
// row and column but never its value.
func (t *Table) Check() error {
	l := t.Layout
	if err := l.Check(); err != nil {
		return err
	}
	if t.Used < 1 || t.Used > l.Rows || len(t.Cells) != l.Cells() {
		return fmt.Errorf("%w: %d rows in %d cells, the layout holds 1 to %d in %d", ErrTable, t.Used, len(t.Cells), l.Rows, l.Cells())
	}
	for i := range l.Rows {
		row := t.Row(i)
		if i >= t.Used {
			for j, v := range row {
				if v != 0 {
					return fmt.Errorf("%w: row %d is padding, and column %d of it is not zero", ErrTable, i, j)
				}
			}
			continue
		}
		if row[0] != 1 {
			return fmt.Errorf("%w: row %d is one of the first %d and not marked as valid", ErrTable, i, t.Used)
		}
		for j := range l.Features {
			if v := t.Feature(i, j); v < -l.Half() || v >= l.Half() {
				return fmt.Errorf("%w: row %d, feature %d is outside %d bits", ErrTable, i, j, l.Bits)
			}
		}
		if err := t.checkTargets(i); err != nil {
			return err
		}
		for m := range l.Marks() {
			bits := min(MarkBits, l.Features-m*MarkBits)
			if v := row[l.Mark(m)]; v < 0 || v >= 1<<bits {
				return fmt.Errorf("%w: row %d, mark column %d speaks of more than %d features", ErrTable, i, m, bits)
			}
		}
	}
	return nil
}

func (t *Table) checkTargets(i int) error {
	l := t.Layout
	low, high := int64(0), int64(2)
	if l.Kind == Real {
		low, high = -l.Half(), l.Half()
	}
	sum := int64(0)
	for c := range l.Targets {
		v := t.Target(i, c)
		if v < low || v >= high {
			return fmt.Errorf("%w: row %d, target %d is out of range", ErrTable, i, c)
		}
		sum += v
	}
	if l.Kind == OneHot && sum != 1 {
		return fmt.Errorf("%w: row %d has %d classes, want one", ErrTable, i, sum)
	}
	return nil
}

// ClassCounts counts the valid rows of each class; nil for real targets.
func (t *Table) ClassCounts() []int {
	out := make([]int, t.Layout.Classes())
	for i := range t.Used {
		switch t.Layout.Kind {
		case Binary:
			out[t.Target(i, 0)]++
		case OneHot:
			for c := range out {
				out[c] += int(t.Target(i, c))
			}
		}
	}
	return out
}

// Erase overwrites the cells with zeros.
func (t *Table) Erase() { clear(t.Cells); t.Used = 0 }

// String keeps the cells out of logs.
func (t *Table) String() string {
	return fmt.Sprintf("tabular.Table(%s, %d rows)", t.Layout.Name(), t.Used)
}

// GoString is String.
func (t *Table) GoString() string { return t.String() }
