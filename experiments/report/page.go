package report

import (
	_ "embed" // the page and its style
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"credence/experiments/results"
	"credence/experiments/runs"
)

//go:embed page.html
var pageText string

//go:embed style.css
var styleText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// Options are what a page says beyond its runs.
type Options struct {
	Version string         // of the program
	Metric  results.Metric // that groups are compared by; test accuracy if none
}

type page struct {
	Title, Lead, Version string
	Several              bool
	Warnings             []string
	Sections             []section
	Style                template.CSS
}

type section struct {
	ID, Title string
	Text      []string
	Figures   []figure
	Small     bool
	Legend    []legend
	Tables    []grid
	Notes     []string
	Listings  []listing
}

type figure struct {
	Title, Note string
	SVG         template.HTML
	Legend      []legend
}

type legend struct {
	Name  string
	Class int
	Area  bool
}

type grid struct {
	Title  string
	Head   []string
	Rows   [][]string
	Folded bool
}

type listing struct {
	Title, Text string
	Open        bool
}

// picture trusts what this package drew: all text in it was escaped there.
func picture(svg string) template.HTML {
	return template.HTML(svg) // #nosec G203 -- drawn by this package, which escapes every label
}

// writer makes the sections of one page.
type writer struct {
	runs   []*results.Run
	groups []results.Group
	metric results.Metric
	labels []string // of the groups
}

// maxOverlay is how many groups share a chart; more get a chart each.
const maxOverlay = 5

// Write writes a report of one run, or a comparison of several, as one HTML
// page. The first group is the baseline of all comparisons.
func Write(w io.Writer, rs []*results.Run, o Options) error {
	if len(rs) == 0 {
		return errors.New("report: no run to report on")
	}
	x := &writer{runs: rs, metric: o.Metric}
	if x.metric.Name == "" {
		x.metric, _ = results.MetricNamed("test_accuracy")
	}
	for _, r := range rs {
		x.groups = append(x.groups, r.Groups...)
	}
	x.labels = results.Labels(x.groups)
	p := page{Title: rs[0].Name, Version: o.Version, Several: len(rs) > 1, Style: template.CSS(styleText)} // #nosec G203 -- a file of this package
	if p.Several {
		names := make([]string, len(rs))
		for i, r := range rs {
			names[i] = r.Name
		}
		p.Title = strings.Join(names, " and ")
		if len(names) > 3 {
			p.Title = fmt.Sprintf("%s and %d more", names[0], len(names)-1)
		}
	}
	p.Lead, p.Warnings = x.lead()
	p.Sections = []section{x.summary(), x.learning()}
	for _, s := range []func() (section, bool){x.attacks, x.fairness} {
		if made, ok := s(); ok {
			p.Sections = append(p.Sections, made)
		}
	}
	p.Sections = append(p.Sections, x.communication(), x.time(), x.privacy())
	if made, ok := x.demonstrations(); ok {
		p.Sections = append(p.Sections, made)
	}
	p.Sections = append(p.Sections, x.credits())
	if made, ok := x.partition(); ok {
		p.Sections = append(p.Sections, made)
	}
	p.Sections = append(p.Sections, x.origin())
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// lead says what the page is about, and what is unfinished about it.
func (x *writer) lead() (string, []string) {
	trainings, rounds := 0, 0
	var warnings []string
	for _, r := range x.runs {
		for _, g := range r.Groups {
			trainings += len(g.Trainings)
			for _, t := range g.Trainings {
				rounds += len(t.Rounds)
			}
		}
		switch r.State.State {
		case runs.Done:
		case runs.Failed:
			warnings = append(warnings, fmt.Sprintf("%s failed after %d of %d rounds: %s", r.Name, r.State.Rounds, r.State.Of, r.State.Reason))
		default:
			warnings = append(warnings, fmt.Sprintf("%s is not finished: %d of %d rounds. Settings may have fewer seeds than others, and last rounds are not the last.", r.Name, max(r.State.Rounds, rounds), r.State.Of))
		}
	}
	lead := fmt.Sprintf("%s, %s, %s.", count(int64(len(x.groups)), "setting"), count(int64(trainings), "training"), count(int64(rounds), "round"))
	if len(x.runs) == 1 {
		e := x.runs[0].Environment
		lead += fmt.Sprintf(" Begun %s, %s.", e.Started, state(x.runs[0].State.State))
	}
	return lead, warnings
}

func state(s string) string {
	if s == runs.Running {
		return "still running or killed"
	}
	return s
}

// summary is the table of last values, with the differences to the baseline.
func (x *writer) summary() section {
	s := section{ID: "results", Title: "Results"}
	columns := x.present("test_accuracy", "test_loss", "client_accuracy", "attack_success")
	if !slices.ContainsFunc(columns, func(m results.Metric) bool { return m.Name == x.metric.Name }) {
		columns = append([]results.Metric{x.metric}, columns...)
	}
	t := grid{Head: []string{"Setting", "Seeds"}}
	for _, m := range columns {
		t.Head = append(t.Head, m.Title)
	}
	t.Head = append(t.Head, "Worst tenth of clients", "Refused")
	for i, g := range x.groups {
		row := []string{x.labels[i], fmt.Sprint(len(g.Trainings))}
		for _, m := range columns {
			row = append(row, plusMinus(g.Final(m), m.Share))
		}
		worst := "–"
		if f, ok := g.Fairness(); ok {
			worst = plusMinus(f.WorstTenth, true)
		}
		t.Rows = append(t.Rows, append(row, worst, compact(g.Totals().Refused.Mean)))
	}
	s.Text = []string{"Last round of each training: mean ± sample standard deviation over the seeds."}
	s.Tables = append(s.Tables, t)
	for _, m := range columns {
		if m.Name == x.metric.Name || m.Name == "attack_success" {
			if pivot, ok := x.pivot(m); ok {
				s.Tables = append(s.Tables, pivot)
			}
		}
	}
	if len(x.groups) > 1 {
		s.Tables = append(s.Tables, x.differences())
		s.Notes = append(s.Notes, results.FewSeeds(x.groups)+" p is corrected for the number of comparisons (Holm).")
	}
	return s
}

// present returns those of the named metrics that any row has.
func (x *writer) present(names ...string) []results.Metric {
	var out []results.Metric
	for _, name := range names {
		m, ok := results.MetricNamed(name)
		if ok && slices.ContainsFunc(x.groups, func(g results.Group) bool { return g.Final(m).N > 0 }) {
			out = append(out, m)
		}
	}
	return out
}

// differences compares every group with the first.
func (x *writer) differences() grid {
	t := grid{
		Title: fmt.Sprintf("%s, compared with %s", x.metric.Title, x.labels[0]),
		Head:  []string{"Setting", "Difference", "95 % interval", "Test", "p", "Hint"},
	}
	show := func(v float64) string {
		if x.metric.Share {
			return fmt.Sprintf("%+.2f pts", 100*v)
		}
		return fmt.Sprintf("%+.4g", v)
	}
	for i, d := range results.CompareAll(x.groups, x.metric) {
		if i == 0 {
			continue
		}
		row := []string{x.labels[i], show(d.Mean), "–", "–", probability(d.Adjusted), d.Likely()}
		if d.Test != "" {
			row[2] = show(d.Low) + " to " + show(d.High)
			row[3] = fmt.Sprintf("%s, %.3g df", d.Test, d.DF)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// pivot arranges a metric by the two axes of a sweep.
func (x *writer) pivot(m results.Metric) (grid, bool) {
	if len(x.runs) != 1 || x.runs[0].Experiment == nil || len(x.runs[0].Experiment.Sweep) != 2 {
		return grid{}, false
	}
	sweep := x.runs[0].Experiment.Sweep
	var rows, columns []string
	cells := map[[2]string]string{}
	for _, g := range x.groups {
		at := strings.LastIndex(g.Setting, " "+sweep[1].Path+"=")
		if at < 0 || !strings.HasPrefix(g.Setting, sweep[0].Path+"=") {
			return grid{}, false
		}
		row, column := g.Setting[len(sweep[0].Path)+1:at], g.Setting[at+len(sweep[1].Path)+2:]
		if g.Final(m).N == 0 {
			continue // nobody has this figure: of an attack that has no target, say
		}
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
		if !slices.Contains(columns, column) {
			columns = append(columns, column)
		}
		cells[[2]string{row, column}] = plusMinus(g.Final(m), m.Share)
	}
	t := grid{Title: m.Title + " by " + sweep[0].Path + " and " + sweep[1].Path, Head: append([]string{sweep[0].Path}, columns...)}
	for _, row := range rows {
		line := []string{row}
		for _, column := range columns {
			cell, ok := cells[[2]string{row, column}]
			if !ok {
				cell = "–"
			}
			line = append(line, cell)
		}
		t.Rows = append(t.Rows, line)
	}
	return t, true
}
