package fixedpoint

import "math/bits"

// wide is a signed 128-bit integer in two's complement. Sums over rows of
// error times feature, times the rate, have up to 121 bits.
type wide struct{ hi, lo uint64 }

func wideOf(v int64) wide { return wide{uint64(v >> 63), uint64(v)} }

func (a wide) add(b wide) wide {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return wide{hi, lo}
}

// product returns x*y.
func product(x, y int64) wide {
	hi, lo := bits.Mul64(uint64(x), uint64(y))
	// Two's complement: subtract y*2^64 for a negative x, and x*2^64 for a
	// negative y.
	hi -= uint64(x>>63) & uint64(y)
	hi -= uint64(y>>63) & uint64(x)
	return wide{hi, lo}
}

// times returns a*m for a small non-negative m; the result must fit.
func (a wide) times(m uint64) wide {
	hi, lo := bits.Mul64(a.lo, m)
	return wide{hi + a.hi*m, lo}
}

// divide returns floor(a / 2^shift), 0 < shift < 64, and the remainder. ok is
// false when the quotient does not fit 63 bits.
func (a wide) divide(shift int) (quotient int64, remainder uint64, ok bool) {
	remainder = a.lo & (1<<shift - 1)
	lo := a.lo>>shift | a.hi<<(64-shift)
	hi := uint64(int64(a.hi) >> shift)
	quotient = int64(lo)
	return quotient, remainder, hi == uint64(quotient>>63)
}

// shiftLeft returns a * 2^n, 0 <= n < 64.
func (a wide) shiftLeft(n int) wide {
	if n == 0 {
		return a
	}
	return wide{a.hi<<n | a.lo>>(64-n), a.lo << n}
}
