package zk

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/he"
)

// CheckCiphertexts reports ErrCommitment when one of the ciphertexts, which
// are an update's shards in the order of its attestation, is not the one that
// the attestation committed to. It compares one random combination of all
// polynomials with the same combination of the commitments, so it costs one
// multi-exponentiation however many shards there are; a wrong one passes with
// probability below 2^-250. Which one it is, CheckCiphertext tells.
func (s *SRS) CheckCiphertexts(ciphertexts []*he.Ciphertext, att *Attestation) error {
	if len(ciphertexts) == 0 || len(ciphertexts) != att.Shards() {
		return fmt.Errorf("%w: %d ciphertexts for an attestation of %d shards", ErrCommitment, len(ciphertexts), att.Shards())
	}
	n := ciphertexts[0].Suite().N()
	combined := make([]fr.Element, n)
	points, factors := make([]bn254.G1Affine, 0, 2*len(ciphertexts)), make([]fr.Element, 0, 2*len(ciphertexts))
	for i, ct := range ciphertexts {
		if ct.Suite() != ciphertexts[0].Suite() {
			return fmt.Errorf("%w: ciphertexts of %s and %s", ErrCommitment, ct.Suite().Name(), ciphertexts[0].Suite().Name())
		}
		b := ct.Bytes()
		want := att.Commitments(i)
		for part := range want {
			f, err := integers(b[part*len(b)/2:(part+1)*len(b)/2], n, ct.Suite().CoefficientBytes())
			if err != nil {
				return err
			}
			var rho, t fr.Element
			if _, err := rho.SetRandom(); err != nil {
				return fmt.Errorf("zk: drawing a combination: %w", err)
			}
			for j := range f {
				combined[j].Add(&combined[j], t.Mul(&rho, &f[j]))
			}
			points, factors = append(points, want[part]), append(factors, rho)
		}
	}
	got, err := s.commit(combined)
	if err != nil {
		return err
	}
	wanted, err := multiExp(points, factors)
	if err != nil {
		return err
	}
	if !got.Equal(&wanted) {
		return fmt.Errorf("%w: a ciphertext is not the one attested", ErrCommitment)
	}
	return nil
}
