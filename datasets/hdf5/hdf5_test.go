package hdf5

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func open(t testing.TB, raw []byte) *File {
	t.Helper()
	f, err := Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func child(t testing.TB, o Object, name string) Object {
	t.Helper()
	c, err := o.Child(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What h5py wrote (testdata/make_samples.py) is read.
func TestRead(t *testing.T) {
	root := open(t, sample(t, "plain.h5")).Root()
	writers, err := child(t, root, "examples").Children()
	if err != nil || len(writers) != 20 {
		t.Fatalf("%d writers, %v", len(writers), err)
	}
	for u, w := range writers {
		values, shape, err := child(t, w, "label").Integers()
		want := []int64{}
		for i := range u % 3 {
			want = append(want, int64(i-u))
		}
		if err != nil || w.Name != fmt.Sprintf("w%03d", u) || !slices.Equal(values, want) || !slices.Equal(shape, []int{u % 3}) {
			t.Errorf("%s: %v of shape %v, %v", w.Name, values, shape, err)
		}
	}
	if v, shape, err := child(t, root, "floats").Floats(); err != nil || !slices.Equal(v, []float32{0.5, -1, 2, 3.25}) || !slices.Equal(shape, []int{2, 2}) {
		t.Errorf("floats: %v of shape %v, %v", v, shape, err)
	}
	if v, _, err := child(t, root, "doubles").Floats(); err != nil || !slices.Equal(v, []float32{1e-3, 7}) {
		t.Errorf("doubles: %v, %v", v, err)
	}
	for name, want := range map[string][]int64{"bytes": {0, 200, 255}, "shorts": {-2, 300}} {
		if v, _, err := child(t, root, name).Integers(); err != nil || !slices.Equal(v, want) {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	want := func(name string, err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: want %q, got %v", name, text, err)
		}
	}
	root := open(t, sample(t, "other.h5")).Root()
	for name, text := range map[string]string{"chunks": "in chunks", "zipped": "compressed", "big": "little-endian", "text": "integers and floats"} {
		_, _, err := child(t, root, name).Floats()
		want(name, err, text)
	}
	plain := sample(t, "plain.h5")
	root = open(t, plain).Root()
	_, _, err := child(t, root, "bytes").Floats()
	want("integers", err, "holds integers")
	_, _, err = child(t, root, "floats").Integers()
	want("floats", err, "holds floats")
	_, err = root.Child("nobody")
	want("no child", err, `no member "nobody"`)
	_, err = child(t, root, "floats").Children()
	want("an array's children", err, "is no group")
	for name, c := range map[string]struct {
		raw  []byte
		text string
	}{
		"latest": {sample(t, "latest.h5"), "superblock version"}, "empty": {nil, "no HDF5 file"}, "text": {bytes.Repeat([]byte("x"), 200), "no HDF5 file"},
	} {
		_, err := Open(bytes.NewReader(c.raw), int64(len(c.raw)))
		want(name, err, c.text)
	}
	moved := slices.Clone(plain)
	binary.LittleEndian.PutUint64(moved[24:], 512)
	_, err = Open(bytes.NewReader(moved), int64(len(moved)))
	want("a base", err, "count from 512")
	f, err := Open(bytes.NewReader(plain[:1000]), 1000)
	if err == nil {
		_, err = f.Root().Child("floats")
	}
	want("cut short", err, "beyond the file's end")
	for mark, text := range map[string]string{"TREE": `"TREE"`, "HEAP": `"HEAP"`, "SNOD": `"SNOD"`} {
		_, err := open(t, bytes.ReplaceAll(plain, []byte(mark), []byte("XXXX"))).Root().Children()
		want(mark, err, text)
	}
	if _, _, err := space([]byte{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}); err == nil {
		t.Error("more values than may be")
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"plain.h5", "other.h5", "latest.h5"} {
		f.Add(sample(f, name))
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		file, err := Open(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		all, _ := file.Root().Children()
		for _, o := range all[:min(len(all), 8)] {
			_, _, _ = o.Floats()
			_, _, _ = o.Integers()
			below, _ := o.Children()
			_ = below
		}
	})
}
