package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"credence/aggregator/store"
	"credence/fl"
)

// tx is a transaction with the few verbs that the methods are made of.
type tx struct {
	ctx  context.Context
	sql  *sql.Tx
	tail *int64 // size of the log, once this transaction has looked; -1 before
}

func newTx(ctx context.Context, t *sql.Tx) tx {
	tail := int64(-1)
	return tx{ctx: ctx, sql: t, tail: &tail}
}

// update runs f in a transaction that holds the write lock from its start.
func (s *Store) update(ctx context.Context, doing string, f func(tx) error) error {
	return run(ctx, s.write, nil, doing, f)
}

// view runs f on one snapshot.
func (s *Store) view(ctx context.Context, doing string, f func(tx) error) error {
	return run(ctx, s.read, &sql.TxOptions{ReadOnly: true}, doing, f)
}

func run(ctx context.Context, db *sql.DB, options *sql.TxOptions, doing string, f func(tx) error) error {
	t, err := begin(ctx, db, options)
	if err != nil {
		return fmt.Errorf("store: %s: %w", doing, mapError(err))
	}
	if err := f(newTx(ctx, t)); err != nil {
		if undo := t.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
		return fmt.Errorf("store: %s: %w", doing, mapError(err))
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("store: %s: %w", doing, mapError(err))
	}
	return nil
}

// begin waits for other processes that write. Only beginning can fail for that
// reason: from then on the transaction holds the lock, or reads a snapshot.
func begin(ctx context.Context, db *sql.DB, options *sql.TxOptions) (*sql.Tx, error) {
	for first := time.Now(); ; {
		t, err := db.BeginTx(ctx, options)
		if err == nil || !busy(err) || time.Since(first) > busyTimeout {
			return t, err
		}
	}
}

func (t tx) exec(query string, args ...any) error {
	_, err := t.sql.ExecContext(t.ctx, query, args...)
	return err
}

// one reads a single row and reports whether there was one.
func (t tx) one(query string, args []any, into ...any) (bool, error) {
	err := t.sql.QueryRowContext(t.ctx, query, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// each calls row for every row; row scans it.
func (t tx) each(query string, args []any, row func(scan func(...any) error) error) (err error) {
	rows, err := t.sql.QueryContext(t.ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// put stores a document and appends it to the log, or finds that it is stored,
// and returns its digest.
// An envelope that would not read back as the same document is refused here,
// not found out later.
func (t tx) put(e fl.Envelope) (fl.Digest, error) {
	text := e.Encode()
	digest := e.Digest()
	back, err := fl.DecodeEnvelope(text)
	if err != nil {
		return digest, fmt.Errorf("a %s by %s cannot be stored: %w", e.Kind, e.Signer, err)
	}
	if back.Digest() != digest {
		return digest, fmt.Errorf("%w: a %s by %s: its payload is not in canonical form", fl.ErrMalformed, e.Kind, e.Signer)
	}
	done, err := t.sql.ExecContext(t.ctx, "INSERT INTO documents (digest, kind, signer, envelope) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
		digest[:], string(e.Kind), string(e.Signer), text)
	if err != nil {
		return digest, err
	}
	if rows, err := done.RowsAffected(); err != nil || rows == 0 {
		return digest, err
	}
	return digest, t.logDocument(digest, e)
}

// document reads a stored document back and checks it against its address.
func (t tx) document(digest fl.Digest) (fl.Envelope, error) {
	var text []byte
	found, err := t.one("SELECT envelope FROM documents WHERE digest = ?", []any{digest[:]}, &text)
	if err != nil {
		return fl.Envelope{}, err
	}
	if !found {
		return fl.Envelope{}, fmt.Errorf("%w: document %s", store.ErrNotFound, digest)
	}
	return decodeDocument(digest, text)
}

func decodeDocument(digest fl.Digest, text []byte) (fl.Envelope, error) {
	e, err := fl.DecodeEnvelope(text)
	if err != nil {
		return fl.Envelope{}, fmt.Errorf("stored document %s is damaged: restore the database from a backup: %w", digest, err)
	}
	if e.Digest() != digest {
		return fl.Envelope{}, fmt.Errorf("stored document %s is damaged (its content has digest %s): restore the database from a backup", digest, e.Digest())
	}
	return e, nil
}

// digestColumn scans a digest; NULL leaves it zero.
type digestColumn fl.Digest

// Scan implements sql.Scanner.
func (d *digestColumn) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*d = digestColumn{}
		return nil
	case []byte:
		if len(v) == len(d) {
			copy(d[:], v)
			return nil
		}
	}
	return fmt.Errorf("a digest column holds %T", value)
}

func (d digestColumn) digest() fl.Digest { return fl.Digest(d) }

func milliseconds(t time.Time) int64 { return fl.Instant(t).UnixMilli() }

func instant(milliseconds int64) time.Time { return time.UnixMilli(milliseconds).UTC() }

// number turns a counter into what SQLite holds.
func number(n uint64) (int64, error) {
	if n > 1<<62 {
		return 0, fmt.Errorf("counter %d is out of range", n)
	}
	return int64(n), nil
}
