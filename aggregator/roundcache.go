package aggregator

import (
	"context"
	"sync"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/round"
)

// snapshotAge is how old a node's view of the active rounds may be. Changes by
// this process are seen at once; the age bounds what another one's take.
const snapshotAge = 500 * time.Millisecond

type roundKey struct {
	job    fl.JobID
	number uint64
}

// roundCache spares a large cohort the price of its size: every poll and every
// message of n clients would otherwise decode a plan and a state that name n
// clients. It holds nothing that the store does not, and is only ever a copy
// of one version of it.
type roundCache struct {
	mu     sync.Mutex
	states map[roundKey]heldState // newest decoded, of rounds that are not over

	// active is what all polls between two changes share.
	active   []activeRound
	activeAt time.Time
	woken    <-chan struct{}

	// holders says who holds a ciphertext of a round, to refuse copies.
	holders map[roundKey]map[fl.Digest]fl.NodeID
}

// heldState is the decoded state of one stored version.
type heldState struct {
	version int64
	state   round.State
}

// activeRound is an active round with its state decoded.
type activeRound struct {
	store.Round
	state round.State
	plan  []byte // encoded, shared by all who are handed it
}

func newRoundCache() *roundCache {
	return &roundCache{states: map[roundKey]heldState{}, holders: map[roundKey]map[fl.Digest]fl.NodeID{}}
}

// state returns the decoded state of a version, if it is the one held. States
// are immutable: Step copies what it changes.
func (c *roundCache) state(r store.Round) (round.State, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, ok := c.states[roundKey{r.Job, r.Number}]
	return held.state, ok && held.version == r.Version
}

func (c *roundCache) keep(r store.Round, s round.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := roundKey{r.Job, r.Number}
	if s.Phase.Final() {
		delete(c.states, key)
		delete(c.holders, key)
		return
	}
	c.states[key] = heldState{r.Version, s}
}

// activeRounds returns the active rounds, read once for all who ask between
// two changes.
func (a *Aggregator) activeRounds(ctx context.Context) ([]activeRound, error) {
	c := a.rounds
	woken := a.wake.wait()
	c.mu.Lock()
	if c.woken == woken && time.Since(c.activeAt) < snapshotAge {
		defer c.mu.Unlock()
		return c.active, nil
	}
	c.mu.Unlock()
	stored, err := a.store.ActiveRounds(ctx)
	if err != nil {
		return nil, err
	}
	active := make([]activeRound, len(stored))
	for i, r := range stored {
		state, err := a.roundState(ctx, r)
		if err != nil {
			return nil, err
		}
		active[i] = activeRound{Round: r, state: state, plan: r.Plan.Encode()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active, c.activeAt, c.woken = active, time.Now(), woken
	return active, nil
}

// holdersOf returns who holds which ciphertext of a round; the caller holds
// the cache's lock while it uses the map.
func (a *Aggregator) holdersOf(ctx context.Context, key roundKey) (map[fl.Digest]fl.NodeID, error) {
	if held := a.rounds.holders[key]; held != nil {
		return held, nil
	}
	docs, err := a.store.RoundDocuments(ctx, key.job, key.number)
	if err != nil {
		return nil, err
	}
	held := map[fl.Digest]fl.NodeID{}
	for _, d := range docs {
		var h fl.UpdateHeader
		if d.Kind != h.Kind() {
			continue
		}
		if err := d.Read(&h); err != nil {
			return nil, err
		}
		for _, c := range h.Ciphertexts {
			held[c.Digest] = h.Node
		}
	}
	a.rounds.holders[key] = held
	return held, nil
}
