package models

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"credence/fl"
)

// span is a range [from, to) of the flat vector.
type span struct{ from, to int }

// stepper applies one optimiser to the spans of the vector that may move.
type stepper struct {
	cfg     TrainConfig
	spans   []span // disjoint, ascending
	decayed []span // the parts of spans that are weights
	options TrainOptions
	first   []float32
	second  []float32 // moments, indexed like the vector; nil where unused
	steps   int
}

// newStepper prepares the optimiser's state for a vector of m's size.
func newStepper(m *Model, cfg TrainConfig, o TrainOptions) (*stepper, error) {
	spans, err := spansOf(m.size, o.Shards)
	if err != nil {
		return nil, err
	}
	s := &stepper{cfg: cfg, spans: spans, options: o}
	switch cfg.optimizer() {
	case Momentum:
		s.first = make([]float32, m.size)
	case Adam:
		s.first, s.second = make([]float32, m.size), make([]float32, m.size)
	}
	if cfg.WeightDecay > 0 {
		for _, l := range m.layers {
			w := span{l.weight.Offset, l.weight.Offset + l.weight.Length}
			for _, p := range spans {
				if both := (span{max(w.from, p.from), min(w.to, p.to)}); both.from < both.to {
					s.decayed = append(s.decayed, both)
				}
			}
		}
	}
	return s, nil
}

// spansOf checks the shards against a vector of size values.
func spansOf(size int, shards []fl.Shard) ([]span, error) {
	if shards == nil {
		return []span{{0, size}}, nil
	}
	out := make([]span, 0, len(shards))
	for _, s := range shards {
		if s.Offset < 0 || s.Length < 1 || s.Offset > size || s.Length > size-s.Offset {
			return nil, fmt.Errorf("models: shard %d of %d values from %d does not lie in the %d parameters", s.Index, s.Length, s.Offset, size)
		}
		out = append(out, span{s.Offset, s.Offset + s.Length})
	}
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(out); i++ {
		if out[i].from < out[i-1].to {
			return nil, fmt.Errorf("models: two shards overlap at parameter %d", out[i].from)
		}
	}
	return out, nil
}

// step moves params against grad, which it may change.
func (s *stepper) step(params, grad []float32) {
	s.steps++
	decay := float32(s.cfg.WeightDecay)
	for _, p := range s.decayed {
		for i := p.from; i < p.to; i++ {
			grad[i] += decay * params[i]
		}
	}
	s.correct(params, grad)
	rate := s.cfg.LearningRate
	switch s.cfg.optimizer() {
	case SGD:
		for _, p := range s.spans {
			for i := p.from; i < p.to; i++ {
				params[i] -= float32(rate) * grad[i]
			}
		}
	case Momentum:
		momentum := float32(orDefault(s.cfg.Momentum, DefaultMomentum))
		for _, p := range s.spans {
			for i := p.from; i < p.to; i++ {
				s.first[i] = momentum*s.first[i] + grad[i]
				params[i] -= float32(rate) * s.first[i]
			}
		}
	case Adam:
		b1, b2 := orDefault(s.cfg.Beta1, 0.9), orDefault(s.cfg.Beta2, 0.999)
		epsilon := orDefault(s.cfg.Epsilon, 1e-8)
		correct1 := 1 - math.Pow(b1, float64(s.steps))
		correct2 := 1 - math.Pow(b2, float64(s.steps))
		for _, p := range s.spans {
			for i := p.from; i < p.to; i++ {
				g := grad[i]
				s.first[i] = float32(b1)*s.first[i] + float32(1-b1)*g
				s.second[i] = float32(b2)*s.second[i] + float32(1-b2)*g*g
				m, v := float64(s.first[i])/correct1, float64(s.second[i])/correct2
				params[i] -= float32(rate * m / (math.Sqrt(v) + epsilon))
			}
		}
	}
}

// correct adds what the round's strategy adds to a gradient.
func (s *stepper) correct(params, grad []float32) {
	if s.options.Mu > 0 {
		mu, center := float32(s.options.Mu), s.options.Center
		for _, p := range s.spans {
			for i := p.from; i < p.to; i++ {
				grad[i] += mu * (params[i] - center[i])
			}
		}
	}
	if drift := s.options.Drift; drift != nil {
		for _, p := range s.spans {
			for i := p.from; i < p.to; i++ {
				grad[i] += drift[i]
			}
		}
	}
}

// diverged returns the first moved coordinate that is not finite, or -1.
func (s *stepper) diverged(params []float32) int {
	for _, p := range s.spans {
		if i := firstNotFinite(params[p.from:p.to]); i >= 0 {
			return p.from + i
		}
	}
	return -1
}
