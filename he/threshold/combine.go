package threshold

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/tuneinsight/lattigo/v5/ring"

	"credence/he"
)

// A DecryptionShare is what one member answered (KeyHolder.Release), over an
// authenticated channel.
type DecryptionShare struct {
	Member string
	Share  []byte
}

// Attribution says on what ground Opened.Wrong was named.
type Attribution int

const (
	// ByNobody means that no share was wrong.
	ByNobody Attribution = iota
	// ByEncoding means that the share is not a polynomial modulo Q, or the member sent two
	// different ones.
	ByEncoding
	// ByAgreement means that the others lie on one polynomial and are so many
	// (n >= t+2f) that, with at most f corrupt members, they are right.
	ByAgreement
	// ByNoise means that exactly one polynomial through the shares opens within the noise
	// bound. It presumes honest noise dealers: do not punish on this ground.
	ByNoise
)

func (a Attribution) String() string {
	return [...]string{"nobody", "encoding", "agreement", "noise"}[a]
}

// Opened is a decrypted sum.
type Opened struct {
	// Values are the sums, one for each of the suite's Values(), in order.
	Values []int64
	// Agreeing lists the members whose shares lie on the opened polynomial, by
	// point. At exactly t of them nothing checks the shares but the noise bound,
	// which a member that knows the other shares' owners can get around.
	Agreeing []string
	// Wrong names the members whose shares do not, by point, and Ground why.
	Wrong  []string
	Ground Attribution
}

// noiseProbe is how many of the disputed coefficients are opened to discard a
// wrong subset. At the largest committee a random phase passes one coefficient
// with probability 0.6, so 64 of them with about 2^-47.
const noiseProbe = 64

// Combine opens a sum from the decryption shares of any t or more members.
// Dealers is the size of the logged dealer set, between t and n.
//
// Shares beyond t are checked to lie on one polynomial with the others: with m
// shares, up to (m-t)/2 wrong ones are named and the sum still opens. When fewer
// than that agree, the noise bound may single out one polynomial; otherwise the
// error wraps ErrUnattributed. ErrNotEnoughShares: fewer than t usable shares.
// he.ErrNoise: all shares agree and the noise is beyond its bound, so a dealer
// dealt oversized noise or the sum is not one of valid ciphertexts. The noise is
// never returned.
func Combine(e *Epoch, sum *he.Sum, dealers int, shares []DecryptionShare) (*Opened, error) {
	if sum.Suite() != e.suite {
		return nil, fmt.Errorf("%w: opening a sum of %s in an epoch of %s", he.ErrSuiteMismatch, sum.Suite().Name(), e.suite.Name())
	}
	if sum.Count() == 0 {
		return nil, he.ErrEmptySum
	}
	n, t := len(e.cfg.Members), e.cfg.Threshold
	if dealers < t || dealers > n {
		return nil, fmt.Errorf("%w: %d dealers, want %d to %d", ErrNotEnoughDealers, dealers, t, n)
	}
	c := &combiner{
		e: e, t: t, count: sum.Count(),
		bound: e.suite.NoiseBound(sum.Count(), n, dealers),
	}
	c.c0, _ = sum.Reduce()
	if err := c.collect(shares); err != nil {
		return nil, err
	}
	if len(c.points) < t {
		return nil, fmt.Errorf("%w: %d usable of %d received, need %d%s",
			ErrNotEnoughShares, len(c.points), len(shares), t, c.refused())
	}
	for _, q := range e.suite.Primes() {
		c.fields = append(c.fields, newField(q, n))
	}
	return c.open()
}

// combiner holds one opening. Index i runs over usable shares, in the order of
// their points.
type combiner struct {
	e      *Epoch
	t      int
	count  int
	bound  *big.Int
	c0     *he.Poly
	points []int
	polys  []*he.Poly
	bad    []string // members refused by encoding
	fields []field
	// proj[k][i] is a random linear functional of share i modulo prime k: shares
	// on one polynomial have projections on one polynomial, and others do not but
	// with probability 1/q.
	proj [][]uint64
}

// collect parses the shares. A repeated identical share counts once; a member
// that sent two different ones, or garbage, is set aside and named.
func (c *combiner) collect(shares []DecryptionShare) error {
	first := map[string][]byte{}
	bad := map[string]bool{}
	for _, s := range shares {
		if _, ok := c.e.member(s.Member); !ok {
			return blame(s.Member, "%w of epoch %d: decryption share", ErrNotMember, c.e.Number())
		}
		if prev, seen := first[s.Member]; seen && !bytes.Equal(prev, s.Share) {
			bad[s.Member] = true
		}
		first[s.Member] = s.Share
	}
	for _, m := range c.e.cfg.Members {
		b, ok := first[m.ID]
		if !ok {
			continue
		}
		p, err := c.e.suite.ParsePoly(b)
		if err != nil || bad[m.ID] {
			c.bad = append(c.bad, m.ID)
			continue
		}
		c.points = append(c.points, m.Point)
		c.polys = append(c.polys, p)
	}
	return nil
}

func (c *combiner) refused() string {
	if len(c.bad) == 0 {
		return ""
	}
	return fmt.Sprintf("; malformed or contradictory: %q", c.bad)
}

func (c *combiner) open() (*Opened, error) {
	m := len(c.points)
	if m == c.t {
		all := indices(m)
		values, err := c.decode(all)
		if errors.Is(err, he.ErrNoise) {
			return nil, fmt.Errorf("%w: %d shares, exactly the threshold, do not open within the noise bound%s", ErrUnattributed, m, c.refused())
		}
		if err != nil {
			return nil, fmt.Errorf("opening a sum of %d: %w", c.count, err)
		}
		return c.opened(values, all, ByNobody), nil
	}
	c.project()
	// With at most (m-t)/2 wrong shares the right polynomial is the only one
	// that m-(m-t)/2 shares lie on (the unique decoding radius of a
	// Reed-Solomon code of length m and dimension t).
	need := m - (m-c.t)/2
	var agreed []int
	subsets(m, c.t, func(sub []int) bool {
		if set := c.agreeing(sub); len(set) >= need {
			agreed = set
			return false
		}
		return true
	})
	if agreed != nil {
		values, err := c.decode(agreed[:c.t])
		if err != nil {
			return nil, fmt.Errorf("opening a sum of %d from %d agreeing shares: %w", c.count, len(agreed), err)
		}
		ground := ByNobody
		if len(agreed) < m {
			ground = ByAgreement
		}
		return c.opened(values, agreed, ground), nil
	}
	// Too many disagree for counting. Look for the polynomials that open within
	// the noise bound; trust the result only if there is exactly one.
	var within [][]int
	disputed := c.disputed()
	subsets(m, c.t, func(sub []int) bool {
		if !c.probe(sub, disputed) {
			return true
		}
		set := c.agreeing(sub)
		if !slices.ContainsFunc(within, func(w []int) bool { return slices.Equal(w, set) }) {
			within = append(within, set)
		}
		return len(within) < 2
	})
	if len(within) == 1 {
		if values, err := c.decode(within[0][:c.t]); err == nil {
			return c.opened(values, within[0], ByNoise), nil
		}
	}
	return nil, fmt.Errorf("%w: %d shares at threshold %d%s; collect more shares", ErrUnattributed, m, c.t, c.refused())
}

func (c *combiner) opened(values []int64, agreeing []int, ground Attribution) *Opened {
	o := &Opened{Values: values, Ground: ground}
	right := map[int]bool{}
	for _, i := range agreeing {
		right[c.points[i]] = true
	}
	used := map[int]bool{}
	for _, p := range c.points {
		used[p] = true
	}
	for _, m := range c.e.cfg.Members {
		switch {
		case right[m.Point]:
			o.Agreeing = append(o.Agreeing, m.ID)
		case used[m.Point] || slices.Contains(c.bad, m.ID):
			o.Wrong = append(o.Wrong, m.ID)
		}
	}
	if ground == ByNobody && len(c.bad) > 0 {
		o.Ground = ByEncoding
	}
	return o
}

// decode interpolates t shares at 0, adds c0 and decodes.
func (c *combiner) decode(sub []int) ([]int64, error) {
	pts := c.pointsOf(sub)
	phase := c.c0.Clone()
	defer phase.Erase()
	r := c.e.suite.Ring()
	weights := make([][]uint64, len(c.fields))
	for k, f := range c.fields {
		weights[k] = f.lagrange(pts, 0)
	}
	scalar := make([]uint64, len(c.fields))
	for j, i := range sub {
		for k := range scalar {
			sr := r.SubRings[k]
			scalar[k] = ring.MForm(weights[k][j], sr.Modulus, sr.BRedConstant)
		}
		phase.AddScaled(c.polys[i], scalar)
	}
	return c.e.suite.DecodePhase(phase, c.count, c.bound)
}

// disputed returns up to noiseProbe coefficients in which the shares do not lie
// on one polynomial. Where they do, every subset opens alike and nothing can be
// told from the noise.
func (c *combiner) disputed() []int {
	base := indices(c.t)
	pts := c.pointsOf(base)
	n := c.e.suite.N()
	differs := make([]bool, n)
	for i := c.t; i < len(c.points); i++ {
		for k, f := range c.fields {
			w := f.lagrange(pts, c.points[i])
			own := c.polys[i].RNS().Coeffs[k]
			for x := range n {
				var acc uint64
				for j := range base {
					acc = addMod(acc, mulMod(w[j], c.polys[j].RNS().Coeffs[k][x], f.q), f.q)
				}
				differs[x] = differs[x] || acc != own[x]
			}
		}
	}
	var out []int
	for x, d := range differs {
		if d && len(out) < noiseProbe {
			out = append(out, x)
		}
	}
	return out
}

// probe reports whether the given coefficients open within the noise bound.
func (c *combiner) probe(sub, coefficients []int) bool {
	pts := c.pointsOf(sub)
	phase := c.c0.Select(coefficients)
	for k, f := range c.fields {
		w := f.lagrange(pts, 0)
		row := phase.RNS().Coeffs[k]
		for j, i := range sub {
			share := c.polys[i].RNS().Coeffs[k]
			for x, at := range coefficients {
				row[x] = addMod(row[x], mulMod(w[j], share[at], f.q), f.q)
			}
		}
	}
	return c.e.suite.WithinNoise(phase, c.bound)
}

func (c *combiner) pointsOf(sub []int) []int {
	out := make([]int, len(sub))
	for j, i := range sub {
		out[j] = c.points[i]
	}
	return out
}

// project draws the functional after the shares are in, from crypto/rand, so
// that no sender can aim at it.
func (c *combiner) project() {
	n := c.e.suite.N()
	buf := make([]byte, 8*n)
	for k, f := range c.fields {
		_, _ = rand.Read(buf) // never fails, see crypto/rand.Read
		row := make([]uint64, len(c.polys))
		for i, p := range c.polys {
			coeffs := p.RNS().Coeffs[k]
			var acc uint64
			for x := range n {
				// The bias of reducing 64 bits modulo a prime of at most 54 is
				// below 2^-10, which costs nothing here.
				acc = addMod(acc, mulMod(binary.LittleEndian.Uint64(buf[8*x:])%f.q, coeffs[x], f.q), f.q)
			}
			row[i] = acc
		}
		c.proj = append(c.proj, row)
	}
}

// agreeing returns the shares on the polynomial through the t shares of sub,
// sub included, in order.
func (c *combiner) agreeing(sub []int) []int {
	pts := c.pointsOf(sub)
	var out []int
	for i := range c.points {
		if slices.Contains(sub, i) || c.onPolynomial(sub, pts, i) {
			out = append(out, i)
		}
	}
	return out
}

func (c *combiner) onPolynomial(sub, pts []int, i int) bool {
	for k, f := range c.fields {
		var acc uint64
		for j, l := range f.lagrange(pts, c.points[i]) {
			acc = addMod(acc, mulMod(l, c.proj[k][sub[j]], f.q), f.q)
		}
		if acc != c.proj[k][i] {
			return false
		}
	}
	return true
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// subsets visits the k-subsets of 0..n-1 in lexicographic order until visit
// returns false.
func subsets(n, k int, visit func(sub []int) bool) {
	sub := indices(k)
	for {
		if !visit(sub) {
			return
		}
		i := k - 1
		for i >= 0 && sub[i] == n-k+i {
			i--
		}
		if i < 0 {
			return
		}
		sub[i]++
		for j := i + 1; j < k; j++ {
			sub[j] = sub[j-1] + 1
		}
	}
}
