// Package aggregator is the service that a federation meets at. It enrols
// parties, relays the generation of the collective key, opens rounds, takes in
// encrypted updates, adds what it cannot read, has the committee open only the
// sum, publishes the model and pays the contributors.
//
// It is one loop (Run) over what the store remembers, and a gRPC server that
// adds to it. Every decision about a round is made by the pure machine in
// fl/round; this package carries out the effects and stores each transition
// with everything that belongs to it in one transaction. Nothing is kept in
// memory that the store does not have, so a process may be killed at any
// moment and another may take over.
//
// What it trusts: its own disk and clock. It does not trust any party: every
// document is checked for its signature, its addressee and its place in the
// protocol before it changes anything, and whoever is refused is told why.
package aggregator
