package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
)

// Found implements store.Store.
func (s *Store) Found(ctx context.Context, genesis fl.Envelope) error {
	return s.update(ctx, "founding the federation", func(t tx) error {
		if err := genesis.Read(new(fl.Genesis)); err != nil {
			return err
		}
		digest, err := t.put(genesis)
		if err != nil {
			return err
		}
		var held digestColumn
		found, err := t.one("SELECT document FROM genesis", nil, &held)
		switch {
		case err != nil:
			return err
		case found && held.digest() != digest:
			return fmt.Errorf("%w: this database belongs to the federation with genesis %s, not %s", store.ErrConflict, held.digest(), digest)
		case found:
			return nil
		}
		return t.exec("INSERT INTO genesis (one, document) VALUES (1, ?)", digest[:])
	})
}

// Genesis implements store.Store.
func (s *Store) Genesis(ctx context.Context) (e fl.Envelope, err error) {
	err = s.view(ctx, "reading the genesis", func(t tx) error {
		var digest digestColumn
		found, err := t.one("SELECT document FROM genesis", nil, &digest)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: no federation was founded in %s", store.ErrNotFound, s.path)
		}
		e, err = t.document(digest.digest())
		return err
	})
	return e, err
}

// Invite implements store.Store.
func (s *Store) Invite(ctx context.Context, inv store.Invitation) error {
	return s.update(ctx, fmt.Sprintf("inviting %s", inv.Node), func(t tx) error {
		if err := inv.Node.Validate(); err != nil {
			return err
		}
		roles, err := json.Marshal(inv.Roles)
		if err != nil {
			return err
		}
		held, _, err := t.invitation(inv.Token)
		switch {
		case err != nil:
			return err
		case held != nil && held.Node == inv.Node && held.Region == inv.Region && held.Credits == inv.Credits &&
			slices.Equal(held.Roles, inv.Roles) && held.ExpiresAt.Equal(fl.Instant(inv.ExpiresAt)):
			return nil
		case held != nil:
			return fmt.Errorf("%w: the token already invites %s", store.ErrConflict, held.Node)
		}
		var enrolled int
		if err := t.sql.QueryRowContext(t.ctx, "SELECT count(*) FROM parties WHERE node = ?", string(inv.Node)).Scan(&enrolled); err != nil {
			return err
		}
		if enrolled > 0 {
			return fmt.Errorf("%w: %s is enrolled; a name is never given twice", store.ErrConflict, inv.Node)
		}
		var expires int64
		open, err := t.one("SELECT expires_at FROM invitations WHERE node = ?", []any{string(inv.Node)}, &expires)
		if err != nil {
			return err
		}
		if open && milliseconds(s.now()) < expires {
			return fmt.Errorf("%w: %s has an invitation that is open until %s", store.ErrConflict, inv.Node, instant(expires).Format(time.RFC3339))
		}
		if err := t.exec("DELETE FROM invitations WHERE node = ?", string(inv.Node)); err != nil {
			return err
		}
		return t.exec("INSERT INTO invitations (token, node, roles, region, credits, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
			inv.Token[:], string(inv.Node), string(roles), inv.Region, inv.Credits, milliseconds(inv.ExpiresAt))
	})
}

// invitation returns the invitation of a token, nil when there is none, and
// the enrolment that used it, zero when there is none.
func (t tx) invitation(token fl.Digest) (*store.Invitation, fl.Digest, error) {
	inv := store.Invitation{Token: token}
	var roles string
	var expires int64
	var used digestColumn
	found, err := t.one("SELECT node, roles, region, credits, expires_at, used_by FROM invitations WHERE token = ?",
		[]any{token[:]}, &inv.Node, &roles, &inv.Region, &inv.Credits, &expires, &used)
	if err != nil || !found {
		return nil, fl.Digest{}, err
	}
	if err := json.Unmarshal([]byte(roles), &inv.Roles); err != nil {
		return nil, fl.Digest{}, fmt.Errorf("the stored roles of %s: %w", inv.Node, err)
	}
	inv.ExpiresAt = instant(expires)
	return &inv, used.digest(), nil
}

// Invitation implements store.Store.
func (s *Store) Invitation(ctx context.Context, token fl.Digest) (inv store.Invitation, err error) {
	err = s.view(ctx, "looking up an invitation", func(t tx) error {
		held, _, err := t.invitation(token)
		if err != nil {
			return err
		}
		if held == nil {
			return store.ErrToken
		}
		inv = *held
		return nil
	})
	return inv, err
}

// Enrol implements store.Store.
func (s *Store) Enrol(ctx context.Context, token fl.Digest, enrolment fl.Envelope, grant *credit.Transaction, now time.Time) (first fl.Envelope, err error) {
	err = s.update(ctx, "enrolling a party", func(t tx) error {
		var e fl.Enrolment
		if err := enrolment.Read(&e); err != nil {
			return err
		}
		inv, used, err := t.invitation(token)
		switch {
		case err != nil:
			return err
		case inv == nil:
			return fmt.Errorf("%w: %s presents a token that invites nobody", store.ErrToken, e.Node)
		case inv.Node != e.Node:
			return fmt.Errorf("%w: the token invites %s, not %s", store.ErrToken, inv.Node, e.Node)
		case !used.IsZero():
			if first, err = t.document(used); err != nil {
				return err
			}
			var held fl.Enrolment
			if err := first.Read(&held); err != nil {
				return err
			}
			if !bytes.Equal(held.SigningKey, e.SigningKey) {
				return fmt.Errorf("%w: %s has enrolled already, with other keys", store.ErrToken, e.Node)
			}
			return nil
		case !now.Before(inv.ExpiresAt):
			return fmt.Errorf("%w: the invitation of %s expired at %s: ask the operator for a new one", store.ErrToken, inv.Node, inv.ExpiresAt.Format(time.RFC3339))
		}
		digest, err := t.put(enrolment)
		if err != nil {
			return err
		}
		if err := t.exec("INSERT INTO parties (node, enrolment) VALUES (?, ?)", string(e.Node), digest[:]); err != nil {
			return err
		}
		if err := t.exec("UPDATE invitations SET used_by = ? WHERE token = ?", digest[:], token[:]); err != nil {
			return err
		}
		first = enrolment
		return t.enterOptional(grant)
	})
	if err != nil {
		return fl.Envelope{}, err
	}
	return first, nil
}

const selectParties = `SELECT p.enrolment, e.envelope, p.revocation, r.envelope, p.last_seen
	FROM parties p JOIN documents e ON e.digest = p.enrolment LEFT JOIN documents r ON r.digest = p.revocation`

func scanParty(scan func(...any) error) (store.Party, error) {
	var p store.Party
	var enrolment, revocation digestColumn
	var text, revoked []byte
	var seen *int64
	if err := scan(&enrolment, &text, &revocation, &revoked, &seen); err != nil {
		return p, err
	}
	var err error
	if p.Envelope, err = decodeDocument(enrolment.digest(), text); err != nil {
		return p, err
	}
	if err := p.Envelope.Read(&p.Enrolment); err != nil {
		return p, err
	}
	if revoked != nil {
		e, err := decodeDocument(revocation.digest(), revoked)
		if err != nil {
			return p, err
		}
		p.Revocation = &e
	}
	if seen != nil {
		p.LastSeen = instant(*seen)
	}
	return p, nil
}

// Party implements store.Store.
func (s *Store) Party(ctx context.Context, node fl.NodeID) (p store.Party, err error) {
	err = s.view(ctx, "looking up a party", func(t tx) error {
		found := false
		err := t.each(selectParties+" WHERE p.node = ?", []any{string(node)}, func(scan func(...any) error) (err error) {
			found = true
			p, err = scanParty(scan)
			return err
		})
		if err == nil && !found {
			return fmt.Errorf("%w: nobody is enrolled as %q", store.ErrNotFound, node)
		}
		return err
	})
	return p, err
}

// Parties implements store.Store.
func (s *Store) Parties(ctx context.Context) (parties []store.Party, err error) {
	err = s.view(ctx, "listing the parties", func(t tx) error {
		return t.each(selectParties+" ORDER BY p.node", nil, func(scan func(...any) error) error {
			p, err := scanParty(scan)
			parties = append(parties, p)
			return err
		})
	})
	return parties, err
}

// Revoke implements store.Store.
func (s *Store) Revoke(ctx context.Context, revocation fl.Envelope) error {
	return s.update(ctx, "revoking a party", func(t tx) error {
		var r fl.Revocation
		if err := revocation.Read(&r); err != nil {
			return err
		}
		digest, err := t.put(revocation)
		if err != nil {
			return err
		}
		var held digestColumn
		found, err := t.one("SELECT revocation FROM parties WHERE node = ?", []any{string(r.Node)}, &held)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("%w: nobody is enrolled as %q", store.ErrNotFound, r.Node)
		case held.digest() == digest:
			return nil
		case !held.digest().IsZero():
			return fmt.Errorf("%w: %s was revoked already, by %s", store.ErrConflict, r.Node, held.digest())
		}
		return t.exec("UPDATE parties SET revocation = ? WHERE node = ?", digest[:], string(r.Node))
	})
}

// Revoked implements store.Store.
func (s *Store) Revoked(ctx context.Context) (nodes []fl.NodeID, err error) {
	err = s.view(ctx, "listing the revoked parties", func(t tx) error {
		return t.each("SELECT node FROM parties WHERE revocation IS NOT NULL ORDER BY node", nil, func(scan func(...any) error) error {
			var node fl.NodeID
			err := scan(&node)
			nodes = append(nodes, node)
			return err
		})
	})
	return nodes, err
}

// Seen implements store.Store. An earlier time than the one held changes
// nothing.
func (s *Store) Seen(ctx context.Context, node fl.NodeID, at time.Time) error {
	return s.update(ctx, "noting a sign of life", func(t tx) error {
		var last *int64
		found, err := t.one("SELECT last_seen FROM parties WHERE node = ?", []any{string(node)}, &last)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: nobody is enrolled as %q", store.ErrNotFound, node)
		}
		if last != nil && *last >= milliseconds(at) {
			return nil
		}
		return t.exec("UPDATE parties SET last_seen = ? WHERE node = ?", milliseconds(at), string(node))
	})
}

// Document implements store.Store.
func (s *Store) Document(ctx context.Context, digest fl.Digest) (e fl.Envelope, err error) {
	err = s.view(ctx, "reading a document", func(t tx) error {
		e, err = t.document(digest)
		return err
	})
	return e, err
}
