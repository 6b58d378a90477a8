package sqlite

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
)

// SubmitJob implements store.Store. The same job again changes nothing,
// whatever the time it names.
func (s *Store) SubmitJob(ctx context.Context, spec fl.Envelope, escrow credit.Transaction, at time.Time) error {
	return s.update(ctx, "submitting a job", func(t tx) error {
		var j fl.JobSpec
		if err := spec.Read(&j); err != nil {
			return err
		}
		digest, err := t.put(spec)
		if err != nil {
			return err
		}
		var held digestColumn
		found, err := t.one("SELECT spec FROM jobs WHERE job = ?", []any{string(j.Job)}, &held)
		switch {
		case err != nil:
			return err
		case found && held.digest() != digest:
			return fmt.Errorf("%w: there is a job %s already: choose another name", store.ErrConflict, j.Job)
		case found:
			return t.entered(&escrow)
		}
		if err := t.exec("INSERT INTO jobs (job, spec, phase, reason, last_round, version, model, submitted_at) VALUES (?, ?, ?, '', 0, 0, ?, ?)",
			string(j.Job), digest[:], string(store.JobRunning), j.InitialModel[:], milliseconds(at)); err != nil {
			return err
		}
		return t.enter(escrow)
	})
}

// entered checks, when a call is repeated, that the transaction that came
// with it the first time is the one that comes with it now.
func (t tx) entered(entry *credit.Transaction) error {
	if entry == nil {
		return nil
	}
	held, err := t.transaction(entry.ID)
	if err != nil {
		return err
	}
	if held == nil || !same(*held, *entry) {
		return fmt.Errorf("%w: transaction %s is not what was entered the first time", store.ErrConflict, entry.ID)
	}
	return nil
}

// job is the part of a job that other writes depend on.
type job struct {
	phase     store.JobPhase
	reason    string
	lastRound int64
	version   int64
	spec      fl.Digest
}

func (t tx) job(name fl.JobID) (j job, err error) {
	var spec digestColumn
	found, err := t.one("SELECT phase, reason, last_round, version, spec FROM jobs WHERE job = ?", []any{string(name)},
		&j.phase, &j.reason, &j.lastRound, &j.version, &spec)
	if err == nil && !found {
		err = fmt.Errorf("%w: there is no job %q", store.ErrNotFound, name)
	}
	j.spec = spec.digest()
	return j, err
}

// running refuses what only a running job may do.
func (j job) running(name fl.JobID) error {
	if j.phase != store.JobRunning {
		return fmt.Errorf("%w: job %s is %s", store.ErrStale, name, j.phase)
	}
	return nil
}

// CommitDataset implements store.Store.
func (s *Store) CommitDataset(ctx context.Context, commitment fl.Envelope) error {
	return s.update(ctx, "committing to a data set", func(t tx) error {
		var d fl.DatasetCommitment
		if err := commitment.Read(&d); err != nil {
			return err
		}
		return t.ofNode("datasets", commitment, d.Job, d.Node, d.JobSpec)
	})
}

// JoinJob implements store.Store.
func (s *Store) JoinJob(ctx context.Context, join fl.Envelope) error {
	return s.update(ctx, "joining a job", func(t tx) error {
		var d fl.JobJoin
		if err := join.Read(&d); err != nil {
			return err
		}
		return t.ofNode("job_joins", join, d.Job, d.Node, d.JobSpec)
	})
}

// ofNode stores a document of which a node has one a running job, in a table
// of such.
func (t tx) ofNode(table string, doc fl.Envelope, name fl.JobID, node fl.NodeID, spec fl.Digest) error {
	j, err := t.job(name)
	if err != nil {
		return err
	}
	if j.spec != spec {
		return fmt.Errorf("%w: a %s of %s for job %s with spec %s, and its spec is %s", store.ErrNotFound, doc.Kind, node, name, spec, j.spec)
	}
	digest, err := t.put(doc)
	if err != nil {
		return err
	}
	var held digestColumn
	found, err := t.one("SELECT document FROM "+table+" WHERE job = ? AND node = ?", []any{string(name), string(node)}, &held) // #nosec G202 -- the table is a constant of this file
	switch {
	case err != nil:
		return err
	case found && held.digest() == digest:
		return nil
	case found:
		return fmt.Errorf("%w: %s has a %s for job %s already: %s", store.ErrConflict, node, doc.Kind, name, held.digest())
	}
	if err := j.running(name); err != nil {
		return err
	}
	return t.exec("INSERT INTO "+table+" (job, node, document) VALUES (?, ?, ?)", string(name), string(node), digest[:]) // #nosec G202 -- the table is a constant of this file
}

// EndJob implements store.Store. A job that ended otherwise is
// store.ErrStale, and so is a refund that leaves something in escrow: a round
// was paid since it was computed.
func (s *Store) EndJob(ctx context.Context, name fl.JobID, phase store.JobPhase, reason string, doc *fl.Envelope, refund *credit.Transaction) error {
	return s.update(ctx, fmt.Sprintf("ending job %s", name), func(t tx) error {
		j, err := t.job(name)
		if err != nil {
			return err
		}
		if j.phase == phase && j.reason == reason {
			if doc != nil {
				if _, err := t.document(doc.Digest()); err != nil {
					return fmt.Errorf("%w: the job ended without this document: %w", store.ErrConflict, err)
				}
			}
			return t.entered(refund)
		}
		if err := j.running(name); err != nil {
			return err
		}
		if doc != nil {
			if _, err := t.put(*doc); err != nil {
				return err
			}
		}
		return t.end(name, phase, reason, refund)
	})
}

// end moves a running job into a final phase. Its escrow is empty afterwards,
// or credits would be locked up for ever.
func (t tx) end(name fl.JobID, phase store.JobPhase, reason string, refund *credit.Transaction) error {
	switch phase {
	case store.JobDone, store.JobCancelled, store.JobFailed:
	default:
		return fmt.Errorf("a job does not end as %q: want %s, %s or %s", phase, store.JobDone, store.JobCancelled, store.JobFailed)
	}
	if err := t.exec("UPDATE jobs SET phase = ?, reason = ? WHERE job = ?", string(phase), reason, string(name)); err != nil {
		return err
	}
	if err := t.enterOptional(refund); err != nil {
		return err
	}
	account := credit.EscrowAccount(name)
	var left int64
	if _, err := t.one("SELECT balance FROM accounts WHERE account = ?", []any{account}, &left); err != nil {
		return err
	}
	if left != 0 {
		return fmt.Errorf("%w: %s would keep %d credits: refund what it holds now", store.ErrStale, account, left)
	}
	return nil
}

const selectJobs = `SELECT j.job, j.spec, d.envelope, j.phase, j.reason, j.last_round, j.version, j.model, j.submitted_at
	FROM jobs j JOIN documents d ON d.digest = j.spec`

func scanJob(scan func(...any) error) (name fl.JobID, j store.Job, err error) {
	var spec, model digestColumn
	var text []byte
	var submitted int64
	if err := scan(&name, &spec, &text, &j.Phase, &j.Reason, &j.LastRound, &j.Version, &model, &submitted); err != nil {
		return "", j, err
	}
	j.Model, j.SubmitTime = model.digest(), instant(submitted)
	j.Spec, err = decodeDocument(spec.digest(), text)
	return name, j, err
}

// joinCache keeps the consents to running jobs, which every poll of every node
// asks for. Consents are only ever added, so their count tells whether those
// held are still all there are, whichever process wrote.
type joinCache struct {
	mu   sync.Mutex
	held map[fl.JobID]map[fl.NodeID]fl.Envelope
}

func (c *joinCache) get(name fl.JobID, count int) (map[fl.NodeID]fl.Envelope, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	joins, ok := c.held[name]
	return joins, ok && len(joins) == count
}

// put keeps the consents to a job while it runs, and no longer.
func (c *joinCache) put(name fl.JobID, phase store.JobPhase, joins map[fl.NodeID]fl.Envelope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if phase != store.JobRunning {
		delete(c.held, name)
		return
	}
	if c.held == nil {
		c.held = make(map[fl.JobID]map[fl.NodeID]fl.Envelope)
	}
	c.held[name] = joins
}

// retain forgets the consents to all jobs but these.
func (c *joinCache) retain(running []fl.JobID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.held, func(name fl.JobID, _ map[fl.NodeID]fl.Envelope) bool { return !slices.Contains(running, name) })
}

// joins returns the consents to a job, from memory where they are held.
func (t tx) joins(cache *joinCache, name fl.JobID, phase store.JobPhase) (map[fl.NodeID]fl.Envelope, error) {
	var count int
	if _, err := t.one("SELECT count(*) FROM job_joins WHERE job = ?", []any{string(name)}, &count); err != nil {
		return nil, err
	}
	if joins, held := cache.get(name, count); held && phase == store.JobRunning {
		return joins, nil
	}
	joins := make(map[fl.NodeID]fl.Envelope, count)
	err := t.each(`SELECT j.node, j.document, d.envelope FROM job_joins j JOIN documents d ON d.digest = j.document
		WHERE j.job = ?`, []any{string(name)}, func(scan func(...any) error) error {
		var node fl.NodeID
		var digest digestColumn
		var text []byte
		if err := scan(&node, &digest, &text); err != nil {
			return err
		}
		var err error
		joins[node], err = decodeDocument(digest.digest(), text)
		return err
	})
	if err != nil {
		return nil, err
	}
	cache.put(name, phase, joins)
	return joins, nil
}

// Job implements store.Store.
func (s *Store) Job(ctx context.Context, name fl.JobID) (j store.Job, err error) {
	err = s.view(ctx, "reading a job", func(t tx) error {
		found := false
		err := t.each(selectJobs+" WHERE j.job = ?", []any{string(name)}, func(scan func(...any) error) (err error) {
			found = true
			_, j, err = scanJob(scan)
			return err
		})
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("%w: there is no job %q", store.ErrNotFound, name)
		}
		j.Joins, err = t.joins(&s.joins, name, j.Phase)
		return err
	})
	if err != nil {
		return store.Job{}, err
	}
	return j, nil
}

// Jobs implements store.Store.
func (s *Store) Jobs(ctx context.Context) ([]store.Job, error) {
	jobs, _, err := s.jobs(ctx, "listing the jobs", "")
	return jobs, err
}

// RunningJobs implements store.Store.
func (s *Store) RunningJobs(ctx context.Context) ([]store.Job, error) {
	jobs, names, err := s.jobs(ctx, "listing the running jobs", " WHERE j.phase = ?", string(store.JobRunning))
	if err == nil {
		s.joins.retain(names)
	}
	return jobs, err
}

func (s *Store) jobs(ctx context.Context, doing, where string, args ...any) (jobs []store.Job, names []fl.JobID, err error) {
	err = s.view(ctx, doing, func(t tx) error {
		err := t.each(selectJobs+where+" ORDER BY j.submitted_at, j.seq", args, func(scan func(...any) error) error {
			name, j, err := scanJob(scan)
			names, jobs = append(names, name), append(jobs, j)
			return err
		})
		if err != nil {
			return err
		}
		for i, name := range names {
			if jobs[i].Joins, err = t.joins(&s.joins, name, jobs[i].Phase); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return jobs, names, nil
}
