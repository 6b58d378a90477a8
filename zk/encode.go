package zk

import (
	"encoding/binary"
	"fmt"

	"credence/zk/circuit/rlwe"
)

// Encoding: a magic that names kind and version, the number of proofs, then
// each proof in a fixed number of bytes.
const (
	updateMagic   = "CZU\x01"
	keyShareMagic = "CZK\x01"
)

// AttestationBytes is the length of an encoded update attestation.
func AttestationBytes(s *rlwe.Shape, shards int) int {
	return len(updateMagic) + 4 + shards*proofBytes(s)
}

// Bytes encodes the attestation.
func (a *Attestation) Bytes() []byte {
	out := make([]byte, 0, AttestationBytes(a.shape, len(a.proofs)))
	out = binary.LittleEndian.AppendUint32(append(out, updateMagic...), uint32(len(a.proofs)))
	for _, p := range a.proofs {
		out = p.append(out)
	}
	return out
}

// ParseAttestation decodes Bytes strictly: the exact length, every point on
// its curve, in its subgroup and canonical, every scalar reduced. It does not
// verify the attestation.
func ParseAttestation(s *rlwe.Shape, b []byte) (*Attestation, error) {
	const header = len(updateMagic) + 4
	if !s.HasMessage() || len(b) < header || string(b[:len(updateMagic)]) != updateMagic {
		return nil, fmt.Errorf("%w: not an update attestation of %s", ErrEncoding, s.Name)
	}
	n := int(binary.LittleEndian.Uint32(b[len(updateMagic):]))
	if n < 1 || n > rlwe.MaxShards || len(b) != AttestationBytes(s, n) {
		return nil, fmt.Errorf("%w: an attestation of %d shards in %d bytes", ErrEncoding, n, len(b))
	}
	a := &Attestation{shape: s, proofs: make([]*shardProof, n)}
	size := proofBytes(s)
	for i := range a.proofs {
		var err error
		if a.proofs[i], err = parseShardProof(s, b[header+i*size:header+(i+1)*size]); err != nil {
			return nil, fmt.Errorf("attestation of place %d: %w", i, err)
		}
	}
	return a, nil
}

// KeyShareProofBytes is the length of an encoded key-share attestation.
func KeyShareProofBytes(s *rlwe.Shape) int { return len(keyShareMagic) + proofBytes(s) }

// Bytes encodes the attestation.
func (a *KeyShareProof) Bytes() []byte { return a.proof.append([]byte(keyShareMagic)) }

// ParseKeyShareProof decodes Bytes as strictly as ParseAttestation.
func ParseKeyShareProof(s *rlwe.Shape, b []byte) (*KeyShareProof, error) {
	if s.HasMessage() || len(b) < len(keyShareMagic) || string(b[:len(keyShareMagic)]) != keyShareMagic {
		return nil, fmt.Errorf("%w: not a key-share attestation of %s", ErrEncoding, s.Name)
	}
	p, err := parseShardProof(s, b[len(keyShareMagic):])
	if err != nil {
		return nil, fmt.Errorf("key-share attestation: %w", err)
	}
	return &KeyShareProof{shape: s, proof: p}, nil
}
