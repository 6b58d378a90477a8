package aggregator

import (
	"context"
	"errors"
	"time"

	"credence/aggregator/blob"
	"credence/aggregator/store"
)

// Run drives the federation until ctx ends: it closes epochs, opens rounds and
// carries out their effects. A failure of the store (a full disk, say) is
// logged and tried again; everything is derived from the store anew each time,
// so nothing is lost in between.
func (a *Aggregator) Run(ctx context.Context) error {
	tick := time.NewTicker(a.opts.Tick)
	defer tick.Stop()
	var last string
	for {
		woken := a.wake.wait()
		err := a.Pass(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			last = ""
		case errors.Is(err, store.ErrFull), errors.Is(err, blob.ErrFull):
			if err.Error() != last {
				a.log.Error("the disk is full: rounds wait until there is room again; nothing is lost", "error", err)
			}
			last = err.Error()
		default:
			if err.Error() != last {
				a.log.Error("the loop failed and tries again", "error", err)
			}
			last = err.Error()
		}
		wait := tick.C
		if last != "" {
			woken = nil // a failing loop is paced by the clock alone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-wait:
		}
	}
}

// Pass looks at everything once and does what is due. Run calls it whenever
// something happened; a simulation that decides itself what happens next calls
// it alone.
func (a *Aggregator) Pass(ctx context.Context) error {
	return errors.Join(a.judge(ctx), a.closeEpochs(ctx), a.runRounds(ctx), a.runJobs(ctx), a.prune(ctx))
}
