package sqlite

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"credence/aggregator/store"
	"credence/fl"
)

// OpenEpoch implements store.Store.
func (s *Store) OpenEpoch(ctx context.Context, plan fl.Envelope) error {
	return s.update(ctx, "opening an epoch", func(t tx) error {
		var p fl.EpochPlan
		if err := plan.Read(&p); err != nil {
			return err
		}
		n, err := number(p.Epoch)
		if err != nil {
			return err
		}
		digest, err := t.put(plan)
		if err != nil {
			return err
		}
		held, _, err := t.epoch(n)
		switch {
		case err != nil:
			return err
		case held == digest:
			return nil
		case !held.IsZero():
			return fmt.Errorf("%w: epoch %d has plan %s", store.ErrConflict, n, held)
		}
		var last int64
		if err := t.sql.QueryRowContext(t.ctx, "SELECT coalesce(max(number), 0) FROM epochs").Scan(&last); err != nil {
			return err
		}
		if n != last+1 {
			return fmt.Errorf("%w: the next epoch is %d, not %d", store.ErrStale, last+1, n)
		}
		return t.exec("INSERT INTO epochs (number, plan) VALUES (?, ?)", n, digest[:])
	})
}

// epoch returns the digests of an epoch's plan and key, each zero when there
// is none.
func (t tx) epoch(n int64) (plan, key fl.Digest, err error) {
	var p, k digestColumn
	_, err = t.one("SELECT plan, key FROM epochs WHERE number = ?", []any{n}, &p, &k)
	return p.digest(), k.digest(), err
}

// The kinds of epoch documents as the schema spells them.
const (
	sealKey    = "seal-key"
	commitment = "commitment"
	reveal     = "reveal"
	dealing    = "dealing"
	acceptance = "acceptance"
	testNoise  = "noise"     // and the stage
	testShare  = "share"     // and the stage
	complaint  = "complaint" // and the stage; in a round, its plan
	answer     = "answer"    // as the complaint, and whose complaint it answers
	verdict    = "verdict"
)

// readEpochDocument tells what kind of document it is, whose, and for which
// plan.
func readEpochDocument(doc fl.Envelope) (kind string, node fl.NodeID, plan fl.Digest, err error) {
	switch doc.Kind {
	case fl.SealKey{}.Kind():
		var d fl.SealKey
		err = doc.Read(&d)
		return sealKey, d.Node, d.EpochPlan, err
	case fl.KeyCommitment{}.Kind():
		var d fl.KeyCommitment
		err = doc.Read(&d)
		return commitment, d.Node, d.EpochPlan, err
	case fl.KeyReveal{}.Kind():
		var d fl.KeyReveal
		err = doc.Read(&d)
		return reveal, d.Node, d.EpochPlan, err
	case fl.KeyDealing{}.Kind():
		var d fl.KeyDealing
		err = doc.Read(&d)
		return dealing, d.Node, d.EpochPlan, err
	case fl.KeyAcceptance{}.Kind():
		var d fl.KeyAcceptance
		err = doc.Read(&d)
		return acceptance, d.Node, d.EpochPlan, err
	case fl.TestNoise{}.Kind():
		var d fl.TestNoise
		err = doc.Read(&d)
		return testNoise + " " + string(d.Stage), d.Node, d.EpochPlan, err
	case fl.TestShare{}.Kind():
		var d fl.TestShare
		err = doc.Read(&d)
		return testShare + " " + string(d.Stage), d.Node, d.EpochPlan, err
	case fl.Complaint{}.Kind():
		var d fl.Complaint
		err = doc.Read(&d)
		return complaint + " " + disputed(d.Stage, d.Plan), d.Node, d.EpochPlan, err
	case fl.ComplaintAnswer{}.Kind():
		var d fl.ComplaintAnswer
		err = doc.Read(&d)
		return answer + " " + disputed(d.Stage, d.Plan) + " " + string(d.Receiver), d.Node, d.EpochPlan, err
	case fl.Verdict{}.Kind():
		var d fl.Verdict
		err = doc.Read(&d)
		if d.Guilty == "" {
			d.Guilty = fl.AggregatorID
		}
		return verdict, d.Guilty, d.EpochPlan, err
	}
	return "", "", fl.Digest{}, fmt.Errorf("%w: a %s is not part of an epoch", fl.ErrWrongKind, doc.Kind)
}

// disputed names what a complaint is about.
func disputed(stage fl.Stage, plan fl.Digest) string {
	if stage == fl.StageRound {
		return string(stage) + " " + plan.String()
	}
	return string(stage)
}

// afterClosing reports whether a closed epoch takes a document of this kind.
func afterClosing(kind string) bool {
	about, _, _ := strings.Cut(kind, " ")
	return about == verdict || strings.HasPrefix(kind, complaint+" "+string(fl.StageRound)) || strings.HasPrefix(kind, answer+" "+string(fl.StageRound))
}

// AddEpochDocument implements store.Store. Once the epoch is closed, a
// document that belongs to the making of its key and is not there already is
// store.ErrStale.
func (s *Store) AddEpochDocument(ctx context.Context, epoch uint64, doc fl.Envelope) error {
	return s.update(ctx, fmt.Sprintf("adding a document to epoch %d", epoch), func(t tx) error {
		kind, node, of, err := readEpochDocument(doc)
		if err != nil {
			return err
		}
		n, err := number(epoch)
		if err != nil {
			return err
		}
		plan, key, err := t.epoch(n)
		switch {
		case err != nil:
			return err
		case plan.IsZero():
			return fmt.Errorf("%w: there is no epoch %d", store.ErrNotFound, epoch)
		case plan != of:
			return fmt.Errorf("%w: the %s of %s is for epoch plan %s, and epoch %d has plan %s", store.ErrNotFound, kind, node, of, epoch, plan)
		}
		digest, err := t.put(doc)
		if err != nil {
			return err
		}
		var held digestColumn
		found, err := t.one("SELECT document FROM epoch_documents WHERE epoch = ? AND kind = ? AND node = ?", []any{n, kind, string(node)}, &held)
		switch {
		case err != nil:
			return err
		case found && held.digest() == digest:
			return nil
		case found:
			return fmt.Errorf("%w: the %s of %s in epoch %d is %s", store.ErrConflict, kind, node, epoch, held.digest())
		case !key.IsZero() && !afterClosing(kind):
			return fmt.Errorf("%w: epoch %d is closed", store.ErrStale, epoch)
		}
		return t.exec("INSERT INTO epoch_documents (epoch, kind, node, document) VALUES (?, ?, ?, ?)", n, kind, string(node), digest[:])
	})
}

// CloseEpoch implements store.Store.
func (s *Store) CloseEpoch(ctx context.Context, epoch uint64, key fl.Envelope) error {
	return s.update(ctx, fmt.Sprintf("closing epoch %d", epoch), func(t tx) error {
		var k fl.EpochKey
		if err := key.Read(&k); err != nil {
			return err
		}
		n, err := number(epoch)
		if err != nil {
			return err
		}
		plan, held, err := t.epoch(n)
		switch {
		case err != nil:
			return err
		case plan.IsZero():
			return fmt.Errorf("%w: there is no epoch %d", store.ErrNotFound, epoch)
		case k.Epoch != epoch || k.EpochPlan != plan:
			return fmt.Errorf("%w: the key is for epoch %d with plan %s, and epoch %d has plan %s", store.ErrNotFound, k.Epoch, k.EpochPlan, epoch, plan)
		}
		digest, err := t.put(key)
		switch {
		case err != nil:
			return err
		case held == digest:
			return nil
		case !held.IsZero():
			return fmt.Errorf("%w: epoch %d was closed with key %s", store.ErrConflict, epoch, held)
		}
		return t.exec("UPDATE epochs SET key = ? WHERE number = ?", digest[:], n)
	})
}

// epochCache keeps what Epochs read last. Epochs, their documents and their keys
// are only ever added, so three counts tell whether it is still all there is,
// whichever process wrote.
type epochCache struct {
	mu     sync.Mutex
	counts [3]int64
	epochs []store.Epoch
}

func (c *epochCache) get(counts [3]int64) ([]store.Epoch, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epochs, c.counts == counts && c.epochs != nil
}

func (c *epochCache) put(counts [3]int64, epochs []store.Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts, c.epochs = counts, epochs
}

// Epochs implements store.Store.
func (s *Store) Epochs(ctx context.Context) (epochs []store.Epoch, err error) {
	err = s.view(ctx, "listing the epochs", func(t tx) error {
		var counts [3]int64
		if _, err := t.one("SELECT count(*), count(key), (SELECT count(*) FROM epoch_documents) FROM epochs", nil, &counts[0], &counts[1], &counts[2]); err != nil {
			return err
		}
		if held, ok := s.epochs.get(counts); ok {
			epochs = held
			return nil
		}
		if err := t.readEpochs(&epochs); err != nil {
			return err
		}
		s.epochs.put(counts, epochs)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return epochs, nil
}

func (t tx) readEpochs(into *[]store.Epoch) error {
	var epochs []store.Epoch
	err := t.each(`SELECT e.number, e.plan, p.envelope, e.key, k.envelope FROM epochs e
			JOIN documents p ON p.digest = e.plan LEFT JOIN documents k ON k.digest = e.key ORDER BY e.number`, nil,
		func(scan func(...any) error) (err error) {
			var n int64
			var plan, key digestColumn
			var planText, keyText []byte
			if err := scan(&n, &plan, &planText, &key, &keyText); err != nil {
				return err
			}
			e := store.Epoch{
				Number:      uint64(n), // #nosec G115 -- CHECK (number >= 1)
				SealKeys:    make(map[fl.NodeID]fl.Envelope),
				Commitments: make(map[fl.NodeID]fl.Envelope),
				Reveals:     make(map[fl.NodeID]fl.Envelope),
				Dealings:    make(map[fl.NodeID]fl.Envelope),
			}
			if e.Plan, err = decodeDocument(plan.digest(), planText); err != nil {
				return err
			}
			if keyText != nil {
				k, err := decodeDocument(key.digest(), keyText)
				if err != nil {
					return err
				}
				e.Key = &k
			}
			epochs = append(epochs, e)
			return nil
		})
	if err != nil {
		return err
	}
	err = t.each(`SELECT d.epoch, d.kind, d.node, d.document, t.envelope
			FROM epoch_documents d JOIN documents t ON t.digest = d.document ORDER BY d.epoch, d.kind, d.node`, nil,
		func(scan func(...any) error) error {
			var n int
			var kind string
			var node fl.NodeID
			var digest digestColumn
			var text []byte
			if err := scan(&n, &kind, &node, &digest, &text); err != nil {
				return err
			}
			doc, err := decodeDocument(digest.digest(), text)
			if err != nil {
				return err
			}
			e := epochs[n-1] // epochs are numbered without gaps from 1
			switch kind {
			case sealKey:
				e.SealKeys[node] = doc
			case commitment:
				e.Commitments[node] = doc
			case reveal:
				e.Reveals[node] = doc
			case dealing:
				e.Dealings[node] = doc
			default:
				e.Others = append(e.Others, doc)
			}
			epochs[n-1] = e
			return nil
		})
	*into = epochs
	return err
}
