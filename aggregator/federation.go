package aggregator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"credence/aggregator/blob"
	"credence/aggregator/blob/disk"
	"credence/aggregator/store"
	"credence/aggregator/store/sqlite"
	"credence/fl"
	"credence/fl/identity"
	"credence/he"
)

// FoundingOptions are the choices that make a federation. They are fixed by
// its genesis.
type FoundingOptions struct {
	Name          fl.NodeID
	Suite         string // he.LookupSuite
	Committee     fl.CommitteePolicy
	MinCohort     int
	Regions       []string
	ProofFloor    fl.ProofLevel // default none
	AllowInsecure bool          // accept the insecure test suites
}

// Options are the knobs of a running aggregator. The zero value is good.
type Options struct {
	Log *slog.Logger
	Now func() time.Time
	// CertificateLifetime of enrolled parties; default 30 days. Nodes renew
	// when a third is left.
	CertificateLifetime time.Duration
	// JoinWindow is how long a new job waits for every live node to answer
	// before its first round opens without them; default 15 s.
	JoinWindow time.Duration
	// Grace is how long a round waits for the last members of the committee
	// once it has enough of them; default 3 s.
	Grace time.Duration
	// DecryptTimeout ends a round whose committee does not open its sum;
	// default 10 min.
	DecryptTimeout time.Duration
	// AnswerTimeout is how long a dealer may take to answer a complaint before it
	// is found guilty; default 10 min. A restart begins it anew.
	AnswerTimeout time.Duration
	// Tick is how often the loop looks at the clock; default 250 ms.
	Tick time.Duration
	// StagingQuota bounds the unfinished uploads of one party, in bytes;
	// default 4 GiB.
	StagingQuota int64
	// UnclaimedQuota bounds the finished uploads of one party in a day that no
	// document names, in bytes, each counted with 16 KiB more; default 4 GiB.
	UnclaimedQuota int64
	// Retain is how long the ciphertexts and noise boxes of a round are kept
	// after it is over; default 24 h.
	Retain time.Duration
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&o.CertificateLifetime, 30 * 24 * time.Hour}, {&o.JoinWindow, 15 * time.Second}, {&o.Grace, 3 * time.Second},
		{&o.DecryptTimeout, 10 * time.Minute}, {&o.AnswerTimeout, 10 * time.Minute}, {&o.Tick, 250 * time.Millisecond}, {&o.Retain, 24 * time.Hour},
	} {
		if *d.value <= 0 {
			*d.value = d.zero
		}
	}
	for _, quota := range []*int64{&o.StagingQuota, &o.UnclaimedQuota} {
		if *quota <= 0 {
			*quota = 4 << 30
		}
	}
	return o
}

// Aggregator is one aggregator process on one folder.
type Aggregator struct {
	dir        string
	opts       Options
	keys       *identity.Keys
	authority  *identity.Authority
	store      store.Store
	blobs      blob.Store
	staging    blob.Staging
	files      *disk.Store
	suite      *he.Suite
	genesis    fl.Genesis
	genesisID  fl.Digest
	genesisEv  fl.Envelope
	wake       *broadcast
	stopping   chan struct{} // closed when Serve ends
	epochPlans sync.Map      // fl.EpochPlan by number
	offered    sync.Map      // fl.JobSpec by digest
	// trainedJobs are the *trained.Job of specifications at level trained, by digest.
	trainedJobs sync.Map
	readers     chan *ciphertextReader // those that nobody uses
	log         *slog.Logger

	live       liveness
	pruned     pruner
	unclaimed  unclaimed
	court      court
	epochCache epochCache

	rounds  *roundCache
	charges charges
	allJobs snapshots[struct{}, []jobState]

	proofMu sync.Mutex
	proofs  map[fl.Digest]*proofKeys // loaded, by document

	certMu sync.Mutex
	cert   *tls.Certificate
	certAt time.Time
}

const databaseFile, blobFolder = "federation.db", "blobs"

// Found makes a new federation in dir: keys, certificate authority, database
// and the signed genesis. It refuses a folder that already holds one.
func Found(ctx context.Context, dir string, f FoundingOptions, opts Options) (*Aggregator, error) {
	opts = opts.withDefaults()
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); err == nil {
		return nil, fmt.Errorf("%s already holds a federation; choose another folder", dir)
	}
	suite, err := he.LookupSuite(f.Suite)
	switch {
	case err != nil:
		return nil, err
	case suite.Insecure() && !f.AllowInsecure:
		return nil, fmt.Errorf("suite %s is for tests only: it protects nothing", suite.Name())
	case f.Committee.Members > suite.MaxCommittee():
		return nil, fmt.Errorf("a committee of %d: suite %s allows at most %d", f.Committee.Members, suite.Name(), suite.MaxCommittee())
	case f.MinCohort > suite.MaxCohort():
		return nil, fmt.Errorf("a minimum cohort of %d: suite %s allows cohorts of at most %d", f.MinCohort, suite.Name(), suite.MaxCohort())
	}
	if f.ProofFloor == "" {
		f.ProofFloor = fl.ProofNone
	}
	keys, err := identity.LoadOrGenerate(dir)
	if err != nil {
		return nil, fmt.Errorf("founding the federation: %w", err)
	}
	authority, err := identity.LoadOrCreateAuthority(dir, string(f.Name), opts.Now())
	if err != nil {
		return nil, fmt.Errorf("founding the federation: %w", err)
	}
	genesis := fl.Genesis{
		Federation: f.Name, CreatedAt: fl.Instant(opts.Now()), Suite: f.Suite, Committee: f.Committee, MinCohort: f.MinCohort,
		ProofFloor: f.ProofFloor, Regions: append([]string{}, f.Regions...),
		AggregatorKey: keys.SigningPublic(), CertificateCA: identity.KeyDigest(authority.Certificate),
	}
	envelope, err := fl.Sign(genesis, fl.AggregatorID, keys.Signing)
	if err != nil {
		return nil, fmt.Errorf("founding the federation: %w", err)
	}
	// The database is opened last: its presence is what says "founded".
	db, err := sqlite.Open(ctx, filepath.Join(dir, databaseFile), sqlite.WithClock(opts.Now))
	if err != nil {
		return nil, fmt.Errorf("founding the federation: %w", err)
	}
	if err := errors.Join(db.Found(ctx, envelope), db.Close()); err != nil {
		return nil, fmt.Errorf("founding the federation: %w", err)
	}
	return Open(ctx, dir, opts)
}

// Open opens the federation in dir.
func Open(ctx context.Context, dir string, opts Options) (*Aggregator, error) {
	opts = opts.withDefaults()
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no federation; make one with: credence federation init --dir %s", dir, dir)
	}
	keys, err := identity.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the federation in %s: %w", dir, err)
	}
	authority, err := identity.LoadOrCreateAuthority(dir, "", opts.Now())
	if err != nil {
		return nil, fmt.Errorf("opening the federation in %s: %w", dir, err)
	}
	db, err := sqlite.Open(ctx, filepath.Join(dir, databaseFile), sqlite.WithClock(opts.Now))
	if err != nil {
		return nil, fmt.Errorf("opening the federation in %s: %w", dir, err)
	}
	a := &Aggregator{dir: dir, rounds: newRoundCache(), proofs: map[fl.Digest]*proofKeys{}, opts: opts, keys: keys, authority: authority, store: cacheDocuments(db), wake: newBroadcast(), stopping: make(chan struct{}), log: opts.Log}
	a.readers = make(chan *ciphertextReader, runtime.GOMAXPROCS(0))
	for range cap(a.readers) {
		a.readers <- new(ciphertextReader)
	}
	if err := a.load(ctx, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the federation in %s: %w", dir, err), db.Close())
	}
	return a, nil
}

func (a *Aggregator) load(ctx context.Context, dir string) error {
	var err error
	if a.genesisEv, err = a.store.Genesis(ctx); err != nil {
		return err
	}
	if err := a.genesisEv.Open(a.keys.SigningPublic(), &a.genesis); err != nil {
		return fmt.Errorf("the genesis does not belong to this folder's keys: %w", err)
	}
	if a.genesis.CertificateCA != identity.KeyDigest(a.authority.Certificate) {
		return errors.New("the certificate authority in this folder is not the genesis'; restore authority.key and authority.crt from the backup")
	}
	a.genesisID = a.genesisEv.Digest()
	if a.suite, err = he.LookupSuite(a.genesis.Suite); err != nil {
		return err
	}
	files, err := disk.Open(filepath.Join(dir, blobFolder), disk.Options{Quota: a.opts.StagingQuota})
	if err != nil {
		return err
	}
	a.blobs, a.staging, a.files = files, files, files
	return nil
}

// Close releases the database.
func (a *Aggregator) Close() error { return errors.Join(a.store.Close(), a.files.Close()) }

// Genesis returns the federation's founding document.
func (a *Aggregator) Genesis() fl.Genesis { return a.genesis }

// GenesisDigest returns the digest that every party pins.
func (a *Aggregator) GenesisDigest() fl.Digest { return a.genesisID }

// Store gives read access to what the aggregator remembers, for the operator's
// own commands on the same machine.
func (a *Aggregator) Store() store.Store { return a.store }

// Suite returns the federation's suite.
func (a *Aggregator) Suite() *he.Suite { return a.suite }

func (a *Aggregator) now() time.Time { return fl.Instant(a.opts.Now()) }

func (a *Aggregator) sign(doc fl.Document) (fl.Envelope, error) {
	return fl.Sign(doc, fl.AggregatorID, a.keys.Signing)
}

// readOwn decodes a document that the aggregator itself signed and stored.
func (a *Aggregator) readOwn(e fl.Envelope, doc fl.Document) error {
	if err := e.Open(a.keys.SigningPublic(), doc); err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	return nil
}

// broadcast wakes everybody who waits for something to happen.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{ch: make(chan struct{})} }

// wait returns a channel that closes at the next signal.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ch)
	b.ch = make(chan struct{})
}
