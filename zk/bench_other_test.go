//go:build !linux

package zk

import (
	"testing"
	"time"
)

// Other systems report neither processor time nor peaks in these benchmarks.
func processorTime(*testing.B) time.Duration { return 0 }
func forgetPeak(*testing.B)                  {}
func peakMiB(*testing.B) float64             { return 0 }
