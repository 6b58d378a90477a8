package datasets

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"credence/fl"
)

// MaxValues bounds rows times features of one load (2^28 single-precision
// values are 1 GiB).
const MaxValues = 1 << 28

// ColumnReport counts what happened to one feature column. The figures stay on
// the node.
type ColumnReport struct {
	Name    string `json:"name"`
	Missing int    `json:"missing"` // in rows that were kept
	// Mean and Std are what this node's training rows were normalised or
	// imputed with; only for such columns.
	Mean *float64 `json:"mean,omitempty"`
	Std  *float64 `json:"std,omitempty"`
}

// Report says what a load did.
type Report struct {
	RowsRead     int            `json:"rows_read"`     // data rows in the file or files
	RowsDropped  int            `json:"rows_dropped"`  // left out for a missing value
	CellsImputed int            `json:"cells_imputed"` // in the rows that were kept
	TrainRows    int            `json:"train_rows"`
	TestRows     int            `json:"test_rows"`
	TrainClasses []int          `json:"train_classes"` // training rows of each class
	TestClasses  []int          `json:"test_classes"`
	Columns      []ColumnReport `json:"columns,omitempty"` // columns with missing values or figures of their own
}

// encoder turns records into examples, one at a time. Values whose meaning
// depends on all training rows (per-node scales, imputed means) wait in
// `deferred` until finish.
type encoder struct {
	s        *Schema // with defaults
	file     string
	features int
	source   []int // for each schema column, its field in a record; -1: absent
	class    map[string]int32
	category []map[string]int
	missing  map[string]bool
	late     []int // schema columns that wait for finish
	first    []int // for each schema column, its first feature

	x        []float32
	y        []int32
	test     []bool
	rows     []int     // source row of each kept row
	lines    []int     // line of each kept row in its file
	gaps     []gap     // missing values of kept rows, row by row
	deferred []float64 // kept rows x len(late); NaN is missing
	report   Report
	origin   Origin // of the training rows, after finish
	lost     []int  // missing values per schema column, kept rows
}

func newEncoder(s *Schema) *encoder {
	e := &encoder{s: s.withDefaults(), features: s.Features(), class: map[string]int32{}, missing: map[string]bool{},
		category: make([]map[string]int, len(s.Columns)), first: make([]int, len(s.Columns)), lost: make([]int, len(s.Columns))}
	for _, m := range e.s.MissingValues {
		e.missing[m] = true
	}
	next := 0
	for i, c := range e.s.Columns {
		e.first[i] = next
		switch c.Kind {
		case Numeric:
			next++
			if c.Normalise == PerNode || c.Impute == ImputeMean {
				e.late = append(e.late, i)
			}
		case Categorical:
			e.category[i] = make(map[string]int, len(c.Categories))
			for k, v := range c.Categories {
				e.category[i][v] = k
			}
			next += len(c.Categories)
		case Label:
			for k, v := range c.Classes {
				e.class[v] = int32(k)
			}
			for from, to := range c.Values {
				e.class[from] = e.class[to]
			}
		}
	}
	return e
}

// header matches the file's columns to the schema's. Without a header in the
// file, names is nil and fields is the width of the first record.
func (e *encoder) header(file string, line int, names []string, fields int) error {
	e.file = file
	bad := func(column, problem, remedy string) error {
		return &Error{Kind: ErrColumn, File: file, Line: line, Column: column, Problem: problem, Remedy: remedy}
	}
	e.source = make([]int, len(e.s.Columns))
	if e.s.NoHeader {
		if fields != len(e.s.Columns) {
			return bad("", fmt.Sprintf("%d fields where the schema lists %d columns", fields, len(e.s.Columns)), "check the delimiter, or correct the schema")
		}
		for i := range e.source {
			e.source[i] = i
		}
		return nil
	}
	at := make(map[string]int, len(names))
	for i, n := range names {
		if _, twice := at[n]; twice {
			return bad(n, "the header names this column twice", "rename one of them")
		}
		at[n] = i
	}
	for i, c := range e.s.Columns {
		k, ok := at[c.Name]
		if !ok {
			return bad(c.Name, "the header lacks this column of the schema", "check its spelling and the delimiter")
		}
		e.source[i] = k
		delete(at, c.Name)
	}
	if !e.s.ExtraColumns {
		for _, n := range names {
			if _, extra := at[n]; extra && n == "" {
				return bad("", "the header has a column without a name", "name it, or look for a delimiter at the end of the line")
			} else if extra {
				return bad(n, "the schema does not list this column", "list it with `kind: ignore`, or set `extra_columns: true`")
			}
		}
	}
	return nil
}

// add encodes one record; row is its place among the data rows, inTest its
// part where the file decides that. Nothing is kept of a record in error.
func (e *encoder) add(record []string, line, row int, inTest bool) error {
	e.report.RowsRead++
	bad := func(kind error, c *Column, problem, remedy string) error {
		return &Error{Kind: kind, File: e.file, Line: line, Column: c.Name, Problem: problem, Remedy: remedy}
	}
	// First pass: whether the row is kept, without touching any state, so
	// that a dropped row leaves no trace.
	for i := range e.s.Columns {
		c := &e.s.Columns[i]
		if c.Kind == Ignore || !e.missing[strings.TrimSpace(record[e.source[i]])] {
			continue
		}
		switch c.Missing {
		case Refuse:
			return bad(ErrMissing, c, "the value is missing", "fill it in, or give the column a `missing:` policy in the schema")
		case Drop:
			e.report.RowsDropped++
			return nil
		}
	}
	if len(e.x)+e.features > MaxValues {
		return &Error{Kind: ErrLimit, File: e.file, Line: line,
			Problem: fmt.Sprintf("more than %d values (rows times features)", MaxValues), Remedy: "split the file between nodes, or ignore columns"}
	}
	start := len(e.x)
	e.x = append(e.x, make([]float32, e.features)...)
	out := e.x[start:]
	var label int32
	late := 0
	for i := range e.s.Columns {
		c := &e.s.Columns[i]
		cell := strings.TrimSpace(record[e.source[i]])
		absent := e.missing[cell]
		if absent && c.Kind != Ignore {
			e.report.CellsImputed++
			e.lost[i]++
			e.gaps = append(e.gaps, gap{row: len(e.y), column: i})
			cell = c.Impute
		}
		switch c.Kind {
		case Numeric:
			v := math.NaN()
			if !absent || c.Impute != ImputeMean {
				var err error
				if v, err = parseNumber(cell); err != nil {
					return bad(ErrValue, c, err.Error(), "correct it, or list the word under missing_values")
				}
			}
			if late < len(e.late) && e.late[late] == i {
				e.deferred = append(e.deferred, v)
				late++
			}
			if c.Normalise != PerNode && !math.IsNaN(v) {
				z := c.scale(v)
				if !finite32(z) {
					return bad(ErrValue, c, "the value does not fit single precision once normalised", "correct it, or the schema's figures")
				}
				out[e.first[i]] = float32(z)
			}
		case Categorical:
			k, ok := e.category[i][cell]
			if !ok {
				return bad(ErrValue, c, fmt.Sprintf("the cell is none of the %d listed categories", len(c.Categories)), "correct it, or agree on a schema that lists it")
			}
			out[e.first[i]+k] = 1
		case Label:
			k, ok := e.class[cell]
			if !ok {
				return bad(ErrLabel, c, fmt.Sprintf("the cell is none of the %d classes", len(c.Classes)), "correct it, or map it under `values` in the schema")
			}
			label = k
		case Ignore:
			if e.s.Split.Method == SplitColumn && c.Name == e.s.Split.Column {
				switch cell {
				case e.s.Split.Train:
					inTest = false
				case e.s.Split.Test:
					inTest = true
				default:
					return bad(ErrSplit, c, fmt.Sprintf("the cell is neither %q nor %q", e.s.Split.Train, e.s.Split.Test), "correct it, or the words in the schema's split")
				}
			}
		}
	}
	e.y = append(e.y, label)
	e.test = append(e.test, inTest)
	e.rows = append(e.rows, row)
	e.lines = append(e.lines, line)
	return nil
}

// finish fills in what depends on the training rows and separates the parts.
// The row numbers returned are those given to add.
func (e *encoder) finish() (train, test fl.Examples, trainRows, testRows []int, err error) {
	all := fl.Examples{Rows: len(e.y), Features: e.features, Classes: len(e.s.Classes()), X: e.x, Y: e.y}
	var trainAt, testAt []int
	if e.s.Split.Method == SplitFraction {
		trainAt, testAt = splitFraction(all.Y, all.Classes, e.s.Split)
	} else {
		for i, t := range e.test {
			if t {
				testAt = append(testAt, i)
			} else {
				trainAt = append(trainAt, i)
			}
		}
	}
	if len(trainAt) == 0 {
		return fl.Examples{}, fl.Examples{}, nil, nil, &Error{Kind: ErrSplit, File: e.file,
			Problem: fmt.Sprintf("no training rows (%d read, %d dropped, %d for testing)", e.report.RowsRead, e.report.RowsDropped, len(testAt)),
			Remedy:  "add rows, or change the schema's missing or split sections"}
	}
	for k, i := range e.late {
		if err := e.fill(k, i, trainAt); err != nil {
			return fl.Examples{}, fl.Examples{}, nil, nil, err
		}
	}
	train, test = all.Subset(trainAt), all.Subset(testAt)
	trainRows, testRows = pick(e.rows, trainAt), pick(e.rows, testAt)
	e.trace(trainAt)
	e.report.TrainRows, e.report.TestRows = train.Rows, test.Rows
	e.report.TrainClasses, e.report.TestClasses = countClasses(train), countClasses(test)
	e.reportColumns()
	return train, test, trainRows, testRows, nil
}

// fill computes the mean and standard deviation (population) of late column
// number k, schema column i, over the present values of the training rows,
// and writes its feature in every row. A constant column becomes 0.
func (e *encoder) fill(k, i int, trainAt []int) error {
	c := &e.s.Columns[i]
	n, mean, m2 := 0, 0.0, 0.0
	for _, r := range trainAt {
		v := e.deferred[r*len(e.late)+k]
		if math.IsNaN(v) {
			continue
		}
		n++ // Welford's update: stable for values far from zero
		d := v - mean
		mean += d / float64(n)
		m2 += float64(d * (v - mean))
	}
	if n == 0 {
		return &Error{Kind: ErrMissing, File: e.file, Column: c.Name,
			Problem: "no training row has a value, so there is no mean", Remedy: "impute a given value, or ignore the column"}
	}
	std := math.Sqrt(m2 / float64(n))
	scaled := *c
	if c.Normalise == PerNode {
		scaled.Normalise, scaled.Mean, scaled.Std = Standard, &mean, &std
		if std == 0 {
			one := 1.0
			scaled.Std = &one
		}
	}
	for r := range e.y {
		v := e.deferred[r*len(e.late)+k]
		if math.IsNaN(v) {
			if v = mean; c.Impute != ImputeMean {
				return fmt.Errorf("datasets: column %q: a value was lost in encoding", c.Name)
			}
		}
		z := scaled.scale(v)
		if !finite32(z) {
			return &Error{Kind: ErrValue, File: e.file, Column: c.Name,
				Problem: "a value does not fit single precision once normalised", Remedy: "look for an outlier among the test rows"}
		}
		e.x[r*e.features+e.first[i]] = float32(z)
	}
	e.report.Columns = append(e.report.Columns, ColumnReport{Name: c.Name, Mean: &mean, Std: &std})
	return nil
}

// reportColumns adds the columns that lost values to those with figures, in
// the schema's order.
func (e *encoder) reportColumns() {
	figures := map[string]ColumnReport{}
	for _, c := range e.report.Columns {
		figures[c.Name] = c
	}
	e.report.Columns = nil
	for i, c := range e.s.Columns {
		r, ok := figures[c.Name]
		if !ok && e.lost[i] == 0 {
			continue
		}
		r.Name, r.Missing = c.Name, e.lost[i]
		e.report.Columns = append(e.report.Columns, r)
	}
}

// scale applies a normalisation whose figures are given.
func (c *Column) scale(v float64) float64 {
	switch c.Normalise {
	case Standard:
		return (v - *c.Mean) / *c.Std
	case MinMax:
		return (v - *c.Min) / (*c.Max - *c.Min)
	}
	return v
}

// finite32 tells whether v is a number that single precision can hold.
func finite32(v float64) bool { return math.Abs(v) <= math.MaxFloat32 }

// parseNumber reads a decimal number within the range of single precision. Its
// errors do not quote the cell.
func parseNumber(cell string) (float64, error) {
	if strings.Trim(cell, "0123456789+-.eE") != "" {
		switch strings.ToLower(strings.TrimLeft(cell, "+-")) {
		case "nan", "inf", "infinity":
			return 0, fmt.Errorf("the cell is not a finite number")
		}
		if strings.Trim(cell, "0123456789+-.,eE") == "" {
			return 0, fmt.Errorf("the cell has a comma in a number (decimal points are understood, thousands separators are not)")
		}
		return 0, fmt.Errorf("the cell is not a decimal number")
	}
	// ParseFloat alone would also take hexadecimal, underscores and words; none
	// of them survives the check above.
	v, err := strconv.ParseFloat(cell, 64)
	if err != nil {
		if errors.Is(err, strconv.ErrRange) {
			return 0, fmt.Errorf("the cell is beyond the range of single precision")
		}
		return 0, fmt.Errorf("the cell is not a decimal number")
	}
	if !finite32(v) {
		return 0, fmt.Errorf("the cell is beyond the range of single precision")
	}
	return v, nil
}

func pick(from, at []int) []int {
	out := make([]int, len(at))
	for i, k := range at {
		out[i] = from[k]
	}
	return out
}

func countClasses(e fl.Examples) []int {
	out := make([]int, e.Classes)
	for _, y := range e.Y {
		out[y]++
	}
	return out
}
