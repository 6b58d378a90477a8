package aggregator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"credence/aggregator/blob"
	"credence/fl"
)

const (
	// unclaimedFor is how long a finished upload counts that no document names.
	unclaimedFor = 24 * time.Hour
	// unclaimedCost is what each counts beside its bytes, so that their number
	// is bounded too: a block and a directory entry on the disk, and an entry
	// here.
	unclaimedCost = 16 << 10
)

// unclaimed counts the finished uploads of every party that no document which
// the aggregator took in has named yet. Quotas of unfinished uploads end when
// an upload does: without this count a party could fill the disk with blobs
// that serve nothing.
//
// It is kept in memory and begins anew with the process: it bounds what a
// party can leave in a day, not what is on the disk. Nothing is deleted for it,
// so a mistake here loses no blob.
type unclaimed struct {
	mu      sync.Mutex
	blobs   map[fl.Digest]unclaimedBlob
	parties map[fl.NodeID]*unclaimedOf
}

type unclaimedBlob struct {
	node fl.NodeID
	cost int64
	at   time.Time
}

// unclaimedOf is what one party left: the sum, and the blobs in the order in
// which they came, those that were claimed since included.
type unclaimedOf struct {
	total int64
	order []fl.Digest
}

// reserve counts a blob of size bytes that a party is about to finish, unless
// it is counted already, and reports whether it did. Over the quota it is
// blob.ErrQuota.
func (u *unclaimed) reserve(node fl.NodeID, digest fl.Digest, size, quota int64, now time.Time) (counted bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.blobs == nil {
		u.blobs, u.parties = map[fl.Digest]unclaimedBlob{}, map[fl.NodeID]*unclaimedOf{}
	}
	if _, known := u.blobs[digest]; known {
		return false, nil
	}
	of := u.parties[node]
	if of == nil {
		of = &unclaimedOf{}
		u.parties[node] = of
	}
	for len(of.order) > 0 {
		oldest, counts := u.blobs[of.order[0]]
		if counts && oldest.node == node && now.Sub(oldest.at) < unclaimedFor {
			break
		}
		if counts && oldest.node == node {
			u.forget(of.order[0])
		}
		of.order = of.order[1:]
	}
	cost := size + unclaimedCost
	if of.total+cost > quota {
		return false, fmt.Errorf("%w: blob %s: its %d bytes would come beside %d of finished uploads that no document names: at most %d in all: submit the documents that they are for",
			blob.ErrQuota, digest.Short(), cost, of.total, quota)
	}
	u.blobs[digest] = unclaimedBlob{node: node, cost: cost, at: now}
	of.total += cost
	of.order = append(of.order, digest)
	return true, nil
}

// forget stops counting a blob; the caller holds the lock.
func (u *unclaimed) forget(digest fl.Digest) {
	if b, counts := u.blobs[digest]; counts {
		u.parties[b.node].total -= b.cost
		delete(u.blobs, digest)
	}
}

// release stops counting a blob whose upload failed after all.
func (u *unclaimed) release(digest fl.Digest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(digest)
}

// claim stops counting the blobs that a document names which was taken in.
func (u *unclaimed) claim(doc fl.Envelope) error {
	named := map[fl.Digest]bool{}
	if err := addBlobs(doc, named); err != nil {
		return err
	}
	switch doc.Kind { // what is never pruned, and so not among the blobs of a document there
	case fl.JobSpec{}.Kind():
		var d fl.JobSpec
		if err := doc.Read(&d); err != nil {
			return err
		}
		named[d.InitialModel] = true
	case fl.UpdateHeader{}.Kind():
		var d fl.UpdateHeader
		if err := doc.Read(&d); err != nil {
			return err
		}
		named[d.Attestation], named[d.Training] = true, true
	case fl.DatasetCommitment{}.Kind():
		var d fl.DatasetCommitment
		if err := doc.Read(&d); err != nil {
			return err
		}
		named[d.Registration], named[d.Validation] = true, true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for digest := range named {
		u.forget(digest)
	}
	return nil
}

// mayFinish asks whether a party may finish an upload. The caller says with
// kept how that went.
func (a *Aggregator) mayFinish(ctx context.Context, node fl.NodeID, digest fl.Digest, size int64) (kept func(error), err error) {
	switch _, err := a.blobs.Size(ctx, digest); {
	case err == nil:
		return func(error) {}, nil // it takes no more room
	case !errors.Is(err, blob.ErrNotFound):
		return nil, err
	}
	counted, err := a.unclaimed.reserve(node, digest, size, a.opts.UnclaimedQuota, a.now())
	return func(err error) {
		if counted && err != nil {
			a.unclaimed.release(digest)
		}
	}, err
}
