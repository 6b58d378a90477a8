package translog

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// maxProof bounds a proof's hashes: a path in the deepest possible tree, twice.
const maxProof = 128

// LeafHash is the hash of an entry: the bytes of an encoded envelope, or of a
// transaction's canonical encoding.
func LeafHash(entry []byte) tlog.Hash { return tlog.RecordHash(entry) }

// Inclusion proves that an entry is in the log.
type Inclusion struct {
	Index  int64
	Hashes []tlog.Hash
}

// CheckInclusion verifies that the entry is in the log at a checkpoint.
func CheckInclusion(c Checkpoint, entry []byte, p Inclusion) error {
	if len(p.Hashes) > maxProof || p.Index < 0 || p.Index >= c.Size {
		return fmt.Errorf("%w: index %d of %d, proof of %d hashes", ErrNotInLog, p.Index, c.Size, len(p.Hashes))
	}
	if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, LeafHash(entry)); err != nil {
		return fmt.Errorf("%w: the proof for index %d is wrong", ErrNotInLog, p.Index)
	}
	return nil
}

// CheckConsistency verifies that the log at next extends the log at before:
// nothing that was in it was changed or dropped. A log of size 0 is extended
// by every log.
func CheckConsistency(before, next Checkpoint, proof []tlog.Hash) error {
	switch {
	case before.Origin != next.Origin:
		return fmt.Errorf("%w: checkpoints of logs %q and %q", ErrMalformed, before.Origin, next.Origin)
	case next.Size < before.Size:
		return fmt.Errorf("%w: it had %d entries and now has %d", ErrFork, before.Size, next.Size)
	case before.Size == 0:
		return nil
	case before.Size == next.Size:
		if before.Root != next.Root {
			return fmt.Errorf("%w: two different logs of %d entries are signed", ErrFork, next.Size)
		}
		return nil
	case len(proof) > maxProof:
		return fmt.Errorf("%w: proof of %d hashes", ErrMalformed, len(proof))
	}
	if err := tlog.CheckTree(proof, next.Size, next.Root, before.Size, before.Root); err != nil {
		return fmt.Errorf("%w: the log of %d entries does not extend the one of %d", ErrFork, next.Size, before.Size)
	}
	return nil
}

// Hashes is where a log's hashes are stored, by tlog.StoredHashIndex.
type Hashes = tlog.HashReader

// Append returns the hashes to store for a new entry at index n, from
// tlog.StoredHashIndex(0, n) on.
func Append(n int64, entry []byte, stored Hashes) ([]tlog.Hash, error) {
	return tlog.StoredHashes(n, entry, stored)
}

// FirstHash is the index at which the hashes of entry n are stored.
func FirstHash(n int64) int64 { return tlog.StoredHashIndex(0, n) }

// Root computes the root of the first size entries.
func Root(size int64, stored Hashes) (tlog.Hash, error) { return tlog.TreeHash(size, stored) }

// ProveInclusion proves that entry index is in the log of size entries.
func ProveInclusion(size, index int64, stored Hashes) (Inclusion, error) {
	if index < 0 || index >= size {
		return Inclusion{}, fmt.Errorf("%w: index %d of %d", ErrNotInLog, index, size)
	}
	p, err := tlog.ProveRecord(size, index, stored)
	return Inclusion{Index: index, Hashes: p}, err
}

// ProveConsistency proves that the log of size entries extends that of before
// entries; before is at least 1.
func ProveConsistency(size, before int64, stored Hashes) ([]tlog.Hash, error) {
	if before < 1 || before > size {
		return nil, fmt.Errorf("%w: consistency of %d with %d entries", ErrMalformed, before, size)
	}
	if before == size {
		return nil, nil
	}
	return tlog.ProveTree(size, before, stored)
}

// EncodeHashes and DecodeHashes carry a proof across the network.
func EncodeHashes(hashes []tlog.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

// DecodeHashes refuses more hashes than any proof has, and hashes of another
// length.
func DecodeHashes(raw [][]byte) ([]tlog.Hash, error) {
	if len(raw) > maxProof {
		return nil, fmt.Errorf("%w: proof of %d hashes: at most %d", ErrMalformed, len(raw), maxProof)
	}
	out := make([]tlog.Hash, len(raw))
	for i, h := range raw {
		if len(h) != tlog.HashSize {
			return nil, fmt.Errorf("%w: hash of %d bytes", ErrMalformed, len(h))
		}
		out[i] = tlog.Hash(h)
	}
	return out, nil
}
