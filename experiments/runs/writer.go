package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"

	"credence/fl"
	"credence/models"
)

// ExistsError says that a new run was to go into a folder that is taken.
type ExistsError struct {
	Dir   string
	State State // zero when the folder is no run folder
}

// Error implements error.
func (e *ExistsError) Error() string {
	switch e.State.State {
	case "":
		return fmt.Sprintf("%s exists and is no run folder; choose another with --dir", e.Dir)
	case Done:
		return fmt.Sprintf("%s exists and holds a finished run; choose another with --dir, or remove it", e.Dir)
	}
	return fmt.Sprintf("%s exists and holds a run of %d of %d rounds; go on with --resume, choose another with --dir, or remove it", e.Dir, e.State.Rounds, e.State.Of)
}

// ChangedError says that a run was to go on with another configuration than
// it began with.
type ChangedError struct {
	Dir  string
	Line int // first line that differs, from 1; 0 when the folder's own copy was changed
}

// Error implements error.
func (e *ChangedError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s was changed after the run began: put it back, or start a new run with another --dir", filepath.Join(e.Dir, ConfigFile))
	}
	return fmt.Sprintf("line %d differs from %s, with which this run began: a run goes on only with the same file; start a new one with another --dir", e.Line, filepath.Join(e.Dir, ConfigFile))
}

// InputsError says that a run was to go on with other data than it began with.
type InputsError struct {
	Dir  string
	What string // "schema", "rows" or "partition"
}

// Error implements error.
func (e *InputsError) Error() string {
	const undo = "put the file back as it was, or start a new run with another --dir"
	switch e.What {
	case "schema":
		return fmt.Sprintf("%s: the schema says something else than when this run began: %s", e.Dir, undo)
	case "rows":
		return fmt.Sprintf("%s: the data hold other rows than when this run began: %s", e.Dir, undo)
	}
	return fmt.Sprintf("%s: the rows are divided among the clients in another way than when this run began, from the same rows and settings: "+
		"the column that divides them or this program has changed; put it back, or start a new run with another --dir", e.Dir)
}

// changed names the first of the inputs that differs, or "".
func (i Inputs) changed(now Inputs) string {
	switch {
	case i.Schema != now.Schema:
		return "schema"
	case i.Rows != now.Rows:
		return "rows"
	case i.Partition != now.Partition:
		return "partition"
	}
	return ""
}

// Start is what is known when a run begins.
type Start struct {
	Inputs
	Config, Resolved []byte // YAML
	Environment      Environment
	Data             Data
	Units            []Unit
	Rounds           int // over all units
}

// Writer writes a run folder. It serves one goroutine.
type Writer struct {
	Folder
	state            State
	lock             *os.File
	metrics, clients *os.File
	attacks          *os.File
}

// Create makes the folder of a new run, which must not exist or be empty.
func Create(dir string, s Start) (_ *Writer, err error) {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		taken := &ExistsError{Dir: dir}
		if f, err := Open(dir); err == nil {
			taken.State, _ = f.State() // unreadable: no run folder
		}
		return nil, taken
	}
	if err := os.MkdirAll(filepath.Join(dir, ModelsFolder), 0o750); err != nil {
		return nil, fmt.Errorf("making the run folder: %w", err)
	}
	w := &Writer{Folder: Folder{dir: dir}, state: State{State: Running, Of: s.Rounds, Config: fl.DigestBytes(s.Config).String(), Inputs: s.Inputs}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.closeFiles())
		}
	}()
	if err := w.takeLock(); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name  string
		bytes []byte
		value any
	}{
		{ConfigFile, s.Config, nil}, {ResolvedFile, s.Resolved, nil},
		{EnvironmentFile, nil, s.Environment}, {SeedsFile, nil, s.Units}, {DataFile, nil, s.Data}, {StateFile, nil, w.state},
	} {
		if f.value != nil {
			if f.bytes, err = json.MarshalIndent(f.value, "", "  "); err != nil {
				return nil, fmt.Errorf("writing %s: %w", f.name, err)
			}
			f.bytes = append(f.bytes, '\n')
		}
		if err := w.replace(f.name, f.bytes); err != nil {
			return nil, err
		}
	}
	return w, w.openLines(checkpoint{})
}

// Resume opens the folder of a run that stopped, to go on from its last
// checkpoint; rows written after it are dropped, because their rounds are made
// again. payload is nil when the run stopped before its first checkpoint.
// The file and the inputs must be those that the run began with.
func Resume(dir string, config []byte, inputs Inputs) (_ *Writer, payload []byte, err error) {
	f, err := Open(dir)
	if err != nil {
		return nil, nil, err
	}
	w := &Writer{Folder: *f}
	if err := w.takeLock(); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.closeFiles())
		}
	}()
	if w.state, err = f.State(); err != nil {
		return nil, nil, err
	}
	own, err := f.Config()
	if err != nil {
		return nil, nil, err
	}
	if fl.DigestBytes(own).String() != w.state.Config {
		return nil, nil, &ChangedError{Dir: dir}
	}
	if line := firstDifference(config, own); line > 0 {
		return nil, nil, &ChangedError{Dir: dir, Line: line}
	}
	if what := w.state.changed(inputs); what != "" {
		return nil, nil, &InputsError{Dir: dir, What: what}
	}
	began, err := f.Environment()
	if err != nil {
		return nil, nil, err
	}
	if began.BLAS != "" && began.BLAS != models.BLAS {
		return nil, nil, fmt.Errorf("%s: the run began with the matrix products of %s, this program has those of %s, whose bits are others: resume it with a program built like the first", dir, began.BLAS, models.BLAS)
	}
	if w.state.State == Done {
		return nil, nil, fmt.Errorf("%s: the run is finished; there is nothing to resume", dir)
	}
	c, err := w.loadCheckpoint()
	if err != nil {
		return nil, nil, err
	}
	if err := w.openLines(c); err != nil {
		return nil, nil, err
	}
	w.state.State, w.state.Reason, w.state.Rounds = Running, "", c.Rounds
	return w, c.payload, w.saveState()
}

// firstDifference returns the first line, from 1, in which two texts differ,
// or 0.
func firstDifference(a, b []byte) int {
	line := 1
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return line
		}
		if a[i] == '\n' {
			line++
		}
	}
	return 0
}

func (w *Writer) takeLock() (err error) {
	if w.lock, err = lockFile(filepath.Join(w.dir, lockName)); err != nil {
		return fmt.Errorf("%s: another program is writing this run: %w", w.dir, err)
	}
	return nil
}

// openLines opens the row files cut to the lengths of a checkpoint.
func (w *Writer) openLines(c checkpoint) (err error) {
	for _, f := range []struct {
		file **os.File
		name string
		size int64
	}{{&w.metrics, MetricsLines, c.Metrics}, {&w.clients, ClientsLines, c.Clients}, {&w.attacks, AttacksLines, c.Attacks}} {
		if *f.file, err = os.OpenFile(filepath.Join(w.dir, f.name), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("opening the run's rows: %w", err)
		}
		info, err := (*f.file).Stat()
		if err != nil {
			return fmt.Errorf("opening the run's rows: %w", err)
		}
		if info.Size() < f.size {
			return fmt.Errorf("%s has %d bytes and the checkpoint says %d: rows are missing; start a new run", filepath.Join(w.dir, f.name), info.Size(), f.size)
		}
		if err := (*f.file).Truncate(f.size); err != nil {
			return fmt.Errorf("opening the run's rows: %w", err)
		}
	}
	return nil
}

// AddRound appends a row of metrics. It is safe from a kill of this program
// when the call returns, and from one of the system at the next checkpoint.
func (w *Writer) AddRound(r Round) error {
	if err := appendLine(w.metrics, r); err != nil {
		return err
	}
	w.state.Rounds++
	return nil
}

// AddClients appends the rows of a unit's clients.
func (w *Writer) AddClients(rows []Client) error {
	for _, c := range rows {
		if err := appendLine(w.clients, c); err != nil {
			return err
		}
	}
	return nil
}

// AddDemonstrations appends what attacks on privacy gave.
func (w *Writer) AddDemonstrations(rows []Demonstration) error {
	for _, d := range rows {
		if err := appendLine(w.attacks, d); err != nil {
			return err
		}
	}
	return nil
}

func appendLine(f *os.File, row any) error {
	line, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("writing a row of %s: %w", filepath.Base(f.Name()), err)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing the run: %w", err)
	}
	return nil
}

// SaveModel writes the last model of a unit.
func (w *Writer) SaveModel(u Unit, write func(io.Writer) error) error {
	return replaceFile(modelPath(w.dir, u), write)
}

// Progress returns the rounds made and those of the whole run.
func (w *Writer) Progress() (rounds, of int) { return w.state.Rounds, w.state.Of }

// Finish ends the writing: rows as Parquet, and how the run ended. The
// checkpoint of a run that is done is removed.
func (w *Writer) Finish(state, reason string) error {
	err := errors.Join(
		toParquet[Round](filepath.Join(w.dir, MetricsLines), filepath.Join(w.dir, MetricsParquet)),
		toParquet[Client](filepath.Join(w.dir, ClientsLines), filepath.Join(w.dir, ClientsParquet)),
	)
	w.state.State, w.state.Reason = state, reason
	err = errors.Join(err, w.saveState())
	if state == Done && err == nil {
		if e := os.Remove(filepath.Join(w.dir, checkpointFile)); !errors.Is(e, os.ErrNotExist) {
			err = e
		}
	}
	return errors.Join(err, w.closeFiles())
}

func (w *Writer) closeFiles() error {
	var err error
	for _, f := range []*os.File{w.metrics, w.clients, w.attacks, w.lock} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

func (w *Writer) saveState() error {
	text, err := json.MarshalIndent(w.state, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the run's state: %w", err)
	}
	return w.replace(StateFile, append(text, '\n'))
}

func (w *Writer) replace(name string, text []byte) error {
	return replaceFile(filepath.Join(w.dir, name), func(out io.Writer) error {
		_, err := out.Write(text)
		return err
	})
}

// replaceFile writes a file that is there whole or not at all.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing the run: %w", err)
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// toParquet writes the rows of a file of JSON lines as Parquet.
func toParquet[T any](from, to string) error {
	rows, err := readLines[T](from)
	if err != nil {
		return err
	}
	return replaceFile(to, func(out io.Writer) error {
		w := parquet.NewGenericWriter[T](out, parquet.Compression(&parquet.Snappy))
		if _, err := w.Write(rows); err != nil {
			return err
		}
		return w.Close()
	})
}
