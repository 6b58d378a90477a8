package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
)

// OpenRound implements store.Store. The same plan again changes nothing, also
// when the round has moved on since.
func (s *Store) OpenRound(ctx context.Context, plan fl.Envelope, phase string, state []byte) error {
	return s.update(ctx, "opening a round", func(t tx) error {
		var p fl.Plan
		if err := plan.Read(&p); err != nil {
			return err
		}
		n, err := number(p.Round)
		if err != nil {
			return err
		}
		j, err := t.job(p.Job)
		if err != nil {
			return err
		}
		if j.spec != p.JobSpec {
			return fmt.Errorf("%w: the plan is for job %s with spec %s, and its spec is %s", store.ErrNotFound, p.Job, p.JobSpec, j.spec)
		}
		digest, err := t.put(plan)
		if err != nil {
			return err
		}
		var held digestColumn
		if _, err := t.one("SELECT plan FROM rounds WHERE job = ? AND number = ?", []any{string(p.Job), n}, &held); err != nil {
			return err
		}
		if held.digest() == digest {
			return nil
		}
		if err := j.running(p.Job); err != nil {
			return err
		}
		if n != j.lastRound+1 {
			return fmt.Errorf("%w: the next round of job %s is %d, not %d", store.ErrStale, p.Job, j.lastRound+1, n)
		}
		if err := t.exec("INSERT INTO rounds (job, number, plan, phase, state, version, active) VALUES (?, ?, ?, ?, ?, 1, 1)",
			string(p.Job), n, digest[:], phase, blob(state)); err != nil {
			return err
		}
		return t.exec("UPDATE jobs SET last_round = ? WHERE job = ?", n, string(p.Job))
	})
}

// blob keeps an empty state from becoming NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// StepRound implements store.Store. The round's last step again changes
// nothing; any other step that does not start from the current version, or
// from a round that is over, is store.ErrStale.
func (s *Store) StepRound(ctx context.Context, step store.RoundStep) error {
	doing := fmt.Sprintf("stepping round %d of job %s from version %d", step.Round, step.Job, step.From)
	return s.update(ctx, doing, func(t tx) error {
		n, err := number(step.Round)
		if err != nil {
			return err
		}
		identity, err := identify(step)
		if err != nil {
			return err
		}
		var version int64
		var active bool
		var last digestColumn
		found, err := t.one("SELECT version, active, step FROM rounds WHERE job = ? AND number = ?", []any{string(step.Job), n}, &version, &active, &last)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("%w: job %q has no round %d", store.ErrNotFound, step.Job, step.Round)
		case version == step.From+1 && last.digest() == identity:
			return nil
		case version != step.From:
			return fmt.Errorf("%w: it is at version %d", store.ErrStale, version)
		case !active:
			return fmt.Errorf("%w: the round is over", store.ErrStale)
		}
		if err := t.exec("UPDATE rounds SET phase = ?, state = ?, version = version + 1, active = ?, step = ? WHERE job = ? AND number = ?",
			step.Phase, blob(step.State), !step.Final, identity[:], string(step.Job), n); err != nil {
			return err
		}
		if err := t.link(step.Job, n, step.Documents); err != nil {
			return err
		}
		if err := t.publish(step, n); err != nil {
			return err
		}
		if err := t.enterOptional(step.Transaction); err != nil {
			return err
		}
		if step.JobPhase == "" {
			if step.Refund != nil {
				return fmt.Errorf("the step refunds job %s without ending it", step.Job)
			}
			return nil
		}
		j, err := t.job(step.Job)
		if err != nil {
			return err
		}
		if err := j.running(step.Job); err != nil {
			return err
		}
		return t.end(step.Job, step.JobPhase, step.JobReason, step.Refund)
	})
}

// identify tells one step from another. Times are brought into the form in
// which they are stored first.
func identify(step store.RoundStep) (fl.Digest, error) {
	settle := func(entry *credit.Transaction) *credit.Transaction {
		if entry == nil {
			return nil
		}
		e := *entry
		e.At = fl.Instant(e.At)
		return &e
	}
	step.Transaction, step.Refund = settle(step.Transaction), settle(step.Refund)
	text, err := json.Marshal(step)
	if err != nil {
		return fl.Digest{}, fmt.Errorf("encoding the step: %w", err)
	}
	return fl.DigestOf("round-step/v1", text), nil
}

// link stores documents and links them to the round, behind those it has.
func (t tx) link(job fl.JobID, round int64, docs []fl.Envelope) error {
	if len(docs) == 0 {
		return nil
	}
	var seq int64
	if err := t.sql.QueryRowContext(t.ctx, "SELECT coalesce(max(seq), 0) FROM round_documents WHERE job = ? AND round = ?", string(job), round).Scan(&seq); err != nil {
		return err
	}
	for _, doc := range docs {
		digest, err := t.put(doc)
		if err != nil {
			return err
		}
		seq++
		if err := t.exec("INSERT INTO round_documents (job, round, seq, document) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", string(job), round, seq, digest[:]); err != nil {
			return err
		}
	}
	return nil
}

// publish stores the model version of a publishing step and moves the job's
// counters on.
func (t tx) publish(step store.RoundStep, round int64) error {
	m := step.Model
	if m == nil {
		return nil
	}
	if m.Job != step.Job || m.Round != step.Round {
		return fmt.Errorf("the step publishes a model of round %d of job %s", m.Round, m.Job)
	}
	version, err := number(m.Version)
	if err != nil {
		return err
	}
	j, err := t.job(step.Job)
	if err != nil {
		return err
	}
	if err := j.running(step.Job); err != nil {
		return err
	}
	if version != j.version+1 {
		return fmt.Errorf("%w: the next model version of job %s is %d, not %d", store.ErrStale, step.Job, j.version+1, version)
	}
	if _, err := t.document(m.Manifest); err != nil {
		return fmt.Errorf("the manifest of version %d: %w", version, err)
	}
	if err := t.exec("INSERT INTO models (job, version, round, model, manifest) VALUES (?, ?, ?, ?, ?)",
		string(step.Job), version, round, m.Model[:], m.Manifest[:]); err != nil {
		return err
	}
	return t.exec("UPDATE jobs SET version = ?, model = ? WHERE job = ?", version, m.Model[:], string(step.Job))
}

const selectRounds = `SELECT r.job, r.number, r.plan, d.envelope, r.phase, r.state, r.version
	FROM rounds r JOIN documents d ON d.digest = r.plan`

func (t tx) rounds(where string, args ...any) (rounds []store.Round, err error) {
	err = t.each(selectRounds+where, args, func(scan func(...any) error) error {
		var r store.Round
		var plan digestColumn
		var text []byte
		if err := scan(&r.Job, &r.Number, &plan, &text, &r.Phase, &r.State, &r.Version); err != nil {
			return err
		}
		var err error
		r.Plan, err = decodeDocument(plan.digest(), text)
		rounds = append(rounds, r)
		return err
	})
	return rounds, err
}

// Round implements store.Store.
func (s *Store) Round(ctx context.Context, job fl.JobID, round uint64) (r store.Round, err error) {
	err = s.view(ctx, "reading a round", func(t tx) error {
		n, err := number(round)
		if err != nil {
			return err
		}
		found, err := t.rounds(" WHERE r.job = ? AND r.number = ?", string(job), n)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("%w: job %q has no round %d", store.ErrNotFound, job, round)
		}
		r = found[0]
		return nil
	})
	return r, err
}

// ActiveRounds implements store.Store. They come by job and number.
func (s *Store) ActiveRounds(ctx context.Context) (rounds []store.Round, err error) {
	err = s.view(ctx, "listing the active rounds", func(t tx) error {
		rounds, err = t.rounds(" WHERE r.active = 1 ORDER BY r.job, r.number")
		return err
	})
	return rounds, err
}

// KeptRounds implements store.Store.
func (s *Store) KeptRounds(ctx context.Context) (rounds []store.Round, err error) {
	err = s.view(ctx, "listing the rounds to prune", func(t tx) error {
		rounds, err = t.rounds(" WHERE r.active = 0 AND r.pruned = 0 ORDER BY r.job, r.number")
		return err
	})
	return rounds, err
}

// SetPruned implements store.Store. A round that is not over is store.ErrStale.
func (s *Store) SetPruned(ctx context.Context, job fl.JobID, round uint64) error {
	return s.update(ctx, fmt.Sprintf("marking round %d of job %s as pruned", round, job), func(t tx) error {
		n, err := number(round)
		if err != nil {
			return err
		}
		var active bool
		found, err := t.one("SELECT active FROM rounds WHERE job = ? AND number = ?", []any{string(job), n}, &active)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("%w: job %q has no round %d", store.ErrNotFound, job, round)
		case active:
			return fmt.Errorf("%w: the round is not over", store.ErrStale)
		}
		return t.exec("UPDATE rounds SET pruned = 1 WHERE job = ? AND number = ?", string(job), n)
	})
}

// RoundDocuments implements store.Store.
func (s *Store) RoundDocuments(ctx context.Context, job fl.JobID, round uint64) (docs []fl.Envelope, err error) {
	err = s.view(ctx, "reading the documents of a round", func(t tx) error {
		n, err := number(round)
		if err != nil {
			return err
		}
		return t.each(`SELECT r.document, d.envelope FROM round_documents r JOIN documents d ON d.digest = r.document
			WHERE r.job = ? AND r.round = ? ORDER BY r.seq`, []any{string(job), n}, func(scan func(...any) error) error {
			var digest digestColumn
			var text []byte
			if err := scan(&digest, &text); err != nil {
				return err
			}
			doc, err := decodeDocument(digest.digest(), text)
			docs = append(docs, doc)
			return err
		})
	})
	return docs, err
}

// Models implements store.Store.
func (s *Store) Models(ctx context.Context, job fl.JobID) (models []store.ModelVersion, err error) {
	err = s.view(ctx, "listing the models", func(t tx) error {
		return t.each("SELECT job, version, round, model, manifest FROM models WHERE job = ? ORDER BY version", []any{string(job)},
			func(scan func(...any) error) error {
				var m store.ModelVersion
				var model, manifest digestColumn
				if err := scan(&m.Job, &m.Version, &m.Round, &model, &manifest); err != nil {
					return err
				}
				m.Model, m.Manifest = model.digest(), manifest.digest()
				models = append(models, m)
				return nil
			})
	})
	return models, err
}
