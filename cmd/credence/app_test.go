package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"credence/experiments/config"
)

func TestTable(t *testing.T) {
	var out bytes.Buffer
	a := newApp(nil, &out, &out)
	a.table(" ", table{head: []string{"Näme", ">N", ""}, rows: [][]string{{"a", "10", "x"}, {"ünïcode", "7", ""}}})
	want := " Näme      N\n a        10  x\n ünïcode   7\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestFailureToWriteIsAnError(t *testing.T) {
	if code := run([]string{"version"}, nil, broken{}, &bytes.Buffer{}); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}

// TestHelp keeps every command explained, with an example, within 80 columns.
func TestHelp(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" || !cmd.HasSubCommands() && cmd.Example == "" {
			t.Errorf("%s: no short help, no long help or no example", cmd.CommandPath())
		}
		for _, line := range strings.Split(cmd.Long+"\n"+cmd.Example+"\n"+cmd.UsageString(), "\n") {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), utf8.RuneCountInString(line), line)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	var out bytes.Buffer
	walk(newRoot(newApp(nil, &out, &out)))
	for line := range strings.Lines(config.JobExample + config.Example) {
		if utf8.RuneCountInString(line) > 81 {
			t.Errorf("an example: %s", line)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for want, at := range map[string]time.Time{
		"never": {}, "now": now.Add(-time.Second), "90 s ago": now.Add(-90 * time.Second),
		"5 min ago": now.Add(-5 * time.Minute), "3 h ago": now.Add(-3 * time.Hour), "4 days ago": now.AddDate(0, 0, -4),
	} {
		if got := ago(at, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestClipAndBar(t *testing.T) {
	if got := clip("äöüß", 3); got != "äö…" {
		t.Errorf("clip: %q", got)
	}
	if got := folded("äöü ß x  longer", 5); got != "äöü ß\nx\nlonger" {
		t.Errorf("folded: %q", got)
	}
	if got := bar(1, 2, 4) + bar(0, 0, 2) + bar(9, 3, 2); got != "━━────━━" {
		t.Errorf("bar: %q", got)
	}
}

func TestNewFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, want := range []string{"credence-demo", "credence-demo-2", "credence-demo-3"} {
		if got, err := newFolder("", "credence-demo"); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if got, err := newFolder(filepath.Join("a", "b"), ""); err != nil || got != filepath.Join("a", "b") {
		t.Errorf("nested: %q, %v", got, err)
	}
	if _, err := newFolder("credence-demo-2", ""); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join("credence-demo-2", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var usage usageError
	if _, err := newFolder("credence-demo-2", ""); !errors.As(err, &usage) {
		t.Errorf("a folder in use: %v", err)
	}
}

func TestConnectionError(t *testing.T) {
	for in, want := range map[string]string{
		`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`: "dial tcp 127.0.0.1:1: connect: connection refused",
		"anything else": "anything else",
	} {
		if got := connectionError(in); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"a/b-c": "a/b-c", "a b": "'a b'", "it's": `'it'\''s'`} {
		if got := quote(in); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
