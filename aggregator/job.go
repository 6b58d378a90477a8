package aggregator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/flpb"
	"credence/fl/round"
)

// maxAborts is how many rounds in a row may fail before a job does.
const maxAborts = 5

// jobState is a job as stored, with its specification decoded.
type jobState struct {
	store.Job
	spec   fl.JobSpec
	specID fl.Digest
}

func readJob(j store.Job) (jobState, error) {
	s := jobState{Job: j, specID: j.Spec.Digest()}
	if err := j.Spec.Read(&s.spec); err != nil {
		return jobState{}, fmt.Errorf("reading the store: %w", err)
	}
	return s, nil
}

func (a *Aggregator) job(ctx context.Context, node fl.NodeID, id fl.JobID) (jobState, error) {
	j, err := a.store.Job(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return jobState{}, fl.Refuse(fl.CodeNotFound, node, "there is no job %q", id)
	}
	if err != nil {
		return jobState{}, err
	}
	return readJob(j)
}

// jobs returns the running jobs, read once for all who ask between two changes.
// They are not changed.
func (a *Aggregator) jobs(ctx context.Context) ([]jobState, error) {
	return a.allJobs.get(a.wake, struct{}{}, func() ([]jobState, error) {
		stored, err := a.store.RunningJobs(ctx)
		if err != nil {
			return nil, err
		}
		out := make([]jobState, len(stored))
		for i, s := range stored {
			if out[i], err = readJob(s); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

// acceptJob takes in a job and moves its budget into escrow.
func (a *Aggregator) acceptJob(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var s fl.JobSpec
	if err := doc.Read(&s); err != nil {
		return time.Time{}, err
	}
	if err := a.addressed(from, s.Genesis, s.Owner); err != nil {
		return time.Time{}, err
	}
	switch {
	case !from.Has(fl.RoleOwner):
		return time.Time{}, fl.Refuse(fl.CodeNotAllowed, s.Owner, "%s may not submit jobs: it was not enrolled with role %q", s.Owner, fl.RoleOwner)
	case !s.ProofLevel.AtLeast(a.genesis.ProofFloor):
		return time.Time{}, fl.Refuse(fl.CodeProofLevel, s.Owner, "proof level %s: the federation's genesis asks for at least %s", s.ProofLevel, a.genesis.ProofFloor)
	case s.MinCohort < a.genesis.MinCohort:
		return time.Time{}, fl.Refuse(fl.CodeNotAllowed, s.Owner, "minimum cohort %d: the federation's genesis asks for at least %d", s.MinCohort, a.genesis.MinCohort)
	case max(s.CohortSize, s.MinCohort) > a.suite.MaxCohort():
		return time.Time{}, fl.Refuse(fl.CodeNotAllowed, s.Owner, "a cohort of %d: suite %s sums at most %d updates", max(s.CohortSize, s.MinCohort), a.suite.Name(), a.suite.MaxCohort())
	}
	if err := a.checkStrategy(ctx, s); err != nil {
		return time.Time{}, err
	}
	if err := a.checkTrained(s); err != nil {
		return time.Time{}, err
	}
	raw, err := a.takeBlob(ctx, s.Owner, "initial model", s.InitialModel, 4*s.Parameters)
	if err != nil {
		return time.Time{}, err
	}
	if _, err := fl.DecodeParameters(raw, s.Parameters); err != nil {
		return time.Time{}, err
	}
	at := a.now()
	escrow, err := credit.Escrow(s.Job, s.Owner, s.Budget, doc.Digest(), at)
	if err != nil {
		return time.Time{}, err
	}
	if err := a.store.SubmitJob(ctx, doc, escrow, at); err != nil {
		return time.Time{}, err
	}
	a.log.Info("job submitted", "job", s.Job, "owner", s.Owner, "rounds", s.Rounds, "budget", s.Budget)
	return at, nil
}

// checkStrategy refuses a job whose strategy or privacy this federation cannot
// carry out.
func (a *Aggregator) checkStrategy(ctx context.Context, s fl.JobSpec) error {
	size, err := s.Strategy.UploadSize(s.Parameters)
	if err != nil {
		return fl.Refuse(fl.CodeMalformed, s.Owner, "%s", err)
	}
	shards, err := fl.ShardMap(size, a.suite.Values())
	if err != nil {
		return fl.Refuse(fl.CodeMalformed, s.Owner, "%s", err)
	}
	if err := a.checkPrivacy(s, len(shards)); err != nil {
		return err
	}
	if groups := s.Strategy.Robust.Groups; groups*s.MinCohort > a.suite.MaxCohort() {
		return fl.Refuse(fl.CodeNotAllowed, s.Owner, "%d groups of at least %d clients: suite %s takes cohorts of at most %d; lower robust.groups", groups, s.MinCohort, a.suite.Name(), a.suite.MaxCohort())
	}
	if !s.WholeUploads() {
		return nil
	}
	parties, err := a.store.Parties(ctx)
	if err != nil {
		return err
	}
	nodes, able := 0, 0
	for _, p := range parties {
		if p.Revocation != nil || !p.Enrolment.Has(fl.RoleNode) {
			continue
		}
		nodes++
		if most := p.Enrolment.Capability.MaxShards; most == 0 || most >= len(shards) {
			able++
		}
	}
	if able < nodes && able < s.MinCohort {
		return fl.Refuse(fl.CodeNotAllowed, s.Owner, "strategy %s at proof level %s does not cut an upload into parts, and %d of %d nodes can carry its %d ciphertexts: at least %d are needed; use fedavg below level trained, or a smaller model", s.Strategy.Name, s.ProofLevel, able, nodes, len(shards), s.MinCohort)
	}
	return nil
}

// acceptJoin takes in a node's consent to a job.
func (a *Aggregator) acceptJoin(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.JobJoin
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	if err := a.addressed(from, d.Genesis, d.Node); err != nil {
		return time.Time{}, err
	}
	j, err := a.job(ctx, d.Node, d.Job)
	if err != nil {
		return time.Time{}, err
	}
	at := a.now()
	switch {
	case !from.Has(fl.RoleNode):
		return time.Time{}, fl.Refuse(fl.CodeNotAllowed, d.Node, "%s may not train: it was not enrolled with role %q", d.Node, fl.RoleNode)
	case d.JobSpec != j.specID:
		return time.Time{}, fl.Refuse(fl.CodeWrongAddressee, d.Node, "the consent is for another version of job %s", d.Job)
	case j.Phase != store.JobRunning:
		return time.Time{}, fl.Refuse(fl.CodeLate, d.Node, "job %s is %s", d.Job, j.Phase)
	case at.Sub(d.JoinedAt).Abs() > maxClockSkew && j.Joins[d.Node].Digest() != doc.Digest():
		return time.Time{}, clockRefusal(d.Node, d.JoinedAt, at)
	}
	if err := a.checkJoined(ctx, j, d); err != nil {
		return time.Time{}, err
	}
	if err := a.store.JoinJob(ctx, doc); err != nil {
		return time.Time{}, err
	}
	a.log.Info("joined job", "job", d.Job, "node", d.Node, "samples", d.Samples)
	return at, nil
}

// acceptCancel ends a job at its owner's wish.
func (a *Aggregator) acceptCancel(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.JobCancel
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	if err := a.addressed(from, d.Genesis, d.Owner); err != nil {
		return time.Time{}, err
	}
	j, err := a.job(ctx, d.Owner, d.Job)
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case j.spec.Owner != d.Owner:
		return time.Time{}, fl.Refuse(fl.CodeNotAllowed, d.Owner, "job %s belongs to %s", d.Job, j.spec.Owner)
	case d.JobSpec != j.specID:
		return time.Time{}, fl.Refuse(fl.CodeWrongAddressee, d.Owner, "the cancellation is for another version of job %s", d.Job)
	case j.Phase == store.JobCancelled:
		return a.now(), nil
	case j.Phase != store.JobRunning:
		return time.Time{}, fl.Refuse(fl.CodeLate, d.Owner, "job %s is %s", d.Job, j.Phase)
	}
	reason := "cancelled by its owner: " + d.Reason
	// The round first: an aborted round with a running job is a state that a
	// restart continues from, a published round of a cancelled job is not.
	if err := a.abortOpenRound(ctx, j, reason); err != nil {
		return time.Time{}, err
	}
	return a.now(), a.endJob(ctx, j, store.JobCancelled, reason, &doc)
}

func (a *Aggregator) abortOpenRound(ctx context.Context, j jobState, reason string) error {
	if j.LastRound == 0 {
		return nil
	}
	err := a.step(ctx, j.spec.Job, j.LastRound, round.Cancelled{Reason: reason, At: a.now()}, stepExtras{})
	if code := fl.CodeOf(err); code == fl.CodeLate {
		return nil // the round is over already
	}
	return err
}

// endJob moves a job into a final phase and refunds what is left in escrow.
func (a *Aggregator) endJob(ctx context.Context, j jobState, phase store.JobPhase, reason string, doc *fl.Envelope) error {
	ref := j.specID
	if doc != nil {
		ref = doc.Digest()
	}
	refund, err := a.refund(ctx, j, 0, ref)
	if err != nil {
		return err
	}
	if err := a.store.EndJob(ctx, j.spec.Job, phase, reason, doc, refund); err != nil {
		return err
	}
	a.log.Info("job ended", "job", j.spec.Job, "phase", phase, "reason", reason)
	a.wake.signal()
	return nil
}

// refund returns the transaction that empties a job's escrow once spent more
// credits have left it, or nil when nothing remains.
func (a *Aggregator) refund(ctx context.Context, j jobState, spent int64, ref fl.Digest) (*credit.Transaction, error) {
	balances, err := a.store.Balances(ctx)
	if err != nil {
		return nil, err
	}
	left := balances[credit.EscrowAccount(j.spec.Job)] - spent
	if left == 0 {
		return nil, nil
	}
	tx, err := credit.Refund(j.spec.Job, j.spec.Owner, left, ref, a.now())
	return &tx, err
}

// runJobs opens the next round of every job that can have one.
func (a *Aggregator) runJobs(ctx context.Context) error {
	jobs, err := a.jobs(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, j := range jobs {
		if err := a.runJob(ctx, j); err != nil && !errors.Is(err, store.ErrStale) {
			failed = errors.Join(failed, fmt.Errorf("job %s: %w", j.spec.Job, err))
		}
	}
	return failed
}

func (a *Aggregator) runJob(ctx context.Context, j jobState) error {
	aborts, last, err := a.recentAborts(ctx, j)
	switch {
	case err != nil:
		return err
	case last != nil && !last.Phase.Final():
		return nil // a round is under way
	case aborts >= maxAborts:
		return a.endJob(ctx, j, store.JobFailed, fmt.Sprintf("%d rounds in a row were aborted; the last one: %s", aborts, last.Reason), nil)
	case int(j.Version) >= j.spec.Rounds:
		return a.endJob(ctx, j, store.JobDone, "", nil)
	}
	// After an abort the next attempt waits a little longer each time.
	if aborts > 0 && a.now().Sub(last.EndedAt) < time.Duration(aborts)*time.Second {
		return nil
	}
	plan, waits, err := a.plan(ctx, j)
	switch {
	case errors.Is(err, errSpent):
		return a.endJob(ctx, j, store.JobDone, err.Error(), nil)
	case err != nil || waits != "":
		return err
	}
	return a.openRound(ctx, plan)
}

// recentAborts counts the aborted rounds at the end of a job's history and
// returns the state of the last round.
func (a *Aggregator) recentAborts(ctx context.Context, j jobState) (int, *round.State, error) {
	var last *round.State
	for n := j.LastRound; n > 0; n-- {
		r, err := a.store.Round(ctx, j.spec.Job, n)
		if err != nil {
			return 0, nil, err
		}
		state, err := a.roundState(ctx, r)
		if err != nil {
			return 0, nil, err
		}
		if last == nil {
			last = &state
		}
		if count := int(j.LastRound - n); state.Phase != round.Aborted || count >= maxAborts {
			return count, last, nil
		}
	}
	return int(j.LastRound), last, nil
}

// jobView is a job for people to look at; nil when it is not the wanted one.
func (a *Aggregator) jobView(ctx context.Context, j jobState, want fl.JobID) (*flpb.Job, error) {
	if want != "" && j.spec.Job != want {
		return nil, nil
	}
	view := &flpb.Job{
		Spec: j.Spec.Encode(), Phase: string(j.Phase), Reason: j.Reason,
		LastRound: j.LastRound, Version: j.Version, Model: j.Model[:],
	}
	for _, join := range j.Joins {
		view.Joins = append(view.Joins, join.Encode())
	}
	if j.LastRound > 0 {
		r, err := a.store.Round(ctx, j.spec.Job, j.LastRound)
		if err != nil {
			return nil, err
		}
		state, err := a.roundState(ctx, r)
		if err != nil {
			return nil, err
		}
		view.Round = &flpb.Round{
			Number: r.Number, Phase: string(state.Phase), Reason: state.Reason, Cohort: uint32(len(state.Plan().Cohort)),
			Accepted: uint32(len(state.Updates)), Declined: uint32(len(state.Declined)), Dealt: uint32(len(state.Dealings)),
			Shares: uint32(len(state.Shares)), DeadlineUnixMs: state.Plan().Deadline.UnixMilli(),
		}
	}
	if j.Phase == store.JobRunning && (view.Round == nil || view.Round.Phase == string(round.Published) || view.Round.Phase == string(round.Aborted)) {
		_, waits, err := a.plan(ctx, j)
		if errors.Is(err, errSpent) {
			waits, err = "its end: "+err.Error(), nil
		}
		if err != nil {
			return nil, err
		}
		if waits != "" {
			view.Waits = append(view.Waits, waits)
		}
	}
	return view, nil
}
