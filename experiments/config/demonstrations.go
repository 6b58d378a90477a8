package config

import (
	"fmt"

	"credence/datasets"
	"credence/datasets/download"
	"credence/fl"
	"credence/models"
)

// Demonstrations are attacks on the privacy of the first round of a setting,
// carried out on what a client sends, on the sum that is opened and on that sum
// with noise (package privacyattack); a run keeps what they gave. The round has
// the setting's model, cohort, clip, training and rows.
type Demonstrations struct {
	Inversion  *Inversion  `yaml:"inversion,omitempty"`  // nil: not carried out
	Membership *Membership `yaml:"membership,omitempty"` // nil: not carried out
	// NoiseMultiplier and Delta are the noise of the third view where the setting
	// has no privacy of its own; defaults 1 and 1e-5, half of the cohort honest.
	NoiseMultiplier float64 `yaml:"noise_multiplier,omitempty"`
	Delta           float64 `yaml:"delta,omitempty"`
}

// Inversion reads a training row out of an update.
type Inversion struct {
	Trials   int `yaml:"trials,omitempty"`   // rounds that are attacked, default 20
	Rows     int `yaml:"rows,omitempty"`     // of each client in its step, default 1
	Pictures int `yaml:"pictures,omitempty"` // trials that the report shows, default 6
	// Image is the shape of a row of data.file that is an image; the sets with
	// names bring theirs.
	Image *models.Image `yaml:"image,omitempty"`
}

// Membership decides which of some rows a client trained on.
type Membership struct {
	Targets int `yaml:"targets,omitempty"` // rows that are decided upon, default 40; half are the client's
	Others  int `yaml:"others,omitempty"`  // rows of each other client; default: what clients have and the set allows
	Runs    int `yaml:"runs,omitempty"`    // rounds that are attacked, default 6
	Shadows int `yaml:"shadows,omitempty"` // rounds that the attacker simulates, default 24
}

// On reports whether anything is to be demonstrated.
func (d Demonstrations) On() bool { return d.Inversion != nil || d.Membership != nil }

// Bounds on demonstrations: they are to illustrate a run, not to outlast it.
const (
	maxTrials   = 1000
	maxTargets  = 1000
	maxPictures = 12
)

func (f *File) fillDemonstrations() {
	d := &f.Demonstrations
	if i := d.Inversion; i != nil {
		setDefault(&i.Trials, 20)
		setDefault(&i.Rows, 1)
		setDefault(&i.Pictures, min(6, max(i.Trials, 1)))
	}
	if m := d.Membership; m != nil {
		setDefault(&m.Targets, 40)
		setDefault(&m.Runs, 6)
		setDefault(&m.Shadows, 24)
	}
	if d.On() && !f.Privacy.On() {
		setDefault(&d.NoiseMultiplier, 1)
		setDefault(&d.Delta, 1e-5)
	}
}

func (f *File) validateDemonstrations() *mistake {
	const here = "demonstrations"
	d := f.Demonstrations
	switch {
	case d == Demonstrations{}:
		return nil
	case !d.On():
		return wrong(here, "want inversion: {}, membership: {} or both: without them nothing is shown")
	case f.Clip.Norm == 0:
		return wrong(here, "the sum with noise needs a bound on every update: add clip: {norm: 1}, say")
	case f.Privacy.On() && (d.NoiseMultiplier != 0 || d.Delta != 0):
		return wrong(here, "the noise is that of privacy; leave out noise_multiplier and delta")
	case !f.Privacy.On() && !(d.NoiseMultiplier > 0 && d.NoiseMultiplier <= 1000):
		return wrong(here+".noise_multiplier", "%v: want a number above 0, at most 1000", d.NoiseMultiplier)
	case !f.Privacy.On() && !(d.Delta > 0 && d.Delta < 1):
		return wrong(here+".delta", "%v: want a number between 0 and 1", d.Delta)
	case f.Strategy.Name == fl.Cyclic:
		return wrong(here, "cyclic opens no sum of several clients: there is nothing to compare a single update with")
	}
	if i := d.Inversion; i != nil {
		switch {
		case f.Model.Kind == models.CNN:
			return wrong(here+".inversion", "it reads the first dense layer, and a cnn begins with a convolution: want another model, or membership alone")
		case i.Trials < 1 || i.Trials > maxTrials:
			return wrong(here+".inversion.trials", "%d: want 1 to %d", i.Trials, maxTrials)
		case i.Rows < 1 || i.Rows > maxTargets:
			return wrong(here+".inversion.rows", "%d: want 1 to %d", i.Rows, maxTargets)
		case i.Pictures < 1 || i.Pictures > min(i.Trials, maxPictures):
			return wrong(here+".inversion.pictures", "%d: want 1 to %d", i.Pictures, min(i.Trials, maxPictures))
		case i.Image != nil && f.Data.Set != "":
			return wrong(here+".inversion.image", "data.set brings the shape of its images; leave this out")
		case i.Image != nil && (i.Image.Height < 1 || i.Image.Width < 1 || i.Image.Channels < 1 || i.Image.Height > maxSide || i.Image.Width > maxSide || i.Image.Channels > 4):
			return wrong(here+".inversion.image", "%d x %d with %d channels: want sides of 1 to %d and 1 to 4 channels", i.Image.Height, i.Image.Width, i.Image.Channels, maxSide)
		}
	}
	if m := d.Membership; m != nil {
		switch {
		case m.Targets < 4 || m.Targets > maxTargets || m.Targets%2 != 0:
			return wrong(here+".membership.targets", "%d: want an even number of 4 to %d", m.Targets, maxTargets)
		case m.Others < 0:
			return wrong(here+".membership.others", "%d: want a number of rows, or 0 to have it chosen", m.Others)
		case m.Runs < 1 || m.Runs > maxTrials:
			return wrong(here+".membership.runs", "%d: want 1 to %d", m.Runs, maxTrials)
		case m.Shadows < 4 || m.Shadows > maxTrials:
			return wrong(here+".membership.shadows", "%d: want 4 to %d", m.Shadows, maxTrials)
		}
	}
	return nil
}

const maxSide = 256 // pixels

// Image returns the shape of a row as an image, for data of the given number of
// features; nil for rows that are none.
func (f *File) Image(features int) (*models.Image, error) {
	if i := f.Demonstrations.Inversion; i != nil && i.Image != nil {
		if n := i.Image.Height * i.Image.Width * i.Image.Channels; n != features {
			return nil, fmt.Errorf("demonstrations.inversion.image: it has %d values, a row %d", n, features)
		}
		return i.Image, nil
	}
	if f.Data.Set == datasets.Digits {
		return &models.Image{Height: 8, Width: 8, Channels: 1}, nil
	}
	if set, ok := download.Named(f.Data.Set); ok && set.Height > 0 {
		side := set.Height
		return &models.Image{Height: side, Width: side, Channels: features / (side * side)}, nil
	}
	return nil, nil //nolint:nilnil // rows that are no images have no shape
}
