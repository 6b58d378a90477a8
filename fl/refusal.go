package fl

import (
	"errors"
	"fmt"
)

// Code classifies a refusal. Codes are stable: they cross the network and
// scripts may test them.
type Code string

// The codes.
const (
	CodeMalformed      Code = "malformed"       // does not decode, or contradicts itself
	CodeTooLarge       Code = "too-large"       // over a stated bound
	CodeBadSignature   Code = "bad-signature"   // not signed by whom it names
	CodeUnknownParty   Code = "unknown-party"   // signer is not enrolled
	CodeRevoked        Code = "revoked"         // signer's enrolment was revoked
	CodeNotAllowed     Code = "not-allowed"     // the role or the policy does not permit it
	CodeWrongAddressee Code = "wrong-addressee" // other federation, job, round, plan or epoch
	CodeNotInCohort    Code = "not-in-cohort"   // the plan does not name the client
	CodeConflict       Code = "conflict"        // another document already holds this place
	CodeLate           Code = "late"            // the round no longer accepts it
	CodeNotReady       Code = "not-ready"       // comes before what it depends on; try again later
	CodeNotFound       Code = "not-found"       // no such thing
	CodeCorrupt        Code = "corrupt"         // bytes do not match their digest
	CodeClock          Code = "clock"           // the sender's clock is off
	CodeFunds          Code = "funds"           // not enough credits
	CodeToken          Code = "token"           // enrolment token unknown, used or expired
	CodeProofLevel     Code = "proof-level"     // below the federation's floor
	CodeProof          Code = "proof"           // attestation missing, malformed or wrong
	CodeUnavailable    Code = "unavailable"     // the service cannot do it now (disk full, stopping)
)

// Refusal says no, and why, in words for the person who reads the log of the
// party that was refused.
type Refusal struct {
	Code   Code
	Party  NodeID // whose message was refused; may be empty
	Reason string // what was wrong, where, what to do
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Party == "" {
		return fmt.Sprintf("refused (%s): %s", r.Code, r.Reason)
	}
	return fmt.Sprintf("refused %s (%s): %s", r.Party, r.Code, r.Reason)
}

// Is lets errors.Is compare by code: a target without party and reason
// matches every refusal of its code.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code && (t.Party == "" || t.Party == r.Party) && (t.Reason == "" || t.Reason == r.Reason)
}

// Refuse makes a refusal.
func Refuse(code Code, party NodeID, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Party: party, Reason: fmt.Sprintf(format, args...)}
}

// RefusalFor turns an error of this package into a refusal of the party; an
// error that already is one keeps its code.
func RefusalFor(party NodeID, err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	code := CodeMalformed
	if errors.Is(err, ErrBadSignature) {
		code = CodeBadSignature
	}
	return Refuse(code, party, "%s", err)
}

// CodeOf returns the code of the first refusal in err's chain, or "".
func CodeOf(err error) Code {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}
