package client

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"credence/fl"
	"credence/fl/identity"
)

// outbox keeps, for every round this node takes part in, the plan it was
// shown, the update it made and the receipt it got. The update is on disk
// before the first byte is sent, so a node that is killed sends the same
// ciphertexts again instead of encrypting anew.
//
//	outbox/<job>/<round>/plan.json      the plan, pinned at first sight
//	outbox/<job>/<round>/<digest>.ct    ciphertexts
//	outbox/<job>/<round>/header.json    the signed header; written last
//	outbox/<job>/<round>/receipt.json   digest of the accepted header
//	outbox/<job>/<round>/accepted.json  the aggregator's signed receipt for it
//	outbox/<job>/<round>/settled        how the round ended, once that is known
type outbox struct{ dir string }

func (o outbox) folder(job fl.JobID, round uint64) string {
	return filepath.Join(o.dir, string(job), strconv.FormatUint(round, 10))
}

// pinPlan remembers the first plan seen for a round and refuses any other.
func (o outbox) pinPlan(job fl.JobID, round uint64, plan fl.Envelope) error {
	path := filepath.Join(o.folder(job, round), "plan.json")
	pinned, err := readFile(path)
	if err != nil {
		return err
	}
	if pinned == nil {
		return identity.WriteFile(path, plan.Encode())
	}
	before, err := fl.DecodeEnvelope(pinned)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if before.Digest() != plan.Digest() {
		return fmt.Errorf("%w: round %d of job %s was %s and is now %s", ErrOtherPlan, round, job, before.Digest().Short(), plan.Digest().Short())
	}
	return nil
}

// keep stores a finished update.
func (o outbox) keep(job fl.JobID, round uint64, header fl.Envelope, ciphertexts [][]byte) error {
	dir := o.folder(job, round)
	for _, c := range ciphertexts {
		if err := identity.WriteFile(filepath.Join(dir, fl.DigestBytes(c).String()+".ct"), c); err != nil {
			return err
		}
	}
	return identity.WriteFile(filepath.Join(dir, "header.json"), header.Encode())
}

// update returns the finished update of a round, or false when there is none.
// A ciphertext that the disk damaged is an error.
func (o outbox) update(job fl.JobID, round uint64) (header fl.Envelope, ciphertexts [][]byte, ok bool, err error) {
	dir := o.folder(job, round)
	raw, err := readFile(filepath.Join(dir, "header.json"))
	if err != nil || raw == nil {
		return fl.Envelope{}, nil, false, err
	}
	if header, err = fl.DecodeEnvelope(raw); err != nil {
		return fl.Envelope{}, nil, false, fmt.Errorf("%s: %w", dir, err)
	}
	var h fl.UpdateHeader
	if err := header.Read(&h); err != nil {
		return fl.Envelope{}, nil, false, fmt.Errorf("%s: %w", dir, err)
	}
	blobs := make([]fl.Digest, 0, len(h.Ciphertexts)+1)
	for _, c := range h.Ciphertexts {
		blobs = append(blobs, c.Digest)
	}
	for _, proof := range []fl.Digest{h.Attestation, h.Training} {
		if !proof.IsZero() {
			blobs = append(blobs, proof)
		}
	}
	for _, digest := range blobs {
		data, err := os.ReadFile(filepath.Join(dir, digest.String()+".ct"))
		if err != nil {
			return fl.Envelope{}, nil, false, err
		}
		if sha256.Sum256(data) != digest {
			return fl.Envelope{}, nil, false, fmt.Errorf("%s: blob %s of the update is damaged", dir, digest.Short())
		}
		ciphertexts = append(ciphertexts, data)
	}
	return header, ciphertexts, true, nil
}

// receive records that the aggregator accepted the update, with its signed
// receipt, and drops the ciphertexts, which nobody needs any more.
func (o outbox) receive(job fl.JobID, round uint64, header fl.Digest, receipt fl.Envelope) error {
	dir := o.folder(job, round)
	if err := identity.WriteFile(filepath.Join(dir, acceptedFile), receipt.Encode()); err != nil {
		return err
	}
	if err := identity.WriteFile(filepath.Join(dir, "receipt.json"), []byte(header.String())); err != nil {
		return err
	}
	return o.drop(job, round)
}

// drop removes the ciphertexts of a round.
func (o outbox) drop(job fl.JobID, round uint64) error {
	files, err := filepath.Glob(filepath.Join(o.folder(job, round), "*.ct"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// accepted returns the digest of this node's accepted update header.
func (o outbox) accepted(job fl.JobID, round uint64) (fl.Digest, bool, error) {
	path := filepath.Join(o.folder(job, round), "receipt.json")
	raw, err := readFile(path)
	if err != nil || raw == nil {
		return fl.Digest{}, false, err
	}
	digest, err := fl.ParseDigest(string(raw))
	if err != nil {
		return fl.Digest{}, false, fmt.Errorf("%s: %w", path, err)
	}
	return digest, true, nil
}
