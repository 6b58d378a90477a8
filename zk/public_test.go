package zk

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
)

// An attestation carries exactly the public inputs of its circuit, in their
// order, and so does what gnark's verifier is asked.
func TestPublicInputsAreFixed(t *testing.T) {
	p := newParty(t, tiny1)
	scope := p.scope("alice", 1<<30, 0)
	att := p.prove(t, scope, p.encrypt(t, 1))
	good := att.Bytes()
	n := len(att.proofs[0].scalars())
	first := len(good) - n*fr.Bytes
	for name, b := range map[string][]byte{
		"one less":  good[:len(good)-fr.Bytes],
		"one more":  append(slices.Clone(good), good[first:first+fr.Bytes]...),
		"all twice": append(slices.Clone(good), good[first:]...),
		"none":      good[:first],
	} {
		if _, err := ParseAttestation(p.keys.Shape(), b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
	exchanged := func(i, j int) []byte {
		b := slices.Clone(good)
		copy(b[first+i*fr.Bytes:], good[first+j*fr.Bytes:][:fr.Bytes])
		copy(b[first+j*fr.Bytes:], good[first+i*fr.Bytes:][:fr.Bytes])
		return b
	}
	for i := range n {
		for j := range i {
			name := fmt.Sprintf("%d and %d exchanged", i, j)
			b := exchanged(i, j)
			if slices.Equal(b, good) {
				continue // with one shard the partial norm is the total
			}
			bent, err := ParseAttestation(p.keys.Shape(), b)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if err := p.keys.VerifyUpdate(scope, p.key, bent); !errors.Is(err, ErrRejected) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}

	eqs, err := p.keys.updateEquations(scope, p.key, att)
	if err != nil {
		t.Fatal(err)
	}
	q := att.proofs[0]
	proof := &groth16.Proof{Ar: q.ar, Krs: q.krs, Bs: q.bs, Commitments: []bn254.G1Affine{q.witness}, CommitmentPok: q.pok}
	public := fr.Vector(eqs[0].public[:len(eqs[0].public)-1])
	if err := groth16.Verify(proof, p.keys.verifying, slices.Clone(public)); err != nil {
		t.Fatal(err)
	}
	for name, inputs := range map[string]fr.Vector{
		"one less":  slices.Clone(public[1:]),
		"one more":  append(slices.Clone(public), public[0]),
		"reordered": append(slices.Clone(public[1:]), public[0]),
	} {
		if err := groth16.Verify(proof, p.keys.verifying, inputs); err == nil {
			t.Errorf("gnark's verifier accepts public inputs, %s", name)
		}
	}
}
