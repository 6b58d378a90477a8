package round

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"credence/fl"
)

// Phase is where a round stands.
type Phase string

// The phases. The last two are final.
const (
	Open       Phase = "open"       // takes updates and noise
	Sealed     Phase = "sealed"     // the accepted set is frozen; sums are being computed
	Decrypting Phase = "decrypting" // takes decryption shares
	Published  Phase = "published"
	Aborted    Phase = "aborted"
)

// Final reports whether nothing can happen to the round any more.
func (p Phase) Final() bool { return p == Published || p == Aborted }

// MaxState bounds an encoded state, in bytes. A client takes up to some 250 of
// them, so a cohort may have tens of thousands.
const MaxState = 16 << 20

// Config is what a round runs by. The durations are not part of the round's
// identity: an operator may change them between two runs.
type Config struct {
	Plan  fl.Plan
	Epoch fl.EpochPlan // the plan's epoch
	// SealGrace is how long a round whose clients have all answered, and which
	// has noise from a threshold of members, waits for the other members' noise.
	SealGrace time.Duration
	// ShareGrace is how long a round with a threshold of decryption shares
	// waits for more. More shares than the threshold are what shows a wrong one.
	ShareGrace time.Duration
	// DecryptTimeout is how long after the seal a round may take to collect a
	// threshold of shares, and then again how long an opening may take.
	DecryptTimeout time.Duration
}

func (c *Config) validate() error {
	switch {
	case c.SealGrace < 0 || c.ShareGrace < 0 || c.DecryptTimeout <= 0:
		return fmt.Errorf("round: seal grace %s, share grace %s, decrypt timeout %s: want graces >= 0 and a timeout > 0", c.SealGrace, c.ShareGrace, c.DecryptTimeout)
	case c.Plan.Epoch != c.Epoch.Epoch || c.Plan.Genesis != c.Epoch.Genesis:
		return errors.New("round: plan and epoch do not belong together")
	}
	if err := c.Plan.Validate(); err != nil {
		return fmt.Errorf("round: %w", err)
	}
	if err := c.Epoch.Validate(); err != nil {
		return fmt.Errorf("round: %w", err)
	}
	return nil
}

// identity binds an encoded state to its plan and its committee.
func (c *Config) identity() (fl.Digest, error) {
	plan, err := json.Marshal(c.Plan)
	if err != nil {
		return fl.Digest{}, fmt.Errorf("round: encoding the plan: %w", err)
	}
	epoch, err := json.Marshal(c.Epoch)
	if err != nil {
		return fl.Digest{}, fmt.Errorf("round: encoding the epoch: %w", err)
	}
	return fl.DigestOf("round/v1", plan, epoch), nil
}

// Mark is a document that took its place in a round, and when.
type Mark struct {
	Digest fl.Digest `json:"digest"`
	At     time.Time `json:"at"`
}

// State is all there is to know about a round beside its Config. Read its
// fields freely; only New, Step and Decode make states, and a state's maps and
// slices are shared between states and must not be modified.
type State struct {
	config *Config

	Identity fl.Digest `json:"identity"` // of plan and epoch
	Version  uint64    `json:"version"`  // counts the changes; a store can compare and swap by it
	Phase    Phase     `json:"phase"`
	Reason   string    `json:"reason"` // why the round was aborted
	Now      time.Time `json:"now"`    // latest time of any event that changed the state

	Updates  map[fl.NodeID]Mark      `json:"updates"` // accepted update headers
	Declined map[fl.NodeID]time.Time `json:"declined"`
	Dealings map[fl.NodeID]Mark      `json:"dealings"` // noise, by member
	Revoked  map[fl.NodeID]time.Time `json:"revoked"`
	ReadyAt  time.Time               `json:"ready_at"` // since when everybody answered and a threshold dealt

	SealedAt time.Time   `json:"sealed_at"`
	Clients  []fl.NodeID `json:"clients"` // whose updates are sealed, sorted
	Dealers  []fl.NodeID `json:"dealers"` // whose noise is used, in the order of the epoch
	Seal     fl.Digest   `json:"seal"`

	Shares   map[fl.NodeID]Mark `json:"shares"`    // decryption shares, by member
	QuorumAt time.Time          `json:"quorum_at"` // since when a threshold of shares is in
	Opening  []fl.NodeID        `json:"opening"`   // holders whose shares are being combined, in the order of the epoch
	OpenedAt time.Time          `json:"opened_at"` // when Opening was fixed
	Failed   []fl.NodeID        `json:"failed"`    // the last holders that failed with nobody to blame
	Wrong    []fl.NodeID        `json:"wrong"`     // whose shares were found wrong, sorted
	Manifest fl.Digest          `json:"manifest"`
	EndedAt  time.Time          `json:"ended_at"`
}

// New returns the state of a round that has just been planned.
func New(config Config) (State, error) {
	if err := config.validate(); err != nil {
		return State{}, err
	}
	identity, err := config.identity()
	if err != nil {
		return State{}, err
	}
	return State{
		config: &config, Identity: identity, Phase: Open, Now: config.Plan.OpenedAt,
		Updates: map[fl.NodeID]Mark{}, Declined: map[fl.NodeID]time.Time{}, Dealings: map[fl.NodeID]Mark{},
		Revoked: map[fl.NodeID]time.Time{}, Shares: map[fl.NodeID]Mark{},
	}, nil
}

// Plan returns the plan of the round.
func (s State) Plan() fl.Plan { return s.config.Plan }

// Encode returns the canonical encoding of the state, without its Config.
func (s State) Encode() ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("round: encoding the state: %w", err)
	}
	return b, nil
}

// Decode reads what Encode wrote of a round with the same plan and epoch, and
// nothing else: anything that Step cannot have produced is an error.
func Decode(config Config, data []byte) (State, error) {
	if err := config.validate(); err != nil {
		return State{}, err
	}
	if len(data) > MaxState {
		return State{}, fmt.Errorf("round: state of %d bytes: at most %d", len(data), MaxState)
	}
	var s State
	if err := fl.DecodeCanonical(data, &s); err != nil {
		return State{}, fmt.Errorf("round: state: %w", err)
	}
	s.config = &config
	identity, err := config.identity()
	if err != nil {
		return State{}, err
	}
	if s.Identity != identity {
		return State{}, errors.New("round: the state belongs to another plan or epoch")
	}
	if err := s.check(); err != nil {
		return State{}, fmt.Errorf("round: state in phase %q: %w", s.Phase, err)
	}
	return s, nil
}

// check refuses states that contradict themselves.
func (s State) check() error {
	sealed := !s.SealedAt.IsZero()
	switch s.Phase {
	case Open:
		if sealed {
			return errors.New("open and sealed")
		}
	case Sealed, Decrypting, Published:
		if !sealed {
			return errors.New("never sealed")
		}
	case Aborted:
		if s.Reason == "" {
			return errors.New("no reason")
		}
	default:
		return errors.New("unknown phase")
	}
	switch {
	case s.Updates == nil || s.Declined == nil || s.Dealings == nil || s.Revoked == nil || s.Shares == nil:
		return errors.New("a table is missing")
	case sealed != (len(s.Clients) > 0) || sealed != (len(s.Dealers) > 0):
		return errors.New("the sealed set and the time of the seal do not go together")
	case sealed && (len(s.Clients) != len(s.Updates) || !slices.Equal(s.Clients, slices.Sorted(maps.Keys(s.Updates)))):
		return errors.New("the sealed clients are not those accepted")
	case (s.Phase == Decrypting || s.Phase == Published) && s.Seal.IsZero(), !s.Seal.IsZero() && !sealed:
		return errors.New("the seal and the phase do not go together")
	case len(s.Shares) > 0 && s.Seal.IsZero():
		return errors.New("shares without a seal")
	case (s.Phase == Published) == s.Manifest.IsZero(), s.Phase == Published && len(s.Opening) == 0:
		return errors.New("the manifest and the phase do not go together")
	case s.Phase.Final() == s.EndedAt.IsZero():
		return errors.New("the end and the phase do not go together")
	}
	for _, node := range slices.Concat(slices.Collect(maps.Keys(s.Updates)), slices.Collect(maps.Keys(s.Declined))) {
		if _, ok := s.config.Plan.Assigned(node); !ok {
			return fmt.Errorf("%s is not in the cohort", node)
		}
	}
	members := [][]fl.NodeID{s.Dealers, s.Opening, s.Failed, s.Wrong, slices.Collect(maps.Keys(s.Dealings)), slices.Collect(maps.Keys(s.Shares))}
	for _, node := range slices.Concat(members...) {
		if s.config.Epoch.Point(node) == 0 {
			return fmt.Errorf("%s is not a member", node)
		}
	}
	for _, node := range slices.Concat(s.Opening, s.Failed, s.Wrong) {
		if _, ok := s.Shares[node]; !ok {
			return fmt.Errorf("%s sent no share", node)
		}
	}
	return nil
}

// clone copies everything that a step may change.
func (s State) clone() State {
	s.Updates, s.Declined, s.Dealings = maps.Clone(s.Updates), maps.Clone(s.Declined), maps.Clone(s.Dealings)
	s.Revoked, s.Shares = maps.Clone(s.Revoked), maps.Clone(s.Shares)
	s.Opening, s.Failed, s.Wrong = slices.Clone(s.Opening), slices.Clone(s.Failed), slices.Clone(s.Wrong)
	return s
}
