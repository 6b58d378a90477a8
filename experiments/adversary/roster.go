package adversary

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"credence/fl"
)

// Roster says which attack, if any, controls each client.
type Roster struct {
	specs []Spec
	of    map[fl.NodeID]int
	seed  uint64
}

// NewRoster draws the clients that each attack controls, without overlap. The
// draw follows from the seed and the clients' names in order.
func NewRoster(specs []Spec, clients []fl.NodeID, seed uint64) (*Roster, error) {
	r := &Roster{specs: specs, of: map[fl.NodeID]int{}, seed: seed}
	order := slices.Sorted(slices.Values(clients))
	rng := rand.New(source("roster", seed))
	rng.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	for i, s := range specs {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		n := int(math.Round(s.Fraction * float64(len(clients))))
		switch {
		case n == 0:
			return nil, fmt.Errorf("attack %s: a fraction of %v of %d clients is nobody: raise it", s.Kind, s.Fraction, len(clients))
		case n >= len(order):
			return nil, fmt.Errorf("attack %s: the attacks together leave no honest client of %d: lower their fractions", s.Kind, len(clients))
		}
		for _, c := range order[:n] {
			r.of[c] = i
		}
		order = order[n:]
	}
	return r, nil
}

// Attack returns the attack that controls a client in a round, or nil.
func (r *Roster) Attack(client fl.NodeID, round int) *Spec {
	if i, ok := r.of[client]; ok && r.specs[i].active(round) {
		return &r.specs[i]
	}
	return nil
}

// Controlled returns the kind of the attack that controls a client in some
// round, "" for an honest one.
func (r *Roster) Controlled(client fl.NodeID) Kind {
	if i, ok := r.of[client]; ok {
		return r.specs[i].Kind
	}
	return ""
}

// Backdoor returns the first backdoor among the attacks, or nil.
func (r *Roster) Backdoor() *Spec {
	for i := range r.specs {
		if r.specs[i].Kind == Backdoor {
			return &r.specs[i]
		}
	}
	return nil
}

// source is a generator for one purpose.
func source(purpose string, seed uint64, more ...[]byte) *rand.ChaCha8 {
	var b [8]byte
	for i := range b {
		b[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(fl.DigestOf("adversary/"+purpose+"/v1", append([][]byte{b[:]}, more...)...))
}
