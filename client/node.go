package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
	"credence/fl/translog"
	"credence/he"
	"credence/he/threshold"
)

// maxSkew is how far the clocks may differ before the node complains.
const maxSkew = 2 * time.Minute

// Options are the knobs of a running node. The zero value is good.
type Options struct {
	Log *slog.Logger
	Now func() time.Time
	// Wait is how long the node lets the aggregator hold an empty answer;
	// default 20 s.
	Wait time.Duration
	// UploadChunk in bytes; default and most 512 KiB. Small chunks suit slow
	// links: a dropped connection loses at most one.
	UploadChunk int
	// AllowInsecure accepts the insecure suites of tests and simulations.
	AllowInsecure bool
	// DialOptions are added to the connection; tests inject faults with them.
	DialOptions []grpc.DialOption
}

// Node is a running institution's node.
type Node struct {
	opts   Options
	home   *Home
	config Config
	suite  *he.Suite
	remote *Remote
	holder *threshold.KeyHolder
	outbox outbox
	log    *slog.Logger

	// mu serialises the work of the lanes on everything below, and on what is
	// known of the members.
	mu        sync.Mutex
	jobs      map[fl.Digest]*work
	epoch     *epochKey
	completed fl.Digest // epoch key whose share the holder has
	retired   map[uint64]bool
	proof     *proofKeys                         // nil until a plan needs it
	proven    map[fl.Digest]*proofKeys           // of jobs at level trained
	datasets  map[fl.Digest]fl.DatasetCommitment // that were verified
	awaited   map[place]bool                     // rounds whose seal must hold this node's update
	lookedAt  time.Time                          // when awaited was last gone through

	statusMu sync.Mutex
	status   Status
}

// Status is what a node last did, for people. It is kept in the node's folder.
type Status struct {
	Node        fl.NodeID `json:"node"`
	Federation  fl.NodeID `json:"federation"`
	Address     string    `json:"address"`
	StartedAt   time.Time `json:"started_at"`
	LastContact time.Time `json:"last_contact"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Rounds      int       `json:"rounds"` // updates accepted since the start
	LastRound   string    `json:"last_round,omitempty"`
	Proofs      int       `json:"proofs,omitempty"`        // shards attested since the start
	ProofTime   float64   `json:"proof_seconds,omitempty"` // spent on them, by the clock
	Certificate time.Time `json:"certificate_until"`
	// Wronged lists the rounds in which the aggregator did not keep to its
	// receipts; the evidence is in the node's outbox.
	Wronged []string `json:"wronged,omitempty"`
}

// ReadStatus reads the status that a node in dir last wrote.
func ReadStatus(dir string) (Status, error) {
	var s Status
	raw, err := readFile(filepath.Join(dir, statusFile))
	switch {
	case err != nil:
		return s, err
	case raw == nil:
		return s, fmt.Errorf("the node in %s has not run yet; start it: credence node run --dir %s", dir, dir)
	}
	return s, json.Unmarshal(raw, &s)
}

// Open opens the node in dir. Only one process at a time may run it.
func Open(dir string, o Options) (*Node, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait <= 0 {
		o.Wait = 20 * time.Second
	}
	if o.UploadChunk <= 0 || o.UploadChunk > uploadChunk {
		o.UploadChunk = uploadChunk
	}
	home, err := OpenHome(dir)
	if err != nil {
		return nil, err
	}
	config, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	suite, err := he.LookupSuite(home.Genesis.Suite)
	switch {
	case err != nil:
		return nil, err
	case suite.Insecure() && !o.AllowInsecure:
		return nil, fmt.Errorf("the federation uses suite %s, which is for tests only and protects nothing; this node refuses it", suite.Name())
	case !home.Enrolment.Has(fl.RoleNode):
		return nil, fmt.Errorf("%s is enrolled as %v, not as a node", home.Node, home.Enrolment.Roles)
	}
	holder, err := threshold.Open(filepath.Join(dir, holderFolder), string(home.Node))
	if errors.Is(err, threshold.ErrLocked) {
		return nil, fmt.Errorf("another process runs the node in %s already", dir)
	}
	if err != nil {
		return nil, err
	}
	n := &Node{
		opts: o, home: home, config: config, suite: suite, holder: holder, outbox: outbox{filepath.Join(dir, outboxFolder)},
		log: o.Log.With("node", home.Node), jobs: map[fl.Digest]*work{}, retired: map[uint64]bool{},
		proven: map[fl.Digest]*proofKeys{}, datasets: map[fl.Digest]fl.DatasetCommitment{},
	}
	if n.remote, err = n.connect(); err != nil {
		return nil, errors.Join(err, holder.Close())
	}
	if err := n.remote.Forked(); err != nil {
		return nil, errors.Join(err, n.remote.Close(), holder.Close())
	}
	if n.awaited, err = n.outbox.awaiting(); err != nil {
		return nil, errors.Join(err, n.remote.Close(), holder.Close())
	}
	wronged, err := n.outbox.wronged()
	if err != nil { // evidence for people, which no work rests on
		n.log.Warn("cannot read what proves that a seal contradicts a receipt", "error", err)
	}
	n.status = Status{Node: home.Node, Federation: home.Genesis.Federation, Address: config.Address, StartedAt: fl.Instant(o.Now()), Certificate: home.CertificateEnds(), Wronged: wronged}
	return n, nil
}

func (n *Node) connect() (*Remote, error) {
	r, err := Connect(n.home, n.config.Address, n.opts.Now, n.opts.DialOptions...)
	if err == nil {
		r.chunk, r.rate, r.log = n.opts.UploadChunk, n.config.UploadKbit*1000/8, n.log
		if r.rate > 0 { // many chunks a second, so that the limit is smooth
			r.chunk = min(r.chunk, max(r.rate/16, 4<<10))
		}
	}
	return r, err
}

// Close releases the connection and the key holder.
func (n *Node) Close() error { return errors.Join(n.remote.Close(), n.holder.Close()) }

func (n *Node) now() time.Time { return n.opts.Now() }

// send signs and submits a document.
func (n *Node) send(ctx context.Context, doc fl.Document) error {
	_, err := n.remote.Submit(ctx, doc)
	return err
}

// note updates the status file.
func (n *Node) note(change func(*Status)) {
	n.statusMu.Lock()
	defer n.statusMu.Unlock()
	change(&n.status)
	raw, err := json.MarshalIndent(n.status, "", "  ")
	if err == nil {
		err = identity.WriteFile(filepath.Join(n.home.Dir, statusFile), raw)
	}
	if err != nil {
		n.log.Warn("cannot write the status file", "error", err)
	}
}

// contactEvery is how often the time of the last contact alone is written to
// the status file: every write waits for the disk, and a round has many contacts.
const contactEvery = 5 * time.Second

// contact remembers that the aggregator answered.
func (n *Node) contact() {
	now := fl.Instant(n.now())
	n.statusMu.Lock()
	fresh := now.Sub(n.status.LastContact).Abs() < contactEvery
	n.statusMu.Unlock()
	if !fresh {
		n.note(func(s *Status) { s.LastContact = now })
	}
}

// Run asks for work and does it until ctx ends or the node's membership does.
func (n *Node) Run(ctx context.Context) error {
	n.log.Info("node running", "federation", n.home.Genesis.Federation, "aggregator", n.config.Address, "certificate_until", n.home.CertificateEnds())
	var tag []byte
	retries := map[string]*retry{}
	for attempt := 0; ctx.Err() == nil; {
		if err := n.remote.Forked(); err != nil {
			return n.fail(err)
		}
		if err := n.keepCertificate(ctx); err != nil {
			if terminal(err) {
				return n.fail(err)
			}
			n.complain(err, attempt)
		}
		tasks, newTag, err := n.ask(ctx, tag)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // asked to stop: nothing that failed on the way matters
		case terminal(err):
			return n.fail(err)
		case err != nil:
			n.complain(err, attempt)
			if err := pause(ctx, backoff(attempt)); err != nil {
				return nil //nolint:nilerr // asked to stop
			}
			attempt++
			tag = nil
			continue
		}
		if attempt > 0 {
			n.log.Info("the aggregator answers again")
		}
		attempt = 0
		tag = newTag
		n.settleAll(ctx)
		if next := n.doAll(ctx, tasks, retries); !next.IsZero() && next.Before(n.now().Add(n.opts.Wait)) {
			tag = nil // the same tasks again
			if err := pause(ctx, max(next.Sub(n.now()), 50*time.Millisecond)); err != nil {
				return nil //nolint:nilerr // asked to stop
			}
		}
	}
	return nil
}

// Pass renews the certificate when that is due, asks for work once and tries
// every task once, without the pauses of Run. What failed is returned and is
// offered again. A simulation that decides itself who acts next calls it
// instead of Run.
func (n *Node) Pass(ctx context.Context) (tasks int, err error) {
	if err := n.keepCertificate(ctx); err != nil {
		return 0, n.fail(err)
	}
	if err := n.remote.Forked(); err != nil {
		return 0, n.fail(err)
	}
	offered, _, err := n.ask(ctx, nil)
	if err != nil {
		return 0, n.fail(err)
	}
	n.settleAll(ctx)
	var failed error
	for _, task := range offered {
		if err := n.do(ctx, task); err != nil {
			failed = errors.Join(failed, n.fail(err))
		}
	}
	return len(offered), failed
}

// retry paces a task that failed.
type retry struct {
	attempts int
	next     time.Time
	done     bool
}

// doAll carries out tasks in two lanes: those that train, and beside them the
// duties of the committee, each in the order the aggregator gives them. It
// returns when the first of those that failed should be tried again, or zero.
func (n *Node) doAll(ctx context.Context, tasks []*flpb.Task, retries map[string]*retry) (next time.Time) {
	var lanes [2][]*flpb.Task
	current := map[string]*retry{}
	for _, task := range tasks {
		key, lane := taskKey(task), 0
		if current[key] = retries[key]; current[key] == nil {
			current[key] = new(retry)
		}
		if _, trains := task.GetTask().(*flpb.Task_Train); trains {
			lane = 1
		}
		lanes[lane] = append(lanes[lane], task)
	}
	var wg sync.WaitGroup
	for _, lane := range lanes {
		wg.Go(func() {
			for _, task := range lane {
				n.try(ctx, task, current[taskKey(task)])
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return time.Time{}
	}
	clear(retries)
	for key, r := range current {
		if r.done {
			continue
		}
		retries[key] = r
		if next.IsZero() || r.next.Before(next) {
			next = r.next
		}
	}
	return next
}

// try carries out a task that is due.
func (n *Node) try(ctx context.Context, task *flpb.Task, r *retry) {
	if ctx.Err() != nil || n.now().Before(r.next) {
		return
	}
	err := n.do(ctx, task)
	switch {
	case err == nil:
		r.done = true
	case ctx.Err() == nil:
		r.next = n.now().Add(r.wait(err))
		r.attempts++
		n.report(err)
	}
}

// wait says how long to leave a failed task alone: a policy's no stands until
// the node is restarted, a refusal is not repeated eagerly, anything else is
// tried again soon.
func (r *retry) wait(err error) time.Duration {
	var decline *declineError
	switch {
	case errors.As(err, &decline):
		return 24 * time.Hour
	case fl.CodeOf(err) != "" && !flpb.Retryable(err):
		return time.Duration(1<<min(r.attempts, 6)) * time.Second
	}
	return backoff(r.attempts)
}

// do carries out one task. It holds the node's lock but for what is done apart.
func (n *Node) do(ctx context.Context, task *flpb.Task) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch t := task.GetTask().(type) {
	case *flpb.Task_Epoch:
		return n.contribute(ctx, t.Epoch)
	case *flpb.Task_Offer:
		return n.consider(ctx, t.Offer)
	case *flpb.Task_Train:
		return n.trainRound(ctx, t.Train)
	case *flpb.Task_Noise:
		return n.dealNoise(ctx, t.Noise)
	case *flpb.Task_Decrypt:
		return n.decrypt(ctx, t.Decrypt)
	case *flpb.Task_Retire:
		return n.retire(t.Retire)
	}
	return errors.New("the aggregator asks for something this version does not know; update the node")
}

// apart does what takes long without the node's lock, which the caller holds,
// so that the other lane goes on. The work touches nothing that the lock guards.
func (n *Node) apart(work func() error) error {
	n.mu.Unlock()
	defer n.mu.Lock()
	return work()
}

// taskKey identifies a task across answers.
func taskKey(task *flpb.Task) string {
	switch t := task.GetTask().(type) {
	case *flpb.Task_Epoch:
		e := t.Epoch
		return fmt.Sprintf("epoch %x %d %d %d %s %s %d", fl.DigestBytes(e.GetPlan()), len(e.GetSealKeys()), len(e.GetCommitments()), len(e.GetReveals()), e.GetStep(), e.GetStage(), len(e.GetDocuments()))
	case *flpb.Task_Offer:
		return fmt.Sprintf("offer %x %x", fl.DigestBytes(t.Offer.GetJobSpec()), t.Offer.GetProofKeys())
	case *flpb.Task_Train:
		return fmt.Sprintf("train %x", fl.DigestBytes(t.Train.GetPlan()))
	case *flpb.Task_Noise:
		return fmt.Sprintf("noise %x", fl.DigestBytes(t.Noise.GetPlan()))
	case *flpb.Task_Decrypt:
		return fmt.Sprintf("decrypt %x %d", fl.DigestBytes(t.Decrypt.GetSeal()), len(t.Decrypt.GetAnswers()))
	}
	return "other"
}

// ask fetches the node's tasks and compares the clocks.
func (n *Node) ask(ctx context.Context, tag []byte) ([]*flpb.Task, []byte, error) {
	call, cancel := context.WithTimeout(ctx, n.opts.Wait+callTimeout)
	defer cancel()
	answer, err := n.remote.api.Work(call, &flpb.WorkRequest{
		WaitMs: uint32(n.opts.Wait.Milliseconds()), ClockUnixMs: n.now().UnixMilli(), Seen: tag,
	})
	if err != nil {
		return nil, nil, flpb.FromStatus(err)
	}
	n.contact()
	if skew := n.now().Sub(time.UnixMilli(answer.GetClockUnixMs())); skew.Abs() > maxSkew {
		n.report(fmt.Errorf("this machine's clock differs from the aggregator's by %s: set it right (is a time service running?)", skew.Round(time.Second)))
	}
	return answer.GetTasks(), answer.GetTag(), nil
}

// keepCertificate renews the certificate before it ends, or after.
func (n *Node) keepCertificate(ctx context.Context) error {
	if !n.home.renewDue(n.now()) {
		return nil
	}
	if err := n.home.Renew(ctx, n.config.Address, n.opts.Now); err != nil {
		return err
	}
	n.log.Info("certificate renewed", "until", n.home.CertificateEnds())
	n.note(func(s *Status) { s.Certificate = n.home.CertificateEnds() })
	// New connections show the new certificate; the old one still has the old.
	fresh, err := n.connect()
	if err != nil {
		return err
	}
	fresh.members, fresh.revoked, fresh.logbook = n.remote.members, n.remote.revoked, n.remote.logbook
	old := n.remote
	n.remote = fresh
	return old.Close()
}

// terminal reports whether going on makes no sense.
func terminal(err error) bool {
	code := fl.CodeOf(err)
	return code == fl.CodeRevoked || errors.Is(err, translog.ErrFork)
}

func (n *Node) fail(err error) error {
	n.report(err)
	return err
}

// complain logs a lost connection once, not at every attempt.
func (n *Node) complain(err error, attempt int) {
	if attempt == 0 || attempt%20 == 0 {
		n.report(fmt.Errorf("the aggregator at %s cannot be reached or refuses this node; trying again: %w", n.config.Address, err))
	}
}

// report logs an error with what to do about it and keeps it in the status.
func (n *Node) report(err error) {
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("this machine's disk is full: make room; the node goes on by itself and nothing is lost: %w", err)
	}
	level := n.log.Error
	if fl.CodeOf(err) == fl.CodeNotReady {
		level = n.log.Debug
	}
	level("trouble", "error", err, "code", fl.CodeOf(err))
	n.note(func(s *Status) { s.LastError, s.LastErrorAt = err.Error(), fl.Instant(n.now()) })
}
