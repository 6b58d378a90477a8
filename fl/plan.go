package fl

import (
	"errors"
	"fmt"
	"time"
)

// Assignment is one client's part of a round.
type Assignment struct {
	Node   NodeID `json:"node"`
	Shards []int  `json:"shards"` // ascending indexes into the shard map
	// Weight is the numerator of the client's weight: it multiplies its
	// clipped update by Weight / Plan.WeightUnit before it quantises.
	Weight int64 `json:"weight"`
}

// Plan is what a round's cohort is to do. It is signed by the aggregator and
// never changes.
type Plan struct {
	Genesis    Digest       `json:"genesis"`
	JobSpec    Digest       `json:"job_spec"`
	Job        JobID        `json:"job"`
	Round      uint64       `json:"round"` // from 1; an aborted round's number is not used again
	EpochKey   Digest       `json:"epoch_key"`
	Epoch      uint64       `json:"epoch"`
	BaseModel  Digest       `json:"base_model"` // blob: the global parameters the clients start from
	Slots      int          `json:"slots"`      // values in a ciphertext; fixes the shard map
	Shards     int          `json:"shards"`     // sums to open: the shards of an upload, times Groups
	Cohort     []Assignment `json:"cohort"`
	WeightUnit int64        `json:"weight_unit"` // the largest weight
	MinCohort  int          `json:"min_cohort"`
	Clip       Clip         `json:"clip"`
	Privacy    Privacy      `json:"privacy,omitzero"` // the job's
	// Charged is, for each client of Cohort, how many rounds of a private job its
	// budget has been charged for, this one included: the plans of the job that
	// name it. Empty without privacy.
	Charged    []int      `json:"charged,omitempty"`
	ValueBits  int        `json:"value_bits"` // b of the suite
	ProofLevel ProofLevel `json:"proof_level"`
	ProofKeys  Digest     `json:"proof_keys"` // document; zero at ProofNone
	Seed       uint64     `json:"seed"`
	// Groups is the number of groups that a robust rule compares, each with sums
	// of its own: sum g*(Shards/Groups)+s is that of shard s in group g. 0: one sum
	// of the whole cohort.
	Groups int `json:"groups,omitempty"`
	// Population is how many nodes had joined the job, for the strategies that
	// need it; else 0.
	Population int `json:"population,omitempty"`
	// BaseState is what the strategy kept with the base model (blob, as
	// parameters): zero before the first version and without such a strategy.
	BaseState Digest    `json:"base_state,omitzero"`
	OpenedAt  time.Time `json:"opened_at"`
	Deadline  time.Time `json:"deadline"`
}

var errNoRound = errors.New("names no round: rounds count from 1")

// Kind implements Document.
func (Plan) Kind() Kind { return "plan/v1" }

// Validate implements Document.
func (p Plan) Validate() error {
	switch {
	case p.Genesis.IsZero():
		return errNoGenesis
	case p.JobSpec.IsZero() || p.EpochKey.IsZero() || p.BaseModel.IsZero():
		return errors.New("plan: names no job, epoch key or base model")
	case p.ProofLevel.Attested() == p.ProofKeys.IsZero():
		return fmt.Errorf("plan: proof level %s and proof keys %s do not go together", p.ProofLevel, p.ProofKeys.Short())
	case p.Round < 1 || p.Epoch < 1:
		return errors.New("plan: rounds and epochs count from 1")
	case p.Shards < 1 || p.Shards > MaxDocument || p.Slots <= MetricSlots: // each shard takes a byte of an assignment at least
		return fmt.Errorf("plan: %d shards of %d values: want 1 to %d shards of more than %d values", p.Shards, p.Slots, MaxDocument, MetricSlots)
	case p.MinCohort < 2 || len(p.Cohort) < p.MinCohort:
		return fmt.Errorf("plan: cohort of %d, minimum %d: want at least 2 and the minimum", len(p.Cohort), p.MinCohort)
	case p.WeightUnit < 1 || p.WeightUnit > MaxSamples: // so that no sum of weights overflows
		return fmt.Errorf("plan: weight unit %d: want 1 to %d", p.WeightUnit, int64(MaxSamples))
	case p.Groups < 0 || p.Groups == 1 || p.Groups > 0 && p.Shards%p.Groups != 0:
		return fmt.Errorf("plan: %d sums in %d groups: want 0 groups, or at least 2 of equally many sums", p.Shards, p.Groups)
	case p.Population < 0 || p.Population > 0 && p.Population < len(p.Cohort):
		return fmt.Errorf("plan: a cohort of %d out of a population of %d", len(p.Cohort), p.Population)
	case p.ValueBits < 2 || p.ValueBits > 31:
		return fmt.Errorf("plan: %d value bits: want 2 to 31", p.ValueBits)
	case !p.Deadline.After(p.OpenedAt):
		return errors.New("plan: the deadline is not after the opening")
	}
	covered := make([]bool, p.Shards)
	nodes := make([]NodeID, len(p.Cohort))
	for i, a := range p.Cohort {
		nodes[i] = a.Node
		if a.Weight < 1 || a.Weight > p.WeightUnit {
			return fmt.Errorf("plan: %s has weight %d: want 1 to %d", a.Node, a.Weight, p.WeightUnit)
		}
		if len(a.Shards) == 0 {
			return fmt.Errorf("plan: %s has no shard", a.Node)
		}
		for j, s := range a.Shards {
			if s < 0 || s >= p.Shards || (j > 0 && s <= a.Shards[j-1]) {
				return fmt.Errorf("plan: %s: shards %v are not ascending in 0..%d", a.Node, a.Shards, p.Shards-1)
			}
			if s/p.UploadShards() != a.Shards[0]/p.UploadShards() {
				return fmt.Errorf("plan: %s: shards %v are of more than one group", a.Node, a.Shards)
			}
			covered[s] = true
		}
	}
	for s, ok := range covered {
		if !ok {
			return fmt.Errorf("plan: nobody is assigned shard %d", s)
		}
	}
	return firstError(p.Job.Validate(), p.Clip.Validate(), p.ProofLevel.Validate(), validNodes("plan: cohort", nodes),
		validTime("plan: opened_at", p.OpenedAt), validTime("plan: deadline", p.Deadline), p.validatePrivacy())
}

// UploadShards returns the number of ciphertexts that carry one whole upload.
func (p Plan) UploadShards() int { return p.Shards / max(p.Groups, 1) }

// Assigned returns a client's part of the round, and whether it has one.
func (p Plan) Assigned(node NodeID) (Assignment, bool) {
	for _, a := range p.Cohort {
		if a.Node == node {
			return a, true
		}
	}
	return Assignment{}, false
}

// Contributors returns, for each shard, how many of the given clients are
// assigned to it.
func (p Plan) Contributors(nodes []NodeID) []int {
	in := make(map[NodeID]bool, len(nodes))
	for _, n := range nodes {
		in[n] = true
	}
	counts := make([]int, p.Shards)
	for _, a := range p.Cohort {
		if !in[a.Node] {
			continue
		}
		for _, s := range a.Shards {
			counts[s]++
		}
	}
	return counts
}

// NoiseDealing distributes the Shamir shares of a committee member's
// smudging polynomials for one round: for every shard, one sealed box for
// every member of the epoch.
type NoiseDealing struct {
	Genesis Digest `json:"genesis"`
	Plan    Digest `json:"plan"`
	Job     JobID  `json:"job"`
	Round   uint64 `json:"round"`
	Node    NodeID `json:"node"`
	Boxes   []Box  `json:"boxes"` // by shard, then in the order of the members
}

// Kind implements Document.
func (NoiseDealing) Kind() Kind { return "noise-dealing/v1" }

// Validate implements Document.
func (d NoiseDealing) Validate() error {
	if d.Round < 1 {
		return errNoRound
	}
	return firstError(validSubject(d.Genesis, d.Plan, d.Node), d.Job.Validate(), validBoxes(d.Boxes))
}
