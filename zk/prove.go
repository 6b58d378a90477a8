package zk

import (
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	"github.com/consensys/gnark/backend"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
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
	if norm != nil {
		copy(a.Partial, norm.partial[1:])
		copy(a.Total, norm.total)
		a.Norm[2].SetUint64(norm.bound)
	}
	var mask fr.Element
	for mask.IsZero() {
		if _, err := mask.SetRandom(); err != nil {
			return nil, fmt.Errorf("zk: drawing the commitment's mask: %w", err)
		}
	}

	// First pass: everything before the challenge is fixed, so the challenge
	// can be known without solving.
	committed := k.system.Committed(a, mask)
	defer clear(committed)
	if err := k.commitAll(p, committed, rows, lifts, norm); err != nil {
		return nil, err
	}
	statement := digest(p)
	st := halves(statement)
	copy(a.Statement, st[:])
	r := challengeOf(&p.witness, st)

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

	// Second pass. The opening needs nothing of it, and fills the cores where
	// gnark's prover leaves them idle.
	folded := foldPolynomials(rows, lifts, norm, &ring, foldChallenge(statement, &r, p), s.N)
	defer clear(folded)
	err := concurrently(
		func() error { return k.groth16(a, mask, p) },
		func() (err error) { p.opening, err = k.srs.open(folded, &r); return err },
	)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// commitAll makes every commitment that comes before the challenge. None
// depends on another.
func (k *Keys) commitAll(p *shardProof, committed []fr.Element, rows []row, lifts [][]fr.Element, norm *normPart) error {
	basis := &k.proving.CommitmentKeys[0]
	work := []func() error{
		func() (err error) { p.witness, err = basis.Commit(committed); return err },
		func() (err error) { p.pok, err = basis.ProveKnowledge(committed); return err },
	}
	for i := range rows {
		work = append(work,
			func() (err error) { p.cipher[i], err = k.srs.commit(rows[i].published); return err },
			func() (err error) { p.lift[i], err = k.commitLift(lifts[i]); return err })
	}
	if norm != nil {
		work = append(work, func() (err error) { p.norm, err = k.srs.commit(norm.partial); return err })
	}
	if err := concurrently(work...); err != nil {
		return fmt.Errorf("zk: committing to the witness: %w", err)
	}
	return nil
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

// announced is the proving key with other Pedersen bases: all points are at
// infinity but the mask's, which is the known commitment (and proof of
// knowledge) divided by the mask. Under them the values of this proof, and only
// of this one, have the commitment that was announced, and gnark's prover does
// not compute two multi-exponentiations over all committed values again.
func (k *Keys) announced(mask *fr.Element, p *shardProof) *groth16.ProvingKey {
	var inverse fr.Element
	var scalar big.Int
	inverse.Inverse(mask).BigInt(&scalar)
	basis := func(point *bn254.G1Affine) []bn254.G1Affine {
		out := make([]bn254.G1Affine, len(k.proving.CommitmentKeys[0].Basis))
		out[len(out)-1].ScalarMultiplication(point, &scalar)
		return out
	}
	pk := *k.proving
	pk.CommitmentKeys = []pedersen.ProvingKey{{Basis: basis(&p.witness), BasisExpSigma: basis(&p.pok)}}
	return &pk
}

// groth16 runs gnark's prover with the mask and the commitment already fixed.
func (k *Keys) groth16(a *rlwe.Assignment, mask fr.Element, p *shardProof) error {
	w, err := a.Witness()
	if err != nil {
		return err
	}
	if v, ok := w.Vector().(fr.Vector); ok {
		defer clear(v)
	}
	proof, err := groth16.Prove(k.system.R1CS, k.announced(&mask, p), w, backend.WithSolverOptions(k.system.FixMask(mask)))
	if err != nil {
		// gnark's text may quote a constraint's values.
		return fmt.Errorf("%w: the witness does not satisfy %s", rlwe.ErrWitness, k.system.Shape.Name)
	}
	if len(proof.Commitments) != 1 || !proof.Commitments[0].Equal(&p.witness) || !proof.CommitmentPok.Equal(&p.pok) {
		return errors.New("zk: the prover committed to something else than announced: gnark's R1CS Commit has changed")
	}
	p.ar, p.bs, p.krs = proof.Ar, proof.Bs, proof.Krs
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
	}
	return out
}
