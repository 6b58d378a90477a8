package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"credence/experiments/results"
)

// compact writes a number in few characters.
func compact(v float64) string {
	if math.Abs(v) < 1e-12 {
		v = 0 // minus zero, too
	}
	switch a := math.Abs(v); {
	case a >= 1e9:
		return strconv.FormatFloat(v/1e9, 'g', 4, 64) + "G"
	case a >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + "M"
	case a >= 1e4:
		return strconv.FormatFloat(v/1e3, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + " %" }

func percentTick(v float64) string {
	if v = math.Round(1000*v) / 10; v == 0 {
		v = 0 // minus zero, too
	}
	return strconv.FormatFloat(v, 'g', 4, 64) + " %"
}

// bytesText writes an amount of bytes with a decimal prefix.
func bytesText(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if v >= u.size {
			return strconv.FormatFloat(v/u.size, 'f', digits(v/u.size), 64) + " " + u.name
		}
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " B"
}

// digits after the point that leave three figures.
func digits(v float64) int {
	switch {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	}
	return 2
}

// secondsText writes a span of time.
func secondsText(v float64) string {
	switch {
	case v >= 7200:
		return strconv.FormatFloat(v/3600, 'f', 1, 64) + " h"
	case v >= 120:
		return strconv.FormatFloat(v/60, 'f', 1, 64) + " min"
	case v >= 0.1 || v == 0:
		return strconv.FormatFloat(v, 'f', digits(v), 64) + " s"
	}
	if v < 1e-4 {
		return strconv.FormatFloat(v*1e6, 'g', 3, 64) + " µs"
	}
	return strconv.FormatFloat(v*1e3, 'g', 3, 64) + " ms"
}

// plusMinus writes a figure over the seeds.
func plusMinus(s results.Stat, share bool) string {
	if s.N == 0 {
		return "–"
	}
	if share {
		text := strconv.FormatFloat(100*s.Mean, 'f', 2, 64)
		if s.N > 1 {
			text += " ± " + strconv.FormatFloat(100*s.Std, 'f', 2, 64)
		}
		return text + " %"
	}
	text := strconv.FormatFloat(s.Mean, 'g', 4, 64)
	if s.N > 1 {
		text += " ± " + strconv.FormatFloat(s.Std, 'g', 2, 64)
	}
	return text
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// cut shortens a label.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// probability is a number for the p column.
func probability(p float64) string {
	switch {
	case math.IsNaN(p):
		return "–"
	case p < 0.001:
		return "< 0.001"
	}
	return strconv.FormatFloat(p, 'f', 3, 64)
}

func list[T any](v []T) string {
	out := make([]string, len(v))
	for i, x := range v {
		out[i] = fmt.Sprint(x)
	}
	return strings.Join(out, ", ")
}
