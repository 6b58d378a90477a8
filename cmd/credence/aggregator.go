package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"credence/aggregator"
	"credence/fl/identity"
)

func newAggregator(a *app) *cobra.Command {
	cmd := group("aggregator", "The aggregator's service", "Runs the service that relays, adds up and publishes. It cannot read updates.")
	cmd.AddCommand(newServe(a))
	return cmd
}

func newServe(a *app) *cobra.Command {
	var dir, listen string
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve a federation", Args: cobra.NoArgs,
		Long: `Serves the federation in a folder until it is interrupted. It may be stopped
and started at any time: nodes keep trying, and every round goes on where it
was. The federation commands work on the same folder meanwhile.`,
		Example: "  credence aggregator serve --dir aggregator --listen 0.0.0.0:7443",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needDir(dir); err != nil {
				return err
			}
			return a.serve(cmd.Context(), dir, listen)
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	cmd.Flags().StringVar(&listen, "listen", defaultListen, "address to listen on")
	return cmd
}

func (a *app) serve(ctx context.Context, dir, listen string) error {
	log := a.logger(slog.LevelInfo)
	agg, err := aggregator.Open(ctx, dir, aggregator.Options{Log: log})
	if err != nil {
		return err
	}
	listener, err := identity.Listen(listen)
	if err != nil {
		return errors.Join(err, agg.Close())
	}
	g := agg.Genesis()
	log.Info("serving", "federation", g.Federation, "address", listener.Addr().(*net.TCPAddr).String(), "suite", g.Suite, "dir", dir)
	err = agg.Serve(ctx, listener)
	log.Info("stopped")
	return errors.Join(err, agg.Close())
}

// withAggregator opens the aggregator's folder for the operator's commands.
func (a *app) withAggregator(ctx context.Context, dir string, work func(*aggregator.Aggregator) error) error {
	if err := needDir(dir); err != nil {
		return err
	}
	agg, err := aggregator.Open(ctx, dir, aggregator.Options{Log: a.logger(slog.LevelWarn)})
	if err != nil {
		return err
	}
	return errors.Join(work(agg), agg.Close())
}

// isAggregatorDir tells an aggregator's folder from a party's.
func isAggregatorDir(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "federation.db"))
	return err == nil
}

// checkAddress refuses what cannot be an address to connect to.
func checkAddress(flag, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || port == "0" || strings.ContainsAny(address, " \t") {
		return usagef("%s %q: want host:port", flag, address)
	}
	return nil
}

// some joins names for people.
func some[T ~string](names []T) string {
	text := make([]string, len(names))
	for i, n := range names {
		text[i] = string(n)
	}
	if len(text) == 0 {
		return "-"
	}
	return strings.Join(text, ", ")
}
