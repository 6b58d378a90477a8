package zk

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"credence/fl"
	"credence/zk/circuit/committed"
	"credence/zk/circuit/rlwe"
)

// A Manifest identifies a set of keys: whoever agrees on its Digest agrees on
// circuit, keys and SRS, and on who made them.
type Manifest struct {
	Version   int       `json:"version"` // 1
	Shape     string    `json:"shape"`
	Origin    Origin    `json:"origin"`
	Circuit   fl.Digest `json:"circuit"`   // the constraint system
	Proving   fl.Digest `json:"proving"`   // file, zero when absent
	Verifying fl.Digest `json:"verifying"` // file
	SRS       fl.Digest `json:"srs"`       // file
}

// Digest identifies the manifest.
func (m *Manifest) Digest() fl.Digest {
	return fl.DigestOf("zk/keys/v1", number(uint64(m.Version)), []byte(m.Shape), []byte(m.Origin),
		m.Circuit[:], m.Proving[:], m.Verifying[:], m.SRS[:])
}

const manifestVersion = 1

// describe makes the manifest of keys.
func (k *keySet) describe(origin Origin) (Manifest, error) {
	if origin != OriginLocal && origin != OriginCeremony {
		return Manifest{}, fmt.Errorf("%w: origin %q: want %q or %q", ErrKeys, origin, OriginLocal, OriginCeremony)
	}
	circuit, err := k.circuit.Digest()
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Version: manifestVersion, Shape: k.circuit.Name, Origin: origin, Circuit: circuit}
	for _, part := range []struct {
		into  *fl.Digest
		write func(io.Writer) error
	}{{&m.Proving, k.writeProving}, {&m.Verifying, k.writeVerifying}, {&m.SRS, k.writeSRS}} {
		h := sha256.New()
		if err := part.write(h); err != nil {
			return Manifest{}, err
		}
		if part.into == &m.Proving && k.proving == nil {
			continue
		}
		*part.into = fl.Digest(h.Sum(nil))
	}
	return m, nil
}

func (k *keySet) writeProving(w io.Writer) error {
	if k.proving == nil {
		return nil
	}
	_, err := k.proving.WriteRawTo(w)
	return wrap("writing a proving key", err)
}

func (k *keySet) writeVerifying(w io.Writer) error {
	_, err := k.verifying.WriteRawTo(w)
	return wrap("writing a verifying key", err)
}

func (k *keySet) writeSRS(w io.Writer) error {
	_, err := w.Write(k.srs.Bytes())
	return wrap("writing an SRS", err)
}

func wrap(doing string, err error) error {
	if err != nil {
		return fmt.Errorf("zk: %s: %w", doing, err)
	}
	return nil
}

// parseManifest decodes a manifest strictly.
func parseManifest(b []byte) (Manifest, error) {
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	switch _, err := dec.Token(); {
	case !errors.Is(err, io.EOF):
		return m, fmt.Errorf("%w: something follows the manifest", ErrKeys)
	case m.Version != manifestVersion:
		return m, fmt.Errorf("%w: version %d, this build reads %d", ErrKeys, m.Version, manifestVersion)
	case m.Origin != OriginLocal && m.Origin != OriginCeremony:
		return m, fmt.Errorf("%w: origin %q: want %q or %q", ErrKeys, m.Origin, OriginLocal, OriginCeremony)
	case m.Circuit.IsZero() || m.Verifying.IsZero() || m.SRS.IsZero():
		return m, fmt.Errorf("%w: circuit, verifying key and SRS must be named", ErrKeys)
	}
	return m, nil
}

// A Store is a folder of keys. Files are named by their SHA-256 and checked
// against it whenever they are read; a manifest for each shape says which
// belong together. Nothing in it is secret.
type Store struct{ dir string }

// OpenStore opens a folder and makes it if need be.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("zk: making the key store: %w", err)
	}
	return &Store{dir: dir}, nil
}

// AnyKeys are the keys of any circuit of this package.
type AnyKeys interface {
	Manifest() Manifest
	SRS() *SRS
	CanProve() bool
	set() *keySet
}

// Save writes keys and makes them the ones of their shape.
func (s *Store) Save(keys AnyKeys) error {
	k := keys.set()
	for _, part := range []struct {
		digest fl.Digest
		write  func(io.Writer) error
	}{{k.manifest.Proving, k.writeProving}, {k.manifest.Verifying, k.writeVerifying}, {k.manifest.SRS, k.writeSRS}} {
		if part.digest.IsZero() {
			continue
		}
		if err := s.writeFile(part.digest.String(), part.write); err != nil {
			return err
		}
	}
	return s.writeFile(manifestName(k.manifest.Shape), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return wrap("writing a key manifest", e.Encode(k.manifest))
	})
}

func manifestName(shape string) string { return strings.ReplaceAll(shape, "/", "-") + ".json" }

// writeFile writes a file whole or not at all.
func (s *Store) writeFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(s.dir, ".writing-*")
	if err != nil {
		return fmt.Errorf("zk: writing to the key store: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("zk: writing to the key store: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("zk: writing to the key store: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("zk: writing to the key store: %w", err)
	}
	return wrap("writing to the key store", os.Rename(f.Name(), filepath.Join(s.dir, name)))
}

// Load reads the keys of a shape. A non-zero pin must be the digest of their
// manifest. Every file is checked against its digest (ErrKeys, naming the file)
// before it is used. It returns fs.ErrNotExist when the store has none.
func (s *Store) Load(shape *rlwe.Shape, pin fl.Digest, progress Progress) (*Keys, error) {
	return s.load(shape, pin, progress, true)
}

// LoadVerifier is Load without the proving half, which is most of the bytes:
// for aggregators, committee members and auditors.
func (s *Store) LoadVerifier(shape *rlwe.Shape, pin fl.Digest, progress Progress) (*Keys, error) {
	return s.load(shape, pin, progress, false)
}

func (s *Store) load(shape *rlwe.Shape, pin fl.Digest, progress Progress, prover bool) (*Keys, error) {
	k := new(Keys)
	var err error
	k.keySet, err = s.loadSet(shape.Name, shape.Powers(), func() (*committed.System, error) {
		if k.system, err = rlwe.Compile(shape); err != nil {
			return nil, err
		}
		return k.system.System, nil
	}, pin, progress, prover)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// loadSet loads the keys of the circuit that compile builds, named name.
func (s *Store) loadSet(name string, powers int, compile func() (*committed.System, error), pin fl.Digest, progress Progress, prover bool) (*keySet, error) {
	path := filepath.Join(s.dir, manifestName(name))
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("zk: reading the key manifest of %s: %w", name, err)
	}
	m, err := parseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", path, err)
	}
	if m.Shape != name {
		return nil, fmt.Errorf("%w: manifest %s is for %q, want %q", ErrKeys, path, m.Shape, name)
	}
	if !pin.IsZero() && m.Digest() != pin {
		return nil, fmt.Errorf("%w: manifest %s is %s, the federation's keys are %s: fetch those",
			ErrKeys, path, m.Digest().Short(), pin.Short())
	}
	progress.report("compiling "+name, 0, 3)
	system, err := compile()
	if err != nil {
		return nil, err
	}
	if circuit, err := system.Digest(); err != nil {
		return nil, err
	} else if m.Circuit != circuit {
		return nil, fmt.Errorf("%w: manifest %s is for circuit %s, this build's is %s: make or fetch the keys again",
			ErrKeys, path, m.Circuit.Short(), fl.Digest(circuit).Short())
	}
	k := &keySet{circuit: system, powers: powers, verifying: new(groth16.VerifyingKey), manifest: m}
	progress.report("reading keys of "+name, 1, 3)
	if b, err = s.readFile(m.Verifying); err != nil {
		return nil, err
	}
	r := bytes.NewReader(b)
	if _, err := k.verifying.ReadFrom(r); err != nil || r.Len() > 0 {
		return nil, fmt.Errorf("%w: verifying key %s: %d bytes left, %w", ErrKeys, m.Verifying.Short(), r.Len(), err)
	}
	if b, err = s.readFile(m.SRS); err != nil {
		return nil, err
	}
	if k.srs, err = ParseSRS(b); err != nil {
		return nil, err
	}
	if prover && !m.Proving.IsZero() {
		progress.report("reading the proving key of "+name, 2, 3)
		if b, err = s.readFile(m.Proving); err != nil {
			return nil, err
		}
		// The digest stands for the points' checks, which would take longer
		// than a proof.
		k.proving, r = new(groth16.ProvingKey), bytes.NewReader(b)
		if _, err := k.proving.UnsafeReadFrom(r); err != nil || r.Len() > 0 {
			return nil, fmt.Errorf("%w: proving key %s: %d bytes left, %w", ErrKeys, m.Proving.Short(), r.Len(), err)
		}
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	progress.report("keys for "+name, 3, 3)
	return k, nil
}

// readFile reads a content-addressed file and checks it.
func (s *Store) readFile(d fl.Digest) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, d.String()))
	if err != nil {
		return nil, fmt.Errorf("%w: reading %s: %w", ErrKeys, d.Short(), err)
	}
	if fl.DigestBytes(b) != d {
		return nil, fmt.Errorf("%w: file %s is damaged: its contents do not match its name; delete it and fetch or make the keys again",
			ErrKeys, filepath.Join(s.dir, d.String()))
	}
	return b, nil
}

// LoadOrSetup loads the keys of a shape, or makes and saves them by a local
// single-party set-up when the store has none. Only demonstrations and tests
// may call it.
func (s *Store) LoadOrSetup(shape *rlwe.Shape, progress Progress) (*Keys, error) {
	k, err := s.Load(shape, fl.Digest{}, progress)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrKeys) {
		return k, err
	}
	if k, err = Setup(shape, nil, progress); err != nil {
		return nil, err
	}
	return k, s.Save(k)
}
