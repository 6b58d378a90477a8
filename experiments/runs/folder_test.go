package runs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

var inputs = Inputs{Schema: "s", Rows: "r", Partition: "p"}

func start(config string) Start {
	return Start{
		Inputs: inputs,
		Config: []byte(config), Resolved: []byte("job: a\n"), Environment: ThisMachine(time.Unix(1, 0)),
		Units: []Unit{{Seed: 3, Partition: 3}}, Rounds: 4,
	}
}

func create(t *testing.T, dir string) *Writer {
	t.Helper()
	w, err := Create(dir, start("job: a\nseed: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func row(n int) Round {
	half := 0.5
	return Round{Run: "a", Setting: "clip.value=1", Seed: 1<<63 + 7, Round: n, TestAccuracy: &half, BytesUp: 1 << 40}
}

func TestRunIsReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs", "a")
	w := create(t, dir)
	must(t, w.AddRound(row(1)))
	must(t, w.AddRound(row(2)))
	clients := []Client{{Run: "a", Client: "client-0", Labels: []int64{3, 0, 4}, Attack: "alie"}, {Run: "a", Client: "client-1", Labels: []int64{1, 2, 0}}}
	must(t, w.AddClients(clients))
	unit := Unit{Seed: 3, Partition: 3}
	must(t, w.SaveModel(unit, func(out io.Writer) error { _, err := out.Write([]byte("weights")); return err }))
	must(t, w.Finish(Done, ""))

	f, err := Open(dir)
	must(t, err)
	config, err := f.Config()
	must(t, err)
	resolved, err := f.Resolved()
	must(t, err)
	if string(config) != "job: a\nseed: 1\n" || string(resolved) != "job: a\n" {
		t.Errorf("config %q, resolved %q", config, resolved)
	}
	env, err := f.Environment()
	must(t, err)
	if env.Started != "1970-01-01T00:00:01Z" || env.Cores < 1 || env.Go == "" {
		t.Errorf("environment %+v", env)
	}
	units, err := f.Units()
	must(t, err)
	state, err := f.State()
	must(t, err)
	if len(units) != 1 || units[0] != unit || state.State != Done || state.Rounds != 2 || state.Of != 4 {
		t.Errorf("units %+v, state %+v", units, state)
	}
	rounds, err := f.Rounds()
	must(t, err)
	if diff := cmp.Diff([]Round{row(1), row(2)}, rounds); diff != "" {
		t.Error(diff)
	}
	read, err := f.Clients()
	must(t, err)
	if diff := cmp.Diff(clients, read); diff != "" {
		t.Error(diff)
	}
	fromParquet, err := parquet.ReadFile[Round](filepath.Join(dir, MetricsParquet))
	must(t, err)
	if diff := cmp.Diff(rounds, fromParquet); diff != "" {
		t.Error(diff)
	}
	clientParquet, err := parquet.ReadFile[Client](filepath.Join(dir, ClientsParquet))
	must(t, err)
	if diff := cmp.Diff(clients, clientParquet); diff != "" {
		t.Error(diff)
	}
	model, err := os.ReadFile(f.ModelPath(unit))
	must(t, err)
	if string(model) != "weights" {
		t.Errorf("model %q", model)
	}
	if _, err := os.Stat(filepath.Join(dir, checkpointFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a finished run keeps a checkpoint: %v", err)
	}
}

// A run goes on from its last checkpoint: rows after it are made again.
func TestResume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	w := create(t, dir)
	must(t, w.AddRound(row(1)))
	must(t, w.Checkpoint([]byte("after round 1")))
	must(t, w.AddRound(row(2)))
	must(t, w.AddClients([]Client{{Client: "x", Labels: []int64{}}}))
	must(t, w.closeFiles()) // killed

	w, payload, err := Resume(dir, []byte("job: a\nseed: 1\n"), inputs)
	must(t, err)
	if string(payload) != "after round 1" {
		t.Errorf("payload %q", payload)
	}
	if made, of := w.Progress(); made != 1 || of != 4 {
		t.Errorf("%d of %d rounds", made, of)
	}
	must(t, w.AddRound(row(2)))
	must(t, w.Finish(Stopped, "interrupted"))
	rounds, err := w.Rounds()
	must(t, err)
	clients, err := w.Clients()
	must(t, err)
	if len(rounds) != 2 || len(clients) != 0 {
		t.Errorf("%d rounds, %d clients", len(rounds), len(clients))
	}
	// Once more: a stopped run resumes from the same checkpoint.
	w, payload, err = Resume(dir, []byte("job: a\nseed: 1\n"), inputs)
	must(t, err)
	if made, _ := w.Progress(); made != 1 || string(payload) != "after round 1" {
		t.Errorf("%d rounds, payload %q", made, payload)
	}
	must(t, w.Finish(Done, ""))
}

func TestResumeBeforeTheFirstCheckpoint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	w := create(t, dir)
	must(t, w.AddRound(row(1)))
	must(t, w.closeFiles())
	w, payload, err := Resume(dir, []byte("job: a\nseed: 1\n"), inputs)
	must(t, err)
	if payload != nil {
		t.Errorf("payload %q", payload)
	}
	if rounds, err := w.Rounds(); err != nil || len(rounds) != 0 {
		t.Errorf("%d rounds, %v", len(rounds), err)
	}
	must(t, w.closeFiles())
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestFoldersThatExist(t *testing.T) {
	base := t.TempDir()
	taken := filepath.Join(base, "taken")
	must(t, os.MkdirAll(taken, 0o750))
	if w, err := Create(taken, start("job: a\n")); err != nil {
		t.Errorf("an empty folder: %v", err)
	} else {
		must(t, w.Finish(Stopped, "interrupted"))
	}
	_, err := Create(taken, start("job: a\n"))
	wantError(t, err, taken+" exists and holds a run of 0 of 4 rounds; go on with --resume, choose another with --dir, or remove it")

	done := filepath.Join(base, "done")
	must(t, create(t, done).Finish(Done, ""))
	_, err = Create(done, start("job: a\n"))
	wantError(t, err, done+" exists and holds a finished run; choose another with --dir, or remove it")
	_, _, err = Resume(done, []byte("job: a\nseed: 1\n"), inputs)
	wantError(t, err, done+": the run is finished; there is nothing to resume")

	other := filepath.Join(base, "other")
	must(t, os.MkdirAll(filepath.Join(other, "photos"), 0o750))
	_, err = Create(other, start("job: a\n"))
	wantError(t, err, other+" exists and is no run folder; choose another with --dir")
	_, err = Open(other)
	wantError(t, err, other+" is no run folder: it has no state.json; credence experiment run makes one")
	_, _, err = Resume(other, nil, inputs)
	wantError(t, err, other+" is no run folder: it has no state.json; credence experiment run makes one")
}

func TestChangedConfiguration(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	must(t, create(t, dir).Finish(Stopped, "interrupted"))
	_, _, err := Resume(dir, []byte("job: a\nseed: 2\n"), inputs)
	wantError(t, err, "line 2 differs from "+filepath.Join(dir, "config.yaml")+", with which this run began: a run goes on only with the same file; start a new one with another --dir")
	_, _, err = Resume(dir, []byte("job: a\nseed: 1\nrounds: 3\n"), inputs)
	if changed := new(ChangedError); !errors.As(err, &changed) || changed.Line != 3 {
		t.Errorf("got %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, ConfigFile), []byte("job: a\nseed: 2\n"), 0o600))
	_, _, err = Resume(dir, []byte("job: a\nseed: 2\n"), inputs)
	wantError(t, err, filepath.Join(dir, "config.yaml")+" was changed after the run began: put it back, or start a new run with another --dir")
}

func TestChangedInputs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	must(t, create(t, dir).Finish(Stopped, "interrupted"))
	undo := ": put the file back as it was, or start a new run with another --dir"
	for what, x := range map[string]struct {
		now  Inputs
		want string
	}{
		"schema":    {Inputs{Schema: "x", Rows: "r", Partition: "p"}, dir + ": the schema says something else than when this run began" + undo},
		"rows":      {Inputs{Schema: "s", Rows: "x", Partition: "p"}, dir + ": the data hold other rows than when this run began" + undo},
		"partition": {Inputs{Schema: "s", Rows: "r", Partition: "x"}, dir + ": the rows are divided among the clients in another way than when this run began, from the same rows and settings: the column that divides them or this program has changed; put it back, or start a new run with another --dir"},
	} {
		_, _, err := Resume(dir, []byte("job: a\nseed: 1\n"), x.now)
		wantError(t, err, x.want)
		if changed := new(InputsError); !errors.As(err, &changed) || changed.What != what {
			t.Errorf("got %v", err)
		}
	}
	w, _, err := Resume(dir, []byte("job: a\nseed: 1\n"), inputs)
	must(t, err)
	must(t, w.Finish(Stopped, ""))
}

func TestTwoWriters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	w := create(t, dir)
	_, _, err := Resume(dir, []byte("job: a\nseed: 1\n"), inputs)
	if err == nil || !strings.Contains(err.Error(), dir+": another program is writing this run: ") {
		t.Errorf("got %v", err)
	}
	must(t, w.Finish(Done, ""))
}

func TestDamagedCheckpoint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	w := create(t, dir)
	must(t, w.AddRound(row(1)))
	must(t, w.Checkpoint([]byte("payload")))
	must(t, w.closeFiles())
	path := filepath.Join(dir, checkpointFile)
	good, err := os.ReadFile(path)
	must(t, err)
	header, payload, _ := bytes.Cut(good, []byte("\n"))
	for name, c := range map[string]struct{ text, want string }{
		"cut":     {string(good[:len(good)-1]), "the checkpoint is damaged"},
		"changed": {string(header) + "\nPayload", "the checkpoint is damaged"},
		"version": {strings.Replace(string(header), `"version":1`, `"version":2`, 1) + "\n" + string(payload), "a checkpoint of version 2"},
		"key":     {strings.Replace(string(header), `"version":1`, `"versions":1`, 1) + "\n" + string(payload), "unknown field"},
		"no line": {"x", "its first line is missing"},
	} {
		must(t, os.WriteFile(path, []byte(c.text), 0o600))
		if _, _, err := Resume(dir, []byte("job: a\nseed: 1\n"), inputs); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "remove it to run all rounds again") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	must(t, os.WriteFile(path, good, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, MetricsLines), nil, 0o600))
	if _, _, err := Resume(dir, []byte("job: a\nseed: 1\n"), inputs); err == nil || !strings.Contains(err.Error(), "rows are missing") {
		t.Errorf("rows that are gone: got %v", err)
	}
}

func TestLinesOfOthers(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown column": {`{"run":"a","spam":1}` + "\n", `line 1: json: unknown field "spam"`},
		"two values":     {"{} {}\n", "line 1: something follows the JSON value"},
		"long":           {strings.Repeat("x", maxLine+1) + "\n", "line 1 has more than 1048576 bytes"},
	} {
		if _, err := decodeLines[Round](strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if rows, err := decodeLines[Round](strings.NewReader("{}\n{\"run\":\"cut")); err != nil || len(rows) != 1 {
		t.Errorf("a line that a kill cut short: %d rows, %v", len(rows), err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`{"version":1,"rounds":1,"metrics":2,"clients":3,"length":1,"sha256":"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"}` + "\n\x00"))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := decodeCheckpoint(text); err == nil && c.Length != len(c.payload) {
			t.Error("a checkpoint of another length")
		}
	})
}

func FuzzRows(f *testing.F) {
	f.Add([]byte(`{"run":"a","round":1,"test_accuracy":null}` + "\n"))
	f.Add([]byte("{}\n{}\n"))
	f.Add([]byte(`{"run":"a","attack":"inversion","epsilon":null,"curve":[[0,1]],"pictures":[{"original":[0.5],"recovered":[1],"label":3,"read":1}]}` + "\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = decodeLines[Round](bytes.NewReader(text))
		_, _ = decodeLines[Client](bytes.NewReader(text))
		_, _ = decodeLines[Demonstration](bytes.NewReader(text))
	})
}

// A program with other matrix products would go on with other bits.
func TestResumeRefusesOtherMatrixProducts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	s := start("job: a\nseed: 1\n")
	s.Environment.BLAS = "another"
	w, err := Create(dir, s)
	must(t, err)
	must(t, w.Finish(Stopped, ""))
	if _, _, err := Resume(dir, s.Config, inputs); err == nil || !strings.Contains(err.Error(), "matrix products of another") {
		t.Errorf("resumed: %v", err)
	}
}

// Demonstrations and what the rows are come back; those after the checkpoint are
// dropped when the run goes on.
func TestDemonstrationsAreReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	s := start("job: a\nseed: 1\n")
	s.Data = Data{Name: "digits", Train: 5, Classes: []string{"nought", "one"}, Height: 2, Width: 1, Channels: 1}
	w, err := Create(dir, s)
	must(t, err)
	half := 0.5
	kept := []Demonstration{{Run: "a", Attack: AttackMembership, View: "secure sum", AUC: &half, Curve: [][2]float64{{0, 0}, {1, 1}}, Pictures: []Recovered{{Original: []float32{1}, Recovered: []float32{0.25}, Read: 1}}}}
	must(t, w.AddDemonstrations(kept))
	must(t, w.Checkpoint([]byte("x")))
	must(t, w.AddDemonstrations(kept))
	must(t, w.Finish(Stopped, ""))
	w, _, err = Resume(dir, s.Config, s.Inputs)
	must(t, err)
	must(t, w.Finish(Done, ""))
	f, err := Open(dir)
	must(t, err)
	got, err := f.Demonstrations()
	must(t, err)
	if diff := cmp.Diff(kept, got); diff != "" {
		t.Error(diff)
	}
	data, err := f.Data()
	must(t, err)
	if diff := cmp.Diff(s.Data, data); diff != "" {
		t.Error(diff)
	}
	must(t, os.Remove(filepath.Join(dir, DataFile))) // as a folder of an earlier program
	if data, err := f.Data(); err != nil || data.Name != "" {
		t.Errorf("%+v, %v", data, err)
	}
}
