// Package baseline trains without encryption, for comparison with what the
// federation publishes: federated rounds in the clear by exactly the rules of
// the live federation, and central training of the same model on pooled data.
//
// Federate is a plain simulation (package simulate) with honest clients; the
// published models are those of a live federation bit for bit, and a test
// holds the two together. It protects nothing and trusts its caller with
// everybody's data.
package baseline
