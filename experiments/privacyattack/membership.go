package privacyattack

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"credence/fl"
	"credence/models"
)

// Score is how an attack ranks one example, and the truth.
type Score struct {
	Value  float64 // the larger, the more likely a member
	Member bool
}

// Advantage returns the largest difference of true and false positive rate over
// all thresholds: Yeom, Giacomelli, Fredrikson, Jha (CSF 2018, definition 4) call
// this the membership advantage. 0 is guessing, 1 is certainty. A mechanism that
// is (epsilon, delta)-differentially private allows at most
// (e^epsilon - 1 + 2*delta) / (e^epsilon + 1) (Humphries et al., CSF 2023).
func Advantage(scores []Score) float64 {
	sorted := slices.Clone(scores)
	slices.SortFunc(sorted, func(a, b Score) int { return cmp.Compare(b.Value, a.Value) })
	in, out := 0.0, 0.0
	for _, s := range sorted {
		if s.Member {
			in++
		} else {
			out++
		}
	}
	if in == 0 || out == 0 {
		return 0
	}
	best, yes, no := 0.0, 0.0, 0.0
	for i, s := range sorted {
		if s.Member {
			yes++
		} else {
			no++
		}
		if i+1 == len(sorted) || sorted[i+1].Value != s.Value {
			best = max(best, yes/in-no/out)
		}
	}
	return best
}

// AUC returns the area under the curve of true over false positive rate: the
// chance that a member ranks above another, ties half. 0.5 is guessing.
func AUC(scores []Score) float64 {
	var wins, pairs float64
	for _, m := range scores {
		if !m.Member {
			continue
		}
		for _, o := range scores {
			if o.Member {
				continue
			}
			pairs++
			switch {
			case m.Value > o.Value:
				wins++
			case m.Value == o.Value:
				wins += 0.5
			}
		}
	}
	if pairs == 0 {
		return 0.5
	}
	return wins / pairs
}

// MostAdvantage returns the bound that Advantage states for (epsilon, delta).
func MostAdvantage(epsilon, delta float64) float64 {
	if epsilon > 700 {
		return 1
	}
	return min(1, (math.Expm1(epsilon)+2*delta)/(math.Exp(epsilon)+1))
}

// MembershipOptions are what Membership attacks.
type MembershipOptions struct {
	Round    Round
	Model    models.Spec
	Training models.TrainConfig // of every client; many epochs remember more
	// Targets is how many examples are decided upon: the victim trains on a random
	// half of them. Others is how many rows each other client has.
	Targets, Others int
	// Runs is the number of rounds that are attacked, Shadows how many the
	// attacker simulates by itself to learn from; at least 4.
	Runs, Shadows int
}

// MembershipResult is how well members were told from others in a view.
type MembershipResult struct {
	View          View
	Epsilon       string
	YeomAdvantage float64 // of the loss alone
	YeomAUC       float64
	LiRAAdvantage float64 // with shadow models
	LiRAAUC       float64
	// YeomLow to LiRAHigh are 95 % intervals of the areas (AUCInterval).
	YeomLow, YeomHigh, LiRALow, LiRAHigh float64
	YeomCurve, LiRACurve                 [][2]float64 // ROC
	Accuracy                             float64      // of the model that is seen, on rows nobody trained on
	Decisions                            int          // examples decided upon, over all runs
}

// Membership attacks rounds of training in which a victim holds a random half of
// the targets. The attacker knows the initial model, the targets, everything about
// the training and data like that of the other clients, but neither the halves
// nor the other clients' rows; it sees each round in a view. Yeom ranks an example
// by its loss under the model it sees. LiRA (Carlini et al., IEEE S&P 2022,
// algorithm 1, with Gaussians of one variance over all shadow models) compares its
// logit-scaled confidence with those of shadow rounds that did and did not train
// on it.
func Membership(ctx context.Context, o MembershipOptions, data fl.Examples) ([]MembershipResult, error) {
	if err := o.Check(data.Rows); err != nil {
		return nil, err
	}
	m, err := newMembership(o, data)
	if err != nil {
		return nil, err
	}
	out := make([]MembershipResult, 0, 3)
	for v := range Views() {
		r, err := m.attack(ctx, v)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Check refuses options that no data, or not the given number of rows, fit.
func (o MembershipOptions) Check(rows int) error {
	need := o.Targets + (o.Round.Clients-1)*o.Others
	switch {
	case o.Targets < 4 || o.Others < 1 || o.Runs < 1 || o.Shadows < 4:
		return fmt.Errorf("privacyattack: %d targets, %d rows of others, %d runs, %d shadows: want at least 4, 1, 1 and 4", o.Targets, o.Others, o.Runs, o.Shadows)
	case rows < 2*need:
		return fmt.Errorf("privacyattack: %d rows: want at least %d, twice what the clients hold", rows, 2*need)
	}
	return nil
}

type membership struct {
	o                     MembershipOptions
	model                 *models.Model
	global                []float32
	targets, pool, unseen fl.Examples
	rounds                map[uint64]observed // by seed
}

// observed is what the views show of one round: who was in, and for each view
// the targets' losses under the model that it shows.
type observed struct {
	in       []bool
	losses   [][]float64
	accuracy []float64
}

func newMembership(o MembershipOptions, data fl.Examples) (*membership, error) {
	model, err := models.New(o.Model)
	if err != nil {
		return nil, err
	}
	order := rand.New(rand.NewPCG(o.Round.Seed, 2)).Perm(data.Rows)
	cut := data.Rows - min(data.Rows/5, 400)
	return &membership{
		o: o, model: model, global: model.Init(o.Round.Seed), rounds: map[uint64]observed{},
		targets: data.Subset(order[:o.Targets]), pool: data.Subset(order[o.Targets:cut]), unseen: data.Subset(order[cut:]),
	}, nil
}

// simulate makes the updates of a round: the victim's half of the targets and the
// other clients' rows are drawn from the seed.
func (m *membership) simulate(ctx context.Context, seed uint64) (in []bool, updates [][]float64, err error) {
	rng := rand.New(rand.NewPCG(m.o.Round.Seed, seed))
	in = make([]bool, m.o.Targets)
	half := rng.Perm(m.o.Targets)[:m.o.Targets/2]
	for _, i := range half {
		in[i] = true
	}
	others := rng.Perm(m.pool.Rows)
	for c := range m.o.Round.Clients {
		rows := m.targets.Subset(half)
		if c > 0 {
			rows = m.pool.Subset(others[(c-1)*m.o.Others : c*m.o.Others])
		}
		training := m.o.Training
		training.Seed += seed*1000 + uint64(c)
		update, err := localUpdate(ctx, m.model, training, m.o.Round.slots(), m.global, rows)
		if err != nil {
			return nil, nil, err
		}
		updates = append(updates, update)
	}
	return in, updates, nil
}

// observe makes a round, unless it was made before, and looks at it in every view.
// Only what is seen is kept: the updates of many rounds are large.
func (m *membership) observe(ctx context.Context, seed uint64) (o observed, err error) {
	if o, done := m.rounds[seed]; done {
		return o, nil
	}
	var updates [][]float64
	if o.in, updates, err = m.simulate(ctx, seed); err != nil {
		return o, err
	}
	round := m.o.Round
	round.Seed += seed
	for _, view := range Views() {
		seen, err := round.See(view, updates)
		if err != nil {
			return o, err
		}
		params := make([]float32, len(seen))
		for i := range params {
			params[i] = m.global[i] + float32(seen[i])
		}
		var losses []float64
		for i := range m.targets.Rows {
			e, err := m.model.Evaluate(params, m.targets.Subset([]int{i}))
			if err != nil {
				return o, err
			}
			losses = append(losses, e.LossSum)
		}
		e, err := m.model.Evaluate(params, m.unseen)
		if err != nil {
			return o, err
		}
		o.losses = append(o.losses, losses)
		o.accuracy = append(o.accuracy, float64(e.Correct)/float64(e.Count))
	}
	m.rounds[seed] = o
	return o, nil
}

// attack decides in view number v.
func (m *membership) attack(ctx context.Context, v int) (MembershipResult, error) {
	view := Views()[v]
	r := MembershipResult{View: view}
	var err error
	if r.Epsilon, err = m.o.Round.Epsilon(view, len(m.global)); err != nil {
		return r, err
	}
	// Shadow rounds: confidences of every target, apart for in and out.
	with, without := make([][]float64, m.o.Targets), make([][]float64, m.o.Targets)
	for shadow := range m.o.Shadows {
		o, err := m.observe(ctx, uint64(1_000_000+shadow)) // #nosec G115 -- counts from 0
		if err != nil {
			return r, err
		}
		for i, loss := range o.losses[v] {
			if o.in[i] {
				with[i] = append(with[i], confidence(loss))
			} else {
				without[i] = append(without[i], confidence(loss))
			}
		}
	}
	spread := deviation(with, without)
	var yeom, lira []Score
	for run := range m.o.Runs {
		o, err := m.observe(ctx, uint64(run)) // #nosec G115 -- counts from 0
		if err != nil {
			return r, err
		}
		r.Accuracy += o.accuracy[v] / float64(m.o.Runs)
		for i, loss := range o.losses[v] {
			yeom = append(yeom, Score{-loss, o.in[i]})
			if len(with[i]) == 0 || len(without[i]) == 0 {
				continue // every shadow says the same of it
			}
			// The log of the likelihood ratio of two Gaussians of one variance.
			c, a, b := confidence(loss), mean(with[i]), mean(without[i])
			lira = append(lira, Score{((c-b)*(c-b) - (c-a)*(c-a)) / (2 * spread * spread), o.in[i]})
		}
	}
	r.YeomAdvantage, r.YeomAUC, r.LiRAAdvantage, r.LiRAAUC, r.Decisions = Advantage(yeom), AUC(yeom), Advantage(lira), AUC(lira), len(yeom)
	r.YeomLow, r.YeomHigh = AUCInterval(yeom)
	r.LiRALow, r.LiRAHigh = AUCInterval(lira)
	r.YeomCurve, r.LiRACurve = ROC(yeom), ROC(lira)
	return r, nil
}

// confidence is the logit of the probability of the label, exp(-loss), which is
// nearly Gaussian over trainings (Carlini et al. 2022, section IV.C).
func confidence(loss float64) float64 {
	p := min(max(math.Exp(-loss), 1e-12), 1-1e-12)
	return math.Log(p) - math.Log1p(-p)
}

func mean(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// deviation is the pooled standard deviation within the groups.
func deviation(groups ...[][]float64) float64 {
	var sum, n float64
	for _, g := range groups {
		for _, x := range g {
			if len(x) == 0 {
				continue
			}
			for _, v := range x {
				sum += (v - mean(x)) * (v - mean(x))
			}
			n += float64(len(x) - 1)
		}
	}
	return math.Sqrt(max(sum/max(n, 1), 1e-12))
}
