package threshold

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"credence/he"
)

// A KeyHolder is one committee member's durable state. Every answer it gives
// is on disk before it is returned, so after a crash the same question gets the
// same bytes. It is safe for concurrent use; one process at a time may open a
// directory.
//
// The order of an epoch: SealKey, then (once all seal keys are known) Commit,
// Reveal, Deal, Complete; DealNoise and ReleaseTest for the self-test; Confirm
// once the epoch's key is published; then DealNoise and Release for each sum,
// CloseRound after each round, and EraseEpoch at the end.
type KeyHolder struct {
	mu     sync.Mutex
	self   string
	st     storage
	unsure bool
	closed bool
	// epochs are the descriptions that were committed to, as read from the
	// state: every dealing and share needs one, and the file holds all the boxes
	// of a dealing beside it. Nothing in them is secret.
	epochs map[uint64]*Epoch
}

// Open opens or creates the state of member self in dir, which becomes 0700
// with files 0600. ErrLocked means another process holds it.
func Open(dir, self string) (*KeyHolder, error) {
	st, err := openDisk(dir)
	if err != nil {
		return nil, err
	}
	h, err := openHolder(st, self)
	if err != nil {
		return nil, errors.Join(err, st.close())
	}
	return h, nil
}

func openHolder(st storage, self string) (*KeyHolder, error) {
	if len(self) == 0 || len(self) > maxID {
		return nil, fmt.Errorf("%w: member name has %d bytes, want 1 to %d", ErrEncoding, len(self), maxID)
	}
	if err := recoverStorage(st); err != nil {
		return nil, err
	}
	h := &KeyHolder{self: self, st: st, epochs: map[uint64]*Epoch{}}
	// Finish erasures that a crash cut short.
	names, err := st.list(dirEpochs)
	if err != nil {
		return nil, fmt.Errorf("listing the key holder's epochs: %w", err)
	}
	for _, name := range names {
		if stem, ok := strings.CutSuffix(name, ".erased"); ok {
			if err := h.dropEpoch(stem); err != nil {
				return nil, err
			}
		}
	}
	return h, nil
}

// Close releases the directory. The holder answers nothing afterwards.
func (h *KeyHolder) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	return h.st.close()
}

// enter locks the holder and refuses when it cannot answer safely.
func (h *KeyHolder) enter() (leave func(), err error) {
	h.mu.Lock()
	if h.unsure || h.closed {
		h.mu.Unlock()
		return nil, fmt.Errorf("%w: holder of member %q", ErrStateUnsure, h.self)
	}
	return h.mu.Unlock, nil
}

// Self is the member's name.
func (h *KeyHolder) Self() string { return h.self }

func (h *KeyHolder) refuseErased(number uint64) error {
	_, erased, err := h.get(dirEpochs, epochFile(number, "erased"), kindTombstone)
	if err != nil {
		return err
	}
	if erased {
		return fmt.Errorf("%w: epoch %d", ErrEpochErased, number)
	}
	return nil
}

// SealKey returns the member's X25519 public key for an epoch (32 bytes),
// making it on the first call. It goes into the EpochConfig.
func (h *KeyHolder) SealKey(number uint64) ([]byte, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := h.refuseErased(number); err != nil {
		return nil, err
	}
	private, ok, err := h.get(dirEpochs, epochFile(number, "seal"), kindSealKey)
	if err != nil {
		return nil, err
	}
	if !ok {
		key, err := kem.GenerateKey()
		if err != nil {
			return nil, fmt.Errorf("making the seal key of epoch %d: %w", number, err)
		}
		if private, err = key.Bytes(); err != nil {
			return nil, fmt.Errorf("encoding the seal key of epoch %d: %w", number, err)
		}
		if err := h.put(dirEpochs, epochFile(number, "seal"), kindSealKey, private); err != nil {
			return nil, err
		}
	}
	defer clear(private)
	return publicOf(private)
}

func publicOf(private []byte) ([]byte, error) {
	key, err := kem.NewPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("%w: the seal key does not parse", ErrCorruptState)
	}
	return key.PublicKey().Bytes(), nil
}

// Commit makes the member's whole contribution to the epoch (key share,
// sealed shares) on the first call and returns its commitment. A second, different
// description of the same epoch number is refused (ErrConflict).
func (h *KeyHolder) Commit(e *Epoch) ([32]byte, error) { return h.CommitAttested(e, nil) }

// CommitAttested is Commit with an attestation of the key share, which is kept
// beside it (see Attestation).
func (h *KeyHolder) CommitAttested(e *Epoch, attest Attester) ([32]byte, error) {
	leave, err := h.enter()
	if err != nil {
		return [32]byte{}, err
	}
	defer leave()
	if err := h.refuseErased(e.Number()); err != nil {
		return [32]byte{}, err
	}
	me, ok := e.member(h.self)
	if !ok {
		return [32]byte{}, blame(h.self, "%w of epoch %d", ErrNotMember, e.Number())
	}
	c, err := h.commitState(e.Number())
	switch {
	case err == nil:
		if c.epoch.digest != e.digest {
			return [32]byte{}, fmt.Errorf("%w: epoch %d was committed to with another description", ErrConflict, e.Number())
		}
		return commitTo(e, h.self, c.reveal), nil
	case !errors.Is(err, ErrNotReady):
		return [32]byte{}, err
	}
	private, ok, err := h.get(dirEpochs, epochFile(e.Number(), "seal"), kindSealKey)
	if err != nil {
		return [32]byte{}, err
	}
	if !ok {
		return [32]byte{}, fmt.Errorf("%w: no seal key for epoch %d; call SealKey first", ErrNotReady, e.Number())
	}
	defer clear(private)
	public, err := publicOf(private)
	if err != nil {
		return [32]byte{}, err
	}
	if !bytes.Equal(public, me.SealKey) {
		return [32]byte{}, fmt.Errorf("%w: epoch %d lists another seal key for member %q", ErrConflict, e.Number(), h.self)
	}
	made, err := newKeyContribution(e, h.self, attest)
	if err != nil {
		return [32]byte{}, err
	}
	defer clear(made.seed)
	// First the seed: without the contribution it means nothing, and a
	// contribution without it could not be defended.
	if err := h.put(dirEpochs, epochFile(e.Number(), "answers"), kindAnswers, made.seed); err != nil {
		return [32]byte{}, err
	}
	c = &commitState{self: h.self, epoch: e, reveal: made.reveal, attestation: made.attestation, dealing: made.dealing}
	if err := h.put(dirEpochs, epochFile(e.Number(), "commit"), kindCommit, c.encode()); err != nil {
		return [32]byte{}, err
	}
	return commitTo(e, h.self, c.reveal), nil
}

// Attestation returns the attestation that was made with the member's key
// share, empty when none was.
func (h *KeyHolder) Attestation(number uint64) ([]byte, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	c, err := h.commitState(number)
	if err != nil {
		return nil, err
	}
	return c.attestation, nil
}

// commitState loads the member's contribution, or ErrNotReady.
func (h *KeyHolder) commitState(number uint64) (*commitState, error) {
	body, ok, err := h.get(dirEpochs, epochFile(number, "commit"), kindCommit)
	if err != nil {
		return nil, err
	}
	if !ok {
		if err := h.refuseErased(number); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: epoch %d was not committed to", ErrNotReady, number)
	}
	c, err := decodeCommitState(body)
	if err != nil {
		return nil, fmt.Errorf("%w: commit of epoch %d: %w", ErrCorruptState, number, err)
	}
	if c.self != h.self {
		return nil, fmt.Errorf("%w: this directory belongs to member %q, not %q", ErrConflict, c.self, h.self)
	}
	return c, nil
}

// Epoch returns the description that was committed to.
func (h *KeyHolder) Epoch(number uint64) (*Epoch, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	return h.epoch(number)
}

// epoch is commitState for those who need the description alone.
func (h *KeyHolder) epoch(number uint64) (*Epoch, error) {
	if e := h.epochs[number]; e != nil {
		return e, nil
	}
	c, err := h.commitState(number)
	if err != nil {
		return nil, err
	}
	h.epochs[number] = c.epoch
	return c.epoch, nil
}

// Reveal opens the member's commitment, once it is given everyone's. The set of
// commitments is fixed by the first call; another set is refused (ErrConflict),
// or a member that reveals last could still choose.
func (h *KeyHolder) Reveal(number uint64, commitments map[string][32]byte) ([]byte, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	c, err := h.commitState(number)
	if err != nil {
		return nil, err
	}
	if err := checkSenders(c.epoch, "commitment", commitments); err != nil {
		return nil, err
	}
	if commitments[h.self] != commitTo(c.epoch, h.self, c.reveal) {
		return nil, blame(h.self, "%w: not the commitment this holder made", ErrConflict)
	}
	fixed, err := h.fixedCommitments(number)
	switch {
	case err == nil:
		if !maps.Equal(fixed, commitments) {
			return nil, fmt.Errorf("%w: the commitments of epoch %d changed after this member revealed", ErrConflict, number)
		}
	case errors.Is(err, ErrNotReady):
		if err := h.put(dirEpochs, epochFile(number, "commitments"), kindCommitments, encodeCommitments(commitments)); err != nil {
			return nil, err
		}
	default:
		return nil, err
	}
	return c.reveal, nil
}

func (h *KeyHolder) fixedCommitments(number uint64) (map[string][32]byte, error) {
	body, ok, err := h.get(dirEpochs, epochFile(number, "commitments"), kindCommitments)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: epoch %d: this member has not revealed", ErrNotReady, number)
	}
	m, err := decodeCommitments(body)
	if err != nil {
		return nil, fmt.Errorf("%w: commitments of epoch %d: %w", ErrCorruptState, number, err)
	}
	return m, nil
}

// Deal returns the member's sealed key shares, one for each member (its own
// included) in the order of the points, BoxBytes each.
func (h *KeyHolder) Deal(number uint64) (Dealing, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	c, err := h.commitState(number)
	if err != nil {
		return nil, err
	}
	return c.dealing, nil
}

// Complete takes every member's reveal and dealing with the box for this
// member (both by sender, its own included), checks them, keeps this member's
// share of the collective secret and returns the collective public key. The
// sender of anything wrong is named; nothing is kept then. A ComplaintError
// holds what the member publishes against dealers whose boxes are wrong.
func (h *KeyHolder) Complete(number uint64, reveals map[string][]byte, received map[string]Received) (*he.PublicKey, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	c, err := h.commitState(number)
	if err != nil {
		return nil, err
	}
	commitments, err := h.fixedCommitments(number)
	if err != nil {
		return nil, err
	}
	inputs := completionInputs(reveals, received)
	if k, err := h.keyState(number); err == nil {
		defer clear(k.sigma)
		if k.inputs != inputs {
			return nil, fmt.Errorf("%w: epoch %d was completed with other reveals or boxes", ErrConflict, number)
		}
		return c.epoch.suite.ParsePublicKey(k.public)
	} else if !errors.Is(err, ErrNotReady) {
		return nil, err
	}
	pk, err := CollectiveKey(c.epoch, commitments, reveals)
	if err != nil {
		return nil, err
	}
	transcript, err := Transcript(c.epoch, reveals, dealingsOf(received))
	if err != nil {
		return nil, err
	}
	sigma, err := h.takeShares(c.epoch, KeySubject(), received)
	if err != nil {
		return nil, fmt.Errorf("taking the key shares of epoch %d: %w", number, err)
	}
	defer sigma.Erase()
	k := &keyState{inputs: inputs, transcript: transcript, sigma: sigma.Bytes(), public: pk.Bytes()}
	defer clear(k.sigma)
	body := k.encode()
	defer clear(body)
	if err := h.put(dirEpochs, epochFile(number, "key"), kindKey, body); err != nil {
		return nil, err
	}
	return pk, nil
}

// completionInputs names what a completion was made from. Answers to
// complaints are not part of it: they open the same boxes.
func completionInputs(reveals map[string][]byte, received map[string]Received) [32]byte {
	var w writer
	writeBoxes(&w, reveals)
	for _, dealer := range sortedKeys(received) {
		w.str(dealer)
		w.fixed(received[dealer].Dealing.Digest())
		w.blob(received[dealer].Box)
	}
	return sha256.Sum256(w.b)
}

// Confirm says that the epoch's key is published: every member took its
// shares, so complaints about the key dealing are over. What answers them is
// erased, and the self-test is closed. It is idempotent.
func (h *KeyHolder) Confirm(number uint64) error {
	leave, err := h.enter()
	if err != nil {
		return err
	}
	defer leave()
	if err := h.refuseErased(number); err != nil {
		return err
	}
	if err := h.drop(dirEpochs, epochFile(number, "answers")); err != nil {
		return err
	}
	return h.closeRound(testJob, number)
}

// keyState loads the completed epoch, or ErrNotReady.
func (h *KeyHolder) keyState(number uint64) (*keyState, error) {
	body, ok, err := h.get(dirEpochs, epochFile(number, "key"), kindKey)
	if err != nil {
		return nil, err
	}
	if !ok {
		if err := h.refuseErased(number); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: epoch %d is not complete", ErrNotReady, number)
	}
	k, err := decodeKeyState(body)
	if err != nil {
		return nil, fmt.Errorf("%w: key of epoch %d: %w", ErrCorruptState, number, err)
	}
	return k, nil
}

// PublicKey returns the collective key of a completed epoch.
func (h *KeyHolder) PublicKey(number uint64) (*he.PublicKey, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	e, err := h.epoch(number)
	if err != nil {
		return nil, err
	}
	k, err := h.keyState(number)
	if err != nil {
		return nil, err
	}
	defer clear(k.sigma)
	return e.suite.ParsePublicKey(k.public)
}

// EraseEpoch removes the epoch's secrets for ever: the seal key, the
// contribution, the share of the secret. What was released stays recorded. It is
// idempotent, and a crash in the middle is finished by the next Open.
func (h *KeyHolder) EraseEpoch(number uint64) error {
	leave, err := h.enter()
	if err != nil {
		return err
	}
	defer leave()
	delete(h.epochs, number)
	if err := h.refuseErased(number); errors.Is(err, ErrEpochErased) {
		return h.dropEpoch(fmt.Sprintf("%020d", number))
	} else if err != nil {
		return err
	}
	if err := h.closeRound(testJob, number); err != nil {
		return err
	}
	if err := h.put(dirEpochs, epochFile(number, "erased"), kindTombstone, nil); err != nil {
		return err
	}
	return h.dropEpoch(fmt.Sprintf("%020d", number))
}

func (h *KeyHolder) dropEpoch(stem string) error {
	return h.drop(dirEpochs, stem+".key", stem+".seal", stem+".commit", stem+".commitments", stem+".answers")
}
