// Package store is what an aggregator remembers: the signed documents it
// holds, who belongs to the federation, jobs, rounds, models and the ledger.
//
// One method is one transaction. Every write is idempotent: the same call
// again changes nothing and succeeds, and a different document for a place
// that is taken is ErrConflict. That is what makes replayed messages, crashes
// between two steps and two aggregators that race harmless.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"credence/fl"
	"credence/fl/credit"
)

// Sentinel errors. Implementations wrap them with what was looked for.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("another document holds this place")
	ErrStale    = errors.New("the state has moved on") // optimistic lock lost: read again
	ErrToken    = errors.New("token unknown, used or expired")
	ErrFunds    = errors.New("not enough credits")
	ErrFull     = errors.New("no space left")
)

// Invitation allows one party to enrol once. Only the token's digest is kept.
type Invitation struct {
	Token     fl.Digest
	Node      fl.NodeID
	Roles     []fl.Role
	Region    string
	Credits   int64 // granted at enrolment
	ExpiresAt time.Time
}

// Party is an enrolled party.
type Party struct {
	Envelope   fl.Envelope  // the enrolment, signed by the aggregator
	Enrolment  fl.Enrolment // decoded
	Revocation *fl.Envelope // nil while the party belongs to the federation
	LastSeen   time.Time    // zero if never
}

// Epoch is one collective key and the documents of its generation.
type Epoch struct {
	Number      uint64
	Plan        fl.Envelope
	SealKeys    map[fl.NodeID]fl.Envelope
	Commitments map[fl.NodeID]fl.Envelope
	Reveals     map[fl.NodeID]fl.Envelope
	Dealings    map[fl.NodeID]fl.Envelope
	// Others are the documents of the later steps: acceptances, self-tests,
	// complaints with their answers, verdicts. They are sorted by what they are and
	// whose.
	Others []fl.Envelope
	Key    *fl.Envelope // nil until the epoch is closed
}

// JobPhase is where a job stands.
type JobPhase string

// The phases of a job. Done, Cancelled and Failed are final.
const (
	JobRunning   JobPhase = "running"
	JobDone      JobPhase = "done"
	JobCancelled JobPhase = "cancelled"
	JobFailed    JobPhase = "failed"
)

// Job is a job and its progress.
type Job struct {
	Spec       fl.Envelope
	Phase      JobPhase
	Reason     string // why it ended, empty while it runs
	Joins      map[fl.NodeID]fl.Envelope
	LastRound  uint64    // highest round number opened, 0 before the first
	Version    uint64    // of the newest model, 0 is the initial one
	Model      fl.Digest // newest parameters
	SubmitTime time.Time
}

// Round is one round: its plan, the encoded state of the round machine and
// the version of that state, which counts its steps from 1.
type Round struct {
	Job     fl.JobID
	Number  uint64
	Plan    fl.Envelope
	Phase   string // of the state, for look-ups
	State   []byte
	Version int64
}

// RoundStep is one transition of a round with everything that belongs to it.
type RoundStep struct {
	Job         fl.JobID
	Round       uint64
	From        int64 // the version that the transition started from; else ErrStale
	Phase       string
	State       []byte
	Final       bool                // the round is over: it is no longer active
	Documents   []fl.Envelope       // stored and linked to the round
	Model       *ModelVersion       // set by the publishing transition
	Transaction *credit.Transaction // entered with it
	JobPhase    JobPhase            // new phase of the job, "" leaves it
	JobReason   string
	Refund      *credit.Transaction // when the job ends with it
}

// ModelVersion is a published model.
type ModelVersion struct {
	Job      fl.JobID
	Version  uint64
	Round    uint64
	Model    fl.Digest // blob with the parameters
	Manifest fl.Digest // document
}

// TransactionKind is the kind of a log entry that is a transaction of the
// ledger. Any other entry is a document and has the document's kind.
const TransactionKind = "transaction/v1"

// LogEntry is one entry of the transparency log.
type LogEntry struct {
	Index int64
	Kind  string
	Bytes []byte // the encoded envelope, or EncodeTransaction's
}

// EncodeTransaction returns the canonical encoding of a transaction, which is
// its entry in the log.
func EncodeTransaction(t credit.Transaction) ([]byte, error) {
	t.At = fl.Instant(t.At)
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encoding transaction %s: %w", t.ID, err)
	}
	return raw, nil
}

// Cosignature is the latest checkpoint that a witness cosigned.
type Cosignature struct {
	Witness fl.NodeID
	Size    int64  // of the log at the checkpoint
	Note    []byte // the checkpoint with the log's and the witness' signature
}

// Store is the aggregator's memory. All methods are safe for concurrent use,
// also by several processes on the same database.
type Store interface {
	Close() error

	// Found stores the genesis. A second, different one is ErrConflict.
	Found(ctx context.Context, genesis fl.Envelope) error
	Genesis(ctx context.Context) (fl.Envelope, error)

	// Invite stores an invitation; a name that is enrolled or has an open
	// invitation already is ErrConflict (an expired one is replaced).
	Invite(ctx context.Context, inv Invitation) error
	// Invitation returns the invitation of a token, used or not; ErrToken.
	Invitation(ctx context.Context, token fl.Digest) (Invitation, error)
	// Enrol uses up the token, stores the enrolment and enters the grant (nil
	// for none), in one transaction. The same token with the same keys again
	// returns the first enrolment; with other keys it is ErrToken.
	Enrol(ctx context.Context, token fl.Digest, enrolment fl.Envelope, grant *credit.Transaction, now time.Time) (fl.Envelope, error)
	Party(ctx context.Context, node fl.NodeID) (Party, error)
	Parties(ctx context.Context) ([]Party, error) // sorted by name
	Revoke(ctx context.Context, revocation fl.Envelope) error
	Revoked(ctx context.Context) ([]fl.NodeID, error) // sorted
	Seen(ctx context.Context, node fl.NodeID, at time.Time) error

	// Document returns any stored document by its digest.
	Document(ctx context.Context, digest fl.Digest) (fl.Envelope, error)

	// OpenEpoch stores an epoch plan; epochs are numbered without gaps from 1.
	OpenEpoch(ctx context.Context, plan fl.Envelope) error
	// AddEpochDocument stores a document of the making of a key: one of each kind
	// and stage a member, and one answer of a dealer to each complainer. An epoch
	// that is closed takes complaints about rounds, answers and verdicts alone;
	// anything else is ErrStale.
	AddEpochDocument(ctx context.Context, epoch uint64, doc fl.Envelope) error
	CloseEpoch(ctx context.Context, epoch uint64, key fl.Envelope) error
	// Epochs returns all epochs by number. The caller does not change them: as
	// long as nothing was added, calls return the same slice.
	Epochs(ctx context.Context) ([]Epoch, error)

	// SubmitJob stores a job and enters its escrow, in one transaction.
	SubmitJob(ctx context.Context, spec fl.Envelope, escrow credit.Transaction, at time.Time) error
	// CommitDataset stores a node's commitment to the rows that it trains a job
	// on; the first one holds.
	CommitDataset(ctx context.Context, commitment fl.Envelope) error
	// JoinJob stores a node's consent; the first one holds.
	JoinJob(ctx context.Context, join fl.Envelope) error
	// EndJob moves a running job into a final phase and enters the refund
	// (nil for none). doc, when not nil, is stored: the owner's cancellation.
	EndJob(ctx context.Context, job fl.JobID, phase JobPhase, reason string, doc *fl.Envelope, refund *credit.Transaction) error
	// Job, Jobs and RunningJobs return jobs, Jobs all of them and RunningJobs
	// those in JobRunning, both by time of submission. The caller does not change
	// the joins: as long as nobody joined, calls return the same map.
	Job(ctx context.Context, job fl.JobID) (Job, error)
	Jobs(ctx context.Context) ([]Job, error)
	RunningJobs(ctx context.Context) ([]Job, error)

	// OpenRound stores a plan and the machine's first state (version 1). The
	// round number must be the job's LastRound+1, else ErrStale.
	OpenRound(ctx context.Context, plan fl.Envelope, phase string, state []byte) error
	StepRound(ctx context.Context, step RoundStep) error
	Round(ctx context.Context, job fl.JobID, round uint64) (Round, error)
	ActiveRounds(ctx context.Context) ([]Round, error)
	// RoundDocuments returns the documents linked to a round in the order
	// they were stored.
	RoundDocuments(ctx context.Context, job fl.JobID, round uint64) ([]fl.Envelope, error)

	Models(ctx context.Context, job fl.JobID) ([]ModelVersion, error) // by version

	// Transact enters a transaction. Balances never go negative, except the
	// issuer's: ErrFunds. The same ID with the same content is a no-op, with
	// other content ErrConflict.
	Transact(ctx context.Context, tx credit.Transaction) error
	Balances(ctx context.Context) (map[string]int64, error)
	// History returns the transactions that touch an account ("" for all), in
	// the order they were entered.
	History(ctx context.Context, account string) ([]credit.Transaction, error)

	// Every document and every transaction is appended to the log in the
	// transaction that stores it. LogHead returns the number of entries and
	// the root of the tree over them.
	LogHead(ctx context.Context) (size int64, root tlog.Hash, err error)
	// LogHashes returns hashes of the tree by tlog.StoredHashIndex.
	LogHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
	// LogIndexes returns where documents are in the log, in the given order;
	// ErrNotFound when one is not.
	LogIndexes(ctx context.Context, digests []fl.Digest) ([]int64, error)
	// LogTransaction returns where a transaction is in the log.
	LogTransaction(ctx context.Context, id string) (int64, error)
	// LogEntries returns the entries with from <= index < to that there are.
	LogEntries(ctx context.Context, from, to int64) ([]LogEntry, error)

	// AdoptProofKeys stores the federation's choice of proof keys; the newest is
	// the one in use. ProofKeys returns it, or ErrNotFound.
	AdoptProofKeys(ctx context.Context, keys fl.Envelope) error
	ProofKeys(ctx context.Context) (fl.Envelope, error)

	// KeepCosignature keeps the checkpoint that a witness cosigned, unless one
	// of the same or a larger size is kept already.
	KeepCosignature(ctx context.Context, witness fl.NodeID, size int64, note []byte) error
	Cosignatures(ctx context.Context) ([]Cosignature, error) // by witness

	// KeptRounds returns the rounds that are over and whose blobs were not
	// pruned, by job and number; SetPruned takes a round off that list.
	KeptRounds(ctx context.Context) ([]Round, error)
	SetPruned(ctx context.Context, job fl.JobID, round uint64) error
}
