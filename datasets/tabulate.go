package datasets

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"credence/fl"
	"credence/zk/tabular"
)

// An Origin says where training examples came from: what a table needs to know
// beyond the examples, and an error to name the place. It holds no value.
type Origin struct {
	File     string
	Lines    []int             // of each example, counted from 1; 0 if unknown
	Features []string          // Schema.FeatureNames
	Schema   [sha256.Size]byte // Schema.Digest
	// missing holds the features of each example that the file had no value
	// for, ascending by example.
	missing []gap
}

// A gap is a missing value: of a kept row and a schema column in the encoder,
// of an example and a feature in an Origin.
type gap struct{ row, column int }

// trace makes the origin of the training rows.
func (e *encoder) trace(trainAt []int) {
	o := Origin{File: e.file, Lines: pick(e.lines, trainAt), Features: e.s.FeatureNames()}
	place := make(map[int]int, len(trainAt))
	for i, r := range trainAt {
		place[r] = i
	}
	for _, g := range e.gaps {
		i, ok := place[g.row]
		if !ok {
			continue
		}
		// All features of a categorical column are missing together.
		for f := e.first[g.column]; f < e.first[g.column]+max(1, len(e.s.Columns[g.column].Categories)); f++ {
			o.missing = append(o.missing, gap{row: i, column: f})
		}
	}
	e.origin = o
}

// LoadTable reads a node's file, or the two files of a schema that splits by
// file (testPath is empty otherwise), and makes a committed table of the
// training rows. The specification names the schema. Examples and report are
// those of LoadCSV, so a float trainer and the table see the same rows in the
// same order.
//
// Errors are *Error with file, line and column, of the kinds of LoadCSV and of
// Tabulate.
func LoadTable(path, testPath string, s *Schema, spec tabular.Spec) (*tabular.Table, Loaded, error) {
	l, err := load(path, testPath, s)
	if err != nil {
		return nil, Loaded{}, err
	}
	t, report, err := Tabulate(l.Train, &l.Origin, spec)
	if err != nil {
		return nil, Loaded{}, err
	}
	l.Table = report
	return t, l, nil
}

// Loaded is what LoadTable read beside the table.
type Loaded struct {
	Train, Test fl.Examples
	Origin      Origin
	Report      Report
	Table       TableReport
}

// TableReport says what quantisation did. The figures stay on the node.
type TableReport struct {
	Rows    int `json:"rows"`
	Clipped int `json:"clipped"` // cells set to the end of the range
	Missing int `json:"missing"` // cells marked as imputed
}

func load(path, testPath string, s *Schema) (Loaded, error) {
	if err := s.Validate(); err != nil {
		return Loaded{}, err
	}
	switch method := s.withDefaults().Split.Method; {
	case method == SplitFile && testPath == "":
		return Loaded{}, &Error{Kind: ErrSplit, File: path,
			Problem: "the schema keeps test rows in a second file, and only one was given", Remedy: "give both, or change the split method"}
	case method != SplitFile && testPath != "":
		return Loaded{}, &Error{Kind: ErrSplit, File: testPath,
			Problem: "a second file was given, but the schema splits by " + string(method), Remedy: "set `split: {method: file}` or give one file"}
	}
	e := newEncoder(s)
	for i, p := range []string{path, testPath} {
		if p == "" {
			continue
		}
		err := eachRecord(p, e.s, e.header, func(rec []string, line, row int) error { return e.add(rec, line, row, i == 1) })
		if err != nil {
			return Loaded{}, err
		}
	}
	e.file = path
	var l Loaded
	var err error
	if l.Train, l.Test, _, _, err = e.finish(); err != nil {
		return Loaded{}, err
	}
	l.Report, l.Origin = e.report, e.origin
	l.Origin.Schema, err = s.Digest()
	return l, err
}

// Tabulate makes a table of training examples. The origin may be nil: then no
// value is marked as missing, errors name examples instead of lines, and the
// schema that the specification names is not compared.
//
// Targets: a binary layout takes the class of two classes, a one-hot layout one
// column a class; a real layout takes the class number in a single column, or
// 0 and 1 in one column a class. ErrLimit: more rows than the layout holds.
// ErrValue: a value that is not finite or beyond the layout's range and not to
// be clipped. ErrSchema: a specification for other examples.
func Tabulate(e fl.Examples, o *Origin, spec tabular.Spec) (*tabular.Table, TableReport, error) {
	var report TableReport
	file := ""
	if o != nil {
		file = o.File
	}
	refuse := func(kind error, problem, remedy string, cause error) (*tabular.Table, TableReport, error) {
		return nil, TableReport{}, &Error{Kind: kind, File: file, Problem: problem, Remedy: remedy, Err: cause}
	}
	if err := spec.Check(); err != nil {
		return refuse(ErrSchema, "the job's table cannot be made", "correct the job", err)
	}
	l := spec.Layout
	if o != nil && o.Schema != spec.Schema {
		return refuse(ErrSchema, "the job's table is for another schema than the data were read with", "use the job's schema", nil)
	}
	if len(e.X) != e.Rows*e.Features || len(e.Y) != e.Rows || o != nil && (len(o.Lines) != e.Rows || len(o.Features) != e.Features) {
		return refuse(ErrSchema, "the examples are not those of their origin", "load the file again", nil)
	}
	if e.Features != l.Features || !fits(e.Classes, l) {
		return refuse(ErrSchema, fmt.Sprintf("%d features and %d classes in a table %s", e.Features, e.Classes, l.Name()), "make the job's table for its schema", nil)
	}
	if e.Rows < 1 || e.Rows > l.Rows {
		return refuse(ErrLimit, fmt.Sprintf("%d training rows, the job's table holds 1 to %d", e.Rows, l.Rows), "divide the file, or agree on a job with a larger table", nil)
	}
	t, err := tabular.New(l, e.Rows)
	if err != nil {
		return refuse(ErrSchema, "the job's table cannot be made", "correct the job", err)
	}
	report.Rows = e.Rows
	for i := range e.Rows {
		for j, x := range e.X[i*e.Features : (i+1)*e.Features] {
			cell, clipped, err := spec.Quantise(j, float64(x))
			if err != nil {
				return nil, TableReport{}, o.locate(i, j, spec)
			}
			if clipped {
				report.Clipped++
			}
			t.SetFeature(i, j, cell)
		}
		if err := setTargets(t, i, int(e.Y[i]), e.Classes, spec); err != nil {
			return refuse(ErrLabel, fmt.Sprintf("%s: the label is not one the table can hold", o.place(i)), "correct it, or the job's table", nil)
		}
	}
	if o != nil {
		for _, g := range o.missing {
			t.SetMissing(g.row, g.column)
			report.Missing++
		}
	}
	if err := t.Check(); err != nil {
		return refuse(ErrValue, "the table is not well-formed", "report this as a bug", err)
	}
	return t, report, nil
}

// fits tells whether labels of so many classes go into a layout's targets.
func fits(classes int, l tabular.Layout) bool {
	switch l.Kind {
	case tabular.Binary:
		return classes == 2
	case tabular.OneHot:
		return classes == l.Targets
	}
	return l.Targets == 1 || l.Targets == classes
}

func setTargets(t *tabular.Table, i, class, classes int, spec tabular.Spec) error {
	l := t.Layout
	if class < 0 || class >= classes {
		return errors.New("no such class")
	}
	if l.Kind != tabular.Real {
		return t.SetClass(i, class)
	}
	for c := range l.Targets {
		v := 0.0
		if l.Targets == 1 {
			v = float64(class)
		} else if c == class {
			v = 1
		}
		cell, _, err := spec.Quantise(l.Features+c, v)
		if err != nil {
			return err
		}
		t.SetTarget(i, c, cell)
	}
	return nil
}

// place names an example: "line 7" or "example 3".
func (o *Origin) place(i int) string {
	if o == nil || o.Lines[i] == 0 {
		return fmt.Sprintf("example %d", i)
	}
	return fmt.Sprintf("line %d", o.Lines[i])
}

// locate is the error of a value that cannot be quantised. It never quotes the
// value.
func (o *Origin) locate(i, j int, spec tabular.Spec) error {
	l := spec.Layout
	out := &Error{Kind: ErrValue, Column: fmt.Sprintf("feature %d", j),
		Problem: fmt.Sprintf("the value is not finite or, once normalised, outside [%v, %v], what %d bits hold on a grid of 2^-%d",
			spec.Value(j, -l.Half()), spec.Value(j, l.Half()-1), l.Bits, spec.Frac),
		Remedy: "correct it, or agree on a job whose table is wider or clips"}
	if o == nil {
		out.Problem = fmt.Sprintf("example %d: %s", i, out.Problem)
		return out
	}
	out.File, out.Line, out.Column = o.File, o.Lines[i], o.Features[j]
	return out
}
