package config_test

import (
	"strings"
	"testing"

	"credence/experiments/config"
	"credence/models"
)

const demonstrated = "job: a\ndata: {set: digits}\npartition: {method: iid, clients: 4}\nmodel: {kind: softmax}\ntraining: {learning_rate: 1, steps: 1}\nrounds: 1\nclip: {value: 1, norm: 1}\n"

func TestDemonstrationDefaults(t *testing.T) {
	d := parse(t, demonstrated+"demonstrations: {inversion: {}, membership: {targets: 8}}\n").Demonstrations
	if d.NoiseMultiplier != 1 || d.Delta != 1e-5 || *d.Inversion != (config.Inversion{Trials: 20, Rows: 1, Pictures: 6}) ||
		*d.Membership != (config.Membership{Targets: 8, Runs: 6, Shadows: 24}) || !d.On() {
		t.Errorf("%+v, %+v, %+v", d, d.Inversion, d.Membership)
	}
	own := parse(t, demonstrated+"privacy: {epsilon: 5, delta: 1.0e-5, min_honest: 2}\ndemonstrations: {inversion: {trials: 2}}\n").Demonstrations
	if own.NoiseMultiplier != 0 || own.Delta != 0 || own.Membership != nil || own.Inversion.Pictures != 2 {
		t.Errorf("%+v, %+v", own, own.Inversion)
	}
	if parse(t, demonstrated).Demonstrations.On() {
		t.Error("demonstrations that nobody asked for")
	}
}

// Every mistake is named with its line: the eighth, where demonstrations are.
func TestDemonstrationRefusals(t *testing.T) {
	private := "privacy: {epsilon: 5, delta: 1.0e-5, min_honest: 2}\n"
	for _, c := range []struct{ file, want string }{
		{demonstrated + "demonstrations: {inversions: {}}\n", "x.yaml: line 8: field inversions not found"},
		{demonstrated + "demonstrations: {delta: 0.1}\n", "line 8: demonstrations: want inversion: {}"},
		{strings.Replace(demonstrated, ", norm: 1", "", 1) + "demonstrations: {inversion: {}}\n", "line 8: demonstrations: the sum with noise needs a bound"},
		{demonstrated + private + "demonstrations: {inversion: {}, noise_multiplier: 1}\n", "line 9: demonstrations: the noise is that of privacy"},
		{demonstrated + "demonstrations: {inversion: {}, noise_multiplier: -1}\n", "line 8: demonstrations.noise_multiplier: -1"},
		{demonstrated + "demonstrations: {inversion: {}, noise_multiplier: .nan}\n", "line 8: demonstrations.noise_multiplier: NaN"},
		{demonstrated + "demonstrations: {inversion: {}, delta: 1}\n", "line 8: demonstrations.delta: 1"},
		{demonstrated + "demonstrations: {inversion: {}}\nstrategy: {name: cyclic, server_learning_rate: 1, weighting: uniform}\n", "line 8: demonstrations: cyclic opens no sum"},
		{strings.Replace(demonstrated, "softmax", "cnn, conv: [{filters: 2, kernel: 3}], image: {height: 8, width: 8, channels: 1}", 1) + "demonstrations: {inversion: {}}\n", "line 8: demonstrations.inversion: it reads the first dense layer"},
		{demonstrated + "demonstrations: {inversion: {trials: 1001}}\n", "line 8: demonstrations.inversion.trials: 1001"},
		{demonstrated + "demonstrations: {inversion: {rows: -1}}\n", "line 8: demonstrations.inversion.rows: -1"},
		{demonstrated + "demonstrations: {inversion: {pictures: 13}}\n", "line 8: demonstrations.inversion.pictures: 13"},
		{demonstrated + "demonstrations: {inversion: {image: {height: 8, width: 8, channels: 1}}}\n", "line 8: demonstrations.inversion.image: data.set brings"},
		{strings.Replace(demonstrated, "data: {set: digits}", "data: {file: x.csv}\nschema: s.yaml", 1) + "demonstrations: {inversion: {image: {height: 0, width: 8, channels: 1}}}\n", "line 9: demonstrations.inversion.image: 0 x 8"},
		{demonstrated + "demonstrations: {membership: {targets: 7}}\n", "line 8: demonstrations.membership.targets: 7"},
		{demonstrated + "demonstrations: {membership: {others: -1}}\n", "line 8: demonstrations.membership.others: -1"},
		{demonstrated + "demonstrations: {membership: {runs: -1}}\n", "line 8: demonstrations.membership.runs: -1"},
		{demonstrated + "demonstrations: {membership: {shadows: 3}}\n", "line 8: demonstrations.membership.shadows: 3"},
	} {
		if _, err := config.Parse("x.yaml", []byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

func TestImageShape(t *testing.T) {
	for set, want := range map[string]models.Image{"digits": {Height: 8, Width: 8, Channels: 1}, "mnist": {Height: 28, Width: 28, Channels: 1}, "cifar-10": {Height: 32, Width: 32, Channels: 3}} {
		f := parse(t, strings.Replace(demonstrated, "set: digits", "set: "+set, 1)).File
		if got, err := f.Image(want.Height * want.Width * want.Channels); err != nil || got == nil || *got != want {
			t.Errorf("%s: %+v, %v", set, got, err)
		}
	}
	f := parse(t, strings.Replace(demonstrated, "data: {set: digits}", "data: {file: x.csv}\nschema: s.yaml", 1)+"demonstrations: {inversion: {image: {height: 2, width: 3, channels: 1}}}\n").File
	if got, err := f.Image(6); err != nil || got.Width != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := f.Image(7); err == nil {
		t.Error("an image of six values in rows of seven")
	}
	table := parse(t, strings.Replace(demonstrated, "set: digits", "set: breast-cancer", 1)).File
	if got, err := table.Image(30); got != nil || err != nil {
		t.Errorf("a table is an image: %+v, %v", got, err)
	}
}
