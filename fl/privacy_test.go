package fl

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// privatePlan is a plan with privacy: two shards of slots values, three clients,
// the last of which carries one shard.
func privatePlan(slots, bits int, p Privacy) Plan {
	d := testDigest("x")
	return Plan{Genesis: d, JobSpec: d, Job: "job", Round: 3, EpochKey: d, Epoch: 1, BaseModel: d, Slots: slots, Shards: 2,
		Cohort:     []Assignment{{Node: "a", Shards: []int{0, 1}, Weight: 4}, {Node: "b", Shards: []int{0, 1}, Weight: 2}, {Node: "c", Shards: []int{0}, Weight: 4}, {Node: "d", Shards: []int{1}, Weight: 1}},
		WeightUnit: 4, MinCohort: 2, Clip: Clip{Value: 0.5, Norm: 2}, ValueBits: bits, ProofLevel: ProofNone, Seed: 1,
		Privacy: p, Charged: []int{3, 2, 1, 3}, OpenedAt: testOpened, Deadline: testOpened.Add(time.Hour)}
}

var testPrivacy = Privacy{NoiseMultiplier: 1.5, Epsilon: 8, Delta: 1e-5, MinHonest: 2}

func adaptivePrivacy() Privacy {
	p := testPrivacy
	p.Adaptive = AdaptiveClip{Quantile: 0.5, LearningRate: 0.2, CountNoise: 2}
	return p
}

func TestPrivacyRefuses(t *testing.T) {
	private := func(change func(*JobSpec)) func(*JobSpec) {
		return func(s *JobSpec) {
			s.Privacy = adaptivePrivacy()
			if err := s.Validate(); err != nil {
				t.Fatalf("the private sample is refused: %v", err)
			}
			change(s)
		}
	}
	refusals(t, map[string]func(*JobSpec){
		"no noise":            private(func(s *JobSpec) { s.Privacy.NoiseMultiplier = 0 }),
		"endless noise":       private(func(s *JobSpec) { s.Privacy.NoiseMultiplier = math.Inf(1) }),
		"no number":           private(func(s *JobSpec) { s.Privacy.NoiseMultiplier = math.NaN() }),
		"no budget":           private(func(s *JobSpec) { s.Privacy.Epsilon = 0 }),
		"endless budget":      private(func(s *JobSpec) { s.Privacy.Epsilon = math.Inf(1) }),
		"delta 0":             private(func(s *JobSpec) { s.Privacy.Delta = 0 }),
		"delta 1":             private(func(s *JobSpec) { s.Privacy.Delta = 1 }),
		"nobody honest":       private(func(s *JobSpec) { s.Privacy.MinHonest = 0 }),
		"more than the sum":   private(func(s *JobSpec) { s.Privacy.MinHonest = s.MinCohort + 1 }),
		"no norm":             private(func(s *JobSpec) { s.Clip.Norm = 0 }),
		"scaffold":            private(func(s *JobSpec) { s.Strategy.Name, s.Strategy.VariateClip = Scaffold, 1 }),
		"fednova":             private(func(s *JobSpec) { s.Strategy.Name, s.Strategy.MaxSteps = FedNova, 5 }),
		"shards and adaptive": private(func(s *JobSpec) { s.Clip.PerShard = true }),
		"quantile":            private(func(s *JobSpec) { s.Privacy.Adaptive.Quantile = 1 }),
		"learning rate":       private(func(s *JobSpec) { s.Privacy.Adaptive.LearningRate = 0 }),
		"count noise":         private(func(s *JobSpec) { s.Privacy.Adaptive.CountNoise = s.Privacy.NoiseMultiplier / 2 }),
		"fednova by shard": func(s *JobSpec) {
			s.Strategy.Name, s.Strategy.MaxSteps, s.Clip = FedNova, 5, Clip{Value: 1, Norm: 1, PerShard: true}
		},
		"shards without norm": func(s *JobSpec) { s.Clip = Clip{Value: 1, PerShard: true} },
	})
	for name, change := range map[string]func(*Plan){
		"no charges":          func(p *Plan) { p.Charged = nil },
		"a charge missing":    func(p *Plan) { p.Charged = p.Charged[:1] },
		"not charged":         func(p *Plan) { p.Charged[1] = 0 },
		"charged too often":   func(p *Plan) { p.Charged[1] = int(p.Round) + 1 },
		"charged for nothing": func(p *Plan) { p.Privacy = Privacy{} },
		"no norm":             func(p *Plan) { p.Clip.Norm = 0 },
		"noise too large":     func(p *Plan) { p.Privacy.NoiseMultiplier = 1e5 },
		"noise too small":     func(p *Plan) { p.Clip.Norm = 1e-6 },
	} {
		p := privatePlan(200, 14, testPrivacy)
		if err := p.Validate(); err != nil {
			t.Fatalf("the private plan is refused: %v", err)
		}
		change(&p)
		if p.Validate() == nil {
			t.Errorf("plan: %s was accepted", name)
		}
	}
	m := sample[Manifest](t)
	m.Delta = 0.5
	if m.Validate() == nil {
		t.Error("a manifest with a delta and no epsilon was accepted")
	}
	m.Delta, m.Epsilon = 0, "1.000"
	if m.Validate() == nil {
		t.Error("a manifest with an epsilon and no delta was accepted")
	}
}

// What noise has to be, whatever was asked for: enough variance for the honest
// clients to make the multiplier, and room for the clip and the tail.
func TestNoiseFitsAndSuffices(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := testPrivacy
		p.NoiseMultiplier = math.Exp(rapid.Float64Range(-3, 4).Draw(r, "log noise"))
		p.MinHonest = rapid.IntRange(1, 200).Draw(r, "honest")
		if rapid.Bool().Draw(r, "adaptive") {
			p.Adaptive = AdaptiveClip{0.5, 0.2, p.NoiseMultiplier * rapid.Float64Range(0.51, 5).Draw(r, "count")}
		}
		clip := Clip{Value: math.Exp(rapid.Float64Range(-8, 3).Draw(r, "log value"))}
		clip.Norm = clip.Value * math.Exp(rapid.Float64Range(0, 5).Draw(r, "log norm"))
		bits := rapid.IntRange(12, 20).Draw(r, "bits")
		n := rapid.IntRange(1, 1<<20).Draw(r, "values")
		noise, err := NewNoise(p, clip, bits, n)
		if err != nil {
			return
		}
		top := float64(int(1)<<(bits-1) - 1)
		if clip.Value/noise.Step+1+float64(noise.Bound) > top {
			r.Fatalf("%+v does not fit %d bits", noise, bits)
		}
		deviation := math.Sqrt(float64(noise.Variance) * float64(p.MinHonest))
		if got := deviation / noise.Sensitivity; got < p.UpdateNoise()*(1-1e-12) {
			r.Fatalf("noise multiplier %v of the wanted %v", got, p.UpdateNoise())
		}
		if units := clip.Norm / noise.Step; noise.Sensitivity < units || noise.Sensitivity > units+math.Sqrt(float64(n))*(1+1e-12) {
			r.Fatalf("sensitivity %v for a norm of %v units and %d values", noise.Sensitivity, units, n)
		}
		// 2n*exp(-B^2/2v) and exp(-t): the tails are as small as they say.
		if tail := math.Log(2*float64(n)) - float64(noise.Bound)*float64(noise.Bound)/(2*float64(noise.Variance)); tail > -TailBits*math.Ln2 {
			r.Fatalf("a value exceeds %d with log probability %v", noise.Bound, tail)
		}
		x := float64(noise.SquareBound(n))/float64(noise.Variance) - float64(n) // = 2 sqrt(nt) + 2t
		if root := (math.Sqrt(float64(n)+2*x) - math.Sqrt(float64(n))) / 2; root*root < TailBits*math.Ln2*(1-1e-9) {
			r.Fatalf("the norm exceeds its bound with log probability %v", -root*root)
		}
		if p.Adaptive.On() {
			spent := math.Pow(noise.Sensitivity/deviation, 2) + float64(noise.CountScale*noise.CountScale)/(float64(noise.CountVariance)*float64(p.MinHonest))
			if limit := 1 / (p.NoiseMultiplier * p.NoiseMultiplier); spent > limit*(1+1e-9) {
				r.Fatalf("update and count spend %v, allowed %v", spent, limit)
			}
		}
	})
}

// One machine's numbers, so that another's that differ are noticed.
func TestNoiseIsPinned(t *testing.T) {
	for _, v := range []struct {
		bits, values int
		adaptive     bool
		want         string
	}{
		{16, 4069, false, "step 0.000829391 sensitivity 2412.1 variance 6545650 bound 32163 count 0/0/0"},
		{14, 32741, false, "step 0.00340179 sensitivity 595.4 variance 398836 bound 8043 count 0/0/0"},
		{16, 4069, true, "step 0.000893513 sensitivity 2239.1 variance 6563164 bound 32206 count 64/32768/2164"},
	} {
		p := testPrivacy
		if v.adaptive {
			p = adaptivePrivacy()
		}
		n, err := NewNoise(p, Clip{Value: 0.5, Norm: 2}, v.bits, v.values)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("step %.6g sensitivity %.1f variance %d bound %d count %d/%d/%d", n.Step, n.Sensitivity, n.Variance, n.Bound, n.CountScale, n.CountVariance, n.CountBound)
		if got != v.want {
			t.Errorf("%d bits, %d values: %s", v.bits, v.values, got)
		}
	}
}

func TestNoiseThatDoesNotFit(t *testing.T) {
	for name, v := range map[string]struct {
		p      Privacy
		clip   Clip
		bits   int
		values int
		want   string
	}{
		"too much":      {Privacy{NoiseMultiplier: 1000, MinHonest: 1}, Clip{Value: 1, Norm: 1}, 14, 1 << 20, "does not fit 14 bits"},
		"too little":    {Privacy{NoiseMultiplier: 1e-4, MinHonest: 100}, Clip{Value: 1, Norm: 1}, 14, 100, "below 4 units"},
		"lost in steps": {Privacy{NoiseMultiplier: 1.1, MinHonest: 1}, Clip{Value: 1, Norm: 1}, 14, 1 << 20, "more than double"},
		"count":         {Privacy{NoiseMultiplier: 1, MinHonest: 1, Adaptive: AdaptiveClip{0.5, 0.2, 1e5}}, Clip{Value: 1, Norm: 1}, 14, 100, "count noise"},
		"no values":     {testPrivacy, Clip{Value: 1, Norm: 1}, 14, 0, "out of range"},
	} {
		if _, err := NewNoise(v.p, v.clip, v.bits, v.values); err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v, want %q", name, err, v.want)
		}
	}
}

// Whatever the update, its rounded values are within the sensitivity that the
// noise was made for, without figures, and the same each time.
func TestQuantiseNoiseless(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		plan := privatePlan(200, 14, testPrivacy)
		plan.Clip.PerShard = rapid.Bool().Draw(r, "per shard")
		plan.Seed = rapid.Uint64().Draw(r, "seed")
		n := rapid.IntRange(175, 346).Draw(r, "size")
		scale := math.Exp(rapid.Float64Range(-12, 4).Draw(r, "log scale"))
		update := make([]float64, n)
		for i := range update {
			update[i] = scale * rapid.Float64Range(-1, 1).Draw(r, "value")
		}
		noise, err := plan.Noise()
		if err != nil {
			r.Fatal(err)
		}
		values, err := QuantiseNoiseless(plan, "a", update)
		if err != nil {
			r.Fatal(err)
		}
		squares := 0.0
		for i, shard := range values {
			part := 0.0
			for slot, v := range shard.Values {
				if slot < MetricSlots && v != 0 {
					r.Fatalf("slot %d holds %d", slot, v)
				}
				part += float64(v) * float64(v)
				if math.Abs(float64(v)) > math.Ceil(plan.Clip.Value/noise.Step) {
					r.Fatalf("value %d is beyond the clip", v)
				}
			}
			length := float64(len(shard.Values) - MetricSlots)
			if bound := plan.Clip.Norm/noise.Step*math.Sqrt(length/float64(n)) + math.Sqrt(length); plan.Clip.PerShard && math.Sqrt(part) > bound {
				r.Fatalf("shard %d has norm %v, its bound is %v", i, math.Sqrt(part), bound)
			}
			squares += part
		}
		if math.Sqrt(squares) > noise.Sensitivity {
			r.Fatalf("norm %v, sensitivity %v", math.Sqrt(squares), noise.Sensitivity)
		}
		again, err := QuantiseNoiseless(plan, "a", update)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(values) {
			r.Fatal("quantising again gives other values")
		}
	})
	if _, err := QuantiseUpdate(privatePlan(200, 14, testPrivacy), "a", make([]float64, 300), Figures{}); err == nil || !strings.Contains(err.Error(), "private") {
		t.Errorf("a private plan was quantised without noise: %v", err)
	}
}

// The clip by shard bounds each by itself: a large one does not shrink a small.
func TestClipPerShard(t *testing.T) {
	plan := privatePlan(200, 14, Privacy{})
	plan.Charged, plan.WeightUnit, plan.Cohort[0].Weight = nil, 4, 4
	update := make([]float64, 346)
	for i := range update {
		update[i] = 0.01
		if i < 173 {
			update[i] = 10
		}
	}
	norms := func() (first, second float64) {
		values, err := QuantiseUpdate(plan, "a", update, Figures{})
		if err != nil {
			t.Fatal(err)
		}
		q, err := plan.Quantiser()
		if err != nil {
			t.Fatal(err)
		}
		var out [2]float64
		for i, shard := range values {
			for _, v := range shard.Values[MetricSlots:] {
				out[i] += float64(v) * float64(v) * q.Step() * q.Step()
			}
		}
		return math.Sqrt(out[0]), math.Sqrt(out[1])
	}
	if first, second := norms(); second > 0.01 || math.Abs(first-2) > 0.01 {
		t.Errorf("clipped together: norms %v and %v", first, second)
	}
	plan.Clip.PerShard = true
	half := 2 / math.Sqrt2
	if first, second := norms(); math.Abs(second-0.01*math.Sqrt(173)) > 0.01 || math.Abs(first-half) > 0.01 {
		t.Errorf("clipped by shard: norms %v and %v, want %v and %v", first, second, half, 0.01*math.Sqrt(173))
	}
}

// The count of a round moves the clip: all within it shrink it, none grow it,
// and the count is read from the first shard alone.
func TestClipAdapts(t *testing.T) {
	plan := privatePlan(200, 14, adaptivePrivacy())
	noise, err := plan.Noise()
	if err != nil {
		t.Fatal(err)
	}
	step := func(size float64) Clip {
		sums := [][]int64{make([]int64, 200), make([]int64, 200)}
		contributors := [][]NodeID{{"a", "b", "c"}, {"a", "b", "d"}}
		for _, a := range plan.Cohort {
			update := make([]float64, 346)
			for i := range update {
				update[i] = size
			}
			values, err := QuantiseNoiseless(plan, a.Node, update)
			if err != nil {
				t.Fatal(err)
			}
			for _, shard := range values {
				if marked := shard.Values[0] != 0; marked != (shard.Shard == 0) {
					t.Fatalf("shard %d counts: %d", shard.Shard, shard.Values[0])
				}
				for i, v := range shard.Values {
					sums[shard.Shard][i] += int64(v)
				}
			}
		}
		if want := 3 * noise.CountScale; sums[0][0] != want && sums[0][0] != -want {
			t.Fatalf("a count of %d", sums[0][0])
		}
		next, err := Advance(StrategySpec{Name: FedAvg, ServerLearningRate: 1, Weighting: WeightUniform}, plan, contributors, sums, make([]float32, 346), nil)
		if err != nil {
			t.Fatal(err)
		}
		if next.Figures != (Figures{}) {
			t.Fatalf("figures %+v", next.Figures)
		}
		return next.Clip
	}
	shrink := math.Exp(-0.2 * 0.5)
	if c := step(0.001); math.Abs(c.Norm-2*shrink) > 1e-6 || math.Abs(c.Value-0.5*shrink) > 1e-6 {
		t.Errorf("all within the clip: %+v", c)
	}
	if c := step(1); math.Abs(c.Norm-2/shrink) > 1e-6 || math.Abs(c.Value-0.5/shrink) > 1e-6 {
		t.Errorf("none within the clip: %+v", c)
	}
}

// Opened sums of a private round that no honest cohort sends are refused.
func TestPrivateSumsAreChecked(t *testing.T) {
	plan := privatePlan(200, 14, adaptivePrivacy())
	noise, err := plan.Noise()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		shard, slot int
		sum         int64
		ok          bool
	}{
		{0, 0, 3 * (noise.CountScale + noise.CountBound), true}, {0, 0, 3*(noise.CountScale+noise.CountBound) + 1, false}, {0, 0, -3*(noise.CountScale+noise.CountBound) - 1, false},
		{1, 0, 1, false}, {0, 1, 1, false}, {0, 26, -1, false}, {0, 27, 3 * 8191, true}, {0, 27, 3*8191 + 1, false}, {0, 27, -3*8191 - 1, false}, {1, 199, 1, false},
	} {
		sums := make([]int64, 200)
		sums[v.slot] = v.sum
		_, _, err := plan.unpackPrivate(v.shard, sums, 3, 150, 14)
		var outside *RangeError
		if (err == nil) != v.ok || err != nil && !errors.As(err, &outside) {
			t.Errorf("shard %d, slot %d = %d: %v", v.shard, v.slot, v.sum, err)
		}
		// Where updates are attested it is a client's doing, and ends no round.
		attested := plan
		attested.ProofLevel = ProofBounded
		_, values, err := attested.unpackPrivate(v.shard, sums, 3, 150, 14)
		if err != nil || slices.Max(values) > 3*8191 || slices.Min(values) < -3*8191 {
			t.Errorf("attested: shard %d, slot %d = %d: values %d to %d, %v", v.shard, v.slot, v.sum, slices.Min(values), slices.Max(values), err)
		}
	}
}
