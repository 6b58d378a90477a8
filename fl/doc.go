// Package fl holds the words and the rules of a federation: identifiers,
// the signed documents that parties exchange, the layout of an update, the
// quantiser and the strategies that turn a mean of updates into a new global
// model.
//
// It depends on the standard library alone. It does no I/O, starts no
// goroutine and reads no clock: whoever calls it passes in time, randomness
// and bytes. That is what lets the same rules run in a simulation, in a test
// and on a live federation.
//
// What it trusts: SHA-256, Ed25519 and the caller's clock. It never trusts a
// document: every decoder is strict (unknown fields, non-canonical encodings
// and trailing bytes are errors) and every document is checked by its own
// Validate before anything else looks at it.
package fl
