package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"credence/datasets"
	"credence/fl"
)

// demoOptions are the flags of the demonstration.
type demoOptions struct {
	dir    string
	data   string
	rows   int
	rounds int
	keep   bool
	suite  string
	proof  string
	keys   string // folder of sealed proof keys
	seed   uint64
	listen string
}

// defaultListen is where an aggregator listens when nothing is said.
const defaultListen = "127.0.0.1:7443"

func newDemo(a *app) *cobra.Command {
	o := demoOptions{}
	cmd := &cobra.Command{
		Use: "demo", Short: "Run a whole federation on this machine", Args: cobra.NoArgs,
		Long: `Runs four hospitals, a 3-of-4 committee, an aggregator and a model owner as
separate parties over mutual TLS on the loopback interface. They train a model
on real, unevenly divided data in encrypted rounds; the result is compared with
a model trained on all data in one place. With --data digits they are four
institutions that learn to read handwritten digits by softmax regression.

Everything is written below one new folder, ./credence-demo unless --dir says
otherwise. Interrupting it before the end stops all parties and removes the
folder again.`,
		Example: "  credence demo\n  credence demo --rounds 20 --keep\n  credence demo --proof trained --data digits",
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := demoDataOf(o.data)
			if err != nil {
				return err
			}
			if fl.ProofLevel(o.proof).Trained() && !cmd.Flags().Changed("rounds") {
				o.rounds = data.rounds // of full-batch steps at a larger rate
			}
			return a.demo(cmd.Context(), o, data)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "new folder for the parties (default: ./credence-demo or, if that is taken, a numbered one beside it)")
	f.StringVar(&o.data, "data", datasets.BreastCancer, "data set: breast-cancer or digits")
	f.IntVar(&o.rows, "rows", 0, "train on this many of the data set's rows (default: all)")
	f.IntVar(&o.rounds, "rounds", 12, "encrypted rounds (at proof level trained the default is 6, or 8 on digits)")
	f.BoolVar(&o.keep, "keep", false, "keep the federation running at the end, until Ctrl-C")
	f.StringVar(&o.suite, "suite", "rlwe4096-d1-v1", "encryption suite")
	f.StringVar(&o.proof, "proof", string(fl.ProofBounded), "proof level: none, bounded or trained")
	f.StringVar(&o.keys, "proof-keys", "", "folder of proof keys that a ceremony sealed (default: a local set-up)")
	f.Uint64Var(&o.seed, "seed", 2, "seed of the division of the data")
	f.StringVar(&o.listen, "listen", "", "address of the aggregator (default: "+defaultListen+" or, if that is taken, any free port)")
	return cmd
}

func (a *app) demo(ctx context.Context, o demoOptions, data demoData) (err error) {
	if o.rounds < 1 || o.rounds > 10_000 {
		return usagef("--rounds %d: want 1 to 10000", o.rounds)
	}
	if err := fl.ProofLevel(o.proof).Validate(); err != nil {
		return usagef("--proof: %w", err)
	}
	if o.rows != 0 && o.rows < demoLeastRows {
		return usagef("--rows %d: want %d or more, or 0 for all", o.rows, demoLeastRows)
	}
	dir, err := newFolder(o.dir, "credence-demo")
	if err != nil {
		return err
	}
	o.dir = dir
	if o.listen == "" {
		o.listen = freeAddress(ctx, defaultListen)
	}
	d := &demo{app: a, opts: o, data: data}
	defer func() {
		if stopErr := d.stop(); err == nil {
			err = stopErr
		}
		if !d.finished {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	return d.run(ctx)
}

// newFolder makes the folder that a demonstration fills: the one asked for,
// which must be new or empty, or the first free one of name, name-2, ...
func newFolder(asked, name string) (string, error) {
	if asked != "" {
		entries, err := os.ReadDir(asked)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return "", fmt.Errorf("the folder for the demonstration: %w", err)
		case len(entries) > 0:
			return "", usagef("--dir %s: the folder is not empty; choose a new one", asked)
		}
		return asked, os.MkdirAll(asked, 0o700)
	}
	for i := 1; i < 1000; i++ {
		dir := name
		if i > 1 {
			dir = fmt.Sprintf("%s-%d", name, i)
		}
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("the folder for the demonstration: %w; choose another place with --dir", err)
		}
	}
	return "", fmt.Errorf("%s and its numbered siblings are all taken; remove some, or choose a folder with --dir", name)
}

// freeAddress returns the preferred address when nobody listens there, else
// one with a port of the system's choice.
func freeAddress(ctx context.Context, preferred string) string {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", preferred)
	if err != nil {
		return "127.0.0.1:0"
	}
	if err := l.Close(); err != nil {
		return "127.0.0.1:0"
	}
	return preferred
}

const goRun = "go run ./cmd/credence"

// program is how the user called this program, for commands to copy.
func program() string {
	if strings.Contains(filepath.ToSlash(os.Args[0]), "/go-build") {
		return goRun
	}
	return os.Args[0]
}
