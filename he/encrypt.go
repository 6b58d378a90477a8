package he

import (
	"crypto/sha256"
	"crypto/sha3"
	"fmt"

	"github.com/tuneinsight/lattigo/v5/ring"
)

// SeedBytes is the length of the seed of a common reference polynomial, or of
// one that ExpandUniform makes.
const SeedBytes = 32

// CRS derives the common reference polynomial a from a seed that nobody chose
// alone. It reads cSHAKE256 (NIST SP 800-185) with function name "credence"
// and customisation "he/crs/v1/"+suite name over the seed, CoefficientBytes()
// bytes for each try, masks them to the bit length of Q and rejects values of
// Q or more, so a is uniform in R_Q and independent of the residue basis.
func (s *Suite) CRS(seed [SeedBytes]byte) *Poly {
	xof := sha3.NewCSHAKE256([]byte("credence"), []byte("he/crs/v1/"+s.p.name))
	_, _ = xof.Write(seed[:]) // a hash never fails
	src := newSource(func(b []byte) { _, _ = xof.Read(b) })
	w, largest := s.conv.w, minusOne(s.conv.q)
	mask := byte(0xff >> uint(8*s.coefBytes-s.q.BitLen()))
	buf := make([]byte, s.coefBytes)
	limbs := make([]uint64, s.p.n*w)
	for i := 0; i < len(limbs); i += w {
		for ok := false; !ok; {
			src.bytes(buf)
			buf[len(buf)-1] &= mask
			ok = s.conv.decode(buf, s.coefBytes, &largest, limbs[i:i+w])
		}
	}
	a := s.NewPoly()
	s.conv.toRNS(limbs, a.p)
	return a
}

// A PublicKey is (p, a) with a derived from a seed. It is immutable and safe
// for concurrent use.
type PublicKey struct {
	s    *Suite
	seed [SeedBytes]byte
	p    *Poly
	// NTT and Montgomery form, ready to multiply.
	pNTT, aNTT ring.Poly
}

// NewPublicKey makes the key (p, CRS(seed)). Poly p must not be changed later.
func NewPublicKey(p *Poly, seed [SeedBytes]byte) *PublicKey {
	s := p.s
	prepare := func(x *Poly) ring.Poly {
		t := s.r.NewPoly()
		s.r.NTT(x.p, t)
		s.r.MForm(t, t)
		return t
	}
	return &PublicKey{s: s, seed: seed, p: p, pNTT: prepare(p), aNTT: prepare(s.CRS(seed))}
}

// Suite returns the key's suite.
func (pk *PublicKey) Suite() *Suite { return pk.s }

// P returns a copy of p.
func (pk *PublicKey) P() *Poly { return pk.p.Clone() }

// A returns the common reference polynomial a.
func (pk *PublicKey) A() *Poly { return pk.s.CRS(pk.seed) }

// Bytes encodes the key as its seed followed by the canonical p.
func (pk *PublicKey) Bytes() []byte { return append(pk.seed[:], pk.p.Bytes()...) }

// Digest is SHA-256 over a domain, the suite's name and Bytes.
func (pk *PublicKey) Digest() [32]byte {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "credence/he/public-key/v1\x00%s\x00", pk.s.p.name) // a hash never fails
	_, _ = h.Write(pk.Bytes())
	return [32]byte(h.Sum(nil))
}

// ParsePublicKey decodes Bytes strictly.
func (s *Suite) ParsePublicKey(b []byte) (*PublicKey, error) {
	if want := SeedBytes + s.PolyBytes(); len(b) != want {
		return nil, lengthError("public key", len(b), want)
	}
	p, err := s.ParsePoly(b[SeedBytes:])
	if err != nil {
		return nil, fmt.Errorf("decoding a public key: %w", err)
	}
	return NewPublicKey(p, [SeedBytes]byte(b[:SeedBytes])), nil
}

// Randomness is what one encryption consumed: u ternary, e0 and e1 at most
// ErrorBound in absolute value, N coefficients each. A prover needs it; anyone
// else who learns it reads the plaintext. Never use it for two vectors.
type Randomness struct {
	U, E0, E1 []int8
}

// Erase overwrites the randomness with zeros.
func (r *Randomness) Erase() {
	if r != nil {
		clear(r.U)
		clear(r.E0)
		clear(r.E1)
	}
}

// String keeps the secret out of logs.
func (r *Randomness) String() string { return "he.Randomness(secret)" }

// GoString keeps the secret out of logs.
func (r *Randomness) GoString() string { return r.String() }

// SampleRandomness draws fresh encryption randomness from crypto/rand.
func (s *Suite) SampleRandomness() *Randomness {
	src := systemSource()
	defer src.wipe()
	return &Randomness{U: src.ternaryVector(s.p.n), E0: src.gaussVector(s.p.n), E1: src.gaussVector(s.p.n)}
}

func (s *Suite) checkRandomness(r *Randomness) error {
	inRange := func(v []int8, bound int8) bool {
		for _, x := range v {
			if x > bound || x < -bound {
				return false
			}
		}
		return len(v) == s.p.n
	}
	if r == nil || !inRange(r.U, 1) || !inRange(r.E0, ErrorBound) || !inRange(r.E1, ErrorBound) {
		return fmt.Errorf("%w: encryption randomness for suite %s", ErrNotCanonical, s.p.name)
	}
	return nil
}

// Encrypt encrypts up to Values() signed values, each in
// [MinValue(), MaxValue()], with fresh randomness that is erased afterwards.
func (pk *PublicKey) Encrypt(values []int32) (*Ciphertext, error) {
	ct, r, err := pk.EncryptForProof(values)
	r.Erase()
	return ct, err
}

// EncryptForProof is Encrypt that also hands out its randomness; the caller
// erases it when the proof is made.
func (pk *PublicKey) EncryptForProof(values []int32) (*Ciphertext, *Randomness, error) {
	r := pk.s.SampleRandomness()
	ct, err := pk.EncryptWith(values, r)
	if err != nil {
		r.Erase()
		return nil, nil, err
	}
	return ct, r, nil
}

// EncryptWith encrypts with the given randomness, deterministically:
// c0 = p*u + e0 + Delta*m and c1 = a*u + e1 in R_Q.
func (pk *PublicKey) EncryptWith(values []int32, rnd *Randomness) (*Ciphertext, error) {
	s := pk.s
	if err := s.checkRandomness(rnd); err != nil {
		return nil, err
	}
	u, c, t := s.NewPoly(), s.NewPoly(), s.NewPoly()
	defer func() { u.Erase(); t.Erase() }()
	if err := s.encode(values, t.p); err != nil {
		return nil, err
	}
	ct := s.newCiphertext()
	u.setSmall(rnd.U)
	s.r.NTT(u.p, u.p)

	s.r.MulCoeffsMontgomery(pk.pNTT, u.p, c.p)
	s.r.INTT(c.p, c.p)
	c.AddScaled(t, s.deltaRNS)
	t.setSmall(rnd.E0)
	c.Add(t)
	s.conv.toIntegers(c.p, ct.half[0])

	s.r.MulCoeffsMontgomery(pk.aNTT, u.p, c.p)
	s.r.INTT(c.p, c.p)
	t.setSmall(rnd.E1)
	c.Add(t)
	s.conv.toIntegers(c.p, ct.half[1])
	return ct, nil
}
