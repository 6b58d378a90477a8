package aggregator

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/translog"
)

// Bounds of what one answer about the log holds.
const (
	maxInclusions = 2000    // proofs
	entriesChunk  = 16      // entries read from the store at once
	entriesPage   = 1000    // entries
	entriesBytes  = 4 << 20 // after this many bytes a page ends
)

// logHashes reads the hashes of the log for one request; what it has read it
// keeps, since the proofs of one checkpoint share most of their hashes.
func (a *Aggregator) logHashes(ctx context.Context) translog.Hashes {
	held := map[int64]tlog.Hash{}
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var missing []int64
		for _, x := range indexes {
			if _, ok := held[x]; !ok {
				missing = append(missing, x)
			}
		}
		hashes, err := a.store.LogHashes(ctx, missing)
		if err != nil {
			return nil, err
		}
		for i, x := range missing {
			held[x] = hashes[i]
		}
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = held[x]
		}
		return out, nil
	})
}

// checkpoint signs the log as it was at a size, 0 for now. Signing is
// deterministic, so the same checkpoint has the same bytes each time.
func (a *Aggregator) checkpoint(ctx context.Context, size int64) (translog.Checkpoint, []byte, error) {
	head, root, err := a.store.LogHead(ctx)
	switch {
	case err != nil:
		return translog.Checkpoint{}, nil, err
	case size < 0 || size > head:
		return translog.Checkpoint{}, nil, fl.Refuse(fl.CodeNotFound, "", "a checkpoint of %d entries: the log has %d", size, head)
	case size > 0 && size < head:
		if root, err = translog.Root(size, a.logHashes(ctx)); err != nil {
			return translog.Checkpoint{}, nil, err
		}
		head = size
	}
	c := translog.Checkpoint{Origin: translog.Origin(a.genesisID), Size: head, Root: root}
	signed, err := translog.Sign(c, a.keys.Signing)
	return c, signed, err
}

// Checkpoint returns the signed checkpoint of the log as it is now, for the
// operator's own commands.
func (a *Aggregator) Checkpoint(ctx context.Context) ([]byte, error) {
	_, signed, err := a.checkpoint(ctx, 0)
	return signed, err
}

// consistency proves that the larger of two logs extends the smaller one.
func (a *Aggregator) consistency(ctx context.Context, one, other int64) ([][]byte, error) {
	before, after := min(one, other), max(one, other)
	if before == 0 {
		return nil, nil
	}
	proof, err := translog.ProveConsistency(after, before, a.logHashes(ctx))
	return translog.EncodeHashes(proof), err
}

// cosigned returns the largest checkpoint that witnesses cosigned, with the
// cosignatures of all who did, or nothing.
func (a *Aggregator) cosigned(ctx context.Context) (size int64, signed []byte, err error) {
	all, err := a.store.Cosignatures(ctx)
	if err != nil {
		return 0, nil, err
	}
	var copies [][]byte
	for _, c := range all {
		if c.Size > size {
			size, copies = c.Size, nil
		}
		if c.Size == size {
			copies = append(copies, c.Note)
		}
	}
	if len(copies) == 0 {
		return 0, nil, nil
	}
	if signed, err = translog.Merge(copies...); err != nil {
		return 0, nil, fmt.Errorf("reading the stored cosignatures: %w", err)
	}
	return size, signed, nil
}

// addCosignature keeps a witness' cosignature of a checkpoint of this log.
func (a *Aggregator) addCosignature(ctx context.Context, witness fl.Enrolment, note []byte) error {
	signed, c, err := translog.Cosigned(note, translog.Origin(a.genesisID), a.keys.SigningPublic(), string(witness.Node), witness.SigningKey)
	switch {
	case errors.Is(err, translog.ErrUnsigned):
		return fl.Refuse(fl.CodeBadSignature, witness.Node, "the cosigned checkpoint: %s", err)
	case err != nil:
		return fl.Refuse(fl.CodeMalformed, witness.Node, "the cosigned checkpoint: %s", err)
	case c.Size < 1:
		return fl.Refuse(fl.CodeMalformed, witness.Node, "the cosigned checkpoint is of an empty log")
	}
	own, _, err := a.checkpoint(ctx, c.Size)
	if err != nil {
		return err
	}
	if own.Root != c.Root {
		// Our key signed a log that is not ours: it was copied, or the
		// database was restored from a backup.
		a.log.Error("a witness shows a checkpoint of another history, signed with this aggregator's key", "witness", witness.Node, "size", c.Size, "theirs", c.Root, "ours", own.Root)
		return fl.Refuse(fl.CodeConflict, witness.Node, "the cosigned checkpoint of %d entries is not of this aggregator's log: the log was forked, or restored from a backup", c.Size)
	}
	if err := a.store.KeepCosignature(ctx, witness.Node, c.Size, signed); err != nil {
		return err
	}
	a.log.Info("checkpoint cosigned", "witness", witness.Node, "size", c.Size)
	return nil
}

// inclusions proves that documents are in the log of a size.
func (a *Aggregator) inclusions(ctx context.Context, size int64, digests []fl.Digest) ([]translog.Inclusion, error) {
	head, _, err := a.store.LogHead(ctx)
	if err != nil {
		return nil, err
	}
	if size < 1 || size > head {
		return nil, fl.Refuse(fl.CodeNotFound, "", "a proof for a log of %d entries: it has %d", size, head)
	}
	indexes, err := a.store.LogIndexes(ctx, digests)
	if err != nil {
		return nil, err
	}
	hashes := a.logHashes(ctx)
	out := make([]translog.Inclusion, len(indexes))
	for i, x := range indexes {
		if x >= size {
			return nil, fl.Refuse(fl.CodeNotFound, "", "document %s is entry %d: it is not in the log of %d entries", digests[i], x, size)
		}
		if out[i], err = translog.ProveInclusion(size, x, hashes); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// GetCheckpoint implements flpb.FederationServer.
func (s *federationService) GetCheckpoint(ctx context.Context, req *flpb.GetCheckpointRequest) (*flpb.GetCheckpointResponse, error) {
	from := req.GetFromSize()
	c, signed, err := s.a.checkpoint(ctx, req.GetSize())
	if err != nil {
		return nil, err
	}
	if from < 0 {
		return nil, fl.Refuse(fl.CodeMalformed, "", "a proof from a log of %d entries", from)
	}
	out := &flpb.GetCheckpointResponse{Checkpoint: signed}
	// A caller that holds a larger checkpoint gets the smaller one without a
	// proof: there is none, and it shall have the evidence.
	if from <= c.Size {
		if out.Proof, err = s.a.consistency(ctx, from, c.Size); err != nil {
			return nil, err
		}
	}
	size, cosigned, err := s.a.cosigned(ctx)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		out.Cosigned = cosigned
		if out.CosignedProof, err = s.a.consistency(ctx, size, c.Size); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// GetInclusion implements flpb.FederationServer.
func (s *federationService) GetInclusion(ctx context.Context, req *flpb.GetInclusionRequest) (*flpb.GetInclusionResponse, error) {
	if n := len(req.GetDigests()); n > maxInclusions {
		return nil, fl.Refuse(fl.CodeTooLarge, "", "%d proofs in one call: at most %d", n, maxInclusions)
	}
	digests := make([]fl.Digest, len(req.GetDigests()))
	for i, raw := range req.GetDigests() {
		var err error
		if digests[i], err = digestField(raw); err != nil {
			return nil, err
		}
	}
	proofs, err := s.a.inclusions(ctx, req.GetSize(), digests)
	if err != nil {
		return nil, err
	}
	out := &flpb.GetInclusionResponse{}
	for _, p := range proofs {
		out.Inclusions = append(out.Inclusions, &flpb.Inclusion{Index: p.Index, Hashes: translog.EncodeHashes(p.Hashes)})
	}
	return out, nil
}

// ListEntries implements flpb.FederationServer.
func (s *federationService) ListEntries(ctx context.Context, req *flpb.ListEntriesRequest) (*flpb.ListEntriesResponse, error) {
	from, to := req.GetFrom(), req.GetTo()
	if from < 0 || to < from {
		return nil, fl.Refuse(fl.CodeMalformed, "", "entries %d to %d of the log", from, to)
	}
	to = min(to, from+entriesPage)
	out, size := &flpb.ListEntriesResponse{}, 0
	for from < to && size < entriesBytes {
		entries, err := s.a.store.LogEntries(ctx, from, min(from+entriesChunk, to))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if size += len(e.Bytes); size >= entriesBytes && len(out.Entries) > 0 {
				return out, nil
			}
			out.Entries = append(out.Entries, entryMessage(e))
		}
		if len(entries) < entriesChunk {
			break
		}
		from += entriesChunk
	}
	return out, nil
}

func entryMessage(e store.LogEntry) *flpb.Entry {
	return &flpb.Entry{Index: e.Index, Kind: e.Kind, Bytes: e.Bytes}
}

// AddCosignature implements flpb.FederationServer.
func (s *federationService) AddCosignature(ctx context.Context, req *flpb.AddCosignatureRequest) (*flpb.AddCosignatureResponse, error) {
	if err := s.a.addCosignature(ctx, caller(ctx).Enrolment, req.GetNote()); err != nil {
		return nil, err
	}
	return &flpb.AddCosignatureResponse{}, nil
}
