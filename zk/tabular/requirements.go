package tabular

import (
	"fmt"
	"math"
	"math/big"
)

// Requirements are what a job asks of a node's data, in the units of the
// examples that models see (after the schema's normalisation). They are about
// the values as committed: multiples of the grid's step, imputed ones included.
type Requirements struct {
	Numbers []NumberRequirements `json:"numbers"`           // one a number: the features, then real targets
	Classes []int                `json:"classes,omitempty"` // one a class: the fewest rows
}

// NumberRequirements are inclusive bounds on one column; nil means none.
type NumberRequirements struct {
	Min *float64 `json:"min,omitempty"` // every value; rounded to the grid as values are
	Max *float64 `json:"max,omitempty"`

	MeanMin *float64 `json:"mean_min,omitempty"`
	MeanMax *float64 `json:"mean_max,omitempty"`
	// Variance of the population: mean of squares less square of the mean.
	VarianceMin *float64 `json:"variance_min,omitempty"`
	VarianceMax *float64 `json:"variance_max,omitempty"`

	MissingMax *float64 `json:"missing_max,omitempty"` // share of rows, in [0,1]; features only
}

// Limits turns requirements into integers for a table of n rows. It is exact,
// so every party gets the same ones. ErrLayout: requirements that no table of
// the layout meets, or that are not those of the layout. ErrTable: n rows are
// too few for them.
func (r Requirements) Limits(s Spec, n int) (Limits, error) {
	if err := s.Check(); err != nil {
		return Limits{}, err
	}
	l := s.Layout
	if n < 1 || n > l.Rows {
		return Limits{}, fmt.Errorf("%w: %d rows, the layout holds 1 to %d", ErrTable, n, l.Rows)
	}
	if len(r.Numbers) != l.Numbers() || len(r.Classes) != l.Classes() && len(r.Classes) != 0 {
		return Limits{}, fmt.Errorf("%w: requirements on %d numbers and %d classes, the layout has %d and %d",
			ErrLayout, len(r.Numbers), len(r.Classes), l.Numbers(), l.Classes())
	}
	out := l.NoLimits(n)
	for i, q := range r.Numbers {
		if err := q.apply(s, i, n, &out); err != nil {
			return Limits{}, err
		}
	}
	for k, least := range r.Classes {
		switch {
		case least < 0 || least > l.Rows:
			return Limits{}, fmt.Errorf("%w: class %d: at least %d rows: want 0 to %d", ErrLayout, k, least, l.Rows)
		case least > n:
			return Limits{}, fmt.Errorf("%w: class %d needs %d rows, there are %d in all", ErrTable, k, least, n)
		}
		out.Classes[k] = int64(least)
	}
	return out, l.CheckLimits(n, out)
}

func (q NumberRequirements) apply(s Spec, i, n int, out *Limits) error {
	b, frac := &out.Numbers[i], s.frac(i)
	half := big.NewRat(1, 2)
	for _, p := range []struct {
		what  string
		value *float64
		into  *int64
		least bool
		// the bound in the units of the limit is value * scale (+ 1/2, floor).
		scale *big.Rat
		round *big.Rat
	}{
		{"min", q.Min, &b.Min, true, grid(frac), half},
		{"max", q.Max, &b.Max, false, grid(frac), half},
		{"mean_min", q.MeanMin, &b.SumMin, true, times(grid(frac), n), nil},
		{"mean_max", q.MeanMax, &b.SumMax, false, times(grid(frac), n), nil},
		{"variance_min", q.VarianceMin, &b.SpreadMin, true, times(grid(2*frac), n*n), nil},
		{"variance_max", q.VarianceMax, &b.SpreadMax, false, times(grid(2*frac), n*n), nil},
	} {
		if p.value == nil {
			continue
		}
		if math.IsNaN(*p.value) || math.IsInf(*p.value, 0) {
			return fmt.Errorf("%w: number %d: %s is not a finite number", ErrLayout, i, p.what)
		}
		x := new(big.Rat)
		x.SetFloat64(*p.value)
		x.Mul(x, p.scale)
		v := floor(x)
		switch {
		case p.round != nil:
			v = floor(x.Add(x, p.round))
		case p.least:
			v = floor(x.Neg(x))
			v.Neg(v) // the ceiling
		}
		// A bound beyond what a table holds asks nothing, or the impossible;
		// *into is still the widest.
		widest := big.NewInt(*p.into)
		if p.least && v.Cmp(widest) > 0 || !p.least && v.Cmp(widest) < 0 {
			if !v.IsInt64() {
				return fmt.Errorf("%w: number %d: %s of %v cannot be met by %d bits on a grid of 2^-%d", ErrLayout, i, p.what, *p.value, s.Layout.Bits, frac)
			}
			*p.into = v.Int64()
		}
	}
	w := s.Layout.widest()
	if b.Min > b.Max || b.SumMin > b.SumMax || b.SpreadMin > b.SpreadMax ||
		b.Min > w.Max || b.Max < w.Min || b.SumMin > w.SumMax || b.SumMax < w.SumMin || b.SpreadMin > w.SpreadMax || b.SpreadMax < 0 {
		return fmt.Errorf("%w: number %d: the requirements leave no value that %d bits hold on a grid of 2^-%d", ErrLayout, i, s.Layout.Bits, frac)
	}
	if q.MissingMax == nil {
		return nil
	}
	if m := *q.MissingMax; i >= s.Layout.Features || !(m >= 0 && m <= 1) {
		return fmt.Errorf("%w: number %d: missing_max is a share in [0,1] of a feature", ErrLayout, i)
	}
	x := new(big.Rat)
	x.SetFloat64(*q.MissingMax)
	out.Missing[i] = floor(times(x, n)).Int64()
	return nil
}

// grid is 2^frac.
func grid(frac int) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), uint(frac)))
}

func times(x *big.Rat, n int) *big.Rat { return x.Mul(x, new(big.Rat).SetInt64(int64(n))) }

func floor(x *big.Rat) *big.Int { return new(big.Int).Div(x.Num(), x.Denom()) } // Euclidean, the denominator is positive
