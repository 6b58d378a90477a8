package rlwe

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/fft"
)

// ErrWitness: the secret does not satisfy the relation with the given
// polynomials. It names no coefficient's value.
var ErrWitness = errors.New("rlwe: secret does not match the polynomials")

// A Multiplier holds one public polynomial p, lifted to (-Q/2, Q/2], ready to
// be multiplied by short polynomials over the integers. Immutable.
type Multiplier struct {
	shape  *Shape
	domain *fft.Domain
	// P is p's coefficients in the scalar field.
	P []fr.Element
	// values of p on the domain of size 2N, bit-reversed.
	values []fr.Element
	invQ   fr.Element
}

// Lift maps canonical coefficients, little-endian and width bytes each in
// [0,Q), to the scalar field: centred to (-Q/2, Q/2] when centre is set, as
// they are otherwise.
func (s *Shape) Lift(b []byte, width int, centre bool) ([]fr.Element, error) {
	if len(b) != s.N*width || width > fr.Bytes {
		return nil, fmt.Errorf("rlwe: polynomial of %s has %d bytes, want %d", s.Name, len(b), s.N*width)
	}
	var q fr.Element
	q.SetBigInt(s.Q)
	half := new(big.Int).Rsh(s.Q, 1)
	var halfBytes, buf [fr.Bytes]byte
	half.FillBytes(halfBytes[:])
	var qBytes [fr.Bytes]byte
	s.Q.FillBytes(qBytes[:])
	out := make([]fr.Element, s.N)
	for i := range out {
		clear(buf[:])
		for j, x := range b[i*width : (i+1)*width] {
			buf[fr.Bytes-1-j] = x
		}
		if string(buf[:]) >= string(qBytes[:]) {
			return nil, fmt.Errorf("rlwe: coefficient %d is not below Q in %s", i, s.Name)
		}
		out[i].SetBytes(buf[:])
		if centre && string(buf[:]) > string(halfBytes[:]) {
			out[i].Sub(&out[i], &q)
		}
	}
	return out, nil
}

// NewMultiplier prepares p, whose coefficients are centred (Lift).
func (s *Shape) NewMultiplier(p []fr.Element) *Multiplier {
	m := &Multiplier{shape: s, domain: fft.NewDomain(uint64(2 * s.N)), P: p}
	m.values = make([]fr.Element, 2*s.N)
	copy(m.values, p)
	m.domain.FFT(m.values, fft.DIF)
	m.invQ.SetBigInt(s.Q)
	m.invQ.Inverse(&m.invQ)
	return m
}

// Quotients solves row `row` for k and h: with g = e + Delta*m - Q*k,
//
//	p*u + g - c = (X^N + 1)*h
//
// over the integers, where c has canonical coefficients (Lift, not centred).
// It returns ErrWitness when no k within the bound exists.
func (m *Multiplier) Quotients(row int, secret *Secret, c []fr.Element) (k []int, h []fr.Element, err error) {
	s := m.shape
	if len(secret.U) != s.N || row >= s.Rows || len(secret.Errors) != s.Rows || len(secret.Errors[row]) != s.N || len(c) != s.N {
		return nil, nil, fmt.Errorf("%w: row %d of %s needs N=%d coefficients", ErrWitness, row, s.Name, s.N)
	}
	prod := make([]fr.Element, 2*s.N)
	for i, x := range secret.U {
		prod[i].SetInt64(int64(x))
	}
	m.domain.FFT(prod, fft.DIF)
	for i := range prod {
		prod[i].Mul(&prod[i], &m.values[i])
	}
	m.domain.FFTInverse(prod, fft.DIT)
	// p*u = low + X^N*high = (low - high) + (X^N + 1)*high.
	h = make([]fr.Element, s.N)
	copy(h, prod[s.N:])

	var digits []uint64
	if row == 0 {
		if digits, err = s.digits(secret.Values); err != nil {
			return nil, nil, err
		}
	}
	var delta, radix fr.Element
	delta.SetBigInt(s.Delta)
	radix.SetBigInt(new(big.Int).Lsh(big.NewInt(1), uint(s.SlotBits)))
	k = make([]int, s.N)
	var msg, t fr.Element
	for i := range k {
		x := &prod[i]
		x.Sub(x, &h[i]).Sub(x, &c[i])
		x.Add(x, t.SetInt64(int64(secret.Errors[row][i])))
		if len(digits) > 0 {
			msg.SetZero()
			for j := s.Digits - 1; j >= 0; j-- {
				msg.Mul(&msg, &radix).Add(&msg, t.SetUint64(digits[i*s.Digits+j]))
			}
			x.Add(x, msg.Mul(&msg, &delta))
		}
		// x is an integer multiple of Q far below p/2 in absolute value, so
		// dividing in the field divides over the integers.
		x.Mul(x, &m.invQ)
		v, ok := signed(x)
		if !ok || v < -s.Quotient || v > s.Quotient {
			clear(prod)
			return nil, nil, fmt.Errorf("%w: row %d of %s, coefficient %d", ErrWitness, row, s.Name, i)
		}
		k[i] = v
	}
	clear(prod)
	return k, h, nil
}

// signed returns a field element as a small signed integer.
func signed(x *fr.Element) (int, bool) {
	if x.IsUint64() {
		v := x.Uint64()
		return int(v), v < 1<<31
	}
	var neg fr.Element
	neg.Neg(x)
	if neg.IsUint64() {
		v := neg.Uint64()
		return -int(v), v < 1<<31
	}
	return 0, false
}

// Evaluate returns f(x) for a polynomial with the lowest coefficient first.
func Evaluate(f []fr.Element, x *fr.Element) fr.Element {
	var acc fr.Element
	for i := len(f) - 1; i >= 0; i-- {
		acc.Mul(&acc, x).Add(&acc, &f[i])
	}
	return acc
}

// RingAt returns r^N + 1.
func (s *Shape) RingAt(r *fr.Element) fr.Element {
	x := *r
	for n := s.N; n > 1; n /= 2 {
		x.Square(&x)
	}
	var one fr.Element
	one.SetOne()
	x.Add(&x, &one)
	return x
}
