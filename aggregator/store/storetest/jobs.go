package storetest

import (
	"context"
	"testing"
	"time"

	"credence/aggregator/store"
	"credence/fl"
)

func testSubmitJob(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := jobSpec("j", 1)
	escrow := transfer("escrow/j", "party/owner", "escrow/j", 100)
	_, err := s.Job(ctx, "j")
	wants(t, err, store.ErrNotFound)
	wants(t, s.SubmitJob(ctx, spec, escrow, start), store.ErrFunds)
	_, err = s.Job(ctx, "j") // and nothing of it was stored
	wants(t, err, store.ErrNotFound)
	_, err = s.Document(ctx, spec.Digest())
	wants(t, err, store.ErrNotFound)

	must(t, s.Transact(ctx, transfer("grant/owner", "issuer", "party/owner", 150)))
	must(t, s.SubmitJob(ctx, spec, escrow, start))
	must(t, s.SubmitJob(ctx, spec, escrow, start.Add(time.Hour))) // a retry happens later
	wants(t, s.SubmitJob(ctx, jobSpec("j", 2), escrow, start), store.ErrConflict)
	wants(t, s.SubmitJob(ctx, spec, transfer("escrow/j", "party/owner", "escrow/j", 101), start), store.ErrConflict)
	refuses(t, s.SubmitJob(ctx, revocation("a", "not a job"), escrow, start))
	equal(t, conserved(t, s), map[string]int64{"issuer": -150, "party/owner": 50, "escrow/j": 100})

	got, err := s.Job(ctx, "j")
	must(t, err)
	equal(t, got, store.Job{Spec: spec, Phase: store.JobRunning, Model: digest("initial"), SubmitTime: start})

	must(t, s.SubmitJob(ctx, jobSpec("early", 1), transfer("escrow/early", "party/owner", "escrow/early", 0), start.Add(-time.Hour)))
	must(t, s.SubmitJob(ctx, jobSpec("same", 1), transfer("escrow/same", "party/owner", "escrow/same", 0), start))
	jobs, err := s.Jobs(ctx)
	must(t, err)
	var order []fl.Digest
	for _, j := range jobs {
		order = append(order, j.Spec.Digest())
	}
	running, err := s.RunningJobs(ctx)
	must(t, err)
	equal(t, running, jobs)
	equal(t, order, []fl.Digest{jobSpec("early", 1).Digest(), spec.Digest(), jobSpec("same", 1).Digest()})
}

func testJoinJob(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 0+10)
	join := jobJoin(spec, "j", "a", 5)
	wants(t, s.JoinJob(ctx, jobJoin(spec, "none", "a", 5)), store.ErrNotFound)
	wants(t, s.JoinJob(ctx, jobJoin(jobSpec("j", 9), "j", "a", 5)), store.ErrNotFound) // another spec
	refuses(t, s.JoinJob(ctx, spec))
	for range 2 {
		must(t, s.JoinJob(ctx, join))
	}
	wants(t, s.JoinJob(ctx, jobJoin(spec, "j", "a", 6)), store.ErrConflict)
	must(t, s.JoinJob(ctx, jobJoin(spec, "j", "b", 6)))
	want := map[fl.NodeID]fl.Envelope{"a": join, "b": jobJoin(spec, "j", "b", 6)}
	j, err := s.Job(ctx, "j")
	must(t, err)
	equal(t, j.Joins, want)
	for _, list := range []func(context.Context) ([]store.Job, error){s.Jobs, s.RunningJobs} {
		jobs, err := list(ctx)
		must(t, err)
		equal(t, jobs[0].Joins, want)
	}
	// Joins are seen that came after the last look, also those by another
	// process, and what was handed out before stays as it was.
	later := jobJoin(spec, "j", "d", 7)
	must(t, s.JoinJob(ctx, later))
	equal(t, len(j.Joins), 2)
	running, err := s.RunningJobs(ctx)
	must(t, err)
	want["d"] = later
	equal(t, running[0].Joins, want)

	commitment := dataset(spec, "j", "a", 5)
	wants(t, s.CommitDataset(ctx, dataset(spec, "none", "a", 5)), store.ErrNotFound)
	wants(t, s.CommitDataset(ctx, dataset(jobSpec("j", 9), "j", "a", 5)), store.ErrNotFound)
	refuses(t, s.CommitDataset(ctx, join))
	for range 2 {
		must(t, s.CommitDataset(ctx, commitment))
	}
	wants(t, s.CommitDataset(ctx, dataset(spec, "j", "a", 6)), store.ErrConflict) // a node commits once a job
	kept, err := s.Document(ctx, commitment.Digest())
	must(t, err)
	sameDocument(t, kept, commitment)

	back := transfer("refund/j", "escrow/j", "party/owner", 10)
	must(t, s.EndJob(ctx, "j", store.JobDone, "", nil, &back))
	must(t, s.JoinJob(ctx, join)) // the same call again
	wants(t, s.CommitDataset(ctx, dataset(spec, "j", "b", 5)), store.ErrStale)
	wants(t, s.JoinJob(ctx, jobJoin(spec, "j", "c", 1)), store.ErrStale)
}

func testEndJob(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	cancel := jobCancel(spec, "j")
	refund := transfer("refund/j", "escrow/j", "party/owner", 10)
	wants(t, s.EndJob(ctx, "none", store.JobCancelled, "", nil, nil), store.ErrNotFound)
	refuses(t, s.EndJob(ctx, "j", store.JobPhase("odd"), "", nil, nil))
	refuses(t, s.EndJob(ctx, "j", store.JobRunning, "still", nil, nil))
	wants(t, s.EndJob(ctx, "j", store.JobCancelled, "enough", &cancel, nil), store.ErrStale) // credits would be locked up
	less := transfer("refund/j", "escrow/j", "party/owner", 9)
	wants(t, s.EndJob(ctx, "j", store.JobCancelled, "enough", &cancel, &less), store.ErrStale)
	more := transfer("refund/j", "escrow/j", "party/owner", 11)
	wants(t, s.EndJob(ctx, "j", store.JobCancelled, "enough", &cancel, &more), store.ErrFunds)
	_, err := s.Document(ctx, cancel.Digest())
	wants(t, err, store.ErrNotFound)

	for range 2 {
		must(t, s.EndJob(ctx, "j", store.JobCancelled, "enough", &cancel, &refund))
	}
	wants(t, s.EndJob(ctx, "j", store.JobFailed, "enough", nil, nil), store.ErrStale)
	wants(t, s.EndJob(ctx, "j", store.JobCancelled, "otherwise", nil, nil), store.ErrStale)
	wants(t, s.EndJob(ctx, "j", store.JobCancelled, "enough", &cancel, &less), store.ErrConflict)
	running, err := s.RunningJobs(ctx)
	must(t, err)
	equal(t, len(running), 0)
	j, err := s.Job(ctx, "j")
	must(t, err)
	equal(t, j, store.Job{Spec: spec, Phase: store.JobCancelled, Reason: "enough", Model: digest("initial"), SubmitTime: start})
	got, err := s.Document(ctx, cancel.Digest())
	must(t, err)
	sameDocument(t, got, cancel)
	equal(t, conserved(t, s), map[string]int64{"issuer": -10, "party/owner": 10, "escrow/j": 0})
}

func testOpenRound(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	p1, p2 := plan(spec, "j", 1, 1), plan(spec, "j", 2, 1)
	wants(t, s.OpenRound(ctx, plan(spec, "none", 1, 1), "open", nil), store.ErrNotFound)
	wants(t, s.OpenRound(ctx, plan(jobSpec("j", 9), "j", 1, 1), "open", nil), store.ErrNotFound)
	wants(t, s.OpenRound(ctx, p2, "open", nil), store.ErrStale)
	refuses(t, s.OpenRound(ctx, spec, "open", nil))
	_, err := s.Round(ctx, "j", 1)
	wants(t, err, store.ErrNotFound)
	for range 2 {
		must(t, s.OpenRound(ctx, p1, "open", []byte("state")))
	}
	wants(t, s.OpenRound(ctx, plan(spec, "j", 1, 2), "open", []byte("state")), store.ErrStale)
	must(t, s.OpenRound(ctx, p2, "open", []byte("state 2")))
	got, err := s.Round(ctx, "j", 1)
	must(t, err)
	one := store.Round{Job: "j", Number: 1, Plan: p1, Phase: "open", State: []byte("state"), Version: 1}
	equal(t, got, one)
	active, err := s.ActiveRounds(ctx)
	must(t, err)
	equal(t, active, []store.Round{one, {Job: "j", Number: 2, Plan: p2, Phase: "open", State: []byte("state 2"), Version: 1}})
	j, err := s.Job(ctx, "j")
	must(t, err)
	equal(t, j.LastRound, uint64(2))

	refund := transfer("refund/j", "escrow/j", "party/owner", 10)
	must(t, s.EndJob(ctx, "j", store.JobFailed, "", nil, &refund))
	wants(t, s.OpenRound(ctx, plan(spec, "j", 3, 1), "open", nil), store.ErrStale)
	must(t, s.OpenRound(ctx, p1, "open", nil)) // the same call again
}

func testStepRound(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", []byte("0")))
	a, b := updateHeader("j", 1, "a"), updateHeader("j", 1, "b")
	step := store.RoundStep{Job: "j", Round: 1, From: 1, Phase: "open", State: []byte("1"), Documents: []fl.Envelope{b}}
	wants(t, s.StepRound(ctx, store.RoundStep{Job: "j", Round: 2, From: 1}), store.ErrNotFound)
	wants(t, s.StepRound(ctx, store.RoundStep{Job: "none", Round: 1, From: 1}), store.ErrNotFound)
	for range 2 { // the second is the same call again
		must(t, s.StepRound(ctx, step))
	}
	other := step
	other.State = []byte("other")
	wants(t, s.StepRound(ctx, other), store.ErrStale)
	ahead := step
	ahead.From = 3
	wants(t, s.StepRound(ctx, ahead), store.ErrStale)

	// A document that the round has already keeps its place.
	must(t, s.StepRound(ctx, store.RoundStep{Job: "j", Round: 1, From: 2, Phase: "sealed", State: []byte("2"), Documents: []fl.Envelope{b, a}}))
	docs, err := s.RoundDocuments(ctx, "j", 1)
	must(t, err)
	equal(t, docs, []fl.Envelope{b, a})
	docs, err = s.RoundDocuments(ctx, "j", 9)
	must(t, err)
	equal(t, docs, []fl.Envelope(nil))

	refund := transfer("refund/j", "escrow/j", "party/owner", 10)
	refuses(t, s.StepRound(ctx, store.RoundStep{Job: "j", Round: 1, From: 3, Phase: "sealed", Refund: &refund})) // the job goes on
	last := store.RoundStep{Job: "j", Round: 1, From: 3, Phase: "aborted", State: []byte("3"), Final: true}
	for range 2 {
		must(t, s.StepRound(ctx, last))
	}
	wants(t, s.StepRound(ctx, store.RoundStep{Job: "j", Round: 1, From: 4, Phase: "open"}), store.ErrStale) // it is over
	got, err := s.Round(ctx, "j", 1)
	must(t, err)
	equal(t, got, store.Round{Job: "j", Number: 1, Plan: plan(spec, "j", 1, 1), Phase: "aborted", State: []byte("3"), Version: 4})
	active, err := s.ActiveRounds(ctx)
	must(t, err)
	equal(t, active, []store.Round(nil))
}

func testPublish(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	step := publishing(spec, "j", 1, 1, 1, 4)
	for range 2 {
		must(t, s.StepRound(ctx, step))
	}
	models, err := s.Models(ctx, "j")
	must(t, err)
	equal(t, models, []store.ModelVersion{*step.Model})
	j, err := s.Job(ctx, "j")
	must(t, err)
	equal(t, []any{j.Version, j.Model, j.Phase}, []any{uint64(1), digest("model 1"), store.JobRunning})
	_, err = s.Document(ctx, step.Model.Manifest)
	must(t, err)
	equal(t, conserved(t, s), map[string]int64{"issuer": -10, "party/owner": 0, "escrow/j": 6, "party/a": 4})
	history, err := s.History(ctx, "party/a")
	must(t, err)
	equal(t, len(history), 1)
	equal(t, history[0], *step.Transaction)
}

// testPublishAtomic: whatever part of a publishing step fails, none of it is
// stored, and the round can still publish.
func testPublishAtomic(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	good := publishing(spec, "j", 1, 1, 1, 4)
	model := func(change func(*store.ModelVersion)) store.RoundStep {
		step, m := good, *good.Model
		change(&m)
		step.Model = &m
		return step
	}
	wants(t, s.StepRound(ctx, publishing(spec, "j", 1, 1, 1, 11)), store.ErrFunds)
	wants(t, s.StepRound(ctx, model(func(m *store.ModelVersion) { m.Version = 2 })), store.ErrStale)
	wants(t, s.StepRound(ctx, model(func(m *store.ModelVersion) { m.Manifest = digest("none") })), store.ErrNotFound)
	refuses(t, s.StepRound(ctx, model(func(m *store.ModelVersion) { m.Round = 2 })))
	refuses(t, s.StepRound(ctx, model(func(m *store.ModelVersion) { m.Job = "k" })))
	lopsided := good
	entry := *good.Transaction
	entry.Postings = entry.Postings[:1]
	lopsided.Transaction = &entry
	refuses(t, s.StepRound(ctx, lopsided))

	r, err := s.Round(ctx, "j", 1)
	must(t, err)
	equal(t, r.Version, int64(1))
	models, err := s.Models(ctx, "j")
	must(t, err)
	equal(t, models, []store.ModelVersion(nil))
	_, err = s.Document(ctx, good.Model.Manifest)
	wants(t, err, store.ErrNotFound)
	equal(t, conserved(t, s)["escrow/j"], int64(10))
	must(t, s.StepRound(ctx, good))
}

// testLastRound: the last publication ends the job and returns what is left.
func testLastRound(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	step := publishing(spec, "j", 1, 1, 1, 4)
	refund := transfer("refund/j", "escrow/j", "party/owner", 6)
	step.JobPhase, step.JobReason, step.Refund = store.JobDone, "all rounds published", &refund
	for range 2 {
		must(t, s.StepRound(ctx, step))
	}
	j, err := s.Job(ctx, "j")
	must(t, err)
	equal(t, []any{j.Phase, j.Reason, j.Version}, []any{store.JobDone, "all rounds published", uint64(1)})
	equal(t, conserved(t, s), map[string]int64{"issuer": -10, "party/owner": 6, "escrow/j": 0, "party/a": 4})
}

// testCancelled: a round of a job that was cancelled can end, not publish.
func testCancelled(t *testing.T, open Open) {
	s, ctx := fresh(t, open), t.Context()
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(ctx, plan(spec, "j", 1, 1), "open", nil))
	refund := transfer("refund/j", "escrow/j", "party/owner", 10)
	must(t, s.EndJob(ctx, "j", store.JobCancelled, "enough", nil, &refund))
	free := publishing(spec, "j", 1, 1, 1, 0)
	wants(t, s.StepRound(ctx, free), store.ErrStale)
	again := store.RoundStep{Job: "j", Round: 1, From: 1, Phase: "aborted", Final: true, JobPhase: store.JobFailed}
	wants(t, s.StepRound(ctx, again), store.ErrStale)
	again.JobPhase = ""
	must(t, s.StepRound(ctx, again))
}
