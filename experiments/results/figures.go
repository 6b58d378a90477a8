package results

import (
	"math"
	"slices"

	"credence/experiments/runs"
)

// Stat is a figure over the trainings of a group.
type Stat struct {
	N        int
	Mean     float64
	Std      float64 // sample standard deviation; 0 for one value
	Min, Max float64
}

// Summarise returns the mean and the sample standard deviation of values.
func Summarise(values []float64) Stat {
	s := Stat{N: len(values)}
	if s.N == 0 {
		return s
	}
	s.Min, s.Max = slices.Min(values), slices.Max(values)
	for _, v := range values {
		s.Mean += v / float64(s.N)
	}
	square := 0.0
	for _, v := range values {
		square += (v - s.Mean) * (v - s.Mean)
	}
	if s.N > 1 {
		s.Std = math.Sqrt(square / float64(s.N-1))
	}
	return s
}

// Metric is a column of a run's rows; false: this row has no value.
type Metric struct {
	Name  string // of the column
	Title string
	Share bool // a share from 0 to 1
	// Better is 1 where more is better, -1 where less is, 0 where neither.
	Better int
	value  func(runs.Round) *float64
}

// Of returns the row's value.
func (m Metric) Of(r runs.Round) (float64, bool) {
	v := m.value(r)
	if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
		return 0, false
	}
	return *v, true
}

func given[T int | int64 | float64](v T) *float64 {
	f := float64(v)
	return &f
}

// Metrics lists the columns that can be drawn and compared.
func Metrics() []Metric {
	return []Metric{
		{"test_accuracy", "Test accuracy", true, 1, func(r runs.Round) *float64 { return r.TestAccuracy }},
		{"test_loss", "Test loss", false, -1, func(r runs.Round) *float64 { return r.TestLoss }},
		{"client_accuracy", "Accuracy at the clients", true, 1, func(r runs.Round) *float64 { return r.ClientAccuracy }},
		{"client_loss", "Loss at the clients", false, -1, func(r runs.Round) *float64 { return r.ClientLoss }},
		{"train_loss", "Training loss", false, -1, func(r runs.Round) *float64 { return r.TrainLoss }},
		{"accuracy_p10", "Accuracy of the 10th percentile client", true, 1, func(r runs.Round) *float64 { return r.AccuracyP10 }},
		{"attack_success", "Attack success", true, -1, func(r runs.Round) *float64 { return r.AttackSuccess }},
		{"update_norm", "Norm of updates", false, 0, func(r runs.Round) *float64 { return r.UpdateNorm }},
		{"clip_norm", "Norm bound", false, 0, func(r runs.Round) *float64 { return r.ClipNorm }},
		{"clipped", "Share of clipped updates", true, 0, func(r runs.Round) *float64 { return r.Clipped }},
		{"epsilon", "Epsilon spent", false, -1, func(r runs.Round) *float64 { return r.Epsilon }},
		{"clients", "Updates in the sum", false, 0, func(r runs.Round) *float64 { return given(r.Clients) }},
		{"refused", "Updates refused", false, 0, func(r runs.Round) *float64 { return given(r.Refused) }},
		{"seconds", "Seconds a round", false, -1, func(r runs.Round) *float64 { return given(r.Seconds) }},
	}
}

// MetricNamed finds a metric by its column.
func MetricNamed(name string) (Metric, bool) {
	all := Metrics()
	if i := slices.IndexFunc(all, func(m Metric) bool { return m.Name == name }); i >= 0 {
		return all[i], true
	}
	return Metric{}, false
}

// Point is a metric at one round, over the trainings that have a value there.
type Point struct {
	Round int
	Stat
}

// Curve returns a metric over the rounds.
func (g Group) Curve(m Metric) []Point {
	values := map[int][]float64{}
	for _, t := range g.Trainings {
		for _, r := range t.Rounds {
			if v, ok := m.Of(r); ok {
				values[r.Round] = append(values[r.Round], v)
			}
		}
	}
	out := make([]Point, 0, len(values))
	for round, v := range values {
		out = append(out, Point{round, Summarise(v)})
	}
	slices.SortFunc(out, func(a, b Point) int { return a.Round - b.Round })
	return out
}

// Last returns the last value of a metric of each training that has one, by
// seed.
func (g Group) Last(m Metric) (seeds []uint64, values []float64) {
	for _, t := range g.Trainings {
		for _, r := range slices.Backward(t.Rounds) {
			if v, ok := m.Of(r); ok {
				seeds, values = append(seeds, t.Seed), append(values, v)
				break
			}
		}
	}
	return seeds, values
}

// Final is the figure of Last.
func (g Group) Final(m Metric) Stat {
	_, values := g.Last(m)
	return Summarise(values)
}

// Fairness says how the last models' accuracy is spread over honest clients, on
// rows of their own.
type Fairness struct {
	Clients                      int // over all trainings
	Min, P10, P25, Median        float64
	P75, P90, Max                float64
	Mean, Std                    float64 // over clients
	WorstTenth                   Stat    // mean of the worst tenth of a training's clients, over trainings
	Attackers, WithoutEvaluation int     // left out
}

// Fairness pools the clients of all finished trainings; false: there are none.
func (g Group) Fairness() (f Fairness, ok bool) {
	var all, worst []float64
	for _, t := range g.Trainings {
		var own []float64
		for _, c := range t.Clients {
			switch {
			case c.Attack != "":
				f.Attackers++
			case c.Accuracy == nil || math.IsNaN(*c.Accuracy):
				f.WithoutEvaluation++
			default:
				own = append(own, *c.Accuracy)
			}
		}
		if len(own) == 0 {
			continue
		}
		slices.Sort(own)
		tenth := own[:(len(own)+9)/10]
		worst = append(worst, Summarise(tenth).Mean)
		all = append(all, own...)
	}
	if len(all) == 0 {
		return f, false
	}
	slices.Sort(all)
	s := Summarise(all)
	f.Clients, f.Min, f.Max, f.Mean, f.Std = s.N, s.Min, s.Max, s.Mean, s.Std
	f.P10, f.P25, f.Median, f.P75, f.P90 = Quantile(all, 0.1), Quantile(all, 0.25), Quantile(all, 0.5), Quantile(all, 0.75), Quantile(all, 0.9)
	f.WorstTenth = Summarise(worst)
	return f, true
}

// Quantile interpolates between the two nearest of sorted values, as numpy does
// by default. There must be at least one.
func Quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low >= len(sorted)-1 {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

// Totals are what a training took and gave, over the trainings of a group.
type Totals struct {
	Rounds, Updates, Declined, Refused Stat
	Up, Down                           Stat // bytes
	Seconds                            Stat // wall time
	Train, Encrypt                     Stat // seconds, over all parties
	Prove, Verify, Decrypt             Stat
	Credits                            Stat
}

// Totals sums the rows of each training.
func (g Group) Totals() Totals {
	over := func(value func(runs.Round) float64) Stat {
		sums := make([]float64, len(g.Trainings))
		for i, t := range g.Trainings {
			for _, r := range t.Rounds {
				sums[i] += value(r)
			}
		}
		return Summarise(sums)
	}
	return Totals{
		Rounds:   over(func(runs.Round) float64 { return 1 }),
		Updates:  over(func(r runs.Round) float64 { return float64(r.Clients) }),
		Declined: over(func(r runs.Round) float64 { return float64(r.Declined) }),
		Refused:  over(func(r runs.Round) float64 { return float64(r.Refused) }),
		Up:       over(func(r runs.Round) float64 { return float64(r.BytesUp) }),
		Down:     over(func(r runs.Round) float64 { return float64(r.BytesDown) }),
		Seconds:  over(func(r runs.Round) float64 { return r.Seconds }),
		Train:    over(func(r runs.Round) float64 { return r.SecondsTrain }),
		Encrypt:  over(func(r runs.Round) float64 { return r.SecondsEncrypt }),
		Prove:    over(func(r runs.Round) float64 { return r.SecondsProve }),
		Verify:   over(func(r runs.Round) float64 { return r.SecondsVerify }),
		Decrypt:  over(func(r runs.Round) float64 { return r.SecondsDecrypt }),
		Credits:  over(func(r runs.Round) float64 { return float64(r.Credits) }),
	}
}

// Partition counts a training's rows: counts[client][class]. nil: the training
// has not ended.
func (t Training) Partition() (clients []string, counts [][]int64) {
	for _, c := range t.Clients {
		clients, counts = append(clients, c.Client), append(counts, c.Labels)
	}
	return clients, counts
}
