package aggregator

import (
	"context"
	"errors"
	"fmt"
	"io"

	"credence/aggregator/blob"
	"credence/fl"
	"credence/he"
)

// ciphertextReader is the memory in which stored ciphertexts are read, one
// after the other: the bytes of one and its integers, 1 MB at N=8192. A round
// reads each of its ciphertexts twice; taken from the heap each time, that is
// most of what a large cohort has the garbage collector do.
//
// There are as many as processors. Reading is work for a processor each; more
// of it at once would take more memory and not less time.
type ciphertextReader struct {
	raw    []byte
	parsed *he.Ciphertext
}

// reader waits for a reader that nobody uses; the caller hands it back with
// done.
func (a *Aggregator) reader(ctx context.Context) (*ciphertextReader, error) {
	select {
	case r := <-a.readers:
		return r, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (a *Aggregator) done(r *ciphertextReader) { a.readers <- r }

// read reads and verifies a blob and decodes it. The ciphertext is valid until
// the next read. A blob that is no ciphertext is he.ErrLength or
// he.ErrNotCanonical; the other errors are those of blob.Store.
func (r *ciphertextReader) read(ctx context.Context, a *Aggregator, digest fl.Digest) (*he.Ciphertext, error) {
	in, size, err := a.blobs.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	if r.raw == nil {
		r.raw = make([]byte, a.suite.CiphertextBytes())
	}
	if size != int64(len(r.raw)) {
		return nil, errors.Join(fmt.Errorf("%w: blob %s has %d bytes: want %d", he.ErrLength, digest.Short(), size, len(r.raw)), in.Close())
	}
	_, err = io.ReadFull(in, r.raw)
	if err == nil {
		err = verifiedEnd(in, digest)
	}
	if err := errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	if r.parsed == nil {
		r.parsed = new(he.Ciphertext)
	}
	if err := a.suite.ParseCiphertextInto(r.parsed, r.raw); err != nil {
		return nil, err
	}
	return r.parsed, nil
}

// verifiedEnd reads the end of a blob, which is where the store compares its
// digest.
func verifiedEnd(in io.Reader, digest fl.Digest) error {
	var more [1]byte
	switch _, err := io.ReadFull(in, more[:]); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: %s is longer than its size", blob.ErrCorrupt, digest)
}

// keep hands the ciphertext of the last read over: the next read takes memory
// of its own.
func (r *ciphertextReader) keep() *he.Ciphertext {
	c := r.parsed
	r.parsed = nil
	return c
}
