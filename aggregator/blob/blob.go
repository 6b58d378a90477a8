// Package blob keeps large content-addressed objects: ciphertexts, sealed key
// and noise shares, sums and model parameters. An object is immutable and its
// address is its SHA-256 digest, so storing twice is storing once and a read
// is checked against its address.
package blob

import (
	"context"
	"errors"
	"io"

	"credence/fl"
)

// Sentinel errors. Implementations wrap them with the address.
var (
	ErrNotFound = errors.New("no such blob")
	ErrCorrupt  = errors.New("blob does not match its digest")
	ErrOffset   = errors.New("chunk does not continue the upload") // ask Offset again
	ErrQuota    = errors.New("too much unfinished upload")
	ErrFull     = errors.New("no space left")
)

// Store keeps finished blobs. When Put returns, the blob survives a crash.
type Store interface {
	Put(ctx context.Context, data []byte) (fl.Digest, error)
	// Get reads a whole blob and verifies it.
	Get(ctx context.Context, digest fl.Digest) ([]byte, error)
	// Open streams a blob; reading to the end verifies it (ErrCorrupt from
	// Read instead of io.EOF when it does not match).
	Open(ctx context.Context, digest fl.Digest) (io.ReadCloser, int64, error)
	// ReadAt returns up to length bytes from offset, unverified: the receiver
	// of all of them verifies.
	ReadAt(ctx context.Context, digest fl.Digest, offset int64, length int) (data []byte, size int64, err error)
	// Size returns the size in bytes, or ErrNotFound.
	Size(ctx context.Context, digest fl.Digest) (int64, error)
	Delete(ctx context.Context, digest fl.Digest) error
}

// Staging keeps unfinished uploads, for each uploader apart, so that nobody
// can disturb or read another's. A dropped connection resumes at Offset.
type Staging interface {
	// Offset returns how many bytes of the blob are held, 0 for none.
	Offset(ctx context.Context, uploader fl.NodeID, digest fl.Digest) (int64, error)
	// Append adds a chunk at the given offset, which must be the current one:
	// ErrOffset otherwise, ErrQuota over the uploader's quota.
	Append(ctx context.Context, uploader fl.NodeID, digest fl.Digest, offset int64, chunk []byte) (int64, error)
	// Finish verifies the upload and moves it into the store; ErrCorrupt
	// discards it. Finishing what the store already holds succeeds.
	Finish(ctx context.Context, uploader fl.NodeID, digest fl.Digest) error
}
