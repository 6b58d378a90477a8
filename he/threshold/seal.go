package threshold

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
)

// One fixed HPKE suite (RFC 9180): nothing is negotiated.
var (
	kem  = hpke.DHKEM(ecdh.X25519())
	kdf  = hpke.HKDFSHA256()
	aead = hpke.ChaCha20Poly1305()
)

const (
	// contentKeyBytes is the length of the key of one box.
	contentKeyBytes = 32
	// sealedKeyBytes is a sealed content key: encapsulated key, key, tag.
	sealedKeyBytes = 32 + contentKeyBytes + 16
	// tagBytes is what encrypting the contents adds.
	tagBytes = 16
)

// BoxBytes is the length of a box of an epoch: the content key sealed to the
// receiver, then its share, or the seed of it, and masks encrypted under the key.
// Which it is follows from the dealer and the receiver.
func BoxBytes(e *Epoch, dealer, receiver string) int {
	return sealedKeyBytes + payloadBytes(e.suite, seeded(e, dealer, receiver)) + tagBytes
}

// boxContext binds a box to its epoch, subject, dealer and receiver.
func boxContext(e *Epoch, subject Subject, dealer, receiver string) []byte {
	var w writer
	if subject.noise {
		w.str("credence/threshold/noise-share/v1")
		w.fixed(e.digest)
		subject.sum.write(&w)
	} else {
		w.str("credence/threshold/key-share/v1")
		w.fixed(e.digest)
	}
	w.str(dealer)
	w.str(receiver)
	return w.b
}

// sealBox seals a content key to its receiver and encrypts the contents under
// it. The dealer is bound to the key by a commitment outside the box, so who
// knows the key can show anyone what the box holds, and nothing else.
func sealBox(to, context, key, plain []byte) ([]byte, error) {
	pub, err := kem.NewPublicKey(to)
	if err != nil {
		return nil, fmt.Errorf("reading the seal key: %w", err)
	}
	sealed, err := hpke.Seal(pub, kdf, aead, context, key)
	if err != nil {
		return nil, err
	}
	body, nonce, err := contentCipher(key)
	if err != nil {
		return nil, err
	}
	return body.Seal(sealed, nonce, plain, context), nil
}

// contentCipher is AES-256-GCM (NIST SP 800-38D) with the zero nonce: a
// content key encrypts one message in its life.
func contentCipher(key []byte) (cipher.AEAD, []byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: a content key of %d bytes", ErrKey, len(key))
	}
	body, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, fmt.Errorf("making the cipher of a box: %w", err)
	}
	return body, make([]byte, body.NonceSize()), nil
}

// unsealKey opens the content key of a box addressed to the holder of private.
func unsealKey(private, context, box []byte) ([]byte, error) {
	key, err := kem.NewPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the holder's own seal key", ErrCorruptState)
	}
	content, err := hpke.Open(key, kdf, aead, context, box[:sealedKeyBytes])
	if err != nil || len(content) != contentKeyBytes {
		return nil, fmt.Errorf("%w: it was altered, or sealed for another receiver, dealer, epoch or round", ErrBox)
	}
	return content, nil
}

// openBody decrypts and parses the contents of a box. The error says nothing
// about them.
func openBody(e *Epoch, dealer, receiver string, context, key, box []byte) (*payload, error) {
	body, nonce, err := contentCipher(key)
	if err != nil {
		return nil, err
	}
	plain, err := body.Open(nil, nonce, box[sealedKeyBytes:], context)
	if err != nil {
		return nil, fmt.Errorf("%w: its contents do not decrypt under the key that the dealer committed to", ErrBox)
	}
	defer clear(plain)
	return parsePayload(e.suite, seeded(e, dealer, receiver), plain)
}
