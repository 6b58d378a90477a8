package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"credence/aggregator/store"
	"credence/aggregator/store/storetest"
	"credence/fl"
	"credence/fl/credit"
)

func TestMain(m *testing.M) {
	storetest.Child(openIn)
	goleak.VerifyTestMain(m)
}

func databaseIn(dir string) string { return filepath.Join(dir, "data", "aggregator.db") }

func openIn(ctx context.Context, dir string) (store.Store, error) { return Open(ctx, databaseIn(dir)) }

func TestConformance(t *testing.T) { storetest.Run(t, openIn) }

func TestCrash(t *testing.T) { storetest.RunCrash(t, openIn) }

func TestProcesses(t *testing.T) { storetest.RunProcesses(t, openIn) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fresh(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), databaseIn(t.TempDir()))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func grant(id string, amount int64) credit.Transaction {
	return credit.Transaction{ID: id, Ref: fl.DigestBytes([]byte(id)), At: time.UnixMilli(1), Postings: []fl.Posting{
		{Account: credit.Issuer, Amount: -amount}, {Account: "party/a", Amount: amount}}}
}

func TestFilesArePrivate(t *testing.T) {
	s := fresh(t)
	must(t, s.Transact(t.Context(), grant("g", 1)))
	dir := filepath.Dir(s.path)
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", info.Mode().Perm())
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 3 { // the database, its log and its shared memory
		t.Errorf("%d files", len(entries))
	}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode().Perm())
		}
	}
}

func TestOpenMakesFilePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?x=1&%41#.db")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Chmod(path, 0o644)) // #nosec G302 -- what is tested
	s, err := Open(t.Context(), path)
	must(t, err)
	must(t, s.Close())
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 || info.Size() == 0 {
		t.Fatalf("mode %v, %d bytes", info.Mode().Perm(), info.Size())
	}
}

func TestSettings(t *testing.T) {
	s := fresh(t)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1",
		"recursive_triggers": "1", "trusted_schema": "0", "application_id": fmt.Sprint(applicationID),
	} {
		for _, db := range []*sql.DB{s.write, s.read} {
			var got string
			must(t, db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
			if got != want {
				t.Errorf("%s is %s, want %s", pragma, got, want)
			}
		}
	}
}

func TestRefusesNewerSchema(t *testing.T) {
	s := fresh(t)
	_, err := s.write.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	must(t, err)
	_, err = Open(t.Context(), s.path)
	if !errors.Is(err, errNewer) || !strings.Contains(err.Error(), "version 999") {
		t.Fatalf("got %v", err)
	}
}

func TestRefusesOtherFiles(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other.db")
	must(t, os.WriteFile(other, nil, 0o600))
	db, err := connect(other, 1, busyRound)
	must(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE TABLE theirs (x INTEGER)")
	must(t, errors.Join(err, db.Close()))
	if _, err := Open(t.Context(), other); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("another program's database: got %v", err)
	}
	text := filepath.Join(t.TempDir(), "text.db")
	must(t, os.WriteFile(text, []byte(strings.Repeat("not a database\n", 100)), 0o600))
	if _, err := Open(t.Context(), text); err == nil || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("a text file: got %v", err)
	}
	if _, err := Open(t.Context(), t.TempDir()); err == nil {
		t.Error("a directory is opened")
	}
}

// TestOpenAtOnce: several processes may meet an empty file.
func TestOpenAtOnce(t *testing.T) {
	path := databaseIn(t.TempDir())
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.Transact(t.Context(), grant(fmt.Sprint(i), 1)), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAppendOnly(t *testing.T) {
	s := fresh(t)
	must(t, s.Transact(t.Context(), grant("g", 1)))
	digest := fl.DigestBytes(nil)
	_, err := s.write.ExecContext(t.Context(), "INSERT INTO documents VALUES (?, 'k', 's', x'00')", digest[:])
	must(t, err)
	for _, query := range []string{
		"UPDATE documents SET kind = 'x'", "DELETE FROM documents", "UPDATE postings SET amount = 0", "DELETE FROM postings",
		"UPDATE transactions SET id = 'x'", "DELETE FROM transactions",
		"INSERT OR REPLACE INTO documents SELECT digest, 'x', signer, envelope FROM documents",
		"UPDATE log_entries SET kind = 'x'", "DELETE FROM log_entries", "UPDATE log_hashes SET hash = zeroblob(32)", "DELETE FROM log_hashes",
		"INSERT OR REPLACE INTO log_hashes SELECT idx, zeroblob(32) FROM log_hashes",
		"INSERT OR REPLACE INTO postings SELECT txn, leg, account, 7, memo FROM postings",
	} {
		if _, err := s.write.ExecContext(t.Context(), query); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: got %v", query, err)
		}
	}
	if _, err := s.write.ExecContext(t.Context(), "UPDATE accounts SET balance = -1 WHERE account = 'party/a'"); err == nil {
		t.Error("a party's balance can be negative")
	}
}

func TestDiskFull(t *testing.T) {
	s := fresh(t)
	must(t, s.Transact(t.Context(), grant("before", 1)))
	var pages int
	must(t, s.write.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages))
	limit := func(n int) {
		t.Helper()
		_, err := s.write.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", n))
		must(t, err)
	}
	limit(pages)
	var err error
	entered := 0
	for ; err == nil && entered < 1000; entered++ {
		err = s.Transact(t.Context(), grant(fmt.Sprintf("%0200d", entered), 1))
	}
	if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "free some space") {
		t.Fatalf("got %v", err)
	}
	must(t, s.Check(t.Context()))
	limit(1 << 20)
	must(t, s.Transact(t.Context(), grant("after", 1)))
	balances, err := s.Balances(t.Context())
	must(t, err)
	if want := int64(entered - 1 + 2); balances["party/a"] != want {
		t.Fatalf("%d credits, want %d", balances["party/a"], want)
	}
	if err := mapFileError(&os.PathError{Err: syscall.ENOSPC}); !errors.Is(err, store.ErrFull) {
		t.Fatalf("ENOSPC is %v", err)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	for _, damage := range []struct{ what, finding string }{
		{"DROP TRIGGER postings_keep; UPDATE postings SET amount = amount + 1 WHERE leg = 0", "does not sum to zero"},
		{"UPDATE accounts SET balance = 99 WHERE account = 'party/a'", "the balance of party/a"},
		{"DELETE FROM accounts WHERE account = 'party/a'", "has postings and no balance"},
		{"INSERT INTO documents VALUES (zeroblob(32), 'k', 's', x'00')", "is damaged"},
		{"INSERT INTO documents VALUES (zeroblob(32), 'k', 's', x'00')", "is not in the log"},
		{"DROP TRIGGER log_hashes_keep; UPDATE log_hashes SET hash = zeroblob(32)", "is not what was logged"},
		{"DROP TRIGGER transactions_keep; UPDATE transactions SET at = at + 1", "is not what was logged"},
		{"DROP TRIGGER log_entries_stay; DELETE FROM log_entries", "transaction g is not in the log"},
		{"PRAGMA foreign_keys = 0; INSERT INTO genesis VALUES (1, zeroblob(32))", "dangling reference in table genesis"},
	} {
		s := fresh(t)
		must(t, s.Transact(t.Context(), grant("g", 1)))
		must(t, s.Check(t.Context()))
		_, err := s.write.ExecContext(t.Context(), damage.what)
		must(t, err)
		if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), damage.finding) {
			t.Errorf("after %q: got %v, want %q", damage.what, err, damage.finding)
		}
	}
}

func TestClock(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	s, err := Open(t.Context(), databaseIn(t.TempDir()), WithClock(func() time.Time { return now }))
	must(t, err)
	defer func() { must(t, s.Close()) }()
	inv := store.Invitation{Token: fl.Digest{1}, Node: "a", ExpiresAt: now.Add(time.Second)}
	must(t, s.Invite(t.Context(), inv))
	inv.Token = fl.Digest{2}
	if err := s.Invite(t.Context(), inv); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	must(t, s.Invite(t.Context(), inv))
}

func TestBusyAndCancelled(t *testing.T) {
	s := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Transact(ctx, grant("g", 1)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	// A writer in another process holds the lock: whoever waits can give up.
	other, err := Open(t.Context(), s.path)
	must(t, err)
	defer func() { must(t, other.Close()) }()
	lock, err := other.write.BeginTx(t.Context(), nil)
	must(t, err)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Transact(ctx, grant("g", 1)); err == nil {
		t.Fatal("two writers at once")
	}
	if _, err := s.Balances(t.Context()); err != nil {
		t.Fatalf("a reader waits for a writer: %v", err)
	}
	// And who does not give up gets its turn, also after several rounds of
	// waiting.
	unlocked := make(chan error, 1)
	time.AfterFunc(3*busyRound, func() { unlocked <- lock.Rollback() })
	must(t, s.Transact(t.Context(), grant("g", 1)))
	must(t, <-unlocked)
}

func BenchmarkStore(b *testing.B) { storetest.Bench(b, openIn) }
