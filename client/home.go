package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
)

// certificateSource returns the certificate to show in a TLS handshake.
type certificateSource = func() (*tls.Certificate, error)

// Home is an enrolled party's folder: its keys, the genesis it pinned, its
// enrolment and its certificate.
type Home struct {
	Dir       string
	Node      fl.NodeID
	Keys      *identity.Keys
	Genesis   fl.Genesis
	GenesisID fl.Digest
	Enrolment fl.Enrolment
	mu        sync.Mutex
	chain     [][]byte
	parsed    *x509.Certificate
}

// JoinOptions say how a party joins.
type JoinOptions struct {
	Capability fl.Capability
	Data       []DataSource // paths are made absolute
	Address    string       // overrides the token's
	Now        func() time.Time
}

// Join enrols the party that an invitation names: it makes the keys in dir,
// trades the token for a certificate and pins the genesis. It may be repeated
// after a crash or a lost connection: the same keys get the same enrolment.
func Join(ctx context.Context, dir string, token identity.Token, o JoinOptions) (*Home, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if existing, err := OpenHome(dir); err == nil {
		if existing.GenesisID != token.Genesis || existing.Node != token.Node {
			return nil, fmt.Errorf("%s belongs to %s of another federation already; choose another folder with --dir", dir, existing.Node)
		}
		return existing, nil
	}
	keys, err := identity.LoadOrGenerate(dir)
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	csr, err := identity.NewCSR(token.Node, keys)
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	request, err := fl.Sign(identity.EnrolmentRequest{
		Genesis: token.Genesis, Token: identity.SecretDigest(token.Secret), Node: token.Node,
		SigningKey: keys.SigningPublic(), CSR: fl.DigestBytes(csr), Capability: o.Capability,
	}, token.Node, keys.Signing)
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	address := token.Address
	if o.Address != "" {
		address = o.Address
	}
	none := func() (*tls.Certificate, error) { return new(tls.Certificate), nil }
	conn, err := dial(address, token.Authority, none, o.Now)
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	defer func() { _ = conn.Close() }()
	answer, err := flpb.NewEnrolmentClient(conn).Enrol(ctx, &flpb.EnrolRequest{Token: token.Secret, Document: request.Encode(), Csr: csr}, grpc.WaitForReady(false))
	if err != nil {
		return nil, fmt.Errorf("joining at %s: %w", address, flpb.FromStatus(err))
	}
	config := Config{Address: address}
	for _, d := range o.Data {
		for _, p := range []*string{&d.Schema, &d.CSV, &d.TestCSV} {
			if *p != "" {
				if *p, err = filepath.Abs(*p); err != nil {
					return nil, fmt.Errorf("joining: %w", err)
				}
			}
		}
		config.Data = append(config.Data, d)
	}
	return keepEnrolment(dir, token, answer, config)
}

// keepEnrolment verifies an enrolment against the token and stores it. The
// certificate is written last: its presence says that the party is enrolled.
func keepEnrolment(dir string, token identity.Token, answer *flpb.EnrolResponse, config Config) (*Home, error) {
	genesis, err := fl.DecodeEnvelope(answer.GetGenesis())
	if err != nil {
		return nil, fmt.Errorf("joining: the genesis: %w", err)
	}
	if genesis.Digest() != token.Genesis {
		return nil, errors.New("joining: the aggregator's genesis is not the one in the invitation")
	}
	for name, content := range map[string][]byte{genesisFile: answer.GetGenesis(), enrolmentFile: answer.GetEnrolment(), authorityFile: answer.GetAuthority()} {
		if err := identity.WriteFile(filepath.Join(dir, name), content); err != nil {
			return nil, fmt.Errorf("joining: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, configFile)); errors.Is(err, os.ErrNotExist) {
		if err := saveConfig(dir, config); err != nil {
			return nil, fmt.Errorf("joining: %w", err)
		}
	}
	if err := identity.WriteFile(filepath.Join(dir, certFile), answer.GetCertificate()); err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	home, err := OpenHome(dir)
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	if home.Node != token.Node || home.Genesis.CertificateCA != token.Authority {
		return nil, errors.New("joining: the aggregator enrolled another party than the one invited")
	}
	return home, nil
}

// OpenHome opens the folder of an enrolled party and checks that everything in
// it belongs together.
func OpenHome(dir string) (*Home, error) {
	h := &Home{Dir: dir}
	raw := map[string][]byte{}
	for _, name := range []string{certFile, authorityFile, genesisFile, enrolmentFile} {
		data, err := readFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if data == nil {
			return nil, fmt.Errorf("%s holds no enrolled party (%s is missing); join with an invitation: credence node join", dir, name)
		}
		raw[name] = data
	}
	var err error
	if h.Keys, err = identity.Load(dir); err != nil {
		return nil, err
	}
	genesis, err := fl.DecodeEnvelope(raw[genesisFile])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, genesisFile), err)
	}
	if err := genesis.Read(&h.Genesis); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, genesisFile), err)
	}
	if err := genesis.Verify(h.Genesis.AggregatorKey); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, genesisFile), err)
	}
	h.GenesisID = genesis.Digest()
	if err := h.openOwn(raw[enrolmentFile], &h.Enrolment); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, enrolmentFile), err)
	}
	h.Node = h.Enrolment.Node
	if !bytes.Equal(h.Keys.SigningPublic(), h.Enrolment.SigningKey) {
		return nil, fmt.Errorf("%s: the enrolment is for other keys than those in the folder", dir)
	}
	return h, h.setCertificate(raw[certFile], raw[authorityFile])
}

// openOwn decodes a document that the aggregator must have signed for this
// federation.
func (h *Home) openOwn(raw []byte, doc fl.Document) error {
	envelope, err := fl.DecodeEnvelope(raw)
	if err != nil {
		return err
	}
	if envelope.Signer != fl.AggregatorID {
		return fmt.Errorf("%w: a %s signed by %s, not by the aggregator", fl.ErrBadSignature, envelope.Kind, envelope.Signer)
	}
	return envelope.Open(h.Genesis.AggregatorKey, doc)
}

func (h *Home) setCertificate(leaf, authority []byte) error {
	parsed, err := x509.ParseCertificate(leaf)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(h.Dir, certFile), err)
	}
	ca, err := x509.ParseCertificate(authority)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(h.Dir, authorityFile), err)
	}
	if identity.KeyDigest(ca) != h.Genesis.CertificateCA {
		return fmt.Errorf("%s is not the genesis' authority", filepath.Join(h.Dir, authorityFile))
	}
	if err := parsed.CheckSignatureFrom(ca); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(h.Dir, certFile), err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.chain, h.parsed = [][]byte{leaf, authority}, parsed
	return nil
}

// certificate implements certificateSource.
func (h *Home) certificate() (*tls.Certificate, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &tls.Certificate{Certificate: h.chain, PrivateKey: h.Keys.TLS}, nil
}

// CertificateEnds returns the end of the certificate's validity.
func (h *Home) CertificateEnds() time.Time { return h.leaf().NotAfter }

func (h *Home) leaf() *x509.Certificate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.parsed
}

// renewDue reports whether less than a third of the certificate's life is left.
func (h *Home) renewDue(now time.Time) bool {
	leaf := h.leaf()
	return leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/3
}

// Renew gets a new certificate with a signed request; the old one may have
// expired.
func (h *Home) Renew(ctx context.Context, address string, now func() time.Time) error {
	csr, err := identity.NewCSR(h.Node, h.Keys)
	if err != nil {
		return err
	}
	request, err := fl.Sign(identity.CertificateRenewal{Genesis: h.GenesisID, Node: h.Node, CSR: fl.DigestBytes(csr), At: fl.Instant(now())}, h.Node, h.Keys.Signing)
	if err != nil {
		return err
	}
	none := func() (*tls.Certificate, error) { return new(tls.Certificate), nil }
	conn, err := dial(address, h.Genesis.CertificateCA, none, now)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := flpb.NewEnrolmentClient(conn).Renew(ctx, &flpb.RenewRequest{Document: request.Encode(), Csr: csr})
	if err != nil {
		return fmt.Errorf("renewing the certificate, which is valid until %s: %w", h.CertificateEnds().UTC().Format(time.RFC3339), flpb.FromStatus(err))
	}
	authority, err := os.ReadFile(filepath.Join(h.Dir, authorityFile))
	if err != nil {
		return err
	}
	if err := h.setCertificate(answer.GetCertificate(), authority); err != nil {
		return fmt.Errorf("renewing the certificate: %w", err)
	}
	return identity.WriteFile(filepath.Join(h.Dir, certFile), answer.GetCertificate())
}
