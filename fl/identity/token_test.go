package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"credence/fl"
)

func tokenGen() *rapid.Generator[Token] {
	digest := rapid.Custom(func(r *rapid.T) fl.Digest {
		d := fl.Digest(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(r, "digest"))
		d[0] |= 1 // never zero
		return d
	})
	return rapid.Custom(func(r *rapid.T) Token {
		return Token{
			Address:   rapid.StringMatching(`[a-z0-9.-]{1,40}:[0-9]{1,5}`).Draw(r, "address"),
			Genesis:   digest.Draw(r, "genesis"),
			Authority: digest.Draw(r, "authority"),
			Node:      fl.NodeID(rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?`).Draw(r, "node")),
			Secret:    rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(r, "secret"),
		}
	})
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := tokenGen().Draw(r, "token")
		word := want.String()
		if strings.ContainsAny(word, " \t\n'\"$\\") {
			r.Fatalf("not one word for a shell: %s", word)
		}
		// As a mail program may have broken it.
		at := rapid.IntRange(1, len(word)-1).Draw(r, "break")
		for _, spelling := range []string{word, " " + word + "\n", word[:at] + "\r\n  " + word[at:]} {
			got, err := ParseToken(spelling)
			if err != nil || !reflect.DeepEqual(got, want) {
				r.Fatalf("got %+v (%v), want %+v", got, err, want)
			}
		}
	})
}

func TestTokenSecrets(t *testing.T) {
	a, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	if len(a) != 32 || bytes.Equal(a, b) {
		t.Errorf("secrets of %d bytes, equal: %t", len(a), bytes.Equal(a, b))
	}
	if SecretDigest(a) == SecretDigest(b) || SecretDigest(a) == fl.DigestBytes(a) {
		t.Error("digests of secrets")
	}
}

func sampleToken() Token {
	return Token{Address: "hospital.example:7443", Genesis: fl.Digest{1}, Authority: fl.Digest{2}, Node: "north", Secret: bytes.Repeat([]byte{7}, 32)}
}

// encoded is a token word around any JSON.
func encoded(json string) string {
	return tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(json))
}

func TestTokenDamaged(t *testing.T) {
	token := sampleToken()
	raw, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)
	secret := base64.StdEncoding.EncodeToString(token.Secret)
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in %s", old, good)
		}
		return encoded(strings.Replace(good, old, new, 1))
	}
	for name, word := range map[string]string{
		"empty":           "",
		"prefix alone":    tokenPrefix,
		"no prefix":       strings.TrimPrefix(encoded(good), tokenPrefix),
		"not base64":      tokenPrefix + "!!!" + secret,
		"half":            encoded(good)[:len(encoded(good))/2],
		"one short":       encoded(good)[:len(encoded(good))-1],
		"padding":         encoded(good) + "=",
		"unknown field":   with(`"a":`, `"x":1,"a":`),
		"twice":           with(`"n":"north"`, `"n":"south","n":"north"`),
		"white space":     with(`"a":`, `"a": `),
		"trailing":        encoded(good + "{}"),
		"null":            encoded("null"),
		"no address":      with(`hospital.example:7443`, ``),
		"short secret":    with(secret, base64.StdEncoding.EncodeToString(token.Secret[:31])),
		"zero genesis":    with(token.Genesis.String(), fl.Digest{}.String()),
		"zero authority":  with(token.Authority.String(), fl.Digest{}.String()),
		"impossible name": with("north", "NORTH"),
		"oversized":       with("hospital", strings.Repeat("a", maxToken)),
	} {
		got, err := ParseToken(word)
		if err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
			continue
		}
		if !reflect.DeepEqual(got, Token{}) {
			t.Errorf("%s: something came back beside the error", name)
		}
		if text := err.Error(); strings.Contains(text, secret) || len(word) > 40 && strings.Contains(text, word[len(tokenPrefix):]) {
			t.Errorf("%s: quotes the invitation: %v", name, err)
		}
	}
	if _, err := ParseToken(encoded(good)); err != nil {
		t.Errorf("the honest one: %v", err)
	}
}

// Whatever is done to a word, it reads as an error or as exactly one token
// whose word it is.
func FuzzParseToken(f *testing.F) {
	word := sampleToken().String()
	f.Add(word)
	f.Add(word[:len(word)-3])
	f.Add(strings.Replace(word, "a", "b", 1))
	f.Add(encoded("{}"))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			if len(s) > 60 && strings.Contains(err.Error(), s[len(s)-20:]) {
				t.Fatalf("quotes the invitation: %v", err)
			}
			return
		}
		if token.String() != strings.Join(strings.Fields(s), "") {
			t.Fatalf("%q has a second spelling %q", token.String(), s)
		}
		if token.Node.Validate() != nil || len(token.Secret) != 32 || token.Genesis.IsZero() || token.Authority.IsZero() || token.Address == "" {
			t.Fatalf("accepted %+v", token)
		}
	})
}

// Every single flipped bit of a word is either refused or changes a field,
// never nothing.
func TestTokenEveryBitCounts(t *testing.T) {
	token := sampleToken()
	word := []byte(token.String())
	for i := range word {
		for bit := range 8 {
			word[i] ^= 1 << bit
			if got, err := ParseToken(string(word)); err == nil && reflect.DeepEqual(got, token) {
				t.Errorf("bit %d of byte %d does not matter", bit, i)
			}
			word[i] ^= 1 << bit
		}
	}
}

func TestEnrolmentDocuments(t *testing.T) {
	keys := newKeys(t)
	request := EnrolmentRequest{Genesis: fl.Digest{1}, Token: fl.Digest{2}, Node: "north", SigningKey: keys.SigningPublic(), CSR: fl.Digest{3}}
	renewal := CertificateRenewal{Genesis: fl.Digest{1}, Node: "north", CSR: fl.Digest{3}, At: noon}
	for _, doc := range []fl.Document{request, renewal} {
		envelope, err := fl.Sign(doc, "north", keys.Signing)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(doc))
		decoded, err := fl.DecodeEnvelope(envelope.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if err := decoded.Open(keys.SigningPublic(), got.Interface().(fl.Document)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Elem().Interface(), doc) {
			t.Errorf("got %+v, want %+v", got.Elem().Interface(), doc)
		}
		if err := decoded.Verify(newKeys(t).SigningPublic()); err == nil {
			t.Errorf("%s: another's signature passes", doc.Kind())
		}
	}
	for name, change := range map[string]func(*EnrolmentRequest){
		"genesis":     func(r *EnrolmentRequest) { r.Genesis = fl.Digest{} },
		"token":       func(r *EnrolmentRequest) { r.Token = fl.Digest{} },
		"csr":         func(r *EnrolmentRequest) { r.CSR = fl.Digest{} },
		"signing key": func(r *EnrolmentRequest) { r.SigningKey = r.SigningKey[:31] },
		"cores":       func(r *EnrolmentRequest) { r.Capability.Cores = -1 },
		"memory":      func(r *EnrolmentRequest) { r.Capability.MemoryMiB = -1 },
		"shards":      func(r *EnrolmentRequest) { r.Capability.MaxShards = -1 },
		"node":        func(r *EnrolmentRequest) { r.Node = "" },
	} {
		bad := request
		change(&bad)
		if bad.Validate() == nil {
			t.Errorf("enrolment request with a bad %s is valid", name)
		}
	}
	for name, change := range map[string]func(*CertificateRenewal){
		"genesis": func(r *CertificateRenewal) { r.Genesis = fl.Digest{} },
		"csr":     func(r *CertificateRenewal) { r.CSR = fl.Digest{} },
		"time":    func(r *CertificateRenewal) { r.At = time.Time{} },
		"node":    func(r *CertificateRenewal) { r.Node = "North" },
	} {
		bad := renewal
		change(&bad)
		if bad.Validate() == nil {
			t.Errorf("certificate renewal with a bad %s is valid", name)
		}
	}
}
