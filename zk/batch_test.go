package zk

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A batch names exactly the claims that do not hold, wherever they stand.
func TestBatchNamesTheCulprits(t *testing.T) {
	p := newParty(t, tiny1)
	scopes := []*Scope{p.scope("alice", 1<<30, 0), p.scope("bob", 1<<30, 0, 1), p.scope("carol", 1<<30, 2)}
	atts := []*Attestation{
		p.prove(t, scopes[0], p.encrypt(t, 1)),
		p.prove(t, scopes[1], p.encrypt(t, 2), p.encrypt(t, 3)),
		p.prove(t, scopes[2], p.encrypt(t, 4)),
	}
	rapid.Check(t, func(r *rapid.T) {
		kinds := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 12).Draw(r, "kinds")
		var want []int
		claims := make([]Claim, len(kinds))
		for i, k := range kinds {
			switch {
			case k < 3:
				claims[i] = Claim{Scope: scopes[k], Attestation: atts[k]}
				continue
			case k == 3: // another client's
				claims[i] = Claim{Scope: scopes[0], Attestation: atts[2]}
			case k == 4: // wrong number of shards
				claims[i] = Claim{Scope: scopes[0], Attestation: atts[1]}
			default: // none
				claims[i] = Claim{Scope: scopes[0]}
			}
			want = append(want, i)
		}
		bad, err := p.keys.VerifyUpdates(p.key, slices.Values(claims))
		if err != nil {
			r.Fatal(err)
		}
		var got []int
		for _, b := range bad {
			got = append(got, b.Index)
			if !errors.Is(b.Err, ErrRejected) && !errors.Is(b.Err, ErrScope) {
				r.Errorf("claim %d: %v", b.Index, b.Err)
			}
		}
		if !slices.Equal(got, want) {
			r.Fatalf("claims %v: rejected %v, want %v", kinds, got, want)
		}
	})
}

// More claims than one batch holds, with a bad one in each.
func TestBatchLargerThanItsMemory(t *testing.T) {
	p := newParty(t, tiny1)
	scope, other := p.scope("alice", 1<<30, 0), p.scope("mallory", 1<<30, 0)
	att := p.prove(t, scope, p.encrypt(t, 1))
	const n = batchShards + 40
	bad, err := p.keys.VerifyUpdates(p.key, func(yield func(Claim) bool) {
		for i := range n {
			c := Claim{Scope: scope, Attestation: att}
			if i == 17 || i == n-1 {
				c.Scope = other
			}
			if !yield(c) {
				return
			}
		}
	})
	if err != nil || len(bad) != 2 || bad[0].Index != 17 || bad[1].Index != n-1 {
		t.Fatalf("rejected %v, %v", bad, err)
	}
}

// Two false proofs whose errors cancel in a plain sum do not cancel under
// random weights.
func TestErrorsDoNotCancelInABatch(t *testing.T) {
	p := newParty(t, tiny1)
	scope := p.scope("alice", 1<<30, 0)
	b := p.prove(t, scope, p.encrypt(t, 1)).Bytes()
	var atts [2]*Attestation
	for i := range atts {
		var err error
		if atts[i], err = ParseAttestation(p.keys.Shape(), b); err != nil {
			t.Fatal(err)
		}
	}
	g := p.keys.SRS().g1[0]
	x, y := &atts[0].proofs[0].krs, &atts[1].proofs[0].krs
	x.Add(x, &g)
	y.Sub(y, &g)
	bad, err := p.keys.VerifyUpdates(p.key, slices.Values([]Claim{{scope, atts[0]}, {scope, atts[1]}}))
	if err != nil || len(bad) != 2 {
		t.Fatalf("rejected %v, %v", bad, err)
	}
}
