package ceremony

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"credence/fl"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

// VerifyOptions say what else Verify should do.
type VerifyOptions struct {
	// Expect lists files, from receipts, that the ceremony must contain.
	Expect []fl.Digest
	// Store receives the sealed keys, made again from the contributions.
	Store    *zk.Store
	Progress zk.Progress // may be nil
}

// Verify checks everything: the transcript, every file, the proofs of every
// contribution, the beacons, and that the sealed keys follow. The first thing
// that does not hold is returned: a *Fault when it is somebody's contribution.
func Verify(ctx context.Context, dir string, o VerifyOptions) (*Status, error) {
	f := folder{dir}
	t, err := f.load()
	if err != nil {
		return nil, err
	}
	status, err := t.status()
	if err != nil {
		return nil, err
	}
	for _, d := range o.Expect {
		if !slices.ContainsFunc(status.Chains, func(c ChainState) bool {
			return slices.ContainsFunc(c.Entries, func(e Entry) bool { return e.File == d })
		}) {
			return nil, fmt.Errorf("ceremony: %w: contribution %s is missing: it was dropped, or the folder is older than it", ErrOrder, d.Short())
		}
	}
	if o.Store != nil && t.KeysSeal == nil {
		return nil, refuse("the ceremony is not sealed: there are no keys yet")
	}
	r := newReplay(f, t, nil, o.Progress)
	if err := r.contributions(ctx); err != nil {
		return nil, err
	}
	if t.PowersSeal == nil {
		return status, nil
	}
	if err := r.evaluate(ctx); err != nil {
		return nil, err
	}
	if t.KeysSeal == nil {
		return status, nil
	}
	keys, err := r.seal(ctx, t.KeysSeal.Beacon)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		m := k.Manifest()
		if d := m.Digest(); d != t.KeysSeal.Manifests[i] {
			return nil, fmt.Errorf("ceremony: %w: the keys of %s are sealed as %s, the contributions and the beacon give %s", ErrSeal, m.Shape, t.KeysSeal.Manifests[i].Short(), d.Short())
		}
	}
	return status, save(o.Store, keys)
}

func save(store *zk.Store, keys []*zk.Keys) error {
	if store == nil {
		return nil
	}
	for _, k := range keys {
		if err := store.Save(k); err != nil {
			return fmt.Errorf("ceremony: keeping the keys: %w", err)
		}
	}
	return nil
}

// SealOptions say how a phase is ended.
type SealOptions struct {
	// PassOver seals although listed participants have not contributed.
	PassOver bool
	// Store receives the keys; the last seal needs it.
	Store    *zk.Store
	Progress zk.Progress // may be nil
}

// Seal verifies everything so far and ends the open phase with a beacon: 16 to
// 1024 bytes that became known after the phase's last contribution and that
// nobody could foretell, such as a round of a public randomness service. Each
// phase needs its own. The second seal makes the keys and saves them. It wraps
// ErrRefused when the phase cannot be sealed yet.
func Seal(ctx context.Context, dir string, beacon []byte, o SealOptions) (*Status, error) {
	f := folder{dir}
	release, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer func() { _ = release() }()
	t, err := f.load()
	if err != nil {
		return nil, err
	}
	if err := t.mayBeSealed(beacon, o); err != nil {
		return nil, err
	}
	r := newReplay(f, t, beacon, o.Progress)
	if err := r.contributions(ctx); err != nil {
		return nil, err
	}
	if err := r.evaluate(ctx); err != nil {
		return nil, err
	}
	if t.PowersSeal == nil {
		s := &PowersSeal{Beacon: bytes.Clone(beacon)}
		for _, b := range r.initial {
			d, err := f.put(b)
			if err != nil {
				return nil, err
			}
			s.Initial = append(s.Initial, d)
		}
		t.PowersSeal = s
	} else {
		keys, err := r.seal(ctx, beacon)
		if err != nil {
			return nil, err
		}
		if err := save(o.Store, keys); err != nil {
			return nil, err
		}
		t.KeysSeal = &KeysSeal{Beacon: bytes.Clone(beacon)}
		for _, k := range keys {
			m := k.Manifest()
			t.KeysSeal.Manifests = append(t.KeysSeal.Manifests, m.Digest())
		}
	}
	if err := f.save(t); err != nil {
		return nil, err
	}
	return t.status()
}

// mayBeSealed checks everything about a seal that needs no computation.
func (t *Transcript) mayBeSealed(beacon []byte, o SealOptions) error {
	phase := t.phase()
	if phase == PhaseSealed {
		return refuse("the ceremony is sealed already")
	}
	if err := beaconOK(beacon); err != nil {
		return refuse("%v", err)
	}
	if phase == PhaseCircuits && o.Store == nil {
		return refuse("the last seal makes the keys and needs a store for them")
	}
	status, err := t.status()
	if err != nil {
		return err
	}
	for _, c := range status.Chains {
		if (c.Name == string(PhasePowers)) != (phase == PhasePowers) {
			continue
		}
		if len(c.Entries) < t.Start.Minimum {
			return refuse("%s has %d contributions: it takes %d to seal it", c.Name, len(c.Entries), t.Start.Minimum)
		}
		if len(c.Missing) > 0 && !o.PassOver {
			return refuse("%s lacks the contribution of %v; seal without them only when they will not come", c.Name, c.Missing)
		}
	}
	return t.refusePredictable(beacon, status)
}

// refusePredictable refuses beacons that a contributor could have chosen or
// known: the digests of the ceremony itself, and a beacon used before.
func (t *Transcript) refusePredictable(beacon []byte, status *Status) error {
	known := [][]byte{status.Ceremony[:], t.Start.Nonce[:]}
	for _, c := range status.Chains {
		for _, e := range c.Entries {
			known = append(known, e.File[:])
		}
	}
	if t.PowersSeal != nil {
		known = append(known, t.PowersSeal.Beacon)
	}
	b, err := t.Encode()
	if err != nil {
		return err
	}
	digest := sha256.Sum256(b)
	known = append(known, digest[:])
	for _, k := range known {
		if bytes.Equal(k, beacon) {
			return refuse("the beacon was known to contributors: take a public random value that came after the last contribution")
		}
	}
	return nil
}

// A replay makes a ceremony again from its files, checking every step.
type replay struct {
	f           folder
	t           *Transcript
	report      zk.Progress
	beacon      []byte // of a seal in the making
	done, total int    // steps

	last    *powers
	digest  fl.Digest // of last
	sealed  *mpcsetup.SrsCommons
	systems []*rlwe.System
	evals   []mpcsetup.Phase2Evaluations
	states  []*mpcsetup.Phase2
	initial [][]byte // encodings of what phase circuits begins with
}

const stepUnits = 100

func newReplay(f folder, t *Transcript, beacon []byte, progress zk.Progress) *replay {
	r := &replay{f: f, t: t, report: report(progress), beacon: beacon, systems: make([]*rlwe.System, len(t.Start.Circuits))}
	r.total = r.steps()
	return r
}

// steps is how many steps the replay takes.
func (r *replay) steps() int {
	n := len(r.t.Start.Circuits)
	out := len(r.t.Powers)
	if r.t.PowersSeal != nil || r.beacon != nil {
		out += 1 + n
	}
	for _, c := range r.t.Circuits {
		out += len(c)
	}
	if r.t.PowersSeal != nil && (r.t.KeysSeal != nil || r.beacon != nil) {
		out += n
	}
	return out
}

// step begins the next step and returns how to report within it.
func (r *replay) step(format string, args ...any) func(done, total int) {
	what, at := fmt.Sprintf(format, args...), r.done
	r.done++
	within := func(done, total int) {
		r.report(what, at*stepUnits+stepUnits*done/max(total, 1), r.total*stepUnits)
	}
	within(0, 1)
	return within
}

// contributions checks every contribution. Whether phase circuits began with
// the right states shows in evaluate, which takes much longer.
func (r *replay) contributions(ctx context.Context) error {
	if err := r.files(ctx); err != nil {
		return err
	}
	if err := r.powers(ctx); err != nil {
		return err
	}
	if r.t.PowersSeal == nil {
		return nil
	}
	return r.circuits(ctx)
}

// files checks that every file is there and is what was signed: what goes
// wrong in passing a folder on should not take minutes to be found.
func (r *replay) files(ctx context.Context) error {
	for _, c := range r.t.chains() {
		done, err := c.read(&r.t.Start)
		if err != nil {
			return err
		}
		files := c.reader(r.f, done)
		for place := range len(done) + 1 {
			if place == 0 && c.phase == PhasePowers {
				continue // it has no file
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := files.get(place); err != nil {
				return err
			}
		}
	}
	return nil
}

// powers checks phase powers and keeps its last state.
func (r *replay) powers(ctx context.Context) error {
	n := r.t.Start.Domain
	c := r.t.chains()[0]
	done, err := c.read(&r.t.Start)
	if err != nil {
		return err
	}
	files := c.reader(r.f, done)
	head := initialPowers(8, r.t.Start.ID()).head() // the same for every domain
	for place := 1; place <= len(done); place++ {
		progress := r.step("checking the powers of %s", (*c.entries)[place-1].Signer)
		b, err := files.get(place)
		if err != nil {
			return err
		}
		p, err := parsePowers(ctx, n, b, func(done, total int) { progress(done, 2*total) })
		if err != nil {
			return files.blame(ctx, place, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.verify(head, files.digest(place-1)); err != nil {
			return files.blame(ctx, place, err)
		}
		head, r.last, r.digest = p.head(), p, done[place-1].File
	}
	return nil
}

// evaluate seals the powers and makes what phase circuits begins with.
func (r *replay) evaluate(ctx context.Context) error {
	beacon := r.beacon
	if r.t.PowersSeal != nil {
		beacon = r.t.PowersSeal.Beacon
	}
	var err error
	if r.sealed, err = r.last.seal(ctx, r.digest, beacon, r.step("applying the beacon to the powers")); err != nil {
		return err
	}
	for i, c := range r.t.Start.Circuits {
		progress := r.step("evaluating %s", c.Shape)
		system, err := r.system(i)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		progress(1, 10)
		p, evals := evaluate(system, c, r.t.Start.ID(), r.sealed)
		b, err := encodeCircuit(p)
		if err != nil {
			return err
		}
		if seal := r.t.PowersSeal; seal != nil && seal.Initial[i] != fl.DigestBytes(b) {
			return fmt.Errorf("ceremony: %w: phase circuits of %s began with %s, the powers and the beacon give %s", ErrSeal, c.Shape, seal.Initial[i].Short(), fl.DigestBytes(b).Short())
		}
		r.evals, r.initial = append(r.evals, evals), append(r.initial, b)
	}
	return ctx.Err()
}

// circuits checks phase circuits and keeps the last state of each.
func (r *replay) circuits(ctx context.Context) error {
	for i, c := range r.t.chains()[1:] {
		done, err := c.read(&r.t.Start)
		if err != nil {
			return err
		}
		files := c.reader(r.f, done)
		system, err := r.system(i)
		if err != nil {
			return err
		}
		state, err := files.circuit(system, r.t.Start.Circuits[i].Domain, 0)
		if err != nil {
			return err
		}
		for place := 1; place <= len(done); place++ {
			progress := r.step("checking %s of %s", c.shape, (*c.entries)[place-1].Signer)
			next, err := files.circuit(system, r.t.Start.Circuits[i].Domain, place)
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			progress(1, 2)
			if err := verifyCircuit(state, next, files.digest(place-1)); err != nil {
				return files.blame(ctx, place, err)
			}
			state = next
		}
		r.states = append(r.states, state)
	}
	return nil
}

// system compiles circuit i once.
func (r *replay) system(i int) (*rlwe.System, error) {
	if r.systems[i] == nil {
		system, err := compileAs(&r.t.Start, i)
		if err != nil {
			return nil, err
		}
		r.systems[i] = system
	}
	return r.systems[i], nil
}

// seal makes the keys.
func (r *replay) seal(ctx context.Context, beacon []byte) ([]*zk.Keys, error) {
	var out []*zk.Keys
	for i, c := range r.t.Start.Circuits {
		r.step("making the keys of %s", c.Shape)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k, err := sealCircuit(r.systems[i], c, r.states[i], &r.evals[i], r.sealed, beacon)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	r.report("done", 1, 1)
	return out, nil
}
