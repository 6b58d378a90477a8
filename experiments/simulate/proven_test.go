package simulate_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"credence/client"
	"credence/datasets"
	"credence/experiments/adversary"
	"credence/experiments/simulate"
	"credence/fl"
	"credence/models"
	"credence/zk"
	"credence/zk/trained"
)

// wardText is a schema of data small enough that proofs about them take no time.
const wardText = `version: 1
name: ward
columns:
  - {name: age, kind: numeric}
  - {name: pulse, kind: numeric}
  - {name: outcome, kind: label, classes: [well, ill]}
`

// ward makes clients of a few rows; ages are within [-1, 1].
func ward(n int) []simulate.Client {
	var out []simulate.Client
	for i := range n {
		rows := fl.Examples{Rows: 4 + i%2, Features: 2, Classes: 2}
		for k := range rows.Rows {
			rows.X = append(rows.X, float32(k)/4-float32(i%3)/2, float32((k*i)%5)/4)
			rows.Y = append(rows.Y, int32((k+i)%2))
		}
		out = append(out, simulate.Client{Node: fl.NodeID(fmt.Sprintf("c-%02d", i)), Train: rows})
	}
	return out
}

// wardJob is a job at level trained for them.
func wardJob(t testing.TB, require ...datasets.Requirement) (simulate.Job, *trained.Job) {
	t.Helper()
	j := simulate.Job{
		ID: "ward", Model: models.Spec{Kind: models.Linear, Inputs: 2, Classes: 2},
		Training: models.TrainConfig{LearningRate: 0.05, Steps: 2, BatchSize: 3},
		Strategy: fl.StrategySpec{Name: fl.FedAvg, ServerLearningRate: 1, Weighting: fl.WeightBySamples},
		Clip:     fl.Clip{Value: 1, Norm: 2}, Rounds: 2, ProofLevel: fl.ProofTrained, Seed: 5,
	}
	spec, _, err := client.JobOptions{
		Job: j.ID, SchemaText: wardText, Model: j.Model, Training: j.Training, Strategy: j.Strategy, Clip: j.Clip, Rounds: j.Rounds,
		RoundDeadline: 60, ProofLevel: j.ProofLevel, Seed: j.Seed, Trained: client.TrainedOptions{Rows: 8, FeatureBits: 11, Require: require},
	}.Draft(fl.Genesis{Suite: tiny, MinCohort: 2})
	if err != nil {
		t.Fatal(err)
	}
	spec.Genesis, spec.Owner = fl.Digest{1}, "lab"
	proven, err := trained.Read(spec, suite(t, tiny))
	if err != nil {
		t.Fatal(err)
	}
	return j, proven
}

var keyFolder sync.Map // of the test's jobs, by circuits

func trainedKeys(t testing.TB, j *trained.Job) *trained.Keys {
	t.Helper()
	name := strings.Join(j.Circuits(), " ")
	if k, ok := keyFolder.Load(name); ok {
		return k.(*trained.Keys)
	}
	store, err := zk.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = j.SetUp(store, nil); err != nil {
		t.Fatal(err)
	}
	k, err := j.Load(store, func(string) (fl.Digest, error) { return fl.Digest{}, nil }, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	keyFolder.Store(name, k)
	return k
}

// At level trained attacks on updates end at the door, at both fidelities alike,
// those of clients that poison their rows after they committed to them included;
// rows that were poisoned before pass, but for those that a requirement names.
func TestTrainedFidelitiesAgree(t *testing.T) {
	c := ward(8)
	high := 1.5
	j, proven := wardJob(t, datasets.Requirement{Column: "age", Max: &high})
	one := 1
	attackers := roster(t, c,
		adversary.Spec{Kind: adversary.SignFlip, Fraction: 0.125, Scale: 1, Adaptive: true},
		adversary.Spec{Kind: adversary.FreeRider, Fraction: 0.125},
		adversary.Spec{Kind: adversary.LabelFlip, Fraction: 0.125, FirstRound: 2},
		adversary.Spec{Kind: adversary.LabelFlip, Fraction: 0.125},
		adversary.Spec{Kind: adversary.Backdoor, Fraction: 0.125, Target: &one, Trigger: []int{0}, Value: 3})
	type told struct {
		node    fl.NodeID
		outcome simulate.Outcome
		bytes   int64
	}
	run := func(channel simulate.Channel) (params []float32, all []told) {
		s := start(t, simulate.Options{Suite: suite(t, tiny), Job: j, Channel: channel, Roster: attackers, Trained: proven}, c)
		if out := s.Outside(); len(out) != 1 || attackers.Controlled(out[0].Client) != adversary.Backdoor || !strings.Contains(out[0].Error(), "do not meet the job's requirements") {
			t.Errorf("outside: %v", out)
		}
		for range j.Rounds {
			for _, k := range step(t, s).Clients {
				want := simulate.Accepted
				switch {
				case k.Attack == adversary.SignFlip, k.Attack == adversary.FreeRider:
					want = simulate.Refused
				case k.Attack == adversary.LabelFlip && attackers.Attack(k.Node, 1) == nil:
					want = simulate.Refused
				}
				if k.Outcome != want {
					t.Errorf("%s (attack %q): outcome %d, want %d: %s", k.Node, k.Attack, k.Outcome, want, k.Reason)
				}
				if want == simulate.Refused && !strings.Contains(k.Reason, trained.ErrTraining.Error()) {
					t.Errorf("%s was refused: %s", k.Node, k.Reason)
				}
				x := told{k.Node, k.Outcome, 0}
				if want == simulate.Accepted {
					x.bytes = k.BytesUp
				}
				all = append(all, x)
			}
		}
		return s.Params(), all
	}
	plain, plainTold := run(nil)
	if len(plainTold) != 14 {
		t.Errorf("plain: %v", plainTold)
	}
	if os.Getenv("CREDENCE_FULL") != "1" {
		return // proofs and their keys take seconds; CREDENCE_FULL=1 makes them
	}
	attested, err := simulate.NewTrained(suite(t, tiny), 3, 2, proven, trainedKeys(t, proven))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := attested.Close(); err != nil {
			t.Error(err)
		}
	}()
	real, realTold := run(attested)
	if !slices.Equal(plain, real) {
		t.Error("attested gives another model than plain")
	}
	if !slices.Equal(plainTold, realTold) {
		t.Errorf("plain %v\nattested %v", plainTold, realTold)
	}
}

// What is to be simulated must be what is to be proven.
func TestTrainedIsRefused(t *testing.T) {
	j, proven := wardJob(t)
	o := simulate.Options{Suite: suite(t, tiny), Job: j, Trained: proven}
	for name, x := range map[string]struct {
		edit func(*simulate.Options, []simulate.Client)
		want string
	}{
		"no terms":      {func(o *simulate.Options, _ []simulate.Client) { o.Trained = nil }, "do not go together"},
		"another level": {func(o *simulate.Options, _ []simulate.Client) { o.Job.ProofLevel = fl.ProofBounded }, "do not go together"},
		"channel": {func(o *simulate.Options, _ []simulate.Client) {
			o.Channel = struct{ simulate.Channel }{simulate.PlainTrained(o.Suite, proven)}
		}, "carries no proofs of training"},
		"rows":  {func(_ *simulate.Options, c []simulate.Client) { c[0].Train = c[0].Train.Subset(make([]int, 9)) }, "c-00: proof level trained: datasets: 9 training rows, the job's table holds 1 to 8"},
		"value": {func(_ *simulate.Options, c []simulate.Client) { c[1].Train.X[0] = 5 }, "c-01: proof level trained"},
		"poison": {func(o *simulate.Options, c []simulate.Client) {
			one := 1
			c[0].Train = c[0].Train.Subset(make([]int, 8))
			o.Roster = roster(t, c[:2], adversary.Spec{Kind: adversary.Backdoor, Fraction: 0.5, Target: &one, Trigger: []int{0}, Share: 1})
			c[1].Train = c[0].Train
		}, "(with the rows of its attack)"},
	} {
		t.Run(name, func(t *testing.T) {
			o, c := o, ward(4)
			x.edit(&o, c)
			if _, err := simulate.New(o, c); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
