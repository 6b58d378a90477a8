package rlwe

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
)

// A System is a compiled shape. It is immutable and safe for concurrent use.
type System struct {
	Shape *Shape
	R1CS  *cs.R1CS
	// committed lists the secret wires under the commitment, in the order of
	// the Pedersen basis; the last is the mask that gnark adds.
	committed []int
	maskWire  int
	maskHint  solver.HintID
}

// Compile builds the constraint system of a shape. It is deterministic: every
// party that compiles the same shape gets the same Digest.
func Compile(s *Shape) (*System, error) {
	ccs, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, NewCircuit(s))
	if err != nil {
		return nil, fmt.Errorf("rlwe: compiling %s: %w", s.Name, err)
	}
	r, ok := ccs.(*cs.R1CS)
	if !ok {
		return nil, fmt.Errorf("rlwe: compiling %s gave a %T, want a BN254 R1CS", s.Name, ccs)
	}
	sys := &System{Shape: s, R1CS: r}
	commitments, ok := r.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(commitments) != 1 {
		return nil, fmt.Errorf("rlwe: %s must have exactly one commitment", s.Name)
	}
	sys.committed = commitments[0].PrivateCommitted
	found := 0
	for id, name := range r.MHintsDependencies {
		if strings.HasSuffix(name, "hints.Randomize") {
			sys.maskHint = id
			found++
		}
	}
	inputs := r.GetNbPublicVariables() + r.GetNbSecretVariables()
	sys.maskWire = sys.committed[len(sys.committed)-1]
	if found != 1 || sys.maskWire < inputs || len(sys.committed) > 1 && sys.committed[len(sys.committed)-2] >= inputs {
		return nil, errors.New("rlwe: gnark's commitment no longer ends in one random mask: check its R1CS Commit")
	}
	if err := orient(r, commitments[0]); err != nil {
		return nil, err
	}
	return sys, nil
}

// Constraints is the number of rank-one constraints.
func (s *System) Constraints() int { return s.R1CS.GetNbConstraints() }

// Digest identifies the constraint system: SHA-256 of its serialisation.
func (s *System) Digest() ([32]byte, error) {
	h := sha256.New()
	_, _ = h.Write([]byte("credence/zk/r1cs/v1\x00" + s.Shape.Name + "\x00")) // a hash never fails
	if _, err := s.R1CS.WriteTo(h); err != nil {
		return [32]byte{}, fmt.Errorf("rlwe: hashing the constraint system of %s: %w", s.Shape.Name, err)
	}
	return [32]byte(h.Sum(nil)), nil
}

// Committed returns the values under the commitment, in the order of the
// Pedersen basis, with the given mask last.
func (s *System) Committed(a *Assignment, mask fr.Element) []fr.Element {
	out := make([]fr.Element, len(s.committed))
	for i, w := range s.committed[:len(out)-1] {
		out[i] = a.Vector[w-1] // wire 0 is the constant one
	}
	out[len(out)-1] = mask
	return out
}

// FixMask is the solver option that makes gnark's random mask the given one,
// so that the commitment, and with it the challenge, is known before the
// public inputs that depend on it are.
func (s *System) FixMask(mask fr.Element) solver.Option {
	var v big.Int
	mask.BigInt(&v)
	return solver.OverrideHint(s.maskHint, func(_ *big.Int, _, out []*big.Int) error {
		out[0].Set(&v)
		return nil
	})
}

// orient swaps the two factors of a row when the right one holds a full-size
// wire and the left one only small ones. Factors commute, so the relation is
// the same; but the right factors' wires are those whose multi-exponentiation
// runs in G2, where a full-size scalar costs ten times a small one. gnark's
// builder orders factors by length and so puts the lookups' inverses there.
func orient(r *cs.R1CS, commitment constraint.Groth16Commitment) error {
	small := map[uint32]bool{0: true, uint32(commitment.CommitmentIndex): true}
	for _, w := range commitment.PrivateCommitted {
		small[uint32(w)] = true
	}
	for _, inst := range r.Instructions {
		if _, ok := r.Blueprints[inst.BlueprintID].(*constraint.BlueprintGenericR1C); !ok {
			continue
		}
		data := r.CallData[inst.StartCallData:]
		data = data[:data[0]]
		nl, nr := int(data[1]), int(data[2])
		if 4+2*(nl+nr+int(data[3])) != len(data) {
			return errors.New("rlwe: gnark's encoding of a constraint has changed: check BlueprintGenericR1C")
		}
		left, right := data[4:4+2*nl], data[4+2*nl:4+2*(nl+nr)]
		if onlySmall(left, small) && !onlySmall(right, small) {
			swapped := append(append([]uint32{}, right...), left...)
			copy(data[4:], swapped)
			data[1], data[2] = uint32(nr), uint32(nl)
		}
	}
	return nil
}

// onlySmall reports whether all wires of an encoded linear expression (pairs
// of coefficient and wire) are small.
func onlySmall(terms []uint32, small map[uint32]bool) bool {
	for i := 1; i < len(terms); i += 2 {
		if !small[terms[i]] {
			return false
		}
	}
	return true
}

// CommittedValues is the number of values under the commitment, its mask
// included.
func (s *System) CommittedValues() int { return len(s.committed) }
