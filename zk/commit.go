package zk

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/kzg"

	"credence/he"
)

// An SRS holds the powers of a secret tau that KZG commitments (Kate,
// Zaverucha, Goldberg 2010) need. It is immutable. The powers of a ceremony's
// first phase serve here and for Groth16 alike.
type SRS struct {
	g1 []bn254.G1Affine // tau^i * G1
	g2 bn254.G2Affine   // generator
	t2 bn254.G2Affine   // tau * G2
}

// A Commitment is a KZG commitment, which adds like the polynomial it holds.
type Commitment = bn254.G1Affine

// NewLocalSRS makes an SRS of n powers from fresh randomness that it forgets.
// Whoever runs it could have kept it: it is for tests and demonstrations.
func NewLocalSRS(n int) (*SRS, error) {
	tau, err := rand.Int(rand.Reader, new(big.Int).Sub(fr.Modulus(), big.NewInt(2)))
	if err != nil {
		return nil, fmt.Errorf("zk: drawing a trapdoor: %w", err)
	}
	tau.Add(tau, big.NewInt(2))
	defer func() { clear(tau.Bits()) }()
	srs, err := kzg.NewSRS(uint64(max(n, 8)), tau)
	if err != nil {
		return nil, fmt.Errorf("zk: making an SRS of %d powers: %w", n, err)
	}
	return &SRS{g1: srs.Pk.G1, g2: srs.Vk.G2[0], t2: srs.Vk.G2[1]}, nil
}

// NewSRS takes the powers from elsewhere: G1 powers from tau^0 on, and
// tau*G2. It checks that they are the powers of one tau.
func NewSRS(powers []bn254.G1Affine, tau bn254.G2Affine) (*SRS, error) {
	_, _, g1, g2 := bn254.Generators()
	s := &SRS{g1: powers, g2: g2, t2: tau}
	if len(powers) < 8 || !powers[0].Equal(&g1) || tau.IsInfinity() || !tau.IsInSubGroup() {
		return nil, fmt.Errorf("%w: an SRS needs at least 8 powers from the generator on, and tau in G2", ErrKeys)
	}
	for i := range powers {
		if !powers[i].IsInSubGroup() {
			return nil, fmt.Errorf("%w: power %d of the SRS is not on the curve", ErrKeys, i)
		}
	}
	// sum w_i*P_(i+1) = tau * sum w_i*P_i for random w.
	w := make([]fr.Element, len(powers)-1)
	for i := range w {
		if _, err := w[i].SetRandom(); err != nil {
			return nil, fmt.Errorf("zk: drawing weights: %w", err)
		}
	}
	lo, err := multiExp(powers[:len(w)], w)
	if err != nil {
		return nil, err
	}
	hi, err := multiExp(powers[1:], w)
	if err != nil {
		return nil, err
	}
	lo.Neg(&lo)
	ok, err := bn254.PairingCheck([]bn254.G1Affine{hi, lo}, []bn254.G2Affine{g2, tau})
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: the SRS is not the powers of one number", ErrKeys)
	}
	return s, nil
}

// Size is the number of powers: the most coefficients of a polynomial.
func (s *SRS) Size() int { return len(s.g1) }

const srsMagic = "CSRS\x01"

// Bytes encodes the SRS.
func (s *SRS) Bytes() []byte {
	out := append([]byte(srsMagic), binary.LittleEndian.AppendUint32(nil, uint32(len(s.g1)))...)
	t2 := s.t2.Bytes()
	out = append(out, t2[:]...)
	for i := range s.g1 {
		b := s.g1[i].RawBytes()
		out = append(out, b[:]...)
	}
	return out
}

// ParseSRS decodes Bytes and checks everything NewSRS checks.
func ParseSRS(b []byte) (*SRS, error) {
	powers, tau, err := parsePowers(b)
	if err != nil {
		return nil, err
	}
	return NewSRS(powers, tau)
}

func parsePowers(b []byte) ([]bn254.G1Affine, bn254.G2Affine, error) {
	var tau bn254.G2Affine
	const header = len(srsMagic) + 4
	if len(b) < header+bn254.SizeOfG2AffineCompressed || string(b[:len(srsMagic)]) != srsMagic {
		return nil, tau, fmt.Errorf("%w: not an SRS", ErrEncoding)
	}
	n := int(binary.LittleEndian.Uint32(b[len(srsMagic):]))
	if len(b) != header+bn254.SizeOfG2AffineCompressed+n*bn254.SizeOfG1AffineUncompressed {
		return nil, tau, fmt.Errorf("%w: SRS of %d powers has %d bytes", ErrEncoding, n, len(b))
	}
	b = b[header:]
	if err := parseG2(b[:bn254.SizeOfG2AffineCompressed], &tau); err != nil {
		return nil, tau, fmt.Errorf("tau of an SRS: %w", err)
	}
	b = b[bn254.SizeOfG2AffineCompressed:]
	powers := make([]bn254.G1Affine, n)
	for i := range powers {
		raw := b[i*bn254.SizeOfG1AffineUncompressed : (i+1)*bn254.SizeOfG1AffineUncompressed]
		if _, err := powers[i].SetBytes(raw); err != nil {
			return nil, tau, fmt.Errorf("%w: power %d of an SRS: %w", ErrEncoding, i, err)
		}
		if back := powers[i].RawBytes(); !bytes.Equal(back[:], raw) {
			return nil, tau, fmt.Errorf("%w: power %d of an SRS", ErrEncoding, i)
		}
	}
	return powers, tau, nil
}

// commit commits to a polynomial, lowest coefficient first.
func (s *SRS) commit(f []fr.Element) (Commitment, error) {
	if len(f) > len(s.g1) {
		return Commitment{}, fmt.Errorf("%w: a polynomial of %d coefficients, the SRS has %d powers", ErrKeys, len(f), len(s.g1))
	}
	return multiExp(s.g1[:len(f)], f)
}

// open returns the commitment to (f(X) - f(x)) / (X - x). It destroys f.
func (s *SRS) open(f []fr.Element, x *fr.Element) (Commitment, error) {
	// Synthetic division: q_i = f_(i+1) + x*q_(i+1).
	var t fr.Element
	for i := len(f) - 2; i >= 1; i-- {
		t.Mul(&f[i+1], x)
		f[i].Add(&f[i], &t)
	}
	return s.commit(f[1:])
}

func multiExp(points []bn254.G1Affine, scalars []fr.Element) (bn254.G1Affine, error) {
	var out bn254.G1Affine
	if _, err := out.MultiExp(points, scalars, ecc.MultiExpConfig{}); err != nil {
		return out, fmt.Errorf("zk: multi-exponentiation of %d points: %w", len(points), err)
	}
	return out, nil
}

// CommitCiphertext commits to both polynomials of a ciphertext.
func (s *SRS) CommitCiphertext(ct *he.Ciphertext) ([2]Commitment, error) {
	suite := ct.Suite()
	b := ct.Bytes()
	return s.commitHalves(b[:len(b)/2], b[len(b)/2:], suite.N(), suite.CoefficientBytes())
}

// CommitSum commits to both polynomials of a sum, unreduced as it is.
func (s *SRS) CommitSum(sum *he.Sum) ([2]Commitment, error) {
	n := sum.Suite().N()
	var half [2][]byte
	for part := range half {
		// A part is magic, part and count (9 bytes), then N coefficients.
		b := sum.PartBytes(he.Part(part))
		if len(b) < 9 || (len(b)-9)%n != 0 {
			return [2]Commitment{}, fmt.Errorf("zk: a sum's encoding of %d bytes is not that of N=%d", len(b), n)
		}
		half[part] = b[9:]
	}
	return s.commitHalves(half[0], half[1], n, len(half[0])/n)
}

func (s *SRS) commitHalves(b0, b1 []byte, n, width int) (out [2]Commitment, err error) {
	for i, b := range [][]byte{b0, b1} {
		f, err := integers(b, n, width)
		if err != nil {
			return out, err
		}
		if out[i], err = s.commit(f); err != nil {
			return out, err
		}
	}
	return out, nil
}

// integers reads n little-endian integers below the scalar field's order.
func integers(b []byte, n, width int) ([]fr.Element, error) {
	if len(b) != n*width || width > fr.Bytes {
		return nil, fmt.Errorf("%w: %d bytes for %d coefficients of %d", ErrEncoding, len(b), n, width)
	}
	out := make([]fr.Element, n)
	var buf [fr.Bytes]byte
	for i := range out {
		clear(buf[:])
		for j, x := range b[i*width : (i+1)*width] {
			buf[fr.Bytes-1-j] = x
		}
		if err := out[i].SetBytesCanonical(buf[:]); err != nil {
			return nil, fmt.Errorf("%w: coefficient %d is not below the field's order", ErrEncoding, i)
		}
	}
	return out, nil
}

// CheckCiphertext reports ErrCommitment when a ciphertext is not the one an
// attestation committed to.
func (s *SRS) CheckCiphertext(ct *he.Ciphertext, want [2]Commitment) error {
	got, err := s.CommitCiphertext(ct)
	if err != nil {
		return err
	}
	return sameCommitments("the ciphertext", got, want)
}

// CheckSum reports ErrCommitment when a sum is not the sum of the ciphertexts
// behind the given commitments, one pair a contribution.
func (s *SRS) CheckSum(sum *he.Sum, contributions [][2]Commitment) error {
	if sum.Count() != len(contributions) {
		return fmt.Errorf("%w: a sum of %d with %d commitments", ErrCommitment, sum.Count(), len(contributions))
	}
	got, err := s.CommitSum(sum)
	if err != nil {
		return err
	}
	return sameCommitments("the sum", got, AddCommitments(contributions...))
}

// AddCommitments adds commitments to ciphertexts, part by part.
func AddCommitments(contributions ...[2]Commitment) (out [2]Commitment) {
	for part := range out {
		var acc bn254.G1Jac
		for i := range contributions {
			acc.AddMixed(&contributions[i][part])
		}
		out[part].FromJacobian(&acc)
	}
	return out
}

func sameCommitments(what string, got, want [2]Commitment) error {
	for part := range got {
		if !got[part].Equal(&want[part]) {
			return fmt.Errorf("%w: polynomial c%d of %s", ErrCommitment, part, what)
		}
	}
	return nil
}

// parseG1 decodes a compressed point strictly.
func parseG1(b []byte, p *bn254.G1Affine) error {
	if _, err := p.SetBytes(b); err != nil {
		return fmt.Errorf("%w: G1 point: %w", ErrEncoding, err)
	}
	if back := p.Bytes(); !bytes.Equal(back[:], b) {
		return fmt.Errorf("%w: G1 point", ErrEncoding)
	}
	return nil
}

// parseG2 decodes a compressed point strictly, with the subgroup check.
func parseG2(b []byte, p *bn254.G2Affine) error {
	if _, err := p.SetBytes(b); err != nil {
		return fmt.Errorf("%w: G2 point: %w", ErrEncoding, err)
	}
	if back := p.Bytes(); !bytes.Equal(back[:], b) {
		return fmt.Errorf("%w: G2 point", ErrEncoding)
	}
	return nil
}
