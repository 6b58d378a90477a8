package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/client/audit"
	"credence/datasets"
	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/identity"
	"credence/fl/translog"
	"credence/models"
)

// The jobs of the audited federation.
const (
	attestedJob fl.JobID = "screening" // at level bounded
	plainJob    fl.JobID = "survey"    // at level none
	privateJob  fl.JobID = "study"     // at level none, with noise and a clip that adapts

	cancelledJob fl.JobID = "trial"
)

// audited is a federation that was run to its end and stopped.
type audited struct {
	*testing.T
	dir   string // of the aggregator
	root  string
	nodes []fl.NodeID
	key   *identity.Keys
	party audit.Report // of an audit over a party's connection
	model string       // pulled model of the attested job
	note  []byte       // the checkpoint that the owner kept
}

// newAudited runs a job of two rounds for each that is named, one attested and
// one not, cancels a third, audits them as a party, and stops everything.
func newAudited(t *testing.T, floor fl.ProofLevel, jobs ...fl.JobID) *audited {
	ctx := t.Context()
	quiet := slog.New(slog.DiscardHandler)
	f := &audited{T: t, root: t.TempDir(), nodes: []fl.NodeID{"alpha", "beta", "gamma", "delta"}}
	fed, err := federation.Start(ctx, federation.Options{
		Dir: f.root,
		Founding: aggregator.FoundingOptions{
			Name: "clinic", Suite: "insecure-rlwe64-d1-v1", Committee: fl.CommitteePolicy{Members: 4, Threshold: 3}, MinCohort: 2, AllowInsecure: true, ProofFloor: floor,
		},
		Aggregator: aggregator.Options{Log: quiet, Tick: 50 * time.Millisecond, Grace: 20 * time.Second, JoinWindow: 5 * time.Second},
		Node:       client.Options{Log: quiet, Wait: 2 * time.Second, AllowInsecure: true},
	})
	f.must(err)
	stopped := false
	defer func() {
		if !stopped {
			f.must(fed.Stop())
		}
	}()
	f.dir = filepath.Join(f.root, "aggregator")
	set, err := datasets.Builtin(datasets.BreastCancer)
	f.must(err)
	train, err := datasets.IID(set.Train, len(f.nodes), 7)
	f.must(err)
	test, err := datasets.IID(set.Test, len(f.nodes), 7)
	f.must(err)
	var text []byte
	for i, node := range f.nodes {
		data := filepath.Join(f.root, "data", string(node))
		schema, err := set.WriteNode(data, train[i], test[i])
		f.must(err)
		text, err = schema.YAML()
		f.must(err)
		_, err = fed.Enrol(ctx, aggregator.InviteOptions{Node: node, Roles: []fl.Role{fl.RoleNode}}, client.JoinOptions{
			Data: []client.DataSource{{Schema: filepath.Join(data, datasets.NodeSchemaFile), CSV: filepath.Join(data, datasets.NodeDataFile)}},
		})
		f.must(err)
		f.must(fed.Run(ctx, node))
	}
	home, err := fed.Enrol(ctx, aggregator.InviteOptions{Node: "lab", Roles: []fl.Role{fl.RoleOwner}, Credits: 10_000}, client.JoinOptions{})
	f.must(err)
	owner, err := fed.Connect(home)
	f.must(err)
	defer func() { f.must(owner.Close()) }()
	f.must(fed.Aggregator().SetUpProofs(ctx, t.TempDir(), nil))
	_, err = fed.Aggregator().OpenEpoch(ctx, f.nodes)
	f.must(err)
	for _, job := range append([]fl.JobID{cancelledJob}, jobs...) {
		o := client.JobOptions{
			Job: job, SchemaText: string(text), Model: models.Spec{Kind: models.Logistic, Inputs: 30, Classes: 2},
			Training: models.TrainConfig{LearningRate: 0.1, Epochs: 1, BatchSize: 16, Seed: 1},
			Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
			Clip:     fl.Clip{Value: 1}, Rounds: 2, MinCohort: 3, RoundDeadline: 30, Budget: 1000,
			Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: 5, ProofLevel: fl.ProofNone,
		}
		if job != plainJob && floor == fl.ProofBounded || job == attestedJob {
			o.ProofLevel, o.Clip.Norm = fl.ProofBounded, 0.5
		}
		if job == privateJob {
			o.Clip.Norm = 1
			o.Privacy = client.PrivacyOptions{NoiseMultiplier: 2, Delta: 1e-5, MinHonest: 2, Adaptive: fl.AdaptiveClip{Quantile: 0.5, LearningRate: 0.2, CountNoise: 2}}
		}
		if job == plainJob { // whose server keeps a state
			o.Strategy.Name = fl.FedAvgM
		}
		if job == cancelledJob {
			o.Budget, o.MinCohort = 500, 5 // which there are not
		}
		_, err := owner.SubmitJob(ctx, o)
		f.must(err)
	}
	f.must(owner.CancelJob(ctx, cancelledJob, "a mistake"))
	f.await(ctx, fed, owner)
	checkpoint, err := owner.Checkpoint(ctx)
	f.must(err)
	f.note = checkpoint.Note
	f.must(fed.Aggregator().Grant(ctx, "lab", 7, "a grant after the jobs"))
	f.party, err = audit.Audit(ctx, audit.Connection(owner), audit.Selection{}, nil)
	f.must(err)
	if slices.Contains(jobs, attestedJob) {
		published, err := owner.Pull(ctx, attestedJob, 0)
		f.must(err)
		f.model = filepath.Join(f.root, "model.safetensors")
		f.must(writeModel(f.model, formatSafetensors, published))
	}
	stopped = true
	f.must(fed.Stop())
	f.key, err = identity.Load(f.dir)
	f.must(err)
	return f
}

// on returns the fixture for another test.
func (f *audited) on(t *testing.T) *audited {
	g := *f
	g.T = t
	return &g
}

func (f *audited) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// await waits until there is a collective key and every job is over.
func (f *audited) await(ctx context.Context, fed *federation.Federation, owner *client.Remote) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		jobs, err := owner.Jobs(ctx)
		f.must(err)
		epochs, err := fed.Aggregator().Store().Epochs(ctx)
		f.must(err)
		if epochs[0].Key != nil && !slices.ContainsFunc(jobs, func(j client.JobView) bool { return !j.Final() }) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Fatal("the jobs did not end in time")
		}
	}
}

// copy returns a copy of the aggregator's folder to tamper with.
func (f *audited) copy(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "aggregator")
	f.must(filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, f.dir))
		switch {
		case e.IsDir():
			return os.MkdirAll(to, 0o700)
		case strings.Contains(to, "blobs"): // flip makes a new file
			return os.Link(path, to)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, raw, 0o600)
	}))
	return dir
}

// audit runs the command on a folder.
func (f *audited) audit(args ...string) (code int, stdout, stderr string) {
	var out, complaints bytes.Buffer
	code = run(append([]string{"audit"}, args...), strings.NewReader(""), &out, &complaints)
	return code, out.String(), complaints.String()
}

// sqlExec changes a database behind the program's back.
func sqlExec(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "federation.db"))
	if err != nil {
		t.Fatal(err)
	}
	statements = append([]string{
		"DROP TRIGGER documents_keep", "DROP TRIGGER postings_keep", "DROP TRIGGER log_entries_keep", "DROP TRIGGER log_entries_stay",
	}, statements...)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := errors.Join(os.Remove(path), os.WriteFile(path, raw, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func blobPath(dir string, d fl.Digest) string {
	return filepath.Join(dir, "blobs", "blobs", d.String()[:2], d.String()[2:])
}

// entry is an entry of the log in memory: a document or a transaction.
type entry struct {
	doc *fl.Envelope
	tx  *credit.Transaction
}

func (e entry) bytes() []byte {
	if e.doc != nil {
		return e.doc.Encode()
	}
	raw, err := json.Marshal(e.tx)
	if err != nil {
		panic(err) // a transaction always encodes
	}
	return raw
}

// memory is a lying aggregator: a log that it may rewrite and sign anew.
type memory struct {
	f       *audited
	folder  audit.Source
	entries []entry
	blobs   map[fl.Digest][]byte // beside the folder's
	kept    []audit.Kept
	genesis fl.Digest
}

// read reads the whole log of the folder.
func (f *audited) read(t *testing.T, folder audit.Source) *memory {
	m := &memory{f: f, folder: folder, blobs: map[fl.Digest][]byte{}}
	trust, err := folder.Trust(t.Context())
	f.must(err)
	m.genesis = trust.Genesis
	for {
		raw, err := folder.Entries(t.Context(), int64(len(m.entries)), 1<<40)
		if errors.Is(err, translog.ErrNotInLog) {
			return m
		}
		f.must(err)
		for _, b := range raw {
			var e entry
			if doc, err := fl.DecodeEnvelope(b); err == nil {
				e.doc = &doc
			} else {
				e.tx = new(credit.Transaction)
				f.must(json.Unmarshal(b, e.tx))
			}
			m.entries = append(m.entries, e)
		}
	}
}

func (m *memory) Trust(context.Context) (audit.Trust, error) {
	return audit.Trust{Genesis: m.genesis, Key: m.f.key.SigningPublic(), Kept: m.kept}, nil
}

func (m *memory) Checkpoint(context.Context) ([]byte, error) {
	var hashes hashList
	for i, e := range m.entries {
		more, err := translog.Append(int64(i), e.bytes(), hashes)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, more...)
	}
	size := int64(len(m.entries))
	root, err := translog.Root(size, hashes)
	if err != nil {
		return nil, err
	}
	return translog.Sign(translog.Checkpoint{Origin: translog.Origin(m.genesis), Size: size, Root: root}, m.f.key.Signing)
}

func (m *memory) Entries(_ context.Context, from, to int64) ([][]byte, error) {
	var out [][]byte
	for _, e := range m.entries[from:to] {
		out = append(out, e.bytes())
	}
	return out, nil
}

func (m *memory) Blob(ctx context.Context, digest, via fl.Digest) ([]byte, error) {
	if b, ok := m.blobs[digest]; ok {
		return b, nil
	}
	return m.folder.Blob(ctx, digest, via)
}

func (m *memory) Balances(context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	for _, e := range m.entries {
		if e.tx != nil {
			for _, p := range e.tx.Postings {
				out[p.Account] += p.Amount
			}
		}
	}
	return out, nil
}

// find returns the place of the nth (from 0) document of D's kind for which
// match holds, decoded.
func find[D any, P interface {
	*D
	fl.Document
}](m *memory, match func(*D) bool) (int, *D) {
	m.f.Helper()
	for i, e := range m.entries {
		var d D
		if e.doc != nil && e.doc.Kind == P(&d).Kind() {
			m.f.must(e.doc.Read(P(&d)))
			if match(&d) {
				return i, &d
			}
		}
	}
	m.f.Fatalf("no such %T in the log", *new(D))
	return 0, nil
}

// sign replaces an entry by a document that the aggregator, or a party that is
// in league with it, signs. It returns the old and the new digest.
func (m *memory) sign(at int, doc fl.Document) (before, after fl.Digest) {
	m.f.Helper()
	signer := m.entries[at].doc.Signer
	e := m.signed(signer, doc)
	before, after = m.entries[at].doc.Digest(), e.Digest()
	m.entries[at] = entry{doc: &e}
	return before, after
}

func (m *memory) signed(signer fl.NodeID, doc fl.Document) fl.Envelope {
	m.f.Helper()
	keys := m.f.key
	if signer != fl.AggregatorID {
		var err error
		keys, err = identity.Load(filepath.Join(m.f.root, string(signer)))
		m.f.must(err)
	}
	e, err := fl.Sign(doc, signer, keys.Signing)
	m.f.must(err)
	return e
}

// insert puts a document into the log.
func (m *memory) insert(at int, signer fl.NodeID, doc fl.Document) {
	e := m.signed(signer, doc)
	m.entries = slices.Insert(m.entries, at, entry{doc: &e})
}

// refer makes every transaction that refers to one document refer to another.
func (m *memory) refer(before, after fl.Digest) {
	for _, e := range m.entries {
		if e.tx != nil && e.tx.Ref == before {
			e.tx.Ref = after
		}
	}
}

// rekey makes the epoch key name another reveal.
func (m *memory) rekey(before, after fl.Digest) {
	at, key := find(m, func(*fl.EpochKey) bool { return true })
	key.Reveals[slices.Index(key.Reveals, before)] = after
	m.sign(at, *key)
}

// transaction returns the place of a transaction.
func (m *memory) transaction(id string) int {
	return slices.IndexFunc(m.entries, func(e entry) bool { return e.tx != nil && e.tx.ID == id })
}

func (m *memory) put(raw []byte) fl.Digest {
	d := fl.DigestBytes(raw)
	m.blobs[d] = raw
	return d
}

func (m *memory) get(d fl.Digest) []byte {
	m.f.Helper()
	raw, err := m.Blob(context.Background(), d, fl.Digest{})
	m.f.must(err)
	return slices.Clone(raw)
}
