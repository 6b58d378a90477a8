package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"credence/datasets"
	"credence/datasets/download"
	"credence/fl"
)

func newDataset(a *app) *cobra.Command {
	cmd := group("dataset", "Fetch and look at data sets", `Public data sets for experiments, and files of one's own. Two small sets are
built in; others are fetched into a cache once, and their bytes checked.`)
	cmd.AddCommand(newDatasetList(a), newDatasetFetch(a), newDatasetInfo(a), newDatasetPreview(a))
	return cmd
}

// cacheFlag adds --cache.
func cacheFlag(cmd *cobra.Command, cache *string) {
	cmd.Flags().StringVar(cache, "cache", "", "folder of data sets (default: CREDENCE_DATASETS, or in the user's cache)")
}

func cacheOr(dir string) string {
	if dir == "" {
		return download.Cache()
	}
	return dir
}

// datasetRow is one set of the list.
type datasetRow struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	Rows     int    `json:"rows,omitempty"`
	Features int    `json:"features"`
	Classes  int    `json:"classes"`
	Where    string `json:"where"` // built in, fetched, to fetch, by hand
}

func newDatasetList(a *app) *cobra.Command {
	var cache string
	cmd := &cobra.Command{
		Use: "list", Short: "List the data sets that have names", Args: cobra.NoArgs,
		Long:    "Lists the data sets that an experiment's data.set can name, and whether they\nare there.",
		Example: "  credence dataset list",
		RunE: func(*cobra.Command, []string) error {
			cache = cacheOr(cache)
			var rows []datasetRow
			for _, name := range datasets.BuiltinNames() {
				set, err := datasets.Builtin(name)
				if err != nil {
					return err
				}
				rows = append(rows, datasetRow{name, set.Schema.Name, set.Train.Rows + set.Test.Rows, set.Train.Features, set.Train.Classes, "built in"})
			}
			for _, s := range download.Sets() {
				rows = append(rows, datasetRow{s.Name, s.Title, s.Rows, s.Features, s.Classes, s.Whereabouts(cache)})
			}
			a.result(map[string]any{"cache": cache, "sets": rows}, func() {
				t := table{head: []string{"Name", ">Rows", ">Features", ">Classes", "Where"}}
				for _, r := range rows {
					n := "-"
					if r.Rows > 0 {
						n = fmt.Sprint(r.Rows)
					}
					t.add(r.Name, n, fmt.Sprint(r.Features), fmt.Sprint(r.Classes), r.Where)
				}
				a.table("", t)
				a.printf("\nSets are fetched to %s.\n", cache)
			})
			return nil
		},
	}
	cacheFlag(cmd, &cache)
	return cmd
}

func newDatasetFetch(a *app) *cobra.Command {
	var cache string
	cmd := &cobra.Command{
		Use: "fetch NAME", Short: "Fetch a public data set", Args: cobra.ExactArgs(1),
		Long: `Fetches the files of a public data set into the cache and checks their SHA-256.
A transfer that broke off goes on where it ended. Without a network the error
says which files to put where by hand.`,
		Example: "  credence dataset fetch mnist\n  credence dataset fetch cifar-10 --cache /data",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, ok := download.Named(args[0])
			if !ok {
				return usagef("data set %q: want one of %s", args[0], strings.Join(download.Names(), ", "))
			}
			cache = cacheOr(cache)
			err := s.Fetch(cmd.Context(), cache, download.Options{Progress: func(f download.File, have int64) {
				total := ""
				if f.Size > 0 {
					total = fmt.Sprintf(" of %.1f", float64(f.Size)/1e6)
				}
				a.progress(clip(fmt.Sprintf("%s  %.1f%s MB", f.Name, float64(have)/1e6, total), 79))
			}})
			a.progress("")
			if err != nil {
				return err
			}
			a.result(map[string]any{"set": s.Name, "dir": s.Dir(cache)}, func() {
				a.printf("%s is in %s.\nLicence: %s. Source: %s\n", s.Name, s.Dir(cache), s.Licence, s.Source)
			})
			return nil
		},
	}
	cacheFlag(cmd, &cache)
	return cmd
}

// rowsOf are the examples of a named set or of a file.
type rowsOf struct {
	name        string
	train, test fl.Examples
	classes     []string
	features    []string
	licence     string
	height      int // rows of pixels of an image, 0: no image
	report      datasets.Report
}

// openData reads a set by its name, or a file with a schema.
func openData(name, schemaPath, cache string) (rowsOf, error) {
	r := rowsOf{name: name}
	if schemaPath != "" {
		s, err := datasets.LoadSchema(schemaPath)
		if err != nil {
			return r, err
		}
		if s.Split.Method == datasets.SplitFile {
			// One of the two files is looked at on its own.
			s.Split = datasets.Split{}
		}
		r.classes, r.features = s.Classes(), s.FeatureNames()
		r.train, r.test, r.report, err = datasets.Load(name, s)
		return r, err
	}
	if s, ok := download.Named(name); ok {
		d, err := s.Load(cacheOr(cache))
		schema := s.Schema()
		r.train, r.test, r.classes, r.features, r.height, r.licence = d.Train, d.Test, schema.Classes(), schema.FeatureNames(), s.Height, s.Licence
		return r, err
	}
	if _, err := os.Stat(name); err == nil {
		return r, usagef("%s is a file: say with --schema what its columns mean", name)
	}
	set, err := datasets.Builtin(name)
	if err != nil {
		return r, usagef("data set %q: want a file with --schema, or one of %s", name, strings.Join(append(datasets.BuiltinNames(), download.Names()...), ", "))
	}
	r.train, r.test, r.classes, r.features, r.report = set.Train, set.Test, set.Schema.Classes(), set.Schema.FeatureNames(), set.Report
	if name == datasets.Digits {
		r.height = 8
	}
	return r, nil
}

func classCounts(e fl.Examples) []int {
	out := make([]int, e.Classes)
	for _, y := range e.Y {
		out[y]++
	}
	return out
}

func newDatasetInfo(a *app) *cobra.Command {
	var cache, schema string
	cmd := &cobra.Command{
		Use: "info NAME|FILE", Short: "Count a data set's rows and classes", Args: cobra.ExactArgs(1),
		Long: `Reads a named data set, or a file (CSV, Parquet, NPZ) with its schema, checks
all of it, and counts rows and classes.`,
		Example: "  credence dataset info digits\n  credence dataset info rows.parquet --schema schema.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := openData(args[0], schema, cache)
			if err != nil {
				return err
			}
			train, test := classCounts(r.train), classCounts(r.test)
			a.result(map[string]any{
				"name": r.name, "train": r.train.Rows, "test": r.test.Rows, "features": r.train.Features, "classes": r.classes,
				"train_classes": train, "test_classes": test, "dropped": r.report.RowsDropped, "imputed": r.report.CellsImputed,
			}, func() {
				a.printf("%s: %d training and %d test rows, %d features, %d classes\n", r.name, r.train.Rows, r.test.Rows, r.train.Features, len(r.classes))
				if r.report.RowsDropped+r.report.CellsImputed > 0 {
					a.printf("%s left out, %s imputed\n", plural(r.report.RowsDropped, "row"), plural(r.report.CellsImputed, "cell"))
				}
				if r.licence != "" {
					a.printf("Licence: %s\n", r.licence)
				}
				t := table{head: []string{"Class", ">Training", ">Test"}}
				for k, c := range r.classes {
					t.add(clip(c, 40), fmt.Sprint(train[k]), fmt.Sprint(test[k]))
				}
				a.table("", t)
			})
			return nil
		},
	}
	cacheFlag(cmd, &cache)
	cmd.Flags().StringVar(&schema, "schema", "", "schema.yaml of a file")
	return cmd
}

func newDatasetPreview(a *app) *cobra.Command {
	var cache, schema string
	rows := 3
	cmd := &cobra.Command{
		Use: "preview NAME|FILE", Short: "Show a data set's first rows", Args: cobra.ExactArgs(1),
		Long: `Shows the first training rows as a trainer gets them: features after one-hot
and normalisation, images as characters. The rows of a file may be about people:
they go to this terminal.`,
		Example: "  credence dataset preview digits --rows 2\n  credence dataset preview rows.csv --schema schema.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			if rows < 1 || rows > 100 {
				return usagef("--rows %d: want 1 to 100", rows)
			}
			r, err := openData(args[0], schema, cache)
			if err != nil {
				return err
			}
			for i := range min(rows, r.train.Rows) {
				x := r.train.X[i*r.train.Features : (i+1)*r.train.Features]
				class := r.classes[r.train.Y[i]]
				a.result(map[string]any{"row": i + 1, "class": class, "features": x}, func() { a.preview(r, i, class, x) })
			}
			return nil
		},
	}
	cacheFlag(cmd, &cache)
	cmd.Flags().StringVar(&schema, "schema", "", "schema.yaml of a file")
	cmd.Flags().IntVar(&rows, "rows", rows, "rows to show")
	return cmd
}

// shades are characters of growing ink.
const shades = " .:-=+*#%@"

// preview prints one row: an image as characters, others as a list.
func (a *app) preview(r rowsOf, i int, class string, x []float32) {
	a.printf("%s\n", a.style.bold(fmt.Sprintf("row %d: %s", i+1, class)))
	if r.height == 0 {
		t := table{head: []string{"Feature", ">Value"}}
		for k, v := range x[:min(len(x), 40)] {
			t.add(clip(r.features[k], 50), fmt.Sprintf("%.5g", v))
		}
		a.table("  ", t)
		if len(x) > 40 {
			a.printf("  and %d more\n", len(x)-40)
		}
		return
	}
	// Colours are averaged: planes follow each other.
	pixels := r.height * r.height
	planes := max(1, len(x)/pixels)
	for y := range r.height {
		var line strings.Builder
		for k := range r.height {
			v := float32(0)
			for p := range planes {
				v += x[p*pixels+y*r.height+k] / float32(planes)
			}
			c := shades[min(max(int(v*float32(len(shades))), 0), len(shades)-1)]
			line.WriteByte(c)
			line.WriteByte(c)
		}
		a.printf("  %s\n", strings.TrimRight(line.String(), " "))
	}
}
