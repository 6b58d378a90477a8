// Package rlwe is the circuit behind every attestation: one or two rows
//
//	c + Q*k = p*u + e (+ Delta*m)    (mod X^N + 1)
//
// over the integers, with u ternary, e at most 19, k bounded, the message's
// digits in range and its norm within a bound. With two rows and a message it
// is a well-formed update; with one row it is a short key share. SPEC.md states
// the relation, bounds every integer and adds up the soundness error.
//
// # Why it is small
//
// All of Q fits one scalar of BN254, so there is no arithmetic in residues. The
// polynomials in the clear, c and p, and the quotients by X^N+1 are not in the
// circuit at all: they are KZG commitments of package zk, and their values at
// the challenge are public inputs. What remains is one lookup for each secret
// coefficient and three polynomial evaluations: 12 constraints a coefficient
// for four digits, 3.5 a value.
//
// # What it trusts
//
// gnark's builder, its commitment (frontend.Committer), and that the caller
// opens the public evaluations from commitments that the statement's digest
// contains. The compiled system is checked where it depends on how gnark
// builds it: the place of the commitment's random mask and the encoding of a
// constraint (Compile).
package rlwe
