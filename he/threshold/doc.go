// Package threshold shares the secret key of package he among a committee, so
// that any t of n members open a sum of ciphertexts together and t-1 of them
// learn nothing.
//
// # Epoch key
//
// One Epoch (suite, context, number, t, members with points 1..n and seal
// keys) has one collective key. Member j draws a ternary s_j and publishes
// first a hash commitment and, once it has seen everyone's, the opening
// p_j = -a*s_j + e_j, so that nobody can choose p_j after the others. The public
// key is (sum p_j, a), the secret s = sum s_j exists nowhere. Each s_j is
// Shamir-shared over R_Q (Shamir 1979, coefficient-wise) and every share is
// sealed to its receiver with HPKE (RFC 9180: X25519, HKDF-SHA256,
// ChaCha20-Poly1305); whoever relays the boxes can neither read them nor
// deliver them to another receiver, dealer, epoch or round.
//
// # Dealings are checked
//
// A box is a fresh key sealed to its receiver and the share encrypted under
// that key. For t-1 of the receivers the share is the expansion of a seed, which
// is what their boxes hold. The dealer commits to the key and publishes, for each receiver, the
// masked inner product of its share with a challenge that is the hash of all
// boxes and commitments. Anyone sees whether these lie on one polynomial
// (VerifyDealing), the receiver whether its share is the one that was promised.
// If not, Complete and Release return a ComplaintError; with the key of the
// box anyone decides who lied (Judge), and a dealer whose box does not give the
// key publishes it (Answer). The probability that honest receivers accept
// shares of no polynomial is below 2^-103 for each dealing that a dealer tries.
//
// The self-test opens an encryption of zero drawn from all dealings
// (ReleaseTest, VerifyTest), so that a key under which ciphertexts do not open is
// found before it is used, and the dealer is named by a test of its dealing
// alone.
//
// # Decryption shares without retries
//
// Answering twice for one ciphertext with fresh noise leaks the key (eprint
// 2025/409, 2026/031). So shares are deterministic: before a round seals, each
// member deals one smudging polynomial, uniform in [-B_sm, B_sm], for every
// expected sum, shared and sealed like the key. Member i answers
//
//	d_i = c1*sigma_i + eta_i
//
// where eta_i adds the noise shares of the logged dealer set (at least t
// dealers, so at least one honest). Any t answers interpolate to c1*s plus
// noise. A KeyHolder records (job, round, shard, digest of the sum, dealers)
// durably before it answers; the same question gets the same bytes and any
// other question about that sum is refused for ever, across restarts and
// epochs.
//
// # What it trusts, and what it does not promise
//
// It trusts at most t-1 members to be corrupt, the disk not to roll back, and
// the caller for authentication: HPKE in base mode says who can read, not who
// wrote, so commitments, reveals, boxes and shares must arrive over signed
// messages. The seal keys are made for one epoch and erased with it, so boxes
// kept by a relay become unreadable; within an epoch erasing a noise share only
// protects while the member's seal key does.
//
// A dealer of consistent noise beyond its bound spoils an opening (it is
// detected, not attributed), but learns nothing by it. In a self-test it can make
// the test of another's dealing fail.
//
// With exactly t shares, Combine cannot tell a maliciously shifted share: a
// member can add any multiple of Delta, weighted by its Lagrange coefficient,
// and the noise still looks right. Only shares beyond t detect this; Opened
// says how many agreed. Nor does the noise bound catch a share that is wrong in
// a few coefficients only: at the suite's largest committee the bound fills 0.6
// of the interval that decodes, so it exposes a wrong coefficient with
// probability 0.4 and a wholly wrong share for certain.
//
// A KeyHolder's directory must be on a file system where renaming is atomic and
// fsync of a file and of a directory is honoured (any local POSIX one).
package threshold
