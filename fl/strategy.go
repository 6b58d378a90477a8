package fl

import (
	"fmt"
	"math"
)

// Local is what a client's local training gives to its upload.
type Local struct {
	// Delta is the trained model less the global one; the model's length.
	Delta []float64
	// Variate is the wanted change of the client's control variate, the model's
	// length: scaffold only.
	Variate []float64
	// Normaliser is the sum of the weights with which the local optimiser added up
	// its gradients, in units of the learning rate; the number of steps for plain
	// SGD: fednova only.
	Normaliser float64
}

// Opened is what a strategy sees of a round: the weighted mean of the cohort's
// uploads (or a robust combination of such means over groups of at least the
// minimum cohort), never a single upload. That is a privacy rule made of types.
type Opened struct {
	Global []float32 // the model the clients started from
	State  []float32 // what the strategy kept with it; nil before the first version
	Mean   []float64 // of the uploads; UploadSize long
	Clip   Clip      // of the plan, with which uploads were packed
	// Clients is the number of uploads in the mean, Population how many nodes
	// joined the job (Plan.Population).
	Clients, Population int
}

// Strategy composes what a client uploads and makes the next global model of
// the mean of the uploads.
//
// Both methods are pure functions and modify no argument. Apply gives the same
// bits on every machine, so that an auditor repeats the step.
type Strategy interface {
	// Name is the strategy's name in StrategySpec.
	Name() string
	// Upload returns the vector that a client clips, quantises and encrypts. Where
	// it has parts of different kinds they are already within the clip. Values that
	// are not finite are errors.
	Upload(local Local, clip Clip) ([]float64, error)
	// Apply returns the new global model, and what the strategy keeps with it
	// (StateSize long; nil when it keeps nothing).
	Apply(o Opened) (next, state []float32, err error)
}

// NewStrategy makes the strategy that the specification names.
func NewStrategy(spec StrategySpec) (Strategy, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	step := serverStep{spec: spec}
	switch spec.Name {
	case FedAvgM:
		return serverMomentum{step}, nil
	case FedAdagrad, FedYogi, FedAdam:
		return adaptive{step}, nil
	case Scaffold:
		return scaffold{step}, nil
	case FedNova:
		return fedNova{step}, nil
	case FedPer:
		return fedPer{step}, nil
	}
	return step, nil // what sets the others apart happens at the clients or in the choice of the cohort
}

// StrategyError says that the opened sums give no model: a parameter stops
// being a finite number. The round cannot be published.
type StrategyError struct{ Err error }

// Error implements error.
func (e *StrategyError) Error() string { return "the strategy gives no model: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *StrategyError) Unwrap() error { return e.Err }

// NextModel is what a round makes.
type NextModel struct {
	Params  []float32 // the new global model
	State   []float32 // for the next round; nil when the strategy keeps nothing
	Figures Figures   // the cohort's; zero with privacy, which publishes none
	Clip    Clip      // the next plan's where the clip adapts; else zero
}

// Advance makes the next model from the opened sums of a round: the mean of
// every group (GroupMeans), the robust rule where the job has one, the strategy.
// It is the one definition of that step, for aggregator, auditor and
// simulation. global is the plan's base model and state what was kept with it
// (nil before the first version). It takes the sums over: they are as large as
// several models, and when it returns sums holds none of them. Errors are *RangeError for sums that no honest
// cohort produces, *StrategyError for sums that give no model.
func Advance(spec StrategySpec, plan Plan, contributors [][]NodeID, sums [][]int64, global, state []float32) (NextModel, error) {
	strategy, err := NewStrategy(spec)
	if err != nil {
		return NextModel{}, err
	}
	size, err := spec.UploadSize(len(global))
	if err != nil {
		return NextModel{}, err
	}
	if want := spec.StateSize(len(global)); state != nil && len(state) != want {
		return NextModel{}, fmt.Errorf("strategy: %s: a state of %d values for a model of %d parameters: want %d", spec.Name, len(state), len(global), want)
	}
	means, figures, err := GroupMeans(plan, size, contributors, sums)
	if err != nil {
		return NextModel{}, err
	}
	clip, err := plan.nextClip(contributors, sums)
	if err != nil {
		return NextModel{}, err
	}
	clear(sums) // not beside the vectors that follow
	mean, err := spec.Robust.combine(means)
	if err != nil {
		return NextModel{}, &StrategyError{err}
	}
	clients := map[NodeID]bool{}
	for _, nodes := range contributors {
		for _, n := range nodes {
			clients[n] = true
		}
	}
	next, kept, err := strategy.Apply(Opened{Global: global, State: state, Mean: mean, Clip: plan.Clip, Clients: len(clients), Population: plan.Population})
	if err != nil {
		return NextModel{}, &StrategyError{err}
	}
	return NextModel{Params: next, State: kept, Figures: figures, Clip: clip}, nil
}

// serverStep is global + rate*mean: what FedAvg and FedSGD do, which differ
// only in what the clients were asked to do, and what the others build on.
type serverStep struct{ spec StrategySpec }

func (s serverStep) Name() string { return s.spec.Name }

func (s serverStep) Upload(local Local, _ Clip) ([]float64, error) { return local.Delta, nil }

func (s serverStep) Apply(o Opened) ([]float32, []float32, error) {
	if len(o.Global) != len(o.Mean) {
		return nil, nil, s.lengths(o)
	}
	next := make([]float32, len(o.Global))
	for i := range next {
		if err := s.move(next, o.Global, i, o.Mean[i]); err != nil {
			return nil, nil, err
		}
	}
	return next, nil, nil
}

// move sets next[i] to global[i] + rate*by.
func (s serverStep) move(next, global []float32, i int, by float64) error {
	// The conversion forbids fusing the product into the sum, which some
	// machines would do and others not.
	v := float32(float64(global[i]) + float64(s.spec.ServerLearningRate*by))
	if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("%s: parameter %d becomes %v: global %v, step %v, rate %v", s.spec.Name, i, v, global[i], by, s.spec.ServerLearningRate)
	}
	next[i] = v
	return nil
}

func (s serverStep) lengths(o Opened) error {
	return fmt.Errorf("%s: a model of %d parameters, a mean of %d", s.spec.Name, len(o.Global), len(o.Mean))
}

// finite32 returns v as the state keeps it, or an error.
func (s serverStep) finite32(v float64, i int) (float32, error) {
	f := float32(v)
	if x := float64(f); math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("%s: the server's state of parameter %d becomes %v", s.spec.Name, i, v)
	}
	return f, nil
}

// stateOf returns the state, or zeros before the first version.
func stateOf(o Opened, size int) ([]float32, error) {
	if o.State == nil {
		return make([]float32, size), nil
	}
	if len(o.State) != size {
		return nil, fmt.Errorf("a state of %d values: want %d", len(o.State), size)
	}
	return o.State, nil
}

// fedPer moves the shared parameters, the first ones, and leaves the rest as
// they are.
type fedPer struct{ serverStep }

func (s fedPer) Upload(local Local, _ Clip) ([]float64, error) {
	shared := len(local.Delta) - s.spec.PersonalParameters
	if s.spec.PersonalParameters < 1 || shared < 1 {
		return nil, fmt.Errorf("fedper: %d of %d parameters are personal", s.spec.PersonalParameters, len(local.Delta))
	}
	return local.Delta[:shared], nil
}

func (s fedPer) Apply(o Opened) ([]float32, []float32, error) {
	if s.spec.PersonalParameters < 1 || len(o.Mean)+s.spec.PersonalParameters != len(o.Global) {
		return nil, nil, s.lengths(o)
	}
	next := append([]float32(nil), o.Global...)
	for i, by := range o.Mean {
		if err := s.move(next, o.Global, i, by); err != nil {
			return nil, nil, err
		}
	}
	return next, nil, nil
}
