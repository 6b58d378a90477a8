package ceremony

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	update "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"credence/fl"
)

// powers is one state of phase powers, with the proofs of the contribution
// that made it. Its encoding, checks and beacon are those of gnark's
// mpcsetup.Phase1 (a test compares them); it is separate because a
// contribution there works on one processor, tells nobody how far it is and
// leaves its secrets behind.
type powers struct {
	proofs    [3]update.UpdateProof // tau, alpha, beta
	values    mpcsetup.SrsCommons
	challenge []byte
}

const (
	g1Bytes      = curve.SizeOfG1AffineCompressed
	g2Bytes      = curve.SizeOfG2AffineCompressed
	proofBytes   = g1Bytes + g2Bytes
	trailer      = 1 + sha256.Size // the challenge and its length
	powersHeader = 3*proofBytes + 8 + g2Bytes
)

// powersBytes is the length of the encoding for a domain of n.
func powersBytes(n uint64) int64 {
	return powersHeader + int64(2*n-2)*g1Bytes + int64(n-1)*g2Bytes + int64(2*n)*g1Bytes + trailer
}

// initialPowers is where phase powers begins: all secrets are one. The
// challenge binds the first contribution to the ceremony.
func initialPowers(n uint64, ceremony fl.Digest) *powers {
	_, _, g1, g2 := curve.Generators()
	p := &powers{challenge: ceremony[:]}
	p.allocate(n)
	for i := range p.values.G1.Tau {
		p.values.G1.Tau[i] = g1
	}
	for i := range p.values.G2.Tau {
		p.values.G2.Tau[i] = g2
		p.values.G1.AlphaTau[i], p.values.G1.BetaTau[i] = g1, g1
	}
	p.values.G2.Beta = g2
	return p
}

func (p *powers) allocate(n uint64) {
	p.values.G1.Tau = make([]curve.G1Affine, 2*n-1)
	p.values.G1.AlphaTau = make([]curve.G1Affine, n)
	p.values.G1.BetaTau = make([]curve.G1Affine, n)
	p.values.G2.Tau = make([]curve.G2Affine, n)
	_, _, p.values.G1.Tau[0], p.values.G2.Tau[0] = curve.Generators()
}

// initialPowersDigest is the digest of initialPowers' encoding, without making
// it: the generators over and over.
func initialPowersDigest(n uint64, ceremony fl.Digest) fl.Digest {
	_, _, g1, g2 := curve.Generators()
	b1, b2 := g1.Bytes(), g2.Bytes()
	h := sha256.New()
	repeat := func(b []byte, times uint64) {
		const block = 512
		many := bytes.Repeat(b, block)
		for ; times >= block; times -= block {
			h.Write(many)
		}
		h.Write(many[:int(times)*len(b)])
	}
	var none1 curve.G1Affine
	var none2 curve.G2Affine
	o1, o2 := none1.Bytes(), none2.Bytes()
	for range 3 {
		h.Write(o1[:])
		h.Write(o2[:])
	}
	h.Write(binary.BigEndian.AppendUint64(nil, n))
	repeat(b2[:], 1)
	repeat(b1[:], 2*n-2)
	repeat(b2[:], n-1)
	repeat(b1[:], 2*n)
	h.Write([]byte{byte(len(ceremony))})
	h.Write(ceremony[:])
	return fl.Digest(h.Sum(nil))
}

// layout calls g1 and g2 for the slices of the encoding in its order, with
// their offsets after the header.
func (p *powers) layout(g1 func(at int, s []curve.G1Affine) error, g2 func(at int, s []curve.G2Affine) error) error {
	v := &p.values
	at := powersHeader
	if err := g1(at, v.G1.Tau[1:]); err != nil {
		return err
	}
	at += len(v.G1.Tau[1:]) * g1Bytes
	if err := g2(at, v.G2.Tau[1:]); err != nil {
		return err
	}
	at += len(v.G2.Tau[1:]) * g2Bytes
	if err := g1(at, v.G1.BetaTau); err != nil {
		return err
	}
	at += len(v.G1.BetaTau) * g1Bytes
	return g1(at, v.G1.AlphaTau)
}

// bytes encodes as mpcsetup.Phase1.WriteTo does.
func (p *powers) bytes(ctx context.Context) ([]byte, error) {
	n := uint64(len(p.values.G2.Tau))
	head := bytes.NewBuffer(make([]byte, 0, powersHeader))
	for i := range p.proofs {
		if _, err := p.proofs[i].WriteTo(head); err != nil {
			return nil, fmt.Errorf("ceremony: encoding powers: %w", err)
		}
	}
	out := make([]byte, powersBytes(n))
	beta := p.values.G2.Beta.Bytes()
	copy(out, append(binary.BigEndian.AppendUint64(head.Bytes(), n), beta[:]...))
	err := p.layout(func(at int, s []curve.G1Affine) error {
		return inChunks(ctx, len(s), silent, func(lo, hi int) error {
			for i := lo; i < hi; i++ {
				b := s[i].Bytes()
				copy(out[at+i*g1Bytes:], b[:])
			}
			return nil
		})
	}, func(at int, s []curve.G2Affine) error {
		return inChunks(ctx, len(s), silent, func(lo, hi int) error {
			for i := lo; i < hi; i++ {
				b := s[i].Bytes()
				copy(out[at+i*g2Bytes:], b[:])
			}
			return nil
		})
	})
	end := out[len(out)-trailer:]
	end[0] = sha256.Size
	copy(end[1:], p.challenge)
	return out, err
}

func silent(int, int) {}

// parsePowers decodes the state of a domain of n: every point on its curve, in
// its subgroup, not zero and in its one encoding. It does not check what the
// points are.
func parsePowers(ctx context.Context, n uint64, b []byte, report func(done, total int)) (*powers, error) {
	if int64(len(b)) != powersBytes(n) {
		return nil, fmt.Errorf("%w: it has %d bytes: want %d", ErrDamaged, len(b), powersBytes(n))
	}
	if got := binary.BigEndian.Uint64(b[3*proofBytes:]); got != n || b[len(b)-trailer] != sha256.Size {
		return nil, fmt.Errorf("%w: it is for a domain of %d: want %d", ErrUnsound, got, n)
	}
	p := &powers{challenge: bytes.Clone(b[len(b)-sha256.Size:])}
	p.allocate(n)
	for i := range p.proofs {
		if err := parseProof(b[i*proofBytes:(i+1)*proofBytes], &p.proofs[i]); err != nil {
			return nil, err
		}
	}
	if err := parseG2(b[3*proofBytes+8:powersHeader], &p.values.G2.Beta); err != nil {
		return nil, err
	}
	var base int
	total := len(b)
	err := p.layout(func(at int, s []curve.G1Affine) error {
		base = at
		return inChunks(ctx, len(s), func(done, _ int) { report(base+done*g1Bytes, total) }, func(lo, hi int) error {
			for i := lo; i < hi; i++ {
				if err := parseG1(b[at+i*g1Bytes:at+(i+1)*g1Bytes], &s[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}, func(at int, s []curve.G2Affine) error {
		base = at
		return inChunks(ctx, len(s), func(done, _ int) { report(base+done*g2Bytes, total) }, func(lo, hi int) error {
			for i := lo; i < hi; i++ {
				if err := parseG2(b[at+i*g2Bytes:at+(i+1)*g2Bytes], &s[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func parseG1(b []byte, into *curve.G1Affine) error {
	_, err := into.SetBytes(b) // checks curve and subgroup
	if back := into.Bytes(); err != nil || into.IsInfinity() || !bytes.Equal(back[:], b) {
		return fmt.Errorf("%w: a point of G1 is invalid", ErrUnsound)
	}
	return nil
}

func parseG2(b []byte, into *curve.G2Affine) error {
	_, err := into.SetBytes(b)
	if back := into.Bytes(); err != nil || into.IsInfinity() || !bytes.Equal(back[:], b) {
		return fmt.Errorf("%w: a point of G2 is invalid", ErrUnsound)
	}
	return nil
}

func parseProof(b []byte, into *update.UpdateProof) error {
	var again bytes.Buffer
	if _, err := into.ReadFrom(bytes.NewReader(b)); err != nil {
		return fmt.Errorf("%w: a proof of knowledge is invalid", ErrUnsound)
	}
	if _, err := into.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), b) {
		return fmt.Errorf("%w: a proof of knowledge is not canonical", ErrUnsound)
	}
	return nil
}

// contribute multiplies fresh secrets into p, which is encoded under digest,
// and forgets them.
func (p *powers) contribute(ctx context.Context, digest fl.Digest, report func(done, total int)) error {
	var secret [3]fr.Element
	defer clear(secret[:])
	p.challenge = bytes.Clone(digest[:])
	for i := range secret {
		// Zero asks for a random number from crypto/rand.
		p.proofs[i] = update.UpdateValues(&secret[i], p.challenge, byte(i))
	}
	return p.multiply(ctx, &secret, report)
}

// multiply puts tau, alpha and beta into the values.
func (p *powers) multiply(ctx context.Context, secret *[3]fr.Element, report func(done, total int)) error {
	v := &p.values
	n := len(v.G2.Tau)
	err := inChunks(ctx, len(v.G1.Tau), report, func(lo, hi int) error {
		var t, s fr.Element // t = tau^i
		var x big.Int
		defer func() { t.SetZero(); s.SetZero(); clear(x.Bits()) }()
		t.Exp(secret[0], big.NewInt(int64(lo)))
		for i := lo; i < hi; i++ {
			t.BigInt(&x)
			v.G1.Tau[i].ScalarMultiplication(&v.G1.Tau[i], &x)
			if i < n {
				v.G2.Tau[i].ScalarMultiplication(&v.G2.Tau[i], &x)
				s.Mul(&t, &secret[1]).BigInt(&x)
				v.G1.AlphaTau[i].ScalarMultiplication(&v.G1.AlphaTau[i], &x)
				s.Mul(&t, &secret[2]).BigInt(&x)
				v.G1.BetaTau[i].ScalarMultiplication(&v.G1.BetaTau[i], &x)
			}
			t.Mul(&t, &secret[0])
		}
		return nil
	})
	var x big.Int
	defer func() { clear(x.Bits()) }()
	v.G2.Beta.ScalarMultiplication(&v.G2.Beta, secret[2].BigInt(&x))
	return err
}

// powersHead is what the check of the next contribution needs of a state.
type powersHead struct {
	tau, alpha, beta curve.G1Affine
	betaG2           curve.G2Affine
}

func (p *powers) head() powersHead {
	v := &p.values
	return powersHead{tau: v.G1.Tau[1], alpha: v.G1.AlphaTau[0], beta: v.G1.BetaTau[0], betaG2: v.G2.Beta}
}

// parsePowersHead reads the head of an encoded state.
func parsePowersHead(n uint64, b []byte) (powersHead, error) {
	var h powersHead
	if int64(len(b)) != powersBytes(n) {
		return h, fmt.Errorf("%w: it has %d bytes: want %d", ErrDamaged, len(b), powersBytes(n))
	}
	beta := powersHeader + int(2*n-2)*g1Bytes + int(n-1)*g2Bytes
	for _, part := range []struct {
		at   int
		into *curve.G1Affine
	}{{powersHeader, &h.tau}, {beta, &h.beta}, {beta + int(n)*g1Bytes, &h.alpha}} {
		if err := parseG1(b[part.at:part.at+g1Bytes], part.into); err != nil {
			return h, err
		}
	}
	return h, parseG2(b[3*proofBytes+8:powersHeader], &h.betaG2)
}

// verify checks that p follows from the state with the given head and digest
// by a contribution whose author knew its secrets (eprint 2017/1050, section
// 4), and that its values are powers of one number.
func (p *powers) verify(before powersHead, digest fl.Digest) error {
	if !bytes.Equal(p.challenge, digest[:]) {
		return fmt.Errorf("%w: its proofs are for another predecessor", ErrUnsound)
	}
	v, now := &p.values, p.head()
	for i, pairs := range [3][]update.ValueUpdate{
		{{Previous: &before.tau, Next: &now.tau}},
		{{Previous: &before.alpha, Next: &now.alpha}},
		{{Previous: &before.beta, Next: &now.beta}, {Previous: &before.betaG2, Next: &now.betaG2}},
	} {
		if err := p.proofs[i].Verify(p.challenge, byte(i), pairs...); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrUnsound, [3]string{"tau", "alpha", "beta"}[i], err)
		}
	}
	if err := update.SameRatioMany(v.G1.Tau, v.G2.Tau, v.G1.AlphaTau, v.G1.BetaTau); err != nil {
		return fmt.Errorf("%w: its values are not powers of one number: %w", ErrUnsound, err)
	}
	return nil
}

// seal makes the last contribution, which everybody can repeat, from the
// beacon. p is encoded under digest and must not be used afterwards.
func (p *powers) seal(ctx context.Context, digest fl.Digest, beacon []byte, report func(done, total int)) (*mpcsetup.SrsCommons, error) {
	public := update.BeaconContributions(digest[:], []byte("Groth16 MPC Setup - Phase 1"), beacon, 3)
	if err := p.multiply(ctx, (*[3]fr.Element)(public), report); err != nil {
		return nil, err
	}
	return &p.values, nil
}

// first returns the powers that a circuit with a domain of n needs.
func first(v *mpcsetup.SrsCommons, n uint64) *mpcsetup.SrsCommons {
	out := new(mpcsetup.SrsCommons)
	out.G1.Tau = v.G1.Tau[:2*n-1]
	out.G1.AlphaTau, out.G1.BetaTau = v.G1.AlphaTau[:n], v.G1.BetaTau[:n]
	out.G2.Tau, out.G2.Beta = v.G2.Tau[:n], v.G2.Beta
	return out
}
