package driver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"credence/experiments/config"
	"credence/experiments/driver"
	"credence/experiments/runs"
)

const wardSchema = `version: 1
name: wards
columns:
  - {name: ward, kind: ignore}
  - {name: age, kind: numeric}
  - {name: ill, kind: label, classes: ["no", "yes"]}
  - {name: part, kind: ignore}
split: {method: column, column: part}
`

const wardFile = `job: wards
schema: schema.yaml
data: {file: rows.csv}
partition: {method: column, column: ward}
model: {kind: logistic}
training: {learning_rate: 0.1, epochs: 1}
rounds: 3
seed: 1
simulation: {suite: insecure-rlwe64-d1-v1, checkpoint_every: 1}
`

// A run goes on only with the schema, the rows and the division that it began
// with; each is found out by itself.
func TestResumeWithOtherData(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rows := "ward,age,ill,part\n"
	for i := range 12 {
		rows += fmt.Sprintf("%c,%d,%s,%s\n", 'a'+i%3, i, []string{"no", "yes"}[i%2], []string{"train", "train", "train", "test"}[i/3])
	}
	write("schema.yaml", wardSchema)
	write("rows.csv", rows)
	of := func(run string, resume bool) driver.Options {
		t.Helper()
		e, err := config.Parse(filepath.Join(dir, "x.yaml"), []byte(wardFile))
		if err != nil {
			t.Fatal(err)
		}
		return driver.Options{Experiment: e, Text: []byte(wardFile), Dir: run, Resume: resume}
	}
	whole, stopped := filepath.Join(dir, "whole"), filepath.Join(dir, "stopped")
	run(t, of(whole, false))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := of(stopped, false)
	o.Report = func(driver.Progress) { cancel() }
	if _, err := driver.Run(ctx, o); !errors.Is(err, driver.ErrInterrupted) {
		t.Fatal(err)
	}
	for _, x := range []struct{ schema, rows, what string }{
		{strings.Replace(wardSchema, "name: wards", "name: wings", 1), rows, "schema"},
		{wardSchema, strings.Replace(rows, "a,3,", "a,3.5,", 1), "rows"},
		{wardSchema, strings.Replace(rows, "a,9,yes,test", "a,9.5,yes,test", 1), "rows"},
		{wardSchema, strings.Replace(rows, "a,3,yes", "a,3,no", 1), "rows"},
		{wardSchema, strings.Replace(rows, "a,3,", "b,3,", 1), "partition"},
		{wardSchema, strings.ReplaceAll(rows, "c,", "d,"), "partition"}, // another name
	} {
		write("schema.yaml", x.schema)
		write("rows.csv", x.rows)
		_, err := driver.Run(t.Context(), of(stopped, true))
		var other *runs.InputsError
		if !errors.As(err, &other) || other.What != x.what || other.Dir != stopped {
			t.Errorf("want another %s, got %v", x.what, err)
		}
	}
	write("schema.yaml", "# wards of a hospital\n"+wardSchema)
	write("rows.csv", rows)
	run(t, of(stopped, true))
	if a, b := read(t, whole), read(t, stopped); a.Models[0] != b.Models[0] || a.State != b.State {
		t.Errorf("the resumed run ended otherwise: %+v, want %+v", b.State, a.State)
	}
}
