// Package table has a committed data set in a circuit: a table of small signed
// integers (package tabular) behind a blinded KZG commitment.
//
// # What
//
// Evaluate computes the committed polynomial at the challenge, at one
// constraint a cell and without hashing, and hands out the row sums that
// Freivalds' check of a matrix product wants; FeatureColumns the column sums,
// at one more. AssertPrefix, AssertPadding and AssertClasses are what makes a
// table well-formed. Circuit puts them together in two relations: registration,
// which a node proves once when it joins a job, and validation, which adds
// public bounds on the data. SPEC.md states both, bounds every integer and adds
// up the soundness error.
//
// # What it trusts
//
// That every wire was under the circuit's commitment before the challenge was
// drawn, and that the caller checks the opening of the table's commitment at
// the challenge. It does not trust the table.
package table
