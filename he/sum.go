package he

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// Part names one of a ciphertext's two polynomials.
type Part uint8

// The two parts. A committee member needs only C1 to make its decryption share.
const (
	C0 Part = 0
	C1 Part = 1
)

// A Sum accumulates ciphertexts as unreduced integers: each coefficient is the
// plain sum of canonical coefficients, below count*Q. Its memory is that of one
// ciphertext whatever the count. Addition is associative and commutative, so
// replicas may merge partial sums in any order and get the same bytes.
type Sum struct {
	s     *Suite
	count int
	half  [2][]uint64
}

// NewSum returns the empty sum.
func (s *Suite) NewSum() *Sum {
	c := s.newCiphertext()
	return &Sum{s: s, half: c.half}
}

// Suite returns the sum's suite.
func (s *Sum) Suite() *Suite { return s.s }

// Count is the number of contributions.
func (s *Sum) Count() int { return s.count }

// Add adds one ciphertext. ErrCohortFull leaves the sum unchanged.
func (s *Sum) Add(c *Ciphertext) error {
	if c.s != s.s {
		return fmt.Errorf("%w: adding a ciphertext of %s to a sum of %s", ErrSuiteMismatch, c.s.p.name, s.s.p.name)
	}
	return s.accumulate(c.half, 1)
}

// Merge adds another sum's contributions.
func (s *Sum) Merge(o *Sum) error {
	if o.s != s.s {
		return fmt.Errorf("%w: merging a sum of %s into one of %s", ErrSuiteMismatch, o.s.p.name, s.s.p.name)
	}
	return s.accumulate(o.half, o.count)
}

func (s *Sum) accumulate(half [2][]uint64, count int) error {
	if s.count+count > s.s.p.maxCohort {
		return fmt.Errorf("%w: %d contributions and %d more, suite %s allows %d",
			ErrCohortFull, s.count, count, s.s.p.name, s.s.p.maxCohort)
	}
	w := s.s.conv.w
	for h := range half {
		a, b := s.half[h], half[h]
		for i := 0; i < len(a); i += w {
			var carry uint64
			for l := i; l < i+w; l++ {
				a[l], carry = bits.Add64(a[l], b[l], carry)
			}
		}
	}
	s.count += count
	return nil
}

// Reduce returns both parts modulo Q.
func (s *Sum) Reduce() (c0, c1 *Poly) {
	c0, c1 = s.s.NewPoly(), s.s.NewPoly()
	s.s.conv.toRNS(s.half[0], c0.p)
	s.s.conv.toRNS(s.half[1], c1.p)
	return c0, c1
}

// Encoding of one part: a header of magic, part and count, then N unreduced
// coefficients of fixed width. The header makes a part self-describing, so c0
// cannot be passed for c1 nor a sum of five for a sum of six.
const (
	sumMagic       = "CSUM"
	sumHeaderBytes = len(sumMagic) + 1 + 4
)

// SumPartBytes is the length of one encoded part of a sum.
func (s *Suite) SumPartBytes() int { return sumHeaderBytes + s.p.n*s.sumBytes }

// SumBytes is the length of an encoded sum: part c0, then part c1.
func (s *Suite) SumBytes() int { return 2 * s.SumPartBytes() }

// PartBytes encodes one part of the sum.
func (s *Sum) PartBytes(part Part) []byte {
	out := make([]byte, 0, s.s.SumPartBytes())
	out = append(out, sumMagic...)
	out = append(out, byte(part&1))
	out = binary.LittleEndian.AppendUint32(out, uint32(s.count))
	return s.s.conv.encode(s.half[part&1], s.s.sumBytes, out)
}

// Bytes encodes the whole sum.
func (s *Sum) Bytes() []byte { return append(s.PartBytes(C0), s.PartBytes(C1)...) }

// ParseSum decodes Bytes strictly: exact length, matching counts within the
// suite's cohort, and coefficients at most count*(Q-1).
func (s *Suite) ParseSum(b []byte) (*Sum, error) {
	if len(b) != s.SumBytes() {
		return nil, lengthError("sum", len(b), s.SumBytes())
	}
	c0, err := s.ParseSumPart(b[:len(b)/2], C0)
	if err != nil {
		return nil, err
	}
	c1, err := s.ParseSumPart(b[len(b)/2:], C1)
	if err != nil {
		return nil, err
	}
	return JoinSum(c0, c1)
}

// A SumPart is one polynomial of a sum, with its count.
type SumPart struct {
	s     *Suite
	part  Part
	count int
	limbs []uint64
}

// Part copies one part out of the sum.
func (s *Sum) Part(part Part) *SumPart {
	return &SumPart{s: s.s, part: part & 1, count: s.count, limbs: slices.Clone(s.half[part&1])}
}

// ParseSumPart decodes one encoded part, which must be the wanted one.
func (s *Suite) ParseSumPart(b []byte, want Part) (*SumPart, error) {
	if len(b) != s.SumPartBytes() {
		return nil, lengthError(fmt.Sprintf("sum part c%d", want), len(b), s.SumPartBytes())
	}
	if string(b[:4]) != sumMagic || b[4] != byte(want) || want > C1 {
		return nil, fmt.Errorf("%w: not part c%d of a sum", ErrNotCanonical, want)
	}
	count := binary.LittleEndian.Uint32(b[5:])
	if count > uint32(s.p.maxCohort) {
		return nil, fmt.Errorf("%w: part claims %d contributions, suite %s allows %d",
			ErrCohortFull, count, s.p.name, s.p.maxCohort)
	}
	p := &SumPart{s: s, part: want, count: int(count), limbs: make([]uint64, s.p.n*s.conv.w)}
	largest := minusOne(s.conv.q)
	var carry uint64
	for l := range largest {
		hi, lo := bits.Mul64(largest[l], uint64(count))
		var c uint64
		largest[l], c = bits.Add64(lo, carry, 0)
		carry = hi + c
	}
	if !s.conv.decode(b[sumHeaderBytes:], s.sumBytes, &largest, p.limbs) {
		return nil, fmt.Errorf("%w: sum part c%d has a coefficient above %d*(Q-1) of suite %s",
			ErrNotCanonical, want, count, s.p.name)
	}
	return p, nil
}

// JoinSum puts the two parts of one sum together.
func JoinSum(c0, c1 *SumPart) (*Sum, error) {
	switch {
	case c0.s != c1.s:
		return nil, fmt.Errorf("%w: joining parts of %s and %s", ErrSuiteMismatch, c0.s.p.name, c1.s.p.name)
	case c0.part != C0 || c1.part != C1:
		return nil, fmt.Errorf("%w: got parts c%d and c%d", ErrHalvesDiffer, c0.part, c1.part)
	case c0.count != c1.count:
		return nil, fmt.Errorf("%w: counts %d and %d", ErrHalvesDiffer, c0.count, c1.count)
	}
	return &Sum{s: c0.s, count: c0.count, half: [2][]uint64{slices.Clone(c0.limbs), slices.Clone(c1.limbs)}}, nil
}

// Count is the number of contributions.
func (p *SumPart) Count() int { return p.count }

// Suite returns the part's suite.
func (p *SumPart) Suite() *Suite { return p.s }

// Bytes encodes the part as Sum.PartBytes does.
func (p *SumPart) Bytes() []byte {
	t := Sum{s: p.s, count: p.count}
	t.half[p.part] = p.limbs
	return t.PartBytes(p.part)
}

// Reduce returns the part modulo Q.
func (p *SumPart) Reduce() *Poly {
	out := p.s.NewPoly()
	p.s.conv.toRNS(p.limbs, out.p)
	return out
}

// Digest is SHA-256 over a domain, the suite's name and the part's bytes.
func (p *SumPart) Digest() [32]byte {
	return p.s.partDigest(p.Bytes())
}

func (s *Suite) partDigest(b []byte) [32]byte {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "credence/he/sum-part/v1\x00%s\x00", s.p.name) // a hash never fails
	_, _ = h.Write(b)
	return [32]byte(h.Sum(nil))
}

// PartDigest is the digest of one part.
func (s *Sum) PartDigest(part Part) [32]byte { return s.s.partDigest(s.PartBytes(part)) }

// Digest identifies the whole sum: SumDigest of its two parts.
func (s *Sum) Digest() [32]byte { return SumDigest(s.PartDigest(C0), s.PartDigest(C1)) }

// SumDigest combines the digests of the two parts, so that someone who holds
// c1 and only the digest of c0 can still name the whole sum. The count and the
// suite are inside the parts' digests.
func SumDigest(c0, c1 [32]byte) [32]byte {
	h := sha256.New()
	_, _ = h.Write([]byte("credence/he/sum/v1\x00")) // a hash never fails
	_, _ = h.Write(c0[:])
	_, _ = h.Write(c1[:])
	return [32]byte(h.Sum(nil))
}
