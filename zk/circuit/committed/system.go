package committed

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/backend/witness"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
)

// A System is a compiled circuit with one commitment. It is immutable and safe
// for concurrent use.
type System struct {
	Name string // names the circuit and its size, for keys and manifests
	R1CS *cs.R1CS
	// wires lists the secret wires under the commitment, in the order of the
	// Pedersen basis; the last is the mask that gnark adds.
	wires    []int
	maskHint solver.HintID
}

// Compile builds the constraint system of a circuit. It is deterministic:
// every party that compiles the same circuit gets the same Digest.
func Compile(name string, circuit frontend.Circuit) (*System, error) {
	ccs, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, circuit)
	if err != nil {
		return nil, fmt.Errorf("committed: compiling %s: %w", name, err)
	}
	r, ok := ccs.(*cs.R1CS)
	if !ok {
		return nil, fmt.Errorf("committed: compiling %s gave a %T, want a BN254 R1CS", name, ccs)
	}
	sys := &System{Name: name, R1CS: r}
	commitments, ok := r.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(commitments) != 1 {
		return nil, fmt.Errorf("committed: %s must have exactly one commitment", name)
	}
	sys.wires = commitments[0].PrivateCommitted
	found := 0
	for id, hint := range r.MHintsDependencies {
		if strings.HasSuffix(hint, "hints.Randomize") {
			sys.maskHint = id
			found++
		}
	}
	n := len(sys.wires)
	if n == 0 {
		return nil, fmt.Errorf("committed: %s commits to nothing", name)
	}
	if found != 1 || sys.wires[n-1] < sys.inputs() || n > 1 && sys.wires[n-2] >= sys.inputs() {
		return nil, errors.New("committed: gnark's commitment no longer ends in one random mask: check its R1CS Commit")
	}
	if err := orient(r, commitments[0]); err != nil {
		return nil, err
	}
	return sys, nil
}

// inputs is the number of wires that a witness sets, the constant included.
func (s *System) inputs() int { return s.R1CS.GetNbPublicVariables() + s.R1CS.GetNbSecretVariables() }

// Constraints is the number of rank-one constraints.
func (s *System) Constraints() int { return s.R1CS.GetNbConstraints() }

// Wires is the number of wires of every kind.
func (s *System) Wires() int { return s.inputs() + s.R1CS.GetNbInternalVariables() }

// PublicInputs is the number of public inputs, the constant one and the
// challenge not counted.
func (s *System) PublicInputs() int { return s.R1CS.GetNbPublicVariables() - 1 }

// CommittedValues is the number of values under the commitment, its mask
// included.
func (s *System) CommittedValues() int { return len(s.wires) }

// CommittedWires lists the wires under the commitment, the mask last.
func (s *System) CommittedWires() []int { return slices.Clone(s.wires) }

// Uncommitted lists the secret inputs that are not under the commitment. A
// prover would choose them after the challenge.
func (s *System) Uncommitted() []int {
	under := make(map[int]bool, len(s.wires))
	for _, w := range s.wires {
		under[w] = true
	}
	var out []int
	for w := s.R1CS.GetNbPublicVariables(); w < s.inputs(); w++ {
		if !under[w] {
			out = append(out, w)
		}
	}
	return out
}

// CommittedPublic lists the public inputs under the commitment, as wires: the
// first public input is wire 1.
func (s *System) CommittedPublic() []int {
	c, ok := s.R1CS.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(c) != 1 {
		return nil
	}
	return slices.Clone(c[0].PublicAndCommitmentCommitted)
}

// Digest identifies the constraint system: SHA-256 of its serialisation.
func (s *System) Digest() ([32]byte, error) {
	h := sha256.New()
	_, _ = h.Write([]byte("credence/zk/r1cs/v1\x00" + s.Name + "\x00")) // a hash never fails
	if _, err := s.R1CS.WriteTo(h); err != nil {
		return [32]byte{}, fmt.Errorf("committed: hashing the constraint system of %s: %w", s.Name, err)
	}
	return [32]byte(h.Sum(nil)), nil
}

// Committed returns the values under the commitment, in the order of the
// Pedersen basis, with the given mask last. The vector holds public inputs,
// then secret ones.
func (s *System) Committed(vector fr.Vector, mask fr.Element) []fr.Element {
	out := make([]fr.Element, len(s.wires))
	for i, w := range s.wires[:len(out)-1] {
		out[i] = vector[w-1] // wire 0 is the constant one
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

// Witness returns a vector of public inputs, then secret ones, in gnark's form.
func (s *System) Witness(vector fr.Vector) (witness.Witness, error) {
	w, err := witness.New(fr.Modulus())
	if err != nil {
		return nil, fmt.Errorf("committed: making a witness: %w", err)
	}
	values := make(chan any, 256)
	go func() {
		defer close(values)
		for i := range vector {
			values <- vector[i]
		}
	}()
	if err := w.Fill(s.PublicInputs(), len(vector)-s.PublicInputs(), values); err != nil {
		return nil, fmt.Errorf("committed: filling a witness: %w", err)
	}
	return w, nil
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
			return errors.New("committed: gnark's encoding of a constraint has changed: check BlueprintGenericR1C")
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
