package audit

import (
	"encoding/json"
	"fmt"

	"credence/fl"
	"credence/fl/credit"
	"credence/zk/trained"
)

// ref is a document at its place in the log.
type ref struct {
	at  int64
	doc fl.Envelope
	id  fl.Digest
	// late is the entry of its signer's revocation when that came before it, 0
	// otherwise. A document and a revocation may cross: it is no lie that it was
	// logged, only that anything follows from it.
	late int64
}

// String says where a document is, for messages.
func (r ref) String() string {
	return fmt.Sprintf("%s %s by %s (entry %d)", r.doc.Kind, r.id.Short(), r.doc.Signer, r.at)
}

// filed is a document, decoded, at its place.
type filed[D any] struct {
	ref
	body D
}

// member is an enrolled party.
type member struct {
	filed[fl.Enrolment]
	revokedAt int64 // entry of its revocation, or never
}

const never = int64(1) << 62

// epochLog is what the log holds of one epoch.
type epochLog struct {
	plan filed[fl.EpochPlan]
	// docs are the members' documents by kind, those of self-tests by kind and
	// stage.
	docs map[string]map[fl.NodeID]ref
	key  *filed[fl.EpochKey]
}

// jobLog is what the log holds of one job.
type jobLog struct {
	spec   filed[fl.JobSpec]
	joins  map[fl.NodeID]filed[fl.JobJoin]
	cancel *filed[fl.JobCancel]
	rounds []*roundLog
	// At level trained: what the job's terms imply, what its nodes committed to, and
	// whose commitment was verified.
	proven   *trained.Job
	datasets map[fl.NodeID]filed[fl.DatasetCommitment]
	verified map[fl.NodeID]bool
}

// published returns the rounds that were published before an entry.
func (j *jobLog) published(before int64) (out []*roundLog) {
	for _, r := range j.rounds {
		if r.manifest != nil && r.manifest.at < before {
			out = append(out, r)
		}
	}
	return out
}

// roundLog is what the log holds of one round.
type roundLog struct {
	job      *jobLog
	plan     filed[fl.Plan]
	headers  map[fl.NodeID]filed[fl.UpdateHeader]
	noise    map[fl.NodeID]filed[fl.NoiseDealing]
	seal     *filed[fl.Seal]
	shares   map[fl.NodeID]filed[fl.DecryptionShare]
	manifest *filed[fl.Manifest]
}

func (r *roundLog) String() string {
	return fmt.Sprintf("round %d of job %s", r.plan.body.Round, r.plan.body.Job)
}

// entered is a transaction at its place in the log.
type entered struct {
	at int64
	tx credit.Transaction
}

func (e entered) String() string { return fmt.Sprintf("transaction %s (entry %d)", e.tx.ID, e.at) }

// book is the log, filed: every document under what it is about.
type book struct {
	ids          map[fl.Digest]int64
	parties      map[fl.NodeID]*member
	epochs       []*epochLog
	epochPlans   map[fl.Digest]*epochLog
	proofKeys    []filed[fl.ProofKeys]
	jobs         []*jobLog
	jobNames     map[fl.JobID]*jobLog
	plans        map[fl.Digest]*roundLog
	seals        map[fl.Digest]*roundLog
	verdicts     []filed[fl.Verdict]
	transactions []entered
}

func newBook() *book {
	return &book{
		ids: map[fl.Digest]int64{}, parties: map[fl.NodeID]*member{}, epochPlans: map[fl.Digest]*epochLog{},
		jobNames: map[fl.JobID]*jobLog{}, plans: map[fl.Digest]*roundLog{}, seals: map[fl.Digest]*roundLog{},
	}
}

// decodeTransaction reads an entry that is a transaction of the ledger: its
// canonical encoding and nothing else.
func decodeTransaction(raw []byte) (credit.Transaction, error) {
	var t credit.Transaction
	if len(raw) > fl.MaxDocument {
		return t, fmt.Errorf("%w: %d bytes", fl.ErrMalformed, len(raw))
	}
	if err := fl.DecodeCanonical(raw, &t); err != nil {
		return t, fmt.Errorf("%w: transaction: %w", fl.ErrMalformed, err)
	}
	if t.At != fl.Instant(t.At) {
		return t, fmt.Errorf("%w: transaction %s: its time is not in UTC and whole milliseconds", fl.ErrMalformed, t.ID)
	}
	return t, t.Validate()
}

// isTransaction tells an entry that can only be a transaction from one that can
// only be an envelope, by the fields that it has.
func isTransaction(raw []byte) bool {
	var shape struct {
		ID   *string `json:"id"`
		Kind *string `json:"kind"`
	}
	return json.Unmarshal(raw, &shape) == nil && shape.ID != nil && shape.Kind == nil
}
