// Package simulate trains a federation of virtual clients in one process.
//
// It takes the parts of the live federation that decide what is computed and
// leaves out those that carry it: cohorts are drawn by fl.DrawCohort, clients
// work by client.LocalWork, updates are quantised by fl.QuantiseUpdate, sums
// become models by fl.Advance. So the models are those of a live federation
// with the same job, seed and data, bit for bit, as long as every node answers
// every round; tests hold the two together. What it leaves out: the network,
// deadlines, consent, signatures and the log.
//
// Updates travel over a Channel. Plain adds up the integers that ciphertexts
// would carry; at proof level bounded it refuses what no proof could be made
// for, and PlainTrained all but the exact result of the training. NewEncrypted
// makes real ciphertexts and opens the sums by a threshold committee;
// NewAttested also proves and verifies every update, NewTrained every training.
// Encryption of integers is exact, so all fidelities give the same models.
//
// Clients work in parallel. Whatever is added up while they do is integers;
// every sum of floating-point numbers is taken afterwards in the order of the
// cohort. So the result is the same for any number of workers. Memory is that
// of a few models for each worker and one sum for each shard and group, not
// for each client; strategies with client state keep that state.
//
// It protects nothing and trusts its caller with everybody's data.
package simulate
