package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/translog"
)

// tree is a log in memory: the reference.
type tree []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (h tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(h)) {
			return nil, fmt.Errorf("no hash %d", x)
		}
		out[i] = h[x]
	}
	return out, nil
}

// logged reads the whole log, checks it against itself and against the
// documents and the ledger, and returns its entries.
func logged(t testing.TB, s store.Store) []store.LogEntry {
	t.Helper()
	ctx := t.Context()
	size, root, err := s.LogHead(ctx)
	must(t, err)
	entries, err := s.LogEntries(ctx, 0, size)
	must(t, err)
	equal(t, int64(len(entries)), size)
	var hashes tree
	transactions := 0
	for i, e := range entries {
		equal(t, e.Index, int64(i))
		more, err := translog.Append(int64(i), e.Bytes, hashes)
		must(t, err)
		hashes = append(hashes, more...)
		if e.Kind == store.TransactionKind {
			transactions++
			continue
		}
		doc, err := fl.DecodeEnvelope(e.Bytes)
		must(t, err)
		equal(t, e.Kind, string(doc.Kind))
		at, err := s.LogIndexes(ctx, []fl.Digest{doc.Digest()})
		must(t, err)
		equal(t, at, []int64{e.Index}) // and so no document is in it twice
		held, err := s.Document(ctx, doc.Digest())
		must(t, err)
		sameDocument(t, held, doc)
	}
	want, err := translog.Root(size, hashes)
	must(t, err)
	equal(t, root, want)
	all := make([]int64, len(hashes))
	for i := range all {
		all[i] = int64(i)
	}
	held, err := s.LogHashes(ctx, all)
	must(t, err)
	equal(t, held, []tlog.Hash(hashes))
	history, err := s.History(ctx, "")
	must(t, err)
	equal(t, transactions, len(history))
	for _, h := range history {
		at, err := s.LogTransaction(ctx, h.ID)
		must(t, err)
		raw, err := store.EncodeTransaction(h)
		must(t, err)
		equal(t, string(entries[at].Bytes), string(raw))
	}
	return entries
}

func kinds(entries []store.LogEntry) (kinds []string) {
	for _, e := range entries {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// Fill stores something of every kind.
func Fill(t testing.TB, s store.Store) {
	t.Helper()
	ctx := t.Context()
	spec := jobSpec("j", 1)
	p := epochPlan(1, "a", "b")
	grant := transfer("grant/a", "issuer", "party/owner", 20)
	refund := transfer("refund/j", "escrow/j", "party/owner", 6)
	cancel := jobCancel(spec, "j")
	must(t, s.Found(ctx, genesisDocument("one")))
	must(t, s.Invite(ctx, invitation("a", "1", start.AddDate(100, 0, 0))))
	_, err := s.Enrol(ctx, digest("token 1"), enrolment("a", 'k', start), &grant, start)
	must(t, err)
	must(t, s.OpenEpoch(ctx, p))
	for _, doc := range []fl.Envelope{sealKey(p, "a"), keyCommitment(p, "a", "1"), keyReveal(p, "a"), keyDealing(p, "a")} {
		must(t, s.AddEpochDocument(ctx, 1, doc))
	}
	must(t, s.CloseEpoch(ctx, 1, epochKey(p, 1, "1")))
	must(t, s.SubmitJob(ctx, spec, transfer("escrow/j", "party/owner", "escrow/j", 10), start))
	must(t, s.JoinJob(ctx, jobJoin(spec, "j", "a", 5)))
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	headers := []fl.Envelope{updateHeader("j", 1, "a"), updateHeader("j", 1, "b")}
	must(t, s.StepRound(ctx, store.RoundStep{Job: "j", Round: 1, From: 1, Phase: "open", Documents: headers}))
	must(t, s.StepRound(ctx, publishing(spec, "j", 1, 1, 2, 4)))
	must(t, s.EndJob(ctx, "j", store.JobCancelled, "enough", &cancel, &refund))
	must(t, s.Revoke(ctx, revocation("a", "left")))
	must(t, s.Seen(ctx, "a", start)) // is nobody's document
}

// testLog: everything that is stored is in the log, once, in the order in
// which it came.
func testLog(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	size, root, err := s.LogHead(ctx)
	must(t, err)
	empty, err := tlog.TreeHash(0, tree(nil))
	must(t, err)
	equal(t, []any{size, root}, []any{int64(0), empty})
	Fill(t, s)
	entries := logged(t, s)
	equal(t, kinds(entries), []string{
		"genesis/v1", "enrolment/v1", "transaction/v1", "epoch-plan/v1", "seal-key/v1", "key-commitment/v1", "key-reveal/v1", "key-dealing/v1",
		"epoch-key/v1", "job/v1", "transaction/v1", "job-join/v1", "plan/v1", "update-header/v1", "update-header/v1", "manifest/v1", "transaction/v1",
		"job-cancel/v1", "transaction/v1", "revocation/v1",
	})
	// Ranges.
	for _, r := range [][2]int64{{0, 0}, {0, 3}, {2, 11}, {10, 11}, {15, 1 << 40}, {40, 50}, {-3, 2}, {5, 2}} {
		got, err := s.LogEntries(ctx, r[0], r[1])
		must(t, err)
		from := min(max(r[0], 0), int64(len(entries)))
		equal(t, got, entries[from:max(from, min(r[1], int64(len(entries))))])
	}
	_, err = s.LogIndexes(ctx, []fl.Digest{jobSpec("j", 1).Digest(), digest("nothing")})
	wants(t, err, store.ErrNotFound)
	_, err = s.LogTransaction(ctx, "nothing")
	wants(t, err, store.ErrNotFound)
	_, err = s.LogHashes(ctx, []int64{0, 1 << 40})
	wants(t, err, store.ErrNotFound)
	_, err = s.LogHashes(ctx, []int64{-1})
	wants(t, err, store.ErrNotFound)
}

// testLogRepeats: a repeated call enters nothing.
func testLogRepeats(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	step := publishing(spec, "j", 1, 1, 1, 4)
	var before []store.LogEntry
	for i := range 3 {
		submit(t, s, "j", 10)
		must(t, s.JoinJob(ctx, jobJoin(spec, "j", "a", 5)))
		must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
		must(t, s.StepRound(ctx, step))
		entries := logged(t, s)
		if i > 0 {
			equal(t, entries, before)
		}
		before = entries
	}
}

// testLogAtomic: a call that fails leaves nothing in the log, wherever in its
// transaction it fails.
func testLogAtomic(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	before := logged(t, s)
	for _, f := range []func() error{
		func() error { return s.OpenEpoch(ctx, epochPlan(7, "a", "b")) },                         // a gap, found after the plan was stored
		func() error { return s.OpenRound(ctx, plan(spec, "j", 1, 2), "open", nil) },             // the place is taken
		func() error { return s.StepRound(ctx, publishing(spec, "j", 1, 1, 1, 99)) },             // the payout is not covered
		func() error { return s.StepRound(ctx, publishing(spec, "j", 1, 1, 3, 4)) },              // stale
		func() error { return s.Transact(ctx, transfer("pay/1", "party/nobody", "party/a", 1)) }, // no credits
		func() error { return s.Transact(ctx, transfer("grant/j", "issuer", "party/a", 11)) },    // another of the same name
		func() error {
			return s.SubmitJob(ctx, jobSpec("k", 1), transfer("escrow/k", "party/owner", "escrow/k", 1), start)
		}, // no credits
		func() error {
			c := jobCancel(spec, "j")
			return s.EndJob(ctx, "j", store.JobCancelled, "enough", &c, nil) // would lock up the escrow
		},
	} {
		if err := f(); err == nil {
			t.Fatal("got no error")
		}
		equal(t, logged(t, s), before)
	}
	must(t, s.StepRound(ctx, publishing(spec, "j", 1, 1, 1, 4)))
	after := logged(t, s)
	equal(t, after[:len(before)], before)
	equal(t, kinds(after[len(before):]), []string{"manifest/v1", "transaction/v1"})
}

// testRaceLog: many writers on two handles make one log without gaps.
func testRaceLog(t *testing.T, open Open) {
	s, errs := race(t, open, func(s store.Store) {}, func(i int, s store.Store) error {
		var failed error
		for n := range 10 {
			failed = errors.Join(failed, s.Transact(t.Context(), transfer(fmt.Sprintf("grant/%d/%d", i, n), "issuer", "party/b", 1)))
		}
		return failed
	})
	must(t, errors.Join(errs...))
	equal(t, len(logged(t, s)), 80)
}

// testLargeLog: the hashes that an old checkpoint rests on never change.
func testLargeLog(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	type head struct {
		size int64
		root tlog.Hash
	}
	var heads []head
	for n := range 100 {
		must(t, s.Transact(ctx, transfer(fmt.Sprintf("grant/%d", n), "issuer", "party/b", 1)))
		size, root, err := s.LogHead(ctx)
		must(t, err)
		equal(t, size, int64(n+1))
		heads = append(heads, head{size, root})
	}
	for _, h := range heads {
		root, err := translog.Root(h.size, tlog.HashReaderFunc(func(x []int64) ([]tlog.Hash, error) { return s.LogHashes(ctx, x) }))
		must(t, err)
		equal(t, root, h.root)
	}
}

func testCosignatures(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	all, err := s.Cosignatures(ctx)
	must(t, err)
	equal(t, len(all), 0)
	for _, c := range []store.Cosignature{
		{Witness: "b", Size: 3, Note: []byte("b3")}, {Witness: "a", Size: 2, Note: []byte("a2")}, {Witness: "b", Size: 2, Note: []byte("b2")},
		{Witness: "b", Size: 3, Note: []byte("other")}, {Witness: "a", Size: 5, Note: []byte("a5")},
	} {
		must(t, s.KeepCosignature(ctx, c.Witness, c.Size, c.Note))
	}
	all, err = s.Cosignatures(ctx)
	must(t, err)
	equal(t, all, []store.Cosignature{{Witness: "a", Size: 5, Note: []byte("a5")}, {Witness: "b", Size: 3, Note: []byte("b3")}})
}

func testPruned(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	kept := func() (numbers []uint64) {
		rounds, err := s.KeptRounds(ctx)
		must(t, err)
		for _, r := range rounds {
			numbers = append(numbers, r.Number)
		}
		return slices.Clip(numbers)
	}
	equal(t, kept(), []uint64(nil))
	wants(t, s.SetPruned(ctx, "j", 1), store.ErrStale)
	wants(t, s.SetPruned(ctx, "j", 2), store.ErrNotFound)
	must(t, s.StepRound(ctx, publishing(spec, "j", 1, 1, 1, 4)))
	must(t, s.OpenRound(ctx, plan(spec, "j", 2, 1), "open", nil))
	equal(t, kept(), []uint64{1})
	for range 2 {
		must(t, s.SetPruned(ctx, "j", 1))
		equal(t, kept(), []uint64(nil))
	}
}

// FillLog stores n documents in one step of a round and returns their digests.
func FillLog(t testing.TB, s store.Store, n int) (digests []fl.Digest) {
	t.Helper()
	spec := submit(t, s, "large", 10)
	must(t, s.OpenRound(t.Context(), plan(spec, "large", 1, 1), "open", nil))
	step := store.RoundStep{Job: "large", Round: 1, From: 1, Phase: "open"}
	for i := range n {
		doc := updateHeader("large", 1, fl.NodeID(fmt.Sprintf("n%d", i)))
		step.Documents, digests = append(step.Documents, doc), append(digests, doc.Digest())
	}
	must(t, s.StepRound(t.Context(), step))
	return digests
}
