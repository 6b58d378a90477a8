package zk

import (
	"errors"
	"fmt"
	"io/fs"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"credence/fl"
	"credence/zk/circuit/committed"
	"credence/zk/circuit/training"
)

// TrainingKeys are the keys of one training circuit. They speak of table
// commitments and of linked updates' messages, so their SRS must be that of
// the table's and of the update's keys.
type TrainingKeys struct {
	*keySet
	shape *training.Shape
}

// Shape returns the relation the keys are for.
func (k *TrainingKeys) Shape() *training.Shape { return k.shape }

// NewTrainingKeys puts together keys from a ceremony and checks that they fit.
// Proving may be nil.
func NewTrainingKeys(s *training.Shape, proving *groth16.ProvingKey, verifying *groth16.VerifyingKey, srs *SRS, origin Origin) (*TrainingKeys, error) {
	circuit, err := training.Compile(s)
	if err != nil {
		return nil, err
	}
	set, err := newKeySet(keySet{circuit: circuit, powers: s.Powers(), proving: proving, verifying: verifying, srs: srs}, origin)
	if err != nil {
		return nil, err
	}
	return &TrainingKeys{keySet: set, shape: s}, nil
}

// SetupTraining makes keys for a shape by a local, single-party set-up. A nil
// SRS makes a fresh one of s.Powers() powers.
func SetupTraining(s *training.Shape, srs *SRS, progress Progress) (*TrainingKeys, error) {
	progress.report("compiling "+s.Name(), 0, 3)
	circuit, err := training.Compile(s)
	if err != nil {
		return nil, err
	}
	set, err := setupSet(circuit, s.Powers(), srs, progress)
	if err != nil {
		return nil, err
	}
	return &TrainingKeys{keySet: set, shape: s}, nil
}

// LoadTraining reads the keys of a shape like Load.
func (s *Store) LoadTraining(shape *training.Shape, pin fl.Digest, progress Progress) (*TrainingKeys, error) {
	return s.loadTraining(shape, pin, progress, true)
}

// LoadTrainingVerifier is LoadTraining without the proving half.
func (s *Store) LoadTrainingVerifier(shape *training.Shape, pin fl.Digest, progress Progress) (*TrainingKeys, error) {
	return s.loadTraining(shape, pin, progress, false)
}

func (s *Store) loadTraining(shape *training.Shape, pin fl.Digest, progress Progress, prover bool) (*TrainingKeys, error) {
	set, err := s.loadSet(shape.Name(), shape.Powers(), func() (*committed.System, error) { return training.Compile(shape) }, pin, progress, prover)
	if err != nil {
		return nil, err
	}
	return &TrainingKeys{keySet: set, shape: shape}, nil
}

// LoadOrSetupTraining loads the keys of a shape, or makes and saves them by a
// local single-party set-up with the given SRS when the store has none. Only
// demonstrations and tests may call it.
func (s *Store) LoadOrSetupTraining(shape *training.Shape, srs *SRS, progress Progress) (*TrainingKeys, error) {
	k, err := s.LoadTraining(shape, fl.Digest{}, progress)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrKeys) {
		return k, err
	}
	if k, err = SetupTraining(shape, srs, progress); err != nil {
		return nil, err
	}
	return k, s.Save(k)
}

// A Trainer holds the keys that attest a whole local training: those of a
// whole part, or of the inner parts and the last one, whose proofs are chained
// by commitments to the weights between them.
type Trainer struct {
	inner, final *TrainingKeys // inner is nil for one proof
}

// NewTrainer puts keys together. Inner is nil exactly when final's part is
// training.Whole; otherwise the two must agree on everything but their steps.
func NewTrainer(final, inner *TrainingKeys) (*Trainer, error) {
	f := final.shape
	switch {
	case f.Part == training.Whole && inner == nil:
		return &Trainer{final: final}, nil
	case f.Part != training.Last || inner == nil || inner.shape.Part != training.Inner:
		return nil, fmt.Errorf("%w: a trainer has keys of a whole part, or of an inner and a last one", ErrKeys)
	}
	g := inner.shape
	if f.Layout != g.Layout || f.Model != g.Model || f.Batches != g.Batches || f.Suite != g.Suite || final.srs.ID() != inner.srs.ID() {
		return nil, fmt.Errorf("%w: %s and %s are no parts of one training, or not of one set-up", ErrKeys, g.Name(), f.Name())
	}
	return &Trainer{final: final, inner: inner}, nil
}

// Shape is the shape of the part that quantises.
func (t *Trainer) Shape() *training.Shape { return t.final.shape }

// CanProve reports whether the proving halves are present.
func (t *Trainer) CanProve() bool {
	return t.final.CanProve() && (t.inner == nil || t.inner.CanProve())
}

// SRS returns the powers under the keys' commitments.
func (t *Trainer) SRS() *SRS { return t.final.srs }

// parts is how many proofs attest so many steps.
func (t *Trainer) parts(steps int) (int, error) {
	before := steps - t.final.shape.Steps
	if t.inner == nil && before == 0 {
		return 1, nil
	}
	if t.inner == nil || before < 1 || before%t.inner.shape.Steps != 0 {
		return 0, fmt.Errorf("%w: %d steps are not what keys of %s attest", ErrScope, steps, t.final.shape.Name())
	}
	return 1 + before/t.inner.shape.Steps, nil
}

// keys are those of part i of n, from 0.
func (t *Trainer) keys(i, n int) *TrainingKeys {
	if i == n-1 {
		return t.final
	}
	return t.inner
}
