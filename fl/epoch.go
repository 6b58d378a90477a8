package fl

import (
	"errors"
	"fmt"
	"time"
)

// EpochPlan opens an epoch: it names the committee that will generate one
// collective key. The common reference polynomial is derived from the digest
// of this document.
type EpochPlan struct {
	Genesis   Digest    `json:"genesis"`
	Epoch     uint64    `json:"epoch"`   // from 1
	Suite     string    `json:"suite"`   // as in the genesis
	Members   []NodeID  `json:"members"` // in the order of their evaluation points 1..n
	Threshold int       `json:"threshold"`
	OpenedAt  time.Time `json:"opened_at"`
}

// Kind implements Document.
func (EpochPlan) Kind() Kind { return "epoch-plan/v1" }

// Validate implements Document.
func (p EpochPlan) Validate() error {
	switch {
	case p.Genesis.IsZero():
		return errNoGenesis
	case p.Epoch < 1:
		return errors.New("epoch plan: epochs count from 1")
	case len(p.Members) < 2:
		return fmt.Errorf("epoch plan: %d members: want at least 2", len(p.Members))
	case p.Threshold < 2 || p.Threshold > len(p.Members):
		return fmt.Errorf("epoch plan: threshold %d of %d", p.Threshold, len(p.Members))
	}
	if err := validNodes("epoch plan: members", p.Members); err != nil {
		return err
	}
	return validTime("epoch plan: opened_at", p.OpenedAt)
}

// Point returns the Shamir evaluation point of a member, 1..n, or 0 when the
// node is not a member.
func (p EpochPlan) Point(node NodeID) int {
	for i, m := range p.Members {
		if m == node {
			return i + 1
		}
	}
	return 0
}

// SealKey is a member's X25519 public key for one epoch: shares for the member
// are sealed to it, and it is erased with the epoch, so that boxes which a
// relay kept become unreadable.
type SealKey struct {
	Genesis   Digest `json:"genesis"`
	EpochPlan Digest `json:"epoch_plan"`
	Node      NodeID `json:"node"`
	Key       []byte `json:"key"` // 32 bytes
}

// Kind implements Document.
func (SealKey) Kind() Kind { return "seal-key/v1" }

// Validate implements Document.
func (k SealKey) Validate() error {
	if len(k.Key) != 32 {
		return fmt.Errorf("seal key: %d bytes: want 32", len(k.Key))
	}
	return validSubject(k.Genesis, k.EpochPlan, k.Node)
}

// KeyCommitment is a member's hash commitment to its key share, published
// before any key share is revealed, so that no member chooses its share after
// seeing the others'.
type KeyCommitment struct {
	Genesis    Digest `json:"genesis"`
	EpochPlan  Digest `json:"epoch_plan"`
	Node       NodeID `json:"node"`
	Commitment Digest `json:"commitment"`
}

// Kind implements Document.
func (KeyCommitment) Kind() Kind { return "key-commitment/v1" }

// Validate implements Document.
func (c KeyCommitment) Validate() error {
	if c.Commitment.IsZero() {
		return errors.New("key commitment: empty")
	}
	return validSubject(c.Genesis, c.EpochPlan, c.Node)
}

// KeyReveal opens a KeyCommitment.
type KeyReveal struct {
	Genesis   Digest `json:"genesis"`
	EpochPlan Digest `json:"epoch_plan"`
	Node      NodeID `json:"node"`
	Reveal    Digest `json:"reveal"` // blob: salt and p_j = -a*s_j + e_j, canonical encoding
}

// Kind implements Document.
func (KeyReveal) Kind() Kind { return "key-reveal/v1" }

// Validate implements Document.
func (r KeyReveal) Validate() error {
	if r.Reveal.IsZero() {
		return errors.New("key reveal: names no reveal")
	}
	return validSubject(r.Genesis, r.EpochPlan, r.Node)
}

// Box is an HPKE-sealed blob for one receiver.
type Box struct {
	Receiver NodeID `json:"receiver"`
	Shard    int    `json:"shard"` // 0 in key dealings
	Digest   Digest `json:"digest"`
}

// KeyDealing distributes the Shamir shares of a member's secret, one sealed
// box for every member (itself included).
type KeyDealing struct {
	Genesis   Digest `json:"genesis"`
	EpochPlan Digest `json:"epoch_plan"`
	Node      NodeID `json:"node"`
	Boxes     []Box  `json:"boxes"` // in the order of the members
}

// Kind implements Document.
func (KeyDealing) Kind() Kind { return "key-dealing/v1" }

// Validate implements Document.
func (d KeyDealing) Validate() error {
	if err := validBoxes(d.Boxes); err != nil {
		return err
	}
	return validSubject(d.Genesis, d.EpochPlan, d.Node)
}

// EpochKey closes the generation: the collective public key, and the
// documents it follows from.
type EpochKey struct {
	Genesis     Digest    `json:"genesis"`
	EpochPlan   Digest    `json:"epoch_plan"`
	Epoch       uint64    `json:"epoch"`
	SealKeys    []Digest  `json:"seal_keys"` // one a member, in their order
	Commitments []Digest  `json:"commitments"`
	Reveals     []Digest  `json:"reveals"`
	Dealings    []Digest  `json:"dealings"`
	PublicKey   Digest    `json:"public_key"` // blob: sum of the key shares
	ClosedAt    time.Time `json:"closed_at"`
}

// Kind implements Document.
func (EpochKey) Kind() Kind { return "epoch-key/v1" }

// Validate implements Document.
func (k EpochKey) Validate() error {
	n := len(k.Commitments)
	switch {
	case k.Genesis.IsZero():
		return errNoGenesis
	case k.EpochPlan.IsZero() || k.PublicKey.IsZero() || k.Epoch < 1:
		return errors.New("epoch key: incomplete")
	case n < 2 || len(k.SealKeys) != n || len(k.Reveals) != n || len(k.Dealings) != n:
		return fmt.Errorf("epoch key: %d seal keys, %d commitments, %d reveals, %d dealings", len(k.SealKeys), n, len(k.Reveals), len(k.Dealings))
	}
	return validTime("epoch key: closed_at", k.ClosedAt)
}

func validSubject(genesis, subject Digest, node NodeID) error {
	switch {
	case genesis.IsZero():
		return errNoGenesis
	case subject.IsZero():
		return errors.New("names no plan")
	}
	return node.Validate()
}

func validNodes(what string, nodes []NodeID) error {
	seen := make(map[NodeID]bool, len(nodes))
	for _, n := range nodes {
		if err := n.Validate(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if seen[n] {
			return fmt.Errorf("%s: %s twice", what, n)
		}
		seen[n] = true
	}
	return nil
}

func validBoxes(boxes []Box) error {
	type place struct {
		receiver NodeID
		shard    int
	}
	if len(boxes) == 0 {
		return errors.New("dealing: no boxes")
	}
	seen := make(map[place]bool, len(boxes))
	for _, b := range boxes {
		p := place{b.Receiver, b.Shard}
		if seen[p] || b.Shard < 0 || b.Digest.IsZero() {
			return fmt.Errorf("dealing: box for %s, shard %d: repeated or empty", b.Receiver, b.Shard)
		}
		seen[p] = true
		if err := b.Receiver.Validate(); err != nil {
			return err
		}
	}
	return nil
}
