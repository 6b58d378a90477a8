package training

import (
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/zk/fixedpoint"
)

// Attacks that choose values when the challenge r is known. Every check is then
// an equation or two in as many unknowns: Freivalds' checks are linear, a lookup
// is one sum of inverses, and nothing else says that a value is small.

// lateBase gives three starting weights of output 0 what the bent weight (from
// the constant input to output 0) lacks in the first step's update, so that
// neither the first scores nor the public base at r show it: three linear
// equations.
func lateBase(in *instance, a *Assignment, r fr.Element) {
	l, layer := in.shape.Layout, in.shape.Model.Layers()[0]
	var equations [3][4]fr.Element // update, scores, base; three coefficients, the right side
	for e := range 3 {             // weights from inputs 0, 1, 2
		equations[0][e] = power(r, e)
		for i := range l.Rows {
			var x, cell fr.Element
			switch {
			case e > 0:
				cell.SetInt64(in.table.Feature(i, e-1))
			case i < in.table.Used:
				cell.SetUint64(1 << fixedpoint.FeatureFraction)
			}
			x = power(r, i*l.Width())
			equations[1][e].Add(&equations[1][e], x.Mul(&x, &cell))
		}
		equations[2][e] = power(r, layer.Index(e, 0))
	}
	equations[0][3].SetOne()
	for e, d := range solve(equations) {
		base := &a.secret["base"][layer.Index(e, 0)]
		base.Add(base, &d)
	}
}

// lateRests gives two limbs of the rounding's rests what the bent noise lacks,
// so that the lookup of limbs sums to what it did. With u and w for r minus the
// two limbs: u + weight*w = k and 1/u + 1/w = s, a quadratic equation that has
// a solution for every other choice of the second limb.
func lateRests(in *instance, a *Assignment, r fr.Element) {
	rests := a.secret["quantise rest"]
	for i := 1; i < in.shape.Model.Parameters(); i++ {
		first, second, weight := &rests[0], &rests[i*in.shape.quantiseLimbs()], power(r, i)
		var u, w, s, k, t fr.Element
		u.Sub(&r, first)
		w.Sub(&r, second)
		s.Inverse(&u)
		s.Add(&s, t.Inverse(&w))
		k.Mul(&weight, &w).Add(&k, &u).Sub(&k, one())
		// s*weight*w^2 + (1 - weight - s*k)*w + k = 0
		var square, linear, root fr.Element
		square.Mul(&s, &weight)
		linear.Mul(&s, &k).Add(&linear, &weight).Sub(one(), &linear)
		root.Square(&linear)
		t.Mul(&square, &k)
		t.Double(&t).Double(&t)
		if root.Sub(&root, &t).Legendre() != 1 {
			continue
		}
		root.Sqrt(&root)
		t.Double(&square)
		w.Sub(&root, &linear).Div(&w, &t)
		u.Mul(&weight, &w).Sub(&k, &u)
		first.Sub(&r, &u)
		second.Sub(&r, &w)
		return
	}
}

// power is x^n.
func power(x fr.Element, n int) fr.Element {
	out := fr.One()
	for range n {
		out.Mul(&out, &x)
	}
	return out
}

// solve is Gauss's elimination of three equations, of which none is degenerate
// but with negligible probability.
func solve(m [3][4]fr.Element) (x [3]fr.Element) {
	for p := range m {
		for row := range m {
			if row == p {
				continue
			}
			var factor, t fr.Element
			factor.Div(&m[row][p], &m[p][p])
			for c := range m[row] {
				m[row][c].Sub(&m[row][c], t.Mul(&factor, &m[p][c]))
			}
		}
	}
	for p := range m {
		x[p].Div(&m[p][3], &m[p][p])
	}
	return x
}
