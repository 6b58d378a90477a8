package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"credence/aggregator/store"
	"credence/fl"
)

// race calls f at once from several goroutines, half of them on a second
// handle, and returns what each got.
func race(t testing.TB, open Open, prepare func(store.Store), f func(i int, s store.Store) error) (store.Store, []error) {
	t.Helper()
	dir := t.TempDir()
	handles := []store.Store{in(t, open, dir), in(t, open, dir)}
	prepare(handles[0])
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = f(i, handles[i%len(handles)]) })
	}
	wg.Wait()
	return handles[1], errs
}

// oneWins checks that one call succeeded and that the others lost in the one
// way in which they may, and returns the winner.
func oneWins(t testing.TB, errs []error, lost error) int {
	t.Helper()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Fatalf("%d and %d both succeeded", winner, i)
		case !errors.Is(err, lost):
			t.Fatalf("%d lost with %v, want %v", i, err, lost)
		}
	}
	if winner < 0 {
		t.Fatal("nobody succeeded")
	}
	return winner
}

func testRaceStepRound(t *testing.T, open Open) {
	var spec fl.Envelope
	s, errs := race(t, open, func(s store.Store) {
		spec = submit(t, s, "j", 10)
		must(t, s.OpenRound(t.Context(), plan(spec, "j", 1, 1), "open", nil))
	}, func(i int, s store.Store) error {
		step := publishing(spec, "j", 1, 1, 1, 4)
		step.State = fmt.Appendf(nil, "by %d", i)
		return s.StepRound(t.Context(), step)
	})
	winner := oneWins(t, errs, store.ErrStale)
	r, err := s.Round(t.Context(), "j", 1)
	must(t, err)
	equal(t, string(r.State), fmt.Sprintf("by %d", winner))
	equal(t, conserved(t, s)["party/a"], int64(4)) // paid once
}

func testRaceOpenRound(t *testing.T, open Open) {
	var spec fl.Envelope
	s, errs := race(t, open, func(s store.Store) { spec = submit(t, s, "j", 10) }, func(i int, s store.Store) error {
		return s.OpenRound(t.Context(), plan(spec, "j", 1, uint64(i)), "open", nil)
	})
	winner := oneWins(t, errs, store.ErrStale)
	r, err := s.Round(t.Context(), "j", 1)
	must(t, err)
	sameDocument(t, r.Plan, plan(spec, "j", 1, uint64(winner)))
}

func testRaceEnrol(t *testing.T, open Open) {
	token := digest("token 1")
	s, errs := race(t, open, func(s store.Store) {
		must(t, s.Invite(t.Context(), invitation("a", "1", time.Now().Add(time.Hour))))
	}, func(i int, s store.Store) error {
		grant := transfer("grant/a", "issuer", "party/a", 7)
		_, err := s.Enrol(t.Context(), token, enrolment("a", byte('a'+i), start), &grant, time.Now())
		return err
	})
	winner := oneWins(t, errs, store.ErrToken)
	p, err := s.Party(t.Context(), "a")
	must(t, err)
	sameDocument(t, p.Envelope, enrolment("a", byte('a'+winner), start))
	equal(t, conserved(t, s)["party/a"], int64(7))
}

// testRaceTransact: the last credit is spent once, and no entry is lost.
func testRaceTransact(t *testing.T, open Open) {
	s, errs := race(t, open, func(s store.Store) {
		must(t, s.Transact(t.Context(), transfer("grant/1", "issuer", "party/a", 3)))
	}, func(i int, s store.Store) error {
		for n := range 5 {
			if err := s.Transact(t.Context(), transfer(fmt.Sprintf("grant/%d/%d", i, n), "issuer", "party/b", 1)); err != nil {
				return err
			}
		}
		return s.Transact(t.Context(), transfer(fmt.Sprintf("pay/%d", i), "party/a", "operator", 3))
	})
	oneWins(t, errs, store.ErrFunds)
	equal(t, conserved(t, s), map[string]int64{"issuer": -43, "party/a": 0, "party/b": 40, "operator": 3})
}

// testRestart writes everything, with a new handle for every call, and reads
// it with yet another.
func testRestart(t *testing.T, open Open) {
	dir, ctx := t.TempDir(), t.Context()
	with := func(f func(store.Store) error) {
		t.Helper()
		s, err := open(ctx, dir)
		must(t, err)
		must(t, errors.Join(f(s), s.Close()))
	}
	spec := jobSpec("j", 1)
	p, m := epochPlan(1, "a", "b"), publishing(spec, "j", 1, 1, 1, 4)
	grant := transfer("grant/a", "issuer", "party/owner", 10)
	for range 2 { // and everything once more: nothing is done twice
		with(func(s store.Store) error { return s.Found(ctx, genesisDocument("one")) })
		with(func(s store.Store) error {
			return s.Invite(ctx, invitation("a", "1", start.AddDate(100, 0, 0)))
		})
		with(func(s store.Store) error {
			_, err := s.Enrol(ctx, digest("token 1"), enrolment("a", 'k', start), &grant, start)
			return err
		})
		with(func(s store.Store) error { return s.Seen(ctx, "a", start) })
		with(func(s store.Store) error { return s.OpenEpoch(ctx, p) })
		with(func(s store.Store) error { return s.AddEpochDocument(ctx, 1, keyCommitment(p, "a", "1")) })
		with(func(s store.Store) error { return s.CloseEpoch(ctx, 1, epochKey(p, 1, "1")) })
		with(func(s store.Store) error {
			return s.SubmitJob(ctx, spec, transfer("escrow/j", "party/owner", "escrow/j", 10), start)
		})
		with(func(s store.Store) error { return s.JoinJob(ctx, jobJoin(spec, "j", "a", 5)) })
		with(func(s store.Store) error { return s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", []byte("0")) })
		with(func(s store.Store) error { return s.StepRound(ctx, m) })
		with(func(s store.Store) error { return s.Revoke(ctx, revocation("a", "left")) })
	}
	s := in(t, open, dir)
	_, err := s.Genesis(ctx)
	must(t, err)
	party, err := s.Party(ctx, "a")
	must(t, err)
	if party.Revocation == nil || !party.LastSeen.Equal(start) {
		t.Fatalf("party %+v", party)
	}
	epochs, err := s.Epochs(ctx)
	must(t, err)
	equal(t, []any{len(epochs), epochs[0].Key != nil, len(epochs[0].Commitments)}, []any{1, true, 1})
	j, err := s.Job(ctx, "j")
	must(t, err)
	equal(t, []any{j.LastRound, j.Version, j.Model, len(j.Joins)}, []any{uint64(1), uint64(1), digest("model 1"), 1})
	r, err := s.Round(ctx, "j", 1)
	must(t, err)
	equal(t, []any{r.Phase, r.Version}, []any{"published", int64(2)})
	equal(t, conserved(t, s), map[string]int64{"issuer": -10, "party/owner": 0, "escrow/j": 6, "party/a": 4})
}
