package zk

import (
	"errors"
	"fmt"
	"io/fs"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"credence/fl"
	"credence/zk/circuit/committed"
	"credence/zk/circuit/table"
)

// TableKeys are the keys of one relation on tables of one layout: registration
// or validation. All keys that speak of one table must be of one SRS (a
// commitment names it), so SetupTable takes the SRS of the others.
type TableKeys struct {
	*keySet
	shape *table.Shape
}

// Shape returns the relation the keys are for.
func (k *TableKeys) Shape() *table.Shape { return k.shape }

// TablePowers is how many powers an SRS needs for tables of a shape.
func TablePowers(s *table.Shape) int { return s.Layout.Cells() + table.Blinds }

// NewTableKeys puts together keys from a ceremony and checks that they fit.
// Proving may be nil.
func NewTableKeys(s *table.Shape, proving *groth16.ProvingKey, verifying *groth16.VerifyingKey, srs *SRS, origin Origin) (*TableKeys, error) {
	circuit, err := table.Compile(s)
	if err != nil {
		return nil, err
	}
	set, err := newKeySet(keySet{circuit: circuit, powers: TablePowers(s), proving: proving, verifying: verifying, srs: srs}, origin)
	if err != nil {
		return nil, err
	}
	return &TableKeys{keySet: set, shape: s}, nil
}

// SetupTable makes keys for a shape by a local, single-party set-up. A nil SRS
// makes a fresh one of TablePowers powers.
func SetupTable(s *table.Shape, srs *SRS, progress Progress) (*TableKeys, error) {
	progress.report("compiling "+s.Name(), 0, 3)
	circuit, err := table.Compile(s)
	if err != nil {
		return nil, err
	}
	set, err := setupSet(circuit, TablePowers(s), srs, progress)
	if err != nil {
		return nil, err
	}
	return &TableKeys{keySet: set, shape: s}, nil
}

// LoadTable reads the keys of a shape like Load.
func (s *Store) LoadTable(shape *table.Shape, pin fl.Digest, progress Progress) (*TableKeys, error) {
	return s.loadTable(shape, pin, progress, true)
}

// LoadTableVerifier is LoadTable without the proving half.
func (s *Store) LoadTableVerifier(shape *table.Shape, pin fl.Digest, progress Progress) (*TableKeys, error) {
	return s.loadTable(shape, pin, progress, false)
}

func (s *Store) loadTable(shape *table.Shape, pin fl.Digest, progress Progress, prover bool) (*TableKeys, error) {
	set, err := s.loadSet(shape.Name(), TablePowers(shape), func() (*committed.System, error) { return table.Compile(shape) }, pin, progress, prover)
	if err != nil {
		return nil, err
	}
	return &TableKeys{keySet: set, shape: shape}, nil
}

// LoadOrSetupTable loads the keys of a shape, or makes and saves them by a
// local single-party set-up with the given SRS when the store has none. Keys in
// the store that are of another SRS are ErrKeys. Only demonstrations and tests
// may call it.
func (s *Store) LoadOrSetupTable(shape *table.Shape, srs *SRS, progress Progress) (*TableKeys, error) {
	k, err := s.LoadTable(shape, fl.Digest{}, progress)
	if err == nil && srs != nil && k.srs.ID() != srs.ID() {
		return nil, fmt.Errorf("%w: the keys of %s in the store are of SRS %s, not of %s: delete them", ErrKeys, shape.Name(), k.srs.ID().Short(), srs.ID().Short())
	}
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrKeys) {
		return k, err
	}
	if k, err = SetupTable(shape, srs, progress); err != nil {
		return nil, err
	}
	return k, s.Save(k)
}
