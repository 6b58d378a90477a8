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
	Genesis   Digest   `json:"genesis"`
	Epoch     uint64   `json:"epoch"`   // from 1
	Suite     string   `json:"suite"`   // as in the genesis
	Members   []NodeID `json:"members"` // in the order of their evaluation points 1..n
	Threshold int      `json:"threshold"`
	// ProofKeys names the proof keys for the members' key-share attestations; it
	// is left out where the federation's floor is proof level none.
	ProofKeys Digest    `json:"proof_keys,omitzero"`
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
	// Attestation names the blob with the proof that the key share is one: short
	// secret, short error. It is left out at proof level none.
	Attestation Digest `json:"attestation,omitzero"`
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

// MaxCheck bounds the check of one box, in bytes.
const MaxCheck = 1024

// Box is the sealed share of one receiver: the blob, the commitment to the
// key that encrypts its contents, and the public check of the share.
type Box struct {
	Receiver   NodeID `json:"receiver"`
	Shard      int    `json:"shard"`      // 0 in key dealings
	Digest     Digest `json:"digest"`     // of the blob
	Commitment Digest `json:"commitment"` // to the content key
	Check      []byte `json:"check"`      // what the share gives under the dealing's challenge
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
	Acceptances []Digest  `json:"acceptances"` // every member took its shares
	TestNoise   []Digest  `json:"test_noise"`  // the self-test of the collective key
	TestShares  []Digest  `json:"test_shares"`
	PublicKey   Digest    `json:"public_key"` // blob: sum of the key shares
	ClosedAt    time.Time `json:"closed_at"`
}

// Kind implements Document.
func (EpochKey) Kind() Kind { return "epoch-key/v1" }

// Validate implements Document.
func (k EpochKey) Validate() error {
	n := len(k.Commitments)
	for _, d := range [][]Digest{k.SealKeys, k.Reveals, k.Dealings, k.Acceptances, k.TestNoise, k.TestShares} {
		if len(d) != n {
			return fmt.Errorf("epoch key: %d commitments and %d documents of another kind: want one of each kind a member", n, len(d))
		}
	}
	switch {
	case k.Genesis.IsZero():
		return errNoGenesis
	case k.EpochPlan.IsZero() || k.PublicKey.IsZero() || k.Epoch < 1:
		return errors.New("epoch key: incomplete")
	case n < 2:
		return fmt.Errorf("epoch key: %d members: want at least 2", n)
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
		switch {
		case seen[p] || b.Shard < 0 || b.Digest.IsZero() || b.Commitment.IsZero():
			return fmt.Errorf("dealing: box for %s, shard %d: repeated or empty", b.Receiver, b.Shard)
		case len(b.Check) == 0 || len(b.Check) > MaxCheck:
			return fmt.Errorf("dealing: box for %s, shard %d: a check of %d bytes: want 1 to %d", b.Receiver, b.Shard, len(b.Check), MaxCheck)
		}
		seen[p] = true
		if err := b.Receiver.Validate(); err != nil {
			return err
		}
	}
	return nil
}
