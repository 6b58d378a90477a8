package simulate

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"credence/client"
	"credence/fl"
	"credence/fl/privacy"
	"credence/he"
)

// PrivacyError says that the privacy of a Job cannot be had with the rest of it.
type PrivacyError struct{ Err error }

func (e *PrivacyError) Error() string { return e.Err.Error() }

func (e *PrivacyError) Unwrap() error { return e.Err }

// private is a job's differential privacy, resolved for its suite and rounds.
type private struct {
	fl.Privacy
	coordinates int // values of an upload's ciphertexts
	most        int // rounds that a client can pay for
}

func newPrivate(job Job, suite *he.Suite, params int) (*private, error) {
	upload, err := job.Strategy.UploadSize(params)
	if err != nil {
		return nil, err
	}
	p := &private{}
	if p.Privacy, err = job.Privacy.Resolve(suite, upload, job.Rounds, job.MinCohort); err != nil {
		return nil, err
	}
	if err := client.CheckPrivacy(p.Privacy, job.Training); err != nil {
		return nil, err
	}
	// What a federation refuses, a simulation refuses too.
	spec := fl.JobSpec{
		Genesis: simulated, Job: job.ID, Owner: "simulation", Schema: fl.DigestBytes(nil), Model: []byte("{}"), Training: []byte("{}"),
		Parameters: params, InitialModel: simulated, Strategy: job.Strategy, Clip: job.Clip, Privacy: p.Privacy, Rounds: job.Rounds,
		CohortSize: job.CohortSize, MinCohort: job.MinCohort, RoundDeadline: 1, ProofLevel: job.ProofLevel,
		Rates: fl.Rates{Work: 1000}, Seed: job.Seed,
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	shards, err := fl.ShardMap(upload, suite.Values())
	if err != nil {
		return nil, err
	}
	p.coordinates = len(shards) * (suite.Values() - fl.MetricSlots)
	if _, err := fl.NewNoise(p.Privacy, job.Clip, suite.ValueBits(), p.coordinates); err != nil {
		return nil, err
	}
	p.most = privacy.Affordable(p.Privacy, p.coordinates)
	return p, nil
}

// able returns the candidates whose budget allows another round.
func (p *private) able(s *Simulation) ([]fl.Candidate, error) {
	var out []fl.Candidate
	for i, c := range s.candidates {
		if s.state.clients[i].Charged < p.most {
			out = append(out, c)
		}
	}
	if need := max(s.job.Strategy.Robust.Groups, 1) * s.job.MinCohort; len(out) < need {
		return nil, fmt.Errorf("the privacy budget is spent: a client takes part in at most %d rounds, and %d clients of the %d that a round needs have any left; raise privacy.epsilon or ask for fewer rounds", p.most, len(out), need)
	}
	return out, nil
}

// spent is what the client that was charged most has spent.
func (p *private) spent(s *Simulation) *float64 {
	most := 0
	for _, c := range s.state.clients {
		most = max(most, c.Charged)
	}
	epsilon := privacy.Spent(p.Privacy, p.coordinates, most)
	if math.IsInf(epsilon, 0) {
		return nil
	}
	return &epsilon
}

// sampler draws a client's noise in a round. A live node draws it from the
// system's randomness; here it follows from the seed, so that a run repeats.
func (p *private) sampler(plan fl.Plan, node fl.NodeID) *privacy.Sampler {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], plan.Seed)
	binary.LittleEndian.PutUint64(b[8:], plan.Round)
	return privacy.NewSampler(rand.NewChaCha8(fl.DigestOf("simulation/noise/v1", []byte(plan.Job), b[:], []byte(node))))
}
