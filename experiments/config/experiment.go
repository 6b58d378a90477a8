package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"credence/he"
)

// Experiment is a file that was read and found well formed.
type Experiment struct {
	File
	name string
	root *yaml.Node
}

// Cell is one combination of a sweep's values.
type Cell struct {
	File
	Setting string // "training.learning_rate=0.1 strategy.name=fedprox"; "" without a sweep
}

// Sweep varies keys of the file: an experiment is run for every combination.
type Sweep []Axis

// Axis is one key of a sweep with its values.
type Axis struct {
	// Path leads to the key: "training.learning_rate"; numbers count into lists.
	// Together stands for several: its values are mappings of paths to values.
	Path   string
	Values []*yaml.Node
	Names  []string // of the values, where the file gives some; else nil
	line   int
}

// Together is the path of an axis that sets several keys at a time.
const Together = "settings"

// UnmarshalYAML reads "path: [value, ...]" or "path: {name: value, ...}" in the
// order of the file.
func (s *Sweep) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return &Error{Line: n.Line, Problem: "sweep: want keys with lists of values, such as training.learning_rate: [0.1, 0.5]"}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, list := n.Content[i], n.Content[i+1]
		a := Axis{Path: key.Value, line: key.Line}
		switch list.Kind {
		case yaml.SequenceNode:
			a.Values = list.Content
		case yaml.MappingNode:
			for k := 0; k+1 < len(list.Content); k += 2 {
				a.Names = append(a.Names, list.Content[k].Value)
				a.Values = append(a.Values, list.Content[k+1])
			}
		}
		if len(a.Values) == 0 {
			return &Error{Line: key.Line, Problem: fmt.Sprintf("sweep: %s: want a list of values, or names with values", key.Value)}
		}
		for _, v := range a.Values {
			if a.Path == Together && v.Kind != yaml.MappingNode {
				return &Error{Line: v.Line, Problem: "sweep: settings: want mappings of keys to values, such as {clip.norm: 1, proof_level: bounded}"}
			}
		}
		*s = append(*s, a)
	}
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (s Sweep) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, a := range s {
		values := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: a.Values}
		if a.Names != nil {
			values = &yaml.Node{Kind: yaml.MappingNode}
			for i, name := range a.Names {
				values.Content = append(values.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, a.Values[i])
			}
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: a.Path}, values)
	}
	return n, nil
}

// Cells returns the combinations of the sweep, the last key varying fastest:
// one, the file itself, without a sweep. It refuses what is missing for a
// simulation and combinations that are impossible, naming them.
func (e *Experiment) Cells() ([]Cell, error) {
	switch {
	case e.Data.Set == "" && e.Data.File == "":
		return nil, e.mistake(wrong("data", "missing: a simulation needs rows; want data: {set: digits}, or a file with a schema"))
	case e.Partition.Method == "":
		return nil, e.mistake(wrong("partition", "missing: a simulation divides its rows among clients; want partition: {method: iid, clients: 10}"))
	}
	if suite, err := he.LookupSuite(e.Simulation.Suite); err == nil && max(e.MinCohort, e.CohortSize) > suite.MaxCohort() {
		return nil, e.mistake(wrong("cohort_size", "%d: suite %s adds up at most %d updates; choose another under simulation.suite",
			max(e.MinCohort, e.CohortSize), e.Simulation.Suite, suite.MaxCohort()))
	}
	total := 1
	for _, a := range e.Sweep {
		if err := e.checkAxis(a); err != nil {
			return nil, err
		}
		if total *= len(a.Values); total*len(e.repeats()) > maxUnits {
			return nil, &Error{File: e.name, Line: a.line, Problem: fmt.Sprintf("sweep: more than %d trainings: vary less", maxUnits)}
		}
	}
	if len(e.Sweep) == 0 {
		if bad := e.validateSimulated(); bad != nil {
			return nil, e.mistake(bad)
		}
		if e.Line("trained") > 0 && !e.ProofLevel.Trained() {
			return nil, e.mistake(e.without())
		}
		return []Cell{{File: e.File}}, nil
	}
	var out []Cell
	proven := false
	for number := range total {
		cell, err := e.cell(number)
		if err != nil {
			return nil, err
		}
		proven = proven || cell.ProofLevel.Trained()
		out = append(out, cell)
	}
	if e.Line("trained") > 0 && !proven {
		return nil, e.mistake(wrong("trained", "says what proof_level: trained proves, which no combination of the sweep has: write proof_level: trained, or remove this section"))
	}
	return out, nil
}

func (e *Experiment) mistake(m *mistake) error {
	return &Error{File: e.name, Line: lineOf(e.root, m.path), Problem: m.err.Error(), Err: m.err}
}

// fixed are the keys that every cell has alike.
var fixed = []string{"job", "sweep", "seed", "seeds", "repeats", "data", "schema"}

func (e *Experiment) checkAxis(a Axis) error {
	paths := []string{a.Path}
	if a.Path == Together {
		paths = nil
		for _, v := range a.Values {
			for i := 0; i < len(v.Content); i += 2 {
				paths = append(paths, v.Content[i].Value)
			}
		}
	}
	for _, path := range paths {
		if first, _, _ := strings.Cut(path, "."); slices.Contains(fixed, first) {
			return &Error{File: e.name, Line: a.line, Problem: fmt.Sprintf("sweep: %s cannot be varied", path)}
		}
	}
	return nil
}

// cell makes one combination: the file's tree with other values in it.
func (e *Experiment) cell(number int) (Cell, error) {
	root := clone(e.root)
	drop(root, "sweep")
	words := make([]string, len(e.Sweep))
	line := 0
	for i := len(e.Sweep) - 1; i >= 0; i-- {
		a := e.Sweep[i]
		which := number % len(a.Values)
		number /= len(a.Values)
		if err := a.put(root, which); err != nil {
			return Cell{}, &Error{File: e.name, Line: a.line, Problem: fmt.Sprintf("sweep: %s: %v", a.Path, err)}
		}
		words[i] = a.Path + "=" + a.inWords(which)
		line = a.line
	}
	setting := strings.Join(words, " ")
	fail := func(problem string, err error) (Cell, error) {
		return Cell{}, &Error{File: e.name, Line: line, Problem: "sweep: with " + setting + ": " + problem, Err: err}
	}
	text, err := yaml.Marshal(root)
	if err != nil {
		return fail(err.Error(), err)
	}
	f, err := decode(e.name, text)
	if err != nil {
		return fail(err.(*Error).Problem, err) //nolint:errorlint // decode returns nothing else
	}
	if bad := f.validate(); bad != nil {
		return fail(bad.err.Error(), bad.err)
	}
	if bad := f.validateSimulated(); bad != nil {
		return fail(bad.err.Error(), bad.err)
	}
	if !f.ProofLevel.Trained() && !reflect.DeepEqual(f.Trained, e.Trained) {
		return fail("trained: is varied where nothing is proven by it: vary it together with proof_level: trained, under settings", nil)
	}
	return Cell{File: *f, Setting: setting}, nil
}

// put sets one of the axis' values in a file's tree.
func (a Axis) put(root *yaml.Node, which int) error {
	value := a.Values[which]
	if a.Path != Together {
		return set(root, strings.Split(a.Path, "."), value)
	}
	for i := 0; i+1 < len(value.Content); i += 2 {
		if err := set(root, strings.Split(value.Content[i].Value, "."), value.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// inWords names one of the axis' values.
func (a Axis) inWords(which int) string {
	if a.Names != nil {
		return a.Names[which]
	}
	return inWords(a.Values[which])
}

func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, x := range n.Content {
		c.Content[i] = clone(x)
	}
	return &c
}

func drop(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

// set puts a value at a path, making the mappings that are missing on the way.
func set(n *yaml.Node, path []string, value *yaml.Node) error {
	for i, step := range path {
		_, next := child(n, step)
		last := i == len(path)-1
		switch {
		case next != nil && last:
			*next = *clone(value)
		case next != nil:
			n = next
		case n.Kind == yaml.MappingNode:
			next = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			if last {
				next = clone(value)
			}
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: step}, next)
			n = next
		default:
			return fmt.Errorf("there is no %q to vary", strings.Join(path[:i+1], "."))
		}
	}
	return nil
}

// inWords writes a value on one line.
func inWords(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	var words []string
	step := 1
	if n.Kind == yaml.MappingNode {
		step = 2
	}
	for i := 0; i+step <= len(n.Content); i += step {
		word := inWords(n.Content[i+step-1])
		if step == 2 {
			word = n.Content[i].Value + ":" + word
		}
		words = append(words, word)
	}
	if step == 2 {
		return "{" + strings.Join(words, ",") + "}"
	}
	return "[" + strings.Join(words, ",") + "]"
}

// Repeats returns the seeds to train with, at least one.
func (e *Experiment) Repeats() []uint64 { return e.repeats() }

func (f *File) repeats() []uint64 {
	if len(f.Seeds) > 0 {
		return f.Seeds
	}
	out := make([]uint64, max(f.Repeats, 1))
	for i := range out {
		out[i] = f.Seed + uint64(i)
	}
	return out
}

// Name returns the path that the file was read under.
func (e *Experiment) Name() string { return e.name }

// YAML writes the file with every default written out.
func (f File) YAML() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(f); err != nil {
		return nil, fmt.Errorf("writing the resolved experiment: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("writing the resolved experiment: %w", err)
	}
	return b.Bytes(), nil
}

// Line returns the line of a key, "partition.clients", or 0.
func (e *Experiment) Line(path string) int { return lineOf(e.root, strings.Split(path, ".")) }

// At makes an error about the value at a path of keys.
func (e *Experiment) At(path string, err error) error {
	return &Error{File: e.name, Line: e.Line(path), Problem: path + ": " + err.Error(), Err: err}
}
