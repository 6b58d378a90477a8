package round

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"credence/fl"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

var opened = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

func label(s string) fl.Digest {
	if s == "" || s == "-" {
		return fl.Digest{}
	}
	return fl.DigestBytes([]byte(s))
}

// testConfig makes a round that opens at opened. cohort is "a:0,1 b:1 c",
// where no list means shard 0.
func testConfig(cohort []string, members []fl.NodeID, threshold, minimum int, deadline time.Duration) Config {
	plan := fl.Plan{Genesis: label("genesis"), JobSpec: label("job"), Job: "j", Round: 1, EpochKey: label("key"), Epoch: 1, BaseModel: label("model"),
		Slots: 100, Shards: 1, WeightUnit: 1, MinCohort: minimum, Clip: fl.Clip{Value: 1}, ValueBits: 8, ProofLevel: fl.ProofNone,
		OpenedAt: opened, Deadline: opened.Add(deadline)}
	for _, c := range cohort {
		name, list, ok := strings.Cut(c, ":")
		if !ok {
			list = "0"
		}
		a := fl.Assignment{Node: fl.NodeID(name), Weight: 1}
		for _, shard := range strings.Split(list, ",") {
			n, err := strconv.Atoi(shard)
			if err != nil {
				panic(err)
			}
			a.Shards = append(a.Shards, n)
			plan.Shards = max(plan.Shards, n+1)
		}
		plan.Cohort = append(plan.Cohort, a)
	}
	return Config{Plan: plan, Epoch: fl.EpochPlan{Genesis: label("genesis"), Epoch: 1, Suite: "s", Members: members, Threshold: threshold, OpenedAt: opened},
		SealGrace: 10 * time.Second, ShareGrace: 5 * time.Second, DecryptTimeout: 100 * time.Second}
}

// transcript runs the commands of one file.
type transcript struct {
	t     *testing.T
	state State
}

func nodes(words []string) []fl.NodeID {
	var out []fl.NodeID
	for _, w := range words {
		out = append(out, fl.NodeID(w))
	}
	return out
}

func (r *transcript) run(line string) string {
	words := strings.Fields(line)
	command, words := words[0], words[1:]
	var at time.Time
	if n := len(words); n > 0 && strings.HasPrefix(words[n-1], "@") {
		seconds, err := strconv.ParseFloat(words[n-1][1:], 64)
		if err != nil {
			r.t.Fatalf("%s: %v", line, err)
		}
		at = opened.Add(time.Duration(seconds * float64(time.Second)))
		words = words[:n-1]
	}
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch command {
	case "round": // round THRESHOLD MINIMUM MEMBERS | COHORT
		i := slices.Index(words, "|")
		threshold, _ := strconv.Atoi(words[0])
		minimum, _ := strconv.Atoi(words[1])
		s, err := New(testConfig(words[i+1:], nodes(words[2:i]), threshold, minimum, time.Minute))
		if err != nil {
			return err.Error()
		}
		r.state = s
		return r.show(nil)
	case "restart":
		r.state = again(r.t, r.state)
		return r.show(Pending(r.state))
	case "update":
		return r.step(UpdateAccepted{fl.NodeID(arg(0)), label(arg(1)), at})
	case "decline":
		return r.step(Declined{fl.NodeID(arg(0)), at})
	case "noise":
		return r.step(NoiseDealt{fl.NodeID(arg(0)), label(arg(1)), at})
	case "sums":
		return r.step(SumsReady{label(arg(0)), at})
	case "share":
		return r.step(ShareReceived{fl.NodeID(arg(0)), label(arg(1)), at})
	case "opened":
		return r.step(Opened{label(arg(0)), nodes(words[1:]), at})
	case "failed":
		return r.step(OpenFailed{nodes(words), at})
	case "cancel":
		return r.step(Cancelled{strings.Join(words, " "), at})
	case "revoke":
		return r.step(Revoked{fl.NodeID(arg(0)), at})
	case "tick":
		return r.step(Tick{at})
	case "nothing":
		return r.step(nil)
	}
	r.t.Fatalf("unknown command %q", line)
	return ""
}

func (r *transcript) step(e Event) string {
	before := encode(r.t, r.state)
	next, effects, err := Step(r.state, e)
	if !bytes.Equal(encode(r.t, r.state), before) {
		r.t.Fatalf("%T changed the state it was given", e)
	}
	if err != nil {
		if !bytes.Equal(encode(r.t, next), before) || effects != nil {
			r.t.Fatalf("a refused %T had an effect", e)
		}
		return err.Error() + "\n"
	}
	if bytes.Equal(encode(r.t, next), before) {
		return "no change\n"
	}
	again(r.t, next)
	r.state = next
	return r.show(effects)
}

func encode(t interface{ Fatal(...any) }, s State) []byte {
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// again sends the state through its encoding, as a restart does.
func again(t tester, s State) State {
	data := encode(t, s)
	out, err := Decode(*s.config, data)
	if err != nil {
		t.Fatalf("decoding %s: %v", data, err)
	}
	if !bytes.Equal(encode(t, out), data) || !reflect.DeepEqual(Pending(out), Pending(s)) {
		t.Fatalf("a restart changed the state or what is pending: %s", data)
	}
	return out
}

func (r *transcript) show(effects []Effect) string {
	var b strings.Builder
	s := r.state
	fmt.Fprintf(&b, "%s @%g", s.Phase, s.Now.Sub(opened).Seconds())
	list := func(name string, of []fl.NodeID) {
		if len(of) > 0 {
			fmt.Fprintf(&b, " %s=%v", name, of)
		}
	}
	list("updates", slices.Sorted(maps.Keys(s.Updates)))
	list("declined", slices.Sorted(maps.Keys(s.Declined)))
	list("noise", slices.Sorted(maps.Keys(s.Dealings)))
	list("shares", slices.Sorted(maps.Keys(s.Shares)))
	list("revoked", slices.Sorted(maps.Keys(s.Revoked)))
	list("wrong", s.Wrong)
	if !s.SealedAt.IsZero() {
		fmt.Fprintf(&b, " sealed@%g", s.SealedAt.Sub(opened).Seconds())
	}
	if !s.OpenedAt.IsZero() {
		fmt.Fprintf(&b, " opened@%g by %v", s.OpenedAt.Sub(opened).Seconds(), s.Opening)
	}
	b.WriteString("\n")
	for _, e := range effects {
		switch e := e.(type) {
		case ComputeSums:
			fmt.Fprintf(&b, "-> compute sums of %v, noise of %v\n", e.Clients, e.Dealers)
		case RequestShares:
			fmt.Fprintf(&b, "-> request shares\n")
		case OpenSums:
			fmt.Fprintf(&b, "-> open sums by %v\n", e.Holders)
		case AbortRound:
			fmt.Fprintf(&b, "-> abort: %s\n", e.Reason)
		}
	}
	return b.String()
}

// TestTranscripts runs testdata/*.txt: commands, a line of dashes, and what
// they must print, up to a blank line. -update writes what they print.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r := &transcript{t: t}
			var out strings.Builder
			for _, block := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
				commands, _, _ := strings.Cut(block+"\n", "----\n")
				out.WriteString(commands)
				var printed strings.Builder
				for line := range strings.Lines(commands) {
					if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
						printed.WriteString(r.run(line))
					}
				}
				if printed.Len() > 0 {
					out.WriteString("----\n" + printed.String())
				}
				out.WriteString("\n")
			}
			got := strings.TrimSpace(out.String()) + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(data) {
				t.Errorf("the transcript differs; it now reads:\n%s", got)
			}
		})
	}
}
