package datasets

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"credence/fl"
)

// same tells whether two sets of examples are equal bit for bit.
func same(t *testing.T, what string, got, want fl.Examples) {
	t.Helper()
	if got.Rows != want.Rows || got.Features != want.Features || got.Classes != want.Classes || len(got.X) != len(want.X) {
		t.Fatalf("%s: %dx%d of %d classes, want %dx%d of %d", what, got.Rows, got.Features, got.Classes, want.Rows, want.Features, want.Classes)
	}
	for i := range got.X {
		if math.Float32bits(got.X[i]) != math.Float32bits(want.X[i]) {
			t.Fatalf("%s: row %d, feature %d: %v, want %v", what, i/got.Features, i%got.Features, got.X[i], want.X[i])
		}
	}
	for i := range got.Y {
		if got.Y[i] != want.Y[i] {
			t.Fatalf("%s: row %d: label %d, want %d", what, i, got.Y[i], want.Y[i])
		}
	}
}

// The bytes of the embedded files, the rows of the split and the digests of
// the schemas are part of every published figure: they do not move unnoticed.
func TestBuiltinPinned(t *testing.T) {
	files := map[string]string{
		"data/breast_cancer.csv": "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed",
		"data/digits.csv.gz":     "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
	}
	for path, want := range files {
		raw, err := data.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(raw); hex.EncodeToString(got[:]) != want {
			t.Errorf("%s: sha256 %x, want %s", path, got, want)
		}
	}
	cases := []struct {
		name                        string
		train, test, features       int
		trainClasses, testClasses   []int
		schemaDigest, testRowDigest string
	}{
		{BreastCancer, 455, 114, 30, []int{170, 285}, []int{42, 72},
			"7b7227a00c990c0f20fb4a3615613d1e96da8aa01ab064acff6c743a619f7c01", "5e8ecabd96bf2636a69d773cb84385a38ff2098655917ac2a5aad5327f50da93"},
		{Digits, 1438, 359, 64, []int{142, 146, 142, 146, 145, 146, 145, 143, 139, 144}, []int{36, 36, 35, 37, 36, 36, 36, 36, 35, 36},
			"52ddc95b957b6a373fa7c633b8dc4a1b9ea7d62a3bf45f08a518a60db908aa91", "eab1f9f93cfcfb44132aeedf85105a93bb10b1ade371409ac3f6ea168d71ca89"},
	}
	for _, c := range cases {
		d, err := Builtin(c.name)
		if err != nil {
			t.Fatal(err)
		}
		for part, e := range map[string]fl.Examples{"train": d.Train, "test": d.Test} {
			if err := e.Validate(); err != nil {
				t.Errorf("%s %s: %v", c.name, part, err)
			}
		}
		if d.Train.Rows != c.train || d.Test.Rows != c.test || d.Train.Features != c.features || d.Schema.Features() != c.features {
			t.Errorf("%s: %d + %d rows of %d features", c.name, d.Train.Rows, d.Test.Rows, d.Train.Features)
		}
		if diff := cmp.Diff([][]int{c.trainClasses, c.testClasses}, [][]int{d.Report.TrainClasses, d.Report.TestClasses}); diff != "" {
			t.Errorf("%s: classes (-want +got):\n%s", c.name, diff)
		}
		digest, err := d.Schema.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(digest[:]); got != c.schemaDigest {
			t.Errorf("%s: schema digest %s, want %s", c.name, got, c.schemaDigest)
		}
		h := sha256.New()
		for _, r := range d.TestRows {
			h.Write(binary.BigEndian.AppendUint32(nil, uint32(r)))
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != c.testRowDigest {
			t.Errorf("%s: digest of the test rows %s, want %s", c.name, got, c.testRowDigest)
		}
	}
}

// The figures in the breast cancer schema are those of the training rows.
func TestBreastCancerFigures(t *testing.T) {
	d, err := Builtin(BreastCancer)
	if err != nil {
		t.Fatal(err)
	}
	for k := range d.Train.Features {
		var sum, squares float64
		for i := range d.Train.Rows {
			v := float64(d.Train.Row(i)[k])
			sum += v
			squares += v * v
		}
		n := float64(d.Train.Rows)
		if mean, variance := sum/n, squares/n; math.Abs(mean) > 1e-4 || math.Abs(variance-1) > 1e-4 {
			t.Errorf("%s: mean %g, variance %g after normalisation, want 0 and 1", d.Schema.Columns[k].Name, mean, variance)
		}
	}
}

func TestBuiltinUnknown(t *testing.T) {
	if _, err := Builtin("mnist"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
}

// Each client's files give back exactly its examples, under the one schema.
func TestWriteNodeReadsBack(t *testing.T) {
	for _, name := range BuiltinNames() {
		d, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := d.Schema.Digest()
		if err != nil {
			t.Fatal(err)
		}
		trainParts, err := Dirichlet(d.Train, 4, 0.5, 20, 7)
		if err != nil {
			t.Fatal(err)
		}
		testParts, err := IID(d.Test, 4, 7)
		if err != nil {
			t.Fatal(err)
		}
		for c := range trainParts {
			dir := filepath.Join(t.TempDir(), "node")
			if _, err := d.WriteNode(dir, trainParts[c], testParts[c]); err != nil {
				t.Fatal(err)
			}
			s, err := LoadSchema(filepath.Join(dir, NodeSchemaFile))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.Digest(); err != nil || got != want {
				t.Errorf("%s: the node's schema has digest %x (%v), want %x", name, got, err, want)
			}
			train, test, report, err := LoadCSV(filepath.Join(dir, NodeDataFile), s)
			if err != nil {
				t.Fatal(err)
			}
			same(t, name+" train", train, d.Train.Subset(trainParts[c]))
			same(t, name+" test", test, d.Test.Subset(testParts[c]))
			if report.RowsRead != train.Rows+test.Rows || report.RowsDropped != 0 {
				t.Errorf("%s: report %+v", name, report)
			}
			info, err := os.Stat(filepath.Join(dir, NodeDataFile))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("the data file has mode %v, want 0600", info.Mode().Perm())
			}
		}
	}
}

var exportDir = flag.String("export", "", "write the built-in examples as CSV into this folder, for testdata/sklearn_reference.py")

// Examples as a trainer sees them survive CSV bit for bit. With -export the
// files stay, and testdata/sklearn_reference.py trains on them.
func TestExportExamples(t *testing.T) {
	dir := *exportDir
	if dir == "" {
		dir = t.TempDir()
	}
	for _, name := range BuiltinNames() {
		d, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ExamplesSchema(d.Train, d.Schema.FeatureNames())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := WriteExamplesCSV(&b, d.Train, d.Test, s); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name+".csv")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		train, test, _, err := LoadCSV(path, s)
		if err != nil {
			t.Fatal(err)
		}
		same(t, name+" train", train, d.Train)
		same(t, name+" test", test, d.Test)
	}
}
