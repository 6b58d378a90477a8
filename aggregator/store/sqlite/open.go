package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	sqlitedriver "modernc.org/sqlite"

	"credence/aggregator/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	applicationID = 1129464133             // "CRDE", as in the first migration
	busyTimeout   = 20 * time.Second       // how long to wait for another process
	busyRound     = 100 * time.Millisecond // how long SQLite waits by itself, deaf to a context
	readers       = 4                      // connections that read beside the one that writes
	pageCache     = 256                    // KiB a connection keeps of the file; SQLite's default is 2000
)

// Store implements store.Store.
type Store struct {
	path  string
	write *sql.DB // one connection: writers of this process queue here, not on the file's lock
	read  *sql.DB
	now   func() time.Time

	epochs epochCache
	joins  joinCache
}

var _ store.Store = (*Store)(nil)

// Option changes how a store is opened.
type Option func(*Store)

// WithClock replaces the clock. The only question it answers is whether an
// invitation has expired and may be replaced by another one. nil leaves
// time.Now.
func WithClock(now func() time.Time) Option {
	return func(s *Store) {
		if now != nil {
			s.now = now
		}
	}
}

// Open opens the database at a path, creating it (mode 0600, in a directory
// of mode 0700) when there is none, and brings its schema up to date. A
// database of a newer schema, or of another program, is refused.
func Open(ctx context.Context, path string, options ...Option) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	if err := prepareFile(abs); err != nil {
		return nil, fmt.Errorf("store: preparing %s: %w", abs, mapFileError(err))
	}
	if err := migrate(ctx, abs); err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", abs, mapError(err))
	}
	s := &Store{path: abs, now: time.Now}
	for _, o := range options {
		o(s)
	}
	if s.write, err = connect(abs, 1, busyRound); err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", abs, err)
	}
	if s.read, err = connect(abs, readers, busyTimeout); err != nil {
		return nil, errors.Join(fmt.Errorf("store: opening %s: %w", abs, err), s.write.Close())
	}
	var mode string
	if err := s.write.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		return nil, errors.Join(fmt.Errorf("store: %s: journal mode is %q (%w): want a write-ahead log, which needs a local file system", abs, mode, err), s.Close())
	}
	return s, nil
}

// OpenReader opens the database at a path to look at it: nothing in it is
// changed, not even its schema, and whatever would write fails.
func OpenReader(ctx context.Context, path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	db, err := open(abs, readers, url.Values{
		"mode": {"ro"}, "_dqs": {"0"},
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "query_only(1)", "trusted_schema(0)"},
	})
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", abs, err)
	}
	s := &Store{path: abs, write: db, read: db, now: time.Now}
	var id, version int
	err = s.view(ctx, "looking whose database it is", func(t tx) error {
		if err := t.sql.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil || id != applicationID {
			return err
		}
		return t.sql.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version").Scan(&version)
	})
	switch {
	case err != nil:
	case id != applicationID:
		err = errors.New("the file is a database of another program: name another file")
	case version < backfillVersion:
		err = fmt.Errorf("its schema is version %d, from before there was a log: serve it once with this program", version)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: opening %s to look at it: %w", abs, err), s.Close())
	}
	return s, nil
}

// Close releases the file. What was stored stays.
func (s *Store) Close() error {
	if err := errors.Join(s.read.Close(), s.write.Close()); err != nil {
		return fmt.Errorf("store: closing %s: %w", s.path, err)
	}
	return nil
}

// prepareFile makes sure of a private file before SQLite sees it; the
// write-ahead log and the shared-memory file inherit its mode.
func prepareFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- the operator's path
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	d, err := os.Open(dir) // #nosec G304 -- the operator's path
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func connect(path string, connections int, busy time.Duration) (*sql.DB, error) {
	query := url.Values{
		"_txlock": {"immediate"}, // a transaction that is not read-only takes the write lock at once
		"_dqs":    {"0"},         // a name in double quotes is a name, never a string
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()),
			fmt.Sprintf("cache_size(-%d)", pageCache),
			"foreign_keys(1)",
			"journal_mode(WAL)",
			"recursive_triggers(1)", // else INSERT OR REPLACE would get past the append-only triggers
			"synchronous(FULL)",
			"trusted_schema(0)",
		},
	}
	return open(path, connections, query)
}

func open(path string, connections int, query url.Values) (*sql.DB, error) {
	name := (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query.Encode()}).String()
	connector, err := sqlitedriver.NewConnector(name)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// migrate brings the schema up to date. Two processes may do so at once: each
// migration is one immediate transaction, so one of them fails, and finds at
// its next attempt that there is one less to do, or nothing.
func migrate(ctx context.Context, path string) (err error) {
	db, err := connect(path, 2, busyTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// On one snapshot: another process may be at the first migration.
	var id, tables int
	err = run(ctx, db, &sql.TxOptions{ReadOnly: true}, "looking whose database it is", func(t tx) error {
		if err := t.sql.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'goose_%' AND name NOT LIKE 'sqlite_%'").Scan(&tables); err != nil {
			return err
		}
		return t.sql.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id)
	})
	if err != nil {
		return err
	}
	if id != applicationID && (id != 0 || tables != 0) {
		return errors.New("the file is a database of another program: name another file")
	}
	sources, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	first := time.Now()
	for attempt := 1; ; attempt++ {
		err = migrateOnce(ctx, db, sources)
		again := attempt < 10 || busy(err) && time.Since(first) < busyTimeout
		if err == nil || errors.Is(err, errNewer) || !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(min(attempt, 10)) * 5 * time.Millisecond): // let the other one finish
		}
	}
}

var errNewer = errors.New("the database was written by a newer version of this program")

func migrateOnce(ctx context.Context, db *sql.DB, sources fs.FS) error {
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, sources, goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(goose.NewGoMigration(backfillVersion, &goose.GoFunc{RunTx: backfill}, nil)))
	if err != nil {
		return err
	}
	current, known, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > known {
		return fmt.Errorf("%w: its schema is version %d and this build knows versions up to %d: use a build at least as new", errNewer, current, known)
	}
	if current == known {
		return nil
	}
	_, err = provider.Up(ctx)
	return err
}
