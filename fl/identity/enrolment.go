package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"credence/fl"
)

// EnrolmentRequest is how a new party presents its keys: signed by the signing
// key it presents, and bound to the token and to the certificate request.
type EnrolmentRequest struct {
	Genesis    fl.Digest     `json:"genesis"`
	Token      fl.Digest     `json:"token"` // SecretDigest
	Node       fl.NodeID     `json:"node"`
	SigningKey []byte        `json:"signing_key"`
	CSR        fl.Digest     `json:"csr"`
	Capability fl.Capability `json:"capability"`
}

// Kind implements fl.Document.
func (EnrolmentRequest) Kind() fl.Kind { return "enrolment-request/v1" }

// Validate implements fl.Document.
func (r EnrolmentRequest) Validate() error {
	switch {
	case r.Genesis.IsZero() || r.Token.IsZero() || r.CSR.IsZero():
		return errors.New("enrolment request: a digest is missing")
	case len(r.SigningKey) != ed25519.PublicKeySize:
		return fmt.Errorf("enrolment request: signing key of %d bytes: want %d", len(r.SigningKey), ed25519.PublicKeySize)
	case r.Capability.Cores < 0 || r.Capability.MemoryMiB < 0 || r.Capability.MaxShards < 0:
		return errors.New("enrolment request: a capability is negative")
	}
	return r.Node.Validate()
}

// CertificateRenewal asks for a new certificate. It is signed with the party's
// enrolled signing key, so it needs no valid certificate.
type CertificateRenewal struct {
	Genesis fl.Digest `json:"genesis"`
	Node    fl.NodeID `json:"node"`
	CSR     fl.Digest `json:"csr"`
	At      time.Time `json:"at"`
}

// Kind implements fl.Document.
func (CertificateRenewal) Kind() fl.Kind { return "certificate-renewal/v1" }

// Validate implements fl.Document.
func (r CertificateRenewal) Validate() error {
	if r.Genesis.IsZero() || r.CSR.IsZero() || r.At.IsZero() {
		return errors.New("certificate renewal: incomplete")
	}
	return r.Node.Validate()
}
