package datasets

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"credence/fl"
)

// LoadParquet reads an Apache Parquet file (format 2, any compression that the
// format names) into training and test examples as the schema says, by the
// rules of LoadCSV. Columns are matched by name. Numbers, booleans ("true",
// "false") and UTF-8 strings are understood; a null is a missing value. Dates,
// decimals, nested and repeated columns can be ignored, not used.
//
// Numbers keep their value: a double becomes the same feature that its
// shortest decimal text in a CSV file becomes.
func LoadParquet(path string, s *Schema) (train, test fl.Examples, report Report, err error) {
	if !strings.HasSuffix(strings.ToLower(path), ".parquet") {
		return train, test, report, &Error{Kind: ErrFormat, File: path, Problem: "the name does not end in .parquet", Remedy: "rename the file, or use Load for other formats"}
	}
	return Load(path, s)
}

// parquetBatch is how many values are read at a time.
const parquetBatch = 512

// readParquet is the record reader of Parquet files. The library that decodes
// them panics on some damaged files; that is an error here.
func readParquet(name string, r io.ReaderAt, size int64, s *Schema, header headerFunc, row rowFunc) (err error) {
	if s.NoHeader {
		return &Error{Kind: ErrSchema, File: name, Problem: "no_header is for CSV files: columns of a Parquet file have names", Remedy: "remove it from the schema"}
	}
	if size > MaxFileBytes {
		return &Error{Kind: ErrLimit, File: name, Problem: fmt.Sprintf("a file of %d bytes", size), Remedy: "split it between nodes"}
	}
	inCaller := false
	defer func() {
		if p := recover(); p != nil {
			if inCaller {
				panic(p)
			}
			err = damagedParquet(name, fmt.Errorf("%v", p))
		}
	}()
	file, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return damagedParquet(name, err)
	}
	if n := file.NumRows(); n < 0 || n > MaxRows {
		return &Error{Kind: ErrLimit, File: name, Problem: fmt.Sprintf("the file announces %d rows", n), Remedy: fmt.Sprintf("at most %d are accepted", MaxRows)}
	}
	top := file.Root().Columns()
	if len(top) == 0 || len(top) > MaxColumns {
		return &Error{Kind: ErrLimit, File: name, Problem: fmt.Sprintf("%d columns", len(top)), Remedy: fmt.Sprintf("1 to %d are accepted", MaxColumns)}
	}
	names := make([]string, len(top))
	for i, c := range top {
		names[i] = strings.TrimSpace(c.Name())
	}
	inCaller = true
	err = header(name, 0, names, len(names))
	inCaller = false
	if err != nil {
		return err
	}
	columns, err := wantedColumns(name, top, names, s)
	if err != nil {
		return err
	}
	record, count := make([]string, len(top)), 0
	for _, group := range file.RowGroups() {
		cursors, err := openCursors(name, group, columns)
		if err != nil {
			return err
		}
		for range group.NumRows() {
			count++
			if count > MaxRows {
				return errors.Join(&Error{Kind: ErrLimit, File: name, Line: count, Problem: fmt.Sprintf("more than %d rows", MaxRows), Remedy: "split the file between nodes"}, closeCursors(cursors))
			}
			for _, c := range cursors {
				if record[c.place], err = c.next(count); err != nil {
					return errors.Join(err, closeCursors(cursors))
				}
			}
			inCaller = true
			err := row(record, count, count-1)
			inCaller = false
			if err != nil {
				return errors.Join(err, closeCursors(cursors))
			}
		}
		if err := closeCursors(cursors); err != nil {
			return damagedParquet(name, err)
		}
	}
	return nil
}

func damagedParquet(name string, cause error) error {
	return &Error{Kind: ErrFormat, File: name, Problem: "this is not a readable Parquet file", Remedy: "copy it again, or check that it is Parquet", Err: cause}
}

// parquetColumn is a column of the file that is read.
type parquetColumn struct {
	name  string
	place int // in the record
	index int // among the file's leaves
	text  func(parquet.Value) string
}

// wantedColumns are the columns whose cells the schema looks at, and those that
// it ignores and that can be read, for tables.
func wantedColumns(file string, top []*parquet.Column, names []string, s *Schema) ([]parquetColumn, error) {
	var out []parquetColumn
	for i, c := range top {
		at := slices.IndexFunc(s.Columns, func(x Column) bool { return x.Name == names[i] })
		if at < 0 {
			continue
		}
		text, what := parquetText(c)
		if text == nil {
			if s.Columns[at].Kind == Ignore && s.Split.Column != names[i] {
				continue
			}
			return nil, &Error{Kind: ErrColumn, File: file, Column: names[i], Problem: "the column holds " + what, Remedy: "make it numbers, booleans or strings, or give it `kind: ignore`"}
		}
		out = append(out, parquetColumn{name: names[i], place: i, index: c.Index(), text: text})
	}
	return out, nil
}

// parquetText returns how a value of the column is written as text, or nil and
// what it holds instead.
func parquetText(c *parquet.Column) (text func(parquet.Value) string, what string) {
	if !c.Leaf() || c.MaxRepetitionLevel() > 0 {
		return nil, "lists, maps or groups"
	}
	signed := true
	var logical format.LogicalTypeValue
	if l := c.Type().LogicalType(); l != nil {
		logical = l.Value
	}
	switch l := logical.(type) {
	case nil, *format.StringType, *format.EnumType, *format.JsonType:
	case *format.IntType:
		signed = l.IsSigned
	default:
		return nil, "values of type " + l.String()
	}
	switch c.Type().Kind() {
	case parquet.Boolean:
		return func(v parquet.Value) string { return strconv.FormatBool(v.Boolean()) }, ""
	case parquet.Int32:
		if !signed {
			return func(v parquet.Value) string { return strconv.FormatUint(uint64(v.Uint32()), 10) }, ""
		}
		return func(v parquet.Value) string { return strconv.FormatInt(int64(v.Int32()), 10) }, ""
	case parquet.Int64:
		if !signed {
			return func(v parquet.Value) string { return strconv.FormatUint(v.Uint64(), 10) }, ""
		}
		return func(v parquet.Value) string { return strconv.FormatInt(v.Int64(), 10) }, ""
	case parquet.Float:
		return func(v parquet.Value) string { return number(float64(v.Float())) }, ""
	case parquet.Double:
		return func(v parquet.Value) string { return number(v.Double()) }, ""
	case parquet.ByteArray:
		return func(v parquet.Value) string { return string(v.ByteArray()) }, ""
	}
	return nil, "values of type " + c.Type().String()
}

// number writes v so that parseNumber gives it back exactly.
func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// cursor reads the values of one column of a row group in order.
type cursor struct {
	parquetColumn
	file   string
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	batch  []parquet.Value
	at, n  int
	ended  bool // the present page has no further batch
}

func openCursors(file string, group parquet.RowGroup, columns []parquetColumn) ([]*cursor, error) {
	chunks := group.ColumnChunks()
	var out []*cursor
	for _, c := range columns {
		if c.index < 0 || c.index >= len(chunks) {
			return nil, errors.Join(damagedParquet(file, errors.New("a row group lacks a column")), closeCursors(out))
		}
		out = append(out, &cursor{parquetColumn: c, file: file, pages: chunks[c.index].Pages(), ended: true, batch: make([]parquet.Value, parquetBatch)})
	}
	return out, nil
}

func closeCursors(cursors []*cursor) error {
	var err error
	for _, c := range cursors {
		if c.page != nil {
			parquet.Release(c.page)
			c.page = nil
		}
		err = errors.Join(err, c.pages.Close())
	}
	return err
}

// next returns the next value as text, "" for a null.
func (c *cursor) next(row int) (string, error) {
	bad := func(kind error, problem, remedy string, cause error) error {
		return &Error{Kind: kind, File: c.file, Line: row, Column: c.name, Problem: problem, Remedy: remedy, Err: cause}
	}
	for c.at == c.n {
		if c.ended {
			if c.page != nil {
				parquet.Release(c.page)
				c.page = nil
			}
			page, err := c.pages.ReadPage()
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return "", bad(ErrFormat, "the column ends before the rows that the file announces, or is damaged", "copy the file again", err)
			}
			c.page, c.values, c.ended = page, page.Values(), false
		}
		n, err := c.values.ReadValues(c.batch)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", bad(ErrFormat, "the column is damaged", "copy the file again", err)
		}
		c.at, c.n, c.ended = 0, n, err != nil || n == 0
	}
	v := c.batch[c.at]
	c.at++
	if v.IsNull() {
		return "", nil
	}
	text := c.text(v)
	switch {
	case len(text) > MaxRecordBytes:
		return "", bad(ErrLimit, fmt.Sprintf("a value of %d bytes", len(text)), fmt.Sprintf("at most %d are accepted", MaxRecordBytes), nil)
	case !utf8.ValidString(text):
		return "", bad(ErrValue, "the value is not UTF-8", "write it as text", nil)
	}
	return text, nil
}
