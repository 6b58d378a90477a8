package federation_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"credence/aggregator"
	"credence/aggregator/store"
	"credence/client"
	"credence/datasets"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/round"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(proofCache())
		os.Exit(code)
	}))
}

// proofSetup lets one test at a time make keys, or one finds the other's.
var proofSetup sync.Mutex

func setUpProofs(t *testing.T, a *aggregator.Aggregator) {
	t.Helper()
	proofSetup.Lock()
	defer proofSetup.Unlock()
	if err := a.SetUpProofs(t.Context(), proofCache(), nil); err != nil {
		t.Fatal(err)
	}
}

// proofCache is a folder for the proof keys of this process' tests: they are
// made once.
var proofCache = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "credence-proofs-")
	if err != nil {
		panic(err)
	}
	return dir
})

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

// data are a node's rows as the node itself loads them.
type data struct{ train, test fl.Examples }

func loadData(dir string) (data, error) {
	schema, err := datasets.LoadSchema(filepath.Join(dir, datasets.NodeSchemaFile))
	if err != nil {
		return data{}, err
	}
	train, test, _, err := datasets.LoadCSV(filepath.Join(dir, datasets.NodeDataFile), schema)
	return data{train, test}, err
}

// auditor looks at a federation from outside and recomputes what it published.
type auditor struct {
	store store.Store
	blob  func(ctx context.Context, digest, via fl.Digest) ([]byte, error)
	data  map[fl.NodeID]data
}

// exact checks one published version: the model must be what the strategy
// makes of the plaintext updates of the sealed clients, each trained and
// quantised anew, bit for bit.
func (a auditor) exact(ctx context.Context, m store.ModelVersion) error {
	var manifest fl.Manifest
	var plan fl.Plan
	var seal fl.Seal
	var spec fl.JobSpec
	read := func(digest fl.Digest, doc fl.Document) error {
		envelope, err := a.store.Document(ctx, digest)
		if err != nil {
			return err
		}
		return envelope.Read(doc)
	}
	if err := read(m.Manifest, &manifest); err != nil {
		return err
	}
	for digest, doc := range map[fl.Digest]fl.Document{manifest.Plan: &plan, manifest.Seal: &seal, manifest.JobSpec: &spec} {
		if err := read(digest, doc); err != nil {
			return err
		}
	}
	work, err := client.ReadWork(spec)
	if err != nil {
		return err
	}
	raw, err := a.blob(ctx, plan.BaseModel, manifest.Plan)
	if err != nil {
		return err
	}
	global, err := fl.DecodeParameters(raw, spec.Parameters)
	if err != nil {
		return err
	}
	contributors, sums := make([][]fl.NodeID, plan.Shards), make([][]int64, plan.Shards)
	for shard, sum := range seal.Sums {
		contributors[shard], sums[shard] = sum.Contributors, make([]int64, plan.Slots)
	}
	for _, node := range seal.Clients {
		assignment, _ := plan.Assigned(node)
		d := a.data[node]
		work.Train, work.Test = d.train, d.test
		update, err := work.Update(ctx, client.LocalRound{Global: global, Plan: plan, Assignment: assignment})
		if err != nil {
			return err
		}
		values, err := fl.QuantiseUpdate(plan, node, update.Upload, update.Figures)
		if err != nil {
			return err
		}
		for _, v := range values {
			for i, x := range v.Values {
				sums[v.Shard][i] += int64(x)
			}
		}
	}
	var state []float32
	if !plan.BaseState.IsZero() {
		if raw, err = a.blob(ctx, plan.BaseState, manifest.Plan); err != nil {
			return err
		}
		if state, err = fl.DecodeParameters(raw, spec.Strategy.StateSize(spec.Parameters)); err != nil {
			return err
		}
	}
	next, err := fl.Advance(spec.Strategy, plan, contributors, sums, global, state)
	if err != nil {
		return err
	}
	if next.State != nil && manifest.State != fl.DigestBytes(fl.EncodeParameters(next.State)) {
		return fmt.Errorf("round %d of job %s keeps another state of the strategy than the plaintexts give", m.Round, m.Job)
	}
	if want := fl.DigestBytes(fl.EncodeParameters(next.Params)); m.Model != want || manifest.Model != want || manifest.Figures != next.Figures {
		return fmt.Errorf("round %d of job %s published model %s, figures %+v; the plaintexts give %s, %+v",
			m.Round, m.Job, m.Model.Short(), manifest.Figures, want.Short(), next.Figures)
	}
	return nil
}

// ledger checks that credits are conserved, that nobody but the issuer is in
// debt and that every published round was paid exactly once.
func (a auditor) ledger(ctx context.Context) error {
	balances, err := a.store.Balances(ctx)
	if err != nil {
		return err
	}
	history, err := a.store.History(ctx, "")
	if err != nil {
		return err
	}
	again, ids := map[string]int64{}, map[string]bool{}
	for _, tx := range history {
		if ids[tx.ID] {
			return fmt.Errorf("transaction %s is entered twice", tx.ID)
		}
		ids[tx.ID] = true
		for _, p := range tx.Postings {
			again[p.Account] += p.Amount
		}
	}
	maps.DeleteFunc(again, func(_ string, v int64) bool { return v == 0 })
	kept := maps.Clone(balances)
	maps.DeleteFunc(kept, func(_ string, v int64) bool { return v == 0 })
	if !maps.Equal(again, kept) {
		return fmt.Errorf("balances %v do not follow from the history, which gives %v", kept, again)
	}
	var sum int64
	for account, credits := range balances {
		sum += credits
		if credits < 0 && account != credit.Issuer {
			return fmt.Errorf("%s owes %d credits", account, -credits)
		}
	}
	if sum != 0 {
		return fmt.Errorf("the balances sum to %d", sum)
	}
	jobs, err := a.store.Jobs(ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		var spec fl.JobSpec
		if err := j.Spec.Read(&spec); err != nil {
			return err
		}
		if left := balances[credit.EscrowAccount(spec.Job)]; j.Phase != store.JobRunning && left != 0 {
			return fmt.Errorf("job %s is %s and %d credits are left in its escrow", spec.Job, j.Phase, left)
		}
		models, err := a.store.Models(ctx, spec.Job)
		if err != nil {
			return err
		}
		for _, m := range models {
			if id := fmt.Sprintf("payout/%s/%d", spec.Job, m.Round); spec.Budget > 0 && !ids[id] {
				return fmt.Errorf("round %d of job %s was published and not paid", m.Round, spec.Job)
			}
		}
	}
	return nil
}

// rounds checks the rounds of every job: at most one is under way, every
// published one has exactly one manifest, and nothing else has any. It returns
// how many there are of each phase.
func (a auditor) rounds(ctx context.Context) (map[string]int, error) {
	jobs, err := a.store.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	phases := map[string]int{}
	for _, j := range jobs {
		var spec fl.JobSpec
		if err := j.Spec.Read(&spec); err != nil {
			return nil, err
		}
		models, err := a.store.Models(ctx, spec.Job)
		if err != nil {
			return nil, err
		}
		active, version := 0, uint64(0)
		for n := uint64(1); n <= j.LastRound; n++ {
			r, err := a.store.Round(ctx, spec.Job, n)
			if err != nil {
				return nil, err
			}
			phases[r.Phase]++
			if !round.Phase(r.Phase).Final() {
				active++
			}
			docs, err := a.store.RoundDocuments(ctx, spec.Job, n)
			if err != nil {
				return nil, err
			}
			manifests, seals := 0, 0
			for _, d := range docs {
				switch d.Kind {
				case fl.Manifest{}.Kind():
					manifests++
				case fl.Seal{}.Kind():
					seals++
				}
			}
			published := r.Phase == string(round.Published)
			if published {
				version++
			}
			inModels := slices.ContainsFunc(models, func(m store.ModelVersion) bool { return m.Round == n && m.Version == version })
			if seals > 1 || manifests > 1 || published != (manifests == 1) || published != inModels {
				return nil, fmt.Errorf("round %d of job %s is %s, with %d seals, %d manifests, among the models: %t", n, spec.Job, r.Phase, seals, manifests, inModels)
			}
		}
		if active > 1 {
			return nil, fmt.Errorf("job %s has %d rounds under way at once", spec.Job, active)
		}
	}
	return phases, nil
}
