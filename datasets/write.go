package datasets

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"credence/fl"
)

// Names of the files that WriteNode writes.
const (
	NodeDataFile   = "data.csv"
	NodeSchemaFile = "schema.yaml"
)

// splitColumn is the column WriteNode adds to a table that has none.
const splitColumn = "split"

// Dataset is a table with the examples its schema makes of it, row by row.
type Dataset struct {
	Name   string
	Schema *Schema
	Table  *Table

	Train, Test fl.Examples
	// TrainRows[i] and TestRows[i] are the Table rows of example i.
	TrainRows, TestRows []int
	Report              Report
}

// FromTable encodes a table; errors carry the line each row had in its file.
// It refuses a schema whose test rows are in another file.
func FromTable(name string, t *Table, s *Schema) (*Dataset, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Split.Method == SplitFile {
		return nil, &Error{Kind: ErrSplit, File: name, Problem: "a table is one file, and the schema splits by file", Remedy: "change the split method"}
	}
	e := newEncoder(s)
	if err := e.header(name, 1, t.Header, len(t.Header)); err != nil {
		return nil, err
	}
	for i, row := range t.Rows {
		line := 0
		if i < len(t.Lines) {
			line = t.Lines[i]
		}
		if len(row) != len(t.Header) {
			return nil, &Error{Kind: ErrFormat, File: name, Line: line, Problem: fmt.Sprintf("%d cells in a table of %d columns", len(row), len(t.Header)), Remedy: "mend the table"}
		}
		if err := e.add(row, line, i, false); err != nil {
			if t.counted {
				err = countedError(err)
			}
			return nil, err
		}
	}
	d := &Dataset{Name: name, Schema: s, Table: t}
	var err error
	if d.Train, d.Test, d.TrainRows, d.TestRows, err = e.finish(); err != nil {
		return nil, err
	}
	d.Report = e.report
	return d, nil
}

// WriteCSV writes the table's rows (all of them if rows is nil), in that order,
// with the delimiter and header rule of the schema. ReadCSV makes the same
// examples of them, bit for bit, unless the schema has figures of the node's
// own (per-node scales, imputed means) or draws its split by fraction: those
// depend on which rows are there.
func WriteCSV(w io.Writer, t *Table, rows []int, s *Schema) error {
	if err := s.Validate(); err != nil {
		return err
	}
	s = s.withDefaults()
	if rows == nil {
		rows = ascending(len(t.Rows))
	}
	cw := csv.NewWriter(w)
	cw.Comma = rune(s.Delimiter[0])
	if !s.NoHeader {
		if err := cw.Write(t.Header); err != nil {
			return fmt.Errorf("datasets: writing the header: %w", err)
		}
	}
	for _, r := range rows {
		if r < 0 || r >= len(t.Rows) {
			return &Error{Kind: ErrPartition, Problem: fmt.Sprintf("row %d of a table of %d", r, len(t.Rows)), Remedy: "use rows of this table"}
		}
		if err := cw.Write(t.Rows[r]); err != nil {
			return fmt.Errorf("datasets: writing row %d: %w", r, err)
		}
	}
	cw.Flush()
	if err := cw.Error(); err != nil {
		return fmt.Errorf("datasets: writing rows: %w", err)
	}
	return nil
}

// WriteNode writes a client's part into dir: data.csv with the source rows of
// the given training and test examples (numbers into d.Train and d.Test, as
// partitioners return them) and schema.yaml, both readable by their owner
// alone. A column says which row is for testing, so the schema written splits
// by column whatever d.Schema does; it is returned. Where d.Schema splits by
// column already, the schema is d.Schema and has its digest, on every node.
//
// LoadCSV makes d.Train.Subset(train) and d.Test.Subset(test) of it, bit for
// bit, unless the schema has figures of the node's own.
func (d *Dataset) WriteNode(dir string, train, test []int) (*Schema, error) {
	s, t, err := d.splitByColumn()
	if err != nil {
		return nil, err
	}
	rows := make([]int, 0, len(train)+len(test))
	for _, part := range []struct{ from, at []int }{{d.TrainRows, train}, {d.TestRows, test}} {
		for _, i := range part.at {
			if i < 0 || i >= len(part.from) {
				return nil, &Error{Kind: ErrPartition, Problem: fmt.Sprintf("example %d of %d", i, len(part.from)), Remedy: "use numbers into Train and Test of this data set"}
			}
			rows = append(rows, part.from[i])
		}
	}
	text, err := s.YAML()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("datasets: making the node's folder: %w", err)
	}
	if err := writeFile(filepath.Join(dir, NodeDataFile), func(w io.Writer) error { return WriteCSV(w, t, rows, s) }); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, NodeSchemaFile), func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
		return nil, err
	}
	return s, nil
}

// splitByColumn returns the schema and table with the split as a column.
func (d *Dataset) splitByColumn() (*Schema, *Table, error) {
	if d.Schema.Split.Method == SplitColumn {
		return d.Schema, d.Table, nil
	}
	if slices.Contains(d.Table.Header, splitColumn) {
		return nil, nil, &Error{Kind: ErrColumn, Column: splitColumn, Problem: "the table has this column already, and the schema does not split by it", Remedy: "rename it, or set `split: {method: column}`"}
	}
	s := *d.Schema
	s.Columns = append(slices.Clone(s.Columns), Column{Name: splitColumn, Kind: Ignore})
	s.Split = Split{Method: SplitColumn, Column: splitColumn}
	t := &Table{Header: append(slices.Clone(d.Table.Header), splitColumn), Rows: make([][]string, len(d.Table.Rows))}
	inTest := make([]bool, len(d.Table.Rows))
	for _, r := range d.TestRows {
		inTest[r] = true
	}
	for i, row := range d.Table.Rows {
		word := "train"
		if inTest[i] {
			word = "test"
		}
		t.Rows[i] = append(slices.Clone(row), word)
	}
	return &s, t, nil
}

// ExamplesSchema describes examples that have no source table (IDX, synthetic):
// numeric columns without normalisation, a label and a split column. nil
// features are named x0, x1, ...; classes are their numbers.
func ExamplesSchema(e fl.Examples, features []string) (*Schema, error) {
	if features != nil && len(features) != e.Features {
		return nil, &Error{Kind: ErrSchema, Problem: fmt.Sprintf("%d names for %d features", len(features), e.Features), Remedy: "give one name a feature"}
	}
	s := &Schema{Version: 1}
	for i := range e.Features {
		name := "x" + strconv.Itoa(i)
		if features != nil {
			name = features[i]
		}
		s.Columns = append(s.Columns, Column{Name: name, Kind: Numeric})
	}
	label := Column{Name: "label", Kind: Label}
	for i := range e.Classes {
		label.Classes = append(label.Classes, strconv.Itoa(i))
	}
	s.Columns = append(s.Columns, label, Column{Name: splitColumn, Kind: Ignore})
	s.Split = Split{Method: SplitColumn, Column: splitColumn}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// WriteExamplesCSV writes examples as they are, with a schema of
// ExamplesSchema's shape; ReadCSV gives back the same bits.
func WriteExamplesCSV(w io.Writer, train, test fl.Examples, s *Schema) error {
	if err := s.Validate(); err != nil {
		return err
	}
	classes := s.Classes()
	n := len(s.Columns)
	if n != train.Features+2 || s.Features() != train.Features || s.Columns[n-2].Kind != Label || s.Columns[n-1].Name != s.Split.Column {
		return &Error{Kind: ErrSchema, Problem: "the schema is not one of plain numeric features, label and split for these examples", Remedy: "make it with ExamplesSchema"}
	}
	for _, c := range s.Columns[:n-2] {
		if c.Kind != Numeric || (c.Normalise != "" && c.Normalise != NoScale) {
			return &Error{Kind: ErrSchema, Column: c.Name, Problem: "the examples would be normalised twice", Remedy: "make the schema with ExamplesSchema"}
		}
	}
	d := s.withDefaults()
	cw := csv.NewWriter(w)
	cw.Comma = rune(d.Delimiter[0])
	if !d.NoHeader {
		if err := cw.Write(schemaNames(s)); err != nil {
			return fmt.Errorf("datasets: writing the header: %w", err)
		}
	}
	rec := make([]string, n)
	for _, part := range []struct {
		fl.Examples
		word string
	}{{train, d.Split.Train}, {test, d.Split.Test}} {
		if err := part.Validate(); part.Rows > 0 && (err != nil || part.Features != train.Features || part.Classes > len(classes)) {
			return &Error{Kind: ErrValue, Problem: "the " + part.word + " examples are not valid, or not of this schema", Remedy: "validate them first", Err: err}
		}
		for i := range part.Rows {
			for k, v := range part.Row(i) {
				// Written as the float64 it equals: the shortest text of a
				// float32 could round twice on the way back.
				rec[k] = strconv.FormatFloat(float64(v), 'g', -1, 64)
			}
			rec[n-2], rec[n-1] = classes[part.Y[i]], part.word
			if err := cw.Write(rec); err != nil {
				return fmt.Errorf("datasets: writing %s row %d: %w", part.word, i, err)
			}
		}
	}
	cw.Flush()
	if err := cw.Error(); err != nil {
		return fmt.Errorf("datasets: writing rows: %w", err)
	}
	return nil
}

// writeFile replaces path by what write produces, through a synced temporary
// file beside it, so that a crash leaves the old file or the new one.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("datasets: writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("datasets: writing %s: %w", path, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	w := bufio.NewWriter(f)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
