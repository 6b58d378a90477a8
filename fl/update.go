package fl

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ShardCiphertext names the ciphertext of one shard of an update.
type ShardCiphertext struct {
	Shard  int    `json:"shard"`
	Digest Digest `json:"digest"` // blob: the canonical encoding of the ciphertext
}

// UpdateHeader is what a client signs when it submits an update: everything
// the update is bound to, and its ciphertexts by digest.
type UpdateHeader struct {
	Genesis     Digest            `json:"genesis"`
	Plan        Digest            `json:"plan"`
	EpochKey    Digest            `json:"epoch_key"`
	Job         JobID             `json:"job"`
	Round       uint64            `json:"round"`
	Node        NodeID            `json:"node"`
	Ciphertexts []ShardCiphertext `json:"ciphertexts"` // the assigned shards, ascending
	Steps       int64             `json:"steps"`       // optimiser steps taken, declared
	ProofLevel  ProofLevel        `json:"proof_level"`
	Attestation Digest            `json:"attestation"` // blob; zero at ProofNone
	// Training is a blob, the attestation of the training, and Dataset the
	// DatasetCommitment that it is about; both are zero but at ProofTrained.
	Training Digest `json:"training,omitzero"`
	Dataset  Digest `json:"dataset,omitzero"`
}

// Kind implements Document.
func (UpdateHeader) Kind() Kind { return "update-header/v1" }

// Validate implements Document.
func (h UpdateHeader) Validate() error {
	switch {
	case h.EpochKey.IsZero():
		return errors.New("update header: names no epoch key")
	case h.Round < 1:
		return errNoRound
	case h.ProofLevel.Attested() == h.Attestation.IsZero():
		return fmt.Errorf("update header: proof level %s and attestation %s do not go together", h.ProofLevel, h.Attestation.Short())
	case h.ProofLevel.Trained() == h.Training.IsZero() || h.ProofLevel.Trained() == h.Dataset.IsZero():
		return fmt.Errorf("update header: proof level %s, training attestation %s and dataset %s do not go together", h.ProofLevel, h.Training.Short(), h.Dataset.Short())
	case len(h.Ciphertexts) == 0:
		return errors.New("update header: no ciphertext")
	case h.Steps < 0 || h.Steps > MaxSamples:
		return fmt.Errorf("update header: %d steps", h.Steps)
	}
	for i, c := range h.Ciphertexts {
		if c.Digest.IsZero() || c.Shard < 0 || (i > 0 && c.Shard <= h.Ciphertexts[i-1].Shard) {
			return errors.New("update header: shards are not ascending, or a digest is empty")
		}
	}
	return firstError(validSubject(h.Genesis, h.Plan, h.Node), h.Job.Validate(), h.ProofLevel.Validate())
}

// Receipt is the aggregator's signed word that it holds a document and what
// the document names, and that it accepted it.
type Receipt struct {
	Genesis    Digest    `json:"genesis"`
	Subject    Digest    `json:"subject"` // digest of the document
	Of         Kind      `json:"of"`
	Node       NodeID    `json:"node"`
	AcceptedAt time.Time `json:"accepted_at"`
}

// Kind implements Document.
func (Receipt) Kind() Kind { return "receipt/v1" }

// Validate implements Document.
func (r Receipt) Validate() error {
	return firstError(validSubject(r.Genesis, r.Subject, r.Node), validTime("receipt: accepted_at", r.AcceptedAt))
}

// SealedSum names the sum of one shard's ciphertexts.
type SealedSum struct {
	Shard        int      `json:"shard"`
	Contributors []NodeID `json:"contributors"` // whose ciphertexts are in it, sorted
	C0           Digest   `json:"c0"`           // blob: first half of the sum
	C1           Digest   `json:"c1"`           // blob: second half, all that a key holder needs
}

// Seal freezes a round: which updates are in, whose noise opens them, and the
// sums. It is signed by the aggregator; committee members check it before a
// decryption share leaves.
type Seal struct {
	Genesis Digest   `json:"genesis"`
	Plan    Digest   `json:"plan"`
	Job     JobID    `json:"job"`
	Round   uint64   `json:"round"`
	Headers []Digest `json:"headers"` // update headers, sorted by client
	Clients []NodeID `json:"clients"` // their signers, sorted
	// Accepted says when each client's update was accepted; timeliness is paid
	// by it.
	Accepted []time.Time `json:"accepted"`
	Dealers  []NodeID    `json:"dealers"`  // members whose noise is used, in the order of the epoch
	Dealings []Digest    `json:"dealings"` // their noise dealings
	Sums     []SealedSum `json:"sums"`     // ascending by shard
	SealedAt time.Time   `json:"sealed_at"`
}

// Kind implements Document.
func (Seal) Kind() Kind { return "seal/v1" }

// Validate implements Document.
func (s Seal) Validate() error {
	switch {
	case s.Genesis.IsZero():
		return errNoGenesis
	case s.Plan.IsZero() || s.Round < 1:
		return errors.New("seal: names no plan")
	case len(s.Clients) < 2 || len(s.Headers) != len(s.Clients):
		return fmt.Errorf("seal: %d clients, %d headers: want the same number, at least 2", len(s.Clients), len(s.Headers))
	case len(s.Accepted) != len(s.Clients):
		return fmt.Errorf("seal: %d clients, %d times of acceptance", len(s.Clients), len(s.Accepted))
	case len(s.Dealers) < 2 || len(s.Dealings) != len(s.Dealers):
		return fmt.Errorf("seal: %d dealers, %d dealings", len(s.Dealers), len(s.Dealings))
	case len(s.Sums) == 0:
		return errors.New("seal: no sum")
	case slices.ContainsFunc(s.Headers, Digest.IsZero) || slices.ContainsFunc(s.Dealings, Digest.IsZero):
		return errors.New("seal: an update header or a noise dealing has no digest")
	case !slices.IsSorted(s.Clients):
		return errors.New("seal: clients are not sorted")
	}
	for _, at := range s.Accepted {
		if err := validTime("seal: accepted", at); err != nil {
			return err
		}
	}
	for i, sum := range s.Sums {
		if sum.Shard != i || len(sum.Contributors) < 2 || sum.C0.IsZero() || sum.C1.IsZero() {
			return fmt.Errorf("seal: sum %d: want shard %d, at least 2 contributors and both halves", i, i)
		}
		if err := validNodes("seal: contributors", sum.Contributors); err != nil {
			return err
		}
		if !slices.IsSorted(sum.Contributors) {
			return fmt.Errorf("seal: contributors of shard %d are not sorted", i)
		}
		for _, c := range sum.Contributors {
			if _, ok := slices.BinarySearch(s.Clients, c); !ok {
				return fmt.Errorf("seal: %s contributes to shard %d and is not among the clients", c, i)
			}
		}
	}
	return firstError(s.Job.Validate(), validNodes("seal: clients", s.Clients), validNodes("seal: dealers", s.Dealers), validTime("seal: sealed_at", s.SealedAt))
}

// ShareRef names the decryption share of one shard.
type ShareRef struct {
	Shard  int    `json:"shard"`
	Digest Digest `json:"digest"` // blob: one polynomial, canonical encoding
}

// DecryptionShare is a committee member's part in opening the sums of a seal.
type DecryptionShare struct {
	Genesis Digest     `json:"genesis"`
	Seal    Digest     `json:"seal"`
	Job     JobID      `json:"job"`
	Round   uint64     `json:"round"`
	Node    NodeID     `json:"node"`
	Shares  []ShareRef `json:"shares"` // one a shard, ascending from 0
}

// Kind implements Document.
func (DecryptionShare) Kind() Kind { return "decryption-share/v1" }

// Validate implements Document.
func (d DecryptionShare) Validate() error {
	switch {
	case d.Round < 1:
		return errNoRound
	case len(d.Shares) == 0:
		return errors.New("decryption share: empty")
	}
	for i, s := range d.Shares {
		if s.Shard != i || s.Digest.IsZero() {
			return fmt.Errorf("decryption share: entry %d is for shard %d or empty", i, s.Shard)
		}
	}
	return firstError(validSubject(d.Genesis, d.Seal, d.Node), d.Job.Validate())
}

// Decline is a client's word that it will not take part in a round, and why.
type Decline struct {
	Genesis Digest `json:"genesis"`
	Plan    Digest `json:"plan"`
	Job     JobID  `json:"job"`
	Round   uint64 `json:"round"`
	Node    NodeID `json:"node"`
	Reason  string `json:"reason"`
}

// Kind implements Document.
func (Decline) Kind() Kind { return "decline/v1" }

// Validate implements Document.
func (d Decline) Validate() error {
	switch {
	case d.Round < 1:
		return errNoRound
	case len(d.Reason) > 1000:
		return errors.New("decline: reason over 1000 bytes")
	}
	return firstError(validSubject(d.Genesis, d.Plan, d.Node), d.Job.Validate())
}
