package storetest

import (
	"errors"
	"testing"
	"time"

	"credence/aggregator/store"
	"credence/fl"
)

func testGenesis(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	_, err := s.Genesis(ctx)
	wants(t, err, store.ErrNotFound)
	first := genesisDocument("one")
	for range 2 {
		must(t, s.Found(ctx, first))
	}
	wants(t, s.Found(ctx, genesisDocument("two")), store.ErrConflict)
	refuses(t, s.Found(ctx, revocation("a", "not a genesis")))
	got, err := s.Genesis(ctx)
	must(t, err)
	sameDocument(t, got, first)
}

func testInvite(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	far, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	a := invitation("a", "1", far)
	for range 2 {
		must(t, s.Invite(ctx, a))
	}
	got, err := s.Invitation(ctx, a.Token)
	must(t, err)
	equal(t, got, a)
	_, err = s.Invitation(ctx, digest("token none"))
	wants(t, err, store.ErrToken)

	wants(t, s.Invite(ctx, invitation("a", "2", far)), store.ErrConflict) // open under another token
	wants(t, s.Invite(ctx, invitation("b", "1", far)), store.ErrConflict) // the token is taken
	refuses(t, s.Invite(ctx, invitation("../b", "3", far)))

	must(t, s.Invite(ctx, invitation("c", "4", past)))
	must(t, s.Invite(ctx, invitation("c", "5", far))) // replaces the expired one
	_, err = s.Invitation(ctx, digest("token 4"))
	wants(t, err, store.ErrToken)

	_, err = s.Enrol(ctx, a.Token, enrolment("a", 'k', start), nil, time.Now())
	must(t, err)
	must(t, s.Invite(ctx, a)) // the same call again, used or not
	_, err = s.Invitation(ctx, a.Token)
	must(t, err)
	wants(t, s.Invite(ctx, invitation("a", "6", far)), store.ErrConflict)
	must(t, s.Revoke(ctx, revocation("a", "left")))
	wants(t, s.Invite(ctx, invitation("a", "6", far)), store.ErrConflict) // a name is never given twice

	must(t, s.Invite(ctx, invitation("d", "7", past)))
	_, err = s.Enrol(ctx, digest("token 7"), enrolment("d", 'k', start), nil, past.Add(-time.Minute))
	must(t, err)
	wants(t, s.Invite(ctx, invitation("d", "8", far)), store.ErrConflict) // also when its invitation is past
}

func testEnrol(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	now := time.Now()
	a := invitation("a", "1", now.Add(time.Hour))
	must(t, s.Invite(ctx, a))
	grant := transfer("grant/a", "issuer", "party/a", 7)

	first := enrolment("a", 'k', start)
	_, err := s.Enrol(ctx, digest("token none"), first, &grant, now)
	wants(t, err, store.ErrToken)
	_, err = s.Enrol(ctx, a.Token, enrolment("b", 'k', start), &grant, now) // another's token
	wants(t, err, store.ErrToken)
	_, err = s.Enrol(ctx, a.Token, first, &grant, a.ExpiresAt)
	wants(t, err, store.ErrToken)
	_, err = s.Enrol(ctx, a.Token, revocation("a", "not an enrolment"), &grant, now)
	refuses(t, err)
	if _, err := s.Party(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("enrolled by a refused call: %v", err)
	}

	got, err := s.Enrol(ctx, a.Token, first, &grant, now)
	must(t, err)
	sameDocument(t, got, first)
	// The answer was lost: the same keys again, later, even after the expiry.
	got, err = s.Enrol(ctx, a.Token, enrolment("a", 'k', start.Add(time.Hour)), &grant, a.ExpiresAt.Add(time.Hour))
	must(t, err)
	sameDocument(t, got, first)
	_, err = s.Enrol(ctx, a.Token, enrolment("a", 'x', start), &grant, now) // a stolen token
	wants(t, err, store.ErrToken)
	equal(t, conserved(t, s), map[string]int64{"issuer": -7, "party/a": 7})
}

// testEnrolAtomic: a grant that cannot be entered leaves the token unused.
func testEnrolAtomic(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	now := time.Now()
	a := invitation("a", "1", now.Add(time.Hour))
	must(t, s.Invite(ctx, a))
	grant := transfer("grant/a", "party/nobody", "party/a", 7)
	_, err := s.Enrol(ctx, a.Token, enrolment("a", 'k', start), &grant, now)
	wants(t, err, store.ErrFunds)
	_, err = s.Party(ctx, "a")
	wants(t, err, store.ErrNotFound)
	_, err = s.Document(ctx, enrolment("a", 'k', start).Digest())
	wants(t, err, store.ErrNotFound)
	_, err = s.Enrol(ctx, a.Token, enrolment("a", 'x', start), nil, now) // other keys: still unused
	must(t, err)
}

func testParties(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	now := time.Now()
	want := make(map[fl.NodeID]fl.Envelope)
	for _, node := range []fl.NodeID{"c", "a", "b"} {
		inv := invitation(node, string(node), now.Add(time.Hour))
		must(t, s.Invite(ctx, inv))
		e, err := s.Enrol(ctx, inv.Token, enrolment(node, 'k', start), nil, now)
		must(t, err)
		want[node] = e
	}
	parties, err := s.Parties(ctx)
	must(t, err)
	var names []fl.NodeID
	for _, p := range parties {
		names = append(names, p.Enrolment.Node)
		sameDocument(t, p.Envelope, want[p.Enrolment.Node])
		if p.Revocation != nil || !p.LastSeen.IsZero() {
			t.Fatalf("fresh party: %+v", p)
		}
	}
	equal(t, names, []fl.NodeID{"a", "b", "c"})

	_, err = s.Party(ctx, "nobody")
	wants(t, err, store.ErrNotFound)
	wants(t, s.Seen(ctx, "nobody", now), store.ErrNotFound)
	wants(t, s.Revoke(ctx, revocation("nobody", "x")), store.ErrNotFound)
	refuses(t, s.Revoke(ctx, want["a"]))

	revoked, err := s.Revoked(ctx)
	must(t, err)
	equal(t, len(revoked), 0)

	must(t, s.Seen(ctx, "a", start.Add(time.Minute)))
	must(t, s.Seen(ctx, "a", start)) // messages overtake each other
	gone := revocation("b", "left")
	for range 2 {
		must(t, s.Revoke(ctx, gone))
	}
	wants(t, s.Revoke(ctx, revocation("b", "thrown out")), store.ErrConflict)
	must(t, s.Revoke(ctx, revocation("a", "left too")))
	revoked, err = s.Revoked(ctx)
	must(t, err)
	equal(t, revoked, []fl.NodeID{"a", "b"})
	a, err := s.Party(ctx, "a")
	must(t, err)
	if !a.LastSeen.Equal(start.Add(time.Minute)) {
		t.Fatalf("last seen %s", a.LastSeen)
	}
	b, err := s.Party(ctx, "b")
	must(t, err)
	if b.Revocation == nil {
		t.Fatal("not revoked")
	}
	sameDocument(t, *b.Revocation, gone)
}

func testDocuments(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	doc := genesisDocument("one")
	_, err := s.Document(ctx, doc.Digest())
	wants(t, err, store.ErrNotFound)
	must(t, s.Found(ctx, doc))
	got, err := s.Document(ctx, doc.Digest())
	must(t, err)
	sameDocument(t, got, doc)
	// What would not read back as itself is refused when it is stored.
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	for _, payload := range []string{`{"a": 1}`, `{"a":"<"}`, `{`, ``} {
		bad := updateHeader("j", 1, "a")
		bad.Payload = []byte(payload)
		refuses(t, s.StepRound(ctx, store.RoundStep{Job: "j", Round: 1, From: 1, Phase: "open", Documents: []fl.Envelope{bad}}))
	}
}

func testEpochs(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	p1, p2 := epochPlan(1, "a", "b"), epochPlan(2, "b", "c")
	wants(t, s.OpenEpoch(ctx, p2), store.ErrStale) // a gap
	for range 2 {
		must(t, s.OpenEpoch(ctx, p1))
	}
	wants(t, s.OpenEpoch(ctx, epochPlan(1, "a", "c")), store.ErrConflict)
	refuses(t, s.OpenEpoch(ctx, revocation("a", "not a plan")))
	must(t, s.OpenEpoch(ctx, p2))

	commit := keyCommitment(p1, "a", "1")
	wants(t, s.AddEpochDocument(ctx, 3, commit), store.ErrNotFound)
	wants(t, s.AddEpochDocument(ctx, 2, commit), store.ErrNotFound) // for another plan
	refuses(t, s.AddEpochDocument(ctx, 1, revocation("a", "not of an epoch")))
	docs := []fl.Envelope{commit, sealKey(p1, "a"), keyReveal(p1, "a"), keyDealing(p1, "a"), keyCommitment(p1, "b", "2")}
	for _, doc := range append(docs, docs...) {
		must(t, s.AddEpochDocument(ctx, 1, doc))
	}
	wants(t, s.AddEpochDocument(ctx, 1, keyCommitment(p1, "a", "other")), store.ErrConflict)

	key := epochKey(p1, 1, "1")
	wants(t, s.CloseEpoch(ctx, 3, key), store.ErrNotFound)
	wants(t, s.CloseEpoch(ctx, 2, key), store.ErrNotFound)
	refuses(t, s.CloseEpoch(ctx, 1, commit))
	for range 2 {
		must(t, s.CloseEpoch(ctx, 1, key))
	}
	wants(t, s.CloseEpoch(ctx, 1, epochKey(p1, 1, "2")), store.ErrConflict)
	must(t, s.AddEpochDocument(ctx, 1, commit)) // the same call again
	wants(t, s.AddEpochDocument(ctx, 1, keyReveal(p1, "b")), store.ErrStale)

	epochs, err := s.Epochs(ctx)
	must(t, err)
	equal(t, epochs, []store.Epoch{
		{
			Number: 1, Plan: p1, Key: &key,
			SealKeys:    map[fl.NodeID]fl.Envelope{"a": docs[1]},
			Commitments: map[fl.NodeID]fl.Envelope{"a": commit, "b": docs[4]},
			Reveals:     map[fl.NodeID]fl.Envelope{"a": docs[2]},
			Dealings:    map[fl.NodeID]fl.Envelope{"a": docs[3]},
		},
		{Number: 2, Plan: p2},
	})
}
