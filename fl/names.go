package fl

import (
	"fmt"
	"regexp"
	"slices"
)

// NodeID names an enrolled party (a node, a job owner, the operator). The
// operator chooses it when inviting; it is unique in a federation and is the
// name in the party's certificate, in every document it signs and of its
// credit account.
type NodeID string

// AggregatorID is the reserved name under which the aggregator signs.
const AggregatorID NodeID = "aggregator"

// JobID names a job; its owner chooses it and it is unique in a federation.
type JobID string

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func validName(what, s string) error {
	if !namePattern.MatchString(s) {
		return fmt.Errorf("fl: %s %q: want 1 to 63 characters out of a-z, 0-9 and '-', neither first nor last a '-'", what, s)
	}
	return nil
}

// Validate checks the form of the name.
func (n NodeID) Validate() error { return validName("node name", string(n)) }

// Validate checks the form of the name.
func (j JobID) Validate() error { return validName("job name", string(j)) }

// Role is what an enrolled party may do.
type Role string

// The roles. A party may hold several.
const (
	RoleNode     Role = "node"     // trains, and may be elected to the committee
	RoleOwner    Role = "owner"    // submits jobs and pays for them
	RoleObserver Role = "observer" // reads models, manifests and balances
)

// Validate refuses unknown roles.
func (r Role) Validate() error {
	switch r {
	case RoleNode, RoleOwner, RoleObserver:
		return nil
	}
	return fmt.Errorf("fl: role %q: want node, owner or observer", r)
}

// ProofLevel is how much of an update is proven.
type ProofLevel string

// The proof levels, weakest first. At ProofNone a client's honesty about the
// form of its update, and the aggregator's about the sum, are assumed.
// At ProofBounded every update is attested to be a well-formed encryption of
// values within their bounds, and the sum is checked against the attestations.
// At ProofTrained each is attested besides to be what the plan's gradient steps
// give on the rows that the client committed to when it joined the job. That
// the rows are true is proven at no level.
const (
	ProofNone    ProofLevel = "none"
	ProofBounded ProofLevel = "bounded"
	ProofTrained ProofLevel = "trained"
)

var proofLevels = []ProofLevel{ProofNone, ProofBounded, ProofTrained}

// Validate refuses levels that this build does not implement.
func (p ProofLevel) Validate() error {
	if !slices.Contains(proofLevels, p) {
		return fmt.Errorf("fl: proof level %q: want one of %v", p, proofLevels)
	}
	return nil
}

// AtLeast reports whether the level proves all that the other does.
func (p ProofLevel) AtLeast(other ProofLevel) bool {
	return slices.Index(proofLevels, p) >= slices.Index(proofLevels, other)
}

// Attested reports whether updates carry attestations at this level.
func (p ProofLevel) Attested() bool { return p.AtLeast(ProofBounded) }

// Trained reports whether the training behind updates is attested too.
func (p ProofLevel) Trained() bool { return p.AtLeast(ProofTrained) }
