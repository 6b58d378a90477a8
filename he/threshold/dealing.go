package threshold

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"credence/he"
)

// repetitions is kappa, how often a dealing is checked modulo each prime. A
// dealing that is not one polynomial passes one prime with probability
// q^-kappa, about 2^-100 at the smallest primes in use.
const repetitions = 2

// A Subject says what a sharing is of: a member's part of the epoch's secret,
// or its smudging noise for one sum. It is bound into every box, commitment
// and challenge.
type Subject struct {
	noise bool
	sum   SumID
}

// KeySubject is the sharing of a member's part of the epoch's secret.
func KeySubject() Subject { return Subject{} }

// NoiseSubject is the sharing of a member's noise for one sum.
func NoiseSubject(id SumID) Subject { return Subject{noise: true, sum: id} }

func (s Subject) String() string {
	if s.noise {
		return "noise for " + s.sum.String()
	}
	return "key"
}

// A DealtBox is one receiver's part of a dealing.
type DealtBox struct {
	// Receiver names the member whose share it is.
	Receiver string
	// Box is the sealed share or its seed, BoxBytes long. It is nil where only the public
	// part of a dealing matters; Digest stands for it there.
	Box []byte
	// Digest is SHA-256 of Box.
	Digest [32]byte
	// Commitment binds the dealer to the key of the box: SHA-256 over a domain,
	// the box's context and the key.
	Commitment [32]byte
	// Check is what the receiver's share gives under the dealing's challenge:
	// CheckBytes long, for each repetition and prime one residue of 8 bytes,
	// little endian.
	Check []byte
}

// A Dealing is one sharing, one box for each member in the order of the
// points. All of it but the contents of the boxes is public.
type Dealing []DealtBox

// box finds a receiver's part.
func (d Dealing) box(receiver string) (DealtBox, bool) {
	i := slices.IndexFunc(d, func(b DealtBox) bool { return b.Receiver == receiver })
	if i < 0 {
		return DealtBox{}, false
	}
	return d[i], true
}

// Digest identifies the public part of a dealing.
func (d Dealing) Digest() [32]byte {
	var w writer
	w.str("credence/threshold/dealing/v1")
	for _, b := range d {
		w.str(b.Receiver)
		w.fixed(b.Digest)
		w.fixed(b.Commitment)
		w.blob(b.Check)
	}
	return sha256.Sum256(w.b)
}

// CheckBytes is the length of one receiver's check under a suite.
func CheckBytes(s *he.Suite) int { return 8 * repetitions * len(s.Primes()) }

// contentKey derives the key of one box from the dealing's seed, so that a
// dealer can answer a complaint after a restart.
func contentKey(seed, context []byte) []byte {
	mac := hmac.New(sha256.New, seed)
	_, _ = mac.Write([]byte("credence/threshold/content-key/v1\x00")) // a hash never fails
	_, _ = mac.Write(context)
	return mac.Sum(nil)
}

// commitKey commits to the key of one box. The key has 256 bits of entropy,
// so the hash hides it.
func commitKey(context, key []byte) [32]byte {
	var w writer
	w.str("credence/threshold/content-key-commitment/v1")
	w.blob(context)
	w.blob(key)
	return sha256.Sum256(w.b)
}

// payload is what a box holds for its receiver: the share, or the seed that it
// is expanded from, and the values of the masking polynomials at its point, by
// repetition and prime.
type payload struct {
	share *he.Poly
	seed  []byte // nil for a share that is not expanded
	masks []uint64
}

func (p *payload) erase() {
	if p != nil {
		p.share.Erase()
		clear(p.seed)
		clear(p.masks)
	}
}

func (p *payload) encode() []byte {
	out := slices.Clone(p.seed)
	if p.seed == nil {
		out = p.share.Residues()
	}
	for _, m := range p.masks {
		out = binary.LittleEndian.AppendUint64(out, m)
	}
	return out
}

func payloadBytes(s *he.Suite, seeded bool) int {
	if seeded {
		return he.SeedBytes + CheckBytes(s)
	}
	return s.ResidueBytes() + CheckBytes(s)
}

// parsePayload decodes a payload strictly: exact length, every residue and every
// mask below its prime.
func parsePayload(s *he.Suite, seeded bool, b []byte) (*payload, error) {
	if want := payloadBytes(s, seeded); len(b) != want {
		return nil, fmt.Errorf("%w: its contents have %d bytes, want %d", ErrBox, len(b), want)
	}
	at := len(b) - CheckBytes(s)
	masks, ok := parseResidues(s, b[at:])
	if !ok {
		return nil, fmt.Errorf("%w: a mask in it is not below its prime", ErrBox)
	}
	if seeded {
		return &payload{share: s.ExpandUniform([he.SeedBytes]byte(b[:at])), seed: slices.Clone(b[:at]), masks: masks}, nil
	}
	share, err := s.ParseResidues(b[:at])
	if err != nil {
		return nil, fmt.Errorf("%w: its contents are not a canonical polynomial", ErrBox)
	}
	return &payload{share: share, masks: masks}, nil
}

// parseResidues decodes one residue for each repetition and prime.
func parseResidues(s *he.Suite, b []byte) ([]uint64, bool) {
	if len(b) != CheckBytes(s) {
		return nil, false
	}
	primes := s.Primes()
	out := make([]uint64, len(b)/8)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(b[8*i:])
		if out[i] >= primes[i%len(primes)] {
			return nil, false
		}
	}
	return out, true
}

// deal Shamir-shares a secret with threshold t, seals each member's share to
// it and answers the challenge that all the boxes give. The shares, the masks
// and the sharing polynomial are erased.
func deal(e *Epoch, subject Subject, dealer string, secret *he.Poly, seed []byte) (Dealing, error) {
	sharing := newSharing(secret, seededPoints(e, dealer), len(e.cfg.Members))
	defer sharing.erase()
	masks := newMasks(e)
	defer masks.erase()
	payloads := make([]*payload, len(e.cfg.Members))
	for i, m := range e.cfg.Members {
		share, err := sharing.at(m.Point)
		if err != nil {
			return nil, err
		}
		payloads[i] = &payload{share: share, seed: slices.Clone(sharing.seeds[m.Point]), masks: masks.at(m.Point)}
		defer payloads[i].erase()
	}
	d, err := sealPayloads(e, subject, dealer, payloads, seed)
	if err != nil {
		return nil, err
	}
	points := make([]int, len(e.cfg.Members))
	for i, m := range e.cfg.Members {
		points[i] = m.Point
	}
	for i, y := range sharing.answers(challengeOf(e, subject, dealer, d), masks, points) {
		d[i].Check = encodeResidues(y)
	}
	return d, nil
}

func encodeResidues(v []uint64) []byte {
	out := make([]byte, 0, 8*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint64(out, x)
	}
	return out
}

// sealPayloads makes the boxes of a dealing, without its checks.
func sealPayloads(e *Epoch, subject Subject, dealer string, payloads []*payload, seed []byte) (Dealing, error) {
	d := make(Dealing, 0, len(e.cfg.Members))
	for i, m := range e.cfg.Members {
		context := boxContext(e, subject, dealer, m.ID)
		key := contentKey(seed, context)
		plain := payloads[i].encode()
		box, err := sealBox(m.SealKey, context, key, plain)
		clear(plain)
		if err != nil {
			return nil, blame(m.ID, "sealing a share: %w", err)
		}
		d = append(d, DealtBox{Receiver: m.ID, Box: box, Digest: sha256.Sum256(box), Commitment: commitKey(context, key)})
		clear(key)
	}
	return d, nil
}

// masks are the masking polynomials of a dealing: for each repetition and
// prime one of degree t-1 with coefficients uniform modulo the prime.
// coeffs[k][r*len(primes)+i] is the coefficient of x^k.
type maskSharing struct {
	s      *he.Suite
	coeffs [][]uint64
}

func newMasks(e *Epoch) *maskSharing {
	m := &maskSharing{s: e.suite, coeffs: make([][]uint64, e.cfg.Threshold)}
	for k := range m.coeffs {
		for range repetitions {
			m.coeffs[k] = append(m.coeffs[k], e.suite.UniformResidues()...)
		}
	}
	return m
}

func (m *maskSharing) at(point int) []uint64 { return evaluate(m.s, m.coeffs, point) }

func (m *maskSharing) erase() {
	for _, c := range m.coeffs {
		clear(c)
	}
}

// evaluate computes, for each repetition and prime, the polynomial with the
// given coefficients at a point, by Horner's rule.
func evaluate(s *he.Suite, coeffs [][]uint64, point int) []uint64 {
	primes := s.Primes()
	out := slices.Clone(coeffs[len(coeffs)-1])
	for k := len(coeffs) - 2; k >= 0; k-- {
		for j := range out {
			q := primes[j%len(primes)]
			out[j] = addMod(mulMod(out[j], uint64(point), q), coeffs[k][j], q)
		}
	}
	return out
}

// challenge derives the weights w of a dealing: for each repetition N integers
// below the smallest prime, the same ones for every prime, read from cSHAKE256
// (NIST SP 800-185) over everything that the dealer sent before, so that it is
// fixed when the weights become known. A weight is a little-endian word of 8
// bytes, masked to the length of the smallest prime; those of that prime or
// more are passed over.
type challenge struct {
	s    *he.Suite
	seed [32]byte
}

func challengeOf(e *Epoch, subject Subject, dealer string, d Dealing) challenge {
	var w writer
	w.str("credence/threshold/challenge/v2")
	w.blob(boxContext(e, subject, dealer, ""))
	for _, b := range d {
		w.str(b.Receiver)
		w.fixed(b.Digest)
		w.fixed(b.Commitment)
	}
	return challenge{s: e.suite, seed: sha256.Sum256(w.b)}
}

// respond computes <w, p> + mask for each repetition and prime.
func (c challenge) respond(p *he.Poly, masks []uint64) []uint64 {
	return c.respondAll([]*he.Poly{p}, [][]uint64{masks})[0]
}

// respondAll computes respond for several polynomials, and reads the weights
// once.
func (c challenge) respondAll(polys []*he.Poly, masks [][]uint64) [][]uint64 {
	xof := sha3.NewCSHAKE256([]byte("credence"), []byte("threshold/challenge/v2/"+c.s.Name()))
	_, _ = xof.Write(c.seed[:]) // a hash never fails
	primes := c.s.Primes()
	out := make([][]uint64, len(polys))
	weights := make([]uint64, c.s.N())
	for r := range repetitions {
		readWeights(xof, slices.Min(primes), weights)
		for k, p := range polys {
			rows := p.RNS().Coeffs
			for i, q := range primes {
				out[k] = append(out[k], addMod(innerProduct(weights, rows[i], q), masks[k][r*len(primes)+i], q))
			}
		}
	}
	return out
}

// readWeights fills w with integers uniform below q.
func readWeights(xof *sha3.SHAKE, q uint64, w []uint64) {
	mask := uint64(1)<<bits.Len64(q) - 1
	var buf [4080]byte // a multiple of the 136 bytes that the sponge gives at a time
	left := buf[:0]
	for i := 0; i < len(w); {
		if len(left) == 0 {
			_, _ = xof.Read(buf[:]) // never fails
			left = buf[:]
		}
		v := binary.LittleEndian.Uint64(left) & mask
		left = left[8:]
		if v < q { // others are rejected, so that the weights are uniform
			w[i] = v
			i++
		}
	}
}

// innerProduct is the sum of a[i]*b[i] mod q, for factors below 2^60.
func innerProduct(a, b []uint64, q uint64) uint64 {
	var hi, lo uint64
	for len(a) > 0 {
		n := min(len(a), 128) // products below 2^120 add up below 2^127
		for i, x := range a[:n] {
			h, l := bits.Mul64(x, b[i])
			var carry uint64
			lo, carry = bits.Add64(lo, l, 0)
			hi, _ = bits.Add64(hi, h, carry)
		}
		hi, lo = 0, bits.Rem64(hi, lo, q)
		a, b = a[n:], b[n:]
	}
	return lo
}

// VerifyDealing checks what anyone can check of a dealing: one box for each
// member in the order of their points, canonical checks, and that for each
// repetition and prime the checks lie on one polynomial of degree below t. A
// dealing that fails names its dealer by a MemberError that wraps ErrDealing.
func VerifyDealing(e *Epoch, subject Subject, dealer string, d Dealing) error {
	if _, ok := e.member(dealer); !ok {
		return blame(dealer, "%w: dealing of the %v in epoch %d", ErrNotMember, subject, e.Number())
	}
	refuse := func(format string, args ...any) error {
		return blame(dealer, "%w: %v in epoch %d: %s", ErrDealing, subject, e.Number(), fmt.Sprintf(format, args...))
	}
	members := e.cfg.Members
	if len(d) != len(members) {
		return refuse("%d boxes for %d members", len(d), len(members))
	}
	checks := make([][]uint64, len(d))
	points := make([]int, len(d))
	for i, b := range d {
		if b.Receiver != members[i].ID {
			return refuse("box %d is for %q, want %q", i, b.Receiver, members[i].ID)
		}
		if len(b.Check) != CheckBytes(e.suite) {
			return refuse("the check of %q has %d bytes, want %d", b.Receiver, len(b.Check), CheckBytes(e.suite))
		}
		var ok bool
		if checks[i], ok = parseResidues(e.suite, b.Check); !ok {
			return refuse("the check of %q is not canonical", b.Receiver)
		}
		points[i] = members[i].Point
	}
	t, primes := e.cfg.Threshold, e.suite.Primes()
	fields := make([]field, len(primes))
	for k, q := range primes {
		fields[k] = newField(q, len(members))
	}
	for i := t; i < len(d); i++ {
		weights := make([][]uint64, len(primes))
		for k, f := range fields {
			weights[k] = f.lagrange(points[:t], points[i])
		}
		for j, y := range checks[i] {
			k := j % len(primes)
			var acc uint64
			for m, l := range weights[k] {
				acc = addMod(acc, mulMod(l, checks[m][j], primes[k]), primes[k])
			}
			if acc != y {
				return refuse("the checks do not lie on a polynomial of degree %d", t-1)
			}
		}
	}
	return nil
}
