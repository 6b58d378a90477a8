package zk

import (
	"errors"
	"fmt"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/logger"

	"credence/fl"
	"credence/zk/circuit/rlwe"
)

// gnark logs to standard output, which belongs to the program's user.
func init() { logger.Disable() }

// A row is one equation of an instance: its key polynomial and what is
// published for it.
type row struct {
	key       *rlwe.Multiplier
	published []fr.Element // canonical coefficients of c
}

// normPart is what an instance says about the norm.
type normPart struct {
	partial []fr.Element // coefficients of W
	total   []fr.Element // coefficients of T, zeros unless this shard closes
	bound   uint64
	message []fr.Element // coefficients of M; linked updates only
}

// prove makes one proof. The digest callback turns the proof's commitments
// into the statement's digest. It is safe for concurrent use.
func (k *Keys) prove(secret *rlwe.Secret, rows []row, norm *normPart, digest func(*shardProof) fl.Digest) (*shardProof, error) {
	s := k.system.Shape
	p := newShardProof(s)
	a := s.NewAssignment()
	defer a.Erase()

	quotients := make([][]int, s.Rows)
	lifts := make([][]fr.Element, s.Rows)
	defer func() {
		for i := range quotients {
			clear(quotients[i])
			clear(lifts[i])
		}
	}()
	for i, r := range rows {
		var err error
		if quotients[i], lifts[i], err = r.key.Quotients(i, secret, r.published); err != nil {
			return nil, fmt.Errorf("zk: proving %s: %w", s.Name, err)
		}
	}
	if err := a.Fill(secret, quotients); err != nil {
		return nil, fmt.Errorf("zk: proving %s: %w", s.Name, err)
	}

	// Two uniform coefficients make each h's commitment and its one opening
	// uniform; the circuit knows them and subtracts their share.
	for i := range a.Masks {
		if _, err := a.Masks[i].SetRandom(); err != nil {
			return nil, fmt.Errorf("zk: drawing a mask: %w", err)
		}
	}
	for i := range rows {
		for j := range 2 {
			lifts[i][j].Add(&lifts[i][j], &a.Masks[2*i+j])
		}
	}
	if err := k.commitAll(p, rows, lifts, norm); err != nil {
		return nil, err
	}
	if norm != nil {
		copy(a.Partial, norm.partial[1:])
		copy(a.Total, norm.total)
		a.Norm[2].SetUint64(norm.bound)
	}
	if s.Link {
		copy(a.LinkMask, norm.message[s.N:])
	}

	// First pass: everything before the challenge is fixed, so the challenge
	// can be known without solving.
	statement := digest(p)
	st := halves(statement)
	copy(a.Statement, st[:])
	pass, err := k.begin(a.Vector, st)
	if err != nil {
		return nil, err
	}
	r := pass.r

	// The public inputs that depend on it.
	ring := s.RingAt(&r)
	for i := range rows {
		h, c := rlwe.Evaluate(lifts[i], &r), rlwe.Evaluate(rows[i].published, &r)
		h.Mul(&h, &ring)
		p.atCipher[i].Add(&h, &c)
		p.atKey[i] = rlwe.Evaluate(rows[i].key.P, &r)
	}
	copy(a.Cipher, p.atCipher)
	copy(a.Key, p.atKey)
	if norm != nil {
		p.atNorm[0], p.atNorm[1] = rlwe.Evaluate(norm.partial, &r), rlwe.Evaluate(norm.total, &r)
		copy(a.Norm, p.atNorm)
	}
	if s.Link {
		p.atLink[0] = rlwe.Evaluate(norm.message, &r)
		copy(a.Link, p.atLink)
	}

	// Second pass. The opening needs nothing of it, and fills the cores where
	// gnark's prover leaves them idle.
	folded := foldPolynomials(rows, lifts, norm, &ring, foldChallenge(statement, &r, p), s.Powers())
	defer clear(folded)
	var proof *grothProof
	err = concurrently(
		func() (err error) { proof, err = k.finish(a.Vector, pass); return err },
		func() (err error) { p.opening, err = k.srs.open(folded, &r); return err },
	)
	if errors.Is(err, ErrWitness) {
		return nil, fmt.Errorf("%w: the witness does not satisfy %s", rlwe.ErrWitness, s.Name)
	} else if err != nil {
		return nil, err
	}
	p.grothProof = *proof
	return p, nil
}

// commitAll makes the KZG commitments that come before the challenge. None
// depends on another.
func (k *Keys) commitAll(p *shardProof, rows []row, lifts [][]fr.Element, norm *normPart) error {
	var work []func() error
	for i := range rows {
		work = append(work,
			func() (err error) { p.cipher[i], err = k.srs.commit(rows[i].published); return err },
			func() (err error) { p.lift[i], err = k.commitLift(lifts[i]); return err })
	}
	if norm != nil {
		work = append(work, func() (err error) { p.norm, err = k.srs.commit(norm.partial); return err })
		if len(p.atLink) > 0 {
			work = append(work, func() (err error) { p.link, err = k.srs.commit(norm.message); return err })
		}
	}
	return concurrently(work...)
}

// concurrently runs all of work and returns the first error in its order.
func concurrently(work ...func() error) error {
	errs := make([]error, len(work))
	var wg sync.WaitGroup
	for i, f := range work {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// foldPolynomials combines everything that is opened, in the order in which
// foldCommitments combines the commitments.
func foldPolynomials(rows []row, lifts [][]fr.Element, norm *normPart, ring *fr.Element, gamma fr.Element, n int) []fr.Element {
	out := make([]fr.Element, n)
	var weight, t fr.Element
	weight.SetOne()
	add := func(f []fr.Element, w *fr.Element) {
		for i := range f {
			out[i].Add(&out[i], t.Mul(&f[i], w))
		}
	}
	for i := range rows {
		var lift fr.Element
		add(rows[i].published, &weight)
		add(lifts[i], lift.Mul(&weight, ring))
		weight.Mul(&weight, &gamma)
	}
	for i := range rows {
		add(rows[i].key.P, &weight)
		weight.Mul(&weight, &gamma)
	}
	if norm != nil {
		add(norm.partial, &weight)
		weight.Mul(&weight, &gamma)
		add(norm.total, &weight)
		weight.Mul(&weight, &gamma)
		add(norm.message, &weight)
	}
	return out
}
