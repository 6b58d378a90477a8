//go:build unix

package federation_test

import (
	"syscall"
	"time"
)

// processorTime is what this process has used of all processors, 0 when the
// system does not tell.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
