package fl

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"
)

// CommitteePolicy says how many members hold the collective key and how many
// of them it takes to open a sum.
type CommitteePolicy struct {
	Members   int `json:"members"`   // n, at least 2
	Threshold int `json:"threshold"` // t, 2 <= t <= n
}

// Genesis is the founding document of a federation. Its digest is pinned by
// every party at enrolment and is a field of every other document, so nothing
// can be carried from one federation into another.
type Genesis struct {
	Federation    NodeID          `json:"federation"` // name, same alphabet as a node's
	CreatedAt     time.Time       `json:"created_at"`
	Suite         string          `json:"suite"` // see he.LookupSuite
	Committee     CommitteePolicy `json:"committee"`
	MinCohort     int             `json:"min_cohort"`  // fewest updates in any opened sum, at least 2
	ProofFloor    ProofLevel      `json:"proof_floor"` // jobs may ask for more, not less
	Regions       []string        `json:"regions"`     // where nodes may be; empty: anywhere
	AggregatorKey []byte          `json:"aggregator_key"`
	CertificateCA Digest          `json:"certificate_ca"` // SHA-256 of the CA's SubjectPublicKeyInfo
}

// Kind implements Document.
func (Genesis) Kind() Kind { return "genesis/v1" }

// Validate implements Document.
func (g Genesis) Validate() error {
	switch {
	case g.Committee.Members < 2:
		return fmt.Errorf("genesis: committee of %d: want at least 2 members", g.Committee.Members)
	case g.Committee.Threshold < 2 || g.Committee.Threshold > g.Committee.Members:
		return fmt.Errorf("genesis: threshold %d of %d: want 2 to %d", g.Committee.Threshold, g.Committee.Members, g.Committee.Members)
	case g.MinCohort < 2:
		return fmt.Errorf("genesis: minimum cohort %d: want at least 2, since a sum of one update is that update", g.MinCohort)
	case len(g.AggregatorKey) != ed25519.PublicKeySize:
		return fmt.Errorf("genesis: aggregator key of %d bytes: want %d", len(g.AggregatorKey), ed25519.PublicKeySize)
	case g.Suite == "":
		return errors.New("genesis: no suite")
	case g.CertificateCA.IsZero():
		return errors.New("genesis: no certificate authority")
	}
	if err := firstError(g.Federation.Validate(), g.ProofFloor.Validate(), validTime("genesis: created_at", g.CreatedAt)); err != nil {
		return err
	}
	for _, region := range g.Regions {
		if err := validName("region", region); err != nil {
			return err
		}
	}
	return nil
}

// Capability is what a node says it can carry; it is a claim, used for
// scheduling alone.
type Capability struct {
	Cores     int `json:"cores"`
	MemoryMiB int `json:"memory_mib"`
	// MaxShards is the most shards of a model the node trains in one round;
	// 0 means all of them.
	MaxShards int `json:"max_shards"`
}

// Enrolment is the aggregator's record that a party belongs to the
// federation, and the binding between its name and its keys.
type Enrolment struct {
	Genesis    Digest     `json:"genesis"`
	Node       NodeID     `json:"node"`
	Roles      []Role     `json:"roles"`
	Region     string     `json:"region"` // may be empty when the genesis names no regions
	SigningKey []byte     `json:"signing_key"`
	Capability Capability `json:"capability"`
	EnrolledAt time.Time  `json:"enrolled_at"`
}

// Kind implements Document.
func (Enrolment) Kind() Kind { return "enrolment/v1" }

// Validate implements Document.
func (e Enrolment) Validate() error {
	switch {
	case e.Genesis.IsZero():
		return errNoGenesis
	case len(e.Roles) == 0:
		return errors.New("enrolment: no role")
	case len(e.SigningKey) != ed25519.PublicKeySize:
		return fmt.Errorf("enrolment: signing key of %d bytes: want %d", len(e.SigningKey), ed25519.PublicKeySize)
	case e.Node == AggregatorID:
		return fmt.Errorf("enrolment: the name %q is reserved", AggregatorID)
	case e.Capability.Cores < 0 || e.Capability.MemoryMiB < 0 || e.Capability.MaxShards < 0:
		return errors.New("enrolment: a capability is negative")
	}
	for _, role := range e.Roles {
		if err := role.Validate(); err != nil {
			return err
		}
	}
	if e.Region != "" {
		if err := validName("region", e.Region); err != nil {
			return err
		}
	}
	return firstError(e.Node.Validate(), validTime("enrolment: enrolled_at", e.EnrolledAt))
}

// Has reports whether the party holds the role.
func (e Enrolment) Has(role Role) bool { return slices.Contains(e.Roles, role) }

// Revocation ends a party's membership from RevokedAt on.
type Revocation struct {
	Genesis   Digest    `json:"genesis"`
	Node      NodeID    `json:"node"`
	Reason    string    `json:"reason"`
	RevokedAt time.Time `json:"revoked_at"`
}

// Kind implements Document.
func (Revocation) Kind() Kind { return "revocation/v1" }

// Validate implements Document.
func (r Revocation) Validate() error {
	if r.Genesis.IsZero() {
		return errNoGenesis
	}
	return firstError(r.Node.Validate(), validTime("revocation: revoked_at", r.RevokedAt))
}

var errNoGenesis = errors.New("names no genesis")

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// validTime insists on UTC and whole milliseconds: one spelling for each
// instant, and what every store can hold.
func validTime(what string, t time.Time) error {
	if t.IsZero() || t.Location() != time.UTC || t.Nanosecond()%int(time.Millisecond) != 0 {
		return fmt.Errorf("%s: %s: want a time in UTC, in whole milliseconds", what, t)
	}
	return nil
}

// Instant brings a time into the form that documents use: UTC, whole
// milliseconds, no monotonic reading.
func Instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond).Round(0) }
