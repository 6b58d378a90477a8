package privacyattack

import (
	"cmp"
	"math"
	"slices"
)

// z95 is the 97.5 % quantile of the normal distribution.
const z95 = 1.959964

// normalInterval returns the mean of some values and its 95 % interval by the
// normal approximation; of one value, the value itself.
func normalInterval(x []float64) (mid, low, high float64) {
	mid = mean(x)
	if len(x) < 2 {
		return mid, mid, mid
	}
	var squares float64
	for _, v := range x {
		squares += (v - mid) * (v - mid)
	}
	half := z95 * math.Sqrt(squares/float64(len(x)-1)/float64(len(x)))
	return mid, mid - half, mid + half
}

// wilson returns the 95 % interval of a share p of n trials (Wilson, JASA 1927).
func wilson(p float64, n int) (low, high float64) {
	m, z2 := float64(n), z95*z95
	mid := (p + z2/(2*m)) / (1 + z2/m)
	half := z95 / (1 + z2/m) * math.Sqrt(p*(1-p)/m+z2/(4*m*m))
	return max(0, mid-half), min(1, mid+half)
}

// AUCInterval returns a 95 % interval of AUC with the standard error of Hanley and
// McNeil (Radiology 1982). It takes the decisions to be independent; those about
// one round are not quite, so that it is somewhat too narrow.
func AUCInterval(scores []Score) (low, high float64) {
	var in, out float64
	for _, s := range scores {
		if s.Member {
			in++
		} else {
			out++
		}
	}
	a := AUC(scores)
	if in == 0 || out == 0 {
		return 0, 1
	}
	half := z95 * hanleyMcNeil(a, in, out)
	return max(0, a-half), min(1, a+half)
}

// hanleyMcNeil is the standard error of an area a over so many members and others.
func hanleyMcNeil(a, in, out float64) float64 {
	q1, q2 := a/(2-a), 2*a*a/(1+a)
	return math.Sqrt(max(0, (a*(1-a)+(in-1)*(q1-a*a)+(out-1)*(q2-a*a))/(in*out)))
}

// maxCurve bounds the points of a curve.
const maxCurve = 100

// ROC returns pairs of false and true positive rate as the threshold falls, from
// (0, 0) to (1, 1): at most a hundred. Equal scores make one step.
func ROC(scores []Score) [][2]float64 {
	sorted := slices.Clone(scores)
	slices.SortFunc(sorted, func(a, b Score) int { return cmp.Compare(b.Value, a.Value) })
	var in, out, yes, no float64
	for _, s := range sorted {
		if s.Member {
			in++
		} else {
			out++
		}
	}
	points := [][2]float64{{0, 0}}
	if in == 0 || out == 0 {
		return append(points, [2]float64{1, 1})
	}
	for i, s := range sorted {
		if s.Member {
			yes++
		} else {
			no++
		}
		if i+1 == len(sorted) || sorted[i+1].Value != s.Value {
			points = append(points, [2]float64{no / out, yes / in})
		}
	}
	if len(points) <= maxCurve {
		return points
	}
	thin := make([][2]float64, maxCurve)
	for i := range thin {
		thin[i] = points[i*(len(points)-1)/(maxCurve-1)]
	}
	return thin
}
