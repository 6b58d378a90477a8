package audit

import (
	"fmt"
	"time"

	"credence/fl"
)

// Lie is the first statement that does not hold.
type Lie struct {
	Stage    string `json:"stage"`              // of the audit: log, documents, epochs, rounds, credits
	Where    string `json:"where"`              // the document, log entry, blob or posting
	What     string `json:"what"`               // what is wrong with it
	Expected string `json:"expected,omitempty"` // what it had to be
	Found    string `json:"found,omitempty"`    // what it is
	Cause    error  `json:"-"`                  // of the package that refused it, may be nil
}

// Error implements error.
func (l *Lie) Error() string {
	s := l.Where + ": " + l.What
	if l.Expected != "" || l.Found != "" {
		s += fmt.Sprintf(": expected %s, found %s", l.Expected, l.Found)
	}
	return s
}

// Unwrap returns the cause.
func (l *Lie) Unwrap() error { return l.Cause }

// Check is one kind of thing that was checked.
type Check struct {
	Stage   string  `json:"stage"`
	What    string  `json:"what"`
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
}

// RoundReport is one round that was audited.
type RoundReport struct {
	Job        fl.JobID      `json:"job"`
	Round      uint64        `json:"round"`
	Version    uint64        `json:"version"` // of the model, 0 when nothing was published
	Clients    int           `json:"clients"`
	Shards     int           `json:"shards"`
	ProofLevel fl.ProofLevel `json:"proof_level"`
	ProofSetup string        `json:"proof_setup,omitempty"`
	Model      string        `json:"model,omitempty"`
}

// Pruned counts the blobs that an aggregator may delete once a round is over. It
// is known only of sources that can tell (Holder).
type Pruned struct {
	Ciphertexts int `json:"ciphertexts"`
	NoiseBoxes  int `json:"noise_boxes"`
	Kept        int `json:"kept"` // of both, still there
}

// Report says what an audit checked. It is complete up to the lie, if there is
// one.
type Report struct {
	Federation fl.NodeID     `json:"federation"`
	Genesis    fl.Digest     `json:"genesis"`
	Size       int64         `json:"log_size"`
	Root       string        `json:"log_root"`
	Kept       []string      `json:"extends"` // whose earlier checkpoints the log extends
	Checks     []Check       `json:"checks"`
	Rounds     []RoundReport `json:"rounds"`
	NotChecked []string      `json:"not_checked"`
	Pruned     Pruned        `json:"pruned"`
	Lie        *Lie          `json:"lie,omitempty"`
	Seconds    float64       `json:"seconds"`
}

// Progress is told how far a stage is.
type Progress func(stage string, done, total int)

func (p Progress) report(stage string, done, total int) {
	if p != nil {
		p(stage, done, total)
	}
}

// checked adds to the count and the time of one kind of check.
func (a *auditor) checked(what string, count int, since time.Time) {
	took := time.Since(since).Seconds()
	for i := range a.report.Checks {
		if c := &a.report.Checks[i]; c.Stage == a.stage && c.What == what {
			c.Count += count
			c.Seconds += took
			return
		}
	}
	a.report.Checks = append(a.report.Checks, Check{Stage: a.stage, What: what, Count: count, Seconds: took})
}

// notChecked notes once what the audit cannot establish.
func (a *auditor) notChecked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, held := range a.report.NotChecked {
		if held == text {
			return
		}
	}
	a.report.NotChecked = append(a.report.NotChecked, text)
}

// lie says that something does not hold, for a reason in words.
func (a *auditor) lie(where, format string, args ...any) *Lie {
	l := &Lie{Stage: a.stage, Where: where, What: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			l.Cause = err
		}
	}
	return l
}

// differs says that something is not what it had to be.
func (a *auditor) differs(where, what string, expected, found any) *Lie {
	return &Lie{Stage: a.stage, Where: where, What: what, Expected: fmt.Sprint(expected), Found: fmt.Sprint(found)}
}
