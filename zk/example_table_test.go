package zk_test

import (
	"fmt"

	"credence/fl"
	"credence/zk"
	"credence/zk/circuit/table"
	"credence/zk/tabular"
)

// A node commits to its rows and shows, without revealing one, that there are
// three, that ages are between 18 and 90 with a mean of at most 50, and that
// each class has a row at least.
func Example_table() {
	layout, err := tabular.ParseLayout("r4-f1-b8-binary")
	if err != nil {
		panic(err)
	}
	spec := tabular.Spec{Layout: layout, Schema: fl.Digest{1}}
	rows, err := tabular.New(layout, 3)
	if err != nil {
		panic(err)
	}
	for i, age := range []float64{34, 71, 40} {
		cell, _, err := spec.Quantise(0, age)
		if err != nil {
			panic(err)
		}
		rows.SetFeature(i, 0, cell)
		rows.SetTarget(i, 0, int64(i%2))
	}

	shape, err := table.NewShape(table.Validation, layout)
	if err != nil {
		panic(err)
	}
	keys, err := zk.SetupTable(shape, nil, nil) // a ceremony's keys outside demonstrations
	if err != nil {
		panic(err)
	}
	commitment, secret, err := keys.SRS().CommitTable(rows)
	if err != nil {
		panic(err)
	}
	low, high, mean := 18.0, 90.0, 50.0
	limits, err := tabular.Requirements{
		Numbers: []tabular.NumberRequirements{{Min: &low, Max: &high, MeanMax: &mean}},
		Classes: []int{1, 1},
	}.Limits(spec, rows.Used)
	if err != nil {
		panic(err)
	}
	scope, err := keys.Scope(fl.Digest{2}, "ages", "hospital-a", spec)
	if err != nil {
		panic(err)
	}
	statement := &zk.TableStatement{Scope: scope, Commitment: commitment, Rows: rows.Used, Limits: &limits}
	att, err := keys.ProveTable(statement, rows, secret)
	if err != nil {
		panic(err)
	}

	received, err := zk.ParseTableAttestation(att.Bytes())
	if err != nil {
		panic(err)
	}
	fmt.Println("attestation:", keys.VerifyTable(statement, received))
	fmt.Println(rows, secret)
	// Output:
	// attestation: <nil>
	// tabular.Table(r4-f1-b8-binary, 3 rows) zk.TableSecret(hidden)
}
