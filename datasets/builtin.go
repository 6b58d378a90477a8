package datasets

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// The names of the built-in data sets.
const (
	// BreastCancer is the Wisconsin diagnostic breast cancer data set: 569
	// tumours, 30 measurements each, malignant or benign (Wolberg, Mangasarian,
	// Street and Street 1993, UCI, doi:10.24432/C5DW2B).
	BreastCancer = "breast-cancer"
	// Digits is the test set of the optical recognition of handwritten digits
	// data set: 1797 images of 8x8 pixels, ten classes (Alpaydin and Kaynak
	// 1998, UCI, doi:10.24432/C50P49).
	Digits = "digits"
)

// The built-in split: drawn once, stratified by class, the same everywhere.
const (
	builtinFraction = 0.2
	builtinSeed     = 2026
)

//go:embed data
var data embed.FS

// BuiltinNames lists what Builtin knows.
func BuiltinNames() []string { return []string{BreastCancer, Digits} }

// Builtin returns one of the embedded data sets, under the licence and with
// the citation of data/README.md. Its table has a header, readable class names
// and a "split" column; its schema normalises with figures given in it
// (breast-cancer: mean and standard deviation of the training rows, published
// with the schema; digits: pixel/16), so that all nodes agree on them.
//
//	breast-cancer   455 training, 114 test rows, 30 features, 2 classes
//	digits         1438 training, 359 test rows, 64 features, 10 classes
func Builtin(name string) (*Dataset, error) {
	if !slices.Contains(BuiltinNames(), name) {
		return nil, &Error{Kind: ErrUnknown, Problem: fmt.Sprintf("there is no built-in data set %q", name), Remedy: "choose one of " + strings.Join(BuiltinNames(), ", ")}
	}
	path := "data/" + name + ".schema.yaml"
	text, err := data.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("datasets: reading the embedded schema: %w", err)
	}
	s, err := ParseSchema(path, text)
	if err != nil {
		return nil, err
	}
	t, err := builtinTable(name, s)
	if err != nil {
		return nil, err
	}
	return FromTable(name, t, s)
}

// builtinTable reads the original file and gives it the schema's header, class
// names in place of numbers, and the split column.
func builtinTable(name string, s *Schema) (*Table, error) {
	path := map[string]string{BreastCancer: "data/breast_cancer.csv", Digits: "data/digits.csv.gz"}[name]
	raw, err := data.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("datasets: reading the embedded data: %w", err)
	}
	if name == Digits {
		zr, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("datasets: decompressing %s: %w", path, err)
		}
		if raw, err = io.ReadAll(io.LimitReader(zr, 1<<20)); err != nil {
			return nil, fmt.Errorf("datasets: decompressing %s: %w", path, err)
		}
	}
	if name == BreastCancer {
		// The first line is not a header but "rows,features,class 0,class 1".
		_, raw, _ = bytes.Cut(raw, []byte("\n"))
	}
	classes := s.Classes()
	t := &Table{Header: schemaNames(s)}
	labels := []int32{}
	for i, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		cells := strings.Split(line, ",")
		y, err := strconv.Atoi(cells[len(cells)-1])
		if err != nil || y < 0 || y >= len(classes) || len(cells) != len(t.Header)-1 {
			return nil, &Error{Kind: ErrFormat, File: path, Line: i + 1, Problem: "the embedded data are damaged", Remedy: "build again from a clean checkout"}
		}
		for k, c := range cells[:len(cells)-1] {
			cells[k] = strings.TrimSpace(c)
		}
		cells[len(cells)-1] = classes[y]
		labels = append(labels, int32(y)) // #nosec G115 -- below len(classes)
		t.Rows = append(t.Rows, append(cells, "train"))
		t.Lines = append(t.Lines, i+1)
	}
	_, test := splitFraction(labels, len(classes), Split{Fraction: builtinFraction, Seed: builtinSeed, Stratified: true})
	for _, r := range test {
		t.Rows[r][len(t.Header)-1] = "test"
	}
	return t, nil
}
