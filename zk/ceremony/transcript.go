package ceremony

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"

	"credence/fl"
)

// Phase names a half of the ceremony.
type Phase string

// The phases, in order.
const (
	PhasePowers   Phase = "powers"   // of tau: shared by all circuits and the commitments
	PhaseCircuits Phase = "circuits" // one chain for each circuit
	PhaseSealed   Phase = "sealed"   // nothing is left to do
)

// Bounds on what is read.
const (
	maxTranscript   = 16 << 20
	maxParticipants = 1000
	maxDomain       = 1 << 22
	minBeacon       = 16
	maxBeacon       = 1024
)

// Start is the founding document: everything that is fixed for the whole
// ceremony. Its digest is the ceremony's identity.
type Start struct {
	Version      int           `json:"version"` // 1
	Suite        string        `json:"suite"`
	Domain       uint64        `json:"domain"` // of phase powers: the largest circuit's
	Circuits     []Circuit     `json:"circuits"`
	Open         bool          `json:"open"`         // anybody may contribute
	Participants []Participant `json:"participants"` // in order; empty when open
	Minimum      int           `json:"minimum"`      // contributors in each phase and circuit
	Nonce        fl.Digest     `json:"nonce"`
}

// A Circuit is what one pair of keys is for.
type Circuit struct {
	Shape  string    `json:"shape"`  // "update/<suite>" or "keyshare/<suite>"
	Digest fl.Digest `json:"digest"` // of the constraint system
	Domain uint64    `json:"domain"` // constraints, up to the next power of two
}

// A Participant is an institution that may contribute.
type Participant struct {
	Name fl.NodeID         `json:"name"`
	Key  ed25519.PublicKey `json:"key"`
}

func (p Participant) validate() error {
	if err := p.Name.Validate(); err != nil {
		return err
	}
	if len(p.Key) != ed25519.PublicKeySize {
		return fmt.Errorf("the key of %s has %d bytes: want %d", p.Name, len(p.Key), ed25519.PublicKeySize)
	}
	return nil
}

// ID is the ceremony's identity.
func (s *Start) ID() fl.Digest {
	b, err := json.Marshal(s)
	if err != nil { // plain data always encodes
		return fl.Digest{}
	}
	return fl.DigestOf("ceremony/v1", b)
}

func domainOK(n uint64) bool { return n >= 8 && n <= maxDomain && bits.OnesCount64(n) == 1 }

func (s *Start) validate() error {
	switch {
	case s.Version != 1:
		return fmt.Errorf("version %d: this build knows 1", s.Version)
	case s.Suite == "" || s.Nonce.IsZero():
		return fmt.Errorf("suite or nonce is missing")
	case len(s.Circuits) == 0 || len(s.Circuits) > 16:
		return fmt.Errorf("%d circuits: want 1 to 16", len(s.Circuits))
	case s.Minimum < 2 || s.Minimum > maxParticipants:
		return fmt.Errorf("a minimum of %d contributors: want 2 to %d", s.Minimum, maxParticipants)
	case s.Open != (len(s.Participants) == 0):
		return fmt.Errorf("a ceremony has either participants or is open")
	case !s.Open && (len(s.Participants) < s.Minimum || len(s.Participants) > maxParticipants):
		return fmt.Errorf("%d participants: want %d to %d", len(s.Participants), s.Minimum, maxParticipants)
	}
	var largest uint64
	shapes := map[string]bool{}
	for _, c := range s.Circuits {
		if c.Shape == "" || shapes[c.Shape] || c.Digest.IsZero() || !domainOK(c.Domain) {
			return fmt.Errorf("circuit %q is incomplete or repeated", c.Shape)
		}
		shapes[c.Shape] = true
		largest = max(largest, c.Domain)
	}
	// The powers may be more than the circuits need: the commitments' SRS
	// needs N of them.
	if !domainOK(s.Domain) || s.Domain < largest {
		return fmt.Errorf("a domain of %d: want a power of two of at least %d", s.Domain, largest)
	}
	names, keys := map[fl.NodeID]bool{}, map[string]bool{}
	for _, p := range s.Participants {
		if err := p.validate(); err != nil {
			return err
		}
		if names[p.Name] || keys[string(p.Key)] {
			return fmt.Errorf("participant %s or its key is listed twice", p.Name)
		}
		names[p.Name], keys[string(p.Key)] = true, true
	}
	return nil
}

// A Contribution is what a contributor signs: what it made out of what, and
// where it belongs.
type Contribution struct {
	Ceremony fl.Digest         `json:"ceremony"`
	Phase    Phase             `json:"phase"`
	Circuit  string            `json:"circuit"`  // the shape; empty in phase powers
	Sequence int               `json:"sequence"` // from 1
	Previous fl.Digest         `json:"previous"` // the file it builds on
	File     fl.Digest         `json:"file"`     // the file it made
	Key      ed25519.PublicKey `json:"key"`      // the contributor's
}

// Kind implements fl.Document.
func (Contribution) Kind() fl.Kind { return "ceremony-contribution/v1" }

// Validate implements fl.Document.
func (c Contribution) Validate() error {
	switch {
	case c.Ceremony.IsZero() || c.Previous.IsZero() || c.File.IsZero():
		return fmt.Errorf("a digest is missing")
	case c.Phase != PhasePowers && c.Phase != PhaseCircuits, (c.Phase == PhasePowers) != (c.Circuit == ""):
		return fmt.Errorf("phase %q with circuit %q", c.Phase, c.Circuit)
	case c.Sequence < 1:
		return fmt.Errorf("sequence %d", c.Sequence)
	case len(c.Key) != ed25519.PublicKeySize:
		return fmt.Errorf("key of %d bytes", len(c.Key))
	}
	return nil
}

// PowersSeal ends phase powers: its beacon, and the files that phase circuits
// begins with, one for each circuit.
type PowersSeal struct {
	Beacon  []byte      `json:"beacon"`
	Initial []fl.Digest `json:"initial"`
}

// KeysSeal ends the ceremony: its beacon, and the digests of the keys'
// manifests, one for each circuit.
type KeysSeal struct {
	Beacon    []byte      `json:"beacon"`
	Manifests []fl.Digest `json:"manifests"`
}

// A Transcript is the whole record of a ceremony, without its files.
type Transcript struct {
	Start      Start           `json:"start"`
	Powers     []fl.Envelope   `json:"powers"`
	PowersSeal *PowersSeal     `json:"powers_seal"`
	Circuits   [][]fl.Envelope `json:"circuits"` // as Start.Circuits
	KeysSeal   *KeysSeal       `json:"keys_seal"`
}

// Encode returns the canonical encoding.
func (t *Transcript) Encode() ([]byte, error) {
	b, err := json.Marshal(t)
	if err == nil && len(b) > maxTranscript {
		err = fmt.Errorf("%d bytes: at most %d", len(b), maxTranscript)
	}
	if err != nil {
		return nil, fmt.Errorf("ceremony: encoding the transcript: %w", err)
	}
	return b, nil
}

// ParseTranscript decodes what Encode wrote and nothing else, and checks
// everything that can be checked without the files: every signature, every
// place and every link. It returns a *Fault when a contribution is to blame
// and wraps ErrTranscript otherwise.
func ParseTranscript(b []byte) (*Transcript, error) {
	if len(b) > maxTranscript {
		return nil, fmt.Errorf("ceremony: %w: %d bytes: at most %d", ErrTranscript, len(b), maxTranscript)
	}
	t := new(Transcript)
	if err := fl.DecodeCanonical(b, t); err != nil {
		return nil, fmt.Errorf("ceremony: %w: %w", ErrTranscript, err)
	}
	if err := t.Start.validate(); err != nil {
		return nil, fmt.Errorf("ceremony: %w: %w", ErrTranscript, err)
	}
	if err := t.validateSeals(); err != nil {
		return nil, fmt.Errorf("ceremony: %w: %w", ErrTranscript, err)
	}
	for _, c := range t.chains() {
		if _, err := c.read(&t.Start); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func beaconOK(b []byte) error {
	if len(b) < minBeacon || len(b) > maxBeacon {
		return fmt.Errorf("a beacon of %d bytes: want %d to %d", len(b), minBeacon, maxBeacon)
	}
	return nil
}

func (t *Transcript) validateSeals() error {
	n := len(t.Start.Circuits)
	if len(t.Circuits) != n {
		return fmt.Errorf("contributions to %d circuits: want %d", len(t.Circuits), n)
	}
	if t.PowersSeal == nil {
		if t.KeysSeal != nil || slices.ContainsFunc(t.Circuits, func(c []fl.Envelope) bool { return len(c) > 0 }) {
			return fmt.Errorf("phase circuits began before phase powers was sealed")
		}
		return nil
	}
	if err := beaconOK(t.PowersSeal.Beacon); err != nil {
		return err
	}
	if len(t.Powers) < t.Start.Minimum || len(t.PowersSeal.Initial) != n {
		return fmt.Errorf("phase powers was sealed with %d contributions for %d circuits: want at least %d for %d", len(t.Powers), len(t.PowersSeal.Initial), t.Start.Minimum, n)
	}
	if t.KeysSeal == nil {
		return nil
	}
	if err := beaconOK(t.KeysSeal.Beacon); err != nil {
		return err
	}
	if bytes.Equal(t.KeysSeal.Beacon, t.PowersSeal.Beacon) {
		return fmt.Errorf("both seals have one beacon")
	}
	if len(t.KeysSeal.Manifests) != n {
		return fmt.Errorf("%d sealed keys: want %d", len(t.KeysSeal.Manifests), n)
	}
	for i, c := range t.Circuits {
		if len(c) < t.Start.Minimum {
			return fmt.Errorf("%s was sealed with %d contributions: want at least %d", t.Start.Circuits[i].Shape, len(c), t.Start.Minimum)
		}
	}
	return nil
}

// phase is where the ceremony stands.
func (t *Transcript) phase() Phase {
	switch {
	case t.PowersSeal == nil:
		return PhasePowers
	case t.KeysSeal == nil:
		return PhaseCircuits
	}
	return PhaseSealed
}

// A chain is the contributions that build on each other.
type chain struct {
	phase   Phase
	circuit int // index; -1 in phase powers
	shape   string
	initial fl.Digest
	entries *[]fl.Envelope
}

// chains lists the chains that have begun.
func (t *Transcript) chains() []chain {
	out := []chain{{phase: PhasePowers, circuit: -1, initial: initialPowersDigest(t.Start.Domain, t.Start.ID()), entries: &t.Powers}}
	if t.PowersSeal != nil {
		for i, c := range t.Start.Circuits {
			out = append(out, chain{phase: PhaseCircuits, circuit: i, shape: c.Shape, initial: t.PowersSeal.Initial[i], entries: &t.Circuits[i]})
		}
	}
	return out
}

func (c *chain) fault(sequence int, by fl.NodeID, err error, format string, args ...any) *Fault {
	return &Fault{Phase: c.phase, Circuit: c.shape, Sequence: sequence, Contributor: by, Err: err, Detail: fmt.Sprintf(format, args...)}
}

// read decodes a chain and checks each entry against those before it.
func (c *chain) read(s *Start) ([]Contribution, error) {
	if len(*c.entries) > maxParticipants {
		return nil, fmt.Errorf("ceremony: %w: %d contributions to one chain", ErrTranscript, len(*c.entries))
	}
	var out []Contribution
	id, previous, last := s.ID(), c.initial, 0
	names, keys := map[fl.NodeID]int{}, map[string]int{}
	for i, e := range *c.entries {
		var d Contribution
		bad := func(err error, format string, args ...any) ([]Contribution, error) {
			return nil, c.fault(i+1, e.Signer, err, format, args...)
		}
		if err := e.Read(&d); err != nil {
			return bad(ErrTranscript, "%v", err)
		}
		if err := e.Signer.Validate(); err != nil {
			return bad(ErrTranscript, "%v", err)
		}
		if err := e.Verify(d.Key); err != nil {
			return bad(ErrSignature, "it was altered, or is not by %s", e.Signer)
		}
		if d.Ceremony != id {
			return bad(ErrForeign, "it was made for ceremony %s, this is %s", d.Ceremony.Short(), id.Short())
		}
		place := 0
		if !s.Open {
			at := slices.IndexFunc(s.Participants, func(p Participant) bool { return p.Name == e.Signer })
			if at < 0 {
				return bad(ErrForeign, "%s is no participant", e.Signer)
			}
			if !bytes.Equal(s.Participants[at].Key, d.Key) {
				return bad(ErrForeign, "its key is not that of participant %s", e.Signer)
			}
			place = at
		}
		if first := max(names[e.Signer], keys[string(d.Key)]); first > 0 {
			return bad(ErrOrder, "it is repeated: %s or its key made contribution %d already", e.Signer, first)
		}
		if place < last {
			return bad(ErrOrder, "%s comes before %s", e.Signer, s.Participants[last].Name)
		}
		last = place
		names[e.Signer], keys[string(d.Key)] = i+1, i+1
		if d.Phase != c.phase || d.Circuit != c.shape {
			return bad(ErrOrder, "it was made for %s %s", d.Phase, d.Circuit)
		}
		if d.Sequence != i+1 {
			return bad(ErrOrder, "it was made as contribution %d", d.Sequence)
		}
		if d.Previous != previous {
			return bad(ErrOrder, "it builds on %s, the contribution before it made %s", d.Previous.Short(), previous.Short())
		}
		previous = d.File
		out = append(out, d)
	}
	return out, nil
}

// head is the file that the next contribution builds on.
func (c *chain) head(done []Contribution) fl.Digest {
	if len(done) == 0 {
		return c.initial
	}
	return done[len(done)-1].File
}
