package results

import (
	"fmt"
	"path/filepath"
	"slices"

	"credence/experiments/config"
	"credence/experiments/runs"
)

// Run is what a run folder holds.
type Run struct {
	Dir, Name   string
	Config      []byte // as it was given
	Resolved    []byte // with defaults
	Environment runs.Environment
	State       runs.State
	Data        runs.Data // zero for a folder that does not say
	Units       []runs.Unit
	Groups      []Group
	// Experiment is Config read again; nil when this version cannot.
	Experiment *config.Experiment
}

// Group is one cell of a run's sweep with all its trainings.
type Group struct {
	Run       string // name of the run
	Cell      int
	Setting   string // "" without a sweep
	Trainings []Training
}

// Training is what one unit left.
type Training struct {
	runs.Unit
	Rounds  []runs.Round
	Clients []runs.Client
	// Demonstrations are what attacks on its first round gave; none unless asked for.
	Demonstrations []runs.Demonstration
}

// Load reads a run folder, of a run that ended or goes on.
func Load(dir string) (*Run, error) {
	f, err := runs.Open(dir)
	if err != nil {
		return nil, err
	}
	r := &Run{Dir: dir, Name: filepath.Base(dir)}
	var rounds []runs.Round
	var clients []runs.Client
	var attacks []runs.Demonstration
	for _, read := range []func() error{
		func() (err error) { r.Config, err = f.Config(); return err },
		func() (err error) { r.Resolved, err = f.Resolved(); return err },
		func() (err error) { r.Environment, err = f.Environment(); return err },
		func() (err error) { r.State, err = f.State(); return err },
		func() (err error) { r.Units, err = f.Units(); return err },
		func() (err error) { rounds, err = f.Rounds(); return err },
		func() (err error) { clients, err = f.Clients(); return err },
		func() (err error) { attacks, err = f.Demonstrations(); return err },
		func() (err error) { r.Data, err = f.Data(); return err },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if len(rounds) == 0 {
		return nil, fmt.Errorf("%s: the run has made no round yet: there is nothing to report", dir)
	}
	r.Name = rounds[0].Run
	if e, err := config.Parse(filepath.Join(dir, runs.ConfigFile), r.Config); err == nil {
		r.Experiment = e
	}
	return r, r.group(rounds, clients, attacks)
}

// group sorts the rows by cell and repeat, in the order of the units.
func (r *Run) group(rounds []runs.Round, clients []runs.Client, attacks []runs.Demonstration) error {
	type key struct{ cell, repeat int }
	place := map[key][2]int{}
	for _, u := range r.Units {
		k := key{u.Cell, u.Repeat}
		if _, twice := place[k]; twice {
			return fmt.Errorf("%s: %s lists repeat %d of cell %d twice", r.Dir, runs.SeedsFile, u.Repeat, u.Cell)
		}
		g := slices.IndexFunc(r.Groups, func(g Group) bool { return g.Cell == u.Cell })
		if g < 0 {
			g = len(r.Groups)
			r.Groups = append(r.Groups, Group{Run: r.Name, Cell: u.Cell, Setting: u.Setting})
		}
		place[k] = [2]int{g, len(r.Groups[g].Trainings)}
		r.Groups[g].Trainings = append(r.Groups[g].Trainings, Training{Unit: u})
	}
	training := func(cell, repeat int) (*Training, error) {
		at, ok := place[key{cell, repeat}]
		if !ok {
			return nil, fmt.Errorf("%s: a row is of repeat %d of cell %d, which %s does not list", r.Dir, repeat, cell, runs.SeedsFile)
		}
		return &r.Groups[at[0]].Trainings[at[1]], nil
	}
	for _, row := range rounds {
		t, err := training(row.Cell, row.Repeat)
		if err != nil {
			return err
		}
		t.Rounds = append(t.Rounds, row)
	}
	for _, row := range clients {
		t, err := training(row.Cell, row.Repeat)
		if err != nil {
			return err
		}
		t.Clients = append(t.Clients, row)
	}
	for _, row := range attacks {
		t, err := training(row.Cell, row.Repeat)
		if err != nil {
			return err
		}
		t.Demonstrations = append(t.Demonstrations, row)
	}
	// Trainings that have not begun are no part of the figures.
	for i := range r.Groups {
		r.Groups[i].Trainings = slices.DeleteFunc(r.Groups[i].Trainings, func(t Training) bool { return len(t.Rounds) == 0 })
	}
	r.Groups = slices.DeleteFunc(r.Groups, func(g Group) bool { return len(g.Trainings) == 0 })
	return nil
}

// Seeds lists the seeds of a group's trainings.
func (g Group) Seeds() []uint64 {
	out := make([]uint64, len(g.Trainings))
	for i, t := range g.Trainings {
		out[i] = t.Seed
	}
	return out
}

// Demonstrations are the attacks on the privacy of a group, of its first training
// that has any.
func (g Group) Demonstrations() []runs.Demonstration {
	for _, t := range g.Trainings {
		if len(t.Demonstrations) > 0 {
			return t.Demonstrations
		}
	}
	return nil
}

// Label names a group: its setting, its run, or both where several runs are
// shown.
func (g Group) Label(several bool) string {
	switch {
	case g.Setting == "":
		return g.Run
	case several:
		return g.Run + ": " + g.Setting
	}
	return g.Setting
}

// Labels names groups so that they differ: by setting, by run, or by both; runs
// of one name are numbered.
func Labels(groups []Group) []string {
	several := false
	for _, g := range groups {
		several = several || g.Run != groups[0].Run
	}
	out := make([]string, len(groups))
	for i, g := range groups {
		label := g.Label(several)
		for n := 2; slices.Contains(out[:i], label); n++ {
			label = fmt.Sprintf("%s (%d)", g.Label(several), n)
		}
		out[i] = label
	}
	return out
}
