package client

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/models"
)

// TestLyingJobs offers a node jobs that it must not take.
func TestLyingJobs(t *testing.T) {
	model, err := EncodeModel(models.Spec{Kind: models.Logistic, Inputs: 2, Classes: 2})
	if err != nil {
		t.Fatal(err)
	}
	training, err := EncodeTraining(models.TrainConfig{LearningRate: 1, Epochs: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		is         error
		change     func(*sealed, *fl.JobSpec)
	}{
		{name: "that only lack data here", is: errNoData},
		{name: "below the genesis' proof floor", is: ErrBelowFloor, change: func(s *sealed, _ *fl.JobSpec) { s.node.home.Genesis.ProofFloor = fl.ProofBounded }},
		{name: "of another federation", want: "another federation", change: func(_ *sealed, j *fl.JobSpec) { j.Genesis = fl.Digest{9} }},
		{name: "of a party that owns none", want: "may not submit", change: func(s *sealed, _ *fl.JobSpec) { s.role(fl.RoleNode, nil) }},
		{name: "of a revoked owner", want: "may not submit", change: func(s *sealed, _ *fl.JobSpec) {
			s.role(fl.RoleOwner, s.sign(fl.Revocation{Genesis: s.id, Node: "beta", RevokedAt: stageStart}).Encode())
		}},
		{name: "that another signed", want: "may not submit", change: func(_ *sealed, j *fl.JobSpec) { j.Owner = "gamma" }},
		{name: "of an owner whom the node's policy does not name", want: "policy", change: func(s *sealed, _ *fl.JobSpec) { s.node.config.Consent.Owners = []fl.NodeID{"gamma"} }},
		{name: "below the node's own minimum cohort", want: "policy", change: func(s *sealed, _ *fl.JobSpec) { s.node.config.Consent.MinCohort = 9 }},
		{name: "for a model of another size", want: "parameters", change: func(_ *sealed, j *fl.JobSpec) { j.Parameters = 4 }},
	} {
		s := newSealed(t)
		s.role(fl.RoleOwner, nil)
		job := fl.JobSpec{
			Genesis: s.id, Job: "j", Owner: "beta", Schema: fl.DigestBytes([]byte(oneColumn)), SchemaText: oneColumn, Parameters: 3, InitialModel: s.id,
			Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightUniform}, Clip: fl.Clip{Value: 1},
			Rounds: 1, MinCohort: 2, RoundDeadline: 1, ProofLevel: fl.ProofNone, Rates: fl.Rates{Work: 1000}, Model: model, Training: training,
		}
		if test.change != nil {
			test.change(s, &job)
		}
		signed := s.force(job, "beta", s.homes["beta"].Keys.Signing)
		s.double.add(signed)
		_, err := s.node.openJob(t.Context(), signed.Encode())
		if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("a job %s: %v", test.name, err)
		}
	}
	s := newSealed(t)
	s.role(fl.RoleOwner, nil)
	job := fl.JobSpec{Genesis: s.id, Job: "j", Owner: "beta", ProofLevel: fl.ProofNone}
	if _, err := s.node.openJob(t.Context(), s.force(job, "beta", s.homes["beta"].Keys.Signing).Encode()); !errors.Is(err, fl.ErrMalformed) {
		t.Errorf("a job that is malformed: %v", err)
	}
}

const oneColumn = `version: 1
name: points
columns:
  - {name: x, kind: numeric}
  - {name: y, kind: numeric}
  - {name: label, kind: label, classes: ["a", "b"]}
`

// role makes beta what it is enrolled as.
func (s *sealed) role(role fl.Role, revocation []byte) {
	s.Helper()
	for _, p := range s.parties {
		e, err := fl.DecodeEnvelope(p.GetEnrolment())
		s.must(err)
		var d fl.Enrolment
		s.must(e.Read(&d))
		if d.Node == "beta" {
			d.Roles = []fl.Role{role}
			p.Enrolment, p.Revocation = s.sign(d).Encode(), revocation
		}
	}
}

// past answers how a round ended, beside what a double answers.
type past struct {
	*double
	phase  string
	last   uint64
	models []*flpb.ModelVersion
	asked  int
}

func (p *past) ListJobs(context.Context, *flpb.ListJobsRequest, ...grpc.CallOption) (*flpb.ListJobsResponse, error) {
	p.asked++
	return &flpb.ListJobsResponse{Jobs: []*flpb.Job{{LastRound: p.last, Round: &flpb.Round{Number: p.last, Phase: p.phase}}}}, nil
}

func (p *past) ListModels(context.Context, *flpb.ListModelsRequest, ...grpc.CallOption) (*flpb.ListModelsResponse, error) {
	return &flpb.ListModelsResponse{Models: p.models}, nil
}

// TestReceipts: a client that holds a receipt looks how the round ended, once,
// and says so, loudly and with evidence, when its update is not in the seal.
func TestReceipts(t *testing.T) {
	for _, test := range []struct {
		name    string
		at      time.Time // on the receipt
		without bool      // alpha's update
		killed  bool      // after the signed receipt was written
		phase   string
		last    uint64
		want    error
		settled bool
	}{
		{name: "still under way", phase: "decrypting", last: 1},
		{name: "aborted", phase: "aborted", last: 1, settled: true},
		{name: "published with it", phase: "published", last: 1, settled: true},
		{name: "published with it, a round ago", phase: "open", last: 2, settled: true},
		{name: "published without it", phase: "published", last: 1, without: true, want: ErrLeftOut, settled: true},
		{name: "published without it, known by the signed receipt alone", phase: "published", last: 1, without: true, killed: true, want: ErrLeftOut, settled: true},
		{name: "published with it, later than its receipt says", at: stageStart.Add(-time.Second), phase: "published", last: 1, want: ErrAccepted, settled: true},
	} {
		s := newSealed(t)
		n := s.node
		n.log, n.opts.Now = slog.New(slog.DiscardHandler), func() time.Time { return stageStart.Add(time.Hour) }
		headers := s.honest()
		own := s.force(s.headers["alpha"], "alpha", s.homes["alpha"].Keys.Signing)
		at := test.at
		if at.IsZero() {
			at = stageStart
		}
		s.must(n.outbox.receive("j", 1, own.Digest(), s.accepted(own.Digest(), at)))
		if test.killed {
			s.must(os.Remove(filepath.Join(n.outbox.folder("j", 1), "receipt.json")))
		}
		if test.without {
			s.seal.Clients, s.seal.Accepted = s.seal.Clients[1:], s.seal.Accepted[1:]
			s.seal.Headers = s.seal.Headers[1:]
			for i := range s.seal.Sums {
				s.seal.Sums[i].Contributors = s.seal.Sums[i].Contributors[1:]
			}
		}
		seal := s.sign(s.seal)
		s.double.add(headers...)
		s.double.add(s.planDoc, seal)
		p := &past{double: s.double, phase: test.phase, last: test.last}
		if test.phase == "published" || test.last > 1 {
			m := s.sign(fl.Manifest{
				Genesis: s.id, JobSpec: s.id, Job: "j", Round: 1, Version: 1, Plan: s.planDoc.Digest(), Seal: seal.Digest(), EpochKey: s.id, KeyHolders: []fl.NodeID{"a", "b"},
				WrongShare: []fl.NodeID{}, BaseModel: s.id, Model: s.id, ProofLevel: fl.ProofNone, Epsilon: "infinity", Postings: []fl.Posting{}, SealedAt: stageStart, OpenedAt: stageStart,
			})
			p.models = []*flpb.ModelVersion{{Job: "j", Round: 1, Manifest: m.Encode()}}
		}
		n.remote.api = p
		var err error
		n.awaited, err = n.outbox.awaiting()
		s.must(err)
		if len(n.awaited) != 1 {
			t.Fatalf("%s: it awaits %v", test.name, n.awaited)
		}
		for range 2 {
			n.settleAll(t.Context())
			n.lookedAt = time.Time{}
		}
		folder := n.outbox.folder("j", 1)
		_, settled := os.Stat(filepath.Join(folder, settledFile))
		again, err := n.outbox.awaiting()
		s.must(err)
		if (settled == nil) != test.settled || (len(again) == 0) != test.settled || test.settled && p.asked != 1 {
			t.Errorf("%s: settled %v, asked %d times, still awaits %v", test.name, settled, p.asked, again)
		}
		raw, err := os.ReadFile(filepath.Join(folder, wrongedFile))
		if test.want == nil {
			if err == nil || n.status.LastError != "" {
				t.Errorf("%s: it accuses: %s, %s", test.name, raw, n.status.LastError)
			}
			continue
		}
		if len(n.status.Wronged) != 1 || !strings.Contains(n.status.LastError, test.want.Error()) {
			t.Errorf("%s: its status says %+v", test.name, n.status)
		}
		// The next start knows it from the evidence.
		wronged, err2 := n.outbox.wronged()
		if err2 != nil || !slices.Equal(wronged, n.status.Wronged) {
			t.Errorf("%s: after a restart: %v, %v", test.name, wronged, err2)
		}
		var w Wronged
		s.must(err)
		s.must(json.Unmarshal(raw, &w))
		for _, signed := range []json.RawMessage{w.Receipt, w.Seal} {
			var compact strings.Builder
			s.must(json.NewEncoder(&compact).Encode(signed))
			e, err := fl.DecodeEnvelope([]byte(strings.TrimSpace(compact.String())))
			s.must(err)
			s.must(e.Verify(s.genesis.AggregatorKey))
		}
	}
}

// TestPinnedProofKeys: a node that names proof keys works with no others.
func TestPinnedProofKeys(t *testing.T) {
	keys := fl.ProofKeys{Setup: fl.SetupCeremony, Circuits: []fl.CircuitKeys{{Shape: "update/x", Manifest: fl.Digest{1}}, {Shape: "keyshare/x", Manifest: fl.Digest{2}}}}
	one, two := "sha256:"+fl.Digest{1}.String(), fl.Digest{2}.String()
	for name, test := range map[string]struct {
		yaml    string
		refused bool
		bad     bool
	}{
		"nothing named":            {},
		"both named":               {yaml: "proof_keys: [" + one + ", " + two + "]"},
		"one of them another":      {yaml: "proof_keys: [" + one + ", " + fl.Digest{3}.String() + "]", refused: true},
		"one named":                {yaml: "proof_keys: [" + one + "]", refused: true},
		"a digest that is none":    {yaml: "proof_keys: [sha256:12]", bad: true},
		"another way to write one": {yaml: "proof_keys: [sha512:" + two + "]", bad: true},
	} {
		dir := t.TempDir()
		if err := identity.WriteFile(filepath.Join(dir, configFile), []byte("address: a:1\n"+test.yaml+"\n")); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(dir)
		if (err != nil) != test.bad || test.bad && !strings.Contains(err.Error(), "proof_keys") {
			t.Errorf("%s: %v", name, err)
		}
		if test.bad {
			continue
		}
		err = errors.Join(c.pinned(keys.Circuits[0], keys.Setup), c.pinned(keys.Circuits[1], keys.Setup))
		if errors.Is(err, ErrProofKeys) != test.refused || !test.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := saveConfig(dir, c); err != nil {
			t.Fatal(err)
		}
		if again, err := LoadConfig(dir); err != nil || len(again.ProofKeys) != len(c.ProofKeys) {
			t.Errorf("%s: written and read again: %v, %v", name, again.ProofKeys, err)
		}
	}
}
