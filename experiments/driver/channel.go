package driver

import (
	"fmt"

	"credence/experiments/config"
	"credence/experiments/simulate"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

// channel makes the channel of a unit's fidelity; nil is the plain one.
func (r *run) channel(u unit) (simulate.Channel, error) {
	s, suite := u.file.Simulation, mustSuite(u.file)
	switch s.Fidelity {
	case config.Encrypted:
		return simulate.NewEncrypted(suite, s.Committee.Members, s.Committee.Threshold)
	case config.Attested:
		shape, err := rlwe.UpdateShape(suite)
		if err != nil {
			return nil, err
		}
		folder, err := zk.OpenStore(r.opts.ProofKeys)
		if err != nil {
			return nil, err
		}
		keys, err := folder.LoadOrSetup(shape, func(stage string, done, total int) {
			r.notice(fmt.Sprintf("proof keys: %s (%d of %d)", stage, done, total))
		})
		if err != nil {
			return nil, err
		}
		return simulate.NewAttested(suite, s.Committee.Members, s.Committee.Threshold, keys)
	}
	return nil, nil
}
