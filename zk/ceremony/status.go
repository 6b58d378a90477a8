package ceremony

import (
	"crypto/ed25519"
	"encoding/hex"
	"slices"

	"credence/fl"
)

// Status is where a ceremony stands.
type Status struct {
	Ceremony fl.Digest    `json:"ceremony"`
	Suite    string       `json:"suite"`
	Phase    Phase        `json:"phase"`
	Open     bool         `json:"open"`
	Minimum  int          `json:"minimum"`
	Chains   []ChainState `json:"chains"`
	Beacons  []string     `json:"beacons"` // hexadecimal, of the seals so far
	Keys     []SealedKeys `json:"keys"`    // after the last seal
}

// ChainState is what one chain holds.
type ChainState struct {
	Name    string      `json:"name"`    // "powers", or the circuit's shape
	Domain  uint64      `json:"domain"`  // size, a power of two
	Bytes   int64       `json:"bytes"`   // of a contribution; zero for a circuit
	Entries []Entry     `json:"entries"` // in order
	Missing []fl.NodeID `json:"missing"` // listed participants that can still contribute, the next one first
	Passed  []fl.NodeID `json:"passed"`  // listed participants that were passed over
}

// Entry is a contribution: who, where, and which file. It is also the receipt
// that a contributor keeps.
type Entry struct {
	Phase       Phase             `json:"phase"`
	Circuit     string            `json:"circuit,omitempty"`
	Sequence    int               `json:"sequence"`
	Contributor fl.NodeID         `json:"contributor"`
	Key         ed25519.PublicKey `json:"key"`
	File        fl.Digest         `json:"file"`
}

// SealedKeys names the keys that the ceremony made for a circuit.
type SealedKeys struct {
	Shape    string    `json:"shape"`
	Manifest fl.Digest `json:"manifest"` // zk.Manifest.Digest
}

func entryOf(d *Contribution, by fl.NodeID) Entry {
	return Entry{Phase: d.Phase, Circuit: d.Circuit, Sequence: d.Sequence, Contributor: by, Key: d.Key, File: d.File}
}

// ReadStatus reads the transcript in a folder, with every check that needs no
// contribution's file: a *Fault says whose contribution fails one.
func ReadStatus(dir string) (*Status, error) {
	t, err := folder{dir}.load()
	if err != nil {
		return nil, err
	}
	return t.status()
}

func (t *Transcript) status() (*Status, error) {
	s := &t.Start
	out := &Status{Ceremony: s.ID(), Suite: s.Suite, Phase: t.phase(), Open: s.Open, Minimum: s.Minimum, Beacons: []string{}, Keys: []SealedKeys{}}
	for _, c := range t.chains() {
		done, err := c.read(s)
		if err != nil {
			return nil, err
		}
		state := ChainState{Name: string(PhasePowers), Domain: s.Domain, Bytes: powersBytes(s.Domain)}
		if c.circuit >= 0 {
			state = ChainState{Name: c.shape, Domain: s.Circuits[c.circuit].Domain}
		}
		state.Entries, state.Missing, state.Passed = []Entry{}, []fl.NodeID{}, []fl.NodeID{}
		for i := range done {
			state.Entries = append(state.Entries, entryOf(&done[i], (*c.entries)[i].Signer))
		}
		for i, p := range s.Participants {
			switch {
			case slices.ContainsFunc(*c.entries, func(e fl.Envelope) bool { return e.Signer == p.Name }):
			case i < c.next(s) || c.phase != t.phase():
				state.Passed = append(state.Passed, p.Name)
			default:
				state.Missing = append(state.Missing, p.Name)
			}
		}
		out.Chains = append(out.Chains, state)
	}
	if t.PowersSeal != nil {
		out.Beacons = append(out.Beacons, hex.EncodeToString(t.PowersSeal.Beacon))
	}
	if t.KeysSeal != nil {
		out.Beacons = append(out.Beacons, hex.EncodeToString(t.KeysSeal.Beacon))
		for i, c := range s.Circuits {
			out.Keys = append(out.Keys, SealedKeys{Shape: c.Shape, Manifest: t.KeysSeal.Manifests[i]})
		}
	}
	return out, nil
}
