package zk

import (
	"bytes"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"

	"credence/zk/circuit/rlwe"
)

// sampleProof is a proof made of generators: valid to decode, proving nothing.
func sampleProof(s *rlwe.Shape) *shardProof {
	_, _, g1, g2 := bn254.Generators()
	p := newShardProof(s)
	p.bs = g2
	for i, q := range p.points() {
		if i%3 > 0 {
			*q = g1
		}
	}
	for i, v := range p.scalars() {
		v.SetUint64(uint64(i))
	}
	return p
}

func FuzzParseAttestation(f *testing.F) {
	shape, err := rlwe.UpdateShape(suite(f, tiny1))
	if err != nil {
		f.Fatal(err)
	}
	p := sampleProof(shape)
	f.Add((&Attestation{shape: shape, proofs: []*shardProof{p}}).Bytes())
	f.Add((&Attestation{shape: shape, proofs: []*shardProof{p, p}}).Bytes())
	f.Add([]byte(updateMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAttestation(shape, b)
		if err == nil && !bytes.Equal(a.Bytes(), b) {
			t.Error("accepted two encodings of one attestation")
		}
	})
}

func FuzzParseKeyShareProof(f *testing.F) {
	shape, err := rlwe.KeyShareShape(suite(f, tiny1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add((&KeyShareProof{shape: shape, proof: sampleProof(shape)}).Bytes())
	f.Add([]byte(keyShareMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseKeyShareProof(shape, b)
		if err == nil && !bytes.Equal(a.Bytes(), b) {
			t.Error("accepted two encodings of one attestation")
		}
	})
}

func FuzzParseSRS(f *testing.F) {
	s, err := NewLocalSRS(8)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Bytes())
	f.Add([]byte(srsMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSRS(b)
		if err == nil && !bytes.Equal(s.Bytes(), b) {
			t.Error("accepted two encodings of one SRS")
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"shape":"update/x","origin":"local"}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"version":1}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseManifest(b); err == nil && (m.Version != manifestVersion || m.Circuit.IsZero()) {
			t.Errorf("accepted %q", b)
		}
	})
}
