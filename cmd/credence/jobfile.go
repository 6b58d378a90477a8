package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"credence/client"
	"credence/experiments/config"
	"credence/experiments/population"
)

// readExperiment reads an experiment's or a job's file.
func readExperiment(path string) (*config.Experiment, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the job or experiment: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, config.MaxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, nil, fmt.Errorf("reading the job or experiment: %w", err)
	}
	e, err := config.Parse(path, text)
	return e, text, err
}

// loadJob reads a job file and the schema that it names. notes say what in it
// means nothing to a federation.
func loadJob(path string) (o client.JobOptions, notes []string, err error) {
	e, _, err := readExperiment(path)
	if err != nil {
		return o, nil, err
	}
	schema, text, err := population.LoadSchema(e)
	if err != nil {
		return o, nil, err
	}
	return e.Live(schema, text)
}
