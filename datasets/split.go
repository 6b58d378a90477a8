package datasets

import (
	"math"
	"slices"
)

// splitFraction draws the test rows: round(fraction*rows) of them, at random
// or, stratified, class by class with the largest remainder, so that each
// class keeps its share to within one row. Both lists ascend.
func splitFraction(labels []int32, classes int, p Split) (train, test []int) {
	want := int(math.Round(p.Fraction * float64(len(labels))))
	st := newStream("split", p.Seed)
	groups := [][]int{make([]int, 0, len(labels))}
	sizes := []int{want}
	if p.Stratified {
		groups = make([][]int, classes)
	}
	for i, y := range labels {
		g := 0
		if p.Stratified {
			g = int(y)
		}
		groups[g] = append(groups[g], i)
	}
	if p.Stratified && len(labels) > 0 {
		share := make([]float64, classes)
		for c, g := range groups {
			share[c] = float64(len(g)) / float64(len(labels))
		}
		sizes = apportion(want, share)
	}
	for g, rows := range groups {
		st.shuffle(rows)
		k := min(sizes[g], len(rows))
		test = append(test, rows[:k]...)
		train = append(train, rows[k:]...)
	}
	slices.Sort(train)
	slices.Sort(test)
	return train, test
}
