package zk

import (
	"context"
	"fmt"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/norm"
	"credence/zk/circuit/rlwe"
)

// An EpochKey is a collective public key, prepared for proofs about it.
type EpochKey struct {
	suite  *he.Suite
	digest fl.Digest
	rows   []*rlwe.Multiplier // p and a
	points []Commitment
}

// NewEpochKey prepares a public key for provers and verifiers of updates.
func (k *Keys) NewEpochKey(pk *he.PublicKey) (*EpochKey, error) {
	shape := k.system.Shape
	if !updateOf(shape, pk.Suite()) {
		return nil, fmt.Errorf("%w: keys of %s for a public key that needs update/%s", ErrKeys, shape.Name, pk.Suite().Name())
	}
	e := &EpochKey{suite: pk.Suite(), digest: pk.Digest()}
	for _, p := range []*he.Poly{pk.P(), pk.A()} {
		m, c, err := k.multiplier(p)
		if err != nil {
			return nil, fmt.Errorf("zk: preparing an epoch key: %w", err)
		}
		e.rows, e.points = append(e.rows, m), append(e.points, c)
	}
	return e, nil
}

func (k *Keys) multiplier(p *he.Poly) (*rlwe.Multiplier, Commitment, error) {
	f, err := k.system.Shape.Lift(p.Bytes(), p.Suite().CoefficientBytes(), true)
	if err != nil {
		return nil, Commitment{}, err
	}
	c, err := k.srs.commit(f)
	return k.system.Shape.NewMultiplier(f), c, err
}

// updateOf tells whether a shape is that of updates under a suite.
func updateOf(shape *rlwe.Shape, s *he.Suite) bool {
	want := "update/"
	if shape.Link {
		want = "linked/"
	}
	return shape.HasMessage() && shape.Name == want+s.Name()
}

// Digest is the digest of the public key, which scopes name.
func (e *EpochKey) Digest() fl.Digest { return e.digest }

// A ShardInput is one shard to attest: its values, its ciphertext and the
// randomness of its encryption (he.PublicKey.EncryptForProof).
type ShardInput struct {
	Values     []int32
	Ciphertext *he.Ciphertext
	Randomness *he.Randomness
}

// An Attestation is what a client publishes beside its ciphertexts: one proof
// a shard, in the order of the scope.
type Attestation struct {
	shape  *rlwe.Shape
	proofs []*shardProof
}

// Shards is the number of shards attested.
func (a *Attestation) Shards() int { return len(a.proofs) }

// Commitments returns the commitments to the ciphertext of the shard at the
// given place of the scope.
func (a *Attestation) Commitments(place int) [2]Commitment {
	return [2]Commitment{a.proofs[place].cipher[0], a.proofs[place].cipher[1]}
}

// total is the commitment to the whole norm: the sum of the shards' W.
func (a *Attestation) total() bn254.G1Affine {
	var acc bn254.G1Jac
	for _, p := range a.proofs {
		acc.AddMixed(&p.norm)
	}
	var out bn254.G1Affine
	return *out.FromJacobian(&acc)
}

// ProveOptions tune ProveUpdate. The zero value is good.
type ProveOptions struct {
	// Parallel is how many shards are proven at the same time; each takes
	// about 1 kB of memory a constraint. Zero means 1.
	Parallel int
	Progress Progress
	// Link receives what a training attestation needs to speak of the same
	// values. Keys of a linked shape want one, others want none.
	Link *Link
}

// ProveUpdate attests an update: every shard well formed and in range, and the
// sum of squares of all values at most scope.Bound (ErrNorm otherwise). The
// caller erases the shards' randomness.
func (k *Keys) ProveUpdate(ctx context.Context, scope *Scope, key *EpochKey, shards []ShardInput, opt ProveOptions) (*Attestation, error) {
	if err := k.checkUpdate(scope, key, len(shards)); err != nil {
		return nil, err
	}
	if !k.CanProve() {
		return nil, fmt.Errorf("%w: the proving half is missing", ErrKeys)
	}
	shape := k.system.Shape
	for i := range shards {
		if shards[i].Ciphertext == nil || shards[i].Randomness == nil {
			return nil, fmt.Errorf("zk: place %d of the update has no ciphertext or no randomness", i)
		}
		if err := inRange(key.suite, i, shards[i].Values); err != nil {
			return nil, err
		}
	}
	partials, total, err := normParts(scope.Bound, shards)
	if err != nil {
		return nil, err
	}
	defer func() {
		for i := range partials {
			clear(partials[i])
		}
		clear(total)
	}()
	if shape.Link != (opt.Link != nil) {
		return nil, fmt.Errorf("%w: keys of %s and a link do not go together", ErrKeys, shape.Name)
	}
	if shape.Link {
		if err := opt.Link.draw(shards); err != nil {
			return nil, err
		}
	}
	totalPoint, err := k.srs.commit(total)
	if err != nil {
		return nil, err
	}

	att := &Attestation{shape: shape, proofs: make([]*shardProof, len(shards))}
	none := make([]fr.Element, norm.Masks+1)
	one := func(i int) error {
		part := &normPart{partial: partials[i], total: none, bound: scope.Bound}
		if shape.Link {
			part.message = opt.Link.message(shape, i)
			defer clear(part.message)
		}
		var point bn254.G1Affine
		if i == len(shards)-1 {
			part.total, point = total, totalPoint
		}
		rows, err := key.rowsOf(shape, shards[i].Ciphertext)
		if err != nil {
			return err
		}
		rnd := shards[i].Randomness
		secret := &rlwe.Secret{U: rnd.U, Errors: [][]int8{rnd.E0, rnd.E1}, Values: shards[i].Values}
		att.proofs[i], err = k.prove(secret, rows, part, func(p *shardProof) fl.Digest {
			return scope.digest(shape.Name, i, p, &point)
		})
		return err
	}
	if err := forEach(ctx, len(shards), opt, one); err != nil {
		return nil, err
	}
	return att, nil
}

// rowsOf pairs the key's polynomials with a ciphertext's.
func (e *EpochKey) rowsOf(shape *rlwe.Shape, ct *he.Ciphertext) ([]row, error) {
	if ct.Suite() != e.suite {
		return nil, fmt.Errorf("%w: a ciphertext of %s under a key of %s", ErrScope, ct.Suite().Name(), e.suite.Name())
	}
	b := ct.Bytes()
	out := make([]row, shape.Rows)
	for i := range out {
		c, err := shape.Lift(b[i*len(b)/2:(i+1)*len(b)/2], e.suite.CoefficientBytes(), false)
		if err != nil {
			return nil, err
		}
		out[i] = row{key: e.rows[i], published: c}
	}
	return out, nil
}

func (k *Keys) checkUpdate(scope *Scope, key *EpochKey, shards int) error {
	if err := scope.check(); err != nil {
		return err
	}
	switch {
	case !updateOf(k.system.Shape, key.suite):
		return fmt.Errorf("%w: keys of %s for an update under %s", ErrKeys, k.system.Shape.Name, key.suite.Name())
	case scope.EpochKey != key.digest:
		return fmt.Errorf("%w: the scope names epoch key %s, this is %s", ErrScope, scope.EpochKey.Short(), key.digest.Short())
	case len(scope.Shards) != shards:
		return fmt.Errorf("%w: the scope names %d shards, got %d", ErrScope, len(scope.Shards), shards)
	}
	return nil
}

// inRange keeps the norm below from overflowing; it never quotes a value.
func inRange(s *he.Suite, place int, values []int32) error {
	if len(values) > s.Values() {
		return fmt.Errorf("zk: place %d of the update has %d values, suite %s holds %d", place, len(values), s.Name(), s.Values())
	}
	for i, v := range values {
		if v < s.MinValue() || v > s.MaxValue() {
			return fmt.Errorf("zk: place %d of the update: value %d is outside [%d, %d]", place, i, s.MinValue(), s.MaxValue())
		}
	}
	return nil
}

// normParts draws each shard's W and adds them up to T (package norm).
func normParts(bound uint64, shards []ShardInput) (partials [][]fr.Element, total []fr.Element, err error) {
	partials, total = make([][]fr.Element, len(shards)), make([]fr.Element, norm.Masks+1)
	var sum uint64
	for i := range shards {
		w := make([]fr.Element, norm.Masks+1)
		s := rlwe.SquareSum(shards[i].Values)
		sum += s
		w[0].SetUint64(s)
		for j := 1; j < len(w); j++ {
			if _, err := w[j].SetRandom(); err != nil {
				return nil, nil, fmt.Errorf("zk: drawing a norm's mask: %w", err)
			}
		}
		for j := range w {
			total[j].Add(&total[j], &w[j])
		}
		partials[i] = w
	}
	if sum > bound {
		return nil, nil, fmt.Errorf("%w of %d: clip the update further", ErrNorm, bound)
	}
	return partials, total, nil
}

// forEach runs f for 0..n-1 with opt.Parallel workers and stops at the first
// error or when the context ends.
func forEach(ctx context.Context, n int, opt ProveOptions, f func(int) error) error {
	workers := min(max(opt.Parallel, 1), n)
	var (
		mu         sync.Mutex
		wg         sync.WaitGroup
		next, done int
		first      error
	)
	opt.Progress.report("proving", 0, n)
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				if first == nil {
					first = ctx.Err()
				}
				i := next
				next++
				stop := first != nil || i >= n
				mu.Unlock()
				if stop {
					return
				}
				err := f(i)
				mu.Lock()
				if err != nil && first == nil {
					first = err
				}
				if err == nil {
					done++
					opt.Progress.report("proving", done, n)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return first
}
