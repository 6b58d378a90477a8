package aggregator

import (
	"context"
	"sync"
	"time"

	"credence/aggregator/store"
	"credence/fl"
)

// documentBudget bounds the documents that are kept in memory, in bytes of
// their payloads.
const documentBudget = 4 << 20

// documentCache is a store that reads a document once. Every committee member
// asks for the same headers and dealings, and looks each box up through one. A
// document is named by its content, so what is held is never out of date.
type documentCache struct {
	store.Store
	mu   sync.Mutex
	held map[fl.Digest]fl.Envelope
	size int
}

func cacheDocuments(s store.Store) *documentCache {
	return &documentCache{Store: s, held: map[fl.Digest]fl.Envelope{}}
}

// Document implements store.Store.
func (c *documentCache) Document(ctx context.Context, digest fl.Digest) (fl.Envelope, error) {
	c.mu.Lock()
	envelope, ok := c.held[digest]
	c.mu.Unlock()
	if ok {
		return envelope, nil
	}
	envelope, err := c.Store.Document(ctx, digest)
	if err != nil {
		return envelope, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size += len(envelope.Payload); c.size > documentBudget {
		clear(c.held) // the ones in use come back soon
		c.size = len(envelope.Payload)
	}
	c.held[digest] = envelope
	return envelope, nil
}

// snapshots keep what was read from the store for all who ask for it until
// something happens: a change by this process is seen at once, and one by
// another after snapshotAge.
type snapshots[K comparable, V any] struct {
	mu    sync.Mutex
	held  map[K]V
	at    time.Time
	woken <-chan struct{}
}

func (s *snapshots[K, V]) get(wake *broadcast, key K, read func() (V, error)) (V, error) {
	woken := wake.wait() // before the look, so that nothing is missed
	s.mu.Lock()
	if s.woken != woken || time.Since(s.at) >= snapshotAge {
		s.held, s.at, s.woken = map[K]V{}, time.Now(), woken
	}
	value, ok := s.held[key]
	s.mu.Unlock()
	if ok {
		return value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken == woken { // else it may be from before what happened
		s.held[key] = value
	}
	return value, nil
}
