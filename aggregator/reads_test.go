package aggregator

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"credence/aggregator/store"
	"credence/fl"
)

// countedDocuments counts the documents that are read from it.
type countedDocuments struct {
	store.Store
	docs  map[fl.Digest]fl.Envelope
	reads int
}

func (s *countedDocuments) Document(_ context.Context, digest fl.Digest) (fl.Envelope, error) {
	s.reads++
	e, ok := s.docs[digest]
	if !ok {
		return e, store.ErrNotFound
	}
	return e, nil
}

func TestDocumentCache(t *testing.T) {
	below := &countedDocuments{docs: map[fl.Digest]fl.Envelope{}}
	var names []fl.Digest
	for i := range 3 {
		e := fl.Envelope{Kind: "x", Payload: make([]byte, documentBudget/2), Signature: []byte{byte(i)}}
		names = append(names, fl.DigestBytes([]byte(fmt.Sprint(i))))
		below.docs[names[i]] = e
	}
	c := cacheDocuments(below)
	read := func(i, reads int) {
		t.Helper()
		e, err := c.Document(t.Context(), names[i])
		if err != nil || e.Signature[0] != byte(i) || below.reads != reads {
			t.Fatalf("document %d: %v, signature %v, %d reads (want %d)", i, err, e.Signature, below.reads, reads)
		}
	}
	read(0, 1)
	read(0, 1)
	read(1, 2)
	read(0, 2) // both fit
	read(2, 3) // this one does not: the others are let go
	read(2, 3)
	read(0, 4)
	missing := fl.DigestBytes(nil)
	for range 2 { // what is not there may come
		if _, err := c.Document(t.Context(), missing); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if below.reads != 6 {
		t.Errorf("%d reads", below.reads)
	}
}

func TestSnapshots(t *testing.T) {
	var s snapshots[string, int]
	wake := newBroadcast()
	value, reads := 1, 0
	get := func(want, wantReads int) {
		t.Helper()
		got, err := s.get(wake, "key", func() (int, error) { reads++; return value, nil })
		if err != nil || got != want || reads != wantReads {
			t.Fatalf("got %d after %d reads (%v), want %d after %d", got, reads, err, want, wantReads)
		}
	}
	get(1, 1)
	value = 2
	get(1, 1) // by another process: not seen yet
	wake.signal()
	get(2, 2) // by this one: seen at once
	value = 3
	s.at = s.at.Add(-snapshotAge)
	get(3, 3) // by another process: seen after a while
	// What is read while something happens is not kept.
	wake.signal()
	if _, err := s.get(wake, "key", func() (int, error) { wake.signal(); return 3, nil }); err != nil {
		t.Fatal(err)
	}
	value = 4
	get(4, 4)
	// An error is not kept either.
	wake.signal()
	if _, err := s.get(wake, "key", func() (int, error) { return 0, context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	get(4, 5)
	if time.Since(s.at) > time.Minute {
		t.Error("the age is not renewed")
	}
}

// TestRevokedAtOnce: a party that this process revokes is turned away at its
// next call.
func TestRevokedAtOnce(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	if _, err := b.a.member(b.ctx, "alpha"); err != nil {
		t.Fatal(err)
	}
	b.must(b.a.Revoke(b.ctx, "alpha", "test"))
	if _, err := b.a.member(b.ctx, "alpha"); fl.CodeOf(err) != fl.CodeRevoked {
		t.Errorf("got %v", err)
	}
	if _, err := b.a.member(b.ctx, "nobody"); fl.CodeOf(err) != fl.CodeUnknownParty {
		t.Errorf("got %v", err)
	}
}
