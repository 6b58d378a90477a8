package ceremony

import (
	"errors"
	"fmt"

	"credence/fl"
)

// Sentinel errors: what is wrong with a contribution, or with a request.
var (
	// ErrTranscript: a transcript that is not one.
	ErrTranscript = errors.New("malformed transcript")
	// ErrDamaged: a file that is missing or is not what the transcript names.
	ErrDamaged = errors.New("damaged file")
	// ErrSignature: a contribution that its contributor did not sign.
	ErrSignature = errors.New("bad signature")
	// ErrForeign: a contribution to another ceremony or by no participant.
	ErrForeign = errors.New("foreign contribution")
	// ErrOrder: a contribution that was repeated, moved or does not build on
	// the one before it.
	ErrOrder = errors.New("contribution out of place")
	// ErrUnsound: a contribution whose proofs do not hold.
	ErrUnsound = errors.New("unsound contribution")
	// ErrSeal: a seal that does not follow from the contributions.
	ErrSeal = errors.New("wrong seal")
	// ErrRefused: what was asked for is not possible now.
	ErrRefused = errors.New("refused")
)

// A Fault is one thing that is wrong with a ceremony, and whose it is.
type Fault struct {
	Phase       Phase
	Circuit     string    // the shape; empty in phase powers
	Sequence    int       // place in the transcript, from 1
	Contributor fl.NodeID // who is named as the contributor
	Err         error     // a sentinel
	Detail      string
}

// Error says which contribution, by whom, and why.
func (f *Fault) Error() string {
	where := string(f.Phase)
	if f.Circuit != "" {
		where = f.Circuit
	}
	return fmt.Sprintf("ceremony: contribution %d to %s by %s: %v: %s", f.Sequence, where, f.Contributor, f.Err, f.Detail)
}

// Unwrap returns the sentinel.
func (f *Fault) Unwrap() error { return f.Err }

func refuse(format string, args ...any) error {
	return fmt.Errorf("ceremony: %w: %s", ErrRefused, fmt.Sprintf(format, args...))
}
