package simulate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"credence/client"
	"credence/fl"
)

// saved is a simulation's state as it is kept. Vectors are as
// fl.EncodeParameters writes them; a missing one is nil.
type saved struct {
	Job      fl.JobID      `json:"job"`
	Round    uint64        `json:"round"`
	Version  uint64        `json:"version"`
	Params   []byte        `json:"params"`
	Previous []byte        `json:"previous,omitempty"`
	Server   []byte        `json:"server,omitempty"`
	Clip     fl.Clip       `json:"clip"` // of the next round
	Escrow   int64         `json:"escrow"`
	Clients  []savedClient `json:"clients"` // sorted by name
	// Versions are those that clients of fedbuff still train from.
	Versions map[uint64][]byte `json:"versions,omitempty"`
}

type savedClient struct {
	Node     fl.NodeID `json:"node"`
	Variate  []byte    `json:"variate,omitempty"`
	Personal []byte    `json:"personal,omitempty"`
	Tally
}

// Save encodes what the simulation needs to go on from here.
func (s *Simulation) Save() ([]byte, error) {
	v := saved{
		Job: s.job.ID, Round: s.state.round, Version: s.state.version, Params: encode(s.state.params), Previous: encode(s.state.previous), Server: encode(s.state.server),
		Clip: s.state.clip, Escrow: s.state.escrow,
	}
	for i, m := range s.state.clients {
		v.Clients = append(v.Clients, savedClient{
			Node: s.clients[i].Node, Variate: encode(m.local.Variate), Personal: encode(m.local.Personal), Tally: m.Tally,
		})
	}
	for number, params := range s.state.versions {
		if v.Versions == nil {
			v.Versions = map[uint64][]byte{}
		}
		v.Versions[number] = encode(params)
	}
	return json.Marshal(v)
}

// Restore goes on from what Save of a simulation with the same options and
// clients encoded. Anything else is an error that leaves the simulation as it
// was.
func (s *Simulation) Restore(text []byte) error {
	next, clock, err := s.decode(text)
	if err != nil {
		return fmt.Errorf("simulation: restoring: %w", err)
	}
	s.state, s.buffered = next, clock
	return nil
}

func (s *Simulation) decode(text []byte) (state, *buffered, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var v saved
	if err := dec.Decode(&v); err != nil {
		return state{}, nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return state{}, nil, errors.New("something follows the state")
	}
	switch {
	case v.Job != s.job.ID || len(v.Clients) != len(s.clients):
		return state{}, nil, fmt.Errorf("it is of job %s with %d clients, this is %s with %d", v.Job, len(v.Clients), s.job.ID, len(s.clients))
	case v.Version > uint64(s.job.Rounds) || v.Round < v.Version || v.Round > (v.Version+1)*(maxAborted+1):
		return state{}, nil, fmt.Errorf("it is after round %d, version %d of %d", v.Round, v.Version, s.job.Rounds)
	case v.Escrow < 0 || v.Escrow > s.job.Budget:
		return state{}, nil, fmt.Errorf("an escrow of %d credits of %d", v.Escrow, s.job.Budget)
	}
	params := len(s.state.params)
	if err := v.Clip.Validate(); err != nil {
		return state{}, nil, err
	}
	out := state{round: v.Round, version: v.Version, clip: v.Clip, escrow: v.Escrow, clients: make([]memory, len(v.Clients))}
	var err error
	read := func(what string, raw []byte, sizes ...int) []float32 {
		if err != nil || raw == nil {
			return nil
		}
		for _, n := range sizes {
			if v, e := fl.DecodeParameters(raw, n); n > 0 && e == nil {
				return v
			}
		}
		err = fmt.Errorf("%s has %d bytes or a value that is not finite", what, len(raw))
		return nil
	}
	out.params = read("the model", v.Params, params)
	out.previous = read("the model before", v.Previous, params)
	out.server = read("the strategy's state", v.Server, s.job.Strategy.StateSize(params))
	for i, c := range v.Clients {
		if c.Node != s.clients[i].Node {
			return state{}, nil, fmt.Errorf("client %d is %s, here it is %s", i, c.Node, s.clients[i].Node)
		}
		if c.Charged < 0 || c.Rounds < 0 || c.Declined < 0 || c.Refused < 0 || c.BytesUp < 0 || c.Credits < 0 || !(c.SecondsTrain >= 0) {
			return state{}, nil, fmt.Errorf("client %s has a negative count", c.Node)
		}
		out.clients[i] = memory{
			local: client.LocalState{
				Variate:  read("a control variate", c.Variate, params),
				Personal: read("a personal model", c.Personal, params, s.job.Strategy.PersonalParameters),
			},
			Tally: c.Tally,
		}
	}
	if err == nil && out.params == nil {
		err = errors.New("there is no model")
	}
	if err == nil {
		err = s.workers[0].CheckParameters(out.params)
	}
	if err != nil || s.buffered == nil {
		return out, nil, err
	}
	clock, err := newBuffered(s.terms, s.candidates, v.Round)
	if err != nil {
		return out, nil, err
	}
	out.versions = map[uint64][]float32{}
	for number, raw := range v.Versions {
		out.versions[number] = read("a version", raw, params)
	}
	for number := clock.clock.Oldest(); number <= v.Round && err == nil; number++ {
		if out.versions[number] == nil {
			err = fmt.Errorf("version %d, from which a client trains, is missing", number)
		}
	}
	return out, clock, err
}

// encode is fl.EncodeParameters, but for a vector that there is none of.
func encode(v []float32) []byte {
	if v == nil {
		return nil
	}
	return fl.EncodeParameters(v)
}
