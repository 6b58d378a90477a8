package credit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"credence/fl"

	"pgregory.net/rapid"
)

func hourRound() Round {
	return Round{Job: "j", Round: 2, Escrow: 2000, RoundsLeft: 2, Rates: fl.Rates{Work: 600, Timeliness: 200, Committee: 150, Operator: 50},
		Caps: Caps{Samples: 100, Steps: 10}, OpenedAt: at, Deadline: at.Add(time.Hour),
		Clients: []Work{{"b", 1, 100, 10, at.Add(30 * time.Minute)}, {"a", 2, 100, 10, at}},
		Members: []Duty{{"c", false}, {"a", false}, {"d", true}}}
}

func show(postings []fl.Posting) string {
	var lines []string
	for _, p := range postings {
		lines = append(lines, fmt.Sprintf("%s %+d %s", p.Account, p.Amount, p.Memo))
	}
	return strings.Join(lines, "\n")
}

// Worked by hand: the share is 1000; work 600 at 2:1; timeliness 200 at
// 1001:501 (133.29, 66.71); committee 150 over a and c, d's share was wrong.
func TestPayoutWorkedByHand(t *testing.T) {
	postings, err := RoundPostings(hourRound())
	if err != nil {
		t.Fatal(err)
	}
	want := `escrow/j -1000 round 2
operator +50 operator
party/a +400 work
party/b +200 work
party/a +133 timeliness
party/b +67 timeliness
party/a +75 committee
party/c +75 committee`
	if got := show(postings); got != want {
		t.Errorf("postings:\n%s\nwant:\n%s", got, want)
	}
}

func TestDeclaringMoreThanTheCapEarnsNoMore(t *testing.T) {
	honest, err := RoundPostings(hourRound())
	if err != nil {
		t.Fatal(err)
	}
	r := hourRound()
	r.Clients[0].Samples, r.Clients[0].Steps = math.MaxInt64, math.MaxInt64
	cheated, err := RoundPostings(r)
	if err != nil || show(honest) != show(cheated) {
		t.Errorf("a cheater is paid\n%s\ninstead of\n%s (%v)", show(cheated), show(honest), err)
	}
}

func TestWhoDidNotWorkEarnsNothing(t *testing.T) {
	r := hourRound()
	r.Clients[0].Steps = 0
	r.Members = nil
	postings, err := RoundPostings(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `escrow/j -850 round 2
operator +50 operator
party/a +600 work
party/a +200 timeliness`
	if got := show(postings); got != want {
		t.Errorf("postings:\n%s\nwant:\n%s", got, want)
	}
}

// Equal claims, a pot that does not divide: the names that sort first get one
// credit more.
func TestTiesGoByName(t *testing.T) {
	r := hourRound()
	r.Escrow, r.RoundsLeft, r.Rates = 5, 1, fl.Rates{Work: 1000}
	r.Clients = []Work{{"c", 1, 1, 1, at}, {"a", 1, 1, 1, at}, {"b", 1, 1, 1, at}}
	postings, err := RoundPostings(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `escrow/j -5 round 2
operator +0 operator
party/a +2 work
party/b +2 work
party/c +1 work`
	if got := show(postings); got != want {
		t.Errorf("postings:\n%s\nwant:\n%s", got, want)
	}
}

func TestTimelinessIsHeldToTheRound(t *testing.T) {
	for name, c := range map[string]struct {
		accepted time.Time
		points   int64
	}{
		"before the opening": {at.Add(-time.Hour), 1001},
		"at the opening":     {at, 1001},
		"half":               {at.Add(30 * time.Minute), 501},
		"at the deadline":    {at.Add(time.Hour), 1},
		"after":              {at.Add(48 * time.Hour), 1},
	} {
		r := hourRound()
		r.Clients = []Work{{"a", 1, 1, 1, c.accepted}}
		if got := r.timelinessClaims()[0].units.Int64(); got != c.points {
			t.Errorf("%s: %d points, want %d", name, got, c.points)
		}
	}
	r := hourRound()
	r.Deadline = r.OpenedAt.Add(time.Microsecond)
	if got := r.timelinessClaims()[0].units.Int64(); got != 1 {
		t.Errorf("a round of less than a millisecond: %d points, want 1", got)
	}
}

func TestRoundPostingsRefuses(t *testing.T) {
	for name, change := range map[string]func(*Round){
		"round 0":          func(r *Round) { r.Round = 0 },
		"negative escrow":  func(r *Round) { r.Escrow = -1 },
		"huge escrow":      func(r *Round) { r.Escrow = fl.MaxPosting + 1 },
		"no rounds left":   func(r *Round) { r.RoundsLeft = 0 },
		"negative cap":     func(r *Round) { r.Caps.Steps = -1 },
		"deadline":         func(r *Round) { r.Deadline = r.OpenedAt },
		"no opening":       func(r *Round) { r.OpenedAt = time.Time{} },
		"no client":        func(r *Round) { r.Clients = nil },
		"job":              func(r *Round) { r.Job = "J" },
		"rates":            func(r *Round) { r.Rates.Work++ },
		"client twice":     func(r *Round) { r.Clients[1].Node = "b" },
		"client name":      func(r *Round) { r.Clients[1].Node = "" },
		"no shard":         func(r *Round) { r.Clients[0].Shards = 0 },
		"negative samples": func(r *Round) { r.Clients[0].Samples = -1 },
		"negative steps":   func(r *Round) { r.Clients[0].Steps = -1 },
		"not accepted":     func(r *Round) { r.Clients[0].AcceptedAt = time.Time{} },
		"member twice":     func(r *Round) { r.Members[1].Node = "c" },
		"member name":      func(r *Round) { r.Members[1].Node = "-" },
	} {
		r := hourRound()
		change(&r)
		if _, err := RoundPostings(r); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func drawRound(t *rapid.T) Round {
	work, rest := 0, 1000
	var rates [3]int
	for i := range rates {
		work = rapid.IntRange(0, rest).Draw(t, "rate")
		rates[i], rest = work, rest-work
	}
	r := Round{Job: "j", Round: 1, Escrow: rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, fl.MaxPosting)).Draw(t, "escrow"),
		RoundsLeft: rapid.IntRange(1, 20).Draw(t, "left"), Rates: fl.Rates{Work: rates[0], Timeliness: rates[1], Committee: rates[2], Operator: rest},
		Caps:     Caps{rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "samples"), rapid.Int64Range(0, 10).Draw(t, "steps")},
		OpenedAt: at, Deadline: at.Add(time.Duration(rapid.Int64Range(1, int64(1000*time.Hour)).Draw(t, "span")))}
	amount := rapid.OneOf(rapid.Int64Range(0, 10), rapid.Int64Range(0, math.MaxInt64))
	for i := range rapid.IntRange(1, 20).Draw(t, "clients") {
		r.Clients = append(r.Clients, Work{fl.NodeID(fmt.Sprintf("n%d", i)), rapid.IntRange(1, math.MaxInt).Draw(t, "shards"), amount.Draw(t, "n"), amount.Draw(t, "k"),
			at.Add(time.Duration(rapid.Int64Range(int64(-time.Hour), int64(1000*time.Hour)).Draw(t, "accepted")))})
	}
	for i := range rapid.IntRange(0, 10).Draw(t, "members") {
		r.Members = append(r.Members, Duty{fl.NodeID(fmt.Sprintf("n%d", i)), rapid.Bool().Draw(t, "wrong")})
	}
	return r
}

// What leaves escrow arrives somewhere, nobody pays but escrow, escrow is
// never overdrawn, and the order of the input does not matter.
func TestPayoutConserves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRound(t)
		postings, err := RoundPostings(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := fl.ValidatePostings(postings); err != nil {
			t.Fatal(err)
		}
		if postings[0].Account != "escrow/j" || -postings[0].Amount > r.Escrow/int64(r.RoundsLeft) {
			t.Fatalf("escrow pays %d of %d", -postings[0].Amount, r.Escrow)
		}
		for _, p := range postings[1:] {
			if p.Amount < 0 {
				t.Fatalf("%s is paid %d", p.Account, p.Amount)
			}
		}
		shuffle := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "shuffle"), 0))
		mixed := r
		mixed.Clients, mixed.Members = slices.Clone(r.Clients), slices.Clone(r.Members)
		shuffle.Shuffle(len(mixed.Clients), func(i, j int) {
			mixed.Clients[i], mixed.Clients[j] = mixed.Clients[j], mixed.Clients[i]
		})
		shuffle.Shuffle(len(mixed.Members), func(i, j int) {
			mixed.Members[i], mixed.Members[j] = mixed.Members[j], mixed.Members[i]
		})
		again, err := RoundPostings(mixed)
		if err != nil || show(again) != show(postings) {
			t.Fatalf("another order of the input pays\n%s\ninstead of\n%s", show(again), show(postings))
		}
	})
}

// Paying round after round leaves escrow at exactly what nobody earned: with
// everybody at work and on the committee, at zero.
func TestTheLastRoundPaysAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRound(t)
		for i := range r.Clients {
			r.Clients[i].Samples, r.Clients[i].Steps = max(r.Clients[i].Samples, 1), max(r.Clients[i].Steps, 1)
		}
		r.Members = append(r.Members, Duty{Node: "last"})
		for ; r.RoundsLeft > 0; r.RoundsLeft-- {
			postings, err := RoundPostings(r)
			if err != nil {
				t.Fatal(err)
			}
			r.Escrow += postings[0].Amount
			r.Round++
		}
		if r.Escrow != 0 {
			t.Fatalf("%d left in escrow", r.Escrow)
		}
	})
}

// Proven training is paid from a pot of its own, by the same units as work; a
// round that is not proven leaves that pot in escrow.
func TestTrainingPot(t *testing.T) {
	r := Round{Job: "j", Round: 1, Escrow: 1000, RoundsLeft: 1, Rates: fl.Rates{Work: 500, Operator: 200, Training: 300}, Proven: true,
		OpenedAt: at, Deadline: at.Add(time.Hour), Clients: []Work{{Node: "a", Shards: 1, Samples: 10, Steps: 2, AcceptedAt: at}, {Node: "b", Shards: 1, Samples: 20, Steps: 2, AcceptedAt: at}}}
	got, err := RoundPostings(r)
	if err != nil {
		t.Fatal(err)
	}
	want := []fl.Posting{
		{Account: "escrow/j", Amount: -1000, Memo: "round 1"}, {Account: Operator, Amount: 200, Memo: "operator"},
		{Account: "party/a", Amount: 167, Memo: "work"}, {Account: "party/b", Amount: 333, Memo: "work"},
		{Account: "party/a", Amount: 100, Memo: "training"}, {Account: "party/b", Amount: 200, Memo: "training"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("paid %v, want %v", got, want)
	}
	r.Proven = false
	if got, err = RoundPostings(r); err != nil || got[0].Amount != -700 {
		t.Errorf("paid %v, %v: want what is not proven to stay", got, err)
	}
}
