package population

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"credence/datasets"
	"credence/datasets/download"
	"credence/experiments/config"
	"credence/fl"
)

// Data are the rows of an experiment before they are divided.
type Data struct {
	Schema      *datasets.Schema
	SchemaText  string // YAML; what a job for the same data carries
	Train, Test fl.Examples

	file  string
	table *datasets.Table // of files, for division by a column
	rows  [2][]int        // table rows of Train and Test
}

// LoadSchema reads the schema of an experiment or a job: the file that it
// names, relative to its own folder, or that of its built-in data set.
func LoadSchema(e *config.Experiment) (*datasets.Schema, string, error) {
	if set, ok := download.Named(e.Data.Set); ok {
		schema := set.Schema()
		text, err := schema.YAML()
		return schema, string(text), err
	}
	if e.Data.Set != "" {
		set, err := datasets.Builtin(e.Data.Set)
		if err != nil {
			return nil, "", err
		}
		text, err := set.Schema.YAML()
		return set.Schema, string(text), err
	}
	if e.Schema == "" {
		return nil, "", &config.Error{File: e.Name(), Problem: "schema is missing: want the path of a schema.yaml"}
	}
	path := beside(e, e.Schema)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, "", e.At("schema", fmt.Errorf("reading the schema: %w", err))
	}
	schema, err := datasets.ParseSchema(path, text)
	return schema, string(text), err
}

func beside(e *config.Experiment, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(e.Name()), path)
}

// Load reads the rows of an experiment and checks that they can be trained and
// tested on.
func Load(e *config.Experiment) (*Data, error) {
	d, err := load(e)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name string
		rows fl.Examples
	}{{"training", d.Train}, {"test", d.Test}} {
		if part.rows.Rows == 0 && part.name == "test" {
			continue
		}
		if err := part.rows.Validate(); err != nil {
			return nil, e.At("data", fmt.Errorf("%s, %s rows: %w; mend the file, or give the column a missing policy in the schema", d.file, part.name, err))
		}
	}
	return d, d.everyClassIsTrained(e)
}

// everyClassIsTrained refuses a class with test rows and no training row: its
// accuracy would be zero whatever is trained, and a table would hide why.
func (d *Data) everyClassIsTrained(e *config.Experiment) error {
	train, test := countLabels(d.Train), countLabels(d.Test)
	for c, n := range test {
		if n > 0 && train[c] == 0 {
			return e.At("data", fmt.Errorf("%s: class %q has %d test rows and no training row: no model can learn it; change the schema's split, or leave the class out", d.file, d.Schema.Classes()[c], n))
		}
	}
	return nil
}

func countLabels(x fl.Examples) []int64 {
	out := make([]int64, x.Classes)
	for _, y := range x.Y {
		out[y]++
	}
	return out
}

func load(e *config.Experiment) (*Data, error) {
	schema, text, err := LoadSchema(e)
	if err != nil {
		return nil, err
	}
	d := &Data{Schema: schema, SchemaText: text, file: e.Data.Set}
	if set, ok := download.Named(e.Data.Set); ok {
		if err := d.fetched(set); err != nil {
			return nil, e.At("data.set", err)
		}
		return d, nil
	}
	if e.Data.Set != "" {
		set, err := datasets.Builtin(e.Data.Set)
		if err != nil {
			return nil, err
		}
		d.take(set)
		return d, nil
	}
	d.file = beside(e, e.Data.File)
	known := func(ending string) bool { return strings.HasSuffix(strings.ToLower(d.file), ending) }
	switch {
	case !slices.ContainsFunc(datasets.Formats(), known):
		return nil, e.At("data.file", fmt.Errorf("%q: files that end in %s are understood", filepath.Ext(d.file), strings.Join(datasets.Formats(), ", ")))
	case e.Data.TestFile != "":
		d.Train, d.Test, _, err = datasets.LoadPair(d.file, beside(e, e.Data.TestFile), schema)
		return d, err
	}
	table, err := datasets.LoadRecords(d.file, schema)
	if err != nil {
		return nil, err
	}
	set, err := datasets.FromTable(d.file, table, schema)
	if err != nil {
		return nil, err
	}
	d.take(set)
	return d, nil
}

// fetched reads a set from the cache; its users are a column to divide by.
func (d *Data) fetched(set download.Set) error {
	rows, err := set.Load(download.Cache())
	if err != nil {
		return err
	}
	d.Train, d.Test = rows.Train, rows.Test
	if rows.TrainUsers == nil {
		return nil
	}
	d.table = &datasets.Table{Header: []string{download.UserColumn}}
	for part, users := range [][]string{rows.TrainUsers, rows.TestUsers} {
		for _, u := range users {
			d.rows[part] = append(d.rows[part], len(d.table.Rows))
			d.table.Rows = append(d.table.Rows, []string{u})
		}
	}
	return nil
}

func (d *Data) take(set *datasets.Dataset) {
	d.Train, d.Test, d.table, d.rows = set.Train, set.Test, set.Table, [2][]int{set.TrainRows, set.TestRows}
}
