package fl

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Digest is a SHA-256 digest. In JSON and in text it is 64 lower-case
// hexadecimal characters.
type Digest [sha256.Size]byte

// DigestBytes returns the SHA-256 digest of a blob. It is the blob's address.
func DigestBytes(blob []byte) Digest { return sha256.Sum256(blob) }

// DigestOf returns a domain-separated digest of the given fields: each is
// preceded by its length, so two different field lists never collide.
func DigestOf(domain string, fields ...[]byte) Digest {
	h := sha256.New()
	var n [8]byte
	for _, field := range append([][]byte{[]byte("credence/" + domain)}, fields...) {
		binary.LittleEndian.PutUint64(n[:], uint64(len(field)))
		h.Write(n[:])
		h.Write(field)
	}
	var d Digest
	h.Sum(d[:0])
	return d
}

// IsZero reports whether the digest was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first 12 hexadecimal characters, for people to read.
func (d Digest) Short() string { return d.String()[:12] }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Only the 64 lower-case
// characters that MarshalText writes are accepted.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != 2*len(d) {
		return fmt.Errorf("fl: digest of %d characters: want %d", len(text), 2*len(d))
	}
	var out Digest
	if _, err := hex.Decode(out[:], text); err != nil {
		return fmt.Errorf("fl: digest: %w", err)
	}
	if out.String() != string(text) {
		return fmt.Errorf("fl: digest is not in lower case")
	}
	*d = out
	return nil
}

// ParseDigest reads a digest from its hexadecimal form.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	err := d.UnmarshalText([]byte(s))
	return d, err
}
