package trained

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"

	"credence/fl"
	"credence/zk"
)

// Keys are the proof keys of one job: of its encryptions, its tables and its
// trainings. All speak of commitments under one SRS.
type Keys struct {
	Update       *zk.Keys // linked
	Registration *zk.TableKeys
	Validation   *zk.TableKeys // nil without requirements
	Trainer      *zk.Trainer
	training     []zk.AnyKeys // the trainer's
}

// A Pin returns the digest of the manifest that the keys of a circuit must
// have, having brought their files into the store; the zero digest accepts what
// the store holds.
type Pin func(circuit string) (fl.Digest, error)

// Load reads the job's keys from a store. Only provers need the proving halves.
func (j *Job) Load(store *zk.Store, pin Pin, prover bool, progress zk.Progress) (*Keys, error) {
	k := new(Keys)
	var err error
	pinned := func(name string) fl.Digest {
		if err != nil {
			return fl.Digest{}
		}
		var d fl.Digest
		if d, err = pin(name); err != nil {
			err = fmt.Errorf("keys of %s: %w", name, err)
		}
		return d
	}
	update, loadTable, loadTraining := store.Load, store.LoadTable, store.LoadTraining
	if !prover {
		update, loadTable, loadTraining = store.LoadVerifier, store.LoadTableVerifier, store.LoadTrainingVerifier
	}
	if d := pinned(j.linked.Name); err == nil {
		k.Update, err = update(j.linked, d, progress)
	}
	if d := pinned(j.registration.Name()); err == nil {
		k.Registration, err = loadTable(j.registration, d, progress)
	}
	if j.validation != nil {
		if d := pinned(j.validation.Name()); err == nil {
			k.Validation, err = loadTable(j.validation, d, progress)
		}
	}
	var inner, final *zk.TrainingKeys
	if j.inner != nil {
		if d := pinned(j.inner.Name()); err == nil {
			inner, err = loadTraining(j.inner, d, progress)
		}
	}
	if d := pinned(j.final.Name()); err == nil {
		final, err = loadTraining(j.final, d, progress)
	}
	if err != nil {
		return nil, err
	}
	return k, k.join(final, inner)
}

// Read reads the job's keys from a folder that a set-up left, whoever made
// them, in the order of Circuits.
func (j *Job) Read(store *zk.Store, progress zk.Progress) ([]zk.AnyKeys, error) {
	k, err := j.Load(store, func(string) (fl.Digest, error) { return fl.Digest{}, nil }, true, progress)
	if err != nil {
		return nil, err
	}
	return k.all(), nil
}

// join makes the trainer and checks that all keys are of one SRS.
func (k *Keys) join(final, inner *zk.TrainingKeys) error {
	var err error
	if k.Trainer, err = zk.NewTrainer(final, inner); err != nil {
		return err
	}
	if inner != nil {
		k.training = append(k.training, inner)
	}
	k.training = append(k.training, final)
	for _, part := range k.all() {
		if part.SRS().ID() != k.Update.SRS().ID() {
			return fmt.Errorf("%w: %s is of another set-up than %s: a job's keys must be of one", zk.ErrKeys, part.Manifest().Shape, k.Update.Manifest().Shape)
		}
	}
	return nil
}

// all lists the keys in the order of Job.Circuits.
func (k *Keys) all() []zk.AnyKeys {
	out := []zk.AnyKeys{k.Update, k.Registration}
	if k.Validation != nil {
		out = append(out, k.Validation)
	}
	return append(out, k.training...)
}

// powers is the number of powers that the job's commitments need.
func (j *Job) powers() int {
	return max(j.linked.Powers(), zk.TablePowers(j.registration), j.final.Powers())
}

// SetUp makes the job's keys by a local, single-party set-up, or takes what an
// earlier one left in the store, and returns them by circuit in the order of
// Circuits. Whoever runs it could forge proofs: only demonstrations and tests
// may call it. A job that needs more powers than the store's set-up has gets a
// set-up of its own, with which the earlier jobs' commitments do not go
// together.
func (j *Job) SetUp(store *zk.Store, progress zk.Progress) ([]zk.AnyKeys, error) {
	linked, err := j.setUpLinked(store, progress)
	if err != nil {
		return nil, err
	}
	out := []zk.AnyKeys{linked}
	add := func(load, setup func() (zk.AnyKeys, error)) {
		if err != nil {
			return
		}
		var k zk.AnyKeys
		if k, err = load(); absent(err) || err == nil && k.SRS().ID() != linked.SRS().ID() {
			if k, err = setup(); err == nil {
				err = store.Save(k)
			}
		}
		out = append(out, k)
	}
	srs := linked.SRS()
	for _, shape := range j.tables() {
		add(func() (zk.AnyKeys, error) { return widen(store.LoadTable(shape, fl.Digest{}, progress)) },
			func() (zk.AnyKeys, error) { return widen(zk.SetupTable(shape, srs, progress)) })
	}
	for _, shape := range j.trainings() {
		add(func() (zk.AnyKeys, error) { return widen(store.LoadTraining(shape, fl.Digest{}, progress)) },
			func() (zk.AnyKeys, error) { return widen(zk.SetupTraining(shape, srs, progress)) })
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// setUpLinked makes or reads the keys of the encryption, under an SRS that is
// large enough for all of the job's commitments.
func (j *Job) setUpLinked(store *zk.Store, progress zk.Progress) (*zk.Keys, error) {
	k, err := store.Load(j.linked, fl.Digest{}, progress)
	if err == nil && k.SRS().Size() >= j.powers() || err != nil && !absent(err) {
		return k, err
	}
	// Room for the next job's larger table.
	srs, err := zk.NewLocalSRS(1 << (bits.Len(uint(j.powers()-1)) + 1)) // #nosec G115 -- a positive number
	if err != nil {
		return nil, err
	}
	if k, err = zk.Setup(j.linked, srs, progress); err != nil {
		return nil, err
	}
	return k, store.Save(k)
}

// absent tells keys that are not there from keys that are damaged.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) && !errors.Is(err, zk.ErrKeys) }

// widen widens a result; the value means nothing beside an error.
func widen[K zk.AnyKeys](k K, err error) (zk.AnyKeys, error) { return k, err }
