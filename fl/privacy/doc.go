// Package privacy is the differential privacy of published models: exact
// samplers of discrete noise, the noise that a client adds to its quantised
// update before it encrypts, and the accountant that says what the published
// models have spent.
//
// # What is guaranteed
//
// A job may ask for privacy (fl.PrivacySpec). Every client then adds discrete
// Gaussian noise to its update, so much that the noise of the least number of
// honest clients in a sum hides any one client's whole contribution
// (Kairouz, Liu, Steinke: The Distributed Discrete Gaussian Mechanism,
// ICML 2021). Nobody sees a sum with less noise: the server only ever has
// ciphertexts. The unit is a client, neighbours differ in whether all that one
// client sends (its update, and its vote where the clip adapts) is zero before
// the noise, and the guarantee is (epsilon, delta) for everything that the job
// publishes.
//
// # How it is kept honest
//
// Sampling uses integers and random bits alone (Canonne, Kamath, Steinke: The
// Discrete Gaussian for Differential Privacy, NeurIPS 2020), so there is no
// floating-point noise whose gaps could be read. The accountant is Renyi's
// (Mironov, CSF 2017), bounds the distance between a sum of discrete Gaussians
// and one, counts what cutting the noise's tail costs, and is compared with
// published accountants in tests.
//
// # What it trusts
//
// The random source, and the caller's word about how many clients of a sum are
// honest. Sampling takes time that depends on what is sampled: who measures a
// client's process from within its machine is not defended against.
package privacy
