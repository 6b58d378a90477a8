package simulate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"credence/fl"
	"credence/he"
	"credence/zk"
)

// encrypted is the channel of real ciphertexts; with keys it is attested too.
type encrypted struct {
	suite     *he.Suite
	committee *committee
	keys      *zk.Keys // nil: no proofs
	epoch     *zk.EpochKey

	plan    fl.Plan
	id      fl.Digest
	mu      sync.Mutex
	sums    []*he.Sum
	commits [][][2]zk.Commitment // of the updates in each sum
	senders ledger
}

// NewEncrypted makes a channel that encrypts every update under the key of a
// threshold committee, made for it, and opens the sums with their shares.
func NewEncrypted(suite *he.Suite, members, threshold int) (Channel, error) {
	c, err := newCommittee(suite, members, threshold)
	if err != nil {
		return nil, err
	}
	return &encrypted{suite: suite, committee: c}, nil
}

// NewAttested is NewEncrypted with an attestation of every update, verified
// before it is added, and a check of every sum against them. keys are those of
// the suite's update circuit.
func NewAttested(suite *he.Suite, members, threshold int, keys *zk.Keys) (Channel, error) {
	c, err := newAttested(suite, members, threshold, keys)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func newAttested(suite *he.Suite, members, threshold int, keys *zk.Keys) (*encrypted, error) {
	c, err := newCommittee(suite, members, threshold)
	if err != nil {
		return nil, err
	}
	epoch, err := keys.NewEpochKey(c.public)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return &encrypted{suite: suite, committee: c, keys: keys, epoch: epoch}, nil
}

func (c *encrypted) Begin(plan fl.Plan) (err error) {
	c.plan = plan
	if c.id, err = planID(plan); err != nil {
		return err
	}
	c.sums = make([]*he.Sum, plan.Shards)
	for i := range c.sums {
		c.sums[i] = c.suite.NewSum()
	}
	c.commits = make([][][2]zk.Commitment, plan.Shards)
	c.senders.reset(plan)
	return nil
}

func (c *encrypted) Send(ctx context.Context, a fl.Assignment, values []fl.ShardValues) (Sent, error) {
	return c.send(a, values, func(inputs []zk.ShardInput, sent *Sent) (*zk.Attestation, error) {
		if c.keys == nil {
			return nil, nil
		}
		return c.attest(ctx, a, inputs, nil, sent)
	})
}

// send encrypts an update, has it attested, and adds it.
func (c *encrypted) send(a fl.Assignment, values []fl.ShardValues, attest func([]zk.ShardInput, *Sent) (*zk.Attestation, error)) (sent Sent, err error) {
	var inputs []zk.ShardInput
	defer func() { erase(inputs) }()
	started := time.Now()
	if inputs, err = c.encrypt(values); err != nil {
		return sent, err
	}
	sent.Times.Encrypt = time.Since(started)
	for _, in := range inputs {
		sent.Bytes += int64(len(in.Ciphertext.Bytes()))
	}
	attestation, err := attest(inputs, &sent)
	if err != nil {
		return sent, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, v := range values {
		if err := c.sums[v.Shard].Add(inputs[i].Ciphertext); err != nil {
			return sent, err
		}
		if attestation != nil {
			c.commits[v.Shard] = append(c.commits[v.Shard], attestation.Commitments(i))
		}
	}
	c.senders.add(a.Node, values)
	return sent, nil
}

// encrypt encrypts an update's shards. What it returns with an error is to be
// erased as well.
func (c *encrypted) encrypt(values []fl.ShardValues) (inputs []zk.ShardInput, err error) {
	for _, v := range values {
		ciphertext, randomness, err := c.committee.public.EncryptForProof(v.Values)
		if err != nil {
			return inputs, fmt.Errorf("encrypting shard %d: %w", v.Shard, err)
		}
		inputs = append(inputs, zk.ShardInput{Values: v.Values, Ciphertext: ciphertext, Randomness: randomness})
	}
	return inputs, nil
}

// attest proves an update as its client does, and verifies what arrives as the
// aggregator and the members do.
func (c *encrypted) attest(ctx context.Context, a fl.Assignment, inputs []zk.ShardInput, link *zk.Link, sent *Sent) (*zk.Attestation, error) {
	scope, err := zk.ScopeOf(c.plan, c.id, c.epoch.Digest(), a.Node)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	made, err := c.keys.ProveUpdate(ctx, scope, c.epoch, inputs, zk.ProveOptions{Link: link})
	sent.Times.Prove += time.Since(started)
	if errors.Is(err, zk.ErrNorm) {
		return nil, &RefusedError{a.Node, err} // there is no proof to send
	}
	if err != nil {
		return nil, err
	}
	raw := made.Bytes()
	sent.Bytes += int64(len(raw))
	started = time.Now()
	defer func() { sent.Times.Verify += time.Since(started) }()
	got, err := zk.ParseAttestation(c.keys.Shape(), raw)
	if err != nil {
		return nil, &RefusedError{a.Node, err}
	}
	if err := c.keys.VerifyUpdate(scope, c.epoch, got); err != nil {
		return nil, &RefusedError{a.Node, err}
	}
	for i, in := range inputs {
		if err := c.keys.SRS().CheckCiphertext(in.Ciphertext, got.Commitments(i)); err != nil {
			return nil, &RefusedError{a.Node, err}
		}
	}
	return got, nil
}

func erase(inputs []zk.ShardInput) {
	for _, in := range inputs {
		in.Randomness.Erase()
	}
}

func (c *encrypted) Open(ctx context.Context) ([][]int64, [][]fl.NodeID, error) {
	if err := c.senders.check(c.plan.MinCohort); err != nil {
		return nil, nil, err
	}
	out := make([][]int64, len(c.sums))
	for shard, sum := range c.sums {
		if err := context.Cause(ctx); err != nil {
			return nil, nil, err
		}
		if c.keys != nil {
			if err := c.keys.SRS().CheckSum(sum, c.commits[shard]); err != nil {
				return nil, nil, err
			}
		}
		values, err := c.committee.open(c.plan.Job, c.plan.Round, shard, sum)
		if err != nil {
			return nil, nil, fmt.Errorf("opening shard %d: %w", shard, err)
		}
		out[shard] = values
	}
	return out, c.senders.contributors, c.committee.closeRound(c.plan.Job, c.plan.Round)
}

func (c *encrypted) Close() error { return c.committee.close() }
