// Package sqlite keeps an aggregator's memory (package store) in one SQLite
// file: nothing to install, and one file to back up.
//
// Every method of store.Store is one transaction. Writers begin with BEGIN
// IMMEDIATE, so what a writer reads cannot change before it commits; readers
// see one snapshot. The journal is a write-ahead log with synchronous=FULL:
// when a method returns, what it stored survives a power failure. Several
// processes may open the same file (operator commands run beside a serving
// aggregator), on one machine: SQLite's locks do not work over network file
// systems.
//
// What it trusts: the file system to keep what it was told to sync, and the
// caller to have verified signatures. It does not trust the caller to have
// won a race, to have checked a balance or to call once: versions, balances,
// conservation and uniqueness are checked inside the transaction, and again
// by constraints of the schema. Documents, postings and everything else that
// is a record is append-only by triggers. A document that is read back is
// checked against the digest it is stored under.
package sqlite
