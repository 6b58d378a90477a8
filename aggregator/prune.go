package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"credence/aggregator/blob"
	"credence/aggregator/store"
	"credence/fl"
)

const (
	pruneEvery   = 10 * time.Minute // at most; a tenth of the retention period when that is less
	stagingStale = 24 * time.Hour   // an upload that nobody continued for so long is given up
)

// pruner remembers when it last looked.
type pruner struct {
	mu   sync.Mutex
	last time.Time
}

func (p *pruner) due(now time.Time, every time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() && now.Sub(p.last).Abs() < every {
		return false
	}
	p.last = now
	return true
}

// prune deletes what nobody needs any more once a round has been over for the
// retention period: its clients' ciphertexts and the boxes of its noise. The
// documents that name them stay, and so do sums and decryption shares, from
// which an auditor opens the sum again. A blob that something else names too is
// kept, and so are the boxes of a dealing that somebody complained of. Deleting again does no harm, so a crash in between does none.
func (a *Aggregator) prune(ctx context.Context) error {
	now := a.now()
	if !a.pruned.due(now, min(pruneEvery, a.opts.Retain/10)) {
		return nil
	}
	if swept, err := a.files.Sweep(ctx, now.Add(-stagingStale)); err != nil {
		return fmt.Errorf("sweeping abandoned uploads: %w", err)
	} else if swept.Files > 0 {
		a.log.Info("abandoned uploads swept", "files", swept.Files, "bytes", swept.Bytes)
	}
	due, kept, err := a.finished(ctx, now.Add(-a.opts.Retain))
	if err != nil || len(due) == 0 {
		return err
	}
	named, err := a.namedElsewhere(ctx, kept)
	if err != nil {
		return err
	}
	accused, err := a.accused(ctx)
	if err != nil {
		return err
	}
	for _, r := range due {
		deleted, err := a.pruneRound(ctx, r, named, accused)
		if err != nil {
			return fmt.Errorf("pruning round %d of job %s: %w", r.Number, r.Job, err)
		}
		a.log.Info("round pruned", "job", r.Job, "round", r.Number, "blobs", deleted)
	}
	return nil
}

// finished splits the rounds that are over into those that ended before a time
// and those that did not.
func (a *Aggregator) finished(ctx context.Context, before time.Time) (due, kept []store.Round, err error) {
	rounds, err := a.store.KeptRounds(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range rounds {
		// The whole state is not needed: there may be a day's rounds of them.
		var state struct {
			EndedAt time.Time `json:"ended_at"`
		}
		if err := json.Unmarshal(r.State, &state); err != nil {
			return nil, nil, fmt.Errorf("reading the state of round %d of job %s: %w", r.Number, r.Job, err)
		}
		if state.EndedAt.IsZero() || state.EndedAt.After(before) {
			kept = append(kept, r)
		} else {
			due = append(due, r)
		}
	}
	return due, kept, nil
}

// namedElsewhere collects the blobs that must stay whatever a round to be
// pruned calls its own: a hostile party may have named another's. Sums and
// decryption shares of earlier rounds need no mention: intake admits
// ciphertexts and boxes by their exact size, which no other blob of a suite
// has but a model, and models are mentioned.
func (a *Aggregator) namedElsewhere(ctx context.Context, kept []store.Round) (map[fl.Digest]bool, error) {
	named := map[fl.Digest]bool{}
	jobs, err := a.store.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		var spec fl.JobSpec
		if err := j.Spec.Read(&spec); err != nil {
			return nil, err
		}
		named[spec.InitialModel], named[j.Model] = true, true
		models, err := a.store.Models(ctx, spec.Job)
		if err != nil {
			return nil, err
		}
		for _, m := range models {
			named[m.Model] = true
			if spec.Strategy.StateSize(spec.Parameters) == 0 {
				continue
			}
			doc, err := a.store.Document(ctx, m.Manifest)
			if err != nil {
				return nil, err
			}
			var manifest fl.Manifest
			if err := doc.Read(&manifest); err != nil {
				return nil, err
			}
			named[manifest.State] = true
		}
	}
	epochs, err := a.store.Epochs(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range epochs {
		docs := slices.Concat(slices.Collect(maps.Values(e.Reveals)), slices.Collect(maps.Values(e.Dealings)), e.Others)
		for _, doc := range docs {
			if err := addBlobs(doc, named); err != nil {
				return nil, err
			}
			if doc.Kind != (fl.Complaint{}).Kind() {
				continue
			}
			boxes, err := a.disputedBoxes(ctx, doc) // evidence: anybody may judge again
			if err != nil {
				return nil, err
			}
			for _, b := range boxes {
				named[b] = true
			}
		}
		if e.Key != nil {
			if err := addBlobs(*e.Key, named); err != nil {
				return nil, err
			}
		}
	}
	active, err := a.store.ActiveRounds(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range append(active, kept...) {
		docs, err := a.store.RoundDocuments(ctx, r.Job, r.Number)
		if err != nil {
			return nil, err
		}
		for _, doc := range docs {
			if err := addBlobs(doc, named); err != nil {
				return nil, err
			}
		}
	}
	return named, nil
}

// addBlobs adds the blobs that a document names.
func addBlobs(doc fl.Envelope, to map[fl.Digest]bool) error {
	switch doc.Kind {
	case fl.KeyReveal{}.Kind():
		var d fl.KeyReveal
		if err := doc.Read(&d); err != nil {
			return err
		}
		to[d.Reveal] = true
		if !d.Attestation.IsZero() {
			to[d.Attestation] = true
		}
	case fl.TestNoise{}.Kind():
		var d fl.TestNoise
		if err := doc.Read(&d); err != nil {
			return err
		}
		for _, b := range d.Boxes {
			to[b.Digest] = true
		}
	case fl.TestShare{}.Kind():
		var d fl.TestShare
		if err := doc.Read(&d); err != nil {
			return err
		}
		for _, s := range d.Shares {
			to[s.Digest] = true
		}
	case fl.EpochKey{}.Kind():
		var d fl.EpochKey
		if err := doc.Read(&d); err != nil {
			return err
		}
		to[d.PublicKey] = true
	case fl.KeyDealing{}.Kind():
		var d fl.KeyDealing
		if err := doc.Read(&d); err != nil {
			return err
		}
		for _, b := range d.Boxes {
			to[b.Digest] = true
		}
	case fl.NoiseDealing{}.Kind():
		var d fl.NoiseDealing
		if err := doc.Read(&d); err != nil {
			return err
		}
		for _, b := range d.Boxes {
			to[b.Digest] = true
		}
	case fl.UpdateHeader{}.Kind():
		var d fl.UpdateHeader
		if err := doc.Read(&d); err != nil {
			return err
		}
		for _, c := range d.Ciphertexts {
			to[c.Digest] = true
		}
	case fl.Seal{}.Kind():
		var d fl.Seal
		if err := doc.Read(&d); err != nil {
			return err
		}
		for _, s := range d.Sums {
			to[s.C0], to[s.C1] = true, true
		}
	case fl.DecryptionShare{}.Kind():
		var d fl.DecryptionShare
		if err := doc.Read(&d); err != nil {
			return err
		}
		for _, s := range d.Shares {
			to[s.Digest] = true
		}
	}
	return nil
}

// accused collects the dealings that a member complained of. Their boxes are
// evidence: anyone may judge the complaint again.
func (a *Aggregator) accused(ctx context.Context) (map[fl.Digest]bool, error) {
	epochs, err := a.store.Epochs(ctx)
	if err != nil {
		return nil, err
	}
	accused := map[fl.Digest]bool{}
	for _, e := range epochs {
		if err := addAccused(e.Others, accused); err != nil {
			return nil, err
		}
	}
	return accused, nil
}

func addAccused(docs []fl.Envelope, to map[fl.Digest]bool) error {
	for _, doc := range docs {
		var c fl.Complaint
		if doc.Kind != c.Kind() {
			continue
		}
		if err := doc.Read(&c); err != nil {
			return err
		}
		for _, charge := range c.Charges {
			to[charge.Dealing] = true
		}
	}
	return nil
}

// pruneRound deletes the ciphertexts and noise boxes of a round that nothing
// else names.
func (a *Aggregator) pruneRound(ctx context.Context, r store.Round, named, accused map[fl.Digest]bool) (deleted int, err error) {
	docs, err := a.store.RoundDocuments(ctx, r.Job, r.Number)
	if err != nil {
		return 0, err
	}
	if err := addAccused(docs, accused); err != nil {
		return 0, err
	}
	gone, stay := map[fl.Digest]bool{}, map[fl.Digest]bool{}
	for _, doc := range docs {
		to := stay
		if doc.Kind == (fl.UpdateHeader{}).Kind() || doc.Kind == (fl.NoiseDealing{}).Kind() && !accused[doc.Digest()] {
			to = gone
		}
		if err := addBlobs(doc, to); err != nil {
			return 0, err
		}
	}
	for digest := range gone {
		if named[digest] || stay[digest] {
			continue
		}
		switch err := a.blobs.Delete(ctx, digest); {
		case err == nil:
			deleted++
		case !errors.Is(err, blob.ErrNotFound):
			return deleted, err
		}
	}
	return deleted, a.store.SetPruned(ctx, r.Job, r.Number)
}
