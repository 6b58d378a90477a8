// Package credit keeps a federation's credits: integer amounts, double entry,
// every transaction sums to zero, and no account but the issuer's goes below
// zero.
//
// The operator grants credits to parties (grant). A model owner puts a job's
// budget into escrow (escrow). Each published round pays from escrow to those
// who earned it (payout), by a rule of integers alone that any auditor can
// repeat from the log (see RoundPostings). What is left when the job ends or
// is cancelled returns to the owner (refund).
//
// The package does no I/O. A store that keeps transactions replays them into
// a Ledger or applies the same checks in its own transaction. It trusts its
// caller for two things: that a transaction's Ref names the signed document it
// derives from, and that declared samples and steps were capped as the job
// says; it takes the caps as input and applies them itself.
package credit
