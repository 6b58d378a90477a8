package config

import (
	"time"

	"credence/client"
	"credence/experiments/adversary"
	"credence/fl"
	"credence/models"
)

// File is an experiment as it is written down, defaults filled in.
type File struct {
	// Job names the job of a federation, and the run of an experiment.
	Job       fl.JobID           `yaml:"job"`
	Schema    string             `yaml:"schema,omitempty"` // path from the file's folder; not needed with data.set
	Data      Data               `yaml:"data,omitempty"`
	Partition Partition          `yaml:"partition,omitempty"`
	Model     models.Spec        `yaml:"model"`
	Training  models.TrainConfig `yaml:"training"`
	Strategy  fl.StrategySpec    `yaml:"strategy"`
	Clip      fl.Clip            `yaml:"clip"`

	Privacy client.PrivacyOptions `yaml:"privacy,omitempty"`

	Rounds        int           `yaml:"rounds"`
	CohortSize    int           `yaml:"cohort_size"`
	MinCohort     int           `yaml:"min_cohort"`
	RoundDeadline time.Duration `yaml:"round_deadline"`
	ProofLevel    fl.ProofLevel `yaml:"proof_level"`
	SampleCap     int64         `yaml:"sample_cap"`
	StepCap       int64         `yaml:"step_cap"`

	Trained client.TrainedOptions `yaml:"trained,omitempty"` // at proof level trained

	Budget int64    `yaml:"budget"`
	Rates  fl.Rates `yaml:"rates"`
	Seed   uint64   `yaml:"seed"`

	// Repeats trains with Seed, Seed+1, ...; Seeds with the listed ones.
	Repeats int      `yaml:"repeats,omitempty"`
	Seeds   []uint64 `yaml:"seeds,omitempty,flow"`
	Sweep   Sweep    `yaml:"sweep,omitempty"`

	Attacks []adversary.Spec `yaml:"attacks,omitempty"`
	// Demonstrations are attacks on privacy, whose results the report shows.
	Demonstrations Demonstrations `yaml:"demonstrations,omitempty"`

	Simulation Simulation `yaml:"simulation,omitempty"`
}

// Data names the rows of a simulation: either a set that the program knows, or
// files that follow the schema.
type Data struct {
	Set      string `yaml:"set,omitempty"`       // of datasets.BuiltinNames or download.Names
	File     string `yaml:"file,omitempty"`      // path from the experiment's folder
	TestFile string `yaml:"test_file,omitempty"` // of a schema that splits by file
}

// The ways to divide rows among clients.
const (
	ByIID       = "iid"       // shuffled and dealt evenly
	ByDirichlet = "dirichlet" // label skew: alpha, min_rows
	ByQuantity  = "quantity"  // sizes differ: alpha, min_rows
	ByLabels    = "labels"    // each client has rows of few classes: labels_each
	ByColumn    = "column"    // one client for each value of a column of the file
)

// Partition divides the training rows among virtual clients.
type Partition struct {
	Method     string  `yaml:"method,omitempty"`      // one of the By constants
	Clients    int     `yaml:"clients,omitempty"`     // all methods but column
	Alpha      float64 `yaml:"alpha,omitempty"`       // dirichlet, quantity
	MinRows    int     `yaml:"min_rows,omitempty"`    // dirichlet, quantity: default 1
	LabelsEach int     `yaml:"labels_each,omitempty"` // labels
	Column     string  `yaml:"column,omitempty"`      // column
	// HeldOut says where the test rows are: "server" (the default: clients
	// evaluate on their training rows) or "clients" (dealt evenly among them).
	HeldOut string  `yaml:"held_out,omitempty"`
	Seed    *uint64 `yaml:"seed,omitempty"` // default: that of the repeat
	Weak    Weak    `yaml:"weak,omitempty"`
}

// Weak says which clients carry, and train, only a part of a large model in a
// round, as nodes of that capability do. They are drawn by the seed.
type Weak struct {
	Fraction  float64 `yaml:"fraction"`   // of the clients, in (0, 1)
	MaxShards int     `yaml:"max_shards"` // ciphertexts that one carries, at least 1
}

// The places of held-out rows.
const (
	AtServer  = "server"
	AtClients = "clients"
)

// The fidelities of a simulation.
const (
	// Plain adds up the integers that ciphertexts would carry. Proof level
	// bounded is modelled by the same bounds that its circuit enforces.
	Plain = "plain"
	// Encrypted makes the ciphertexts, adds them and opens the sums by a
	// threshold committee.
	Encrypted = "encrypted"
	// Attested also proves and verifies every update.
	Attested = "attested"
)

// What a simulation does about a client whose training diverges.
const (
	StopRun = "stop"    // end the run, and say where
	Decline = "decline" // go on without its update, as a live federation does
)

// Simulation says how virtual clients are run.
type Simulation struct {
	Fidelity        string    `yaml:"fidelity,omitempty"`         // default plain
	Suite           string    `yaml:"suite,omitempty"`            // he suite: sizes and value range, default rlwe4096-d1-v1
	Workers         int       `yaml:"workers,omitempty"`          // clients at a time; 0: one a processor
	EvaluateEvery   int       `yaml:"evaluate_every,omitempty"`   // rounds between evaluations on the test rows; default 1
	CheckpointEvery int       `yaml:"checkpoint_every,omitempty"` // rounds; 0: about once a second
	OnDivergence    string    `yaml:"on_divergence,omitempty"`    // default stop
	Committee       Committee `yaml:"committee,omitempty"`
}

// Committee is the threshold committee of an encrypted simulation.
type Committee struct {
	Members   int `yaml:"members"`   // default 3
	Threshold int `yaml:"threshold"` // default 2
}

// defaults is a file in which nothing was said.
func defaults() File {
	return File{
		Strategy:      fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip:          fl.Clip{Value: 1},
		RoundDeadline: 5 * time.Minute,
		Rates:         fl.Rates{},
		Repeats:       0,
	}
}

// fill adds the defaults that depend on what was said.
func (f *File) fill() {
	if f.Rates == (fl.Rates{}) {
		f.Rates = fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}
	}
	s := &f.Simulation
	setDefault(&s.Fidelity, Plain)
	setDefault(&s.Suite, "rlwe4096-d1-v1")
	setDefault(&s.OnDivergence, StopRun)
	setDefault(&s.EvaluateEvery, 1)
	if s.Committee == (Committee{}) {
		s.Committee = Committee{Members: 3, Threshold: 2}
	}
	f.fillDemonstrations()
	setDefault(&f.Partition.HeldOut, AtServer)
	if m := f.Partition.Method; m == ByDirichlet || m == ByQuantity {
		setDefault(&f.Partition.MinRows, 1)
	}
}

func setDefault[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}
