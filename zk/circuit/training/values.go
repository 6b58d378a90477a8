package training

import (
	"crypto/sha256"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/zk/fixedpoint"
)

// Fold is the second challenge, drawn after the first by whoever verifies: it
// comes after every committed value because r does.
func Fold(statement fl.Digest, r *fr.Element) fr.Element {
	h := sha256.New()
	b := r.Bytes()
	_, _ = h.Write([]byte("credence/zk/training-fold/v1\x00")) // a hash never fails
	_, _ = h.Write(statement[:])
	_, _ = h.Write(b[:])
	var out fr.Element
	out.SetBytes(h.Sum(nil))
	return out
}

// The polynomials behind the public inputs, lowest coefficient first. That of a
// table is table.Polynomial.

// WeightPolynomial is a flat vector of weights, then masks.
func WeightPolynomial(weights []int32, masks []fr.Element) []fr.Element {
	out := make([]fr.Element, len(weights), len(weights)+len(masks))
	for i, w := range weights {
		out[i].SetInt64(int64(w))
	}
	return append(out, masks...)
}

// NoisePolynomial is the rounding's public noise, a number a parameter.
func NoisePolynomial(noise []uint32) []fr.Element {
	out := make([]fr.Element, len(noise))
	for i, n := range noise {
		out[i].SetUint64(uint64(n))
	}
	return out
}

// BatchPolynomial has coefficient t*Rows+i one where step t uses row i. A step
// without a batch uses the first used rows.
func (s *Shape) BatchPolynomial(steps []fixedpoint.Step, used int) []fr.Element {
	rows := s.Layout.Rows
	out := make([]fr.Element, len(steps)*rows)
	for t, st := range steps {
		if st.Batch == nil {
			for i := range used {
				out[t*rows+i].SetOne()
			}
		}
		for _, i := range st.Batch {
			out[t*rows+i].SetOne()
		}
	}
	return out
}

// Message is the polynomial of one ciphertext's values: coefficient i holds
// values i*digits to (i+1)*digits-1 at a distance of slotBits, and masks stand
// from degree n on.
func Message(values []int32, n, digits, slotBits int, masks []fr.Element) []fr.Element {
	out := make([]fr.Element, n, n+len(masks))
	var radix, v fr.Element
	radix.SetBigInt(new(big.Int).Lsh(big.NewInt(1), uint(slotBits)))
	for i := range out {
		for j := digits - 1; j >= 0; j-- {
			out[i].Mul(&out[i], &radix)
			if at := i*digits + j; at < len(values) {
				out[i].Add(&out[i], v.SetInt64(int64(values[at])))
			}
		}
	}
	return append(out, masks...)
}
