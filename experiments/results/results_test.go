package results

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"credence/experiments/config"
	"credence/experiments/runs"
)

func group(run string, first uint64, accuracies ...float64) Group {
	g := Group{Run: run}
	for i, a := range accuracies {
		seed := first + uint64(i)
		early := a / 2
		g.Trainings = append(g.Trainings, Training{Unit: runs.Unit{Repeat: i, Seed: seed}, Rounds: []runs.Round{
			{Round: 1, Seed: seed, TestAccuracy: &early, BytesUp: 10, SecondsTrain: 1}, {Round: 2, Seed: seed, TestAccuracy: &a, BytesUp: 20, SecondsTrain: 2},
			{Round: 3, Seed: seed}, // evaluate_every left it out
		}})
	}
	return g
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-9*max(1, math.Abs(want))) {
		t.Errorf("%s: got %.12g, want %.12g", what, got, want)
	}
}

var accuracy, _ = MetricNamed("test_accuracy")

// The values are those of scipy.stats.ttest_rel and ttest_ind (equal_var=False)
// of SciPy 1.17.1 with confidence_interval(0.95).
func TestCompare(t *testing.T) {
	a := group("a", 1, 0.91, 0.92, 0.90, 0.93, 0.915)
	b := group("b", 1, 0.93, 0.945, 0.92, 0.935, 0.94)
	c := group("c", 11, 0.88, 0.95, 0.91)
	d := Compare(a, b, accuracy)
	if d.Test != PairedT || d.Pairs != 5 || d.Likely() != "a difference is very likely" {
		t.Errorf("paired: %+v", d)
	}
	near(t, "paired mean", d.Mean, 0.018999999999999972)
	near(t, "paired t", d.T, 5.171145012542278)
	near(t, "paired df", d.DF, 4)
	near(t, "paired p", d.P, 0.006646731211395965)
	near(t, "paired low", d.Low, 0.008798689290126178)
	near(t, "paired high", d.High, 0.029201310709873765)
	slices.Reverse(b.Trainings)
	near(t, "pairs go by seed, not by place", Compare(a, b, accuracy).P, d.P)
	d = Compare(a, c, accuracy)
	if d.Test != WelchT || d.Likely() != "may well be chance" {
		t.Errorf("Welch: %+v", d)
	}
	near(t, "Welch mean", d.Mean, -0.0016666666666665941)
	near(t, "Welch t", d.T, -0.0798086884467588)
	near(t, "Welch df", d.DF, 2.2464854519355657)
	near(t, "Welch p", d.P, 0.9429398521881642)
	near(t, "Welch low", d.Low, -0.08270341041296163)
	near(t, "Welch high", d.High, 0.07937007707962844)
	for name, c := range map[string]struct {
		a, b Group
		why  string
	}{
		"one seed":     {group("a", 1, 0.5), group("b", 1, 0.6), "one seed: nothing to tell chance by"},
		"equal":        {group("a", 1, 0.5, 0.6), group("b", 1, 0.5, 0.6), "equal at every seed"},
		"same step":    {group("a", 1, 0.5, 0.75), group("b", 1, 0.75, 1), "the same difference at every seed"},
		"no spread":    {group("a", 1, 0.5, 0.5), group("b", 7, 0.6, 0.6), "no spread over the seeds"},
		"no trainings": {group("a", 1, 0.5, 0.5), Group{}, "no value"},
	} {
		if d := Compare(c.a, c.b, accuracy); d.Test != "" || d.Likely() != c.why || !math.IsNaN(d.P) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// The example is that of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
func TestHolm(t *testing.T) {
	ds := []Difference{{Why: "the baseline"}, {Test: WelchT, P: 0.01}, {Test: WelchT, P: 0.04}, {Test: WelchT, P: 0.03}, {Test: WelchT, P: 0.005}}
	Holm(ds)
	for i, want := range []float64{0, 0.03, 0.06, 0.06, 0.02} {
		near(t, fmt.Sprint("adjusted ", i), ds[i].Adjusted, want)
	}
}

func TestHolmProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ds []Difference
		for _, p := range rapid.SliceOf(rapid.Float64Range(0, 1)).Draw(t, "p") {
			ds = append(ds, Difference{Test: PairedT, P: p})
		}
		Holm(ds)
		for _, d := range ds {
			if d.Adjusted < d.P || d.Adjusted > 1 {
				t.Fatalf("%v became %v", d.P, d.Adjusted)
			}
			for _, e := range ds {
				if d.P < e.P && d.Adjusted > e.Adjusted {
					t.Fatalf("the order changed: %v and %v became %v and %v", d.P, e.P, d.Adjusted, e.Adjusted)
				}
			}
		}
	})
}

func TestFigures(t *testing.T) {
	g := group("a", 1, 0.8, 0.6)
	curve := g.Curve(accuracy)
	if len(curve) != 2 || curve[1].Round != 2 || curve[1].N != 2 {
		t.Fatalf("curve: %+v", curve)
	}
	near(t, "mean", curve[1].Mean, 0.7)
	near(t, "sample deviation", curve[1].Std, math.Sqrt(0.02))
	near(t, "last value", g.Final(accuracy).Mean, 0.7)
	total := g.Totals()
	near(t, "bytes", total.Up.Mean, 30)
	near(t, "rounds", total.Rounds.Mean, 3)
	near(t, "training", total.Train.Mean, 3)

	clients := func(accuracies ...float64) (out []runs.Client) {
		for _, a := range accuracies {
			out = append(out, runs.Client{Accuracy: &a})
		}
		return out
	}
	g.Trainings[0].Clients = append(clients(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1), runs.Client{Attack: "backdoor", Accuracy: new(float64)}, runs.Client{})
	g.Trainings[1].Clients = clients(0.5)
	f, ok := g.Fairness()
	if !ok || f.Clients != 12 || f.Attackers != 1 || f.WithoutEvaluation != 1 {
		t.Fatalf("fairness: %+v", f)
	}
	near(t, "worst tenth", f.WorstTenth.Mean, (0.15+0.5)/2) // two of eleven, one of one
	near(t, "minimum", f.Min, 0.1)
	near(t, "median", f.Median, 0.55)
	if _, ok := (Group{}).Fairness(); ok {
		t.Error("nobody has a fairness")
	}
	labels := Labels([]Group{{Run: "x"}, {Run: "x"}, {Run: "y", Setting: "a=1"}})
	if strings.Join(labels, "; ") != "x; x (2); y: a=1" {
		t.Errorf("labels: %q", labels)
	}
}

func TestLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	units := []runs.Unit{{Cell: 0, Setting: "a=1", Seed: 1}, {Cell: 1, Setting: "a=2", Seed: 1}, {Cell: 1, Setting: "a=2", Repeat: 1, Seed: 2}}
	w, err := runs.Create(dir, runs.Start{Config: []byte(config.Example), Resolved: []byte("x: y\n"), Environment: runs.ThisMachine(time.Now()), Units: units, Rounds: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "no round yet") {
		t.Errorf("a run without rounds: %v", err)
	}
	for _, r := range []runs.Round{{Run: "demo", Setting: "a=1", Round: 1}, {Run: "demo", Cell: 1, Round: 1}} {
		if err := w.AddRound(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AddClients([]runs.Client{{Client: "c", Labels: []int64{1, 2}}}); err != nil {
		t.Fatal(err)
	}
	r, err := Load(dir) // while it goes on
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "demo" || len(r.Groups) != 2 || len(r.Groups[1].Trainings) != 1 || r.Experiment == nil || r.State.State != runs.Running {
		t.Errorf("got %+v", r)
	}
	if names, counts := r.Groups[0].Trainings[0].Partition(); len(names) != 1 || counts[0][1] != 2 {
		t.Errorf("partition: %v %v", names, counts)
	}
	if err := w.AddRound(runs.Round{Cell: 7, Round: 1}); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(runs.Done, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "cell 7") {
		t.Errorf("a row of no unit: %v", err)
	}
	raw, err := json.Marshal([]runs.Unit{units[0], units[0]})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, runs.SeedsFile), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a unit that is listed twice: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a folder that holds no run is taken")
	}
}
