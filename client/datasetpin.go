package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"credence/fl"
	"credence/fl/identity"
)

// ErrOtherDataset says that a client of a job trained on another dataset
// commitment than in a round that this member opened before.
var ErrOtherDataset = errors.New("client: another dataset commitment than the client's first in this job")

// datasetPins is a committee member's memory of which dataset commitment each
// client of a job had in the first round that this member agreed to open, a
// file a job specification:
//
//	pins/<digest of the job's specification>.json
//
// A file is replaced as a whole and on disk before the round's first share
// leaves, so a member that is killed knows no less than it answered for.
type datasetPins struct{ dir string }

// pinFolder is where a node keeps its datasetPins.
const pinFolder = "pins"

// maxPinFile bounds a file of pins, in bytes: a client takes some 150.
const maxPinFile = 16 << 20

func (p datasetPins) path(spec fl.Digest) string {
	return filepath.Join(p.dir, spec.String()+".json")
}

// hold compares the commitments of a round's clients, digests of their signed
// documents, with those held for the job, and durably holds the clients that
// are new. When one client differs the error is ErrOtherDataset and nothing of
// the round is held. Callers hold the node's lock.
func (p datasetPins) hold(job fl.JobID, spec fl.Digest, round map[fl.NodeID]fl.Digest) error {
	held, err := p.read(spec)
	if err != nil {
		return err
	}
	before := len(held)
	for _, client := range slices.Sorted(maps.Keys(round)) {
		first, ok := held[client]
		if ok && first != round[client] {
			return fmt.Errorf("%w: %s was held to %s in job %s and now comes with %s; a client has one commitment a job, and other data take a new job: "+
				"this member opens no round of the job with %s on other data; audit the log, and let the job's owner cancel it or go on without the client",
				ErrOtherDataset, client, first.Short(), job, round[client].Short(), client)
		}
		held[client] = round[client]
	}
	if len(held) == before {
		return nil
	}
	raw, err := json.Marshal(held)
	if err != nil {
		return err
	}
	return identity.WriteFile(p.path(spec), raw)
}

// read returns what is held for a job; empty when nothing is yet.
func (p datasetPins) read(spec fl.Digest) (map[fl.NodeID]fl.Digest, error) {
	raw, err := readFile(p.path(spec))
	if err != nil || raw == nil {
		return map[fl.NodeID]fl.Digest{}, err
	}
	held, err := decodePins(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): it is this member's memory of its clients' data, and without it no round of the job is opened; restore it from a backup", p.path(spec), err)
	}
	return held, nil
}

// decodePins reads what hold wrote and nothing else.
func decodePins(raw []byte) (map[fl.NodeID]fl.Digest, error) {
	if len(raw) > maxPinFile {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(raw), maxPinFile)
	}
	var held map[fl.NodeID]fl.Digest
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&held); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something after the end")
	}
	if len(held) == 0 {
		return nil, errors.New("no client")
	}
	for client, digest := range held {
		if err := client.Validate(); err != nil {
			return nil, err
		}
		if digest.IsZero() {
			return nil, fmt.Errorf("no commitment of %s", client)
		}
	}
	again, err := json.Marshal(held)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, raw) { // a name twice, for one
		return nil, errors.New("not in the form that it is written in")
	}
	return held, nil
}

// pinDatasets holds the clients of a round that passed every check to their
// dataset commitments. It comes before the first share of the round.
func (n *Node) pinDatasets(plan fl.Plan, sealed []provenClaim) error {
	round := make(map[fl.NodeID]fl.Digest, len(sealed))
	for _, s := range sealed {
		round[s.client] = s.body.Dataset
	}
	return datasetPins{filepath.Join(n.home.Dir, pinFolder)}.hold(plan.Job, plan.JobSpec, round)
}
