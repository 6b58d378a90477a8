package download

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"credence/datasets"
)

func tffSample(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "fed_emnist.tar.bz2"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A sample in the original format (testdata/make_sample.py), with a digest but no
// size known beforehand, is fetched, unpacked once and read with its writers.
func TestLoadTFF(t *testing.T) {
	raw := tffSample(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(raw))
	}))
	defer server.Close()
	set, _ := Named(FEMNIST)
	set.Files[0] = sample(set.Files[0].Name, raw, server.URL+"/a")
	set.Files[0].Size = 0
	cache := t.TempDir()
	// All of it had arrived, and the program ended before it looked at it.
	put(t, filepath.Join(set.Dir(cache), set.Files[0].Name+".part"), raw)
	for range 2 {
		if err := set.Fetch(t.Context(), cache, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := set.Load(cache)
	if err != nil {
		t.Fatal(err)
	}
	// 24 writers; those of odd number have one example more.
	if d.Train.Rows != 24*2+12 || d.Test.Rows != 24+12 || len(d.TrainUsers) != d.Train.Rows || d.TrainUsers[0] != "f0000_00" || d.TrainUsers[2] != "f0037_01" || d.Train.Y[2] != 1 {
		t.Errorf("%d and %d rows, writers %v", d.Train.Rows, d.Test.Rows, d.TrainUsers[:3])
	}
	if err := d.Train.Validate(); err != nil {
		t.Error(err)
	}
	if d.Train.X[0] != 1 || d.Train.X[6*28+6] != 0 || d.Train.X[2*784+6*28+7] != 0.25 {
		t.Errorf("pixels %v", d.Train.X[6*28:7*28])
	}
	train := filepath.Join(set.Dir(cache), "fed_emnist_train.h5")
	before, err := os.Stat(train)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Load(cache); err != nil {
		t.Fatal(err)
	}
	if again, err := os.Stat(train); err != nil || !os.SameFile(before, again) {
		t.Errorf("it was unpacked twice (%v)", err)
	}
	// What was damaged in the cache is unpacked again.
	put(t, train, []byte("x"))
	if again, err := set.Load(cache); err != nil || again.Train.Rows != d.Train.Rows {
		t.Errorf("after damage: %d rows, %v", again.Train.Rows, err)
	}
	put(t, filepath.Join(set.Dir(cache), set.Files[0].Name), append(raw, 0))
	var wrong *WrongError
	if _, err := set.Load(cache); !errors.As(err, &wrong) {
		t.Errorf("another archive: %v", err)
	}
	if set.Whereabouts(cache) != "fetched" || set.Whereabouts(t.TempDir()) != "to fetch" {
		t.Error("it is said to be elsewhere")
	}
}

func TestTFFRefusals(t *testing.T) {
	dir := t.TempDir()
	s := tff{"fed_emnist", datasets.FEMNISTClasses, 3}
	put(t, filepath.Join(dir, "fed_emnist.tar.bz2"), tffSample(t))
	d, err := s.load(dir)
	if err != nil || d.Train.Rows != 7 {
		t.Fatalf("three writers have %d rows, %v", d.Train.Rows, err)
	}
	part, err := os.ReadFile(filepath.Join(dir, "fed_emnist_train.h5"))
	if err != nil {
		t.Fatal(err)
	}
	read := func(s tff, raw []byte) error {
		_, _, err := s.read("x.h5", bytes.NewReader(raw), int64(len(raw)))
		return err
	}
	for name, c := range map[string]struct {
		s    tff
		raw  []byte
		want string
	}{
		"no HDF5":       {s, []byte("x"), "no HDF5 file"},
		"no examples":   {s, bytes.ReplaceAll(part, []byte("examples"), []byte("exemples")), "no examples"},
		"no pixels":     {s, bytes.ReplaceAll(part, []byte("pixels"), []byte("pixelz")), "writer 1: the pixels"},
		"no label":      {s, bytes.ReplaceAll(part, []byte("label\x00"), []byte("labex\x00")), "writer 1: the labels"},
		"a large pixel": {s, bytes.Replace(part, []byte{0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f}, []byte{0, 0, 0, 0x40, 0, 0, 0x80, 0x3f}, 1), "not in [0,1]"},
		"other classes": {tff{"fed_emnist", 2, 0}, part, "not in [0,2)"},
	} {
		if err := read(c.s, c.raw); err == nil || !errors.Is(err, datasets.ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %q, got %v", name, c.want, err)
		}
	}
	put(t, filepath.Join(dir, "other.tar.bz2"), tffSample(t))
	if _, err := (tff{"other", 62, 0}).load(dir); err == nil || !strings.Contains(err.Error(), "0 of 2 files") {
		t.Errorf("another archive: %v", err)
	}
	put(t, filepath.Join(dir, "bad.tar.bz2"), []byte("x"))
	if _, err := (tff{"bad", 62, 0}).load(dir); err == nil {
		t.Error("no archive was unpacked")
	}
	if _, err := (tff{"absent", 62, 0}).load(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

func FuzzTFF(f *testing.F) {
	f.Add([]byte("x"))
	plain, err := os.ReadFile(filepath.Join("..", "hdf5", "testdata", "plain.h5"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, users, err := (tff{"fuzz", 10, 5}).read("fuzz", bytes.NewReader(raw), int64(len(raw)))
		if err == nil && (e.Rows != len(users) || e.Validate() != nil) {
			t.Fatalf("%d rows of %d writers", e.Rows, len(users))
		}
	})
}
