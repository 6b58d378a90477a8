package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// File is an open file.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

// FS is every operation on files that a store makes. Names are relative and
// separated by slashes. It exists so that tests can make each of them fail.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Mkdir(name string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
	Stat(name string) (fs.FileInfo, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	SyncDir(name string) error // makes the entries of a directory durable
	Close() error
}

// rooted is the FS of a directory.
type rooted struct{ root *os.Root }

func (r rooted) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := r.root.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // and not a File that holds a nil *os.File
	}
	return f, nil
}

func (r rooted) Mkdir(name string, perm fs.FileMode) error { return r.root.Mkdir(name, perm) }
func (r rooted) Rename(from, to string) error              { return r.root.Rename(from, to) }
func (r rooted) Remove(name string) error                  { return r.root.Remove(name) }
func (r rooted) Stat(name string) (fs.FileInfo, error)     { return r.root.Lstat(name) }
func (r rooted) Close() error                              { return r.root.Close() }

func (r rooted) ReadDir(name string) ([]fs.DirEntry, error) {
	d, err := r.root.Open(name)
	if err != nil {
		return nil, err
	}
	entries, err := d.ReadDir(-1)
	return entries, errors.Join(err, d.Close())
}

func (r rooted) SyncDir(name string) error {
	d, err := r.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
