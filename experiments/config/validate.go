package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"credence/client"
	"credence/datasets"
	"credence/datasets/download"
	"credence/fl"
	"credence/he"
)

// mistake is what is wrong and the path of keys that leads to it.
type mistake struct {
	path []string
	err  error
}

func wrong(path, format string, args ...any) *mistake {
	return &mistake{strings.Split(path, "."), fmt.Errorf(path+": "+format, args...)}
}

// at is a mistake at a path, or at the key that the error names.
func at(path string, err error) *mistake {
	if key := (*fl.KeyError)(nil); errors.As(err, &key) {
		path = key.Key
	}
	return &mistake{strings.Split(path, "."), err}
}

// validate checks what holds for jobs and experiments alike.
func (f *File) validate() *mistake {
	switch {
	case f.Job == "":
		return wrong("job", "missing: want a name")
	case f.Rounds < 1 || f.Rounds > fl.MaxRounds:
		return wrong("rounds", "%d: want 1 to %d", f.Rounds, fl.MaxRounds)
	case f.RoundDeadline < time.Second || f.RoundDeadline%time.Second != 0:
		return wrong("round_deadline", "%s: want whole seconds, at least 1s", f.RoundDeadline)
	case f.CohortSize < 0:
		return wrong("cohort_size", "%d: want a number of clients, or 0 for all", f.CohortSize)
	case f.MinCohort < 0 || f.MinCohort == 1:
		return wrong("min_cohort", "%d: want at least 2, or 0 for the federation's minimum", f.MinCohort)
	case f.CohortSize != 0 && f.CohortSize < max(f.MinCohort, 2):
		return wrong("cohort_size", "%d: below the minimum cohort of %d", f.CohortSize, max(f.MinCohort, 2))
	case f.SampleCap < 0 || f.SampleCap > fl.MaxSamples:
		return wrong("sample_cap", "%d: want 0 to %d", f.SampleCap, int64(fl.MaxSamples))
	case f.StepCap < 0 || f.StepCap > fl.MaxSamples:
		return wrong("step_cap", "%d: want 0 to %d", f.StepCap, int64(fl.MaxSamples))
	case f.Budget < 0 || f.Budget > fl.MaxBudget:
		return wrong("budget", "%d: want 0 to %d", f.Budget, int64(fl.MaxBudget))
	}
	for _, part := range []struct {
		path string
		err  error
	}{
		{"job", f.Job.Validate()}, {"training", f.Training.Validate()}, {"strategy", f.Strategy.Validate()},
		{"clip", f.Clip.Validate()}, {"privacy", f.Privacy.Validate()}, {"rates", f.Rates.Validate()},
		{"clip", f.Strategy.CheckClip(f.Clip)},
	} {
		if part.err != nil {
			return at(part.path, part.err)
		}
	}
	if f.ProofLevel != "" {
		if err := f.ProofLevel.Validate(); err != nil {
			return &mistake{[]string{"proof_level"}, err}
		}
	}
	for i, a := range f.Attacks {
		if err := a.Validate(); err != nil {
			return &mistake{[]string{"attacks", strconv.Itoa(i)}, err}
		}
	}
	return firstMistake(f.validateRepeats(), f.validateData(), f.validatePartition(), f.validateSimulation(), f.validateDemonstrations())
}

// validateSimulated refuses what only a live file can leave to its federation:
// the level at which a rate is paid.
func (f *File) validateSimulated() *mistake {
	if f.Rates.Training != 0 && !f.ProofLevel.Trained() {
		return wrong("rates.training", "%d: pays proven training, at proof_level trained only: divide it among the other rates", f.Rates.Training)
	}
	return f.validatePrivate()
}

// validatePrivate refuses what privacy does not go with. A file whose sweep
// makes the two fit is checked by its combinations.
func (f *File) validatePrivate() *mistake {
	if !f.Privacy.On() {
		return nil
	}
	for _, err := range []error{f.Strategy.CheckPrivacy(f.Clip, f.Privacy.Adaptive.On()), client.CheckPrivacy(fl.Privacy{NoiseMultiplier: 1}, f.Training)} {
		if err != nil {
			return at("privacy", err)
		}
	}
	return nil
}

// without is what is wrong with terms that nothing is proven by.
func (f *File) without() *mistake {
	level := f.ProofLevel
	if level == "" {
		level = `""`
	}
	return wrong("trained", "says what proof_level: trained proves, and proof_level is %s: write proof_level: trained, or remove this section", level)
}

func firstMistake(all ...*mistake) *mistake {
	for _, m := range all {
		if m != nil {
			return m
		}
	}
	return nil
}

func (f *File) validateRepeats() *mistake {
	switch {
	case f.Repeats < 0 || f.Repeats > maxUnits:
		return wrong("repeats", "%d: want 1 to %d", f.Repeats, maxUnits)
	case f.Repeats > 0 && len(f.Seeds) > 0:
		return wrong("repeats", "repeats and seeds exclude each other: repeats: N trains with seed, seed+1, ...")
	case len(f.Seeds) > maxUnits:
		return wrong("seeds", "%d seeds: want at most %d", len(f.Seeds), maxUnits)
	}
	sorted := slices.Sorted(slices.Values(f.Seeds))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return wrong("seeds", "%d is listed twice", sorted[i])
		}
	}
	return nil
}

func (f *File) validateData() *mistake {
	d := f.Data
	switch {
	case d.Set != "" && d.File != "":
		return wrong("data", "set and file exclude each other")
	case d.Set != "" && !slices.Contains(sets(), d.Set):
		return wrong("data.set", "there is no data set %q: want one of %s", d.Set, strings.Join(sets(), ", "))
	case d.Set != "" && f.Schema != "":
		return wrong("schema", "data.set brings its own schema; leave this out, or name a file of your own under data.file")
	case d.File != "" && f.Schema == "":
		return wrong("data.file", "a file needs a schema that says what its columns mean: add schema: PATH")
	case d.TestFile != "" && d.File == "":
		return wrong("data.test_file", "a test file goes with data.file")
	}
	return nil
}

func (f *File) validatePartition() *mistake {
	p := f.Partition
	skewed := p.Method == ByDirichlet || p.Method == ByQuantity
	switch {
	case p.Method == "":
		if p.Clients != 0 || p.Alpha != 0 || p.MinRows != 0 || p.LabelsEach != 0 || p.Column != "" || p.Weak != (Weak{}) {
			return wrong("partition", "method is missing: want %s", partitionMethods)
		}
		return nil
	case !slices.Contains([]string{ByIID, ByDirichlet, ByQuantity, ByLabels, ByColumn}, p.Method):
		return wrong("partition.method", "%q: want %s", p.Method, partitionMethods)
	case p.Method == ByColumn && p.Clients != 0:
		return wrong("partition.clients", "method column makes one client for each value of the column; leave this out")
	case p.Method == ByColumn && p.Column == "":
		return wrong("partition", "column is missing: want the name of the column that says whose row it is")
	case p.Method == ByColumn && hasWriters(f.Data.Set) && p.Column != download.UserColumn:
		return wrong("partition.column", "%q: %s has the column %s, of writers", p.Column, f.Data.Set, download.UserColumn)
	case p.Method == ByColumn && f.Data.Set != "" && !hasWriters(f.Data.Set):
		return wrong("partition.method", "the sets that have names, but femnist, have no column that says whose row it is; use data.file")
	case p.Method != ByColumn && p.Column != "":
		return wrong("partition.column", "belongs to method column, not to %s", p.Method)
	case p.Method != ByColumn && (p.Clients < 2 || p.Clients > maxClients):
		return wrong("partition.clients", "%d: want 2 to %d", p.Clients, maxClients)
	case skewed && !(p.Alpha > 0):
		return wrong("partition.alpha", "%v: want a number above 0; small is uneven", p.Alpha)
	case !skewed && p.Alpha != 0:
		return wrong("partition.alpha", "belongs to dirichlet and quantity, not to %s", p.Method)
	case !skewed && p.MinRows != 0:
		return wrong("partition.min_rows", "belongs to dirichlet and quantity, not to %s", p.Method)
	case skewed && p.MinRows < 1:
		return wrong("partition.min_rows", "%d: want at least 1; a client without rows cannot train", p.MinRows)
	case p.Method == ByLabels && p.LabelsEach < 1:
		return wrong("partition.labels_each", "%d: want the number of classes that a client has, at least 1", p.LabelsEach)
	case p.Method != ByLabels && p.LabelsEach != 0:
		return wrong("partition.labels_each", "belongs to labels, not to %s", p.Method)
	case p.Weak != (Weak{}) && !(p.Weak.Fraction > 0 && p.Weak.Fraction < 1):
		return wrong("partition.weak", "fraction %v: want a number above 0 and below 1", p.Weak.Fraction)
	case p.Weak != (Weak{}) && p.Weak.MaxShards < 1:
		return wrong("partition.weak", "max_shards %d: want the number of ciphertexts that a weak client carries, at least 1", p.Weak.MaxShards)
	case p.HeldOut != AtServer && p.HeldOut != AtClients:
		return wrong("partition.held_out", "%q: want %s or %s", p.HeldOut, AtServer, AtClients)
	}
	if p.Method != ByColumn {
		least := max(f.MinCohort, 2) * max(f.Strategy.Robust.Groups, 1)
		switch {
		case f.CohortSize > p.Clients:
			return wrong("cohort_size", "%d: there are %d clients", f.CohortSize, p.Clients)
		case p.Clients < least:
			return wrong("partition.clients", "%d: a round needs at least %d", p.Clients, least)
		}
	}
	return nil
}

const (
	partitionMethods = "iid, dirichlet, quantity, labels or column"
	maxClients       = 100_000
	maxUnits         = 10_000
)

func (f *File) validateSimulation() *mistake {
	s := f.Simulation
	suite, err := he.LookupSuite(s.Suite)
	if err != nil {
		return wrong("simulation.suite", "%w", err)
	}
	attested := f.ProofLevel != "" && f.ProofLevel != fl.ProofNone
	c := s.Committee
	switch {
	case s.Fidelity != Plain && s.Fidelity != Encrypted && s.Fidelity != Attested:
		return wrong("simulation.fidelity", "%q: want plain, encrypted or attested", s.Fidelity)
	case s.Fidelity == Attested && !attested:
		return wrong("simulation.fidelity", "attested updates carry proofs, and proof_level is %q: want proof_level: bounded or trained", f.ProofLevel)
	case s.Fidelity == Encrypted && attested:
		return wrong("simulation.fidelity", "encrypted makes no proofs, and proof_level is %s: want fidelity attested, or plain, which models what the proofs refuse", f.ProofLevel)
	case s.Workers < 0 || s.Workers > maxWorkers:
		return wrong("simulation.workers", "%d: want 1 to %d, or 0 for one a processor", s.Workers, maxWorkers)
	case s.EvaluateEvery < 1:
		return wrong("simulation.evaluate_every", "%d: want a number of rounds", s.EvaluateEvery)
	case s.CheckpointEvery < 0:
		return wrong("simulation.checkpoint_every", "%d: want a number of rounds, or 0 for about once a second", s.CheckpointEvery)
	case s.OnDivergence != StopRun && s.OnDivergence != Decline:
		return wrong("simulation.on_divergence", "%q: want stop or decline", s.OnDivergence)
	case c.Threshold < 2 || c.Members < c.Threshold || c.Members > suite.MaxCommittee():
		return wrong("simulation.committee", "%d of %d: want a threshold of at least 2 and at most %d members", c.Threshold, c.Members, suite.MaxCommittee())
	}
	if _, err := fl.NewQuantiser(f.Clip, suite.ValueBits()); err != nil {
		return &mistake{[]string{"clip"}, err}
	}
	return nil
}

const maxWorkers = 1024

// sets are the names that data.set understands.
func sets() []string { return append(datasets.BuiltinNames(), download.Names()...) }

// hasWriters reports whether a set says who wrote a row.
func hasWriters(set string) bool { return set == download.FEMNIST || set == download.FEMNISTDigits }
