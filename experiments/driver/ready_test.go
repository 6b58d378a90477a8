package driver_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"credence/experiments/config"
	"credence/experiments/driver"
)

var (
	roundsLine = regexp.MustCompile(`(?m)^rounds: \d+`)
	seedsLine  = regexp.MustCompile(`(?m)^seeds: .*$`)
)

// Every experiment that comes with the program runs, cut to one round and one
// seed. What they show is measured by hand: docs/benchmarks.md.
func TestReadyExperimentsRun(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "*.yaml"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d experiments, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			full, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := config.Parse(file, full); err != nil {
				t.Fatal(err)
			}
			if name := strings.TrimSuffix(filepath.Base(file), ".yaml"); !strings.Contains(string(full), "job: "+name+"\n") {
				t.Errorf("the job is not named after the file")
			}
			cut := seedsLine.ReplaceAllString(roundsLine.ReplaceAllString(string(full), "rounds: 1"), "seeds: [1]")
			e, err := config.Parse(file, []byte(cut))
			if err != nil {
				t.Fatal(err)
			}
			cells, err := e.Cells()
			if err != nil {
				t.Fatal(err)
			}
			o := driver.Options{Experiment: e, Text: []byte(cut), Dir: filepath.Join(t.TempDir(), "run"), ProofKeys: proofKeys}
			sum, err := driver.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if sum.Rounds != len(cells) {
				t.Errorf("%d rounds of %d cells", sum.Rounds, len(cells))
			}
		})
	}
}
