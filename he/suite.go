package he

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"github.com/tuneinsight/lattigo/v5/ring"
)

// ErrorBound is the largest absolute value of a fresh error coefficient: the
// discrete Gaussian of standard deviation 3.2 is cut at 19 (just under six
// standard deviations).
const ErrorBound = 19

// maxLambda keeps smudging bounds within the sampler's tested range.
const maxLambda = 100

// minLambda is the least smudging a suite outside tests may have.
const minLambda = 40

// maxLogQ gives the largest logQ for a ring degree at 128-bit classical
// security with a ternary secret (eprint 2024/463, table 5.2).
var maxLogQ = map[int]float64{1024: 26, 2048: 53, 4096: 106, 8192: 214, 16384: 430, 32768: 868}

// params are a suite's loose numbers. They are unexported on purpose: outside
// this package only named suites, whose budget was checked, can exist.
type params struct {
	name         string
	n            int      // ring degree N
	primes       []uint64 // distinct primes = 1 mod 2N
	digits       int      // D, digits a coefficient
	slotBits     int      // S, bits a digit may grow to
	valueBits    int      // b, bits of one value
	maxCohort    int      // most contributions in a sum
	maxCommittee int      // most key holders, hence most noise dealers
	lambda       int      // smudging: B_sm = worst-case noise * 2^lambda
}

// named lists every suite there is. A published suite never changes: a new
// choice of numbers is a new name.
var named = []params{
	{
		name: "rlwe8192-d4-v1", n: 8192,
		primes: []uint64{0x3fffffffef8001, 0x3fffffffeb8001, 0x1ffffffffb4001, 0x1ffffffffa4001},
		digits: 4, slotBits: 24, valueBits: 14, maxCohort: 1024, maxCommittee: 16, lambda: 80,
	},
	{
		name: "rlwe4096-d1-v1", n: 4096,
		primes: []uint64{0x1ffffffffb4001, 0x1ffffffffa4001},
		digits: 1, slotBits: 24, valueBits: 16, maxCohort: 256, maxCommittee: 8, lambda: 49,
	},
	{
		name: "insecure-rlwe64-d1-v1", n: 64,
		primes: []uint64{0x3fffffffff901, 0x3fffffffff581},
		digits: 1, slotBits: 24, valueBits: 16, maxCohort: 256, maxCommittee: 8, lambda: 49,
	},
	{
		name: "insecure-rlwe64-d4-v1", n: 64,
		primes: []uint64{0xffffffffff481, 0xffffffffff001, 0xfffffffffe981, 0xfffffffffe801},
		digits: 4, slotBits: 24, valueBits: 14, maxCohort: 1024, maxCommittee: 16, lambda: 80,
	},
}

var built = struct {
	sync.Mutex
	byName map[string]*Suite
}{byName: map[string]*Suite{}}

// A Suite is one checked, named set of parameters. It is immutable and safe
// for concurrent use; two suites of the same name are the same pointer.
type Suite struct {
	p         params
	r         *ring.Ring
	q         *big.Int
	delta     *big.Int
	smudge    *big.Int
	coefBytes int // canonical width of a coefficient below Q
	sumBytes  int // width of an unreduced sum of maxCohort of them
	conv      converter
	deltaRNS  []uint64 // Delta mod each prime, Montgomery form
}

// Names lists the built-in suites, secure ones first.
func Names() []string {
	names := make([]string, len(named))
	for i, p := range named {
		names[i] = p.name
	}
	return names
}

// Suites returns every built-in suite, the insecure test suites included.
func Suites() []*Suite {
	out := make([]*Suite, 0, len(named))
	for _, p := range named {
		s, err := LookupSuite(p.name)
		if err != nil {
			// The table above is pinned by a test that builds each entry.
			panic("he: built-in suite " + p.name + " does not build: " + err.Error())
		}
		out = append(out, s)
	}
	return out
}

// LookupSuite returns the suite of that name or ErrUnknownSuite. It does not
// refuse insecure suites: callers check Insecure().
func LookupSuite(name string) (*Suite, error) {
	built.Lock()
	defer built.Unlock()
	if s := built.byName[name]; s != nil {
		return s, nil
	}
	i := slices.IndexFunc(named, func(p params) bool { return p.name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w %q: use one of %s", ErrUnknownSuite, name, strings.Join(Names(), ", "))
	}
	s, err := newSuite(named[i])
	if err != nil {
		return nil, err
	}
	built.byName[name] = s
	return s, nil
}

// newSuite checks the whole budget and builds the tables.
func newSuite(p params) (*Suite, error) {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrBadSuite, p.name, fmt.Sprintf(format, args...))
	}
	if p.n < 16 || p.n&(p.n-1) != 0 {
		return nil, refuse("N=%d is not a power of two of at least 16", p.n)
	}
	q := big.NewInt(1)
	seen := map[uint64]bool{}
	for _, prime := range p.primes {
		switch {
		case seen[prime]:
			return nil, refuse("prime %d occurs twice", prime)
		case bits.Len64(prime) > 60 || bits.Len64(prime) < 30:
			return nil, refuse("prime %d is not of 30 to 60 bits", prime)
		case prime%uint64(2*p.n) != 1:
			return nil, refuse("prime %d is not 1 mod 2N", prime)
		case !new(big.Int).SetUint64(prime).ProbablyPrime(32):
			return nil, refuse("%d is not prime", prime)
		}
		seen[prime] = true
		q.Mul(q, new(big.Int).SetUint64(prime))
	}
	insecure := strings.HasPrefix(p.name, "insecure-")
	if limit, ok := maxLogQ[p.n]; !insecure && (!ok || log2(q) > limit) {
		return nil, refuse("logQ=%.2f exceeds %.0f, the 128-bit limit for N=%d", log2(q), limit, p.n)
	}
	if !insecure && p.lambda < minLambda {
		return nil, refuse("lambda=%d is below %d", p.lambda, minLambda)
	}
	switch {
	case len(p.primes) == 0:
		return nil, refuse("no primes")
	case p.lambda < 1 || p.lambda > maxLambda:
		return nil, refuse("lambda=%d is not within 1..%d", p.lambda, maxLambda)
	case p.maxCohort < 2 || p.maxCommittee < 2:
		return nil, refuse("cohort %d and committee %d must be at least 2", p.maxCohort, p.maxCommittee)
	case p.valueBits < 2 || p.valueBits > 31:
		return nil, refuse("value bits %d are not within 2..31", p.valueBits)
	case p.slotBits > 62 || p.slotBits <= p.valueBits || 1<<(p.slotBits-p.valueBits) != p.maxCohort:
		return nil, refuse("S-b=%d is not log2 of the cohort %d", p.slotBits-p.valueBits, p.maxCohort)
	case p.digits < 1 || p.digits*p.slotBits > 128 || p.digits*p.slotBits >= q.BitLen():
		return nil, refuse("%d digits of %d bits do not fit", p.digits, p.slotBits)
	}
	s := &Suite{p: p, q: q}
	s.delta = new(big.Int).Rsh(q, uint(p.digits*p.slotBits))
	s.smudge = new(big.Int).Lsh(s.FreshNoiseBound(p.maxCohort, p.maxCommittee), uint(p.lambda))
	// 2*(noise + committee*B_sm) < Delta, worst case and not typical: a client
	// may choose extreme randomness.
	if twice := new(big.Int).Lsh(s.NoiseBound(p.maxCohort, p.maxCommittee, p.maxCommittee), 1); twice.Cmp(s.delta) >= 0 {
		return nil, refuse("lambda=%d is missed: twice the worst-case noise is 2^%.2f, Delta is only 2^%.2f",
			p.lambda, log2(twice), log2(s.delta))
	}
	largestSum := new(big.Int).Mul(q, big.NewInt(int64(p.maxCohort)))
	if largestSum.BitLen() > 64*maxLimbs {
		return nil, refuse("sums of %d bits exceed %d", largestSum.BitLen(), 64*maxLimbs)
	}
	s.coefBytes = (q.BitLen() + 7) / 8
	s.sumBytes = (largestSum.BitLen() + 7) / 8
	r, err := ring.NewRing(p.n, p.primes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: building the ring: %w", ErrBadSuite, p.name, err)
	}
	s.r = r
	s.conv = newConverter(r, q, (largestSum.BitLen()+63)/64)
	s.deltaRNS = s.scalar(s.delta)
	return s, nil
}

// scalar returns v mod each prime in Montgomery form.
func (s *Suite) scalar(v *big.Int) []uint64 {
	out := s.r.NewRNSScalarFromBigint(v)
	s.r.MFormRNSScalar(out, out)
	return out
}

func log2(v *big.Int) float64 {
	mantissa := new(big.Float)
	exp := new(big.Float).SetInt(v).MantExp(mantissa)
	m, _ := mantissa.Float64()
	return math.Log2(m) + float64(exp)
}

// Name is the suite's published name.
func (s *Suite) Name() string { return s.p.name }

// Insecure reports a suite that protects nothing and exists for tests and
// simulation; everything else must refuse it.
func (s *Suite) Insecure() bool { return strings.HasPrefix(s.p.name, "insecure-") }

// N is the ring degree.
func (s *Suite) N() int { return s.p.n }

// LogQ is log2 of the modulus.
func (s *Suite) LogQ() float64 { return log2(s.q) }

// Q returns the modulus (a copy).
func (s *Suite) Q() *big.Int { return new(big.Int).Set(s.q) }

// Primes returns the prime factors of Q (a copy).
func (s *Suite) Primes() []uint64 { return slices.Clone(s.p.primes) }

// Digits is D, the digits one coefficient carries.
func (s *Suite) Digits() int { return s.p.digits }

// SlotBits is S, the bits a digit's sum may use.
func (s *Suite) SlotBits() int { return s.p.slotBits }

// ValueBits is b, the bits of one signed value.
func (s *Suite) ValueBits() int { return s.p.valueBits }

// MaxCohort is the most contributions one sum may hold.
func (s *Suite) MaxCohort() int { return s.p.maxCohort }

// MaxCommittee is the most key holders, and so the most noise dealers.
func (s *Suite) MaxCommittee() int { return s.p.maxCommittee }

// Lambda is the smudging parameter in bits: one honest dealer's noise is
// 2^lambda times the worst-case noise it hides, so each opened coefficient is
// within statistical distance 2^-(lambda+1) of one that depends on the sum
// alone, and a whole ciphertext within N times that.
func (s *Suite) Lambda() int { return s.p.lambda }

// Values is D*N, the values one ciphertext holds.
func (s *Suite) Values() int { return s.p.digits * s.p.n }

// PolyBytes is the length of one canonical polynomial modulo Q.
func (s *Suite) PolyBytes() int { return s.p.n * s.coefBytes }

// CoefficientBytes is the width of one canonical coefficient, ceil(log2(Q)/8).
func (s *Suite) CoefficientBytes() int { return s.coefBytes }

// CiphertextBytes is the length of an encoded ciphertext: c0 then c1.
func (s *Suite) CiphertextBytes() int { return 2 * s.PolyBytes() }

// MinValue is -2^(b-1), the least value a contribution may hold.
func (s *Suite) MinValue() int32 { return -(1 << (s.p.valueBits - 1)) }

// MaxValue is 2^(b-1)-1, the largest value a contribution may hold.
func (s *Suite) MaxValue() int32 { return 1<<(s.p.valueBits-1) - 1 }

// Delta is floor(Q / 2^(D*S)), the plaintext's scale (a copy).
func (s *Suite) Delta() *big.Int { return new(big.Int).Set(s.delta) }

// SmudgingBound is B_sm: a dealer's noise is uniform in [-B_sm, B_sm] (a copy).
func (s *Suite) SmudgingBound() *big.Int { return new(big.Int).Set(s.smudge) }

// FreshNoiseBound is the worst-case noise of a sum of cohort ciphertexts
// under a key of committee members, before smudging:
// cohort * (2*19*committee*N + 19).
func (s *Suite) FreshNoiseBound(cohort, committee int) *big.Int {
	one := big.NewInt(2 * ErrorBound * int64(s.p.n))
	one.Mul(one, big.NewInt(int64(committee)))
	one.Add(one, big.NewInt(ErrorBound))
	return one.Mul(one, big.NewInt(int64(cohort)))
}

// NoiseBound is the worst-case absolute noise of an opened sum of cohort
// ciphertexts, under a key of committee members, smudged by dealers of them.
func (s *Suite) NoiseBound(cohort, committee, dealers int) *big.Int {
	sm := new(big.Int).Mul(s.smudge, big.NewInt(int64(dealers)))
	return sm.Add(sm, s.FreshNoiseBound(cohort, committee))
}

// Ring is the lattigo ring of the suite, for the packages below he and for
// provers that need its transforms. It must not be modified.
func (s *Suite) Ring() *ring.Ring { return s.r }
