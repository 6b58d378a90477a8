package zk

import (
	"errors"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"pgregory.net/rapid"

	"github.com/consensys/gnark-crypto/ecc/bn254"

	"credence/he"
)

// Whoever sends another ciphertext than it committed to is named.
func TestFindMismatchesNamesTheLiars(t *testing.T) {
	p := newParty(t, tiny1)
	srs := p.keys.SRS()
	honest, other := p.encrypt(t, 1), p.encrypt(t, 2)
	c, err := srs.CommitCiphertext(honest.Ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		lies := rapid.SliceOfN(rapid.Bool(), 0, 20).Draw(r, "lies")
		commitments := make([][2]Commitment, len(lies))
		var want []int
		for i := range lies {
			commitments[i] = c
			if lies[i] {
				want = append(want, i)
			}
		}
		loads := 0
		got, err := srs.FindMismatches(commitments, func(i int) (*he.Ciphertext, error) {
			loads++
			if lies[i] {
				return other.Ciphertext, nil
			}
			return honest.Ciphertext, nil
		})
		if err != nil || !slices.Equal(got, want) {
			r.Fatalf("named %v, %v; want %v", got, err, want)
		}
		if len(want) == 0 && loads != len(lies) {
			r.Fatalf("%d reads of %d ciphertexts that match", loads, len(lies))
		}
	})
	broken := errors.New("disk")
	if _, err := srs.FindMismatches([][2]Commitment{c}, func(int) (*he.Ciphertext, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("an unreadable ciphertext: %v", err)
	}
}

// gnark's own verifier accepts the Groth16 part of every proof, so the
// equations written here are those of a stock proof.
func TestStockVerifierAgrees(t *testing.T) {
	p := newParty(t, tiny4)
	scope := p.scope("alice", 1<<30, 0)
	att := p.prove(t, scope, p.encrypt(t, 5))
	eqs, err := p.keys.updateEquations(scope, p.key, att)
	if err != nil {
		t.Fatal(err)
	}
	q := att.proofs[0]
	proof := &groth16.Proof{Ar: q.ar, Krs: q.krs, Bs: q.bs, Commitments: []bn254.G1Affine{q.witness}, CommitmentPok: q.pok}
	public := func() fr.Vector { return slices.Clone(fr.Vector(eqs[0].public[:len(eqs[0].public)-1])) }
	if err := groth16.Verify(proof, p.keys.verifying, public()); err != nil {
		t.Error(err)
	}
	for i := range public() {
		bent := public()
		bent[i].Add(&bent[i], new(fr.Element).SetUint64(1))
		if err := groth16.Verify(proof, p.keys.verifying, bent); err == nil {
			t.Errorf("public input %d changed, and accepted", i)
		}
	}
}
