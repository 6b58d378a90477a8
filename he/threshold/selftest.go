package threshold

import (
	"crypto/sha256"
	"crypto/sha3"
	"errors"
	"fmt"
	"slices"

	"credence/he"
)

// The self-test opens an encryption of zero whose randomness follows from the
// epoch's transcript: bounded as any client's, and known to nobody before every
// dealing was fixed. What passes is therefore a key under which a client's
// encryption decrypts; one whose dealt shares are not those of the revealed
// (p, a) fails but with the probability that a random encryption would survive.

// testRandomness draws the randomness of one test: u uniform ternary, e0 and
// e1 uniform in [-19, 19], by rejection from cSHAKE256.
func testRandomness(s *he.Suite, transcript [32]byte, target int) *he.Randomness {
	var w writer
	w.str("credence/threshold/self-test/v1")
	w.fixed(transcript)
	w.u32(uint32(target))
	xof := sha3.NewCSHAKE256([]byte("credence"), []byte("threshold/self-test/v1/"+s.Name()))
	seed := sha256.Sum256(w.b)
	_, _ = xof.Write(seed[:]) // a hash never fails
	draw := func(bound int8) []int8 {
		out := make([]int8, 0, s.N())
		width := 2*int(bound) + 1
		limit := 256 / width * width
		var buf [256]byte
		for {
			_, _ = xof.Read(buf[:])
			for _, b := range buf {
				if len(out) == s.N() {
					return out
				}
				if int(b) < limit {
					out = append(out, int8(int(b)%width)-bound)
				}
			}
		}
	}
	return &he.Randomness{U: draw(1), E0: draw(he.ErrorBound), E1: draw(he.ErrorBound)}
}

// testCiphertext encrypts zero under a key for one test.
func testCiphertext(pk *he.PublicKey, transcript [32]byte, target int) (*he.Sum, error) {
	c, err := pk.EncryptWith(nil, testRandomness(pk.Suite(), transcript, target))
	if err != nil {
		return nil, fmt.Errorf("making the self-test's ciphertext: %w", err)
	}
	sum := pk.Suite().NewSum()
	return sum, sum.Add(c)
}

// A TestRequest asks a member for its share of an epoch's self-test.
type TestRequest struct {
	Epoch uint64
	// Target is empty for the test of the collective key, or names the member
	// whose dealing alone is tested.
	Target string
	// KeyShare is the target's key dealing with the box for this member; unused
	// when Target is empty.
	KeyShare Received
	// Noise holds every dealer's noise for TestSum of the target.
	Noise map[string]Received
}

// ReleaseTest returns the member's share of a self-test, PolyBytes long. The
// holder makes the ciphertext itself, from the transcript of what it completed,
// so it cannot be made to open anything else. It answers as Release does: once,
// on disk first, the same bytes again.
func (h *KeyHolder) ReleaseTest(req TestRequest) ([]byte, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	c, err := h.commitState(req.Epoch)
	if err != nil {
		return nil, err
	}
	target, err := c.epoch.target(req.Target)
	if err != nil {
		return nil, err
	}
	k, err := h.keyState(req.Epoch)
	if err != nil {
		return nil, err
	}
	clear(k.sigma)
	pk, err := c.epoch.suite.ParsePublicKey(k.public)
	if err != nil {
		return nil, fmt.Errorf("%w: collective key of epoch %d", ErrCorruptState, req.Epoch)
	}
	// Only the target's c0 differs from this one's, which no holder needs.
	sum, err := testCiphertext(pk, k.transcript, target)
	if err != nil {
		return nil, err
	}
	release := ReleaseRequest{Epoch: req.Epoch, Sum: TestSum(req.Epoch, target), C0Digest: sum.PartDigest(he.C0), C1: sum.PartBytes(he.C1), Noise: req.Noise}
	if req.Target == "" {
		return h.release(release, nil)
	}
	return h.release(release, func(e *Epoch) (*he.Poly, error) {
		share, err := h.takeShares(e, KeySubject(), map[string]Received{req.Target: req.KeyShare})
		if err != nil {
			return nil, fmt.Errorf("taking the key share of %q again: %w", req.Target, err)
		}
		return share, nil
	})
}

// target is the number of a test: 0, or the point of the member it is about.
func (e *Epoch) target(member string) (int, error) {
	if member == "" {
		return 0, nil
	}
	m, ok := e.member(member)
	if !ok {
		return 0, blame(member, "%w of epoch %d", ErrNotMember, e.Number())
	}
	return m.Point, nil
}

// VerifyTest opens a self-test from the members' shares. The key is the
// collective one, or MemberKey of the target; dealers is how many dealt noise.
// Anyone can run it.
//
// ErrSelfTest: the shares agree with each other and do not open to zero, so the
// target dealt other shares than those of its key share, or a noise dealer of
// this test dealt oversized noise. ErrUnattributed and ErrNotEnoughShares are
// those of Combine. Opened.Wrong names members whose shares of the test are
// wrong although it passed.
func VerifyTest(e *Epoch, transcript [32]byte, pk *he.PublicKey, target string, dealers int, shares []DecryptionShare) (*Opened, error) {
	number, err := e.target(target)
	if err != nil {
		return nil, err
	}
	sum, err := testCiphertext(pk, transcript, number)
	if err != nil {
		return nil, err
	}
	opened, err := Combine(e, sum, dealers, shares)
	what := "the collective key"
	if target != "" {
		what = fmt.Sprintf("the key share of %q", target)
	}
	switch {
	case errors.Is(err, he.ErrNoise), errors.Is(err, he.ErrSumRange):
		return nil, fmt.Errorf("%w for %s in epoch %d: %w", ErrSelfTest, what, e.Number(), err)
	case err != nil:
		return nil, fmt.Errorf("self-test of %s in epoch %d: %w", what, e.Number(), err)
	case slices.ContainsFunc(opened.Values, func(v int64) bool { return v != 0 }):
		return nil, fmt.Errorf("%w for %s in epoch %d: it opens to something else than zero", ErrSelfTest, what, e.Number())
	}
	return opened, nil
}
