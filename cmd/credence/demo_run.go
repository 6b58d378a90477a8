package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/datasets"
	"credence/experiments/config"
	"credence/experiments/federation"
	"credence/fl"
	"credence/fl/identity"
	"credence/models"
)

// The cast. The institutions do not exist; their data are real.
var hospitals = []fl.NodeID{"st-alba", "northfield", "harbour-view", "tarn-valley"}

const (
	demoOwner     fl.NodeID = "research-lab"
	demoName      fl.NodeID = "demo-clinics"
	demoThreshold           = 3
	demoMinCohort           = 3
	demoGrant               = 10_000
)

// demo is one run of the demonstration.
type demo struct {
	app      *app
	opts     demoOptions
	data     demoData
	fed      *federation.Federation
	owner    *client.Remote
	set      *datasets.Dataset
	parts    [][]int // training rows of each node
	job      client.JobOptions
	setup    string // of the proof keys
	finished bool
}

func (d *demo) run(ctx context.Context) error {
	started := time.Now()
	if err := d.prepare(); err != nil {
		return err
	}
	if err := d.found(ctx); err != nil {
		return err
	}
	if err := d.generateKeys(ctx); err != nil {
		return err
	}
	spec, err := d.owner.SubmitJob(ctx, d.job)
	if err != nil {
		return err
	}
	d.app.result(map[string]any{"event": "job", "job": spec.Job, "parameters": spec.Parameters, "rounds": spec.Rounds, "budget": spec.Budget}, func() {
		d.app.printf("%-12s %s regression, %d parameters, %d rounds, budget %d credits\n", "Job", d.job.Model.Kind, spec.Parameters, spec.Rounds, spec.Budget)
		if t := spec.Trained; t != nil {
			d.app.printf("%-12s each node commits to its rows and proves of them what the job requires;\n%-12s each update is proven to be %d full-batch steps on these rows\n", "", "", t.Steps)
		}
		d.app.printf("\n")
	})
	w := &watcher{app: d.app, remote: d.owner, job: d.job.Job, every: 25 * time.Millisecond, now: time.Now}
	view, err := w.watch(ctx)
	if err != nil {
		return err
	}
	if view.GetPhase() != "done" {
		return fmt.Errorf("the job ended as %s: %s", view.GetPhase(), view.GetReason())
	}
	report, err := d.compare(ctx)
	if err != nil {
		return err
	}
	report.Seconds = time.Since(started).Seconds()
	d.finished = true
	d.print(report)
	if d.opts.keep {
		d.app.result(map[string]any{"event": "running", "address": d.fed.Address()}, func() {
			d.app.printf("\nThe federation keeps running on %s. Ctrl-C stops it.\n", d.fed.Address())
		})
		<-ctx.Done()
	}
	return nil
}

// stop ends every party and waits for it.
func (d *demo) stop() error {
	var err error
	if d.owner != nil {
		err = d.owner.Close()
	}
	if d.fed != nil {
		err = errors.Join(err, d.fed.Stop())
	}
	return err
}

// prepare divides the data and writes the nodes' files.
func (d *demo) prepare() error {
	var err error
	if d.set, err = datasets.Builtin(d.data.set); err != nil {
		return err
	}
	least := d.data.least
	if rows := d.opts.rows; rows > 0 && rows < d.set.Train.Rows {
		first := make([]int, rows)
		for i := range first {
			first[i] = i
		}
		d.set.Train = d.set.Train.Subset(first)
		least = min(least, rows/8)
	}
	if d.parts, err = datasets.Dirichlet(d.set.Train, len(hospitals), d.data.alpha, least, d.opts.seed); err != nil {
		return err
	}
	tests, err := datasets.IID(d.set.Test, len(hospitals), d.opts.seed)
	if err != nil {
		return err
	}
	var schema *datasets.Schema
	for i, name := range hospitals {
		if schema, err = d.set.WriteNode(d.dataDir(name), d.parts[i], tests[i]); err != nil {
			return err
		}
	}
	text, err := schema.YAML()
	if err != nil {
		return err
	}
	if err := identity.WriteFile(d.path("schema.yaml"), text); err != nil {
		return err
	}
	e, err := config.Parse("the demonstration's job", []byte(d.data.jobText()))
	if err != nil {
		return err
	}
	e.Rounds = d.opts.rounds
	if fl.ProofLevel(d.opts.proof).Trained() {
		d.trained(&e.File)
	}
	if d.job, _, err = e.Live(schema, string(text)); err != nil {
		return err
	}
	second := strings.Replace(d.data.jobText(), "job: screening", "job: screening-2", 1)
	return identity.WriteFile(d.path("job.yaml"), []byte(second))
}

// floor is the least proof level of the federation's jobs. Jobs at level trained
// need proof keys of their own, so the second job that is suggested is below.
func (d *demo) floor() fl.ProofLevel {
	if level := fl.ProofLevel(d.opts.proof); !level.Trained() {
		return level
	}
	return fl.ProofBounded
}

func (d *demo) path(name string) string       { return filepath.Join(d.opts.dir, name) }
func (d *demo) dataDir(name fl.NodeID) string { return filepath.Join(d.opts.dir, "data", string(name)) }
func (d *demo) dataFile(n fl.NodeID) string {
	return filepath.Join(d.dataDir(n), datasets.NodeDataFile)
}
func (d *demo) schemaFile(n fl.NodeID) string {
	return filepath.Join(d.dataDir(n), datasets.NodeSchemaFile)
}

// found founds the federation, starts the aggregator and lets everybody join.
func (d *demo) found(ctx context.Context) error {
	log := d.app.logger(slog.LevelError)
	var err error
	d.fed, err = federation.Start(ctx, federation.Options{
		Dir: d.opts.dir, Address: d.opts.listen,
		Founding: aggregator.FoundingOptions{
			Name: demoName, Suite: d.opts.suite, MinCohort: demoMinCohort, ProofFloor: d.floor(), AllowInsecure: d.app.insecure,
			Committee: fl.CommitteePolicy{Members: len(hospitals), Threshold: demoThreshold},
		},
		Aggregator: aggregator.Options{Log: log.With("service", "aggregator"), Tick: 20 * time.Millisecond, Grace: 500 * time.Millisecond},
		Node:       client.Options{Log: log, AllowInsecure: d.app.insecure},
	})
	if err != nil {
		return err
	}
	a := d.app
	a.result(map[string]any{"event": "federation", "dir": d.opts.dir, "address": d.fed.Address(), "suite": d.opts.suite, "committee": len(hospitals), "threshold": demoThreshold}, func() {
		a.printf("%s\n\n", a.style.bold("Four "+d.data.cast+" train one model, and nobody sees another's data."))
		a.printf("%-12s %s\n", "Folder", d.opts.dir)
		a.printf("%-12s %s, mutual TLS, suite %s\n", "Aggregator", d.fed.Address(), d.opts.suite)
		a.printf("%-12s %s\n", "Data", d.data.source)
		a.printf("%-12s %d rows to train on, %d to test, divided unevenly:\n", "", d.set.Train.Rows, d.set.Test.Rows)
	})
	if err := d.proofKeys(ctx); err != nil {
		return err
	}
	for i, name := range hospitals {
		if _, err := d.fed.Enrol(ctx, aggregator.InviteOptions{Node: name, Roles: []fl.Role{fl.RoleNode}}, client.JoinOptions{
			Data: []client.DataSource{{Schema: d.schemaFile(name), CSV: d.dataFile(name)}},
		}); err != nil {
			return err
		}
		if err := d.fed.Run(ctx, name); err != nil {
			return err
		}
		rows := d.classRows(d.parts[i])
		a.result(map[string]any{"event": "joined", "node": name, "rows": len(d.parts[i]), "by_class": rows}, func() {
			a.printf("%-12s   %-13s %3d rows: %s\n", "", name, len(d.parts[i]), d.mix(rows))
		})
	}
	home, err := d.fed.Enrol(ctx, aggregator.InviteOptions{Node: demoOwner, Roles: []fl.Role{fl.RoleOwner}, Credits: demoGrant}, client.JoinOptions{})
	if err != nil {
		return err
	}
	d.owner, err = d.fed.Connect(home)
	return err
}

// proofKeys makes the proof keys, or takes them from an earlier demonstration.
func (d *demo) proofKeys(ctx context.Context) error {
	if !fl.ProofLevel(d.opts.proof).Attested() {
		return nil
	}
	var jobs []fl.JobSpec
	if fl.ProofLevel(d.opts.proof).Trained() {
		spec, _, err := d.job.Draft(d.fed.Aggregator().Genesis())
		if err != nil {
			return err
		}
		jobs = append(jobs, spec)
	}
	if d.opts.keys != "" {
		if err := d.fed.Aggregator().ImportProofs(ctx, d.opts.keys, d.app.proofProgress(), jobs...); err != nil {
			return err
		}
		keys, _, err := d.fed.Aggregator().ProofKeys(ctx)
		if err != nil {
			return err
		}
		d.setup = keys.Setup
		d.app.result(map[string]any{"event": "proof-keys", "setup": keys.Setup, "folder": d.opts.keys}, func() {
			d.app.printf("%-12s from %s, set-up %s\n", "Proof keys", d.opts.keys, keys.Setup)
		})
		return nil
	}
	cache, err := proofCache()
	if err != nil {
		return err
	}
	d.setup = fl.SetupLocal
	started := time.Now()
	if err := d.fed.Aggregator().SetUpProofs(ctx, filepath.Join(cache, d.opts.suite), d.app.proofProgress(), jobs...); err != nil {
		return err
	}
	took := time.Since(started)
	d.app.result(map[string]any{"event": "proof-keys", "setup": fl.SetupLocal, "seconds": took.Seconds(), "cache": cache}, func() {
		d.app.printf("%-12s local set-up in %.1f s, kept in %s:\n%-12s whoever made them can forge proofs; a real federation holds a ceremony\n", "Proof keys", took.Seconds(), cache, "")
	})
	return nil
}

// generateKeys lets the committee generate the collective key.
func (d *demo) generateKeys(ctx context.Context) error {
	a, started := d.app, time.Now()
	a.progress("the committee generates its key")
	if _, err := d.fed.Aggregator().OpenEpoch(ctx, hospitals); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		epochs, err := d.fed.Aggregator().Store().Epochs(ctx)
		if err != nil {
			return err
		}
		e := epochs[len(epochs)-1]
		if e.Key != nil {
			break
		}
		done := len(e.SealKeys) + len(e.Commitments) + len(e.Reveals) + len(e.Dealings)
		a.progress(fmt.Sprintf("the committee generates its key: %d of %d messages", done, 4*len(hospitals)))
		if time.Since(started) > 2*time.Minute {
			return errors.New("the committee did not generate a key within two minutes; run again with --log-level info to see why")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	took := time.Since(started)
	a.result(map[string]any{"event": "key", "seconds": took.Seconds()}, func() {
		a.printf("%-12s made by the four in %.1f s; it takes %d of them to open a sum\n", "Key", took.Seconds(), demoThreshold)
	})
	return nil
}

// score is the accuracy of a model on the whole test split.
type score struct {
	Name     string  `json:"name"`
	Accuracy float64 `json:"accuracy"`
	Correct  int64   `json:"correct"`
	Count    int64   `json:"count"`
	Loss     float64 `json:"loss"`
}

// demoReport is what the demonstration ends with.
type demoReport struct {
	Event       string           `json:"event"` // "result"
	Federated   score            `json:"federated"`
	Central     score            `json:"central"`
	Points      float64          `json:"difference_points"` // central minus federated
	Alone       []score          `json:"alone"`
	Balances    map[string]int64 `json:"balances"`
	Version     uint64           `json:"version"`
	ManifestID  fl.Digest        `json:"manifest"`
	ProofLevel  fl.ProofLevel    `json:"proof_level"`
	Epsilon     string           `json:"epsilon"`
	Dir         string           `json:"dir"`
	Safetensors string           `json:"safetensors"`
	ONNX        string           `json:"onnx"`
	Manifest    string           `json:"manifest_file"`
	Seconds     float64          `json:"seconds"`
	Proofs      int              `json:"proofs"`
	ProofTime   float64          `json:"proof_seconds"` // all nodes together
}

// compare measures the published model on all test rows, trains the same model
// on all data in one place and on each node's own, and exports the former.
func (d *demo) compare(ctx context.Context) (demoReport, error) {
	r := demoReport{
		Event: "result", Dir: d.opts.dir,
		Safetensors: d.path("model.safetensors"), ONNX: d.path("model.onnx"), Manifest: d.path("manifest.json"),
	}
	p, err := d.owner.Pull(ctx, d.job.Job, 0)
	if err != nil {
		return r, err
	}
	m := p.Version.Manifest
	r.Version, r.ManifestID, r.ProofLevel, r.Epsilon = m.Version, p.Version.ManifestID, m.ProofLevel, m.Epsilon
	if r.Federated, err = d.score("federated", p.Model, p.Params); err != nil {
		return r, err
	}
	// As many passes over the rows as a node made over its own.
	training := d.job.Training
	training.Epochs *= d.job.Rounds
	training.Steps *= d.job.Rounds
	train := func(name string, rows fl.Examples) (score, error) {
		d.app.progress("for comparison: training on the rows of " + name)
		result, err := p.Model.Train(ctx, p.Model.Init(d.job.Seed), rows, training, nil, nil)
		if err != nil {
			return score{}, err
		}
		return d.score(name, p.Model, result.Params)
	}
	if r.Central, err = train("central", d.set.Train); err != nil {
		return r, err
	}
	for i, name := range hospitals {
		s, err := train(string(name), d.set.Train.Subset(d.parts[i]))
		if err != nil {
			return r, err
		}
		r.Alone = append(r.Alone, s)
	}
	d.app.progress("")
	r.Points = 100 * (r.Central.Accuracy - r.Federated.Accuracy)
	for _, name := range hospitals {
		s, err := client.ReadStatus(d.fed.NodeDir(name))
		if err != nil {
			return r, err
		}
		r.Proofs, r.ProofTime = r.Proofs+s.Proofs, r.ProofTime+s.ProofTime
	}
	if r.Balances, err = d.owner.Balances(ctx); err != nil {
		return r, err
	}
	for _, f := range []struct{ path, format string }{{r.Safetensors, formatSafetensors}, {r.ONNX, formatONNX}} {
		if err := writeModel(f.path, f.format, p); err != nil {
			return r, err
		}
	}
	return r, identity.WriteFile(r.Manifest, p.Version.Envelope.Encode())
}

func (d *demo) score(name string, m *models.Model, params []float32) (score, error) {
	e, err := m.Evaluate(params, d.set.Test)
	return score{Name: name, Accuracy: e.Accuracy(), Correct: e.Correct, Count: e.Count, Loss: e.Loss()}, err
}
