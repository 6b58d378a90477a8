package aggregator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"credence/aggregator/blob"
	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
)

// fuse makes one write of a run fail.
type fuse struct {
	at    int  // which write, from 1; 0: none
	after bool // it happens, and nobody is told
	dies  bool // and the process is gone with it
	down  time.Duration
	log   []string
	blown bool
}

var errCrash = errors.New("the process was killed here")

func (f *fuse) write(what string, do func() error) error {
	if f.blown && f.dies {
		return errCrash
	}
	f.log = append(f.log, what)
	if len(f.log) != f.at {
		return do()
	}
	f.blown = true
	if f.after {
		if err := do(); err != nil {
			return err
		}
	}
	if f.dies {
		return errCrash
	}
	return fmt.Errorf("%w: injected", store.ErrFull)
}

// fragileStore fails at the writes that a round makes.
type fragileStore struct {
	store.Store
	*fuse
}

func (s fragileStore) OpenRound(ctx context.Context, plan fl.Envelope, phase string, state []byte) error {
	return s.write("open round", func() error { return s.Store.OpenRound(ctx, plan, phase, state) })
}

func (s fragileStore) StepRound(ctx context.Context, step store.RoundStep) error {
	return s.write("step to "+step.Phase, func() error { return s.Store.StepRound(ctx, step) })
}

func (s fragileStore) SubmitJob(ctx context.Context, spec fl.Envelope, escrow credit.Transaction, at time.Time) error {
	return s.write("submit job", func() error { return s.Store.SubmitJob(ctx, spec, escrow, at) })
}

func (s fragileStore) JoinJob(ctx context.Context, join fl.Envelope) error {
	return s.write("join job", func() error { return s.Store.JoinJob(ctx, join) })
}

func (s fragileStore) EndJob(ctx context.Context, job fl.JobID, phase store.JobPhase, reason string, doc *fl.Envelope, refund *credit.Transaction) error {
	return s.write("end job", func() error { return s.Store.EndJob(ctx, job, phase, reason, doc, refund) })
}

func (s fragileStore) AddEpochDocument(ctx context.Context, epoch uint64, doc fl.Envelope) error {
	return s.write("epoch document", func() error { return s.Store.AddEpochDocument(ctx, epoch, doc) })
}

func (s fragileStore) OpenEpoch(ctx context.Context, plan fl.Envelope) error {
	return s.write("open epoch", func() error { return s.Store.OpenEpoch(ctx, plan) })
}

func (s fragileStore) CloseEpoch(ctx context.Context, epoch uint64, key fl.Envelope) error {
	return s.write("close epoch", func() error { return s.Store.CloseEpoch(ctx, epoch, key) })
}

type fragileBlobs struct {
	blob.Store
	*fuse
}

func (s fragileBlobs) Put(ctx context.Context, data []byte) (fl.Digest, error) {
	digest := fl.DigestBytes(data)
	return digest, s.write("put blob", func() error { _, err := s.Store.Put(ctx, data); return err })
}

// play is one run of a script against an aggregator whose fuse may blow: every
// step is repeated, after a restart when the process died, until it succeeds.
type play struct {
	*bench
	fuse *fuse
}

func (p *play) open() {
	p.Helper()
	a, err := Open(p.ctx, filepath.Join(p.dir, "aggregator"), p.options())
	p.must(err)
	a.store, a.blobs = fragileStore{a.store, p.fuse}, fragileBlobs{a.blobs, p.fuse}
	p.a = a
}

func (p *play) do(what string, step func() error) {
	p.Helper()
	for attempt := 0; ; attempt++ {
		died := p.fuse.blown && p.fuse.dies
		err := step()
		if err == nil && (died || !p.fuse.blown || !p.fuse.dies) {
			return
		}
		if attempt == 3 {
			p.Fatalf("%s, after %d writes: %v", what, len(p.fuse.log), err)
		}
		if p.fuse.blown && p.fuse.dies { // start another process
			p.must(p.a.Close())
			p.clock.add(p.fuse.down)
			p.fuse = &fuse{log: p.fuse.log}
			p.open()
		}
	}
}

// scene is everything that the parties of a job send, made once and sent in
// every run: the plans are the same bytes in each, for the clock stands still.
type scene struct {
	job    []byte
	joins  map[fl.NodeID][]byte
	noise  [2]map[fl.NodeID][]byte
	update [2]map[fl.NodeID][]byte
	share  [2]map[fl.NodeID][]byte
}

// run plays a job of two rounds. Documents that the scene lacks are made.
func (p *play) run(s *scene) {
	p.Helper()
	send := func(table map[fl.NodeID][]byte, node fl.NodeID, fresh func() fl.Document) {
		if table[node] == nil {
			table[node] = p.parties[node].sign(fresh()).Encode()
		}
		p.do("a message of "+string(node), func() error { _, err := p.parties[node].hand(table[node]); return err })
	}
	owner := map[fl.NodeID][]byte{"lab": s.job}
	send(owner, "lab", func() fl.Document { return p.jobSpec("job") })
	s.job = owner["lab"]
	for _, m := range p.members {
		send(s.joins, m, func() fl.Document {
			j, err := p.a.store.Job(p.ctx, "job")
			p.must(err)
			return p.parties[m].join(j.Spec)
		})
	}
	for n := range 2 {
		number := uint64(n + 1)
		p.do("opening", func() error { return p.a.Pass(p.ctx) })
		for _, m := range p.members {
			send(s.noise[n], m, func() fl.Document { return p.parties[m].noise(p.round("job", number)) })
			send(s.update[n], m, func() fl.Document { return p.parties[m].update(p.round("job", number)) })
		}
		p.do("sealing", func() error { return p.a.Pass(p.ctx) })
		for _, m := range p.members {
			send(s.share[n], m, func() fl.Document { return p.parties[m].share(p.round("job", number)) })
		}
		p.do("opening the sum", func() error { return p.a.Pass(p.ctx) })
	}
}

// TestCrashAtEveryWrite fails every write of a job's life: before it happened,
// after it happened, and as a full disk that the process survives. Whatever
// is hit, the run ends in exactly the same store, byte for byte: same seals,
// same manifests, every credit paid once. By default each write fails in one
// of the three ways; CREDENCE_CRASH_ALL=1 tries all of them.
func TestCrashAtEveryWrite(t *testing.T) {
	t.Parallel()
	b := newBench(t, "alpha", "beta", "gamma")
	b.generate(nil)
	b.parties["lab"].put(fl.EncodeParameters(make([]float32, testParameters)))
	b.clock.add(time.Second)
	template := b.snapshot()

	s := &scene{joins: map[fl.NodeID][]byte{}}
	for n := range 2 {
		s.noise[n], s.update[n], s.share[n] = map[fl.NodeID][]byte{}, map[fl.NodeID][]byte{}, map[fl.NodeID][]byte{}
	}
	reference := &play{bench: b, fuse: &fuse{}}
	reference.open()
	reference.run(s)
	want, manifests := reference.dump(), reference.manifests()
	for n := uint64(1); n <= 2; n++ {
		r := b.round("job", n)
		models, err := b.a.store.Models(b.ctx, "job")
		b.must(err)
		if r.phase != "published" || models[n-1].Model != b.expectModel(r) {
			t.Fatalf("round %d is %s, or its model is not that of the plaintexts", n, r.phase)
		}
	}
	writes, start := reference.fuse.log, b.clock.now()
	t.Logf("%d writes: %v", len(writes), writes)
	b.must(b.a.Close())
	b.copyFolder(filepath.Join(b.dir, "aggregator", blobFolder), filepath.Join(template, blobFolder), reference.sent)

	try := func(mode fuse) (name string, run *play) {
		b.reset(template)
		run = &play{bench: b, fuse: &mode}
		run.open()
		run.run(s)
		return fmt.Sprintf("%s (write %d; dies %t, after %t, then down for %s)", writes[mode.at-1], mode.at, mode.dies, mode.after, mode.down), run
	}
	for at := 1; at <= len(writes); at++ {
		for i, mode := range []fuse{{at: at, dies: true}, {at: at, dies: true, after: true}, {at: at}} {
			if os.Getenv("CREDENCE_CRASH_ALL") == "" && i != at%3 {
				continue
			}
			name, run := try(mode)
			if got := run.dump(); got != want {
				t.Errorf("%s: the store differs from that of a run without a failure:\n%s", name, firstDifference(want, got))
			}
			run.checkLedger()
			run.must(run.a.Close())
		}
	}
	// A manifest follows from what is stored, not from when it is made.
	for at := len(writes) - 1; at <= len(writes); at++ {
		name, run := try(fuse{at: at, dies: true, down: time.Minute})
		if got := run.manifests(); !slices.Equal(got, manifests) {
			t.Errorf("%s: manifests %v, want %v", name, got, manifests)
		}
		run.checkLedger()
		run.must(run.a.Close())
		b.clock.add(start.Sub(b.clock.now()))
	}
	var err error
	b.a, err = Open(b.ctx, template, b.options()) // for the clean-up
	b.must(err)
}

// manifests lists the digests of what was published.
func (p *play) manifests() (out []fl.Digest) {
	p.Helper()
	models, err := p.a.store.Models(p.ctx, "job")
	p.must(err)
	for _, m := range models {
		out = append(out, m.Manifest)
	}
	return out
}

// snapshot closes the aggregator and copies its folder.
func (b *bench) snapshot() string {
	b.Helper()
	b.must(b.a.Close())
	to := filepath.Join(b.dir, "template")
	b.copyFolder(filepath.Join(b.dir, "aggregator"), to, nil)
	return to
}

// copyFolder copies files that the other folder lacks; they stay private. only,
// when not nil, says which blobs to copy.
func (b *bench) copyFolder(from, to string, only map[fl.Digest]bool) {
	b.Helper()
	b.must(filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		raw, err := os.ReadFile(path)
		if err != nil || only != nil && !only[fl.DigestBytes(raw)] {
			return err
		}
		return os.WriteFile(target, raw, 0o600)
	}))
}

// reset puts the aggregator's folder back to what a snapshot holds. Blobs never
// change, so only those that came since are removed.
func (b *bench) reset(template string) {
	b.Helper()
	live := filepath.Join(b.dir, "aggregator")
	names, err := filepath.Glob(filepath.Join(live, blobFolder, "blobs", "*", "*"))
	b.must(err)
	for _, name := range names {
		rel, err := filepath.Rel(live, name)
		b.must(err)
		if _, err := os.Stat(filepath.Join(template, rel)); err != nil {
			b.must(os.Remove(name))
		}
	}
	names, err = filepath.Glob(filepath.Join(live, databaseFile+"*"))
	b.must(err)
	for _, name := range names {
		b.must(os.Remove(name))
	}
	raw, err := os.ReadFile(filepath.Join(template, databaseFile))
	b.must(err)
	b.must(os.WriteFile(filepath.Join(live, databaseFile), raw, 0o600))
}

func firstDifference(want, got string) string {
	n := 0
	for n < len(want) && n < len(got) && want[n] == got[n] {
		n++
	}
	cut := func(s string) string { return s[min(len(s), max(0, n-200)):min(len(s), n+200)] }
	return fmt.Sprintf("want ...%s\n got ...%s", cut(want), cut(got))
}
