package client

import (
	"errors"
	"os"
	"strings"
	"testing"

	"credence/fl"
)

// TestDatasetPins: a member holds every client of a job to the commitment of
// the first round, across restarts, and each job by itself.
func TestDatasetPins(t *testing.T) {
	dir := t.TempDir()
	spec, other := fl.Digest{1}, fl.Digest{2}
	first, second := fl.Digest{10}, fl.Digest{11}
	type round = map[fl.NodeID]fl.Digest
	for _, step := range []struct {
		name    string
		spec    fl.Digest
		round   round
		refused bool
	}{
		{"the first round", spec, round{"alpha": first}, false},
		{"the next one", spec, round{"alpha": first}, false},
		{"other data, beside a newcomer", spec, round{"alpha": second, "aaron": second, "beta": first}, true},
		{"the newcomer was not held in the refused round", spec, round{"aaron": first, "beta": second}, false},
		{"a client that was away a round", spec, round{"alpha": second}, true},
		{"the newcomer is held now", spec, round{"beta": first}, true},
		{"the data of before again", spec, round{"alpha": first, "beta": second}, false},
		{"another job", other, round{"alpha": second}, false},
		{"which holds by itself", other, round{"alpha": first}, true},
	} {
		// Every step opens the folder anew, as a node that was killed does.
		err := datasetPins{dir}.hold("screening", step.spec, step.round)
		if errors.Is(err, ErrOtherDataset) != step.refused || err != nil && !step.refused {
			t.Fatalf("%s: %v", step.name, err)
		}
		if err == nil {
			continue
		}
		for _, want := range []string{"screening", first.Short(), second.Short(), "new job"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", step.name, err, want)
			}
		}
	}
	info, err := os.Stat(datasetPins{dir}.path(spec))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of pins: %v, %v", info, err)
	}
}

// TestDamagedPins: a member that cannot read its memory opens nothing.
func TestDamagedPins(t *testing.T) {
	digest := fl.Digest{7}.String()
	for name, raw := range map[string]string{
		"empty":            "",
		"no client":        "{}",
		"nothing":          "null",
		"cut short":        `{"alpha":"` + digest,
		"more after it":    `{"alpha":"` + digest + `"}{}`,
		"a zero digest":    `{"alpha":"` + fl.Digest{}.String() + `"}`,
		"no name":          `{"":"` + digest + `"}`,
		"one client twice": `{"alpha":"` + fl.Digest{8}.String() + `","alpha":"` + digest + `"}`,
		"white space":      `{"alpha": "` + digest + `"}`,
	} {
		p := datasetPins{t.TempDir()}
		if err := os.WriteFile(p.path(fl.Digest{1}), []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		err := p.hold("screening", fl.Digest{1}, map[fl.NodeID]fl.Digest{"alpha": {7}})
		if err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodePins(f *testing.F) {
	f.Add([]byte(`{"alpha":"` + fl.Digest{7}.String() + `"}`))
	f.Add([]byte(`{"alpha":""}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		held, err := decodePins(raw)
		if err == nil && len(held) == 0 {
			t.Error("no client was read without an error")
		}
	})
}
