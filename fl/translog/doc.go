// Package translog is the federation's transparency log: an append-only Merkle
// tree over the signed documents and the ledger's transactions, with signed
// checkpoints that anyone can compare.
//
// The tree is that of Certificate Transparency (RFC 6962) as implemented by
// golang.org/x/mod/sumdb/tlog; checkpoints are signed notes in the format of
// C2SP tlog-checkpoint; witnesses co-sign them as in C2SP tlog-cosignature.
// This package holds no state: an aggregator stores the hashes, a node stores
// its last checkpoint, and both call the same functions.
//
// What it gives: whoever keeps a checkpoint can tell that a later one extends
// it, and that a document is in the log; two parties that compare checkpoints,
// or trust a witness that does, see whether they are shown the same log. What
// it does not give: that a document in the log is true.
package translog
