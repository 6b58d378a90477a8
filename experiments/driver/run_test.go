package driver_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"credence/experiments/config"
	"credence/experiments/driver"
	"credence/experiments/runs"
)

// proofKeys is a folder that all tests share: making keys takes seconds.
var proofKeys string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "driver-keys-*")
	if err != nil {
		panic(err)
	}
	proofKeys = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil {
			panic(err)
		}
		os.Exit(code)
	}))
}

const text = `job: small
data: {set: breast-cancer}
partition: {method: dirichlet, clients: 6, alpha: 0.5, min_rows: 4}
model: {kind: logistic}
training: {learning_rate: 0.1, epochs: 1, batch_size: 16}
rounds: 3
cohort_size: 4
budget: 300
seeds: [4, 9]
attacks: [{kind: backdoor, fraction: 0.2, target: 1, trigger: [0, 1], value: 3}]
sweep:
  strategy: [{name: fedavg}, {name: scaffold, variate_clip: 1, weighting: uniform}]
simulation: {suite: insecure-rlwe64-d1-v1, evaluate_every: 2, checkpoint_every: 1}
`

func options(t *testing.T, text, dir string) driver.Options {
	t.Helper()
	e, err := config.Parse("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return driver.Options{Experiment: e, Text: []byte(text), Dir: dir, ProofKeys: proofKeys}
}

func run(t *testing.T, o driver.Options) driver.Summary {
	t.Helper()
	sum, err := driver.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// contents is what a run leaves, without the times.
type contents struct {
	State   runs.State
	Units   []runs.Unit
	Rounds  []runs.Round
	Clients []runs.Client
	Models  []string
}

func read(t *testing.T, dir string) contents {
	t.Helper()
	f, err := runs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var c contents
	var errs [4]error
	c.State, errs[0] = f.State()
	c.Units, errs[1] = f.Units()
	c.Rounds, errs[2] = f.Rounds()
	c.Clients, errs[3] = f.Clients()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for _, u := range c.Units {
		model, err := os.ReadFile(f.ModelPath(u))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		c.Models = append(c.Models, string(model))
	}
	return c
}

var withoutTimes = cmp.Options{
	cmpopts.IgnoreFields(runs.Round{}, "Seconds", "SecondsTrain", "SecondsEncrypt", "SecondsProve", "SecondsVerify", "SecondsDecrypt"),
	cmpopts.IgnoreFields(runs.Client{}, "SecondsTrain"),
}

func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	sum := run(t, options(t, text, dir))
	c := read(t, dir)
	if sum.Rounds != 12 || len(sum.Units) != 4 || c.State.State != runs.Done || c.State.Rounds != 12 || len(c.Rounds) != 12 || len(c.Clients) != 24 {
		t.Fatalf("%d rounds, state %+v, %d rows, %d clients", sum.Rounds, c.State, len(c.Rounds), len(c.Clients))
	}
	for i, r := range c.Rounds {
		u := c.Units[i/3]
		if r.Run != "small" || r.Cell != u.Cell || r.Setting != u.Setting || r.Seed != u.Seed || r.Repeat != u.Repeat || r.Round != i%3+1 {
			t.Errorf("row %d is %+v of unit %+v", i, r, u)
		}
		if evaluated := r.Round >= 2; (r.TestAccuracy != nil) != evaluated || (r.AttackSuccess != nil) != evaluated {
			t.Errorf("round %d: test accuracy %v, attack success %v", r.Round, r.TestAccuracy, r.AttackSuccess)
		}
		if r.Cohort != 4 || r.Clients != 4 || r.ClientAccuracy == nil || r.AccuracyMin == nil || *r.AccuracyMin > *r.AccuracyMedian || r.Credits != 80 || r.BytesUp == 0 || r.Epsilon != nil {
			t.Errorf("row %d: %+v", i, r)
		}
	}
	if c.Units[1].Seed != 9 || c.Units[2].Setting != "strategy={name:scaffold,variate_clip:1,weighting:uniform}" || c.Units[1].Partition != 9 {
		t.Errorf("units %+v", c.Units)
	}
	var rows, backdoors int
	for _, x := range c.Clients[:6] {
		rows += x.Samples
		if x.Attack == "backdoor" {
			backdoors++
		}
		if x.Labels[0]+x.Labels[1] != int64(x.Samples) || x.Accuracy == nil {
			t.Errorf("client %+v", x)
		}
	}
	if rows != 455 || backdoors != 1 {
		t.Errorf("%d rows, %d malicious clients", rows, backdoors)
	}
}

// A run that was interrupted, or killed, at any round goes on to the same rows
// and the same models.
func TestResume(t *testing.T) {
	base := t.TempDir()
	whole := filepath.Join(base, "whole")
	run(t, options(t, text, whole))
	want := read(t, whole)
	for _, stop := range []int{1, 3, 5, 11} {
		dir, killed := filepath.Join(base, "stopped", string(rune('a'+stop))), filepath.Join(base, "killed", string(rune('a'+stop)))
		ctx, cancel := context.WithCancel(t.Context())
		o := options(t, text, dir)
		o.Workers = 1 + stop%3
		o.Report = func(p driver.Progress) {
			if p.Rounds == stop {
				if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
					t.Error(err)
				}
				cancel()
			}
		}
		_, err := driver.Run(ctx, o)
		cancel()
		if !errors.Is(err, driver.ErrInterrupted) {
			t.Fatalf("stopped at %d: got %v", stop, err)
		}
		if got := read(t, dir); got.State.State != runs.Stopped || got.State.Reason != "interrupted" || len(got.Rounds) != stop {
			t.Errorf("stopped at %d: state %+v, %d rows", stop, got.State, len(got.Rounds))
		}
		if _, err := os.Stat(filepath.Join(dir, runs.MetricsParquet)); err != nil {
			t.Errorf("a stopped run has no Parquet: %v", err)
		}
		for _, d := range []string{dir, killed} {
			o := options(t, text, d)
			o.Resume = true
			run(t, o)
			got := read(t, d)
			if diff := cmp.Diff(want, got, withoutTimes); diff != "" {
				t.Errorf("%s after round %d:\n%s", d, stop, diff)
			}
		}
	}
}

// Fidelity is a matter of cost: rows and models are the same.
func TestFidelities(t *testing.T) {
	one := strings.NewReplacer("seeds: [4, 9]", "seed: 4\nproof_level: bounded", "sweep:\n  strategy: [{name: fedavg}, {name: scaffold, variate_clip: 1, weighting: uniform}]\n", "").Replace(text)
	base := t.TempDir()
	var want contents
	for _, fidelity := range []string{"plain", "attested"} {
		dir := filepath.Join(base, fidelity)
		run(t, options(t, strings.Replace(one, "simulation: {", "simulation: {fidelity: "+fidelity+", ", 1), dir))
		got := read(t, dir)
		for i := range got.Rounds {
			if r := got.Rounds[i]; (r.SecondsProve > 0) != (fidelity == "attested") || (r.SecondsEncrypt > 0) != (fidelity == "attested") {
				t.Errorf("%s: %+v", fidelity, r)
			}
		}
		got.State.Config = ""
		if want.Rounds == nil {
			want = got
		}
		if diff := cmp.Diff(want, got, withoutTimes); diff != "" {
			t.Errorf("%s:\n%s", fidelity, diff)
		}
	}
}

func wantError(t *testing.T, o driver.Options, want string) {
	t.Helper()
	_, err := driver.Run(t.Context(), o)
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestBadInput(t *testing.T) {
	base := t.TempDir()
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }
	dir := filepath.Join(base, "a")

	// Refused before there is a folder.
	wantError(t, options(t, replace("clients: 6", "clients: 200"), dir),
		"x.yaml: line 3: partition: datasets: 455 rows cannot give 200 clients at least 4 each: ask for fewer clients or a smaller minimum (both at least 1) (with strategy={name:fedavg})")
	wantError(t, options(t, replace("kind: logistic", "kind: logistic, inputs: 4"), dir),
		"x.yaml: line 11: sweep: with strategy={name:fedavg}: model: it has 4 inputs and 2 classes, the schema breast-cancer has 30 and 2; leave both out of the file")
	wantError(t, options(t, replace("fraction: 0.2", "fraction: 0.01"), dir),
		"x.yaml: line 11: sweep: with strategy={name:fedavg}: attack backdoor: a fraction of 0.01 of 6 clients is nobody: raise it")
	wantError(t, options(t, replace("{name: fedavg}, ", "{name: fedsgd}, "), dir),
		"x.yaml: line 11: sweep: with strategy={name:fedsgd}: training: fedsgd sends gradients: want optimizer sgd, learning_rate 1 without a schedule, epochs 1 and no batch_size; the step's size is strategy.server_learning_rate")
	single := replace("seeds: [4, 9]", "seed: 4", "sweep:\n  strategy: [{name: fedavg}, {name: scaffold, variate_clip: 1, weighting: uniform}]\n", "strategy: {name: fedbuff, buffer: 9}\n")
	wantError(t, options(t, single, dir), "x.yaml: line 11: strategy: fedbuff: 6 clients never fill a buffer of 9: a client has one update in it")
	wantError(t, options(t, strings.Replace(single, "fedbuff, buffer: 9", "fedper, personal_layers: 1", 1), dir),
		"x.yaml: line 11: strategy: personal_layers: models: a logistic has one layer, so none can stay apart as the last: want a model of at least two, such as an mlp")
	wantError(t, options(t, strings.Replace(single, "{name: fedbuff, buffer: 9}", "{name: fedsgd}", 1), dir),
		"x.yaml: line 5: training: fedsgd sends gradients: want optimizer sgd, learning_rate 1 without a schedule, epochs 1 and no batch_size; the step's size is strategy.server_learning_rate")
	// Without a sweep, the line is that of what does not fit.
	alone := func(model, more string) string {
		return "job: alone\ndata: {set: breast-cancer}\npartition: {method: iid, clients: 6}\nmodel: {kind: " + model + "}\ntraining: {learning_rate: 0.1, epochs: 1}\nrounds: 1\n" + more
	}
	for _, c := range []struct{ text, want string }{
		{alone("cnn", ""), "x.yaml: line 4: models: specification: a cnn needs an image shape and at least one conv layer, such as image: {height: 28, width: 28, channels: 1}, conv: [{filters: 8, kernel: 3}]"},
		{alone("logistic", "strategy: {name: fedsgd}\n"), "x.yaml: line 5: training: fedsgd sends gradients"},
		{alone("logistic", "attacks: [{kind: backdoor, fraction: 0.2, target: 2, trigger: [0], value: 3}]\n"), "x.yaml: line 7: attack backdoor"},
		{alone("logistic", "attacks: [{kind: sign-flip, fraction: 0.01}]\n"), "x.yaml: line 7: attack sign-flip: a fraction of 0.01 of 6 clients is nobody"},
		{alone("logistic", "privacy: {epsilon: 2, delta: 1e-5, min_honest: 2}\n"), "x.yaml: line 7: privacy needs clip.norm"},
		{alone("logistic", "clip: {value: 1, norm: 1}\nprivacy:\n  epsilon: 2\n  delta: 1e-5\n  min_honest: 3\n"), "x.yaml: line 11: privacy: min_honest 3: want 1 to the minimum cohort, 2"},
		{alone("logistic", "clip: {value: 1, norm: 1}\nprivacy:\n  epsilon: 2\n  delta: 1e-5\n  min_honest: 2\n  noise_multiplier: 0.5\n"), "x.yaml: line 12: privacy: 1 rounds with noise multiplier 0.5 spend epsilon"},
	} {
		o := options(t, c.text, dir)
		if _, err := driver.Run(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	// What a federation cannot prove, a simulation does not pretend to.
	proven := replace("cohort_size: 4\n", "", "rounds: 3", "proof_level: trained\ntrained: {rows: 256}\nrounds: 3", "epochs: 1", "steps: 2",
		"  strategy: [{name: fedavg}, {name: scaffold, variate_clip: 1, weighting: uniform}]\n", "", "sweep:\n", "")
	for by, want := range map[string]string{
		"strategy: {name: fedprox, mu: 0.1}":                                   "job: proof level trained cannot prove the local training of strategy fedprox: choose fedavg, fedsgd, fedavgm, fedadagrad, fedyogi, fedadam or cyclic",
		"strategy: {robust: {rule: median, groups: 3}}":                        "job: proof level trained does not go with robust groups: choose one of the two",
		"clip: {norm: 1}\nprivacy: {epsilon: 2, min_honest: 2, delta: 1.0e-5}": "job: proof level trained does not go with noise for differential privacy, which changes the values that are proven: choose one of the two",
	} {
		wantError(t, options(t, strings.Replace(proven, "budget: 300", by+"\nbudget: 300", 1), dir), "x.yaml: line 6: proof_level: "+want)
	}
	wantError(t, options(t, strings.Replace(proven, "steps: 2", "steps: 2, optimizer: adam", 1), dir),
		"x.yaml: line 6: proof_level: models: no proof of training for this: optimizer adam: want plain sgd, with a learning rate, epochs or steps, a batch size and a seed and nothing else")
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused experiment left a folder: %v", err)
	}

	// Found while training: it stops, says where, and keeps what was done.
	wild := replace("learning_rate: 0.1", "learning_rate: 1e38", "seeds: [4, 9]", "seed: 4", "attacks: [{kind: backdoor, fraction: 0.2, target: 1, trigger: [0, 1], value: 3}]\n", "")
	o := options(t, wild, dir)
	_, err := driver.Run(t.Context(), o)
	if err == nil || !strings.HasPrefix(err.Error(), "strategy={name:fedavg}, seed 4: simulation: round 1: client client-") ||
		!strings.Contains(err.Error(), "training diverged at step") || !strings.HasSuffix(err.Error(), "; 0 of 6 rounds are kept in "+dir) {
		t.Errorf("got %v", err)
	}
	if c := read(t, dir); c.State.State != runs.Failed || c.State.Reason != err.Error() {
		t.Errorf("state %+v", c.State)
	}

	// A folder that is taken, a file that was changed.
	dir = filepath.Join(base, "b")
	run(t, options(t, text, dir))
	wantError(t, options(t, text, dir), dir+" exists and holds a finished run; choose another with --dir, or remove it")
	dir = filepath.Join(base, "c")
	ctx, cancel := context.WithCancel(t.Context())
	o = options(t, text, dir)
	o.Report = func(driver.Progress) { cancel() }
	if _, err := driver.Run(ctx, o); !errors.Is(err, driver.ErrInterrupted) {
		t.Fatal(err)
	}
	changed := options(t, replace("rounds: 3", "rounds: 4"), dir)
	changed.Resume = true
	wantError(t, changed, "x.yaml: line 6 differs from "+filepath.Join(dir, "config.yaml")+", with which this run began: a run goes on only with the same file; start a new one with another --dir")
}

// Progress counts every round, and says how long is left once it can tell.
func TestProgress(t *testing.T) {
	var seen []int
	o := options(t, text, filepath.Join(t.TempDir(), "a"))
	o.Report = func(p driver.Progress) {
		seen = append(seen, p.Rounds)
		if p.Of != 12 || p.Units != 4 || p.Unit != (p.Rounds-1)/3+1 || (p.Left == 0) != (p.Rounds == 12) {
			t.Errorf("got %+v", p)
		}
	}
	run(t, o)
	if !slices.IsSorted(seen) || len(seen) != 12 {
		t.Errorf("got %v", seen)
	}
}
