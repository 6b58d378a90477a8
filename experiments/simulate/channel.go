package simulate

import (
	"context"
	"fmt"
	"sync"

	"credence/fl"
	"credence/he"
	"credence/zk"
	"credence/zk/circuit/rlwe"
	"credence/zk/tabular"
	"credence/zk/trained"
)

// Channel carries the updates of one round after the other to their sums.
// Send may be called from several goroutines; Begin and Open are called when
// no Send runs.
type Channel interface {
	// Begin starts a round and forgets what another one left.
	Begin(plan fl.Plan) error
	// Send delivers a client's update. A *RefusedError says that a check refused
	// it; the round goes on without it.
	Send(ctx context.Context, a fl.Assignment, values []fl.ShardValues) (Sent, error)
	// Open returns the sums, and whose updates are in each.
	Open(ctx context.Context) (sums [][]int64, contributors [][]fl.NodeID, err error)
	// Close frees what the channel holds.
	Close() error
}

// Sent is what sending cost.
type Sent struct {
	Bytes int64 // ciphertexts and attestation
	Times Times
}

// RefusedError says that an update was refused, and by which check.
type RefusedError struct {
	Client fl.NodeID
	Err    error
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the update of %s was refused: %v", e.Client, e.Err)
}

// Unwrap returns the check's reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// tooFewError says that a sum would have fewer updates than the minimum.
type tooFewError struct{ got, want int }

func (e *tooFewError) Error() string {
	return fmt.Sprintf("%d updates in a sum: want at least %d", e.got, e.want)
}

// ledger notes whose updates are in which sum.
type ledger struct{ contributors [][]fl.NodeID }

func (l *ledger) reset(plan fl.Plan) { l.contributors = make([][]fl.NodeID, plan.Shards) }

func (l *ledger) add(node fl.NodeID, values []fl.ShardValues) {
	for _, v := range values {
		l.contributors[v.Shard] = append(l.contributors[v.Shard], node)
	}
}

func (l *ledger) check(least int) error {
	for _, c := range l.contributors {
		if len(c) < least {
			return &tooFewError{len(c), least}
		}
	}
	return nil
}

// plain is the channel that adds up integers.
type plain struct {
	suite   *he.Suite
	level   fl.ProofLevel
	trained *trained.Job // nil below level trained
	plan    fl.Plan
	mu      sync.Mutex
	sums    [][]int64
	senders ledger
}

// Plain adds up the integers that ciphertexts of the suite would carry. At a
// level with proofs it refuses what the circuit of an update refuses: values
// outside the suite's range, and a sum of squares beyond fl.SquareBound.
func Plain(suite *he.Suite, level fl.ProofLevel) Channel { return &plain{suite: suite, level: level} }

func (c *plain) Begin(plan fl.Plan) error {
	c.plan = plan
	c.sums = make([][]int64, plan.Shards)
	c.senders.reset(plan)
	return nil
}

// PlainTrained is Plain at proof level trained. It refuses what no proof could
// be made for: rows that do not meet the job's requirements, and updates that
// are not what the job's steps give on the committed rows.
func PlainTrained(suite *he.Suite, job *trained.Job) Channel {
	return &plain{suite: suite, level: fl.ProofTrained, trained: job}
}

// Commit implements provenChannel.
func (c *plain) Commit(node fl.NodeID, table *tabular.Table) error {
	return meets(c.trained, node, table)
}

// SendTrained implements provenChannel.
func (c *plain) SendTrained(_ context.Context, a fl.Assignment, values, exact []fl.ShardValues, _ []float32) (Sent, error) {
	sent, err := c.check(a, values)
	if err != nil {
		return sent, err
	}
	if !same(values, exact) {
		return sent, &RefusedError{a.Node, errNotExact}
	}
	return sent, c.add(a, values)
}

func (c *plain) Send(_ context.Context, a fl.Assignment, values []fl.ShardValues) (Sent, error) {
	sent, err := c.check(a, values)
	if err != nil {
		return sent, err
	}
	return sent, c.add(a, values)
}

// check is what is proven of every update at a level with proofs.
func (c *plain) check(a fl.Assignment, values []fl.ShardValues) (Sent, error) {
	sent := Sent{Bytes: int64(len(values)) * int64(c.suite.CiphertextBytes())}
	for _, v := range values {
		for i, x := range v.Values {
			if x < c.suite.MinValue() || x > c.suite.MaxValue() {
				return sent, &RefusedError{a.Node, fmt.Errorf("value %d of shard %d is outside [%d, %d]", i, v.Shard, c.suite.MinValue(), c.suite.MaxValue())}
			}
		}
	}
	if c.level.Attested() {
		shape, err := rlwe.UpdateShape(c.suite)
		if err != nil {
			return sent, err
		}
		proof := zk.AttestationBytes(shape, len(values))
		if c.trained != nil {
			proof = c.trained.ProofBytes(len(values))
		}
		sent.Bytes += int64(proof)
		bound, err := fl.SquareBound(c.plan, a)
		if err != nil {
			return sent, err
		}
		if squareOf(values) > bound {
			return sent, &RefusedError{a.Node, fmt.Errorf("%w of %d", zk.ErrNorm, bound)}
		}
	}
	return sent, nil
}

// add adds an update up.
func (c *plain) add(a fl.Assignment, values []fl.ShardValues) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range values {
		if c.sums[v.Shard] == nil {
			c.sums[v.Shard] = make([]int64, len(v.Values))
		}
		into := c.sums[v.Shard]
		for i, x := range v.Values {
			into[i] += int64(x)
		}
	}
	c.senders.add(a.Node, values)
	return nil
}

func (c *plain) Open(context.Context) ([][]int64, [][]fl.NodeID, error) {
	if err := c.senders.check(c.plan.MinCohort); err != nil {
		return nil, nil, err
	}
	return c.sums, c.senders.contributors, nil
}

func (c *plain) Close() error { return nil }
