package download

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"credence/datasets"
)

// sample makes a file of a set that servers offer.
func sample(name string, raw []byte, urls ...string) File {
	sum := sha256.Sum256(raw)
	return File{Name: name, URLs: urls, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(raw))}
}

func put(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func zipped(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFetch(t *testing.T) {
	raw := bytes.Repeat([]byte("0123456789"), 1000)
	var asked atomic.Int32
	var ranges []string
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		ranges = append(ranges, r.Header.Get("Range"))
		http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(raw))
	}))
	defer good.Close()
	whole := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) }))
	defer whole.Close()
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.ToUpper([]byte(strings.Repeat("x", len(raw)))))
	}))
	defer wrong.Close()
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat(raw, 100)) }))
	defer endless.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
		_, _ = w.Write(raw[:4000])
	}))
	defer broken.Close()
	absent := httptest.NewServer(http.NotFoundHandler())
	defer absent.Close()

	set := func(urls ...string) Set { return Set{Name: "tiny", Files: []File{sample("x.bin", raw, urls...)}} }
	for name, c := range map[string]struct {
		urls []string
		part []byte // what an earlier transfer left
		want string // of the error
	}{
		"one address":          {[]string{good.URL}, nil, ""},
		"second address":       {[]string{absent.URL, wrong.URL, endless.URL, good.URL}, nil, ""},
		"goes on":              {[]string{good.URL}, raw[:1234], ""},
		"goes on elsewhere":    {[]string{broken.URL, good.URL}, nil, ""},
		"server without range": {[]string{whole.URL}, raw[:1234], ""},
		"all of it was there":  {[]string{absent.URL}, raw, ""},
		"too much was there":   {[]string{good.URL}, append(bytes.Clone(raw), 1), ""},
		"damaged part":         {[]string{good.URL, whole.URL}, []byte("X"), ""},
		"wrong bytes":          {[]string{wrong.URL}, nil, "should have " + sample("", raw).SHA256},
		"more bytes":           {[]string{endless.URL}, nil, "should have 10000"},
		"not found":            {[]string{absent.URL}, nil, "404"},
		"broken off":           {[]string{broken.URL}, nil, "broke off after 4000 of 10000 bytes"},
	} {
		cache := t.TempDir()
		if c.part != nil {
			put(t, filepath.Join(cache, "tiny", "x.bin.part"), c.part)
		}
		var seen int64
		err := set(c.urls...).Fetch(t.Context(), cache, Options{Progress: func(_ File, have int64) { seen = have }})
		got, rerr := os.ReadFile(filepath.Join(cache, "tiny", "x.bin"))
		if c.want == "" {
			if err != nil || !bytes.Equal(got, raw) || seen != int64(len(raw)) && name != "all of it was there" {
				t.Errorf("%s: %v, %d bytes, told of %d", name, err, len(got), seen)
			}
			if left, _ := filepath.Glob(filepath.Join(cache, "tiny", "*.part")); len(left) > 0 {
				t.Errorf("%s: left %v", name, left)
			}
			continue
		}
		var missing *MissingError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), c.want) || !errors.Is(rerr, os.ErrNotExist) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		// What to do by hand: which file, with which digest, where.
		for _, say := range []string{c.urls[0], filepath.Join(cache, "tiny"), "10000 bytes", "SHA-256 " + sample("", raw).SHA256, "x.bin"} {
			if !strings.Contains(err.Error(), say) {
				t.Errorf("%s: the error does not say %q: %v", name, say, err)
			}
		}
	}
	if !strings.Contains(strings.Join(ranges, " "), "bytes=1234-") {
		t.Errorf("nothing was asked for in part: %q", ranges)
	}
	// What is there and right is not asked for again; what is wrong stays.
	cache := t.TempDir()
	put(t, filepath.Join(cache, "tiny", "x.bin"), raw)
	before := asked.Load()
	if err := set(good.URL).Fetch(t.Context(), cache, Options{}); err != nil || asked.Load() != before {
		t.Errorf("fetched again: %v", err)
	}
	put(t, filepath.Join(cache, "tiny", "x.bin"), raw[1:])
	var other *WrongError
	if err := set(good.URL).Fetch(t.Context(), cache, Options{}); !errors.As(err, &other) || other.Size != 9999 {
		t.Errorf("a wrong file: %v", err)
	}
	// No network: a server that nobody can reach.
	absent.Close()
	err := set(absent.URL).Fetch(t.Context(), t.TempDir(), Options{})
	if err == nil || !strings.Contains(err.Error(), "with no network, get the file elsewhere and put it at") {
		t.Errorf("no network: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := set(good.URL).Fetch(ctx, t.TempDir(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	femnist, _ := Named(FEMNIST)
	femnist.Files[0].URLs = []string{absent.URL}
	if err := femnist.Fetch(t.Context(), t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "preprocess.sh") {
		t.Errorf("FEMNIST: %v", err)
	}
}

// idx is a file of the MNIST family in its original format.
func idx(kind byte, dims []int, data []byte) []byte {
	out := []byte{0, 0, kind, byte(len(dims))}
	for _, d := range dims {
		out = binary.BigEndian.AppendUint32(out, uint32(d))
	}
	return append(out, data...)
}

func TestLoadIDXSet(t *testing.T) {
	cache := t.TempDir()
	images := zipped(t, idx(8, []int{3, 2, 2}, []byte{0, 255, 51, 0, 1, 2, 3, 4, 5, 6, 7, 8}))
	labels := zipped(t, idx(8, []int{3}, []byte{9, 0, 1}))
	set := Set{Name: "tiny", Features: 4, Classes: 10, load: loadIDX, classNames: digitNames(), Files: []File{
		sample("train-images-idx3-ubyte.gz", images), sample("train-labels-idx1-ubyte.gz", labels),
		sample("t10k-images-idx3-ubyte.gz", images), sample("t10k-labels-idx1-ubyte.gz", labels),
	}}
	_, err := set.Load(cache)
	var missing *MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "credence dataset fetch tiny") {
		t.Errorf("nothing there: %v", err)
	}
	for i, raw := range [][]byte{images, labels, images, labels} {
		put(t, filepath.Join(cache, "tiny", set.Files[i].Name), raw)
	}
	d, err := set.Load(cache)
	if err != nil || d.Train.Rows != 3 || d.Test.Rows != 3 || d.Train.Y[0] != 9 || d.Train.X[1] != 1 || d.Train.X[2] != 0.2 {
		t.Errorf("got %+v, %v", d, err)
	}
	put(t, filepath.Join(cache, "tiny", set.Files[0].Name), zipped(t, idx(8, []int{3, 2, 2}, make([]byte, 12))))
	var wrong *WrongError
	if _, err := set.Load(cache); !errors.As(err, &wrong) {
		t.Errorf("a file that was replaced: %v", err)
	}
}

// cifarArchive is an archive of the original layout with a record a batch.
func cifarArchive(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, name := range names {
		raw := bytes.Repeat([]byte{byte(i)}, 1+datasets.CIFARFeatures)
		if err := w.WriteHeader(&tar.Header{Name: "cifar-10-batches-bin/" + name, Mode: 0o644, Size: int64(len(raw))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped(t, b.Bytes())
}

func TestCIFARArchive(t *testing.T) {
	all := []string{"data_batch_1.bin", "readme.html", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"}
	d, err := readCIFARArchive("x", bytes.NewReader(cifarArchive(t, all...)))
	if err != nil || d.Train.Rows != 5 || d.Test.Rows != 1 || d.Test.Y[0] != 6 || d.Train.Y[1] != 2 {
		t.Errorf("%d and %d rows, %v", d.Train.Rows, d.Test.Rows, err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"not gzip": {[]byte("x"), "gzip"},
		"not tar":  {zipped(t, []byte("nothing of the kind")), "tar"},
		"missing":  {cifarArchive(t, all[:6]...), "5 of 6"},
		"twice":    {cifarArchive(t, "test_batch.bin", "test_batch.bin"), "twice"},
	} {
		if _, err := readCIFARArchive("x", bytes.NewReader(c.raw)); !errors.Is(err, datasets.ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadLEAFSet(t *testing.T) {
	cache := t.TempDir()
	set, _ := Named(FEMNIST)
	if _, err := set.Load(cache); err == nil || !strings.Contains(err.Error(), filepath.Join(cache, FEMNIST)) {
		t.Errorf("nothing there: %v", err)
	}
	pixels := strings.TrimSuffix(strings.Repeat("0.5,", datasets.FEMNISTFeatures), ",")
	for i, path := range []string{"train/all_data_0.json", "train/all_data_1.json", "test/all_data_0.json"} {
		put(t, filepath.Join(cache, FEMNIST, path), fmt.Appendf(nil, `{"users":["w%d"],"num_samples":[1],"user_data":{"w%d":{"x":[[%s]],"y":[%d]}}}`, i, i, pixels, 60+i%2))
	}
	d, err := set.Load(cache)
	if err != nil || d.Train.Rows != 2 || d.Test.Rows != 1 || strings.Join(d.TrainUsers, " ") != "w0 w1" || d.Train.Y[1] != 61 {
		t.Errorf("got %d and %d rows of %v, %v", d.Train.Rows, d.Test.Rows, d.TrainUsers, err)
	}
}

func TestSets(t *testing.T) {
	for _, s := range Sets() {
		schema := s.Schema()
		if err := schema.Validate(); err != nil || schema.Features() != s.Features || len(schema.Classes()) != s.Classes {
			t.Errorf("%s: %d features, %d classes, %v", s.Name, schema.Features(), len(schema.Classes()), err)
		}
		if text, err := schema.YAML(); err != nil || len(text) > datasets.MaxSchemaBytes {
			t.Errorf("%s: a schema of %d bytes, %v", s.Name, len(text), err)
		}
		if s.Title == "" || s.Licence == "" || s.Source == "" || len(s.Files) == 0 || (s.ByHand == "") != (s.loadOwn == nil) {
			t.Errorf("%s: incomplete", s.Name)
		}
		for _, f := range s.Files {
			if len(f.SHA256) != 64 || f.Size < 0 || f.Size == 0 && s.Source != tffSource || len(f.URLs) == 0 || filepath.Base(f.Name) != f.Name {
				t.Errorf("%s: %s: no digest, size or address", s.Name, f.Name)
			}
			for _, address := range f.URLs {
				if u, err := url.Parse(address); err != nil || u.Host == "" {
					t.Errorf("%s: address %q", s.Name, address)
				}
			}
		}
	}
	t.Setenv("CREDENCE_DATASETS", "/somewhere")
	if Cache() != "/somewhere" {
		t.Error("CREDENCE_DATASETS is not heeded")
	}
}

func FuzzCIFARArchive(f *testing.F) {
	f.Add([]byte("x"))
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := readCIFARArchive("fuzz", bytes.NewReader(raw)); err != nil {
			var e *datasets.Error
			if !errors.As(err, &e) || e.Kind == nil {
				t.Fatalf("no kind: %v", err)
			}
		}
	})
}
