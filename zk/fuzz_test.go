package zk

import (
	"bytes"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"

	"credence/zk/circuit/rlwe"
	"credence/zk/circuit/table"
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

func FuzzParseTableAttestation(f *testing.F) {
	_, _, g1, g2 := bn254.Generators()
	for _, relation := range []table.Relation{table.Registration, table.Validation} {
		a := &TableAttestation{relation: relation}
		a.bs = g2
		for i, q := range a.points() {
			if i%3 > 0 {
				*q = g1
			}
		}
		f.Add(a.Bytes())
	}
	f.Add([]byte(registrationMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseTableAttestation(b)
		if err == nil && !bytes.Equal(a.Bytes(), b) {
			t.Error("accepted two encodings of one attestation")
		}
	})
}

func FuzzParseTableCommitment(f *testing.F) {
	_, _, g1, _ := bn254.Generators()
	f.Add((&TableCommitment{point: g1}).Bytes())
	f.Add([]byte(tableCommitmentMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseTableCommitment(b)
		if err == nil && !bytes.Equal(c.Bytes(), b) {
			t.Error("accepted two encodings of one commitment")
		}
	})
}

func FuzzParseTableSecret(f *testing.F) {
	f.Add(new(TableSecret).Bytes())
	f.Add([]byte(tableSecretMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseTableSecret(b)
		if err == nil && !bytes.Equal(s.Bytes(), b) {
			t.Error("accepted two encodings of one secret")
		}
	})
}
