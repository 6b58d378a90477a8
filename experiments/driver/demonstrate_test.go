package driver_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"credence/datasets"
	"credence/experiments/driver"
	"credence/experiments/report"
	"credence/experiments/results"
	"credence/experiments/runs"
)

const attackedText = `job: attacked
data: {set: digits}
partition: {method: iid, clients: 8}
model: {kind: softmax}
training: {learning_rate: 0.5, epochs: 1, batch_size: 16}
rounds: 2
clip: {value: 1, norm: 1}
seeds: [4, 9]
sweep:
  settings:
    open: {}
    private: {privacy: {noise_multiplier: 2, delta: 1.0e-5, min_honest: 4}, min_cohort: 4}
demonstrations:
  inversion: {trials: 4}
  membership: {targets: 8, others: 8, runs: 2, shadows: 4}
simulation: {checkpoint_every: 1}
`

func demonstrations(t *testing.T, dir string) []runs.Demonstration {
	t.Helper()
	f, err := runs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := f.Demonstrations()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Each setting is attacked once, with its first seed, in three views by three
// attacks; the same file gives the same figures, with any workers and over a stop.
func TestDemonstrations(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "whole")
	run(t, options(t, attackedText, dir))
	whole := demonstrations(t, dir)
	if len(whole) != 18 {
		t.Fatalf("%d rows: want 2 settings of 9", len(whole))
	}
	for _, d := range whole {
		noisy := d.View == "secure sum with noise"
		if d.Repeat != 0 || d.Seed != 4 || d.Clients != 8 || (d.Epsilon != nil) != noisy {
			t.Errorf("%+v", d)
		}
		if d.Attack == runs.AttackInversion && (len(d.Pictures) != 4 || d.View == "single update" && *d.Identified != 1) {
			t.Errorf("%d pictures, %v identified", len(d.Pictures), *d.Identified)
		}
	}
	if *whole[2].Epsilon <= *whole[11].Epsilon {
		t.Errorf("epsilon of noise 1 is %v, of a setting's own noise 2 %v", *whole[2].Epsilon, *whole[11].Epsilon)
	}

	// Stopped in the first round of the second setting: its attacks are kept.
	parts := filepath.Join(t.TempDir(), "parts")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := options(t, attackedText, parts)
	o.Workers = 1
	o.Report = func(p driver.Progress) {
		if p.Unit == 3 {
			cancel()
		}
	}
	if _, err := driver.Run(ctx, o); err == nil {
		t.Fatal("the run was not stopped")
	}
	notices := 0
	o = options(t, attackedText, parts)
	o.Resume, o.Notice = true, func(string) { notices++ }
	run(t, o)
	if diff := cmp.Diff(whole, demonstrations(t, parts)); diff != "" || notices != 0 {
		t.Errorf("%d notices of attacks in the second part; %s", notices, diff)
	}
}

// A file of one's own: classes have their names in the report, and of a table's row
// a table is shown.
func TestDemonstrationsOfOwnFile(t *testing.T) {
	set, err := datasets.Builtin(datasets.BreastCancer)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	schema, err := set.Schema.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var rows bytes.Buffer
	rows.WriteString(strings.Join(set.Table.Header, ",") + "\n")
	for _, r := range set.Table.Rows {
		rows.WriteString(strings.Join(r, ",") + "\n")
	}
	for name, text := range map[string][]byte{"s.yaml": schema, "rows.csv": rows.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.NewReplacer("data: {set: digits}", "data: {file: "+filepath.Join(dir, "rows.csv")+"}\nschema: "+filepath.Join(dir, "s.yaml"),
		"kind: softmax", "kind: logistic", "seeds: [4, 9]", "seed: 4", attackedText[strings.Index(attackedText, "sweep:"):strings.Index(attackedText, "demonstrations:")], "").Replace(attackedText)
	run(t, options(t, text, filepath.Join(dir, "run")))
	r, err := results.Load(filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := report.Write(&page, []*results.Run{r}, report.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{">malignant<", ">benign<", "A row and what is recovered of it", "mean radius", "What an attacker learns"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
}

func TestDemonstrationsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"one client a sum": {"private: {privacy: {noise_multiplier: 2, delta: 1.0e-5, min_honest: 4}, min_cohort: 4}", "groups: {cohort_size: 6, strategy: {name: fedavg, server_learning_rate: 1, weighting: uniform, robust: {rule: median, groups: 4}}}", "demonstrations: a sum of one client"},
		"too many targets": {"targets: 8, others: 8", "targets: 1000", "line 13: demonstrations: membership"},
		"too many others":  {"others: 8", "others: 800", "line 13: demonstrations: privacyattack"},
	} {
		o := options(t, strings.Replace(attackedText, c.old, c.new, 1), filepath.Join(t.TempDir(), "run"))
		if _, err := driver.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %q, got %v", name, c.want, err)
		}
		if _, err := os.Stat(o.Dir); err == nil {
			t.Errorf("%s: a folder was made", name)
		}
	}
}
