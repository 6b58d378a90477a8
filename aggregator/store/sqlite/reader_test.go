package sqlite

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"credence/fl"
	"credence/fl/credit"
)

// TestReader: a reader sees what a store holds, also while that is open, and
// changes nothing.
func TestReader(t *testing.T) {
	ctx := t.Context()
	path := databaseIn(t.TempDir())
	if _, err := OpenReader(ctx, path); err == nil {
		t.Fatal("a reader of nothing")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a reader made a database: %v", err)
	}
	s, err := Open(ctx, path)
	must(t, err)
	grant, err := credit.Grant("alpha", 7, fl.Digest{1}, time.UnixMilli(1_700_000_000_000))
	must(t, err)
	must(t, s.Transact(ctx, grant))
	r, err := OpenReader(ctx, path)
	must(t, err)
	size, root, err := r.LogHead(ctx)
	wantSize, wantRoot, wantErr := s.LogHead(ctx)
	if err != nil || wantErr != nil || size != wantSize || root != wantRoot || size != 1 {
		t.Errorf("a reader sees %d entries under %s (%v), the store has %d under %s (%v)", size, root, err, wantSize, wantRoot, wantErr)
	}
	other, err := credit.Grant("beta", 7, fl.Digest{2}, time.UnixMilli(1_700_000_000_000))
	must(t, err)
	if err := r.Transact(ctx, other); err == nil {
		t.Error("a reader entered a transaction")
	}
	must(t, r.Close())
	must(t, s.Close())

	before, err := os.ReadFile(path)
	must(t, err)
	r, err = OpenReader(ctx, path)
	must(t, err)
	if balances, err := r.Balances(ctx); err != nil || balances["party/alpha"] != 7 || len(balances) != 2 {
		t.Errorf("balances %v, %v", balances, err)
	}
	must(t, r.Close())
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("reading changed the database")
	}
	must(t, os.WriteFile(path, []byte("not a database at all, only a file of some length"), 0o600))
	if _, err := OpenReader(ctx, path); err == nil {
		t.Error("a reader of another program's file")
	}
}
