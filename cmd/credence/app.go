package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// app is what every command shares: where output goes and how it looks.
type app struct {
	in        io.Reader
	out, err  io.Writer
	terminal  bool // out is a terminal that can redraw a line
	json      bool
	logFormat string
	logLevel  string
	insecure  bool
	style     style
	started   bool   // the command itself has begun
	help      string // the command whose help explains a usage error
	written   error  // the first failure to write a result
	live      string // what stands on the live line
}

func newApp(in io.Reader, out, err io.Writer) *app {
	terminal := isTerminal(out) && os.Getenv("TERM") != "dumb"
	return &app{in: in, out: out, err: err, help: "credence", terminal: terminal, style: style{on: terminal && os.Getenv("NO_COLOR") == ""}}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// style decorates text for a terminal; off, it leaves it alone.
type style struct{ on bool }

func (s style) wrap(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(t string) string  { return s.wrap("1", t) }
func (s style) dim(t string) string   { return s.wrap("2", t) }
func (s style) green(t string) string { return s.wrap("32", t) }
func (s style) red(t string) string   { return s.wrap("31", t) }

// write writes to standard output; the first failure is kept and ends the
// command with an error.
func (a *app) write(text string) {
	if a.live != "" {
		text = "\r\x1b[K" + text
		a.live = ""
	}
	if _, err := io.WriteString(a.out, text); err != nil && a.written == nil {
		a.written = fmt.Errorf("writing the result: %w", err)
	}
}

func (a *app) printf(format string, args ...any) { a.write(fmt.Sprintf(format, args...)) }

// warn says something on standard error that is no result and no failure.
func (a *app) warn(text string) {
	a.progress("")
	_, _ = fmt.Fprintf(a.err, "credence: %s\n", text)
}

// progress replaces the live line, on a terminal only. text must fit 79 columns.
func (a *app) progress(text string) {
	if a.json || !a.terminal || text == a.live {
		return
	}
	a.write("")
	if text != "" {
		a.write(text)
		a.live = text
	}
}

// line writes one JSON object on a line of its own.
func (a *app) line(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		a.written = fmt.Errorf("encoding the result: %w", err)
		return
	}
	a.write(string(raw) + "\n")
}

// result prints v with --json, and text otherwise.
func (a *app) result(v any, text func()) {
	if a.json {
		a.line(v)
		return
	}
	text()
}

func (a *app) checkLog() error {
	if a.logFormat != "text" && a.logFormat != "json" {
		return usagef("--log-format %q: want text or json", a.logFormat)
	}
	if _, err := a.level(slog.LevelInfo); err != nil {
		return err
	}
	return nil
}

func (a *app) level(fallback slog.Level) (slog.Level, error) {
	if a.logLevel == "" {
		return fallback, nil
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(a.logLevel)); err != nil {
		return l, usagef("--log-level %q: want debug, info, warn or error", a.logLevel)
	}
	return l, nil
}

// logger logs to standard error from the given level on, unless --log-level
// says otherwise.
func (a *app) logger(fallback slog.Level) *slog.Logger {
	level, _ := a.level(fallback) // checked before any command began
	o := &slog.HandlerOptions{Level: level}
	if a.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.err, o))
	}
	return slog.New(slog.NewTextHandler(a.err, o))
}

// table is text in columns. A heading that begins with '>' aligns its column
// to the right.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table; the heading is dimmed and every line indented.
func (a *app) table(indent string, t table) {
	width := make([]int, len(t.head))
	right := make([]bool, len(t.head))
	head := make([]string, len(t.head))
	for i, h := range t.head {
		head[i], right[i] = strings.CutPrefix(h, ">")
		width[i] = utf8.RuneCountInString(head[i])
	}
	for _, r := range t.rows {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	layout := func(cells []string) string {
		var b strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i > 0 {
				b.WriteString("  ")
			}
			if right[i] {
				b.WriteString(pad + c)
			} else {
				b.WriteString(c + pad)
			}
		}
		return indent + strings.TrimRight(b.String(), " ")
	}
	if strings.Join(head, "") != "" {
		a.printf("%s\n", a.style.dim(layout(head)))
	}
	for _, r := range t.rows {
		a.printf("%s\n", layout(r))
	}
}

// dirFlag adds --dir; CREDENCE_DIR is its default.
func dirFlag(cmd *cobra.Command, dir *string, what string) {
	cmd.Flags().StringVar(dir, "dir", os.Getenv("CREDENCE_DIR"), what)
}

func needDir(dir string) error {
	if dir == "" {
		return usagef("--dir is missing: want the folder of the party or of the aggregator")
	}
	return nil
}

// ago says how long ago something was, for people.
func ago(at, now time.Time) string {
	if at.IsZero() || at.Unix() <= 0 {
		return "never"
	}
	switch d := now.Sub(at); {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// stamp formats a time for people.
func stamp(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format("2006-01-02 15:04:05Z")
}

// plural returns "1 row" or "7 rows".
func plural[T ~int | ~int64 | ~uint64](n T, noun string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
