package ceremony

import (
	"context"
	"errors"
	"strings"

	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"credence/fl"
	"credence/zk/circuit/rlwe"
)

// A reader reads the files of a chain and names who made them. Place 0 is the
// state that the chain begins with.
type reader struct {
	c    *chain
	f    folder
	done []Contribution
}

func (c *chain) reader(f folder, done []Contribution) *reader { return &reader{c: c, f: f, done: done} }

// digest is the digest of the file at a place.
func (r *reader) digest(place int) fl.Digest {
	if place == 0 {
		return r.c.initial
	}
	return r.done[place-1].File
}

// blame makes a fault of an error at a place, unless it is the caller's end.
func (r *reader) blame(ctx context.Context, place int, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	sentinel := ErrUnsound
	if errors.Is(err, ErrDamaged) {
		sentinel = ErrDamaged
	}
	by := fl.NodeID("the seal of phase powers")
	if place > 0 {
		by = (*r.c.entries)[place-1].Signer
	}
	return r.c.fault(place, by, sentinel, "%s", strings.TrimPrefix(err.Error(), sentinel.Error()+": "))
}

// get reads the file at a place.
func (r *reader) get(place int) ([]byte, error) {
	b, err := r.f.get(r.digest(place))
	if err != nil {
		return nil, r.blame(context.Background(), place, err)
	}
	return b, nil
}

// circuit reads and decodes the state of a circuit at a place.
func (r *reader) circuit(system *rlwe.System, domain uint64, place int) (*mpcsetup.Phase2, error) {
	b, err := r.get(place)
	if err != nil {
		return nil, err
	}
	p, err := parseCircuit(system, domain, b)
	if err != nil {
		return nil, r.blame(context.Background(), place, err)
	}
	return p, nil
}
