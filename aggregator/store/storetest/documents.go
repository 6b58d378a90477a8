package storetest

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
)

// key signs every document of the suite: a store does not check signatures.
var key = ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))

var (
	start   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	genesis = fl.DigestBytes([]byte("genesis"))
)

func digest(format string, args ...any) fl.Digest {
	return fl.DigestBytes(fmt.Appendf(nil, format, args...))
}

func sign(doc fl.Document, signer fl.NodeID) fl.Envelope {
	e, err := fl.Sign(doc, signer, key)
	if err != nil {
		panic(fmt.Sprintf("the suite's own %s: %v", doc.Kind(), err)) // a mistake in this file
	}
	return e
}

func genesisDocument(name fl.NodeID) fl.Envelope {
	return sign(fl.Genesis{
		Federation: name, CreatedAt: start, Suite: "s", Committee: fl.CommitteePolicy{Members: 3, Threshold: 2}, MinCohort: 2,
		ProofFloor: fl.ProofNone, AggregatorKey: make([]byte, 32), CertificateCA: digest("ca"),
	}, fl.AggregatorID)
}

func enrolment(node fl.NodeID, keys byte, at time.Time) fl.Envelope {
	return sign(fl.Enrolment{
		Genesis: genesis, Node: node, Roles: []fl.Role{fl.RoleNode}, SigningKey: []byte(strings.Repeat(string(keys), 32)),
		EnrolledAt: fl.Instant(at),
	}, fl.AggregatorID)
}

func revocation(node fl.NodeID, reason string) fl.Envelope {
	return sign(fl.Revocation{Genesis: genesis, Node: node, Reason: reason, RevokedAt: start}, fl.AggregatorID)
}

func invitation(node fl.NodeID, token string, expires time.Time) store.Invitation {
	return store.Invitation{Token: digest("token %s", token), Node: node, Roles: []fl.Role{fl.RoleNode}, Region: "eu", Credits: 7, ExpiresAt: fl.Instant(expires)}
}

func epochPlan(epoch uint64, members ...fl.NodeID) fl.Envelope {
	return sign(fl.EpochPlan{Genesis: genesis, Epoch: epoch, Suite: "s", Members: members, Threshold: 2, OpenedAt: start}, fl.AggregatorID)
}

func sealKey(plan fl.Envelope, node fl.NodeID) fl.Envelope {
	return sign(fl.SealKey{Genesis: genesis, EpochPlan: plan.Digest(), Node: node, Key: make([]byte, 32)}, node)
}

func keyCommitment(plan fl.Envelope, node fl.NodeID, what string) fl.Envelope {
	return sign(fl.KeyCommitment{Genesis: genesis, EpochPlan: plan.Digest(), Node: node, Commitment: digest("commit %s", what)}, node)
}

func keyReveal(plan fl.Envelope, node fl.NodeID) fl.Envelope {
	return sign(fl.KeyReveal{Genesis: genesis, EpochPlan: plan.Digest(), Node: node, Reveal: digest("reveal")}, node)
}

func keyDealing(plan fl.Envelope, node fl.NodeID) fl.Envelope {
	return sign(fl.KeyDealing{Genesis: genesis, EpochPlan: plan.Digest(), Node: node, Boxes: []fl.Box{{Receiver: node, Digest: digest("box"), Commitment: digest("key"), Check: []byte{1}}}}, node)
}

func epochKey(plan fl.Envelope, epoch uint64, what string) fl.Envelope {
	two := []fl.Digest{digest("1"), digest("2")}
	return sign(fl.EpochKey{Genesis: genesis, EpochPlan: plan.Digest(), Epoch: epoch, SealKeys: two, Commitments: two, Reveals: two, Dealings: two, Acceptances: two, TestNoise: two, TestShares: two,
		PublicKey: digest("pk %s", what), ClosedAt: start}, fl.AggregatorID)
}

func jobSpec(job fl.JobID, seed uint64) fl.Envelope {
	return sign(fl.JobSpec{
		Genesis: genesis, Job: job, Owner: "owner", Schema: fl.DigestBytes([]byte("schema")), SchemaText: "schema",
		Model: []byte(`{}`), Training: []byte(`{}`), Parameters: 10, InitialModel: digest("initial"),
		Strategy: fl.StrategySpec{Name: "fedavg", ServerLearningRate: 1, Weighting: "samples"}, Clip: fl.Clip{Value: 1},
		Rounds: 100, MinCohort: 2, RoundDeadline: 60, ProofLevel: fl.ProofNone, Budget: 1000,
		Rates: fl.Rates{Work: 1000}, Seed: seed,
	}, "owner")
}

func jobJoin(spec fl.Envelope, job fl.JobID, node fl.NodeID, samples int64) fl.Envelope {
	return sign(fl.JobJoin{Genesis: genesis, JobSpec: spec.Digest(), Job: job, Node: node, Samples: samples, JoinedAt: start}, node)
}

func dataset(spec fl.Envelope, job fl.JobID, node fl.NodeID, rows int64) fl.Envelope {
	return sign(fl.DatasetCommitment{Genesis: genesis, JobSpec: spec.Digest(), Job: job, Node: node, ProofKeys: digest("keys"), Spec: digest("table"),
		Commitment: []byte{1}, Rows: rows, Registration: digest("registration"), CommittedAt: start}, node)
}

func jobCancel(spec fl.Envelope, job fl.JobID) fl.Envelope {
	return sign(fl.JobCancel{Genesis: genesis, JobSpec: spec.Digest(), Job: job, Owner: "owner", Reason: "enough"}, "owner")
}

func plan(spec fl.Envelope, job fl.JobID, round, seed uint64) fl.Envelope {
	return sign(fl.Plan{
		Genesis: genesis, JobSpec: spec.Digest(), Job: job, Round: round, EpochKey: digest("epoch key"), Epoch: 1, BaseModel: digest("base"),
		Slots: 4096, Shards: 1, Cohort: []fl.Assignment{{Node: "a", Shards: []int{0}, Weight: 1}, {Node: "b", Shards: []int{0}, Weight: 1}},
		WeightUnit: 1, MinCohort: 2, Clip: fl.Clip{Value: 1}, ValueBits: 14, ProofLevel: fl.ProofNone, Seed: seed,
		OpenedAt: start, Deadline: start.Add(time.Minute),
	}, fl.AggregatorID)
}

func updateHeader(job fl.JobID, round uint64, node fl.NodeID) fl.Envelope {
	return sign(fl.UpdateHeader{
		Genesis: genesis, Plan: digest("plan"), EpochKey: digest("epoch key"), Job: job, Round: round, Node: node,
		Ciphertexts: []fl.ShardCiphertext{{Digest: digest("ciphertext %s %d", node, round)}}, ProofLevel: fl.ProofNone,
	}, node)
}

func manifest(spec fl.Envelope, job fl.JobID, round, version uint64) fl.Envelope {
	return sign(fl.Manifest{
		Genesis: genesis, JobSpec: spec.Digest(), Job: job, Round: round, Version: version, Plan: digest("plan"), Seal: digest("seal"),
		EpochKey: digest("epoch key"), KeyHolders: []fl.NodeID{"a", "b"}, BaseModel: digest("base"), Model: digest("model %d", version),
		ProofLevel: fl.ProofNone, Epsilon: "infinity", SealedAt: start, OpenedAt: start,
	}, fl.AggregatorID)
}

// transfer moves an amount between two accounts.
func transfer(id, from, to string, amount int64) credit.Transaction {
	return credit.Transaction{ID: id, Ref: digest("ref %s", id), At: start, Postings: []fl.Posting{
		{Account: from, Amount: -amount, Memo: "from"}, {Account: to, Amount: amount, Memo: "to"},
	}}
}

// publishing is the step that publishes a version and pays for it.
func publishing(spec fl.Envelope, job fl.JobID, round, version uint64, from, pay int64) store.RoundStep {
	m := manifest(spec, job, round, version)
	payout := transfer(fmt.Sprintf("payout/%s/%d", job, round), "escrow/"+string(job), "party/a", pay)
	return store.RoundStep{
		Job: job, Round: round, From: from, Phase: "published", State: []byte("published"), Final: true, Documents: []fl.Envelope{m},
		Model:       &store.ModelVersion{Job: job, Version: version, Round: round, Model: digest("model %d", version), Manifest: m.Digest()},
		Transaction: &payout,
	}
}

// submit funds an owner and submits a job.
func submit(t testing.TB, s store.Store, job fl.JobID, budget int64) fl.Envelope {
	t.Helper()
	spec := jobSpec(job, 1)
	must(t, s.Transact(t.Context(), transfer("grant/"+string(job), "issuer", "party/owner", budget)))
	must(t, s.SubmitJob(t.Context(), spec, transfer("escrow/"+string(job), "party/owner", "escrow/"+string(job), budget), start))
	return spec
}
