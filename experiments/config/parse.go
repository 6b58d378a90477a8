package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on a file; the largest real one is a few kilobytes.
const (
	MaxFile = 1 << 20 // bytes
	maxKeys = 4096    // of one mapping
)

// Error is a mistake in an experiment's file.
type Error struct {
	File    string
	Line    int // from 1; 0: of the file as a whole
	Problem string
	Err     error // cause, may be nil
}

// Error implements error.
func (e *Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where += ": line " + strconv.Itoa(e.Line)
	}
	return where + ": " + e.Problem
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Parse reads an experiment's or a job's text; name is what errors call the
// file. Every error is an *Error.
func Parse(name string, text []byte) (*Experiment, error) {
	root, err := tree(name, text)
	if err != nil {
		return nil, err
	}
	f, err := decode(name, text)
	if err != nil {
		return nil, err
	}
	if bad := f.validate(); bad != nil {
		return nil, &Error{File: name, Line: lineOf(root, bad.path), Problem: bad.err.Error(), Err: bad.err}
	}
	return &Experiment{File: *f, name: name, root: root}, nil
}

// tree parses the text without meaning and refuses what would be slow or
// ambiguous to decode.
func tree(name string, text []byte) (*yaml.Node, error) {
	if len(text) > MaxFile {
		return nil, &Error{File: name, Problem: fmt.Sprintf("%d bytes: an experiment or job file has at most %d", len(text), MaxFile)}
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &Error{File: name, Problem: "the file is empty; to start: credence experiment init, or credence job example"}
	case err != nil:
		return nil, syntax(name, err)
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, &Error{File: name, Line: second.Line, Problem: `something follows after a line "---": one job or experiment a file`}
	}
	if err := check(name, &doc); err != nil {
		return nil, err
	}
	return doc.Content[0], nil
}

// check refuses repeated keys, mappings too wide to compare their keys
// pairwise, and anchors, which can make a small file large.
func check(name string, n *yaml.Node) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return &Error{File: name, Line: n.Line, Problem: "anchors and aliases are not understood here: write the value out"}
	}
	if n.Kind == yaml.MappingNode {
		if len(n.Content) > 2*maxKeys {
			return &Error{File: name, Line: n.Line, Problem: fmt.Sprintf("a mapping of %d keys: at most %d", len(n.Content)/2, maxKeys)}
		}
		seen := make(map[string]int, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if first, twice := seen[key.Value]; twice {
				return &Error{File: name, Line: key.Line, Problem: fmt.Sprintf("key %q is already defined at line %d", key.Value, first)}
			}
			seen[key.Value] = key.Line
		}
	}
	for _, c := range n.Content {
		if err := check(name, c); err != nil {
			return err
		}
	}
	return nil
}

var (
	// typeNames are what the YAML library calls our types in its messages.
	typeNames = regexp.MustCompile(` in type [\w.\[\]]+$| into (?:\[\])?\*?\w+\.\w+$`)
	yamlLine  = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
)

// decode fills a File from text whose tree was checked.
func decode(name string, text []byte) (*File, error) {
	f := defaults()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return nil, syntax(name, err)
	}
	f.fill()
	return &f, nil
}

// syntax turns the YAML library's report into ours, with the first line only.
func syntax(name string, err error) error {
	var own *Error
	if errors.As(err, &own) {
		own.File = name
		return own
	}
	e := &Error{File: name, Problem: strings.TrimPrefix(err.Error(), "yaml: "), Err: err}
	var types *yaml.TypeError
	typed := errors.As(err, &types) && len(types.Errors) > 0
	if typed {
		e.Problem = types.Errors[0]
	}
	if m := yamlLine.FindStringSubmatch(e.Problem); m != nil {
		e.Line, _ = strconv.Atoi(m[1]) // digits by the expression; too many of them read as 0
		e.Problem = m[2]
	}
	if typed {
		e.Problem = typeNames.ReplaceAllString(e.Problem, "") + "; what may stand there: credence experiment init"
	}
	return e
}

// lineOf returns the line of the deepest node that exists on a path, or 0.
func lineOf(root *yaml.Node, path []string) int {
	line := 0
	for n := root; len(path) > 0; path = path[1:] {
		key, value := child(n, path[0])
		if value == nil {
			break
		}
		line, n = value.Line, value
		if key != nil {
			line = key.Line
		}
	}
	return line
}

// child returns the key (nil in a sequence) and value of one step of a path.
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return nil, n.Content[i]
		}
	}
	return nil, nil
}
