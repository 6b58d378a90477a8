package fl

import "math"

// or returns v, or its default when it is zero.
func or(v, fallback float64) float64 {
	if v == 0 {
		return fallback
	}
	return v
}

// The defaults of the server's settings. The momentum is that of Hsu et al.
// 2019; the rest are those of Reddi et al. 2021, section 5 and appendix D.
const (
	defaultMomentum = 0.9
	defaultBeta1    = 0.9
	defaultBeta2    = 0.99
	defaultTau      = 1e-3
)

// serverMomentum is FedAvgM (Hsu et al., "Measuring the Effects of Non-Identical
// Data Distribution for Federated Visual Classification", 2019, section 4.3):
//
//	v = momentum*v + mean;  global += rate*v
//
// State: v.
type serverMomentum struct{ serverStep }

func (s serverMomentum) Apply(o Opened) ([]float32, []float32, error) {
	if len(o.Global) != len(o.Mean) {
		return nil, nil, s.lengths(o)
	}
	before, err := stateOf(o, len(o.Global))
	if err != nil {
		return nil, nil, err
	}
	next, state := make([]float32, len(o.Global)), make([]float32, len(o.Global))
	momentum := or(s.spec.Momentum, defaultMomentum)
	for i, mean := range o.Mean {
		v := float64(momentum*float64(before[i])) + mean
		if state[i], err = s.finite32(v, i); err != nil {
			return nil, nil, err
		}
		if err := s.move(next, o.Global, i, v); err != nil {
			return nil, nil, err
		}
	}
	return next, state, nil
}

// adaptive is FedAdagrad, FedYogi and FedAdam (Reddi et al., "Adaptive Federated
// Optimization", ICLR 2021, algorithm 2; no bias correction, as there):
//
//	m = beta1*m + (1-beta1)*mean
//	v = v + mean^2                                    fedadagrad
//	v = v - (1-beta2)*mean^2*sign(v - mean^2)         fedyogi
//	v = beta2*v + (1-beta2)*mean^2                    fedadam
//	global += rate * m/(sqrt(v) + tau)
//
// with m = 0 and v = tau^2 at first. State: m, then v.
type adaptive struct{ serverStep }

func (s adaptive) Apply(o Opened) ([]float32, []float32, error) {
	n := len(o.Global)
	if n != len(o.Mean) {
		return nil, nil, s.lengths(o)
	}
	tau := or(s.spec.Tau, defaultTau)
	before := o.State
	if before == nil {
		before = make([]float32, 2*n)
		for i := range n {
			before[n+i] = float32(tau * tau)
		}
	}
	if _, err := stateOf(Opened{State: before}, 2*n); err != nil {
		return nil, nil, err
	}
	beta1 := s.spec.Beta1
	if s.spec.Name != FedAdagrad {
		beta1 = or(beta1, defaultBeta1)
	}
	next, state := make([]float32, n), make([]float32, 2*n)
	for i, mean := range o.Mean {
		m := float64(beta1*float64(before[i])) + float64((1-beta1)*mean)
		v := s.second(float64(before[n+i]), float64(mean*mean))
		var err error
		if state[i], err = s.finite32(m, i); err != nil {
			return nil, nil, err
		}
		if state[n+i], err = s.finite32(v, i); err != nil {
			return nil, nil, err
		}
		if err := s.move(next, o.Global, i, m/(math.Sqrt(v)+tau)); err != nil {
			return nil, nil, err
		}
	}
	return next, state, nil
}

// second returns the next second moment. The conversions forbid fusing, as in
// serverStep.
func (s adaptive) second(v, square float64) float64 {
	beta2 := or(s.spec.Beta2, defaultBeta2)
	share := float64((1 - beta2) * square)
	switch {
	case s.spec.Name == FedAdagrad:
		return v + square
	case s.spec.Name == FedAdam:
		return float64(beta2*v) + share
	case v > square:
		return v - share
	case v < square:
		return v + share
	}
	return v
}
