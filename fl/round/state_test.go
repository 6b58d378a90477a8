package round

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"credence/fl"
)

func smallConfig() Config {
	return testConfig([]string{"a", "b", "c"}, []fl.NodeID{"m1", "m2", "m3"}, 2, 2, time.Minute)
}

// steps applies events that must all be allowed, a second apart.
func steps(t *testing.T, s State, events ...func(at time.Time) Event) State {
	t.Helper()
	for i, e := range events {
		next, _, err := Step(s, e(opened.Add(time.Duration(i+1)*time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	return s
}

func updateBy(n fl.NodeID) func(time.Time) Event {
	return func(at time.Time) Event { return UpdateAccepted{n, label(string(n)), at} }
}

func noiseBy(n fl.NodeID) func(time.Time) Event {
	return func(at time.Time) Event { return NoiseDealt{n, label(string(n)), at} }
}

func shareBy(n fl.NodeID) func(time.Time) Event {
	return func(at time.Time) Event { return ShareReceived{n, label(string(n)), at} }
}

func sums(at time.Time) Event { return SumsReady{label("seal"), at} }

func everyPhase(t *testing.T) map[string]State {
	open, err := New(smallConfig())
	if err != nil {
		t.Fatal(err)
	}
	half := steps(t, open, updateBy("a"), updateBy("b"), noiseBy("m1"))
	sealed := steps(t, half, updateBy("c"), noiseBy("m2"), noiseBy("m3"))
	decrypting := steps(t, sealed, sums, shareBy("m1"))
	opening := steps(t, decrypting, shareBy("m2"), shareBy("m3"))
	published := steps(t, opening, func(at time.Time) Event { return Opened{label("manifest"), []fl.NodeID{"m2"}, at} })
	aborted := steps(t, decrypting, func(at time.Time) Event { return Cancelled{"enough", at} })
	failed := steps(t, opening, func(at time.Time) Event { return OpenFailed{[]fl.NodeID{"m1"}, at} })
	return map[string]State{"open": open, "half": half, "sealed": sealed, "decrypting": decrypting, "opening": opening,
		"published": published, "aborted": aborted, "failed": failed}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"seal grace":      func(c *Config) { c.SealGrace = -1 },
		"share grace":     func(c *Config) { c.ShareGrace = -1 },
		"decrypt timeout": func(c *Config) { c.DecryptTimeout = 0 },
		"epoch number":    func(c *Config) { c.Epoch.Epoch = 2 },
		"federation":      func(c *Config) { c.Epoch.Genesis = label("other") },
		"plan":            func(c *Config) { c.Plan.MinCohort = 9 },
		"epoch":           func(c *Config) { c.Epoch.Threshold = 9 },
	} {
		config := smallConfig()
		change(&config)
		if _, err := New(config); err == nil {
			t.Errorf("New: wrong %s was accepted", name)
		}
		if _, err := Decode(config, nil); err == nil {
			t.Errorf("Decode: wrong %s was accepted", name)
		}
	}
	s, err := New(smallConfig())
	if err != nil || s.Plan().Job != "j" {
		t.Errorf("plan of %q, %v", s.Plan().Job, err)
	}
	if Pending(State{}) != nil {
		t.Error("a zero state has something pending")
	}
	if _, _, err := Step(State{}, Tick{opened}); fl.CodeOf(err) != fl.CodeMalformed {
		t.Errorf("a zero state steps: %v", err)
	}
}

type strange struct{}

func (strange) at() time.Time { return opened }

func TestStepRefusesWhatIsNoEvent(t *testing.T) {
	s, err := New(smallConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Event{strange{}, Tick{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, Tick{time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)}} {
		if _, _, err := Step(s, e); fl.CodeOf(err) != fl.CodeMalformed {
			t.Errorf("%T: %v", e, err)
		}
	}
}

func TestCancellationReasonIsBounded(t *testing.T) {
	s, err := New(smallConfig())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err = Step(s, Cancelled{"\xff" + strings.Repeat("é", maxReason), opened})
	if err != nil || len(s.Reason) > maxReason+len("cancelled: ") || !strings.HasPrefix(s.Reason, "cancelled: ?é") {
		t.Fatalf("reason of %d bytes, %v", len(s.Reason), err)
	}
	again(t, s)
}

// Durations are the operator's to change; plan and committee are not.
func TestDecodeBindsPlanAndCommittee(t *testing.T) {
	for name, s := range everyPhase(t) {
		data := encode(t, s)
		config := smallConfig()
		config.SealGrace, config.DecryptTimeout = time.Hour, time.Hour
		if _, err := Decode(config, data); err != nil {
			t.Errorf("%s: other durations: %v", name, err)
		}
		config.Plan.Seed++
		if _, err := Decode(config, data); err == nil {
			t.Errorf("%s: another plan was accepted", name)
		}
		config = smallConfig()
		config.Epoch.Members[0], config.Epoch.Members[1] = config.Epoch.Members[1], config.Epoch.Members[0]
		if _, err := Decode(config, data); err == nil {
			t.Errorf("%s: another committee was accepted", name)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	phases := everyPhase(t)
	for name, c := range map[string]struct{ from, old, new string }{
		"unknown field":       {"open", `{`, `{"x":1,`},
		"trailing bytes":      {"open", `}`, "} "},
		"duplicate key":       {"open", `"version":0`, `"version":0,"version":0`},
		"other spelling":      {"open", `"version"`, `"Version"`},
		"unknown phase":       {"open", `"phase":"open"`, `"phase":"ajar"`},
		"no table":            {"open", `"updates":{}`, `"updates":null`},
		"stranger":            {"half", `"updates":{"a"`, `"updates":{"A"`},
		"declined stranger":   {"open", `"declined":{}`, `"declined":{"x":"2026-01-02T03:04:01Z"}`},
		"noise by a stranger": {"half", `"dealings":{"m1"`, `"dealings":{"m0"`},
		"open and sealed":     {"sealed", `"phase":"sealed"`, `"phase":"open"`},
		"never sealed":        {"open", `"phase":"open"`, `"phase":"sealed"`},
		"nobody sealed":       {"sealed", `"clients":["a","b","c"]`, `"clients":null`},
		"another sealed":      {"sealed", `"clients":["a","b","c"]`, `"clients":["a","b"]`},
		"no dealers":          {"sealed", `"dealers":["m1","m2","m3"]`, `"dealers":null`},
		"dealing stranger":    {"sealed", `"dealers":["m1","m2","m3"]`, `"dealers":["m1","m2","m4"]`},
		"no seal":             {"sealed", `"phase":"sealed"`, `"phase":"decrypting"`},
		"seal of an open one": {"open", `"seal":"0`, `"seal":"1`},
		"no share":            {"decrypting", `"opening":null`, `"opening":["m3"]`},
		"shares, no seal":     {"sealed", `"shares":{}`, `"shares":{"m1":{"digest":"` + label("x").String() + `","at":"2026-01-02T03:04:01Z"}}`},
		"no manifest":         {"published", label("manifest").String(), fl.Digest{}.String()},
		"not ended":           {"published", `"ended_at":"2026`, `"ended_at":"0001`},
		"ended while open":    {"open", `"ended_at":"0001-`, `"ended_at":"2026-`},
		"no reason":           {"aborted", `"reason":"cancelled: enough"`, `"reason":""`},
	} {
		data := string(encode(t, phases[c.from]))
		changed := strings.Replace(data, c.old, c.new, 1)
		if strings.HasPrefix(c.old, "}") {
			changed = data + " "
		}
		if changed == data {
			t.Errorf("%s: the case does not apply to %s", name, data)
		}
		if name == "not ended" {
			changed = strings.Replace(data, data[strings.Index(data, `"ended_at":`):], `"ended_at":"0001-01-01T00:00:00Z"}`, 1)
		}
		if _, err := Decode(smallConfig(), []byte(changed)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := Decode(smallConfig(), make([]byte, MaxState+1)); err == nil || !strings.Contains(err.Error(), fmt.Sprint(MaxState)) {
		t.Errorf("too large: %v", err)
	}
	for name, s := range phases {
		data := encode(t, s)
		for n := range len(data) {
			if _, err := Decode(smallConfig(), data[:n]); err == nil {
				t.Fatalf("%s cut to %d bytes was accepted", name, n)
			}
		}
	}
}

// FuzzDecode: whatever decodes encodes to the same bytes and takes any event
// without a panic.
func FuzzDecode(f *testing.F) {
	open, err := New(smallConfig())
	if err != nil {
		f.Fatal(err)
	}
	s := open
	for i, e := range []Event{
		UpdateAccepted{"a", label("a"), opened}, UpdateAccepted{"b", label("b"), opened}, Declined{"c", opened}, NoiseDealt{"m1", label("m1"), opened},
		NoiseDealt{"m2", label("m2"), opened}, NoiseDealt{"m3", label("m3"), opened}, SumsReady{label("seal"), opened}, ShareReceived{"m1", label("m1"), opened},
		ShareReceived{"m2", label("m2"), opened}, ShareReceived{"m3", label("m3"), opened}, OpenFailed{[]fl.NodeID{"m2"}, opened}, Opened{label("x"), nil, opened},
	} {
		data, err := s.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		if s, _, err = Step(s, e); err != nil {
			f.Fatalf("event %d: %v", i, err)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(smallConfig(), data)
		if err != nil {
			return
		}
		if string(encode(t, s)) != string(data) {
			t.Fatal("not canonical")
		}
		for _, e := range []Event{UpdateAccepted{"a", label("z"), s.Now}, NoiseDealt{"m1", label("z"), s.Now}, SumsReady{label("z"), s.Now},
			ShareReceived{"m1", label("z"), s.Now}, Opened{label("z"), nil, s.Now}, OpenFailed{nil, s.Now}, Revoked{"m1", s.Now}, Tick{s.Now.Add(time.Hour)}} {
			if _, _, err := Step(s, e); err != nil && fl.CodeOf(err) == "" {
				t.Fatalf("%T: %v is no refusal", e, err)
			}
		}
	})
}

func BenchmarkStep(b *testing.B) {
	cohort := make([]string, 1024)
	for i := range cohort {
		cohort[i] = fmt.Sprintf("n%d:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31", i)
	}
	s, err := New(testConfig(cohort, []fl.NodeID{"m1", "m2", "m3"}, 2, 2, time.Minute))
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		if s, _, err = Step(s, UpdateAccepted{fl.NodeID(fmt.Sprintf("n%d", i)), label("x"), opened}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, _, err := Step(s, UpdateAccepted{"n1001", label("x"), opened}); err != nil {
			b.Fatal(err)
		}
	}
	data, err := s.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(data)), "state-bytes")
}
