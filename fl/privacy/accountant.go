package privacy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// DefaultOrders returns the Renyi orders at which an Accountant keeps its
// books: dense near 1, where little noise is spent, and up to 1024, where much
// is.
func DefaultOrders() []float64 {
	var orders []float64
	for x := 1.05; x < 1.1; x += 0.01 {
		orders = append(orders, x)
	}
	for x := 11; x < 110; x++ {
		orders = append(orders, float64(x)/10)
	}
	for x := 11; x < 64; x++ {
		orders = append(orders, float64(x))
	}
	for x := 64; x < 256; x += 8 {
		orders = append(orders, float64(x))
	}
	return append(orders, 256, 320, 384, 448, 512, 640, 768, 896, 1024)
}

// Accountant adds up what mechanisms on the same data spend: at every order
// their Renyi divergences add (Mironov 2017, proposition 1). The zero value
// uses DefaultOrders.
type Accountant struct {
	orders, spent []float64
}

// NewAccountant makes an accountant of the given orders, each above 1.
func NewAccountant(orders []float64) (*Accountant, error) {
	for _, a := range orders {
		if !(a > 1) || math.IsInf(a, 1) {
			return nil, fmt.Errorf("privacy: Renyi order %v: want finite orders above 1", a)
		}
	}
	if len(orders) == 0 {
		return nil, fmt.Errorf("privacy: an accountant without an order")
	}
	return &Accountant{orders: slices.Clone(orders), spent: make([]float64, len(orders))}, nil
}

// Add spends a mechanism times times; divergence is its Renyi divergence at an
// order, for instance a closure over PoissonRDP.
func (a *Accountant) Add(times int, divergence func(alpha float64) float64) error {
	if times < 0 {
		return fmt.Errorf("privacy: a mechanism used %d times", times)
	}
	if times == 0 {
		return nil
	}
	if a.orders == nil {
		a.orders = DefaultOrders()
		a.spent = make([]float64, len(a.orders))
	}
	for i, alpha := range a.orders {
		d := divergence(alpha)
		if math.IsNaN(d) || d < 0 {
			return fmt.Errorf("privacy: a mechanism's divergence at order %v is %v: want at least 0", alpha, d)
		}
		a.spent[i] += float64(times) * d
	}
	return nil
}

// RDP returns the orders and what was spent at each.
func (a *Accountant) RDP() (orders, spent []float64) {
	return slices.Clone(a.orders), slices.Clone(a.spent)
}

// Epsilon returns the least epsilon for which everything spent is
// (epsilon, delta)-differentially private, 0 < delta < 1, and the order that
// shows it. It is +Inf when no order does.
func (a *Accountant) Epsilon(delta float64) (epsilon, order float64) {
	epsilon, order = math.Inf(1), math.NaN()
	if a.orders == nil {
		return 0, order
	}
	for i, alpha := range a.orders {
		if e := EpsilonAt(alpha, a.spent[i], delta); e < epsilon {
			epsilon, order = e, alpha
		}
	}
	return epsilon, order
}

// Delta returns the least delta for which everything spent is
// (epsilon, delta)-differentially private, at most 1.
func (a *Accountant) Delta(epsilon float64) float64 {
	best := math.Inf(1)
	if a.orders == nil {
		return 0
	}
	for i, alpha := range a.orders {
		best = min(best, DeltaAt(alpha, a.spent[i], epsilon))
	}
	return min(best, 1)
}

// EpsilonAt converts a Renyi divergence of one order into epsilon
// (Canonne, Kamath, Steinke 2020, proposition 12; Balle et al., Hypothesis
// Testing Interpretations and Renyi Differential Privacy, AISTATS 2020,
// theorem 21). Never below 0. A divergence so small that it bounds the total
// variation distance by delta gives 0 at once (Bretagnolle, Huber 1979).
func EpsilonAt(alpha, divergence, delta float64) float64 {
	switch {
	case !(delta > 0) || delta >= 1:
		return math.Inf(1)
	case delta*delta+math.Expm1(-divergence) >= 0:
		return 0
	}
	return max(0, divergence+math.Log1p(-1/alpha)-(math.Log(delta)+math.Log(alpha))/(alpha-1))
}

// DeltaAt converts a Renyi divergence of one order into delta at an epsilon of
// at least 0, by the same results.
func DeltaAt(alpha, divergence, epsilon float64) float64 {
	variation := math.Sqrt(-math.Expm1(-divergence))
	renyi := math.Exp((alpha-1)*(divergence-epsilon+math.Log1p(-1/alpha)) - math.Log(alpha))
	return min(variation, renyi, 1)
}

// ConcentratedEpsilon returns the least epsilon that any order shows when the
// divergence of order alpha is rho*alpha + constant for every alpha (rho-zCDP,
// Bun, Steinke, TCC 2016, plus a constant), by a search over orders instead of
// a grid.
func ConcentratedEpsilon(rho, constant, delta float64) float64 {
	if rho == 0 && constant == 0 {
		return 0
	}
	at := func(logExcess float64) float64 { // over log(alpha-1)
		alpha := 1 + math.Exp(logExcess)
		return EpsilonAt(alpha, rho*alpha+constant, delta)
	}
	// Unimodal on both sides of the regime that gives 0: a grid finds the
	// valley, golden sections its floor.
	best, where := math.Inf(1), 0.0
	for x := -10.0; x <= 20; x += 0.25 {
		if e := at(x); e < best {
			best, where = e, x
		}
	}
	low, high := where-0.25, where+0.25
	for range 60 {
		third := (high - low) * 0.381966011250105
		if left, right := low+third, high-third; at(left) < at(right) {
			high = right
		} else {
			low = left
		}
	}
	return min(best, at((low+high)/2))
}

// FormatEpsilon writes an epsilon as manifests do: three decimals, never less
// than the value; "infinity" for one without meaning.
func FormatEpsilon(epsilon float64) string {
	if !(epsilon < 1e9) {
		return Infinity
	}
	return strconv.FormatFloat(math.Ceil(epsilon*1000)/1000, 'f', 3, 64)
}

// Infinity is the epsilon of a model that was published without noise.
const Infinity = "infinity"
