package ceremony

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// chunk is how many points are worked on between two looks at the context:
// some tens of milliseconds.
const chunk = 256

// inChunks calls work for consecutive ranges that make up [0, n), on all
// processors, and ends early with the context or the first error. It reports
// how many of n are done.
func inChunks(ctx context.Context, n int, report func(done, total int), work func(lo, hi int) error) error {
	var (
		next   atomic.Int64
		group  sync.WaitGroup
		mu     sync.Mutex
		done   int
		failed error
	)
	for range min(runtime.GOMAXPROCS(0), (n+chunk-1)/chunk) {
		group.Go(func() {
			for {
				lo := int(next.Add(chunk)) - chunk
				if lo >= n {
					return
				}
				err := ctx.Err()
				if err == nil {
					err = work(lo, min(lo+chunk, n))
				}
				mu.Lock()
				done += min(chunk, n-lo)
				if err != nil && failed == nil {
					failed = err
				}
				if failed == nil {
					report(done, n)
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	group.Wait()
	return failed
}
