package simulate

import "credence/fl"

// buffered is what sets FedBuff apart: CohortSize clients train at any time,
// each from the version that was newest when it began, and every buffer of
// finished updates makes a version. Who finishes when is decided by
// fl.AsyncClock; training itself is done when an update is due, so memory holds
// one version for each that is still being trained from.
type buffered struct {
	clock    *fl.AsyncClock
	round    uint64 // that arrivals is for
	arrivals []fl.Arrival
}

// newBuffered starts the clock and lets the given number of versions pass.
func newBuffered(terms fl.Terms, candidates []fl.Candidate, versions uint64) (*buffered, error) {
	clock, err := fl.NewAsyncClock(terms, candidates)
	if err != nil {
		return nil, err
	}
	for range versions {
		clock.Buffer()
	}
	return &buffered{clock: clock}, nil
}

// next returns the buffer of a round; asked again, after an error, the same.
func (b *buffered) next(round uint64) []fl.Arrival {
	if b.round != round {
		b.arrivals, b.round = b.clock.Buffer(), round
	}
	return b.arrivals
}

// made notes a version and drops those that nobody trains from any more.
func (b *buffered) made(round uint64, params []float32, versions map[uint64][]float32) {
	versions[round] = params
	for old := range versions {
		if old < b.clock.Oldest() {
			delete(versions, old)
		}
	}
}
