package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"credence/fl"
	"credence/fl/translog"
)

// LeafHasher is what a source implements that keeps the hashes of the log's
// entries apart from the entries. They are believed for one thing: to say which
// entry was changed when the log does not have the signed root.
type LeafHasher interface {
	LeafHash(ctx context.Context, index int64) (tlog.Hash, error)
}

// tree is the hashes of a log in memory, 64 bytes an entry.
type tree []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (t tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(t)) {
			return nil, fmt.Errorf("%w: no hash %d", translog.ErrMalformed, x)
		}
		out[i] = t[x]
	}
	return out, nil
}

// readLog reads the whole log and hashes it: it must have the root of the
// signed checkpoint, and at every earlier size that somebody kept the root that
// was signed then.
func (a *auditor) readLog(ctx context.Context) error {
	started := time.Now()
	var err error
	if a.trust, err = a.src.Trust(ctx); err != nil {
		return fmt.Errorf("finding what to trust: %w", err)
	}
	a.report.Genesis = a.trust.Genesis
	before, err := a.checkpoint(ctx)
	if err != nil {
		return err
	}
	// The balances belong to some log between these two checkpoints.
	if a.stated, err = a.src.Balances(ctx); err != nil {
		return fmt.Errorf("reading the balances: %w", err)
	}
	c, err := a.checkpoint(ctx)
	if err != nil {
		return err
	}
	a.statedAt = before.Size
	a.report.Size, a.report.Root = c.Size, c.Root.String()
	hashes, err := a.fetch(ctx, c.Size)
	if err != nil {
		return err
	}
	root, err := translog.Root(c.Size, hashes)
	if err != nil {
		return fmt.Errorf("hashing the log: %w", err)
	}
	if root != c.Root {
		return a.changedEntry(ctx, c, root)
	}
	a.checked("entries hashed up to the signed checkpoint", len(a.raw), started)
	started = time.Now()
	for _, k := range append([]Kept{{By: "its own checkpoint of a moment ago", Note: nil}}, slices.Concat(a.trust.Kept, a.sel.Kept)...) {
		earlier := before
		if k.Note != nil {
			if earlier, err = translog.Open(k.Note, c.Origin, a.trust.Key); err != nil {
				return fmt.Errorf("the checkpoint kept by %s: %w", k.By, err)
			}
			a.report.Kept = append(a.report.Kept, fmt.Sprintf("%s (%d entries)", k.By, earlier.Size))
		}
		if err := a.extends(earlier, k.By, hashes); err != nil {
			return err
		}
		a.checked("earlier checkpoints extended", 1, started)
		started = time.Now()
	}
	return nil
}

// checkpoint fetches the newest checkpoint and verifies the log's signature.
func (a *auditor) checkpoint(ctx context.Context) (translog.Checkpoint, error) {
	note, err := a.src.Checkpoint(ctx)
	if forked(err) {
		return translog.Checkpoint{}, a.lie("the log", "%v", err)
	}
	if err != nil {
		return translog.Checkpoint{}, fmt.Errorf("fetching the checkpoint: %w", err)
	}
	c, err := translog.Open(note, translog.Origin(a.trust.Genesis), a.trust.Key)
	if err != nil {
		return c, a.lie("the checkpoint", "%v", err)
	}
	if c.Size < 1 {
		return c, a.lie("the checkpoint", "it is of an empty log: a federation begins with its genesis")
	}
	return c, nil
}

// fetch reads the entries and hashes them.
func (a *auditor) fetch(ctx context.Context, size int64) (tree, error) {
	var hashes tree
	for n := int64(0); n < size; {
		entries, err := a.src.Entries(ctx, n, size)
		if forked(err) || err == nil && (len(entries) == 0 || n+int64(len(entries)) > size) {
			return nil, a.lie(fmt.Sprintf("entry %d of the log", n), "the checkpoint covers %d entries, and this one cannot be had: %v", size, err)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the log from entry %d: %w", n, err)
		}
		for _, e := range entries {
			more, err := translog.Append(n, e, hashes)
			if err != nil {
				return nil, fmt.Errorf("hashing entry %d: %w", n, err)
			}
			hashes = append(hashes, more...)
			a.raw = append(a.raw, e)
			n++
		}
		a.progress.report("reading the log", int(n), int(size))
	}
	return hashes, nil
}

// extends checks that the log had an earlier checkpoint's root at its size.
func (a *auditor) extends(earlier translog.Checkpoint, by string, hashes tree) error {
	where := "the log, against the checkpoint kept by " + by
	if earlier.Size > int64(len(a.raw)) {
		return a.differs(where, "entries were dropped", fmt.Sprintf("at least %d entries", earlier.Size), fmt.Sprintf("%d", len(a.raw)))
	}
	if earlier.Size == 0 {
		return nil
	}
	root, err := translog.Root(earlier.Size, hashes)
	if err != nil {
		return fmt.Errorf("hashing the log: %w", err)
	}
	if root != earlier.Root {
		l := a.differs(where, fmt.Sprintf("THE LOG WAS FORKED: its first %d entries have another root than was signed for them", earlier.Size), earlier.Root, root)
		l.Cause = translog.ErrFork
		return l
	}
	return nil
}

// changedEntry names the entry that is not what was logged, if it can be told.
func (a *auditor) changedEntry(ctx context.Context, c translog.Checkpoint, root tlog.Hash) error {
	if stored, ok := a.src.(LeafHasher); ok {
		for n, raw := range a.raw {
			want, err := stored.LeafHash(ctx, int64(n))
			if err != nil {
				break
			}
			if got := translog.LeafHash(raw); got != want {
				return a.differs(fmt.Sprintf("entry %d of the log (%s)", n, describe(raw)), "it is not what was logged", "hash "+want.String(), got)
			}
		}
	}
	// A document that was changed no longer has its signature.
	var changed *Lie
	if err := a.readDocuments(ctx); errors.As(err, &changed) {
		changed.Stage = "log"
		return changed
	}
	l := a.differs("the log", fmt.Sprintf("its %d entries do not have the root that was signed: one was changed, dropped or moved", c.Size), c.Root, root)
	l.Cause = translog.ErrNotInLog
	return l
}

// describe says what an entry is.
func describe(raw []byte) string {
	if e, err := fl.DecodeEnvelope(raw); err == nil {
		return fmt.Sprintf("%s %s by %s", e.Kind, e.Digest().Short(), e.Signer)
	}
	if t, err := decodeTransaction(raw); err == nil {
		return "transaction " + t.ID
	}
	return "neither a document nor a transaction"
}
