// Package audit re-checks a federation from its log and its blobs alone.
//
// Anyone may run it: it needs no secret and takes nobody's word but the
// genesis', whose digest the auditor holds already. It reads the whole log,
// hashes it up to the signed checkpoint, and then does again what the aggregator
// and the committee say they did: who signed what and when, how each collective
// key was made, what each round planned, whose attested updates were summed, what
// the decryption shares open the sums to, which model follows, what was paid, and
// what every account holds. The first statement that does not follow from the ones
// before it is a *Lie: it names the document, log entry, blob or posting, what was
// expected and what was found.
//
// It needs no ciphertexts and no noise boxes: an aggregator may delete those
// once a round is over. Everything else that a document names must be there. A
// level of proof that does not establish something is said so: at level none the
// sums are what the aggregator says they are, and the report lists that among
// what was not checked.
//
// What no log can show is not checked: that rows of data are true, that a node
// which was left out of a cohort was really unreachable, and what was sent to
// the aggregator and never logged. Clients hold receipts for the last.
//
// A Source is where the log comes from: a party's connection to its aggregator
// (Connection), or whatever else implements it, such as a copy of an aggregator's
// folder.
package audit
