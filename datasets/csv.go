package datasets

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"credence/fl"
)

// Bounds on a CSV file. They are far above what a node trains on and exist so
// that a wrong or hostile file ends in an error and not in an exhausted
// machine.
const (
	MaxRecordBytes = 4 << 20  // one record, quoted line breaks included
	MaxRows        = 50 << 20 // data rows
	MaxFileBytes   = 64 << 30 // bytes, after decompression
)

// LoadCSV reads a CSV file (gzip-compressed if its name ends in .gz) into
// training and test examples as the schema says. X holds Features() values a
// row in the order of FeatureNames, Y the class numbers. The order of rows is
// the file's. test has no rows when the split method is none.
//
// Errors are *Error with file, line and column; see the sentinels. A schema
// whose test rows are in another file needs LoadPair.
func LoadCSV(path string, s *Schema) (train, test fl.Examples, report Report, err error) {
	err = withFile(path, func(r io.Reader) error {
		train, test, report, err = ReadCSV(path, r, s)
		return err
	})
	return train, test, report, err
}

// ReadCSV is LoadCSV from a reader; name is what errors call it. The reader is
// not decompressed.
func ReadCSV(name string, r io.Reader, s *Schema) (train, test fl.Examples, report Report, err error) {
	if err := s.Validate(); err != nil {
		return train, test, report, err
	}
	if s.Split.Method == SplitFile {
		return train, test, report, &Error{Kind: ErrSplit, File: name,
			Problem: "the schema keeps test rows in a second file, and only one was given", Remedy: "give both, or change the split method"}
	}
	e := newEncoder(s)
	if err := readRecords(name, r, e.s, e.header, func(rec []string, line, row int) error {
		return e.add(rec, line, row, false)
	}); err != nil {
		return train, test, report, err
	}
	train, test, _, _, err = e.finish()
	return train, test, e.report, err
}

// withFile opens path, decompressing a .gz, and hands it to read.
func withFile(path string, read func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("datasets: opening the data: %w", err)
	}
	r := io.Reader(f)
	if strings.HasSuffix(path, ".gz") {
		zr, zerr := gzip.NewReader(bufio.NewReader(f))
		if zerr != nil {
			err = &Error{Kind: ErrFormat, File: path, Problem: "this is not a gzip file", Remedy: "drop the .gz from its name if it is not compressed", Err: zerr}
		}
		r = zr
	}
	if err == nil {
		err = read(r)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("datasets: closing %s: %w", path, cerr)
	}
	return err
}

// readRecords parses CSV (RFC 4180; CRLF or LF; a UTF-8 byte order mark is
// skipped), calls header once and then row for every data record. The record
// is only valid during the call.
func readRecords(name string, r io.Reader, s *Schema,
	header headerFunc, row rowFunc,
) error {
	meter := &meter{r: r, name: name, record: MaxRecordBytes, file: MaxFileBytes}
	br := bufio.NewReader(meter)
	if b, err := br.Peek(3); err == nil && bytes.Equal(b, []byte("\xef\xbb\xbf")) {
		if _, err := br.Discard(3); err != nil {
			return fmt.Errorf("datasets: reading %s: %w", name, err)
		}
	}
	cr := csv.NewReader(br)
	cr.Comma = rune(s.Delimiter[0])
	cr.FieldsPerRecord = -1 // counted here, for a better error
	cr.ReuseRecord = true
	fields, rows, line := 0, 0, 0
	for {
		meter.inRecord = 0
		rec, err := cr.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return csvError(name, line+1, err)
		}
		line, _ = cr.FieldPos(0)
		if len(rec) > MaxColumns {
			return &Error{Kind: ErrLimit, File: name, Line: line, Problem: fmt.Sprintf("%d fields", len(rec)), Remedy: fmt.Sprintf("at most %d are accepted", MaxColumns)}
		}
		if fields == 0 {
			fields = len(rec)
			var names []string
			if !s.NoHeader {
				names = make([]string, len(rec))
				for i, n := range rec {
					names[i] = strings.Clone(strings.TrimSpace(n))
				}
			}
			if err := header(name, line, names, fields); err != nil {
				return err
			}
			if !s.NoHeader {
				continue
			}
		}
		if len(rec) != fields {
			return &Error{Kind: ErrFormat, File: name, Line: line,
				Problem: fmt.Sprintf("%d fields where the first line has %d", len(rec), fields), Remedy: "check for a missing or unquoted delimiter"}
		}
		if rows >= MaxRows {
			return &Error{Kind: ErrLimit, File: name, Line: line, Problem: fmt.Sprintf("more than %d rows", MaxRows), Remedy: "split the file between nodes"}
		}
		if err := row(rec, line, rows); err != nil {
			return err
		}
		rows++
	}
	if fields == 0 {
		return &Error{Kind: ErrFormat, File: name, Problem: "the file is empty", Remedy: "check the path"}
	}
	return nil
}

// csvError gives a parser's or a reader's error its position and kind.
func csvError(name string, line int, err error) error {
	var limit *Error
	if errors.As(err, &limit) {
		limit.Line = line
		return limit
	}
	var p *csv.ParseError
	if errors.As(err, &p) {
		e := &Error{Kind: ErrFormat, File: name, Line: p.Line, Problem: fmt.Sprintf("byte %d of the line: malformed CSV", p.Column)}
		switch {
		case errors.Is(p.Err, csv.ErrQuote):
			e.Problem, e.Remedy = fmt.Sprintf("byte %d of the line: a stray quote", p.Column), `quote the whole field and double the quotes in it`
		case errors.Is(p.Err, csv.ErrBareQuote):
			e.Problem, e.Remedy = fmt.Sprintf("byte %d of the line: a quote inside an unquoted field", p.Column), `quote the whole field and double the quotes in it`
		}
		return e
	}
	return &Error{Kind: ErrFormat, File: name, Line: line, Problem: "the file cannot be read", Remedy: "check that it is complete", Err: err}
}

// meter bounds what a single record and the file as a whole may take, below
// the CSV parser, which itself would gather a line of any length.
type meter struct {
	r            io.Reader
	name         string
	record, file int64
	inRecord     int64
	total        int64
}

func (m *meter) Read(p []byte) (int, error) {
	if m.inRecord > m.record {
		return 0, &Error{Kind: ErrLimit, File: m.name, Problem: fmt.Sprintf("a record of more than %d bytes", m.record), Remedy: "look for a quote that is never closed, or for a file that is not CSV"}
	}
	if m.total > m.file {
		return 0, &Error{Kind: ErrLimit, File: m.name, Problem: fmt.Sprintf("a file of more than %d bytes", m.file), Remedy: "split it between nodes"}
	}
	n, err := m.r.Read(p)
	m.inRecord += int64(n)
	m.total += int64(n)
	return n, err
}

// Table is a CSV file's records as text, for cutting a file into parts by row
// or by the value of any column. It holds everything in memory; LoadCSV does
// not.
type Table struct {
	Header []string   // column names; from the schema if the file has none
	Rows   [][]string // trimmed cells
	Lines  []int      // line of each row in its file, counted from 1; its number where files have no lines

	counted bool // Lines are numbers of rows
}

// maxTableCells bounds a Table (16 bytes a cell and its text).
const maxTableCells = 1 << 26

// ReadTable reads all records of a CSV file with the schema's delimiter and
// header rule; of the cells it checks only their number.
func ReadTable(name string, r io.Reader, s *Schema) (*Table, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s = s.withDefaults()
	t := &Table{}
	header, row := t.collect(name, s)
	if err := readRecords(name, r, s, header, row); err != nil {
		return nil, err
	}
	return t, nil
}

// collect returns functions that add a file's records to the table. s has its
// defaults.
func (t *Table) collect(name string, s *Schema) (headerFunc, rowFunc) {
	return func(file string, line int, names []string, fields int) error {
			if err := newEncoder(s).header(file, line, names, fields); err != nil {
				return err
			}
			if t.Header = names; s.NoHeader {
				t.Header = schemaNames(s)
			}
			return nil
		},
		func(rec []string, line, row int) error {
			if (row+1)*len(rec) > maxTableCells {
				return &Error{Kind: ErrLimit, File: name, Line: line, Problem: fmt.Sprintf("more than %d cells", maxTableCells), Remedy: "cut the file with another tool first"}
			}
			cells := slices.Clone(rec)
			for i, c := range cells {
				cells[i] = strings.TrimSpace(c)
			}
			t.Rows, t.Lines = append(t.Rows, cells), append(t.Lines, line)
			return nil
		}
}

// Column returns the cells of the named column, one a row.
func (t *Table) Column(name string) ([]string, error) {
	i := slices.Index(t.Header, name)
	if i < 0 {
		return nil, &Error{Kind: ErrColumn, Column: name, Problem: "the table has no such column", Remedy: "the columns are " + strings.Join(t.Header, ", ")}
	}
	out := make([]string, len(t.Rows))
	for r, row := range t.Rows {
		out[r] = row[i]
	}
	return out, nil
}

func schemaNames(s *Schema) []string {
	out := make([]string, len(s.Columns))
	for i, c := range s.Columns {
		out[i] = c.Name
	}
	return out
}
