package identity

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// maxToken bounds an invitation, in characters; real ones have about 400.
const maxToken = 4096

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

// LogValue keeps the secret out of every log line.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("address", t.Address), slog.String("genesis", t.Genesis.Short()), slog.String("node", string(t.Node)))
}

// String returns the token, its secret included, as one word to copy and
// paste.
func (t Token) String() string {
	b, err := json.Marshal(t) //nolint:gosec // G117: handing over the secret is the purpose
	if err != nil {           // no field of the type can fail
		return ""
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads what String wrote and nothing else, but for white space,
// which mail programs and terminals put into long words. Its errors never
// quote the invitation.
func ParseToken(s string) (Token, error) {
	s = strings.Join(strings.Fields(s), "")
	body, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok || len(s) > maxToken {
		return Token{}, fmt.Errorf("not an invitation: want one word that begins with %q", tokenPrefix)
	}
	damaged := errors.New("the invitation is damaged: copy the whole word again")
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return Token{}, damaged
	}
	var t Token
	if err := fl.DecodeCanonical(raw, &t); err != nil || t.String() != s {
		return Token{}, damaged
	}
	if len(t.Secret) != 32 || t.Genesis.IsZero() || t.Authority.IsZero() || t.Address == "" || t.Node.Validate() != nil {
		return Token{}, damaged
	}
	return t, nil
}
