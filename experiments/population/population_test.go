package population_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"credence/datasets"
	"credence/experiments/config"
	"credence/experiments/population"
	"credence/experiments/simulate"
)

const rest = "model: {kind: softmax}\ntraining: {learning_rate: 1, steps: 1}\nrounds: 1\n"

func experiment(t *testing.T, dir, text string) *config.Experiment {
	t.Helper()
	e, err := config.Parse(filepath.Join(dir, "x.yaml"), []byte("job: a\n"+text+rest))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func divide(t *testing.T, text string, seed uint64) []simulate.Client {
	t.Helper()
	e := experiment(t, "", text)
	d, err := population.Load(e)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := d.Divide(e, e.Partition, seed)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// Every row has one client, whatever the method.
func TestDivide(t *testing.T) {
	for _, method := range []string{"iid, clients: 12", "dirichlet, clients: 12, alpha: 0.1, min_rows: 5", "quantity, clients: 12, alpha: 0.5", "labels, clients: 12, labels_each: 2", "iid, clients: 12, held_out: clients"} {
		text := "data: {set: digits}\npartition: {method: " + method + "}\n"
		clients := divide(t, text, 1)
		rows, tests := 0, 0
		for i, c := range clients {
			rows += c.Train.Rows
			tests += c.Test.Rows
			if want := fmt.Sprintf("client-%02d", i); string(c.Node) != want || c.Train.Rows == 0 {
				t.Errorf("%s: client %s has %d rows, want %s", method, c.Node, c.Train.Rows, want)
			}
			labels := population.Labels(c)
			if n := len(labels) - count(labels, 0); strings.HasPrefix(method, "labels") && n > 4 {
				t.Errorf("%s: %d classes at %s", method, n, c.Node)
			}
		}
		want := 0
		if strings.Contains(method, "held_out") {
			want = 359
		}
		if len(clients) != 12 || rows != 1438 || tests != want {
			t.Errorf("%s: %d clients, %d rows, %d held out", method, len(clients), rows, tests)
		}
		if other := divide(t, text, 2); slices.Equal(other[0].Train.X, clients[0].Train.X) {
			t.Errorf("%s: the seed does not count", method)
		}
		pinned := strings.TrimSuffix(text, "}\n") + ", seed: 1}\n"
		if same := divide(t, pinned, 2); !slices.Equal(same[0].Train.X, clients[0].Train.X) {
			t.Errorf("%s: a seed of its own does not pin the division", method)
		}
	}
}

func TestWeakClients(t *testing.T) {
	clients := divide(t, "data: {set: digits}\npartition: {method: iid, clients: 10, weak: {fraction: 0.3, max_shards: 2}}\n", 1)
	weak := 0
	for _, c := range clients {
		if c.MaxShards == 2 {
			weak++
		} else if c.MaxShards != 0 {
			t.Errorf("client %s carries %d shards", c.Node, c.MaxShards)
		}
	}
	if weak != 3 {
		t.Errorf("%d weak clients, want 3", weak)
	}
}

func count[T comparable](v []T, x T) (n int) {
	for _, y := range v {
		if y == x {
			n++
		}
	}
	return n
}

const schemaText = `version: 1
name: wards
columns:
  - {name: ward, kind: ignore}
  - {name: age, kind: numeric}
  - {name: ill, kind: label, classes: ["no", "yes"]}
  - {name: part, kind: ignore}
split: {method: column, column: part}
`

// folder writes a schema and rows.
func folder(t *testing.T, rows string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"schema.yaml": schemaText, "rows.csv": "ward,age,ill,part\n" + rows} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const byWard = "schema: schema.yaml\ndata: {file: rows.csv}\npartition: {method: column, column: ward, held_out: clients}\n"

func TestByColumn(t *testing.T) {
	dir := folder(t, "North,1,no,train\nsouth wing,2,yes,train\nNorth,3,yes,test\nNorth,4,yes,train\nsouth wing,5,no,test\n")
	e := experiment(t, dir, byWard)
	d, err := population.Load(e)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := d.Divide(e, e.Partition, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(clients) != 2 || clients[0].Node != "north" || clients[1].Node != "south-wing" ||
		!slices.Equal(clients[0].Train.X, []float32{1, 4}) || !slices.Equal(clients[0].Test.X, []float32{3}) || clients[1].Train.Rows != 1 {
		t.Errorf("got %+v", clients)
	}
	// Values that cannot be names are numbered.
	dir = folder(t, "Ö,1,no,train\nß,2,yes,train\n")
	e = experiment(t, dir, byWard)
	if d, err = population.Load(e); err != nil {
		t.Fatal(err)
	}
	if clients, err = d.Divide(e, e.Partition, 1); err != nil || clients[1].Node != "client-1" {
		t.Errorf("got %+v, %v", clients, err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ rows, text, want string }{
		"empty client": {"a,1,no,train\nb,2,yes,test\na,3,yes,train\n", byWard,
			"x.yaml: line 4: partition: client b has no training row (and 1 for testing): a client without rows cannot train; ask for fewer clients, a larger min_rows or another split"},
		"unseen class": {"a,1,no,train\nb,2,yes,test\nb,3,no,train\n", byWard,
			`rows.csv: class "yes" has 1 test rows and no training row: no model can learn it; change the schema's split, or leave the class out`},
		"not a number": {"a,1,no,train\nb,NaN,yes,train\n", byWard, `rows.csv: line 3, column "age": the cell is not a finite number`},
		"column":       {"a,1,no,train\nb,2,yes,train\n", strings.Replace(byWard, "column: ward", "column: war", 1), `x.yaml: line 4: partition: datasets: column "war": the table has no such column`},
		"too many clients": {"a,1,no,train\nb,2,yes,train\n", strings.Replace(byWard, "method: column, column: ward, held_out: clients", "method: iid, clients: 3", 1),
			"x.yaml: line 4: partition: datasets: 2 rows cannot give 3 clients at least 1 each"},
		"no file":     {"a,1,no,train\n", strings.Replace(byWard, "rows.csv", "row.csv", 1), "row.csv: no such file"},
		"no schema":   {"a,1,no,train\n", strings.Replace(byWard, "schema.yaml", "scheme.yaml", 1), "x.yaml: line 2: schema: reading the schema: "},
		"not fetched": {"", "data: {set: mnist}\npartition: {method: iid, clients: 2}\n", "x.yaml: line 2: data.set: data set mnist: "},
		"ending":      {"a,1,no,train\n", strings.Replace(byWard, "rows.csv", "rows.xls", 1), `x.yaml: line 3: data.file: ".xls": files that end in .csv, .csv.gz, .parquet, .npz are understood`},
	} {
		e := experiment(t, folder(t, c.rows), c.text)
		d, err := population.Load(e)
		if err == nil {
			_, err = d.Divide(e, e.Partition, 1)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v\nwant %s", name, err, c.want)
		}
	}
}

// The schema of a built-in set is what a node of that data has.
func TestBuiltinSchema(t *testing.T) {
	e := experiment(t, "", "data: {set: digits}\n")
	schema, text, err := population.LoadSchema(e)
	if err != nil {
		t.Fatal(err)
	}
	again, err := datasets.ParseSchema("text", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := schema.Digest()
	b, err2 := again.Digest()
	if err != nil || err2 != nil || a != b {
		t.Errorf("another schema: %v, %v", err, err2)
	}
}

// FEMNIST has a client for each writer; a set that was fetched needs no schema.
func TestWriters(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("CREDENCE_DATASETS", cache)
	pixels := strings.TrimSuffix(strings.Repeat("0.5,", 784), ",")
	for part, users := range map[string][]string{"train": {"ann", "bob", "bob"}, "test": {"ann", "bob", "bob"}} {
		var data []string
		for _, u := range slices.Compact(slices.Clone(users)) {
			n := count(users, u)
			x := strings.TrimSuffix(strings.Repeat("["+pixels+"],", n), ",")
			y := strings.TrimSuffix(strings.Repeat("61,", n), ",")
			data = append(data, fmt.Sprintf(`"%s": {"x": [%s], "y": [%s]}`, u, x, y))
		}
		text := fmt.Sprintf(`{"users": ["ann", "bob"], "num_samples": [1, 2], "user_data": {%s}}`, strings.Join(data, ", "))
		dir := filepath.Join(cache, "femnist", part)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	clients := divide(t, "data: {set: femnist}\npartition: {method: column, column: user, held_out: clients}\n", 1)
	if len(clients) != 2 || clients[0].Node != "ann" || clients[1].Train.Rows != 2 || clients[1].Test.Rows != 2 || clients[1].Train.Y[0] != 61 {
		t.Errorf("%d clients, %s with %d rows", len(clients), clients[0].Node, clients[0].Train.Rows)
	}
}
