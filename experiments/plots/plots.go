package plots

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Format is a kind of file.
type Format string

// The formats.
const (
	PNG Format = "png"
	SVG Format = "svg"
)

// Figure is a drawing of a fixed size.
type Figure struct {
	plot          *plot.Plot
	width, height vg.Length
}

// Write writes the figure.
func (f *Figure) Write(w io.Writer, format Format) error {
	if format != PNG && format != SVG {
		return fmt.Errorf("plots: format %q: want png or svg", format)
	}
	to, err := f.plot.WriterTo(f.width, f.height, string(format))
	if err != nil {
		return fmt.Errorf("plots: drawing: %w", err)
	}
	if _, err := to.WriteTo(w); err != nil {
		return fmt.Errorf("plots: writing: %w", err)
	}
	return nil
}

// Series is one line: Y over X, with a band from Low to High where both are
// given. All slices that are given have one length.
type Series struct {
	Name            string
	X, Y, Low, High []float64
}

// Axes say what is drawn.
type Axes struct {
	Title, X, Y string
}

// most lines that can be told apart in one figure.
const maxSeries = 12

var (
	palette = []color.RGBA{{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {148, 103, 0, 255}, {86, 180, 233, 255}, {0, 0, 0, 255}, {120, 120, 120, 255}}
	dashes  = [][]vg.Length{nil, {vg.Points(6), vg.Points(2)}, {vg.Points(2), vg.Points(2)}, {vg.Points(7), vg.Points(2), vg.Points(2), vg.Points(2)}}
	blue    = palette[0]
)

// ErrNothing says that there is no value to draw.
var ErrNothing = errors.New("plots: there is no value to draw")

// Curves draws up to twelve series, 6 by 4 inches. Values that are not finite
// are left out.
func Curves(axes Axes, series []Series) (*Figure, error) {
	if len(series) > maxSeries {
		return nil, fmt.Errorf("plots: %d lines in one figure: at most %d can be told apart", len(series), maxSeries)
	}
	p := newPlot(axes)
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left = false, false
	p.Legend.YOffs, p.Legend.XOffs = vg.Points(6), vg.Points(-6)
	drawn := 0
	for i, s := range series {
		if len(s.X) != len(s.Y) || len(s.Low) != len(s.High) || len(s.Low) != 0 && len(s.Low) != len(s.X) {
			return nil, fmt.Errorf("plots: series %q: %d, %d, %d and %d values: lengths differ", s.Name, len(s.X), len(s.Y), len(s.Low), len(s.High))
		}
		c := palette[i%len(palette)]
		var upper, lower, middle plotter.XYs
		for k := range s.X {
			if !finite(s.X[k], s.Y[k]) {
				continue
			}
			middle = append(middle, plotter.XY{X: s.X[k], Y: s.Y[k]})
			if len(s.Low) > 0 && finite(s.Low[k], s.High[k]) {
				upper = append(upper, plotter.XY{X: s.X[k], Y: s.High[k]})
				lower = append(lower, plotter.XY{X: s.X[k], Y: s.Low[k]})
			}
		}
		if len(middle) == 0 {
			continue
		}
		drawn++
		if len(upper) > 1 {
			for k := len(lower) - 1; k >= 0; k-- {
				upper = append(upper, lower[k])
			}
			band, err := plotter.NewPolygon(upper)
			if err != nil {
				return nil, fmt.Errorf("plots: %w", err)
			}
			band.Color = color.NRGBA{R: c.R, G: c.G, B: c.B, A: 45}
			band.LineStyle.Width = 0
			p.Add(band)
		}
		line, err := plotter.NewLine(middle)
		if err != nil {
			return nil, fmt.Errorf("plots: %w", err)
		}
		line.Color, line.Width, line.Dashes = c, vg.Points(1.4), dashes[i%len(dashes)]
		p.Add(line)
		if len(series) > 1 {
			p.Legend.Add(s.Name, line)
		}
	}
	if drawn == 0 {
		return nil, ErrNothing
	}
	return &Figure{p, 6 * vg.Inch, 4 * vg.Inch}, nil
}

func newPlot(axes Axes) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = axes.Title, axes.X, axes.Y
	p.Title.Padding = vg.Points(6)
	p.BackgroundColor = color.White
	return p
}

func finite(vs ...float64) bool {
	for _, v := range vs {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// Bounds of a picture of a partition.
const (
	maxClients = 4096
	maxClasses = 256
	fewClients = 60 // more are drawn as a heat map
)

// Partition draws how rows are divided: counts[client][class] rows, as circles
// whose area is the count for up to 60 clients, as a heat map for more. Rows of
// counts may be shorter than classes; a class beyond them has none.
func Partition(title string, classes []string, counts [][]int64) (*Figure, error) {
	if len(counts) == 0 || len(counts) > maxClients || len(classes) == 0 || len(classes) > maxClasses {
		return nil, fmt.Errorf("plots: %d clients and %d classes: want 1 to %d and 1 to %d", len(counts), len(classes), maxClients, maxClasses)
	}
	most := int64(0)
	for i, row := range counts {
		if len(row) > len(classes) {
			return nil, fmt.Errorf("plots: client %d has counts for %d classes of %d", i, len(row), len(classes))
		}
		for _, v := range row {
			if v < 0 {
				return nil, fmt.Errorf("plots: client %d has a count below zero", i)
			}
			most = max(most, v)
		}
	}
	if most == 0 {
		return nil, ErrNothing
	}
	p := newPlot(Axes{Title: title, X: "client", Y: "class"})
	p.NominalY(classes...)
	p.X.Min, p.X.Max = 0.5, float64(len(counts))+0.5
	p.Y.Min, p.Y.Max = -0.6, float64(len(classes))-0.4
	p.X.Tick.Marker = plot.TickerFunc(wholeTicks)
	width := vg.Length(min(max(4, 1.6+0.16*float64(len(counts))), 9)) * vg.Inch
	if len(counts) > fewClients {
		p.Add(&cells{counts: counts, most: most})
	} else {
		p.Add(plotter.NewGrid(), &circles{counts: counts, most: most})
	}
	return &Figure{p, width, vg.Length(min(max(2.2, 1+0.24*float64(len(classes))), 9)) * vg.Inch}, nil
}

// wholeTicks marks whole numbers only.
func wholeTicks(low, high float64) []plot.Tick {
	step := math.Max(1, math.Ceil((high-low)/10))
	var out []plot.Tick
	for v := math.Max(1, math.Ceil(low)); v <= high; v += step {
		out = append(out, plot.Tick{Value: v, Label: strconv.Itoa(int(v))})
	}
	return out
}

// circles draws counts as areas.
type circles struct {
	counts [][]int64
	most   int64
}

// Plot implements plot.Plotter.
func (b *circles) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	radius := min(x(2)-x(1), y(1)-y(0)) / 2
	radius = max(radius, vg.Points(2.5))
	for i, row := range b.counts {
		for k, v := range row {
			if v == 0 {
				continue
			}
			c.DrawGlyph(draw.GlyphStyle{Color: blue, Radius: radius * vg.Length(math.Sqrt(float64(v)/float64(b.most))), Shape: draw.CircleGlyph{}},
				vg.Point{X: x(float64(i + 1)), Y: y(float64(k))})
		}
	}
}

// cells draws counts as shades.
type cells struct {
	counts [][]int64
	most   int64
}

// Plot implements plot.Plotter.
func (h *cells) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i, row := range h.counts {
		for k, v := range row {
			if v == 0 {
				continue
			}
			share := math.Sqrt(float64(v) / float64(h.most)) // small counts stay visible
			shade := func(dark uint8) uint8 { return uint8(255 - share*(255-float64(dark))) }
			left, right := x(float64(i)+0.5), x(float64(i)+1.5)
			low, high := y(float64(k)-0.45), y(float64(k)+0.45)
			c.FillPolygon(color.RGBA{shade(blue.R), shade(blue.G), shade(blue.B), 255},
				[]vg.Point{{X: left, Y: low}, {X: right, Y: low}, {X: right, Y: high}, {X: left, Y: high}})
		}
	}
}
