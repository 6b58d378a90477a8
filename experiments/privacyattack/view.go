package privacyattack

import (
	"fmt"
	"math/rand/v2"
	"time"

	"credence/fl"
	"credence/fl/privacy"
)

// View is what an attacker sees of a round.
type View string

// The views, from the most to the least that is seen.
const (
	ViewUpdate  View = "single update"
	ViewSum     View = "secure sum"
	ViewPrivate View = "secure sum with noise"
)

// Views returns all of them.
func Views() []View { return []View{ViewUpdate, ViewSum, ViewPrivate} }

// Round describes the round that is attacked.
type Round struct {
	Clients int     // in the cohort, the victim included: at least 2
	Clip    fl.Clip // Norm is needed
	// Privacy is that of ViewPrivate; Epsilon is not read, MinHonest is at most
	// Clients.
	Privacy fl.Privacy
	Seed    uint64
	// Slots and ValueBits are those of the round's ciphertexts; 0: of suite
	// rlwe4096-d1-v1.
	Slots, ValueBits int
}

// The values of a ciphertext of suite rlwe4096-d1-v1.
const (
	usualSlots = 4096
	usualBits  = 16
)

func (r Round) slots() int {
	if r.Slots == 0 {
		return usualSlots
	}
	return r.Slots
}

func (r Round) valueBits() int {
	if r.ValueBits == 0 {
		return usualBits
	}
	return r.ValueBits
}

// plan returns the plan of a round for updates of the given size.
func (r Round) plan(size int, private bool) (fl.Plan, error) {
	shards, err := fl.ShardMap(size, r.slots())
	if err != nil {
		return fl.Plan{}, err
	}
	if r.Clients < 2 {
		return fl.Plan{}, fmt.Errorf("privacyattack: a cohort of %d: want at least 2", r.Clients)
	}
	any := fl.DigestBytes([]byte("privacyattack"))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := fl.Plan{
		Genesis: any, JobSpec: any, Job: "attacked", Round: 1, EpochKey: any, Epoch: 1, BaseModel: any,
		Slots: r.slots(), Shards: len(shards), WeightUnit: 1, MinCohort: 2, Clip: r.Clip, ValueBits: r.valueBits(), ProofLevel: fl.ProofNone,
		Seed: r.Seed, OpenedAt: at, Deadline: at.Add(time.Hour),
	}
	for i := range r.Clients {
		a := fl.Assignment{Node: fl.NodeID(fmt.Sprintf("client-%04d", i)), Weight: 1}
		for s := range shards {
			a.Shards = append(a.Shards, s)
		}
		p.Cohort = append(p.Cohort, a)
	}
	if private {
		p.MinCohort, p.Privacy = r.Clients, r.Privacy
		if p.Privacy.Epsilon == 0 {
			p.Privacy.Epsilon = 1 // not read
		}
		for range p.Cohort {
			p.Charged = append(p.Charged, 1)
		}
	}
	return p, p.Validate()
}

// Epsilon returns what a manifest would say of one such round in a view.
func (r Round) Epsilon(view View, size int) (string, error) {
	if view != ViewPrivate {
		return privacy.Infinity, nil
	}
	p, err := r.plan(size, true)
	if err != nil {
		return "", err
	}
	epsilon, _ := privacy.Statement(p, 1)
	return epsilon, nil
}

// See returns what the attacker sees of the clients' updates, the victim's first:
// a vector in units of one update.
func (r Round) See(view View, updates [][]float64) ([]float64, error) {
	if len(updates) != r.Clients {
		return nil, fmt.Errorf("privacyattack: %d updates of %d clients", len(updates), r.Clients)
	}
	size := len(updates[0])
	plan, err := r.plan(size, view == ViewPrivate)
	if err != nil {
		return nil, err
	}
	if view == ViewUpdate {
		updates = updates[:1]
	}
	sums, contributors := make([][]int64, plan.Shards), make([][]fl.NodeID, plan.Shards)
	for i := range sums {
		sums[i] = make([]int64, plan.Slots)
	}
	var key [32]byte
	for i := range 8 {
		key[i] = byte(r.Seed >> (8 * i))
	}
	sampler := privacy.NewSampler(rand.NewChaCha8(key))
	for i, update := range updates {
		if len(update) != size {
			return nil, fmt.Errorf("privacyattack: updates of %d and %d values", size, len(update))
		}
		node := plan.Cohort[i].Node
		values, err := privacy.Quantise(plan, node, update, fl.Figures{}, sampler)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			contributors[v.Shard] = append(contributors[v.Shard], node)
			for k, x := range v.Values {
				sums[v.Shard][k] += int64(x)
			}
		}
	}
	means, _, err := fl.GroupMeans(plan, size, contributors, sums)
	if err != nil {
		return nil, err
	}
	return means[0], nil
}
