//go:build !unix

package ceremony

import "os"

// lockFile opens the lock file. This platform has no advisory lock in the
// standard library: two processes must not work in one folder.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- the user's own folder
}
