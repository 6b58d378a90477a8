// Package baseline trains without encryption, for comparison with what the
// federation publishes: federated rounds in the clear by exactly the rules of
// the live federation, and central training of the same model on pooled data.
//
// Federate takes the node's own local work (client.LocalUpdate), the node's
// own quantiser (fl.QuantiseUpdate), adds the integers that a ciphertext would
// carry, and opens the sum with the aggregator's own arithmetic
// (fl.MeanUpdate, fl.Strategy). Encryption of integers is exact, so the
// published models are those of a live federation bit for bit; a test holds
// the two together. Integer sums do not depend on their order, so the result
// is the same for any number of workers.
//
// What it leaves out: the network, deadlines, consent, cohort sampling and
// nodes that carry part of a model. Every client is in every cohort with every
// shard. It protects nothing and trusts its caller with everybody's data.
package baseline
