//go:build !unix

package threshold

import (
	"fmt"
	"os"
)

// lockFile opens the lock file. This platform has no advisory lock in the
// standard library: the operator must not run two holders on one directory.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- the holder's own directory
	if err != nil {
		return nil, fmt.Errorf("opening the key holder's lock: %w", err)
	}
	return f, nil
}
