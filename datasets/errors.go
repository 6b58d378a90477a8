package datasets

import (
	"errors"
	"strconv"
	"strings"
)

// The kinds of failure; test with errors.Is.
var (
	// ErrSchema: the schema itself is wrong.
	ErrSchema = errors.New("invalid schema")
	// ErrFormat: the bytes are not the file format they should be.
	ErrFormat = errors.New("malformed file")
	// ErrColumn: a column is missing, repeated or not in the schema.
	ErrColumn = errors.New("wrong columns")
	// ErrValue: a cell is not a usable number or not a listed category.
	ErrValue = errors.New("unusable value")
	// ErrLabel: a label is not one of the schema's classes.
	ErrLabel = errors.New("unknown label")
	// ErrMissing: a value is missing and the schema does not say what to do.
	ErrMissing = errors.New("missing value")
	// ErrLimit: the input is larger than this package accepts.
	ErrLimit = errors.New("input too large")
	// ErrSplit: the train/test split leaves no usable training rows, or the
	// split column holds something else than the two agreed words.
	ErrSplit = errors.New("unusable split")
	// ErrPartition: the rows cannot be divided as asked.
	ErrPartition = errors.New("impossible partition")
	// ErrUnknown: there is no built-in data set of that name.
	ErrUnknown = errors.New("unknown data set")
)

// Error says what is wrong, where, and what to do about it. It never holds the
// content of a cell.
type Error struct {
	Kind    error  // one of the sentinels above
	File    string // file, or the name given to a reader; may be empty
	Line    int    // counted from 1; 0 if it does not apply
	Row     int    // counted from 1, of files that have rows and no lines; 0 if it does not apply
	Column  string // column name from the schema or header; may be empty
	Problem string
	Remedy  string // may be empty
	Err     error  // cause, may be nil
}

// Error renders "datasets: file: line 3, column "age": problem: remedy".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("datasets: ")
	if e.File != "" {
		b.WriteString(e.File)
		b.WriteString(": ")
	}
	var at []string
	if e.Line > 0 {
		at = append(at, "line "+strconv.Itoa(e.Line))
	}
	if e.Row > 0 {
		at = append(at, "row "+strconv.Itoa(e.Row))
	}
	if e.Column != "" {
		at = append(at, "column "+strconv.Quote(e.Column))
	}
	if len(at) > 0 {
		b.WriteString(strings.Join(at, ", "))
		b.WriteString(": ")
	}
	b.WriteString(e.Problem)
	if e.Remedy != "" {
		b.WriteString(": ")
		b.WriteString(e.Remedy)
	}
	if e.Err != nil {
		b.WriteString(" (")
		b.WriteString(e.Err.Error())
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap lets errors.Is and errors.As see both the kind and the cause.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Err != nil {
		out = append(out, e.Err)
	}
	return out
}
