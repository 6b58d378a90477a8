package sqlite

import (
	"context"
	"fmt"

	"credence/aggregator/store"
	"credence/fl"
)

// AdoptProofKeys implements store.Store.
func (s *Store) AdoptProofKeys(ctx context.Context, keys fl.Envelope) error {
	return s.update(ctx, "adopting proof keys", func(t tx) error {
		var k fl.ProofKeys
		if err := keys.Read(&k); err != nil {
			return err
		}
		digest, err := t.put(keys)
		if err != nil {
			return err
		}
		return t.exec("INSERT INTO proof_keys (document) VALUES (?) ON CONFLICT DO NOTHING", digest[:])
	})
}

// ProofKeys implements store.Store.
func (s *Store) ProofKeys(ctx context.Context) (e fl.Envelope, err error) {
	err = s.view(ctx, "reading the proof keys", func(t tx) error {
		var d digestColumn
		found, err := t.one("SELECT document FROM proof_keys ORDER BY seq DESC LIMIT 1", nil, &d)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: no proof keys were adopted", store.ErrNotFound)
		}
		e, err = t.document(d.digest())
		return err
	})
	return e, err
}
