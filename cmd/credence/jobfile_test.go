package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"credence/datasets"
	"credence/fl"
	"credence/he"
	"credence/models"
	"credence/zk/trained"
)

func TestJobExampleIsAJob(t *testing.T) {
	f, err := parseJob("job.yaml", []byte(jobExample))
	if err != nil {
		t.Fatal(err)
	}
	set, err := datasets.Builtin(datasets.BreastCancer)
	if err != nil {
		t.Fatal(err)
	}
	o, err := f.options(set.Schema, "text")
	if err != nil {
		t.Fatal(err)
	}
	if o.Model.Inputs != 30 || o.Model.Classes != 2 || o.RoundDeadline != 120 || o.Rounds != 12 || o.Training.Optimizer != models.SGD {
		t.Errorf("got %+v", o)
	}
}

// The commented part of the example is a job at level trained: uncommented, it
// is one.
func TestTrainedJobExample(t *testing.T) {
	_, part, found := strings.Cut(jobExample, "# trained:\n")
	if !found {
		t.Fatal("the example does not say how to choose level trained")
	}
	part, _, _ = strings.Cut(part, "\n\n")
	text := jobExample + "\ntrained:\n" + strings.ReplaceAll(part, "#   ", "   ") + "\n"
	for old, by := range map[string]string{`proof_level: "" `: "proof_level: trained", "  epochs: 2": "  steps: 2"} {
		text = strings.Replace(text, old, by, 1)
	}
	f, err := parseJob("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	set, err := datasets.Builtin(datasets.BreastCancer)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := set.Schema.YAML()
	if err != nil {
		t.Fatal(err)
	}
	o, err := f.options(set.Schema, string(schema))
	if err != nil {
		t.Fatal(err)
	}
	spec, _, err := o.Draft(fl.Genesis{Suite: "rlwe4096-d1-v1"})
	if err != nil {
		t.Fatal(err)
	}
	suite, err := he.LookupSuite("rlwe4096-d1-v1")
	if err != nil {
		t.Fatal(err)
	}
	job, err := trained.Read(spec, suite)
	if err != nil {
		t.Fatal(err)
	}
	if job.Table.Layout.Rows != 256 || job.Requirements == nil {
		t.Errorf("a table of %s, requirements %v", job.Table.Layout.Name(), job.Requirements)
	}
}

func TestJobDefaults(t *testing.T) {
	f, err := parseJob("job.yaml", []byte("job: a\nschema: s.yaml\nmodel: {kind: logistic}\ntraining: {learning_rate: 1, steps: 1}\nrounds: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Rates.Work != 700 || f.Strategy.Name != fl.FedAvg || f.Clip.Value != 1 || f.RoundDeadline != 5*time.Minute || f.Budget != 0 {
		t.Errorf("got %+v", f)
	}
}

func TestJobFileRefusals(t *testing.T) {
	replace := func(old, by string) string { return strings.Replace(jobExample, old, by, 1) }
	line := func(text string) string {
		before, _, _ := strings.Cut(jobExample, text)
		return fmt.Sprintf("line %d", strings.Count(before, "\n")+1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {"", "is empty"},
		"unknown key":      {replace("seed: 5", "sead: 5"), line("seed: 5") + ": field sead not found"},
		"unknown sub-key":  {replace("  epochs: 2", "  epoch: 2"), line("  epochs: 2") + ": field epoch not found"},
		"wrong type":       {replace("rounds: 12 ", "rounds: many"), line("rounds: 12 ") + ": cannot unmarshal"},
		"not YAML":         {"job: [", "line 1"},
		"two documents":    {jobExample + "---\njob: b\n", "one job a file"},
		"twice":            {jobExample + "seed: 6\n", "already defined at " + line("seed: 5")},
		"no name":          {replace("job: screening", ""), "job is missing"},
		"bad name":         {replace("job: screening", "job: Screening Day"), "want 1 to 63 characters"},
		"no schema":        {replace("schema: schema.yaml", ""), "schema is missing"},
		"no rounds":        {replace("rounds: 12 ", "rounds: 0 "), "rounds: want at least 1"},
		"deadline":         {replace("round_deadline: 2m", "round_deadline: 300ms"), "round_deadline"},
		"rates":            {replace("work: 700", "work: 701"), "sum to 1000"},
		"clip":             {replace("  value: 1", "  value: -1"), "clip"},
		"strategy":         {replace("name: fedavg", "name: best"), "strategy"},
		"epochs and steps": {replace("  epochs: 2", "  epochs: 2\n  steps: 3"), "exactly one"},
		"too large":        {strings.Repeat("#", maxJobFile+1), "at most"},
	} {
		_, err := parseJob("job.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "job.yaml") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "main.") {
			t.Errorf("%s: the error names a Go type: %v", name, err)
		}
	}
}

func TestJobMustFitItsSchema(t *testing.T) {
	set, err := datasets.Builtin(datasets.Digits)
	if err != nil {
		t.Fatal(err)
	}
	for name, spec := range map[string]models.Spec{
		"inputs":  {Kind: models.Softmax, Inputs: 30},
		"classes": {Kind: models.Softmax, Classes: 2},
		"kind":    {Kind: models.Logistic}, // ten classes
	} {
		if _, err := (jobFile{Model: spec}).options(set.Schema, ""); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseJob(f *testing.F) {
	f.Add([]byte(jobExample))
	f.Add([]byte("job: a\nschema: s\nrounds: 1\nround_deadline: 1s\ntraining: {learning_rate: 1, epochs: 1}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("job: a\n---\njob: b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		job, err := parseJob("job.yaml", text)
		if err == nil && job.validate("job.yaml") != nil {
			t.Error("accepted what does not validate")
		}
	})
}
