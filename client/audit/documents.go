package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"credence/fl"
	"credence/he"
	"credence/zk/trained"
)

// readDocuments decodes every entry strictly and files it, in the order of the
// log: each document must be signed by whom its kind asks for, a party that was
// enrolled and not revoked by then; be addressed to this federation; hold a place
// that nothing else holds; and name only what came before it.
func (a *auditor) readDocuments(context.Context) error {
	a.book = newBook()
	for n, raw := range a.raw {
		at := int64(n)
		started := time.Now()
		if isTransaction(raw) {
			t, err := decodeTransaction(raw)
			if err != nil {
				return a.lie(fmt.Sprintf("entry %d of the log", at), "%v", err)
			}
			a.book.transactions = append(a.book.transactions, entered{at, t})
			a.checked("transactions decoded", 1, started)
			continue
		}
		e, err := fl.DecodeEnvelope(raw)
		if err != nil {
			return a.lie(fmt.Sprintf("entry %d of the log", at), "%v", err)
		}
		r := ref{at: at, doc: e, id: e.Digest()}
		if err := a.signed(&r); err != nil {
			return err
		}
		if before, twice := a.book.ids[r.id]; twice {
			return a.lie(r.String(), "the same document is entry %d already", before)
		}
		a.book.ids[r.id] = at
		if err := a.file(r); err != nil {
			return err
		}
		a.checked("documents decoded, signed by an enrolled party, and in order", 1, started)
		if n%100 == 0 || n == len(a.raw)-1 {
			a.progress.report("reading the documents", n+1, len(a.raw))
		}
	}
	return nil
}

// signed checks who signed a document: parties sign what they say themselves,
// and were enrolled and not revoked when it was logged. What belongs to a round or
// to the making of a key may cross with its signer's revocation: then it is marked,
// and nothing may follow from it.
func (a *auditor) signed(r *ref) error {
	if r.doc.Signer == fl.AggregatorID {
		if err := r.doc.Verify(a.trust.Key); err != nil {
			return a.lie(r.String(), "%v", err)
		}
		return nil
	}
	m := a.book.parties[r.doc.Signer]
	switch {
	case m == nil:
		return a.lie(r.String(), "its signer was not enrolled when it was logged")
	case m.revokedAt < r.at && (r.doc.Kind == fl.JobSpec{}.Kind() || r.doc.Kind == fl.JobJoin{}.Kind() || r.doc.Kind == fl.DatasetCommitment{}.Kind() || r.doc.Kind == fl.JobCancel{}.Kind()):
		return a.lie(r.String(), "its signer had been revoked by entry %d", m.revokedAt)
	case m.revokedAt < r.at:
		r.late = m.revokedAt
	}
	if err := r.doc.Verify(m.body.SigningKey); err != nil {
		return a.lie(r.String(), "%v", err)
	}
	return nil
}

// counts checks that something may follow from a document: its signer was not
// revoked before it.
func (a *auditor) counts(r ref) error {
	if r.late != 0 {
		return a.lie(r.String(), "its signer had been revoked by entry %d, and it is used", r.late)
	}
	return nil
}

// open decodes a filed document; genesis returns the digest that it names.
func open[D any, P interface {
	*D
	fl.Document
}](a *auditor, r ref, by fl.NodeID, genesis func(*D) fl.Digest, speaksFor func(*D) fl.NodeID) (filed[D], error) {
	f := filed[D]{ref: r}
	if err := r.doc.Read(P(&f.body)); err != nil {
		return f, a.lie(r.String(), "%v", err)
	}
	if by != "" && r.doc.Signer != by {
		return f, a.differs(r.String(), "it is signed by the wrong party", by, r.doc.Signer)
	}
	if got := genesis(&f.body); got != a.trust.Genesis {
		return f, a.differs(r.String(), "it is addressed to another federation", a.trust.Genesis, got)
	}
	if speaksFor != nil {
		if got := speaksFor(&f.body); got != r.doc.Signer {
			return f, a.differs(r.String(), "it speaks for another party than its signer", r.doc.Signer, got)
		}
		if r.doc.Signer == fl.AggregatorID {
			return f, a.lie(r.String(), "the aggregator speaks as a party")
		}
	}
	return f, nil
}

// file puts a document into the book.
func (a *auditor) file(r ref) error {
	if (r.at == 0) != (r.doc.Kind == fl.Genesis{}.Kind()) {
		return a.lie(r.String(), "the genesis is entry 0, and nothing else is")
	}
	switch r.doc.Kind {
	case fl.Genesis{}.Kind():
		return a.fileGenesis(r)
	case fl.Enrolment{}.Kind():
		return a.fileEnrolment(r)
	case fl.Revocation{}.Kind():
		return a.fileRevocation(r)
	case fl.ProofKeys{}.Kind():
		f, err := open(a, r, fl.AggregatorID, func(d *fl.ProofKeys) fl.Digest { return d.Genesis }, nil)
		if err == nil {
			a.book.proofKeys = append(a.book.proofKeys, f)
		}
		return err
	case fl.EpochPlan{}.Kind(), fl.EpochKey{}.Kind(), fl.SealKey{}.Kind(), fl.KeyCommitment{}.Kind(), fl.KeyReveal{}.Kind(), fl.KeyDealing{}.Kind(),
		fl.KeyAcceptance{}.Kind(), fl.TestNoise{}.Kind(), fl.TestShare{}.Kind(), fl.Complaint{}.Kind(), fl.ComplaintAnswer{}.Kind(), fl.Verdict{}.Kind():
		return a.fileEpoch(r)
	case fl.JobSpec{}.Kind(), fl.JobJoin{}.Kind(), fl.JobCancel{}.Kind():
		return a.fileJob(r)
	case fl.DatasetCommitment{}.Kind():
		return a.fileDataset(r)
	case fl.Plan{}.Kind(), fl.NoiseDealing{}.Kind(), fl.UpdateHeader{}.Kind(), fl.Decline{}.Kind(), fl.Seal{}.Kind(), fl.DecryptionShare{}.Kind(), fl.Manifest{}.Kind():
		return a.fileRound(r)
	}
	return fmt.Errorf("%s: this version does not know such documents; audit with a newer one", r)
}

func (a *auditor) fileGenesis(r ref) error {
	if r.id != a.trust.Genesis {
		return a.differs(r.String(), "it is not the genesis that the auditor pinned", a.trust.Genesis, r.id)
	}
	if err := r.doc.Read(&a.genesis); err != nil {
		return a.lie(r.String(), "%v", err)
	}
	if string(a.genesis.AggregatorKey) != string(a.trust.Key) {
		return a.lie(r.String(), "it names another key of the aggregator")
	}
	a.report.Federation = a.genesis.Federation
	var err error
	if a.suite, err = he.LookupSuite(a.genesis.Suite); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	if a.suite.Insecure() {
		a.notChecked("anything about secrecy: suite %s is for tests and protects nothing", a.suite.Name())
	}
	return nil
}

func (a *auditor) fileEnrolment(r ref) error {
	f, err := open(a, r, fl.AggregatorID, func(d *fl.Enrolment) fl.Digest { return d.Genesis }, nil)
	if err != nil {
		return err
	}
	if before := a.book.parties[f.body.Node]; before != nil {
		return a.lie(r.String(), "%s is enrolled already, by entry %d", f.body.Node, before.at)
	}
	if len(a.genesis.Regions) > 0 && f.body.Has(fl.RoleNode) && !slices.Contains(a.genesis.Regions, f.body.Region) {
		return a.differs(r.String(), "the node is in a region that the genesis does not admit", a.genesis.Regions, f.body.Region)
	}
	a.book.parties[f.body.Node] = &member{filed: f, revokedAt: never}
	return nil
}

func (a *auditor) fileRevocation(r ref) error {
	f, err := open(a, r, fl.AggregatorID, func(d *fl.Revocation) fl.Digest { return d.Genesis }, nil)
	if err != nil {
		return err
	}
	m := a.book.parties[f.body.Node]
	switch {
	case m == nil:
		return a.lie(r.String(), "%s was never enrolled", f.body.Node)
	case m.revokedAt != never:
		return a.lie(r.String(), "%s was revoked already, by entry %d", f.body.Node, m.revokedAt)
	}
	m.revokedAt = r.at
	return nil
}

// enrolled checks that a party was enrolled with a role before an entry.
func (a *auditor) enrolled(where string, node fl.NodeID, role fl.Role, before int64) error {
	m := a.book.parties[node]
	switch {
	case m == nil || m.at >= before:
		return a.lie(where, "%s was not enrolled by then", node)
	case !m.body.Has(role):
		return a.lie(where, "%s was not enrolled with role %q", node, role)
	}
	return nil
}

func (a *auditor) fileJob(r ref) error {
	if r.doc.Kind == (fl.JobSpec{}).Kind() {
		f, err := open(a, r, "", func(d *fl.JobSpec) fl.Digest { return d.Genesis }, func(d *fl.JobSpec) fl.NodeID { return d.Owner })
		if err != nil {
			return err
		}
		if held := a.book.jobNames[f.body.Job]; held != nil {
			return a.lie(r.String(), "job %s is entry %d already", f.body.Job, held.spec.at)
		}
		j := &jobLog{
			spec: f, joins: map[fl.NodeID]filed[fl.JobJoin]{}, datasets: map[fl.NodeID]filed[fl.DatasetCommitment]{}, verified: map[fl.NodeID]bool{},
		}
		if f.body.ProofLevel.Trained() {
			if j.proven, err = trained.Read(f.body, a.suite); err != nil {
				return a.lie(r.String(), "%v", err)
			}
		}
		a.book.jobNames[f.body.Job] = j
		a.book.jobs = append(a.book.jobs, j)
		return a.checkJob(f)
	}
	if r.doc.Kind == (fl.JobJoin{}).Kind() {
		f, err := open(a, r, "", func(d *fl.JobJoin) fl.Digest { return d.Genesis }, func(d *fl.JobJoin) fl.NodeID { return d.Node })
		if err != nil {
			return err
		}
		j, err := a.jobOf(r, f.body.Job, f.body.JobSpec)
		if err != nil {
			return err
		}
		if held, twice := j.joins[f.body.Node]; twice {
			return a.lie(r.String(), "%s joined job %s already, by entry %d", f.body.Node, f.body.Job, held.at)
		}
		if err := a.checkJoined(j, f); err != nil {
			return err
		}
		j.joins[f.body.Node] = f
		return a.enrolled(r.String(), f.body.Node, fl.RoleNode, r.at)
	}
	f, err := open(a, r, "", func(d *fl.JobCancel) fl.Digest { return d.Genesis }, func(d *fl.JobCancel) fl.NodeID { return d.Owner })
	if err != nil {
		return err
	}
	j, err := a.jobOf(r, f.body.Job, f.body.JobSpec)
	if err != nil {
		return err
	}
	switch {
	case j.spec.body.Owner != f.body.Owner:
		return a.differs(r.String(), "the job is cancelled by another than its owner", j.spec.body.Owner, f.body.Owner)
	case j.cancel != nil:
		return a.lie(r.String(), "job %s was cancelled already, by entry %d", f.body.Job, j.cancel.at)
	}
	j.cancel = &f
	return nil
}

// checkJob checks a job against the genesis.
func (a *auditor) checkJob(f filed[fl.JobSpec]) error {
	s, where := f.body, f.String()
	switch {
	case !s.ProofLevel.AtLeast(a.genesis.ProofFloor):
		return a.differs(where, "its proof level is below the genesis' floor", a.genesis.ProofFloor, s.ProofLevel)
	case s.MinCohort < a.genesis.MinCohort:
		return a.differs(where, "its minimum cohort is below the genesis'", a.genesis.MinCohort, s.MinCohort)
	case max(s.CohortSize, s.MinCohort) > a.suite.MaxCohort():
		return a.differs(where, "its cohort is larger than the suite sums", a.suite.MaxCohort(), max(s.CohortSize, s.MinCohort))
	}
	return a.enrolled(where, s.Owner, fl.RoleOwner, f.at)
}

func (a *auditor) jobOf(r ref, job fl.JobID, spec fl.Digest) (*jobLog, error) {
	j := a.book.jobNames[job]
	switch {
	case j == nil:
		return nil, a.lie(r.String(), "job %s is not in the log before it", job)
	case j.spec.id != spec:
		return nil, a.differs(r.String(), "it is for another version of job "+string(job), j.spec.id, spec)
	}
	return j, nil
}
