package threshold

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"credence/he"
)

// saltBytes hides p_j in its commitment until it is revealed.
const saltBytes = 32

// RevealBytes is the length of a reveal under a suite: salt, then p_j.
func RevealBytes(s *he.Suite) int { return saltBytes + s.PolyBytes() }

// commitTo is the hash commitment of one member's reveal. It binds the whole
// epoch and the member's name, so it cannot be copied by another member or
// carried to another epoch.
func commitTo(e *Epoch, member string, reveal []byte) [32]byte {
	var w writer
	w.str("credence/threshold/key-commitment/v1")
	w.fixed(e.digest)
	w.str(member)
	w.blob(reveal)
	return sha256.Sum256(w.b)
}

// keyContribution is what one member makes for an epoch in one go. The secret
// s_j and the error e_j exist only while it is made: what remains are the
// reveal and the sealed shares, so a crash can neither lose nor repeat them.
type keyContribution struct {
	reveal      []byte
	attestation []byte // nil without an Attester
	dealing     Dealing
	seed        []byte // of the content keys, to answer complaints
}

// An Attester proves that a key share p = -a*secret + noise is one: short
// secret, short error. It is called while both exist and must keep neither.
type Attester func(secret, noise *he.Poly) ([]byte, error)

func newKeyContribution(e *Epoch, self string, attest Attester) (*keyContribution, error) {
	secret, noise := e.suite.TernaryPoly(), e.suite.ErrorPoly()
	defer secret.Erase()
	defer noise.Erase()
	// p_j = -a*s_j + e_j
	p := e.suite.CRS(e.CRSSeed()).Mul(secret).Neg().Add(noise)
	reveal := make([]byte, saltBytes, RevealBytes(e.suite))
	_, _ = rand.Read(reveal) // never fails, see crypto/rand.Read
	reveal = append(reveal, p.Bytes()...)
	var attestation []byte
	if attest != nil {
		var err error
		if attestation, err = attest(secret, noise); err != nil {
			return nil, fmt.Errorf("attesting the key share of epoch %d: %w", e.Number(), err)
		}
	}
	seed := newSeed()
	dealing, err := deal(e, KeySubject(), self, secret, seed)
	if err != nil {
		return nil, fmt.Errorf("sealing the key shares of epoch %d: %w", e.Number(), err)
	}
	return &keyContribution{reveal: reveal, attestation: attestation, dealing: dealing, seed: seed}, nil
}

// seedBytes is the length of the seed of a dealing's content keys.
const seedBytes = 32

func newSeed() []byte {
	seed := make([]byte, seedBytes)
	_, _ = rand.Read(seed) // never fails, see crypto/rand.Read
	return seed
}

// CollectiveKey checks every member's reveal against its commitment and adds
// them up: the public key (sum p_j, a) of the epoch. Anyone can run it. A
// member that is missing or does not open its commitment is named.
func CollectiveKey(e *Epoch, commitments map[string][32]byte, reveals map[string][]byte) (*he.PublicKey, error) {
	if err := checkSenders(e, "commitment", commitments); err != nil {
		return nil, err
	}
	if err := checkSenders(e, "reveal", reveals); err != nil {
		return nil, err
	}
	sum := e.suite.NewPoly()
	for _, m := range e.cfg.Members {
		reveal := reveals[m.ID]
		if len(reveal) != RevealBytes(e.suite) {
			return nil, blame(m.ID, "%w: reveal has %d bytes, want %d", ErrEncoding, len(reveal), RevealBytes(e.suite))
		}
		if commitTo(e, m.ID, reveal) != commitments[m.ID] {
			return nil, blame(m.ID, "%w in epoch %d", ErrCommitment, e.Number())
		}
		p, err := e.suite.ParsePoly(reveal[saltBytes:])
		if err != nil {
			return nil, blame(m.ID, "%w: reveal: %w", ErrEncoding, err)
		}
		sum.Add(p)
	}
	return he.NewPublicKey(sum, e.CRSSeed()), nil
}

// checkSenders requires exactly one message of each member and none of others.
func checkSenders[M any](e *Epoch, what string, messages map[string]M) error {
	for id := range messages {
		if _, ok := e.member(id); !ok {
			return blame(id, "%w: %s for epoch %d", ErrNotMember, what, e.Number())
		}
	}
	for _, m := range e.cfg.Members {
		if _, ok := messages[m.ID]; !ok {
			return blame(m.ID, "%w: %s for epoch %d", ErrMissing, what, e.Number())
		}
	}
	return nil
}

// MemberKey is the key (p_j, a) of one member's part of the secret, as its
// reveal states it. The caller has checked the reveal (VerifyReveal).
func MemberKey(e *Epoch, member string, reveal []byte) (*he.PublicKey, error) {
	if len(reveal) != RevealBytes(e.suite) {
		return nil, blame(member, "%w: reveal has %d bytes, want %d", ErrEncoding, len(reveal), RevealBytes(e.suite))
	}
	p, err := e.suite.ParsePoly(reveal[saltBytes:])
	if err != nil {
		return nil, blame(member, "%w: reveal: %w", ErrEncoding, err)
	}
	return he.NewPublicKey(p, e.CRSSeed()), nil
}
