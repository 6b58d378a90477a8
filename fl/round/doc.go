// Package round is the state machine of one round:
//
//	open ──► sealed ──► decrypting ──► published
//	  │         │            │
//	  └─────────┴────────────┴───────► aborted (with a reason in words)
//
// It is pure. Step takes a state and an event and returns the next state and
// the effects that follow from it; it does no I/O, starts nothing, reads no
// clock (time comes with every event) and never modifies its argument. So the
// same rules run in a live aggregator, in a simulation and in a property test.
//
// The rule of its driver: persist the new state (State.Encode) in the same
// transaction as whatever the event stood for, and only then carry out the
// effects. An effect is never lost by a crash, because it is a function of the
// state: after a restart, Pending(state) returns what is still to be done.
// Whatever carries out an effect must bear doing it twice.
//
// Every decision whose repetition could give another result is frozen in the
// state when it is taken: the accepted updates and the noise dealers at the
// seal, the holders whose decryption shares are combined (Opening), and the
// times SealedAt and OpenedAt that go into signed documents. A driver that is
// killed at any point and restarted produces the same seal and the same
// manifest, byte for byte.
//
// What it trusts: that its driver has verified signatures, digests and
// addressees before it makes an event out of a message, and that the time of
// an event is the driver's own. A clock that goes backwards is held at the
// time of the last change; one that leaps forwards ends a round early, nothing
// worse.
package round
