package zk

import (
	"errors"
	"io/fs"
	"testing"

	"credence/fl"
)

// TestImportVerifier: an auditor fetches the verifying half alone, and gets the
// keys that the document names or none.
func TestImportVerifier(t *testing.T) {
	made := updateKeys(t, tiny4)
	from, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := from.Save(made); err != nil {
		t.Fatal(err)
	}
	named := made.Manifest().Describe()
	fetched := map[fl.Digest]int{}
	fetch := func(d fl.Digest) ([]byte, error) { fetched[d]++; return from.Read(d) }
	to, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is there is not fetched again
		if err := to.ImportVerifier(named, made.Manifest().Origin, fetch); err != nil {
			t.Fatal(err)
		}
	}
	if fetched[named.Verifying] != 1 || fetched[named.SRS] != 1 || fetched[named.Proving] != 0 {
		t.Errorf("fetched %v", fetched)
	}
	if k, err := to.LoadVerifier(made.Shape(), named.Manifest, nil); err != nil || k.CanProve() {
		t.Errorf("loading what was imported: %v", err)
	}
	if _, err := to.Load(made.Shape(), named.Manifest, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading a proving half that was not fetched: %v", err)
	}
	other := named
	other.Proving[0] ^= 1
	if err := to.ImportVerifier(other, made.Manifest().Origin, fetch); !errors.Is(err, ErrKeys) {
		t.Errorf("keys of another manifest: %v", err)
	}
	empty, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := empty.ImportVerifier(named, made.Manifest().Origin, func(fl.Digest) ([]byte, error) { return []byte("x"), nil }); !errors.Is(err, ErrKeys) {
		t.Errorf("files that are others: %v", err)
	}
}
