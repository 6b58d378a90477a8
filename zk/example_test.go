package zk_test

import (
	"context"
	"fmt"

	"credence/fl"
	"credence/he"
	"credence/zk"
	"credence/zk/circuit/rlwe"
)

// A client attests one shard of an update; anyone with the verifying half of
// the keys checks it, and checks a sum against what was attested.
func Example() {
	suite, err := he.LookupSuite("insecure-rlwe64-d1-v1")
	if err != nil {
		panic(err)
	}
	shape, err := rlwe.UpdateShape(suite)
	if err != nil {
		panic(err)
	}
	keys, err := zk.Setup(shape, nil, nil) // a ceremony's keys outside demonstrations
	if err != nil {
		panic(err)
	}
	seed := [he.SeedBytes]byte{1}
	p := suite.CRS(seed).Mul(suite.TernaryPoly()).Neg().Add(suite.ErrorPoly())
	public := he.NewPublicKey(p, seed)
	epoch, err := keys.NewEpochKey(public)
	if err != nil {
		panic(err)
	}

	values := []int32{3, -4}
	ct, randomness, err := public.EncryptForProof(values)
	if err != nil {
		panic(err)
	}
	scope := &zk.Scope{
		Genesis: fl.Digest{1}, Job: "demo", Round: 1, Plan: fl.Digest{2}, EpochKey: epoch.Digest(),
		Client: "hospital-a", Shards: []int{0}, Bound: 25,
	}
	shard := zk.ShardInput{Values: values, Ciphertext: ct, Randomness: randomness}
	att, err := keys.ProveUpdate(context.Background(), scope, epoch, []zk.ShardInput{shard}, zk.ProveOptions{})
	randomness.Erase()
	if err != nil {
		panic(err)
	}

	received, err := zk.ParseAttestation(shape, att.Bytes())
	if err != nil {
		panic(err)
	}
	fmt.Println("attestation:", keys.VerifyUpdate(scope, epoch, received))

	sum := suite.NewSum()
	if err := sum.Add(ct); err != nil {
		panic(err)
	}
	fmt.Println("sum:", keys.SRS().CheckSum(sum, [][2]zk.Commitment{received.Commitments(0)}))
	fmt.Println("keys from:", keys.Manifest().Origin)
	// Output:
	// attestation: <nil>
	// sum: <nil>
	// keys from: local
}
