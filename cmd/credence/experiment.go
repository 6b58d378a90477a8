package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"credence/experiments/config"
	"credence/experiments/driver"
	"credence/experiments/results"
)

func newExperiment(a *app) *cobra.Command {
	cmd := group("experiment", "Simulate federations (a researcher's commands)", `Trains virtual clients in this process by the rules of a live federation, with
every combination and seed that a file asks for, and keeps the results in a
folder. The same file is a job for a live federation.`)
	cmd.AddCommand(newExperimentInit(a), newExperimentRun(a), newExperimentReport(a), newExperimentCompare(a))
	return cmd
}

func newExperimentInit(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "init [FILE]", Short: "Write an experiment file with every key explained", Args: cobra.MaximumNArgs(1),
		Long: `Writes a complete experiment file to start from: to FILE, which must not exist,
or to standard output.`,
		Example: "  credence experiment init experiment.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				a.write(config.Example)
				return nil
			}
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("%s exists; choose another name, or remove it", args[0])
			}
			if err != nil {
				return fmt.Errorf("writing the experiment: %w", err)
			}
			_, err = f.WriteString(config.Example)
			if err := errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("writing the experiment: %w", err)
			}
			a.result(map[string]any{"file": args[0]}, func() {
				a.printf("Wrote %s.\nNext: credence experiment run %s\n", args[0], args[0])
			})
			return nil
		},
	}
}

// experimentOptions are the flags of a run.
type experimentOptions struct {
	dir       string
	resume    bool
	workers   int
	proofKeys string
}

func newExperimentRun(a *app) *cobra.Command {
	o := experimentOptions{}
	cmd := &cobra.Command{
		Use: "run FILE", Short: "Run an experiment", Args: cobra.ExactArgs(1),
		Long: `Trains every combination and seed of an experiment file and writes what comes
out to a new folder: the file, the environment, one row of metrics a round as
JSON lines and Parquet, one row a client, the last models.

Ctrl-C ends it within a client's work and keeps the rounds that were done. A run
that was stopped or killed goes on with --resume, to the same results.`,
		Example: `  credence experiment run experiment.yaml
  credence experiment run experiment.yaml --dir runs/second --workers 4
  credence experiment run experiment.yaml --resume`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.experiment(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "new folder for the results (default: runs/ and the experiment's name)")
	f.BoolVar(&o.resume, "resume", false, "go on with the stopped run in the folder")
	f.IntVar(&o.workers, "workers", 0, "clients at a time, over the file's simulation.workers")
	f.StringVar(&o.proofKeys, "proof-keys", "", "folder of proof keys for fidelity attested (default: in the user's cache)")
	return cmd
}

func (a *app) experiment(ctx context.Context, path string, o experimentOptions) error {
	if o.workers < 0 || o.workers > 1024 {
		return usagef("--workers %d: want 1 to 1024, or 0 for the file's", o.workers)
	}
	e, text, err := readExperiment(path)
	if err != nil {
		return err
	}
	if o.dir == "" {
		o.dir = driver.DefaultDir(e)
	}
	if o.proofKeys == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = os.TempDir()
		}
		o.proofKeys = filepath.Join(cache, "credence", "proof-keys")
	}
	p := &experimentProgress{app: a}
	sum, err := driver.Run(ctx, driver.Options{
		Experiment: e, Text: text, Dir: o.dir, Resume: o.resume, Workers: o.workers, ProofKeys: o.proofKeys,
		Report: p.round, Notice: a.warn,
	})
	a.progress("")
	if errors.Is(err, driver.ErrInterrupted) {
		a.warn(fmt.Sprintf("interrupted after %s, which are kept; go on with: credence experiment run %s --dir %s --resume", plural(sum.Rounds, "round"), path, o.dir))
	}
	if err != nil {
		return err
	}
	a.result(map[string]any{"event": "end", "dir": sum.Dir, "rounds": sum.Rounds}, func() {
		a.experimentTable(sum)
		a.printf("%s in %s\n", plural(sum.Rounds, "round"), sum.Dir)
	})
	return nil
}

// experimentProgress shows rounds as they are made: on a terminal one line that
// is redrawn, elsewhere a line now and then, with --json every row.
type experimentProgress struct {
	app   *app
	shown time.Time
}

// seldom is the time between two lines where nothing can be redrawn.
const seldom = 5 * time.Second

func (p *experimentProgress) round(x driver.Progress) {
	a := p.app
	if a.json {
		a.line(map[string]any{"event": "round", "row": x.Row, "rounds": x.Rounds, "of": x.Of})
		return
	}
	text := fmt.Sprintf("round %d of %d", x.Rounds, x.Of)
	if x.Units > 1 {
		text += fmt.Sprintf("  training %d of %d", x.Unit, x.Units)
	}
	if v := x.Row.TestAccuracy; v != nil {
		text += fmt.Sprintf("  accuracy %.4f", *v)
	}
	if v := x.Row.TrainLoss; v != nil {
		text += fmt.Sprintf("  loss %.4f", *v)
	}
	if x.Left > 0 && x.Rounds < x.Of {
		text += "  left " + x.Left.Round(time.Second).String()
	}
	if a.terminal {
		a.progress(clip(text, 79))
		return
	}
	if now := time.Now(); now.Sub(p.shown) >= seldom || x.Rounds == x.Of {
		p.shown = now
		a.printf("%s\n", text)
	}
}

// experimentTable prints the last round of each combination, over its seeds.
func (a *app) experimentTable(sum driver.Summary) {
	attacked := slices.ContainsFunc(sum.Units, func(u driver.UnitResult) bool { return u.Last.AttackSuccess != nil })
	t := table{head: []string{"Setting", ">Seeds", ">Test accuracy", ">Test loss"}}
	if attacked {
		t.head = append(t.head, ">Attack success")
	}
	settings := make([]string, 0, len(sum.Units))
	for i, u := range sum.Units {
		if i == 0 || u.Cell != sum.Units[i-1].Cell {
			settings = append(settings, u.Setting)
		}
	}
	settings = results.Brief(settings, 44)
	for i := 0; i < len(sum.Units); {
		begin := i
		var accuracy, loss, attack []float64
		first := sum.Units[i]
		for ; i < len(sum.Units) && sum.Units[i].Cell == first.Cell; i++ {
			accuracy = add(accuracy, sum.Units[i].Last.TestAccuracy)
			loss = add(loss, sum.Units[i].Last.TestLoss)
			attack = add(attack, sum.Units[i].Last.AttackSuccess)
		}
		setting := settings[0]
		settings = settings[1:]
		if setting == "" {
			setting = "-"
		}
		cells := []string{setting, fmt.Sprint(i - begin), overSeeds(accuracy), overSeeds(loss)}
		if attacked {
			cells = append(cells, overSeeds(attack))
		}
		t.add(cells...)
	}
	a.table("", t)
}

func add(v []float64, x *float64) []float64 {
	if x == nil {
		return v
	}
	return append(v, *x)
}

// overSeeds writes mean and sample standard deviation.
func overSeeds(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	mean, square := 0.0, 0.0
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		square += (x - mean) * (x - mean)
	}
	text := fmt.Sprintf("%.4g", mean)
	if len(v) > 1 {
		text += fmt.Sprintf(" ± %.2g", math.Sqrt(square/float64(len(v)-1)))
	}
	return text
}
