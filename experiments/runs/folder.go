package runs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a run folder.
const (
	ConfigFile      = "config.yaml"
	ResolvedFile    = "resolved.yaml"
	EnvironmentFile = "environment.json"
	SeedsFile       = "seeds.json"
	StateFile       = "state.json"
	DataFile        = "data.json"
	MetricsLines    = "metrics.jsonl"
	MetricsParquet  = "metrics.parquet"
	ClientsLines    = "clients.jsonl"
	ClientsParquet  = "clients.parquet"
	ModelsFolder    = "models"
	AttacksLines    = "demonstrations.jsonl"
	checkpointFile  = "checkpoint"
	lockName        = "lock"
)

// Bounds on what is read back. A run of 100,000 rounds is far below them.
const (
	maxSmall = 1 << 22 // bytes of a configuration or a JSON file
	maxLine  = 1 << 20 // bytes of one row
	maxRows  = 1 << 24
)

// Folder is a run folder to read from.
type Folder struct{ dir string }

// Open opens a run folder for reading; the run may still be going on.
func Open(dir string) (*Folder, error) {
	if _, err := os.Stat(filepath.Join(dir, StateFile)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is no run folder: it has no %s; credence experiment run makes one", dir, StateFile)
		}
		return nil, fmt.Errorf("opening the run folder: %w", err)
	}
	return &Folder{dir: dir}, nil
}

// Dir returns the folder's path.
func (f *Folder) Dir() string { return f.dir }

// Config returns the experiment's file as it was given.
func (f *Folder) Config() ([]byte, error) { return f.small(ConfigFile) }

// Resolved returns the experiment with its defaults written out, as YAML.
func (f *Folder) Resolved() ([]byte, error) { return f.small(ResolvedFile) }

// Environment returns where the run was made.
func (f *Folder) Environment() (e Environment, err error) { return e, f.read(EnvironmentFile, &e) }

// Units returns the trainings of the run, in order.
func (f *Folder) Units() (u []Unit, err error) { return u, f.read(SeedsFile, &u) }

// State returns how far the run is.
func (f *Folder) State() (s State, err error) {
	if err := f.read(StateFile, &s); err != nil {
		return s, err
	}
	switch s.State {
	case Running, Done, Stopped, Failed:
		return s, nil
	}
	return s, fmt.Errorf("%s: state %q is none that this program writes", filepath.Join(f.dir, StateFile), s.State)
}

// Rounds returns the rows of metrics. A last line that a kill cut short is
// left out.
func (f *Folder) Rounds() ([]Round, error) {
	return readLines[Round](filepath.Join(f.dir, MetricsLines))
}

// Clients returns the rows of clients, as Rounds does.
func (f *Folder) Clients() ([]Client, error) {
	return readLines[Client](filepath.Join(f.dir, ClientsLines))
}

// Demonstrations returns what attacks on privacy gave, as Rounds does.
func (f *Folder) Demonstrations() ([]Demonstration, error) {
	return readLines[Demonstration](filepath.Join(f.dir, AttacksLines))
}

// Data returns what a run's rows are; zero for a folder of a program that did
// not write it.
func (f *Folder) Data() (d Data, err error) {
	if _, err := os.Stat(filepath.Join(f.dir, DataFile)); errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	return d, f.read(DataFile, &d)
}

// ModelPath is where the last model of a unit is, once it ended.
func (f *Folder) ModelPath(u Unit) string { return modelPath(f.dir, u) }

func modelPath(dir string, u Unit) string {
	return filepath.Join(dir, ModelsFolder, fmt.Sprintf("c%03d-r%03d.safetensors", u.Cell, u.Repeat))
}

func (f *Folder) small(name string) ([]byte, error) {
	path := filepath.Join(f.dir, name)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the run: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSmall+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("reading the run: %w", err)
	}
	if len(text) > maxSmall {
		return nil, fmt.Errorf("%s has more than %d bytes: this program did not write it", path, maxSmall)
	}
	return text, nil
}

func (f *Folder) read(name string, v any) error {
	text, err := f.small(name)
	if err != nil {
		return err
	}
	if err := decodeStrictly(text, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(f.dir, name), err)
	}
	return nil
}

// decodeStrictly decodes one JSON value and nothing else.
func decodeStrictly(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func readLines[T any](path string) ([]T, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the run: %w", err)
	}
	rows, err := decodeLines[T](file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rows, nil
}

// decodeLines reads rows until the end or a last line without its newline.
func decodeLines[T any](r io.Reader) ([]T, error) {
	var out []T
	in := bufio.NewReaderSize(r, maxLine)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("line %d has more than %d bytes: this program did not write it", n, maxLine)
		case err != nil:
			return nil, err
		case n > maxRows:
			return nil, fmt.Errorf("more than %d rows: this program did not write them", maxRows)
		}
		var row T
		if err := decodeStrictly(line, &row); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, row)
	}
}
