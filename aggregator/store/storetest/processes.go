package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"credence/aggregator/store"
)

const (
	raceDir  = "CREDENCE_STORETEST_RACE_DIR"
	raceName = "CREDENCE_STORETEST_RACE_NAME"

	raceSteps = 30
)

// compete tries to make every step of a round, against other processes that
// try the same, and enters transactions of its own. It says which steps it
// made.
func compete(ctx context.Context, open Open, dir, name string) (err error) {
	s, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for from := int64(1); from <= raceSteps; from++ {
		switch err := s.StepRound(ctx, store.RoundStep{Job: "j", Round: 1, From: from, Phase: "open", State: []byte(name)}); {
		case err == nil:
			fmt.Println(from)
		case !errors.Is(err, store.ErrStale):
			return err
		}
		if err := s.Transact(ctx, transfer(fmt.Sprintf("grant/%s/%d", name, from), "issuer", "party/a", 1)); err != nil {
			return err
		}
	}
	return nil
}

// RunProcesses lets several processes race for the steps of one round: each
// step is made exactly once, and no transaction is lost.
func RunProcesses(t *testing.T, open Open) {
	dir := t.TempDir()
	s := in(t, open, dir)
	spec := submit(t, s, "j", 10)
	must(t, s.OpenRound(t.Context(), plan(spec, "j", 1, 1), "open", nil))
	type process struct {
		*exec.Cmd
		made, complaint strings.Builder
	}
	processes := make([]process, 3)
	for i := range processes {
		p := &processes[i]
		p.Cmd = exec.Command(os.Args[0], "-test.run=^$") // #nosec G204 -- this test binary
		p.Env = append(os.Environ(), raceDir+"="+dir, fmt.Sprintf("%s=%d", raceName, i))
		p.Stdout, p.Stderr = &p.made, &p.complaint
		must(t, p.Start())
	}
	makers := make(map[string]int)
	for i := range processes {
		p := &processes[i]
		if err := p.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i, err, p.complaint.String())
		}
		for _, step := range strings.Fields(p.made.String()) {
			if other, made := makers[step]; made {
				t.Errorf("step %s was made by process %d and by process %d", step, other, i)
			}
			makers[step] = i
		}
	}
	equal(t, len(makers), raceSteps)
	r, err := s.Round(t.Context(), "j", 1)
	must(t, err)
	equal(t, r.Version, int64(raceSteps+1))
	equal(t, string(r.State), fmt.Sprint(makers[fmt.Sprint(raceSteps)]))
	equal(t, conserved(t, s)["party/a"], int64(len(processes)*raceSteps))
	logged(t, s)
}
