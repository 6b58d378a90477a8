package baseline_test

import (
	"slices"
	"strings"
	"testing"

	"credence/datasets"
	"credence/experiments/baseline"
	"credence/fl"
	"credence/models"
)

// strategyJobs is one sensible job for each strategy.
func strategyJobs() map[string]func(*baseline.Job) {
	adaptive := func(j *baseline.Job) { j.Strategy.ServerLearningRate = 0.05 }
	return map[string]func(*baseline.Job){
		fl.FedAvg: func(*baseline.Job) {},
		fl.FedSGD: func(j *baseline.Job) {
			j.Training = models.TrainConfig{LearningRate: 1, Epochs: 1}
			j.Strategy.ServerLearningRate = 0.5
		},
		fl.FedProx:    func(j *baseline.Job) { j.Strategy.Mu = 0.1 },
		fl.FedAvgM:    func(j *baseline.Job) { j.Strategy.ServerLearningRate, j.Strategy.Momentum = 0.5, 0.5 },
		fl.FedAdagrad: adaptive, fl.FedYogi: adaptive, fl.FedAdam: adaptive,
		fl.Scaffold: func(j *baseline.Job) { j.Strategy.Weighting, j.Strategy.VariateClip = fl.WeightUniform, 5 },
		fl.FedNova:  func(j *baseline.Job) { j.Strategy.MaxSteps = 40 },
		fl.Cyclic:   func(*baseline.Job) {},
		fl.FedBuff:  func(j *baseline.Job) { j.Strategy.Buffer, j.CohortSize = 3, 5 },
		fl.FedPer:   func(j *baseline.Job) { j.Strategy.PersonalLayers = 1 },
		fl.Ditto:    func(j *baseline.Job) { j.Strategy.Mu = 0.1 },
		fl.Median: func(j *baseline.Job) {
			j.Strategy.Name, j.Strategy.Robust = fl.FedAvg, fl.RobustSpec{Rule: fl.Median, Groups: 3}
		},
		fl.TrimmedMean: func(j *baseline.Job) {
			j.Strategy.Name, j.Strategy.Robust = fl.FedAdam, fl.RobustSpec{Rule: fl.TrimmedMean, Groups: 3, Trim: 1}
			adaptive(j)
		},
		fl.GeometricMedian: func(j *baseline.Job) {
			j.Strategy.Name, j.Strategy.Robust = fl.FedAvg, fl.RobustSpec{Rule: fl.GeometricMedian, Groups: 3}
		},
	}
}

// Every strategy learns to tell tumours apart from clients with skewed labels,
// and gives the same bits for any number of workers and order of the clients.
func TestEveryStrategyLearns(t *testing.T) {
	set := builtin(t, datasets.BreastCancer)
	clients := skewed(t, set, 6, 1)
	suite := lookup(t, "insecure-rlwe64-d1-v1")
	jobs := strategyJobs()
	for _, name := range fl.StrategyNames() {
		if jobs[name] == nil {
			t.Errorf("no job for %s", name)
		}
	}
	for name, change := range jobs {
		job := smallJob(12)
		job.ID, job.Strategy.Name = fl.JobID(strings.ReplaceAll(name, "_", "-")), name
		change(&job)
		var last baseline.Version
		got, err := baseline.Federate(t.Context(), suite, job, clients, 2, func(v baseline.Version) error { last = v; return nil })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		accuracy, _ := last.Figures.Accuracy() // on the clients' own rows, of the version before the last
		if accuracy < 0.88 {
			t.Errorf("%s reaches an accuracy of %v", name, accuracy)
		}
		if (last.State != nil) != (job.Strategy.StateSize(1) > 0) {
			t.Errorf("%s keeps a state of %d values", name, len(last.State))
		}
		if personal, ok := last.Personal.Accuracy(); ok != (name == fl.Ditto) || ok && personal < accuracy {
			t.Errorf("%s: the clients' own models reach %v, the global one %v", name, personal, accuracy)
		}
		slices.Reverse(clients)
		job.Rounds = 3
		want, err := baseline.Federate(t.Context(), suite, job, clients, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(clients)
		again, err := baseline.Federate(t.Context(), suite, job, clients, 5, nil)
		if err != nil || !slices.Equal(again, want) {
			t.Errorf("%s: another number of workers gives another model: %v", name, err)
		}
		if slices.Equal(got, want) {
			t.Errorf("%s: three rounds give what twelve give", name)
		}
	}
}

// What a strategy cannot do with these clients is said.
func TestStrategyRefusals(t *testing.T) {
	set := builtin(t, datasets.BreastCancer)
	suite := lookup(t, "insecure-rlwe64-d1-v1")
	weak := skewed(t, set, 4, 1)
	for i := range weak[1:] {
		weak[1+i].MaxShards = 1
	}
	for name, change := range map[string]func(*baseline.Job){
		"scaffold over weak clients": func(j *baseline.Job) {
			j.Strategy = fl.StrategySpec{Name: fl.Scaffold, ServerLearningRate: 1, Weighting: fl.WeightUniform, VariateClip: 1}
		},
		"groups of too few": func(j *baseline.Job) { j.Strategy.Robust = fl.RobustSpec{Rule: fl.Median, Groups: 3} },
		"a buffer below the minimum": func(j *baseline.Job) {
			j.Strategy.Name, j.Strategy.Buffer, j.MinCohort = fl.FedBuff, 2, 3
		},
		"a cohort below the minimum": func(j *baseline.Job) { j.CohortSize, j.MinCohort = 2, 3 },
		"a cohort beyond the suite":  func(j *baseline.Job) { j.CohortSize = 10_000 },
		"scaffold with adam": func(j *baseline.Job) {
			j.Strategy = fl.StrategySpec{Name: fl.Scaffold, ServerLearningRate: 1, Weighting: fl.WeightUniform, VariateClip: 1}
			j.Training.Optimizer = models.Adam
		},
	} {
		job := smallJob(1)
		change(&job)
		if _, err := baseline.Federate(t.Context(), suite, job, weak, 1, nil); err == nil {
			t.Errorf("%s: trained", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}
