package adversary

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"credence/fl"
)

func names(n int) []fl.NodeID {
	var out []fl.NodeID
	for i := range n {
		out = append(out, fl.NodeID(fmt.Sprintf("c-%02d", i)))
	}
	return out
}

func at(n int) *int { return &n }

func TestRoster(t *testing.T) {
	specs := []Spec{{Kind: SignFlip, Fraction: 0.2, FirstRound: 3}, {Kind: ALIE, Fraction: 0.3}}
	r, err := NewRoster(specs, names(10), 7)
	if err != nil {
		t.Fatal(err)
	}
	count := map[Kind]int{}
	for _, c := range names(10) {
		count[r.Controlled(c)]++
		if a := r.Attack(c, 2); a != nil && a.Kind != ALIE {
			t.Errorf("%s attacks before its first round", c)
		}
		if a := r.Attack(c, 3); (a == nil) != (r.Controlled(c) == "") {
			t.Errorf("%s: attack %v, controlled by %q", c, a, r.Controlled(c))
		}
	}
	if count[SignFlip] != 2 || count[ALIE] != 3 || count[""] != 5 {
		t.Errorf("got %v", count)
	}
	shuffled := names(10)
	slices.Reverse(shuffled)
	again, err := NewRoster(specs, shuffled, 7)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewRoster(specs, names(10), 8)
	if err != nil {
		t.Fatal(err)
	}
	same := true
	for _, c := range names(10) {
		if again.Controlled(c) != r.Controlled(c) {
			t.Errorf("%s: the order of the names counts", c)
		}
		same = same && other.Controlled(c) == r.Controlled(c)
	}
	if same {
		t.Error("the seed does not count")
	}
	for want, specs := range map[string][]Spec{
		"attack alie: a fraction of 0.01 of 10 clients is nobody: raise it":                          {{Kind: ALIE, Fraction: 0.01}},
		"attack sign-flip: the attacks together leave no honest client of 10: lower their fractions": {{Kind: ALIE, Fraction: 0.5}, {Kind: SignFlip, Fraction: 0.5}},
		`attack: kind "": want one of label-flip, sign-flip, scaling, alie, backdoor, free-rider`:    {{Fraction: 0.5}},
	} {
		if _, err := NewRoster(specs, names(10), 1); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestSpecRefusals(t *testing.T) {
	for want, s := range map[string]Spec{
		"fraction 1: want":                  {Kind: ALIE, Fraction: 1},
		"fraction NaN: want":                {Kind: ALIE, Fraction: math.NaN()},
		"first_round -1":                    {Kind: ALIE, Fraction: 0.5, FirstRound: -1},
		"scale -1":                          {Kind: SignFlip, Fraction: 0.5, Scale: -1},
		"scale does not belong to it":       {Kind: ALIE, Fraction: 0.5, Scale: 2},
		"adaptive belongs to":               {Kind: LabelFlip, Fraction: 0.5, Adaptive: true},
		"from and to belong to label-flip":  {Kind: ALIE, Fraction: 0.5, From: at(1), To: at(2)},
		"from and to go together":           {Kind: LabelFlip, Fraction: 0.5, From: at(1)},
		"from 1, to 1":                      {Kind: LabelFlip, Fraction: 0.5, From: at(1), To: at(1)},
		"z 1: want":                         {Kind: SignFlip, Fraction: 0.5, Z: 1},
		"noise 1: want":                     {Kind: SignFlip, Fraction: 0.5, Noise: 1},
		"target, trigger, value and poison": {Kind: SignFlip, Fraction: 0.5, Target: at(1)},
		"target is missing":                 {Kind: Backdoor, Fraction: 0.5, Trigger: []int{1}},
		"trigger []":                        {Kind: Backdoor, Fraction: 0.5, Target: at(1)},
		"trigger [-1]":                      {Kind: Backdoor, Fraction: 0.5, Target: at(1), Trigger: []int{-1}},
		"value +Inf":                        {Kind: Backdoor, Fraction: 0.5, Target: at(1), Trigger: []int{1}, Value: math.Inf(1)},
		"poison 2":                          {Kind: Backdoor, Fraction: 0.5, Target: at(1), Trigger: []int{1}, Share: 2},
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	good := Spec{Kind: Backdoor, Fraction: 0.5, Target: at(2), Trigger: []int{3}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, err := range map[string]error{
		"target 2: the data have the classes 0 to 1":    good.Fit(4, 2),
		"trigger feature 3: the data have the features": good.Fit(3, 3),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := good.Fit(4, 3); err != nil {
		t.Error(err)
	}
}

func rows() fl.Examples {
	return fl.Examples{Rows: 4, Features: 2, Classes: 3, X: []float32{1, 2, 3, 4, 5, 6, 7, 8}, Y: []int32{0, 1, 2, 0}}
}

func TestPoison(t *testing.T) {
	data := rows()
	flipped := Spec{Kind: LabelFlip}.Poison(data)
	if !slices.Equal(flipped.Y, []int32{2, 1, 0, 2}) {
		t.Errorf("all classes: %v", flipped.Y)
	}
	if one := (Spec{Kind: LabelFlip, From: at(0), To: at(1)}).Poison(data); !slices.Equal(one.Y, []int32{1, 1, 2, 1}) {
		t.Errorf("one class: %v", one.Y)
	}
	back := Spec{Kind: Backdoor, Target: at(1), Trigger: []int{1}, Value: 9}
	poisoned := back.Poison(data)
	if err := poisoned.Validate(); err != nil {
		t.Fatal(err)
	}
	if poisoned.Rows != 6 || !slices.Equal(poisoned.X[8:], []float32{1, 9, 3, 9}) || !slices.Equal(poisoned.Y[4:], []int32{1, 1}) {
		t.Errorf("backdoor: %+v", poisoned)
	}
	if probe := back.Probe(data); probe.Rows != 3 || !slices.Equal(probe.X, []float32{1, 9, 5, 9, 7, 9}) || !slices.Equal(probe.Y, []int32{1, 1, 1}) {
		t.Errorf("probe: %+v", probe)
	}
	if same := (Spec{Kind: ALIE}).Poison(data); &same.Y[0] != &data.Y[0] {
		t.Error("an attack on updates changes data")
	}
	if want := rows(); !slices.Equal(want.X, data.X) || !slices.Equal(want.Y, data.Y) {
		t.Error("the client's own rows were changed")
	}
}

func TestDistort(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want []float64
	}{
		{Spec{Kind: SignFlip}, []float64{-1, 2}},
		{Spec{Kind: SignFlip, Scale: 3}, []float64{-3, 6}},
		{Spec{Kind: Scaling}, []float64{10, -20}},
		{Spec{Kind: Scaling, Scale: 2}, []float64{2, -4}},
		{Spec{Kind: Backdoor, Scale: 5}, []float64{5, -10}},
		{Spec{Kind: LabelFlip}, []float64{1, -2}},
	} {
		update := []float64{1, -2}
		c.spec.Distort(update)
		if !slices.Equal(update, c.want) {
			t.Errorf("%+v: got %v, want %v", c.spec, update, c.want)
		}
	}
}

// The paper's example (section 3.2): of 50 workers 24 are
// malicious, so s = 26-24 = 2 and z is the quantile of (26-2)/26 = 0.923.
func TestALIE(t *testing.T) {
	if z := alieZ(50, 24); math.Abs(z-1.4260768722) > 1e-6 {
		t.Errorf("z is %v", z)
	}
	if z := alieZ(10, 1); z != 0 {
		t.Errorf("one of ten: z is %v; four of nine supporters are fewer than half", z)
	}
	got := Spec{Kind: ALIE, Z: 2}.Collude([][]float64{{1, 5}, {3, 5}}, 10)
	if !slices.Equal(got, []float64{2 - 2*1, 5}) {
		t.Errorf("got %v", got)
	}
}

func TestFreeRide(t *testing.T) {
	r, err := NewRoster([]Spec{{Kind: FreeRider, Fraction: 0.5}}, names(4), 1)
	if err != nil {
		t.Fatal(err)
	}
	change := make([]float64, 20_000)
	for i := range change {
		change[i] = 2
	}
	idle := r.FreeRide(&Spec{Kind: FreeRider}, "c-00", 2, len(change), change)
	if slices.ContainsFunc(idle, func(v float64) bool { return v != 0 }) {
		t.Error("without noise an update is not zero")
	}
	noisy := &Spec{Kind: FreeRider, Noise: 0.5}
	got := r.FreeRide(noisy, "c-00", 2, len(change), change)
	var mean, square float64
	for _, v := range got {
		mean += v / float64(len(got))
		square += (v - 2) * (v - 2) / float64(len(got))
	}
	if math.Abs(mean-2) > 0.05 || math.Abs(math.Sqrt(square)-1) > 0.05 {
		t.Errorf("mean %v, deviation %v: want 2 and 1", mean, math.Sqrt(square))
	}
	if !slices.Equal(got, r.FreeRide(noisy, "c-00", 2, len(change), change)) {
		t.Error("not deterministic")
	}
	if slices.Equal(got, r.FreeRide(noisy, "c-01", 2, len(change), change)) || slices.Equal(got, r.FreeRide(noisy, "c-00", 3, len(change), change)) {
		t.Error("another client or round has the same noise")
	}
	if first := r.FreeRide(noisy, "c-00", 1, 3, nil); !slices.Equal(first, []float64{0, 0, 0}) {
		t.Errorf("the first round: %v", first)
	}
}
