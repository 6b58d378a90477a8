package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"credence/client"
	"credence/fl/translog"
)

func newWitness(a *app) *cobra.Command {
	cmd := group("witness", "Watch over the log for everybody", `A witness keeps the aggregator to one log: it cosigns each checkpoint after
verifying that it extends the last one it cosigned. Parties that are shown a
log without its signature, or another one, notice. Any enrolled party may be
one; it needs no data and next to no resources, best somewhere else than the
aggregator.`)
	cmd.AddCommand(newWitnessRun(a))
	return cmd
}

func newWitnessRun(a *app) *cobra.Command {
	var dir string
	var interval time.Duration
	var once bool
	cmd := &cobra.Command{
		Use: "run", Short: "Cosign checkpoints until interrupted", Args: cobra.NoArgs,
		Long: `Fetches, verifies and cosigns the newest checkpoint at every interval. It goes
on when the aggregator is away. When the log was forked it keeps the evidence
in its folder and ends, for good, with exit code 1.`,
		Example: "  credence witness run --dir observer --interval 1m",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < time.Second {
				return usagef("--interval %s: want at least 1s", interval)
			}
			if err := needDir(dir); err != nil {
				return err
			}
			w := witness{app: a, dir: dir, log: a.logger(slog.LevelInfo)}
			if once {
				c, err := w.cosign(cmd.Context())
				if err != nil {
					return err
				}
				a.result(reportCheckpoint(c), func() { a.printf("Cosigned: %s under root %s.\n", entriesText(c.Size), c.Root) })
				return nil
			}
			return w.run(cmd.Context(), interval)
		},
	}
	dirFlag(cmd, &dir, "folder of the witness")
	cmd.Flags().DurationVar(&interval, "interval", 30*time.Second, "how often to look")
	cmd.Flags().BoolVar(&once, "once", false, "cosign once and end")
	return cmd
}

type witness struct {
	*app
	dir string
	log *slog.Logger
}

// cosign does the duty once. It connects anew each time, which renews the
// certificate when that is due.
func (w witness) cosign(ctx context.Context) (c client.Checkpoint, err error) {
	err = w.withParty(ctx, w.dir, func(p *party) error {
		c, err = p.remote.Witness(ctx, time.Now)
		return err
	})
	return c, err
}

func (w witness) run(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	size, trouble := int64(-1), ""
	for {
		c, err := w.cosign(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, translog.ErrFork):
			w.log.Error("the log was forked", "error", err)
			return err
		case err != nil && err.Error() != trouble:
			trouble = err.Error()
			w.log.Warn("cannot cosign; trying again", "error", err, "every", interval)
		case err == nil:
			trouble = ""
			if c.Size != size {
				w.log.Info("cosigned", "entries", c.Size, "root", c.Root)
			}
			size = c.Size
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
