package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
)

// Keys are a party's private keys.
type Keys struct {
	Signing ed25519.PrivateKey // documents
	TLS     *ecdsa.PrivateKey  // P-256, transport
}

// Format keeps the private keys out of every message.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "private keys") }

// LogValue keeps the private keys out of every log line.
func (k Keys) LogValue() slog.Value { return slog.StringValue("private keys") }

// SigningPublic returns the public half of the signing key, 32 bytes.
func (k *Keys) SigningPublic() ed25519.PublicKey { return k.Signing.Public().(ed25519.PublicKey) }

// Generate makes fresh keys from crypto/rand.
func Generate() (*Keys, error) {
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	transport, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a TLS key: %w", err)
	}
	return &Keys{Signing: signing, TLS: transport}, nil
}

const keyFile = "keys.pem"

// LoadOrGenerate returns the keys in dir and makes them when there are none.
// A key file that others can read is an error.
func LoadOrGenerate(dir string) (*Keys, error) {
	keys, err := Load(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if keys, err = Generate(); err != nil {
		return nil, err
	}
	var out []byte
	for _, key := range []any{keys.Signing, keys.TLS} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("encoding keys: %w", err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	if err := WriteFile(filepath.Join(dir, keyFile), out); err != nil {
		return nil, err
	}
	return keys, nil
}

// Load returns the keys in dir, or an error that wraps fs.ErrNotExist.
func Load(dir string) (*Keys, error) {
	data, err := ReadSecret(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	keys := new(Keys)
	for range 2 {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("%s: want two PEM blocks", filepath.Join(dir, keyFile))
		}
		data = rest
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil { // the parser's message could quote key material
			return nil, fmt.Errorf("%s: a block is not a PKCS #8 private key", filepath.Join(dir, keyFile))
		}
		switch key := key.(type) {
		case ed25519.PrivateKey:
			keys.Signing = key
		case *ecdsa.PrivateKey:
			keys.TLS = key
		}
	}
	if keys.Signing == nil || keys.TLS == nil || keys.TLS.Curve != elliptic.P256() || len(data) > 0 {
		return nil, fmt.Errorf("%s: want an Ed25519 key, an ECDSA key on P-256, and nothing else", filepath.Join(dir, keyFile))
	}
	return keys, nil
}
