package zk

import (
	"fmt"

	"credence/fl"
)

// ScopeOf returns the scope of a client's attestation in a round: everything
// follows from the plan, so prover and verifiers derive the same one. epochKey
// is the digest of the collective key (EpochKey.Digest).
func ScopeOf(plan fl.Plan, planID, epochKey fl.Digest, client fl.NodeID) (*Scope, error) {
	assigned, ok := plan.Assigned(client)
	if !ok {
		return nil, fmt.Errorf("%w: the plan does not name %s", ErrScope, client)
	}
	bound, err := fl.SquareBound(plan, assigned)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScope, err)
	}
	return &Scope{
		Genesis: plan.Genesis, Job: plan.Job, Round: plan.Round, Plan: planID, EpochKey: epochKey,
		Client: client, Shards: assigned.Shards, Bound: bound,
	}, nil
}

// MemberScopeOf returns the scope of a member's key-share attestation in an
// epoch.
func MemberScopeOf(plan fl.EpochPlan, common *CommonKey, member fl.NodeID) *MemberScope {
	return &MemberScope{Genesis: plan.Genesis, Epoch: plan.Epoch, Member: member, CRS: common.Digest()}
}
