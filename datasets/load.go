package datasets

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"credence/fl"
)

// header and row receive a file's column names and then its records, whatever
// the format: every cell as the text that a CSV file would hold. line counts
// lines of a CSV file and records of others, from 1. The record is only valid
// during the call.
type (
	headerFunc func(file string, line int, names []string, fields int) error
	rowFunc    func(record []string, line, row int) error
)

// Formats lists the endings of file names that say what a file is.
func Formats() []string { return []string{".csv", ".csv.gz", ".parquet", ".npz"} }

// Load reads a file of any of Formats into training and test examples as the
// schema says; the ending of the name decides which, and one that is none of
// them is taken as CSV. See LoadCSV for what
// comes out, LoadParquet and LoadNPZ for what the columns of those files are.
// Errors are *Error with file, line or row, and column.
func Load(path string, s *Schema) (train, test fl.Examples, report Report, err error) {
	if err := s.Validate(); err != nil {
		return train, test, report, err
	}
	if s.Split.Method == SplitFile {
		return train, test, report, &Error{Kind: ErrSplit, File: path,
			Problem: "the schema keeps test rows in a second file, and only one was given", Remedy: "give both, or change the split method"}
	}
	e := newEncoder(s)
	if err := eachRecord(path, e.s, e.header, func(rec []string, line, row int) error {
		return e.add(rec, line, row, false)
	}); err != nil {
		return train, test, report, err
	}
	train, test, _, _, err = e.finish()
	return train, test, e.report, err
}

// LoadPair is Load for a schema with `split: {method: file}`: training rows in
// one file, test rows in another, which may be of another format. Figures of
// the node's own (imputed means, per-node scales) come from the training file
// alone.
func LoadPair(trainPath, testPath string, s *Schema) (train, test fl.Examples, report Report, err error) {
	if err := s.Validate(); err != nil {
		return train, test, report, err
	}
	if s.Split.Method != SplitFile {
		return train, test, report, &Error{Kind: ErrSplit, File: testPath,
			Problem: "a second file was given, but the schema splits by " + string(s.withDefaults().Split.Method), Remedy: "set `split: {method: file}` or give one file"}
	}
	e := newEncoder(s)
	for _, part := range []struct {
		path string
		test bool
	}{{trainPath, false}, {testPath, true}} {
		err := eachRecord(part.path, e.s, e.header, func(rec []string, line, row int) error {
			return e.add(rec, line, row, part.test)
		})
		if err != nil {
			return train, test, report, err
		}
	}
	e.file = trainPath
	train, test, _, _, err = e.finish()
	return train, test, e.report, err
}

// LoadRecords reads all records of a file of any of Formats as text, for cutting
// it into parts; of the cells it checks only their number.
func LoadRecords(path string, s *Schema) (*Table, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s = s.withDefaults()
	t := &Table{}
	header, row := t.collect(path, s)
	if err := eachRecord(path, s, header, row); err != nil {
		return nil, err
	}
	_, t.counted = countedReader(path)
	return t, nil
}

// countedReader returns the reader of a file whose records are counted, because
// it has no lines; false: it is taken as CSV.
func countedReader(path string) (func(string, io.ReaderAt, int64, *Schema, headerFunc, rowFunc) error, bool) {
	switch {
	case strings.HasSuffix(strings.ToLower(path), ".parquet"):
		return readParquet, true
	case strings.HasSuffix(strings.ToLower(path), ".npz"):
		return readNPZ, true
	}
	return nil, false
}

// eachRecord reads a file's records. s has its defaults.
func eachRecord(path string, s *Schema, header headerFunc, row rowFunc) error {
	read, counted := countedReader(path)
	if !counted {
		return withFile(path, func(r io.Reader) error { return readRecords(path, r, s, header, row) })
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("datasets: opening the data: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		err = read(path, f, info.Size(), s, header, row)
	}
	return countedError(errors.Join(err, f.Close()))
}

// countedError says "row" where an error of the encoder says "line".
func countedError(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Line > 0 {
		e.Row, e.Line = e.Line, 0
	}
	return err
}
