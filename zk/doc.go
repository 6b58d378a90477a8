// Package zk attests federated updates in zero knowledge.
//
// # What is attested
//
// An update attestation shows, for each shard of a client's update, that the
// ciphertext is a well-formed encryption under the epoch's key, that every
// value is within the suite's range, and, over all shards together, that the
// Euclidean norm is within the plan's bound. A key-share attestation shows
// that a committee member's public share hides a short secret and a short
// error. Both are bound to their scope: genesis, job, round, plan, epoch,
// party and shard. The relation, its bounds and the soundness argument are in
// zk/circuit/rlwe/SPEC.md.
//
// A table attestation is about a node's data: the table behind a commitment
// has so many rows and is well-formed (registration), and public limits on its
// columns hold (validation). Each opens a copy of the commitment with fresh
// blinding. The relations are in zk/circuit/table/SPEC.md.
//
// A training attestation shows that the values of an update are what the
// plan's gradient steps, from the public global model on a committed and
// registered table, give in the fixed-point arithmetic of package fixedpoint,
// clipped and quantised. It speaks of the values through commitments that a
// linked update attestation makes and opens as well. The relation is in
// zk/circuit/training/SPEC.md.
//
// # Why a verifier needs no ciphertext
//
// A proof speaks about KZG commitments to the ciphertext's polynomials and
// opens them at one point. Commitments add, so the sum that a round publishes
// is checked against the sum of the accepted commitments (CheckSum): about six
// hundred bytes a shard instead of the ciphertext. Whoever holds a ciphertext
// compares it with its commitment by CheckCiphertext.
//
// # What it trusts
//
// Groth16 with commitments as gnark implements it (Groth, eprint 2016/260;
// eprint 2022/1072), KZG commitments, both in the algebraic group model over
// BN254; that at least one party of the set-up forgot its share of the
// trapdoor; SHA-256 as a random oracle; and crypto/rand. A local set-up has
// one party: its keys say so (Manifest.Origin) and every caller must repeat it.
//
// Verification is public and holds no secrets. Provers hold the encryption's
// randomness; they erase their own copies and never put it in an error.
package zk
