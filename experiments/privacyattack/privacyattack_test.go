package privacyattack

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"credence/datasets"
	"credence/fl"
	"credence/models"
)

func digits(t *testing.T) fl.Examples {
	t.Helper()
	set, err := datasets.Builtin(datasets.Digits)
	if err != nil {
		t.Fatal(err)
	}
	return set.Train
}

var private = fl.Privacy{NoiseMultiplier: 1, Delta: 1e-5, MinHonest: 10}

// Inversion reads every image and label out of single updates; out of a sum over
// twenty clients it gets a mean that no image is nearest to; with noise, nothing.
func TestInversion(t *testing.T) {
	results, err := Invert(t.Context(), inversionOptions(), owners(digits(t)))
	if err != nil {
		t.Fatal(err)
	}
	by := map[View]InversionResult{}
	for _, r := range results {
		by[r.View] = r
		t.Logf("%s: epsilon %s, similarity %.3f (mean image %.3f), identified %.2f (chance %.4f), labels %.2f", r.View, r.Epsilon, r.Similarity, r.Baseline, r.Identified, r.Chance, r.Labels)
		if len(r.Pictures) != 3 || len(r.Pictures[0].Original) != 64 || len(r.Pictures[0].Recovered) != 64 {
			t.Errorf("%s: no pictures to show", r.View)
		}
		if r.SimilarityLow > r.Similarity || r.SimilarityHigh < r.Similarity || r.IdentifiedLow > r.Identified || r.IdentifiedHigh < r.Identified {
			t.Errorf("%s: figures outside their intervals: %+v", r.View, r)
		}
	}
	if r := by[ViewUpdate]; r.Similarity < 0.999 || r.Identified < 0.99 || r.Labels < 0.99 || r.Epsilon != "infinity" {
		t.Errorf("%+v", r)
	}
	if r := by[ViewSum]; r.Similarity > r.Baseline || r.Identified > 0.1 || r.Labels > 0.5 || r.Epsilon != "infinity" {
		t.Errorf("%+v", r)
	}
	if r := by[ViewPrivate]; r.Similarity > 0.3 || r.Identified > 0.1 || r.Labels > 0.4 || r.Epsilon != "4.729" {
		t.Errorf("%+v", r)
	}
}

func inversionOptions() InversionOptions {
	return InversionOptions{
		Round: Round{Clients: 20, Clip: fl.Clip{Value: 2, Norm: 2}, Privacy: private, Seed: 3},
		Model: models.Spec{Kind: models.Softmax, Inputs: 64, Classes: 10}, Training: models.TrainConfig{LearningRate: 1, Steps: 1},
		Params: make([]float32, 650), Trials: 20, Rows: 1, Keep: 3,
	}
}

// owners gives every row a client of its own.
func owners(data fl.Examples) []fl.Examples {
	out := make([]fl.Examples, data.Rows)
	for i := range out {
		out[i] = data.Subset([]int{i})
	}
	return out
}

// The hidden units of a perceptron give the row away as the outputs of a soft-max
// model do; several rows at a time blur it.
func TestInversionOfAPerceptron(t *testing.T) {
	o := inversionOptions()
	o.Model.Kind, o.Model.Hidden = models.MLP, []int{16}
	o.Round.Clip = fl.Clip{Value: 1, Norm: 2}
	model, err := models.New(o.Model)
	if err != nil {
		t.Fatal(err)
	}
	o.Params = model.Init(1)
	one, err := Invert(t.Context(), o, owners(digits(t)))
	if err != nil {
		t.Fatal(err)
	}
	if r := one[0]; r.Similarity < 0.99 || r.Identified < 0.9 || r.Labels < 0.9 {
		t.Errorf("%+v", r)
	}
	data := digits(t)
	var clients []fl.Examples
	for i := 0; i+40 <= data.Rows; i += 40 {
		rows := make([]int, 40)
		for k := range rows {
			rows[k] = i + k
		}
		clients = append(clients, data.Subset(rows))
	}
	o.Rows = 16
	many, err := Invert(t.Context(), o, clients)
	if err != nil {
		t.Fatal(err)
	}
	if many[0].Similarity > one[0].Similarity-0.02 || many[0].Identified > 0.8 {
		t.Errorf("sixteen rows: %+v", many[0])
	}
}

// Membership is told from single updates, hardly from sums, and from noised sums
// within what epsilon allows and sampling blurs.
func TestMembership(t *testing.T) {
	results, err := Membership(t.Context(), membershipOptions(), digits(t))
	if err != nil {
		t.Fatal(err)
	}
	by := map[View]MembershipResult{}
	for _, r := range results {
		by[r.View] = r
		t.Logf("%s: epsilon %s, Yeom %.3f (AUC %.3f), LiRA %.3f (AUC %.3f), accuracy %.3f, %d decisions", r.View, r.Epsilon, r.YeomAdvantage, r.YeomAUC, r.LiRAAdvantage, r.LiRAAUC, r.Accuracy, r.Decisions)
		if r.Decisions != 240 {
			t.Errorf("%s: %d decisions", r.View, r.Decisions)
		}
	}
	update, sum, noised := by[ViewUpdate], by[ViewSum], by[ViewPrivate]
	if update.YeomAdvantage < 0.3 || update.LiRAAdvantage < 0.5 || update.LiRAAUC < update.YeomAUC {
		t.Errorf("single updates tell too little: %+v", update)
	}
	if sum.LiRAAdvantage > update.LiRAAdvantage/2 || sum.YeomAUC > 0.62 {
		t.Errorf("sums tell too much: %+v", sum)
	}
	if noised.LiRAAUC > 0.6 || noised.YeomAUC > 0.6 {
		t.Errorf("noised sums tell too much: %+v", noised)
	}
}

func membershipOptions() MembershipOptions {
	return MembershipOptions{
		Round: Round{Clients: 10, Clip: fl.Clip{Value: 2, Norm: 2}, Privacy: private, Seed: 3},
		Model: models.Spec{Kind: models.MLP, Inputs: 64, Classes: 10, Hidden: []int{32}}, Training: models.TrainConfig{LearningRate: 0.5, Epochs: 40, BatchSize: 10},
		Targets: 40, Others: 20, Runs: 6, Shadows: 24,
	}
}

// The gradient of two examples by hand: inputs (1, 2) and (3, 0), outputs 3.
func TestInvertLinear(t *testing.T) {
	// One example of label 2: g = (-0.2, -0.3, 0.5) against the gradient.
	one := []float64{-0.2, -0.4, -0.3, -0.6, 0.5, 1.0, -0.2, -0.3, 0.5}
	x, label, err := InvertLinear(one, 2, 3)
	if err != nil || x[0] != 1 || x[1] != 2 || label != 2 {
		t.Errorf("%v, label %d, %v", x, label, err)
	}
	// One output, a label of 0: the update lowers the bias.
	x, label, err = InvertLinear([]float64{-0.9, -1.8, -0.6}, 2, 1)
	if err != nil || math.Abs(x[0]-1.5) > 1e-12 || math.Abs(x[1]-3) > 1e-12 || label != 0 {
		t.Errorf("%v, label %d, %v", x, label, err)
	}
	if _, label, _ = InvertLinear([]float64{0.9, 1.8, 0.6}, 2, 1); label != 1 {
		t.Errorf("label %d of an update that raises the bias", label)
	}
	for name, bad := range map[string][]float64{"too short": one[:8], "no bias": {1, 2, 3, 4, 5, 6, 0, 0, 0}} {
		if _, _, err := InvertLinear(bad, 2, 3); err == nil {
			t.Errorf("%s: inverted", name)
		}
	}
	if _, _, err := InvertLinear(one, 0, 3); err == nil {
		t.Error("a layer without inputs was inverted")
	}
}

func TestCosine(t *testing.T) {
	if c := Cosine([]float64{1, 1}, []float64{2, 2}); math.Abs(c-1) > 1e-12 {
		t.Errorf("parallel: %v", c)
	}
	if Cosine([]float64{1, 0}, []float64{0, 3}) != 0 || Cosine([]float64{0, 0}, []float64{1, 1}) != 0 {
		t.Error("orthogonal or zero vectors are similar")
	}
}

func TestAdvantageByHand(t *testing.T) {
	for _, v := range []struct {
		scores         []Score
		advantage, auc float64
	}{
		{[]Score{{3, true}, {2, true}, {1, false}, {0, false}}, 1, 1},
		{[]Score{{3, false}, {2, false}, {1, true}, {0, true}}, 0, 0},
		{[]Score{{3, true}, {2, false}, {1, true}, {0, false}}, 0.5, 0.75},
		{[]Score{{1, true}, {1, false}}, 0, 0.5}, // a tie tells nothing
		{[]Score{{1, true}}, 0, 0.5},
		{nil, 0, 0.5},
	} {
		if a, u := Advantage(v.scores), AUC(v.scores); a != v.advantage || u != v.auc {
			t.Errorf("%v: advantage %v, area %v: want %v, %v", v.scores, a, u, v.advantage, v.auc)
		}
	}
	if MostAdvantage(0, 0) != 0 || math.Abs(MostAdvantage(math.Log(3), 0)-0.5) > 1e-12 || MostAdvantage(1000, 0) != 1 {
		t.Error("the bound on the advantage is not (e^epsilon-1)/(e^epsilon+1)")
	}
}

// A view of the sum is the mean of what single views show, and every view is the
// same again for the same seed.
func TestViews(t *testing.T) {
	r := Round{Clients: 3, Clip: fl.Clip{Value: 1, Norm: 1}, Privacy: fl.Privacy{NoiseMultiplier: 1, Delta: 1e-5, MinHonest: 2}, Seed: 9}
	updates := [][]float64{{0.3, 0}, {0, 0.3}, {0.3, 0.3}}
	for view, tolerance := range map[View]float64{ViewUpdate: 1e-3, ViewSum: 1e-3, ViewPrivate: 30} {
		a, err := r.See(view, updates)
		if err != nil {
			t.Fatal(err)
		}
		want := 0.2
		if view == ViewUpdate {
			want = 0.3
		}
		if math.Abs(a[0]-want) > tolerance {
			t.Errorf("%s shows %v", view, a)
		}
		b, err := r.See(view, updates)
		if err != nil || !slices.Equal(a, b) {
			t.Errorf("%s shows %v, and then %v (%v)", view, a, b, err)
		}
		r2 := r
		r2.Seed++
		if c, err := r2.See(ViewPrivate, updates); view == ViewPrivate && (err != nil || slices.Equal(a, c)) {
			t.Errorf("another seed, the same noise (%v)", err)
		}
	}
}

func TestRefusals(t *testing.T) {
	good := Round{Clients: 3, Clip: fl.Clip{Value: 1, Norm: 1}, Privacy: private, Seed: 1}
	good.Privacy.MinHonest = 3
	updates := [][]float64{{1}, {2}, {3}}
	for name, change := range map[string]func(*Round){
		"alone":       func(r *Round) { r.Clients = 1 },
		"no clip":     func(r *Round) { r.Clip.Value = 0 },
		"no norm":     func(r *Round) { r.Clip.Norm = 0 },
		"all honest?": func(r *Round) { r.Privacy.MinHonest = 4 },
	} {
		r := good
		change(&r)
		if _, err := r.See(ViewPrivate, updates[:r.Clients]); err == nil {
			t.Errorf("%s: something was seen", name)
		}
		if _, err := r.Epsilon(ViewPrivate, 1); err == nil {
			t.Errorf("%s: it has an epsilon", name)
		}
	}
	if _, err := good.See(ViewSum, updates[:2]); err == nil {
		t.Error("an update is missing")
	}
	if _, err := good.See(ViewSum, [][]float64{{1}, {2, 2}, {3}}); err == nil {
		t.Error("updates of two lengths were added")
	}
	data := digits(t)
	for name, change := range map[string]func(*InversionOptions){
		"no trial":       func(o *InversionOptions) { o.Trials = 0 },
		"no rows":        func(o *InversionOptions) { o.Rows = 0 },
		"few clients":    func(o *InversionOptions) { o.Round.Clients = data.Rows + 1 },
		"no model":       func(o *InversionOptions) { o.Model.Kind = "" },
		"another model":  func(o *InversionOptions) { o.Params = o.Params[1:] },
		"a convolution?": func(o *InversionOptions) { o.Model.Kind = models.CNN },
	} {
		o := inversionOptions()
		change(&o)
		if _, err := Invert(t.Context(), o, owners(data)); err == nil {
			t.Errorf("%s: it was attacked", name)
		}
	}
	for name, change := range map[string]func(*MembershipOptions){
		"no targets":  func(o *MembershipOptions) { o.Targets = 3 },
		"no others":   func(o *MembershipOptions) { o.Others = 0 },
		"no runs":     func(o *MembershipOptions) { o.Runs = 0 },
		"no shadows":  func(o *MembershipOptions) { o.Shadows = 3 },
		"little data": func(o *MembershipOptions) { o.Others = 100 },
		"no model":    func(o *MembershipOptions) { o.Model.Kind = "" },
		"no training": func(o *MembershipOptions) { o.Training = models.TrainConfig{} },
	} {
		o := membershipOptions()
		change(&o)
		if _, err := Membership(t.Context(), o, data); err == nil {
			t.Errorf("%s: it was attacked", name)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Membership(cancelled, membershipOptions(), data); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// By hand, and Hanley and McNeil's own example (1982): an area of 0.893 over 51
// abnormal and 58 normal images has the standard error 0.032.
func TestFiguresByHand(t *testing.T) {
	if got := ROC([]Score{{3, true}, {2, false}, {1, true}, {1, false}}); !slices.Equal(got, [][2]float64{{0, 0}, {0, 0.5}, {0.5, 0.5}, {1, 1}}) {
		t.Errorf("curve %v", got)
	}
	if got := ROC(nil); !slices.Equal(got, [][2]float64{{0, 0}, {1, 1}}) {
		t.Errorf("curve of nothing: %v", got)
	}
	var many []Score
	for i := range 500 {
		many = append(many, Score{float64(i), i%2 == 0})
	}
	if got := ROC(many); len(got) != maxCurve || got[0] != [2]float64{0, 0} || got[maxCurve-1] != [2]float64{1, 1} {
		t.Errorf("%d points from %v to %v", len(got), got[0], got[len(got)-1])
	}
	if low, high := AUCInterval(nil); low != 0 || high != 1 {
		t.Errorf("interval of nothing: %v to %v", low, high)
	}
	if got := hanleyMcNeil(0.893, 51, 58); math.Abs(got-0.032) > 0.001 {
		t.Errorf("Hanley and McNeil's standard error: %v", got)
	}
	low, high := wilson(0.5, 10)
	if math.Abs(low-0.2366) > 1e-4 || math.Abs(high-0.7634) > 1e-4 {
		t.Errorf("Wilson's interval of 5 in 10: %v to %v", low, high)
	}
	if mid, low, high := normalInterval([]float64{1, 3}); mid != 2 || math.Abs(high-low-2*z95) > 1e-9 {
		t.Errorf("%v, %v to %v", mid, low, high)
	}
	if mid, low, high := normalInterval([]float64{7}); mid != 7 || low != 7 || high != 7 {
		t.Errorf("of one: %v, %v to %v", mid, low, high)
	}
}
