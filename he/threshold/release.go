package threshold

import (
	"fmt"
	"slices"

	"credence/he"
)

// DealNoise deals this member's smudging polynomial for one expected sum:
// uniform in [-B_sm, B_sm], Shamir-shared and sealed, one box for each member
// (its own included) in the order of the points, BoxBytes each. Asked again it
// returns the same bytes. Once the round is closed it is refused: a second
// dealing would be other noise.
func (h *KeyHolder) DealNoise(number uint64, id SumID) (Dealing, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := id.check(); err != nil {
		return nil, err
	}
	if err := h.refuseClosed(id); err != nil {
		return nil, err
	}
	n, err := h.noiseState(id)
	if err != nil {
		return nil, err
	}
	if n != nil {
		clear(n.seed)
		if n.epoch != number {
			return nil, fmt.Errorf("%w: noise for %v was dealt in epoch %d", ErrConflict, id, n.epoch)
		}
		return n.dealing, nil
	}
	e, err := h.epoch(number)
	if err != nil {
		return nil, err
	}
	k, err := h.keyState(number)
	if err != nil {
		return nil, err
	}
	clear(k.sigma)
	noise := e.suite.SmudgingPoly()
	defer noise.Erase()
	n = &noiseState{id: id, epoch: number, seed: newSeed()}
	defer clear(n.seed)
	if n.dealing, err = deal(e, NoiseSubject(id), h.self, noise, n.seed); err != nil {
		return nil, fmt.Errorf("dealing noise for %v: %w", id, err)
	}
	body := n.encode()
	defer clear(body)
	if err := h.put(dirNoise, sumName(id), kindNoise, body); err != nil {
		return nil, err
	}
	return n.dealing, nil
}

// Dealt reports whether this member has dealt its noise for a sum and still
// keeps the dealing.
func (h *KeyHolder) Dealt(id SumID) (bool, error) {
	leave, err := h.enter()
	if err != nil {
		return false, err
	}
	defer leave()
	if err := id.check(); err != nil {
		return false, err
	}
	n, err := h.noiseState(id)
	if err != nil || n == nil {
		return false, err
	}
	clear(n.seed)
	return true, nil
}

// noiseState loads this member's dealing for a sum, nil when there is none.
func (h *KeyHolder) noiseState(id SumID) (*noiseState, error) {
	body, ok, err := h.get(dirNoise, sumName(id), kindNoise)
	if err != nil || !ok {
		return nil, err
	}
	n, err := decodeNoiseState(body)
	if err != nil {
		return nil, fmt.Errorf("%w: noise for %v: %w", ErrCorruptState, id, err)
	}
	if n.id != id {
		return nil, fmt.Errorf("%w: noise for %v is of %v", ErrConflict, id, n.id)
	}
	return n, nil
}

func (h *KeyHolder) refuseClosed(id SumID) error {
	_, closed, err := h.get(dirClosed, roundName(id.Job, id.Round), kindTombstone)
	if err != nil {
		return err
	}
	if closed {
		return fmt.Errorf("%w: %v", ErrRoundClosed, id)
	}
	return nil
}

// A ReleaseRequest asks a member for its decryption share of one sum.
type ReleaseRequest struct {
	// Epoch is the number of the epoch under whose key the sum was encrypted.
	Epoch uint64
	// Sum is the place of the sum.
	Sum SumID
	// C0Digest is he.Sum.PartDigest(he.C0). The member does not need c0, but its
	// record names the whole sum.
	C0Digest [32]byte
	// C1 is he.Sum.PartBytes(he.C1).
	C1 []byte
	// Noise holds, for each dealer of the logged dealer set, its dealing and the
	// box it sealed for this member. At least t dealers.
	Noise map[string]Received
}

// Release returns the member's decryption share d_i = c1*sigma_i + eta_i mod Q,
// PolyBytes long. Before it returns, the sum's digest, the dealer set and the
// share are on disk; the noise shares are never stored and are erased from memory.
//
// The same request gets the same bytes, also after a restart and after
// EraseEpoch. Another ciphertext for the same sum is refused for ever
// (ErrSecondDigest), and so is another dealer set (ErrSecondDealerSet). Whether
// the sum may be opened at all (plan, cohort, attestations) is for the caller to
// check first.
func (h *KeyHolder) Release(req ReleaseRequest) ([]byte, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := req.Sum.forData(); err != nil {
		return nil, err
	}
	return h.release(req, nil)
}

// release answers for one sum. The share of the secret is the collective one,
// or the one that a single dealer dealt (single, not nil: the self-test).
func (h *KeyHolder) release(req ReleaseRequest, single func(e *Epoch) (*he.Poly, error)) ([]byte, error) {
	dealers := sortedKeys(req.Noise)
	// The record decides first: it must hold whatever else is still there.
	rec, err := h.released(req.Sum)
	if err != nil {
		return nil, err
	}
	if rec != nil {
		return repeat(rec, req, dealers)
	}
	if err := h.refuseClosed(req.Sum); err != nil {
		return nil, err
	}
	e, err := h.epoch(req.Epoch)
	if err != nil {
		return nil, err
	}
	c1, err := e.suite.ParseSumPart(req.C1, he.C1)
	if err != nil {
		return nil, fmt.Errorf("reading c1 of %v: %w", req.Sum, err)
	}
	if c1.Count() == 0 {
		return nil, fmt.Errorf("%w: %v", he.ErrEmptySum, req.Sum)
	}
	if len(dealers) < e.Threshold() {
		return nil, fmt.Errorf("%w: %d for %v, epoch %d needs %d", ErrNotEnoughDealers, len(dealers), req.Sum, req.Epoch, e.Threshold())
	}
	for _, d := range dealers {
		if _, ok := e.member(d); !ok {
			return nil, blame(d, "%w: noise dealer for %v", ErrNotMember, req.Sum)
		}
	}
	k, err := h.keyState(req.Epoch)
	if err != nil {
		return nil, err
	}
	defer clear(k.sigma)
	sigma, err := e.suite.ParsePoly(k.sigma)
	if err != nil {
		return nil, fmt.Errorf("%w: key share of epoch %d", ErrCorruptState, req.Epoch)
	}
	if single != nil {
		sigma.Erase()
		if sigma, err = single(e); err != nil {
			return nil, err
		}
	}
	defer sigma.Erase()
	eta, err := h.takeShares(e, NoiseSubject(req.Sum), req.Noise)
	if err != nil {
		return nil, fmt.Errorf("taking the noise shares for %v: %w", req.Sum, err)
	}
	defer eta.Erase()
	share := c1.Reduce().Mul(sigma).Add(eta)
	rec = &releasedState{
		id: req.Sum, suite: e.suite.Name(), epoch: req.Epoch, digest: he.SumDigest(req.C0Digest, c1.Digest()),
		dealers: dealers, share: share.Bytes(),
	}
	if err := h.put(dirReleased, sumName(req.Sum), kindReleased, rec.encode()); err != nil {
		return nil, err
	}
	return rec.share, nil
}

// repeat answers a request for a sum that was answered before.
func repeat(rec *releasedState, req ReleaseRequest, dealers []string) ([]byte, error) {
	suite, err := he.LookupSuite(rec.suite)
	if err != nil {
		return nil, fmt.Errorf("%w: released share for %v: %w", ErrCorruptState, req.Sum, err)
	}
	c1, err := suite.ParseSumPart(req.C1, he.C1)
	if err != nil {
		return nil, fmt.Errorf("reading c1 of %v: %w", req.Sum, err)
	}
	switch {
	case rec.epoch != req.Epoch:
		return nil, fmt.Errorf("%w: %v was answered in epoch %d", ErrSecondDigest, req.Sum, rec.epoch)
	case rec.digest != he.SumDigest(req.C0Digest, c1.Digest()):
		return nil, fmt.Errorf("%w: %v, recorded digest %x", ErrSecondDigest, req.Sum, rec.digest[:8])
	case !slices.Equal(rec.dealers, dealers):
		return nil, fmt.Errorf("%w: %v, recorded dealers %q", ErrSecondDealerSet, req.Sum, rec.dealers)
	case len(rec.share) == 0:
		return nil, fmt.Errorf("%w: %v was answered and its share is no longer kept", ErrRoundClosed, req.Sum)
	}
	return rec.share, nil
}

// released loads the record of a sum, nil when it was never answered.
func (h *KeyHolder) released(id SumID) (*releasedState, error) {
	body, ok, err := h.get(dirReleased, sumName(id), kindReleased)
	if err != nil || !ok {
		return nil, err
	}
	rec, err := decodeReleasedState(body)
	if err != nil {
		return nil, fmt.Errorf("%w: released share for %v: %w", ErrCorruptState, id, err)
	}
	if rec.id != id {
		return nil, fmt.Errorf("%w: released share for %v names %v", ErrCorruptState, id, rec.id)
	}
	return rec, nil
}

// A Released is what a member recorded when it answered.
type Released struct {
	Epoch   uint64
	Digest  [32]byte // he.Sum.Digest of the sum
	Dealers []string // sorted
	Share   []byte   // nil once the round is closed
}

// Released returns what was answered for a sum, if anything was: a share can
// be sent again without the sum.
func (h *KeyHolder) Released(id SumID) (Released, bool, error) {
	leave, err := h.enter()
	if err != nil {
		return Released{}, false, err
	}
	defer leave()
	if err := id.check(); err != nil {
		return Released{}, false, err
	}
	rec, err := h.released(id)
	if err != nil || rec == nil {
		return Released{}, false, err
	}
	return Released{Epoch: rec.epoch, Digest: rec.digest, Dealers: rec.dealers, Share: rec.share}, true, nil
}

// CloseRound frees what a finished or aborted round no longer needs: the noise
// dealings and the bytes of the released shares. The records stay, so nothing
// about the round is ever answered or dealt anew. It is idempotent; after an error
// or a crash call it again.
func (h *KeyHolder) CloseRound(job string, round uint64) error {
	leave, err := h.enter()
	if err != nil {
		return err
	}
	defer leave()
	if err := (SumID{Job: job, Round: round}).forData(); err != nil {
		return err
	}
	return h.closeRound(job, round)
}

func (h *KeyHolder) closeRound(job string, round uint64) error {
	if _, closed, err := h.get(dirClosed, roundName(job, round), kindTombstone); err != nil {
		return err
	} else if !closed {
		if err := h.put(dirClosed, roundName(job, round), kindTombstone, nil); err != nil {
			return err
		}
	}
	released, err := h.ofRound(dirReleased, job, round)
	if err != nil {
		return err
	}
	for _, name := range released {
		body, ok, err := h.get(dirReleased, name, kindReleased)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		rec, err := decodeReleasedState(body)
		if err != nil {
			return fmt.Errorf("%w: released share %s: %w", ErrCorruptState, name, err)
		}
		if len(rec.share) == 0 {
			continue
		}
		rec.share = nil
		if err := h.put(dirReleased, name, kindReleased, rec.encode()); err != nil {
			return err
		}
	}
	noise, err := h.ofRound(dirNoise, job, round)
	if err != nil {
		return err
	}
	return h.drop(dirNoise, noise...)
}
