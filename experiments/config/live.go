package config

import (
	"errors"
	"fmt"
	"time"

	"credence/client"
	"credence/datasets"
	"credence/fl"
	"credence/he"
	"credence/models"
	"credence/zk/trained"
)

// Live returns the file as a job for a federation, with the text of its
// schema, which must have been read from Schema (or be that of data.set). Notes
// name the sections that say nothing to a federation. What would make several
// jobs of the file is an error.
func (e *Experiment) Live(schema *datasets.Schema, text string) (o client.JobOptions, notes []string, err error) {
	f := e.File
	for _, key := range []string{"sweep", "seeds", "repeats"} {
		several := map[string]bool{"sweep": len(f.Sweep) > 0, "seeds": len(f.Seeds) > 0, "repeats": f.Repeats > 1}[key]
		if several {
			return o, nil, &Error{File: e.name, Line: e.Line(key), Problem: key + ": a federation trains one job a file; remove this, or simulate it: credence experiment run " + e.name}
		}
	}
	for _, s := range []struct {
		key, why string
	}{
		{"data", "the nodes bring their own"}, {"partition", "the nodes have their own rows"},
		{"attacks", "a federation's nodes attack on their own account"}, {"demonstrations", "they attack simulated clients"}, {"simulation", "a federation encrypts and, from proof level bounded, attests"},
	} {
		if e.Line(s.key) > 0 {
			notes = append(notes, fmt.Sprintf("%s: line %d: %s is left aside: %s", e.name, e.Line(s.key), s.key, s.why))
		}
	}
	if e.Line("trained") > 0 && !f.ProofLevel.Trained() {
		return o, nil, e.mistake(f.without())
	}
	if bad := f.validatePrivate(); bad != nil {
		return o, nil, e.mistake(bad)
	}
	if f.Schema == "" && f.Data.Set == "" {
		return o, nil, &Error{File: e.name, Problem: "schema is missing: want the path of a schema.yaml"}
	}
	m, err := e.Fit(schema)
	if err != nil {
		return o, nil, err
	}
	return m.job(text), notes, nil
}

// job is a file that fits its schema, of this text, as a job.
func (f File) job(text string) client.JobOptions {
	return client.JobOptions{
		Job: f.Job, SchemaText: text, Model: f.Model, Training: f.Training, Strategy: f.Strategy, Clip: f.Clip, Privacy: f.Privacy,
		Rounds: f.Rounds, CohortSize: f.CohortSize, MinCohort: f.MinCohort, RoundDeadline: int(f.RoundDeadline / time.Second),
		ProofLevel: f.ProofLevel, Trained: f.Trained, SampleCap: f.SampleCap, StepCap: f.StepCap, Budget: f.Budget, Rates: f.Rates, Seed: f.Seed,
	}
}

// Proven returns what a federation would prove of the training of a file that
// fits its schema, of this text; nil below proof level trained. It refuses what
// a federation refuses: models, optimisers and strategies that the level does
// not provide for.
func (f File) Proven(text string) (*trained.Job, error) {
	if !f.ProofLevel.Trained() {
		return nil, nil
	}
	for _, r := range f.Trained.Require {
		if r.MissingMax != nil && f.Data.File != "" {
			return nil, fmt.Errorf("trained.require: column %s: missing_max cannot be simulated: a simulation does not keep which values of the file were missing; leave it out here", r.Column)
		}
	}
	suite, err := he.LookupSuite(f.Simulation.Suite)
	if err != nil {
		return nil, err
	}
	spec, _, err := f.job(text).Draft(fl.Genesis{Suite: suite.Name(), MinCohort: 2})
	if err != nil {
		return nil, err
	}
	spec.Genesis, spec.Owner = fl.DigestOf("simulation/v1"), "simulation"
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	return trained.Read(spec, suite)
}

// Fit returns the file with the model's inputs and classes taken from the
// schema, and refuses a model or an attack that does not fit it.
func (e *Experiment) Fit(schema *datasets.Schema) (File, error) {
	f, err := e.File.Fit(schema)
	if err != nil {
		return f, e.Place(err)
	}
	return f, nil
}

// Misfit is an error about the value at a key of an experiment.
type Misfit struct {
	Key string
	Err error
}

func (m *Misfit) Error() string { return m.Err.Error() }

func (m *Misfit) Unwrap() error { return m.Err }

// Place adds the file's name to an error, and the line of the key where it is
// a Misfit.
func (e *Experiment) Place(err error) error {
	out := &Error{File: e.name, Problem: err.Error(), Err: err}
	if m := (*Misfit)(nil); errors.As(err, &m) {
		out.Line = e.Line(m.Key)
	}
	return out
}

// Fit is Experiment.Fit for a cell of a sweep; its errors are Misfits.
func (f File) Fit(schema *datasets.Schema) (File, error) {
	inputs, classes := schema.Features(), len(schema.Classes())
	if f.Model.Inputs == 0 {
		f.Model.Inputs = inputs
	}
	if f.Model.Classes == 0 {
		f.Model.Classes = classes
	}
	if f.Model.Inputs != inputs || f.Model.Classes != classes {
		return f, &Misfit{"model", fmt.Errorf("model: it has %d inputs and %d classes, the schema %s has %d and %d; leave both out of the file",
			f.Model.Inputs, f.Model.Classes, schema.Name, inputs, classes)}
	}
	model, err := models.New(f.Model)
	if err != nil {
		return f, &Misfit{"model", err}
	}
	if f.Strategy.Name == fl.FedPer {
		if _, err := model.LastLayers(f.Strategy.PersonalLayers); err != nil {
			return f, &Misfit{"strategy.personal_layers", fmt.Errorf("strategy: personal_layers: %w", err)}
		}
	}
	if _, err := client.CompleteStrategy(f.Strategy, f.Training, model); err != nil {
		return f, &Misfit{"training", fmt.Errorf("training: %w", err)}
	}
	for _, a := range f.Attacks {
		if err := a.Fit(inputs, classes); err != nil {
			return f, &Misfit{"attacks", err}
		}
	}
	return f, nil
}
