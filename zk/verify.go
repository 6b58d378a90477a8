package zk

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"runtime"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"credence/fl"
	"credence/zk/circuit/rlwe"
)

// A relation is what a verifier fixes once for many proofs: the verifying key,
// the powers, and the commitments to the key polynomials.
type relation struct {
	shape *rlwe.Shape
	vk    *groth16.VerifyingKey
	ped   *pedersen.VerifyingKey
	srs   *SRS
	keys  []Commitment
}

func (k *Keys) relation(keys []Commitment) *relation {
	return &relation{shape: k.system.Shape, vk: k.verifying, ped: &k.verifying.CommitmentKeys[0], srs: k.srs, keys: keys}
}

// An equation is one proof with its challenges worked out: three pairing
// equations waiting to be checked.
type equation struct {
	proof   *grothProof
	public  []fr.Element // public inputs, then the challenge r
	opening bn254.G1Affine
	// What is opened at r, folded by powers of a challenge that came after all
	// claimed values: the proof's own commitments with their factors, factors
	// of the relation's commitments, and the folded value.
	opened sum
	shared []fr.Element
	value  fr.Element
}

// equation prepares a proof; bound is the norm bound of its statement and
// total T, zero unless the shard closes its update.
func (v *relation) equation(p *shardProof, statement fl.Digest, total Commitment, bound uint64) *equation {
	st := halves(statement)
	r := challengeOf(&p.witness, st)
	e := &equation{proof: &p.grothProof, opening: p.opening, public: append(p.publicInputs(st, bound), r)}
	v.fold(e, p, &total, foldChallenge(statement, &r, p))
	return e
}

func (e *equation) challenge() *fr.Element { return &e.public[len(e.public)-1] }

// sum collects a multi-exponentiation.
type sum struct {
	points  []bn254.G1Affine
	scalars []fr.Element
}

func (s *sum) add(p *bn254.G1Affine, x *fr.Element) {
	s.points = append(s.points, *p)
	s.scalars = append(s.scalars, *x)
}

// accepts checks all equations at once. With L_i = K_0 + sum_j x_ij*K_j + D_i,
// F_i the folded KZG commitment and y_i its value, each proof must satisfy
//
//	e(A_i, B_i)            = e(alpha, beta) * e(L_i, gamma) * e(Krs_i, delta)
//	e(D_i, -sigma*G)       * e(PoK_i, G)                     = 1
//	e(F_i - y_i*G1 + r_i*pi_i, G2) * e(-pi_i, tau*G2)        = 1
//
// Each of the 3n equations is raised to an independent random 128-bit power
// and their product is one pairing product of n+7 Miller loops. A false
// equation survives with probability at most 2^-127. The elements are in their
// groups: decoding checked it.
func (v *relation) accepts(eqs []*equation) (bool, error) {
	n := len(eqs)
	if n == 0 {
		return true, nil
	}
	weights, err := randomWeights(3 * n)
	if err != nil {
		return false, err
	}
	g1 := make([]bn254.G1Affine, n, n+7)
	g2 := make([]bn254.G2Affine, n, n+7)
	parallel(n, func(i int) {
		var w big.Int
		g1[i].ScalarMultiplication(&eqs[i].proof.ar, weights[i].BigInt(&w))
		g2[i] = eqs[i].proof.bs
	})

	inputs := make([]fr.Element, len(v.vk.G1.K)) // scalars of K
	keys := make([]fr.Element, len(v.keys))      // scalars of the key polynomials
	var generator, t fr.Element                  // scalar of G1
	var l, krs, witness, pok, opened, quotient sum
	for i, e := range eqs {
		groth, know, open := &weights[i], &weights[n+i], &weights[2*n+i]
		inputs[0].Add(&inputs[0], groth)
		for j := range e.public {
			inputs[1+j].Add(&inputs[1+j], t.Mul(&e.public[j], groth))
		}
		l.add(&e.proof.witness, groth)
		krs.add(&e.proof.krs, groth)
		witness.add(&e.proof.witness, know)
		pok.add(&e.proof.pok, know)

		for j := range e.opened.points {
			opened.add(&e.opened.points[j], t.Mul(&e.opened.scalars[j], open))
		}
		for j := range e.shared {
			keys[j].Add(&keys[j], t.Mul(&e.shared[j], open))
		}
		generator.Sub(&generator, t.Mul(&e.value, open))
		opened.add(&e.opening, t.Mul(e.challenge(), open))
		quotient.add(&e.opening, open)
	}
	for j := range v.vk.G1.K {
		l.add(&v.vk.G1.K[j], &inputs[j])
	}
	for j := range v.keys {
		opened.add(&v.keys[j], &keys[j])
	}
	opened.add(&v.srs.g1[0], &generator)

	negative := func(p bn254.G1Affine) bn254.G1Affine { p.Neg(&p); return p }
	var alpha sum
	alpha.add(&v.vk.G1.Alpha, &inputs[0])
	for _, term := range []struct {
		s        *sum
		g2       *bn254.G2Affine
		opposite bool
	}{
		{&l, &v.vk.G2.Gamma, true},
		{&krs, &v.vk.G2.Delta, true},
		{&alpha, &v.vk.G2.Beta, true},
		{&witness, &v.ped.GSigmaNeg, false},
		{&pok, &v.ped.G, false},
		{&opened, &v.srs.g2, false},
		{&quotient, &v.srs.t2, true},
	} {
		p, err := multiExp(term.s.points, term.s.scalars)
		if err != nil {
			return false, err
		}
		if term.opposite {
			p = negative(p)
		}
		g1, g2 = append(g1, p), append(g2, *term.g2)
	}
	return pairingProductIsOne(g1, g2)
}

// fold combines everything that an update's or a key share's proof opens by
// powers of gamma, in the order of foldPolynomials.
func (v *relation) fold(e *equation, p *shardProof, total *Commitment, gamma fr.Element) {
	ring := v.shape.RingAt(e.challenge())
	var w, t fr.Element
	w.SetOne()
	value := func(y *fr.Element) {
		e.value.Add(&e.value, t.Mul(&w, y))
		w.Mul(&w, &gamma)
	}
	for i := range p.cipher {
		e.opened.add(&p.cipher[i], &w)
		e.opened.add(&p.lift[i], t.Mul(&w, &ring))
		value(&p.atCipher[i])
	}
	for i := range v.keys {
		e.shared = append(e.shared, w)
		value(&p.atKey[i])
	}
	if len(p.atNorm) > 0 {
		e.opened.add(&p.norm, &w)
		value(&p.atNorm[0])
		e.opened.add(total, &w)
		value(&p.atNorm[1])
	}
	if len(p.atLink) > 0 {
		e.opened.add(&p.link, &w)
		value(&p.atLink[0])
	}
}

func pairingProductIsOne(g1 []bn254.G1Affine, g2 []bn254.G2Affine) (bool, error) {
	parts := min(runtime.GOMAXPROCS(0), (len(g1)+15)/16)
	loops := make([]bn254.GT, parts)
	errs := make([]error, parts)
	parallel(parts, func(i int) {
		lo, hi := i*len(g1)/parts, (i+1)*len(g1)/parts
		loops[i], errs[i] = bn254.MillerLoop(g1[lo:hi], g2[lo:hi])
	})
	var product bn254.GT
	product.SetOne()
	for i := range loops {
		if errs[i] != nil {
			return false, fmt.Errorf("zk: pairing: %w", errs[i])
		}
		product.Mul(&product, &loops[i])
	}
	result := bn254.FinalExponentiation(&product)
	var one bn254.GT
	one.SetOne()
	return result.Equal(&one), nil
}

// randomWeights draws n non-zero numbers below 2^128.
func randomWeights(n int) ([]fr.Element, error) {
	out := make([]fr.Element, n)
	buf := make([]byte, 16*n)
	if _, err := rand.Read(buf); err != nil {
		return nil, fmt.Errorf("zk: drawing weights: %w", err)
	}
	for i := range out {
		buf[16*i] |= 1 // never zero, for one bit less of randomness
		out[i].SetBytes(buf[16*i : 16*(i+1)])
	}
	return out, nil
}

// parallel runs f(0..n-1) on all cores.
func parallel(n int, f func(int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers < 2 {
		for i := range n {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}
