package zk

import (
	"fmt"
	"math/big"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"credence/zk/circuit/rlwe"
)

// Origin says who made a set of keys.
type Origin string

// The origins.
const (
	// OriginLocal: one party ran the set-up alone and could forge proofs. For
	// tests and demonstrations; every screen and document must say so.
	OriginLocal Origin = "local"
	// OriginCeremony: several parties contributed; one honest one is enough.
	OriginCeremony Origin = "ceremony"
)

// Keys are the proving and verifying keys of one circuit, and the SRS of its
// commitments. They are immutable and safe for concurrent use. A verifier may
// hold keys without the proving half.
type Keys struct {
	system    *rlwe.System
	proving   *groth16.ProvingKey // nil for a verifier
	verifying *groth16.VerifyingKey
	srs       *SRS
	manifest  Manifest

	// shift is a number that makes every coefficient of a quotient by X^N+1
	// positive and short, and shifted the commitment to the polynomial that has
	// it everywhere.
	shiftOnce sync.Once
	shift     fr.Element
	shifted   Commitment
}

// commitLift commits to a quotient by X^N+1 (and its masks). Its coefficients
// are integers of either sign below N*Q, and a negative one is a full-size
// element of the field: shifted, the multi-exponentiation is half as long for
// short moduli.
func (k *Keys) commitLift(h []fr.Element) (Commitment, error) {
	k.shiftOnce.Do(func() {
		s := k.system.Shape
		k.shift.SetBigInt(new(big.Int).Mul(s.Q, big.NewInt(int64(s.N))))
		var all bn254.G1Jac
		for i := range s.N {
			all.AddMixed(&k.srs.g1[i])
		}
		var scalar big.Int
		all.ScalarMultiplication(&all, k.shift.BigInt(&scalar))
		k.shifted.FromJacobian(&all)
	})
	if len(h) != k.system.Shape.N {
		return k.srs.commit(h)
	}
	positive := make([]fr.Element, len(h))
	defer clear(positive)
	for i := range h {
		positive[i].Add(&h[i], &k.shift)
	}
	c, err := k.srs.commit(positive)
	if err != nil {
		return c, err
	}
	c.Sub(&c, &k.shifted)
	return c, nil
}

// Shape returns the relation the keys are for.
func (k *Keys) Shape() *rlwe.Shape { return k.system.Shape }

// SRS returns the powers under the keys' commitments.
func (k *Keys) SRS() *SRS { return k.srs }

// Manifest returns what identifies the keys.
func (k *Keys) Manifest() Manifest { return k.manifest }

// CanProve reports whether the proving half is present.
func (k *Keys) CanProve() bool { return k.proving != nil }

// NewKeys puts together keys from a ceremony and checks that they fit: one
// circuit, one commitment, the same sizes throughout. Proving may be nil.
func NewKeys(system *rlwe.System, proving *groth16.ProvingKey, verifying *groth16.VerifyingKey, srs *SRS, origin Origin) (*Keys, error) {
	k := &Keys{system: system, proving: proving, verifying: verifying, srs: srs}
	if err := k.check(); err != nil {
		return nil, err
	}
	m, err := k.describe(origin)
	if err != nil {
		return nil, err
	}
	k.manifest = m
	return k, nil
}

func (k *Keys) check() error {
	s, vk, pk := k.system.Shape, k.verifying, k.proving
	refuse := func(what string) error {
		return fmt.Errorf("%w: %s: %s; fetch or make the keys of this circuit again", ErrKeys, s.Name, what)
	}
	// One, the public inputs, and the challenge.
	if len(vk.G1.K) != 1+s.PublicInputs()+1 || len(vk.CommitmentKeys) != 1 {
		return refuse("the verifying key is for another number of public inputs or commitments")
	}
	c := vk.PublicAndCommitmentCommitted
	if len(c) != 1 || len(c[0]) != 2 || c[0][0] != 1 || c[0][1] != 2 {
		return refuse("the verifying key does not commit to the statement")
	}
	if k.srs.Size() < s.N {
		return refuse(fmt.Sprintf("the SRS has %d powers, fewer than N", k.srs.Size()))
	}
	if pk == nil {
		return nil
	}
	wires := k.system.R1CS.GetNbPublicVariables() + k.system.R1CS.GetNbSecretVariables() + k.system.R1CS.GetNbInternalVariables()
	if len(pk.CommitmentKeys) != 1 || len(pk.CommitmentKeys[0].Basis) != k.system.CommittedValues() ||
		len(pk.InfinityA) != wires || len(pk.InfinityB) != wires || pk.Domain.Cardinality < uint64(k.system.Constraints()) {
		return refuse("the proving key is for another circuit")
	}
	if !pk.G1.Alpha.Equal(&vk.G1.Alpha) || !pk.G2.Beta.Equal(&vk.G2.Beta) || !pk.G2.Delta.Equal(&vk.G2.Delta) {
		return refuse("proving and verifying key are not of one set-up")
	}
	return nil
}

// Setup makes keys for a shape by a local, single-party set-up. A nil SRS
// makes a fresh one; otherwise it needs at least N powers. The progress
// callback may be nil.
func Setup(s *rlwe.Shape, srs *SRS, progress Progress) (*Keys, error) {
	progress.report("compiling "+s.Name, 0, 3)
	system, err := rlwe.Compile(s)
	if err != nil {
		return nil, err
	}
	if srs == nil {
		progress.report("making commitment keys for "+s.Name, 1, 3)
		if srs, err = NewLocalSRS(s.N); err != nil {
			return nil, err
		}
	}
	progress.report("making proving keys for "+s.Name, 2, 3)
	pk, vk := new(groth16.ProvingKey), new(groth16.VerifyingKey)
	if err := groth16.Setup(system.R1CS, pk, vk); err != nil {
		return nil, fmt.Errorf("zk: set-up of %s: %w", s.Name, err)
	}
	keys, err := NewKeys(system, pk, vk, srs, OriginLocal)
	progress.report("keys for "+s.Name, 3, 3)
	return keys, err
}

// Progress is told how far a long operation is: stage, done of total steps.
type Progress func(stage string, done, total int)

func (p Progress) report(stage string, done, total int) {
	if p != nil {
		p(stage, done, total)
	}
}
