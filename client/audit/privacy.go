package audit

import (
	"fmt"

	"credence/fl"
	"credence/fl/privacy"
)

// clipFor returns the clip that a job's next plan has to have after the rounds
// that were published before it.
func clipFor(spec fl.JobSpec, before []*roundLog) fl.Clip {
	if n := len(before); n > 0 && spec.Privacy.Adaptive.On() {
		if next := before[n-1].manifest.body.NextClip; next != (fl.Clip{}) {
			return next
		}
	}
	return spec.Clip
}

// charges counts how many plans of a job, at entries before the given one, name
// each client.
func (j *jobLog) charges(before int64) (rounds map[fl.NodeID]int, most int) {
	rounds = map[fl.NodeID]int{}
	for _, r := range j.rounds {
		if r.plan.at >= before {
			continue
		}
		for _, c := range r.plan.body.Cohort {
			rounds[c.Node]++
			most = max(most, rounds[c.Node])
		}
	}
	return rounds, most
}

// checkCharges checks what a plan charges the privacy budgets of its cohort,
// and that the job's budget allows it.
func (a *auditor) checkCharges(r *roundLog) error {
	p := r.plan.body
	if !p.Privacy.On() {
		return nil
	}
	rounds, _ := r.job.charges(r.plan.at + 1)
	for _, c := range p.Cohort {
		if got := p.ChargedOf(c.Node); got != rounds[c.Node] {
			return a.differs(r.plan.String(), fmt.Sprintf("%s is charged for another number of rounds than plans name it", c.Node), rounds[c.Node], got)
		}
	}
	if err := privacy.Allows(p); err != nil {
		return a.lie(r.plan.String(), "%v", err)
	}
	return nil
}

// checkEpsilon recomputes what a manifest says was spent.
func (a *auditor) checkEpsilon(r *roundLog) error {
	m, plan := r.manifest.body, r.plan.body
	_, most := r.job.charges(r.plan.at + 1)
	if !privacy.SameStatement(plan, most, m.Epsilon, m.Delta) {
		epsilon, delta := privacy.Statement(plan, most)
		return a.differs(r.manifest.String(), "its epsilon does not follow", fmt.Sprintf("%s at delta %v", epsilon, delta), fmt.Sprintf("%s at delta %v", m.Epsilon, m.Delta))
	}
	if plan.Privacy.On() {
		a.notChecked("that clients added their noise: it is under encryption; the stated epsilon holds when at least %d clients of every sum did", plan.Privacy.MinHonest)
	}
	return nil
}

// budgetSpent reports whether, by an entry, too few of the nodes that joined a
// job had any of its privacy budget left for another round.
func (a *auditor) budgetSpent(j *jobLog, at int64) bool {
	spec := j.spec.body
	if !spec.Privacy.On() || len(j.rounds) == 0 {
		return false
	}
	first := j.rounds[0].plan.body
	most := privacy.Affordable(spec.Privacy, first.UploadShards()*(first.Slots-fl.MetricSlots))
	rounds, _ := j.charges(at)
	left := 0
	for node, join := range j.joins {
		if join.at < at && a.book.parties[node].revokedAt > at && rounds[node] < most {
			left++
		}
	}
	return left < max(spec.Strategy.Robust.Groups, 1)*spec.MinCohort
}
