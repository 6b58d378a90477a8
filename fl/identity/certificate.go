package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"credence/fl"
)

// clockTolerance is how far a certificate is valid before its issue, so that a
// party whose clock runs a little behind can use it at once.
const clockTolerance = 10 * time.Minute

// serverName is the one name for which an aggregator's certificate is checked.
// Authenticity comes from the pinned authority, not from an address, which may
// change.
const serverName = "aggregator.credence"

// Authority is a federation's certificate authority. It lives with the
// aggregator; what it can do is open connections, not sign documents.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// KeyDigest returns the SHA-256 of a certificate's SubjectPublicKeyInfo.
func KeyDigest(c *x509.Certificate) fl.Digest { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

const authorityKeyFile, authorityFile = "authority.key", "authority.crt"

// Format keeps the private key out of every message and log line.
func (a *Authority) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "certificate authority %s", KeyDigest(a.Certificate).Short())
}

// LoadOrCreateAuthority returns the authority in dir and makes it when there
// is none. It is valid for twenty years: replacing it means a new genesis.
func LoadOrCreateAuthority(dir, federation string, now time.Time) (*Authority, error) {
	der, err := ReadSecret(filepath.Join(dir, authorityKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return createAuthority(dir, federation, now)
	}
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s is not a private key", filepath.Join(dir, authorityKeyFile))
	}
	raw, err := ReadSecret(filepath.Join(dir, authorityFile))
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, authorityFile), err)
	}
	ecKey, ok := key.(*ecdsa.PrivateKey)
	if !ok || !ecKey.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s does not belong to %s", authorityKeyFile, authorityFile)
	}
	return &Authority{Certificate: cert, key: ecKey}, nil
}

func createAuthority(dir, federation string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "credence authority of " + federation},
		NotBefore:             now.Add(-clockTolerance),
		NotAfter:              now.AddDate(20, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the authority's key: %w", err)
	}
	// The certificate first: a key without one would look like an authority.
	if err := WriteFile(filepath.Join(dir, authorityFile), raw); err != nil {
		return nil, err
	}
	if err := WriteFile(filepath.Join(dir, authorityKeyFile), der); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, err
	}
	return &Authority{Certificate: cert, key: key}, nil
}

// NewCSR makes a certificate request for the node's TLS key.
func NewCSR(node fl.NodeID, keys *Keys) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(node)}}, keys.TLS)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return csr, nil
}

// Issue signs a client certificate for a node. The request must name the node
// and be signed by the key it presents; nothing else of it is used.
func (a *Authority) Issue(node fl.NodeID, csr []byte, now time.Time, lifetime time.Duration) ([]byte, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := node.Validate(); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if node == fl.AggregatorID {
		return nil, fmt.Errorf("certificate request: the name %q is reserved", node)
	}
	if req.Subject.CommonName != string(node) {
		return nil, fmt.Errorf("certificate request is for %q, not for %q", req.Subject.CommonName, node)
	}
	if key, ok := req.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("certificate request: want an ECDSA key on P-256")
	}
	return a.issue(string(node), nil, x509.ExtKeyUsageClientAuth, req.PublicKey, now, lifetime)
}

// ServerCertificate makes a TLS certificate for the aggregator itself, with a
// key that lives in memory only.
func (a *Authority) ServerCertificate(now time.Time, lifetime time.Duration) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a server key: %w", err)
	}
	raw, err := a.issue(string(fl.AggregatorID), []string{serverName}, x509.ExtKeyUsageServerAuth, key.Public(), now, lifetime)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{raw, a.Certificate.Raw}, PrivateKey: key}, nil
}

func (a *Authority) issue(name string, dns []string, usage x509.ExtKeyUsage, public crypto.PublicKey, now time.Time, lifetime time.Duration) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     dns,
		NotBefore:    now.Add(-clockTolerance),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
	}, a.Certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %s: %w", name, err)
	}
	return raw, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return serial, nil
}

// ServerTLS is the aggregator's TLS configuration: TLS 1.3, certificates of
// this authority or none (only enrolment is served to callers without).
func (a *Authority) ServerTLS(certificate func() (*tls.Certificate, error), now func() time.Time) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		Time:           now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      pool,
	}
}

// ClientTLS is a party's TLS configuration: it accepts only servers whose
// chain ends in the pinned authority. certificate may return nil or an empty
// certificate (before enrolment). A certificate that is out of date by this
// machine's clock is not sent: the error says so, where the server could only
// answer with an alert.
func ClientTLS(authority fl.Digest, certificate func() (*tls.Certificate, error), now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       now,
		ServerName: serverName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c, err := certificate()
			if err != nil {
				return nil, err
			}
			if c == nil || len(c.Certificate) == 0 {
				return new(tls.Certificate), nil
			}
			leaf, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil {
				return nil, fmt.Errorf("this party's certificate: %w", err)
			}
			if t := now(); t.Before(leaf.NotBefore) || t.After(leaf.NotAfter) {
				return nil, outOfDate("this party's", leaf, t, "either the clock is wrong or the certificate must be renewed")
			}
			return c, nil
		},
		// The standard verification knows only pools of roots; the pin is
		// checked in VerifyConnection instead, which runs on every handshake.
		InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyPinned(state.PeerCertificates, authority, now())
		},
	}
}

func verifyPinned(chain []*x509.Certificate, authority fl.Digest, now time.Time) error {
	if len(chain) != 2 || KeyDigest(chain[1]) != authority {
		return errors.New("the server does not belong to this federation: its certificate authority is not the one in the invitation")
	}
	pool := x509.NewCertPool()
	pool.AddCert(chain[1])
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: serverName, Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return outOfDate("the server's", invalid.Cert, now, "one of the two clocks is wrong")
	}
	return fmt.Errorf("the server's certificate is not an aggregator's: %w", err)
}

// outOfDate says that a certificate is not valid yet or no longer.
func outOfDate(whose string, c *x509.Certificate, now time.Time, advice string) error {
	return fmt.Errorf("%s certificate is valid from %s to %s and this machine's clock says %s: %s", whose,
		c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), advice)
}

// Listen is a convenience for servers: it binds the address and says in words
// what is wrong when it cannot.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with --listen", address, err)
	}
	return l, nil
}
