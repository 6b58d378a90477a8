package federation_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"credence/aggregator"
	"credence/client"
	"credence/datasets"
	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/round"
	"credence/models"
)

const simSuite = "insecure-rlwe64-d1-v1"

// simulation is a federation whose every move is drawn from a seed.
type simulation struct {
	t       *testing.T
	ctx     context.Context
	seed    uint64
	rng     *rand.Rand
	clock   *simClock
	dir     string
	network *federation.Network

	agg     *aggregator.Aggregator // nil while it is down
	server  *grpc.Server
	served  chan error
	address string
	nodes   []*simNode
	lab     *client.Home
	remote  *client.Remote // the lab's
	text    string         // of the data schema
	data    map[fl.NodeID]data
	parts   [][2][]int
	set     *datasets.Dataset

	jobs    []fl.JobID
	live    []fl.JobID       // of which something may still be published
	checked map[fl.JobID]int // versions whose sum was recomputed
	sent    []message        // for replays
	epochs  int
	done    int
	trace   []string
	counts  map[string]int
	trouble map[string]int // what nodes complained about
	phases  map[string]int
	stuck   []string
}

// message is a document that a party once sent.
type message struct {
	from fl.NodeID
	raw  []byte
}

type simNode struct {
	id      fl.NodeID
	home    *client.Home
	node    *client.Node // nil while it is down
	remote  *client.Remote
	revoked bool
	calls   int           // that it makes before it dies; negative: it lives
	skew    time.Duration // of its clock
	said    *bytes.Buffer // its log, when a test wants it
	before  func(req any) error
	tasks   func(*flpb.WorkResponse)  // changes what it is asked to do
	answer  func(req, reply any) bool // answers a call in the aggregator's place, when it returns true
	after   func(req, reply any)      // changes an answer
}

type simClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *simClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *simClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	t.Helper()
	return newSimulationAt(t, seed, fl.ProofNone)
}

// newSimulationAt founds the federation with a proof floor.
func newSimulationAt(t *testing.T, seed uint64, floor fl.ProofLevel) *simulation {
	t.Helper()
	s := &simulation{
		t: t, ctx: t.Context(), seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), clock: &simClock{t: time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)},
		dir: memoryDir(t), network: federation.NewNetwork(seed), data: map[fl.NodeID]data{}, checked: map[fl.JobID]int{},
		counts: map[string]int{}, trouble: map[string]int{}, phases: map[string]int{},
	}
	set, err := datasets.Builtin(datasets.BreastCancer)
	s.must(err)
	s.set = set
	trains, err := datasets.Dirichlet(set.Train, 10, 0.5, 10, 7)
	s.must(err)
	tests, err := datasets.IID(set.Test, 10, 7)
	s.must(err)
	for i := range trains {
		s.parts = append(s.parts, [2][]int{trains[i], tests[i]})
	}
	a, err := aggregator.Found(s.ctx, filepath.Join(s.dir, "aggregator"), aggregator.FoundingOptions{
		Name: "simulated", Suite: simSuite, Committee: fl.CommitteePolicy{Members: 5, Threshold: 3}, MinCohort: 2, AllowInsecure: true, ProofFloor: floor,
	}, s.options())
	s.must(err)
	if floor.Attested() {
		setUpProofs(s.t, a)
	}
	s.serve(a)
	t.Cleanup(s.end)
	s.lab = s.enrol("lab", aggregator.InviteOptions{Roles: []fl.Role{fl.RoleOwner}, Credits: 3000}, client.JoinOptions{})
	for range 7 {
		s.join()
	}
	s.rotateEpoch()
	return s
}

func (s *simulation) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("seed %d, operation %d: %v", s.seed, s.done, err)
	}
}

func (s *simulation) options() aggregator.Options {
	return aggregator.Options{Now: s.clock.now, Log: quiet(), JoinWindow: 5 * time.Second, Grace: 2 * time.Second, DecryptTimeout: 2 * time.Minute}
}

// serve puts an aggregator on the network, without its loop.
func (s *simulation) serve(a *aggregator.Aggregator) {
	s.t.Helper()
	if s.address == "" {
		s.address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", s.address)
	s.must(err)
	s.agg, s.server, s.address, s.served = a, a.Server(), listener.Addr().String(), make(chan error, 1)
	go func() { s.served <- s.server.Serve(listener) }()
}

func (s *simulation) startAggregator() {
	s.t.Helper()
	a, err := aggregator.Open(s.ctx, filepath.Join(s.dir, "aggregator"), s.options())
	s.must(err)
	s.serve(a)
}

// stopAggregator takes the process away: connections break, nothing is said.
func (s *simulation) stopAggregator() {
	s.t.Helper()
	if s.agg == nil {
		return
	}
	s.server.Stop()
	<-s.served
	s.must(s.agg.Close())
	s.agg = nil
}

func (s *simulation) end() {
	for _, n := range s.nodes {
		s.close(n)
		if n.remote != nil {
			_ = n.remote.Close()
		}
	}
	if s.remote != nil {
		_ = s.remote.Close()
	}
	s.stopAggregator()
}

func (s *simulation) nodeDir(node fl.NodeID) string { return filepath.Join(s.dir, string(node)) }

func (s *simulation) enrol(name fl.NodeID, invite aggregator.InviteOptions, join client.JoinOptions) *client.Home {
	s.t.Helper()
	invite.Node, invite.Address, join.Now = name, s.address, s.clock.now
	token, err := s.agg.Invite(s.ctx, invite)
	s.must(err)
	home, err := client.Join(s.ctx, s.nodeDir(name), token, join)
	s.must(err)
	return home
}

// quick keeps a connection from waiting in real time after the aggregator was
// gone: time is the simulation's here.
var quick = grpc.WithConnectParams(grpc.ConnectParams{
	Backoff: backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond}, MinConnectTimeout: 5 * time.Second,
})

// owner returns the lab's connection, with a certificate that is good.
func (s *simulation) owner() *client.Remote {
	s.t.Helper()
	if s.lab.CertificateEnds().Sub(s.clock.now()) < 5*24*time.Hour {
		s.must(s.lab.Renew(s.ctx, s.address, s.clock.now))
		if s.remote != nil {
			s.must(s.remote.Close())
			s.remote = nil
		}
	}
	if s.remote == nil {
		var err error
		s.remote, err = client.Connect(s.lab, s.address, s.clock.now, quick)
		s.must(err)
	}
	return s.remote
}

func (s *simulation) auditor() auditor {
	return auditor{store: s.agg.Store(), data: s.data, blob: func(ctx context.Context, digest, via fl.Digest) ([]byte, error) {
		return s.owner().Fetch(ctx, digest, via)
	}}
}

// join enrols another node and starts it.
func (s *simulation) join() {
	s.t.Helper()
	i := len(s.nodes)
	if i == len(s.parts) || s.agg == nil {
		return
	}
	n := &simNode{id: fl.NodeID(fmt.Sprintf("node-%d", i)), calls: -1, skew: time.Duration(s.rng.IntN(60)-30) * time.Second}
	dir := filepath.Join(s.dir, "data", string(n.id))
	schema, err := s.set.WriteNode(dir, s.parts[i][0], s.parts[i][1])
	s.must(err)
	text, err := schema.YAML()
	s.must(err)
	s.text = string(text)
	s.data[n.id], err = loadData(dir)
	s.must(err)
	join := client.JoinOptions{Data: []client.DataSource{{Schema: filepath.Join(dir, datasets.NodeSchemaFile), CSV: filepath.Join(dir, datasets.NodeDataFile)}}}
	if i%4 == 3 {
		join.Capability.MaxShards = 1
	}
	n.home = s.enrol(n.id, aggregator.InviteOptions{Roles: []fl.Role{fl.RoleNode}}, join)
	s.must(oneByOne(s.nodeDir(n.id)))
	s.nodes = append(s.nodes, n)
	s.open(n)
}

// oneByOne limits a node's upload rate, to more than any link here has: a node
// with a limit sends its blobs one after the other, and only then does the seed
// decide which call meets which fault. What nodes send side by side is tested
// where real loops run, in TestNetworkFaults and TestAggregatorRestarts.
func oneByOne(dir string) error {
	path := filepath.Join(dir, "node.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, "upload_kbit: 100000000\n"...), 0o600)
}

// open starts a node that is down.
func (s *simulation) open(n *simNode) {
	s.t.Helper()
	n.calls = -1
	if n.node != nil {
		return
	}
	log := quiet()
	if n.said != nil {
		log = slog.New(slog.NewTextHandler(n.said, nil))
	}
	var err error
	n.node, err = client.Open(s.nodeDir(n.id), client.Options{
		Log: log, Now: func() time.Time { return s.clock.now().Add(n.skew) }, Wait: time.Millisecond, AllowInsecure: true, UploadChunk: 1500,
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(s.watch(n)), s.network.Dial(n.id), quick},
	})
	s.must(err)
}

func (s *simulation) close(n *simNode) {
	s.t.Helper()
	if n.node != nil {
		s.must(n.node.Close())
		n.node = nil
	}
}

// watch keeps what a node submits, and lets it die before a call.
func (s *simulation) watch(n *simNode) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if n.calls == 0 {
			return status.Error(codes.Canceled, "the node was killed")
		}
		if n.calls > 0 {
			n.calls--
		}
		if n.before != nil {
			if err := n.before(req); err != nil {
				return err
			}
		}
		if submit, ok := req.(*flpb.SubmitRequest); ok {
			m := message{n.id, slices.Clone(submit.GetDocument())}
			if len(s.sent) < 200 {
				s.sent = append(s.sent, m)
			} else {
				s.sent[s.rng.IntN(len(s.sent))] = m
			}
		}
		if n.answer != nil && n.answer(req, reply) {
			return nil
		}
		err := invoke(ctx, method, req, reply, cc, opts...)
		if n.after != nil && err == nil {
			n.after(req, reply)
		}
		if work, ok := reply.(*flpb.WorkResponse); ok && n.tasks != nil {
			n.tasks(work)
		}
		return err
	}
}

func (s *simulation) aggregatorPass() {
	if s.agg == nil {
		return
	}
	if err := s.agg.Pass(s.ctx); err != nil {
		s.fail("the aggregator's pass: %v", err)
	}
}

func (s *simulation) nodePass() {
	if n := s.some(func(n *simNode) bool { return n.node != nil && !n.revoked }); n != nil {
		s.pass(n)
	}
}

func (s *simulation) pass(n *simNode) {
	if _, err := n.node.Pass(s.ctx); err != nil {
		s.trouble[fmt.Sprint(fl.CodeOf(err), " ", status.Code(err))]++
	}
}

func (s *simulation) restartNode() {
	if n := s.some(func(n *simNode) bool { return n.node == nil }); n != nil {
		s.open(n)
	}
}

func (s *simulation) killNode() {
	if n := s.some(func(n *simNode) bool { return n.node != nil }); n != nil {
		s.close(n)
	}
}

// killNodeInPass lets a node die somewhere in the middle of its work.
func (s *simulation) killNodeInPass() {
	n := s.some(func(n *simNode) bool { return n.node != nil && !n.revoked })
	if n == nil {
		return
	}
	n.calls = s.rng.IntN(30)
	s.pass(n)
	s.close(n)
}

// weather changes the network, and who is on it.
func (s *simulation) weather() {
	s.network.Fix(s.names()...)
	var f federation.Faults
	if s.rng.IntN(2) == 0 {
		f = federation.Faults{
			DropRequest: 0.02 * s.rng.Float64(), DropAnswer: 0.02 * s.rng.Float64(), Duplicate: 0.2 * s.rng.Float64(), Corrupt: 0.02 * s.rng.Float64(),
		}
		for range s.rng.IntN(3) {
			s.network.Break(s.nodes[s.rng.IntN(len(s.nodes))].id)
		}
	}
	s.network.Set(f)
}

// connection returns an attacker's connection with a node's own certificate,
// or nil when there is nobody to talk to.
func (s *simulation) connection(n *simNode) *client.Remote {
	s.t.Helper()
	if s.agg == nil {
		return nil
	}
	if n.remote == nil {
		var err error
		n.remote, err = client.Connect(n.home, s.address, s.clock.now, quick)
		s.must(err)
	}
	return n.remote
}

// decline lets a client of an open round stay out.
func (s *simulation) decline() {
	plan, id, _, ok := s.roundIn(round.Open)
	if !ok {
		return
	}
	name := plan.Cohort[s.rng.IntN(len(plan.Cohort))].Node
	n := s.some(func(n *simNode) bool { return n.id == name })
	_, _ = s.connection(n).Submit(s.ctx, fl.Decline{Genesis: plan.Genesis, Plan: id, Job: plan.Job, Round: plan.Round, Node: n.id, Reason: "drawn"})
}

// submitJob submits a job with a model of one shard or of two.
func (s *simulation) submitJob() {
	if s.agg == nil || len(s.jobs) > 4+s.done/80 {
		return
	}
	job := fl.JobID(fmt.Sprintf("job-%d", len(s.jobs)))
	model := models.Spec{Kind: models.Logistic, Inputs: 30, Classes: 2}
	if s.rng.IntN(3) == 0 {
		model = models.Spec{Kind: models.MLP, Inputs: 30, Classes: 2, Hidden: []int{3}}
	}
	cohort := 0
	if s.rng.IntN(2) == 0 {
		cohort = 4
	}
	strategy := fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: []string{fl.WeightBySamples, fl.WeightUniform}[s.rng.IntN(2)]}
	switch s.rng.IntN(8) { // what a server or a client keeps, and uploads of more than the update
	case 0:
		strategy.Name = fl.FedAvgM
	case 1:
		strategy.Name, strategy.ServerLearningRate = fl.FedAdam, 0.1
	case 2:
		strategy.Name, strategy.MaxSteps = fl.FedNova, 100
	case 3:
		strategy.Name, strategy.Mu = fl.Ditto, 0.1
	}
	_, err := s.owner().SubmitJob(s.ctx, client.JobOptions{
		Job: job, SchemaText: s.text, Model: model, Training: models.TrainConfig{LearningRate: 0.1, Epochs: 1, BatchSize: 16, Seed: 1},
		Strategy: strategy,
		Clip:     fl.Clip{Value: 1, Norm: float64(s.rng.IntN(2)) * 3}, Rounds: 1 + s.rng.IntN(3), CohortSize: cohort, MinCohort: 2 + s.rng.IntN(2), RoundDeadline: 60,
		Budget: s.rng.Int64N(400), Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: s.rng.Uint64(),
	})
	switch {
	case err == nil:
		s.jobs, s.live = append(s.jobs, job), append(s.live, job)
	case fl.CodeOf(err) == fl.CodeFunds:
		if err := s.agg.Grant(s.ctx, "lab", 1000, fmt.Sprint("more after ", s.done)); err != nil {
			s.fail("granting: %v", err)
		}
	default:
		s.fail("submitting a job: %v", err)
	}
}

func (s *simulation) cancelJob() {
	if s.agg == nil || len(s.jobs) == 0 {
		return
	}
	job := s.jobs[s.rng.IntN(len(s.jobs))]
	if err := s.owner().CancelJob(s.ctx, job, "drawn"); err != nil && fl.CodeOf(err) != fl.CodeLate {
		s.fail("cancelling %s: %v", job, err)
	}
}

// revoke throws a node out, while there are enough for a committee.
func (s *simulation) revoke() {
	alive := s.members()
	if s.agg == nil || len(alive) <= 6 {
		return
	}
	name := alive[s.rng.IntN(len(alive))]
	if err := s.agg.Revoke(s.ctx, name, "drawn"); err != nil {
		s.fail("revoking %s: %v", name, err)
	}
	s.some(func(n *simNode) bool { return n.id == name }).revoked = true
}

// members lists the nodes that still belong to the federation.
func (s *simulation) members() []fl.NodeID {
	var out []fl.NodeID
	for _, n := range s.nodes {
		if !n.revoked {
			out = append(out, n.id)
		}
	}
	return out
}

// rotateEpoch starts a key with another committee.
func (s *simulation) rotateEpoch() {
	if s.agg == nil || s.epochs > 2+s.done/400 {
		return
	}
	alive := s.members()
	s.rng.Shuffle(len(alive), func(i, j int) { alive[i], alive[j] = alive[j], alive[i] })
	if _, err := s.agg.OpenEpoch(s.ctx, alive[:5]); err != nil {
		s.fail("opening an epoch: %v", err)
	}
	s.epochs++
}

// leap moves everybody's clock: past deadlines, sometimes past certificates.
func (s *simulation) leap() {
	s.clock.add([]time.Duration{30 * time.Second, 2 * time.Minute, time.Hour, 11 * 24 * time.Hour}[s.rng.IntN(4)])
}

func (s *simulation) back() { s.clock.add(-time.Duration(s.rng.IntN(40)) * time.Second) }
