package he

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// residueWidth is the bytes of one residue: enough for every prime.
func (s *Suite) residueWidth() int {
	width := 0
	for _, q := range s.p.primes {
		width = max(width, (bits.Len64(q)+7)/8)
	}
	return width
}

// ResidueBytes is the length of Poly.Residues.
func (s *Suite) ResidueBytes() int { return len(s.p.primes) * s.p.n * s.residueWidth() }

// Residues encodes p by its N residues modulo the first prime, then modulo the
// next, little endian, as many bytes each as the largest prime takes. It is a
// few in a hundred longer than Bytes and takes a fraction of the time, since
// nothing is brought to integers: for what only members of a committee read.
func (p *Poly) Residues() []byte {
	s := p.s
	width := s.residueWidth()
	out := make([]byte, s.ResidueBytes()+8)
	at := 0
	for _, row := range p.p.Coeffs {
		for _, v := range row {
			// The bytes beyond width are zero and are overwritten by the next.
			binary.LittleEndian.PutUint64(out[at:], v)
			at += width
		}
	}
	return out[:at]
}

// ParseResidues decodes Residues, refusing any other length (ErrLength) and
// residues that are not below their prime (ErrNotCanonical).
func (s *Suite) ParseResidues(b []byte) (*Poly, error) {
	if want := s.ResidueBytes(); len(b) != want {
		return nil, lengthError("polynomial", len(b), want)
	}
	p := s.NewPoly()
	width := s.residueWidth()
	mask := ^uint64(0) >> uint(64-8*width)
	for i, q := range s.p.primes {
		row, canonical := p.p.Coeffs[i], true
		for j := range row {
			var v uint64
			if len(b) >= 8 {
				v = binary.LittleEndian.Uint64(b) & mask
			} else { // the last one
				var last [8]byte
				copy(last[:], b)
				v = binary.LittleEndian.Uint64(last[:])
			}
			b = b[width:]
			canonical = canonical && v < q
			row[j] = v
		}
		if !canonical {
			p.Erase()
			return nil, fmt.Errorf("%w: polynomial has a residue that is not below its prime, in suite %s", ErrNotCanonical, s.p.name)
		}
	}
	return p, nil
}
