package models

import (
	"errors"
	"fmt"
	"math"
)

// The kinds of Schedule.
const (
	StepDecay        = "step"
	ExponentialDecay = "exponential"
	CosineDecay      = "cosine"
)

// Schedule makes the learning rate follow the rounds of a job. With t the
// rounds since the warm-up, from 0:
//
//	step         rate * factor^floor(t/every)
//	exponential  rate * factor^t
//	cosine       rate * (final + (1-final)*(1+cos(pi*t/T))/2), T the rounds after the warm-up
//
// (step and exponential as in PyTorch's StepLR and ExponentialLR; cosine:
// Loshchilov and Hutter, ICLR 2017, equation 5, without restarts). Without a
// kind the rate stays as it is. During a warm-up of W rounds the rate grows
// linearly: round r of it has rate * r/(W+1) (Goyal et al. 2017, section 2.2).
//
// The zero value is no schedule.
type Schedule struct {
	Kind   string  `json:"kind,omitempty" yaml:"kind,omitempty"`
	Factor float64 `json:"factor,omitempty" yaml:"factor,omitempty"` // step, exponential: in (0, 1]
	Every  int     `json:"every,omitempty" yaml:"every,omitempty"`   // step: rounds, at least 1
	Final  float64 `json:"final,omitempty" yaml:"final,omitempty"`   // cosine: part of the rate at the end, in [0, 1]
	Warmup int     `json:"warmup,omitempty" yaml:"warmup,omitempty"` // rounds
}

const maxScheduleRounds = 1 << 20

func (s Schedule) validate() error {
	switch {
	case s.Kind != "" && s.Kind != StepDecay && s.Kind != ExponentialDecay && s.Kind != CosineDecay:
		return fmt.Errorf("schedule.kind %q is unknown: want %s, %s or %s", s.Kind, StepDecay, ExponentialDecay, CosineDecay)
	case (s.Kind == StepDecay || s.Kind == ExponentialDecay) && !(s.Factor > 0 && s.Factor <= 1):
		return fmt.Errorf("schedule.factor is %v: want a number in (0, 1]", s.Factor)
	case s.Kind != StepDecay && s.Kind != ExponentialDecay && s.Factor != 0:
		return fmt.Errorf("schedule.factor is set, but it belongs to %s and %s", StepDecay, ExponentialDecay)
	case s.Kind == StepDecay && (s.Every < 1 || s.Every > maxScheduleRounds):
		return fmt.Errorf("schedule.every is %d: want 1 to %d rounds", s.Every, maxScheduleRounds)
	case s.Kind != StepDecay && s.Every != 0:
		return fmt.Errorf("schedule.every is set, but it belongs to %s", StepDecay)
	case !(s.Final >= 0 && s.Final <= 1):
		return fmt.Errorf("schedule.final is %v: want a number in [0, 1]", s.Final)
	case s.Kind != CosineDecay && s.Final != 0:
		return fmt.Errorf("schedule.final is set, but it belongs to %s", CosineDecay)
	case s.Warmup < 0 || s.Warmup > maxScheduleRounds:
		return fmt.Errorf("schedule.warmup is %d: want 0 to %d rounds", s.Warmup, maxScheduleRounds)
	}
	return nil
}

// AtRound returns the settings for a round, from 1, of a job of rounds rounds:
// with the scheduled learning rate and without a schedule. Rounds after the last
// (a job counts aborted ones too) are trained like the last. A rate that the
// schedule brings to zero is an error: such a round would change nothing.
func (c TrainConfig) AtRound(round, rounds int) (TrainConfig, error) {
	s := c.Schedule
	if s == (Schedule{}) {
		return c, nil
	}
	if round < 1 || rounds < 1 {
		return c, fmt.Errorf("models: training: round %d of %d: rounds count from 1", round, rounds)
	}
	round = min(round, rounds)
	c.Schedule = Schedule{}
	t := float64(round - 1 - s.Warmup)
	switch {
	case t < 0:
		c.LearningRate *= float64(round) / float64(s.Warmup+1)
	case s.Kind == StepDecay:
		c.LearningRate *= math.Pow(s.Factor, math.Floor(t/float64(s.Every)))
	case s.Kind == ExponentialDecay:
		c.LearningRate *= math.Pow(s.Factor, t)
	case s.Kind == CosineDecay:
		c.LearningRate *= s.Final + (1-s.Final)*(1+math.Cos(math.Pi*t/float64(rounds-s.Warmup)))/2
	}
	if !(c.LearningRate > 0) {
		return c, fmt.Errorf("models: training: the schedule brings the learning rate of round %d to 0: raise schedule.factor or use fewer rounds", round)
	}
	return c, nil
}

// EarlyStop ends local training when the mean training loss of an epoch was not
// below the best before it by more than MinDelta for Patience epochs in a row.
// It looks at the training loss, not at the rows held out: those measure the
// federation's models and must not steer them. The parameters are those after
// the last epoch. The zero value never stops.
type EarlyStop struct {
	Patience int     `json:"patience,omitempty" yaml:"patience,omitempty"`   // epochs, at least 1
	MinDelta float64 `json:"min_delta,omitempty" yaml:"min_delta,omitempty"` // in units of the loss, at least 0
}

func (s EarlyStop) validate(c TrainConfig) error {
	switch {
	case s == EarlyStop{}:
		return nil
	case s.Patience < 1 || s.Patience > maxSteps:
		return fmt.Errorf("early_stop.patience is %d: want at least 1 epoch", s.Patience)
	case !(s.MinDelta >= 0) || math.IsInf(s.MinDelta, 0):
		return fmt.Errorf("early_stop.min_delta is %v: want a finite number of at least 0", s.MinDelta)
	case c.Epochs < 2:
		return errors.New("early_stop is set, but training has no second epoch to leave out: set epochs to at least 2")
	}
	return nil
}

// watch returns a fresh watcher.
func (s EarlyStop) watch() *stopWatcher { return &stopWatcher{rule: s, best: math.Inf(1)} }

type stopWatcher struct {
	rule  EarlyStop
	best  float64
	stale int // epochs since the best
}

// after takes in the loss of a finished epoch and reports whether to stop.
func (w *stopWatcher) after(loss float64) bool {
	if w.rule == (EarlyStop{}) {
		return false
	}
	if loss < w.best-w.rule.MinDelta {
		w.best, w.stale = loss, 0
		return false
	}
	w.stale++
	return w.stale >= w.rule.Patience
}
