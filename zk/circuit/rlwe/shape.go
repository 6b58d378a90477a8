package rlwe

import (
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/he"
	"credence/zk/circuit/norm"
)

// ErrShape: a suite that this relation cannot carry.
var ErrShape = errors.New("rlwe: suite does not fit the circuit")

// MaxShards is the most shards whose partial norms may be added up.
const MaxShards = 1 << 16

// A Shape is one instance of the relation: the ring, the bounds, and how many
// rows c = p*u + e it has. Shapes come from UpdateShape, LinkedShape and
// KeyShareShape only, which check every bound that the no-wrap argument of SPEC.md needs.
type Shape struct {
	Name      string   // "update/<suite>", "linked/<suite>" or "keyshare/<suite>"
	N         int      // ring degree
	Q         *big.Int // modulus
	Rows      int      // equations that share u
	Digits    int      // digits of the message in row 0; none when zero
	SlotBits  int      // distance of two digits, in bits
	ValueBits int      // bits of one digit
	Limbs     int      // limbs of ValueBits/Limbs bits a digit is looked up in: 1 or 2
	Delta     *big.Int // scale of the message
	Error     int      // |e| <= Error
	Quotient  int      // |k| <= Quotient
	Cohort    int      // ciphertexts that may be added before p wraps
	// Link: the message is committed to by itself as well, so that another
	// proof can speak of the same values (SPEC.md, section 11).
	Link bool
	skip map[Constraint]bool
}

// UpdateShape is the relation of an encrypted update under suite s: two rows,
// a message with digits and a norm.
func UpdateShape(s *he.Suite) (*Shape, error) {
	sh := shape("update/", s, 2)
	sh.Digits, sh.SlotBits, sh.ValueBits, sh.Delta = s.Digits(), s.SlotBits(), s.ValueBits(), s.Delta()
	sh.Limbs = limbs(sh.Values(), sh.ValueBits)
	return sh, sh.check()
}

// LinkedShape is UpdateShape with a commitment to the message.
func LinkedShape(s *he.Suite) (*Shape, error) {
	sh, err := UpdateShape(s)
	if err != nil {
		return nil, err
	}
	sh.Name, sh.Link = "linked/"+s.Name(), true
	return sh, nil
}

// LinkMasks is the number of uniform coefficients, from X^N on, that hide a
// linked message: it is seen at the trapdoor and opened by two proofs.
const LinkMasks = 3

// Powers is the number of powers that commitments of this shape need.
func (s *Shape) Powers() int {
	if s.Link {
		return s.N + LinkMasks
	}
	return s.N
}

// KeyShareShape is the relation of a key share under suite s: one row, no
// message.
func KeyShareShape(s *he.Suite) (*Shape, error) {
	sh := shape("keyshare/", s, 1)
	return sh, sh.check()
}

func shape(prefix string, s *he.Suite, rows int) *Shape {
	return &Shape{
		Name: prefix + s.Name(), N: s.N(), Q: s.Q(), Rows: rows, Error: he.ErrorBound,
		Quotient: quotientBound(s.N()), Cohort: s.MaxCohort(), Delta: new(big.Int),
	}
}

// limbs decides how digits are looked up. A table of all digits costs a
// constraint an entry and gives the norm for nothing; with few values it is
// cheaper to split each digit in halves and to square it.
func limbs(values, bits int) int {
	whole, halves := values+1<<bits, 3*values+1<<(bits/2)
	if bits%2 == 0 && halves < whole {
		return 2
	}
	return 1
}

// quotientBound is the largest |k| the circuit accepts. The worst case over
// all inputs is N/2+3, but u is uniform ternary and p is a committee's key,
// fixed before u: then a coefficient of p*u/Q has variance N/18 and is
// sub-Gaussian, so 3*sqrt(N) is exceeded with probability below
// 2*exp(-81) = 2^-115 a coefficient. A prover that meets such a case (it will
// not) encrypts again. The small bound shortens the table; soundness needs
// only that some bound keeps Q*k far below the field's size.
func quotientBound(n int) int {
	return min(n/2+3, int(math.Ceil(3*math.Sqrt(float64(n))))+3)
}

// HasMessage reports whether row 0 carries digits and the norm is bounded.
func (s *Shape) HasMessage() bool { return s.Digits > 0 }

// Values is the number of digits of the message.
func (s *Shape) Values() int { return s.Digits * s.N }

// table is the number of entries of the digits' table.
func (s *Shape) table() int { return 1 << (s.ValueBits / s.Limbs) }

// MaxSquareSum is the largest sum of squares one instance can hold.
func (s *Shape) MaxSquareSum() uint64 {
	return uint64(s.Values()) << (2 * (s.ValueBits - 1))
}

// check refuses a shape whose integers could wrap around the field.
func (s *Shape) check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrShape, s.Name, fmt.Sprintf(format, args...))
	}
	// SPEC.md, "No wrap": a coefficient of p*u + e + Delta*m - Q*k, reduced
	// modulo X^N+1, is at most N*Q/2 + 19 + Q + Q*K.
	lhs := new(big.Int).Mul(s.Q, big.NewInt(int64(s.N/2+1+s.Quotient)))
	lhs.Add(lhs, big.NewInt(int64(s.Error)))
	// A cohort of them must differ from a sum of canonical ciphertexts by less
	// than p.
	lhs.Add(lhs, s.Q)
	lhs.Mul(lhs, big.NewInt(int64(s.Cohort)))
	if lhs.Cmp(fr.Modulus()) >= 0 {
		return refuse("a cohort of %d with Q of %d bits and N=%d wraps around the scalar field", s.Cohort, s.Q.BitLen(), s.N)
	}
	if !s.HasMessage() {
		return nil
	}
	if s.ValueBits < 4 || s.ValueBits > 20 || s.Limbs < 1 || s.Limbs > 2 || s.ValueBits%s.Limbs != 0 {
		return refuse("digits of %d bits in %d limbs are not provided for", s.ValueBits, s.Limbs)
	}
	if m := new(big.Int).Lsh(s.Delta, uint(s.Digits*s.SlotBits)); m.Cmp(s.Q) > 0 {
		return refuse("Delta*m exceeds Q")
	}
	top := new(big.Int).SetUint64(s.MaxSquareSum())
	if top.Mul(top, big.NewInt(MaxShards)); top.BitLen() > norm.Bits {
		return refuse("the norm of %d shards has %d bits, more than %d", MaxShards, top.BitLen(), norm.Bits)
	}
	return nil
}
