package driver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"credence/experiments/config"
	"credence/experiments/privacyattack"
	"credence/experiments/runs"
	"credence/experiments/simulate"
	"credence/fl"
	"credence/fl/privacy"
	"credence/models"
)

// demonstration are the attacks on a unit's first round, ready to be made.
type demonstration struct {
	unit       unit
	round      privacyattack.Round
	clients    []fl.Examples
	inversion  *privacyattack.InversionOptions
	membership *privacyattack.MembershipOptions
}

// maxKept bounds the values of one row's pictures, so that it stays readable.
const maxKept = 50_000

// demonstration prepares a unit's attacks and refuses what cannot be attacked;
// nil where nothing is asked for. sim has not made a round yet.
func (r *run) demonstration(u unit, sim *simulate.Simulation) (*demonstration, error) {
	want := u.file.Demonstrations
	if !want.On() || u.Repeat > 0 {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	d := &demonstration{unit: u}
	for _, c := range sim.Clients() {
		d.clients = append(d.clients, c.Train)
	}
	var err error
	if d.round, err = attacked(u, len(d.clients), sim.Model().NumParameters()); err != nil {
		return nil, err
	}
	if _, err := d.round.Epsilon(privacyattack.ViewPrivate, sim.Model().NumParameters()); err != nil {
		return nil, err
	}
	if i := want.Inversion; i != nil {
		d.inversion = &privacyattack.InversionOptions{
			Round: d.round, Model: u.file.Model, Training: u.file.Training, Params: slices.Clone(sim.Params()),
			Trials: i.Trials, Rows: i.Rows, Keep: min(i.Pictures, maxKept/(2*u.file.Model.Inputs)),
		}
		if err := d.inversion.Check(d.clients); err != nil {
			return nil, err
		}
	}
	if m := want.Membership; m != nil {
		rows := r.data.Train.Rows
		o := &privacyattack.MembershipOptions{
			Round: d.round, Model: u.file.Model, Training: u.file.Training,
			Targets: m.Targets, Others: m.Others, Runs: m.Runs, Shadows: m.Shadows,
		}
		if o.Others == 0 {
			o.Others = min(rows/len(d.clients), (rows/2-o.Targets)/(d.round.Clients-1))
		}
		if o.Others < 1 {
			return nil, fmt.Errorf("membership: %d rows leave none to the %d clients of a round beside %d targets; want fewer targets or a smaller cohort", rows, d.round.Clients, o.Targets)
		}
		if err := o.Check(rows); err != nil {
			return nil, err
		}
		d.membership = o
	}
	return d, nil
}

// attacked describes a unit's first round: the clients whose updates are in one
// sum, and the noise of the view with noise.
func attacked(u unit, clients, parameters int) (privacyattack.Round, error) {
	f, suite := u.file, u.suite
	n := min(clients, suite.MaxCohort())
	if f.CohortSize > 0 {
		n = min(n, f.CohortSize)
	}
	n /= max(f.Strategy.Robust.Groups, 1) // a sum is of one group
	if n < 2 {
		return privacyattack.Round{}, errors.New("a sum of one client is its update: want a larger cohort")
	}
	out := privacyattack.Round{
		Clients: n, Clip: f.Clip, Seed: u.Seed, Slots: suite.Values(), ValueBits: suite.ValueBits(),
		Privacy: fl.Privacy{NoiseMultiplier: f.Demonstrations.NoiseMultiplier, Delta: f.Demonstrations.Delta, MinHonest: max(1, n/2)},
	}
	if !f.Privacy.On() {
		return out, nil
	}
	upload, err := f.Strategy.UploadSize(parameters)
	if err == nil {
		out.Privacy, err = f.Privacy.Resolve(suite, upload, f.Rounds, f.MinCohort)
	}
	return out, err
}

// demonstrate makes a unit's attacks and keeps what they give.
func (r *run) demonstrate(ctx context.Context, d *demonstration) error {
	what := "Demonstrating what an attacker learns"
	if d.unit.Setting != "" {
		what += " with " + d.unit.Setting
	}
	r.notice(what + ".")
	var rows []runs.Demonstration
	if d.inversion != nil {
		found, err := privacyattack.Invert(ctx, *d.inversion, d.clients)
		if err != nil {
			return fmt.Errorf("demonstrations: inversion: %w", err)
		}
		for _, f := range found {
			rows = append(rows, d.inverted(r, f))
		}
	}
	if d.membership != nil {
		found, err := privacyattack.Membership(ctx, *d.membership, r.data.Train)
		if err != nil {
			return fmt.Errorf("demonstrations: membership: %w", err)
		}
		for _, f := range found {
			rows = append(rows, d.told(r, f)...)
		}
	}
	return r.writer.AddDemonstrations(rows)
}

func (d *demonstration) row(r *run, attack string, view privacyattack.View, epsilon string) runs.Demonstration {
	u := d.unit
	out := runs.Demonstration{
		Run: string(r.opts.Experiment.Job), Cell: u.Cell, Setting: u.Setting, Repeat: u.Repeat, Seed: u.Seed,
		Attack: attack, View: string(view), Clients: d.round.Clients,
	}
	if epsilon != privacy.Infinity {
		if v, err := strconv.ParseFloat(epsilon, 64); err == nil {
			out.Epsilon = &v
		}
	}
	return out
}

func (d *demonstration) inverted(r *run, f privacyattack.InversionResult) runs.Demonstration {
	out := d.row(r, runs.AttackInversion, f.View, f.Epsilon)
	out.Rows, out.Trials = d.inversion.Rows, f.Trials
	out.Similarity, out.SimilarityLow, out.SimilarityHigh, out.Baseline = &f.Similarity, &f.SimilarityLow, &f.SimilarityHigh, &f.Baseline
	out.Identified, out.IdentifiedLow, out.IdentifiedHigh, out.Chance, out.Labels = &f.Identified, &f.IdentifiedLow, &f.IdentifiedHigh, &f.Chance, &f.Labels
	for _, p := range f.Pictures {
		out.Pictures = append(out.Pictures, runs.Recovered{Original: brief(p.Original), Recovered: brief(p.Recovered), Label: p.Label, Read: p.Read})
	}
	return out
}

// told are the two membership attacks on one view.
func (d *demonstration) told(r *run, f privacyattack.MembershipResult) []runs.Demonstration {
	shadows, loss := d.row(r, runs.AttackMembership, f.View, f.Epsilon), d.row(r, runs.AttackMembershipLoss, f.View, f.Epsilon)
	shadows.AUC, shadows.AUCLow, shadows.AUCHigh, shadows.Advantage, shadows.Curve = &f.LiRAAUC, &f.LiRALow, &f.LiRAHigh, &f.LiRAAdvantage, f.LiRACurve
	loss.AUC, loss.AUCLow, loss.AUCHigh, loss.Advantage, loss.Curve = &f.YeomAUC, &f.YeomLow, &f.YeomHigh, &f.YeomAdvantage, f.YeomCurve
	out := []runs.Demonstration{shadows, loss}
	for i := range out {
		out[i].Rows, out[i].Trials, out[i].Accuracy = d.membership.Targets/2, f.Decisions, &f.Accuracy
		if out[i].Epsilon != nil {
			most := privacyattack.MostAdvantage(*out[i].Epsilon, d.round.Privacy.Delta)
			out[i].MostAdvantage = &most
		}
	}
	return out
}

// brief rounds values to what a picture needs.
func brief(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(math.Round(min(max(v, -1e6), 1e6)*1e4) / 1e4)
	}
	return out
}

// maxNames bounds the features whose names a run folder keeps.
const maxNames = 256

// about says what the rows of the run are.
func (r *run) about(f config.File) (runs.Data, error) {
	s := r.data.Schema
	out := runs.Data{Name: f.Data.Set, Train: r.data.Train.Rows, Test: r.data.Test.Rows, Classes: slices.Clone(s.Classes())}
	if out.Name == "" {
		out.Name = f.Data.File
	}
	if s.Features() <= maxNames {
		out.Features = s.FeatureNames()
	}
	image, err := f.Image(s.Features())
	if err != nil {
		return out, r.opts.Experiment.At("demonstrations.inversion.image", err)
	}
	if image == nil {
		image = &models.Image{}
	}
	out.Height, out.Width, out.Channels = image.Height, image.Width, image.Channels
	return out, nil
}
