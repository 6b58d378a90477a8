package tabular

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Sentinel errors; every error of this package wraps one of them.
var (
	// ErrLayout: a layout, a specification or a name of one that is refused.
	ErrLayout = errors.New("tabular: layout refused")
	// ErrTable: cells that are not those of a table of the layout.
	ErrTable = errors.New("tabular: table refused")
)

// Targets says what the target columns of a table hold.
type Targets string

// The kinds of targets.
const (
	OneHot Targets = "onehot" // C >= 2 columns, one a class: exactly one 1 in a valid row
	Binary Targets = "binary" // one column: 0 for the first class, 1 for the second
	Real   Targets = "real"   // C >= 1 columns of numbers on a grid, with the features' range
)

// Bounds on a layout. With them every sum that a circuit takes over a table is
// an integer below 2^62: zk/circuit/table/SPEC.md.
const (
	MinRows  = 2
	MaxRows  = 1 << 14
	MaxCells = 1 << 20 // rows times columns
	MinBits  = 4       // of a number: a feature or a real target
	MaxBits  = 16
	MarkBits = 32 // features a mark column speaks of
)

// A Layout says how large a table is and what its cells may be. The zero value
// is no layout.
type Layout struct {
	Rows     int     `json:"rows"`     // capacity; a table uses 1..Rows of them
	Features int     `json:"features"` // F, at least 1
	Kind     Targets `json:"kind"`
	Targets  int     `json:"targets"` // C columns
	Bits     int     `json:"bits"`    // numbers are in [-2^(Bits-1), 2^(Bits-1))
}

// Check reports ErrLayout for a layout outside its bounds.
func (l Layout) Check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrLayout, fmt.Sprintf(format, args...))
	}
	switch {
	case l.Rows < MinRows || l.Rows > MaxRows:
		return refuse("%d rows: want %d to %d", l.Rows, MinRows, MaxRows)
	case l.Features < 1 || l.Features > MaxCells:
		return refuse("%d features: want at least 1", l.Features)
	case l.Bits < MinBits || l.Bits > MaxBits:
		return refuse("numbers of %d bits: want %d to %d", l.Bits, MinBits, MaxBits)
	}
	switch l.Kind {
	case OneHot:
		if l.Targets < 2 || l.Targets > MaxCells {
			return refuse("%d one-hot columns: want at least 2", l.Targets)
		}
	case Binary:
		if l.Targets != 1 {
			return refuse("%d binary columns: want 1", l.Targets)
		}
	case Real:
		if l.Targets < 1 || l.Targets > MaxCells {
			return refuse("%d real targets: want at least 1", l.Targets)
		}
	default:
		return refuse("unknown targets %q: want %s, %s or %s", l.Kind, OneHot, Binary, Real)
	}
	if l.Rows*l.Width() > MaxCells {
		return refuse("%d rows of %d columns: want at most %d cells", l.Rows, l.Width(), MaxCells)
	}
	return nil
}

// Marks is the number M of mark columns: ceil(F/32).
func (l Layout) Marks() int { return (l.Features + MarkBits - 1) / MarkBits }

// Width is the number W of columns: 1 + F + C + M.
func (l Layout) Width() int { return 1 + l.Features + l.Targets + l.Marks() }

// Cells is Rows*Width, and the degree at which the blinding of a committed
// table begins.
func (l Layout) Cells() int { return l.Rows * l.Width() }

// Feature is the column of feature i, from 0.
func (l Layout) Feature(i int) int { return 1 + i }

// Target is the column of target i, from 0.
func (l Layout) Target(i int) int { return 1 + l.Features + i }

// Mark is mark column i, from 0. Bit k of its cell speaks of feature 32*i+k.
func (l Layout) Mark(i int) int { return 1 + l.Features + l.Targets + i }

// Half is 2^(Bits-1): numbers are in [-Half, Half).
func (l Layout) Half() int64 { return 1 << (l.Bits - 1) }

// Numbers is how many columns hold numbers: the features, and real targets.
func (l Layout) Numbers() int {
	if l.Kind == Real {
		return l.Features + l.Targets
	}
	return l.Features
}

// Number is the column of number i, from 0: the features, then real targets.
func (l Layout) Number(i int) int { return 1 + i }

// Classes is the number of classes, or 0 for real targets.
func (l Layout) Classes() int {
	switch l.Kind {
	case OneHot:
		return l.Targets
	case Binary:
		return 2
	}
	return 0
}

// Name is the layout in a word, for the names of circuits and keys:
// "r128-f30-b12-binary", "r128-f64-b8-onehot10", "r64-f8-b12-real1".
func (l Layout) Name() string {
	s := fmt.Sprintf("r%d-f%d-b%d-%s", l.Rows, l.Features, l.Bits, l.Kind)
	if l.Kind != Binary {
		s += strconv.Itoa(l.Targets)
	}
	return s
}

// maxName is longer than any Name.
const maxName = 64

// ParseLayout reads a Name. It accepts the one spelling that Name writes.
func ParseLayout(name string) (Layout, error) {
	refuse := func() (Layout, error) {
		return Layout{}, fmt.Errorf("%w: %.64q is not the name of a layout, such as r128-f30-b12-binary", ErrLayout, name)
	}
	parts := strings.Split(name, "-")
	if len(name) > maxName || len(parts) != 4 {
		return refuse()
	}
	var l Layout
	for i, f := range []struct {
		prefix string
		into   *int
	}{{"r", &l.Rows}, {"f", &l.Features}, {"b", &l.Bits}} {
		digits, ok := strings.CutPrefix(parts[i], f.prefix)
		n, err := strconv.Atoi(digits)
		if !ok || err != nil {
			return refuse()
		}
		*f.into = n
	}
	var err error
	switch rest := parts[3]; {
	case rest == string(Binary):
		l.Kind, l.Targets = Binary, 1
	case strings.HasPrefix(rest, string(OneHot)):
		l.Kind = OneHot
		l.Targets, err = strconv.Atoi(rest[len(OneHot):])
	case strings.HasPrefix(rest, string(Real)):
		l.Kind = Real
		l.Targets, err = strconv.Atoi(rest[len(Real):])
	default:
		return refuse()
	}
	if err != nil {
		return refuse()
	}
	if err := l.Check(); err != nil {
		return Layout{}, err
	}
	if l.Name() != name {
		return refuse()
	}
	return l, nil
}
