package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"credence/fl"
	"credence/fl/identity"
)

// localStateMagic begins an encoded LocalState.
const localStateMagic = "credence/local-state/v1\n"

// EncodeLocalState returns the canonical form of what a client keeps: the magic,
// then for variate and personal parameters a 4-byte length and the values, as
// fl.EncodeParameters writes them.
func EncodeLocalState(s LocalState) []byte {
	out := []byte(localStateMagic)
	for _, v := range [][]float32{s.Variate, s.Personal} {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(v)))
		out = append(out, fl.EncodeParameters(v)...)
	}
	return out
}

// DecodeLocalState reads what EncodeLocalState wrote and nothing else. Values
// that are not finite are errors.
func DecodeLocalState(blob []byte) (LocalState, error) {
	rest, ok := bytes.CutPrefix(blob, []byte(localStateMagic))
	if !ok {
		return LocalState{}, errors.New("local state: not one, or of another version")
	}
	var s LocalState
	for _, into := range []*[]float32{&s.Variate, &s.Personal} {
		if len(rest) < 4 {
			return LocalState{}, errors.New("local state: cut short")
		}
		n := int64(binary.LittleEndian.Uint32(rest))
		rest = rest[4:]
		if n > fl.MaxParameters || int64(len(rest)) < 4*n {
			return LocalState{}, fmt.Errorf("local state: %d values announced, %d bytes left", n, len(rest))
		}
		if n > 0 {
			var err error
			if *into, err = fl.DecodeParameters(rest[:4*n], int(n)); err != nil {
				return LocalState{}, fmt.Errorf("local state: %w", err)
			}
		}
		rest = rest[4*n:]
	}
	if len(rest) > 0 {
		return LocalState{}, fmt.Errorf("local state: %d bytes after the end", len(rest))
	}
	return s, nil
}

const stateFile = "state.bin"

// keepState stores what the node keeps if a round is published; nil for nothing.
func (o outbox) keepState(job fl.JobID, round uint64, state []byte) error {
	if state == nil {
		return nil
	}
	return identity.WriteFile(filepath.Join(o.folder(job, round), stateFile), state)
}

// statesBefore returns the rounds before a round from which the outbox holds a
// state, newest first.
func (o outbox) statesBefore(job fl.JobID, round uint64) ([]uint64, error) {
	files, err := filepath.Glob(filepath.Join(o.dir, string(job), "*", stateFile))
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, f := range files {
		if n, err := strconv.ParseUint(filepath.Base(filepath.Dir(f)), 10, 64); err == nil && n < round {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

// localState returns what this node kept from the last round before a plan's
// that its update went into and that was published; an aborted round leaves no
// trace, here as at the aggregator. States older than that are erased.
func (n *Node) localState(ctx context.Context, w *work, plan fl.Plan) (LocalState, error) {
	s, from, err := n.remote.stateBefore(ctx, n.outbox, plan.Job, w.specID, plan.Round)
	if err != nil || from == 0 {
		return s, err
	}
	older, err := n.outbox.statesBefore(plan.Job, from)
	if err != nil {
		return LocalState{}, err
	}
	for _, old := range older {
		if err := os.Remove(filepath.Join(n.outbox.folder(plan.Job, old), stateFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return LocalState{}, err
		}
	}
	return s, nil
}

// stateBefore returns the newest state in an outbox from a round before the
// given one that was published with the party's update in it, and that round;
// the zero state and 0 when there is none.
func (r *Remote) stateBefore(ctx context.Context, o outbox, job fl.JobID, spec fl.Digest, round uint64) (LocalState, uint64, error) {
	rounds, err := o.statesBefore(job, round)
	if err != nil || len(rounds) == 0 {
		return LocalState{}, 0, err
	}
	versions, err := r.Models(ctx, job)
	if err != nil {
		return LocalState{}, 0, err
	}
	published := map[uint64]fl.Manifest{}
	for _, v := range versions {
		if v.Manifest.Job == job && v.Manifest.JobSpec == spec {
			published[v.Manifest.Round] = v.Manifest
		}
	}
	for _, round := range rounds {
		m, ok := published[round]
		if !ok {
			continue
		}
		// The seal says whether the update is in. A receipt would not: the node may
		// have been killed before it came.
		in, err := r.sealed(ctx, m)
		if err != nil {
			return LocalState{}, 0, err
		}
		if !in {
			continue
		}
		path := filepath.Join(o.folder(job, round), stateFile)
		raw, err := os.ReadFile(path)
		if err != nil {
			return LocalState{}, 0, err
		}
		s, err := DecodeLocalState(raw)
		if err != nil {
			return LocalState{}, 0, fmt.Errorf("%s: %w; what this node kept for job %s is damaged: remove the file to go on without", path, err, job)
		}
		return s, round, nil
	}
	return LocalState{}, 0, nil
}

// sealed reports whether this party's update is in a published round.
func (r *Remote) sealed(ctx context.Context, m fl.Manifest) (bool, error) {
	envelope, err := r.Document(ctx, m.Seal)
	if err != nil {
		return false, err
	}
	var seal fl.Seal
	if err := envelope.Open(r.home.Genesis.AggregatorKey, &seal); err != nil {
		return false, fmt.Errorf("round %d of job %s: %w", m.Round, m.Job, err)
	}
	return slices.Contains(seal.Clients, r.home.Node), nil
}

// PullOwn is Pull with what this party's node keeps to itself: a fedper model
// with the node's own last layers, or the node's own model of a ditto job, as it
// was when the version was published. Nothing of it was ever sent anywhere.
func (r *Remote) PullOwn(ctx context.Context, job fl.JobID, version uint64) (Published, error) {
	p, err := r.Pull(ctx, job, version)
	if err != nil {
		return Published{}, err
	}
	name := p.Spec.Strategy.Name
	if name != fl.FedPer && name != fl.Ditto {
		return Published{}, fmt.Errorf("job %s is trained by %s, which leaves no node a model of its own (%s and %s do); pull the published one", job, name, fl.FedPer, fl.Ditto)
	}
	m := p.Version.Manifest
	s, _, err := r.stateBefore(ctx, outbox{filepath.Join(r.home.Dir, outboxFolder)}, job, m.JobSpec, m.Round+1)
	if err != nil {
		return Published{}, err
	}
	want := p.Spec.Parameters
	if name == fl.FedPer {
		want = p.Spec.Strategy.PersonalParameters
	}
	switch {
	case s.Personal == nil:
		return Published{}, fmt.Errorf("%s keeps nothing of its own for version %d of job %s: its node had trained in no published round by then, or a later round took its place; try a later version", r.home.Node, m.Version, job)
	case len(s.Personal) != want || want > len(p.Params):
		return Published{}, fmt.Errorf("%s keeps %d parameters of its own for job %s: want %d", r.home.Node, len(s.Personal), job, want)
	}
	copy(p.Params[len(p.Params)-want:], s.Personal)
	p.Own = r.home.Node
	return p, p.Model.CheckParameters(p.Params)
}
