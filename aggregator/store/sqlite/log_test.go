package sqlite

import (
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"credence/aggregator/store/storetest"
	"credence/fl/translog"
)

// TestLargeLog: a log of 10,000 entries is appended to, proven from and
// checked in seconds.
func TestLargeLog(t *testing.T) {
	const entries = 10_000
	s := fresh(t)
	started := time.Now()
	docs := storetest.FillLog(t, s, entries)
	size, root, err := s.LogHead(t.Context())
	must(t, err)
	if size < entries {
		t.Fatalf("%d entries", size)
	}
	filled := time.Now()
	reader := tlog.HashReaderFunc(func(x []int64) ([]tlog.Hash, error) { return s.LogHashes(t.Context(), x) })
	at, err := s.LogIndexes(t.Context(), docs[:1000])
	must(t, err)
	c := translog.Checkpoint{Origin: "credence/test", Size: size, Root: root}
	for i, x := range at {
		p, err := translog.ProveInclusion(size, x, reader)
		must(t, err)
		if i%100 != 0 {
			continue
		}
		e, err := s.LogEntries(t.Context(), x, x+1)
		must(t, err)
		must(t, translog.CheckInclusion(c, e[0].Bytes, p))
	}
	proven := time.Now()
	must(t, s.Check(t.Context()))
	t.Logf("%d entries appended in %s, 1,000 proven in %s, all checked in %s", size, filled.Sub(started).Round(time.Millisecond),
		proven.Sub(filled).Round(time.Millisecond), time.Since(proven).Round(time.Millisecond))
}
