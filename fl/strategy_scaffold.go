package fl

import (
	"errors"
	"fmt"
)

// scaffold is SCAFFOLD (Karimireddy et al., "SCAFFOLD: Stochastic Controlled
// Averaging for Federated Learning", ICML 2020, algorithm 1, option II). Of a
// client that took K steps of rate eta from x to y with its gradients
// corrected by c - c_i it is told, encrypted,
//
//	y - x   and   dc_i = -c + (x - y)/(K*eta)        (c_i becomes c_i + dc_i)
//
// and the server sets, over the S clients of a round out of N,
//
//	x += rate * mean(y_i - x);   c += S/N * mean(dc_i)
//
// Upload: y - x, then dc_i in units in which VariateClip is as large as the
// clip's value. The L2 bound holds for both together. State: c.
type scaffold struct{ serverStep }

func (s scaffold) Upload(local Local, clip Clip) ([]float64, error) {
	n := len(local.Delta)
	if len(local.Variate) != n {
		return nil, fmt.Errorf("scaffold: a change of %d parameters and of a variate of %d", n, len(local.Variate))
	}
	out := append(make([]float64, 0, 2*n), local.Delta...)
	for _, v := range local.Variate {
		out = append(out, v/s.spec.VariateClip*clip.Value)
	}
	if _, err := ClipNorm(out, clip.Norm); err != nil {
		return nil, err
	}
	for i, v := range out {
		out[i] = min(max(v, -clip.Value), clip.Value)
	}
	return out, nil
}

// SentVariate returns the change of the control variate that an upload of a
// scaffold client says, after clipping: the client keeps its variate changed by
// exactly that, so that the server's stays the mean of all of them but for the
// rounding of the quantiser.
func SentVariate(spec StrategySpec, clip Clip, upload []float64) ([]float64, error) {
	if spec.Name != Scaffold || len(upload)%2 != 0 {
		return nil, fmt.Errorf("strategy: an upload of %d values of %s holds no control variate", len(upload), spec.Name)
	}
	sent := make([]float64, len(upload)/2)
	for i, v := range upload[len(sent):] {
		sent[i] = v / clip.Value * spec.VariateClip
	}
	return sent, nil
}

func (s scaffold) Apply(o Opened) ([]float32, []float32, error) {
	n := len(o.Global)
	if len(o.Mean) != 2*n {
		return nil, nil, s.lengths(o)
	}
	if o.Clients < 1 || o.Population < o.Clients {
		return nil, nil, fmt.Errorf("scaffold: %d clients of a population of %d", o.Clients, o.Population)
	}
	if !(o.Clip.Value > 0) {
		return nil, nil, errors.New("scaffold: no clip")
	}
	before, err := stateOf(o, n)
	if err != nil {
		return nil, nil, err
	}
	next, state := make([]float32, n), make([]float32, n)
	share := float64(o.Clients) / float64(o.Population)
	for i := range next {
		if err := s.move(next, o.Global, i, o.Mean[i]); err != nil {
			return nil, nil, err
		}
		change := float64(o.Mean[n+i]/o.Clip.Value) * s.spec.VariateClip
		if state[i], err = s.finite32(float64(before[i])+float64(share*change), i); err != nil {
			return nil, nil, err
		}
	}
	return next, state, nil
}
