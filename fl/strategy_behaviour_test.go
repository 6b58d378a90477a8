package fl

import (
	"math"
	"testing"
)

// quadratic is a client whose loss is slope/2 * (w - best)^2: the smallest
// problem on which federated strategies differ, used in the papers themselves.
type quadratic struct {
	slope, best float64
	steps       int
}

// train takes gradient steps from w, against gradient + correct.
func (q quadratic) train(w, rate, mu, correct float64) (moved float64) {
	from := w
	for range q.steps {
		w -= rate * (q.slope*(w-q.best) + mu*(w-from) + correct)
	}
	return w - from
}

// federate runs a strategy over quadratics in the clear for many rounds and
// returns where the global model ends.
func federate(t *testing.T, spec StrategySpec, clients []quadratic, rate float64, rounds int) float64 {
	t.Helper()
	s, clip := made(t, spec), Clip{Value: 1000}
	global, state := []float32{0}, []float32(nil)
	own := make([]float64, len(clients)) // scaffold's c_i
	for range rounds {
		var mean []float64
		for i, q := range clients {
			var c float64
			if state != nil && spec.Name == Scaffold {
				c = float64(state[0])
			}
			var l Local
			switch spec.Name {
			case Scaffold:
				moved := q.train(float64(global[0]), rate, 0, c-own[i])
				l = Local{Delta: []float64{moved}, Variate: []float64{-c - moved/(float64(q.steps)*rate)}}
			case FedProx:
				l = Local{Delta: []float64{q.train(float64(global[0]), rate, spec.Mu, 0)}}
			default:
				l = Local{Delta: []float64{q.train(float64(global[0]), rate, 0, 0)}, Normaliser: float64(q.steps)}
			}
			upload, err := s.Upload(l, clip)
			if err != nil {
				t.Fatal(err)
			}
			if spec.Name == Scaffold {
				sent, err := SentVariate(spec, clip, upload)
				if err != nil {
					t.Fatal(err)
				}
				own[i] += sent[0]
			}
			if mean == nil {
				mean = make([]float64, len(upload))
			}
			for k, v := range upload {
				mean[k] += v / float64(len(clients))
			}
		}
		var err error
		if global, state, err = s.Apply(Opened{Global: global, State: state, Mean: mean, Clip: clip, Clients: len(clients), Population: len(clients)}); err != nil {
			t.Fatal(err)
		}
	}
	return float64(global[0])
}

// Clients that take different numbers of steps pull FedAvg away from the
// minimum of the mean loss, towards whoever works most; FedNova arrives (Wang et
// al. 2020, theorem 1 and figure 2). With equal slopes of 1 the minimum is the
// mean of the best points, 1; with small steps FedAvg ends at their mean weighted
// by steps, (1*(-1) + 9*3)/10 = 2.6.
func TestFedNovaRemovesObjectiveInconsistency(t *testing.T) {
	clients := []quadratic{{1, -1, 1}, {1, 3, 9}}
	avg := federate(t, StrategySpec{Name: FedAvg, ServerLearningRate: 1, Weighting: WeightUniform}, clients, 0.001, 3000)
	nova := federate(t, StrategySpec{Name: FedNova, ServerLearningRate: 1, Weighting: WeightUniform, MaxSteps: 9}, clients, 0.001, 3000)
	if math.Abs(avg-2.6) > 0.02 || math.Abs(nova-1) > 0.02 {
		t.Errorf("FedAvg ends at %v, FedNova at %v; want 2.6 and 1", avg, nova)
	}
}

// Clients with different losses that take many steps drift towards their own
// minima and pull FedAvg away from the common one; SCAFFOLD arrives
// (Karimireddy et al. 2020, theorem II and figure 1). The minimum of the mean of
// (w+1)^2/2 and 4(w-1)^2/2 is (4*1 - 1*1)/5 = 0.6. FedAvg ends where the clients'
// moves cancel: each moves by (1-(1-rate*slope)^steps) of its way.
func TestScaffoldRemovesClientDrift(t *testing.T) {
	clients := []quadratic{{1, -1, 20}, {4, 1, 20}}
	const rate = 0.05
	avg := federate(t, StrategySpec{Name: FedAvg, ServerLearningRate: 1, Weighting: WeightUniform}, clients, rate, 500)
	scaffold := federate(t, StrategySpec{Name: Scaffold, ServerLearningRate: 1, Weighting: WeightUniform, VariateClip: 100}, clients, rate, 500)
	a, b := 1-math.Pow(1-rate, 20), 1-math.Pow(1-4*rate, 20)
	if want := (b - a) / (a + b); math.Abs(avg-want) > 1e-4 || math.Abs(avg-0.6) < 0.2 {
		t.Errorf("FedAvg ends at %v, want %v, away from 0.6", avg, want)
	}
	if math.Abs(scaffold-0.6) > 1e-4 {
		t.Errorf("SCAFFOLD ends at %v, want 0.6", scaffold)
	}
}

// FedProx's proximal term holds drift back: with a large mu the global model
// ends nearer the common minimum than FedAvg's (Li et al. 2020, section 3.2).
func TestFedProxHoldsDriftBack(t *testing.T) {
	clients := []quadratic{{1, -1, 20}, {4, 1, 20}}
	avg := federate(t, StrategySpec{Name: FedAvg, ServerLearningRate: 1, Weighting: WeightUniform}, clients, 0.05, 500)
	prox := federate(t, StrategySpec{Name: FedProx, ServerLearningRate: 1, Weighting: WeightUniform, Mu: 10}, clients, 0.05, 500)
	if math.Abs(prox-0.6) > math.Abs(avg-0.6)/2 {
		t.Errorf("FedProx ends at %v, FedAvg at %v; the minimum is at 0.6", prox, avg)
	}
}
