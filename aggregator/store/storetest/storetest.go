package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"credence/aggregator/store"
	"credence/fl"
)

// Open opens the store that lives in a directory, making it when there is
// none. Opening the same directory again, also while it is open, is another
// handle on the same store.
type Open func(ctx context.Context, dir string) (store.Store, error)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	t.Run("Genesis", func(t *testing.T) { testGenesis(t, open) })
	t.Run("Invite", func(t *testing.T) { testInvite(t, open) })
	t.Run("Enrol", func(t *testing.T) { testEnrol(t, open) })
	t.Run("EnrolIsAtomic", func(t *testing.T) { testEnrolAtomic(t, open) })
	t.Run("Parties", func(t *testing.T) { testParties(t, open) })
	t.Run("Documents", func(t *testing.T) { testDocuments(t, open) })
	t.Run("Epochs", func(t *testing.T) { testEpochs(t, open) })
	t.Run("SubmitJob", func(t *testing.T) { testSubmitJob(t, open) })
	t.Run("JoinJob", func(t *testing.T) { testJoinJob(t, open) })
	t.Run("EndJob", func(t *testing.T) { testEndJob(t, open) })
	t.Run("OpenRound", func(t *testing.T) { testOpenRound(t, open) })
	t.Run("StepRound", func(t *testing.T) { testStepRound(t, open) })
	t.Run("Publish", func(t *testing.T) { testPublish(t, open) })
	t.Run("PublishIsAtomic", func(t *testing.T) { testPublishAtomic(t, open) })
	t.Run("LastRound", func(t *testing.T) { testLastRound(t, open) })
	t.Run("Ledger", func(t *testing.T) { testLedger(t, open) })
	t.Run("Conservation", func(t *testing.T) { testConservation(t, open) })
	t.Run("RaceStepRound", func(t *testing.T) { testRaceStepRound(t, open) })
	t.Run("RaceOpenRound", func(t *testing.T) { testRaceOpenRound(t, open) })
	t.Run("RaceEnrol", func(t *testing.T) { testRaceEnrol(t, open) })
	t.Run("RaceTransact", func(t *testing.T) { testRaceTransact(t, open) })
	t.Run("Restart", func(t *testing.T) { testRestart(t, open) })
	t.Run("Log", func(t *testing.T) { testLog(t, open) })
	t.Run("LogRepeats", func(t *testing.T) { testLogRepeats(t, open) })
	t.Run("LogIsAtomic", func(t *testing.T) { testLogAtomic(t, open) })
	t.Run("LargeLog", func(t *testing.T) { testLargeLog(t, open) })
	t.Run("RaceLog", func(t *testing.T) { testRaceLog(t, open) })
	t.Run("Cosignatures", func(t *testing.T) { testCosignatures(t, open) })
	t.Run("Pruned", func(t *testing.T) { testPruned(t, open) })
	t.Run("Cancelled", func(t *testing.T) { testCancelled(t, open) })
}

func fresh(t testing.TB, open Open) store.Store { return in(t, open, t.TempDir()) }

func in(t testing.TB, open Open, dir string) store.Store {
	t.Helper()
	s, err := open(t.Context(), dir)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants checks for a sentinel error, and that no other sentinel matches too.
func wants(t testing.TB, err, want error) {
	t.Helper()
	for _, sentinel := range []error{store.ErrNotFound, store.ErrConflict, store.ErrStale, store.ErrToken, store.ErrFunds, store.ErrFull} {
		if errors.Is(err, sentinel) != (sentinel == want) {
			t.Fatalf("got error %v, want %v", err, want)
		}
	}
}

// refuses checks for an error that is none of the sentinels: the call itself
// is wrong, and no state of the store would make it right.
func refuses(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	wants(t, err, nil)
}

func equal(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("got (+), want (-):\n%s", diff)
	}
}

// sameDocument compares two envelopes byte for byte.
func sameDocument(t testing.TB, got, want fl.Envelope) {
	t.Helper()
	if !bytes.Equal(got.Encode(), want.Encode()) {
		t.Fatalf("got %s\nwant %s", got.Encode(), want.Encode())
	}
}

// conserved checks the ledger against itself: every transaction sums to zero,
// every balance is the sum of its postings, and only the issuer owes.
func conserved(t testing.TB, s store.Store) map[string]int64 {
	t.Helper()
	balances, err := s.Balances(t.Context())
	must(t, err)
	history, err := s.History(t.Context(), "")
	must(t, err)
	sums := make(map[string]int64)
	for _, entry := range history {
		var sum int64
		for _, p := range entry.Postings {
			sum += p.Amount
			sums[p.Account] += p.Amount
		}
		if sum != 0 {
			t.Fatalf("transaction %s sums to %d", entry.ID, sum)
		}
	}
	equal(t, balances, sums)
	for account, balance := range balances {
		if balance < 0 && account != "issuer" {
			t.Fatalf("%s holds %d", account, balance)
		}
	}
	return balances
}
