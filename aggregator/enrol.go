package aggregator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/identity"
)

// maxClockSkew is how far a party's clock may be off where a document carries
// its time.
const maxClockSkew = 5 * time.Minute

// InviteOptions describe the party that an invitation is for.
type InviteOptions struct {
	Node    fl.NodeID
	Roles   []fl.Role
	Region  string
	Credits int64         // granted when the party enrols
	Valid   time.Duration // default 7 days
	Address string        // where the party reaches the aggregator
}

// Invite makes a one-time token. The operator hands it to the institution; the
// store keeps only its digest.
func (a *Aggregator) Invite(ctx context.Context, o InviteOptions) (identity.Token, error) {
	if err := o.Node.Validate(); err != nil {
		return identity.Token{}, err
	}
	switch {
	case o.Node == fl.AggregatorID:
		return identity.Token{}, fmt.Errorf("the name %q is reserved", fl.AggregatorID)
	case o.Credits < 0 || o.Credits > fl.MaxBudget:
		return identity.Token{}, fmt.Errorf("a grant of %d credits: want 0 to %d", o.Credits, int64(fl.MaxBudget))
	case len(o.Roles) == 0:
		return identity.Token{}, errors.New("an invitation needs a role: node, owner or observer")
	case len(a.genesis.Regions) > 0 && slices.Contains(o.Roles, fl.RoleNode) && !slices.Contains(a.genesis.Regions, o.Region):
		return identity.Token{}, fmt.Errorf("region %q: the federation's residency policy allows nodes in %v", o.Region, a.genesis.Regions)
	}
	for _, role := range o.Roles {
		if err := role.Validate(); err != nil {
			return identity.Token{}, err
		}
	}
	if o.Valid <= 0 {
		o.Valid = 7 * 24 * time.Hour
	}
	secret, err := identity.NewSecret()
	if err != nil {
		return identity.Token{}, err
	}
	err = a.store.Invite(ctx, store.Invitation{
		Token: identity.SecretDigest(secret), Node: o.Node, Roles: o.Roles, Region: o.Region, Credits: o.Credits, ExpiresAt: a.now().Add(o.Valid),
	})
	if errors.Is(err, store.ErrConflict) {
		return identity.Token{}, fmt.Errorf("%s is enrolled or invited already: %w", o.Node, err)
	}
	if err != nil {
		return identity.Token{}, fmt.Errorf("inviting %s: %w", o.Node, err)
	}
	return identity.Token{Address: o.Address, Genesis: a.genesisID, Authority: a.genesis.CertificateCA, Node: o.Node, Secret: secret}, nil
}

// Revoke ends a party's membership. Its open connections are refused from the
// next call on.
func (a *Aggregator) Revoke(ctx context.Context, node fl.NodeID, reason string) error {
	if _, err := a.store.Party(ctx, node); err != nil {
		return fmt.Errorf("revoking %s: %w", node, err)
	}
	doc, err := a.sign(fl.Revocation{Genesis: a.genesisID, Node: node, Reason: reason, RevokedAt: a.now()})
	if err != nil {
		return err
	}
	if err := a.store.Revoke(ctx, doc); err != nil {
		return fmt.Errorf("revoking %s: %w", node, err)
	}
	defer a.wake.signal()
	// At once, and not with the next pass: the last update of a round seals it.
	active, err := a.store.ActiveRounds(ctx)
	if err != nil {
		return fmt.Errorf("revoking %s: %w", node, err)
	}
	for _, r := range active {
		if err := a.reportRevoked(ctx, r); err != nil {
			return fmt.Errorf("revoking %s: %w", node, err)
		}
	}
	return nil
}

// Grant issues credits to an enrolled party. ref names what it is for; the
// same reference never grants twice.
func (a *Aggregator) Grant(ctx context.Context, node fl.NodeID, amount int64, ref string) error {
	party, err := a.store.Party(ctx, node)
	if err != nil {
		return fmt.Errorf("granting credits to %s: %w", node, err)
	}
	id := party.Envelope.Digest()
	tx, err := credit.Grant(node, amount, fl.DigestOf("grant/v1", id[:], []byte(ref)), a.now())
	if err != nil {
		return err
	}
	return a.store.Transact(ctx, tx)
}

// enrolled is what a party gets when it enrols.
type enrolled struct {
	enrolment   fl.Envelope
	certificate []byte
}

// enrol checks an enrolment request and uses up its token.
func (a *Aggregator) enrol(ctx context.Context, secret, csr []byte, request fl.Envelope) (enrolled, error) {
	var r identity.EnrolmentRequest
	if err := request.Read(&r); err != nil {
		return enrolled{}, fl.RefusalFor(request.Signer, err)
	}
	if err := request.Verify(r.SigningKey); err != nil {
		return enrolled{}, fl.RefusalFor(r.Node, err)
	}
	token := identity.SecretDigest(secret)
	switch {
	case request.Signer != r.Node:
		return enrolled{}, fl.Refuse(fl.CodeMalformed, request.Signer, "the request is signed as %s and speaks for %s", request.Signer, r.Node)
	case r.Genesis != a.genesisID:
		return enrolled{}, fl.Refuse(fl.CodeWrongAddressee, r.Node, "the invitation is for another federation")
	case r.Token != token || r.CSR != fl.DigestBytes(csr):
		return enrolled{}, fl.Refuse(fl.CodeMalformed, r.Node, "the request is not for this token and certificate request")
	}
	inv, err := a.store.Invitation(ctx, token)
	if errors.Is(err, store.ErrToken) || err == nil && inv.Node != r.Node {
		return enrolled{}, fl.Refuse(fl.CodeToken, r.Node, "the invitation is not known here, or is for another name; ask the operator for a new one")
	}
	if err != nil {
		return enrolled{}, err
	}
	now := a.now()
	envelope, err := a.sign(fl.Enrolment{
		Genesis: a.genesisID, Node: r.Node, Roles: inv.Roles, Region: inv.Region,
		SigningKey: r.SigningKey, Capability: r.Capability, EnrolledAt: now,
	})
	if err != nil {
		return enrolled{}, fl.RefusalFor(r.Node, err)
	}
	certificate, err := a.authority.Issue(r.Node, csr, a.opts.Now(), a.opts.CertificateLifetime)
	if err != nil {
		return enrolled{}, fl.Refuse(fl.CodeMalformed, r.Node, "%s", err)
	}
	var grant *credit.Transaction
	if inv.Credits > 0 {
		tx, err := credit.Grant(r.Node, inv.Credits, token, now)
		if err != nil {
			return enrolled{}, err
		}
		grant = &tx
	}
	stored, err := a.store.Enrol(ctx, token, envelope, grant, now)
	if errors.Is(err, store.ErrToken) {
		return enrolled{}, fl.Refuse(fl.CodeToken, r.Node, "the invitation was used already with other keys, or has expired; ask the operator for a new one")
	}
	if err != nil {
		return enrolled{}, fmt.Errorf("enrolling %s: %w", r.Node, err)
	}
	a.log.Info("enrolled", "party", r.Node, "roles", inv.Roles, "region", inv.Region)
	a.wake.signal()
	return enrolled{enrolment: stored, certificate: certificate}, nil
}

// renew issues a new certificate on a request signed by the enrolled key.
func (a *Aggregator) renew(ctx context.Context, request fl.Envelope, csr []byte) ([]byte, error) {
	party, err := a.member(ctx, request.Signer)
	if err != nil {
		return nil, err
	}
	var r identity.CertificateRenewal
	if err := request.Open(party.Enrolment.SigningKey, &r); err != nil {
		return nil, fl.RefusalFor(request.Signer, err)
	}
	switch skew := a.now().Sub(r.At); {
	case r.Node != request.Signer || r.Genesis != a.genesisID || r.CSR != fl.DigestBytes(csr):
		return nil, fl.Refuse(fl.CodeWrongAddressee, request.Signer, "the renewal is for another party, federation or certificate request")
	case skew.Abs() > maxClockSkew:
		return nil, clockRefusal(r.Node, r.At, a.now())
	}
	certificate, err := a.authority.Issue(r.Node, csr, a.opts.Now(), a.opts.CertificateLifetime)
	if err != nil {
		return nil, fl.Refuse(fl.CodeMalformed, r.Node, "%s", err)
	}
	a.log.Info("renewed certificate", "party", r.Node)
	return certificate, nil
}

func clockRefusal(node fl.NodeID, theirs, ours time.Time) error {
	return fl.Refuse(fl.CodeClock, node, "the clock of %s says %s and the aggregator's %s: set the wrong one right (is a time service running?)",
		node, theirs.UTC().Format(time.RFC3339), ours.UTC().Format(time.RFC3339))
}

// member returns an enrolled party that was not revoked.
func (a *Aggregator) member(ctx context.Context, node fl.NodeID) (store.Party, error) {
	party, err := a.store.Party(ctx, node)
	if errors.Is(err, store.ErrNotFound) {
		return store.Party{}, fl.Refuse(fl.CodeUnknownParty, node, "%s is not enrolled in this federation", node)
	}
	if err != nil {
		return store.Party{}, err
	}
	if party.Revocation != nil {
		var r fl.Revocation
		if err := a.readOwn(*party.Revocation, &r); err != nil {
			return store.Party{}, err
		}
		return store.Party{}, fl.Refuse(fl.CodeRevoked, node, "the membership of %s was revoked on %s: %s", node, r.RevokedAt.Format(time.RFC3339), r.Reason)
	}
	return party, nil
}

// serverCertificate returns the aggregator's TLS certificate and makes a new
// one well before the old one ends.
func (a *Aggregator) serverCertificate() (*tls.Certificate, error) {
	const lifetime = 7 * 24 * time.Hour
	a.certMu.Lock()
	defer a.certMu.Unlock()
	if age := a.opts.Now().Sub(a.certAt); a.cert == nil || age > lifetime/2 || age < 0 {
		cert, err := a.authority.ServerCertificate(a.opts.Now(), lifetime)
		if err != nil {
			return nil, err
		}
		a.cert, a.certAt = cert, a.opts.Now()
	}
	return a.cert, nil
}
