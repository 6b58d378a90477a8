package driver

import (
	"fmt"

	"credence/experiments/config"
	"credence/experiments/simulate"
	"credence/fl"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

// channel makes the channel of a unit's fidelity; nil is the plain one.
func (r *run) channel(u unit) (simulate.Channel, error) {
	s, suite := u.file.Simulation, u.suite
	switch s.Fidelity {
	case config.Encrypted:
		return simulate.NewEncrypted(suite, s.Committee.Members, s.Committee.Threshold)
	case config.Attested:
		folder, err := zk.OpenStore(r.opts.ProofKeys)
		if err != nil {
			return nil, err
		}
		progress := func(stage string, done, total int) {
			r.notice(fmt.Sprintf("proof keys: %s (%d of %d)", stage, done, total))
		}
		if u.trained != nil {
			return trainedChannel(u, folder, progress)
		}
		shape, err := rlwe.UpdateShape(suite)
		if err != nil {
			return nil, err
		}
		keys, err := folder.LoadOrSetup(shape, progress)
		if err != nil {
			return nil, err
		}
		return simulate.NewAttested(suite, s.Committee.Members, s.Committee.Threshold, keys)
	}
	return nil, nil
}

// trainedChannel makes the keys of a job at level trained, and its channel.
func trainedChannel(u unit, folder *zk.Store, progress zk.Progress) (simulate.Channel, error) {
	made, err := u.trained.SetUp(folder, progress)
	if err != nil {
		return nil, err
	}
	ids := map[string]fl.Digest{}
	for i, circuit := range u.trained.Circuits() {
		manifest := made[i].Manifest()
		ids[circuit] = manifest.Digest()
	}
	keys, err := u.trained.Load(folder, func(circuit string) (fl.Digest, error) { return ids[circuit], nil }, true, progress)
	if err != nil {
		return nil, err
	}
	c := u.file.Simulation.Committee
	return simulate.NewTrained(u.suite, c.Members, c.Threshold, u.trained, keys)
}
