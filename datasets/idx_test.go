package datasets

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"credence/fl"
)

// idx builds a file of the given type, dimensions and raw values.
func idx(kind byte, raw []byte, dims ...uint32) []byte {
	out := []byte{0, 0, kind, byte(len(dims))}
	for _, d := range dims {
		out = binary.BigEndian.AppendUint32(out, d)
	}
	return append(out, raw...)
}

func TestReadIDXTypes(t *testing.T) {
	f32 := binary.BigEndian.AppendUint32(nil, math.Float32bits(-1.5))
	f64 := binary.BigEndian.AppendUint64(nil, math.Float64bits(0.25))
	cases := []struct {
		kind byte
		raw  []byte
		want float64
	}{
		{0x08, []byte{200}, 200}, {0x09, []byte{0xff}, -1}, {0x0B, []byte{0xff, 0xfe}, -2},
		{0x0C, []byte{0xff, 0xff, 0xff, 0xfd}, -3}, {0x0D, f32, -1.5}, {0x0E, f64, 0.25},
	}
	for _, c := range cases {
		got, err := ReadIDX("i", bytes.NewReader(idx(c.kind, c.raw, 1)))
		if err != nil {
			t.Errorf("type %#x: %v", c.kind, err)
			continue
		}
		if diff := cmp.Diff(&IDX{Type: c.kind, Dims: []int{1}, Data: []float64{c.want}}, got); diff != "" {
			t.Errorf("type %#x (-want +got):\n%s", c.kind, diff)
		}
	}
}

func TestReadIDXRefused(t *testing.T) {
	good := idx(0x08, []byte{1, 2, 3, 4, 5, 6}, 2, 3)
	cases := []struct {
		name  string
		raw   []byte
		kind  error
		where string
	}{
		{"empty", nil, ErrFormat, "byte 0"},
		{"magic", append([]byte{1}, good[1:]...), ErrFormat, "byte 0"},
		{"type", idx(0x0A, nil, 1), ErrFormat, "byte 2"},
		{"no dimensions", idx(0x08, nil), ErrFormat, "byte 3"},
		{"too many dimensions", idx(0x08, nil, 1, 1, 1, 1, 1, 1, 1, 1, 1), ErrFormat, "byte 3"},
		{"header cut", good[:10], ErrFormat, "byte 8"},
		{"dimension zero", idx(0x08, nil, 2, 0), ErrFormat, "byte 8"},
		{"announces too much", idx(0x08, nil, 1<<16, 1<<16), ErrLimit, "byte 8"},
		{"overflow", idx(0x08, nil, 1<<31, 1<<31, 1<<31), ErrLimit, "byte 4"},
		{"cut", good[:len(good)-2], ErrFormat, "ends after 4"},
		{"goes on", append(bytes.Clone(good), 9), ErrFormat, "byte 18"},
		{"NaN", idx(0x0D, binary.BigEndian.AppendUint32(nil, 0x7fc00000), 1), ErrValue, "byte 8"},
		{"infinite", idx(0x0E, binary.BigEndian.AppendUint64(nil, math.Float64bits(math.Inf(1))), 1), ErrValue, "byte 8"},
		{"beyond single precision", idx(0x0E, binary.BigEndian.AppendUint64(nil, math.Float64bits(1e300)), 1), ErrValue, "byte 8"},
	}
	for _, c := range cases {
		_, err := ReadIDX("x.idx", bytes.NewReader(c.raw))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.where) || !strings.Contains(err.Error(), "x.idx") {
			t.Errorf("%s: got %v, want %v with %q", c.name, err, c.kind, c.where)
		}
	}
}

// A header that announces a gigabyte costs what the file holds.
func TestReadIDXLyingHeader(t *testing.T) {
	raw := idx(0x08, make([]byte, 100), 1<<14, 1<<14)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadIDX("x", bytes.NewReader(raw))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 4<<20 {
		t.Errorf("%d bytes were allocated", spent)
	}
}

func TestLoadIDX(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, raw []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	if _, err := zw.Write(idx(0x08, []byte{0, 255, 51, 102}, 2, 1, 2)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	images, labels := write("images.gz", z.Bytes()), write("labels", idx(0x08, []byte{2, 0}, 2))
	got, err := LoadIDX(images, labels, 3)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "idx", got, fl.Examples{Rows: 2, Features: 2, Classes: 3, X: []float32{0, 1, 0.2, 0.4}, Y: []int32{2, 0}})

	floats := write("floats", idx(0x0C, []byte{0, 0, 0, 7, 0, 0, 0, 9}, 2))
	if got, err = LoadIDX(floats, labels, 3); err != nil || got.X[0] != 7 {
		t.Errorf("integers are taken as they are: %v, %v", got.X, err)
	}
	if _, err := LoadIDX(images, labels, 2); !errors.Is(err, ErrLabel) {
		t.Errorf("label beyond the classes: %v", err)
	}
	if _, err := LoadIDX(images, labels, 1); !errors.Is(err, ErrLabel) {
		t.Errorf("one class: %v", err)
	}
	if _, err := LoadIDX(images, write("short", idx(0x08, []byte{1}, 1)), 3); !errors.Is(err, ErrFormat) {
		t.Errorf("fewer labels: %v", err)
	}
	if _, err := LoadIDX(images, write("wide", idx(0x08, []byte{1, 1, 1, 1}, 2, 2)), 3); !errors.Is(err, ErrFormat) {
		t.Errorf("labels of two dimensions: %v", err)
	}
	if _, err := LoadIDX(filepath.Join(dir, "none"), labels, 3); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func FuzzReadIDX(f *testing.F) {
	f.Add(idx(0x08, []byte{1, 2, 3, 4, 5, 6}, 2, 3))
	f.Add(idx(0x0E, binary.BigEndian.AppendUint64(nil, math.Float64bits(0.25)), 1, 1, 1))
	f.Add(idx(0x0D, []byte{0x7f, 0xc0, 0, 0}, 1))
	f.Add(idx(0x08, nil, 1<<31, 1<<31))
	f.Add([]byte{0, 0, 8})
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := ReadIDX("fuzz", bytes.NewReader(raw))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Kind == nil {
				t.Fatalf("no kind: %v", err)
			}
			return
		}
		n := 1
		for _, d := range a.Dims {
			n *= d
		}
		if n != len(a.Data) {
			t.Fatalf("%d values for dimensions %v", len(a.Data), a.Dims)
		}
	})
}
