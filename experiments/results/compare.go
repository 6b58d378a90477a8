package results

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// The tests of a difference.
const (
	PairedT = "paired t"
	WelchT  = "Welch's t"
)

// Difference is how a figure of one group differs from that of another.
type Difference struct {
	Mean      float64 // of the group minus that of the baseline
	Low, High float64 // of a 95 % confidence interval
	Test      string  // PairedT, WelchT; "": too few seeds, see Why
	Pairs     int     // of seeds, for PairedT
	T, DF, P  float64 // P: two-sided
	Adjusted  float64 // P, corrected by Holm for the comparisons made together
	Why       string  // there is no test
}

// Likely says in words what P means, after correction.
func (d Difference) Likely() string {
	switch {
	case d.Test == "":
		return d.Why
	case d.Adjusted < 0.01:
		return "a difference is very likely"
	case d.Adjusted < 0.05:
		return "a difference is likely"
	}
	return "may well be chance"
}

// Compare compares the last values of a metric of two groups.
func Compare(baseline, group Group, m Metric) Difference {
	seedsA, a := baseline.Last(m)
	seedsB, b := group.Last(m)
	d := Difference{Mean: Summarise(b).Mean - Summarise(a).Mean, P: math.NaN(), Adjusted: math.NaN()}
	switch {
	case len(a) == 0 || len(b) == 0:
		d.Mean, d.Why = math.NaN(), "no value"
		return d
	case len(a) < 2 || len(b) < 2:
		d.Why = "one seed: nothing to tell chance by"
		return d
	}
	if pairs, ok := pair(seedsA, a, seedsB, b); ok {
		return paired(d, pairs)
	}
	return welch(d, Summarise(a), Summarise(b))
}

// pair returns the differences seed by seed, when both groups have the same
// seeds, each once.
func pair(seedsA []uint64, a []float64, seedsB []uint64, b []float64) ([]float64, bool) {
	if len(seedsA) != len(seedsB) {
		return nil, false
	}
	var out []float64
	for i, s := range seedsA {
		k := slices.Index(seedsB, s)
		if k < 0 || slices.Index(seedsA, s) != i || slices.Contains(seedsB[k+1:], s) {
			return nil, false
		}
		out = append(out, b[k]-a[i])
	}
	return out, true
}

func paired(d Difference, pairs []float64) Difference {
	s := Summarise(pairs)
	d.Pairs = s.N
	if s.Std == 0 {
		d.Why = "the same difference at every seed"
		if s.Mean == 0 {
			d.Why = "equal at every seed"
		}
		return d
	}
	d.Test = PairedT
	return d.student(s.Std/math.Sqrt(float64(s.N)), float64(s.N-1))
}

func welch(d Difference, a, b Stat) Difference {
	va, vb := a.Std*a.Std/float64(a.N), b.Std*b.Std/float64(b.N)
	if va+vb == 0 {
		d.Why = "no spread over the seeds"
		return d
	}
	d.Test = WelchT
	return d.student(math.Sqrt(va+vb), (va+vb)*(va+vb)/(va*va/float64(a.N-1)+vb*vb/float64(b.N-1)))
}

// student fills in a t test with the given standard error and degrees of
// freedom.
func (d Difference) student(err, df float64) Difference {
	dist := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: df}
	d.T, d.DF = d.Mean/err, df
	d.P = min(1, 2*dist.CDF(-math.Abs(d.T)))
	d.Adjusted = d.P
	half := dist.Quantile(0.975) * err
	d.Low, d.High = d.Mean-half, d.Mean+half
	return d
}

// CompareAll compares every group with the first and corrects the
// probabilities by Holm's method. The first entry is the zero difference.
func CompareAll(groups []Group, m Metric) []Difference {
	out := make([]Difference, len(groups))
	for i := range groups {
		if i == 0 {
			out[0] = Difference{Why: "the baseline", P: math.NaN(), Adjusted: math.NaN()}
			continue
		}
		out[i] = Compare(groups[0], groups[i], m)
	}
	Holm(out)
	return out
}

// Holm sets Adjusted of those that were tested: the k-th smallest of n
// probabilities times n-k+1, never below one that was smaller.
func Holm(ds []Difference) {
	var order []int
	for i, d := range ds {
		if d.Test != "" {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case ds[a].P < ds[b].P:
			return -1
		case ds[a].P > ds[b].P:
			return 1
		}
		return 0
	})
	floor := 0.0
	for rank, i := range order {
		floor = max(floor, min(1, ds[i].P*float64(len(order)-rank)))
		ds[i].Adjusted = floor
	}
}

// FewSeeds is the caution that goes with every difference.
func FewSeeds(groups []Group) string {
	least := math.MaxInt
	for _, g := range groups {
		least = min(least, len(g.Trainings))
	}
	switch {
	case len(groups) == 0:
		return ""
	case least < 2:
		return "One seed shows no spread: repeat the run with others before drawing conclusions."
	case least < 10:
		return "A hint, no proof: so few seeds cannot show that differences are normal, which the test assumes, and seeds vary the training, not the data."
	}
	return "A hint, no proof: the test assumes differences that are roughly normal, and seeds vary the training, not the data."
}
