package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/translog"
)

// logDocument appends a document that has just been stored to the log.
func (t tx) logDocument(digest fl.Digest, e fl.Envelope) error {
	return t.appendEntry(string(e.Kind), digest[:], nil, e.Encode())
}

// logTransaction appends a transaction that has just been entered to the log,
// as it reads back.
func (t tx) logTransaction(entry credit.Transaction) error {
	var seq int64
	if err := t.sql.QueryRowContext(t.ctx, "SELECT seq FROM transactions WHERE id = ?", entry.ID).Scan(&seq); err != nil {
		return err
	}
	raw, err := store.EncodeTransaction(entry)
	if err != nil {
		return err
	}
	return t.appendEntry(store.TransactionKind, nil, seq, raw)
}

// appendEntry appends an entry, of which document or txn says where its bytes
// are, and the hashes that it completes.
func (t tx) appendEntry(kind string, document []byte, txn any, raw []byte) error {
	n, err := t.logSize()
	if err != nil {
		return err
	}
	hashes, err := translog.Append(n, raw, hashReader{t})
	if err != nil {
		return fmt.Errorf("the hashes of the log are damaged: restore the database from a backup: %w", err)
	}
	if err := t.exec("INSERT INTO log_entries (idx, kind, document, txn) VALUES (?, ?, ?, ?)", n, kind, document, txn); err != nil {
		return err
	}
	args := make([]any, 0, 2*len(hashes))
	for i := range hashes {
		args = append(args, translog.FirstHash(n)+int64(i), hashes[i][:])
	}
	if err := t.exec("INSERT INTO log_hashes (idx, hash) VALUES (?, ?)"+strings.Repeat(", (?, ?)", len(hashes)-1), args...); err != nil {
		return err
	}
	*t.tail = n + 1
	return nil
}

// logSize looks once in a transaction: it holds the write lock or reads a
// snapshot, so nobody else appends meanwhile.
func (t tx) logSize() (int64, error) {
	if *t.tail < 0 {
		if err := t.sql.QueryRowContext(t.ctx, "SELECT coalesce(max(idx) + 1, 0) FROM log_entries").Scan(t.tail); err != nil {
			return 0, err
		}
	}
	return *t.tail, nil
}

// hashReader implements tlog.HashReader in a transaction.
type hashReader struct{ t tx }

// ReadHashes implements tlog.HashReader.
func (r hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(indexes)
	if err != nil {
		return nil, err
	}
	out := make([]tlog.Hash, 0, len(indexes))
	err = r.t.each("SELECT coalesce(h.hash, x'') FROM json_each(?) j LEFT JOIN log_hashes h ON h.idx = j.value ORDER BY j.key", []any{string(list)},
		func(scan func(...any) error) error {
			var raw []byte
			if err := scan(&raw); err != nil {
				return err
			}
			if len(raw) != tlog.HashSize {
				return fmt.Errorf("%w: hash %d of the log", store.ErrNotFound, indexes[len(out)])
			}
			out = append(out, tlog.Hash(raw))
			return nil
		})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// LogHead implements store.Store.
func (s *Store) LogHead(ctx context.Context) (size int64, root tlog.Hash, err error) {
	err = s.view(ctx, "reading the head of the log", func(t tx) error {
		if size, err = t.logSize(); err != nil {
			return err
		}
		root, err = translog.Root(size, hashReader{t})
		return err
	})
	return size, root, err
}

// LogHashes implements store.Store.
func (s *Store) LogHashes(ctx context.Context, indexes []int64) (hashes []tlog.Hash, err error) {
	err = s.view(ctx, "reading hashes of the log", func(t tx) error {
		hashes, err = hashReader{t}.ReadHashes(indexes)
		return err
	})
	return hashes, err
}

// LogIndexes implements store.Store.
func (s *Store) LogIndexes(ctx context.Context, digests []fl.Digest) (indexes []int64, err error) {
	indexes = make([]int64, len(digests))
	err = s.view(ctx, "looking documents up in the log", func(t tx) error {
		for i, digest := range digests {
			found, err := t.one("SELECT idx FROM log_entries WHERE document = ?", []any{digest[:]}, &indexes[i])
			if err != nil {
				return err
			}
			if !found {
				return fmt.Errorf("%w: document %s is not in the log", store.ErrNotFound, digest)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return indexes, nil
}

// LogTransaction implements store.Store.
func (s *Store) LogTransaction(ctx context.Context, id string) (index int64, err error) {
	err = s.view(ctx, "looking a transaction up in the log", func(t tx) error {
		found, err := t.one("SELECT l.idx FROM log_entries l JOIN transactions x ON x.seq = l.txn WHERE x.id = ?", []any{id}, &index)
		if err == nil && !found {
			err = fmt.Errorf("%w: transaction %q is not in the log", store.ErrNotFound, id)
		}
		return err
	})
	return index, err
}

// LogEntries implements store.Store.
func (s *Store) LogEntries(ctx context.Context, from, to int64) (entries []store.LogEntry, err error) {
	err = s.view(ctx, "reading the log", func(t tx) error {
		entries, err = t.logEntries(from, to)
		return err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

func (t tx) logEntries(from, to int64) (entries []store.LogEntry, err error) {
	err = t.each(`SELECT l.idx, l.kind, d.envelope FROM log_entries l LEFT JOIN documents d ON d.digest = l.document
		WHERE l.idx >= ? AND l.idx < ? ORDER BY l.idx`, []any{from, to}, func(scan func(...any) error) error {
		var e store.LogEntry
		err := scan(&e.Index, &e.Kind, &e.Bytes)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	ledger, err := t.transactions("WHERE t.seq IN (SELECT txn FROM log_entries WHERE idx >= ? AND idx < ? AND txn IS NOT NULL)", from, to)
	if err != nil {
		return nil, err
	}
	// Both are in the order in which they were entered.
	for i := range entries {
		if entries[i].Kind != store.TransactionKind {
			continue
		}
		if len(ledger) == 0 {
			return nil, fmt.Errorf("entry %d of the log names a transaction that is not in the ledger: restore the database from a backup", entries[i].Index)
		}
		if entries[i].Bytes, err = store.EncodeTransaction(ledger[0]); err != nil {
			return nil, err
		}
		ledger = ledger[1:]
	}
	return entries, nil
}

// KeepCosignature implements store.Store.
func (s *Store) KeepCosignature(ctx context.Context, witness fl.NodeID, size int64, note []byte) error {
	return s.update(ctx, "keeping a cosignature", func(t tx) error {
		return t.exec(`INSERT INTO cosignatures (witness, size, note) VALUES (?, ?, ?)
			ON CONFLICT (witness) DO UPDATE SET size = excluded.size, note = excluded.note WHERE excluded.size > size`, string(witness), size, note)
	})
}

// Cosignatures implements store.Store.
func (s *Store) Cosignatures(ctx context.Context) (all []store.Cosignature, err error) {
	err = s.view(ctx, "reading the cosignatures", func(t tx) error {
		return t.each("SELECT witness, size, note FROM cosignatures ORDER BY witness", nil, func(scan func(...any) error) error {
			var c store.Cosignature
			err := scan(&c.Witness, &c.Size, &c.Note)
			all = append(all, c)
			return err
		})
	})
	return all, err
}

// checkLog recomputes the tree from the entries and compares every hash. It
// also finds a document or a transaction that is not in the log.
func (t tx) checkLog(report func(format string, args ...any)) error {
	size, err := t.logSize()
	if err != nil {
		return err
	}
	const page = 256
	for from := int64(0); from < size; from += page {
		entries, err := t.logEntries(from, min(from+page, size))
		if err != nil {
			return err
		}
		for i, e := range entries {
			n := from + int64(i)
			if e.Index != n {
				report("the log has no entry %d", n)
				return nil
			}
			want, err := translog.Append(n, e.Bytes, hashReader{t})
			if err != nil {
				return err
			}
			at := make([]int64, len(want))
			for k := range at {
				at[k] = translog.FirstHash(n) + int64(k)
			}
			held, err := hashReader{t}.ReadHashes(at)
			if err != nil {
				return err
			}
			for k := range want {
				if held[k] != want[k] {
					report("entry %d of the log is not what was logged", n)
					break
				}
			}
		}
	}
	for query, finding := range map[string]string{
		"SELECT hex(digest) FROM documents WHERE digest NOT IN (SELECT document FROM log_entries WHERE document IS NOT NULL)": "document %s is not in the log",
		"SELECT id FROM transactions WHERE seq NOT IN (SELECT txn FROM log_entries WHERE txn IS NOT NULL)":                    "transaction %s is not in the log",
	} {
		err := t.each(query, nil, func(scan func(...any) error) error {
			var what string
			err := scan(&what)
			report(finding, what)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
