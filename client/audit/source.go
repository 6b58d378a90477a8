package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"credence/client"
	"credence/fl"
	"credence/fl/translog"
)

// Errors of a source. Any other error means that the audit could not be carried
// out, which says nothing about the federation.
var (
	ErrMissing = errors.New("the blob is not there")
	ErrDamaged = errors.New("the bytes do not match the digest")
	ErrHidden  = errors.New("not for this party to read")
)

// Kept is a signed checkpoint that somebody was shown earlier.
type Kept struct {
	By   string // who kept it, for messages
	Note []byte // with the log's signature
}

// Trust is all that an audit takes as given.
type Trust struct {
	Genesis fl.Digest         // that the auditor pinned
	Key     ed25519.PublicKey // of the aggregator and of the log, as in that genesis
	Kept    []Kept            // the log must extend each of them
}

// Source is a log with its blobs. Nothing that it says is believed.
type Source interface {
	Trust(ctx context.Context) (Trust, error)
	// Checkpoint returns the newest signed checkpoint.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Entries returns the first entries of the log from an index on, at least
	// one and none from index to on.
	Entries(ctx context.Context, from, to int64) ([][]byte, error)
	// Blob returns the blob of a digest, which the document via names, or one of
	// the errors above.
	Blob(ctx context.Context, digest, via fl.Digest) ([]byte, error)
	// Balances returns what every account is said to hold now.
	Balances(ctx context.Context) (map[string]int64, error)
}

// Holder is what a source implements that can tell which blobs it still holds.
type Holder interface {
	Holds(ctx context.Context, digest fl.Digest) (bool, error)
}

// Keeper is what a source implements that can list the blobs that it holds.
type Keeper interface {
	// EachBlob calls f for every blob, in any order, until it returns an error.
	EachBlob(ctx context.Context, f func(digest fl.Digest) error) error
}

// connection is a Source over a party's connection.
type connection struct{ remote *client.Remote }

// Connection makes a party's connection to its aggregator a source. The
// checkpoint that the party kept becomes part of the trust.
func Connection(remote *client.Remote) Source { return connection{remote} }

// Trust implements Source.
func (c connection) Trust(context.Context) (Trust, error) {
	home := c.remote.Home()
	note, err := c.remote.KeptCheckpoint()
	if err != nil {
		return Trust{}, err
	}
	t := Trust{Genesis: home.GenesisID, Key: home.Genesis.AggregatorKey}
	if note != nil {
		t.Kept = append(t.Kept, Kept{By: "this party", Note: note})
	}
	return t, nil
}

// Checkpoint implements Source. A log that does not extend the party's
// checkpoint is translog.ErrFork, with the evidence kept in the party's folder.
func (c connection) Checkpoint(ctx context.Context) ([]byte, error) {
	got, err := c.remote.Checkpoint(ctx)
	return got.Note, err
}

// Entries implements Source.
func (c connection) Entries(ctx context.Context, from, to int64) ([][]byte, error) {
	entries, err := c.remote.Entries(ctx, from, to)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(entries))
	for i, e := range entries {
		out[i] = e.Bytes
	}
	return out, nil
}

// Blob implements Source.
func (c connection) Blob(ctx context.Context, digest, via fl.Digest) ([]byte, error) {
	raw, err := c.remote.Fetch(ctx, digest, via)
	switch {
	case errors.Is(err, client.ErrDamaged):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case fl.CodeOf(err) == fl.CodeNotFound:
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	case fl.CodeOf(err) == fl.CodeNotAllowed:
		return nil, fmt.Errorf("%w: %w", ErrHidden, err)
	}
	return raw, err
}

// Balances implements Source.
func (c connection) Balances(ctx context.Context) (map[string]int64, error) {
	return c.remote.Balances(ctx)
}

// forked reports whether a source's error accuses the aggregator of a fork or
// of hiding what it signed.
func forked(err error) bool {
	return errors.Is(err, translog.ErrFork) || errors.Is(err, translog.ErrNotInLog) || errors.Is(err, translog.ErrUnsigned)
}
