package he

import (
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// TestSuitesPinned pins every number of every published suite. A change here
// breaks every federation that runs the suite: add a new name instead.
func TestSuitesPinned(t *testing.T) {
	type row struct {
		name                             string
		n, logQFloor, digits, slot, bits int
		cohort, committee, lambda        int
		coefBytes, values                int
		bytesPerValue                    float64
		insecure                         bool
		q, smudge                        string
	}
	want := []row{
		{"rlwe8192-d4-v1", 8192, 213, 4, 24, 14, 1024, 16, 80, 27, 32768, 13.5, false,
			"3fffffffc60006001321fbcbfd7b68f3e80b0662edd2f20fd08001", "130004c0000000000000000000000"},
		{"rlwe4096-d1-v1", 4096, 105, 1, 24, 16, 256, 8, 49, 14, 4096, 28, false,
			"3fffffffeb00040001b4ff58001", "26002600000000000000"},
		{"insecure-rlwe64-d1-v1", 64, 99, 1, 24, 16, 256, 8, 49, 13, 64, 26, true,
			"fffffffffba08000000496e81", "982600000000000000"},
		{"insecure-rlwe64-d4-v1", 64, 207, 4, 24, 14, 1024, 16, 80, 26, 256, 13, true,
			"fffffffffb6040000007d1e205fffa4a1a4a204183c499d27601", "2604c0000000000000000000000"},
	}
	var names []string
	for _, w := range want {
		names = append(names, w.name)
		s, err := LookupSuite(w.name)
		if err != nil {
			t.Fatal(err)
		}
		got := row{s.Name(), s.N(), int(s.LogQ()), s.Digits(), s.SlotBits(), s.ValueBits(), s.MaxCohort(),
			s.MaxCommittee(), s.Lambda(), s.CoefficientBytes(), s.Values(),
			float64(s.CiphertextBytes()) / float64(s.Values()), s.Insecure(), s.Q().Text(16), s.SmudgingBound().Text(16)}
		if got != w {
			t.Errorf("%s: got %+v, pinned %+v", w.name, got, w)
		}
		again, err := LookupSuite(w.name)
		if err != nil || again != s {
			t.Errorf("%s: a second lookup gave another suite", w.name)
		}
	}
	if !slices.Equal(names, Names()) || len(Suites()) != len(names) {
		t.Errorf("suites are %v, pinned %v", Names(), names)
	}
	if _, err := LookupSuite("rlwe8192"); !errors.Is(err, ErrUnknownSuite) {
		t.Errorf("unknown suite: %v", err)
	}
}

func TestBudgetRefused(t *testing.T) {
	base := named[0]
	for _, c := range []struct {
		why    string
		want   string
		change func(*params)
	}{
		{"one bit too much smudging", "lambda=81", func(p *params) { p.lambda++ }},
		{"a larger committee", "lambda=80 is missed", func(p *params) { p.maxCommittee *= 2 }},
		{"over the logQ limit", "logQ", func(p *params) { p.primes = append(slices.Clone(p.primes), 0x3fffffffe7c001) }},
		{"a degree too small for logQ", "logQ", func(p *params) { p.n = 4096 }},
		{"a degree with no entry", "logQ", func(p *params) { p.n = 64 }},
		{"cohort beyond the slot", "log2 of the cohort", func(p *params) { p.maxCohort *= 2 }},
		{"value bits beyond the slot", "log2 of the cohort", func(p *params) { p.valueBits++ }},
		{"a repeated prime", "twice", func(p *params) { p.primes = []uint64{p.primes[0], p.primes[0]} }},
		{"a composite", "not prime", func(p *params) { p.primes = []uint64{1<<50 + 1<<14 + 1} }},
		{"not 1 mod 2N", "1 mod 2N", func(p *params) { p.primes = []uint64{1<<50 + 3} }},
		{"N not a power of two", "power of two", func(p *params) { p.n = 8191 }},
		{"digits beyond 128 bits", "do not fit", func(p *params) { p.digits = 6 }},
		{"no smudging to speak of", "lambda=39", func(p *params) { p.lambda = 39 }},
		{"no primes", "", func(p *params) { p.primes = nil }},
	} {
		p := base
		c.change(&p)
		_, err := newSuite(p)
		if !errors.Is(err, ErrBadSuite) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a refusal that says %q", c.why, err, c.want)
		}
	}
	if _, err := newSuite(base); err != nil {
		t.Errorf("the unchanged suite: %v", err)
	}
}

func TestNoiseBudgetFormula(t *testing.T) {
	// protocol: per client 2*19*n_c*N+19, times n; B_sm = that * 2^lambda; all
	// dealers together stay below Delta/2.
	for _, s := range Suites() {
		one := 2*19*s.MaxCommittee()*s.N() + 19
		fresh := big.NewInt(int64(one * s.MaxCohort()))
		if s.FreshNoiseBound(s.MaxCohort(), s.MaxCommittee()).Cmp(fresh) != 0 {
			t.Errorf("%s: fresh noise bound", s.Name())
		}
		sm := new(big.Int).Lsh(fresh, uint(s.Lambda()))
		if s.SmudgingBound().Cmp(sm) != 0 {
			t.Errorf("%s: smudging bound", s.Name())
		}
		total := new(big.Int).Mul(sm, big.NewInt(int64(s.MaxCommittee())))
		total.Add(total, fresh)
		if s.NoiseBound(s.MaxCohort(), s.MaxCommittee(), s.MaxCommittee()).Cmp(total) != 0 {
			t.Errorf("%s: noise bound", s.Name())
		}
		half := new(big.Int).Rsh(s.Delta(), 1)
		if total.Cmp(half) >= 0 {
			t.Errorf("%s: the budget does not hold", s.Name())
		}
		t.Logf("%s: logQ %.3f, Delta 2^%.2f, worst noise 2^%.2f, %d bytes a ciphertext, %.2f bytes a value",
			s.Name(), s.LogQ(), log2(s.delta), log2(total), s.CiphertextBytes(),
			float64(s.CiphertextBytes())/float64(s.Values()))
	}
}
