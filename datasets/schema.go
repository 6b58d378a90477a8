package datasets

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Bounds on a schema, so that a hostile one costs nothing.
const (
	MaxSchemaBytes = 1 << 20 // bytes of YAML
	MaxColumns     = 1 << 14 // columns of a schema or of a file
	MaxFeatures    = 1 << 16 // features after one-hot
	MaxClasses     = 1 << 12 // classes of a label
)

// Kind says what a column is for.
type Kind string

// The kinds of column.
const (
	Numeric     Kind = "numeric"     // one feature
	Categorical Kind = "categorical" // one feature a listed category (one-hot)
	Ignore      Kind = "ignore"      // read, not used as a feature
	Label       Kind = "label"       // the class; exactly one column
)

// Missing says what to do with a row that lacks a column's value.
type Missing string

// The policies for missing values.
const (
	Refuse Missing = "refuse" // an error (the default)
	Drop   Missing = "drop"   // leave the row out and count it
	Impute Missing = "impute" // put Column.Impute in its place and count it
)

// Normalise says how a numeric column is scaled.
type Normalise string

// The normalisations. Per-node standardisation differs from node to node; use
// Standard with agreed figures where one model input must mean the same value
// everywhere.
const (
	NoScale  Normalise = "none"     // x (the default)
	Standard Normalise = "standard" // (x - Mean) / Std, given in the schema
	MinMax   Normalise = "minmax"   // (x - Min) / (Max - Min), given in the schema
	PerNode  Normalise = "per-node" // (x - mean) / std of this node's training rows
)

// SplitMethod says how test rows are chosen.
type SplitMethod string

// The ways to hold out test rows.
const (
	SplitNone     SplitMethod = "none"     // every row is a training row (the default)
	SplitColumn   SplitMethod = "column"   // a column says train or test
	SplitFraction SplitMethod = "fraction" // a seeded draw of the rows that were kept
	SplitFile     SplitMethod = "file"     // a second file holds the test rows
)

// ImputeMean as Column.Impute of a numeric column stands for the mean of the
// column's present values in this node's training rows.
const ImputeMean = "mean"

// Column describes one column of a file.
type Column struct {
	Name string `yaml:"name" json:"name"`
	Kind Kind   `yaml:"kind" json:"kind"`

	// Categories of a categorical column, in the order of its features.
	Categories []string `yaml:"categories,omitempty,flow" json:"categories,omitempty"`

	// Missing policy; a label may be refused or dropped, not imputed.
	Missing Missing `yaml:"missing,omitempty" json:"missing,omitempty"`
	// Impute is a number, a category, or ImputeMean.
	Impute string `yaml:"impute,omitempty" json:"impute,omitempty"`

	// Normalise a numeric column, with the figures it needs and no others.
	Normalise Normalise `yaml:"normalise,omitempty" json:"normalise,omitempty"`
	Mean      *float64  `yaml:"mean,omitempty" json:"mean,omitempty"`
	Std       *float64  `yaml:"std,omitempty" json:"std,omitempty"`
	Min       *float64  `yaml:"min,omitempty" json:"min,omitempty"`
	Max       *float64  `yaml:"max,omitempty" json:"max,omitempty"`

	// Classes of the label column, in the order of the model's outputs.
	Classes []string `yaml:"classes,omitempty,flow" json:"classes,omitempty"`
	// Values maps what the file says to a class, where the two differ
	// ("M" to "malignant"). Class names themselves are always understood.
	Values map[string]string `yaml:"values,omitempty" json:"values,omitempty"`
}

// Split says which rows are held out for testing.
type Split struct {
	Method SplitMethod `yaml:"method,omitempty" json:"method,omitempty"`

	// Column (of kind ignore) and its two words, for SplitColumn.
	Column string `yaml:"column,omitempty" json:"column,omitempty"`
	Train  string `yaml:"train,omitempty" json:"train,omitempty"` // default "train"
	Test   string `yaml:"test,omitempty" json:"test,omitempty"`   // default "test"

	// Fraction of rows held out, in (0,1), for SplitFraction; drawn from Seed,
	// class by class if Stratified.
	Fraction   float64 `yaml:"fraction,omitempty" json:"fraction,omitempty"`
	Seed       uint64  `yaml:"seed,omitempty" json:"seed,omitempty"`
	Stratified bool    `yaml:"stratified,omitempty" json:"stratified,omitempty"`
}

// Schema describes a CSV file and the examples made of it.
type Schema struct {
	Version int    `yaml:"version" json:"version"` // 1
	Name    string `yaml:"name,omitempty" json:"name,omitempty"`

	// NoHeader: the first line is data and columns are matched by position.
	// Otherwise the first line names the columns, in any order.
	NoHeader bool `yaml:"no_header,omitempty" json:"no_header,omitempty"`
	// Delimiter is one of "," ";" "|" or a tab; "," by default.
	Delimiter string `yaml:"delimiter,omitempty" json:"delimiter,omitempty"`
	// ExtraColumns allows columns that the schema does not list (they are
	// ignored); only with a header.
	ExtraColumns bool `yaml:"extra_columns,omitempty" json:"extra_columns,omitempty"`
	// MissingValues are the words for "no value"; an empty cell always is one.
	MissingValues []string `yaml:"missing_values,omitempty,flow" json:"missing_values,omitempty"`

	Columns []Column `yaml:"columns" json:"columns"`
	Split   Split    `yaml:"split,omitempty" json:"split"`
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`^field (.*) not found in type .*$`)
)

// ParseSchema decodes and validates a schema from YAML. An unknown key, a
// second document or a contradiction is an error of kind ErrSchema with its
// line; name is what the error calls the file.
func ParseSchema(name string, text []byte) (*Schema, error) {
	if len(text) > MaxSchemaBytes {
		return nil, &Error{Kind: ErrLimit, File: name,
			Problem: fmt.Sprintf("the schema has %d bytes", len(text)), Remedy: fmt.Sprintf("keep it under %d", MaxSchemaBytes)}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, schemaSyntax(name, err)
	}
	if n := widestMap(&doc); n != nil {
		return nil, &Error{Kind: ErrLimit, File: name, Line: n.Line,
			Problem: fmt.Sprintf("a mapping of more than %d keys", MaxClasses), Remedy: "list fewer values"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	var s Schema
	if err := dec.Decode(&s); err != nil {
		return nil, schemaSyntax(name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, &Error{Kind: ErrSchema, File: name, Problem: "there is more than one YAML document", Remedy: "keep one schema a file"}
	}
	if err := s.Validate(); err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.File = name
			e.Line = lineOf(&doc, e)
		}
		return nil, err
	}
	return &s, nil
}

// LoadSchema reads a schema file; see ParseSchema.
func LoadSchema(path string) (*Schema, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("datasets: opening the schema: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxSchemaBytes+1))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("datasets: reading the schema %s: %w", path, err)
	}
	return ParseSchema(path, text)
}

// schemaSyntax turns the YAML decoder's report into a positioned error.
func schemaSyntax(name string, err error) error {
	e := &Error{Kind: ErrSchema, File: name, Problem: err.Error()}
	if errors.Is(err, io.EOF) {
		e.Problem, e.Remedy = "the schema is empty", "give it a version and columns"
		return e
	}
	var types *yaml.TypeError
	typed := errors.As(err, &types) && len(types.Errors) > 0
	if typed {
		e.Problem = types.Errors[0]
	}
	if m := yamlLine.FindStringSubmatch(e.Problem); m != nil {
		if n, aerr := strconv.Atoi(m[1]); aerr == nil {
			e.Line, e.Problem = n, m[2]
		}
	}
	if !typed {
		// The library's position of a grammatical error is one line early for
		// some errors and right for others.
		e.Problem, e.Remedy = "this is not YAML: "+e.Problem, "look at this line and the next"
	}
	if m := yamlUnknown.FindStringSubmatch(e.Problem); m != nil {
		e.Problem, e.Remedy = fmt.Sprintf("unknown key %q", m[1]), "correct its spelling or remove it"
	}
	return e
}

// widestMap returns a mapping with more than MaxClasses keys, or nil. The YAML
// library looks for repeated keys by comparing each with each: a megabyte of
// them would take it minutes. Aliases are not followed, their target is.
func widestMap(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.MappingNode && len(n.Content) > 2*MaxClasses {
		return n
	}
	for _, c := range n.Content {
		if wide := widestMap(c); wide != nil {
			return wide
		}
	}
	return nil
}

// lineOf finds the line of the column or the section a validation error is
// about, or 0.
func lineOf(doc *yaml.Node, e *Error) int {
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return 0
	}
	top := doc.Content[0].Content
	for i := 0; i+1 < len(top); i += 2 {
		switch {
		case top[i].Value == "split" && errors.Is(e.Err, errInSplit):
			return top[i].Line
		case top[i].Value == "columns" && e.Line > 0 && e.Line <= len(top[i+1].Content):
			return top[i+1].Content[e.Line-1].Line
		}
	}
	return 0
}

// YAML encodes the schema so that ParseSchema reads it back unchanged.
func (s *Schema) YAML() ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("datasets: encoding the schema: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("datasets: encoding the schema: %w", err)
	}
	return b.Bytes(), nil
}

// Digest identifies the schema: SHA-256 over a domain tag and the canonical
// JSON of its meaning, with defaults written out. Comments, key order and
// spelt-out defaults do not change it; anything that changes an example does.
// The schema must be valid.
func (s *Schema) Digest() ([sha256.Size]byte, error) {
	if err := s.Validate(); err != nil {
		return [sha256.Size]byte{}, err
	}
	text, err := json.Marshal(s.withDefaults())
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("datasets: encoding the schema for its digest: %w", err)
	}
	return sha256.Sum256(append([]byte("credence/datasets/schema/v1\x00"), text...)), nil
}

// withDefaults returns a copy with every default written out.
func (s *Schema) withDefaults() *Schema {
	out := *s
	if out.Delimiter == "" {
		out.Delimiter = ","
	}
	out.MissingValues = slices.Clone(s.MissingValues)
	if !slices.Contains(out.MissingValues, "") {
		out.MissingValues = append(out.MissingValues, "")
	}
	slices.Sort(out.MissingValues)
	out.Columns = slices.Clone(s.Columns)
	for i := range out.Columns {
		c := &out.Columns[i]
		if c.Missing == "" {
			c.Missing = Refuse
		}
		if c.Kind == Numeric && c.Normalise == "" {
			c.Normalise = NoScale
		}
		for _, p := range []**float64{&c.Mean, &c.Std, &c.Min, &c.Max} {
			if *p != nil {
				v := **p + 0 // minus zero and zero are the same figure
				*p = &v
			}
		}
	}
	if out.Split.Method == "" {
		out.Split.Method = SplitNone
	}
	if out.Split.Method == SplitColumn {
		if out.Split.Train == "" {
			out.Split.Train = "train"
		}
		if out.Split.Test == "" {
			out.Split.Test = "test"
		}
	}
	return &out
}

// FeatureNames lists the features in the order of an example's row: a numeric
// column under its own name, a categorical one as "column=category" for each
// of its categories.
func (s *Schema) FeatureNames() []string {
	var out []string
	for _, c := range s.Columns {
		switch c.Kind {
		case Numeric:
			out = append(out, c.Name)
		case Categorical:
			for _, v := range c.Categories {
				out = append(out, c.Name+"="+v)
			}
		}
	}
	return out
}

// Features counts the features of an example, after one-hot.
func (s *Schema) Features() int {
	n := 0
	for _, c := range s.Columns {
		switch c.Kind {
		case Numeric:
			n++
		case Categorical:
			n += len(c.Categories)
		}
	}
	return n
}

// Classes lists the class names in the order of the labels 0, 1, ...; nil if
// the schema has no label column.
func (s *Schema) Classes() []string {
	for _, c := range s.Columns {
		if c.Kind == Label {
			return c.Classes
		}
	}
	return nil
}
