package threshold

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"credence/he"
)

// Limits of free-form fields, in bytes.
const (
	maxID      = 256
	maxContext = 4096
)

// A Member is one key holder of an epoch.
type Member struct {
	// ID names the member, 1 to 256 bytes.
	ID string
	// Point is where the sharing polynomials are evaluated for this member:
	// 1..n, each once. Point 0 would be the secret itself.
	Point int
	// SealKey is the member's X25519 public key for this epoch, 32 bytes
	// (KeyHolder.SealKey).
	SealKey []byte
}

// EpochConfig is the public description of an epoch that all members agree on
// before they commit.
type EpochConfig struct {
	// Suite is the name of a suite of package he.
	Suite string
	// Context binds the epoch to its federation (the genesis digest), 1 to 4096
	// bytes.
	Context []byte
	// Number counts the epochs of a federation.
	Number uint64
	// Threshold is t, the members needed to open: 2 <= t <= len(Members).
	Threshold int
	// Members are the committee, in any order.
	Members []Member
}

// An Epoch is a checked EpochConfig. It is immutable.
type Epoch struct {
	cfg    EpochConfig // members sorted by point
	suite  *he.Suite
	digest [32]byte
}

// NewEpoch checks and copies a description. Every refusal wraps ErrBadEpoch.
func NewEpoch(cfg EpochConfig) (*Epoch, error) {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: epoch %d: %s", ErrBadEpoch, cfg.Number, fmt.Sprintf(format, args...))
	}
	suite, err := he.LookupSuite(cfg.Suite)
	if err != nil {
		return nil, fmt.Errorf("%w: epoch %d: %w", ErrBadEpoch, cfg.Number, err)
	}
	n := len(cfg.Members)
	switch {
	case len(cfg.Context) == 0 || len(cfg.Context) > maxContext:
		return nil, refuse("context has %d bytes, want 1 to %d", len(cfg.Context), maxContext)
	case n < 2 || n > suite.MaxCommittee():
		return nil, refuse("%d members, suite %s allows 2 to %d", n, cfg.Suite, suite.MaxCommittee())
	case cfg.Threshold < 2 || cfg.Threshold > n:
		return nil, refuse("threshold %d of %d members, want 2 to %d", cfg.Threshold, n, n)
	}
	points, ids, keys := map[int]bool{}, map[string]bool{}, map[string]bool{}
	cfg.Context = bytes.Clone(cfg.Context)
	cfg.Members = slices.Clone(cfg.Members)
	for i, m := range cfg.Members {
		switch {
		case len(m.ID) == 0 || len(m.ID) > maxID:
			return nil, refuse("member %d has a name of %d bytes, want 1 to %d", i, len(m.ID), maxID)
		case ids[m.ID]:
			return nil, refuse("member %q is listed twice", m.ID)
		case m.Point < 1 || m.Point > n:
			return nil, refuse("member %q has evaluation point %d, want 1 to %d (0 is the secret)", m.ID, m.Point, n)
		case points[m.Point]:
			return nil, refuse("member %q shares evaluation point %d with another", m.ID, m.Point)
		case keys[string(m.SealKey)]:
			return nil, refuse("member %q has another member's seal key", m.ID)
		}
		if _, err := kem.NewPublicKey(m.SealKey); err != nil {
			return nil, refuse("member %q: seal key is not an X25519 public key", m.ID)
		}
		points[m.Point], ids[m.ID], keys[string(m.SealKey)] = true, true, true
		cfg.Members[i].SealKey = bytes.Clone(m.SealKey)
	}
	slices.SortFunc(cfg.Members, func(a, b Member) int { return cmp.Compare(a.Point, b.Point) })
	e := &Epoch{cfg: cfg, suite: suite}
	h := sha256.New()
	_, _ = h.Write([]byte("credence/threshold/epoch/v1\x00")) // a hash never fails
	_, _ = h.Write(e.Bytes())
	e.digest = [32]byte(h.Sum(nil))
	return e, nil
}

// Bytes is the canonical encoding, members in the order of their points.
func (e *Epoch) Bytes() []byte {
	var w writer
	w.str(e.cfg.Suite)
	w.blob(e.cfg.Context)
	w.u64(e.cfg.Number)
	w.u32(uint32(e.cfg.Threshold))
	w.u32(uint32(len(e.cfg.Members)))
	for _, m := range e.cfg.Members {
		w.str(m.ID)
		w.u32(uint32(m.Point))
		w.blob(m.SealKey)
	}
	return w.b
}

// ParseEpoch decodes Bytes strictly.
func ParseEpoch(b []byte) (*Epoch, error) {
	r := reader{b: b}
	cfg := EpochConfig{Suite: r.str(maxID), Context: r.blob(maxContext), Number: r.u64(), Threshold: int(r.u32())}
	n := r.u32()
	if n > 1024 {
		return nil, fmt.Errorf("%w: epoch lists %d members", ErrEncoding, n)
	}
	for range n {
		cfg.Members = append(cfg.Members, Member{ID: r.str(maxID), Point: int(r.u32()), SealKey: r.blob(maxID)})
	}
	if err := r.done("epoch"); err != nil {
		return nil, err
	}
	e, err := NewEpoch(cfg)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(e.Bytes(), b) {
		return nil, fmt.Errorf("%w: epoch members are not in the order of their points", ErrEncoding)
	}
	return e, nil
}

// Digest identifies the epoch: SHA-256 over a domain and Bytes.
func (e *Epoch) Digest() [32]byte { return e.digest }

// Suite is the epoch's suite.
func (e *Epoch) Suite() *he.Suite { return e.suite }

// Number is the epoch's number.
func (e *Epoch) Number() uint64 { return e.cfg.Number }

// Threshold is t, the members needed to open a sum.
func (e *Epoch) Threshold() int { return e.cfg.Threshold }

// Members returns a copy of the committee in the order of the points.
func (e *Epoch) Members() []Member {
	out := slices.Clone(e.cfg.Members)
	for i := range out {
		out[i].SealKey = bytes.Clone(out[i].SealKey)
	}
	return out
}

// member finds a member by name.
func (e *Epoch) member(id string) (Member, bool) {
	i := slices.IndexFunc(e.cfg.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return e.cfg.Members[i], true
}

// CRSSeed is the seed of the common reference polynomial a. It covers the
// federation's context, the epoch's number and the suite, and nothing that a
// member chooses.
func (e *Epoch) CRSSeed() [he.SeedBytes]byte {
	var w writer
	w.str("credence/threshold/crs/v1")
	w.str(e.cfg.Suite)
	w.blob(e.cfg.Context)
	w.u64(e.cfg.Number)
	return sha256.Sum256(w.b)
}

// A SumID names the place of one sum: a job's round and shard. At most one
// ciphertext is ever opened there.
type SumID struct {
	Job   string // 1 to 256 bytes
	Round uint64
	Shard int // 0 or more
}

func (id SumID) check() error {
	if len(id.Job) == 0 || len(id.Job) > maxID {
		return fmt.Errorf("%w: job name has %d bytes, want 1 to %d", ErrEncoding, len(id.Job), maxID)
	}
	if id.Shard < 0 || id.Shard > 1<<30 {
		return fmt.Errorf("%w: shard %d is out of range", ErrEncoding, id.Shard)
	}
	return nil
}

// testJob is the job of the self-test's sums. No job of a federation has that
// name: names have no '/'.
const testJob = "/self-test"

// TestSum is the place of an epoch's self-test: target 0 tests the collective
// key, target j the dealing of the member at point j.
func TestSum(epoch uint64, target int) SumID {
	return SumID{Job: testJob, Round: epoch, Shard: target}
}

// forData refuses the places of the self-test, whose ciphertext a holder makes
// itself.
func (id SumID) forData() error {
	if id.Job == testJob {
		return fmt.Errorf("%w: %v", ErrReserved, id)
	}
	return id.check()
}

func (id SumID) write(w *writer) {
	w.str(id.Job)
	w.u64(id.Round)
	w.u32(uint32(id.Shard))
}

func readSumID(r *reader) SumID {
	return SumID{Job: r.str(maxID), Round: r.u64(), Shard: int(r.u32())}
}

func (id SumID) String() string {
	return fmt.Sprintf("job %q round %d shard %d", id.Job, id.Round, id.Shard)
}
