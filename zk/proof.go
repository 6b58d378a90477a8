package zk

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/hash_to_field"
	"github.com/consensys/gnark/constraint"

	"credence/fl"
	"credence/zk/circuit/rlwe"
)

// A shardProof is the proof of one instance of the relation, for a shape with
// one row (key share) or two and a norm (update).
type shardProof struct {
	cipher []bn254.G1Affine // C_i: commitments to the published polynomials
	lift   []bn254.G1Affine // H_i: to the masked quotients by X^N+1
	norm   bn254.G1Affine   // W: to the masked partial norm; updates only
	link   bn254.G1Affine   // M: to the masked message; linked updates only

	grothProof
	opening bn254.G1Affine // KZG, all polynomials at the challenge

	atCipher []fr.Element // C_i(r) + (r^N+1)*H_i(r)
	atKey    []fr.Element // P_i(r)
	atNorm   []fr.Element // W(r), T(r); updates only
	atLink   []fr.Element // M(r); linked updates only
}

func newShardProof(s *rlwe.Shape) *shardProof {
	p := &shardProof{
		cipher: make([]bn254.G1Affine, s.Rows), lift: make([]bn254.G1Affine, s.Rows),
		atCipher: make([]fr.Element, s.Rows), atKey: make([]fr.Element, s.Rows),
	}
	if s.HasMessage() {
		p.atNorm = make([]fr.Element, 2)
	}
	if s.Link {
		p.atLink = make([]fr.Element, 1)
	}
	return p
}

// points lists the proof's G1 points in the order of the encoding.
func (p *shardProof) points() []*bn254.G1Affine {
	var out []*bn254.G1Affine
	for i := range p.cipher {
		out = append(out, &p.cipher[i], &p.lift[i])
	}
	if len(p.atNorm) > 0 {
		out = append(out, &p.norm)
	}
	if len(p.atLink) > 0 {
		out = append(out, &p.link)
	}
	return append(out, &p.ar, &p.krs, &p.witness, &p.pok, &p.opening)
}

// scalars lists the proof's field elements in the order of the encoding.
func (p *shardProof) scalars() []*fr.Element {
	var out []*fr.Element
	for _, v := range [][]fr.Element{p.atCipher, p.atKey, p.atNorm, p.atLink} {
		for i := range v {
			out = append(out, &v[i])
		}
	}
	return out
}

// proofBytes is the length of one encoded proof.
func proofBytes(s *rlwe.Shape) int {
	p := newShardProof(s)
	return bn254.SizeOfG2AffineCompressed + len(p.points())*bn254.SizeOfG1AffineCompressed + len(p.scalars())*fr.Bytes
}

func (p *shardProof) append(out []byte) []byte {
	return appendProof(out, &p.bs, p.points(), p.scalars())
}

// parseShardProof decodes exactly proofBytes(s) bytes.
func parseShardProof(s *rlwe.Shape, b []byte) (*shardProof, error) {
	if len(b) != proofBytes(s) {
		return nil, fmt.Errorf("%w: a proof of %s has %d bytes, want %d", ErrEncoding, s.Name, len(b), proofBytes(s))
	}
	p := newShardProof(s)
	return p, parseProof(b, &p.bs, p.points(), p.scalars())
}

// appendProof encodes a proof: its G2 point, its G1 points, its scalars.
func appendProof(out []byte, bs *bn254.G2Affine, points []*bn254.G1Affine, scalars []*fr.Element) []byte {
	q := bs.Bytes()
	out = append(out, q[:]...)
	for _, q := range points {
		b := q.Bytes()
		out = append(out, b[:]...)
	}
	for _, v := range scalars {
		b := v.Bytes()
		out = append(out, b[:]...)
	}
	return out
}

// parseProof decodes what appendProof wrote: every point on its curve, in its
// subgroup and in its one encoding, every scalar reduced. The length is right.
func parseProof(b []byte, bs *bn254.G2Affine, points []*bn254.G1Affine, scalars []*fr.Element) error {
	if err := parseG2(b[:bn254.SizeOfG2AffineCompressed], bs); err != nil {
		return err
	}
	b = b[bn254.SizeOfG2AffineCompressed:]
	for _, q := range points {
		if err := parseG1(b[:bn254.SizeOfG1AffineCompressed], q); err != nil {
			return err
		}
		b = b[bn254.SizeOfG1AffineCompressed:]
	}
	for _, v := range scalars {
		if err := v.SetBytesCanonical(b[:fr.Bytes]); err != nil {
			return fmt.Errorf("%w: field element: %w", ErrEncoding, err)
		}
		b = b[fr.Bytes:]
	}
	return nil
}

// committed encodes what the prover fixes before the challenge, for digests.
func (p *shardProof) committed() [][]byte {
	var out [][]byte
	for i := range p.cipher {
		c, h := p.cipher[i].Bytes(), p.lift[i].Bytes()
		out = append(out, c[:], h[:])
	}
	if len(p.atNorm) > 0 {
		w := p.norm.Bytes()
		out = append(out, w[:])
	}
	if len(p.atLink) > 0 {
		m := p.link.Bytes()
		out = append(out, m[:])
	}
	return out
}

// challengeOf is gnark's challenge for a commitment and the committed public
// inputs: hash-to-field (RFC 9380) of their serialisation.
func challengeOf(witness *bn254.G1Affine, statement [2]fr.Element) fr.Element {
	h := hash_to_field.New([]byte(constraint.CommitmentDst))
	m := witness.RawBytes()
	_, _ = h.Write(m[:]) // a hash never fails
	for i := range statement {
		b := statement[i].Bytes()
		_, _ = h.Write(b[:])
	}
	var r fr.Element
	r.SetBytes(h.Sum(nil))
	return r
}

// foldChallenge is the KZG batching challenge: it comes after all claimed
// values.
func foldChallenge(statement fl.Digest, r *fr.Element, p *shardProof) fr.Element {
	h := sha256.New()
	rb := r.Bytes()
	_, _ = h.Write([]byte("credence/zk/kzg-fold/v1\x00")) // a hash never fails
	_, _ = h.Write(statement[:])
	_, _ = h.Write(rb[:])
	for _, v := range p.scalars() {
		b := v.Bytes()
		_, _ = h.Write(b[:])
	}
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(p.scalars())))
	_, _ = h.Write(n[:])
	var g fr.Element
	g.SetBytes(h.Sum(nil))
	return g
}

// publicInputs returns the circuit's public inputs: everything but the
// challenge, in the order of rlwe.Circuit.
func (p *shardProof) publicInputs(statement [2]fr.Element, bound uint64) []fr.Element {
	out := append([]fr.Element{statement[0], statement[1]}, p.atCipher...)
	out = append(out, p.atKey...)
	if len(p.atNorm) > 0 {
		var b fr.Element
		b.SetUint64(bound)
		out = append(append(out, p.atNorm...), b)
	}
	return append(out, p.atLink...)
}
