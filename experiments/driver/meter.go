package driver

import (
	"math"
	"slices"
	"time"

	"credence/experiments/adversary"
	"credence/experiments/population"
	"credence/experiments/runs"
	"credence/experiments/simulate"
	"credence/fl"
)

// meter makes the rows of a unit.
type meter struct {
	name     fl.JobID
	unit     unit
	sim      *simulate.Simulation
	test     fl.Examples
	backdoor *fl.Examples // test rows with the trigger
	roster   *adversary.Roster
}

func newMeter(name fl.JobID, u unit, sim *simulate.Simulation, test fl.Examples) *meter {
	m := &meter{name: name, unit: u, sim: sim, test: test, roster: sim.Roster()}
	if m.roster != nil {
		if attack := m.roster.Backdoor(); attack != nil && test.Rows > 0 {
			probe := attack.Probe(test)
			m.backdoor = &probe
		}
	}
	return m
}

// row makes the row of the round that the simulation has just made.
func (m *meter) row(r simulate.Result) (runs.Round, error) {
	row := runs.Round{
		Run: string(m.name), Cell: m.unit.Cell, Setting: m.unit.Setting, Repeat: m.unit.Repeat, Seed: m.unit.Seed, Round: int(r.Version), Aborted: r.Aborted,
		Cohort: len(r.Clients), Clients: r.Count(simulate.Accepted), Declined: r.Count(simulate.Declined), Refused: r.Count(simulate.Refused),
		BytesDown: r.BytesDown, Seconds: r.Wall.Seconds(),
		SecondsTrain: r.Times.Train.Seconds(), SecondsEncrypt: r.Times.Encrypt.Seconds(), SecondsProve: r.Times.Prove.Seconds(),
		SecondsVerify: r.Times.Verify.Seconds(), SecondsDecrypt: r.Times.Decrypt.Seconds(),
	}
	row.Epsilon = r.Epsilon
	if r.Clip.Norm > 0 {
		row.ClipNorm = finite(r.Clip.Norm)
	}
	row.ClientLoss = some(r.Figures.MeanLoss())
	row.ClientAccuracy = some(r.Figures.Accuracy())
	m.spread(&row, r.Clients)
	started := time.Now()
	if every := m.unit.file.Simulation.EvaluateEvery; m.test.Rows > 0 && (int(r.Version)%every == 0 || int(r.Version) == m.unit.file.Rounds) {
		e, err := m.sim.Evaluate(m.test)
		if err != nil {
			return row, err
		}
		row.TestLoss, row.TestAccuracy = finite(e.Loss()), finite(e.Accuracy())
		if m.backdoor != nil {
			if e, err = m.sim.Evaluate(*m.backdoor); err != nil {
				return row, err
			}
			row.AttackSuccess = finite(e.Accuracy())
		}
	}
	row.Seconds += time.Since(started).Seconds()
	return row, nil
}

// spread fills in what is taken over the clients of the cohort, in its order.
func (m *meter) spread(row *runs.Round, clients []simulate.ClientResult) {
	var losses, norms, accuracies []float64
	clipped := 0
	for _, c := range clients {
		row.BytesUp += c.BytesUp
		row.Credits += c.Credits
		if m.roster != nil && c.Attack != "" {
			row.Malicious++
		}
		if c.Loss != nil {
			losses = append(losses, *c.Loss)
		}
		if c.Figures != nil {
			if a, ok := c.Figures.Accuracy(); ok {
				accuracies = append(accuracies, a)
			}
		}
		if c.Outcome != simulate.Declined {
			norms = append(norms, c.Norm)
			if c.Clipped {
				clipped++
			}
		}
	}
	row.TrainLoss = mean(losses)
	if len(norms) > 0 {
		row.UpdateNorm, row.UpdateNormMax = mean(norms), finite(slices.Max(norms))
		row.Clipped = finite(float64(clipped) / float64(len(norms)))
	}
	if len(accuracies) == 0 {
		return
	}
	slices.Sort(accuracies)
	row.AccuracyMin, row.AccuracyMax = finite(accuracies[0]), finite(accuracies[len(accuracies)-1])
	row.AccuracyP10, row.AccuracyMedian, row.AccuracyP90 = quantile(accuracies, 0.1), quantile(accuracies, 0.5), quantile(accuracies, 0.9)
	centre, square := *mean(accuracies), 0.0
	for _, a := range accuracies {
		square += (a - centre) * (a - centre)
	}
	row.AccuracyStd = finite(math.Sqrt(square / float64(len(accuracies))))
}

// clients makes the rows of the unit's clients, with its last model.
func (m *meter) clients() ([]runs.Client, error) {
	var out []runs.Client
	for i, c := range m.sim.Clients() {
		e, err := m.sim.EvaluateClient(i)
		if err != nil {
			return nil, &simulate.ClientError{Client: c.Node, Err: err}
		}
		t := m.sim.Tally(i)
		row := runs.Client{
			Run: string(m.name), Cell: m.unit.Cell, Setting: m.unit.Setting, Repeat: m.unit.Repeat, Seed: m.unit.Seed,
			Client: string(c.Node), Samples: c.Train.Rows, HeldOut: c.Test.Rows, Labels: population.Labels(c),
			Rounds: t.Rounds, Declined: t.Declined, Refused: t.Refused,
			Loss: finite(e.Loss()), Accuracy: finite(e.Accuracy()), SecondsTrain: t.SecondsTrain, BytesUp: t.BytesUp, Credits: t.Credits,
		}
		if m.roster != nil {
			row.Attack = string(m.roster.Controlled(c.Node))
		}
		out = append(out, row)
	}
	return out, nil
}

// finite is a value that JSON can carry, or nil.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func some(v float64, ok bool) *float64 {
	if !ok {
		return nil
	}
	return finite(v)
}

func mean(v []float64) *float64 {
	if len(v) == 0 {
		return nil
	}
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return finite(sum / float64(len(v)))
}

// quantile interpolates between the two nearest of sorted values, as numpy does.
func quantile(sorted []float64, q float64) *float64 {
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low == len(sorted)-1 {
		return finite(sorted[low])
	}
	return finite(sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low]))
}
