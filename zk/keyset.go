package zk

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	"github.com/consensys/gnark/backend"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"credence/zk/circuit/committed"
)

// A keySet is what the keys of every circuit have in common: the circuit, both
// Groth16 keys and the SRS of the commitments that it speaks of. It is
// immutable and safe for concurrent use.
type keySet struct {
	circuit   *committed.System
	powers    int                 // the fewest powers the SRS must have
	proving   *groth16.ProvingKey // nil for a verifier
	verifying *groth16.VerifyingKey
	srs       *SRS
	manifest  Manifest
}

// set is how a Store reaches the keys of any circuit.
func (k *keySet) set() *keySet { return k }

// SRS returns the powers under the keys' commitments.
func (k *keySet) SRS() *SRS { return k.srs }

// Manifest returns what identifies the keys.
func (k *keySet) Manifest() Manifest { return k.manifest }

// CanProve reports whether the proving half is present.
func (k *keySet) CanProve() bool { return k.proving != nil }

func newKeySet(k keySet, origin Origin) (*keySet, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	m, err := k.describe(origin)
	if err != nil {
		return nil, err
	}
	k.manifest = m
	return &k, nil
}

// check refuses keys that do not fit together. Every circuit's first two
// public inputs are its statement's digest, and are under its commitment.
func (k *keySet) check() error {
	s, vk, pk := k.circuit, k.verifying, k.proving
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
	if k.srs.Size() < k.powers {
		return refuse(fmt.Sprintf("the SRS has %d powers, fewer than %d", k.srs.Size(), k.powers))
	}
	if pk == nil {
		return nil
	}
	wires := s.Wires()
	if len(pk.CommitmentKeys) != 1 || len(pk.CommitmentKeys[0].Basis) != s.CommittedValues() ||
		len(pk.InfinityA) != wires || len(pk.InfinityB) != wires || pk.Domain.Cardinality < uint64(s.Constraints()) {
		return refuse("the proving key is for another circuit")
	}
	if !pk.G1.Alpha.Equal(&vk.G1.Alpha) || !pk.G2.Beta.Equal(&vk.G2.Beta) || !pk.G2.Delta.Equal(&vk.G2.Delta) {
		return refuse("proving and verifying key are not of one set-up")
	}
	return nil
}

// setupSet makes keys by a local, single-party set-up. A nil SRS makes a fresh
// one of the given number of powers.
func setupSet(circuit *committed.System, powers int, srs *SRS, progress Progress) (*keySet, error) {
	var err error
	if srs == nil {
		progress.report("making commitment keys for "+circuit.Name, 1, 3)
		if srs, err = NewLocalSRS(powers); err != nil {
			return nil, err
		}
	}
	progress.report("making proving keys for "+circuit.Name, 2, 3)
	pk, vk := new(groth16.ProvingKey), new(groth16.VerifyingKey)
	if err := groth16.Setup(circuit.R1CS, pk, vk); err != nil {
		return nil, fmt.Errorf("zk: set-up of %s: %w", circuit.Name, err)
	}
	keys, err := newKeySet(keySet{circuit: circuit, powers: powers, proving: pk, verifying: vk, srs: srs}, OriginLocal)
	progress.report("keys for "+circuit.Name, 3, 3)
	return keys, err
}

// A grothProof is a Groth16 proof with one commitment.
type grothProof struct {
	ar, krs bn254.G1Affine
	bs      bn254.G2Affine
	witness bn254.G1Affine // Pedersen commitment to the witness
	pok     bn254.G1Affine // its proof of knowledge
}

// A firstPass is a proof whose challenge is known and which is not made yet.
type firstPass struct {
	mask    fr.Element // of the commitment, gnark's random wire; never zero
	witness bn254.G1Affine
	pok     bn254.G1Affine
	r       fr.Element
}

// begin commits to a witness vector whose committed wires are all set, with a
// fresh mask, and draws the challenge. Public inputs that depend on it may be
// set afterwards.
func (k *keySet) begin(vector fr.Vector, statement [2]fr.Element) (*firstPass, error) {
	if !k.CanProve() {
		return nil, fmt.Errorf("%w: %s: the proving half is missing", ErrKeys, k.circuit.Name)
	}
	p := new(firstPass)
	for p.mask.IsZero() {
		if _, err := p.mask.SetRandom(); err != nil {
			return nil, fmt.Errorf("zk: drawing the commitment's mask: %w", err)
		}
	}
	values := k.circuit.Committed(vector, p.mask)
	defer clear(values)
	basis := &k.proving.CommitmentKeys[0]
	err := concurrently(
		func() (err error) { p.witness, err = basis.Commit(values); return err },
		func() (err error) { p.pok, err = basis.ProveKnowledge(values); return err },
	)
	if err != nil {
		return nil, fmt.Errorf("zk: committing to the witness: %w", err)
	}
	p.r = challengeOf(&p.witness, statement)
	return p, nil
}

// announced is the proving key with other Pedersen bases: all points are at
// infinity but the mask's, which is the known commitment (and proof of
// knowledge) divided by the mask. Under them the values of this proof, and only
// of this one, have the commitment that was announced, and gnark's prover does
// not compute two multi-exponentiations over all committed values again.
func (k *keySet) announced(p *firstPass) *groth16.ProvingKey {
	var inverse fr.Element
	var scalar big.Int
	inverse.Inverse(&p.mask).BigInt(&scalar)
	basis := func(point *bn254.G1Affine) []bn254.G1Affine {
		out := make([]bn254.G1Affine, len(k.proving.CommitmentKeys[0].Basis))
		out[len(out)-1].ScalarMultiplication(point, &scalar)
		return out
	}
	pk := *k.proving
	pk.CommitmentKeys = []pedersen.ProvingKey{{Basis: basis(&p.witness), BasisExpSigma: basis(&p.pok)}}
	return &pk
}

// finish runs gnark's prover on the complete witness vector. It returns
// ErrWitness when the vector does not satisfy the circuit.
func (k *keySet) finish(vector fr.Vector, p *firstPass) (*grothProof, error) {
	w, err := k.circuit.Witness(vector)
	if err != nil {
		return nil, err
	}
	if v, ok := w.Vector().(fr.Vector); ok {
		defer clear(v)
	}
	proof, err := groth16.Prove(k.circuit.R1CS, k.announced(p), w, backend.WithSolverOptions(k.circuit.FixMask(p.mask)))
	if err != nil {
		// gnark's text may quote a constraint's values.
		return nil, fmt.Errorf("%w: the witness does not satisfy %s", ErrWitness, k.circuit.Name)
	}
	if len(proof.Commitments) != 1 || !proof.Commitments[0].Equal(&p.witness) || !proof.CommitmentPok.Equal(&p.pok) {
		return nil, errors.New("zk: the prover committed to something else than announced: gnark's R1CS Commit has changed")
	}
	return &grothProof{ar: proof.Ar, bs: proof.Bs, krs: proof.Krs, witness: proof.Commitments[0], pok: proof.CommitmentPok}, nil
}
