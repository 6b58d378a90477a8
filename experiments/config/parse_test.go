package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"credence/datasets"
	"credence/experiments/config"
	"credence/fl"
	"credence/he"
	"credence/models"
	"credence/zk/trained"
)

func schema(t testing.TB, name string) *datasets.Schema {
	t.Helper()
	set, err := datasets.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return set.Schema
}

func parse(t testing.TB, text string) *config.Experiment {
	t.Helper()
	e, err := config.Parse("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestJobExampleIsAJob(t *testing.T) {
	o, notes, err := parse(t, config.JobExample).Live(schema(t, datasets.BreastCancer), "text")
	if err != nil {
		t.Fatal(err)
	}
	if o.Model.Inputs != 30 || o.Model.Classes != 2 || o.RoundDeadline != 120 || o.Rounds != 12 || o.Training.Optimizer != models.SGD || len(notes) != 0 {
		t.Errorf("got %+v, notes %q", o, notes)
	}
}

// The commented part of the example is a job at level trained: uncommented, it
// is one. It is none for a simulation.
func TestTrainedExample(t *testing.T) {
	_, part, found := strings.Cut(config.JobExample, "# trained:\n")
	if !found {
		t.Fatal("the example does not say how to choose level trained")
	}
	part, _, _ = strings.Cut(part, "\n\n")
	text := config.JobExample + "\npartition: {method: iid, clients: 4}\ntrained:\n" + strings.ReplaceAll(part, "#   ", "   ") + "\n"
	for old, by := range map[string]string{`proof_level: "" `: "proof_level: trained", "  epochs: 2": "  steps: 2", "schema: schema.yaml": "data: {set: breast-cancer}"} {
		text = strings.Replace(text, old, by, 1)
	}
	set := schema(t, datasets.BreastCancer)
	raw, err := set.YAML()
	if err != nil {
		t.Fatal(err)
	}
	e := parse(t, text)
	o, _, err := e.Live(set, string(raw))
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
	// The same terms are simulated.
	cells, err := e.Cells()
	if err != nil {
		t.Fatal(err)
	}
	file, err := cells[0].Fit(set)
	if err != nil {
		t.Fatal(err)
	}
	simulated, err := file.Proven(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	want := *spec.Trained
	if got := *simulated.Spec.Trained; !reflect.DeepEqual(got, want) {
		t.Errorf("a simulation proves %+v, a federation %+v", got, want)
	}
}

func TestExampleIsAnExperiment(t *testing.T) {
	e := parse(t, config.Example)
	cells, err := e.Cells()
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) != 4 || len(e.Repeats()) != 3 || cells[1].Setting != "partition.alpha=0.1 training.learning_rate=0.1" {
		t.Errorf("%d cells, seeds %v, second cell %q", len(cells), e.Repeats(), cells[1].Setting)
	}
	if cells[2].Partition.Alpha != 100 || cells[2].Training.LearningRate != 0.05 || cells[2].Job != "screening" {
		t.Errorf("the third cell is %+v", cells[2].File)
	}
}

const small = "job: a\nschema: s.yaml\nmodel: {kind: logistic}\ntraining: {learning_rate: 1, steps: 1}\nrounds: 1\n"

func TestDefaults(t *testing.T) {
	f := parse(t, small).File
	if f.Rates.Work != 700 || f.Strategy.Name != fl.FedAvg || f.Clip.Value != 1 || f.RoundDeadline != 5*time.Minute || f.Budget != 0 ||
		f.Simulation.Fidelity != config.Plain || f.Simulation.OnDivergence != config.StopRun || f.Partition.HeldOut != config.AtServer {
		t.Errorf("got %+v", f)
	}
}

// A file that is written out with its defaults reads as the same experiment.
func TestResolvedReadsBack(t *testing.T) {
	for _, text := range []string{small, config.Example, config.JobExample} {
		first, err := parse(t, text).YAML()
		if err != nil {
			t.Fatal(err)
		}
		second, err := parse(t, string(first)).YAML()
		if err != nil {
			t.Fatal(err)
		}
		if string(first) != string(second) {
			t.Errorf("first\n%s\nthen\n%s", first, second)
		}
	}
}

func TestRefusals(t *testing.T) {
	replace := func(old, by string) string {
		if !strings.Contains(config.Example, old) {
			t.Fatalf("the example has no %q", old)
		}
		return strings.Replace(config.Example, old, by, 1)
	}
	line := func(text string) string {
		before, _, _ := strings.Cut(config.Example, text)
		return fmt.Sprintf("line %d", strings.Count(before, "\n")+1)
	}
	after := func(text string, lines int) string {
		before, _, _ := strings.Cut(config.Example, text)
		return fmt.Sprint(strings.Count(before, "\n") + 1 + lines)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":              {"", "x.yaml: the file is empty; to start: credence experiment init, or credence job example"},
		"delta":              {replace("rounds: 12 ", "privacy:\n  epsilon: 2\n  min_honest: 2\n  delta: 2\nrounds: 12 "), "x.yaml: line " + after("rounds: 12 ", 3) + ": privacy: delta 2: want a number between 0 and 1"},
		"honest twice":       {replace("rounds: 12 ", "privacy: {epsilon: 2, delta: 1e-5}\nrounds: 12 "), line("rounds: 12 ") + ": privacy: want one of min_honest and honest_fraction"},
		"misspelt key":       {replace("repeats: 3", "repeat: 3"), "x.yaml: " + line("repeats: 3") + ": field repeat not found; what may stand there: credence experiment init"},
		"misspelt sub-key":   {replace("  clients: 10", "  client: 10"), line("  clients: 10") + ": field client not found"},
		"wrong type":         {replace("rounds: 12 ", "rounds: many"), line("rounds: 12 ") + ": cannot unmarshal !!str `many` into int; what may"},
		"not YAML":           {"job: [", "line 1: did not find expected node content"},
		"two documents":      {config.Example + "---\njob: b\n", `something follows after a line "---": one job or experiment a file`},
		"twice":              {config.Example + "seed: 6\n", `key "seed" is already defined at ` + line("seed: 5")},
		"anchor":             {replace("job: screening", "job: &a screening"), line("job: screening") + ": anchors and aliases are not understood here: write the value out"},
		"no name":            {replace("job: screening", ""), "job: missing: want a name"},
		"bad name":           {replace("job: screening", "job: Screening Day"), "want 1 to 63 characters"},
		"no rounds":          {replace("rounds: 12 ", "rounds: 0 "), line("rounds: 12") + ": rounds: 0: want 1 to 100000"},
		"deadline":           {replace("round_deadline: 2m", "round_deadline: 300ms"), line("round_deadline") + ": round_deadline: 300ms: want whole seconds"},
		"rates":              {replace("work: 700", "work: 701"), "sum to 1000"},
		"clip by shard":      {strings.Replace(replace("  name: fedavg", "  name: fednova\n  max_steps: 64"), "  norm: 0", "  norm: 1\n  per_shard: true", 1), "clip.per_shard does not go with fednova"},
		"clip":               {replace("  value: 1", "  value: -1"), line("clip:") + ": clip: value -1"},
		"strategy":           {replace("name: fedavg", "name: best"), line("strategy:") + `: strategy: name "best"`},
		"epochs and steps":   {replace("  epochs: 2", "  epochs: 2\n  steps: 3"), "exactly one"},
		"too large":          {strings.Repeat("#", config.MaxFile+1), "at most 1048576"},
		"cohort":             {replace("cohort_size: 0", "cohort_size: 20"), line("cohort_size: 0") + ": cohort_size: 20: there are 10 clients"},
		"cohort of one":      {replace("cohort_size: 0", "cohort_size: 1"), "cohort_size: 1: below the minimum cohort of 2"},
		"min cohort":         {replace("min_cohort: 0", "min_cohort: 11"), line("  clients: 10") + ": partition.clients: 10: a round needs at least 11"},
		"lonely":             {replace("min_cohort: 0", "min_cohort: 1"), "min_cohort: 1: want at least 2, or 0 for the federation's minimum"},
		"one client":         {replace("  clients: 10", "  clients: 1"), line("  clients: 10") + ": partition.clients: 1: want 2 to 100000"},
		"method":             {replace("method: dirichlet", "method: random"), line("method: dirichlet") + `: partition.method: "random": want iid, dirichlet, quantity, labels or column`},
		"alpha":              {replace("alpha: 0.5", "alpha: 0"), line("  alpha: 0.5") + ": partition.alpha: 0: want a number above 0; small is uneven"},
		"alpha of iid":       {replace("method: dirichlet", "method: iid"), line("  alpha: 0.5") + ": partition.alpha: belongs to dirichlet and quantity, not to iid"},
		"weak fraction":      {replace("min_rows: 10", "min_rows: 10\n  weak: {fraction: 1, max_shards: 1}"), "partition.weak: fraction 1: want a number above 0 and below 1"},
		"weak shards":        {replace("min_rows: 10", "min_rows: 10\n  weak: {fraction: 0.5, max_shards: 0}"), "partition.weak: max_shards 0: want the number of ciphertexts"},
		"data set":           {replace("  set: breast-cancer\n", "  set: minst\n"), line("  set: breast-cancer\n") + `: data.set: there is no data set "minst": want one of breast-cancer, digits, mnist, fashion-mnist, cifar-10, femnist`},
		"schema with a set":  {replace("repeats: 3", "repeats: 3\nschema: s.yaml"), "schema: data.set brings its own schema"},
		"file and no schema": {replace("  set: breast-cancer\n", "  file: rows.csv\n"), "data.file: a file needs a schema"},
		"seeds and repeats":  {replace("repeats: 3", "repeats: 3\nseeds: [1]"), line("repeats: 3") + ": repeats: repeats and seeds exclude each other"},
		"seed twice":         {replace("repeats: 3", "seeds: [1, 2, 1]"), line("repeats: 3") + ": seeds: 1 is listed twice"},
		"attack":             {replace("repeats: 3", "repeats: 3\nattacks: [{kind: bribe, fraction: 0.1}]"), `attack: kind "bribe": want one of label-flip`},
		"fidelity":           {replace("fidelity: plain", "fidelity: attested"), line("  fidelity: plain") + `: simulation.fidelity: attested updates carry proofs, and proof_level is "": want proof_level: bounded`},
		"encrypted, bounded": {strings.Replace(replace("fidelity: plain", "fidelity: encrypted"), `proof_level: ""`, "proof_level: bounded", 1), "simulation.fidelity: encrypted makes no proofs"},
		"suite":              {replace("suite: rlwe4096-d1-v1", "suite: rsa"), "simulation.suite: "},
		"divergence":         {replace("on_divergence: stop", "on_divergence: ignore"), `simulation.on_divergence: "ignore": want stop or decline`},
		"sweep value":        {replace("  partition.alpha: [0.1, 100]", "  partition.alpha: 0.1"), line("  partition.alpha") + ": sweep: partition.alpha: want a list of values, or names with values"},
		"sweep of settings":  {replace("  partition.alpha: [0.1, 100]", "  settings: {a: 1}"), line("  partition.alpha") + ": sweep: settings: want mappings of keys to values"},
		"sweep of a list":    {replace("sweep:\n  partition.alpha: [0.1, 100]\n  training.learning_rate: [0.05, 0.1]", "sweep: [1]"), "sweep: want keys with lists of values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("x.yaml", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.yaml: ") {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "config.") || strings.Contains(err.Error(), "fl.") {
				t.Errorf("the error names a Go type: %v", err)
			}
		})
	}
}

// What only a simulation needs is refused when a simulation is asked for.
func TestCellRefusals(t *testing.T) {
	with := func(more string) string {
		return "job: a\ndata: {set: digits}\npartition: {method: iid, clients: 300}\nmodel: {kind: softmax}\ntraining: {learning_rate: 1, steps: 1}\nrounds: 1\n" + more
	}
	for name, c := range map[string]struct{ text, want string }{
		"no data":                 {small, "x.yaml: data: missing: a simulation needs rows"},
		"no partition":            {strings.Replace(with(""), "partition: {method: iid, clients: 300}\n", "", 1), "partition: missing: a simulation divides its rows"},
		"cohort beyond the suite": {with("cohort_size: 300\n"), "x.yaml: line 7: cohort_size: 300: suite rlwe4096-d1-v1 adds up at most 256 updates; choose another under simulation.suite"},
		"unknown path":            {with("sweep:\n  strategy.nam: [a]\n"), "x.yaml: line 8: sweep: with strategy.nam=a: field nam not found"},
		"impossible combination":  {with("sweep:\n  partition.clients: [10, 1]\n"), "x.yaml: line 8: sweep: with partition.clients=1: partition.clients: 1: want 2 to 100000"},
		"the seed in settings":    {with("sweep:\n  settings: {a: {clip.value: 2, seed: 1}}\n"), "x.yaml: line 8: sweep: seed cannot be varied"},
		"training unproven":       {with("rates: {work: 600, timeliness: 100, committee: 150, operator: 50, training: 100}\n"), "x.yaml: line 7: rates.training: 100: pays proven training, at proof_level trained only"},
		"the seed":                {with("sweep:\n  seed: [1, 2]\n"), "x.yaml: line 8: sweep: seed cannot be varied"},
		"trained in vain":         {with("trained: {rows: 256}\n"), `x.yaml: line 7: trained: says what proof_level: trained proves, and proof_level is "": write proof_level: trained, or remove this section`},
		"trained at bounded":      {with("proof_level: bounded\ntrained: {}\n"), "x.yaml: line 8: trained: says what proof_level: trained proves, and proof_level is bounded"},
		"trained in no cell":      {with("trained: {rows: 256}\nsweep:\n  proof_level: [none, bounded]\n"), "x.yaml: line 7: trained: says what proof_level: trained proves, which no combination of the sweep has"},
		"trained varied in vain":  {with("sweep:\n  settings: {a: {proof_level: bounded, trained.rows: 256}}\n"), "x.yaml: line 8: sweep: with settings=a: trained: is varied where nothing is proven by it"},
		"privacy without a clip":  {with("privacy: {epsilon: 2, delta: 1e-5, min_honest: 2}\n"), "x.yaml: line 7: privacy needs clip.norm: the noise"},
		"privacy of fednova":      {with("clip: {value: 1, norm: 1}\nprivacy: {epsilon: 2, delta: 1e-5, min_honest: 2}\nstrategy: {name: fednova, max_steps: 9, server_learning_rate: 1, weighting: samples}\n"), "x.yaml: line 8: privacy does not go with fednova"},
		"privacy, early stop":     {strings.Replace(with("clip: {value: 1, norm: 1}\nprivacy: {epsilon: 2, delta: 1e-5, min_honest: 2}\n"), "steps: 1", "epochs: 2, early_stop: {patience: 1}", 1), "x.yaml: line 5: privacy does not go with early_stop"},
		"adaptive by shard":       {with("clip: {value: 1, norm: 1, per_shard: true}\nprivacy:\n  epsilon: 2\n  delta: 1e-5\n  min_honest: 2\n  adaptive: {quantile: 0.5, learning_rate: 0.2, count_noise: 3}\n"), "x.yaml: line 12: clip.per_shard does not go with privacy.adaptive"},
		"into a number":           {with("sweep:\n  clip.value.x: [1]\n"), "sweep: with clip.value.x=1: cannot unmarshal !!map into float64"},
		"a missing item":          {with("attacks: []\nsweep:\n  attacks.3.fraction: [0.1]\n"), `x.yaml: line 9: sweep: attacks.3.fraction: there is no "attacks.3" to vary`},
		"too much": {with("sweep:\n  clip.value: [" + strings.Repeat("1,", 200) + "1]\n  clip.norm: [" + strings.Repeat("1,", 200) + "1]\n"),
			"x.yaml: line 9: sweep: more than 10000 trainings: vary less"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, c.text).Cells(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A sweep may put whole sections in the place of others.
func TestSweepOverSections(t *testing.T) {
	e := parse(t, "job: a\ndata: {set: digits}\npartition: {method: iid, clients: 9}\nmodel: {kind: softmax}\ntraining: {learning_rate: 1, steps: 1}\nrounds: 1\n"+
		"sweep:\n  strategy: [{name: fedavg}, {name: fedprox, mu: 0.1}]\n  attacks: [[], [{kind: sign-flip, fraction: 0.2}]]\n")
	cells, err := e.Cells()
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) != 4 || cells[3].Strategy.Mu != 0.1 || len(cells[3].Attacks) != 1 || len(cells[2].Attacks) != 0 || cells[0].Strategy.Name != fl.FedAvg {
		t.Errorf("got %+v", cells)
	}
	if want := "strategy={name:fedprox,mu:0.1} attacks=[{kind:sign-flip,fraction:0.2}]"; cells[3].Setting != want {
		t.Errorf("setting %q, want %q", cells[3].Setting, want)
	}
	if cells[3].Strategy.Weighting != fl.WeightBySamples {
		t.Errorf("the defaults of a replaced section are gone: %+v", cells[3].Strategy)
	}
}

// Values may have names, and several keys may vary together.
func TestNamedSweep(t *testing.T) {
	text := "job: a\ndata: {set: digits}\npartition: {method: iid, clients: 9}\nmodel: {kind: softmax}\ntraining: {learning_rate: 1, steps: 1}\nrounds: 1\n" +
		"sweep:\n  settings:\n    none: {}\n    proof and clip: {proof_level: bounded, clip.norm: 3}\n  attacks: {nobody: [], flip: [{kind: label-flip, fraction: 0.2}]}\n"
	cells, err := parse(t, text).Cells()
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) != 4 || cells[3].Setting != "settings=proof and clip attacks=flip" || cells[3].Clip.Norm != 3 || cells[3].Clip.Value != 1 ||
		cells[3].ProofLevel != fl.ProofBounded || len(cells[3].Attacks) != 1 || cells[1].Clip.Norm != 0 {
		t.Errorf("got %+v", cells)
	}
}

// The same file is a job; what means nothing to a federation is said.
func TestLive(t *testing.T) {
	text := strings.Replace(strings.Split(config.Example, "# Train several times")[0], "rounds: 12", "rounds: 7", 1) + "attacks: [{kind: alie, fraction: 0.2}]\nsimulation: {workers: 2}\n"
	o, notes, err := parse(t, text).Live(schema(t, datasets.BreastCancer), "the schema")
	if err != nil {
		t.Fatal(err)
	}
	if o.Rounds != 7 || o.SchemaText != "the schema" || o.Model.Inputs != 30 || o.Seed != 5 {
		t.Errorf("got %+v", o)
	}
	if len(notes) != 4 || !strings.Contains(notes[1], "partition is left aside: the nodes have their own rows") {
		t.Errorf("notes %q", notes)
	}
	for key, more := range map[string]string{"sweep": "sweep: {clip.value: [1]}\n", "seeds": "seeds: [1]\n", "repeats": "repeats: 2\n"} {
		_, _, err := parse(t, text+more).Live(schema(t, datasets.BreastCancer), "")
		want := fmt.Sprintf("x.yaml: line %d: %s: a federation trains one job a file; remove this, or simulate it: credence experiment run x.yaml", strings.Count(text, "\n")+1, key)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for name, c := range map[string]struct{ more, want string }{
		"trained, level left open": {"trained: {rows: 256}\n", `x.yaml: line 6: trained: says what proof_level: trained proves, and proof_level is "": write`},
		"trained at bounded":       {"proof_level: bounded\ntrained: {rows: 256}\n", "x.yaml: line 7: trained: says what proof_level: trained proves, and proof_level is bounded: write"},
		"privacy without a clip":   {"privacy: {epsilon: 2, delta: 1e-5, min_honest: 2}\n", "x.yaml: line 6: privacy needs clip.norm"},
	} {
		if _, _, err := parse(t, small+c.more).Live(schema(t, datasets.BreastCancer), ""); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	_, _, err = parse(t, "job: a\nmodel: {kind: logistic}\ntraining: {learning_rate: 1, steps: 1}\nrounds: 1\n").Live(nil, "")
	if err == nil || err.Error() != "x.yaml: schema is missing: want the path of a schema.yaml" {
		t.Errorf("got %v", err)
	}
}

func TestModelMustFitItsSchema(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"inputs":  {strings.Replace(small, "kind: logistic", "kind: softmax, inputs: 30", 1), "x.yaml: line 3: model: it has 30 inputs and 10 classes"},
		"classes": {strings.Replace(small, "kind: logistic", "kind: softmax, classes: 2", 1), "the schema digits has 64 and 10; leave both out of the file"},
		"kind":    {small, "logistic separates exactly 2; use softmax for more"},
		"attack":  {strings.Replace(small, "logistic", "softmax", 1) + "attacks: [{kind: backdoor, fraction: 0.1, target: 10, trigger: [0]}]\n", "x.yaml: line 6: attack backdoor: target 10: the data have the classes 0 to 9"},
		"trigger": {strings.Replace(small, "logistic", "softmax", 1) + "attacks: [{kind: backdoor, fraction: 0.1, target: 1, trigger: [64]}]\n", "trigger feature 64: the data have the features 0 to 63"},
		"layers":  {strings.Replace(small, "logistic", "softmax", 1) + "strategy: {name: fedper, personal_layers: 1, server_learning_rate: 1, weighting: samples}\n", "x.yaml: line 6: strategy: personal_layers: models: a softmax has one layer"},
		"fedsgd":  {strings.Replace(small, "logistic", "softmax", 1) + "strategy: {name: fedsgd, server_learning_rate: 1, weighting: samples}\ntraining: {learning_rate: 0.1, steps: 1}\n", ""},
	} {
		if name == "fedsgd" {
			c.text = strings.Replace(c.text, "training: {learning_rate: 1, steps: 1}\n", "", 1)
			c.want = "training: fedsgd sends gradients"
		}
		if _, err := parse(t, c.text).Fit(schema(t, datasets.Digits)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// A megabyte of keys is refused before the YAML library compares them.
func TestWideMappingsAreRefusedFast(t *testing.T) {
	var wide strings.Builder
	for i := 0; wide.Len() < config.MaxFile-16; i++ {
		fmt.Fprintf(&wide, "k%d: 1\n", i)
	}
	started := time.Now()
	_, err := config.Parse("x.yaml", []byte(wide.String()))
	if err == nil || !strings.Contains(err.Error(), "keys: at most 4096") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(config.JobExample))
	f.Add([]byte(config.Example))
	f.Add([]byte(small))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("job: a\n---\njob: b"))
	f.Add([]byte("job: a\nsweep: {a.b.c: [1, [2], {x: y}]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := config.Parse("x.yaml", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x.yaml") {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		raw, err := e.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config.Parse("x.yaml", raw); err != nil {
			t.Errorf("what was accepted is refused when written out: %v\n%s", err, raw)
		}
		if cells, err := e.Cells(); err == nil && len(cells) == 0 {
			t.Error("an experiment without a cell")
		}
	})
}
