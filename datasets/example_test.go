package datasets_test

import (
	"fmt"
	"strings"

	"credence/datasets"
)

// A hospital's export, described by a schema that all hospitals share.
func ExampleReadCSV() {
	schema, err := datasets.ParseSchema("schema.yaml", []byte(`
version: 1
columns:
  - {name: age, kind: numeric, normalise: minmax, min: 0, max: 100}
  - {name: sex, kind: categorical, categories: [f, m], missing: drop}
  - {name: outcome, kind: label, classes: [well, ill]}
split: {method: fraction, fraction: 0.25, seed: 1}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	file := "age,sex,outcome\n50,f,well\n60,m,ill\n70,,ill\n80,m,ill\n20,f,well\n"
	train, test, report, err := datasets.ReadCSV("ward.csv", strings.NewReader(file), schema)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(schema.FeatureNames(), schema.Classes())
	fmt.Println(train.Rows, "training,", test.Rows, "test,", report.RowsDropped, "dropped")

	_, _, _, err = datasets.ReadCSV("ward.csv", strings.NewReader("age,sex,outcome\n5O,f,well\n"), schema)
	fmt.Println(err)
	// Output:
	// [age sex=f sex=m] [well ill]
	// 3 training, 1 test, 1 dropped
	// datasets: ward.csv: line 2, column "age": the cell is not a decimal number: correct it, or list the word under missing_values
}

// Four institutions, each with its own file and the one schema.
func ExampleDataset_WriteNode() {
	set, err := datasets.Builtin(datasets.BreastCancer)
	if err != nil {
		fmt.Println(err)
		return
	}
	train, err := datasets.Dirichlet(set.Train, 4, 0.5, 30, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	test, err := datasets.IID(set.Test, 4, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range train {
		fmt.Println("institution", i, "trains on", len(train[i]), "rows, tests on", len(test[i]))
		// set.WriteNode(dir, train[i], test[i]) writes data.csv and schema.yaml.
	}
	// Output:
	// institution 0 trains on 135 rows, tests on 29
	// institution 1 trains on 162 rows, tests on 29
	// institution 2 trains on 92 rows, tests on 28
	// institution 3 trains on 66 rows, tests on 28
}
