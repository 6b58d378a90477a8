package zk

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/zk/circuit/table"
	"credence/zk/tabular"
)

// A tableCopy is a commitment to the same table with fresh blinding, for one
// opening, and a proof that it is to the same table: knowledge of d0, d1 with
//
//	copy - base = d0*G + d1*H,   G, H the powers at which the blinding begins
//
// (Okamoto 1992; as a signature of knowledge by Fiat and Shamir). What is
// opened of a copy says nothing of another copy. SPEC.md of
// zk/circuit/table, section 6.
type tableCopy struct {
	point  bn254.G1Affine
	nonce  bn254.G1Affine // k0*G + k1*H
	answer [table.Blinds]fr.Element
}

// A TableCopy is a copy and its secret, before it is opened.
type TableCopy struct {
	tableCopy
	secret TableSecret
}

// Erase overwrites the copy's secret.
func (c *TableCopy) Erase() { c.secret.Erase() }

// blindingPowers are G and H of a layout.
func (s *SRS) blindingPowers(l tabular.Layout) ([]bn254.G1Affine, error) {
	at := l.Cells()
	if err := l.Check(); err != nil {
		return nil, fmt.Errorf("zk: %w", err)
	}
	if s.Size() < at+table.Blinds {
		return nil, fmt.Errorf("%w: a table of %s needs %d powers, the SRS has %d", ErrKeys, l.Name(), at+table.Blinds, s.Size())
	}
	return s.g1[at : at+table.Blinds], nil
}

// copyChallenge binds everything that the proof of equality speaks of.
func (c *tableCopy) challenge(l tabular.Layout, base *TableCommitment, scope fl.Digest) fr.Element {
	point, nonce := c.point.Bytes(), c.nonce.Bytes()
	d := fl.DigestOf("zk/table-copy/v1", []byte(l.Name()), base.Bytes(), scope[:], point[:], nonce[:])
	var e fr.Element
	e.SetBytes(d[:])
	return e
}

// copyTable makes a copy of a committed table for one proof under a scope.
func (s *SRS) copyTable(l tabular.Layout, base *TableCommitment, secret *TableSecret, scope fl.Digest) (*TableCopy, error) {
	powers, err := s.blindingPowers(l)
	if err != nil {
		return nil, err
	}
	if err := s.issued(base); err != nil {
		return nil, err
	}
	out := new(TableCopy)
	var d, k [table.Blinds]fr.Element
	defer func() { clear(d[:]); clear(k[:]) }()
	for i := range d {
		for _, v := range []*fr.Element{&d[i], &k[i]} {
			if _, err := v.SetRandom(); err != nil {
				return nil, fmt.Errorf("zk: drawing a blinding: %w", err)
			}
		}
		out.secret.blind[i].Add(&secret.blind[i], &d[i])
	}
	difference, err := multiExp(powers, d[:])
	if err != nil {
		return nil, err
	}
	out.point.Add(&base.point, &difference)
	if out.nonce, err = multiExp(powers, k[:]); err != nil {
		return nil, err
	}
	e := out.challenge(l, base, scope)
	for i := range d {
		out.answer[i].Mul(&e, &d[i]).Add(&out.answer[i], &k[i])
	}
	return out, nil
}

// checkCopy reports ErrRejected when a copy is not shown to be of the table
// behind base, under this scope.
func (s *SRS) checkCopy(l tabular.Layout, base *TableCommitment, c *tableCopy, scope fl.Digest) error {
	powers, err := s.blindingPowers(l)
	if err != nil {
		return err
	}
	if err := s.issued(base); err != nil {
		return err
	}
	// answer*(G, H) = nonce + e*(copy - base)
	e := c.challenge(l, base, scope)
	var minus, minusOne fr.Element
	minus.Neg(&e)
	minusOne.SetOne()
	minusOne.Neg(&minusOne)
	got, err := multiExp(
		[]bn254.G1Affine{powers[0], powers[1], c.point, base.point, c.nonce},
		[]fr.Element{c.answer[0], c.answer[1], minus, e, minusOne})
	if err != nil {
		return err
	}
	if !got.IsInfinity() {
		return fmt.Errorf("%w: the table in it is not shown to be the one committed to", ErrRejected)
	}
	return nil
}

// points and scalars list the copy in the order of encodings.
func (c *tableCopy) points() []*bn254.G1Affine { return []*bn254.G1Affine{&c.point, &c.nonce} }

func (c *tableCopy) scalars() []*fr.Element { return []*fr.Element{&c.answer[0], &c.answer[1]} }
