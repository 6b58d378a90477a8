package datasets

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// cifarRecord is one record: a label and a value for each colour plane.
func cifarRecord(label, red, green, blue byte) []byte {
	out := append([]byte{label}, bytes.Repeat([]byte{red}, 1024)...)
	return append(append(out, bytes.Repeat([]byte{green}, 1024)...), bytes.Repeat([]byte{blue}, 1024)...)
}

func TestReadCIFAR(t *testing.T) {
	raw := append(cifarRecord(3, 255, 0, 51), cifarRecord(9, 0, 0, 0)...)
	e, err := ReadCIFAR("batch", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if e.Rows != 2 || e.Y[0] != 3 || e.Y[1] != 9 || e.X[0] != 1 || e.X[1024] != 0 || e.X[3071] != 0.2 || e.X[3072] != 0 {
		t.Errorf("%d rows, labels %v", e.Rows, e.Y)
	}
	for name, c := range map[string]struct {
		raw  []byte
		kind error
		row  int
	}{
		"short": {raw[:len(raw)-1], ErrFormat, 2},
		"label": {append(bytes.Clone(raw), cifarRecord(10, 0, 0, 0)...), ErrLabel, 3},
		"empty": {nil, ErrFormat, 1},
	} {
		var d *Error
		if _, err := ReadCIFAR("batch", bytes.NewReader(c.raw)); !errors.Is(err, c.kind) || !errors.As(err, &d) || d.Row != c.row {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// leaf is a file of LEAF's form, with two features in place of 784.
const leaf = `{"users": ["f1_writer", "f0_writer"], "num_samples": [2, 1], "hierarchies": [],
 "user_data": {"f0_writer": {"x": [[0.5, 1]], "y": [2]}, "f1_writer": {"x": [[0, 0.25], [1, 0]], "y": [0, 1]}}}`

func TestReadLEAF(t *testing.T) {
	e, users, err := ReadLEAF("all.json", strings.NewReader(leaf), 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if e.Rows != 3 || strings.Join(users, " ") != "f1_writer f1_writer f0_writer" || e.Y[2] != 2 || e.X[1] != 0.25 || e.X[4] != 0.5 {
		t.Errorf("%+v of %v", e, users)
	}
	for name, c := range map[string]struct {
		old, new string
		kind     error
		row      int
		contains string
	}{
		"width":      {"[1, 0]", "[1]", ErrFormat, 2, "1 values"},
		"label":      {`"y": [2]`, `"y": [3]`, ErrLabel, 3, "from 0 to 2"},
		"count":      {"[2, 1]", "[2, 2]", ErrFormat, 3, "user 2"},
		"no data":    {`"f0_writer":`, `"other":`, ErrFormat, 3, "no data"},
		"twice":      {`"f0_writer"]`, `"f1_writer"]`, ErrFormat, 3, "twice"},
		"range":      {"0.25", "1e39", ErrValue, 1, "finite"},
		"not JSON":   {"{", "x", ErrFormat, 0, "byte 1"},
		"two values": {`[0, 1]}}}`, `[0, 1]}}}{}`, ErrFormat, 0, "follows"},
		"empty":      {leaf, "{}", ErrFormat, 0, "no example"},
	} {
		text := strings.Replace(leaf, c.old, c.new, 1)
		_, _, err := ReadLEAF("all.json", strings.NewReader(text), 2, 3)
		var d *Error
		if !errors.Is(err, c.kind) || !errors.As(err, &d) || d.Row != c.row || !strings.Contains(err.Error(), c.contains) {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "writer") {
			t.Errorf("%s: the error names a person: %v", name, err)
		}
	}
	if _, _, err := ReadLEAF("all.json", strings.NewReader(leaf), 0, 3); !errors.Is(err, ErrLimit) {
		t.Errorf("no feature: %v", err)
	}
}

func FuzzReadCIFAR(f *testing.F) {
	f.Add(cifarRecord(1, 2, 3, 4))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := ReadCIFAR("fuzz", bytes.NewReader(raw)); err == nil && e.Validate() != nil {
			t.Fatal(e.Validate())
		}
	})
}

func FuzzReadLEAF(f *testing.F) {
	f.Add([]byte(leaf))
	f.Add([]byte(`{"users": [""], "num_samples": [0], "user_data": {"": {}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, users, err := ReadLEAF("fuzz", bytes.NewReader(raw), 2, 3)
		if err == nil && (e.Validate() != nil || len(users) != e.Rows) {
			t.Fatal(e.Validate(), len(users))
		}
	})
}
