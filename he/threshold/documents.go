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
