//go:build unix

package ceremony

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes an exclusive advisory lock that dies with the process, so
// that two processes cannot both add to one folder.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- the user's own folder
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(refuse("another process works in this folder (%s is locked)", path), f.Close())
	}
	return f, nil
}
