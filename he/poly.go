package he

import (
	"fmt"

	"github.com/tuneinsight/lattigo/v5/ring"
)

// A Poly is an element of R_Q in coefficient form (residues modulo each
// prime). Methods that combine two polynomials require the same suite; mixing
// suites is a programming error that returns garbage of the receiver's suite
// at best, so every boundary that takes bytes checks the suite first.
type Poly struct {
	s *Suite
	p ring.Poly
}

// NewPoly returns the zero polynomial.
func (s *Suite) NewPoly() *Poly { return &Poly{s: s, p: s.r.NewPoly()} }

// Suite returns the polynomial's suite.
func (p *Poly) Suite() *Suite { return p.s }

// RNS exposes the residues (coefficient form, not Montgomery), for packages
// that need the ring's transforms. Changing them changes p.
func (p *Poly) RNS() ring.Poly { return p.p }

// Clone returns a copy of p.
func (p *Poly) Clone() *Poly { return &Poly{s: p.s, p: *p.p.CopyNew()} }

// Select returns a copy of the named coefficients, in that order, as input for
// WithinNoise. It is not an element of the ring: only RNS and WithinNoise are
// meaningful on it. Indices must be within 0..N-1.
func (p *Poly) Select(coefficients []int) *Poly {
	h := &Poly{s: p.s, p: ring.Poly{Coeffs: make([][]uint64, len(p.p.Coeffs))}}
	for k, row := range p.p.Coeffs {
		out := make([]uint64, len(coefficients))
		for j, i := range coefficients {
			out[j] = row[i]
		}
		h.p.Coeffs[k] = out
	}
	return h
}

// Equal reports whether p and q are the same element.
func (p *Poly) Equal(q *Poly) bool { return p.s == q.s && p.s.r.Equal(p.p, q.p) }

// Add sets p to p+q and returns p.
func (p *Poly) Add(q *Poly) *Poly { p.s.r.Add(p.p, q.p, p.p); return p }

// Sub sets p to p-q and returns p.
func (p *Poly) Sub(q *Poly) *Poly { p.s.r.Sub(p.p, q.p, p.p); return p }

// Neg sets p to -p and returns p.
func (p *Poly) Neg() *Poly { p.s.r.Neg(p.p, p.p); return p }

// MulSmall sets p to k*p for a small non-negative integer k and returns p.
func (p *Poly) MulSmall(k uint64) *Poly { p.s.r.MulScalar(p.p, k, p.p); return p }

// AddScaled adds k*q to p, where k holds one residue for each prime in
// Montgomery form, and returns p.
func (p *Poly) AddScaled(q *Poly, k []uint64) *Poly {
	for i, sr := range p.s.r.SubRings {
		sr.MulScalarMontgomeryThenAdd(q.p.Coeffs[i], k[i], p.p.Coeffs[i])
	}
	return p
}

// Mul sets p to the negacyclic product p*q and returns p.
func (p *Poly) Mul(q *Poly) *Poly {
	r := p.s.r
	t := r.NewPoly()
	r.NTT(q.p, t)
	r.MForm(t, t)
	r.NTT(p.p, p.p)
	r.MulCoeffsMontgomery(p.p, t, p.p)
	r.INTT(p.p, p.p)
	t.Zero()
	return p
}

// Erase overwrites p with zeros. Copies that the runtime made elsewhere are
// out of reach; this narrows the window, it does not close it.
func (p *Poly) Erase() {
	if p != nil {
		p.p.Zero()
	}
}

// Bytes returns the canonical encoding: N coefficients in [0,Q), each
// CoefficientBytes() wide, little endian.
func (p *Poly) Bytes() []byte {
	s := p.s
	limbs := make([]uint64, s.p.n*s.conv.w)
	s.conv.toIntegers(p.p, limbs)
	out := s.conv.encode(limbs, s.coefBytes, make([]byte, 0, s.PolyBytes()))
	clear(limbs)
	return out
}

// ParsePoly decodes Bytes, refusing any other length (ErrLength) and
// coefficients of Q or more (ErrNotCanonical).
func (s *Suite) ParsePoly(b []byte) (*Poly, error) {
	limbs := make([]uint64, s.p.n*s.conv.w)
	if err := s.parseLimbs("polynomial", b, limbs); err != nil {
		return nil, err
	}
	p := s.NewPoly()
	s.conv.toRNS(limbs, p.p)
	clear(limbs)
	return p, nil
}

// parseLimbs decodes one canonical polynomial into integers: all of limbs.
func (s *Suite) parseLimbs(what string, b []byte, limbs []uint64) error {
	if len(b) != s.PolyBytes() {
		return lengthError(what, len(b), s.PolyBytes())
	}
	largest := minusOne(s.conv.q)
	if !s.conv.decode(b, s.coefBytes, &largest, limbs) {
		return fmt.Errorf("%w: %s has a coefficient outside [0,Q) of suite %s", ErrNotCanonical, what, s.p.name)
	}
	return nil
}

// minusOne is v-1 for v > 0.
func minusOne(v [maxLimbs]uint64) [maxLimbs]uint64 {
	for l := range v {
		v[l]--
		if v[l] != ^uint64(0) {
			break
		}
	}
	return v
}

// setSmall writes small signed coefficients into p.
func (p *Poly) setSmall(v []int8) {
	for i, q := range p.s.p.primes {
		row := p.p.Coeffs[i]
		for j, x := range v {
			// Branch-free: add q when x is negative.
			row[j] = uint64(int64(x)) + q&uint64(int64(x)>>63)
		}
	}
}

// SmallPoly returns the polynomial with the given signed coefficients, or an
// error when their count is not N.
func (s *Suite) SmallPoly(v []int8) (*Poly, error) {
	if len(v) != s.p.n {
		return nil, lengthError("small polynomial", len(v), s.p.n)
	}
	p := s.NewPoly()
	p.setSmall(v)
	return p, nil
}
