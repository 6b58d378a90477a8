package models

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
)

// stream is a ChaCha8 generator (C2SP chacha8rand, whose output is fixed by
// its specification) for one purpose. The methods on it are our own, because
// the derived distributions of math/rand/v2 may change between Go releases.
type stream struct{ source *rand.ChaCha8 }

// newStream expands seed for the named purpose, so that initialisation and
// shuffling with one seed are independent.
func newStream(purpose string, seed uint64) stream {
	var key [32]byte
	copy(key[8:], "credence/"+purpose)
	binary.LittleEndian.PutUint64(key[:], seed)
	return stream{rand.NewChaCha8(key)}
}

// below returns a uniform integer in [0, n), n >= 1 (Lemire, "Fast Random
// Integer Generation in an Interval", 2019, section 4: no bias).
func (s stream) below(n uint64) uint64 {
	high, low := bits.Mul64(s.source.Uint64(), n)
	if low < n {
		for threshold := -n % n; low < threshold; {
			high, low = bits.Mul64(s.source.Uint64(), n)
		}
	}
	return high
}

// symmetric returns a uniform value in [-1, 1) on a grid of 2^-23.
func (s stream) symmetric() float64 {
	return float64(int64(s.source.Uint64()>>40)-1<<23) / (1 << 23)
}

// shuffle permutes order (Fisher and Yates).
func (s stream) shuffle(order []int) {
	for i := len(order) - 1; i > 0; i-- {
		j := int(s.below(uint64(i) + 1))
		order[i], order[j] = order[j], order[i]
	}
}

// Init returns an initial parameter vector, a function of the specification
// and seed alone, the same on every machine: weights uniform in [-a, a] with
// a = sqrt(6/(fan_in+fan_out)) (Glorot and Bengio, 2010), or, before a
// rectifier, a = sqrt(6/fan_in) (He et al., 2015); biases zero.
func (m *Model) Init(seed uint64) []float32 {
	s := newStream("init/v1", seed)
	params := make([]float32, m.size)
	for _, l := range m.layers {
		window := 1
		if l.conv {
			window = l.kernel * l.kernel
		}
		bound := math.Sqrt(6 / float64((l.in+l.out)*window))
		if l.activationAfter && m.spec.Activation == ReLU {
			bound = math.Sqrt(6 / float64(l.in*window))
		}
		w := params[l.weight.Offset:][:l.weight.Length]
		for i := range w {
			// One product and one rounding: nothing that a compiler could fuse.
			w[i] = float32(bound * s.symmetric())
		}
	}
	return params
}
