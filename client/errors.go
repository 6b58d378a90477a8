package client

import "errors"

// What a node finds out about an aggregator that does not keep to the
// protocol. Errors of the attested parts are package zk's, those of the log
// package translog's, those of dealt shares package threshold's.
var (
	// ErrPlan: a plan that does not go with the genesis.
	ErrPlan = errors.New("not a plan to follow")
	// ErrOtherPlan: a second, different plan for one round.
	ErrOtherPlan = errors.New("the aggregator shows another plan for a round than before")
	// ErrBelowFloor: a plan, a job or an epoch below the genesis' proof floor.
	ErrBelowFloor = errors.New("below the genesis' proof floor")
	// ErrProofKeys: proof keys other than those that node.yaml names.
	ErrProofKeys = errors.New("not the proof keys that this node's configuration names")
	// ErrEpochKey: a collective key that does not follow from its members'
	// documents.
	ErrEpochKey = errors.New("not the collective key of the members")
	// ErrSeal: a sealed set that does not follow from its plan and updates.
	ErrSeal = errors.New("the seal does not follow from the plan and the updates")
	// ErrLeftOut: a seal without this node's update, for which it holds a
	// receipt.
	ErrLeftOut = errors.New("the aggregator gave a receipt for this node's update and left it out of the seal")
	// ErrAccepted: a seal that says this node's update came later than its
	// receipt says.
	ErrAccepted = errors.New("the seal says that this node's update came later than its receipt does")
)
