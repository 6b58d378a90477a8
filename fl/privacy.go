package fl

import (
	"errors"
	"fmt"
	"math"
)

// Privacy asks for differential privacy of everything that a job publishes.
// Its zero value asks for none. Package privacy adds the noise and does the
// accounting; the guarantee, its unit and its limits are in docs/spec.md.
type Privacy struct {
	// NoiseMultiplier is the deviation of the noise in a sum, over the most that
	// one client can change it (both in L2 norm): above 0.
	NoiseMultiplier float64 `json:"noise_multiplier" yaml:"noise_multiplier"`
	// Epsilon and Delta are the job's budget: no client takes part in a round
	// after which the models would be more than (Epsilon, Delta)-differentially
	// private towards it. Epsilon is above 0, Delta in (0, 1).
	Epsilon float64 `json:"epsilon" yaml:"epsilon"`
	Delta   float64 `json:"delta" yaml:"delta"`
	// MinHonest is the least number of honest clients in any sum, whose noise
	// alone has to suffice: 1 to the job's minimum cohort.
	MinHonest int `json:"min_honest" yaml:"min_honest"`
	// Adaptive lets the clip follow a quantile of the clients' norms; the zero
	// value keeps it.
	Adaptive AdaptiveClip `json:"adaptive,omitzero" yaml:"adaptive,omitempty"`
}

// AdaptiveClip moves the clip's norm towards a quantile of the norms of the
// clients' updates (Andrew, Thakkar, McMahan, Ramaswamy: Differentially Private
// Learning with Adaptive Clipping, NeurIPS 2021, algorithm 1). Each client of
// shard 0 sends, under the same encryption and with noise of its own, whether
// its update was within the clip; the next plan's clip follows from the count.
type AdaptiveClip struct {
	// Quantile of the norms to track, in (0, 1); the paper uses 0.5.
	Quantile float64 `json:"quantile" yaml:"quantile"`
	// LearningRate of the geometric update, above 0, at most 10; the paper uses
	// 0.2.
	LearningRate float64 `json:"learning_rate" yaml:"learning_rate"`
	// CountNoise is the deviation of the noise in the count, in clients; the
	// paper uses a twentieth of the cohort. It takes its share of the budget:
	// above half of the noise multiplier.
	CountNoise float64 `json:"count_noise" yaml:"count_noise"`
}

// On reports whether there is noise.
func (p Privacy) On() bool { return p != Privacy{} }

// On reports whether the clip moves.
func (a AdaptiveClip) On() bool { return a != AdaptiveClip{} }

// Bounds on what a job may ask for.
const (
	maxNoiseMultiplier = 1e6
	maxEpsilon         = 1e6
)

// Validate refuses numbers out of their range, with a *KeyError. minCohort is the
// job's.
func (p Privacy) Validate(minCohort int) error {
	if !p.On() {
		return nil
	}
	a := p.Adaptive
	switch {
	case !(p.NoiseMultiplier > 0 && p.NoiseMultiplier <= maxNoiseMultiplier):
		return atKey("privacy.noise_multiplier", "privacy: noise_multiplier %v: want a number above 0, at most %v", p.NoiseMultiplier, maxNoiseMultiplier)
	case !(p.Epsilon > 0 && p.Epsilon <= maxEpsilon):
		return atKey("privacy.epsilon", "privacy: epsilon %v: want a number above 0, at most %v", p.Epsilon, maxEpsilon)
	case !(p.Delta > 0 && p.Delta < 1):
		return atKey("privacy.delta", "privacy: delta %v: want a number between 0 and 1, well below one over the number of clients", p.Delta)
	case p.MinHonest < 1 || p.MinHonest > minCohort:
		return atKey("privacy.min_honest", "privacy: min_honest %d: want 1 to the minimum cohort, %d", p.MinHonest, minCohort)
	case !a.On():
		return nil
	case !(a.Quantile > 0 && a.Quantile < 1):
		return atKey("privacy.adaptive.quantile", "privacy: adaptive.quantile %v: want a number between 0 and 1", a.Quantile)
	case !(a.LearningRate > 0 && a.LearningRate <= 10):
		return atKey("privacy.adaptive.learning_rate", "privacy: adaptive.learning_rate %v: want a number above 0, at most 10", a.LearningRate)
	case !(2*a.CountNoise > p.NoiseMultiplier && a.CountNoise <= maxNoiseMultiplier):
		return atKey("privacy.adaptive.count_noise", "privacy: adaptive.count_noise %v: want more than half of the noise multiplier %v, or the count alone would spend more than that allows", a.CountNoise, p.NoiseMultiplier)
	}
	return nil
}

// UpdateNoise returns the noise multiplier of the update itself: what is left
// of NoiseMultiplier when the count has taken its share (Andrew et al. 2021,
// theorem 1). The two together spend what NoiseMultiplier says.
func (p Privacy) UpdateNoise() float64 {
	if !p.Adaptive.On() {
		return p.NoiseMultiplier
	}
	z, b := p.NoiseMultiplier, 2*p.Adaptive.CountNoise
	r := float64(z / b)
	return z / math.Sqrt(1-float64(r*r))
}

// KeyError is a mistake about the value at a key of a job's description, such as
// "privacy.min_honest".
type KeyError struct {
	Key string // dotted path
	Err error
}

// Error implements error; the words name the key.
func (e *KeyError) Error() string { return e.Err.Error() }

// Unwrap returns the mistake.
func (e *KeyError) Unwrap() error { return e.Err }

func atKey(key, format string, args ...any) error {
	return &KeyError{key, fmt.Errorf(format, args...)}
}

// CheckPrivacy refuses a strategy and a clip that privacy does not go with;
// adaptive says whether the clip is to follow the clients' counts. Errors are
// *KeyErrors.
func (s StrategySpec) CheckPrivacy(clip Clip, adaptive bool) error {
	switch {
	case clip.Norm == 0:
		return atKey("privacy", "privacy needs clip.norm: the noise is measured against the most that one client can change a sum")
	case clip.PerShard && adaptive:
		return atKey("privacy.adaptive", "clip.per_shard does not go with privacy.adaptive: the count says whether one whole update was within one norm")
	}
	switch s.Name {
	case Scaffold, FedNova, FedBuff:
		return atKey("privacy", "privacy does not go with %s: its uploads hold more than one update of known norm; use fedavg, fedprox, ditto, fedper or a server optimiser", s.Name)
	}
	return nil
}

// validatePrivacy refuses privacy that does not go with the rest of a job.
func (s JobSpec) validatePrivacy() error {
	if !s.Privacy.On() {
		return nil
	}
	if err := firstError(s.Privacy.Validate(s.MinCohort), s.Strategy.CheckPrivacy(s.Clip, s.Privacy.Adaptive.On())); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	return nil
}

// validatePrivacy checks the private part of a plan.
func (p Plan) validatePrivacy() error {
	if err := p.Privacy.Validate(p.MinCohort); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if !p.Privacy.On() {
		if len(p.Charged) > 0 {
			return errors.New("plan: clients are charged in a job without privacy")
		}
		return nil
	}
	if len(p.Charged) != len(p.Cohort) {
		return fmt.Errorf("plan: %d charges for a cohort of %d", len(p.Charged), len(p.Cohort))
	}
	for i, charged := range p.Charged {
		if charged < 1 || uint64(charged) > p.Round {
			return fmt.Errorf("plan: %s is charged for %d rounds in round %d: want 1 to the round", p.Cohort[i].Node, charged, p.Round)
		}
	}
	if p.Clip.Norm == 0 {
		return errors.New("plan: privacy without a bound on the norm")
	}
	_, err := p.Noise()
	return err
}

// MostCharged returns the largest number of rounds that any client of the
// cohort is charged for; 0 without privacy.
func (p Plan) MostCharged() int {
	most := 0
	for _, charged := range p.Charged {
		most = max(most, charged)
	}
	return most
}

// ChargedOf returns how many rounds a client of the cohort is charged for; 0
// for others, and without privacy.
func (p Plan) ChargedOf(node NodeID) int {
	for i, a := range p.Cohort {
		if a.Node == node && i < len(p.Charged) {
			return p.Charged[i]
		}
	}
	return 0
}
