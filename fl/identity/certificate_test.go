package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"credence/fl"
)

func TestIssue(t *testing.T) {
	a := newAuthority(t)
	keys := newKeys(t)
	csr, err := NewCSR("north", keys)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := a.Issue("north", csr, noon, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckSignatureFrom(a.Certificate); err != nil {
		t.Error(err)
	}
	if !keys.TLS.PublicKey.Equal(c.PublicKey) || c.Subject.CommonName != "north" {
		t.Errorf("certificate for %s", c.Subject)
	}
	if !c.NotBefore.Equal(noon.Add(-clockTolerance)) || !c.NotAfter.Equal(noon.Add(lifetime)) {
		t.Errorf("valid from %s to %s", c.NotBefore, c.NotAfter)
	}
	if c.IsCA || c.KeyUsage != x509.KeyUsageDigitalSignature || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("a node's certificate may do too much: CA %t, usage %b, extended %v", c.IsCA, c.KeyUsage, c.ExtKeyUsage)
	}
	again, err := a.Issue("north", csr, noon, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := x509.ParseCertificate(again); err != nil || d.SerialNumber.Cmp(c.SerialNumber) == 0 {
		t.Errorf("a renewal has the serial number of its predecessor (%v)", err)
	}
}

// Nothing of a request but its name and key is used: what else it asks for
// must not reach the certificate.
func TestIssueIgnoresWishes(t *testing.T) {
	a := newAuthority(t)
	keys := newKeys(t)
	isCA, err := asn1.Marshal(struct{ IsCA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "north", Organization: []string{"aggregator"}}, DNSNames: []string{serverName}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: isCA}},
	}, keys.TLS)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := a.Issue("north", csr, noon, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	if c.IsCA || len(c.DNSNames) != 0 || len(c.IPAddresses) != 0 || len(c.Subject.Organization) != 0 {
		t.Errorf("the certificate says what the request wished for: %+v", c.Subject)
	}
}

func request(t *testing.T, name string, key any) []byte {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestIssueRefuses(t *testing.T) {
	a := newAuthority(t)
	keys := newKeys(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := request(t, "north", keys.TLS)
	badSignature := append([]byte(nil), good...)
	badSignature[len(badSignature)-1] ^= 1
	for name, c := range map[string]struct {
		node fl.NodeID
		csr  []byte
		want string
	}{
		"another name":     {"north", request(t, "south", keys.TLS), `is for "south", not for "north"`},
		"no name":          {"north", request(t, "", keys.TLS), `is for "", not for "north"`},
		"wrong curve":      {"north", request(t, "north", p384), "P-256"},
		"wrong algorithm":  {"north", request(t, "north", ed), "P-256"},
		"bad signature":    {"north", badSignature, "certificate request"},
		"truncated":        {"north", good[:len(good)/2], "certificate request"},
		"bytes after":      {"north", append(good[:len(good):len(good)], 0), "certificate request"},
		"empty":            {"north", nil, "certificate request"},
		"the aggregator":   {fl.AggregatorID, request(t, "aggregator", keys.TLS), "reserved"},
		"no name at all":   {"", request(t, "", keys.TLS), "want 1 to 63"},
		"an impossible id": {"NORTH\n", request(t, "NORTH\n", keys.TLS), "want 1 to 63"},
	} {
		_, err := a.Issue(c.node, c.csr, noon, lifetime)
		wantError(t, name, err, c.want)
	}
}

func FuzzIssue(f *testing.F) {
	a, err := LoadOrCreateAuthority(f.TempDir(), "trial", noon)
	if err != nil {
		f.Fatal(err)
	}
	keys, err := Generate()
	if err != nil {
		f.Fatal(err)
	}
	csr, err := NewCSR("north", keys)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Add(csr[:20])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, csr []byte) {
		raw, err := a.Issue("north", csr, noon, lifetime)
		if err != nil {
			return
		}
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		if c.IsCA || c.Subject.CommonName != "north" || len(c.DNSNames) != 0 {
			t.Fatalf("issued %+v", c)
		}
	})
}

func TestAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadOrCreateAuthority(dir, "trial", noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{authorityKeyFile, authorityFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", name, info.Mode().Perm())
		}
	}
	second, err := LoadOrCreateAuthority(dir, "trial", noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !second.Certificate.Equal(first.Certificate) || !second.key.Equal(first.key) {
		t.Error("a second start made another authority")
	}
	// A crash after the certificate and before the key: nothing was issued yet.
	if err := os.Remove(filepath.Join(dir, authorityKeyFile)); err != nil {
		t.Fatal(err)
	}
	third, err := LoadOrCreateAuthority(dir, "trial", noon)
	if err != nil {
		t.Fatal(err)
	}
	if third.Certificate.Equal(first.Certificate) {
		t.Error("a certificate without its key was kept")
	}
}

func TestAuthorityDamaged(t *testing.T) {
	other := t.TempDir()
	if _, err := LoadOrCreateAuthority(other, "other", noon); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other, authorityFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"key is garbage":    {func(d string) error { return WriteFile(filepath.Join(d, authorityKeyFile), []byte("top secret")) }, "not a private key"},
		"certificate":       {func(d string) error { return WriteFile(filepath.Join(d, authorityFile), []byte{1}) }, authorityFile},
		"no certificate":    {func(d string) error { return os.Remove(filepath.Join(d, authorityFile)) }, authorityFile},
		"of two":            {func(d string) error { return WriteFile(filepath.Join(d, authorityFile), foreign) }, "does not belong"},
		"readable by group": {func(d string) error { return os.Chmod(filepath.Join(d, authorityKeyFile), 0o640) }, "chmod 600"},
	} {
		dir := t.TempDir()
		if _, err := LoadOrCreateAuthority(dir, "trial", noon); err != nil {
			t.Fatal(err)
		}
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreateAuthority(dir, "trial", noon)
		wantError(t, name, err, c.want)
	}
}
