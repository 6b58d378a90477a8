package trained

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"credence/fl"
	"credence/he"
	"credence/zk"
	"credence/zk/tabular"
)

func suite(t *testing.T) *he.Suite {
	t.Helper()
	s, err := he.LookupSuite("insecure-rlwe64-d1-v1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spec is the smallest job: least squares on tables of four rows.
func spec() fl.JobSpec {
	return fl.JobSpec{
		Genesis: fl.Digest{1}, Job: "job", Owner: "lab", Parameters: 3, Clip: fl.Clip{Value: 1}, ProofLevel: fl.ProofTrained, SampleCap: 0,
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Trained: &fl.TrainedTerms{Kind: "linear", Features: 2, Outputs: 1, LearningRate: 0.1, Steps: 4, Seed: 3, Table: "r4-f2-b10-real1",
			TableSchema: fl.Digest{2}},
	}
}

func mustRead(t *testing.T, s fl.JobSpec) *Job {
	t.Helper()
	j, err := Read(s, suite(t))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func changed(change func(*fl.JobSpec, *fl.TrainedTerms)) fl.JobSpec {
	s := spec()
	change(&s, s.Trained)
	return s
}

func TestReadRefuses(t *testing.T) {
	mustRead(t, spec())
	for name, c := range map[string]struct {
		spec fl.JobSpec
		want string
	}{
		"another level":        {changed(func(s *fl.JobSpec, _ *fl.TrainedTerms) { s.ProofLevel = fl.ProofBounded }), "no training is to be proven"},
		"no terms":             {changed(func(s *fl.JobSpec, _ *fl.TrainedTerms) { s.Trained = nil }), "no training is to be proven"},
		"no steps":             {changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.Steps = 0 }), "steps"},
		"a model without name": {changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.Kind = "cnn" }), "kind"},
		"other parameters":     {changed(func(s *fl.JobSpec, _ *fl.TrainedTerms) { s.Parameters = 4 }), "4 parameters"},
		"no layout":            {changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.Table = "r4" }), "layout"},
		"a table of classes":   {changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.Table = "r4-f2-b10-binary" }), "targets"},
		"a rate off the grid":  {changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.LearningRate = 1e-9 }), "learning rate"},
		"a clip off the grid":  {changed(func(s *fl.JobSpec, _ *fl.TrainedTerms) { s.Clip.Value = 1e12 }), "clip"},
		"requirements in another spelling": {changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.Requirements = json.RawMessage(`{"numbers": []}`) }),
			"requirements"},
		"requirements of another table": {changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.Requirements = json.RawMessage(`{"numbers":[]}`) }), "layout refused"},
	} {
		_, err := Read(c.spec, suite(t))
		if !errors.Is(err, ErrTerms) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func document() fl.DatasetCommitment {
	return fl.DatasetCommitment{Genesis: fl.Digest{1}, Job: "job", JobSpec: fl.Digest{9}, Node: "alpha", ProofKeys: fl.Digest{3}, Rows: 3, Registration: fl.Digest{4}}
}

func TestCheckDocument(t *testing.T) {
	j := mustRead(t, spec())
	good := document()
	good.Spec = j.Table.Digest()
	if err := j.CheckDocument(fl.Digest{9}, "alpha", good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*fl.DatasetCommitment){
		"another federation": func(d *fl.DatasetCommitment) { d.Genesis = fl.Digest{8} },
		"another job":        func(d *fl.DatasetCommitment) { d.Job = "other" },
		"another version":    func(d *fl.DatasetCommitment) { d.JobSpec = fl.Digest{8} },
		"another node":       func(d *fl.DatasetCommitment) { d.Node = "beta" },
		"another table":      func(d *fl.DatasetCommitment) { d.Spec = fl.Digest{8} },
		"too many rows":      func(d *fl.DatasetCommitment) { d.Rows = 5 },
		"a validation that nobody asked for": func(d *fl.DatasetCommitment) {
			d.Validation = fl.Digest{8}
		},
	} {
		d := good
		change(&d)
		if err := j.CheckDocument(fl.Digest{9}, "alpha", d); !errors.Is(err, ErrDataset) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Weights follow from proven rows: as many as there are, up to the cap, or all
// the same.
func TestCheckWeight(t *testing.T) {
	plan := func(weight int64) fl.Plan {
		return fl.Plan{Cohort: []fl.Assignment{{Node: "alpha", Shards: []int{0}, Weight: weight}}, WeightUnit: 100}
	}
	for name, c := range map[string]struct {
		spec fl.JobSpec
		want int64
	}{
		"rows":    {spec(), 3},
		"capped":  {changed(func(s *fl.JobSpec, _ *fl.TrainedTerms) { s.SampleCap = 2 }), 2},
		"uniform": {changed(func(s *fl.JobSpec, _ *fl.TrainedTerms) { s.Strategy.Weighting = fl.WeightUniform }), 1},
	} {
		j := mustRead(t, c.spec)
		for weight := range int64(5) {
			if err := j.CheckWeight(plan(weight), document()); (err == nil) != (weight == c.want) {
				t.Errorf("%s: weight %d: %v, want %d", name, weight, err, c.want)
			}
		}
	}
	if err := mustRead(t, spec()).CheckWeight(fl.Plan{}, document()); !errors.Is(err, ErrDataset) {
		t.Errorf("a client that is not in the plan: %v", err)
	}
}

// A set-up is made once and read again; a job that needs more powers gets
// another, and keys of two set-ups do not go together.
func TestSetUp(t *testing.T) {
	store, err := zk.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	parts := changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.PartSteps = 2 })
	for name, s := range map[string]fl.JobSpec{"one proof": spec(), "two proofs": parts} {
		j := mustRead(t, s)
		first, err := j.SetUp(store, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := j.SetUp(store, nil)
		if err != nil {
			t.Fatal(err)
		}
		names := j.Circuits()
		if len(first) != len(names) || len(again) != len(names) {
			t.Fatalf("%s: %d and %d keys for %v", name, len(first), len(again), names)
		}
		doc := fl.ProofKeys{Setup: fl.SetupLocal}
		if missing := j.Missing(doc); len(missing) != len(names) {
			t.Errorf("%s: %v are missing of none", name, missing)
		}
		for i, k := range first {
			a, b := k.Manifest(), again[i].Manifest()
			if a.Shape != names[i] || a != b {
				t.Errorf("%s: keys %d are for %s and then %s, want %s twice", name, i, a.Shape, b.Shape, names[i])
			}
			doc.Circuits = append(doc.Circuits, a.Describe())
		}
		if len(j.Missing(doc)) != 0 || !j.SameKeys(doc, doc) {
			t.Errorf("%s: %v are missing of all", name, j.Missing(doc))
		}
		other := doc
		other.Circuits = append([]fl.CircuitKeys(nil), doc.Circuits...)
		other.Circuits[1].Manifest = fl.Digest{1}
		other.Circuits[1].SRS = fl.Digest{1}
		if missing := j.Missing(other); len(missing) != 1 || missing[0] != names[1] {
			t.Errorf("%s: %v are missing where one is of another set-up", name, missing)
		}
		if j.SameKeys(doc, other) {
			t.Errorf("%s: other keys are the same", name)
		}
		if _, err := j.Read(store, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	small := mustRead(t, spec())
	k, err := small.Read(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	large := mustRead(t, changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.Table = "r128-f2-b10-real1" }))
	more, err := large.SetUp(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	if more[0].SRS().ID() == k[0].SRS().ID() || more[0].SRS().Size() < 128*5 {
		t.Errorf("an SRS of %d powers for a table of %d cells", more[0].SRS().Size(), 128*5)
	}
	if _, err := small.Read(store, nil); !errors.Is(err, zk.ErrKeys) {
		t.Errorf("keys of two set-ups: %v", err)
	}
	if _, err := small.SetUp(store, nil); err != nil { // which makes them of one again
		t.Fatal(err)
	}
	if _, err := small.Read(store, nil); err != nil {
		t.Errorf("after another set-up: %v", err)
	}
}

// A job's requirements are proven beside the registration, and rows that do not
// meet them cannot be.
func TestRequirements(t *testing.T) {
	low, high := -1.0, 1.0
	requirements, err := json.Marshal(tabular.Requirements{Numbers: []tabular.NumberRequirements{{Min: &low, Max: &high}, {}, {}}})
	if err != nil {
		t.Fatal(err)
	}
	j := mustRead(t, changed(func(_ *fl.JobSpec, t *fl.TrainedTerms) { t.Requirements = requirements }))
	store, err := zk.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.SetUp(store, nil); err != nil {
		t.Fatal(err)
	}
	k, err := j.Load(store, func(string) (fl.Digest, error) { return fl.Digest{}, nil }, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	table, err := tabular.New(j.Table.Layout, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		table.SetFeature(i, 0, int64(i*100))
	}
	commitment, secret, err := k.Registration.SRS().CommitTable(table)
	if err != nil {
		t.Fatal(err)
	}
	d := Dataset{Document: document(), Table: table, Secret: secret}
	d.Document.Commitment, d.Document.Spec, d.Document.CommittedAt = commitment.Bytes(), j.Table.Digest(), time.Now()
	registration, validation, err := j.Prove(k, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.VerifyDataset(k, d.Document, registration, validation); err != nil {
		t.Fatal(err)
	}
	for name, proofs := range map[string][2][]byte{
		"the proofs exchanged":    {validation, registration},
		"one proof for both":      {registration, registration},
		"no validation":           {registration, nil},
		"a bit of the first":      {append([]byte{registration[0] ^ 1}, registration[1:]...), validation},
		"the second is truncated": {registration, validation[1:]},
	} {
		if err := j.VerifyDataset(k, d.Document, proofs[0], proofs[1]); !errors.Is(err, ErrDataset) {
			t.Errorf("%s: %v", name, err)
		}
	}
	table.SetFeature(1, 0, 257) // just beyond
	if commitment, d.Secret, err = k.Registration.SRS().CommitTable(table); err != nil {
		t.Fatal(err)
	}
	d.Document.Commitment = commitment.Bytes()
	if _, _, err := j.Prove(k, d); !errors.Is(err, tabular.ErrTable) {
		t.Errorf("rows beyond the requirements: %v", err)
	}
}
