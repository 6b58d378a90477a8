package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/fl/translog"
)

// Checkpoint is a verified checkpoint of the log.
type Checkpoint struct {
	translog.Checkpoint
	Note      []byte   // signed by the aggregator
	Cosigned  int64    // size of the latest cosigned checkpoint, which is of the same log; 0: none
	Witnesses []string // who cosigned that one, sorted
}

// Forked returns the error of a fork that was found earlier, or nil.
func (r *Remote) Forked() error { return r.logbook.forked() }

// RequireLogged makes sure that documents are in the log: it fetches and keeps
// the newest checkpoint, after verifying that it extends the last one, and
// verifies a proof of inclusion for each document that has none yet. The error
// is translog.ErrNotInLog, or a *ForkError.
func (r *Remote) RequireLogged(ctx context.Context, docs ...fl.Envelope) error {
	return r.logbook.require(ctx, r.api, docs)
}

// Checkpoint fetches, verifies and keeps the newest checkpoint.
func (r *Remote) Checkpoint(ctx context.Context) (Checkpoint, error) {
	b := r.logbook
	b.mu.Lock()
	defer b.mu.Unlock()
	return r.checkpoint(ctx)
}

func (r *Remote) checkpoint(ctx context.Context) (Checkpoint, error) {
	b := r.logbook
	c, signed, err := b.advance(ctx, r.api)
	if err != nil {
		return Checkpoint{}, err
	}
	out := Checkpoint{Checkpoint: c, Note: signed}
	if len(b.cosigned) > 0 {
		cosigned, err := b.open(b.cosigned)
		if err != nil {
			return Checkpoint{}, err
		}
		out.Cosigned = cosigned.Size
		if out.Witnesses, err = r.witnesses(ctx, b.cosigned); err != nil {
			return Checkpoint{}, err
		}
		slices.Sort(out.Witnesses)
	}
	return out, nil
}

// CompareCheckpoint checks that a checkpoint that another party was shown is
// of the log that this party is shown. When it is not, the aggregator shows
// different logs to different parties: the error is a *ForkError.
func (r *Remote) CompareCheckpoint(ctx context.Context, others []byte) (Checkpoint, error) {
	b := r.logbook
	b.mu.Lock()
	defer b.mu.Unlock()
	other, err := b.open(others)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the other party's checkpoint: %w", err)
	}
	own, err := r.checkpoint(ctx)
	if err != nil {
		return Checkpoint{}, err
	}
	proof, err := consistency(ctx, r.api, other, own.Checkpoint)
	if err != nil {
		return Checkpoint{}, err
	}
	// A log that is shorter than what another was shown has been shrunk, or
	// is another one.
	return own, b.compare(ctx, r.api, other, others, own.Checkpoint, own.Note, proof)
}

// consistency fetches a proof that a checkpoint extends an earlier one.
func consistency(ctx context.Context, api flpb.FederationClient, before, after translog.Checkpoint) ([][]byte, error) {
	if before.Size >= after.Size || before.Size == 0 {
		return nil, nil // it takes none, or there is none
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := api.GetCheckpoint(ctx, &flpb.GetCheckpointRequest{FromSize: before.Size, Size: after.Size})
	if err != nil {
		return nil, fmt.Errorf("fetching a proof of consistency: %w", flpb.FromStatus(err))
	}
	return answer.GetProof(), nil
}

// Proof is a document's place in the log, verified.
type Proof struct {
	Document   fl.Envelope
	Checkpoint Checkpoint
	Inclusion  translog.Inclusion
}

// Prove fetches a document with a verified proof that it is in the log.
func (r *Remote) Prove(ctx context.Context, digest fl.Digest) (Proof, error) {
	doc, err := r.Document(ctx, digest)
	if err != nil {
		return Proof{}, err
	}
	b := r.logbook
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := r.checkpoint(ctx)
	if err != nil {
		return Proof{}, err
	}
	proofs, err := b.prove(ctx, r.api, c.Checkpoint, []fl.Envelope{doc})
	if err != nil {
		return Proof{}, err
	}
	return Proof{Document: doc, Checkpoint: c, Inclusion: proofs[0]}, nil
}

// LogEntry is one entry of the log: an encoded envelope, or the canonical
// encoding of a transaction of the ledger (kind transaction/v1).
type LogEntry struct {
	Index int64
	Kind  string // as the aggregator says; the bytes are what is logged
	Bytes []byte
}

// Entries downloads the first entries of the log from an index on, at least one
// and none from index to on. Whether they are what the aggregator signed is for
// the caller to check.
func (r *Remote) Entries(ctx context.Context, from, to int64) ([]LogEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.api.ListEntries(ctx, &flpb.ListEntriesRequest{From: from, To: to})
	if err != nil {
		return nil, fmt.Errorf("reading the log from entry %d: %w", from, flpb.FromStatus(err))
	}
	if len(answer.GetEntries()) == 0 {
		return nil, fmt.Errorf("%w: the aggregator has signed a log of %d entries and shows %d", translog.ErrNotInLog, to, from)
	}
	out := make([]LogEntry, len(answer.GetEntries()))
	for i, e := range answer.GetEntries() {
		n := from + int64(i)
		if e.GetIndex() != n || n >= to {
			return nil, fmt.Errorf("%w: entry %d where entry %d was asked for", translog.ErrMalformed, e.GetIndex(), n)
		}
		out[i] = LogEntry{Index: n, Kind: e.GetKind(), Bytes: e.GetBytes()}
	}
	return out, nil
}

// KeptCheckpoint returns the checkpoint that this party verified last, with the
// aggregator's signature, or nil when it has seen none.
func (r *Remote) KeptCheckpoint() ([]byte, error) {
	r.logbook.mu.Lock()
	defer r.logbook.mu.Unlock()
	_, signed, err := r.logbook.held(checkpointFile)
	return signed, err
}

// Home returns the folder that the connection is for.
func (r *Remote) Home() *Home { return r.home }

// ReadLog downloads the whole log and gives every entry to f, in order. When
// it returns without an error, the entries are exactly those of the returned,
// verified checkpoint; until then f has been given what is not verified yet.
func (r *Remote) ReadLog(ctx context.Context, f func(LogEntry) error) (Checkpoint, error) {
	c, err := r.Checkpoint(ctx)
	if err != nil {
		return c, err
	}
	var tree hashes
	for n := int64(0); n < c.Size; {
		entries, err := r.Entries(ctx, n, c.Size)
		if err != nil {
			return c, err
		}
		for _, e := range entries {
			more, err := translog.Append(n, e.Bytes, tree)
			if err != nil {
				return c, fmt.Errorf("hashing entry %d of the log: %w", n, err)
			}
			tree = append(tree, more...)
			if err := f(e); err != nil {
				return c, err
			}
			n++
		}
	}
	root, err := translog.Root(c.Size, tree)
	if err != nil {
		return c, fmt.Errorf("hashing the log: %w", err)
	}
	if root != c.Root {
		return c, fmt.Errorf("%w: the %d entries that the aggregator shows have root %s, and it has signed %s", translog.ErrNotInLog, c.Size, root, c.Root)
	}
	return c, nil
}

// hashes is a tree in memory, 64 bytes an entry.
type hashes []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(h)) {
			return nil, fmt.Errorf("%w: no hash %d", translog.ErrMalformed, x)
		}
		out[i] = h[x]
	}
	return out, nil
}

// Witness does a witness' duty once: it fetches the newest checkpoint, checks
// that it extends the last one that this party cosigned, cosigns it and hands
// the cosignature in. The cosigned checkpoint is in the party's folder before
// the cosignature leaves, so a witness never signs two logs, across restarts.
// now is the time of the cosignature.
func (r *Remote) Witness(ctx context.Context, now func() time.Time) (Checkpoint, error) {
	b := r.logbook
	b.mu.Lock()
	defer b.mu.Unlock()
	last, lastNote, err := b.held(cosignedFile)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := r.checkpoint(ctx)
	if err != nil {
		return Checkpoint{}, err
	}
	proof, err := consistency(ctx, r.api, last, c.Checkpoint)
	if err != nil {
		return Checkpoint{}, err
	}
	if err := b.compare(ctx, r.api, last, lastNote, c.Checkpoint, c.Note, proof); err != nil {
		return Checkpoint{}, err
	}
	if c.Size != last.Size {
		name := string(r.home.Node)
		cosigned, err := translog.Cosign(c.Note, b.origin, r.home.Genesis.AggregatorKey, name, r.home.Keys.Signing, now)
		if err != nil {
			return Checkpoint{}, err
		}
		// Only the log's and the own signature: nothing that another added.
		if lastNote, _, err = translog.Cosigned(cosigned, b.origin, r.home.Genesis.AggregatorKey, name, r.home.Keys.SigningPublic()); err != nil {
			return Checkpoint{}, err
		}
		if err := identity.WriteFile(b.path(cosignedFile), lastNote); err != nil {
			return Checkpoint{}, fmt.Errorf("keeping the cosigned checkpoint: %w", err)
		}
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// Also when there is nothing new: the last time may not have arrived.
	if _, err := r.api.AddCosignature(call, &flpb.AddCosignatureRequest{Note: lastNote}); err != nil {
		return Checkpoint{}, fmt.Errorf("handing in the cosignature of %d entries: %w", c.Size, flpb.FromStatus(err))
	}
	return c, nil
}
