package fl

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The strategies and weightings.
const (
	// FedAvg adds the mean of the clients' model differences, each after local
	// training of any length, to the global model (McMahan et al., AISTATS 2017,
	// algorithm 1; with a server learning rate other than 1 it is the FedOpt of
	// Reddi et al., ICLR 2021, with plain SGD at the server).
	FedAvg = "fedavg"
	// FedSGD takes one step along the mean gradient (McMahan et al. 2017, section
	// 2). Its algebra is FedAvg's: the job must ask for exactly one local step
	// over all of a node's rows (one epoch, batch of the full data) with plain
	// SGD at a local learning rate of 1, so that the update is minus the
	// gradient; ServerLearningRate is then the learning rate.
	FedSGD = "fedsgd"
	// FedProx is FedAvg whose clients minimise their loss plus
	// Mu/2 |w - global|^2 (Li et al., MLSys 2020, algorithm 2).
	FedProx = "fedprox"
	// FedAvgM keeps a momentum of the mean at the server (Hsu et al. 2019, section
	// 4.3): v = Momentum*v + mean, global += rate*v.
	FedAvgM = "fedavgm"
	// FedAdagrad, FedYogi and FedAdam scale each coordinate of the mean by what
	// the server saw of it so far (Reddi et al., ICLR 2021, algorithm 2).
	FedAdagrad = "fedadagrad"
	FedYogi    = "fedyogi"
	FedAdam    = "fedadam"
	// Scaffold corrects the drift of clients with different data by control
	// variates, option II (Karimireddy et al., ICML 2020, algorithm 1). The
	// change of a client's variate travels in the same encrypted upload.
	Scaffold = "scaffold"
	// FedNova averages updates per local step, so that clients which take more
	// steps do not pull the model to themselves (Wang et al., NeurIPS 2020,
	// equation 7). The number of steps travels under encryption too.
	FedNova = "fednova"
	// Cyclic lets the nodes train in turn (cyclical weight transfer: Chang et
	// al., JAMIA 2018). A sum of one update would be the update, so it is groups
	// of the minimum cohort that take turns, in the order of their names.
	Cyclic = "cyclic"
	// FedBuff lets clients train on whatever model is newest when they start and
	// applies the mean of every Buffer updates (Nguyen et al., AISTATS 2022).
	FedBuff = "fedbuff"
	// FedPer shares all but the last PersonalLayers layers; those stay at the
	// nodes (Arivazhagan et al. 2019).
	FedPer = "fedper"
	// Ditto is FedAvg whose clients also train a model of their own, held near the
	// global one by Mu/2 |v - global|^2 (Li et al., ICML 2021, algorithm 1).
	Ditto = "ditto"

	// WeightBySamples weighs an update by the client's declared number of rows.
	WeightBySamples = "samples"
	// WeightUniform gives every update the same weight.
	WeightUniform = "uniform"
)

// StrategyNames returns the names that StrategySpec.Name may have.
func StrategyNames() []string {
	return []string{FedAvg, FedSGD, FedProx, FedAvgM, FedAdagrad, FedYogi, FedAdam, Scaffold, FedNova, Cyclic, FedBuff, FedPer, Ditto}
}

// StrategySpec chooses how local training is corrected and how the mean of the
// uploads becomes a new global model. A setting that does not belong to the
// named strategy is refused; zero means the default where there is one.
type StrategySpec struct {
	// Name is one of StrategyNames.
	Name string `json:"name" yaml:"name"`
	// ServerLearningRate multiplies the mean update; 1 is plain averaging.
	ServerLearningRate float64 `json:"server_learning_rate" yaml:"server_learning_rate"`
	// Weighting is "samples" or "uniform".
	Weighting string `json:"weighting" yaml:"weighting"`
	// Mu is the weight of the proximal term: fedprox and ditto, above 0; fednova, 0 for none.
	Mu float64 `json:"mu,omitempty" yaml:"mu,omitempty"`
	// Momentum of the server: fedavgm, in (0, 1), default 0.9.
	Momentum float64 `json:"momentum,omitempty" yaml:"momentum,omitempty"`
	// Beta1 and Beta2 are the decays of the first moment (fedadagrad: default 0;
	// fedyogi, fedadam: default 0.9) and of the second (fedyogi, fedadam: default
	// 0.99), in (0, 1).
	Beta1 float64 `json:"beta1,omitempty" yaml:"beta1,omitempty"`
	Beta2 float64 `json:"beta2,omitempty" yaml:"beta2,omitempty"`
	// Tau is the degree of adaptivity, added to the root of the second moment:
	// fedadagrad, fedyogi, fedadam, above 0, default 0.001.
	Tau float64 `json:"tau,omitempty" yaml:"tau,omitempty"`
	// VariateClip bounds each coordinate of the change of a client's control
	// variate, in units of the gradient: scaffold, above 0, no default.
	VariateClip float64 `json:"variate_clip,omitempty" yaml:"variate_clip,omitempty"`
	// MaxSteps is the largest normaliser a client may have, for plain SGD its
	// number of local steps: fednova, 1 to 2^24, no default.
	MaxSteps int `json:"max_steps,omitempty" yaml:"max_steps,omitempty"`
	// Buffer is the number of updates that make a version: fedbuff, at least the
	// minimum cohort.
	Buffer int `json:"buffer,omitempty" yaml:"buffer,omitempty"`
	// PersonalLayers is the number of last layers that stay at the nodes: fedper,
	// at least 1. PersonalParameters is how many parameters that is; it follows
	// from the model, is filled in on submission and checked by the nodes.
	PersonalLayers     int `json:"personal_layers,omitempty" yaml:"personal_layers,omitempty"`
	PersonalParameters int `json:"personal_parameters,omitempty" yaml:"-"`
	// Robust replaces the mean over the cohort by a robust rule over groups.
	Robust RobustSpec `json:"robust,omitzero" yaml:"robust,omitempty"`
}

// The rules of RobustSpec.
const (
	Median          = "median"           // coordinate-wise (Yin et al., ICML 2018)
	TrimmedMean     = "trimmed_mean"     // coordinate-wise, without the Trim lowest and highest (Yin et al. 2018)
	GeometricMedian = "geometric_median" // smoothed Weiszfeld (Pillutla et al., IEEE TSP 2022)
)

// RobustSpec splits the cohort of every round at random into groups of at least
// the minimum cohort, opens one sum a group, and combines the groups' means by
// a rule that few bad groups cannot move far. Everyone sees the groups' means.
type RobustSpec struct {
	Rule   string `json:"rule" yaml:"rule"`                     // Median, TrimmedMean or GeometricMedian
	Groups int    `json:"groups" yaml:"groups"`                 // at least 3
	Trim   int    `json:"trim,omitempty" yaml:"trim,omitempty"` // trimmed_mean: groups dropped at each end, at least 1, fewer than half
}

// MaxGroups bounds RobustSpec.Groups.
const MaxGroups = 256

// strategySettings says which settings each strategy has, beside the name,
// server learning rate and weighting that all have.
var strategySettings = map[string][]string{
	FedProx:    {"mu"},
	FedAvgM:    {"momentum"},
	FedAdagrad: {"beta1", "tau"},
	FedYogi:    {"beta1", "beta2", "tau"},
	FedAdam:    {"beta1", "beta2", "tau"},
	Scaffold:   {"variate_clip"},
	FedNova:    {"max_steps", "mu"},
	FedBuff:    {"buffer"},
	FedPer:     {"personal_layers", "personal_parameters"},
	Ditto:      {"mu"},
}

// Validate refuses unknown strategies and weightings, numbers out of their
// range, and settings that do not belong to the strategy.
func (s StrategySpec) Validate() error {
	if err := s.validate(); err != nil {
		return fmt.Errorf("strategy: %w", err)
	}
	return nil
}

func (s StrategySpec) validate() error {
	switch {
	case !slices.Contains(StrategyNames(), s.Name):
		return fmt.Errorf("name %q: want one of %q", s.Name, StrategyNames())
	case !(s.ServerLearningRate > 0) || math.IsInf(s.ServerLearningRate, 0):
		return fmt.Errorf("server_learning_rate %v: want a finite number > 0", s.ServerLearningRate)
	case s.Weighting != WeightBySamples && s.Weighting != WeightUniform:
		return fmt.Errorf("weighting %q: want %q or %q", s.Weighting, WeightBySamples, WeightUniform)
	}
	for _, set := range []struct {
		name string
		set  bool
	}{
		{"mu", s.Mu != 0}, {"momentum", s.Momentum != 0}, {"beta1", s.Beta1 != 0}, {"beta2", s.Beta2 != 0}, {"tau", s.Tau != 0},
		{"variate_clip", s.VariateClip != 0}, {"max_steps", s.MaxSteps != 0}, {"buffer", s.Buffer != 0},
		{"personal_layers", s.PersonalLayers != 0}, {"personal_parameters", s.PersonalParameters != 0},
	} {
		if set.set && !slices.Contains(strategySettings[s.Name], set.name) {
			return fmt.Errorf("%s is set, but %s has no such setting (it has: %s)", set.name, s.Name, s.settingNames())
		}
	}
	for _, r := range []struct {
		name  string
		value float64
		most  float64
		want  string
	}{
		{"mu", s.Mu, math.MaxFloat64, "finite number of at least 0"}, {"momentum", s.Momentum, 1, "number of at least 0 and below 1"},
		{"beta1", s.Beta1, 1, "number of at least 0 and below 1"}, {"beta2", s.Beta2, 1, "number of at least 0 and below 1"},
		{"tau", s.Tau, math.MaxFloat64, "finite number of at least 0"}, {"variate_clip", s.VariateClip, math.MaxFloat64, "finite number of at least 0"},
	} {
		if !(r.value >= 0 && r.value < r.most) {
			return fmt.Errorf("%s is %v: want a %s", r.name, r.value, r.want)
		}
	}
	switch {
	case (s.Name == FedProx || s.Name == Ditto) && s.Mu == 0:
		return fmt.Errorf("mu is missing: want the weight of the proximal term, above 0 (with 0, %s is fedavg)", s.Name)
	case s.Name == Scaffold && s.VariateClip == 0:
		return errors.New("variate_clip is missing: want the largest change of a coordinate of a control variate in a round, above 0; gradients have that unit")
	case s.Name == Scaffold && s.Weighting != WeightUniform:
		return fmt.Errorf("weighting %q: scaffold's control variates are plain means over the nodes; want %q", s.Weighting, WeightUniform)
	case s.Name == FedNova && s.MaxSteps == 0:
		return fmt.Errorf("max_steps is missing: want the most local steps of any node, 1 to %d", maxNormaliser)
	case s.Name == FedNova && (s.MaxSteps < 1 || s.MaxSteps > maxNormaliser):
		return fmt.Errorf("max_steps is %d: want the most local steps of any node, 1 to %d", s.MaxSteps, maxNormaliser)
	case s.Name == FedBuff && s.Buffer == 0:
		return fmt.Errorf("buffer is missing: want the number of updates of a version, 2 to %d", maxBuffer)
	case s.Name == FedBuff && (s.Buffer < 2 || s.Buffer > maxBuffer):
		return fmt.Errorf("buffer is %d: want the number of updates of a version, 2 to %d", s.Buffer, maxBuffer)
	case s.Name == FedPer && s.PersonalLayers == 0:
		return errors.New("personal_layers is missing: want the number of last layers that stay at the nodes, 1 to 64")
	case s.Name == FedPer && (s.PersonalLayers < 1 || s.PersonalLayers > 64):
		return fmt.Errorf("personal_layers is %d: want the number of last layers that stay at the nodes, 1 to 64", s.PersonalLayers)
	case s.PersonalParameters < 0 || s.PersonalParameters > MaxParameters:
		return fmt.Errorf("personal_parameters is %d: want 1 to %d, or 0 to have it filled in", s.PersonalParameters, MaxParameters)
	}
	return s.validateRobust()
}

const (
	maxNormaliser = 1 << 24
	maxBuffer     = 1 << 16
)

func (s StrategySpec) settingNames() string {
	own := slices.DeleteFunc(slices.Clone(strategySettings[s.Name]), func(n string) bool { return n == "personal_parameters" })
	return strings.Join(append([]string{"name", "server_learning_rate", "weighting", "robust"}, own...), ", ")
}

func (s StrategySpec) validateRobust() error {
	r := s.Robust
	switch {
	case r == RobustSpec{}:
		return nil
	case r.Rule != Median && r.Rule != TrimmedMean && r.Rule != GeometricMedian:
		return fmt.Errorf("robust.rule %q: want %q, %q or %q", r.Rule, Median, TrimmedMean, GeometricMedian)
	case r.Groups < 3 || r.Groups > MaxGroups:
		return fmt.Errorf("robust.groups is %d: want 3 to %d; with fewer, no group can be outvoted", r.Groups, MaxGroups)
	case r.Rule == TrimmedMean && (r.Trim < 1 || 2*r.Trim >= r.Groups):
		return fmt.Errorf("robust.trim is %d of %d groups: want at least 1 and fewer than half", r.Trim, r.Groups)
	case r.Rule != TrimmedMean && r.Trim != 0:
		return fmt.Errorf("robust.trim is set, but the rule is %s", r.Rule)
	}
	switch s.Name {
	case Cyclic:
		return errors.New("robust groups do not go with cyclic: one group of the minimum cohort trains in a round, so there is nothing to compare it with; use fedavg")
	case FedBuff:
		return errors.New("robust groups do not go with fedbuff: updates of one buffer start from different models; use fedavg")
	case Scaffold, FedNova:
		return fmt.Errorf("robust groups do not go with %s: its server step needs the mean over the whole cohort of two quantities that belong together; use fedavg, fedprox or a server optimiser", s.Name)
	}
	return nil
}

// live refuses what only a simulation can do.
func (s StrategySpec) live() error {
	switch {
	case s.Name == FedBuff:
		return errors.New("strategy: fedbuff runs in simulations only: a round's plan, its proofs and its seal bind every update to one base model and to a cohort that is named before it trains, and a buffer's updates start from different models and are those of whoever is done first; use fedavg with a cohort_size below the number of nodes, which does not wait for slow nodes beyond the deadline")
	case s.Name == FedPer && s.PersonalParameters == 0:
		return errors.New("strategy: fedper: personal_parameters is missing: it is filled in from the model when a job is submitted")
	}
	return nil
}

// WholeVector reports whether every client must carry the whole upload, so that
// weak nodes, which carry a part, are not sampled: the parts of an upload belong
// together.
func (s StrategySpec) WholeVector() bool { return s.Name == Scaffold || s.Name == FedNova }

// CheckClip refuses a clip that the strategy's uploads cannot bear: by shard, it
// would scale apart what belongs together, fednova's step count from its update
// and scaffold's variate from what the client keeps of it.
func (s StrategySpec) CheckClip(c Clip) error {
	if c.PerShard && s.WholeVector() {
		return fmt.Errorf("strategy: clip.per_shard does not go with %s: the parts of its upload belong together; leave per_shard out", s.Name)
	}
	return nil
}

// ClientState reports whether clients keep something of their own from round to
// round: control variates, a personal head or a personal model.
func (s StrategySpec) ClientState() bool {
	return s.Name == Scaffold || s.Name == FedPer || s.Name == Ditto
}

// PlainUpdate reports whether a client's update is what plain local training
// from the global model gives, so that a proof of such training speaks of it.
// Robust groups and what the server does with the mean do not matter for that.
func (s StrategySpec) PlainUpdate() bool {
	switch s.Name {
	case FedAvg, FedSGD, FedAvgM, FedAdagrad, FedYogi, FedAdam, Cyclic, Ditto:
		return true
	}
	return false
}

// UploadSize returns the length of the vector that a client uploads for a model
// of params parameters: those it shares, and what the strategy adds.
func (s StrategySpec) UploadSize(params int) (int, error) {
	if params < 1 || params > MaxParameters {
		return 0, fmt.Errorf("strategy: a model of %d parameters: want 1 to %d", params, MaxParameters)
	}
	size := params
	switch s.Name {
	case Scaffold:
		size = 2 * params
	case FedNova:
		size = params + 1
	case FedPer:
		size = params - s.PersonalParameters
		if size < 1 {
			return 0, fmt.Errorf("strategy: fedper: all %d parameters would stay at the nodes: lower personal_layers", params)
		}
	}
	if size > MaxParameters {
		return 0, fmt.Errorf("strategy: %s uploads %d values for a model of %d parameters: at most %d", s.Name, size, params, MaxParameters)
	}
	return size, nil
}

// StateSize returns the length of the vector that the server keeps from version
// to version; 0 when it keeps nothing.
func (s StrategySpec) StateSize(params int) int {
	switch s.Name {
	case FedAvgM, Scaffold:
		return params
	case FedAdagrad, FedYogi, FedAdam:
		return 2 * params
	}
	return 0
}

// Weights returns each client's Assignment.Weight and the Plan.WeightUnit for
// a cohort with the given declared numbers of samples (1 to MaxSamples each,
// already cut to the job's SampleCap).
func Weights(spec StrategySpec, samples map[NodeID]int64) (weights map[NodeID]int64, unit int64, err error) {
	if err := spec.Validate(); err != nil {
		return nil, 0, err
	}
	if len(samples) == 0 {
		return nil, 0, errors.New("weights: empty cohort")
	}
	weights = make(map[NodeID]int64, len(samples))
	for node, n := range samples {
		if n < 1 || n > MaxSamples {
			return nil, 0, fmt.Errorf("weights: %s declares %d samples: want 1 to %d", node, n, int64(MaxSamples))
		}
		if spec.Weighting == WeightUniform {
			n = 1
		}
		weights[node] = n
		unit = max(unit, n)
	}
	return weights, unit, nil
}
