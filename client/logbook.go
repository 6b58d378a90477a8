package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/fl/translog"
)

// Names of the files in a party's folder that are about the log.
const (
	checkpointFile = "checkpoint"         // the newest checkpoint that was verified
	cosignedFile   = "cosigned"           // a witness' last cosigned checkpoint
	evidenceFile   = "fork-evidence.json" // what proves that the log was forked
)

// maxIncluded bounds how many entries a logbook remembers as included.
const maxIncluded = 1 << 17

// logbook is what a party knows of the federation's log: the last checkpoint
// that it verified, which is in its folder before anything newer is acted on,
// and which entries it has seen proofs for. A checkpoint that does not extend
// the last one ends all work with the aggregator, for ever.
//
// Two processes on one folder may share it: each reads the file before it asks
// for a newer checkpoint, and whichever writes last leaves a verified one.
type logbook struct {
	home   *Home
	origin string
	now    func() time.Time

	mu       sync.Mutex
	included map[tlog.Hash]bool // leaves proven in a log that the last checkpoint extends
	cosigned []byte             // the last cosigned checkpoint that was found to be of this log
}

func newLogbook(home *Home, now func() time.Time) *logbook {
	return &logbook{home: home, origin: translog.Origin(home.GenesisID), now: now, included: map[tlog.Hash]bool{}}
}

// Evidence is what a party keeps when it is shown two logs: both checkpoints
// with the aggregator's signatures. Two of the same size with different roots
// prove the fork to anybody; for two of different sizes it takes the entries of
// the larger one as well.
type Evidence struct {
	FoundAt time.Time `json:"found_at"`
	Reason  string    `json:"reason"`
	Held    string    `json:"held"`  // signed note that this party had verified
	Shown   string    `json:"shown"` // signed note that does not go with it
}

// ForkError says that the aggregator has signed two logs that contradict each
// other. It is translog.ErrFork.
type ForkError struct {
	Evidence
	Path        string // where the evidence is kept
	held, shown translog.Checkpoint
}

// Error implements error.
func (e *ForkError) Error() string {
	return fmt.Sprintf("THE LOG WAS FORKED: %s. This party holds the checkpoint of %d entries with root %s, and the aggregator shows that of %d entries with root %s. "+
		"Both, signed, are kept in %s. Nothing more is done with this aggregator: compare with the other institutions",
		e.Reason, e.held.Size, e.held.Root, e.shown.Size, e.shown.Root, e.Path)
}

// Unwrap makes it a fork.
func (e *ForkError) Unwrap() error { return translog.ErrFork }

func (b *logbook) path(name string) string { return filepath.Join(b.home.Dir, name) }

func (b *logbook) open(signed []byte) (translog.Checkpoint, error) {
	return translog.Open(signed, b.origin, b.home.Genesis.AggregatorKey)
}

// forked returns the error that an earlier fork left, or nil.
func (b *logbook) forked() error {
	raw, err := readFile(b.path(evidenceFile))
	if err != nil || raw == nil {
		return err
	}
	e := &ForkError{Path: b.path(evidenceFile)}
	if err := json.Unmarshal(raw, &e.Evidence); err != nil {
		return fmt.Errorf("%w: the evidence in %s is damaged (%w); as long as the file is there nothing is done with this aggregator", translog.ErrFork, e.Path, err)
	}
	for text, into := range map[string]*translog.Checkpoint{e.Held: &e.held, e.Shown: &e.shown} {
		if *into, err = b.open([]byte(text)); err != nil {
			return fmt.Errorf("%w: the evidence in %s is damaged (%w); as long as the file is there nothing is done with this aggregator", translog.ErrFork, e.Path, err)
		}
	}
	return e
}

// accuse keeps two checkpoints that contradict each other and returns the
// error that stands from now on. The first evidence stays.
func (b *logbook) accuse(reason error, held, shown []byte) error {
	if err := b.forked(); err != nil {
		return err
	}
	e := Evidence{FoundAt: fl.Instant(b.now()), Reason: reason.Error(), Held: string(held), Shown: string(shown)}
	raw, err := json.MarshalIndent(e, "", "  ")
	if err == nil {
		err = identity.WriteFile(b.path(evidenceFile), append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("%w, and the evidence cannot be kept: %w", reason, err)
	}
	return b.forked()
}

// held returns the last verified checkpoint and the note that it is in; the
// empty log when there is none yet.
func (b *logbook) held(name string) (translog.Checkpoint, []byte, error) {
	signed, err := readFile(b.path(name))
	if err != nil || signed == nil {
		return translog.Checkpoint{Origin: b.origin}, nil, err
	}
	c, err := b.open(signed)
	if err != nil {
		return c, nil, fmt.Errorf("%s is damaged: it is this party's memory of the log; restore it from a backup: %w", b.path(name), err)
	}
	return c, signed, nil
}

// compare checks that one of two signed checkpoints extends the other, by a
// proof, and keeps both as evidence when not. What is kept stands for ever, so
// a proof that is wrong is asked for again first: one that was damaged on the
// way accuses nobody.
func (b *logbook) compare(ctx context.Context, api flpb.FederationClient, held translog.Checkpoint, heldNote []byte, shown translog.Checkpoint, shownNote []byte, raw [][]byte) error {
	const answers = 3
	for asked := 1; ; asked++ {
		proof, err := translog.DecodeHashes(raw)
		if err != nil {
			return fmt.Errorf("the proof that the log of %d entries is the one of %d: %w", shown.Size, held.Size, err)
		}
		err = translog.CheckConsistency(held, shown, proof)
		switch {
		case !errors.Is(err, translog.ErrFork):
			return err
		case held.Size >= shown.Size || asked == answers: // no proof can help, or none did
			return b.accuse(err, heldNote, shownNote)
		}
		if raw, err = consistency(ctx, api, held, shown); err != nil {
			return err
		}
	}
}

// advance fetches the newest checkpoint, verifies that it extends the held one,
// and keeps it.
func (b *logbook) advance(ctx context.Context, api flpb.FederationClient) (translog.Checkpoint, []byte, error) {
	var none translog.Checkpoint
	if err := b.forked(); err != nil {
		return none, nil, err
	}
	before, beforeNote, err := b.held(checkpointFile)
	if err != nil {
		return none, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := api.GetCheckpoint(ctx, &flpb.GetCheckpointRequest{FromSize: before.Size})
	if err != nil {
		return none, nil, fmt.Errorf("fetching a checkpoint of the log: %w", flpb.FromStatus(err))
	}
	signed := answer.GetCheckpoint()
	c, err := b.open(signed)
	if err != nil {
		return none, nil, fmt.Errorf("the aggregator's checkpoint: %w", err)
	}
	if err := b.compare(ctx, api, before, beforeNote, c, signed, answer.GetProof()); err != nil {
		return none, nil, err
	}
	if !bytes.Equal(signed, beforeNote) {
		if err := identity.WriteFile(b.path(checkpointFile), signed); err != nil {
			return none, nil, fmt.Errorf("keeping the checkpoint: %w", err)
		}
	}
	return c, signed, b.heedWitnesses(ctx, api, c, signed, answer)
}

// heedWitnesses checks that the checkpoint that witnesses cosigned is of the
// same log: what one witness saw, every party is held to.
func (b *logbook) heedWitnesses(ctx context.Context, api flpb.FederationClient, c translog.Checkpoint, signed []byte, answer *flpb.GetCheckpointResponse) error {
	note := answer.GetCosigned()
	if len(note) == 0 || bytes.Equal(note, b.cosigned) {
		return nil
	}
	cosigned, err := b.open(note)
	if err != nil {
		return fmt.Errorf("the cosigned checkpoint: %w", err)
	}
	if cosigned.Size <= c.Size {
		err = b.compare(ctx, api, cosigned, note, c, signed, answer.GetCosignedProof())
	} else { // it was cosigned a moment after the other was signed
		err = b.compare(ctx, api, c, signed, cosigned, note, answer.GetCosignedProof())
	}
	if err == nil {
		b.cosigned = note
	}
	return err
}

// require proves that documents are in the log, in as few calls as it takes.
// What was proven once is in every later log and not asked for again.
func (b *logbook) require(ctx context.Context, api flpb.FederationClient, docs []fl.Envelope) error {
	const batch = 2000
	b.mu.Lock()
	defer b.mu.Unlock()
	var missing []fl.Envelope
	for _, d := range docs {
		if !b.included[translog.LeafHash(d.Encode())] {
			missing = append(missing, d)
		}
	}
	if len(missing) == 0 {
		return b.forked()
	}
	c, _, err := b.advance(ctx, api)
	if err != nil {
		return err
	}
	if len(b.included)+len(missing) > maxIncluded {
		clear(b.included)
	}
	for len(missing) > 0 {
		part := missing[:min(batch, len(missing))]
		missing = missing[len(part):]
		if _, err := b.prove(ctx, api, c, part); err != nil {
			return err
		}
		for _, d := range part {
			b.included[translog.LeafHash(d.Encode())] = true
		}
	}
	return nil
}

// prove fetches and checks the proofs that documents are in the log at a
// checkpoint.
func (b *logbook) prove(ctx context.Context, api flpb.FederationClient, c translog.Checkpoint, docs []fl.Envelope) ([]translog.Inclusion, error) {
	req := &flpb.GetInclusionRequest{Size: c.Size}
	for _, d := range docs {
		digest := d.Digest()
		req.Digests = append(req.Digests, digest[:])
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := api.GetInclusion(ctx, req)
	err = flpb.FromStatus(err)
	switch {
	case fl.CodeOf(err) == fl.CodeNotFound:
		return nil, fmt.Errorf("%w: the aggregator acts on what it has not logged: %w", translog.ErrNotInLog, err)
	case err != nil:
		return nil, fmt.Errorf("fetching proofs from the log: %w", err)
	case len(answer.GetInclusions()) != len(docs):
		return nil, fmt.Errorf("%w: %d proofs for %d documents", translog.ErrMalformed, len(answer.GetInclusions()), len(docs))
	}
	proofs := make([]translog.Inclusion, len(docs))
	for i, d := range docs {
		in := answer.GetInclusions()[i]
		hashes, err := translog.DecodeHashes(in.GetHashes())
		if err != nil {
			return nil, fmt.Errorf("the proof for the %s %s: %w", d.Kind, d.Digest().Short(), err)
		}
		proofs[i] = translog.Inclusion{Index: in.GetIndex(), Hashes: hashes}
		if err := translog.CheckInclusion(c, d.Encode(), proofs[i]); err != nil {
			return nil, fmt.Errorf("the %s %s of %s: %w", d.Kind, d.Digest().Short(), d.Signer, err)
		}
	}
	return proofs, nil
}

// witnesses returns which enrolled parties cosigned a checkpoint.
func (r *Remote) witnesses(ctx context.Context, signed []byte) ([]string, error) {
	if len(signed) == 0 {
		return nil, nil
	}
	if err := r.refreshMembers(ctx); err != nil {
		return nil, err
	}
	keys := map[string]ed25519.PublicKey{}
	for name, e := range r.members {
		if _, revoked := r.revoked[name]; !revoked {
			keys[string(name)] = e.SigningKey
		}
	}
	return translog.Witnesses(signed, keys)
}
