// Package trained puts together what proof level trained means for one job:
// which circuits its proofs are of, which statements they prove, and what is
// wrong with a job that cannot be proven.
//
// # Why
//
// Nodes, aggregator, committee members and auditors must derive the same
// statements from the same documents, and the circuits know nothing of
// documents. The terms in a job (fl.TrainedTerms) are in the words of packages
// tabular and fixedpoint, so nothing here reads a model or data: an aggregator
// may import it.
//
// # What it trusts
//
// Nothing: documents are checked here, proofs by package zk. That a job's terms
// are those of its model, training and schema is for the nodes to check.
package trained
