package runs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The line of docs/experiments.md reads a run's rows in pandas, with the columns
// that the package's documentation lists.
func TestPandas(t *testing.T) {
	python := os.Getenv("CREDENCE_PYTHON")
	if python == "" {
		t.Skip("set CREDENCE_PYTHON to a Python with pandas and pyarrow (.ci/run does)")
	}
	dir := filepath.Join(t.TempDir(), "run")
	w, err := Create(dir, Start{Config: []byte("job: x\n"), Environment: ThisMachine(time.Now()), Units: []Unit{{Seed: 1}}, Rounds: 2})
	if err != nil {
		t.Fatal(err)
	}
	a := 0.75
	for _, r := range []Round{{Run: "x", Setting: "s=1", Round: 1}, {Run: "x", Setting: "s=1", Repeat: 1, Seed: 1<<64 - 1, Round: 1, TestAccuracy: &a}} {
		if err := w.AddRound(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AddClients([]Client{{Client: "c", Labels: []int64{3, 4}, Accuracy: &a}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(Done, ""); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, "-c", `
import sys
import pandas as pd
run = sys.argv[1]
table = pd.read_parquet(f"{run}/metrics.parquet").groupby(["setting", "round"]).test_accuracy.agg(["mean", "std"])
m, c = pd.read_parquet(f"{run}/metrics.parquet"), pd.read_parquet(f"{run}/clients.parquet")
lines = pd.read_json(f"{run}/metrics.jsonl", lines=True)
print(len(m), sorted(lines.columns) == sorted(m.columns), m.test_accuracy.isna().sum(), int(m.seed[1]), table.loc[("s=1", 1), "mean"], list(c.labels[0]), c.accuracy[0])
`, dir).CombinedOutput()
	if want := "2 True 1 18446744073709551615 0.75 [3, 4] 0.75"; err != nil || strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(string(out)), "np.int64(", ""), ")", "") != want {
		t.Errorf("got %s, %v; want %s", out, err, want)
	}
}
