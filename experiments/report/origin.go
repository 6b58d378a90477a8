package report

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"credence/datasets"
	"credence/datasets/download"
	"credence/experiments/results"
	"credence/experiments/runs"
)

// maxPartitions bounds the pictures of divisions that differ.
const maxPartitions = 6

// partition draws how the rows were divided in the first training of each
// group, once for those that are alike.
func (x *writer) partition() (section, bool) {
	s := section{ID: "partition", Title: "Partition of the rows"}
	var seen [][][]int64
	left := 0
	for _, r := range x.runs {
		for _, g := range r.Groups {
			t := g.Trainings[0]
			names, counts := t.Partition()
			if len(names) == 0 || slices.ContainsFunc(seen, func(c [][]int64) bool { return equalCounts(c, counts) }) {
				continue
			}
			seen = append(seen, counts)
			if len(s.Figures) == maxPartitions {
				left++
				continue
			}
			s.Figures = append(s.Figures, x.division(g.Label(len(x.runs) > 1), t.Seed, ClassNames(r, counts), names, counts))
		}
	}
	if len(s.Figures) == 0 {
		return s, false
	}
	s.Text = []string{"Training rows of each class at each client; the area of a circle is the number of rows. The first seed of a setting is shown; others are divided anew unless the file fixes the partition's seed."}
	if left > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d more settings are divided in yet other ways.", left))
	}
	return s, true
}

func (x *writer) division(label string, seed uint64, classes, names []string, counts [][]int64) figure {
	smallest, largest, total := int64(-1), int64(0), int64(0)
	for _, row := range counts {
		sum := int64(0)
		for _, v := range row {
			sum += v
		}
		if total += sum; smallest < 0 || sum < smallest {
			smallest = sum
		}
		largest = max(largest, sum)
	}
	note := fmt.Sprintf("seed %d; %s, %s, %d to %d each", seed, count(int64(len(names)), "client"), count(total, "row"), smallest, largest)
	if len(names) > maxBubbles {
		note += fmt.Sprintf("; the first %d clients are shown", maxBubbles)
		names, counts = names[:maxBubbles], counts[:maxBubbles]
	}
	if label == "" {
		label = "Rows by class and client"
	}
	return figure{Title: label, Note: note, SVG: picture(bubbles("Training rows by class and client, "+label, names, classes, counts))}
}

func equalCounts(a, b [][]int64) bool {
	return slices.EqualFunc(a, b, func(p, q []int64) bool { return slices.Equal(p, q) })
}

// ClassNames names the classes of a run's counts, as its schema does; numbers
// stand where a folder does not say.
func ClassNames(r *results.Run, counts [][]int64) []string {
	width := 1
	for _, row := range counts {
		width = max(width, len(row))
	}
	names := slices.Clone(r.Data.Classes)
	if len(names) == 0 && r.Experiment != nil && r.Experiment.Data.Set != "" { // folders of earlier versions
		if set, ok := download.Named(r.Experiment.Data.Set); ok {
			names = set.Schema().Classes()
		} else if set, err := datasets.Builtin(r.Experiment.Data.Set); err == nil {
			names = slices.Clone(set.Schema.Classes())
		}
	}
	for k := len(names); k < width; k++ {
		names = append(names, strconv.Itoa(k))
	}
	return names[:width]
}

// origin shows where everything comes from.
func (x *writer) origin() section {
	s := section{ID: "origin", Title: "Configuration and environment"}
	several := len(x.runs) > 1
	t := grid{Title: "Environment", Head: []string{"Run", "Program", "Revision", "Go", "System", "Matrix products", "Processor", "Cores", "Memory", "Begun", "State"}}
	seeds := grid{Title: "Seeds", Head: []string{"Setting", "Seeds", "Seeds of the partition"}, Folded: true}
	for k, r := range x.runs {
		e := r.Environment
		revision := e.Revision
		if len(revision) > 12 {
			revision = revision[:12]
		}
		if e.Modified {
			revision += ", modified"
		}
		t.Rows = append(t.Rows, []string{r.Name, dash(e.Version), dash(revision), dash(e.Go), e.OS + "/" + e.Arch, dash(e.BLAS), dash(e.CPU), fmt.Sprint(e.Cores), memory(e), e.Started, state(r.State.State)})
		for _, g := range r.Groups {
			var partitions []uint64
			for _, training := range g.Trainings {
				partitions = append(partitions, training.Unit.Partition)
			}
			label := g.Label(several)
			seeds.Rows = append(seeds.Rows, []string{label, list(g.Seeds()), list(partitions)})
		}
		prefix := ""
		if several {
			prefix = r.Name + ": "
		}
		s.Listings = append(s.Listings,
			listing{Title: prefix + runs.ConfigFile + ", as it was given", Text: string(r.Config), Open: k == 0 && !several},
			listing{Title: prefix + runs.ResolvedFile + ", with every default", Text: string(r.Resolved)},
			listing{Title: prefix + "reading the rows in pandas", Text: fmt.Sprintf("import pandas as pd\nmetrics = pd.read_parquet(%s)", pythonString(filepath.ToSlash(filepath.Join(r.Dir, runs.MetricsParquet))))})
	}
	s.Tables = []grid{t, seeds}
	return s
}

func memory(e runs.Environment) string {
	if e.MemoryMB == 0 {
		return "–"
	}
	return bytesText(float64(e.MemoryMB) * (1 << 20))
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// pythonString quotes a path as Python does.
func pythonString(s string) string { return strconv.Quote(s) }
