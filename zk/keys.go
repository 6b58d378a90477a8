package zk

import (
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

// Keys are the proving and verifying keys of an update's or a key share's
// circuit, and the SRS of its commitments. They are immutable and safe for
// concurrent use. A verifier may hold keys without the proving half.
type Keys struct {
	*keySet
	system *rlwe.System

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

// NewKeys puts together keys from a ceremony and checks that they fit: one
// circuit, one commitment, the same sizes throughout. Proving may be nil.
func NewKeys(system *rlwe.System, proving *groth16.ProvingKey, verifying *groth16.VerifyingKey, srs *SRS, origin Origin) (*Keys, error) {
	set, err := newKeySet(keySet{circuit: system.System, powers: system.Shape.Powers(), proving: proving, verifying: verifying, srs: srs}, origin)
	if err != nil {
		return nil, err
	}
	return &Keys{keySet: set, system: system}, nil
}

// Setup makes keys for a shape by a local, single-party set-up. A nil SRS
// makes a fresh one; otherwise it needs at least s.Powers() powers. The progress
// callback may be nil.
func Setup(s *rlwe.Shape, srs *SRS, progress Progress) (*Keys, error) {
	progress.report("compiling "+s.Name, 0, 3)
	system, err := rlwe.Compile(s)
	if err != nil {
		return nil, err
	}
	set, err := setupSet(system.System, s.Powers(), srs, progress)
	if err != nil {
		return nil, err
	}
	return &Keys{keySet: set, system: system}, nil
}

// Progress is told how far a long operation is: stage, done of total steps.
type Progress func(stage string, done, total int)

func (p Progress) report(stage string, done, total int) {
	if p != nil {
		p(stage, done, total)
	}
}
