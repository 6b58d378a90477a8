// Package privacyattack shows what an attacker learns of a client's data from
// one round of training, for each of three views of that round:
//
//   - ViewUpdate: the client's own update, as a server without secure sums sees it;
//   - ViewSum: the mean over the cohort, as this federation publishes it;
//   - ViewPrivate: that mean with the noise of a private job.
//
// Two attacks are made. Gradient inversion reads an example out of the update of
// a dense first layer (InvertLinear). Membership inference decides whether an example
// was trained on, by its loss (Yeom) or by comparing with shadow models that were
// and were not trained on it (LiRA).
//
// The views are made by the federation's own clipping, quantising, noise and
// division (packages fl and fl/privacy), so what is measured is what would be
// published; encryption is exact and is left out. Everything is seeded, also the
// noise: these are demonstrations on public data, not protection.
//
// The attacks are simple, and a small advantage here is no proof of privacy: only
// the stated epsilon bounds every attack.
package privacyattack
