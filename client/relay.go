package client

import (
	"context"

	"credence/he/threshold"
)

// relay sends blobs in the background, one batch at a time, while the next
// batch is made: the processor and the network do not wait for each other, and
// no more than two batches are in memory.
type relay struct {
	ctx    context.Context
	remote *Remote
	last   chan error // of the batch under way; nil when there is none
}

func (r *Remote) relay(ctx context.Context) *relay { return &relay{ctx: ctx, remote: r} }

// send waits until the batch before is with the aggregator and begins with the
// next one. Fresh blobs are ones that were never sent, not even in part.
func (u *relay) send(blobs [][]byte, fresh bool) error {
	if err := u.wait(); err != nil {
		return err
	}
	done := make(chan error, 1)
	u.last = done
	go func() {
		_, err := u.remote.uploadAll(u.ctx, blobs, fresh)
		done <- err
	}()
	return nil
}

// wait returns when everything is with the aggregator. It is called at the end
// in any case: nothing is left running then.
func (u *relay) wait() error {
	if u.last == nil {
		return nil
	}
	err := <-u.last
	u.last = nil
	return err
}

// boxesOf returns the boxes of a dealing.
func boxesOf(d threshold.Dealing) [][]byte {
	boxes := make([][]byte, len(d))
	for i, b := range d {
		boxes[i] = b.Box
	}
	return boxes
}
