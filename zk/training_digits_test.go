package zk

import (
	"compress/gzip"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"credence/zk/tabular"
)

// realDigits fills a table with the first images of the bundled digits (8x8
// pixels of 0 to 16, the class last), a pixel as a sixteenth. It reads the file
// itself: the package that loads data sets is below this one.
func realDigits(tb testing.TB, table *tabular.Table) {
	tb.Helper()
	f, err := os.Open(filepath.Join("..", "datasets", "data", "digits.csv.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	zr, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	lines, err := csv.NewReader(zr).ReadAll()
	if err != nil {
		tb.Fatal(err)
	}
	if len(lines) < table.Used {
		tb.Fatalf("%d images for %d rows", len(lines), table.Used)
	}
	for i := range table.Used {
		for j, cell := range lines[i] {
			v, err := strconv.Atoi(cell)
			if err != nil {
				tb.Fatal(err)
			}
			if j < table.Layout.Features {
				table.SetFeature(i, j, int64(v)<<4) // v/16 in units of 2^-8
			} else if err := table.SetClass(i, v); err != nil {
				tb.Fatal(err)
			}
		}
	}
}
