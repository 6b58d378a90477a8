package fixedpoint

import (
	"math/big"
	"sync"
)

// curveBits is the precision of the tables' computation: far more than what
// rounds to 12 bits, and in integers, so that every machine makes one table.
const curveBits = 160

// ExpTable returns round(2^12 * exp(-j/256)) for j = 0, 1, ... up to the first
// zero, 2308 entries.
func ExpTable() []uint32 { return expTable() }

var expTable = sync.OnceValue(func() []uint32 {
	var out []uint32
	for _, e := range negativeExps() {
		x := new(big.Int).Rsh(new(big.Int).Add(e, half(curveBits-CurveFraction)), curveBits-CurveFraction)
		out = append(out, uint32(x.Uint64()))
		if x.Sign() == 0 {
			break
		}
	}
	return out
})

// SigmoidTable returns round(2^12 / (1+exp(-q/256))) for q = -Reach..Reach,
// where it is 0 and 2^12 at the ends and nowhere else.
func SigmoidTable() []uint32 { return sigmoidTable() }

// SigmoidReach is the largest score in the sigmoid's table: 2307/256 = 9.01.
func SigmoidReach() int { return len(sigmoidTable()) / 2 }

var sigmoidTable = sync.OnceValue(func() []uint32 {
	one := new(big.Int).Lsh(big.NewInt(1), curveBits)
	top := uint32(1) << CurveFraction
	var right []uint32 // q = 0, 1, ...
	for _, e := range negativeExps() {
		den := new(big.Int).Add(one, e)
		x := new(big.Int).Lsh(one, CurveFraction+1)
		x.Add(x, den).Div(x, new(big.Int).Lsh(den, 1)) // floor(2^12/(1+e) + 1/2)
		right = append(right, uint32(x.Uint64()))
		if right[len(right)-1] == top {
			break
		}
	}
	reach := len(right) - 1
	out := make([]uint32, 2*reach+1)
	for q, a := range right {
		out[reach+q] = a
		out[reach-q] = top - a
	}
	return out
})

// negativeExps yields exp(-j/256) scaled by 2^curveBits, from j = 0 on.
func negativeExps() func(func(int, *big.Int) bool) {
	// exp(-1/256) by its series; twenty terms reach 2^-200.
	term := new(big.Int).Lsh(big.NewInt(1), curveBits)
	unit := new(big.Int).Set(term)
	for k := int64(1); k < 24; k++ {
		term.Div(term, big.NewInt(256*k))
		if k%2 == 1 {
			unit.Sub(unit, term)
		} else {
			unit.Add(unit, term)
		}
	}
	return func(yield func(int, *big.Int) bool) {
		x := new(big.Int).Lsh(big.NewInt(1), curveBits)
		for j := 0; yield(j, x); j++ {
			x = new(big.Int).Rsh(new(big.Int).Mul(x, unit), curveBits)
		}
	}
}

func half(bits int) *big.Int { return new(big.Int).Lsh(big.NewInt(1), uint(bits-1)) }
