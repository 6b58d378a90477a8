// Package committed compiles a circuit whose challenge is drawn by its own
// commitment, in a form that lets the prover know the challenge before it sets
// the public inputs that depend on it.
//
// # What it does
//
// Every circuit of this module commits to all that its prover chooses
// (frontend.Committer, eprint 2022/1072) and takes the challenge r from that
// commitment. Values at r of polynomials that are not in the circuit are public
// inputs, so the prover has to learn r first: it fixes gnark's random mask
// (FixMask), commits by itself (Committed), hashes, and only then runs gnark's
// prover, which arrives at the same commitment.
//
// # What it trusts
//
// gnark's builder. Where the result depends on how gnark builds a system it is
// checked and not assumed: there is one commitment, its last wire is the one
// random mask, and the encoding of a constraint is the known one (Compile).
// That every secret of a circuit is under its commitment is for the circuit's
// own tests, which Uncommitted is made for.
package committed
