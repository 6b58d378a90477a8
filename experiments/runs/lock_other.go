//go:build !unix

package runs

import "os"

// lockFile opens the file; on this system two programs that write one run are
// not noticed.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
