package adversary

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Kind names an attack.
type Kind string

// The attacks.
const (
	// LabelFlip trains on wrong labels: From becomes To, or, without them, every
	// class c of C becomes C-1-c (Biggio, Nelson and Laskov, ICML 2012; in
	// federated learning: Tolpegin et al., ESORICS 2020).
	LabelFlip Kind = "label-flip"
	// SignFlip sends minus Scale times the honest update (Li et al., RSA,
	// AAAI 2019, section 5: sign-flipping).
	SignFlip Kind = "sign-flip"
	// Scaling sends Scale times the honest update: one client's vote counted many
	// times. With a backdoor's poisoned data it is model replacement (Bagdasaryan
	// et al., AISTATS 2020, section 4.2).
	Scaling Kind = "scaling"
	// ALIE: the malicious clients of a cohort together send the mean of their
	// honest updates minus Z standard deviations, coordinate by coordinate, so
	// that the shift hides in the clients' own variance ("A little is enough":
	// Baruch, Baruch and Goldberg, NeurIPS 2019, algorithm 3). Z 0 is the paper's
	// largest one that the cohort's majority supports.
	ALIE Kind = "alie"
	// Backdoor adds to each client's rows copies that carry a trigger and the
	// class Target (Gu, Dolan-Gavitt and Garg, 2017; Bagdasaryan et al. 2020).
	Backdoor Kind = "backdoor"
	// FreeRider does not train and sends a made-up update, to be paid for it
	// (Fraboni, Vidal and Lorenzi, AISTATS 2021): zeros, or with Noise the
	// previous round's change of the model with Gaussian noise.
	FreeRider Kind = "free-rider"
)

// Kinds lists the attacks.
func Kinds() []Kind { return []Kind{LabelFlip, SignFlip, Scaling, ALIE, Backdoor, FreeRider} }

// Spec is one attack.
type Spec struct {
	Kind Kind `yaml:"kind"`
	// Fraction of all clients that it controls, in (0, 1), rounded to the
	// nearest number; which ones follows from the seed.
	Fraction float64 `yaml:"fraction"`
	// FirstRound is the first round in which they attack; 0 means 1.
	FirstRound int `yaml:"first_round,omitempty"`
	// Scale multiplies the update: of sign-flip (default 1), scaling (default 10),
	// and of label-flip and backdoor, where anything but 0 makes it an attack on
	// the update.
	Scale float64 `yaml:"scale,omitempty"`
	// Adaptive clients shrink an update that would be refused to the bound.
	Adaptive bool `yaml:"adaptive,omitempty"`
	// From and To are the classes of a label flip; both or neither.
	From *int `yaml:"from,omitempty"`
	To   *int `yaml:"to,omitempty"`
	// Z is ALIE's number of standard deviations; 0: the paper's.
	Z float64 `yaml:"z,omitempty"`
	// Target is the class that a backdoor wants; its Trigger sets the features
	// with these numbers, from 0, to Value; Share is the number of poisoned
	// copies for each row, in (0, 1] (default 0.5).
	Target  *int    `yaml:"target,omitempty"`
	Trigger []int   `yaml:"trigger,omitempty,flow"`
	Value   float64 `yaml:"value,omitempty"`
	Share   float64 `yaml:"poison,omitempty"`
	// Noise of a free rider: standard deviation of what it adds to the previous
	// change, relative to that change's root mean square; 0 means an update of
	// zeros.
	Noise float64 `yaml:"noise,omitempty"`
}

// Validate refuses unknown kinds, shares outside (0, 1), and settings that do
// not belong to the kind.
func (s Spec) Validate() error {
	if !slices.Contains(Kinds(), s.Kind) {
		return fmt.Errorf("attack: kind %q: want one of %s", s.Kind, list(Kinds()))
	}
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("attack %s: %s", s.Kind, fmt.Sprintf(format, args...))
	}
	switch {
	case !(s.Fraction > 0 && s.Fraction < 1):
		return refuse("fraction %v: want a number above 0 and below 1", s.Fraction)
	case s.FirstRound < 0:
		return refuse("first_round %d: want at least 1, or 0 for the first", s.FirstRound)
	case !(s.Scale >= 0) || math.IsInf(s.Scale, 0):
		return refuse("scale %v: want a finite number, at least 0", s.Scale)
	case s.Scale != 0 && (s.Kind == ALIE || s.Kind == FreeRider):
		return refuse("scale does not belong to it")
	case s.Adaptive && !s.Model():
		return refuse("adaptive belongs to attacks on the update: its clients send honest updates of bad data; give it a scale")
	case (s.From != nil || s.To != nil) && s.Kind != LabelFlip:
		return refuse("from and to belong to label-flip")
	case (s.From == nil) != (s.To == nil):
		return refuse("from and to go together")
	case s.From != nil && (*s.From < 0 || *s.To < 0 || *s.From == *s.To):
		return refuse("from %d, to %d: want two classes, numbered from 0", *s.From, *s.To)
	case (s.Z != 0 && s.Kind != ALIE) || !(s.Z >= 0) || math.IsInf(s.Z, 0):
		return refuse("z %v: want a finite number, at least 0, of alie only", s.Z)
	case (s.Noise != 0 && s.Kind != FreeRider) || !(s.Noise >= 0) || math.IsInf(s.Noise, 0):
		return refuse("noise %v: want a finite number, at least 0, of free-rider only", s.Noise)
	}
	if s.Kind != Backdoor {
		if s.Target != nil || len(s.Trigger) > 0 || s.Value != 0 || s.Share != 0 {
			return refuse("target, trigger, value and poison belong to backdoor")
		}
		return nil
	}
	switch {
	case s.Target == nil || *s.Target < 0:
		return refuse("target is missing: want the class, numbered from 0, that the trigger is to mean")
	case len(s.Trigger) == 0 || slices.Min(s.Trigger) < 0:
		return refuse("trigger %v: want the numbers of the features that it sets, from 0", s.Trigger)
	case !(math.Abs(s.Value) <= math.MaxFloat32):
		return refuse("value %v: want a number that fits single precision", s.Value)
	case !(s.Share >= 0 && s.Share <= 1):
		return refuse("poison %v: want a share in (0, 1]; 0 means 0.5", s.Share)
	}
	return nil
}

// Fit refuses an attack whose classes or features the data do not have.
func (s Spec) Fit(features, classes int) error {
	class := func(what string, c *int) error {
		if c != nil && *c >= classes {
			return fmt.Errorf("attack %s: %s %d: the data have the classes 0 to %d", s.Kind, what, *c, classes-1)
		}
		return nil
	}
	for _, err := range []error{class("from", s.From), class("to", s.To), class("target", s.Target)} {
		if err != nil {
			return err
		}
	}
	for _, t := range s.Trigger {
		if t >= features {
			return fmt.Errorf("attack %s: trigger feature %d: the data have the features 0 to %d", s.Kind, t, features-1)
		}
	}
	return nil
}

// Model reports whether the attack changes updates, and so ignores the clip,
// rather than data.
func (s Spec) Model() bool {
	switch s.Kind {
	case SignFlip, Scaling, ALIE:
		return true
	case LabelFlip, Backdoor:
		return s.Scale != 0
	}
	return false
}

// active reports whether its clients attack in a round.
func (s Spec) active(round int) bool { return round >= max(s.FirstRound, 1) }

func list(kinds []Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}
