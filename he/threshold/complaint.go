package threshold

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"credence/he"
)

// Received is what one dealer dealt, as one receiver has it.
type Received struct {
	// Dealing is the public part, for all receivers.
	Dealing Dealing
	// Box is the receiver's own box.
	Box []byte
	// Key is the content key that the dealer published when the receiver
	// complained that the box does not give it; nil otherwise.
	Key []byte
}

// A Charge says that one dealer's box for this member is wrong. With a key
// anyone can look into the box and decide; without one the dealer has to
// publish it.
type Charge struct {
	Dealer string
	Key    []byte // the committed content key, nil when the box does not give it
	Reason error  // for the log; it is not evidence
}

// A ComplaintError refuses shares because boxes are wrong in a way that their
// dealers answer for. It unwraps to a MemberError for each dealer.
type ComplaintError struct {
	Subject Subject
	Charges []Charge // by the dealer's name
}

func (e *ComplaintError) Error() string {
	var all []string
	for _, c := range e.Charges {
		all = append(all, fmt.Sprintf("member %q: %v", c.Dealer, c.Reason))
	}
	return fmt.Sprintf("complaint about the %v: %s", e.Subject, strings.Join(all, "; "))
}

// Unwrap returns a MemberError for each charge.
func (e *ComplaintError) Unwrap() []error {
	out := make([]error, len(e.Charges))
	for i, c := range e.Charges {
		out[i] = &MemberError{Member: c.Dealer, Err: c.Reason}
	}
	return out
}

// locate finds a receiver's part of a dealing and checks that the box is the
// one it names: whatever else is in the way of that is not the dealer's doing.
func locate(e *Epoch, subject Subject, dealer string, d Dealing, receiver string, box []byte) (DealtBox, error) {
	if err := VerifyDealing(e, subject, dealer, d); err != nil {
		return DealtBox{}, err
	}
	rec, ok := d.box(receiver)
	if !ok {
		return DealtBox{}, blame(receiver, "%w of epoch %d", ErrNotMember, e.Number())
	}
	switch {
	case len(box) != BoxBytes(e, dealer, receiver):
		return DealtBox{}, blame(dealer, "%w: %d bytes, want %d", ErrBox, len(box), BoxBytes(e, dealer, receiver))
	case sha256.Sum256(box) != rec.Digest:
		return DealtBox{}, blame(dealer, "%w: it is not the box for %q that the dealing names", ErrBox, receiver)
	}
	return rec, nil
}

// openWith looks into a box with a key that matches the commitment. An error
// is the dealer's fault.
func openWith(e *Epoch, subject Subject, dealer string, d Dealing, rec DealtBox, box, key []byte) (*he.Poly, error) {
	p, err := openBody(e, dealer, rec.Receiver, boxContext(e, subject, dealer, rec.Receiver), key, box)
	if err != nil {
		return nil, err
	}
	if got := encodeResidues(challengeOf(e, subject, dealer, d).respond(p.share, p.masks)); !bytes.Equal(got, rec.Check) {
		p.erase()
		return nil, fmt.Errorf("%w: the share in the box does not give the published check", ErrDealing)
	}
	clear(p.masks)
	clear(p.seed)
	return p.share, nil
}

// CheckKey reports whether a content key is the one that the dealer committed
// to for a receiver (ErrKey if not).
func CheckKey(e *Epoch, subject Subject, dealer string, d Dealing, receiver string, key []byte) error {
	rec, ok := d.box(receiver)
	if !ok {
		return blame(receiver, "%w of epoch %d", ErrNotMember, e.Number())
	}
	if len(key) != contentKeyBytes || commitKey(boxContext(e, subject, dealer, receiver), key) != rec.Commitment {
		return fmt.Errorf("%w: box of %q for %q", ErrKey, dealer, receiver)
	}
	return nil
}

// A Ruling decides a complaint.
type Ruling struct {
	// Guilty names the dealer or the complainer.
	Guilty string
	// Reason says what was found, for people. It wraps ErrBox or ErrDealing when
	// the dealer is guilty, ErrKey or ErrFalseComplaint when the complainer is.
	Reason error
}

// Judge decides a complaint of receiver about dealer, given the box and its
// content key. Anyone can run it, and everyone gets the same answer: the
// dealer is guilty when the box, opened with the key that it committed to,
// does not hold the share that its dealing promises; the complainer when it
// does, or when the key is not that key.
//
// An error means that there is nothing to judge: the dealing is malformed or
// the box is another one.
func Judge(e *Epoch, subject Subject, dealer string, d Dealing, receiver string, box, key []byte) (Ruling, error) {
	rec, err := locate(e, subject, dealer, d, receiver, box)
	if err != nil {
		return Ruling{}, err
	}
	if wrong := CheckKey(e, subject, dealer, d, receiver, key); wrong != nil {
		return Ruling{Guilty: receiver, Reason: wrong}, nil //nolint:nilerr // a finding, not a failure
	}
	share, wrong := openWith(e, subject, dealer, d, rec, box, key)
	if wrong != nil {
		return Ruling{Guilty: dealer, Reason: wrong}, nil //nolint:nilerr // a finding, not a failure
	}
	share.Erase()
	return Ruling{Guilty: receiver, Reason: fmt.Errorf("%w: the box of %q for %q holds the promised share", ErrFalseComplaint, dealer, receiver)}, nil
}

// takeShares opens one box of each dealer and adds up the shares. When boxes
// are wrong it returns a ComplaintError with a charge for each.
func (h *KeyHolder) takeShares(e *Epoch, subject Subject, received map[string]Received) (*he.Poly, error) {
	private, ok, err := h.get(dirEpochs, epochFile(e.Number(), "seal"), kindSealKey)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: the seal key of epoch %d is gone", ErrNotReady, e.Number())
	}
	defer clear(private)
	sum := e.suite.NewPoly()
	complaint := &ComplaintError{Subject: subject}
	for _, dealer := range sortedKeys(received) {
		share, charge, err := h.takeShare(e, subject, dealer, received[dealer], private)
		switch {
		case err != nil:
			sum.Erase()
			return nil, err
		case charge != nil:
			complaint.Charges = append(complaint.Charges, *charge)
		default:
			sum.Add(share)
			share.Erase()
		}
	}
	if len(complaint.Charges) > 0 {
		sum.Erase()
		return nil, complaint
	}
	return sum, nil
}

// takeShare opens one box. A charge is the dealer's fault, or, without a key,
// may be; an error is somebody else's.
func (h *KeyHolder) takeShare(e *Epoch, subject Subject, dealer string, r Received, private []byte) (*he.Poly, *Charge, error) {
	rec, err := locate(e, subject, dealer, r.Dealing, h.self, r.Box)
	if err != nil {
		return nil, nil, err
	}
	key := r.Key
	if len(key) > 0 {
		if err := CheckKey(e, subject, dealer, r.Dealing, h.self, key); err != nil {
			return nil, nil, blame(dealer, "its answer to a complaint: %w", err)
		}
	} else {
		key, err = unsealKey(private, boxContext(e, subject, dealer, h.self), r.Box)
		if errors.Is(err, ErrCorruptState) {
			return nil, nil, err
		}
		if err == nil {
			if wrong := CheckKey(e, subject, dealer, r.Dealing, h.self, key); wrong != nil {
				err = fmt.Errorf("%w: its key is not the committed one", ErrBox)
			}
		}
		if err != nil {
			return nil, &Charge{Dealer: dealer, Reason: err}, nil //nolint:nilerr // a finding, not a failure
		}
	}
	share, err := openWith(e, subject, dealer, r.Dealing, rec, r.Box, key)
	if err != nil {
		return nil, &Charge{Dealer: dealer, Key: key, Reason: err}, nil //nolint:nilerr // a finding, not a failure
	}
	return share, nil, nil
}

// Answer returns the content key of the box that this member dealt to a
// receiver, which the member publishes when the receiver complains that the box
// does not give it. It lets anyone read that one share, so the caller checks
// the receiver's signature on the complaint first. Keys of a key dealing are
// there until Confirm, those of noise until the round is closed.
func (h *KeyHolder) Answer(number uint64, subject Subject, receiver string) ([]byte, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	e, err := h.epoch(number)
	if err != nil {
		return nil, err
	}
	if _, ok := e.member(receiver); !ok {
		return nil, blame(receiver, "%w of epoch %d", ErrNotMember, number)
	}
	var seed []byte
	if subject.noise {
		n, err := h.noiseState(subject.sum)
		if err != nil {
			return nil, err
		}
		if n == nil || n.epoch != number {
			return nil, fmt.Errorf("%w: no %v was dealt in epoch %d", ErrNotReady, subject, number)
		}
		seed = n.seed
	} else {
		var ok bool
		if seed, ok, err = h.get(dirEpochs, epochFile(number, "answers"), kindAnswers); err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%w: epoch %d is confirmed, complaints about its key are over", ErrNotReady, number)
		}
	}
	defer clear(seed)
	return contentKey(seed, boxContext(e, subject, h.self, receiver)), nil
}

// Transcript names everything that an epoch's key follows from: its
// description, every reveal and every key dealing. The self-test is drawn from
// it. Maps are by member.
func Transcript(e *Epoch, reveals map[string][]byte, dealings map[string]Dealing) ([32]byte, error) {
	if err := errors.Join(checkSenders(e, "reveal", reveals), checkSenders(e, "key dealing", dealings)); err != nil {
		return [32]byte{}, err
	}
	var w writer
	w.str("credence/threshold/transcript/v1")
	w.fixed(e.digest)
	for _, m := range e.cfg.Members {
		w.fixed(sha256.Sum256(reveals[m.ID]))
		w.fixed(dealings[m.ID].Digest())
	}
	return sha256.Sum256(w.b), nil
}

func dealingsOf(received map[string]Received) map[string]Dealing {
	out := make(map[string]Dealing, len(received))
	for dealer, r := range received {
		out[dealer] = r.Dealing
	}
	return out
}
