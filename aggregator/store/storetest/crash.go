package storetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"credence/aggregator/store"
	"credence/fl"
)

const crashDir = "CREDENCE_STORETEST_CRASH_DIR"

// crashJob is the job that the child works on.
const crashJob = fl.JobID("crash")

// Child makes this process one that RunCrash kills or that RunProcesses lets
// race, if it was started for that; then it does not return. Call it first in
// TestMain.
func Child(open Open) {
	var err error
	if dir := os.Getenv(crashDir); dir != "" {
		err = work(context.Background(), open, dir)
	} else if dir := os.Getenv(raceDir); dir != "" {
		err = compete(context.Background(), open, dir, os.Getenv(raceName))
	} else {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// work opens and publishes rounds for ever, and says on its output what was
// acknowledged. Every call is first repeated from where the last process was
// killed, so that a repeated call is part of the test.
func work(ctx context.Context, open Open, dir string) error {
	s, err := open(ctx, dir)
	if err != nil {
		return err
	}
	spec := jobSpec(crashJob, 1)
	if err := s.Transact(ctx, transfer("grant/crash", "issuer", "party/owner", 1_000_000)); err != nil {
		return err
	}
	if err := s.SubmitJob(ctx, spec, transfer("escrow/crash", "party/owner", "escrow/crash", 1_000_000), start); err != nil {
		return err
	}
	j, err := s.Job(ctx, crashJob)
	if err != nil {
		return err
	}
	for n := max(j.LastRound, 1); ; n++ {
		if err := s.OpenRound(ctx, plan(spec, crashJob, n, 1), "open", nil); err != nil {
			return err
		}
		r, err := s.Round(ctx, crashJob, n)
		if err != nil {
			return err
		}
		for from := r.Version; from < 3; from++ {
			step := store.RoundStep{Job: crashJob, Round: n, From: from, Phase: "open", State: fmt.Append(nil, from), Documents: []fl.Envelope{
				updateHeader(crashJob, n, fl.NodeID("n"+strconv.FormatInt(from, 10)))}}
			if err := s.StepRound(ctx, step); err != nil {
				return err
			}
		}
		if err := s.StepRound(ctx, publishing(spec, crashJob, n, n, 3, 7)); err != nil {
			return err
		}
		fmt.Println("published", n)
	}
}

// RunCrash starts a process that publishes rounds, kills it (SIGKILL) in the
// middle of it, looks at what is left, and starts it again, several times.
func RunCrash(t *testing.T, open Open) {
	dir := t.TempDir()
	var before uint64
	for kill := range 12 {
		acknowledged := runUntilKilled(t, dir, before+uint64(1+kill%3))
		before = checkAfterCrash(t, open, dir, acknowledged)
	}
	t.Logf("%d rounds published in 12 lives", before)
}

func runUntilKilled(t *testing.T, dir string, until uint64) (acknowledged uint64) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$") // #nosec G204 -- this test binary
	child.Env = append(os.Environ(), crashDir+"="+dir)
	var complaint strings.Builder
	child.Stderr = &complaint
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	killed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "published %d", &acknowledged); err != nil {
			t.Errorf("the child says %q", lines.Text())
		}
		if acknowledged >= until && !killed {
			killed = true
			must(t, child.Process.Kill()) // what it said until it died is read on
		}
	}
	if err := child.Wait(); err == nil || !killed {
		t.Fatalf("the child was to be killed at round %d and ended by itself at %d: %v: %s", until, acknowledged, err, complaint.String())
	}
	return acknowledged
}

// checkAfterCrash checks that what was acknowledged is there, that nothing is
// there in part, and returns the number of published rounds.
func checkAfterCrash(t *testing.T, open Open, dir string, acknowledged uint64) uint64 {
	t.Helper()
	ctx := t.Context()
	s, err := open(ctx, dir)
	must(t, err)
	defer func() { must(t, s.Close()) }()
	j, err := s.Job(ctx, crashJob)
	must(t, err)
	if j.Version < acknowledged {
		t.Fatalf("round %d was acknowledged and the job is at version %d", acknowledged, j.Version)
	}
	models, err := s.Models(ctx, crashJob)
	must(t, err)
	equal(t, uint64(len(models)), j.Version)
	if j.LastRound != j.Version && j.LastRound != j.Version+1 {
		t.Fatalf("round %d was opened at version %d", j.LastRound, j.Version)
	}
	for n := uint64(1); n <= j.LastRound; n++ {
		r, err := s.Round(ctx, crashJob, n)
		must(t, err)
		docs, err := s.RoundDocuments(ctx, crashJob, n)
		must(t, err)
		history := int64(len(docs))
		if n <= j.Version { // published: two headers, the manifest, at version 4
			equal(t, []any{r.Phase, r.Version, history}, []any{"published", int64(4), int64(3)})
			equal(t, models[n-1].Manifest, docs[2].Digest())
		} else {
			equal(t, []any{r.Phase, history}, []any{"open", r.Version - 1})
		}
	}
	balances := conserved(t, s)
	equal(t, balances["party/a"], 7*int64(j.Version))
	equal(t, balances["escrow/crash"], 1_000_000-7*int64(j.Version))
	logged(t, s)
	active, err := s.ActiveRounds(ctx)
	must(t, err)
	equal(t, uint64(len(active)), j.LastRound-j.Version)
	return j.Version
}
