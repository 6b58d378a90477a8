package he

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestResidues(t *testing.T) {
	for _, s := range Suites() {
		p := s.UniformPoly()
		p.p.Coeffs[0][0], p.p.Coeffs[len(s.p.primes)-1][s.p.n-1] = 0, s.p.primes[len(s.p.primes)-1]-1
		b := p.Residues()
		if len(b) != s.ResidueBytes() {
			t.Fatalf("%s: %d bytes, want %d", s.Name(), len(b), s.ResidueBytes())
		}
		if q, err := s.ParseResidues(b); err != nil || !q.Equal(p) {
			t.Errorf("%s: read back another polynomial (%v)", s.Name(), err)
		}
		for _, wrong := range [][]byte{nil, b[1:], append(bytes.Clone(b), 0)} {
			if _, err := s.ParseResidues(wrong); !errors.Is(err, ErrLength) {
				t.Errorf("%s: %d bytes: got %v", s.Name(), len(wrong), err)
			}
		}
		width := s.residueWidth()
		for i, q := range s.p.primes {
			for _, at := range []int{0, s.p.n - 1} {
				var v [8]byte
				binary.LittleEndian.PutUint64(v[:], q)
				wrong := bytes.Clone(b)
				copy(wrong[(i*s.p.n+at)*width:], v[:width])
				if _, err := s.ParseResidues(wrong); !errors.Is(err, ErrNotCanonical) {
					t.Errorf("%s: residue %d modulo prime %d is the prime: got %v", s.Name(), at, i, err)
				}
			}
		}
	}
}

func FuzzParseResidues(f *testing.F) {
	s, err := LookupSuite("insecure-rlwe64-d4-v1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.UniformPoly().Residues())
	f.Add(make([]byte, s.ResidueBytes()))
	f.Add(bytes.Repeat([]byte{0xff}, s.ResidueBytes()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := s.ParseResidues(b)
		if err == nil && !bytes.Equal(p.Residues(), b) {
			t.Error("what was read is written otherwise")
		}
	})
}
