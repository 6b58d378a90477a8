package report

import (
	"fmt"
	"math"
	"slices"

	"credence/experiments/results"
)

// maxPoints bounds what is drawn of one curve; more cannot be seen.
const maxPoints = 240

// curve makes a series of a metric.
func curve(g results.Group, m results.Metric, name string, class int) series {
	points := thin(g.Curve(m), maxPoints)
	s := series{name: name, class: class}
	band := len(g.Trainings) > 1
	for _, p := range points {
		s.x, s.y = append(s.x, float64(p.Round)), append(s.y, p.Mean)
		if band {
			s.low, s.high = append(s.low, p.Mean-p.Std), append(s.high, p.Mean+p.Std)
		}
	}
	return s
}

// thin keeps about n values, the first and the last among them.
func thin[T any](v []T, n int) []T {
	if len(v) <= n {
		return v
	}
	out := make([]T, n)
	for i := range out {
		out[i] = v[i*(len(v)-1)/(n-1)]
	}
	return out
}

// overlay reports whether the groups share a chart.
func (x *writer) overlay() bool { return len(x.groups) <= maxOverlay }

func (x *writer) legend() []legend {
	if len(x.groups) == 1 {
		return nil
	}
	var out []legend
	for i, label := range x.labels {
		out = append(out, legend{Name: label, Class: i})
	}
	return out
}

// charts draws metrics over the rounds: one chart a metric that all groups
// share, or one chart a group with the others in the background.
func (x *writer) charts(s *section, metrics []results.Metric) {
	for _, m := range metrics {
		var all []series
		for i, g := range x.groups {
			class := 0
			if x.overlay() {
				class = i
			}
			if c := curve(g, m, x.labels[i], class); len(c.x) > 0 {
				all = append(all, c)
			}
		}
		if len(all) == 0 {
			continue
		}
		if x.overlay() {
			c := lines{title: m.Title + " over the rounds", xLabel: "round", share: m.Share, whole: true, series: all}
			s.Figures = append(s.Figures, figure{Title: m.Title, SVG: picture(c.draw())})
			continue
		}
		s.Small = true
		_, y, _ := lines{series: all}.bounds()
		if !m.Share { // a diverging setting must not flatten the others
			var ends []float64
			for _, c := range all {
				ends = append(ends, c.y[0], c.y[len(c.y)-1])
			}
			slices.Sort(ends)
			y[1] = min(y[1], 1.2*results.Quantile(ends, 0.9))
			y[0] = min(y[0], y[1])
		}
		for k := range all {
			c := lines{title: fmt.Sprintf("%s over the rounds, %s", m.Title, all[k].name), xLabel: "round", share: m.Share, whole: true, low: &y[0], high: &y[1], height: 230}
			for i, other := range all {
				if i != k && len(all) <= 40 {
					other.ghost = true
					c.series = append(c.series, other)
				}
			}
			c.series = append(c.series, all[k])
			note := ""
			if last := all[k].y[len(all[k].y)-1]; m.Share {
				note = "ends at " + percent(last)
			} else {
				note = "ends at " + compact(last)
			}
			s.Figures = append(s.Figures, figure{Title: all[k].name, Note: m.Title + ", " + note, SVG: picture(c.draw())})
		}
	}
}

func (x *writer) learning() section {
	s := section{ID: "learning", Title: "Learning curves"}
	s.Text = []string{"Lines are means over the seeds, bands one standard deviation to each side."}
	metrics := x.present("test_accuracy", "test_loss", "client_accuracy", "train_loss")
	if x.overlay() {
		x.charts(&s, metrics)
		s.Legend = x.legend()
	} else {
		s.Text = append(s.Text, "One chart a setting, on equal axes; faint lines are the other settings.")
		x.charts(&s, metrics[:min(1, len(metrics))])
	}
	for _, m := range metrics {
		if len(s.Tables) < 2 {
			s.Tables = append(s.Tables, x.rounds(m))
		}
	}
	return s
}

// rounds is the table of a metric at up to a dozen rounds.
func (x *writer) rounds(m results.Metric) grid {
	var at []int
	curves := make([]map[int]results.Stat, len(x.groups))
	for i, g := range x.groups {
		curves[i] = map[int]results.Stat{}
		for _, p := range g.Curve(m) {
			curves[i][p.Round] = p.Stat
			at = append(at, p.Round)
		}
	}
	slices.Sort(at)
	at = thin(slices.Compact(at), 12)
	t := grid{Title: m.Title + " by round, as a table", Head: []string{"Setting"}, Folded: true}
	for _, round := range at {
		t.Head = append(t.Head, fmt.Sprint(round))
	}
	for i, c := range curves {
		row := []string{x.labels[i]}
		for _, round := range at {
			row = append(row, plusMinus(c[round], m.Share))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// with returns a writer of those groups that have values of a metric.
func (x *writer) with(m results.Metric) *writer {
	out := &writer{runs: x.runs, metric: x.metric}
	for i, g := range x.groups {
		if g.Final(m).N > 0 {
			out.groups, out.labels = append(out.groups, g), append(out.labels, x.labels[i])
		}
	}
	return out
}

func (x *writer) attacks() (section, bool) {
	metrics := x.present("attack_success")
	if len(metrics) == 0 {
		return section{}, false
	}
	s := section{ID: "attacks", Title: "Attack success"}
	s.Text = []string{"Share of test rows of other classes that the model gives the backdoor's target when they carry its trigger."}
	some := x.with(metrics[0])
	some.charts(&s, metrics)
	if some.overlay() {
		s.Legend = some.legend()
	}
	s.Tables = append(s.Tables, some.rounds(metrics[0]))
	return s, true
}

func (x *writer) fairness() (section, bool) {
	s := section{ID: "fairness", Title: "Fairness between clients"}
	t := grid{Head: []string{"Setting", "Clients", "Worst tenth", "Minimum", "10th percentile", "Median", "90th percentile", "Maximum", "Std over clients"}}
	var rows []box
	for i, g := range x.groups {
		f, ok := g.Fairness()
		if !ok {
			continue
		}
		rows = append(rows, box{x.labels[i], f.P10, f.P25, f.Median, f.P75, f.P90, f.Min, f.Max, f.WorstTenth.Mean})
		t.Rows = append(t.Rows, []string{x.labels[i], fmt.Sprint(f.Clients), plusMinus(f.WorstTenth, true), percent(f.Min), percent(f.P10), percent(f.Median), percent(f.P90), percent(f.Max), percent(f.Std)})
	}
	if len(rows) == 0 {
		return s, false
	}
	s.Text = []string{"Accuracy of the last models on each client's own rows (held-out ones where it has any), over all clients and seeds. Clients that an attack controls are left out."}
	s.Figures = []figure{{Title: "Accuracy of clients", Note: "box: middle half; line: 10th to 90th percentile; bar: median; diamond: mean of the worst tenth",
		SVG: picture(boxes("Accuracy of clients by setting", "accuracy on own rows", rows))}}
	if more := x.present("accuracy_p10"); len(more) > 0 && x.overlay() {
		x.charts(&s, more)
		s.Legend = x.legend()
	}
	s.Tables = append(s.Tables, t)
	return s, true
}

func (x *writer) communication() section {
	s := section{ID: "communication", Title: "Communication"}
	s.Text = []string{"Ciphertexts and attestations sent up, global models fetched; documents and transport are not counted. A plain simulation counts what the ciphertexts would take."}
	t := grid{Head: []string{"Setting", "Up, a training", "Down, a training", "Up, an update", "Updates", "Declined", "Refused"}}
	var rows []stack
	for i, g := range x.groups {
		total := g.Totals()
		each := "–"
		if n := total.Updates.Mean + total.Refused.Mean; n > 0 {
			each = bytesText(total.Up.Mean / n)
		}
		t.Rows = append(t.Rows, []string{x.labels[i], bytesText(total.Up.Mean), bytesText(total.Down.Mean), each, compact(total.Updates.Mean), compact(total.Declined.Mean), compact(total.Refused.Mean)})
		rows = append(rows, stack{x.labels[i], bytesText(total.Up.Mean + total.Down.Mean), []float64{total.Up.Mean, total.Down.Mean}})
	}
	s.Figures = []figure{{Title: "Bytes of a training", SVG: picture(stacks("Bytes sent up and down by setting", []string{"up", "down"}, rows, bytesText)),
		Legend: []legend{{"up: updates", 0, true}, {"down: models", 1, true}}}}
	if f, ok := x.accuracyByBytes(); ok && x.overlay() {
		s.Figures = append(s.Figures, f)
	}
	s.Tables = append(s.Tables, t)
	return s
}

// accuracyByBytes draws accuracy over what was sent until then, of the first
// seed: seeds may send different amounts.
func (x *writer) accuracyByBytes() (figure, bool) {
	m, _ := results.MetricNamed("test_accuracy")
	c := lines{title: "Test accuracy over megabytes sent up", xLabel: "MB sent up by all clients", share: true}
	for i, g := range x.groups {
		s := series{name: x.labels[i], class: i}
		sent := int64(0)
		for _, r := range g.Trainings[0].Rounds {
			sent += r.BytesUp
			if v, ok := m.Of(r); ok {
				s.x, s.y = append(s.x, float64(sent)/1e6), append(s.y, v)
			}
		}
		if s.x, s.y = thin(s.x, maxPoints), thin(s.y, maxPoints); len(s.x) > 0 {
			c.series = append(c.series, s)
		}
	}
	note := ""
	if slices.ContainsFunc(x.groups, func(g results.Group) bool { return len(g.Trainings) > 1 }) {
		note = "first seed of each setting"
	}
	return figure{Title: "Test accuracy over what was sent", Note: note, SVG: picture(c.draw()), Legend: x.legend()}, len(c.series) > 0
}

func (x *writer) time() section {
	s := section{ID: "time", Title: "Time"}
	names := []string{"train", "encrypt", "prove", "verify", "decrypt"}
	t := grid{Head: append([]string{"Setting", "Wall time"}, names...)}
	var rows []stack
	hidden := true
	for i, g := range x.groups {
		total := g.Totals()
		parts := []float64{total.Train.Mean, total.Encrypt.Mean, total.Prove.Mean, total.Verify.Mean, total.Decrypt.Mean}
		row, sum := []string{x.labels[i], secondsText(total.Seconds.Mean)}, 0.0
		for k, p := range parts {
			row, sum = append(row, secondsText(p)), sum+p
			hidden = hidden && (k == 0 || p == 0)
		}
		t.Rows, rows = append(t.Rows, row), append(rows, stack{x.labels[i], secondsText(sum), parts})
	}
	f := figure{Title: "Work of a training", Note: "summed over all parties, so it may exceed the wall time", SVG: picture(stacks("Seconds by kind of work and setting", names, rows, secondsText))}
	for k, name := range names {
		f.Legend = append(f.Legend, legend{name, k, true})
	}
	s.Figures, s.Tables = []figure{f}, []grid{t}
	if hidden {
		s.Text = []string{"Simulated at fidelity plain: sums of the integers that ciphertexts would carry. Nothing was encrypted, proven, verified or decrypted, so these take no time here; fidelity encrypted or attested measures them."}
	}
	return s
}

func (x *writer) privacy() section {
	s := section{ID: "privacy", Title: "Privacy spent"}
	epsilon, _ := results.MetricNamed("epsilon")
	metrics := x.present(epsilon.Name)
	if len(metrics) == 0 {
		s.Text = []string{"Epsilon: ∞. No noise was added for differential privacy: encryption hides single updates from the aggregator, but the models may tell something about the rows they were trained on."}
	} else {
		s.Text = []string{"Epsilon at the delta of the experiment's file, of the client that was charged most. ∞: no noise, no guarantee."}
		x.with(epsilon).charts(&s, metrics)
		t := grid{Head: []string{"Setting", "Epsilon after the last round", "Delta"}}
		deltas := x.deltas()
		for i, g := range x.groups {
			eps := "∞"
			if f := g.Final(metrics[0]); f.N > 0 {
				eps = plusMinus(f, false)
			}
			t.Rows = append(t.Rows, []string{x.labels[i], eps, deltas[i]})
		}
		s.Tables = append(s.Tables, t)
	}
	if clip := x.present("clip_norm", "clipped"); len(clip) == 2 && len(x.groups) == 1 { // clipped without a norm is clipped values: always none
		x.charts(&s, clip)
	}
	if some := x.with(epsilon); len(s.Figures) > 0 && some.overlay() {
		s.Legend = some.legend()
	}
	return s
}

// deltas are those of the groups' files, where they can be read.
func (x *writer) deltas() []string {
	var out []string
	for _, r := range x.runs {
		delta := map[int]string{}
		if r.Experiment != nil {
			if cells, err := r.Experiment.Cells(); err == nil {
				for i, c := range cells {
					if c.Privacy.Delta > 0 {
						delta[i] = compact(c.Privacy.Delta)
					}
				}
			}
		}
		for _, g := range r.Groups {
			text, ok := delta[g.Cell]
			if !ok {
				text = "–"
			}
			out = append(out, text)
		}
	}
	return out
}

func (x *writer) credits() section {
	s := section{ID: "credits", Title: "Credits"}
	s.Text = []string{"What a live federation would pay the clients by the file's rates and budget."}
	t := grid{Head: []string{"Setting", "Paid, a training", "A client, mean", "Least", "Median", "Most"}}
	paid := false
	for i, g := range x.groups {
		var all []float64
		for _, training := range g.Trainings {
			for _, c := range training.Clients {
				all = append(all, float64(c.Credits))
			}
		}
		total := g.Totals().Credits
		paid = paid || total.Max > 0
		row := []string{x.labels[i], plusMinus(total, false), "–", "–", "–", "–"}
		if len(all) > 0 {
			slices.Sort(all)
			row = append(row[:2], compact(math.Round(results.Summarise(all).Mean)), compact(all[0]), compact(results.Quantile(all, 0.5)), compact(all[len(all)-1]))
		}
		t.Rows = append(t.Rows, row)
	}
	if !paid {
		s.Text = []string{"None: the experiment's file gives no budget."}
		return s
	}
	s.Tables = []grid{t}
	return s
}
