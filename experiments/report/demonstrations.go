package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"credence/experiments/results"
	"credence/experiments/runs"
)

// maxShown bounds the settings whose pictures and curves are drawn; tables have
// all of them.
const maxShown = 4

// views in the words of the page, from the most that is seen to the least.
var views = []struct{ name, words string }{
	{"single update", "one client's update"},
	{"secure sum", "the sum that is opened"},
	{"secure sum with noise", "the sum with noise"},
}

// of returns an attack's rows in the order of views; nil where one is missing.
func of(rows []runs.Demonstration, attack string) []runs.Demonstration {
	var out []runs.Demonstration
	for _, v := range views {
		i := slices.IndexFunc(rows, func(d runs.Demonstration) bool { return d.Attack == attack && d.View == v.name })
		if i < 0 {
			return nil
		}
		out = append(out, rows[i])
	}
	return out
}

// demonstrations shows what attacks on the privacy of the first round gave.
func (x *writer) demonstrations() (section, bool) {
	s := section{ID: "demonstrations", Title: "What an attacker learns"}
	inverted := grid{Title: "Gradient inversion: reading a client's row out of what is seen", Head: []string{
		"What is seen", "Similarity, 95 % interval", "Mean row", "Right row found, 95 % interval", "By guessing", "Labels read", "ε of the round"}}
	told := grid{Title: "Membership inference: telling the rows that a client trained on", Head: []string{
		"What is seen", "AUC, 95 % interval", "Advantage", "Most that ε allows", "AUC by loss alone, 95 % interval", "Accuracy of the model seen"}}
	i := -1
	for _, r := range x.runs {
		for _, g := range r.Groups {
			i++
			rows := g.Demonstrations()
			prefix := ""
			if len(x.groups) > 1 {
				prefix = x.labels[i] + ": "
			}
			inversions, shadows, losses := of(rows, runs.AttackInversion), of(rows, runs.AttackMembership), of(rows, runs.AttackMembershipLoss)
			draw := len(s.Figures) < 2*maxShown
			if inversions != nil {
				s.Text = append(s.Text, prefix+inversionWords(inversions))
				if draw {
					s.addPictures(r, prefix, inversions)
				}
				for k, d := range inversions {
					inverted.Rows = append(inverted.Rows, []string{prefix + views[k].words, within(d.Similarity, d.SimilarityLow, d.SimilarityHigh, fixed), shown(d.Baseline, fixed),
						within(d.Identified, d.IdentifiedLow, d.IdentifiedHigh, percent), shown(d.Chance, smallPercent), shown(d.Labels, percent), epsilonText(d.Epsilon)})
				}
			}
			if shadows != nil && losses != nil {
				s.Text = append(s.Text, prefix+membershipWords(shadows))
				if draw {
					s.Figures = append(s.Figures, roc(prefix, shadows))
				}
				for k, d := range shadows {
					l := losses[k]
					told.Rows = append(told.Rows, []string{prefix + views[k].words, within(d.AUC, d.AUCLow, d.AUCHigh, fixed), shown(d.Advantage, fixed), shown(d.MostAdvantage, fixed),
						within(l.AUC, l.AUCLow, l.AUCHigh, fixed), shown(d.Accuracy, percent)})
				}
			}
		}
	}
	if len(s.Text) == 0 {
		return s, false
	}
	for _, t := range []grid{told, inverted} { // before those of rows
		if len(t.Rows) > 0 {
			s.Tables = slices.Insert(s.Tables, 0, t)
		}
	}
	s.Notes = []string{"Both attacks are simple and made on the first round of a setting, with its first seed, by an attacker who has everything but what is asked. " +
		"A small figure is no proof of privacy: only ε bounds every attack. A similarity is a cosine: 1 is the row itself, and the mean row needs no attack. " +
		"An AUC of 0.5 is guessing; advantage is the largest difference of true and false positive rate. What noise costs is in the last column: the accuracy of a model after one such round."}
	return s, true
}

func inversionWords(d []runs.Demonstration) string {
	rows := "one row"
	if d[0].Rows > 1 {
		rows = fmt.Sprintf("%d rows", d[0].Rows)
	}
	return fmt.Sprintf("Each of %d clients takes one step on %s. Out of %s an attacker finds the right row in %s of %d trials, out of %s in %s, out of %s in %s; guessing, in %s.",
		d[0].Clients, rows, views[0].words, shown(d[0].Identified, percent), d[0].Trials, views[1].words, shown(d[1].Identified, percent), views[2].words, shown(d[2].Identified, percent), shown(d[0].Chance, smallPercent))
}

func membershipWords(d []runs.Demonstration) string {
	return fmt.Sprintf("Shown a row that one of %d clients trained on and one that it did not, an attacker tells which is which in %s of cases from %s, in %s from %s and in %s from %s; guessing, in 50 %%.",
		d[0].Clients, shown(d[0].AUC, percent), views[0].words, shown(d[1].AUC, percent), views[1].words, shown(d[2].AUC, percent), views[2].words)
}

// addPictures shows recovered rows: as images, or as a table.
func (s *section) addPictures(r *results.Run, prefix string, d []runs.Demonstration) {
	first := d[0].Pictures
	if !drawable(d) {
		return
	}
	data := r.Data
	if isImage(data, len(first[0].Original)) {
		s.Figures = append(s.Figures, figure{
			Title: prefix + upper(prefix, "what is recovered"), Note: "one column a trial; brightness is cut to the range of the originals" + colourNote(data.Channels),
			SVG: picture(album(prefix+"originals and what was recovered from each view", data, d)),
		})
		return
	}
	if len(data.Features) != len(first[0].Original) {
		return
	}
	t := grid{Title: prefix + upper(prefix, "a row and what is recovered of it, in the units that the model trains on"), Folded: true, Head: []string{"Feature", "The client's row"}}
	for _, v := range views {
		t.Head = append(t.Head, "From "+v.words)
	}
	value := func(v float32) string { return strconv.FormatFloat(float64(v), 'f', 3, 64) }
	for k, name := range data.Features[:min(len(data.Features), maxFeatures)] {
		row := []string{name, value(first[0].Original[k])}
		for _, one := range d {
			row = append(row, value(one.Pictures[0].Recovered[k]))
		}
		t.Rows = append(t.Rows, row)
	}
	label := []string{"label", className(data, first[0].Label)}
	for _, one := range d {
		label = append(label, className(data, one.Pictures[0].Read))
	}
	t.Rows = append(t.Rows, label)
	s.Tables = append(s.Tables, t)
}

// drawable reports whether every view has as many pictures, all of one size: the
// folder may come from somebody else.
func drawable(d []runs.Demonstration) bool {
	n := len(d[0].Pictures)
	if n == 0 {
		return false
	}
	size := len(d[0].Pictures[0].Original)
	for _, one := range d {
		if len(one.Pictures) != n {
			return false
		}
		for _, p := range one.Pictures {
			if len(p.Original) != size || len(p.Recovered) != size {
				return false
			}
		}
	}
	return true
}

func isImage(d runs.Data, values int) bool {
	const most = 1 << 10
	return d.Height > 0 && d.Width > 0 && d.Channels > 0 && d.Height <= most && d.Width <= most && d.Channels <= most && d.Height*d.Width*d.Channels == values
}

const maxFeatures = 40 // of a table

func colourNote(channels int) string {
	if channels > 1 {
		return "; colours are averaged"
	}
	return ""
}

func className(d runs.Data, k int) string {
	if k >= 0 && k < len(d.Classes) {
		return d.Classes[k]
	}
	return strconv.Itoa(k)
}

// roc draws the attack with shadow rounds in every view.
func roc(prefix string, d []runs.Demonstration) figure {
	c := lines{title: prefix + "true over false positive rate of membership inference", xLabel: "false positive rate", share: true}
	c.series = append(c.series, series{name: "guessing", x: []float64{0, 1}, y: []float64{0, 1}, ghost: true})
	f := figure{Title: prefix + upper(prefix, "telling members from others"), Note: "true positive rate; the diagonal is guessing"}
	for k, one := range d {
		line := series{name: views[k].words, class: k}
		for _, p := range one.Curve {
			line.x, line.y = append(line.x, p[0]), append(line.y, p[1])
		}
		c.series = append(c.series, line)
		f.Legend = append(f.Legend, legend{Name: views[k].words + ", AUC " + shown(one.AUC, fixed), Class: k})
	}
	f.SVG = picture(c.draw())
	return f
}

const (
	maxLevels = 15 // of brightness, beside black
	cell      = 76.0
	gap       = 8.0
)

// album draws originals above what was recovered of them in every view.
func album(title string, data runs.Data, d []runs.Demonstration) string {
	const left, top = 112.0, 6.0
	columns := min(len(d[0].Pictures), maxColumns)
	line := cell + gap + 16
	w := left + float64(max(columns, 4))*(cell+gap)
	out := &drawing{width: w, height: top + 4*line}
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range d[0].Pictures[:columns] {
		for _, v := range p.Original {
			low, high = min(low, float64(v)), max(high, float64(v))
		}
	}
	for row := range 4 {
		name := "original"
		if row > 0 {
			name = strings.TrimPrefix(views[row-1].words, "the ")
		}
		y := top + float64(row)*line
		for k, word := range wrapped(name, 11) {
			out.text(left-10, y+cell/2+float64(k)*15, "end", "label", word)
		}
		for k := range columns {
			from := d[max(row-1, 0)].Pictures[k]
			pixels, caption := from.Recovered, "read as "+className(data, from.Read)
			if row == 0 {
				pixels, caption = from.Original, className(data, from.Label)
			}
			x0 := left + float64(k)*(cell+gap)
			out.image(x0, y, data, pixels, low, high)
			out.text(x0+cell/2, y+cell+13, "middle", "tick", cut(caption, 12))
		}
	}
	return out.svg(title)
}

const maxColumns = 6

// wrapped breaks a name into lines of about n letters.
func wrapped(name string, n int) []string {
	var out []string
	for _, word := range strings.Fields(name) {
		if k := len(out) - 1; k >= 0 && len(out[k])+1+len(word) <= n {
			out[k] += " " + word
			continue
		}
		out = append(out, word)
	}
	return out
}

// image draws pixels as one path for every level of brightness, of runs of
// pixels that are alike.
func (d *drawing) image(x0, y0 float64, data runs.Data, pixels []float32, low, high float64) {
	size := data.Height * data.Width
	paths := make([]strings.Builder, maxLevels+1)
	level := func(i int) int {
		sum := 0.0
		for c := range data.Channels {
			sum += float64(pixels[c*size+i])
		}
		v := (sum/float64(data.Channels) - low) / max(high-low, 1e-9)
		return int(math.Round(min(max(v, 0), 1) * maxLevels))
	}
	for r := range data.Height {
		for c := 0; c < data.Width; {
			l, from := level(r*data.Width+c), c
			for c < data.Width && level(r*data.Width+c) == l {
				c++
			}
			if l > 0 {
				fmt.Fprintf(&paths[l], "M%d %dh%dv1h-%dz", from, r, c-from, c-from)
			}
		}
	}
	scale := cell / float64(max(data.Height, data.Width))
	d.add(`<g transform="translate(%.1f %.1f) scale(%.4f)" shape-rendering="crispEdges"><rect width="%d" height="%d" fill="#000"/>`, x0, y0, scale, data.Width, data.Height)
	for l := range paths {
		if paths[l].Len() > 0 {
			grey := 255 * l / maxLevels
			d.add(`<path d="%s" fill="rgb(%d,%d,%d)"/>`, paths[l].String(), grey, grey, grey)
		}
	}
	d.add(`</g>`)
}

func fixed(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

// smallPercent keeps two digits of what percent would round to zero.
func smallPercent(v float64) string {
	if v > 0 && v < 0.001 {
		return strconv.FormatFloat(100*v, 'f', 2, 64) + " %"
	}
	return percent(v)
}

func shown(v *float64, show func(float64) string) string {
	if v == nil {
		return "–"
	}
	return show(*v)
}

// within writes a figure with its interval.
func within(v, low, high *float64, show func(float64) string) string {
	if v == nil || low == nil || high == nil {
		return shown(v, show)
	}
	return fmt.Sprintf("%s (%s to %s)", show(*v), show(*low), show(*high))
}

func epsilonText(v *float64) string {
	if v == nil {
		return "∞"
	}
	return compact(*v)
}

// upper begins a title that has no prefix with a capital.
func upper(prefix, title string) string {
	if prefix != "" {
		return title
	}
	return strings.ToUpper(title[:1]) + title[1:]
}
