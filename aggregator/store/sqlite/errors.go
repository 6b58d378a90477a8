package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"credence/aggregator/store"
)

// mapError says in the words of package store what SQLite says in codes.
func mapError(err error) error {
	var e *sqlitedriver.Error
	if !errors.As(err, &e) {
		return mapFileError(err)
	}
	switch code := e.Code(); {
	case code&0xff == sqlite3.SQLITE_FULL, code == sqlite3.SQLITE_IOERR_SHMSIZE:
		return fmt.Errorf("%w: the disk that holds the database is full: nothing of this call was stored; free some space and repeat it: %w", store.ErrFull, err)
	case busy(err):
		return fmt.Errorf("another process has kept the database locked for %s: end it or wait for it: %w", busyTimeout, err)
	case code&0xff == sqlite3.SQLITE_READONLY, code&0xff == sqlite3.SQLITE_CANTOPEN, code&0xff == sqlite3.SQLITE_PERM:
		return fmt.Errorf("the database file or its directory may not be written: check owner and mode: %w", err)
	case code&0xff == sqlite3.SQLITE_CORRUPT, code&0xff == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("the file is damaged or not a database: restore it from a backup: %w", err)
	case code == sqlite3.SQLITE_CONSTRAINT_UNIQUE, code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %w", store.ErrConflict, err)
	}
	return err
}

// busy reports whether another process was in the way.
func busy(err error) bool {
	var e *sqlitedriver.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// mapFileError does the same for errors of the operating system.
func mapFileError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the disk that holds the database is full: free some space: %w", store.ErrFull, err)
	}
	return err
}
