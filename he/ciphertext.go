package he

import (
	"fmt"
)

// A Ciphertext is (c0, c1) as integers in [0,Q). It is immutable once made.
type Ciphertext struct {
	s    *Suite
	half [2][]uint64
}

func (s *Suite) newCiphertext() *Ciphertext {
	n := s.p.n * s.conv.w
	return &Ciphertext{s: s, half: [2][]uint64{make([]uint64, n), make([]uint64, n)}}
}

// Suite returns the ciphertext's suite.
func (c *Ciphertext) Suite() *Suite { return c.s }

// Bytes returns the canonical encoding: c0 then c1, CiphertextBytes() long.
func (c *Ciphertext) Bytes() []byte {
	out := make([]byte, 0, c.s.CiphertextBytes())
	for _, h := range c.half {
		out = c.s.conv.encode(h, c.s.coefBytes, out)
	}
	return out
}

// ParseCiphertext decodes Bytes, refusing any other length (ErrLength) and
// coefficients of Q or more (ErrNotCanonical).
func (s *Suite) ParseCiphertext(b []byte) (*Ciphertext, error) {
	c := new(Ciphertext)
	if err := s.ParseCiphertextInto(c, b); err != nil {
		return nil, err
	}
	return c, nil
}

// ParseCiphertextInto is ParseCiphertext into the memory of c, which nobody
// else may hold; the zero Ciphertext gets memory of its own. Whoever reads one
// ciphertext after the other needs that of one (half a megabyte at N=8192).
// After an error c is nothing and may only be parsed into again.
func (s *Suite) ParseCiphertextInto(c *Ciphertext, b []byte) error {
	if len(b) != s.CiphertextBytes() {
		return lengthError("ciphertext", len(b), s.CiphertextBytes())
	}
	if c.s != s || c.half[0] == nil {
		*c = *s.newCiphertext()
	}
	for i := range c.half {
		if err := s.parseLimbs(fmt.Sprintf("ciphertext part c%d", i), b[i*s.PolyBytes():(i+1)*s.PolyBytes()], c.half[i]); err != nil {
			return err
		}
	}
	return nil
}

// Polys returns c0 and c1 as ring elements.
func (c *Ciphertext) Polys() (c0, c1 *Poly) {
	c0, c1 = c.s.NewPoly(), c.s.NewPoly()
	c.s.conv.toRNS(c.half[0], c0.p)
	c.s.conv.toRNS(c.half[1], c1.p)
	return c0, c1
}
