package datasets

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"credence/fl"
)

// wardsCSV: row 4 is dropped, two cells are imputed, one row is for testing.
// Columns come in another order than the schema's, with a byte order mark and
// CRLF, as spreadsheets write them.
const wardsCSV = "\ufeffpart,age,weight,pressure,sex,outcome,hospital\r\n" +
	"train,50,60,120,f,well,north\r\n" +
	"train,20, 80 ,130,m,1,\"south,\nwing\"\r\n" +
	"held out,100,90,NA,m,ill,north\r\n" +
	"train,30,70,100,?,well,north\r\n" +
	"train,0,,110,f,0,\r\n"

func TestReadCSV(t *testing.T) {
	train, test, report, err := ReadCSV("wards.csv", strings.NewReader(wardsCSV), parse(t, wards))
	if err != nil {
		t.Fatal(err)
	}
	// Weight: the mean of 60 and 80 is 70, the deviation 10; 90 in the test
	// row is scaled by these, the missing one becomes the mean.
	same(t, "train", train, fl.Examples{Rows: 3, Features: 5, Classes: 2, Y: []int32{0, 1, 0}, X: []float32{
		0.5, -1, 0, 1, 0,
		0.2, 1, 1, 0, 1,
		0, 0, -1, 1, 0}})
	same(t, "test", test, fl.Examples{Rows: 1, Features: 5, Classes: 2, Y: []int32{1}, X: []float32{1, 2, 0, 0, 1}})
	mean, std := 70.0, 10.0
	want := Report{RowsRead: 5, RowsDropped: 1, CellsImputed: 2, TrainRows: 3, TestRows: 1,
		TrainClasses: []int{2, 1}, TestClasses: []int{0, 1},
		Columns: []ColumnReport{{Name: "weight", Missing: 1, Mean: &mean, Std: &std}, {Name: "pressure", Missing: 1}}}
	if diff := cmp.Diff(want, report, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// Every refusal has its kind, file, line and column, and quotes no cell.
func TestReadCSVRefused(t *testing.T) {
	cases := []struct {
		name, old, new string // a change to wardsCSV
		kind           error
		line           int
		column         string
	}{
		{"missing", "train,50,", "train,,", ErrMissing, 2, "age"},
		{"word", "130", "patient7", ErrValue, 3, "pressure"},
		{"NaN", "130", "NaN", ErrValue, 3, "pressure"},
		{"infinite", "130", "-Inf", ErrValue, 3, "pressure"},
		{"too large", "130", "1e39", ErrValue, 3, "pressure"},
		{"comma", "130", `"patient7,5"`, ErrValue, 3, "pressure"},
		{"decimal comma", "130", `"13,5"`, ErrValue, 3, "pressure"},
		{"after a quoted line break", "held out,100", "held out,x", ErrValue, 5, "age"},
		{"category", "120,f", "120,patient7", ErrValue, 2, "sex"},
		{"label", "f,well", "f,patient7", ErrLabel, 2, "outcome"},
		{"missing label", "f,well", "f,NA", ErrMissing, 2, "outcome"},
		{"split word", "held out,", "patient7,", ErrSplit, 5, "part"},
		{"no split word", "held out,", ",", ErrSplit, 5, "part"},
		{"short row", "train,50,60,", "train,50,", ErrFormat, 2, ""},
		{"long row", "north\r\n", "north,x\r\n", ErrFormat, 2, ""},
		{"stray quote", "train,50", `tr"ain,50`, ErrFormat, 2, ""},
		{"open quote", "train,50", `"train,50`, ErrFormat, 3, ""},
		{"column missing", "pressure", "presure", ErrColumn, 1, "pressure"},
		{"column twice", "weight,pressure", "pressure,pressure", ErrColumn, 1, "pressure"},
		{"column extra", "hospital\r\n", "hospital,room\r\n", ErrColumn, 1, "room"},
		{"column unnamed", "hospital\r\n", "hospital,\r\n", ErrColumn, 1, ""},
		{"empty", wardsCSV, "", ErrFormat, 0, ""},
		{"no rows", wardsCSV[strings.Index(wardsCSV, "\r\n"):], "\r\n", ErrSplit, 0, ""},
	}
	s := parse(t, wards)
	for _, c := range cases {
		text := strings.Replace(wardsCSV, c.old, c.new, 1)
		_, _, _, err := ReadCSV("wards.csv", strings.NewReader(text), s)
		var e *Error
		if !errors.Is(err, c.kind) || !errors.As(err, &e) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.kind)
			continue
		}
		if e.File != "wards.csv" || e.Line != c.line || e.Column != c.column || e.Remedy == "" {
			t.Errorf("%s: line %d, column %q; got %+v", c.name, c.line, c.column, e)
		}
		if strings.Contains(err.Error(), "patient7") {
			t.Errorf("%s: the error quotes a cell: %v", c.name, err)
		}
	}
}

// A value that only the normalisation pushes out of range is still found.
func TestReadCSVScaledOutOfRange(t *testing.T) {
	s := parse(t, strings.Replace(wards, "std: 10", "std: 1e-30", 1))
	_, _, _, err := ReadCSV("w", strings.NewReader(strings.Replace(wardsCSV, "130", "1e20", 1)), s)
	if !errors.Is(err, ErrValue) {
		t.Errorf("got %v, want ErrValue", err)
	}
	s = parse(t, wards)
	text := strings.NewReplacer(" 80 ", "60.000001", "held out,100,90", "held out,100,1e38").Replace(wardsCSV)
	if _, _, _, err = ReadCSV("w", strings.NewReader(text), s); !errors.Is(err, ErrValue) {
		t.Errorf("per node: got %v, want ErrValue", err)
	}
}

func TestNoMean(t *testing.T) {
	text := strings.NewReplacer(",60,", ",,", ", 80 ,", ",,", "30,70", "30,").Replace(wardsCSV)
	if _, _, _, err := ReadCSV("w", strings.NewReader(text), parse(t, wards)); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v, want ErrMissing", err)
	}
}

const plain = `version: 1
no_header: true
columns:
  - {name: a, kind: numeric}
  - {name: b, kind: label, classes: ["0", "1"]}
`

func TestNoHeaderAndConstant(t *testing.T) {
	text := strings.Replace(plain, "kind: numeric", "kind: numeric, normalise: per-node", 1)
	train, test, _, err := ReadCSV("p", strings.NewReader("3,1\n3,0\n"), parse(t, text))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "train", train, fl.Examples{Rows: 2, Features: 1, Classes: 2, X: []float32{0, 0}, Y: []int32{1, 0}})
	if test.Rows != 0 {
		t.Errorf("%d test rows without a split", test.Rows)
	}
	if _, _, _, err := ReadCSV("p", strings.NewReader("3,1,2\n"), parse(t, text)); !errors.Is(err, ErrColumn) {
		t.Errorf("three fields: got %v, want ErrColumn", err)
	}
}

func TestDelimiterAndExtraColumns(t *testing.T) {
	s := parse(t, "version: 1\ndelimiter: ';'\nextra_columns: true\ncolumns: [{name: a, kind: numeric}, {name: b, kind: label, classes: [n, y]}]\n")
	train, _, _, err := ReadCSV("p", strings.NewReader("id;b;a\n7;y;1.5\n"), s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "train", train, fl.Examples{Rows: 1, Features: 1, Classes: 2, X: []float32{1.5}, Y: []int32{1}})
}

func TestLoadPair(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s := parse(t, strings.Replace(plain, "kind: numeric", "kind: numeric, normalise: per-node", 1)+"split: {method: file}\n")
	trainPath, testPath := write("train.csv", "1,0\n3,1\n"), write("test.csv", "5,1\n")
	train, test, report, err := LoadPair(trainPath, testPath, s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "train", train, fl.Examples{Rows: 2, Features: 1, Classes: 2, X: []float32{-1, 1}, Y: []int32{0, 1}})
	same(t, "test", test, fl.Examples{Rows: 1, Features: 1, Classes: 2, X: []float32{3}, Y: []int32{1}})
	if report.RowsRead != 3 || report.TestRows != 1 {
		t.Errorf("report %+v", report)
	}
	var e *Error
	if _, _, _, err := LoadPair(trainPath, write("bad.csv", "5,1\n6,2\n"), s); !errors.Is(err, ErrLabel) || !errors.As(err, &e) || e.Line != 2 || filepath.Base(e.File) != "bad.csv" {
		t.Errorf("a label unseen in the schema, in the test file: %v", err)
	}
	if _, _, _, err := LoadCSV(trainPath, s); !errors.Is(err, ErrSplit) {
		t.Errorf("one file of two: got %v, want ErrSplit", err)
	}
	if _, _, _, err := LoadPair(trainPath, testPath, parse(t, plain)); !errors.Is(err, ErrSplit) {
		t.Errorf("two files, no split: got %v, want ErrSplit", err)
	}
	if _, _, _, err := LoadCSV(filepath.Join(dir, "none.csv"), parse(t, plain)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	if _, _, _, err := LoadCSV(dir, parse(t, plain)); !errors.Is(err, ErrFormat) {
		t.Errorf("a folder: got %v, want ErrFormat", err)
	}

	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	if _, err := io.WriteString(zw, "1,0\n3,1\n"); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	if train, _, _, err := LoadCSV(write("d.csv.gz", z.String()), parse(t, plain)); err != nil || train.Rows != 2 {
		t.Errorf("gzip: %d rows, %v", train.Rows, err)
	}
	if _, _, _, err := LoadCSV(write("cut.csv.gz", z.String()[:z.Len()-3]), parse(t, plain)); !errors.Is(err, ErrFormat) {
		t.Errorf("cut gzip: got %v, want ErrFormat", err)
	}
	if _, _, _, err := LoadCSV(write("not.csv.gz", "1,0\n"), parse(t, plain)); !errors.Is(err, ErrFormat) {
		t.Errorf("not gzip: got %v, want ErrFormat", err)
	}
}

func TestSplitFractionOfFile(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		b.WriteString(string(rune('0'+i%10)) + "," + string("01"[i/90]) + "\n")
	}
	s := parse(t, plain+"split: {method: fraction, fraction: 0.25, seed: 5, stratified: true}\n")
	train, test, report, err := ReadCSV("f", strings.NewReader(b.String()), s)
	if err != nil {
		t.Fatal(err)
	}
	if train.Rows != 75 || test.Rows != 25 || report.TestClasses[0] < 22 || report.TestClasses[1] < 2 {
		t.Errorf("%d and %d rows, test classes %v", train.Rows, test.Rows, report.TestClasses)
	}
	again, _, _, err := ReadCSV("f", strings.NewReader(b.String()), s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "again", again, train)
}

// endless repeats a pattern for ever and counts what was taken of it.
type endless struct {
	pattern string
	taken   int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.pattern[(e.taken+i)%len(e.pattern)]
	}
	e.taken += len(p)
	return len(p), nil
}

// A line without an end and a quote without an end stop at the bound.
func TestReadCSVBounded(t *testing.T) {
	for name, pattern := range map[string]string{"line": "x", "quote": "\"a\n", "fields": ","} {
		src := &endless{pattern: pattern}
		start := "1,0\n"
		if name == "quote" {
			start += "\""
			src.pattern = "a\n"
		}
		_, _, _, err := ReadCSV("e", io.MultiReader(strings.NewReader(start), src), parse(t, plain))
		var e *Error
		if !errors.Is(err, ErrLimit) || !errors.As(err, &e) || e.Line != 2 {
			t.Errorf("%s: got %v, want ErrLimit at line 2", name, err)
		}
		if src.taken > MaxRecordBytes+1<<16 {
			t.Errorf("%s: %d bytes were read", name, src.taken)
		}
	}
}

func TestTable(t *testing.T) {
	s := parse(t, wards)
	table, err := ReadTable("wards.csv", strings.NewReader(wardsCSV), s)
	if err != nil {
		t.Fatal(err)
	}
	d, err := FromTable("wards", table, s)
	if err != nil {
		t.Fatal(err)
	}
	train, test, report, err := ReadCSV("wards.csv", strings.NewReader(wardsCSV), s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "train", d.Train, train)
	same(t, "test", d.Test, test)
	if diff := cmp.Diff(report, d.Report); diff != "" {
		t.Errorf("reports differ:\n%s", diff)
	}
	if diff := cmp.Diff([][]int{{0, 1, 4}, {2}}, [][]int{d.TrainRows, d.TestRows}); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	hospitals, err := table.Column("hospital")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ByValue(hospitals); !errors.Is(err, ErrPartition) {
		t.Errorf("a row without a hospital: got %v, want ErrPartition", err)
	}
	names, parts, err := ByValue(hospitals[:4])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"north", "south,\nwing"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]int{{0, 2, 3}, {1}}, parts); diff != "" {
		t.Error(diff)
	}
	if _, err := table.Column("room"); !errors.Is(err, ErrColumn) {
		t.Errorf("got %v, want ErrColumn", err)
	}
	table.Rows[1][2] = "heavy"
	var e *Error
	if _, err := FromTable("wards", table, s); !errors.Is(err, ErrValue) || !errors.As(err, &e) || e.Line != 3 {
		t.Errorf("got %v, want ErrValue at line 3", err)
	}
}

// A set split by fraction keeps its parts when it is cut into nodes' files.
func TestWriteNodeOfFraction(t *testing.T) {
	s := parse(t, plain+"split: {method: fraction, fraction: 0.5, seed: 1}\n")
	table, err := ReadTable("p", strings.NewReader("1,0\n2,1\n3,0\n4,1\n5,0\n6,1\n"), s)
	if err != nil {
		t.Fatal(err)
	}
	d, err := FromTable("p", table, s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	node, err := d.WriteNode(dir, []int{2, 0}, []int{1})
	if err != nil {
		t.Fatal(err)
	}
	train, test, _, err := LoadCSV(filepath.Join(dir, NodeDataFile), node)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "train", train, d.Train.Subset([]int{2, 0}))
	same(t, "test", test, d.Test.Subset([]int{1}))
	if _, err := d.WriteNode(dir, []int{3}, nil); !errors.Is(err, ErrPartition) {
		t.Errorf("a row that is not there: got %v, want ErrPartition", err)
	}
	if err := WriteCSV(io.Discard, table, []int{6}, s); !errors.Is(err, ErrPartition) {
		t.Errorf("a row that is not there: got %v, want ErrPartition", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 2 {
		t.Errorf("%d files in the node's folder, want 2", len(left))
	}
}

func TestWriteExamplesRefused(t *testing.T) {
	e := fl.Examples{Rows: 1, Features: 1, Classes: 2, X: []float32{1}, Y: []int32{1}}
	s, err := ExamplesSchema(e, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ExamplesSchema(e, []string{"a", "b"}); !errors.Is(err, ErrSchema) {
		t.Errorf("names: %v", err)
	}
	if err := WriteExamplesCSV(io.Discard, e, fl.Examples{}, parse(t, plain)); !errors.Is(err, ErrSchema) {
		t.Errorf("schema: %v", err)
	}
	e.X[0] = float32(math.NaN())
	if err := WriteExamplesCSV(io.Discard, e, fl.Examples{}, s); !errors.Is(err, ErrValue) {
		t.Errorf("NaN: %v", err)
	}
}

func FuzzReadCSV(f *testing.F) {
	f.Add([]byte(wardsCSV), []byte(wards))
	f.Add([]byte("1,0\n2,1\n"), []byte(plain))
	f.Add([]byte("1,0\n\"2\",1\n3"), []byte(plain))
	f.Add([]byte("\xef\xbb\xbf1e38,0\n-1e38,1\n"), []byte(strings.Replace(plain, "numeric", "numeric, normalise: per-node", 1)))
	f.Add([]byte("a;b\n1;0\n"), []byte("version: 1\ndelimiter: ';'\ncolumns: [{name: a, kind: numeric}, {name: b, kind: label, classes: [0, 1]}]"))
	f.Fuzz(func(t *testing.T, text, schema []byte) {
		s, err := ParseSchema("schema", schema)
		if err != nil {
			return
		}
		train, test, report, err := ReadCSV("fuzz", bytes.NewReader(text), s)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Kind == nil {
				t.Fatalf("no kind: %v", err)
			}
			return
		}
		for _, e := range []fl.Examples{train, test} {
			if err := e.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		if train.Rows == 0 || report.RowsRead != report.RowsDropped+train.Rows+test.Rows {
			t.Fatalf("report %+v for %d + %d rows", report, train.Rows, test.Rows)
		}
		// What was read can be written, and is read back the same.
		if s.Split.Method == SplitFraction {
			return
		}
		table, err := ReadTable("fuzz", bytes.NewReader(text), s)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := WriteCSV(&b, table, nil, s); err != nil {
			t.Fatal(err)
		}
		train2, test2, _, err := ReadCSV("again", &b, s)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "train", train2, train)
		same(t, "test", test2, test)
	})
}
