package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"credence/fl"
	"credence/fl/flpb"
)

// shelf is an aggregator that takes in blobs.
type shelf struct {
	flpb.FederationClient
	mu    sync.Mutex
	blobs map[fl.Digest][]byte
	asked int // how often a client asked where to go on
	lose  int // answers that are lost from now on
}

func (s *shelf) UploadStatus(_ context.Context, req *flpb.UploadStatusRequest, _ ...grpc.CallOption) (*flpb.UploadStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return &flpb.UploadStatusResponse{Offset: int64(len(s.blobs[fl.Digest(req.GetDigest())]))}, nil
}

func (s *shelf) Upload(ctx context.Context, req *flpb.UploadRequest, _ ...grpc.CallOption) (*flpb.UploadResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := fl.Digest(req.GetDigest())
	if int64(len(s.blobs[digest])) != req.GetOffset() {
		return nil, flpb.ToStatus(fl.Refuse(fl.CodeNotReady, "", "the chunk is at %d", req.GetOffset()))
	}
	s.blobs[digest] = append(s.blobs[digest], req.GetData()...)
	if s.lose > 0 {
		s.lose--
		return nil, status.Error(codes.Unavailable, "lost")
	}
	return &flpb.UploadResponse{Offset: req.GetOffset() + int64(len(req.GetData())), Complete: req.GetLast()}, nil
}

func newShelf() (*shelf, *Remote) {
	s := &shelf{blobs: map[fl.Digest][]byte{}}
	return s, &Remote{blobs: s, chunk: 10, log: slog.New(slog.DiscardHandler)}
}

// TestFreshBlobs: a blob that was never sent is sent without asking for it; when
// that fails, the next attempt asks and goes on where the first one stopped.
func TestFreshBlobs(t *testing.T) {
	s, r := newShelf()
	blobs := [][]byte{bytes.Repeat([]byte("a"), 25), []byte("b")}
	if _, err := r.uploadAll(t.Context(), blobs, true); err != nil || s.asked != 0 {
		t.Fatalf("asked %d times: %v", s.asked, err)
	}
	if _, err := r.uploadAll(t.Context(), [][]byte{[]byte("c")}, false); err != nil || s.asked != 1 {
		t.Fatalf("asked %d times: %v", s.asked, err)
	}
	s.lose = 1
	late := bytes.Repeat([]byte("d"), 25)
	if _, err := r.uploadAll(t.Context(), [][]byte{late}, true); err != nil || s.asked != 2 {
		t.Fatalf("asked %d times: %v", s.asked, err)
	}
	for _, b := range append(blobs, late) {
		if got := s.blobs[fl.DigestBytes(b)]; !bytes.Equal(got, b) {
			t.Errorf("%q arrived as %q", b, got)
		}
	}
}

// TestRelay: batches arrive whole and in order, and the first error ends it.
func TestRelay(t *testing.T) {
	s, r := newShelf()
	u := r.relay(t.Context())
	for i := range 5 {
		if i > 1 && len(s.heldOf(i-2)) == 0 {
			t.Fatalf("batch %d is not there when batch %d begins", i-2, i)
		}
		if err := u.send([][]byte{fmt.Append(nil, "blob ", i)}, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.wait(); err != nil || len(s.blobs) != 5 {
		t.Fatalf("%d blobs: %v", len(s.blobs), err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	u = r.relay(ctx)
	if err := u.send([][]byte{[]byte("late")}, true); err != nil {
		t.Fatal(err)
	}
	if err := u.send([][]byte{[]byte("later")}, true); !errors.Is(err, context.Canceled) {
		t.Fatalf("the batch before failed: %v", err)
	}
	if err := u.wait(); err != nil {
		t.Fatalf("nothing is left: %v", err)
	}
}

func (s *shelf) heldOf(i int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[fl.DigestBytes(fmt.Append(nil, "blob ", i))]
}

// TestContactIsWrittenSeldom: the time of the last contact is on disk every few
// seconds, not at every answer.
func TestContactIsWrittenSeldom(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	n := &Node{opts: Options{Now: func() time.Time { return now }}, home: &Home{Dir: t.TempDir()}, log: slog.New(slog.DiscardHandler)}
	for _, step := range []struct {
		after time.Duration
		want  time.Duration // of the contact that the file names
	}{{0, 0}, {contactEvery - time.Second, 0}, {time.Second, contactEvery}, {time.Second, contactEvery}} {
		now = now.Add(step.after)
		n.contact()
		got, err := ReadStatus(n.home.Dir)
		if want := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(step.want); err != nil || !got.LastContact.Equal(want) {
			t.Errorf("at %s the file says %s (%v), want %s", now, got.LastContact, err, want)
		}
	}
}
