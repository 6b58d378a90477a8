package aggregator

import (
	"strings"
	"testing"

	"credence/fl"
)

// Keys made here for a job do not take the place of a ceremony's.
func TestLocalKeysLeaveACeremonysAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "alpha", "beta", "gamma")
	digest := fl.DigestBytes([]byte("keys"))
	doc, err := b.a.sign(fl.ProofKeys{Genesis: b.a.genesisID, Setup: fl.SetupCeremony, AdoptedAt: b.a.now(), Circuits: []fl.CircuitKeys{
		{Shape: "update/x", Manifest: digest, Circuit: digest, Proving: digest, Verifying: digest, SRS: digest},
	}})
	b.must(err)
	b.must(b.a.store.AdoptProofKeys(b.ctx, doc))
	before := b.dump()
	err = b.a.SetUpProofs(b.ctx, t.TempDir(), nil, fl.JobSpec{Job: "job"})
	if err == nil || !strings.Contains(err.Error(), "come from a ceremony") || b.dump() != before {
		t.Errorf("got %v, want a refusal and nothing changed", err)
	}
}
