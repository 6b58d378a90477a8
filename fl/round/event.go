package round

import (
	"time"

	"credence/fl"
)

// Event is something that happened to a round. At is the driver's time.
type Event interface{ at() time.Time }

// The events.
type (
	// UpdateAccepted: a client's update is complete and was verified.
	UpdateAccepted struct {
		Node   fl.NodeID
		Header fl.Digest
		At     time.Time
	}
	// Declined: a client will not take part.
	Declined struct {
		Node fl.NodeID
		At   time.Time
	}
	// NoiseDealt: a committee member dealt its smudging noise.
	NoiseDealt struct {
		Member  fl.NodeID
		Dealing fl.Digest
		At      time.Time
	}
	// SumsReady: the sums of the sealed updates are computed, and the signed
	// seal that names them is stored.
	SumsReady struct {
		Seal fl.Digest
		At   time.Time
	}
	// ShareReceived: a committee member released its decryption share.
	ShareReceived struct {
		Member fl.NodeID
		Share  fl.Digest
		At     time.Time
	}
	// Opened: the holders of Opening opened the sums, and the manifest is
	// stored. Wrong are those among them whose share was found wrong and left
	// out.
	Opened struct {
		Manifest fl.Digest
		Wrong    []fl.NodeID
		At       time.Time
	}
	// OpenFailed: the holders of Opening could not open the sums. Wrong are
	// those whose share was found wrong; it is empty when nobody can be named.
	OpenFailed struct {
		Wrong []fl.NodeID
		At    time.Time
	}
	// Cancelled: the job's owner or the operator ended it.
	Cancelled struct {
		Reason string
		At     time.Time
	}
	// Revoked: a party's enrolment was revoked. While the round is open its
	// update and its noise are dropped. As a member it is no longer waited for
	// and its share is not counted in any opening set formed from then on.
	Revoked struct {
		Node fl.NodeID
		At   time.Time
	}
	// Tick: time passed. Only ticks make a silent round move.
	Tick struct{ At time.Time }
)

func (e UpdateAccepted) at() time.Time { return e.At }
func (e Declined) at() time.Time       { return e.At }
func (e NoiseDealt) at() time.Time     { return e.At }
func (e SumsReady) at() time.Time      { return e.At }
func (e ShareReceived) at() time.Time  { return e.At }
func (e Opened) at() time.Time         { return e.At }
func (e OpenFailed) at() time.Time     { return e.At }
func (e Cancelled) at() time.Time      { return e.At }
func (e Revoked) at() time.Time        { return e.At }
func (e Tick) at() time.Time           { return e.At }

// Effect is something the driver is to do. Doing it again does no harm.
type Effect interface{ effect() }

// The effects.
type (
	// ComputeSums: add the ciphertexts of these clients, shard by shard, sign
	// the seal with these noise dealers, then send SumsReady.
	ComputeSums struct {
		Clients []fl.NodeID // sorted
		Dealers []fl.NodeID // in the order of the epoch
	}
	// RequestShares: members may fetch the seal and answer with their shares.
	RequestShares struct {
		Seal fl.Digest
	}
	// OpenSums: combine the decryption shares of exactly these holders, then
	// send Opened or OpenFailed.
	OpenSums struct {
		Seal    fl.Digest
		Holders []fl.NodeID // in the order of the epoch
	}
	// AbortRound: the round is over without a result.
	AbortRound struct {
		Reason string
	}
)

func (ComputeSums) effect()   {}
func (RequestShares) effect() {}
func (OpenSums) effect()      {}
func (AbortRound) effect()    {}
