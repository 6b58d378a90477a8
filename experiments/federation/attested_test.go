package federation_test

import (
	"testing"
	"time"

	"credence/fl"
)

// TestAttestedRounds runs rounds at proof level bounded: clients attest, the
// aggregator verifies on receipt, members verify before they release.
func TestAttestedRounds(t *testing.T) {
	c := newClinic(t, "insecure-rlwe64-d1-v1", nil)
	setUpProofs(t, c.Aggregator())
	job := c.job(2)
	job.ProofLevel, job.Clip.Norm = fl.ProofBounded, 0.5
	if _, err := c.owner.SubmitJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if v := c.await(2 * time.Minute); v.GetPhase() != "done" || v.GetVersion() != 2 {
		t.Fatalf("the job is %s at version %d: %s", v.GetPhase(), v.GetVersion(), v.GetReason())
	}
	versions, err := c.owner.Models(t.Context(), "screening")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		if m := v.Manifest; m.ProofLevel != fl.ProofBounded || m.ProofSetup != fl.SetupLocal {
			t.Errorf("manifest of version %d: level %s, set-up %q", m.Version, m.ProofLevel, m.ProofSetup)
		}
	}
}
