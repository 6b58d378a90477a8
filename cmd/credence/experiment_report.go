package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"credence/experiments/plots"
	"credence/experiments/report"
	"credence/experiments/results"
	"credence/experiments/runs"
)

// reportFile is where a report goes when nothing is said, in the run's folder.
const reportFile = "report.html"

func newExperimentReport(a *app) *cobra.Command {
	var out, plotDir string
	cmd := &cobra.Command{
		Use: "report RUN", Short: "Write a run's results as an HTML page", Args: cobra.ExactArgs(1),
		Long: `Writes what a run folder holds as one HTML page that needs no other file and
makes no request: learning curves with their spread over the seeds, fairness
between clients, communication, time, privacy, credits, the partition, the
configuration. It works while the run goes on, and is written over if it exists.

With --plots, curves and partition also go to a folder as PNG and SVG files.`,
		Example: `  credence experiment report runs/digits
  credence experiment report runs/digits --out digits.html --plots figures`,
		RunE: func(_ *cobra.Command, args []string) error {
			run, err := results.Load(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join(run.Dir, reportFile)
			}
			if err := writeReport(out, []*results.Run{run}, results.Metric{}); err != nil {
				return err
			}
			var files []string
			if plotDir != "" {
				if files, err = writePlots(plotDir, run); err != nil {
					return err
				}
			}
			a.result(map[string]any{"report": out, "plots": files}, func() {
				a.printf("Wrote %s: open it in a browser.\n", out)
				for _, f := range files {
					a.printf("Wrote %s.\n", f)
				}
			})
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write (default: report.html in the run's folder)")
	cmd.Flags().StringVar(&plotDir, "plots", "", "also write PNG and SVG figures to this folder")
	return cmd
}

func newExperimentCompare(a *app) *cobra.Command {
	var out, metric string
	cmd := &cobra.Command{
		Use: "compare RUN RUN...", Short: "Compare runs over their seeds", Args: cobra.MinimumNArgs(2),
		Long: `Compares the settings of two or more runs: the mean and standard deviation of a
metric's last value over the seeds, and how far each differs from the first
setting of the first run. Equal seeds are compared in pairs (paired t test),
others as independent samples (Welch's t test); p is corrected for the number of
comparisons (Holm). With few seeds this is a hint and no proof.`,
		Example: `  credence experiment compare runs/fedavg runs/scaffold
  credence experiment compare runs/a runs/b --metric test_loss --out both.html`,
		RunE: func(_ *cobra.Command, args []string) error {
			m, ok := results.MetricNamed(metric)
			if !ok {
				var names []string
				for _, x := range results.Metrics() {
					names = append(names, x.Name)
				}
				return usagef("--metric %q: want one of %s", metric, strings.Join(names, ", "))
			}
			var rs []*results.Run
			var groups []results.Group
			for _, dir := range args {
				r, err := results.Load(dir)
				if err != nil {
					return err
				}
				rs, groups = append(rs, r), append(groups, r.Groups...)
			}
			if out != "" {
				if err := writeReport(out, rs, m); err != nil {
					return err
				}
			}
			a.printComparison(groups, m, out)
			return nil
		},
	}
	cmd.Flags().StringVar(&metric, "metric", "test_accuracy", "column of metrics to compare by")
	cmd.Flags().StringVar(&out, "out", "", "also write a comparison as an HTML page")
	return cmd
}

// comparisonRow is one setting with --json; p and the interval are absent where
// nothing was tested.
type comparisonRow struct {
	Setting    string   `json:"setting"`
	Seeds      int      `json:"seeds"`
	Mean       *float64 `json:"mean"`
	Std        *float64 `json:"std"`
	Difference *float64 `json:"difference"`
	Low        *float64 `json:"low"`
	High       *float64 `json:"high"`
	Test       string   `json:"test,omitempty"`
	P          *float64 `json:"p"`
	Adjusted   *float64 `json:"p_adjusted"`
	Hint       string   `json:"hint"`
}

func (a *app) printComparison(groups []results.Group, m results.Metric, page string) {
	labels := results.Labels(groups)
	brief := results.Brief(labels, 44)
	t := table{head: []string{"Setting", ">Seeds", ">" + m.Title, ">Difference", ">p", "Hint"}}
	var rows []comparisonRow
	for i, d := range results.CompareAll(groups, m) {
		s := groups[i].Final(m)
		row := comparisonRow{Setting: labels[i], Seeds: s.N, Difference: number(d.Mean), Test: d.Test, P: number(d.P), Adjusted: number(d.Adjusted), Hint: d.Likely()}
		if s.N > 0 {
			row.Mean = &s.Mean
		}
		if s.N > 1 {
			row.Std = &s.Std
		}
		if d.Test != "" {
			row.Low, row.High = &d.Low, &d.High
		}
		rows = append(rows, row)
		cells := []string{brief[i], fmt.Sprint(s.N), "-", "-", "-", d.Likely()}
		if s.N > 0 {
			cells[2] = fmt.Sprintf("%.4g", s.Mean)
		}
		if s.N > 1 {
			cells[2] += fmt.Sprintf(" ± %.2g", s.Std)
		}
		if i > 0 && row.Difference != nil {
			cells[3] = fmt.Sprintf("%+.3g", d.Mean)
		}
		if row.Adjusted != nil {
			cells[4] = fmt.Sprintf("%.3g", d.Adjusted)
		}
		t.add(cells...)
	}
	caution := results.FewSeeds(groups)
	a.result(map[string]any{"metric": m.Name, "settings": rows, "caution": caution, "page": page}, func() {
		a.table("", t)
		a.printf("\n%s\n", folded(caution, 79))
		if page != "" {
			a.printf("Wrote %s: open it in a browser.\n", page)
		}
	})
}

func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func writeReport(path string, rs []*results.Run, m results.Metric) error {
	return writeWhole(path, func(w io.Writer) error {
		return report.Write(w, rs, report.Options{Version: runs.ThisMachine(time.Now()).Version, Metric: m})
	})
}

// writeWhole writes a file that is there whole or as it was before.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// plotted are the metrics that writePlots draws, where a run has them.
var plotted = []string{"test_accuracy", "test_loss", "train_loss", "epsilon", "attack_success"}

// writePlots draws a run's curves, a dozen settings a figure, and the partition
// of its first training.
func writePlots(dir string, run *results.Run) (files []string, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the folder for figures: %w", err)
	}
	save := func(name string, f *plots.Figure) error {
		for _, format := range []plots.Format{plots.PNG, plots.SVG} {
			path := filepath.Join(dir, name+"."+string(format))
			if err := writeWhole(path, func(w io.Writer) error { return f.Write(w, format) }); err != nil {
				return err
			}
			files = append(files, path)
		}
		return nil
	}
	labels := results.Labels(run.Groups)
	for _, name := range plotted {
		m, _ := results.MetricNamed(name)
		var series []plots.Series
		for i, g := range run.Groups {
			s := plots.Series{Name: labels[i]}
			for _, p := range g.Curve(m) {
				s.X, s.Y = append(s.X, float64(p.Round)), append(s.Y, p.Mean)
				s.Low, s.High = append(s.Low, p.Mean-p.Std), append(s.High, p.Mean+p.Std)
			}
			if len(s.X) > 0 {
				series = append(series, s)
			}
		}
		number := 1
		for some := range slices.Chunk(series, 12) {
			file := name
			if len(series) > 12 {
				file = fmt.Sprintf("%s-%d", name, number)
			}
			number++
			f, err := plots.Curves(plots.Axes{Title: run.Name, X: "round", Y: strings.ToLower(m.Title)}, some)
			if err == nil {
				err = save(file, f)
			}
			if err != nil {
				return files, err
			}
		}
	}
	_, counts := run.Groups[0].Trainings[0].Partition()
	if len(counts) == 0 {
		return files, nil // the first training goes on
	}
	f, err := plots.Partition(run.Name, report.ClassNames(run, counts), counts)
	if err == nil {
		err = save("partition", f)
	}
	return files, err
}
