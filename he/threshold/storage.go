package threshold

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// storage is every operation a KeyHolder performs on its directory. Tests
// replace it to fail or crash at each single one.
type storage interface {
	// writeSync creates or truncates name (mode 0600), writes and fsyncs it.
	writeSync(name string, data []byte) error
	// rename replaces newName by oldName atomically.
	rename(oldName, newName string) error
	// syncDir makes dir's entries durable.
	syncDir(dir string) error
	// remove deletes name; a missing file is no error.
	remove(name string) error
	// read returns the file or fs.ErrNotExist.
	read(name string) ([]byte, error)
	// list returns the names of dir's files.
	list(dir string) ([]string, error)
	// close releases the directory.
	close() error
}

// The directories of a holder's state; names are relative to its root.
const (
	dirEpochs   = "epochs"
	dirNoise    = "noise"
	dirReleased = "released"
	dirClosed   = "closed"
	tmpSuffix   = ".tmp"
)

var stateDirs = []string{dirEpochs, dirNoise, dirReleased, dirClosed}

// disk is storage on the file system.
type disk struct {
	root string
	lock *os.File
}

// openDisk makes the directories (0700) and takes the lock.
func openDisk(root string) (*disk, error) {
	for _, dir := range append([]string{"."}, stateDirs...) {
		path := filepath.Join(root, dir)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("creating the key holder's directory: %w", err)
		}
		if err := os.Chmod(path, 0o700); err != nil { // #nosec G302 -- a directory needs its search bit
			return nil, fmt.Errorf("restricting the key holder's directory to its owner: %w", err)
		}
	}
	lock, err := lockFile(filepath.Join(root, "lock"))
	if err != nil {
		return nil, err
	}
	d := &disk{root: root, lock: lock}
	for _, dir := range []string{"..", "."} {
		// A parent that this user may not read belongs to whoever made root.
		if err := d.syncDir(dir); err != nil && (dir == "." || !errors.Is(err, fs.ErrPermission)) {
			return nil, errors.Join(fmt.Errorf("syncing the key holder's directory: %w", err), d.close())
		}
	}
	return d, nil
}

func (d *disk) path(name string) string { return filepath.Join(d.root, name) }

func (d *disk) writeSync(name string, data []byte) (err error) {
	f, err := os.OpenFile(d.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func (d *disk) rename(oldName, newName string) error {
	return os.Rename(d.path(oldName), d.path(newName))
}

func (d *disk) syncDir(dir string) (err error) {
	f, err := os.Open(d.path(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}

func (d *disk) remove(name string) error {
	if err := os.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) read(name string) ([]byte, error) {
	return os.ReadFile(d.path(name)) // #nosec G304 -- names are made by this package
}

func (d *disk) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(d.path(dir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d *disk) close() error { return d.lock.Close() }

// recoverStorage brings the directory to a state that is both visible and durable: it
// removes half-written files and syncs every directory, so that a record seen
// after a crash cannot vanish in a later one.
func recoverStorage(st storage) error {
	for _, dir := range stateDirs {
		names, err := st.list(dir)
		if err != nil {
			return fmt.Errorf("listing the key holder's %s: %w", dir, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, tmpSuffix) {
				if err := st.remove(dir + "/" + name); err != nil {
					return fmt.Errorf("removing a half-written file: %w", err)
				}
			}
		}
		if err := st.syncDir(dir); err != nil {
			return fmt.Errorf("syncing the key holder's %s: %w", dir, err)
		}
	}
	return nil
}
