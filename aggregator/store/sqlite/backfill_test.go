package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"credence/aggregator/store/storetest"
)

// TestBackfill opens a database of the first schema: what it holds is entered
// into the log, the same way every time.
func TestBackfill(t *testing.T) {
	s := fresh(t)
	storetest.Fill(t, s)
	size, _, err := s.LogHead(t.Context())
	must(t, err)
	_, err = s.write.ExecContext(t.Context(), `DROP TABLE log_entries; DROP TABLE log_hashes; DROP TABLE cosignatures; DROP TABLE proof_keys; DROP TABLE datasets;
		DROP INDEX rounds_kept; ALTER TABLE rounds DROP COLUMN pruned; DELETE FROM goose_db_version WHERE version_id > 1;
		PRAGMA wal_checkpoint(TRUNCATE)`)
	must(t, err)
	old, err := os.ReadFile(s.path)
	must(t, err)
	var first tlog.Hash
	for i := range 3 {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.db", i))
		must(t, os.WriteFile(path, bytes.Clone(old), 0o600))
		for range 2 { // and opening it again changes nothing
			again, err := Open(t.Context(), path)
			must(t, err)
			got, root, err := again.LogHead(t.Context())
			must(t, err)
			must(t, again.Check(t.Context()))
			entries, err := again.LogEntries(t.Context(), 0, 1)
			must(t, err)
			must(t, again.Close())
			if first == (tlog.Hash{}) {
				first = root
			}
			if got != size || root != first || entries[0].Kind != "genesis/v1" {
				t.Errorf("%d entries with root %s, the first a %s: want %d with %s", got, root, entries[0].Kind, size, first)
			}
		}
	}
}
