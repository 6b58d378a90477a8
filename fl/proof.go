package fl

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// The set-ups that proof keys can come from.
const (
	SetupLocal    = "local"    // one party made them and could forge proofs: for demonstrations
	SetupCeremony = "ceremony" // several parties contributed; one honest one is enough
)

// CircuitKeys names the keys of one circuit by the digests of their blobs.
type CircuitKeys struct {
	Shape     string `json:"shape"`    // the relation and suite, e.g. "update/rlwe4096-d1-v1"
	Manifest  Digest `json:"manifest"` // identifies circuit, keys and origin together
	Circuit   Digest `json:"circuit"`
	Proving   Digest `json:"proving"`
	Verifying Digest `json:"verifying"`
	SRS       Digest `json:"srs"`
}

// ProofKeys is the federation's choice of proof keys. Plans name it.
type ProofKeys struct {
	Genesis   Digest        `json:"genesis"`
	Setup     string        `json:"setup"` // SetupLocal or SetupCeremony
	Circuits  []CircuitKeys `json:"circuits"`
	AdoptedAt time.Time     `json:"adopted_at"`
}

// Kind implements Document.
func (ProofKeys) Kind() Kind { return "proof-keys/v1" }

// Validate implements Document.
func (k ProofKeys) Validate() error {
	switch {
	case k.Genesis.IsZero():
		return errNoGenesis
	case k.Setup != SetupLocal && k.Setup != SetupCeremony:
		return fmt.Errorf("proof keys: set-up %q: want %q or %q", k.Setup, SetupLocal, SetupCeremony)
	case len(k.Circuits) == 0:
		return errors.New("proof keys: no circuit")
	}
	seen := map[string]bool{}
	for _, c := range k.Circuits {
		if c.Shape == "" || seen[c.Shape] || c.Manifest.IsZero() || c.Circuit.IsZero() || c.Proving.IsZero() || c.Verifying.IsZero() || c.SRS.IsZero() {
			return fmt.Errorf("proof keys: circuit %q is incomplete or occurs twice", c.Shape)
		}
		seen[c.Shape] = true
	}
	return validTime("proof keys: adopted_at", k.AdoptedAt)
}

// Circuit returns the keys of a shape, and whether there are any.
func (k ProofKeys) Circuit(shape string) (CircuitKeys, bool) {
	for _, c := range k.Circuits {
		if c.Shape == shape {
			return c, true
		}
	}
	return CircuitKeys{}, false
}

// SquareBound returns the largest sum of squares that the quantised values of
// an assignment may have, figures included: what a client attests and everybody
// else checks.
//
// Without a norm in the plan it is the bound that the range of the values
// implies. With one, an honest update has Euclidean norm at most
// R = norm * weight/unit / step before it is rounded; rounding moves each of its n
// coordinates by less than 1, so afterwards it is below R + sqrt(n). The figures add at
// most MetricSlots * (2^6-1)^2, once.
//
// With privacy, R and the noise that the client adds are added up (Noise).
func SquareBound(plan Plan, a Assignment) (uint64, error) {
	if plan.Privacy.On() {
		n, err := plan.Noise()
		if err != nil {
			return 0, err
		}
		return n.squareBound(plan, a)
	}
	q, err := NewQuantiser(plan.Clip, plan.ValueBits)
	if err != nil {
		return 0, err
	}
	coordinates := uint64(len(a.Shards)) * uint64(plan.Slots-MetricSlots)
	top, limb := uint64(q.Max()), uint64(1)<<figureLimb(plan.ValueBits)-1
	figures := MetricSlots * limb * limb
	if coordinates == 0 || top*top > (1<<61)/coordinates {
		return 0, fmt.Errorf("plan: %d coordinates of %d bits: their squares do not fit an attestation", coordinates, plan.ValueBits)
	}
	all := coordinates*top*top + figures
	if plan.Clip.Norm == 0 {
		return all, nil
	}
	// Each product is rounded on its own (the conversions forbid fusing), so
	// that every machine computes the same bound.
	radius := float64(plan.Clip.Norm/q.Step()) * float64(float64(a.Weight)/float64(plan.WeightUnit))
	radius = float64(radius*(1+1e-9)) + math.Sqrt(float64(coordinates))
	square := math.Ceil(float64(radius * radius))
	if square >= float64(all-figures) {
		return all, nil
	}
	return uint64(square) + figures, nil
}
