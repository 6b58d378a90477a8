// Command credence is the whole product in one binary: the aggregator's
// service, an institution's node, a model owner's tools, the operator's tools,
// and a demonstration of all of them on one machine.
//
// The commands are thin: flags, wiring, and output for people (80 columns,
// colours on a terminal only) or for programs (--json). What they do lives in
// packages aggregator, client and experiments.
//
// It trusts the folders it is pointed at, which belong to whoever runs it, and
// the invitation that a party joins with. Everything that comes over the
// network is checked by package client against the genesis that was pinned at
// enrolment.
package main
