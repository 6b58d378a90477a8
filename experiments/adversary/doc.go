// Package adversary plays dishonest clients in a simulation, so that clipping,
// proof levels and robust aggregation can be compared under attack.
//
// A Spec is one attack as an experiment's file has it: what the malicious
// clients do and which share of the clients they are. Two kinds of malice
// exist, and the difference is what a defence can see:
//
//   - poisoned data (label-flip, backdoor without scale, free-rider): the client
//     runs the honest program on bad data, or on none. Its update is clipped and
//     quantised like every other and carries a valid proof.
//   - poisoned updates (sign-flip, scaling, alie, and any attack with a scale):
//     the client runs a program of its own, which ignores the clip and its
//     weight. Below proof level bounded nobody sees that; its integers are only
//     held to the range that a ciphertext can carry. At bounded, an update
//     beyond the plan's norm bound has no valid proof and is refused; with
//     adaptive: true the client shrinks its update to the bound instead, which is
//     the strongest that it can still send.
//
// It trusts its caller: everything here is deterministic in the seed, so that a
// table of attacks can be made again.
package adversary
