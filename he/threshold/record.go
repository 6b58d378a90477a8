package threshold

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// recordMagic starts every state file; the digit is the format's version.
const recordMagic = "CRKH1"

// kind says what a state file holds, so that one cannot stand in for another.
type kind byte

const (
	kindSealKey kind = iota + 1
	kindCommit
	kindCommitments
	kindKey
	kindNoise
	kindReleased
	kindTombstone
	kindAnswers
)

// maxRecord bounds a length field inside a record; a whole file is bounded by
// what this package wrote.
const maxRecord = 1 << 26

func encodeRecord(k kind, body []byte) []byte {
	out := append([]byte(recordMagic), byte(k))
	out = append(out, body...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

func decodeRecord(k kind, data []byte) ([]byte, error) {
	head := len(recordMagic) + 1
	if len(data) < head+sha256.Size {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorruptState, len(data))
	}
	end := len(data) - sha256.Size
	sum := sha256.Sum256(data[:end])
	if !bytes.Equal(sum[:], data[end:]) || string(data[:len(recordMagic)]) != recordMagic || data[head-1] != byte(k) {
		return nil, fmt.Errorf("%w: checksum or kind differs", ErrCorruptState)
	}
	return data[head:end], nil
}

// put makes a state file durable: write and sync a temporary file, rename it
// into place, sync the directory. When it fails before the rename nothing
// changed; after it, the file may or may not survive a crash, and the holder
// answers nothing more until it is opened again (which syncs).
func (h *KeyHolder) put(dir, name string, k kind, body []byte) error {
	path := dir + "/" + name
	data := encodeRecord(k, body)
	defer clear(data)
	if err := h.st.writeSync(path+tmpSuffix, data); err != nil {
		// Best effort: Open removes leftovers too.
		return errors.Join(fmt.Errorf("writing key holder state %s (is the disk full?): %w", path, err),
			h.st.remove(path+tmpSuffix))
	}
	if err := h.st.rename(path+tmpSuffix, path); err != nil {
		h.unsure = true
		return fmt.Errorf("%w: renaming %s: %w", ErrStateUnsure, path, err)
	}
	if err := h.st.syncDir(dir); err != nil {
		h.unsure = true
		return fmt.Errorf("%w: syncing %s: %w", ErrStateUnsure, dir, err)
	}
	return nil
}

// get reads a state file; ok is false when there is none.
func (h *KeyHolder) get(dir, name string, k kind) (body []byte, ok bool, err error) {
	path := dir + "/" + name
	data, err := h.st.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading key holder state %s: %w", path, err)
	}
	body, err = decodeRecord(k, data)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w; restore it from a copy made after the last answer", path, err)
	}
	return body, true, nil
}

// drop removes files of one directory durably.
func (h *KeyHolder) drop(dir string, names ...string) error {
	for _, name := range names {
		if err := h.st.remove(dir + "/" + name); err != nil {
			return fmt.Errorf("erasing key holder state %s/%s: %w", dir, name, err)
		}
	}
	if err := h.st.syncDir(dir); err != nil {
		return fmt.Errorf("erasing key holder state: syncing %s: %w", dir, err)
	}
	return nil
}

// File names.

func epochFile(number uint64, what string) string { return fmt.Sprintf("%020d.%s", number, what) }

// roundName is fixed-length and safe whatever bytes a job's name has.
func roundName(job string, round uint64) string {
	var w writer
	w.str("credence/threshold/round/v1")
	w.str(job)
	w.u64(round)
	sum := sha256.Sum256(w.b)
	return hex.EncodeToString(sum[:])
}

func sumName(id SumID) string { return fmt.Sprintf("%s-%d", roundName(id.Job, id.Round), id.Shard) }

// ofRound lists the files of one round in dir.
func (h *KeyHolder) ofRound(dir, job string, round uint64) ([]string, error) {
	names, err := h.st.list(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the key holder's %s: %w", dir, err)
	}
	prefix := roundName(job, round) + "-"
	return slices.DeleteFunc(names, func(n string) bool {
		return !strings.HasPrefix(n, prefix) || strings.HasSuffix(n, tmpSuffix)
	}), nil
}

// Bodies.

// commitState is a member's own contribution to an epoch, made in one go.
type commitState struct {
	self        string
	epoch       *Epoch
	reveal      []byte
	attestation []byte
	dealing     Dealing
}

// writeDealing and readDealing leave out the digests, which follow from the
// boxes.
func writeDealing(w *writer, d Dealing) {
	w.u32(uint32(len(d)))
	for _, b := range d {
		w.str(b.Receiver)
		w.blob(b.Box)
		w.fixed(b.Commitment)
		w.blob(b.Check)
	}
}

func readDealing(r *reader) Dealing {
	var out Dealing
	for range r.u32() {
		b := DealtBox{Receiver: r.str(maxID), Box: bytes.Clone(r.blob(maxRecord)), Commitment: r.fixed(), Check: bytes.Clone(r.blob(maxRecord))}
		if r.bad {
			return nil
		}
		b.Digest = sha256.Sum256(b.Box)
		out = append(out, b)
	}
	return out
}

func writeBoxes(w *writer, boxes map[string][]byte) {
	names := sortedKeys(boxes)
	w.u32(uint32(len(names)))
	for _, n := range names {
		w.str(n)
		w.blob(boxes[n])
	}
}

func (c *commitState) encode() []byte {
	var w writer
	w.str(c.self)
	w.blob(c.epoch.Bytes())
	w.blob(c.reveal)
	w.blob(c.attestation)
	writeDealing(&w, c.dealing)
	return w.b
}

func decodeCommitState(b []byte) (*commitState, error) {
	r := reader{b: b}
	c := &commitState{self: r.str(maxID)}
	epoch := r.blob(maxRecord)
	c.reveal = bytes.Clone(r.blob(maxRecord))
	c.attestation = bytes.Clone(r.blob(maxRecord))
	c.dealing = readDealing(&r)
	if err := r.done("commit state"); err != nil {
		return nil, err
	}
	var err error
	c.epoch, err = ParseEpoch(epoch)
	return c, err
}

func encodeCommitments(m map[string][32]byte) []byte {
	var w writer
	names := sortedKeys(m)
	w.u32(uint32(len(names)))
	for _, n := range names {
		w.str(n)
		w.fixed(m[n])
	}
	return w.b
}

func decodeCommitments(b []byte) (map[string][32]byte, error) {
	r := reader{b: b}
	out := map[string][32]byte{}
	for range r.u32() {
		name := r.str(maxID)
		out[name] = r.fixed()
		if r.bad {
			break
		}
	}
	return out, r.done("commitments")
}

// keyState is a completed epoch: the member's share of the secret and the
// collective public key. It is secret.
type keyState struct {
	inputs [32]byte // digest of the reveals and boxes it was made from
	// transcript names what the epoch's key follows from, the same for every
	// member (see Transcript).
	transcript [32]byte
	sigma      []byte
	public     []byte
}

func (k *keyState) encode() []byte {
	var w writer
	w.fixed(k.inputs)
	w.fixed(k.transcript)
	w.blob(k.sigma)
	w.blob(k.public)
	return w.b
}

func decodeKeyState(b []byte) (*keyState, error) {
	r := reader{b: b}
	k := &keyState{inputs: r.fixed(), transcript: r.fixed(), sigma: r.blob(maxRecord), public: r.blob(maxRecord)}
	return k, r.done("key state")
}

// noiseState is one dealing of noise. Its seed is secret.
type noiseState struct {
	id      SumID
	epoch   uint64
	seed    []byte // of the content keys, to answer complaints
	dealing Dealing
}

func (n *noiseState) encode() []byte {
	var w writer
	n.id.write(&w)
	w.u64(n.epoch)
	w.blob(n.seed)
	writeDealing(&w, n.dealing)
	return w.b
}

func decodeNoiseState(b []byte) (*noiseState, error) {
	r := reader{b: b}
	n := &noiseState{id: readSumID(&r), epoch: r.u64(), seed: bytes.Clone(r.blob(seedBytes))}
	n.dealing = readDealing(&r)
	return n, r.done("noise dealing")
}

// releasedState is one answer, recorded before it was given.
type releasedState struct {
	id      SumID
	suite   string // the epoch may be erased when it is asked again
	epoch   uint64
	digest  [32]byte
	dealers []string
	share   []byte // empty once the round is closed
}

func (s *releasedState) encode() []byte {
	var w writer
	s.id.write(&w)
	w.str(s.suite)
	w.u64(s.epoch)
	w.fixed(s.digest)
	w.u32(uint32(len(s.dealers)))
	for _, d := range s.dealers {
		w.str(d)
	}
	w.blob(s.share)
	return w.b
}

func decodeReleasedState(b []byte) (*releasedState, error) {
	r := reader{b: b}
	s := &releasedState{id: readSumID(&r), suite: r.str(maxID), epoch: r.u64(), digest: r.fixed()}
	for range r.u32() {
		s.dealers = append(s.dealers, r.str(maxID))
		if r.bad {
			break
		}
	}
	s.share = bytes.Clone(r.blob(maxRecord))
	return s, r.done("released share")
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
