package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"credence/fl"
	"credence/he"
	"credence/he/threshold"
)

// checkRounds checks every selected round: that its plan follows, who was
// sealed, that the sums are those of the attested updates, and what was published.
func (a *auditor) checkRounds(ctx context.Context) error {
	var selected []*roundLog
	for _, j := range a.book.jobs {
		for _, r := range j.rounds {
			if a.sel.includes(r.plan.body.Job, r.plan.body.Round) {
				selected = append(selected, r)
			}
		}
	}
	for i, r := range selected {
		if err := a.checkRound(ctx, r); err != nil {
			return err
		}
		a.progress.report("checking the rounds", i+1, len(selected))
	}
	return a.checkModel(selected)
}

func (a *auditor) checkRound(ctx context.Context, r *roundLog) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := a.checkPlan(r); err != nil {
		return err
	}
	plan := r.plan.body
	row := RoundReport{Job: plan.Job, Round: plan.Round, Shards: plan.Shards, ProofLevel: plan.ProofLevel}
	var k *proofKeys
	if plan.ProofLevel.Attested() {
		doc := a.proofKeysOf(r)
		var err error
		if plan.ProofLevel.Trained() {
			if k, err = a.trainedKeysOf(ctx, doc, r.job); err == nil {
				err = a.checkDatasets(ctx, r, k)
			}
		} else {
			k, err = a.keysOf(ctx, doc)
		}
		if err != nil {
			return err
		}
		row.ProofSetup = doc.body.Setup
	} else {
		a.notChecked("at proof level none: that updates are well-formed and bounded")
	}
	if r.seal == nil {
		a.report.Rounds = append(a.report.Rounds, row)
		return nil // it is under way, or was given up
	}
	if err := a.checkSeal(r); err != nil {
		return err
	}
	row.Clients = len(r.seal.body.Clients)
	if err := a.countPruned(ctx, r); err != nil {
		return err
	}
	sums, err := a.checkSums(ctx, r, k)
	if err != nil {
		return err
	}
	if r.manifest != nil {
		if err := a.checkPublished(ctx, r, sums); err != nil {
			return err
		}
		row.Version, row.Model = r.manifest.body.Version, r.manifest.body.Model.String()
	}
	a.report.Rounds = append(a.report.Rounds, row)
	return nil
}

// checkPlan checks that a plan follows from its job, from the nodes that
// joined it, and from the model that was published before.
func (a *auditor) checkPlan(r *roundLog) error {
	started := time.Now()
	p, spec, where := r.plan.body, r.job.spec.body, r.plan.String()
	size, err := spec.Strategy.UploadSize(spec.Parameters)
	if err != nil {
		return a.lie(where, "%v", err)
	}
	shards, err := fl.ShardMap(size, a.suite.Values())
	if err != nil {
		return a.lie(where, "%v", err)
	}
	groups := spec.Strategy.Robust.Groups
	before := r.job.published(r.plan.at)
	base, state := spec.InitialModel, fl.Digest{}
	if len(before) > 0 {
		last := before[len(before)-1].manifest.body
		base, state = last.Model, last.State
	}
	newest := a.epochFor(r)
	var proofKeys fl.Digest
	if spec.ProofLevel.Attested() {
		doc := a.proofKeysOf(r)
		if doc.id.IsZero() {
			return a.lie(where, "its updates are to be attested and no proof keys had been adopted")
		}
		proofKeys = doc.id
	}
	switch {
	case newest == nil:
		return a.lie(where, "no epoch had a key when it was logged")
	case r.job.cancel != nil && r.job.cancel.at < r.plan.at:
		return a.lie(where, "its job had been cancelled by entry %d", r.job.cancel.at)
	case len(before) >= spec.Rounds:
		return a.lie(where, "its job had published all its %d rounds", spec.Rounds)
	}
	for _, f := range []struct {
		what            string
		expected, found any
	}{
		{"epoch key", newest.key.id, p.EpochKey}, {"epoch", newest.plan.body.Epoch, p.Epoch}, {"base model", base, p.BaseModel},
		{"strategy's state", state, p.BaseState}, {"number of groups", groups, p.Groups},
		{"values in a ciphertext", a.suite.Values(), p.Slots}, {"value bits", a.suite.ValueBits(), p.ValueBits}, {"number of shards", max(groups, 1) * len(shards), p.Shards},
		{"minimum cohort", spec.MinCohort, p.MinCohort}, {"clip", clipFor(spec, before), p.Clip}, {"privacy", spec.Privacy, p.Privacy}, {"proof level", spec.ProofLevel, p.ProofLevel},
		{"proof keys", proofKeys, p.ProofKeys}, {"seed", spec.Seed, p.Seed}, {"deadline", clock(p.OpenedAt.Add(time.Duration(spec.RoundDeadline) * time.Second)), clock(p.Deadline)},
	} {
		if f.expected != f.found {
			return a.differs(where, "its "+f.what+" does not follow", f.expected, f.found)
		}
	}
	if err := a.checkCohort(r, len(shards)); err != nil {
		return err
	}
	if err := a.checkCharges(r); err != nil {
		return err
	}
	a.checked("plans that follow from job, joins and the model before", 1, started)
	return nil
}

// crossing is how long before a plan's opening something may have been signed
// that the plan does not know of yet: the two crossed on the way into the log.
const crossing = time.Minute

// epochFor returns the epoch that a plan has to name: the newest that had a key,
// or the one it names if everything newer came as it was made. It is nil when there
// was none.
func (a *auditor) epochFor(r *roundLog) *epochLog {
	var newest *epochLog
	for _, e := range slices.Backward(a.book.epochs) {
		switch {
		case e.key == nil || e.key.at > r.plan.at:
		case newest == nil, e.key.id == r.plan.body.EpochKey:
			newest = e
			fallthrough
		default:
			if e.key.body.ClosedAt.Before(r.plan.body.OpenedAt.Add(-crossing)) {
				return newest
			}
		}
	}
	return newest
}

// proofKeysOf returns the proof keys that a plan has to name, by the same rule,
// or nothing.
func (a *auditor) proofKeysOf(r *roundLog) filed[fl.ProofKeys] {
	var newest filed[fl.ProofKeys]
	for _, k := range slices.Backward(a.book.proofKeys) {
		switch {
		case k.at > r.plan.at:
		case newest.id.IsZero(), k.id == r.plan.body.ProofKeys:
			newest = k
			fallthrough
		default:
			if k.body.AdoptedAt.Before(r.plan.body.OpenedAt.Add(-crossing)) {
				return newest
			}
		}
	}
	return newest
}

// checkCohort checks the members of a cohort, their weights and their shards.
func (a *auditor) checkCohort(r *roundLog, shards int) error {
	p, spec, where := r.plan.body, r.job.spec.body, r.plan.String()
	most := a.suite.MaxCohort()
	if spec.CohortSize > 0 {
		most = min(most, spec.CohortSize)
	}
	if spec.Strategy.Name == fl.Cyclic {
		most = min(most, spec.MinCohort)
	}
	if len(p.Cohort) > most {
		return a.differs(where, "its cohort is too large", fmt.Sprintf("at most %d", most), len(p.Cohort))
	}
	samples := map[fl.NodeID]int64{}
	var nodes []fl.NodeID
	for _, c := range p.Cohort {
		join, joined := r.job.joins[c.Node]
		if !joined || join.at > r.plan.at {
			return a.lie(where, "%s is in the cohort and had not joined the job", c.Node)
		}
		samples[c.Node] = join.body.Samples
		if spec.SampleCap > 0 {
			samples[c.Node] = min(samples[c.Node], spec.SampleCap)
		}
		nodes = append(nodes, c.Node)
		want := shards
		if limit := a.book.parties[c.Node].body.Capability.MaxShards; limit > 0 && !spec.WholeUploads() {
			want = min(want, limit)
		}
		if len(c.Shards) != want {
			return a.differs(where, fmt.Sprintf("%s is assigned another number of shards than it carries", c.Node), want, len(c.Shards))
		}
	}
	if err := a.checkPopulation(r); err != nil {
		return err
	}
	weights, unit, err := fl.Weights(spec.Strategy, samples)
	if err != nil {
		return a.lie(where, "%v", err)
	}
	if unit != p.WeightUnit {
		return a.differs(where, "its weight unit does not follow from the declared samples", unit, p.WeightUnit)
	}
	for _, c := range p.Cohort {
		if c.Weight != weights[c.Node] {
			return a.differs(where, fmt.Sprintf("the weight of %s does not follow from its declared samples", c.Node), weights[c.Node], c.Weight)
		}
	}
	for shard, n := range p.Contributors(nodes) {
		if n < p.MinCohort {
			return a.differs(where, fmt.Sprintf("too few clients are assigned to shard %d", shard), fmt.Sprintf("at least %d", p.MinCohort), n)
		}
	}
	return nil
}

// checkPopulation checks how many nodes a plan says had joined the job: those
// that the log says, but for the ones that crossed with the plan.
func (a *auditor) checkPopulation(r *roundLog) error {
	least, most := 0, 0
	if r.job.spec.body.Strategy.Name == fl.Scaffold {
		for _, join := range r.job.joins {
			switch {
			case join.at > r.plan.at:
				continue
			case join.body.JoinedAt.Before(r.plan.body.OpenedAt.Add(-10 * crossing)): // by the node's clock, which may be 5 min off
				least++
			}
			most++
		}
	}
	if n := r.plan.body.Population; n < least || n > most {
		return a.differs(r.plan.String(), "its population does not follow from the joins", fmt.Sprintf("%d to %d", least, most), n)
	}
	return nil
}

// checkSeal checks that a seal holds exactly the updates that were accepted,
// each from a distinct client of the cohort, and enough for every sum.
func (a *auditor) checkSeal(r *roundLog) error {
	started := time.Now()
	seal, plan, where := r.seal.body, r.plan.body, r.seal.String()
	epoch := a.epochs[plan.EpochKey]
	if len(seal.Clients) < plan.MinCohort || len(seal.Sums) != plan.Shards {
		return a.differs(where, "it is too small", fmt.Sprintf("at least %d updates, %d sums", plan.MinCohort, plan.Shards), fmt.Sprintf("%d updates, %d sums", len(seal.Clients), len(seal.Sums)))
	}
	byShard := make([][]fl.NodeID, plan.Shards)
	seen := map[fl.Digest]fl.NodeID{}
	for i, client := range seal.Clients {
		h, ok := r.headers[client]
		switch {
		case !ok:
			return a.lie(where, "it holds an update of %s, of which the log holds no header before it", client)
		case h.id != seal.Headers[i]:
			return a.differs(where, "it holds another update of "+string(client)+" than the log", h.id, seal.Headers[i])
		case seal.Accepted[i].Before(plan.OpenedAt) || seal.Accepted[i].After(plan.Deadline) || seal.Accepted[i].After(seal.SealedAt):
			return a.differs(where, "the update of "+string(client)+" was accepted out of time", fmt.Sprintf("%s to %s", clock(plan.OpenedAt), clock(plan.Deadline)), clock(seal.Accepted[i]))
		}
		if err := a.checkHeader(r, h); err != nil {
			return err
		}
		for _, c := range h.body.Ciphertexts {
			if other, twice := seen[c.Digest]; twice {
				return a.lie(h.String(), "its ciphertext of shard %d is also in the update of %s", c.Shard, other)
			}
			seen[c.Digest] = client
			byShard[c.Shard] = append(byShard[c.Shard], client)
		}
	}
	for node, h := range r.headers {
		if _, in := slices.BinarySearch(seal.Clients, node); !in && a.book.parties[node].revokedAt > r.seal.at {
			return a.lie(where, "it leaves out an accepted update: %s", h)
		}
	}
	for shard, sum := range seal.Sums {
		slices.Sort(byShard[shard])
		if !slices.Equal(sum.Contributors, byShard[shard]) {
			return a.differs(where, fmt.Sprintf("the contributors to shard %d are not those of the updates", shard), byShard[shard], sum.Contributors)
		}
		if len(sum.Contributors) < plan.MinCohort {
			return a.differs(where, fmt.Sprintf("the sum of shard %d has too few contributors", shard), fmt.Sprintf("at least %d", plan.MinCohort), len(sum.Contributors))
		}
	}
	a.checked("updates sealed: signed, in the cohort, and none left out", len(seal.Clients), started)
	started = time.Now()
	if len(seal.Dealers) < epoch.epoch.Threshold() {
		return a.differs(where, "the noise of too few members hides the sums", fmt.Sprintf("at least %d", epoch.epoch.Threshold()), len(seal.Dealers))
	}
	for i, dealer := range seal.Dealers {
		d, ok := r.noise[dealer]
		if !ok || d.at > r.seal.at || d.id != seal.Dealings[i] {
			return a.lie(where, "it uses noise of %s, %s, that the log does not hold before it", dealer, seal.Dealings[i].Short())
		}
		if err := a.counts(d.ref); err != nil {
			return err
		}
		for shard := range plan.Shards {
			subject := threshold.NoiseSubject(threshold.SumID{Job: string(plan.Job), Round: plan.Round, Shard: shard})
			if err := threshold.VerifyDealing(epoch.epoch, subject, string(dealer), threshold.DealingFromBoxes(d.body.Boxes, shard)); err != nil {
				return a.lie(d.String(), "%v", err)
			}
		}
	}
	a.checked("noise dealings that are consistent", len(seal.Dealers)*plan.Shards, started)
	return nil
}

// checkHeader checks that an update is for its plan.
func (a *auditor) checkHeader(r *roundLog, h filed[fl.UpdateHeader]) error {
	if err := a.counts(h.ref); err != nil {
		return err
	}
	p := r.plan.body
	assigned, in := p.Assigned(h.body.Node)
	switch {
	case !in:
		return a.lie(h.String(), "the plan does not name %s", h.body.Node)
	case h.body.EpochKey != p.EpochKey:
		return a.differs(h.String(), "it is encrypted under another epoch's key", p.EpochKey, h.body.EpochKey)
	case h.body.ProofLevel != p.ProofLevel:
		return a.differs(h.String(), "its proof level is not the plan's", p.ProofLevel, h.body.ProofLevel)
	case !slices.EqualFunc(h.body.Ciphertexts, assigned.Shards, func(c fl.ShardCiphertext, s int) bool { return c.Shard == s }):
		return a.lie(h.String(), "it does not hold exactly the assigned shards %v", assigned.Shards)
	}
	return nil
}

// checkSums reads the sealed sums and, where updates are attested, checks that
// each is the sum of exactly the attested ciphertexts.
func (a *auditor) checkSums(ctx context.Context, r *roundLog, k *proofKeys) ([]*he.Sum, error) {
	started := time.Now()
	sums := make([]*he.Sum, len(r.seal.body.Sums))
	for shard, sealed := range r.seal.body.Sums {
		var parts [2]*he.SumPart
		for i, half := range []struct {
			part   he.Part
			digest fl.Digest
		}{{he.C0, sealed.C0}, {he.C1, sealed.C1}} {
			what := fmt.Sprintf("sum c%d of shard %d", i, shard)
			raw, err := a.blob(ctx, r.seal.String(), what, half.digest, r.seal.id)
			if err != nil {
				return nil, err
			}
			if parts[i], err = a.suite.ParseSumPart(raw, half.part); err != nil {
				return nil, a.lie(fmt.Sprintf("blob %s (%s, named by %s)", half.digest.Short(), what, r.seal), "%v", err)
			}
		}
		sum, err := he.JoinSum(parts[0], parts[1])
		if err != nil {
			return nil, a.lie(r.seal.String(), "the sum of shard %d: %v", shard, err)
		}
		if sum.Count() != len(sealed.Contributors) {
			return nil, a.differs(r.seal.String(), fmt.Sprintf("the sum of shard %d is of another number of ciphertexts", shard), len(sealed.Contributors), sum.Count())
		}
		sums[shard] = sum
	}
	a.checked("sealed sums read", len(sums), started)
	if k == nil {
		return sums, a.addAgain(ctx, r, sums)
	}
	commitments, err := a.checkAttestations(ctx, r, k)
	if err != nil {
		return nil, err
	}
	started = time.Now()
	for shard, sum := range sums {
		if err := k.update.SRS().CheckSum(sum, commitments[shard]); err != nil {
			return nil, a.lie(r.seal.String(), "the sum of shard %d is not the sum of the attested updates: %v", shard, err)
		}
	}
	a.checked("sums that are those of the attested updates", len(sums), started)
	return sums, nil
}

// clock writes a time for people.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000Z") }
