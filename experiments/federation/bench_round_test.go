package federation_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/datasets"
	"credence/experiments/baseline"
	"credence/experiments/federation"
	"credence/fl"
	"credence/he"
	"credence/models"
)

const (
	roundNodes  = 4
	roundRows   = 15_000 // of each node: together as many as MNIST has
	roundSide   = 28     // pixels
	roundRounds = 4      // measured, after a first one that is not
	roundSuite  = "rlwe8192-d4-v1"
)

// BenchmarkEncryptedRound compares the wall time of an encrypted round with the
// same round in the clear, in one process: 101,770 parameters, four nodes with
// 15,000 rows each, a 3-of-4 committee of the same nodes, all over real mTLS.
// The aggregator and the four nodes share this machine's processors, and so do
// the four clients of the round in the clear. What encryption costs does not
// depend on the local work, so the ratio is taken for one local epoch and for
// five (McMahan et al., AISTATS 2017, compare 1, 5 and 20).
//
//	go test ./experiments/federation -run '^$' -bench EncryptedRound -benchtime 1x
//
// CREDENCE_BENCH_ROWS changes the rows of a node.
func BenchmarkEncryptedRound(b *testing.B) {
	rows := roundRows
	if s := os.Getenv("CREDENCE_BENCH_ROWS"); s != "" {
		if _, err := fmt.Sscan(s, &rows); err != nil {
			b.Fatal(err)
		}
	}
	clients := roundClients(b, rows)
	for _, epochs := range []int{1, 5} {
		b.Run(fmt.Sprintf("epochs=%d", epochs), func(b *testing.B) {
			for b.Loop() {
				compareRounds(b, clients, epochs)
			}
		})
	}
}

func compareRounds(b *testing.B, clients []baseline.Client, epochs int) {
	job := baseline.Job{
		ID: "digits", Model: models.Spec{Kind: models.MLP, Inputs: roundSide * roundSide, Classes: 10, Hidden: []int{128}},
		Training: models.TrainConfig{LearningRate: 0.1, Epochs: epochs, BatchSize: 32, Seed: 1},
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip:     fl.Clip{Value: 1}, Rounds: roundRounds + 1, Seed: 1,
	}
	// In the clear before and after: other load on the machine comes and goes.
	clear, want := clearRounds(b, job, clients)
	encrypted, params := encryptedRounds(b, job, clients)
	after, _ := clearRounds(b, job, clients)
	clear.wall, clear.cpu = append(clear.wall, after.wall...), append(clear.cpu, after.cpu...)
	if !slices.Equal(params, want) {
		b.Error("the two trainings made different models")
	}
	b.Logf("%d rows a node; seconds a round, by the clock and of all processors\n  encrypted: %s | %s\n  in the clear: %s | %s", clients[0].Train.Rows,
		seconds(encrypted.wall), seconds(encrypted.cpu), seconds(clear.wall), seconds(clear.cpu))
	b.ReportMetric(median(encrypted.wall).Seconds(), "s/encrypted-round")
	b.ReportMetric(median(clear.wall).Seconds(), "s/clear-round")
	b.ReportMetric(median(encrypted.cpu).Seconds(), "cpu-s/encrypted-round")
	b.ReportMetric(median(clear.cpu).Seconds(), "cpu-s/clear-round")
	b.ReportMetric(median(encrypted.wall).Seconds()/median(clear.wall).Seconds(), "ratio")
	b.ReportMetric(median(encrypted.cpu).Seconds()/median(clear.cpu).Seconds(), "cpu-ratio")
}

// roundClients makes nodes' data: the digits, enlarged to 28x28 pixels and
// shifted at random. They cost what handwritten digits of that size cost.
func roundClients(b *testing.B, rows int) []baseline.Client {
	set, err := datasets.Builtin(datasets.Digits)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	enlarge := func(n int) fl.Examples {
		e := fl.Examples{Rows: n, Features: roundSide * roundSide, Classes: 10}
		for range n {
			row, dx, dy := rng.IntN(set.Train.Rows), rng.IntN(5)-2, rng.IntN(5)-2
			small := set.Train.Row(row)
			for y := range roundSide {
				for x := range roundSide {
					sx, sy := (x+dx)*8/roundSide, (y+dy)*8/roundSide
					v := float32(0)
					if x+dx >= 0 && y+dy >= 0 && sx < 8 && sy < 8 {
						v = small[sy*8+sx]
					}
					e.X = append(e.X, v)
				}
			}
			e.Y = append(e.Y, set.Train.Y[row])
		}
		return e
	}
	var out []baseline.Client
	for i := range roundNodes {
		out = append(out, baseline.Client{Node: fl.NodeID(fmt.Sprintf("node-%d", i)), Train: enlarge(rows), Test: enlarge(200)})
	}
	return out
}

// roundTimes are what the measured rounds took, by the clock and of processor
// time. The latter says what a round costs whatever else the machine does.
type roundTimes struct{ wall, cpu []time.Duration }

// instant is a moment by the clock and by the processor time of this process.
type instant struct {
	wall time.Time
	cpu  time.Duration
}

func (t *roundTimes) add(from, to instant) {
	t.wall = append(t.wall, to.wall.Sub(from.wall))
	t.cpu = append(t.cpu, to.cpu-from.cpu)
}

// clearRounds returns the times of the measured rounds in the clear.
func clearRounds(b *testing.B, job baseline.Job, clients []baseline.Client) (times roundTimes, params []float32) {
	suite, err := he.LookupSuite(roundSuite)
	if err != nil {
		b.Fatal(err)
	}
	last := instant{time.Now(), processorTime()}
	params, err = baseline.Federate(b.Context(), suite, job, clients, 0, func(v baseline.Version) error {
		now := instant{time.Now(), processorTime()}
		if v.Round > 1 {
			times.add(last, now)
		}
		last = now
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return times, params
}

// encryptedRounds runs the job on a live federation and returns the times of
// the measured rounds, each from the publication of the model before to that of
// its own, so that nothing that is done between two rounds is left out.
func encryptedRounds(b *testing.B, job baseline.Job, clients []baseline.Client) (times roundTimes, params []float32) {
	ctx := b.Context()
	dir := b.TempDir()
	watch := &stopwatch{}
	log := slog.New(watch)
	f, err := federation.Start(ctx, federation.Options{
		Dir:        dir,
		Founding:   aggregator.FoundingOptions{Name: "bench", Suite: roundSuite, Committee: fl.CommitteePolicy{Members: roundNodes, Threshold: 3}, MinCohort: 2},
		Aggregator: aggregator.Options{Log: log, JoinWindow: 10 * time.Minute},
		Node:       client.Options{Log: log},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := f.Stop(); err != nil {
			b.Error(err)
		}
	}()
	var members []fl.NodeID
	var schemaText string
	for _, c := range clients {
		source, text := writeExamples(b, filepath.Join(dir, "data", string(c.Node)), c)
		schemaText = text
		if _, err := f.Enrol(ctx, aggregator.InviteOptions{Node: c.Node, Roles: []fl.Role{fl.RoleNode}}, client.JoinOptions{Data: []client.DataSource{source}}); err != nil {
			b.Fatal(err)
		}
		if err := f.Run(ctx, c.Node); err != nil {
			b.Fatal(err)
		}
		members = append(members, c.Node)
	}
	home, err := f.Enrol(ctx, aggregator.InviteOptions{Node: "lab", Roles: []fl.Role{fl.RoleOwner}, Credits: 1000}, client.JoinOptions{})
	if err != nil {
		b.Fatal(err)
	}
	owner, err := f.Connect(home)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = owner.Close() }()
	if _, err := f.Aggregator().OpenEpoch(ctx, members); err != nil {
		b.Fatal(err)
	}
	spec, err := owner.SubmitJob(ctx, client.JobOptions{
		Job: job.ID, SchemaText: schemaText, Model: job.Model, Training: job.Training, Strategy: job.Strategy, Clip: job.Clip,
		Rounds: job.Rounds, MinCohort: roundNodes, RoundDeadline: 600, Budget: 1000,
		Rates: fl.Rates{Work: 700, Timeliness: 100, Committee: 150, Operator: 50}, Seed: job.Seed,
	})
	if err != nil {
		b.Fatal(err)
	}
	versions := awaitVersions(b, owner, job.ID)
	if len(versions) != job.Rounds {
		b.Fatalf("%d versions, want %d", len(versions), job.Rounds)
	}
	if params, err = owner.Parameters(ctx, versions[len(versions)-1], spec.Parameters); err != nil {
		b.Fatal(err)
	}
	times, table := watch.rounds()
	b.Logf("stages of the encrypted rounds\n%s", table)
	return times, params
}

func awaitVersions(b *testing.B, owner *client.Remote, job fl.JobID) []client.ModelVersion {
	for {
		v, err := owner.Job(b.Context(), job)
		if err != nil {
			b.Fatal(err)
		}
		if v.Final() {
			if v.GetPhase() != "done" {
				b.Fatalf("the job is %s: %s", v.GetPhase(), v.GetReason())
			}
			break
		}
		select {
		case <-b.Context().Done():
			b.Fatal(b.Context().Err())
		case <-time.After(200 * time.Millisecond): // seldom: looking costs the aggregator time
		}
	}
	versions, err := owner.Models(b.Context(), job)
	if err != nil {
		b.Fatal(err)
	}
	return versions
}

// writeExamples writes a node's data as the files it joins with.
func writeExamples(b *testing.B, dir string, c baseline.Client) (source client.DataSource, schemaText string) {
	schema, err := datasets.ExamplesSchema(c.Train, nil)
	if err != nil {
		b.Fatal(err)
	}
	raw, err := schema.YAML()
	if err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	source = client.DataSource{Schema: filepath.Join(dir, datasets.NodeSchemaFile), CSV: filepath.Join(dir, datasets.NodeDataFile)}
	if err := os.WriteFile(source.Schema, raw, 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(source.CSV)
	if err != nil {
		b.Fatal(err)
	}
	if err := datasets.WriteExamplesCSV(f, c.Train, c.Test, schema); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return source, string(raw)
}

// stopwatch reads the stages of rounds from what the parties log.
type stopwatch struct {
	mu     sync.Mutex
	stages []roundStages
}

// roundStages are the times of one round's stages, of the last party in each.
type roundStages struct {
	opened, dealt, made, accepted, sealed, summed time.Time
	published                                     instant
	train, encrypt                                time.Duration // of the slowest node
}

func (w *stopwatch) Enabled(context.Context, slog.Level) bool { return true }
func (w *stopwatch) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w *stopwatch) WithGroup(string) slog.Handler            { return w }

// Handle implements slog.Handler. One job runs at a time, so every line
// belongs to the round that was opened last.
func (w *stopwatch) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Message == "round opened" {
		w.stages = append(w.stages, roundStages{opened: r.Time})
	}
	if len(w.stages) == 0 {
		return nil
	}
	s := &w.stages[len(w.stages)-1]
	switch r.Message {
	case "update made":
		var train, encrypt time.Duration
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "train":
				train = a.Value.Duration()
			case "encrypt":
				encrypt = a.Value.Duration()
			}
			return true
		})
		s.made, s.train, s.encrypt = r.Time, max(s.train, train), max(s.encrypt, encrypt)
		if began := r.Time.Add(-train - encrypt); began.After(s.dealt) {
			s.dealt = began
		}
	case "update accepted":
		s.accepted = r.Time
	case "round sealed":
		s.sealed = r.Time
	case "round decrypting":
		s.summed = r.Time
	case "model published":
		s.published = instant{r.Time, processorTime()}
	}
	return nil
}

func (w *stopwatch) rounds() (times roundTimes, table string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var text strings.Builder
	text.WriteString("  round  until training  train  encrypt  upload  until sealed  sum  decrypt and publish  (ms; slowest party)\n")
	for i, s := range w.stages {
		if i > 0 {
			times.add(w.stages[i-1].published, s.published)
		}
		ms := func(d time.Duration) int64 { return d.Milliseconds() }
		fmt.Fprintf(&text, "  %5d  %14d  %5d  %7d  %6d  %12d  %3d  %19d\n", i+1, ms(s.dealt.Sub(s.opened)), ms(s.train), ms(s.encrypt),
			ms(s.accepted.Sub(s.made)), ms(s.sealed.Sub(s.accepted)), ms(s.summed.Sub(s.sealed)), ms(s.published.wall.Sub(s.summed)))
	}
	return times, text.String()
}

func seconds(times []time.Duration) string {
	var out []string
	for _, t := range times {
		out = append(out, fmt.Sprintf("%.2f", t.Seconds()))
	}
	return strings.Join(out, " ")
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}
