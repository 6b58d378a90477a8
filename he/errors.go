package he

import (
	"errors"
	"fmt"
)

// Sentinel errors; every error of this package wraps one of them, so callers
// can decide by errors.Is and still print a sentence that says what and where.
var (
	// ErrUnknownSuite: no suite of that name is built in.
	ErrUnknownSuite = errors.New("he: unknown suite")
	// ErrBadSuite: suite parameters that miss the security or noise budget.
	ErrBadSuite = errors.New("he: suite parameters refused")
	// ErrLength: an encoding that is truncated or oversized.
	ErrLength = errors.New("he: wrong encoded length")
	// ErrNotCanonical: an encoding with a value outside its range.
	ErrNotCanonical = errors.New("he: encoding is not canonical")
	// ErrSuiteMismatch: two objects of different suites were combined.
	ErrSuiteMismatch = errors.New("he: suites differ")
	// ErrValueRange: a value does not fit the suite's value bits.
	ErrValueRange = errors.New("he: value out of range")
	// ErrTooManyValues: a vector longer than one ciphertext holds.
	ErrTooManyValues = errors.New("he: too many values for one ciphertext")
	// ErrCohortFull: a sum would exceed the suite's largest cohort.
	ErrCohortFull = errors.New("he: sum exceeds the suite's largest cohort")
	// ErrEmptySum: a sum of nothing has no meaning to open.
	ErrEmptySum = errors.New("he: sum has no contributions")
	// ErrHalvesDiffer: the two halves of a sum do not belong together.
	ErrHalvesDiffer = errors.New("he: halves of the sum do not match")
	// ErrNoise: an opened polynomial is not a valid sum within the noise bound.
	// It never says how large the noise was: that would help an attacker.
	ErrNoise = errors.New("he: noise exceeds its bound")
	// ErrSumRange: an opened digit is larger than the contributions allow, so
	// some contribution was not an encoding of in-range values.
	ErrSumRange = errors.New("he: opened sum out of range for its contributions")
)

func lengthError(what string, got, want int) error {
	return fmt.Errorf("%w: %s has %d bytes, want %d", ErrLength, what, got, want)
}
