package driver

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"credence/experiments/adversary"
	"credence/experiments/config"
	"credence/experiments/population"
	"credence/experiments/runs"
	"credence/experiments/simulate"
	"credence/fl"
	"credence/he"
	"credence/zk/trained"
)

// Options say what to run and where its results go.
type Options struct {
	Experiment *config.Experiment
	Text       []byte // of the experiment's file
	Dir        string // of the run
	Resume     bool   // go on with a run that stopped
	Workers    int    // over the file's; 0: the file's
	// ProofKeys is the folder in which attested simulations keep the proof keys
	// that they make.
	ProofKeys string
	// Report is told of every round; may be nil. It is called in Run's goroutine.
	Report func(Progress)
	// Notice is told of what takes long beside rounds; may be nil.
	Notice func(text string)
}

// Progress is how far a run is.
type Progress struct {
	Row         runs.Round
	Unit, Units int // this training, from 1, and how many
	Rounds      int // made, over all units
	Of          int
	Left        time.Duration // estimate; 0 in the first round
}

// Summary is how a run ended.
type Summary struct {
	Dir    string
	Rounds int
	Units  []UnitResult
}

// UnitResult is the last round of a unit that ended in this call.
type UnitResult struct {
	runs.Unit
	Last runs.Round
}

// ErrInterrupted says that the context ended the run; it can be resumed.
var ErrInterrupted = errors.New("interrupted")

// unit is a training with its settings.
type unit struct {
	runs.Unit
	file    config.File
	suite   *he.Suite
	trained *trained.Job // nil below proof level trained
}

// run is a run under way.
type run struct {
	opts   Options
	data   *population.Data
	inputs runs.Inputs
	units  []unit
	writer *runs.Writer
	began  time.Time
	kept   time.Time // of the last checkpoint
	made   int       // rounds in this call
	out    Summary
}

// Run runs or resumes an experiment. What was done until an error or until ctx
// ended is in the folder.
func Run(ctx context.Context, o Options) (Summary, error) {
	r := &run{opts: o, out: Summary{Dir: o.Dir}, began: time.Now()}
	if err := r.plan(); err != nil {
		return r.out, err
	}
	at, err := r.open()
	if err != nil {
		return r.out, err
	}
	err = r.all(ctx, at)
	r.out.Rounds, _ = r.writer.Progress()
	made, of := r.writer.Progress()
	switch {
	case err == nil:
		return r.out, r.writer.Finish(runs.Done, "")
	case ctx.Err() != nil:
		return r.out, errors.Join(ErrInterrupted, r.writer.Finish(runs.Stopped, "interrupted"))
	}
	err = fmt.Errorf("%w; %d of %d rounds are kept in %s", err, made, of, o.Dir)
	return r.out, errors.Join(err, r.writer.Finish(runs.Failed, err.Error()))
}

// plan reads the data and lists the trainings, and tries what could go wrong
// before the first one begins.
func (r *run) plan() error {
	e := r.opts.Experiment
	cells, err := e.Cells()
	if err != nil {
		return err
	}
	if r.data, err = population.Load(e); err != nil {
		return err
	}
	for number, cell := range cells {
		file, err := cell.Fit(r.data.Schema)
		if err != nil {
			return inCell(e, cell, err)
		}
		proven, err := file.Proven(r.data.SchemaText)
		if err != nil {
			if cell.Setting == "" {
				err = e.At("proof_level", err)
			}
			return inCell(e, cell, err)
		}
		suite, err := he.LookupSuite(file.Simulation.Suite)
		if err != nil {
			return inCell(e, cell, err)
		}
		for repeat, seed := range e.Repeats() {
			r.units = append(r.units, unit{
				Unit: runs.Unit{Cell: number, Setting: cell.Setting, Repeat: repeat, Seed: seed, Partition: population.PartitionSeed(file.Partition, seed)},
				file: file, suite: suite, trained: proven,
			})
		}
		first := r.units[len(r.units)-len(e.Repeats())]
		sim, err := r.simulation(first, nil)
		if err != nil {
			return inCell(e, cell, err)
		}
		if _, err := r.demonstration(first, sim); err != nil {
			return inCell(e, cell, e.At("demonstrations", err))
		}
		if most := suite.MaxCohort(); file.CohortSize == 0 && len(sim.Clients()) > most && number == 0 {
			r.notice(fmt.Sprintf("%d clients, and suite %s adds up at most %d updates: each round samples that many", len(sim.Clients()), file.Simulation.Suite, most))
		}
	}
	return r.identify()
}

// identify takes the digests of what the units train on.
func (r *run) identify() error {
	schema, rows, err := r.data.Digests()
	if err != nil {
		return err
	}
	var all []byte
	known := map[string]fl.Digest{} // units of a sweep mostly share their partitions
	for _, u := range r.units {
		p := u.file.Partition
		p.Seed = nil // u.Partition is the seed that counts
		key := fmt.Sprintf("%+v of %d", p, u.Partition)
		digest, ok := known[key]
		if !ok {
			if digest, err = r.data.PartitionDigest(r.opts.Experiment, u.file.Partition, u.Seed); err != nil {
				return err
			}
			known[key] = digest
		}
		all = append(all, digest[:]...)
	}
	r.inputs = runs.Inputs{Schema: schema.String(), Rows: rows.String(), Partition: fl.DigestBytes(all).String()}
	return nil
}

// inCell says in which combination of the sweep something is wrong.
func inCell(e *config.Experiment, cell config.Cell, err error) error {
	var own *config.Error
	switch {
	case errors.As(err, &own) && cell.Setting == "":
		return err
	case errors.As(err, &own):
		return &config.Error{File: own.File, Line: own.Line, Problem: own.Problem + " (with " + cell.Setting + ")", Err: err}
	case cell.Setting != "":
		return e.At("sweep", fmt.Errorf("with %s: %w", cell.Setting, err))
	}
	return e.Place(err)
}

func (r *run) notice(text string) {
	if r.opts.Notice != nil {
		r.opts.Notice(text)
	}
}

// position is a checkpoint's payload.
type position struct {
	Unit  int             `json:"unit"` // under way, or next
	State json.RawMessage `json:"state,omitempty"`
}

// open makes or reopens the folder and returns where to begin.
func (r *run) open() (at position, err error) {
	if r.opts.Resume {
		var payload []byte
		if r.writer, payload, err = runs.Resume(r.opts.Dir, r.opts.Text, r.inputs); err != nil || payload == nil {
			return at, r.named(err)
		}
		dec := json.NewDecoder(bytes.NewReader(payload))
		dec.DisallowUnknownFields()
		err := dec.Decode(&at)
		if err == nil && (at.Unit < 0 || at.Unit > len(r.units)) {
			err = fmt.Errorf("training %d of %d", at.Unit+1, len(r.units))
		}
		if err != nil {
			err = fmt.Errorf("%s: its checkpoint is not one of this program: %w; remove it to run all rounds again", r.opts.Dir, err)
			return at, errors.Join(err, r.writer.Finish(runs.Stopped, err.Error()))
		}
		return at, nil
	}
	file, err := r.opts.Experiment.Fit(r.data.Schema)
	if err != nil {
		return at, err
	}
	resolved, err := file.YAML()
	if err != nil {
		return at, err
	}
	start := runs.Start{Inputs: r.inputs, Config: r.opts.Text, Resolved: resolved, Environment: runs.ThisMachine(time.Now())}
	if start.Data, err = r.about(file); err != nil {
		return at, err
	}
	for _, u := range r.units {
		start.Units = append(start.Units, u.Unit)
		start.Rounds += u.file.Rounds
	}
	r.writer, err = runs.Create(r.opts.Dir, start)
	return at, err
}

// named says which file a changed configuration is in.
func (r *run) named(err error) error {
	var changed *runs.ChangedError
	if errors.As(err, &changed) && changed.Line > 0 {
		return fmt.Errorf("%s: %w", r.opts.Experiment.Name(), err)
	}
	return err
}

// all runs the units from a position on.
func (r *run) all(ctx context.Context, at position) error {
	for n := at.Unit; n < len(r.units); n++ {
		state := at.State
		if n > at.Unit {
			state = nil
		}
		if err := r.one(ctx, n, state); err != nil {
			if u := r.units[n]; u.Setting != "" {
				err = fmt.Errorf("%s, seed %d: %w", u.Setting, u.Seed, err)
			}
			return err
		}
	}
	return nil
}

// simulation makes a unit's simulation; a nil channel is a plain one.
func (r *run) simulation(u unit, channel simulate.Channel) (*simulate.Simulation, error) {
	f := u.file
	clients, err := r.data.Divide(r.opts.Experiment, f.Partition, u.Seed)
	if err != nil {
		return nil, err
	}
	o := simulate.Options{
		Suite: u.suite, Workers: f.Simulation.Workers, Channel: channel, StopOnDivergence: f.Simulation.OnDivergence == config.StopRun,
		Trained: u.trained,
		Job: simulate.Job{
			ID: f.Job, Model: f.Model, Training: f.Training, Strategy: f.Strategy, Clip: f.Clip, Privacy: f.Privacy, Rounds: f.Rounds, CohortSize: f.CohortSize,
			MinCohort: f.MinCohort, ProofLevel: f.ProofLevel, SampleCap: f.SampleCap, StepCap: f.StepCap, Budget: f.Budget, Rates: f.Rates,
			RoundDeadline: f.RoundDeadline, Seed: u.Seed,
		},
	}
	if r.opts.Workers > 0 {
		o.Workers = r.opts.Workers
	}
	for i := range f.Simulation.Committee.Members {
		o.Committee = append(o.Committee, fl.NodeID(fmt.Sprintf("committee-%d", i+1)))
	}
	if len(f.Attacks) > 0 {
		names := make([]fl.NodeID, len(clients))
		for i, c := range clients {
			names[i] = c.Node
		}
		if o.Roster, err = adversary.NewRoster(f.Attacks, names, u.Seed); err != nil {
			return nil, &config.Misfit{Key: "attacks", Err: err}
		}
	}
	sim, err := simulate.New(o, clients)
	key := (*fl.KeyError)(nil)
	if private := (*simulate.PrivacyError)(nil); errors.As(err, &private) {
		err = &config.Misfit{Key: "privacy", Err: private.Err}
	}
	if errors.As(err, &key) {
		err = &config.Misfit{Key: key.Key, Err: key}
	}
	if err != nil && strings.HasPrefix(err.Error(), "simulation: strategy: ") {
		err = &config.Misfit{Key: "strategy", Err: errors.Unwrap(err)} // what it needs of the clients
	}
	return sim, err
}

// one runs one unit, from its beginning or from a state.
func (r *run) one(ctx context.Context, n int, state []byte) (err error) {
	u := r.units[n]
	channel, err := r.channel(u)
	if err != nil {
		return err
	}
	if channel != nil {
		defer func() { err = errors.Join(err, channel.Close()) }()
	}
	sim, err := r.simulation(u, channel)
	if err != nil {
		return err
	}
	if state != nil {
		if err := sim.Restore(state); err != nil {
			return err
		}
	}
	for _, left := range sim.Outside() {
		r.notice(fmt.Sprintf("%s, seed %d: %s cannot join: %v", cmp.Or(u.Setting, string(u.file.Job)), u.Seed, left.Client, left.Err))
	}
	if state == nil {
		if err := r.attackFirst(ctx, n, sim); err != nil {
			return err
		}
	}
	m := newMeter(r.opts.Experiment.Job, u, sim, r.data.Test)
	var last runs.Round
	for int(sim.Version()) < u.file.Rounds {
		result, err := sim.Step(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = errors.Join(err, r.checkpoint(n, sim)) // what is made is not made again
			}
			return err
		}
		if last, err = m.row(result); err != nil {
			return err
		}
		if err := r.writer.AddRound(last); err != nil {
			return err
		}
		r.report(n, last)
		if r.due(u, sim) {
			if err := r.checkpoint(n, sim); err != nil {
				return err
			}
		}
	}
	r.out.Units = append(r.out.Units, UnitResult{Unit: u.Unit, Last: last})
	return r.close(n, sim, m)
}

// attackFirst makes the demonstrations of a unit that begins, and a checkpoint, so
// that a resumed run does not make them again.
func (r *run) attackFirst(ctx context.Context, n int, sim *simulate.Simulation) error {
	d, err := r.demonstration(r.units[n], sim)
	if err != nil || d == nil {
		return err
	}
	if err := r.demonstrate(ctx, d); err != nil {
		return err
	}
	return r.checkpoint(n, sim)
}

// due reports whether it is time for a checkpoint. The one after a unit's last
// round is made once the unit is closed.
func (r *run) due(u unit, sim *simulate.Simulation) bool {
	done, every := int(sim.Version()), u.file.Simulation.CheckpointEvery
	if done == u.file.Rounds {
		return false
	}
	if every == 0 {
		return time.Since(r.kept) >= checkpointAfter
	}
	return done%every == 0
}

// checkpointAfter is how much work a kill may cost when the file says nothing.
const checkpointAfter = time.Second

// close keeps what a finished unit leaves: its clients and its model.
func (r *run) close(n int, sim *simulate.Simulation, m *meter) error {
	rows, err := m.clients()
	if err != nil {
		return err
	}
	u := r.units[n]
	err = r.writer.SaveModel(u.Unit, func(w io.Writer) error {
		return sim.Model().WriteSafetensors(w, sim.Params(), map[string]string{
			"run": string(u.file.Job), "setting": u.Setting, "seed": fmt.Sprint(u.Seed), "round": fmt.Sprint(sim.Version()),
		})
	})
	if err != nil {
		return err
	}
	if err := r.writer.AddClients(rows); err != nil {
		return err
	}
	return r.checkpoint(n+1, nil)
}

// checkpoint keeps where the run is; sim is nil between two units.
func (r *run) checkpoint(n int, sim *simulate.Simulation) error {
	at := position{Unit: n}
	if sim != nil {
		state, err := sim.Save()
		if err != nil {
			return err
		}
		at.State = state
	}
	payload, err := json.Marshal(at)
	if err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	err = r.writer.Checkpoint(payload)
	r.kept = time.Now()
	return err
}

func (r *run) report(n int, row runs.Round) {
	r.made++
	if r.opts.Report == nil {
		return
	}
	p := Progress{Row: row, Unit: n + 1, Units: len(r.units)}
	p.Rounds, p.Of = r.writer.Progress()
	p.Left = time.Duration(float64(time.Since(r.began)) / float64(r.made) * float64(p.Of-p.Rounds))
	r.opts.Report(p)
}

// DefaultDir is where a run goes when nothing is said: runs/NAME.
func DefaultDir(e *config.Experiment) string { return filepath.Join("runs", string(e.Job)) }
