package threshold

import (
	"errors"
	"fmt"
)

// Sentinel errors; every error of this package wraps one of them (or one of
// package he's), and names the member it concerns by a MemberError.
var (
	// ErrBadEpoch: an epoch description that is malformed or not allowed.
	ErrBadEpoch = errors.New("threshold: epoch refused")
	// ErrEncoding: bytes that are not a canonical encoding.
	ErrEncoding = errors.New("threshold: malformed encoding")
	// ErrNotMember: someone outside the epoch's committee.
	ErrNotMember = errors.New("threshold: not a member of the committee")
	// ErrMissing: a message of some member is missing.
	ErrMissing = errors.New("threshold: message missing")
	// ErrCommitment: a reveal does not open its commitment.
	ErrCommitment = errors.New("threshold: reveal does not match its commitment")
	// ErrConflict: a second, different input where the first one binds.
	ErrConflict = errors.New("threshold: differs from what was fixed before")
	// ErrBox: a sealed share that does not open, or opens to garbage.
	ErrBox = errors.New("threshold: sealed share refused")
	// ErrDealing: a dealing whose shares do not lie on one polynomial, or do not
	// give the checks that the dealer published.
	ErrDealing = errors.New("threshold: inconsistent dealing")
	// ErrKey: a content key that is not the one the dealer committed to.
	ErrKey = errors.New("threshold: not the key that was committed to")
	// ErrFalseComplaint: a complaint about a box that is right.
	ErrFalseComplaint = errors.New("threshold: complaint refuted")
	// ErrSelfTest: an epoch's self-test does not open to zero.
	ErrSelfTest = errors.New("threshold: self-test failed")
	// ErrReserved: a sum that only the self-test uses.
	ErrReserved = errors.New("threshold: reserved for the self-test")
	// ErrNotReady: a step asked for before the one it needs.
	ErrNotReady = errors.New("threshold: earlier step is missing")
	// ErrEpochErased: the epoch's secrets are gone.
	ErrEpochErased = errors.New("threshold: epoch erased")
	// ErrRoundClosed: the round's dealings and shares are gone.
	ErrRoundClosed = errors.New("threshold: round closed")
	// ErrSecondDigest: a share was released for this sum's place already, for
	// another ciphertext or in another epoch. It is refused for ever.
	ErrSecondDigest = errors.New("threshold: a share for another ciphertext was released already")
	// ErrSecondDealerSet: a share was released with another dealer set already.
	ErrSecondDealerSet = errors.New("threshold: a share with another dealer set was released already")
	// ErrNotEnoughDealers: fewer noise dealers than the threshold.
	ErrNotEnoughDealers = errors.New("threshold: not enough noise dealers")
	// ErrNotEnoughShares: fewer usable decryption shares than the threshold.
	ErrNotEnoughShares = errors.New("threshold: not enough decryption shares")
	// ErrUnattributed: some share (or dealing) is wrong and nobody can be named
	// from the shares at hand; more shares may settle it.
	ErrUnattributed = errors.New("threshold: wrong decryption shares that cannot be attributed")
	// ErrCorruptState: a state file fails its checksum. Nothing is answered
	// from it, for it may have recorded an answer.
	ErrCorruptState = errors.New("threshold: state file is corrupt")
	// ErrStateUnsure: a write failed after it may have taken effect; the holder
	// answers nothing more until it is opened again.
	ErrStateUnsure = errors.New("threshold: state may not be on disk; open the key holder again")
	// ErrLocked: another process uses the state directory.
	ErrLocked = errors.New("threshold: state directory is in use")
)

// A MemberError names the committee member whose message was refused.
type MemberError struct {
	Member string
	Err    error
}

func (e *MemberError) Error() string { return fmt.Sprintf("member %q: %v", e.Member, e.Err) }

// Unwrap returns the reason.
func (e *MemberError) Unwrap() error { return e.Err }

func blame(member string, format string, args ...any) error {
	return &MemberError{Member: member, Err: fmt.Errorf(format, args...)}
}
