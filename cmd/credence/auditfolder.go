package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"credence/aggregator/blob"
	"credence/aggregator/blob/disk"
	"credence/aggregator/store"
	"credence/aggregator/store/sqlite"
	"credence/client/audit"
	"credence/fl"
	"credence/fl/identity"
	"credence/fl/translog"
)

// folderSource is an aggregator's folder, or a copy of one, to look at.
type folderSource struct {
	store store.Store
	blobs *disk.Store
	trust audit.Trust
	keys  *identity.Keys // nil in a copy without them
	note  []byte         // then the checkpoint is this one
}

var (
	_ audit.Source     = (*folderSource)(nil)
	_ audit.LeafHasher = (*folderSource)(nil)
	_ audit.Holder     = (*folderSource)(nil)
	_ audit.Keeper     = (*folderSource)(nil)
)

// withFolder opens an aggregator's folder to look at it. Without the
// aggregator's keys it needs a signed checkpoint.
func withFolder(ctx context.Context, dir string, note []byte, work func(audit.Source) error) (err error) {
	s := &folderSource{note: note}
	db, err := sqlite.OpenReader(ctx, filepath.Join(dir, "federation.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s.store = db
	if s.blobs, err = disk.Open(filepath.Join(dir, "blobs"), disk.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.blobs.Close()) }()
	if s.keys, err = identity.Load(dir); err != nil {
		if note == nil {
			return fmt.Errorf("signing a checkpoint with the aggregator's keys: %w; for a copy without them name a signed checkpoint with --checkpoint", err)
		}
		s.keys = nil
	}
	if err := s.readTrust(ctx); err != nil {
		return err
	}
	return work(s)
}

// readTrust takes the genesis from the folder: whoever audits a folder compares
// its digest, which the report shows, with the one that the parties pinned.
func (s *folderSource) readTrust(ctx context.Context) error {
	envelope, err := s.store.Genesis(ctx)
	if err != nil {
		return err
	}
	var g fl.Genesis
	if err := envelope.Read(&g); err != nil {
		return err
	}
	s.trust = audit.Trust{Genesis: envelope.Digest(), Key: g.AggregatorKey}
	cosignatures, err := s.store.Cosignatures(ctx)
	if err != nil {
		return err
	}
	for _, c := range cosignatures {
		s.trust.Kept = append(s.trust.Kept, audit.Kept{By: "witness " + string(c.Witness), Note: c.Note})
	}
	return nil
}

// Trust implements audit.Source.
func (s *folderSource) Trust(context.Context) (audit.Trust, error) { return s.trust, nil }

// Checkpoint implements audit.Source: the stored tree, signed as the service
// would sign it.
func (s *folderSource) Checkpoint(ctx context.Context) ([]byte, error) {
	if s.keys == nil {
		return s.note, nil
	}
	size, root, err := s.store.LogHead(ctx)
	if err != nil {
		return nil, err
	}
	return translog.Sign(translog.Checkpoint{Origin: translog.Origin(s.trust.Genesis), Size: size, Root: root}, s.keys.Signing)
}

// Entries implements audit.Source.
func (s *folderSource) Entries(ctx context.Context, from, to int64) ([][]byte, error) {
	const page = 256
	entries, err := s.store.LogEntries(ctx, from, min(from+page, to))
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for i, e := range entries {
		if e.Index != from+int64(i) {
			break // the next call begins at the gap
		}
		out = append(out, e.Bytes)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: the database holds no entry %d", translog.ErrNotInLog, from)
	}
	return out, nil
}

// LeafHash implements audit.LeafHasher.
func (s *folderSource) LeafHash(ctx context.Context, index int64) (tlog.Hash, error) {
	hashes, err := s.store.LogHashes(ctx, []int64{translog.FirstHash(index)})
	if err != nil {
		return tlog.Hash{}, err
	}
	return hashes[0], nil
}

// Blob implements audit.Source.
func (s *folderSource) Blob(ctx context.Context, digest, _ fl.Digest) ([]byte, error) {
	raw, err := s.blobs.Get(ctx, digest)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil, fmt.Errorf("%w: %w", audit.ErrMissing, err)
	case errors.Is(err, blob.ErrCorrupt):
		return nil, fmt.Errorf("%w: %w", audit.ErrDamaged, err)
	}
	return raw, err
}

// Holds implements audit.Holder.
func (s *folderSource) Holds(ctx context.Context, digest fl.Digest) (bool, error) {
	_, err := s.blobs.Size(ctx, digest)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// EachBlob implements audit.Keeper.
func (s *folderSource) EachBlob(ctx context.Context, f func(fl.Digest) error) error {
	return s.blobs.Each(ctx, f)
}

// Balances implements audit.Source.
func (s *folderSource) Balances(ctx context.Context) (map[string]int64, error) {
	return s.store.Balances(ctx)
}
