package results

import (
	"regexp"
	"slices"
	"strings"
)

// assignment is a swept key with its path, where a setting names it.
var assignment = regexp.MustCompile(`(?:^| )((?:[a-z_0-9]+\.)+)([a-z_0-9]+)=`)

// Brief shortens labels to be read in narrow columns: a swept key loses its
// path (training.learning_rate becomes learning_rate) unless another key of
// these labels ends alike, and what is longer than n runes then loses its
// middle. A label that could be taken for another one after that stays as it
// was: rows must differ where their settings do.
func Brief(labels []string, n int) []string {
	paths := map[string][]string{}
	for _, l := range labels {
		for _, m := range assignment.FindAllStringSubmatch(l, -1) {
			if !slices.Contains(paths[m[2]], m[1]) {
				paths[m[2]] = append(paths[m[2]], m[1])
			}
		}
	}
	out := make([]string, len(labels))
	count := map[string]int{}
	for i, l := range labels {
		out[i] = middle(assignment.ReplaceAllStringFunc(l, func(s string) string {
			m := assignment.FindStringSubmatch(s)
			if len(paths[m[2]]) > 1 {
				return s
			}
			return strings.Replace(s, m[1], "", 1)
		}), n)
		count[out[i]]++
	}
	for i, l := range labels {
		if count[out[i]] > 1 {
			out[i] = l
		}
	}
	return out
}

// middle shortens a text to n runes by its middle.
func middle(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	head := (n - 1) / 2
	return string(r[:head]) + "…" + string(r[len(r)-(n-1-head):])
}
