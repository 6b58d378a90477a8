package credit

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"credence/fl"
)

// Work is what a client whose update was accepted did in a round.
type Work struct {
	Node       fl.NodeID
	Shards     int       // assigned by the plan
	Samples    int64     // declared when joining the job
	Steps      int64     // declared in the update header
	AcceptedAt time.Time // from the receipt
}

// Duty is what a committee member did in a round. A member that sent no
// decryption share is not listed.
type Duty struct {
	Node  fl.NodeID
	Wrong bool // its share was found wrong
}

// Caps bound what declared numbers count for (fl.JobSpec.SampleCap and
// StepCap); 0 means no bound. Declaring more earns nothing more.
type Caps struct {
	Samples int64
	Steps   int64
}

// Round is everything that the payout of a published round follows from.
type Round struct {
	Job        fl.JobID
	Round      uint64
	Escrow     int64 // the job's escrow before this payout
	RoundsLeft int   // rounds still to publish, this one included
	Rates      fl.Rates
	Caps       Caps
	OpenedAt   time.Time // of the plan
	Deadline   time.Time // of the plan
	Clients    []Work
	Members    []Duty
	// Proven: samples and steps are proven, so the clients earn Rates.Training.
	Proven bool
}

// RoundPostings returns what a published round pays, as postings that sum to
// zero, in a fixed order that does not depend on the order of the input. All
// arithmetic is on integers:
//
//	share      = floor(Escrow / RoundsLeft): the last round pays all that is left
//	pot(p)     = floor(share * Rates.p / 1000) for work, training, timeliness, committee
//	operator   = share minus the pots: its rate and what rounding left over
//	work       by shards * min(samples, cap) * min(steps, cap)
//	training   like work, where samples and steps are proven
//	timeliness by 1 + floor(1000 * (Deadline - AcceptedAt) / (Deadline - OpenedAt)),
//	           in milliseconds, the fraction held to 0..1; clients without work get nothing
//	committee  in equal parts over the members whose share was not wrong
//
// A pot is divided in proportion by largest remainder: everybody gets the
// integer part, and what is then missing goes one credit each to the largest
// fractions, ties to the name that sorts first. A pot that nobody earned
// stays in escrow.
func RoundPostings(r Round) ([]fl.Posting, error) {
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("credit: payout of %s/%d: %w", r.Job, r.Round, err)
	}
	share := r.Escrow / int64(r.RoundsLeft)
	pot := func(rate int) int64 { return mulDiv(share, int64(rate), 1000) }
	work, timeliness, committee := pot(r.Rates.Work), pot(r.Rates.Timeliness), pot(r.Rates.Committee)
	training := pot(r.Rates.Training)
	var proven []claim
	if r.Proven {
		proven = r.workClaims()
	}

	escrow := fl.Posting{Account: EscrowAccount(r.Job), Memo: fmt.Sprintf("round %d", r.Round)}
	postings := []fl.Posting{escrow, {Account: Operator, Amount: share - work - timeliness - committee - training, Memo: "operator"}}
	for _, p := range []struct {
		memo   string
		amount int64
		claims []claim
	}{
		{"work", work, r.workClaims()},
		{"training", training, proven},
		{"timeliness", timeliness, r.timelinessClaims()},
		{"committee", committee, r.committeeClaims()},
	} {
		for _, part := range divide(p.amount, p.claims) {
			postings = append(postings, fl.Posting{Account: PartyAccount(part.node), Amount: part.amount, Memo: p.memo})
		}
	}
	for _, p := range postings[1:] {
		postings[0].Amount -= p.Amount
	}
	return postings, nil
}

func (r Round) validate() error {
	switch {
	case r.Round < 1:
		return errors.New("rounds count from 1")
	case r.Escrow < 0 || r.Escrow > fl.MaxPosting:
		return fmt.Errorf("escrow of %d: want 0 to %d", r.Escrow, int64(fl.MaxPosting))
	case r.RoundsLeft < 1:
		return fmt.Errorf("%d rounds left: want at least 1", r.RoundsLeft)
	case r.Caps.Samples < 0 || r.Caps.Steps < 0:
		return fmt.Errorf("caps of %d samples, %d steps: want none negative", r.Caps.Samples, r.Caps.Steps)
	case r.OpenedAt.IsZero() || !r.Deadline.After(r.OpenedAt):
		return errors.New("the deadline is not after the opening")
	case len(r.Clients) == 0:
		return errors.New("no client")
	}
	if err := r.Job.Validate(); err != nil {
		return err
	}
	if err := r.Rates.Validate(); err != nil {
		return err
	}
	clients := make(map[fl.NodeID]bool, len(r.Clients))
	for _, w := range r.Clients {
		if err := w.Node.Validate(); err != nil {
			return err
		}
		if clients[w.Node] {
			return fmt.Errorf("client %s twice", w.Node)
		}
		clients[w.Node] = true
		if w.Shards < 1 || w.Samples < 0 || w.Steps < 0 || w.AcceptedAt.IsZero() {
			return fmt.Errorf("client %s: %d shards, %d samples, %d steps: want at least 1 shard, none negative, and when it was accepted", w.Node, w.Shards, w.Samples, w.Steps)
		}
	}
	members := make(map[fl.NodeID]bool, len(r.Members))
	for _, m := range r.Members {
		if err := m.Node.Validate(); err != nil {
			return err
		}
		if members[m.Node] {
			return fmt.Errorf("member %s twice", m.Node)
		}
		members[m.Node] = true
	}
	return nil
}

// units is the work of a client: up to 2^143, so it is a big integer.
func (r Round) units(w Work) *big.Int {
	samples, steps := w.Samples, w.Steps
	if r.Caps.Samples > 0 {
		samples = min(samples, r.Caps.Samples)
	}
	if r.Caps.Steps > 0 {
		steps = min(steps, r.Caps.Steps)
	}
	units := new(big.Int).Mul(big.NewInt(samples), big.NewInt(steps))
	return units.Mul(units, big.NewInt(int64(w.Shards)))
}

func (r Round) workClaims() []claim {
	claims := make([]claim, len(r.Clients))
	for i, w := range r.Clients {
		claims[i] = claim{w.Node, r.units(w)}
	}
	return claims
}

func (r Round) timelinessClaims() []claim {
	span := r.Deadline.UnixMilli() - r.OpenedAt.UnixMilli()
	claims := make([]claim, 0, len(r.Clients))
	for _, w := range r.Clients {
		if r.units(w).Sign() == 0 {
			continue
		}
		early := min(max(r.Deadline.UnixMilli()-w.AcceptedAt.UnixMilli(), 0), max(span, 0))
		points := int64(1)
		if span > 0 {
			points += mulDiv(1000, early, span)
		}
		claims = append(claims, claim{w.Node, big.NewInt(points)})
	}
	return claims
}

func (r Round) committeeClaims() []claim {
	claims := make([]claim, 0, len(r.Members))
	for _, m := range r.Members {
		if !m.Wrong {
			claims = append(claims, claim{m.Node, big.NewInt(1)})
		}
	}
	return claims
}

// claim is a party's claim on a pot, in proportion to its units.
type claim struct {
	node  fl.NodeID
	units *big.Int
}

// part is what a claim comes to.
type part struct {
	node   fl.NodeID
	amount int64
}

// divide splits amount >= 0 by largest remainder and returns the parts above
// zero, sorted by name. They add up to amount, or there are none because
// nobody has a claim.
func divide(amount int64, claims []claim) []part {
	total := new(big.Int)
	for _, c := range claims {
		total.Add(total, c.units)
	}
	if total.Sign() == 0 || amount == 0 {
		return nil
	}
	type exact struct {
		part
		fraction *big.Int // remainder of the division by total
	}
	shares := make([]exact, len(claims))
	missing := amount
	for i, c := range claims {
		quotient, fraction := new(big.Int).QuoRem(new(big.Int).Mul(big.NewInt(amount), c.units), total, new(big.Int))
		shares[i] = exact{part{c.node, quotient.Int64()}, fraction}
		missing -= quotient.Int64()
	}
	slices.SortFunc(shares, func(a, b exact) int {
		return cmp.Or(b.fraction.Cmp(a.fraction), cmp.Compare(a.node, b.node))
	})
	for i := range missing { // fewer than there are fractions above zero
		shares[i].amount++
	}
	parts := make([]part, 0, len(shares))
	for _, s := range shares {
		if s.amount > 0 {
			parts = append(parts, s.part)
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.node, b.node) })
	return parts
}

// mulDiv returns floor(a*b/c) for a, b >= 0, c > 0, where the result is at
// most a or b.
func mulDiv(a, b, c int64) int64 {
	product := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
	return product.Quo(product, big.NewInt(c)).Int64()
}
