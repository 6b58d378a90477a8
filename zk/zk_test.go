package zk

import (
	"context"
	"errors"
	"testing"

	"credence/fl"
	"credence/he"
)

func TestUpdateRoundTrip(t *testing.T) {
	for _, name := range []string{tiny1, tiny4} {
		p := newParty(t, name)
		shards := []ShardInput{p.encrypt(t, 3), p.encrypt(t, -2), p.encrypt(t, 1)}
		exact := uint64(p.pk.Suite().Values()) * (9 + 4 + 1)
		scope := p.scope("alice", exact, 0, 2, 7)
		att := p.prove(t, scope, shards...)
		parsed, err := ParseAttestation(p.keys.Shape(), att.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := p.keys.VerifyUpdate(scope, p.key, parsed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range shards {
			if err := p.keys.SRS().CheckCiphertext(shards[i].Ciphertext, parsed.Commitments(i)); err != nil {
				t.Error(err)
			}
		}
		if n := len(att.Bytes()) / 3; n > 1200 {
			t.Errorf("%d bytes a shard", n)
		}
		lower := p.scope("alice", exact-1, 0, 2, 7)
		if _, err := p.keys.ProveUpdate(context.Background(), lower, p.key, shards, ProveOptions{}); !errors.Is(err, ErrNorm) {
			t.Errorf("a norm one above the bound: %v", err)
		}
		if err := p.keys.VerifyUpdate(lower, p.key, att); !errors.Is(err, ErrRejected) {
			t.Errorf("the same proof under a lower bound: %v", err)
		}
	}
}

func TestKeyShareRoundTrip(t *testing.T) {
	k := shareKeys(t, tiny4)
	s := suite(t, tiny4)
	common, err := k.NewCommonKey(s, [he.SeedBytes]byte{8})
	if err != nil {
		t.Fatal(err)
	}
	scope := &MemberScope{Genesis: fl.Digest{1}, Epoch: 2, Member: "hospital-a", CRS: common.Digest()}
	secret, noise := s.TernaryPoly(), s.ErrorPoly()
	share := s.CRS([he.SeedBytes]byte{8}).Mul(secret).Neg().Add(noise)
	att, err := k.ProveKeyShare(scope, common, secret, noise)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseKeyShareProof(k.Shape(), att.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.VerifyKeyShare(scope, common, share, parsed); err != nil {
		t.Error(err)
	}
	other := *scope
	other.Member = "hospital-b"
	if err := k.VerifyKeyShare(&other, common, share, parsed); !errors.Is(err, ErrRejected) {
		t.Errorf("another member's attestation: %v", err)
	}
	if err := k.VerifyKeyShare(scope, common, share.Clone().Add(noise), parsed); !errors.Is(err, ErrCommitment) {
		t.Errorf("another share: %v", err)
	}
	if _, err := k.ProveKeyShare(scope, common, secret.Clone().Add(secret), noise); err == nil {
		t.Error("a secret of twos was attested")
	}
}

// Two attestations of the same update share nothing but the commitments to
// the ciphertext, which is public anyway: everything else is masked afresh.
func TestAttestationsAreRandomised(t *testing.T) {
	p := newParty(t, tiny4)
	scope := p.scope("alice", 1<<30, 0, 1)
	shards := []ShardInput{p.encrypt(t, 3), p.encrypt(t, 0)}
	a, b := p.prove(t, scope, shards...), p.prove(t, scope, shards...)
	for i := range shards {
		x, y := a.proofs[i], b.proofs[i]
		if a.Commitments(i) != b.Commitments(i) {
			t.Error("the commitments to one ciphertext differ")
		}
		public := map[any]bool{&x.cipher[0]: true, &x.cipher[1]: true}
		for j, q := range x.points() {
			if !public[q] && q.Equal(y.points()[j]) {
				t.Errorf("shard %d: point %d is not masked", i, j)
			}
		}
		for j, v := range x.scalars() {
			// T(r) of a shard that does not close is zero by definition.
			if closing := i == len(shards)-1; v.Equal(y.scalars()[j]) && (closing || v != &x.atNorm[1]) {
				t.Errorf("shard %d: value %d is not masked", i, j)
			}
		}
	}
}

// Shards proven side by side give an attestation like any other, and progress
// counts them.
func TestShardsInParallel(t *testing.T) {
	p := newParty(t, tiny1)
	scope := p.scope("alice", 1<<30, 0, 1, 2, 3, 4)
	var shards []ShardInput
	for i := range 5 {
		shards = append(shards, p.encrypt(t, int32(i)))
	}
	last := 0
	progress := func(_ string, done, total int) {
		if done < last || total != 5 {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}
	att, err := p.keys.ProveUpdate(context.Background(), scope, p.key, shards, ProveOptions{Parallel: 3, Progress: progress})
	if err != nil || last != 5 {
		t.Fatalf("%d shards: %v", last, err)
	}
	if err := p.keys.VerifyUpdate(scope, p.key, att); err != nil {
		t.Error(err)
	}
}
