// Package ceremony makes proving keys that no single party can forge under.
//
// # What it does
//
// Groth16 keys and KZG commitment keys are made from secret numbers. Whoever
// knows them can prove falsehoods. In a ceremony (Bowe, Gabizon, Miers, eprint
// 2017/1050) every participant multiplies the numbers by some of its own and
// forgets them: as long as one participant did forget, nobody knows the
// product. Phase "powers" makes the powers of tau for every circuit of a suite
// and for the commitments; phase "circuits" makes the rest, for each circuit.
// Each phase is sealed with a public beacon.
//
// The ceremony is a folder that institutions pass on by any means. Start makes
// it, Contribute adds to it, Seal ends a phase, Verify checks all of it, and
// after the second seal makes the sealed keys again from nothing but the
// folder: who verified needs to trust nobody's copy of the keys.
//
// # The folder
//
// transcript.json lists every contribution: a document signed by its
// contributor that names the ceremony, the phase, the circuit, its place, the
// digest of what it builds on and the digest of what it made. Those files lie
// beside it under their digests. A contribution is there once the transcript
// names it, which is one rename; whatever crashes before leaves the ceremony
// as it was. A file is the encoding that gnark's mpcsetup writes and reads, so
// its digest is also the challenge of the next contribution's proofs, and the
// first one of all is bound to the ceremony's identity.
//
// # What it trusts
//
// That one contributor of each phase drew its numbers from a good source and
// forgot them, that nobody could foretell the beacons, the algebraic group
// model over BN254, SHA-256, Ed25519, and gnark's evaluation of a circuit. The
// folder and its carriers are not trusted: a contribution that is altered,
// truncated, repeated, moved, from elsewhere, unsigned or untrue is refused,
// and the Fault names whose it is. Contributions that were dropped from the end
// cannot be told from contributions that never came: a contributor keeps its
// receipt and has Verify expect it.
//
// Secret numbers are overwritten after use. Go and the scalar multiplication
// underneath may keep copies in memory until the process ends, so a
// contribution should be a process of its own.
package ceremony
