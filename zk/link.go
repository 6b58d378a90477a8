package zk

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/zk/circuit/rlwe"
	"credence/zk/circuit/training"
)

// A Link is what ties the attestation of an encryption to the attestation of
// the training that made its values: for each shard, the values and the masks
// of a commitment to them that both attestations open. It is secret, and good
// for one of each: a commitment that is opened a third time may show what it
// hides.
type Link struct {
	shards []linkedShard
}

type linkedShard struct {
	values []int32
	masks  [rlwe.LinkMasks]fr.Element
}

// draw takes the values of an update and fresh masks.
func (l *Link) draw(shards []ShardInput) error {
	l.Erase()
	l.shards = make([]linkedShard, len(shards))
	for i := range shards {
		l.shards[i].values = append([]int32(nil), shards[i].Values...)
		for j := range l.shards[i].masks {
			if _, err := l.shards[i].masks[j].SetRandom(); err != nil {
				return fmt.Errorf("zk: drawing a message's mask: %w", err)
			}
		}
	}
	return nil
}

// message is the polynomial M of the shard at a place.
func (l *Link) message(s *rlwe.Shape, place int) []fr.Element {
	return training.Message(l.shards[place].values, s.N, s.Digits, s.SlotBits, l.shards[place].masks[:])
}

// Erase overwrites the link.
func (l *Link) Erase() {
	for i := range l.shards {
		clear(l.shards[i].values)
		clear(l.shards[i].masks[:])
	}
	l.shards = nil
}

// String and GoString keep the link out of logs.
func (l *Link) String() string { return "zk.Link(hidden)" }

// GoString is String.
func (l *Link) GoString() string { return l.String() }

// Message returns the commitment to the values of the shard at the given
// place, and whether the attestation is a linked one.
func (a *Attestation) Message(place int) (Commitment, bool) {
	return a.proofs[place].link, a.shape.Link
}
