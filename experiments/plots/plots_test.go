package plots

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/color"
	"image/png"
	"io"
	"math"
	"strings"
	"testing"
)

// drawn returns a figure in both formats, decoded.
func drawn(t *testing.T, f *Figure) (svg string, at func(x, y int) color.Color, ink int) {
	t.Helper()
	var vector, raster bytes.Buffer
	if err := f.Write(&vector, SVG); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(&raster, PNG); err != nil {
		t.Fatal(err)
	}
	svg = vector.String()
	for dec := xml.NewDecoder(&vector); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the SVG is no XML: %v", err)
		}
	}
	img, err := png.Decode(&raster)
	if err != nil {
		t.Fatal(err)
	}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			if r, g, b, _ := img.At(x, y).RGBA(); b > r+0x4000 && b > g {
				ink++
			}
		}
	}
	return svg, img.At, ink
}

func TestCurves(t *testing.T) {
	f, err := Curves(Axes{Title: "Accuracy", X: "round", Y: "accuracy"}, []Series{
		{Name: "fedavg <b>", X: []float64{1, 2, 3}, Y: []float64{0.1, 0.5, 0.9}, Low: []float64{0, 0.4, 0.8}, High: []float64{0.2, 0.6, 1}},
		{Name: "late", X: []float64{2, 3, 4}, Y: []float64{math.NaN(), 0.2, 0.3}},
		{Name: "diverged", X: []float64{1}, Y: []float64{math.Inf(1)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	svg, _, ink := drawn(t, f)
	for _, want := range []string{"Accuracy", "round", "fedavg &lt;b&gt;", "late"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the figure does not say %q", want)
		}
	}
	if strings.Contains(svg, "diverged") || ink < 500 {
		t.Errorf("a line without values has a name, or a line is not drawn: %d blue pixels", ink)
	}
	if _, err := Curves(Axes{}, nil); !errors.Is(err, ErrNothing) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Curves(Axes{}, []Series{{X: []float64{1}}}); err == nil {
		t.Error("lengths that differ are taken")
	}
	if _, err := Curves(Axes{}, make([]Series, 13)); err == nil {
		t.Error("thirteen lines are taken")
	}
	if err := f.Write(io.Discard, "gif"); err == nil {
		t.Error("another format is taken")
	}
}

func TestPartition(t *testing.T) {
	few := [][]int64{{10, 0, 3}, {0, 40}, {5, 5, 5}}
	many := make([][]int64, 100)
	for i := range many {
		many[i] = []int64{int64(i), int64(100 - i), 0}
	}
	for name, counts := range map[string][][]int64{"circles": few, "heat map": many} {
		f, err := Partition("Rows", []string{"a", "b", "c"}, counts)
		if err != nil {
			t.Fatal(err)
		}
		if svg, _, ink := drawn(t, f); ink < 300 || !strings.Contains(svg, "client") {
			t.Errorf("%s: %d blue pixels", name, ink)
		}
	}
	for name, c := range map[string]struct {
		classes []string
		counts  [][]int64
	}{
		"no client":   {[]string{"a"}, nil},
		"no class":    {nil, few},
		"more counts": {[]string{"a"}, few},
		"below zero":  {[]string{"a"}, [][]int64{{-1}}},
	} {
		if _, err := Partition("", c.classes, c.counts); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Partition("", []string{"a"}, [][]int64{{0}}); !errors.Is(err, ErrNothing) {
		t.Errorf("no row: %v", err)
	}
}
