package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"credence/fl"
	"credence/he"
)

// Selection says which rounds are opened and recomputed. The log, its documents
// and the ledger are always checked whole: no part of them stands by itself. The
// zero value selects everything.
type Selection struct {
	Job   fl.JobID
	Round uint64 // 0: every round of the job
	// Model, when set, is a vector of parameters that must be a published model
	// of the selected rounds.
	Model []float32
	// ModelSpec and ModelMetadata, when set, are what the model's file says of it:
	// they must be the job's model and client.ModelMetadata of that version.
	ModelSpec     json.RawMessage
	ModelMetadata map[string]string
	// ModelName is what messages call it.
	ModelName string
	// Kept are checkpoints that the log must extend beside those of the source's
	// Trust: what other institutions were shown.
	Kept []Kept
}

func (s Selection) includes(job fl.JobID, round uint64) bool {
	return (s.Job == "" || s.Job == job) && (s.Round == 0 || s.Round == round)
}

// auditor is one audit under way.
type auditor struct {
	src      Source
	sel      Selection
	progress Progress
	report   *Report
	stage    string

	trust    Trust
	genesis  fl.Genesis
	suite    *he.Suite
	raw      [][]byte         // entries of the log
	stated   map[string]int64 // balances, as stated
	statedAt int64            // the log had at least so many entries then
	book     *book            // the log's documents, filed
	keys     map[fl.Digest]*proofKeys
	epochs   map[fl.Digest]*epochKey
	base     parameters // the last model that was read
}

// Audit checks a federation against its log and blobs, in the order of the
// package's description. The error is a *Lie when something that the log states
// does not hold; any other error means that the audit could not be carried out.
// The report says what was checked until then. progress may be nil.
func Audit(ctx context.Context, src Source, sel Selection, progress Progress) (Report, error) {
	started := time.Now()
	report := Report{Checks: []Check{}, Rounds: []RoundReport{}, NotChecked: []string{}, Kept: []string{}}
	a := &auditor{src: src, sel: sel, progress: progress, report: &report, keys: map[fl.Digest]*proofKeys{}, epochs: map[fl.Digest]*epochKey{}}
	err := a.run(ctx)
	report.Seconds = time.Since(started).Seconds()
	errors.As(err, &report.Lie)
	return report, err
}

func (a *auditor) run(ctx context.Context) error {
	for _, stage := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"log", a.readLog}, {"documents", a.readDocuments}, {"epochs", a.checkEpochs},
		{"rounds", a.checkRounds}, {"credits", a.checkCredits}, {"blobs", a.checkKept},
	} {
		a.stage = stage.name
		if err := ctx.Err(); err != nil {
			return err
		}
		err := stage.run(ctx)
		var lie *Lie
		if err != nil && !errors.As(err, &lie) {
			return fmt.Errorf("auditing the %s: %w", stage.name, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// blob fetches a blob that a document names and that nobody may delete.
func (a *auditor) blob(ctx context.Context, where string, what string, digest, via fl.Digest) ([]byte, error) {
	raw, err := a.src.Blob(ctx, digest, via)
	where = fmt.Sprintf("blob %s (%s, named by %s)", digest.Short(), what, where)
	switch {
	case errors.Is(err, ErrMissing):
		l := a.lie(where, "it is gone; only ciphertexts and noise boxes of a round that is over may be deleted")
		l.Cause = err
		return nil, l
	case errors.Is(err, ErrDamaged):
		l := a.lie(where, "its bytes do not have that digest")
		l.Cause = err
		return nil, l
	case errors.Is(err, ErrHidden):
		l := a.lie(where, "the aggregator refuses to show it, and every party may read it")
		l.Cause = err
		return nil, l
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", where, err)
	}
	if got := fl.DigestBytes(raw); got != digest {
		return nil, a.differs(where, "its bytes have another digest", digest, got)
	}
	return raw, nil
}
