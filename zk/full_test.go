package zk

import (
	"os"
	"testing"

	"credence/fl"
	"credence/he"
)

// The real suites, once each, with everything at full size. Their set-up
// takes minutes, so the default run leaves it to CREDENCE_FULL=1.
func TestFullSizeSuites(t *testing.T) {
	if os.Getenv("CREDENCE_FULL") != "1" {
		t.Skip("full-size set-up takes minutes: run with CREDENCE_FULL=1")
	}
	for _, name := range []string{"rlwe4096-d1-v1", "rlwe8192-d4-v1"} {
		p := newParty(t, name)
		scope := p.scope("alice", 1<<40, 0)
		in := p.encrypt(t, 3)
		att, err := ParseAttestation(p.keys.Shape(), p.prove(t, scope, in).Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := p.keys.VerifyUpdate(scope, p.key, att); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := p.keys.SRS().CheckCiphertext(in.Ciphertext, att.Commitments(0)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	k := shareKeys(t, "rlwe4096-d1-v1")
	s := suite(t, "rlwe4096-d1-v1")
	common, err := k.NewCommonKey(s, [he.SeedBytes]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	scope := &MemberScope{Genesis: fl.Digest{1}, Epoch: 1, Member: "a", CRS: common.Digest()}
	secret, noise := s.TernaryPoly(), s.ErrorPoly()
	att, err := k.ProveKeyShare(scope, common, secret, noise)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.VerifyKeyShare(scope, common, common.a.Clone().Mul(secret).Neg().Add(noise), att); err != nil {
		t.Error(err)
	}
}
