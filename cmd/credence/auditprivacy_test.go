package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"credence/client/audit"
	"credence/fl"
	"credence/fl/privacy"
)

// TestAuditPrivacy: what a private job's plans charge, what its manifests say
// was spent and how its clip moves follow from the log, and a lie about any of
// them is named.
func TestAuditPrivacy(t *testing.T) {
	t.Parallel()
	f := newAudited(t, fl.ProofNone, privateJob)
	if !slices.ContainsFunc(f.party.NotChecked, func(s string) bool { return strings.Contains(s, "at least 2 clients of every sum") }) {
		t.Errorf("an audit cannot see the noise, and does not say so: %q", f.party.NotChecked)
	}
	plan := func(change func(*fl.Plan)) func(*memory) {
		return func(m *memory) {
			at, d := find(m, func(d *fl.Plan) bool { return d.Job == privateJob && d.Round == 2 })
			change(d)
			m.sign(at, *d)
			m.entries = m.entries[:at+1] // an aggregator that has not come further yet
		}
	}
	manifest := func(change func(*fl.Manifest)) func(*memory) {
		return func(m *memory) {
			at, d := find(m, func(d *fl.Manifest) bool { return d.Job == privateJob && d.Round == 2 })
			change(d)
			m.refer(m.sign(at, *d))
		}
	}
	for name, lie := range map[string]struct {
		tell func(m *memory)
		want string
	}{
		"a round forgotten":      {plan(func(p *fl.Plan) { p.Charged[1] = 1 }), "charged for another number of rounds than plans name it: expected 2, found 1"},
		"a larger budget":        {plan(func(p *fl.Plan) { p.Privacy.Epsilon *= 2 }), "its privacy does not follow"},
		"less noise":             {plan(func(p *fl.Plan) { p.Privacy.NoiseMultiplier /= 2 }), "its privacy does not follow"},
		"no noise":               {plan(func(p *fl.Plan) { p.Privacy, p.Charged = fl.Privacy{}, nil }), "its privacy does not follow"},
		"another clip":           {plan(func(p *fl.Plan) { p.Clip.Norm *= 1.01 }), "its clip does not follow"},
		"less spent":             {manifest(func(m *fl.Manifest) { m.Epsilon = "0.100" }), "its epsilon does not follow"},
		"another delta":          {manifest(func(m *fl.Manifest) { m.Delta /= 2 }), "its epsilon does not follow"},
		"nothing promised":       {manifest(func(m *fl.Manifest) { m.Epsilon, m.Delta = privacy.Infinity, 0 }), "its epsilon does not follow"},
		"a clip of one's choice": {manifest(func(m *fl.Manifest) { m.NextClip.Norm *= 1.01 }), "next clip is not what follows"},
		"figures":                {manifest(func(m *fl.Manifest) { m.Figures.Count = 1 }), "figures"},
		"beyond the budget": {func(m *memory) {
			// The owner is in league: its job never had the money for round 2.
			at, spec := find(m, func(d *fl.JobSpec) bool { return d.Job == privateJob })
			_, p := find(m, func(d *fl.Plan) bool { return d.Job == privateJob && d.Round == 1 })
			spec.Privacy.Epsilon = privacy.SpentByPlan(*p, 1)
			before, after := m.sign(at, *spec)
			m.refer(before, after)
			m.entries = slices.DeleteFunc(m.entries, func(e entry) bool {
				return e.doc != nil && (e.doc.Kind == fl.JobJoin{}.Kind() || e.doc.Kind == fl.JobCancel{}.Kind())
			})
			for _, node := range f.nodes {
				m.insert(at+1, node, fl.JobJoin{Genesis: spec.Genesis, JobSpec: after, Job: spec.Job, Node: node, Samples: 1, JoinedAt: p.OpenedAt})
			}
			var first int
			first, p = find(m, func(d *fl.Plan) bool { return d.Job == privateJob && d.Round == 1 })
			p.JobSpec, p.Privacy, p.WeightUnit = after, spec.Privacy, 1
			for i := range p.Cohort {
				p.Cohort[i].Weight = 1
			}
			m.sign(first, *p)
			p.Round = 2
			for i := range p.Charged {
				p.Charged[i] = 2
			}
			m.insert(first+1, fl.AggregatorID, *p)
			m.entries = m.entries[:first+2]
		}, "budget does not allow round 2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := f.on(t)
			f.must(withFolder(t.Context(), f.dir, nil, func(src audit.Source) error {
				m := f.read(t, src)
				lie.tell(m)
				_, err := audit.Audit(t.Context(), m, audit.Selection{}, nil)
				var found *audit.Lie
				if !errors.As(err, &found) || !strings.Contains(found.Error(), lie.want) {
					t.Errorf("found %v, want %q", err, lie.want)
				}
				return nil
			}))
		})
	}
}
