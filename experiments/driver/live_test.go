package driver_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"credence/aggregator"
	"credence/client"
	"credence/datasets"
	"credence/experiments/config"
	"credence/experiments/federation"
	"credence/experiments/population"
	"credence/experiments/runs"
	"credence/fl"
	"credence/models"
)

// sameFile is simulated and submitted, byte for byte the same.
const sameFile = `job: both-ways
data: {set: breast-cancer}
partition: {method: dirichlet, clients: 4, alpha: 0.5, min_rows: 20}
model: {kind: mlp, hidden: [4]}
training: {optimizer: momentum, learning_rate: 0.05, epochs: 1, batch_size: 16}
strategy: {name: fedprox, mu: 0.01, server_learning_rate: 1, weighting: samples}
clip: {value: 1, norm: 5}
rounds: 3
round_deadline: 1m
cohort_size: 3
budget: 600
seed: 11
simulation: {suite: insecure-rlwe64-d1-v1}
`

// The same file gives the same model bytes as a simulation and as a job on a
// live federation, which samples three of four nodes for each round.
func TestSameFileSimulatedAndLive(t *testing.T) {
	o := options(t, sameFile, filepath.Join(t.TempDir(), "run"))
	run(t, o)
	f, err := runs.Open(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(f.ModelPath(runs.Unit{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	simulated, err := models.ReadSafetensors(file)
	if err != nil {
		t.Fatal(err)
	}
	live := trainLive(t, o.Experiment)
	if !slices.Equal(fl.EncodeParameters(simulated.Params), fl.EncodeParameters(live)) {
		t.Error("the live federation published another model than the simulation")
	}
}

// trainLive submits the experiment to a federation of nodes that hold the rows
// of its clients, and returns the last model.
func trainLive(t *testing.T, e *config.Experiment) []float32 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	f, err := federation.Start(t.Context(), federation.Options{
		Dir: dir,
		Founding: aggregator.FoundingOptions{
			Name: "clinic", Suite: e.Simulation.Suite, Committee: fl.CommitteePolicy{Members: 3, Threshold: 2}, MinCohort: 2, AllowInsecure: true,
		},
		Aggregator: aggregator.Options{Log: slog.New(slog.DiscardHandler), Tick: 20 * time.Millisecond, Grace: 300 * time.Millisecond, JoinWindow: time.Minute},
		Node:       client.Options{Wait: 2 * time.Second, AllowInsecure: true},
	})
	check(err)
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	set, err := datasets.Builtin(e.Data.Set)
	check(err)
	parts, err := datasets.Dirichlet(set.Train, e.Partition.Clients, e.Partition.Alpha, e.Partition.MinRows, e.Seed)
	check(err)
	var members []fl.NodeID
	for i, rows := range parts {
		name := fl.NodeID(fmt.Sprintf("client-%d", i))
		folder := filepath.Join(dir, "data", string(name))
		_, err := set.WriteNode(folder, rows, nil)
		check(err)
		source := client.DataSource{Schema: filepath.Join(folder, datasets.NodeSchemaFile), CSV: filepath.Join(folder, datasets.NodeDataFile)}
		_, err = f.Enrol(ctx, aggregator.InviteOptions{Node: name, Roles: []fl.Role{fl.RoleNode}}, client.JoinOptions{Data: []client.DataSource{source}})
		check(err)
		check(f.Run(t.Context(), name))
		members = append(members, name)
	}
	home, err := f.Enrol(ctx, aggregator.InviteOptions{Node: "lab", Roles: []fl.Role{fl.RoleOwner}, Credits: 1000}, client.JoinOptions{})
	check(err)
	owner, err := f.Connect(home)
	check(err)
	t.Cleanup(func() { _ = owner.Close() })
	_, err = f.Aggregator().OpenEpoch(ctx, members[:3])
	check(err)

	schema, schemaText, err := population.LoadSchema(e)
	check(err)
	job, notes, err := e.Live(schema, schemaText)
	check(err)
	if len(notes) != 3 {
		t.Errorf("notes %q: want one each of data, partition and simulation", notes)
	}
	spec, err := owner.SubmitJob(ctx, job)
	check(err)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		v, err := owner.Job(ctx, job.Job)
		check(err)
		if v.Final() {
			if v.GetPhase() != "done" {
				t.Fatalf("the job is %s: %s", v.GetPhase(), v.GetReason())
			}
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the job did not end: it is %s and waits for %v", v.GetPhase(), v.GetWaits())
		}
	}
	versions, err := owner.Models(ctx, job.Job)
	check(err)
	if len(versions) != e.Rounds {
		t.Fatalf("%d versions, want %d", len(versions), e.Rounds)
	}
	params, err := owner.Parameters(ctx, versions[len(versions)-1], spec.Parameters)
	check(err)
	return params
}
