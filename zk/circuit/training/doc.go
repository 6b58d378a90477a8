// Package training is the circuit behind training attestations: the values
// that a client encrypted are what package fixedpoint computes from the public
// global model, the client's committed table and the plan's settings, step by
// step. SPEC.md states the relation, bounds every integer, adds up the
// soundness error and derives how far the result is from floating-point
// training.
//
// # Why it is small
//
// Nothing is computed in the circuit that can be claimed and checked. The trace
// of the training is the witness; a matrix product is checked at a random point
// (Freivalds), where the product with the data costs the table's evaluation
// once, two constraints a cell, for any number of steps. A score's activation
// is one lookup of a pair; division by the sum of a softmax is one reciprocal a
// row; a gradient is never a value of its own but the two sides of the rounding
// that uses it. What is public (the global model, batches, noise) enters as a
// polynomial that the verifier evaluates, and what ties the proof to the
// ciphertext and to the data are openings of commitments.
//
// # What it trusts
//
// That the table is registered: its form and its cells' ranges are proven once,
// by package table, and not again in every round. That the messages' commitments
// are those of an attested encryption (package rlwe, linked shapes). gnark's
// builder and commitment, as package committed checks them.
package training
