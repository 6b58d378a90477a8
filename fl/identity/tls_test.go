package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"credence/fl"
)

var (
	noon     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	lifetime = 24 * time.Hour
)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := LoadOrCreateAuthority(t.TempDir(), "trial", noon)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKeys(t *testing.T) *Keys {
	t.Helper()
	keys, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// issue enrols a node: keys, request, certificate.
func issue(t *testing.T, a *Authority, node fl.NodeID, now time.Time) *tls.Certificate {
	t.Helper()
	keys := newKeys(t)
	csr, err := NewCSR(node, keys)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := a.Issue(node, csr, now, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw, a.Certificate.Raw}, PrivateKey: keys.TLS}
}

// serverSide returns the aggregator's configuration with a certificate issued
// at the given time and a clock that shows another.
func serverSide(t *testing.T, a *Authority, issued, clock time.Time) *tls.Config {
	t.Helper()
	cert, err := a.ServerCertificate(issued, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return a.ServerTLS(func() (*tls.Certificate, error) { return cert, nil }, at(clock))
}

func clientSide(pin fl.Digest, cert *tls.Certificate, clock time.Time) *tls.Config {
	return ClientTLS(pin, func() (*tls.Certificate, error) { return cert, nil }, at(clock))
}

// connect runs one connection over loopback: handshake, then one byte from the
// server, since a client of TLS 1.3 learns only then whether it was accepted.
// It returns what each side saw.
func connect(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	deadline := time.Now().Add(10 * time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := listener.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer func() { _ = raw.Close() }()
		conn := tls.Server(raw, server)
		if serverErr = conn.SetDeadline(deadline); serverErr != nil {
			return
		}
		if serverErr = conn.Handshake(); serverErr != nil {
			return
		}
		state = conn.ConnectionState()
		if _, serverErr = conn.Write([]byte{42}); serverErr != nil {
			return
		}
		_, _ = io.Copy(io.Discard, conn) // until the client has read its byte
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	if clientErr = conn.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(conn, make([]byte, 1))
	}
	_ = raw.Close()
	<-done
	return state, serverErr, clientErr
}

func wantError(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want one with %q", what, words)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %q does not say %q", what, err, word)
		}
	}
}

func TestConnectionNamesTheNode(t *testing.T) {
	a := newAuthority(t)
	state, serverErr, clientErr := connect(t, serverSide(t, a, noon, noon), clientSide(KeyDigest(a.Certificate), issue(t, a, "north", noon), noon))
	if serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v, client: %v", serverErr, clientErr)
	}
	if len(state.VerifiedChains) != 1 || state.VerifiedChains[0][0].Subject.CommonName != "north" {
		t.Errorf("verified chains %v", state.VerifiedChains)
	}
	if state.Version != tls.VersionTLS13 {
		t.Errorf("version %x", state.Version)
	}
}

// A party that is not enrolled yet has no certificate: it connects, and the
// server knows that it is nobody.
func TestConnectionWithoutCertificate(t *testing.T) {
	a := newAuthority(t)
	for name, none := range map[string]*tls.Certificate{"empty": {}, "nil": nil} {
		state, serverErr, clientErr := connect(t, serverSide(t, a, noon, noon), clientSide(KeyDigest(a.Certificate), none, noon))
		if serverErr != nil || clientErr != nil {
			t.Fatalf("%s: server: %v, client: %v", name, serverErr, clientErr)
		}
		if len(state.PeerCertificates) != 0 || len(state.VerifiedChains) != 0 {
			t.Errorf("%s: the server believes to know %v", name, state.PeerCertificates)
		}
	}
}

func TestServerThatIsNotTheAggregator(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	pin := KeyDigest(ours.Certificate)
	serve := func(cert *tls.Certificate) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}}
	}
	honest, err := ours.ServerCertificate(noon, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := theirs.ServerCertificate(noon, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		server *tls.Config
		words  string
	}{
		"another authority":               {serve(foreign), "does not belong to this federation"},
		"no authority":                    {serve(&tls.Certificate{Certificate: honest.Certificate[:1], PrivateKey: honest.PrivateKey}), "does not belong to this federation"},
		"another's leaf, our authority":   {serve(&tls.Certificate{Certificate: [][]byte{foreign.Certificate[0], ours.Certificate.Raw}, PrivateKey: foreign.PrivateKey}), "not an aggregator's"},
		"a chain of three":                {serve(&tls.Certificate{Certificate: append(honest.Certificate[:2:2], theirs.Certificate.Raw), PrivateKey: honest.PrivateKey}), "does not belong to this federation"},
		"an enrolled node as its server":  {serve(issue(t, ours, "north", noon)), "not an aggregator's"},
		"a certificate that signs itself": {serve(selfSigned(t)), "does not belong to this federation"},
	} {
		_, _, clientErr := connect(t, c.server, clientSide(pin, issue(t, ours, "south", noon), noon))
		wantError(t, name, clientErr, c.words)
	}
	_, _, clientErr := connect(t, serve(honest), clientSide(pin, nil, noon))
	if clientErr != nil {
		t.Errorf("the honest server: %v", clientErr)
	}
}

func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := newSerial()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "aggregator"}, DNSNames: []string{serverName},
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw, raw}, PrivateKey: key}
}

func TestServerOutOfDate(t *testing.T) {
	a := newAuthority(t)
	for name, clock := range map[string]time.Time{
		"expired":       noon.Add(lifetime + time.Second),
		"not valid yet": noon.Add(-clockTolerance - time.Second),
	} {
		_, _, clientErr := connect(t, serverSide(t, a, noon, noon), clientSide(KeyDigest(a.Certificate), nil, clock))
		wantError(t, name, clientErr, "the server's certificate is valid from", "this machine's clock says "+clock.Format(time.RFC3339), "one of the two clocks is wrong")
	}
	// A little behind is tolerated.
	_, _, clientErr := connect(t, serverSide(t, a, noon, noon), clientSide(KeyDigest(a.Certificate), nil, noon.Add(-clockTolerance+time.Second)))
	if clientErr != nil {
		t.Errorf("within the tolerance: %v", clientErr)
	}
}

// The authority's own end is said with the authority's dates.
func TestAuthorityOutOfDate(t *testing.T) {
	a := newAuthority(t)
	late := noon.AddDate(21, 0, 0)
	_, _, clientErr := connect(t, serverSide(t, a, late, late), clientSide(KeyDigest(a.Certificate), nil, late))
	wantError(t, "authority", clientErr, "to 2046-03-01T12:00:00Z", "one of the two clocks is wrong")
}

func TestClientOutOfDate(t *testing.T) {
	a := newAuthority(t)
	pin := KeyDigest(a.Certificate)
	cert := issue(t, a, "north", noon)
	late := noon.Add(lifetime + time.Second)

	// Both clocks agree: the party says so itself and sends nothing.
	_, serverErr, clientErr := connect(t, serverSide(t, a, late, late), clientSide(pin, cert, late))
	wantError(t, "client", clientErr, "this party's certificate is valid from", "the clock is wrong or the certificate must be renewed")
	wantError(t, "server", serverErr)

	tomorrow := issue(t, a, "north", noon.Add(24*time.Hour))
	_, _, clientErr = connect(t, serverSide(t, a, noon, noon), clientSide(pin, tomorrow, noon))
	wantError(t, "not valid yet", clientErr, "this party's certificate is valid from")

	// The party's clock stands still: the server refuses, and its alert says why.
	_, serverErr, clientErr = connect(t, serverSide(t, a, noon, late), clientSide(pin, cert, noon))
	wantError(t, "server", serverErr, "expired")
	wantError(t, "client", clientErr, "expired certificate")

	// Renewed, the same party is let in again.
	_, serverErr, clientErr = connect(t, serverSide(t, a, late, late), clientSide(pin, issue(t, a, "north", late), late))
	if serverErr != nil || clientErr != nil {
		t.Errorf("after the renewal: server: %v, client: %v", serverErr, clientErr)
	}
}

func TestClientOfAnotherFederation(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	// Its leaf comes from elsewhere, whatever authority it sends along.
	foreign := issue(t, theirs, "north", noon)
	for name, chain := range map[string][][]byte{
		"its own authority": foreign.Certificate,
		"our authority":     {foreign.Certificate[0], ours.Certificate.Raw},
		"alone":             foreign.Certificate[:1],
	} {
		// Certificates are sent only when the server's list of authorities
		// names their issuer, so insist.
		cert := &tls.Certificate{Certificate: chain, PrivateKey: foreign.PrivateKey}
		_, serverErr, clientErr := connect(t, serverSide(t, ours, noon, noon), clientSide(KeyDigest(ours.Certificate), cert, noon))
		wantError(t, name+", server", serverErr, "unknown authority")
		wantError(t, name+", client", clientErr)
	}
	// The server's own certificate does not make a client.
	server, err := ours.ServerCertificate(noon, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	_, serverErr, _ := connect(t, serverSide(t, ours, noon, noon), clientSide(KeyDigest(ours.Certificate), server, noon))
	wantError(t, "server as client", serverErr, "incompatible key usage")
}

// A certificate without its key is worth nothing.
func TestStolenCertificate(t *testing.T) {
	a := newAuthority(t)
	cert := issue(t, a, "north", noon)
	cert.PrivateKey = newKeys(t).TLS
	_, serverErr, clientErr := connect(t, serverSide(t, a, noon, noon), clientSide(KeyDigest(a.Certificate), cert, noon))
	if serverErr == nil || clientErr == nil {
		t.Errorf("server: %v, client: %v", serverErr, clientErr)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	a := newAuthority(t)
	old := clientSide(KeyDigest(a.Certificate), nil, noon)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	_, serverErr, clientErr := connect(t, serverSide(t, a, noon, noon), old)
	wantError(t, "server", serverErr, "version")
	wantError(t, "client", clientErr, "version")
}

func TestCertificateSourceFails(t *testing.T) {
	a := newAuthority(t)
	cause := errors.New("disk on fire")
	config := ClientTLS(KeyDigest(a.Certificate), func() (*tls.Certificate, error) { return nil, cause }, at(noon))
	_, _, clientErr := connect(t, serverSide(t, a, noon, noon), config)
	wantError(t, "source", clientErr, "disk on fire")
	config = clientSide(KeyDigest(a.Certificate), &tls.Certificate{Certificate: [][]byte{{1, 2, 3}}}, noon)
	_, _, clientErr = connect(t, serverSide(t, a, noon, noon), config)
	wantError(t, "garbage", clientErr, "this party's certificate")
}

func TestListen(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err = Listen(l.Addr().String()); err == nil {
		t.Fatal("the same address twice")
	}
	wantError(t, "listen", err, "cannot listen on "+l.Addr().String(), "--listen")
}
