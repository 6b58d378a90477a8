package round

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"credence/fl"

	"pgregory.net/rapid"
)

// TestNothingBreaksARound sends random events, sensible and not, at times
// that jump and go backwards, with restarts in between, and checks after each
// one what must always hold. In the end time alone must finish the round.
func TestNothingBreaksARound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		simulate(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") })
	})
}

// The same from fixed seeds, which are evenly random and so reach everything.
func TestNothingBreaksManyRounds(t *testing.T) {
	visited := map[Phase]int{}
	var reopened int
	for seed := range uint64(600) {
		r := simulate(t, rand.New(rand.NewPCG(seed, 0)).IntN)
		for phase := range r.visited {
			visited[phase]++
		}
		reopened += r.reopened
	}
	for phase := range successors {
		if visited[phase] < 20 {
			t.Errorf("only %d runs reached phase %s", visited[phase], phase)
		}
	}
	if reopened < 20 {
		t.Errorf("only %d openings were tried again", reopened)
	}
	t.Logf("runs that visited each phase: %v; openings tried again: %d", visited, reopened)
}

type tester interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

// run is one simulated round. pick(n) returns one of 0..n-1.
type run struct {
	tester
	pick      func(n int) int
	state     State
	clock     time.Time
	visited   map[Phase]bool
	published int
	reopened  int
}

func simulate(t tester, pick func(int) int) *run {
	members := []fl.NodeID{"m1", "m2", "a", "m3", "m4"}[:2+pick(4)]
	threshold := 2 + pick(len(members)-1)
	cohort := [][]string{{"a", "b", "c", "d"}, {"a:0,1", "b:0", "c:1", "d:0,1"}}[pick(2)]
	s, err := New(testConfig(cohort, members, threshold, 2+pick(2), time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	r := &run{tester: t, pick: pick, state: s, clock: opened, visited: map[Phase]bool{Open: true}}
	for range pick(81) {
		if r.pick(40) == 0 {
			r.clock = r.clock.Add(2 * time.Minute)
		} else {
			r.clock = r.clock.Add(time.Duration(r.pick(3)) * time.Second)
		}
		if r.pick(10) < 8 { // or few rounds would get anywhere
			r.apply(r.sensible(r.clock))
			continue
		}
		r.apply(r.anything(r.clock.Add(-time.Duration(r.pick(2)) * time.Hour)))
		if r.pick(4) == 0 {
			r.state = again(r.tester, r.state)
		}
	}
	for range 3 {
		r.clock = r.clock.Add(2 * time.Hour)
		r.apply(Tick{r.clock})
	}
	if !r.state.Phase.Final() {
		r.Fatalf("stuck in %s", r.state.Phase)
	}
	return r
}

// sensible returns an event that is due in the present phase.
func (r *run) sensible(at time.Time) Event {
	s := r.state
	member := s.config.Epoch.Members[r.pick(len(s.config.Epoch.Members))]
	switch {
	case s.Phase == Open && r.pick(2) == 0:
		n := s.config.Plan.Cohort[r.pick(len(s.config.Plan.Cohort))].Node
		return UpdateAccepted{n, label(string(n)), at}
	case s.Phase == Open:
		return NoiseDealt{member, label(string(member)), at}
	case s.Phase == Sealed && r.pick(3) == 0:
		return SumsReady{label("seal"), at}
	case s.Phase == Sealed:
		return Tick{at}
	case len(s.Opening) == 0:
		return ShareReceived{member, label(string(member)), at}
	case r.pick(3) > 0:
		return OpenFailed{r.blame(), at}
	}
	return Opened{label("manifest"), nil, at}
}

// anything returns any event, by and about anybody.
func (r *run) anything(at time.Time) Event {
	n := []fl.NodeID{"a", "b", "c", "d", "m1", "m2", "m3", "m4", "x"}[r.pick(9)]
	document := label(string(n) + []string{"", "other"}[r.pick(2)])
	switch r.pick(12) {
	case 0, 1:
		return UpdateAccepted{n, document, at}
	case 2:
		return Declined{n, at}
	case 3:
		return NoiseDealt{n, document, at}
	case 4:
		return SumsReady{label([]string{"seal", "other"}[r.pick(2)]), at}
	case 5, 6:
		return ShareReceived{n, document, at}
	case 7:
		return Revoked{n, at}
	case 8:
		return Opened{label([]string{"manifest", "other"}[r.pick(2)]), r.blame(), at}
	case 9:
		return OpenFailed{r.blame(), at}
	case 10:
		if r.pick(5) == 0 {
			return Cancelled{"reason", at}
		}
	}
	return Tick{at}
}

func (r *run) blame() []fl.NodeID {
	if len(r.state.Opening) == 0 || r.pick(2) == 0 {
		return nil
	}
	return []fl.NodeID{r.state.Opening[r.pick(len(r.state.Opening))]}
}

var successors = map[Phase][]Phase{
	Open:       {Open, Sealed, Aborted},
	Sealed:     {Sealed, Decrypting, Aborted},
	Decrypting: {Decrypting, Published, Aborted},
	Published:  {Published},
	Aborted:    {Aborted},
}

func (r *run) apply(e Event) {
	old := r.state
	before := encode(r, old)
	next, effects, err := Step(old, e)
	if !bytes.Equal(before, encode(r, old)) {
		r.Fatalf("%T modified its input", e)
	}
	same := bytes.Equal(before, encode(r, next))
	switch {
	case err != nil && (fl.CodeOf(err) == "" || !same || effects != nil):
		r.Fatalf("%T refused with %v, changed %v, effects %v", e, err, !same, effects)
	case same != (next.Version == old.Version):
		r.Fatalf("%T: the version does not tell whether the state changed", e)
	case old.Phase.Final() && !same:
		r.Fatalf("%T changed a round that was %s", e, old.Phase)
	case !slices.Contains(successors[old.Phase], next.Phase):
		r.Fatalf("%T: from %s to %s", e, old.Phase, next.Phase)
	case next.Now.Before(old.Now):
		r.Fatalf("%T: time went back", e)
	}
	for _, effect := range effects {
		if !slices.ContainsFunc(Pending(next), func(p Effect) bool { return reflect.DeepEqual(p, effect) }) {
			r.Fatalf("effect %v would be lost by a restart", effect)
		}
	}
	for _, p := range Pending(next) {
		known := func(e Effect) bool { return reflect.DeepEqual(p, e) }
		if !slices.ContainsFunc(effects, known) && !slices.ContainsFunc(Pending(old), known) {
			r.Fatalf("%v is pending but was never an effect", p)
		}
	}
	if old.Phase != Open && !(reflect.DeepEqual(old.Updates, next.Updates) && slices.Equal(old.Clients, next.Clients) &&
		slices.Equal(old.Dealers, next.Dealers) && old.SealedAt.Equal(next.SealedAt)) {
		r.Fatalf("%T changed the sealed set", e)
	}
	if !old.Seal.IsZero() && old.Seal != next.Seal {
		r.Fatalf("%T changed the seal", e)
	}
	if len(old.Opening) > 0 && len(next.Opening) > 0 && !slices.Equal(old.Opening, next.Opening) {
		if _, ok := e.(OpenFailed); !ok {
			r.Fatalf("%T changed the holders under way", e)
		}
	}
	if old.Phase != Published && next.Phase == Published {
		r.published++
	}
	if r.published > 1 {
		r.Fatal("published twice")
	}
	if len(old.Opening) > 0 && len(next.Opening) > 0 && !slices.Equal(old.Opening, next.Opening) {
		r.reopened++
	}
	r.visited[next.Phase] = true
	r.state = again(r.tester, next)
	r.invariants(e)
}

func (r *run) invariants(e Event) {
	s := r.state
	threshold, least := s.config.Epoch.Threshold, s.config.Plan.MinCohort
	if !s.SealedAt.IsZero() {
		if len(s.Clients) < least || len(s.Dealers) < threshold || !slices.Equal(s.Clients, slices.Sorted(maps.Keys(s.Updates))) {
			r.Fatalf("sealed with %v, noise of %v", s.Clients, s.Dealers)
		}
		for shard, n := range s.config.Plan.Contributors(s.Clients) {
			if n < least {
				r.Fatalf("sealed with %d updates to shard %d", n, shard)
			}
		}
	}
	if len(s.Opening) > 0 {
		if len(s.Opening) < threshold {
			r.Fatalf("opening by %v", s.Opening)
		}
		for _, m := range s.Opening {
			if s.config.Epoch.Point(m) == 0 || (s.Phase == Decrypting && slices.Contains(s.Wrong, m)) {
				r.Fatalf("%s holds no good share", m)
			}
		}
	}
	if _, ok := s.Updates["x"]; ok {
		r.Fatal("a stranger's update was accepted")
	}
	for n := range s.Updates {
		if _, declined := s.Declined[n]; declined {
			r.Fatalf("%s declined and sent", n)
		}
	}
	if (s.Phase == Aborted) != (s.Reason != "") {
		r.Fatalf("%s with reason %q after %s", s.Phase, s.Reason, fmt.Sprintf("%T", e))
	}
}
