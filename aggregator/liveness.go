package aggregator

import (
	"context"
	"sync"
	"time"

	"credence/fl"
)

// seenEvery is how often a party's sign of life is written down. Parties ask
// for work far more often, and each write is one to the disk.
const seenEvery = 5 * time.Second

// liveness remembers when each party's last sign of life was written down.
type liveness struct {
	mu sync.Mutex
	at map[fl.NodeID]time.Time
}

// due reports whether a sign of life is to be written down now.
func (l *liveness) due(node fl.NodeID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, known := l.at[node]; known && now.Sub(last).Abs() < seenEvery {
		return false
	}
	if l.at == nil {
		l.at = map[fl.NodeID]time.Time{}
	}
	l.at[node] = now
	return true
}

// seen notes that a party was heard of.
func (a *Aggregator) seen(ctx context.Context, node fl.NodeID) error {
	now := a.now()
	if !a.live.due(node, now) {
		return nil
	}
	if err := a.store.Seen(ctx, node, now); err != nil {
		a.live.forget(node)
		return err
	}
	return nil
}

// forget makes the next sign of life due: this one was not written.
func (l *liveness) forget(node fl.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.at, node)
}
