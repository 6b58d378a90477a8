package datasets

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"
)

const (
	wardsParquet = "testdata/wards.parquet"
	wardsNPZ     = "testdata/wards.npz"
)

// wardsWide is wards with the columns that only the Parquet file has.
var wardsWide = strings.Replace(wards, "split:", "  - {name: admitted, kind: ignore}\n  - {name: visits, kind: ignore}\nsplit:", 1)

// What pandas and NumPy wrote gives the examples that the CSV file gives, as
// whole data sets and as tables.
func TestLoadFormats(t *testing.T) {
	s := parse(t, wards)
	wantTrain, wantTest, wantReport, err := ReadCSV("wards.csv", strings.NewReader(wardsCSV), s)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{wardsParquet: wardsWide, wardsNPZ: wards} {
		s := parse(t, text)
		train, test, report, err := Load(path, s)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		same(t, path, train, wantTrain)
		same(t, path, test, wantTest)
		if diff := cmp.Diff(wantReport, report, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
			t.Errorf("%s: report (-want +got):\n%s", path, diff)
		}
		table, err := LoadRecords(path, s)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		set, err := FromTable(path, table, s)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		same(t, path+" as a table", set.Train, wantTrain)
		if cells, err := table.Column("part"); err != nil || cells[2] != "held out" {
			t.Errorf("%s: column part is %q, %v", path, cells, err)
		}
	}
}

// Every refusal of what is in a file names the row and the column.
func TestLoadRefused(t *testing.T) {
	change := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in the schema", old)
		}
		return strings.Replace(text, old, new, 1)
	}
	for _, c := range []struct {
		name, path, schema string
		kind               error
		row                int
		column             string
	}{
		{"category", wardsParquet, change(wardsWide, "[f, m]", "[f, x]"), ErrValue, 2, "sex"},
		{"missing", wardsParquet, change(wardsWide, "missing: impute, impute: mean", "missing: refuse"), ErrMissing, 5, "weight"},
		{"date", wardsParquet, change(wardsWide, "admitted, kind: ignore", "admitted, kind: numeric"), ErrColumn, 0, "admitted"},
		{"list", wardsParquet, change(wardsWide, "visits, kind: ignore", "visits, kind: numeric"), ErrColumn, 0, "visits"},
		{"no such column", wardsParquet, change(wardsWide, "{name: hospital", "{name: ward"), ErrColumn, 0, "ward"},
		{"extra column", wardsParquet, wards, ErrColumn, 0, "admitted"},
		{"no header", wardsParquet, change(wardsWide, "version: 1", "version: 1\nno_header: true"), ErrSchema, 0, ""},
		{"category", wardsNPZ, change(wards, "[f, m]", "[f, x]"), ErrValue, 2, "sex"},
		{"number", wardsNPZ, change(wards, `[NA, "?"]`, `["?"]`), ErrValue, 3, "pressure"},
		{"no header", wardsNPZ, change(wards, "version: 1", "version: 1\nno_header: true"), ErrSchema, 0, ""},
		{"pickles", "testdata/evil.npz", wards, ErrFormat, 0, "x"},
		{"not Parquet", "testdata/text.parquet", wards, ErrFormat, 0, ""},
		{"not NPZ", "testdata/text.npz", wards, ErrFormat, 0, ""},
	} {
		path := c.path
		if strings.Contains(path, "text.") {
			path = filepath.Join(t.TempDir(), filepath.Base(path))
			if err := os.WriteFile(path, []byte(wardsCSV), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := parse(t, c.schema)
		_, _, _, err := Load(path, s)
		var e *Error
		if !errors.Is(err, c.kind) || !errors.As(err, &e) || e.File != path || e.Row != c.row || e.Line != 0 || e.Column != c.column || e.Remedy == "" {
			t.Errorf("%s, %s: want row %d, column %q; got %v (%+v)", c.path, c.name, c.row, c.column, err, e)
		}
		if table, err := LoadRecords(path, s); err == nil && c.row > 0 {
			_, err = FromTable(path, table, s)
			if !errors.As(err, &e) || e.Row != c.row || e.Line != 0 {
				t.Errorf("%s, %s: as a table: %v", c.path, c.name, err)
			}
		}
	}
	if _, _, _, err := LoadParquet(wardsNPZ, parse(t, wards)); !errors.Is(err, ErrFormat) {
		t.Errorf("an archive as Parquet: %v", err)
	}
	if _, _, _, err := LoadNPZ(wardsParquet, parse(t, wards)); !errors.Is(err, ErrFormat) {
		t.Errorf("Parquet as an archive: %v", err)
	}
}

func TestLoadPairFormats(t *testing.T) {
	s := parse(t, strings.Replace(wardsWide, "split: {method: column, column: part, test: held out}", "split: {method: file}\nextra_columns: true", 1))
	train, test, report, err := LoadPair(wardsParquet, wardsParquet, s)
	if err != nil || train.Rows != 4 || test.Rows != 4 || report.RowsRead != 10 {
		t.Errorf("%d training, %d test rows, %d read, %v", train.Rows, test.Rows, report.RowsRead, err)
	}
	if _, _, _, err := Load(wardsParquet, s); !errors.Is(err, ErrSplit) {
		t.Errorf("one file of two: %v", err)
	}
	if _, _, _, err := LoadPair(wardsParquet, wardsNPZ, parse(t, wardsWide)); !errors.Is(err, ErrSplit) {
		t.Errorf("two files where the schema has one: %v", err)
	}
}

// Numbers keep their exact value whatever the format.
func TestLoadFormatsAgree(t *testing.T) {
	type row struct {
		A float64 `parquet:"a"`
		B float32 `parquet:"b"`
		C int64   `parquet:"c"`
		D bool    `parquet:"d"`
		Y string  `parquet:"y,dict"`
	}
	s := parse(t, `version: 1
columns:
  - {name: a, kind: numeric, normalise: standard, mean: 0.1, std: 3}
  - {name: b, kind: numeric, normalise: per-node}
  - {name: c, kind: numeric}
  - {name: d, kind: categorical, categories: ["true", "false"]}
  - {name: y, kind: label, classes: [p, q]}
`)
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) row {
			return row{rapid.Float64Range(-1e30, 1e30).Draw(rt, "a"), rapid.Float32Range(-1e30, 1e30).Draw(rt, "b"),
				rapid.Int64().Draw(rt, "c"), rapid.Bool().Draw(rt, "d"), rapid.SampledFrom([]string{"p", "q"}).Draw(rt, "y")}
		}), 1, 1200).Draw(rt, "rows")
		var text, floats, singles, ints, bools, labels bytes.Buffer
		w := csv.NewWriter(&text)
		put := func(b *bytes.Buffer, v any) {
			if err := binary.Write(b, binary.LittleEndian, v); err != nil {
				rt.Fatal(err)
			}
		}
		if err := w.Write([]string{"a", "b", "c", "d", "y"}); err != nil {
			rt.Fatal(err)
		}
		for _, r := range rows {
			if err := w.Write([]string{fmt.Sprint(r.A), fmt.Sprint(float64(r.B)), fmt.Sprint(r.C), fmt.Sprint(r.D), r.Y}); err != nil {
				rt.Fatal(err)
			}
			put(&floats, r.A)
			put(&singles, r.B)
			put(&ints, r.C)
			put(&bools, r.D)
			put(&labels, uint32(r.Y[0]))
		}
		w.Flush()
		var table bytes.Buffer
		pw := parquet.NewGenericWriter[row](&table, parquet.MaxRowsPerRowGroup(700))
		if _, err := pw.Write(rows); err != nil {
			rt.Fatal(err)
		}
		if err := pw.Close(); err != nil {
			rt.Fatal(err)
		}
		shape := fmt.Sprintf("(%d,)", len(rows))
		archive := npz(map[string][]byte{
			"a": npyBytes("<f8", shape, floats.Bytes()), "b": npyBytes("<f4", shape, singles.Bytes()), "c": npyBytes("<i8", shape, ints.Bytes()),
			"d": npyBytes("|b1", shape, bools.Bytes()), "y": npyBytes("<U1", shape, labels.Bytes()),
		})
		want, _, _, err := ReadCSV("x", &text, s)
		if err != nil {
			rt.Fatal(err)
		}
		for name, raw := range map[string][]byte{"x.parquet": table.Bytes(), "x.npz": archive} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				rt.Fatal(err)
			}
			got, _, _, err := Load(path, s)
			if err != nil {
				rt.Fatalf("%s: %v", name, err)
			}
			same(t, name, got, want)
		}
	})
}

// A NaN or an infinity in a column of floating-point numbers is refused, with
// its row and column.
func TestLoadNotFinite(t *testing.T) {
	type row struct {
		A float64 `parquet:"a"`
		Y string  `parquet:"y"`
		Z bool    `parquet:"z"`
	}
	s := parse(t, "version: 1\ncolumns:\n  - {name: a, kind: numeric}\n  - {name: y, kind: label, classes: [p, q]}\n  - {name: z, kind: ignore}\n")
	dir := t.TempDir()
	for _, v := range []float64{math.NaN(), math.Inf(1)} {
		var table bytes.Buffer
		if err := parquet.Write(&table, []row{{1, "p", false}, {v, "q", true}}); err != nil {
			t.Fatal(err)
		}
		floats := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, math.Float64bits(1)), math.Float64bits(v))
		archive := npz(map[string][]byte{
			"a": npyBytes("<f8", "(2,)", floats), "y": npyBytes("<U1", "(2,)", []byte("p\x00\x00\x00q\x00\x00\x00")), "z": npyBytes("|u1", "(2,)", []byte{0, 1}),
		})
		for name, c := range map[string]struct {
			raw  []byte
			load func(string) error
		}{
			"a.parquet": {table.Bytes(), func(path string) error { _, _, _, err := Load(path, s); return err }},
			"a.npz":     {archive, func(path string) error { _, _, _, err := Load(path, s); return err }},
			"arrays":    {archive, func(path string) error { _, err := LoadNPZArrays(path, "a", "z", 2); return err }},
		} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, c.raw, 0o600); err != nil {
				t.Fatal(err)
			}
			var e *Error
			if err := c.load(path); !errors.Is(err, ErrValue) || !errors.As(err, &e) || e.Row != 2 || e.Column != "a" || !strings.Contains(err.Error(), "not a finite") {
				t.Errorf("%s with %v: got %v", name, v, err)
			}
		}
	}
}

// npyBytes is an array as NumPy writes it.
func npyBytes(descr, shape string, data []byte) []byte {
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape)
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), byte(len(head)>>8))
	return append(append(out, head...), data...)
}

func npz(arrays map[string][]byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, raw := range arrays {
		f, err := w.Create(name + ".npy")
		if err == nil {
			_, err = f.Write(raw)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestLoadNPZArrays(t *testing.T) {
	for _, features := range []string{"x", "f"} {
		e, err := LoadNPZArrays("testdata/pixels.npz", features, "y", 3)
		if err != nil {
			t.Fatal(err)
		}
		if e.Rows != 3 || e.Features != 4 || e.Y[0] != 2 {
			t.Fatalf("%s: %+v", features, e)
		}
		for i, v := range e.X {
			want := float32(i * 20)
			if features == "x" {
				want = float32(float64(i*20) / 255)
			}
			if v != want {
				t.Errorf("%s: value %d is %v, want %v", features, i, v, want)
			}
		}
	}
	for _, c := range []struct {
		name, path, x, y string
		classes          int
		kind             error
	}{
		{"no array", "pixels.npz", "z", "y", 3, ErrColumn},
		{"label beyond", "pixels.npz", "x", "y", 2, ErrLabel},
		{"one class", "pixels.npz", "x", "y", 1, ErrLabel},
		{"labels of two dimensions", "pixels.npz", "x", "x", 3, ErrFormat},
		{"strings", "wards.npz", "age", "part", 3, ErrValue},
		{"pickles", "evil.npz", "x", "x", 3, ErrFormat},
	} {
		if _, err := LoadNPZArrays(filepath.Join("testdata", c.path), c.x, c.y, c.classes); !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.kind)
		}
	}
}

// A header that lies, an archive that would unpack to more than memory, and
// types that are no numbers are refused, each for its own reason.
func TestNPYRefused(t *testing.T) {
	ok := npyBytes("<f4", "(2,)", make([]byte, 8))
	for name, c := range map[string]struct {
		raw      []byte
		kind     error
		contains string
	}{
		"magic":      {append([]byte("X"), ok[1:]...), ErrFormat, "not a NumPy array"},
		"version":    {append([]byte("\x93NUMPY\x09"), ok[7:]...), ErrFormat, "version 9"},
		"short":      {ok[:len(ok)-1], ErrFormat, "8 bytes of values"},
		"long":       {append(bytes.Clone(ok), 0), ErrFormat, "goes on"},
		"header":     {ok[:20], ErrFormat, "ends in its header"},
		"bomb":       {npyBytes("<f8", "(1048576, 1048576)", nil), ErrLimit, "announces more"},
		"absent":     {npyBytes("<f8", "(100000000,)", make([]byte, 8)), ErrFormat, "not there"},
		"objects":    {npyBytes("|O", "(1,)", nil), ErrFormat, "pickles"},
		"structured": {bytes.Replace(npyBytes("XXXX", "(1,)", nil), []byte("'XXXX'"), []byte("[('a')]")[:6], 1), ErrFormat, "structured"},
		"half":       {npyBytes("<f2", "(1,)", nil), ErrFormat, "size"},
		"complex":    {npyBytes("<c8", "(1,)", nil), ErrFormat, "type"},
		"scalar":     {npyBytes("<f4", "()", make([]byte, 4)), ErrFormat, "0 dimensions"},
		"expression": {npyBytes("<f4", "(__import__(),)", nil), ErrFormat, "none that NumPy writes"},
	} {
		_, err := readNPY("x.npz", "a", bytes.NewReader(c.raw))
		var e *Error
		if !errors.Is(err, c.kind) || !errors.As(err, &e) || e.Column != "a" || !strings.Contains(e.Error(), c.contains) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		raw      []byte
		kind     error
		contains string
	}{
		"rows":       {npz(map[string][]byte{"a": ok, "b": npyBytes("<f4", "(3,)", make([]byte, 12))}), ErrFormat, "rows where"},
		"no array":   {npz(map[string][]byte{}), ErrLimit, "0 arrays"},
		"other file": {npz(map[string][]byte{"dir/a": ok}), ErrFormat, "no array"},
		"not a text": {npz(map[string][]byte{"a": npyBytes("|b1", "(1,)", []byte{7})}), ErrValue, "row 1"},
	} {
		err := countedError(readNPZ("x.npz", bytes.NewReader(c.raw), int64(len(c.raw)), &Schema{},
			func(string, int, []string, int) error { return nil }, func([]string, int, int) error { return nil }))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.contains) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// fuzzRecords checks what any record reader owes its caller.
func fuzzRecords(t *testing.T, read func(headerFunc, rowFunc) error) {
	width, rows := -1, 0
	err := read(func(_ string, _ int, names []string, fields int) error {
		width = fields
		if len(names) != fields {
			t.Fatalf("%d names for %d fields", len(names), fields)
		}
		return nil
	}, func(rec []string, line, row int) error {
		if rows++; len(rec) != width || line != rows || row != rows-1 {
			t.Fatalf("record %d: %d cells of %d, line %d, row %d", rows, len(rec), width, line, row)
		}
		if rows > 2000 {
			return errors.New("enough")
		}
		return nil
	})
	var e *Error
	if err != nil && rows <= 2000 && (!errors.As(err, &e) || e.Kind == nil) {
		t.Fatalf("no kind: %v", err)
	}
}

func FuzzReadParquet(f *testing.F) {
	raw, err := os.ReadFile(wardsParquet)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add([]byte("PAR1PAR1"))
	s := parse(f, wardsWide)
	f.Fuzz(func(t *testing.T, raw []byte) {
		fuzzRecords(t, func(h headerFunc, r rowFunc) error {
			return readParquet("fuzz", bytes.NewReader(raw), int64(len(raw)), s, h, r)
		})
	})
}

func FuzzReadNPZ(f *testing.F) {
	for _, path := range []string{wardsNPZ, "testdata/pixels.npz", "testdata/evil.npz"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	s := parse(f, wards)
	f.Fuzz(func(t *testing.T, raw []byte) {
		fuzzRecords(t, func(h headerFunc, r rowFunc) error {
			return readNPZ("fuzz", bytes.NewReader(raw), int64(len(raw)), s, h, r)
		})
	})
}

func FuzzReadNPY(f *testing.F) {
	f.Add(npyBytes("<f4", "(2, 1)", make([]byte, 8)))
	f.Add(npyBytes("<U2", "(1,)", make([]byte, 8)))
	f.Add(npyBytes("|O", "(1,)", nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := readNPY("fuzz", "a", bytes.NewReader(raw))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Kind == nil {
				t.Fatalf("no kind: %v", err)
			}
			return
		}
		if a.dims[0] > 0 && a.columns() > 0 {
			a.text(a.dims[0]-1, a.columns()-1)
		}
	})
}
