package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"credence/client"
	"credence/datasets"
	"credence/experiments/config"
	"credence/fl"
	"credence/models"
)

// demoLeastRows are enough to give everybody a few rows of two classes.
const demoLeastRows = 100

// demoData is what the demonstration shows on one of the built-in sets.
type demoData struct {
	set    string // of datasets.BuiltinNames
	source string // who published it
	cast   string // what the four are called
	kind   models.Kind
	alpha  float64 // of the Dirichlet division: the smaller, the less alike
	least  int     // rows that each of the four has at least, of all
	// The training that is proven at level trained: full-batch steps.
	rate          float64
	steps, rounds int
	featureBits   int
}

var demoSets = []demoData{
	{
		set: datasets.BreastCancer, source: "Wisconsin diagnostic breast cancer (Wolberg et al. 1993, CC BY 4.0)",
		cast: "hospitals", kind: models.Logistic, alpha: 0.5, least: 20,
		rate: 0.5, steps: 4, rounds: 6, featureBits: 14,
	},
	{
		set: datasets.Digits, source: "handwritten digits, 8x8 pixels (Alpaydin and Kaynak 1998, CC BY 4.0)",
		cast: "institutions", kind: models.Softmax, alpha: 5, least: 100,
		rate: 1, steps: 4, rounds: 8, featureBits: 10, // pixels are in [0, 1]
	},
}

// demoDataOf returns what is shown on a set.
func demoDataOf(set string) (demoData, error) {
	var known []string
	for _, s := range demoSets {
		if s.set == set {
			return s, nil
		}
		known = append(known, s.set)
	}
	return demoData{}, usagef("--data %s: want %s", set, strings.Join(known, " or "))
}

// jobText is the complete job that the demonstration runs and leaves a copy of.
func (s demoData) jobText() string {
	return strings.Replace(config.JobExample, "kind: logistic", "kind: "+string(s.kind), 1)
}

// trained makes the demonstration's job one whose training is proven, full
// batch. The rows are those of the largest of the four, so that proofs are no
// larger than they must be.
func (d *demo) trained(f *config.File) {
	most := 0
	for _, part := range d.parts {
		most = max(most, len(part))
	}
	f.ProofLevel = fl.ProofTrained
	f.Training = models.TrainConfig{LearningRate: d.data.rate, Steps: d.data.steps}
	f.RoundDeadline = 10 * time.Minute
	f.Rates = fl.Rates{Work: 400, Timeliness: 100, Committee: 150, Operator: 50, Training: 300}
	few, least := 0.1, 0.0
	classes := d.set.Schema.Classes()
	f.Trained = client.TrainedOptions{
		Rows: most, FeatureBits: d.data.featureBits,
		Require:      []datasets.Requirement{{Column: d.set.Schema.FeatureNames()[0], Min: &least, MissingMax: &few}},
		MinClassRows: map[string]int{classes[0]: 1, classes[1]: 1},
	}
}

// classRows counts the rows of each class.
func (d *demo) classRows(part []int) (rows []int) {
	rows = make([]int, d.set.Train.Classes)
	for _, i := range part {
		rows[d.set.Train.Y[i]]++
	}
	return rows
}

// mix says in words what a party has of each class: each of two by name, of
// more the fewest and the most.
func (d *demo) mix(rows []int) string {
	if len(rows) > 2 {
		return fmt.Sprintf("%d to %d of each of %d classes", slices.Min(rows), slices.Max(rows), len(rows))
	}
	classes := d.set.Schema.Classes()
	var out []string
	for c, n := range rows {
		out = append(out, fmt.Sprintf("%3d %s", n, classes[c]))
	}
	return strings.Join(out, ", ")
}
