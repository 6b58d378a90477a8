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

// localState returns what this node kept from the last round that its update
// went into and that was published; an aborted round leaves no trace, here as
// at the aggregator. States older than that are erased.
func (n *Node) localState(ctx context.Context, w *work, plan fl.Plan) (LocalState, error) {
	rounds, err := n.outbox.statesBefore(plan.Job, plan.Round)
	if err != nil || len(rounds) == 0 {
		return LocalState{}, err
	}
	versions, err := n.remote.Models(ctx, plan.Job)
	if err != nil {
		return LocalState{}, err
	}
	published := map[uint64]bool{}
	for _, v := range versions {
		if v.Manifest.Job == plan.Job && v.Manifest.JobSpec == w.specID {
			published[v.Manifest.Round] = true
		}
	}
	for i, round := range rounds {
		_, accepted, err := n.outbox.accepted(plan.Job, round)
		if err != nil {
			return LocalState{}, err
		}
		if !accepted || !published[round] {
			continue
		}
		for _, old := range rounds[i+1:] {
			if err := os.Remove(filepath.Join(n.outbox.folder(plan.Job, old), stateFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return LocalState{}, err
			}
		}
		path := filepath.Join(n.outbox.folder(plan.Job, round), stateFile)
		raw, err := os.ReadFile(path)
		if err != nil {
			return LocalState{}, err
		}
		s, err := DecodeLocalState(raw)
		if err != nil {
			return LocalState{}, fmt.Errorf("%s: %w; what this node kept for job %s is damaged: remove the file to go on without", path, err, plan.Job)
		}
		return s, nil
	}
	return LocalState{}, nil
}
