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
	clip := spec.Clip
	for i, v := range versions {
		m := v.Manifest
		if m.Epsilon != privacy.FormatEpsilon(privacy.Spent(spec.Privacy, 37, i+1)) || m.Delta != 1e-5 {
			t.Errorf("version %d: epsilon %s at %v", m.Version, m.Epsilon, m.Delta)
		}
		if m.Figures != (fl.Figures{}) {
			t.Errorf("version %d publishes exact figures: %+v", m.Version, m.Figures)
		}
		// Noise may move it there and back: it is held against the round before.
		if m.NextClip.Norm == 0 || m.NextClip == clip {
			t.Errorf("version %d: the clip stays at %+v", m.Version, m.NextClip)
		}
		clip = m.NextClip
	}
	report, err := audit.Audit(t.Context(), audit.Connection(c.owner), audit.Selection{}, nil)
	if err != nil {
		t.Fatalf("%v\n%+v", err, report)
	}
}

// TestPrivacyBudgetEndsAJob: a job that asks for five rounds and has a budget for
// two publishes two models; what is left of its escrow goes back, and the audit
// agrees that it was over. Jobs whose noise cannot be had are refused.
func TestPrivacyBudgetEndsAJob(t *testing.T) {
	c := newClinic(t, "insecure-rlwe64-d1-v1", nil)
	job := c.job(2)
	job.Job, job.Clip.Norm = "template", 1
	job.Privacy = client.PrivacyOptions{Epsilon: 4, Delta: 1e-5, HonestFraction: 0.7}
	spec, err := c.owner.SubmitJob(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if v := c.awaitJob("template", time.Minute); v.GetVersion() != 2 {
		t.Fatalf("the job is %s at version %d: %s", v.GetPhase(), v.GetVersion(), v.GetReason())
	}
	for want, change := range map[string]func(*fl.JobSpec){
		"more than the budget": func(s *fl.JobSpec) { s.Privacy.NoiseMultiplier = 0.5 },
		"does not fit 16 bits": func(s *fl.JobSpec) { s.Privacy.NoiseMultiplier = 5000 },
	} {
		refused := spec
		refused.Job = "refused"
		change(&refused)
		if _, err := c.owner.Submit(t.Context(), refused); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("submitted: %v, want %q", err, want)
		}
	}
	spec.Job, spec.Rounds, spec.Budget = "screening", 5, 100
	if _, err := c.owner.Submit(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if v := c.await(time.Minute); v.GetPhase() != "done" || v.GetVersion() != 2 || !strings.Contains(v.GetReason(), "privacy budget is spent") {
		t.Fatalf("the job is %s at version %d: %s", v.GetPhase(), v.GetVersion(), v.GetReason())
	}
	if report, err := audit.Audit(t.Context(), audit.Connection(c.owner), audit.Selection{}, nil); err != nil {
		t.Errorf("%v\n%+v", err, report)
	}
}
