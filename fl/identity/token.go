package identity

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"credence/fl"
)

// Token is an invitation as the operator hands it to an institution: where the
// aggregator is, what to pin, and a secret that enrols once.
type Token struct {
	Address   string    `json:"a"`
	Genesis   fl.Digest `json:"g"` // digest of the genesis document
	Authority fl.Digest `json:"c"` // SHA-256 of the CA's SubjectPublicKeyInfo
	Node      fl.NodeID `json:"n"`
	Secret    []byte    `json:"s"` // 32 bytes
}

const tokenPrefix = "credence-invite-"

// NewSecret returns 32 random bytes.
func NewSecret() ([]byte, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("making a token: %w", err)
	}
	return secret, nil
}

// SecretDigest is what an aggregator keeps of a token's secret.
func SecretDigest(secret []byte) fl.Digest { return fl.DigestOf("token/v1", secret) }

// String returns the token as one word to copy and paste.
func (t Token) String() string {
	b, err := json.Marshal(t)
	if err != nil { // no field of the type can fail
		return ""
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads a token. Its errors never quote the secret.
func ParseToken(s string) (Token, error) {
	s = strings.TrimSpace(s)
	body, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("not an invitation: want one word that begins with %q", tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return Token{}, errors.New("the invitation is damaged: copy the whole word again")
	}
	var t Token
	if err := json.Unmarshal(raw, &t); err != nil || len(t.Secret) != 32 || t.Genesis.IsZero() || t.Authority.IsZero() || t.Address == "" {
		return Token{}, errors.New("the invitation is damaged: copy the whole word again")
	}
	return t, t.Node.Validate()
}
