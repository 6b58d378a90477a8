package fl

import (
	"fmt"
	"math"
)

// fedNova is FedNova (Wang et al., "Tackling the Objective Inconsistency Problem
// in Heterogeneous Federated Optimization", NeurIPS 2020, equations 6 and 7,
// without server momentum). With a_i the weights with which client i's
// optimiser added up its gradients and p_i its share of the cohort's weight,
//
//	global += rate * (sum p_i |a_i|_1) * (sum p_i delta_i/|a_i|_1)
//
// Both sums are means of what is uploaded: delta_i/|a_i|_1 at every parameter,
// and |a_i|_1 as one value more, scaled so that MaxSteps is stepRange. The clip
// bounds delta_i/|a_i|_1, the update of one step.
type fedNova struct{ serverStep }

// stepRange is the upload's value of a normaliser of MaxSteps. It leaves nearly
// all of an L2 bound to the update.
func stepRange(clip Clip) float64 {
	if clip.Norm == 0 {
		return clip.Value
	}
	return min(clip.Value, clip.Norm/8)
}

func (s fedNova) Upload(local Local, clip Clip) ([]float64, error) {
	a := local.Normaliser
	if !(a > 0) || a > float64(s.spec.MaxSteps) {
		return nil, fmt.Errorf("fednova: a normaliser of %v, for plain SGD the number of local steps: want above 0 and at most max_steps, %d; raise it in the job, or train fewer steps", a, s.spec.MaxSteps)
	}
	out := make([]float64, 0, len(local.Delta)+1)
	for _, v := range local.Delta {
		out = append(out, v/a)
	}
	last := a / float64(s.spec.MaxSteps) * stepRange(clip)
	if clip.Norm > 0 { // of the update alone, so that the steps are never scaled down with it
		if _, err := ClipNorm(out, math.Sqrt(clip.Norm*clip.Norm-last*last)*(1-1e-12)); err != nil {
			return nil, err
		}
	}
	return append(out, last), nil
}

func (s fedNova) Apply(o Opened) ([]float32, []float32, error) {
	n := len(o.Global)
	if len(o.Mean) != n+1 {
		return nil, nil, s.lengths(o)
	}
	steps := float64(o.Mean[n]/stepRange(o.Clip)) * float64(s.spec.MaxSteps)
	if !(steps >= 0) || math.IsInf(steps, 0) { // a sum can be below zero only if somebody lied
		return nil, nil, fmt.Errorf("fednova: a mean normaliser of %v", steps)
	}
	next := make([]float32, n)
	for i := range next {
		if err := s.move(next, o.Global, i, float64(steps*o.Mean[i])); err != nil {
			return nil, nil, err
		}
	}
	return next, nil, nil
}
