package zk

import (
	"fmt"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/rlwe"
)

// A CommonKey is the common reference polynomial a of an epoch, prepared for
// proofs about key shares p_j = -a*s_j + e_j.
type CommonKey struct {
	suite  *he.Suite
	a      *he.Poly
	digest fl.Digest
	row    *rlwe.Multiplier
	point  Commitment
}

// NewCommonKey prepares the common polynomial of a seed.
func (k *Keys) NewCommonKey(s *he.Suite, seed [he.SeedBytes]byte) (*CommonKey, error) {
	if want := "keyshare/" + s.Name(); k.system.Shape.Name != want {
		return nil, fmt.Errorf("%w: keys of %s for key shares that need %s", ErrKeys, k.system.Shape.Name, want)
	}
	c := &CommonKey{suite: s, a: s.CRS(seed), digest: fl.DigestOf("zk/crs/v1", []byte(s.Name()), seed[:])}
	var err error
	if c.row, c.point, err = k.multiplier(c.a); err != nil {
		return nil, fmt.Errorf("zk: preparing the common polynomial: %w", err)
	}
	return c, nil
}

// Digest identifies the suite and the seed; scopes name it.
func (c *CommonKey) Digest() fl.Digest { return c.digest }

// A KeyShareProof shows that a member's public share hides a ternary secret
// and an error of at most he.ErrorBound.
type KeyShareProof struct {
	shape *rlwe.Shape
	proof *shardProof
}

func (k *Keys) checkMember(scope *MemberScope, common *CommonKey) error {
	if err := scope.check(); err != nil {
		return err
	}
	switch {
	case k.system.Shape.Name != "keyshare/"+common.suite.Name():
		return fmt.Errorf("%w: keys of %s for a key share under %s", ErrKeys, k.system.Shape.Name, common.suite.Name())
	case scope.CRS != common.digest:
		return fmt.Errorf("%w: the scope names common polynomial %s, this is %s", ErrScope, scope.CRS.Short(), common.digest.Short())
	}
	return nil
}

// ProveKeyShare attests the share -a*secret + noise. Secret is ternary and
// noise at most he.ErrorBound, as he samples them.
func (k *Keys) ProveKeyShare(scope *MemberScope, common *CommonKey, secret, noise *he.Poly) (*KeyShareProof, error) {
	if err := k.checkMember(scope, common); err != nil {
		return nil, err
	}
	if !k.CanProve() {
		return nil, fmt.Errorf("%w: the proving half is missing", ErrKeys)
	}
	s, err := small(secret, 1)
	if err != nil {
		return nil, fmt.Errorf("zk: the secret of a key share: %w", err)
	}
	defer clear(s)
	e, err := small(noise, he.ErrorBound)
	if err != nil {
		return nil, fmt.Errorf("zk: the error of a key share: %w", err)
	}
	defer clear(e)
	share := common.a.Clone().Mul(secret).Neg().Add(noise)
	published, err := k.system.Shape.Lift(share.Bytes(), common.suite.CoefficientBytes(), false)
	if err != nil {
		return nil, err
	}
	// The relation is c = p*u + e: with u = -s it is the share's.
	for i := range s {
		s[i] = -s[i]
	}
	p, err := k.prove(&rlwe.Secret{U: s, Errors: [][]int8{e}}, []row{{key: common.row, published: published}}, nil,
		func(p *shardProof) fl.Digest { return scope.digest(k.system.Shape.Name, p) })
	if err != nil {
		return nil, err
	}
	return &KeyShareProof{shape: k.system.Shape, proof: p}, nil
}

// VerifyKeyShare checks that share is one of a short secret and a short error,
// attested by this member for this epoch.
func (k *Keys) VerifyKeyShare(scope *MemberScope, common *CommonKey, share *he.Poly, att *KeyShareProof) error {
	if err := k.checkMember(scope, common); err != nil {
		return err
	}
	if att == nil || att.shape.Name != k.system.Shape.Name {
		return fmt.Errorf("%w: a key-share attestation of another circuit", ErrRejected)
	}
	if share.Suite() != common.suite {
		return fmt.Errorf("%w: a share of %s in an epoch of %s", ErrScope, share.Suite().Name(), common.suite.Name())
	}
	f, err := k.system.Shape.Lift(share.Bytes(), common.suite.CoefficientBytes(), false)
	if err != nil {
		return err
	}
	c, err := k.srs.commit(f)
	if err != nil {
		return err
	}
	if !c.Equal(&att.proof.cipher[0]) {
		return fmt.Errorf("%w: the share of %s", ErrCommitment, scope.Member)
	}
	v := k.relation([]Commitment{common.point})
	ok, err := v.accepts([]*equation{v.equation(att.proof, scope.digest(k.system.Shape.Name, att.proof), Commitment{}, 0)})
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: the key share of %s", ErrRejected, scope.Member)
	}
	return nil
}

// small returns the signed coefficients of a short polynomial.
func small(p *he.Poly, bound int8) ([]int8, error) {
	suite := p.Suite()
	q, residues := suite.Primes()[0], p.RNS().Coeffs[0]
	out := make([]int8, suite.N())
	for i, r := range residues {
		switch {
		case r <= uint64(bound):
			out[i] = int8(r)
		case r >= q-uint64(bound):
			out[i] = -int8(q - r)
		default:
			clear(out)
			return nil, fmt.Errorf("%w: coefficient %d is above %d", rlwe.ErrWitness, i, bound)
		}
	}
	back, err := suite.SmallPoly(out)
	if err != nil || !back.Equal(p) {
		clear(out)
		return nil, fmt.Errorf("%w: the polynomial is not short", rlwe.ErrWitness)
	}
	back.Erase()
	return out, nil
}
