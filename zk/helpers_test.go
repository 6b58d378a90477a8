package zk

import (
	"context"
	"sync"
	"testing"

	"credence/fl"
	"credence/he"
	"credence/zk/circuit/rlwe"
)

const (
	tiny1 = "insecure-rlwe64-d1-v1"
	tiny4 = "insecure-rlwe64-d4-v1"
)

func suite(t testing.TB, name string) *he.Suite {
	t.Helper()
	s, err := he.LookupSuite(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var madeKeys = struct {
	sync.Mutex
	byShape map[string]*Keys
}{byShape: map[string]*Keys{}}

func keysFor(t testing.TB, shape *rlwe.Shape, err error) *Keys {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	madeKeys.Lock()
	defer madeKeys.Unlock()
	if k := madeKeys.byShape[shape.Name]; k != nil {
		return k
	}
	k, err := Setup(shape, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	madeKeys.byShape[shape.Name] = k
	return k
}

func updateKeys(t testing.TB, name string) *Keys {
	t.Helper()
	s, err := rlwe.UpdateShape(suite(t, name))
	return keysFor(t, s, err)
}

func shareKeys(t testing.TB, name string) *Keys {
	t.Helper()
	s, err := rlwe.KeyShareShape(suite(t, name))
	return keysFor(t, s, err)
}

// party is everything one client needs to attest.
type party struct {
	keys *Keys
	pk   *he.PublicKey
	key  *EpochKey
}

func newParty(t testing.TB, name string) *party {
	t.Helper()
	s := suite(t, name)
	sk := s.TernaryPoly()
	seed := [he.SeedBytes]byte{5}
	pk := he.NewPublicKey(s.CRS(seed).Mul(sk).Neg().Add(s.ErrorPoly()), seed)
	keys := updateKeys(t, name)
	key, err := keys.NewEpochKey(pk)
	if err != nil {
		t.Fatal(err)
	}
	return &party{keys: keys, pk: pk, key: key}
}

func (p *party) scope(client string, bound uint64, shards ...int) *Scope {
	return &Scope{
		Genesis: fl.Digest{1}, Job: "job", Round: 3, Plan: fl.Digest{2}, EpochKey: p.key.Digest(),
		Client: fl.NodeID(client), Shards: shards, Bound: bound,
	}
}

// encrypt makes a shard whose values are all v.
func (p *party) encrypt(t testing.TB, v int32) ShardInput {
	t.Helper()
	values := make([]int32, p.pk.Suite().Values())
	for i := range values {
		values[i] = v
	}
	ct, rnd, err := p.pk.EncryptForProof(values)
	if err != nil {
		t.Fatal(err)
	}
	return ShardInput{Values: values, Ciphertext: ct, Randomness: rnd}
}

func (p *party) prove(t testing.TB, scope *Scope, shards ...ShardInput) *Attestation {
	t.Helper()
	a, err := p.keys.ProveUpdate(context.Background(), scope, p.key, shards, ProveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}
