package federation_test

import (
	"slices"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/round"
	"credence/he"
)

// replay sends something old again, as whoever sent it or as another.
func (s *simulation) replay() {
	if len(s.sent) == 0 || s.agg == nil {
		return
	}
	m := s.sent[s.rng.IntN(len(s.sent))]
	n := s.some(func(n *simNode) bool { return n.id == m.from })
	if s.rng.IntN(4) == 0 {
		n = s.nodes[s.rng.IntN(len(s.nodes))]
	}
	raw := slices.Clone(m.raw)
	if s.rng.IntN(4) == 0 {
		raw[s.rng.IntN(len(raw))] ^= 1 << s.rng.IntN(8)
	}
	_, _ = s.connection(n).API().Submit(s.ctx, &flpb.SubmitRequest{Document: raw}) // the invariants say whether it did harm
}

// roundIn draws a round that is in a phase, with its plan.
func (s *simulation) roundIn(phase round.Phase) (plan fl.Plan, planID fl.Digest, seal fl.Digest, ok bool) {
	if s.agg == nil {
		return plan, planID, seal, false
	}
	type found struct {
		plan     fl.Plan
		id, seal fl.Digest
	}
	var all []found
	for _, job := range s.jobs {
		j, err := s.agg.Store().Job(s.ctx, job)
		if err != nil || j.LastRound == 0 {
			continue
		}
		r, err := s.agg.Store().Round(s.ctx, job, j.LastRound)
		s.must(err)
		if r.Phase != string(phase) {
			continue
		}
		f := found{id: r.Plan.Digest()}
		s.must(r.Plan.Read(&f.plan))
		docs, err := s.agg.Store().RoundDocuments(s.ctx, job, j.LastRound)
		s.must(err)
		for _, d := range docs {
			if d.Kind == (fl.Seal{}).Kind() {
				f.seal = d.Digest()
			}
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return plan, planID, seal, false
	}
	f := all[s.rng.IntN(len(all))]
	return f.plan, f.id, f.seal, true
}

// wrongShare sends a decryption share that opens nothing.
func (s *simulation) wrongShare() { s.badShare(round.Decrypting) }

// lateShare sends one for a round that is over.
func (s *simulation) lateShare() { s.badShare(round.Published) }

func (s *simulation) badShare(phase round.Phase) {
	plan, _, seal, ok := s.roundIn(phase)
	if !ok {
		return
	}
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	suite, err := he.LookupSuite(simSuite)
	s.must(err)
	remote := s.connection(n)
	d := fl.DecryptionShare{Genesis: plan.Genesis, Seal: seal, Job: plan.Job, Round: plan.Round, Node: n.id}
	for shard := range plan.Shards {
		digest, err := remote.Upload(s.ctx, suite.UniformPoly().Bytes())
		if err != nil {
			return // revoked, or its certificate has ended
		}
		d.Shares = append(d.Shares, fl.ShareRef{Shard: shard, Digest: digest})
	}
	if _, err := remote.Submit(s.ctx, d); err == nil {
		s.counts["accepted wrong shares"]++
	}
}
