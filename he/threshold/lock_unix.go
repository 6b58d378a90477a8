//go:build unix

package threshold

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFile takes an exclusive advisory lock that dies with the process, so
// that two processes cannot both answer from one state directory.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- the holder's own directory
	if err != nil {
		return nil, fmt.Errorf("opening the key holder's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s; stop the other process", ErrLocked, path), f.Close())
	}
	return f, nil
}
