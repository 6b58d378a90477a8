package threshold

import (
	"fmt"

	"credence/fl"
)

// EpochFromDocuments builds the epoch that an epoch plan and its members' seal
// keys describe. Its context is the digest of the plan, which names the
// genesis and whose signature the caller has checked. The seal keys' signatures are the
// caller's to check too.
func EpochFromDocuments(plan fl.Envelope, sealKeys map[fl.NodeID]fl.Envelope) (*Epoch, error) {
	var p fl.EpochPlan
	if err := plan.Read(&p); err != nil {
		return nil, err
	}
	id := plan.Digest()
	cfg := EpochConfig{Suite: p.Suite, Context: id[:], Number: p.Epoch, Threshold: p.Threshold}
	for i, m := range p.Members {
		doc, ok := sealKeys[m]
		if !ok {
			return nil, fmt.Errorf("epoch %d: no seal key of %s", p.Epoch, m)
		}
		var k fl.SealKey
		if err := doc.Read(&k); err != nil {
			return nil, err
		}
		if k.Node != m || doc.Signer != m || k.EpochPlan != id || k.Genesis != p.Genesis {
			return nil, fmt.Errorf("%w: epoch %d: the seal key of %s is for another member or epoch", ErrBadEpoch, p.Epoch, m)
		}
		cfg.Members = append(cfg.Members, Member{ID: string(m), Point: i + 1, SealKey: k.Key})
	}
	return NewEpoch(cfg)
}

// VerifyReveal checks one member's reveal against its commitment, so that
// whoever relays it can refuse a wrong one at once.
func VerifyReveal(e *Epoch, member string, commitment [32]byte, reveal []byte) error {
	if _, ok := e.member(member); !ok {
		return blame(member, "%w: reveal for epoch %d", ErrNotMember, e.Number())
	}
	if len(reveal) != RevealBytes(e.suite) {
		return blame(member, "%w: reveal has %d bytes, want %d", ErrEncoding, len(reveal), RevealBytes(e.suite))
	}
	if commitTo(e, member, reveal) != commitment {
		return blame(member, "%w in epoch %d", ErrCommitment, e.Number())
	}
	if _, err := e.suite.ParsePoly(reveal[saltBytes:]); err != nil {
		return blame(member, "%w: reveal: %w", ErrEncoding, err)
	}
	return nil
}

// DealingFromBoxes reads one shard's part of a dealing document: its public
// part, without the boxes themselves.
func DealingFromBoxes(boxes []fl.Box, shard int) Dealing {
	var d Dealing
	for _, b := range boxes {
		if b.Shard == shard {
			d = append(d, DealtBox{Receiver: string(b.Receiver), Digest: b.Digest, Commitment: b.Commitment, Check: b.Check})
		}
	}
	return d
}

// Boxes writes a dealing into a document as the given shard. The boxes
// themselves are blobs of the digests that it names.
func (d Dealing) Boxes(shard int) []fl.Box {
	out := make([]fl.Box, len(d))
	for i, b := range d {
		out[i] = fl.Box{Receiver: fl.NodeID(b.Receiver), Shard: shard, Digest: b.Digest, Commitment: b.Commitment, Check: b.Check}
	}
	return out
}

// DealingFromDocument reads one shard's part of a dealing document (a key
// dealing, test noise or noise dealing, whose signature the caller has checked)
// with what it is a sharing of. The document must be the dealer's, of the epoch
// with the given plan.
func DealingFromDocument(e *Epoch, epochPlan fl.Digest, dealer fl.NodeID, doc fl.Envelope, shard int) (Subject, Dealing, error) {
	var subject Subject
	var boxes []fl.Box
	var node fl.NodeID
	of := epochPlan
	switch doc.Kind {
	case fl.KeyDealing{}.Kind():
		var d fl.KeyDealing
		if err := doc.Read(&d); err != nil {
			return subject, nil, err
		}
		subject, boxes, node, of = KeySubject(), d.Boxes, d.Node, d.EpochPlan
	case fl.TestNoise{}.Kind():
		var d fl.TestNoise
		if err := doc.Read(&d); err != nil {
			return subject, nil, err
		}
		subject, boxes, node, of = NoiseSubject(TestSum(e.Number(), shard)), d.Boxes, d.Node, d.EpochPlan
	case fl.NoiseDealing{}.Kind():
		var d fl.NoiseDealing
		if err := doc.Read(&d); err != nil {
			return subject, nil, err
		}
		subject, boxes, node = NoiseSubject(SumID{Job: string(d.Job), Round: d.Round, Shard: shard}), d.Boxes, d.Node
	default:
		return subject, nil, fmt.Errorf("%w: %q is not a dealing", fl.ErrWrongKind, doc.Kind)
	}
	if node != dealer || doc.Signer != dealer || of != epochPlan {
		return subject, nil, blame(string(dealer), "%w: its dealing is for another epoch or member", ErrBadEpoch)
	}
	d := DealingFromBoxes(boxes, shard)
	if len(d) == 0 {
		return subject, nil, blame(string(dealer), "%w: its dealing holds nothing for shard %d", ErrDealing, shard)
	}
	return subject, d, nil
}
