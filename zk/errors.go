package zk

import "errors"

// Sentinel errors; every error of this package wraps one of them or one of
// package rlwe.
var (
	// ErrEncoding: bytes that are no canonical attestation or key.
	ErrEncoding = errors.New("zk: encoding is not canonical")
	// ErrRejected: a well-formed attestation that does not prove its statement.
	ErrRejected = errors.New("zk: attestation rejected")
	// ErrScope: a scope that is incomplete or not that of the verifier's key.
	ErrScope = errors.New("zk: scope refused")
	// ErrWitness: a secret that does not satisfy the statement to be proven.
	ErrWitness = errors.New("zk: secret does not satisfy the statement")
	// ErrNorm: the values to attest exceed the plan's norm bound.
	ErrNorm = errors.New("zk: norm exceeds the bound")
	// ErrCommitment: polynomials that differ from what was committed to.
	ErrCommitment = errors.New("zk: polynomials differ from their commitments")
	// ErrKeys: proving or verifying keys that are missing, damaged or of
	// another circuit.
	ErrKeys = errors.New("zk: keys refused")
)
