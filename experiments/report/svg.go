package report

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"

	"credence/experiments/results"
)

// drawing gathers an SVG picture. Its width is fixed and its text sized so that
// it can be read when the page is as narrow as a telephone.
type drawing struct {
	b             strings.Builder
	width, height float64
}

const chartWidth = 480

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

// text writes a label; anchor is start, middle or end.
func (d *drawing) text(x, y float64, anchor, class, s string) {
	d.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, html.EscapeString(s))
}

// svg closes the picture; title is what a screen reader says.
func (d *drawing) svg(title string) string {
	return fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">%s</svg>`, d.width, d.height, html.EscapeString(title), d.b.String())
}

// scale maps values to places.
type scale struct{ from, to, low, high float64 }

func (s scale) at(v float64) float64 {
	if s.to == s.from {
		return (s.low + s.high) / 2
	}
	return s.low + (v-s.from)/(s.to-s.from)*(s.high-s.low)
}

// niceTicks returns at most n+1 round values that cover [low, high].
func niceTicks(low, high float64, n int) []float64 {
	if !(high > low) || math.IsInf(high-low, 0) {
		return []float64{low}
	}
	raw := (high - low) / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := power * 10
	for _, m := range []float64{1, 2, 5} {
		if m*power*1.2 >= raw {
			step = m * power
			break
		}
	}
	var out []float64
	for k := math.Ceil(low/step - 1e-9); k*step <= high+step*1e-9 && len(out) <= 2*n; k++ {
		out = append(out, k*step)
	}
	return out
}

// series is one line of a chart, with a band where low and high are given.
type series struct {
	name            string
	class           int // colour and dashes
	x, y, low, high []float64
	ghost           bool // drawn faintly, for comparison
}

// lines is a chart of series over one axis.
type lines struct {
	title, xLabel string
	share         bool // y are shares, shown in percent
	whole         bool // x are whole numbers
	series        []series
	low, high     *float64 // of y, where charts must be comparable
	height        float64
}

// bounds returns the range of what the chart shows.
func (c lines) bounds() (x, y [2]float64, ok bool) {
	x, y = [2]float64{math.Inf(1), math.Inf(-1)}, [2]float64{math.Inf(1), math.Inf(-1)}
	take := func(r *[2]float64, vs []float64) {
		for _, v := range vs {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				r[0], r[1] = min(r[0], v), max(r[1], v)
			}
		}
	}
	for _, s := range c.series {
		take(&x, s.x)
		take(&y, s.y)
		take(&y, s.low)
		take(&y, s.high)
	}
	if c.low != nil {
		y[0] = *c.low
	}
	if c.high != nil {
		y[1] = *c.high
	}
	return x, y, x[0] <= x[1] && y[0] <= y[1]
}

func (c lines) draw() string {
	if c.height == 0 {
		c.height = 270
	}
	d := &drawing{width: chartWidth, height: c.height}
	xr, yr, ok := c.bounds()
	if !ok {
		d.text(chartWidth/2, c.height/2, "middle", "label", "no values")
		return d.svg(c.title)
	}
	if yr[0] == yr[1] {
		yr[0], yr[1] = yr[0]-0.5, yr[1]+0.5
	}
	pad := (yr[1] - yr[0]) * 0.04
	yr[0], yr[1] = yr[0]-pad, yr[1]+pad
	if c.share {
		yr[0], yr[1] = max(0, yr[0]), min(1, yr[1])
	}
	xs, ys := scale{xr[0], xr[1], 56, chartWidth - 14}, scale{yr[0], yr[1], c.height - 44, 10}
	for _, v := range niceTicks(yr[0], yr[1], 5) {
		d.add(`<line x1="56" x2="%d" y1="%.1f" y2="%.1f" class="grid"/>`, chartWidth-14, ys.at(v), ys.at(v))
		label := compact(v)
		if c.share {
			label = percentTick(v)
		}
		d.text(50, ys.at(v)+4.5, "end", "tick", label)
	}
	for _, v := range niceTicks(xr[0], xr[1], 5) {
		if c.whole && v != math.Trunc(v) {
			continue
		}
		d.add(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="axis"/>`, xs.at(v), xs.at(v), c.height-44, c.height-39)
		d.text(xs.at(v), c.height-25, "middle", "tick", compact(v))
	}
	d.add(`<line x1="56" x2="%d" y1="%.1f" y2="%.1f" class="axis"/>`, chartWidth-14, c.height-44, c.height-44)
	d.text((56+chartWidth-14)/2, c.height-7, "middle", "label", c.xLabel)
	for _, s := range c.series {
		d.series(s, xs, ys)
	}
	return d.svg(c.title)
}

func (d *drawing) series(s series, xs, ys scale) {
	// What the range leaves out is cut at its edge.
	y := func(v float64) float64 { return min(max(ys.at(v), ys.high), ys.low) }
	if len(s.low) == len(s.x) && len(s.x) > 1 && !s.ghost {
		var path strings.Builder
		for i := range s.x {
			fmt.Fprintf(&path, "%.1f,%.1f ", xs.at(s.x[i]), y(s.high[i]))
		}
		for i := len(s.x) - 1; i >= 0; i-- {
			fmt.Fprintf(&path, "%.1f,%.1f ", xs.at(s.x[i]), y(s.low[i]))
		}
		d.add(`<polygon points="%s" class="band c%d"/>`, strings.TrimSpace(path.String()), s.class)
	}
	class := fmt.Sprintf("line c%d", s.class)
	if s.ghost {
		class = "ghost"
	}
	var path strings.Builder
	for i := range s.x {
		fmt.Fprintf(&path, "%.1f,%.1f ", xs.at(s.x[i]), y(s.y[i]))
	}
	d.add(`<polyline points="%s" class="%s"><title>%s</title></polyline>`, strings.TrimSpace(path.String()), class, html.EscapeString(s.name))
	if len(s.x) == 1 && !s.ghost {
		d.add(`<circle cx="%.1f" cy="%.1f" r="4" class="dot c%d"/>`, xs.at(s.x[0]), y(s.y[0]), s.class)
	}
}

// box is one row of a chart of distributions, values from 0 to 1.
type box struct {
	name                                 string
	p10, p25, median, p75, p90, min, max float64
	worst                                float64 // mean of the worst tenth
}

func boxes(title, xLabel string, rows []box) string {
	const rowHeight, top = 44.0, 4.0
	bottom := top + rowHeight*float64(len(rows))
	d := &drawing{width: chartWidth, height: bottom + 42}
	low := 1.0
	for _, r := range rows {
		low = min(low, r.min, r.worst)
	}
	low = math.Floor(max(0, low)*10-1e-9) / 10
	low = max(0, min(low, 0.9))
	xs := scale{low, 1, 26, chartWidth - 30}
	for _, v := range niceTicks(low, 1, 5) {
		d.add(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="grid"/>`, xs.at(v), xs.at(v), top, bottom)
		d.text(xs.at(v), bottom+16, "middle", "tick", percentTick(v))
	}
	d.text(chartWidth/2, bottom+36, "middle", "label", xLabel)
	labels := make([]string, len(rows))
	for i, r := range rows {
		labels[i] = r.name
	}
	labels = results.Brief(labels, 58)
	for i, r := range rows {
		y := top + rowHeight*float64(i)
		d.text(26, y+13, "start", "label strong", labels[i])
		mid := y + 29
		d.add(`<g><title>%s: median %s, worst tenth %s</title>`, html.EscapeString(r.name), percent(r.median), percent(r.worst))
		d.add(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="whisker"/>`, xs.at(r.p10), xs.at(r.p90), mid, mid)
		d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="14" rx="2" class="box"/>`, xs.at(r.p25), mid-7, max(1, xs.at(r.p75)-xs.at(r.p25)))
		d.add(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="median"/>`, xs.at(r.median), xs.at(r.median), mid-7, mid+7)
		d.add(`<path d="M%.1f %.1f l5 5 l-5 5 l-5 -5 z" class="worst"/></g>`, xs.at(r.worst), mid-5)
	}
	return d.svg(title)
}

// stack is one bar of parts.
type stack struct {
	name, total string
	parts       []float64
}

// stacks draws bars one below the other; names are those of the parts.
func stacks(title string, names []string, rows []stack, show func(float64) string) string {
	const rowHeight, top = 42.0, 2.0
	d := &drawing{width: chartWidth, height: top + rowHeight*float64(len(rows)) + 4}
	labels := make([]string, len(rows))
	most := 0.0
	for i, r := range rows {
		labels[i] = r.name
		sum := 0.0
		for _, p := range r.parts {
			sum += p
		}
		most = max(most, sum)
	}
	xs := scale{0, max(most, math.SmallestNonzeroFloat64), 14, chartWidth - 14}
	labels = results.Brief(labels, 48)
	for i, r := range rows {
		y := top + rowHeight*float64(i)
		d.text(14, y+13, "start", "label strong", labels[i])
		d.text(chartWidth-14, y+13, "end", "tick", r.total)
		at := 0.0
		d.add(`<rect x="14" y="%.1f" width="%d" height="16" rx="2" class="track"/>`, y+19, chartWidth-28)
		for k, p := range r.parts {
			if p <= 0 || most <= 0 {
				continue
			}
			d.add(`<rect x="%.1f" y="%.1f" width="%.2f" height="16" class="fill c%d"><title>%s: %s</title></rect>`,
				xs.at(at), y+19, xs.at(at+p)-xs.at(at), k, html.EscapeString(names[k]), html.EscapeString(show(p)))
			at += p
		}
	}
	return d.svg(title)
}

// most clients that a picture of a partition shows.
const maxBubbles = 40

// bubbles draws counts[client][class] as circles whose area is the count.
func bubbles(title string, clients, classes []string, counts [][]int64) string {
	const left, rowHeight = 92.0, 22.0
	right, top := float64(chartWidth-10), 8.0
	n := len(clients)
	bottom := top + rowHeight*float64(len(classes))
	d := &drawing{width: chartWidth, height: bottom + 40}
	most := int64(1)
	for _, row := range counts {
		for _, v := range row {
			most = max(most, v)
		}
	}
	step := (right - left) / float64(max(n, 1))
	radius := min(rowHeight/2-1, max(step*0.62, 4))
	for k, class := range classes {
		y := top + rowHeight*(float64(k)+0.5)
		d.add(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="grid"/>`, left, right, y, y)
		d.text(left-8, y+4.5, "end", "tick", cut(class, 12))
	}
	for i := range clients {
		x := left + step*(float64(i)+0.5)
		for k := range classes {
			if k >= len(counts[i]) || counts[i][k] <= 0 {
				continue
			}
			d.add(`<circle cx="%.1f" cy="%.1f" r="%.2f" class="bubble"><title>%s, %s: %s</title></circle>`,
				x, top+rowHeight*(float64(k)+0.5), max(0.7, radius*math.Sqrt(float64(counts[i][k])/float64(most))),
				html.EscapeString(clients[i]), html.EscapeString(classes[k]), count(counts[i][k], "row"))
		}
	}
	every := max(1, (n+9)/10)
	for i := 0; i < n; i += every {
		d.text(left+step*(float64(i)+0.5), bottom+16, "middle", "tick", strconv.Itoa(i+1))
	}
	d.text((left+right)/2, bottom+35, "middle", "label", "client")
	return d.svg(title)
}
