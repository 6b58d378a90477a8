package threshold

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"

	"credence/he"
)

// One fixed HPKE suite (RFC 9180): nothing is negotiated.
var (
	kem  = hpke.DHKEM(ecdh.X25519())
	kdf  = hpke.HKDFSHA256()
	aead = hpke.ChaCha20Poly1305()
)

// boxOverhead is what sealing adds: the encapsulated key and the tag.
const boxOverhead = 32 + 16

// BoxBytes is the length of one sealed share under a suite.
func BoxBytes(s *he.Suite) int { return s.PolyBytes() + boxOverhead }

// keyShareInfo binds a sealed key share to its epoch, dealer and receiver.
func keyShareInfo(e *Epoch, dealer, receiver string) []byte {
	var w writer
	w.str("credence/threshold/key-share/v1")
	w.fixed(e.digest)
	w.str(dealer)
	w.str(receiver)
	return w.b
}

// noiseShareInfo binds a sealed noise share to its epoch, sum, dealer and
// receiver.
func noiseShareInfo(e *Epoch, id SumID, dealer, receiver string) []byte {
	var w writer
	w.str("credence/threshold/noise-share/v1")
	w.fixed(e.digest)
	id.write(&w)
	w.str(dealer)
	w.str(receiver)
	return w.b
}

// sealShares Shamir-shares secret with threshold t and seals each member's
// share to it. The shares and the sharing polynomial are erased.
func sealShares(e *Epoch, secret *he.Poly, info func(receiver string) []byte) (map[string][]byte, error) {
	sharing := newSharing(secret, e.cfg.Threshold)
	defer sharing.erase()
	boxes := make(map[string][]byte, len(e.cfg.Members))
	for _, m := range e.cfg.Members {
		share, err := sharing.at(m.Point)
		if err != nil {
			return nil, err
		}
		plain := share.Bytes()
		share.Erase()
		box, err := sealTo(m.SealKey, info(m.ID), plain)
		clear(plain)
		if err != nil {
			return nil, blame(m.ID, "sealing a share: %w", err)
		}
		boxes[m.ID] = box
	}
	return boxes, nil
}

func sealTo(key, info, plain []byte) ([]byte, error) {
	pub, err := kem.NewPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("reading the seal key: %w", err)
	}
	return hpke.Seal(pub, kdf, aead, info, plain)
}

// openShare opens a box addressed to the holder of private and parses the
// polynomial inside. The error says nothing about the contents.
func openShare(s *he.Suite, private, info, box []byte) (*he.Poly, error) {
	if len(box) != BoxBytes(s) {
		return nil, fmt.Errorf("%w: %d bytes, want %d", ErrBox, len(box), BoxBytes(s))
	}
	key, err := kem.NewPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the holder's own seal key", ErrCorruptState)
	}
	plain, err := hpke.Open(key, kdf, aead, info, box)
	if err != nil {
		return nil, fmt.Errorf("%w: it was altered, or sealed for another receiver, dealer, epoch or round", ErrBox)
	}
	defer clear(plain)
	p, err := s.ParsePoly(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: its contents are not a canonical polynomial", ErrBox)
	}
	return p, nil
}
