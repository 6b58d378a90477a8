package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"credence/client/audit"
	"credence/fl"
)

// Exit codes. They are stable: scripts test them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitLie         = 4
	exitInterrupted = 130
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run executes one command and returns its exit code. The first interrupt asks
// it to finish, the second one kills the process.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	a := newApp(stdin, stdout, stderr)
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.written
	}
	code := exitCode(ctx, err, a.started)
	if code != exitOK {
		a.complain(err, code)
	}
	return code
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode classifies the end of a command. An error before the command itself
// began is the command line's.
func exitCode(ctx context.Context, err error, started bool) int {
	var usage usageError
	var lie *audit.Lie
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), !started:
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &lie):
		return exitLie
	case fl.CodeOf(err) != "":
		return exitRefused
	}
	return exitFailed
}

// complain tells what went wrong, in words and with what to do next.
func (a *app) complain(err error, code int) {
	a.progress("")
	message := strings.TrimRight(err.Error(), "\n")
	switch code {
	case exitInterrupted:
		message = "interrupted"
	case exitUsage:
		message += "\nRun '" + a.help + " --help' for how to use it."
	}
	if code == exitLie {
		_, _ = fmt.Fprintf(a.err, "LIE: %s\n", message)
		return
	}
	_, _ = fmt.Fprintf(a.err, "credence: %s\n", message)
}

// newRoot builds the tree of commands.
func newRoot(a *app) *cobra.Command {
	root := group("credence", "Train one model on data that never leave their owners", `Credence trains one model across institutions. Each trains on its own data and
encrypts its update; a committee of the institutions opens only the sum; the
model is published and the contributors are paid in credits.

Start here: credence demo

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the other side, 4 an
audit found a lie, 130 interrupted. Results go to standard output, logs to
standard error. CREDENCE_DIR stands for --dir where that is missing.`)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetUsageTemplate(strings.NewReplacer("FlagUsages ", "FlagUsagesWrapped 80 ",
		`Use "{{.CommandPath}} [command] --help" for more information about a command.`, `More: {{.CommandPath}} [command] --help`).Replace(root.UsageTemplate()))
	root.CompletionOptions.HiddenDefaultCmd = true
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "print results as JSON, streams as JSON lines")
	flags.StringVar(&a.logFormat, "log-format", "text", "format of the log: text or json")
	flags.StringVar(&a.logLevel, "log-level", "", "least level to log: debug, info, warn or error (default: info for services, warn otherwise)")
	flags.BoolVar(&a.insecure, "insecure-suite-for-tests", false, "accept suites that protect nothing")
	if err := flags.MarkHidden("insecure-suite-for-tests"); err != nil {
		panic(err) // the flag is defined two lines above
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		a.help = cmd.CommandPath()
		return usageError{err}
	})
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		a.started, a.help = true, cmd.CommandPath()
		return a.checkLog()
	}
	root.AddCommand(newDemo(a), newFederation(a), newAggregator(a), newNode(a), newJob(a), newExperiment(a), newDataset(a), newModel(a), newLedger(a), newLog(a), newWitness(a), newAudit(a), newVersion(a))
	a.checkArguments(root)
	return root
}

// checkArguments makes every command say what it wants when it gets too many
// or too few arguments.
func (a *app) checkArguments(cmd *cobra.Command) {
	if accept := cmd.Args; accept != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			a.help = cmd.CommandPath()
			if err := accept(cmd, args); err != nil {
				return usagef("%s: want: %s", plural(len(args), "argument"), cmd.UseLine())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		a.checkArguments(sub)
	}
}

// group makes a command that only holds others. Called without one of them it
// shows its help; with a word that is none of them it fails.
func group(use, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs,
		SuggestionsMinimumDistance: 2, DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "; did you mean " + near[0] + "?"
			}
			return usagef("there is no command %q%s", cmd.CommandPath()+" "+args[0], hint)
		},
	}
}
