package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"credence/aggregator/blob/blobtest"
	"credence/fl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(filepath.Join(dir, "data"), Options{Quota: blobtest.Quota})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func blobPath(dir string, digest fl.Digest) string {
	_, name := place(digest)
	return filepath.Join(dir, "data", name)
}

func TestConformance(t *testing.T) {
	blobtest.Suite{
		Open: func(t testing.TB, dir string) blobtest.Both { return open(t, dir) },
		Damage: func(t testing.TB, dir string, digest fl.Digest) {
			f, err := os.OpenFile(blobPath(dir, digest), os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte("damage"), 50)
			must(t, err)
			must(t, f.Close())
		},
	}.Run(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	s := open(t, dir)
	digest, err := s.Put(ctx, []byte("finished"))
	must(t, err)
	_, err = s.Append(ctx, "a", digest, 0, []byte("unfinished"))
	must(t, err)
	files := 0
	must(t, filepath.Walk(filepath.Join(dir, "data"), func(path string, info os.FileInfo, err error) error {
		want := os.FileMode(0o600)
		if err == nil && info.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return err
	}))
	if files != 2 {
		t.Fatalf("%d files, want 2", files)
	}
}

func TestSweep(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	s := open(t, dir)
	kept, err := s.Put(ctx, []byte("finished"))
	must(t, err)
	old, young := fl.DigestBytes([]byte("old")), fl.DigestBytes([]byte("young"))
	now := time.Now()
	age := func(name string, by time.Duration) {
		t.Helper()
		must(t, os.Chtimes(filepath.Join(dir, "data", name), now.Add(-by), now.Add(-by)))
	}
	for _, digest := range []fl.Digest{old, young} {
		_, err = s.Append(ctx, "a", digest, 0, []byte("12345"))
		must(t, err)
	}
	age(upload{"a", old}.file(), 2*time.Hour)
	must(t, os.WriteFile(filepath.Join(dir, "data", tmp, "LEFT"), []byte("1"), 0o600))
	age(tmp+"/LEFT", 2*time.Hour)
	_, blobName := place(kept)
	age(blobName, 2*time.Hour)
	must(t, os.WriteFile(filepath.Join(dir, "data", staging, "a", "not ours"), nil, 0o600))
	age(staging+"/a/not ours", 2*time.Hour)

	swept, err := s.Sweep(ctx, now.Add(-time.Hour))
	must(t, err)
	if want := (Swept{Files: 2, Bytes: 1 + frameHeader + 5}); swept != want {
		t.Fatalf("swept %+v, want %+v", swept, want)
	}
	for digest, want := range map[fl.Digest]int64{old: 0, young: 5} {
		if offset, err := s.Offset(ctx, "a", digest); err != nil || offset != want {
			t.Fatalf("offset %d, %v; want %d", offset, err, want)
		}
	}
	_, err = s.Get(ctx, kept)
	must(t, err)
	if total := s.usage["a"].total; total != frameHeader+5+fileCost {
		t.Fatalf("%d bytes are charged", total)
	}
	_, err = s.Append(ctx, "a", old, 0, []byte("old"))
	must(t, err)
	must(t, s.Finish(ctx, "a", old))
}

// TestNoWayOut: a symbolic link that leads out of the directory is refused.
func TestNoWayOut(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir)
	must(t, os.Symlink(outside, filepath.Join(dir, "data", staging, "a")))
	if _, err := s.Append(t.Context(), "a", fl.DigestBytes(nil), 0, []byte("x")); err == nil {
		t.Fatal("wrote through a link that leads out")
	}
	entries, err := os.ReadDir(outside)
	must(t, err)
	if len(entries) > 0 {
		t.Fatal("a file was made outside")
	}
}

func TestRefusals(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.Append(t.Context(), "a", fl.Digest{}, 0, make([]byte, MaxChunk+1)); err == nil {
		t.Fatal("a chunk over MaxChunk is accepted")
	}
	if _, err := Open(t.TempDir(), Options{Quota: -1}); err == nil {
		t.Fatal("a negative quota is accepted")
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(file, Options{}); err == nil {
		t.Fatal("a file is opened as a directory")
	}
}

// TestEach lists what is stored, and nothing else that lies in the folder.
func TestEach(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var want []fl.Digest
	for i := range 5 {
		digest, err := s.Put(t.Context(), []byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, digest)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(blobPath(dir, want[0])), "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var got []fl.Digest
	if err := s.Each(t.Context(), func(d fl.Digest) error { got = append(got, d); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(want, func(a, b fl.Digest) int { return bytes.Compare(a[:], b[:]) })
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	stop := errors.New("stop")
	calls := 0
	if err := s.Each(t.Context(), func(fl.Digest) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}
