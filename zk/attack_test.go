package zk

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
)

// An attestation holds for the scope it was made for and for no other.
func TestScopeIsBound(t *testing.T) {
	p := newParty(t, tiny1)
	scope := p.scope("alice", 1<<30, 0, 4)
	att := p.prove(t, scope, p.encrypt(t, 1), p.encrypt(t, 2))
	for name, change := range map[string]func(s *Scope){
		"genesis": func(s *Scope) { s.Genesis[3] ^= 1 },
		"job":     func(s *Scope) { s.Job = "jo" },
		"round":   func(s *Scope) { s.Round++ },
		"plan":    func(s *Scope) { s.Plan[0] ^= 1 },
		"client":  func(s *Scope) { s.Client = "bob" },
		"shard":   func(s *Scope) { s.Shards = []int{0, 5} },
		"bound":   func(s *Scope) { s.Bound++ },
	} {
		other := *scope
		change(&other)
		if err := p.keys.VerifyUpdate(&other, p.key, att); !errors.Is(err, ErrRejected) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for name, change := range map[string]func(s *Scope){
		"no genesis":        func(s *Scope) { s.Genesis = fl.Digest{} },
		"no client":         func(s *Scope) { s.Client = "" },
		"other epoch":       func(s *Scope) { s.EpochKey[0] ^= 1 },
		"one shard less":    func(s *Scope) { s.Shards = s.Shards[:1] },
		"one shard more":    func(s *Scope) { s.Shards = []int{0, 4, 5} },
		"shards reordered":  func(s *Scope) { s.Shards = []int{4, 0} },
		"shards repeated":   func(s *Scope) { s.Shards = []int{4, 4} },
		"bound beyond 2^62": func(s *Scope) { s.Bound = 1 << 62 },
	} {
		other := *scope
		change(&other)
		if err := p.keys.VerifyUpdate(&other, p.key, att); !errors.Is(err, ErrScope) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := p.keys.ProveUpdate(context.Background(), &other, p.key, []ShardInput{p.encrypt(t, 1), p.encrypt(t, 1)}, ProveOptions{}); !errors.Is(err, ErrScope) {
			t.Errorf("%s, proving: %v", name, err)
		}
	}
	if err := p.keys.VerifyUpdate(scope, p.key, att); err != nil {
		t.Fatal(err)
	}
}

// Every way to put valid proofs together wrongly.
func TestProofsCannotBeRearranged(t *testing.T) {
	p := newParty(t, tiny1)
	scope := p.scope("alice", 1<<30, 0, 1)
	a := p.prove(t, scope, p.encrypt(t, 1), p.encrypt(t, 2))
	b := p.prove(t, scope, p.encrypt(t, 1), p.encrypt(t, 2))
	for name, proofs := range map[string][]*shardProof{
		"swapped":               {a.proofs[1], a.proofs[0]},
		"one shard twice":       {a.proofs[1], a.proofs[1]},
		"first of another run":  {b.proofs[0], a.proofs[1]},
		"second of another run": {a.proofs[0], b.proofs[1]},
	} {
		if err := p.keys.VerifyUpdate(scope, p.key, &Attestation{shape: a.shape, proofs: proofs}); !errors.Is(err, ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Changing any single element of a proof makes it fail.
func TestEveryElementOfAProofMatters(t *testing.T) {
	p := newParty(t, tiny1)
	scope := p.scope("alice", 1<<30, 0)
	b := p.prove(t, scope, p.encrypt(t, 1)).Bytes()
	_, _, g1, g2 := bn254.Generators()
	fresh := func() (*Attestation, *shardProof) {
		att, err := ParseAttestation(p.keys.Shape(), b)
		if err != nil {
			t.Fatal(err)
		}
		return att, att.proofs[0]
	}
	_, q := fresh()
	check := func(what string, i int, att *Attestation) {
		t.Helper()
		if err := p.keys.VerifyUpdate(scope, p.key, att); !errors.Is(err, ErrRejected) {
			t.Errorf("%s %d changed: %v", what, i, err)
		}
	}
	for i := range q.points() {
		att, pr := fresh()
		x := pr.points()[i]
		x.Add(x, &g1)
		check("point", i, att)
		att, pr = fresh()
		*pr.points()[i] = bn254.G1Affine{}
		check("point at infinity", i, att)
	}
	for i := range q.scalars() {
		att, pr := fresh()
		x := pr.scalars()[i]
		var one fr.Element
		x.Add(x, one.SetOne())
		check("scalar", i, att)
	}
	att, pr := fresh()
	pr.bs.Add(&pr.bs, &g2)
	check("G2 point", 0, att)
}

// A ciphertext that is not the attested one is found, alone and in a sum.
func TestCommitmentsBindCiphertexts(t *testing.T) {
	p := newParty(t, tiny4)
	srs, s := p.keys.SRS(), p.pk.Suite()
	sum := s.NewSum()
	var commitments [][2]Commitment
	inputs := []ShardInput{p.encrypt(t, 1), p.encrypt(t, 2), p.encrypt(t, -3)}
	for _, in := range inputs {
		c, err := srs.CommitCiphertext(in.Ciphertext)
		if err != nil {
			t.Fatal(err)
		}
		commitments = append(commitments, c)
		if err := sum.Add(in.Ciphertext); err != nil {
			t.Fatal(err)
		}
	}
	if err := srs.CheckSum(sum, commitments); err != nil {
		t.Fatal(err)
	}
	if err := srs.CheckCiphertext(inputs[1].Ciphertext, commitments[0]); !errors.Is(err, ErrCommitment) {
		t.Errorf("another ciphertext: %v", err)
	}
	if err := srs.CheckSum(sum, commitments[:2]); !errors.Is(err, ErrCommitment) {
		t.Errorf("one contribution too many: %v", err)
	}
	if err := srs.CheckSum(sum, [][2]Commitment{commitments[0], commitments[1], commitments[1]}); !errors.Is(err, ErrCommitment) {
		t.Errorf("another contribution: %v", err)
	}
	forged := s.NewSum()
	for range 3 {
		if err := forged.Add(inputs[0].Ciphertext); err != nil {
			t.Fatal(err)
		}
	}
	if err := srs.CheckSum(forged, commitments); !errors.Is(err, ErrCommitment) {
		t.Errorf("a forged sum: %v", err)
	}
}

// A client whose ciphertext differs from what it attests to: the proof cannot
// be made, and a proof of something else does not fit the ciphertext.
func TestDishonestProverIsStopped(t *testing.T) {
	p := newParty(t, tiny1)
	scope := p.scope("alice", 1<<30, 0)
	honest, other := p.encrypt(t, 1), p.encrypt(t, 2)
	for name, in := range map[string]ShardInput{
		"values of another ciphertext":     {Values: other.Values, Ciphertext: honest.Ciphertext, Randomness: honest.Randomness},
		"randomness of another ciphertext": {Values: honest.Values, Ciphertext: honest.Ciphertext, Randomness: other.Randomness},
		"ciphertext of another":            {Values: honest.Values, Ciphertext: other.Ciphertext, Randomness: honest.Randomness},
		"no ciphertext":                    {Values: honest.Values, Randomness: honest.Randomness},
		"value out of range":               {Values: []int32{1 << 30}, Ciphertext: honest.Ciphertext, Randomness: honest.Randomness},
	} {
		if _, err := p.keys.ProveUpdate(context.Background(), scope, p.key, []ShardInput{in}, ProveOptions{}); err == nil {
			t.Errorf("%s: proven", name)
		}
	}
	// Under another epoch's key of the same suite.
	q := newParty(t, tiny1)
	att := q.prove(t, q.scope("alice", 1<<30, 0), q.encrypt(t, 1))
	moved := q.scope("alice", 1<<30, 0)
	moved.EpochKey = p.key.Digest()
	if err := p.keys.VerifyUpdate(moved, p.key, att); !errors.Is(err, ErrRejected) {
		t.Errorf("another epoch's proof: %v", err)
	}
	// Of another circuit.
	if err := updateKeys(t, tiny4).VerifyUpdate(scope, p.key, att); !errors.Is(err, ErrRejected) {
		t.Errorf("another circuit's proof: %v", err)
	}
	// Of another set-up of the same circuit.
	k, err := Setup(p.keys.Shape(), p.keys.SRS(), nil)
	if err != nil {
		t.Fatal(err)
	}
	att = p.prove(t, scope, p.encrypt(t, 1))
	if err := k.VerifyUpdate(scope, p.key, att); !errors.Is(err, ErrRejected) {
		t.Errorf("another set-up's proof: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.keys.ProveUpdate(ctx, scope, p.key, []ShardInput{honest}, ProveOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestEncodingIsStrict(t *testing.T) {
	p := newParty(t, tiny1)
	shape := p.keys.Shape()
	scope := p.scope("alice", 1<<30, 0)
	good := p.prove(t, scope, p.encrypt(t, 1)).Bytes()
	const header, g1 = 8, bn254.SizeOfG1AffineCompressed
	firstG1 := header + bn254.SizeOfG2AffineCompressed
	firstScalar := len(good) - 6*fr.Bytes
	set := func(at int, b []byte) []byte {
		out := slices.Clone(good)
		copy(out[at:], b)
		return out
	}
	plusP := func(b []byte) []byte {
		out := make([]byte, fr.Bytes)
		carry := 0
		order := fr.Modulus().FillBytes(make([]byte, fr.Bytes))
		for i := fr.Bytes - 1; i >= 0; i-- {
			x := int(b[i]) + int(order[i]) + carry
			out[i], carry = byte(x), x>>8
		}
		return out
	}
	x := fp.Modulus().FillBytes(make([]byte, g1)) // x = 0 in another encoding
	x[0] |= 0b10 << 6
	for name, b := range map[string][]byte{
		"empty":                   {},
		"truncated":               good[:len(good)-1],
		"trailing byte":           append(slices.Clone(good), 0),
		"wrong magic":             set(0, []byte("CZU\x02")),
		"no shards":               set(4, []byte{0, 0, 0, 0}),
		"two shards announced":    set(4, []byte{2, 0, 0, 0}),
		"billions of shards":      set(4, []byte{255, 255, 255, 255}),
		"scalar plus p":           set(firstScalar, plusP(good[firstScalar:firstScalar+fr.Bytes])),
		"scalar of ones":          set(firstScalar, bytes.Repeat([]byte{255}, fr.Bytes)),
		"x not canonical":         set(firstG1, x),
		"infinity with a tail":    set(firstG1, append([]byte{0b01 << 6}, 1)),
		"uncompressed flag":       set(firstG1, []byte{good[firstG1] & 0x3f}),
		"off the curve":           set(firstG1, offCurve()),
		"outside the subgroup":    set(header, outsideSubgroup()),
		"key share's attestation": append([]byte("CZK\x01"), good[4:]...),
	} {
		if _, err := ParseAttestation(shape, b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Any single flipped bit is refused somewhere.
	for i := range good {
		b := slices.Clone(good)
		b[i] ^= 1 << (i % 8)
		att, err := ParseAttestation(shape, b)
		if err == nil {
			err = p.keys.VerifyUpdate(scope, p.key, att)
		}
		if !errors.Is(err, ErrEncoding) && !errors.Is(err, ErrRejected) {
			t.Fatalf("bit %d of byte %d flipped: %v", i%8, i, err)
		}
	}
}

// offCurve is a compressed G1 point whose x has no y.
func offCurve() []byte {
	for x := byte(1); ; x++ {
		b := make([]byte, bn254.SizeOfG1AffineCompressed)
		b[0], b[len(b)-1] = 0b10<<6, x
		if _, err := new(bn254.G1Affine).SetBytes(b); err != nil {
			return b
		}
	}
}

// outsideSubgroup is a compressed point of the twist outside G2.
func outsideSubgroup() []byte {
	for i := uint64(1); ; i++ {
		var q bn254.G2Affine
		q.X.A0.SetUint64(i)
		var y, b bn254.E2
		y.Square(&q.X).Mul(&y, &q.X)
		// y^2 = x^3 + 3/(9+u)
		b.A0.SetUint64(9)
		b.A1.SetOne()
		b.Inverse(&b)
		var three bn254.E2
		three.A0.SetUint64(3)
		b.Mul(&b, &three)
		y.Add(&y, &b)
		if y.Legendre() != 1 {
			continue
		}
		q.Y.Sqrt(&y)
		if q.IsOnCurve() && !q.IsInSubGroup() {
			out := q.Bytes()
			return out[:]
		}
	}
}
