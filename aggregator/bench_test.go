package aggregator

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/he/threshold"
)

// The tests of this package play the parties themselves, so that they can send
// what a real node never would, and drive the loop one pass at a time on a
// clock of their own.

const testSuite = "insecure-rlwe64-d1-v1"

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bench is an aggregator under test and the parties around it.
type bench struct {
	*testing.T
	ctx     context.Context
	dir     string
	clock   *clock
	a       *Aggregator
	address string
	parties map[fl.NodeID]*party
	members []fl.NodeID
	sent    map[fl.Digest]bool // blobs of the parties
	carries int                // shards that whoever enrols next can carry; 0: all
}

// party is one institution as a test plays it.
type party struct {
	b      *bench
	name   fl.NodeID
	keys   *identity.Keys
	holder *threshold.KeyHolder
	api    flpb.FederationClient // nil: it calls the aggregator's methods directly
}

var benchStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newBench(t *testing.T, nodes ...fl.NodeID) *bench {
	t.Helper()
	b := &bench{T: t, ctx: t.Context(), dir: memoryDir(t), clock: &clock{t: benchStart}, parties: map[fl.NodeID]*party{}, members: nodes, sent: map[fl.Digest]bool{}}
	a, err := Found(b.ctx, filepath.Join(b.dir, "aggregator"), FoundingOptions{
		Name: "clinic", Suite: testSuite, Committee: fl.CommitteePolicy{Members: len(nodes), Threshold: 2}, MinCohort: 2, AllowInsecure: true,
	}, b.options())
	b.must(err)
	b.a = a
	t.Cleanup(func() {
		for _, p := range b.parties {
			if p.holder != nil {
				_ = p.holder.Close()
			}
		}
		_ = b.a.Close()
	})
	for _, n := range nodes {
		b.enrol(n, 0, fl.RoleNode)
	}
	b.enrol("lab", 1000, fl.RoleOwner)
	return b
}

// memoryDir returns a folder for one test, in memory where the system has such
// a place: these tests write thousands of small files durably, and what they
// test is not the disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "credence-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (b *bench) options() Options {
	return Options{Now: b.clock.now, JoinWindow: time.Nanosecond, Grace: time.Second, StagingQuota: 1 << 20}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// enrol lets a party join and returns it.
func (b *bench) enrol(name fl.NodeID, credits int64, roles ...fl.Role) *party {
	b.Helper()
	p := &party{b: b, name: name}
	var err error
	p.keys, err = identity.Generate()
	b.must(err)
	token, err := b.a.Invite(b.ctx, InviteOptions{Node: name, Roles: roles, Credits: credits})
	b.must(err)
	csr, err := identity.NewCSR(name, p.keys)
	b.must(err)
	_, err = b.a.enrol(b.ctx, token.Secret, csr, p.sign(identity.EnrolmentRequest{
		Genesis: b.a.genesisID, Token: identity.SecretDigest(token.Secret), Node: name, SigningKey: p.keys.SigningPublic(), CSR: fl.DigestBytes(csr),
		Capability: fl.Capability{MaxShards: b.carries},
	}))
	b.must(err)
	b.must(b.a.store.Seen(b.ctx, name, b.a.now()))
	if slices.Contains(roles, fl.RoleNode) {
		p.holder, err = threshold.Open(filepath.Join(b.dir, string(name)), string(name))
		b.must(err)
	}
	b.parties[name] = p
	return p
}

// serve puts the aggregator on a real port and connects every party to it
// over mutual TLS.
func (b *bench) serve() {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(err)
	b.address = listener.Addr().String()
	server := b.a.Server()
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	b.Cleanup(func() { server.Stop(); <-done })
	for _, p := range b.parties {
		p.connect()
	}
}

func (p *party) connect() {
	p.b.Helper()
	csr, err := identity.NewCSR(p.name, p.keys)
	p.b.must(err)
	leaf, err := p.b.a.authority.Issue(p.name, csr, p.b.clock.now(), p.b.a.opts.CertificateLifetime)
	p.b.must(err)
	p.api = flpb.NewFederationClient(p.b.dial(&tls.Certificate{Certificate: [][]byte{leaf, p.b.a.authority.Certificate.Raw}, PrivateKey: p.keys.TLS}))
}

func (b *bench) dial(certificate *tls.Certificate) *grpc.ClientConn {
	b.Helper()
	config := identity.ClientTLS(b.a.genesis.CertificateCA, func() (*tls.Certificate, error) { return certificate, nil }, b.clock.now)
	conn, err := grpc.NewClient("passthrough:///"+b.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	b.must(err)
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (p *party) sign(doc fl.Document) fl.Envelope {
	p.b.Helper()
	e, err := fl.Sign(doc, p.name, p.keys.Signing)
	p.b.must(err)
	return e
}

// hand gives the aggregator bytes as a document.
func (p *party) hand(raw []byte) (fl.Receipt, error) {
	var receipt []byte
	if p.api == nil {
		who, err := p.b.a.member(p.b.ctx, p.name)
		if err != nil {
			return fl.Receipt{}, err
		}
		e, err := p.b.a.submit(p.b.ctx, who, raw)
		if err != nil {
			return fl.Receipt{}, err
		}
		receipt = e.Encode()
	} else {
		answer, err := p.api.Submit(p.b.ctx, &flpb.SubmitRequest{Document: raw})
		if err != nil {
			return fl.Receipt{}, flpb.FromStatus(err)
		}
		receipt = answer.GetReceipt()
	}
	e, err := fl.DecodeEnvelope(receipt)
	if err != nil {
		return fl.Receipt{}, err
	}
	var r fl.Receipt
	return r, e.Open(p.b.a.keys.SigningPublic(), &r)
}

func (p *party) submit(doc fl.Document) error {
	p.b.Helper()
	_, err := p.hand(p.sign(doc).Encode())
	return err
}

// put uploads a blob.
func (p *party) put(data []byte) fl.Digest {
	p.b.Helper()
	digest := fl.DigestBytes(data)
	p.b.sent[digest] = true
	if p.api == nil {
		blobs := p.b.a.blobs
		if fragile, ok := blobs.(fragileBlobs); ok {
			blobs = fragile.Store // the aggregator's own writes fail, not the uploads
		}
		_, err := blobs.Put(p.b.ctx, data)
		p.b.must(err)
		return digest
	}
	_, err := p.api.Upload(p.b.ctx, &flpb.UploadRequest{Digest: digest[:], Data: data, Last: true})
	p.b.must(err)
	return digest
}

func (b *bench) blob(digest fl.Digest) []byte {
	b.Helper()
	raw, err := b.a.blobs.Get(b.ctx, digest)
	b.must(err)
	return raw
}

const testParameters = 20

// jobSpec describes a job of two rounds with one shard.
func (b *bench) jobSpec(job fl.JobID) fl.JobSpec {
	return fl.JobSpec{
		Genesis: b.a.genesisID, Job: job, Owner: "lab", Schema: fl.DigestBytes([]byte("s")), SchemaText: "s",
		Model: json.RawMessage(`{}`), Training: json.RawMessage(`{}`), Parameters: testParameters,
		InitialModel: fl.DigestBytes(fl.EncodeParameters(make([]float32, testParameters))),
		Strategy:     fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples}, Clip: fl.Clip{Value: 1},
		Rounds: 2, MinCohort: 2, RoundDeadline: 60, ProofLevel: fl.ProofNone, Budget: 100,
		Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: 3,
	}
}

func (b *bench) submitJob(spec fl.JobSpec) {
	b.Helper()
	owner := b.parties[spec.Owner]
	owner.put(fl.EncodeParameters(make([]float32, spec.Parameters)))
	b.must(owner.submit(spec))
}

func (p *party) join(spec fl.Envelope) fl.JobJoin {
	var s fl.JobSpec
	p.b.must(spec.Read(&s))
	return fl.JobJoin{Genesis: p.b.a.genesisID, JobSpec: spec.Digest(), Job: s.Job, Node: p.name, Samples: 10 + int64(len(p.name)), JoinedAt: p.b.a.now()}
}

// startJob submits a job, lets every node join and opens its first round.
func (b *bench) startJob(spec fl.JobSpec) {
	b.Helper()
	b.submitJob(spec)
	j, err := b.a.store.Job(b.ctx, spec.Job)
	b.must(err)
	for _, m := range b.members {
		b.must(b.parties[m].submit(b.parties[m].join(j.Spec)))
	}
	b.clock.add(time.Second)
	b.must(b.a.Pass(b.ctx))
}

// roundNow is a round as a test sees it.
type roundNow struct {
	plan   fl.Plan
	planID fl.Digest
	phase  string
	seal   fl.Seal
	sealID fl.Digest
	epoch  epochState
}

func (b *bench) round(job fl.JobID, number uint64) roundNow {
	b.Helper()
	r, err := b.a.store.Round(b.ctx, job, number)
	b.must(err)
	state, err := b.a.roundState(b.ctx, r)
	b.must(err)
	now := roundNow{plan: state.Plan(), planID: r.Plan.Digest(), phase: r.Phase, sealID: state.Seal}
	if !state.Seal.IsZero() {
		doc, err := b.a.store.Document(b.ctx, state.Seal)
		b.must(err)
		b.must(doc.Read(&now.seal))
	}
	now.epoch, err = b.a.epoch(b.ctx, now.plan.Epoch)
	b.must(err)
	return now
}

// noise makes a member's dealing for a round.
func (p *party) noise(r roundNow) fl.NoiseDealing {
	d := fl.NoiseDealing{Genesis: r.plan.Genesis, Plan: r.planID, Job: r.plan.Job, Round: r.plan.Round, Node: p.name}
	for shard := range r.plan.Shards {
		dealt, err := p.holder.DealNoise(r.plan.Epoch, threshold.SumID{Job: string(r.plan.Job), Round: r.plan.Round, Shard: shard})
		p.b.must(err)
		d.Boxes = append(d.Boxes, p.boxes(shard, dealt)...)
	}
	return d
}

// values are the plaintext of a client's update, different for each client.
func (p *party) values(r roundNow) []fl.ShardValues {
	delta := make([]float64, testParameters)
	for i := range delta {
		delta[i] = float64(i%5)/10 - 0.2 + float64(len(p.name)+int(p.name[0]))/1000
	}
	values, err := fl.QuantiseUpdate(r.plan, p.name, delta, fl.Figures{LossMilli: 700, Correct: 6, Count: 10})
	p.b.must(err)
	return values
}

func (p *party) encrypt(r roundNow, values []int32) []byte {
	raw := p.b.blob(r.epoch.key.PublicKey)
	pk, err := p.b.a.suite.ParsePublicKey(raw)
	p.b.must(err)
	c, err := pk.Encrypt(values)
	p.b.must(err)
	return c.Bytes()
}

// update makes and uploads a client's update.
func (p *party) update(r roundNow) fl.UpdateHeader {
	h := fl.UpdateHeader{
		Genesis: r.plan.Genesis, Plan: r.planID, EpochKey: r.plan.EpochKey, Job: r.plan.Job, Round: r.plan.Round, Node: p.name,
		Steps: 5, ProofLevel: fl.ProofNone,
	}
	for _, v := range p.values(r) {
		h.Ciphertexts = append(h.Ciphertexts, fl.ShardCiphertext{Shard: v.Shard, Digest: p.put(p.encrypt(r, v.Values))})
	}
	return h
}

// share makes a member's decryption share.
func (p *party) share(r roundNow) fl.DecryptionShare {
	d, err := p.tryShare(r)
	p.b.must(err)
	return d
}

func (p *party) tryShare(r roundNow) (fl.DecryptionShare, error) {
	d := fl.DecryptionShare{Genesis: r.plan.Genesis, Seal: r.sealID, Job: r.plan.Job, Round: r.plan.Round, Node: p.name}
	for shard, sum := range r.seal.Sums {
		dealings := map[fl.NodeID]fl.Envelope{}
		for i, dealer := range r.seal.Dealers {
			doc, err := p.b.a.store.Document(p.b.ctx, r.seal.Dealings[i])
			p.b.must(err)
			dealings[dealer] = doc
		}
		noise := p.received(r.epoch, dealings, shard)
		raw, err := p.holder.Release(threshold.ReleaseRequest{
			Epoch: r.plan.Epoch, Sum: threshold.SumID{Job: string(r.plan.Job), Round: r.plan.Round, Shard: shard}, C0Digest: sum.C0, C1: p.b.blob(sum.C1), Noise: noise,
		})
		if err != nil {
			return d, err
		}
		d.Shares = append(d.Shares, fl.ShareRef{Shard: shard, Digest: p.put(raw)})
	}
	return d, nil
}

// expectModel recomputes the model of a published round from the plaintexts
// of its sealed clients.
func (b *bench) expectModel(r roundNow) fl.Digest {
	b.Helper()
	spec := b.jobSpec(r.plan.Job)
	contributors, sums := make([][]fl.NodeID, r.plan.Shards), make([][]int64, r.plan.Shards)
	for shard, s := range r.seal.Sums {
		contributors[shard], sums[shard] = s.Contributors, make([]int64, r.plan.Slots)
		for _, node := range s.Contributors {
			for _, v := range b.parties[node].values(r) {
				if v.Shard == shard {
					for i, x := range v.Values {
						sums[shard][i] += int64(x)
					}
				}
			}
		}
	}
	base, err := fl.DecodeParameters(b.blob(r.plan.BaseModel), testParameters)
	b.must(err)
	next, err := fl.Advance(spec.Strategy, r.plan, contributors, sums, base, nil)
	b.must(err)
	return fl.DigestBytes(fl.EncodeParameters(next.Params))
}

// dump writes down everything that the store remembers, but for when a party
// was last seen.
func (b *bench) dump() string {
	b.Helper()
	s := b.a.store
	parties, err := s.Parties(b.ctx)
	b.must(err)
	for i := range parties {
		parties[i].LastSeen = time.Time{}
	}
	epochs, err := s.Epochs(b.ctx)
	b.must(err)
	jobs, err := s.Jobs(b.ctx)
	b.must(err)
	var all []any
	for _, j := range jobs {
		var spec fl.JobSpec
		b.must(j.Spec.Read(&spec))
		models, err := s.Models(b.ctx, spec.Job)
		b.must(err)
		all = append(all, models)
		for n := uint64(1); n <= j.LastRound; n++ {
			r, err := s.Round(b.ctx, spec.Job, n)
			b.must(err)
			docs, err := s.RoundDocuments(b.ctx, spec.Job, n)
			b.must(err)
			all = append(all, r, docs)
		}
	}
	balances, err := s.Balances(b.ctx)
	b.must(err)
	history, err := s.History(b.ctx, "")
	b.must(err)
	raw, err := json.MarshalIndent([]any{parties, epochs, jobs, all, balances, history}, "", " ")
	b.must(err)
	return string(raw)
}

// checkLedger verifies that credits are conserved and nobody but the issuer
// is in debt.
func (b *bench) checkLedger() {
	b.Helper()
	balances, err := b.a.store.Balances(b.ctx)
	b.must(err)
	var sum int64
	for _, account := range slices.Sorted(maps.Keys(balances)) {
		sum += balances[account]
		if balances[account] < 0 && account != "issuer" {
			b.Errorf("%s owes %d credits", account, -balances[account])
		}
	}
	if sum != 0 {
		b.Errorf("the balances sum to %d", sum)
	}
	seen := map[string]bool{}
	history, err := b.a.store.History(b.ctx, "")
	b.must(err)
	for _, tx := range history {
		if key := fmt.Sprint(tx.ID); seen[key] {
			b.Errorf("transaction %s is entered twice", key)
		} else {
			seen[key] = true
		}
	}
}
