package report

import (
	"strings"
	"testing"

	"credence/experiments/results"
	"credence/experiments/runs"
)

// attackedRun is a run with made-up figures of attacks on 2x2 images.
func attackedRun(t *testing.T) *results.Run {
	t.Helper()
	r := demo(t, "two", settings, nil)
	r.Data = runs.Data{Classes: []string{"nought", "one", "two", "<three>"}, Features: []string{"a<", "b", "c", "d"}, Height: 2, Width: 2, Channels: 1}
	for k, v := range views {
		share := 1 / float64(k+1)
		low, high, eps := share/2, 1.0, 3.0
		d := runs.Demonstration{Attack: runs.AttackInversion, View: v.name, Clients: 5, Rows: 1, Trials: 9, Similarity: &share, SimilarityLow: &low, SimilarityHigh: &high,
			Baseline: &low, Identified: &share, IdentifiedLow: &low, IdentifiedHigh: &high, Chance: &low, Labels: &share,
			Pictures: []runs.Recovered{{Original: []float32{0, 1, 0.5, 0.5}, Recovered: []float32{0, -7, 9, 0.5}, Label: 3, Read: 9}}}
		m := runs.Demonstration{Attack: runs.AttackMembership, View: v.name, Clients: 5, AUC: &share, AUCLow: &low, AUCHigh: &high, Advantage: &share, Accuracy: &low, Curve: [][2]float64{{0, 0}, {0.2, 0.7}, {1, 1}}}
		if k == 2 {
			d.Epsilon, m.Epsilon, m.MostAdvantage = &eps, &eps, &share
		}
		l := m
		l.Attack = runs.AttackMembershipLoss
		r.Groups[0].Trainings[0].Demonstrations = append(r.Groups[0].Trainings[0].Demonstrations, d, m, l)
	}
	return r
}

func TestDemonstrationsInAReport(t *testing.T) {
	text := page1(t, attackedRun(t))
	if found := outside.FindString(text); found != "" {
		t.Errorf("the page asks for %q", found)
	}
	for _, want := range []string{
		"What an attacker learns", "strategy=fedavg: Each of 5 clients takes one step on one row.", "100.0 % of 9 trials", "1.000 (0.500 to 1.000)", "33.3 % (16.7 % to 100.0 %)",
		"false positive rate", "the sum with noise, AUC 0.333", "read as 9", "&lt;three&gt;", `<path d="M1 0h1v1h-1z`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page1(t, demo(t, "none", settings, nil)), "What an attacker learns") {
		t.Error("a section about nothing")
	}
	// As one of two runs that are compared.
	if text := page1(t, demo(t, "one", settings, nil), attackedRun(t)); !strings.Contains(text, "two: strategy=fedavg: Shown a row") {
		t.Error("a comparison leaves the attacks out")
	}
	r := attackedRun(t)
	r.Data.Height = 0
	if text := page1(t, r); !strings.Contains(text, "a row and what is recovered of it") || !strings.Contains(text, "<th scope=\"row\">a&lt;</th><td>0.000</td><td>0.000</td>") {
		t.Error("a row that is no image has no table")
	}
}

// A folder from somebody else may hold anything that decodes.
func TestDemonstrationsThatDoNotFit(t *testing.T) {
	for name, change := range map[string]func(*results.Run, []runs.Demonstration){
		"negative sides": func(r *results.Run, _ []runs.Demonstration) { r.Data.Height, r.Data.Width = -2, -2 },
		"short pictures": func(_ *results.Run, d []runs.Demonstration) { d[3].Pictures[0].Recovered = nil },
		"fewer pictures": func(_ *results.Run, d []runs.Demonstration) { d[6].Pictures = nil },
		"other features": func(r *results.Run, _ []runs.Demonstration) { r.Data.Height, r.Data.Features = 0, nil },
		"no figures": func(_ *results.Run, d []runs.Demonstration) {
			d[0] = runs.Demonstration{Attack: d[0].Attack, View: d[0].View}
		},
		"a missing view":  func(_ *results.Run, d []runs.Demonstration) { d[0].View = "?" },
		"no curve":        func(_ *results.Run, d []runs.Demonstration) { d[1].Curve = nil },
		"many channels":   func(r *results.Run, _ []runs.Demonstration) { r.Data.Channels = 1 << 62 },
		"class below all": func(_ *results.Run, d []runs.Demonstration) { d[0].Pictures[0].Label = -1 },
	} {
		r := attackedRun(t)
		change(r, r.Groups[0].Trainings[0].Demonstrations)
		if text := page1(t, r); !strings.Contains(text, "</html>") {
			t.Errorf("%s: no page", name)
		}
	}
}
