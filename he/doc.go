// Package he is Credence's additively homomorphic encryption: named parameter
// suites, a codec between quantised vectors and ring polynomials, public-key
// RLWE encryption, and exact sums of ciphertexts.
//
// # The scheme
//
// Work is in R_Q = Z_Q[X]/(X^N+1) with Q a product of word-sized primes that
// split completely. A committee's secret is s (a sum of ternary polynomials),
// the public key is (p, a) with p = -a*s + e, and
//
//	c0 = p*u + e0 + Delta*m        c1 = a*u + e1
//
// with u uniform ternary and e0, e1 discrete Gaussian (sigma 3.2, |e| <= 19).
// This is the textbook encryption of Lyubashevsky, Peikert and Regev (2010)
// with the scaling of Fan and Vercauteren (eprint 2012/144). There is no special
// prime and no modulus switch, so the two lines above hold as written and a
// later zero-knowledge proof can speak about them directly.
//
// # Plaintexts
//
// One coefficient carries Digits() digits of SlotBits() bits; a signed value v
// of ValueBits() bits is stored as v + 2^(b-1). Adding up to MaxCohort()
// ciphertexts never carries from one digit into the next and the worst-case
// noise never reaches Delta/2, so the decoded sum is the integer sum, bit for
// bit. Both facts are checked when a suite is built, not when it is used.
//
// # On the wire
//
// A polynomial is its canonical coefficients in [0,Q), fixed width, little
// endian. Sums are kept as unreduced integers until they are opened.
//
// # What it trusts, and what it does not promise
//
// It trusts the operating system's randomness, the ring arithmetic of
// lattigo's ring package, and the table of the Security Guidelines for
// Implementing Homomorphic Encryption (Bossuat et al., eprint 2024/463, table
// 5.2, ternary secret, 128-bit classical). Encryption is malleable by design;
// who sent a ciphertext, and whether it is well formed, is for the layers
// above. Arithmetic on secrets uses branch-free samplers where the source of
// branching would be the secret itself, but no claim of constant time is made
// for the ring arithmetic.
package he
