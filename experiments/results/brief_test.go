package results

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestBrief(t *testing.T) {
	for name, c := range map[string]struct {
		labels, want []string
	}{
		"paths go": {
			[]string{"a: partition.alpha=0.1 training.learning_rate=0.05", "a: partition.alpha=0.1 training.learning_rate=0.1"},
			[]string{"a: alpha=0.1 learning_rate=0.05", "a: alpha=0.1 learning_rate=0.1"},
		},
		"keys that end alike keep theirs": {
			[]string{"clip.value=1 privacy.value=1", "clip.value=2 privacy.value=1"},
			[]string{"clip.value=1 privacy.value=1", "clip.value=2 privacy.value=1"},
		},
		"the middle goes": {
			[]string{"first " + strings.Repeat("x", 60) + " a", "first " + strings.Repeat("x", 60) + " b"},
			[]string{"first xxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxx a", "first xxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxx b"},
		},
		"unless rows were alike then": {
			[]string{strings.Repeat("x", 30) + "a" + strings.Repeat("x", 30), strings.Repeat("x", 30) + "b" + strings.Repeat("x", 30)},
			[]string{strings.Repeat("x", 30) + "a" + strings.Repeat("x", 30), strings.Repeat("x", 30) + "b" + strings.Repeat("x", 30)},
		},
		"nothing is done to names": {[]string{"fedavg", "settings=proof and clip"}, []string{"fedavg", "settings=proof and clip"}},
	} {
		if got := Brief(c.labels, 40); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestBriefKeepsRowsApart(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		labels := rapid.SliceOfNDistinct(rapid.StringMatching(`([ab]\.[xy]=[01]{1,9} ?){1,4}`), 1, 6, rapid.ID).Draw(rt, "labels")
		n := rapid.IntRange(3, 30).Draw(rt, "n")
		out := Brief(labels, n)
		for i, l := range out {
			if slices.Contains(out[:i], l) {
				rt.Fatalf("%q became %q", labels, out)
			}
			if utf8.RuneCountInString(l) > max(n, utf8.RuneCountInString(labels[i])) {
				rt.Fatalf("%q grew to %q", labels[i], l)
			}
		}
	})
}
