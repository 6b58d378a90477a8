package federation_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/he"
	"credence/models"
)

// The memory benchmark runs the aggregator in a process of its own, this test
// binary again, so that what is measured is the aggregator's alone. The parent
// plays the clients; the committee is real nodes.
const (
	childFolder = "CREDENCE_BENCH_AGGREGATOR" // set in the child: its folder

	memorySuite      = "rlwe8192-d4-v1"
	memoryParameters = 1_000_000
	memoryConnected  = 200  // clients that are connected, in the cohort or not
	memoryUploads    = 16   // clients that upload at the same time
	memoryCommittee  = 3    // members
	memoryThreshold  = 2    // of them
	memoryGoal       = 1.15 // peak of 200 updates over that of 20
)

// BenchmarkAggregatorMemory compares the peak resident memory of the aggregator
// over a round of 20 and a round of 200 updates of 1,000,000 parameters, with
// the same 200 clients connected. It needs Linux and 6 GB of disk:
//
//	go test ./experiments/federation -run '^$' -bench AggregatorMemory -benchtime 1x -timeout 15m
func BenchmarkAggregatorMemory(b *testing.B) {
	if dir := os.Getenv(childFolder); dir != "" {
		if err := serveChild(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
		return
	}
	for b.Loop() {
		few := measureMemory(b, 20)
		many := measureMemory(b, memoryConnected)
		b.ReportMetric(float64(few)/1e6, "MB/20-updates")
		b.ReportMetric(float64(many)/1e6, "MB/200-updates")
		ratio := float64(many) / float64(few)
		b.ReportMetric(ratio, "ratio")
		if ratio > memoryGoal {
			b.Errorf("200 updates take %.2f times the memory of 20: want at most %.2f", ratio, memoryGoal)
		}
	}
}

// hello is the first line that the child writes.
type hello struct {
	Address string
	Tokens  map[fl.NodeID]string
}

// serveChild is the aggregator's process. It talks to its parent over stdin
// and descriptor 3: it says hello, opens an epoch when it is told its members,
// and stops at the end of stdin.
func serveChild(ctx context.Context, dir string) error {
	parent := os.NewFile(3, "parent")
	a, err := aggregator.Found(ctx, dir, aggregator.FoundingOptions{
		Name: "bench", Suite: memorySuite, Committee: fl.CommitteePolicy{Members: memoryCommittee, Threshold: memoryThreshold}, MinCohort: 2,
	}, aggregator.Options{Log: quiet()})
	if err != nil {
		return err
	}
	listener, err := identity.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	greeting := hello{Address: listener.Addr().String(), Tokens: map[fl.NodeID]string{}}
	for _, name := range append(memberNames(), clientNames(memoryConnected)...) {
		o := aggregator.InviteOptions{Node: name, Roles: []fl.Role{fl.RoleNode}, Address: greeting.Address}
		if name == "member-0" {
			o.Roles, o.Credits = append(o.Roles, fl.RoleOwner), 1000
		}
		token, err := a.Invite(ctx, o)
		if err != nil {
			return err
		}
		greeting.Tokens[name] = token.String()
	}
	if err := json.NewEncoder(parent).Encode(greeting); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var commands error
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(os.Stdin); commands == nil && lines.Scan(); {
			_, commands = a.OpenEpoch(ctx, memberNames())
		}
	}()
	err = errors.Join(a.Serve(ctx, listener), a.Close())
	return errors.Join(err, commands)
}

func memberNames() []fl.NodeID {
	var out []fl.NodeID
	for i := range memoryCommittee {
		out = append(out, fl.NodeID(fmt.Sprintf("member-%d", i)))
	}
	return out
}

func clientNames(n int) []fl.NodeID {
	var out []fl.NodeID
	for i := range n {
		out = append(out, fl.NodeID(fmt.Sprintf("client-%03d", i)))
	}
	return out
}

// memoryRun is one measured federation, seen from the parent.
type memoryRun struct {
	b       *testing.B
	dir     string
	hello   hello
	command *exec.Cmd
	stdin   io.WriteCloser
	started time.Time
}

// measureMemory runs one round of n updates and returns the child's peak
// resident memory in bytes.
func measureMemory(b *testing.B, n int) int64 {
	r := &memoryRun{b: b, dir: b.TempDir(), started: time.Now()}
	defer func() { r.must(os.RemoveAll(r.dir)) }() // gigabytes: not only when the benchmark ends
	r.startChild()
	r.report("started")
	stopMembers := r.startMembers()
	defer stopMembers()
	clients := r.connectClients(n)
	r.report(fmt.Sprintf("%d clients connected, %d joined the job", memoryConnected, n))
	pool := newCiphertextPool(b, r, clients[0])
	r.sendUpdates(clients[:n], pool)
	r.report(fmt.Sprintf("%d updates accepted", n))
	owner := r.connect("member-0")
	defer func() { _ = owner.Close() }()
	r.awaitPublished(owner, n)
	for _, c := range clients {
		r.must(c.remote.Close())
	}
	peak := r.report("published")
	stopMembers()
	r.must(r.stdin.Close())
	r.must(r.command.Wait())
	return peak
}

func (r *memoryRun) must(err error) {
	r.b.Helper()
	if err != nil {
		r.b.Fatal(err)
	}
}

func (r *memoryRun) startChild() {
	read, write, err := os.Pipe()
	r.must(err)
	r.command = exec.CommandContext(r.b.Context(), os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkAggregatorMemory$", "-test.benchtime=1x")
	r.command.Env = append(os.Environ(), childFolder+"="+filepath.Join(r.dir, "aggregator"))
	r.command.ExtraFiles = []*os.File{write}
	r.command.Stderr = os.Stderr
	r.stdin, err = r.command.StdinPipe()
	r.must(err)
	r.must(r.command.Start())
	r.must(write.Close())
	r.must(json.NewDecoder(read).Decode(&r.hello))
	r.must(read.Close())
}

// report logs and returns the child's peak resident memory so far, in bytes.
func (r *memoryRun) report(stage string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.command.Process.Pid))
	r.must(err)
	_, rest, found := bytes.Cut(status, []byte("VmHWM:"))
	if !found {
		r.b.Fatal("the kernel reports no peak memory")
	}
	kilobytes, err := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
	r.must(err)
	r.b.Logf("%6.1f s  peak %4d MB  %s", time.Since(r.started).Seconds(), kilobytes*1024/1e6, stage)
	return kilobytes * 1024
}

func (r *memoryRun) join(name fl.NodeID) *client.Home {
	token, err := identity.ParseToken(r.hello.Tokens[name])
	r.must(err)
	home, err := client.Join(r.b.Context(), filepath.Join(r.dir, string(name)), token, client.JoinOptions{})
	r.must(err)
	return home
}

func (r *memoryRun) connect(name fl.NodeID) *client.Remote {
	remote, err := client.Connect(r.join(name), r.hello.Address, time.Now)
	r.must(err)
	return remote
}

// startMembers runs the committee, whose nodes have no data, and has it make a
// key.
func (r *memoryRun) startMembers() (stop func()) {
	ctx, cancel := context.WithCancel(r.b.Context())
	var wg sync.WaitGroup
	for _, name := range memberNames() {
		node, err := client.Open(r.join(name).Dir, client.Options{Log: quiet()})
		r.must(err)
		wg.Go(func() {
			if err := errors.Join(node.Run(ctx), node.Close()); err != nil {
				r.b.Error(err)
			}
		})
	}
	_, err := io.WriteString(r.stdin, "epoch\n")
	r.must(err)
	return func() { cancel(); wg.Wait() }
}

// memoryClient is a client that does not train: it sends what the parent
// makes for it.
type memoryClient struct {
	home   *client.Home
	remote *client.Remote
	plan   fl.Plan
	planID fl.Digest
}

// connectClients submits the job, connects every client and has the first n
// join; each keeps its connection, as a running node does.
func (r *memoryRun) connectClients(n int) []*memoryClient {
	ctx := r.b.Context()
	owner := r.connect("member-0")
	defer func() { _ = owner.Close() }()
	job := client.JobOptions{
		Job: "large", SchemaText: "version: 1\n",
		Model:    models.Spec{Kind: models.Softmax, Inputs: memoryParameters/10 - 1, Classes: 10},
		Training: models.TrainConfig{LearningRate: 0.1, Epochs: 1},
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightUniform},
		Clip:     fl.Clip{Value: 1}, Rounds: 1, CohortSize: n, MinCohort: n, RoundDeadline: 900, Budget: 1000,
		Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: 1,
	}
	spec, err := owner.SubmitJob(ctx, job)
	r.must(err)
	if spec.Parameters != memoryParameters {
		r.b.Fatalf("the model has %d parameters, want %d", spec.Parameters, memoryParameters)
	}
	view, err := owner.Job(ctx, spec.Job)
	r.must(err)
	var clients []*memoryClient
	for _, name := range clientNames(memoryConnected) {
		c := &memoryClient{home: r.join(name)}
		c.remote, err = client.Connect(c.home, r.hello.Address, time.Now)
		r.must(err)
		clients = append(clients, c)
	}
	// Quickly one after the other: a round takes nodes heard of lately.
	for i, c := range clients {
		_, err = c.remote.API().Work(ctx, &flpb.WorkRequest{ClockUnixMs: time.Now().UnixMilli()})
		r.must(err)
		if i >= n {
			continue
		}
		_, err = c.remote.Submit(ctx, fl.JobJoin{
			Genesis: c.home.GenesisID, JobSpec: view.SpecID, Job: spec.Job, Node: c.home.Node, Samples: 1, JoinedAt: fl.Instant(time.Now()),
		})
		r.must(err)
	}
	return clients
}

// training asks for work until the client's training task is there.
func (c *memoryClient) training(ctx context.Context) (*flpb.TrainTask, error) {
	for {
		answer, err := c.remote.API().Work(ctx, &flpb.WorkRequest{WaitMs: 20_000, ClockUnixMs: time.Now().UnixMilli()})
		if err != nil {
			return nil, flpb.FromStatus(err)
		}
		for _, task := range answer.GetTasks() {
			if train := task.GetTrain(); train != nil {
				envelope, err := fl.DecodeEnvelope(train.GetPlan())
				if err != nil {
					return nil, err
				}
				c.planID = envelope.Digest()
				return train, envelope.Read(&c.plan)
			}
		}
	}
}

// ciphertextPool holds one encryption for each shard. A client's ciphertext is
// one of them with a few coefficients of c0 raised by one: as good an
// encryption, with a little more noise, and different bytes, because copies
// are refused.
type ciphertextPool struct {
	shards [][]byte
	width  int // bytes of a coefficient
}

func newCiphertextPool(b *testing.B, r *memoryRun, c *memoryClient) *ciphertextPool {
	task, err := c.training(b.Context())
	r.must(err)
	envelope, err := fl.DecodeEnvelope(task.GetEpochKey())
	r.must(err)
	var key fl.EpochKey
	r.must(envelope.Read(&key))
	raw, err := c.remote.Fetch(b.Context(), key.PublicKey, envelope.Digest())
	r.must(err)
	suite, err := he.LookupSuite(memorySuite)
	r.must(err)
	public, err := suite.ParsePublicKey(raw)
	r.must(err)
	update := make([]float64, memoryParameters)
	for i := range update {
		update[i] = float64(i%2001-1000) / 1000
	}
	values, err := fl.QuantiseUpdate(c.plan, c.home.Node, update, fl.Figures{LossMilli: 1500, Correct: 1, Count: 2})
	r.must(err)
	pool := &ciphertextPool{width: suite.CoefficientBytes()}
	for _, shard := range values {
		ciphertext, err := public.Encrypt(shard.Values)
		r.must(err)
		pool.shards = append(pool.shards, ciphertext.Bytes())
	}
	return pool
}

// take returns the ciphertext of one client for a shard: bit k of the client's
// number says whether the k-th raisable coefficient is raised.
func (p *ciphertextPool) take(shard, number int) []byte {
	out := bytes.Clone(p.shards[shard])
	for at := 0; number > 0; at += p.width {
		if out[at] == 0xff || out[at+p.width-1] == 0 {
			continue // a carry, or none of this coefficient's high bits: leave it
		}
		out[at] += byte(number & 1)
		number >>= 1
	}
	return out
}

// sendUpdates has every client send its update, memoryUploads at a time.
func (r *memoryRun) sendUpdates(clients []*memoryClient, pool *ciphertextPool) {
	slots := make(chan struct{}, memoryUploads)
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := c.send(r.b.Context(), pool, i); err != nil {
				r.b.Errorf("%s: %v", c.home.Node, err)
			}
		})
	}
	wg.Wait()
	if r.b.Failed() {
		r.b.FailNow()
	}
}

func (c *memoryClient) send(ctx context.Context, pool *ciphertextPool, number int) error {
	if _, err := c.training(ctx); err != nil {
		return err
	}
	header := fl.UpdateHeader{
		Genesis: c.plan.Genesis, Plan: c.planID, EpochKey: c.plan.EpochKey, Job: c.plan.Job, Round: c.plan.Round, Node: c.home.Node,
		Steps: 1, ProofLevel: c.plan.ProofLevel,
	}
	for shard := range pool.shards {
		digest, err := c.remote.Upload(ctx, pool.take(shard, number))
		if err != nil {
			return err
		}
		header.Ciphertexts = append(header.Ciphertexts, fl.ShardCiphertext{Shard: shard, Digest: digest})
	}
	_, err := c.remote.Submit(ctx, header)
	return err
}

// awaitPublished waits for the model and checks that the sum was the sum.
func (r *memoryRun) awaitPublished(owner *client.Remote, n int) {
	ctx, cancel := context.WithTimeout(r.b.Context(), 5*time.Minute)
	defer cancel()
	for {
		v, err := owner.Job(ctx, "large")
		r.must(err)
		if v.Final() {
			if v.GetPhase() != "done" {
				r.b.Fatalf("the job is %s: %s", v.GetPhase(), v.GetReason())
			}
			break
		}
		select {
		case <-ctx.Done():
			r.b.Fatal("the round was not published in time")
		case <-time.After(100 * time.Millisecond):
		}
	}
	versions, err := owner.Models(ctx, "large")
	r.must(err)
	if got := versions[0].Manifest.Figures; got.Count != int64(2*n) || got.LossMilli != int64(1500*n) {
		r.b.Fatalf("the figures of %d updates add up to %+v", n, got)
	}
}
