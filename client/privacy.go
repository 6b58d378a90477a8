package client

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"credence/fl"
	"credence/fl/privacy"
	"credence/he"
	"credence/models"
)

// PrivacyOptions is what an owner says about privacy; the zero value asks for
// none. Given are a noise multiplier, or the epsilon that all rounds together
// may spend, or both (then the second is the budget); and how many clients of a
// sum are honest, as a number or as a share of the minimum cohort.
type PrivacyOptions struct {
	NoiseMultiplier float64         `yaml:"noise_multiplier,omitempty"`
	Epsilon         float64         `yaml:"epsilon,omitempty"`
	Delta           float64         `yaml:"delta,omitempty"`
	MinHonest       int             `yaml:"min_honest,omitempty"`
	HonestFraction  float64         `yaml:"honest_fraction,omitempty"`
	Adaptive        fl.AdaptiveClip `yaml:"adaptive,omitempty"`
}

// On reports whether the owner asks for privacy.
func (o PrivacyOptions) On() bool { return o != PrivacyOptions{} }

// Validate refuses options that say nothing, or something twice.
func (o PrivacyOptions) Validate() error {
	switch {
	case !o.On():
		return nil
	case o.NoiseMultiplier == 0 && o.Epsilon == 0:
		return &fl.KeyError{Key: "privacy", Err: errors.New("privacy: neither noise_multiplier nor epsilon: say how much noise, or how much may be spent")}
	case !(o.NoiseMultiplier >= 0) || math.IsInf(o.NoiseMultiplier, 1) || !(o.Epsilon >= 0) || math.IsInf(o.Epsilon, 1):
		return &fl.KeyError{Key: "privacy.noise_multiplier", Err: fmt.Errorf("privacy: noise_multiplier %v, epsilon %v: want numbers above 0", o.NoiseMultiplier, o.Epsilon)}
	case !(o.Delta > 0 && o.Delta < 1):
		return &fl.KeyError{Key: "privacy.delta", Err: fmt.Errorf("privacy: delta %v: want a number between 0 and 1, well below one over the number of clients", o.Delta)}
	case (o.MinHonest == 0) == (o.HonestFraction == 0):
		return &fl.KeyError{Key: "privacy", Err: errors.New("privacy: want one of min_honest and honest_fraction: how many clients of every sum are honest")}
	case o.MinHonest < 0:
		return &fl.KeyError{Key: "privacy.min_honest", Err: fmt.Errorf("privacy: min_honest %d: want at least 1", o.MinHonest)}
	case !(o.HonestFraction >= 0 && o.HonestFraction <= 1):
		return &fl.KeyError{Key: "privacy.honest_fraction", Err: fmt.Errorf("privacy: honest_fraction %v: want a number above 0, at most 1", o.HonestFraction)}
	}
	return nil
}

// Resolve returns the privacy of a job of the given rounds: the noise multiplier
// that keeps them within epsilon, or the epsilon that the noise spends. upload
// is the length of an upload; the values of a suite's ciphertexts are counted
// whole.
func (o PrivacyOptions) Resolve(suite *he.Suite, upload, rounds, minCohort int) (fl.Privacy, error) {
	if err := o.Validate(); err != nil || !o.On() {
		return fl.Privacy{}, err
	}
	shards, err := fl.ShardMap(upload, suite.Values())
	if err != nil {
		return fl.Privacy{}, err
	}
	coordinates := len(shards) * (suite.Values() - fl.MetricSlots)
	p := fl.Privacy{NoiseMultiplier: o.NoiseMultiplier, Epsilon: o.Epsilon, Delta: o.Delta, MinHonest: o.MinHonest, Adaptive: o.Adaptive}
	if o.HonestFraction > 0 {
		p.MinHonest = max(1, int(o.HonestFraction*float64(minCohort))) // rounded down: fewer honest clients, more noise
	}
	if p.NoiseMultiplier == 0 {
		if p.NoiseMultiplier, err = privacy.Calibrate(p, coordinates, rounds); err != nil {
			return fl.Privacy{}, err
		}
	}
	spent := privacy.Spent(p, coordinates, rounds)
	switch {
	case math.IsInf(spent, 1):
		return fl.Privacy{}, &fl.KeyError{Key: "privacy.noise_multiplier", Err: fmt.Errorf("privacy: a noise multiplier of %v means nothing at delta %v over %d rounds: ask for more noise", p.NoiseMultiplier, p.Delta, rounds)}
	case p.Epsilon == 0:
		p.Epsilon = math.Ceil(spent*1000) / 1000
	case spent > p.Epsilon:
		return fl.Privacy{}, &fl.KeyError{Key: "privacy.noise_multiplier", Err: fmt.Errorf("privacy: %d rounds with noise multiplier %v spend epsilon %s, more than %v: leave noise_multiplier out to have it chosen, or ask for fewer rounds",
			rounds, p.NoiseMultiplier, privacy.FormatEpsilon(spent), p.Epsilon)}
	}
	return p, p.Validate(minCohort)
}

// resolvePrivacy fills in the privacy of a job that is to be submitted.
func (o JobOptions) resolvePrivacy(suiteName string, spec *fl.JobSpec) error {
	if !o.Privacy.On() {
		return nil
	}
	if err := CheckPrivacy(fl.Privacy{NoiseMultiplier: 1}, o.Training); err != nil {
		return err
	}
	suite, err := he.LookupSuite(suiteName)
	if err != nil {
		return err
	}
	upload, err := spec.Strategy.UploadSize(spec.Parameters)
	if err != nil {
		return err
	}
	spec.Privacy, err = o.Privacy.Resolve(suite, upload, spec.Rounds, spec.MinCohort)
	return err
}

// CheckPrivacy refuses local training whose public traces would depend on the
// data: everybody sees how many steps a client declares.
func CheckPrivacy(p fl.Privacy, training models.TrainConfig) error {
	if p.On() && training.EarlyStop != (models.EarlyStop{}) {
		return &fl.KeyError{Key: "training.early_stop", Err: errors.New("privacy does not go with early_stop: when training stops depends on the data, and the number of steps is public; leave early_stop out")}
	}
	return nil
}

// nothing is the update of a client of a private round whose training failed:
// zero, and as many steps as training would have taken. Everybody sees who
// declines a round, and that training diverges depends on the data.
func (w LocalWork) nothing(r LocalRound) (Update, error) {
	size, err := w.Strategy.UploadSize(len(r.Global))
	if err != nil {
		return Update{}, err
	}
	u := Update{Upload: make([]float64, size), State: r.Mine, Steps: w.Training.Steps}
	if u.Steps == 0 {
		batch := w.Training.BatchSize
		if batch == 0 || batch > w.Train.Rows {
			batch = w.Train.Rows
		}
		u.Steps = w.Training.Epochs * ((w.Train.Rows + batch - 1) / batch)
	}
	return u, nil
}

// sameClip reports whether a plan's clip is the job's. An adaptive one moves, but
// keeps its proportions, and the noise moves with it.
func sameClip(spec fl.JobSpec, plan fl.Plan) bool {
	if !spec.Privacy.Adaptive.On() {
		return plan.Clip == spec.Clip
	}
	ratio := (plan.Clip.Value / plan.Clip.Norm) / (spec.Clip.Value / spec.Clip.Norm)
	return plan.Clip.PerShard == spec.Clip.PerShard && math.Abs(ratio-1) < 1e-2 // each version is rounded to single precision
}

// checkCharge checks that the plan charges this node for at least the rounds of
// the job that it made an update for. Every client watches its own count: an
// aggregator that forgets a client's rounds finds it declining.
func (n *Node) checkCharge(plan fl.Plan) error {
	if !plan.Privacy.On() {
		return nil
	}
	made, err := n.outbox.made(plan.Job, plan.Round)
	if err != nil {
		return err
	}
	if charged := plan.ChargedOf(n.home.Node); charged <= made {
		return &declineError{fmt.Errorf("the plan charges this node's privacy budget for %d rounds and it took part in %d before", charged, made)}
	}
	return nil
}

// made returns for how many rounds of a job, before a round, this node made an
// update, sent or not.
func (o outbox) made(job fl.JobID, before uint64) (int, error) {
	files, err := filepath.Glob(filepath.Join(o.dir, string(job), "*", "header.json"))
	if err != nil {
		return 0, err
	}
	made := 0
	for _, f := range files {
		if number, err := strconv.ParseUint(filepath.Base(filepath.Dir(f)), 10, 64); err == nil && number < before {
			if _, err := os.Stat(f); err == nil {
				made++
			}
		}
	}
	return made, nil
}
