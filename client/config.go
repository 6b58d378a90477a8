package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"credence/datasets"
	"credence/fl"
	"credence/fl/identity"
)

// Names of the files in a node's folder.
const (
	configFile    = "node.yaml"
	genesisFile   = "genesis.json"
	enrolmentFile = "enrolment.json"
	certFile      = "certificate.der"
	authorityFile = "authority.der"
	statusFile    = "status.json"
	holderFolder  = "keyholder"
	outboxFolder  = "outbox"
)

// Config is a node's configuration file.
type Config struct {
	// Address of the aggregator, host:port.
	Address string `yaml:"address"`
	// Data lists the data sets that jobs may be trained on. A job names the
	// schema it needs; the first entry with that schema is used.
	Data []DataSource `yaml:"data,omitempty"`
	// UploadKbit limits uploads to so many kilobits a second; 0 for no limit.
	UploadKbit int `yaml:"upload_kbit,omitempty"`
	// ProofKeys, when it is not empty, names the only proof keys that the node
	// works with, by the digests of their manifests as
	// `credence federation ceremony verify` prints them: one for each circuit.
	ProofKeys []ProofKeysPin `yaml:"proof_keys,omitempty"`
	// Consent narrows which jobs the node takes part in.
	Consent Consent `yaml:"consent,omitempty"`
}

// DataSource is one CSV file and the schema that describes it. Relative paths
// start at the configuration file's folder.
type DataSource struct {
	Schema  string `yaml:"schema"`
	CSV     string `yaml:"csv"`
	TestCSV string `yaml:"test_csv,omitempty"` // for schemas that split by file
}

// Consent is a data owner's policy. The zero value takes part in every job
// whose schema the node has data for.
type Consent struct {
	// Owners whose jobs are accepted; empty: every owner's.
	Owners []fl.NodeID `yaml:"owners,omitempty"`
	// MinCohort is the fewest updates that a sum must have.
	MinCohort int `yaml:"min_cohort,omitempty"`
	// MaxEpsilon is the most that a job may spend of this node's privacy, at a
	// delta of at most MaxDelta: jobs that ask for less privacy, or for none, are
	// declined. 0: every job is accepted.
	MaxEpsilon float64 `yaml:"max_epsilon,omitempty"`
	// MaxDelta belongs to MaxEpsilon; 0 is 1e-5.
	MaxDelta float64 `yaml:"max_delta,omitempty"`
	// MaxMinHonest is the most honest clients in a sum that a job's noise may
	// rely on; 0: the job's word is taken.
	MaxMinHonest int `yaml:"max_min_honest,omitempty"`
	// NoRequirements declines jobs that ask nodes to prove something about their
	// rows: what is proven is known to everybody, and narrow limits are figures.
	NoRequirements bool `yaml:"no_requirements,omitempty"`
	// Paused declines everything.
	Paused bool `yaml:"paused,omitempty"`
}

const defaultMaxDelta = 1e-5

// validate refuses a policy that means nothing.
func (c Consent) validate() error {
	switch {
	case !(c.MaxEpsilon >= 0) || math.IsInf(c.MaxEpsilon, 1):
		return fmt.Errorf("consent.max_epsilon is %v: want a number of at least 0 (0: no limit)", c.MaxEpsilon)
	case !(c.MaxDelta >= 0 && c.MaxDelta < 1):
		return fmt.Errorf("consent.max_delta is %v: want a number of at least 0 and below 1 (0: %v)", c.MaxDelta, defaultMaxDelta)
	case c.MaxEpsilon == 0 && (c.MaxDelta != 0 || c.MaxMinHonest != 0):
		return errors.New("consent.max_delta and consent.max_min_honest belong to max_epsilon, which is missing")
	case c.MaxMinHonest < 0:
		return fmt.Errorf("consent.max_min_honest is %d: want at least 0 (0: no limit)", c.MaxMinHonest)
	}
	return nil
}

// LoadConfig reads node.yaml in dir. Unknown keys are errors with their line.
func LoadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, configFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the node's configuration: %w; join a federation first: credence node join", err)
	}
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if c.Address == "" {
		return Config{}, fmt.Errorf("%s: address is missing: want the aggregator's host:port", path)
	}
	if c.UploadKbit < 0 || c.UploadKbit > 100_000_000 {
		return Config{}, fmt.Errorf("%s: upload_kbit is %d: want 0 (no limit) to 100000000", path, c.UploadKbit)
	}
	if err := c.Consent.validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	for i, d := range c.Data {
		if d.Schema == "" || d.CSV == "" {
			return Config{}, fmt.Errorf("%s: data[%d]: want both schema and csv", path, i)
		}
		for _, p := range []*string{&c.Data[i].Schema, &c.Data[i].CSV, &c.Data[i].TestCSV} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
	}
	return c, nil
}

// ProofKeysPin is the digest of a manifest of proof keys, in hexadecimal with or
// without "sha256:" before it.
type ProofKeysPin fl.Digest

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *ProofKeysPin) UnmarshalText(text []byte) error {
	d, err := fl.ParseDigest(strings.TrimPrefix(string(text), pinPrefix))
	if err != nil {
		return fmt.Errorf("proof_keys: %q: want the digest of a manifest, as `credence federation ceremony verify` prints it: %w", text, err)
	}
	*p = ProofKeysPin(d)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (p ProofKeysPin) MarshalText() ([]byte, error) {
	return []byte(pinPrefix + fl.Digest(p).String()), nil
}

const pinPrefix = "sha256:"

// pinned refuses keys of a circuit that the configuration does not name, where
// it names any.
func (c Config) pinned(k fl.CircuitKeys, setup string) error {
	if len(c.ProofKeys) > 0 && !slices.Contains(c.ProofKeys, ProofKeysPin(k.Manifest)) {
		return fmt.Errorf("%w: for %s the aggregator names %s (%s set-up); compare it with the other institutions", ErrProofKeys, k.Shape, k.Manifest, setup)
	}
	return nil
}

func saveConfig(dir string, c Config) error {
	raw, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding the node's configuration: %w", err)
	}
	return identity.WriteFile(filepath.Join(dir, configFile), raw)
}

// errNoData says that the node has no data with the schema of a job.
var errNoData = errors.New("this node has no data with the job's schema")

// source finds the data that a job needs, and reads their schema.
func (c Config) source(schemaText string) (DataSource, *datasets.Schema, error) {
	wanted, err := datasets.ParseSchema("the job's schema", []byte(schemaText))
	if err != nil {
		return DataSource{}, nil, err
	}
	want, err := wanted.Digest()
	if err != nil {
		return DataSource{}, nil, err
	}
	for _, d := range c.Data {
		schema, err := datasets.LoadSchema(d.Schema)
		if err != nil {
			return DataSource{}, nil, err
		}
		got, err := schema.Digest()
		if err != nil {
			return DataSource{}, nil, err
		}
		if got == want {
			return d, schema, nil
		}
	}
	return DataSource{}, nil, fmt.Errorf("%w (%s)", errNoData, wanted.Name)
}

// load reads the data that a job needs.
func (c Config) load(schemaText string) (train, test fl.Examples, err error) {
	d, schema, err := c.source(schemaText)
	if err != nil {
		return fl.Examples{}, fl.Examples{}, err
	}
	if d.TestCSV != "" {
		train, test, _, err = datasets.LoadPair(d.CSV, d.TestCSV, schema)
	} else {
		train, test, _, err = datasets.Load(d.CSV, schema)
	}
	return train, test, err
}

// allows checks a job against the policy; the error says in words why not.
func (c Consent) allows(spec fl.JobSpec) error {
	switch {
	case c.Paused:
		return errors.New("this node's policy has paused all training")
	case len(c.Owners) > 0 && !slices.Contains(c.Owners, spec.Owner):
		return fmt.Errorf("this node's policy does not accept jobs of %s", spec.Owner)
	case c.NoRequirements && spec.Trained != nil && len(spec.Trained.Requirements) > 0:
		return errors.New("the job asks for proofs about the rows themselves, and this node's policy proves nothing about its data but their number")
	case spec.MinCohort < c.MinCohort:
		return fmt.Errorf("the job's minimum cohort is %d and this node's policy asks for %d", spec.MinCohort, c.MinCohort)
	}
	return c.allowsPrivacy(spec.Privacy)
}

func (c Consent) allowsPrivacy(p fl.Privacy) error {
	delta := c.MaxDelta
	if delta == 0 {
		delta = defaultMaxDelta
	}
	switch {
	case c.MaxEpsilon == 0:
		return nil
	case !p.On():
		return fmt.Errorf("the job adds no noise (epsilon: infinity) and this node's policy allows epsilon %v", c.MaxEpsilon)
	case p.Epsilon > c.MaxEpsilon || p.Delta > delta:
		return fmt.Errorf("the job's privacy budget is epsilon %v at delta %v and this node's policy allows %v at %v", p.Epsilon, p.Delta, c.MaxEpsilon, delta)
	case c.MaxMinHonest > 0 && p.MinHonest > c.MaxMinHonest:
		return fmt.Errorf("the job's noise relies on %d honest clients in every sum and this node's policy on at most %d", p.MinHonest, c.MaxMinHonest)
	}
	return nil
}
