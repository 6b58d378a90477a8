package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"credence/fl"
	"credence/he"
)

// addAgain adds the ciphertexts of a round that is not attested, if they can be
// had: an aggregator's own folder may still hold them, and no party may read
// them. It keeps one ciphertext in memory.
func (a *auditor) addAgain(ctx context.Context, r *roundLog, sums []*he.Sum) error {
	started := time.Now()
	again := make([]*he.Sum, len(sums))
	for i := range again {
		again[i] = a.suite.NewSum()
	}
	for _, client := range r.seal.body.Clients {
		h := r.headers[client]
		for _, c := range h.body.Ciphertexts {
			where := fmt.Sprintf("blob %s (ciphertext of shard %d, named by %s)", c.Digest.Short(), c.Shard, h)
			raw, err := a.src.Blob(ctx, c.Digest, h.id)
			switch {
			case errors.Is(err, ErrMissing) || errors.Is(err, ErrHidden):
				a.notChecked("at proof level none and without the ciphertexts: that the sums are those of the clients' ciphertexts")
				return nil
			case errors.Is(err, ErrDamaged) || err == nil && fl.DigestBytes(raw) != c.Digest:
				return a.lie(where, "its bytes do not have that digest")
			case err != nil:
				return fmt.Errorf("reading %s: %w", where, err)
			}
			ciphertext, err := a.suite.ParseCiphertext(raw)
			if err == nil {
				err = again[c.Shard].Add(ciphertext)
			}
			if err != nil {
				return a.lie(where, "%v", err)
			}
		}
	}
	for shard := range sums {
		if !bytes.Equal(again[shard].Bytes(), sums[shard].Bytes()) {
			return a.lie(r.seal.String(), "the sum of shard %d is not the sum of the clients' ciphertexts", shard)
		}
	}
	a.checked("sums that are those of the stored ciphertexts", len(sums), started)
	return nil
}

// countPruned counts what a source still holds of what may be deleted.
func (a *auditor) countPruned(ctx context.Context, r *roundLog) error {
	holder, ok := a.src.(Holder)
	if !ok {
		return nil
	}
	count := func(digest fl.Digest, pruned *int) error {
		held, err := holder.Holds(ctx, digest)
		switch {
		case err != nil:
			return fmt.Errorf("looking for blob %s: %w", digest.Short(), err)
		case held:
			a.report.Pruned.Kept++
		default:
			*pruned++
		}
		return nil
	}
	for _, h := range r.headers {
		for _, c := range h.body.Ciphertexts {
			if err := count(c.Digest, &a.report.Pruned.Ciphertexts); err != nil {
				return err
			}
		}
	}
	for _, n := range r.noise {
		for _, b := range n.body.Boxes {
			if err := count(b.Digest, &a.report.Pruned.NoiseBoxes); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKept reads every blob that a source says it holds: of a round that is
// over nothing needs the ciphertexts and the boxes, but what is still there has
// to be what it is called.
func (a *auditor) checkKept(ctx context.Context) error {
	keeper, ok := a.src.(Keeper)
	if !ok || a.sel.Job != "" {
		return nil
	}
	started, count := time.Now(), 0
	err := keeper.EachBlob(ctx, func(digest fl.Digest) error {
		raw, err := a.src.Blob(ctx, digest, fl.Digest{})
		switch {
		case errors.Is(err, ErrMissing): // pruned at this moment
			return nil
		case errors.Is(err, ErrDamaged) || err == nil && fl.DigestBytes(raw) != digest:
			return a.lie(fmt.Sprintf("blob %s (%s)", digest.Short(), a.book.nameOf(digest)), "its bytes do not have that digest")
		case err != nil:
			return fmt.Errorf("reading blob %s: %w", digest.Short(), err)
		}
		count++
		return nil
	})
	if err != nil {
		return err
	}
	a.checked("stored blobs that are what they are called, needed or not", count, started)
	return nil
}

// nameOf says what a blob is that no check asked for.
func (b *book) nameOf(digest fl.Digest) string {
	for _, j := range b.jobs {
		for _, r := range j.rounds {
			for _, h := range r.headers {
				for _, c := range h.body.Ciphertexts {
					if c.Digest == digest {
						return fmt.Sprintf("ciphertext of shard %d, named by %s", c.Shard, h)
					}
				}
			}
			for _, n := range r.noise {
				for _, x := range n.body.Boxes {
					if x.Digest == digest {
						return fmt.Sprintf("box of noise for %s, named by %s", x.Receiver, n)
					}
				}
			}
		}
	}
	return "stored, and needed by nothing that was checked"
}
