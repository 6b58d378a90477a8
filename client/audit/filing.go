package audit

import (
	"fmt"

	"credence/fl"
)

// fileRound files a document of a round under the plan that it names.
func (a *auditor) fileRound(r ref) error {
	switch r.doc.Kind {
	case fl.Plan{}.Kind():
		return a.filePlan(r)
	case fl.Seal{}.Kind():
		return a.fileSeal(r)
	case fl.DecryptionShare{}.Kind():
		return a.fileShare(r)
	case fl.Manifest{}.Kind():
		return a.fileManifest(r)
	case fl.UpdateHeader{}.Kind():
		f, err := open(a, r, "", func(d *fl.UpdateHeader) fl.Digest { return d.Genesis }, func(d *fl.UpdateHeader) fl.NodeID { return d.Node })
		if err != nil {
			return err
		}
		round, err := a.roundOf(r, f.body.Plan, f.body.Job, f.body.Round)
		if err != nil {
			return err
		}
		if held, twice := round.headers[f.body.Node]; twice {
			return a.lie(r.String(), "%s has an update in %s already, entry %d", f.body.Node, round, held.at)
		}
		if round.seal != nil {
			return a.lie(r.String(), "%s was sealed by entry %d, before it", round, round.seal.at)
		}
		round.headers[f.body.Node] = f
		return nil
	case fl.NoiseDealing{}.Kind():
		f, err := open(a, r, "", func(d *fl.NoiseDealing) fl.Digest { return d.Genesis }, func(d *fl.NoiseDealing) fl.NodeID { return d.Node })
		if err != nil {
			return err
		}
		round, err := a.roundOf(r, f.body.Plan, f.body.Job, f.body.Round)
		if err != nil {
			return err
		}
		if held, twice := round.noise[f.body.Node]; twice {
			return a.lie(r.String(), "%s dealt noise for %s already, entry %d", f.body.Node, round, held.at)
		}
		round.noise[f.body.Node] = f
		return nil
	}
	f, err := open(a, r, "", func(d *fl.Decline) fl.Digest { return d.Genesis }, func(d *fl.Decline) fl.NodeID { return d.Node })
	if err != nil {
		return err
	}
	_, err = a.roundOf(r, f.body.Plan, f.body.Job, f.body.Round)
	return err
}

func (a *auditor) roundOf(r ref, plan fl.Digest, job fl.JobID, number uint64) (*roundLog, error) {
	round := a.book.plans[plan]
	switch {
	case round == nil:
		return nil, a.lie(r.String(), "its plan %s is not in the log before it", plan.Short())
	case round.plan.body.Job != job || round.plan.body.Round != number:
		return nil, a.lie(r.String(), "it says job %s, round %d, and its plan is of %s", job, number, round)
	}
	return round, nil
}

func (a *auditor) filePlan(r ref) error {
	f, err := open(a, r, fl.AggregatorID, func(d *fl.Plan) fl.Digest { return d.Genesis }, nil)
	if err != nil {
		return err
	}
	j, err := a.jobOf(r, f.body.Job, f.body.JobSpec)
	if err != nil {
		return err
	}
	if want := uint64(len(j.rounds)) + 1; f.body.Round != want {
		if f.body.Round < want {
			return a.lie(r.String(), "round %d of job %s has another plan: %s", f.body.Round, f.body.Job, j.rounds[f.body.Round-1].plan)
		}
		return a.differs(r.String(), "rounds are numbered without gaps", want, f.body.Round)
	}
	round := &roundLog{
		job: j, plan: f, headers: map[fl.NodeID]filed[fl.UpdateHeader]{}, noise: map[fl.NodeID]filed[fl.NoiseDealing]{}, shares: map[fl.NodeID]filed[fl.DecryptionShare]{},
	}
	j.rounds = append(j.rounds, round)
	a.book.plans[r.id] = round
	return nil
}

func (a *auditor) fileSeal(r ref) error {
	f, err := open(a, r, fl.AggregatorID, func(d *fl.Seal) fl.Digest { return d.Genesis }, nil)
	if err != nil {
		return err
	}
	round, err := a.roundOf(r, f.body.Plan, f.body.Job, f.body.Round)
	if err != nil {
		return err
	}
	if round.seal != nil {
		return a.lie(r.String(), "%s has a seal already: %s; a second would open another sum", round, round.seal)
	}
	round.seal = &f
	a.book.seals[r.id] = round
	return nil
}

func (a *auditor) fileShare(r ref) error {
	f, err := open(a, r, "", func(d *fl.DecryptionShare) fl.Digest { return d.Genesis }, func(d *fl.DecryptionShare) fl.NodeID { return d.Node })
	if err != nil {
		return err
	}
	round := a.book.seals[f.body.Seal]
	switch {
	case round == nil:
		return a.lie(r.String(), "its seal %s is not in the log before it", f.body.Seal.Short())
	case round.plan.body.Job != f.body.Job || round.plan.body.Round != f.body.Round:
		return a.lie(r.String(), "it says job %s, round %d, and its seal is of %s", f.body.Job, f.body.Round, round)
	}
	if held, twice := round.shares[f.body.Node]; twice {
		return a.lie(r.String(), "%s released decryption shares of %s already, entry %d", f.body.Node, round, held.at)
	}
	round.shares[f.body.Node] = f
	return nil
}

func (a *auditor) fileManifest(r ref) error {
	f, err := open(a, r, fl.AggregatorID, func(d *fl.Manifest) fl.Digest { return d.Genesis }, nil)
	if err != nil {
		return err
	}
	round, err := a.roundOf(r, f.body.Plan, f.body.Job, f.body.Round)
	if err != nil {
		return err
	}
	switch {
	case round.manifest != nil:
		return a.lie(r.String(), "%s was published already: %s", round, round.manifest)
	case round.seal == nil || round.seal.id != f.body.Seal:
		return a.lie(r.String(), "its seal %s is not that of %s, or not in the log before it", f.body.Seal.Short(), round)
	}
	round.manifest = &f
	return nil
}

// fileEpoch files a document of the making of a key under its epoch plan.
func (a *auditor) fileEpoch(r ref) error {
	switch r.doc.Kind {
	case fl.EpochPlan{}.Kind():
		return a.fileEpochPlan(r)
	case fl.EpochKey{}.Kind():
		f, err := open(a, r, fl.AggregatorID, func(d *fl.EpochKey) fl.Digest { return d.Genesis }, nil)
		if err != nil {
			return err
		}
		e, err := a.epochOf(r, f.body.EpochPlan)
		if err != nil {
			return err
		}
		if e.key != nil {
			return a.lie(r.String(), "epoch %d has a key already: %s", e.plan.body.Epoch, e.key)
		}
		e.key = &f
		return nil
	case fl.Verdict{}.Kind():
		f, err := open(a, r, fl.AggregatorID, func(d *fl.Verdict) fl.Digest { return d.Genesis }, nil)
		if err != nil {
			return err
		}
		if _, err := a.epochOf(r, f.body.EpochPlan); err != nil {
			return err
		}
		for _, id := range f.body.Evidence {
			if _, logged := a.book.ids[id]; !logged {
				return a.lie(r.String(), "its evidence %s is not in the log before it", id.Short())
			}
		}
		a.book.verdicts = append(a.book.verdicts, f)
		return nil
	case fl.SealKey{}.Kind():
		return fileMembers(a, r, nil, func(d *fl.SealKey) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
	case fl.KeyCommitment{}.Kind():
		return fileMembers(a, r, nil, func(d *fl.KeyCommitment) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
	case fl.KeyReveal{}.Kind():
		return fileMembers(a, r, nil, func(d *fl.KeyReveal) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
	case fl.KeyDealing{}.Kind():
		return fileMembers(a, r, nil, func(d *fl.KeyDealing) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
	case fl.KeyAcceptance{}.Kind():
		return fileMembers(a, r, nil, func(d *fl.KeyAcceptance) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
	case fl.TestNoise{}.Kind():
		return fileMembers(a, r, func(d *fl.TestNoise) string { return inStage(r.doc.Kind, d.Stage) }, func(d *fl.TestNoise) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
	case fl.TestShare{}.Kind():
		return fileMembers(a, r, func(d *fl.TestShare) string { return inStage(r.doc.Kind, d.Stage) }, func(d *fl.TestShare) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
	case fl.Complaint{}.Kind():
		return fileMembers(a, r, func(*fl.Complaint) string { return "" }, func(d *fl.Complaint) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
	}
	return fileMembers(a, r, func(*fl.ComplaintAnswer) string { return "" }, func(d *fl.ComplaintAnswer) (fl.Digest, fl.Digest, fl.NodeID) { return d.Genesis, d.EpochPlan, d.Node })
}

// inStage is the place of a document of a self-test.
func inStage(kind fl.Kind, stage fl.Stage) string { return string(kind) + " in stage " + string(stage) }

// fileMembers files a document that a member of the committee signs. Each has a
// place, by default its kind; one whose place is empty may be repeated.
func fileMembers[D any, P interface {
	*D
	fl.Document
}](a *auditor, r ref, place func(*D) string, of func(*D) (genesis, plan fl.Digest, node fl.NodeID)) error {
	f, err := open[D, P](a, r, "", func(d *D) fl.Digest { g, _, _ := of(d); return g }, func(d *D) fl.NodeID { _, _, n := of(d); return n })
	if err != nil {
		return err
	}
	_, plan, node := of(&f.body)
	e, err := a.epochOf(r, plan)
	if err != nil {
		return err
	}
	if e.plan.body.Point(node) == 0 {
		return a.lie(r.String(), "%s is not in the committee of epoch %d", node, e.plan.body.Epoch)
	}
	key := string(r.doc.Kind)
	if place != nil {
		if key = place(&f.body); key == "" {
			return nil
		}
	}
	if e.docs[key] == nil {
		e.docs[key] = map[fl.NodeID]ref{}
	}
	if held, twice := e.docs[key][node]; twice {
		return a.lie(r.String(), "%s has a %s in epoch %d already: entry %d", node, key, e.plan.body.Epoch, held.at)
	}
	e.docs[key][node] = r
	return nil
}

func (a *auditor) epochOf(r ref, plan fl.Digest) (*epochLog, error) {
	e := a.book.epochPlans[plan]
	if e == nil {
		return nil, a.lie(r.String(), "its epoch plan %s is not in the log before it", plan.Short())
	}
	return e, nil
}

// fileEpochPlan checks an epoch plan against the genesis and those before it.
func (a *auditor) fileEpochPlan(r ref) error {
	f, err := open(a, r, fl.AggregatorID, func(d *fl.EpochPlan) fl.Digest { return d.Genesis }, nil)
	if err != nil {
		return err
	}
	p, policy := f.body, a.genesis.Committee
	switch {
	case p.Epoch != uint64(len(a.book.epochs))+1:
		return a.differs(r.String(), "epochs are numbered without gaps", len(a.book.epochs)+1, p.Epoch)
	case p.Suite != a.genesis.Suite:
		return a.differs(r.String(), "it is for another suite than the genesis'", a.genesis.Suite, p.Suite)
	case len(p.Members) != policy.Members || p.Threshold != policy.Threshold:
		return a.differs(r.String(), "its committee is not the genesis' policy", fmt.Sprintf("%d of %d", policy.Threshold, policy.Members), fmt.Sprintf("%d of %d", p.Threshold, len(p.Members)))
	}
	_, keysLogged := a.keyNamed(p.ProofKeys, r.at)
	switch {
	case p.ProofKeys.IsZero() && a.genesis.ProofFloor.Attested():
		return a.lie(r.String(), "it asks for no attested key shares, and the genesis' floor does")
	case !p.ProofKeys.IsZero() && !keysLogged:
		return a.lie(r.String(), "the proof keys %s that it names are not in the log before it", p.ProofKeys.Short())
	}
	for _, m := range p.Members {
		if err := a.enrolled(r.String(), m, fl.RoleNode, r.at); err != nil {
			return err
		}
	}
	e := &epochLog{plan: f, docs: map[string]map[fl.NodeID]ref{}}
	a.book.epochs = append(a.book.epochs, e)
	a.book.epochPlans[r.id] = e
	return nil
}
