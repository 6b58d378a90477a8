package client

import (
	"context"
	"errors"
	"fmt"
	"math"

	"credence/fl"
	"credence/models"
)

// LocalWork is what a client trains in every round of a job. It holds no state
// and does no I/O: a live node and a simulation call the same Update.
type LocalWork struct {
	Model    *models.Model
	Training models.TrainConfig
	Strategy fl.StrategySpec
	Rounds   int // of the job; schedules follow it
	// Train is what the client learns from. Test is what it measures on; when it
	// is empty, Train is.
	Train, Test fl.Examples
}

// LocalState is what a client keeps from round to round. The zero value is a
// client that took part in none.
type LocalState struct {
	// Variate is SCAFFOLD's control variate c_i, the model's length; nil is zero.
	Variate []float32
	// Personal is what never leaves the client: FedPer's last layers, or Ditto's
	// own model; nil is those of the global model.
	Personal []float32
}

// LocalRound is one round as a client meets it.
type LocalRound struct {
	Global      []float32 // the plan's base model
	ServerState []float32 // what the strategy kept with it; nil before the first version
	Mine        LocalState
	Plan        fl.Plan
	Assignment  fl.Assignment
}

// Update is what local work gives.
type Update struct {
	// Upload is the vector to quantise and encrypt (fl.QuantiseUpdate).
	Upload []float64
	// Figures evaluate the model that the client started from: the global one, with
	// the client's own last layers for FedPer.
	Figures fl.Figures
	// Personal evaluates the client's own model of Ditto before this round's
	// training, and is nil for other strategies. It stays with the client.
	Personal *fl.Figures
	// State is what the client keeps if the round is published.
	State LocalState
	Steps int
	Loss  float64 // mean training loss of the last epoch
}

// CheckWork refuses local training that the strategy cannot work with, and says
// what to change. strategy and training are valid each on its own.
func CheckWork(strategy fl.StrategySpec, training models.TrainConfig, model *models.Model) error {
	sgd := training.Optimizer == "" || training.Optimizer == models.SGD
	momentum := training.Optimizer == models.Momentum
	switch strategy.Name {
	case fl.FedSGD:
		one := (training.Epochs == 1 || training.Steps == 1) && training.BatchSize == 0
		if !sgd || !one || training.LearningRate != 1 || training.Schedule != (models.Schedule{}) {
			return errors.New("fedsgd sends gradients: want optimizer sgd, learning_rate 1 without a schedule, epochs 1 and no batch_size; the step's size is strategy.server_learning_rate")
		}
	case fl.Scaffold:
		if !sgd {
			return fmt.Errorf("scaffold's control variates are defined for plain gradient steps: want optimizer sgd, not %s", training.Optimizer)
		}
	case fl.FedNova:
		if !sgd && !momentum {
			return fmt.Errorf("fednova has no normaliser for %s: want optimizer sgd or momentum", training.Optimizer)
		}
		if momentum && strategy.Mu > 0 {
			return errors.New("fednova has no normaliser for momentum together with mu: set one of them")
		}
		if strategy.Mu*training.LearningRate >= 1 {
			return fmt.Errorf("fednova: mu * learning_rate is %v: want it below 1, or local training does not converge", strategy.Mu*training.LearningRate)
		}
	case fl.FedPer:
		personal, err := model.LastLayers(strategy.PersonalLayers)
		if err != nil {
			return fmt.Errorf("strategy: personal_layers: %w", err)
		}
		if strategy.PersonalParameters != personal {
			return fmt.Errorf("fedper: the last %d layers have %d parameters, and personal_parameters is %d", strategy.PersonalLayers, personal, strategy.PersonalParameters)
		}
	}
	return nil
}

// CompleteStrategy fills in what follows from the model (PersonalParameters of
// FedPer) and checks the result together with the training.
func CompleteStrategy(strategy fl.StrategySpec, training models.TrainConfig, model *models.Model) (fl.StrategySpec, error) {
	if err := strategy.Validate(); err != nil {
		return strategy, err
	}
	if strategy.Name == fl.FedPer {
		personal, err := model.LastLayers(strategy.PersonalLayers)
		if err != nil {
			return strategy, fmt.Errorf("strategy: personal_layers: %w", err)
		}
		strategy.PersonalParameters = personal
	}
	return strategy, CheckWork(strategy, training, model)
}

// Update trains the assigned shards from the round's global model, in an order
// of the rows that follows from the plan's public seed, evaluates that model on
// the rows held out, and composes what the client uploads. It changes none of
// its arguments. A *models.DivergedError says that training diverged; a
// *LocalError that this client's data do not fit the job's settings.
func (w LocalWork) Update(ctx context.Context, r LocalRound) (Update, error) {
	n := w.Model.NumParameters()
	if err := r.check(w.Strategy, n); err != nil {
		return Update{}, err
	}
	start := r.Global
	head := n // where the personal last layers begin
	if w.Strategy.Name == fl.FedPer {
		head = n - w.Strategy.PersonalParameters
		if r.Mine.Personal != nil {
			start = append(append(make([]float32, 0, n), r.Global[:head]...), r.Mine.Personal...)
		}
	}
	var u Update
	var err error
	if u.Figures, err = w.Figures(start); err != nil {
		return Update{}, err
	}
	training, err := w.trainingOf(r.Plan)
	if err != nil {
		return Update{}, err
	}
	o := models.TrainOptions{}
	if o.Shards, err = w.trained(r, head); err != nil {
		return Update{}, err
	}
	switch {
	case w.Strategy.Name == fl.Scaffold:
		o.Drift = drift(r, n)
	case w.Strategy.Mu > 0 && w.Strategy.Name != fl.Ditto:
		o.Mu, o.Center = w.Strategy.Mu, r.Global
	}
	result, err := w.Model.TrainWith(ctx, start, w.Train, training, o)
	if err != nil {
		return Update{}, err
	}
	u.Steps, u.Loss = result.Steps, result.Loss
	local := fl.Local{Delta: make([]float64, n)}
	for i, after := range result.Params {
		local.Delta[i] = float64(after) - float64(start[i])
	}
	switch w.Strategy.Name {
	case fl.Scaffold:
		local.Variate = variateChange(r, local.Delta, training.LearningRate, result.Steps)
	case fl.FedNova:
		local.Normaliser = normaliser(training, w.Strategy.Mu, result.Steps)
		if most := w.Strategy.MaxSteps; local.Normaliser > float64(most) {
			return Update{}, &LocalError{fmt.Sprintf("fednova: %d local steps have a normaliser of %.6g and the job's max_steps is %d; raise it, or ask for fewer steps", result.Steps, local.Normaliser, most)}
		}
	case fl.FedPer:
		u.State.Personal = append([]float32(nil), result.Params[head:]...)
	case fl.Ditto:
		if u.State.Personal, u.Personal, err = w.personal(ctx, r, training); err != nil {
			return Update{}, err
		}
	}
	strategy, err := fl.NewStrategy(w.Strategy)
	if err != nil {
		return Update{}, err
	}
	if u.Upload, err = strategy.Upload(local, r.Plan.Clip); err != nil {
		return Update{}, err
	}
	if w.Strategy.Name == fl.Scaffold {
		if u.State.Variate, err = nextVariate(w.Strategy, r, u.Upload); err != nil {
			return Update{}, err
		}
	}
	return u, nil
}

// LocalError says that a client cannot do what a job asks with its own data.
type LocalError struct{ Reason string }

// Error implements error.
func (e *LocalError) Error() string { return e.Reason }

func (r LocalRound) check(s fl.StrategySpec, n int) error {
	personal := n
	if s.Name == fl.FedPer {
		personal = s.PersonalParameters
	}
	switch {
	case len(r.Global) != n:
		return fmt.Errorf("local work: a global model of %d parameters for a model of %d", len(r.Global), n)
	case r.ServerState != nil && len(r.ServerState) != s.StateSize(n):
		return fmt.Errorf("local work: the strategy's state has %d values: %s keeps %d", len(r.ServerState), s.Name, s.StateSize(n))
	case r.Mine.Variate != nil && (s.Name != fl.Scaffold || len(r.Mine.Variate) != n):
		return fmt.Errorf("local work: a control variate of %d values for %s and a model of %d", len(r.Mine.Variate), s.Name, n)
	case r.Mine.Personal != nil && (s.Name != fl.FedPer && s.Name != fl.Ditto || len(r.Mine.Personal) != personal):
		return fmt.Errorf("local work: %d personal parameters for %s and a model of %d", len(r.Mine.Personal), s.Name, n)
	}
	return nil
}

// Figures measures params on the rows held out, or on the training rows where
// there are none.
func (w LocalWork) Figures(params []float32) (fl.Figures, error) {
	held := w.Test
	if held.Rows == 0 {
		held = w.Train
	}
	e, err := w.Model.Evaluate(params, held)
	if err != nil {
		return fl.Figures{}, err
	}
	return fl.NewFigures(e.LossSum, e.Correct, e.Count)
}

// trainingOf returns the settings of a round: its learning rate, and an order
// of the rows of its own.
func (w LocalWork) trainingOf(plan fl.Plan) (models.TrainConfig, error) {
	training, err := w.Training.AtRound(int(min(plan.Round, math.MaxInt32)), max(w.Rounds, 1))
	training.Seed ^= plan.Seed + plan.Round*0x9e3779b97f4a7c15
	return training, err
}

// trained returns the coordinates that move: the assigned shards, and the
// personal last layers from head on. nil means all of them.
func (w LocalWork) trained(r LocalRound, head int) ([]fl.Shard, error) {
	size, err := w.Strategy.UploadSize(len(r.Global))
	if err != nil {
		return nil, err
	}
	all, err := r.Plan.UploadMap(size)
	if err != nil {
		return nil, err
	}
	if w.Strategy.WholeVector() {
		if len(r.Assignment.Shards) != len(all) {
			return nil, fmt.Errorf("the plan assigns %d of %d shards, and %s needs all", len(r.Assignment.Shards), len(all), w.Strategy.Name)
		}
		return nil, nil
	}
	shards := make([]fl.Shard, 0, len(r.Assignment.Shards)+1)
	for _, s := range r.Assignment.Shards {
		shards = append(shards, all[s%len(all)])
	}
	if head < len(r.Global) {
		shards = append(shards, fl.Shard{Index: len(all), Offset: head, Length: len(r.Global) - head})
	}
	return shards, nil
}

// drift is SCAFFOLD's correction of each gradient, c - c_i.
func drift(r LocalRound, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = at(r.ServerState, i) - at(r.Mine.Variate, i)
	}
	return out
}

// variateChange is SCAFFOLD's c_i+ - c_i of option II: -c + (x - y)/(K*eta).
func variateChange(r LocalRound, delta []float64, rate float64, steps int) []float64 {
	out := make([]float64, len(delta))
	for i, d := range delta {
		out[i] = -float64(at(r.ServerState, i)) - d/(float64(steps)*rate)
	}
	return out
}

// nextVariate is the variate that a client has once its upload is in a
// published round.
func nextVariate(s fl.StrategySpec, r LocalRound, upload []float64) ([]float32, error) {
	sent, err := fl.SentVariate(s, r.Plan.Clip, upload)
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(sent))
	for i, change := range sent {
		out[i] = float32(float64(at(r.Mine.Variate, i)) + change)
	}
	return out, nil
}

// at reads a vector of which nil stands for zeros.
func at(v []float32, i int) float32 {
	if v == nil {
		return 0
	}
	return v[i]
}

// normaliser is FedNova's |a_i|_1 (Wang et al. 2020, section 4.1): how much a
// client's gradients weigh in its update, in units of the learning rate.
func normaliser(c models.TrainConfig, mu float64, steps int) float64 {
	k := float64(steps)
	if c.Optimizer == models.Momentum {
		rho := c.Momentum
		if rho == 0 {
			rho = models.DefaultMomentum
		}
		return (k - rho*(1-math.Pow(rho, k))/(1-rho)) / (1 - rho)
	}
	if shrink := c.LearningRate * mu; shrink > 0 {
		return (1 - math.Pow(1-shrink, k)) / shrink
	}
	return k
}

// personal trains Ditto's own model and evaluates it as it was before.
func (w LocalWork) personal(ctx context.Context, r LocalRound, training models.TrainConfig) ([]float32, *fl.Figures, error) {
	mine := r.Mine.Personal
	if mine == nil {
		mine = r.Global
	}
	before, err := w.Figures(mine)
	if err != nil {
		return nil, nil, err
	}
	result, err := w.Model.TrainWith(ctx, mine, w.Train, training, models.TrainOptions{Mu: w.Strategy.Mu, Center: r.Global})
	if err != nil {
		return nil, nil, err
	}
	return result.Params, &before, nil
}
