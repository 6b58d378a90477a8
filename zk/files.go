package zk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"credence/fl"
)

// Describe says which blobs a set of keys consists of, for a federation's
// proof-keys document.
func (m Manifest) Describe() fl.CircuitKeys {
	return fl.CircuitKeys{Shape: m.Shape, Manifest: m.Digest(), Circuit: m.Circuit, Proving: m.Proving, Verifying: m.Verifying, SRS: m.SRS}
}

// manifestOf rebuilds the manifest that a proof-keys document describes, and
// checks that it is the one named.
func manifestOf(c fl.CircuitKeys, origin Origin) (Manifest, error) {
	m := Manifest{Version: manifestVersion, Shape: c.Shape, Origin: origin, Circuit: c.Circuit, Proving: c.Proving, Verifying: c.Verifying, SRS: c.SRS}
	if m.Digest() != c.Manifest {
		return Manifest{}, fmt.Errorf("%w: the files named for %s do not give manifest %s", ErrKeys, c.Shape, c.Manifest.Short())
	}
	return m, nil
}

// Read returns one of the store's files, checked against its digest.
func (s *Store) Read(digest fl.Digest) ([]byte, error) { return s.readFile(digest) }

// Import brings the keys that a proof-keys document names into the store: it
// fetches the files that are not there and checks each.
func (s *Store) Import(c fl.CircuitKeys, origin Origin, fetch func(fl.Digest) ([]byte, error)) error {
	return s.bring(c, origin, fetch, c.Verifying, c.SRS, c.Proving)
}

// ImportVerifier is Import without the proving half, for LoadVerifier: what an
// auditor needs is a fraction of the bytes.
func (s *Store) ImportVerifier(c fl.CircuitKeys, origin Origin, fetch func(fl.Digest) ([]byte, error)) error {
	return s.bring(c, origin, fetch, c.Verifying, c.SRS)
}

func (s *Store) bring(c fl.CircuitKeys, origin Origin, fetch func(fl.Digest) ([]byte, error), files ...fl.Digest) error {
	m, err := manifestOf(c, origin)
	if err != nil {
		return err
	}
	for _, digest := range files {
		if _, err := os.Stat(filepath.Join(s.dir, digest.String())); err == nil {
			continue // Load checks it
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("zk: looking into the key store: %w", err)
		}
		b, err := fetch(digest)
		if err != nil {
			return err
		}
		if fl.DigestBytes(b) != digest {
			return fmt.Errorf("%w: file %s does not match its digest", ErrKeys, digest.Short())
		}
		if err := s.writeFile(digest.String(), func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
			return err
		}
	}
	return s.writeFile(manifestName(m.Shape), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return wrap("writing a key manifest", e.Encode(m))
	})
}
