package datasets

import (
	"archive/zip"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"credence/fl"
)

// maxNPZArrays bounds the arrays of an archive.
const maxNPZArrays = 1 << 12

// LoadNPZ reads a NumPy archive (numpy.savez, numpy.savez_compressed) into
// training and test examples as the schema says, by the rules of LoadCSV. The
// first dimension of every array counts the rows. An array NAME of one
// dimension is the column NAME; one of more dimensions is the columns NAME[0],
// NAME[1], ..., its values of a row in C order. Booleans, integers,
// floating-point numbers and strings are understood; NaN is refused like in a
// CSV file. LoadNPZArrays needs no schema.
func LoadNPZ(path string, s *Schema) (train, test fl.Examples, report Report, err error) {
	if !strings.HasSuffix(strings.ToLower(path), ".npz") {
		return train, test, report, &Error{Kind: ErrFormat, File: path, Problem: "the name does not end in .npz", Remedy: "rename the file, or use Load for other formats"}
	}
	return Load(path, s)
}

// npzColumn is one column that an archive has.
type npzColumn struct {
	array string
	place int // among the values of a row
}

// readNPZ is the record reader of NumPy archives.
func readNPZ(name string, r io.ReaderAt, size int64, s *Schema, header headerFunc, row rowFunc) error {
	if s.NoHeader {
		return &Error{Kind: ErrSchema, File: name, Problem: "no_header is for CSV files: arrays of a NumPy archive have names", Remedy: "remove it from the schema"}
	}
	archive, err := openNPZ(name, r, size)
	if err != nil {
		return err
	}
	arrays := map[string]*npy{}
	var names []string
	var columns []npzColumn
	rows, first, total := -1, "", 0
	for _, f := range archive.File {
		array := strings.TrimSuffix(f.Name, ".npy")
		a, err := readEntry(name, f, maxNPYBytes-total)
		if err != nil {
			return err
		}
		total += len(a.data)
		if rows < 0 {
			rows, first = a.dims[0], array
		}
		if a.dims[0] != rows {
			return &Error{Kind: ErrFormat, File: name, Column: array, Problem: fmt.Sprintf("%d rows where %q has %d", a.dims[0], first, rows), Remedy: "the first dimension of every array counts the rows; save other arrays elsewhere"}
		}
		arrays[array] = a
		if len(names)+a.columns() > MaxColumns {
			return &Error{Kind: ErrLimit, File: name, Column: array, Problem: fmt.Sprintf("more than %d columns", MaxColumns), Remedy: "save fewer, or use LoadNPZArrays"}
		}
		for k := range a.columns() {
			column := array
			if len(a.dims) > 1 {
				column = fmt.Sprintf("%s[%d]", array, k)
			}
			names, columns = append(names, column), append(columns, npzColumn{array, k})
		}
	}
	if rows > MaxRows {
		return &Error{Kind: ErrLimit, File: name, Problem: fmt.Sprintf("more than %d rows", MaxRows), Remedy: "split the file between nodes"}
	}
	if err := header(name, 0, names, len(names)); err != nil {
		return err
	}
	record := make([]string, len(names))
	for i := range rows {
		for k, c := range columns {
			text, ok := arrays[c.array].text(i, c.place)
			if !ok {
				return &Error{Kind: ErrValue, File: name, Line: i + 1, Column: names[k], Problem: "the value is no text or truth value", Remedy: "correct it"}
			}
			record[k] = text
		}
		if err := row(record, i+1, i); err != nil {
			return err
		}
	}
	return nil
}

// openNPZ reads the list of an archive's arrays and bounds it.
func openNPZ(name string, r io.ReaderAt, size int64) (*zip.Reader, error) {
	bad := func(kind error, problem, remedy string, cause error) error {
		return &Error{Kind: kind, File: name, Problem: problem, Remedy: remedy, Err: cause}
	}
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, bad(ErrFormat, "this is not a NumPy archive (a zip file)", "save it with numpy.savez", err)
	}
	if n := len(archive.File); n == 0 || n > maxNPZArrays {
		return nil, bad(ErrLimit, fmt.Sprintf("%d arrays", n), fmt.Sprintf("1 to %d are accepted", maxNPZArrays), nil)
	}
	seen := map[string]bool{}
	for _, f := range archive.File {
		array, ok := strings.CutSuffix(f.Name, ".npy")
		switch {
		case !ok || !isWord(array) || strings.ContainsAny(array, `/\`):
			return nil, bad(ErrFormat, "the archive holds a file that is no array", "save it with numpy.savez", nil)
		case seen[array]:
			return nil, bad(ErrFormat, fmt.Sprintf("the archive has two arrays %q", array), "save it again", nil)
		}
		seen[array] = true
	}
	return archive, nil
}

// readEntry reads one array of at most limit bytes. What a compressed entry
// unpacks to is bounded by what its header announces, and that by limit: a
// small file cannot fill the memory.
func readEntry(name string, f *zip.File, limit int) (*npy, error) {
	array := strings.TrimSuffix(f.Name, ".npy")
	if f.UncompressedSize64 > uint64(max(limit, 0))+maxNPYHeader {
		return nil, &Error{Kind: ErrLimit, File: name, Column: array, Problem: fmt.Sprintf("the arrays unpack to more than %d bytes", maxNPYBytes), Remedy: "split the file between nodes"}
	}
	r, err := f.Open()
	if err != nil {
		return nil, &Error{Kind: ErrFormat, File: name, Column: array, Problem: "the array cannot be unpacked", Remedy: "save it again with numpy.savez", Err: err}
	}
	a, err := readNPY(name, array, io.LimitReader(r, int64(f.UncompressedSize64)+1)) // #nosec G115 -- bounded above
	if cerr := r.Close(); err == nil && cerr != nil {
		err = &Error{Kind: ErrFormat, File: name, Column: array, Problem: "the array cannot be unpacked", Remedy: "save it again with numpy.savez", Err: cerr}
	}
	return a, err
}

// LoadNPZArrays reads features and labels from two arrays of a NumPy archive,
// as LoadIDX does from two files: the first has one example along its first
// dimension and its features along the others, in C order; the second one label
// in [0, classes) an example. Unsigned bytes are scaled by 1/255 to [0,1];
// other numbers are taken as they are. Other arrays are not read.
func LoadNPZArrays(path, features, labels string, classes int) (e fl.Examples, err error) {
	f, err := os.Open(path)
	if err != nil {
		return e, fmt.Errorf("datasets: opening the data: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return e, fmt.Errorf("datasets: opening the data: %w", err)
	}
	archive, err := openNPZ(path, f, info.Size())
	if err != nil {
		return e, err
	}
	read := func(array string) (*npy, error) {
		for _, entry := range archive.File {
			if entry.Name == array+".npy" {
				a, err := readEntry(path, entry, maxNPYBytes)
				if err == nil && (a.kind == 'U' || a.kind == 'S') {
					err = &Error{Kind: ErrValue, File: path, Column: array, Problem: "the array holds strings", Remedy: "save numbers, or use a schema"}
				}
				return a, err
			}
		}
		return nil, &Error{Kind: ErrColumn, File: path, Column: array, Problem: "the archive has no such array", Remedy: "check its spelling"}
	}
	x, err := read(features)
	if err != nil {
		return e, err
	}
	y, err := read(labels)
	if err != nil {
		return e, err
	}
	return pairArrays(path, features, labels, x, y, classes)
}

func pairArrays(path, features, labels string, x, y *npy, classes int) (fl.Examples, error) {
	bad := func(kind error, row int, column, problem, remedy string) error {
		return &Error{Kind: kind, File: path, Row: row, Column: column, Problem: problem, Remedy: remedy}
	}
	e := fl.Examples{Rows: x.dims[0], Features: x.columns(), Classes: classes}
	switch {
	case classes < 2 || classes > MaxClasses:
		return fl.Examples{}, bad(ErrLabel, 0, labels, fmt.Sprintf("%d classes", classes), fmt.Sprintf("2 to %d are accepted", MaxClasses))
	case e.Features < 1 || e.Features > MaxFeatures:
		return fl.Examples{}, bad(ErrLimit, 0, features, fmt.Sprintf("%d features an example", e.Features), fmt.Sprintf("1 to %d are accepted", MaxFeatures))
	case e.Rows > MaxValues/e.Features:
		return fl.Examples{}, bad(ErrLimit, 0, features, fmt.Sprintf("more than %d values", MaxValues), "split the file")
	case y.columns() != 1 || y.dims[0] != e.Rows:
		return fl.Examples{}, bad(ErrFormat, 0, labels, fmt.Sprintf("%d labels for %d examples", y.dims[0]*y.columns(), e.Rows), "check that the two arrays belong together")
	}
	scale := 1.0
	if x.kind == 'u' && x.width == 1 {
		scale = 255
	}
	e.X, e.Y = make([]float32, e.Rows*e.Features), make([]int32, e.Rows)
	for i := range e.Rows {
		for k := range e.Features {
			v := x.number(i, k)
			if !finite32(v) {
				return fl.Examples{}, bad(ErrValue, i+1, features, "the value is not a finite number of single precision", "correct the file")
			}
			e.X[i*e.Features+k] = float32(v / scale)
		}
		v := y.number(i, 0)
		if !(v >= 0 && v < float64(classes)) || v != math.Trunc(v) {
			return fl.Examples{}, bad(ErrLabel, i+1, labels, fmt.Sprintf("the label is not a whole number from 0 to %d", classes-1), "check the number of classes")
		}
		e.Y[i] = int32(v)
	}
	return e, nil
}
