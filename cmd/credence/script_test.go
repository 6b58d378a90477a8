package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"credence/datasets"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"credence": main})
}

// TestScripts runs the transcripts in testdata/script, each in a folder of its
// own, with credence as real processes.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "freeport": freePort, "listening": listening, "clinics": clinics, "capture": capture, "garble": garble, "appears": appears,
		},
	})
}

// exits N COMMAND...: runs the command, which must end with code N.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var ended *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &ended) {
		got = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// freeport VAR: sets VAR to a loopback address that nobody listens on.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// appears FILE: waits until the file is there.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

// listening ADDRESS: waits until somebody listens there.
func listening(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", args[0])
		if err == nil {
			ts.Check(conn.Close())
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("nobody listens on %s: %v", args[0], err)
		}
	}
}

// clinics DIR NAME...: divides the breast cancer data among the names, a folder
// each below DIR, and copies the schema into DIR.
func clinics(ts *testscript.TestScript, _ bool, args []string) {
	dir, names := ts.MkAbs(args[0]), args[1:]
	set, err := datasets.Builtin(datasets.BreastCancer)
	ts.Check(err)
	train, err := datasets.IID(set.Train, len(names), 1)
	ts.Check(err)
	test, err := datasets.IID(set.Test, len(names), 1)
	ts.Check(err)
	for i, name := range names {
		schema, err := set.WriteNode(filepath.Join(dir, name), train[i], test[i])
		ts.Check(err)
		text, err := schema.YAML()
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(dir, datasets.NodeSchemaFile), text, 0o600))
	}
}

// capture VAR: sets VAR to the standard output of the last command.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// garble DIR: changes a byte in every file of the folder.
func garble(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil || len(raw) == 0 {
			return err
		}
		raw[len(raw)/2] ^= 1
		return os.WriteFile(path, raw, 0o600)
	}))
}

func TestExitCodes(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	failure := fmt.Errorf("broken")
	for _, c := range []struct {
		name    string
		ctx     context.Context
		err     error
		started bool
		want    int
	}{
		{"done", t.Context(), nil, true, exitOK},
		{"done while interrupted", ended, nil, true, exitOK},
		{"failed", t.Context(), failure, true, exitFailed},
		{"before the command", t.Context(), failure, false, exitUsage},
		{"usage", t.Context(), fmt.Errorf("x: %w", usagef("bad")), true, exitUsage},
		{"interrupted", ended, failure, true, exitInterrupted},
	} {
		if got := exitCode(c.ctx, c.err, c.started); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
