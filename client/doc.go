// Package client is an institution's node: it joins a federation, decides by
// its own policy which jobs to take part in, trains on data that never leave
// it, encrypts its updates, and, when it is on the committee, holds a share of
// the collective key and helps to open sums.
//
// A node asks the aggregator for work and answers; it never accepts a
// connection. Whatever it is asked, it checks against the genesis that it
// pinned when it joined and against its own policy, and it declines in words
// otherwise. Everything it sends is on its own disk first, so a node that is
// killed continues where it was and sends the same bytes.
//
// What it trusts: its own disk, its operator's configuration and the genesis.
// It does not trust the aggregator with anything but delivery.
package client
