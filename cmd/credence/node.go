package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"credence/client"
	"credence/fl"
	"credence/fl/identity"
)

func newNode(a *app) *cobra.Command {
	cmd := group("node", "A party's folder and an institution's node", "Joins a federation, in whatever role the invitation gives, and runs a node.")
	cmd.AddCommand(newJoin(a), newRun(a), newNodeStatus(a))
	return cmd
}

func newJoin(a *app) *cobra.Command {
	var dir string
	var data client.DataSource
	var o client.JoinOptions
	cmd := &cobra.Command{
		Use: "join TOKEN --dir DIR", Short: "Join a federation with an invitation", Args: cobra.ExactArgs(1),
		Long: `Makes this party's keys in a new folder and trades the invitation for a
certificate. The private keys never leave the folder. It may be repeated after
a lost connection. Owners and observers join in the same way. With - in place
of the invitation it is read from standard input: no process list shows it.`,
		Example: "  credence node join TOKEN --dir st-alba --data data.csv --schema schema.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needDir(dir); err != nil {
				return err
			}
			if (data.CSV == "") != (data.Schema == "") {
				return usagef("--data and --schema go together")
			}
			if o.Address != "" {
				if err := checkAddress("--address", o.Address); err != nil {
					return err
				}
			}
			if data.CSV != "" {
				o.Data = []client.DataSource{data}
			}
			return a.join(cmd.Context(), args[0], dir, o)
		},
	}
	dirFlag(cmd, &dir, "new folder of this party")
	f := cmd.Flags()
	f.StringVar(&data.CSV, "data", "", "CSV file to train on")
	f.StringVar(&data.Schema, "schema", "", "schema that describes it")
	f.StringVar(&data.TestCSV, "test-data", "", "CSV file to test on, for schemas that split by file")
	f.IntVar(&o.Capability.MaxShards, "max-shards", 0, "most shards of a model to train in a round (default: all)")
	f.StringVar(&o.Address, "address", "", "address of the aggregator (default: the invitation's)")
	return cmd
}

// maxToken bounds an invitation; real ones have some 400 characters.
const maxToken = 1 << 16

func (a *app) join(ctx context.Context, text, dir string, o client.JoinOptions) error {
	if text == "-" {
		raw, err := io.ReadAll(io.LimitReader(a.in, maxToken))
		if err != nil {
			return fmt.Errorf("reading the invitation: %w", err)
		}
		text = string(raw)
	}
	token, err := identity.ParseToken(text)
	if err != nil {
		return usageError{err}
	}
	// A mistake in the data is better met now than in the first round.
	for _, d := range o.Data {
		if err := checkData(d); err != nil {
			return err
		}
	}
	home, err := client.Join(ctx, dir, token, o)
	if err != nil {
		return explain(err, "the invitation")
	}
	roles := home.Enrolment.Roles
	a.result(map[string]any{"node": home.Node, "federation": home.Genesis.Federation, "genesis": home.GenesisID, "roles": roles, "suite": home.Genesis.Suite,
		"certificate_until": home.CertificateEnds().UTC(), "dir": dir}, func() {
		a.printf("%s belongs to %s as %s.\n", home.Node, home.Genesis.Federation, some(roles))
		a.printf("Genesis %s, suite %s, %d of %d open a sum.\n", home.GenesisID.Short(), home.Genesis.Suite, home.Genesis.Committee.Threshold, home.Genesis.Committee.Members)
		switch {
		case home.Enrolment.Has(fl.RoleNode) && len(o.Data) == 0:
			a.printf("Name its data in %s/node.yaml, then: credence node run --dir %s\n", dir, dir)
		case home.Enrolment.Has(fl.RoleNode):
			a.printf("Next: credence node run --dir %s\n", dir)
		case home.Enrolment.Has(fl.RoleOwner):
			a.printf("Next: credence job submit job.yaml --dir %s\n", dir)
		default:
			a.printf("Next: credence model list --dir %s\n", dir)
		}
	})
	return nil
}

func newRun(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "run", Short: "Run an institution's node", Args: cobra.NoArgs,
		Long: `Runs the node until it is interrupted: it trains, encrypts and submits, and
serves on the committee when it is elected. It may be stopped and started at
any time. Which jobs it takes part in is said in node.yaml, under consent.`,
		Example: "  credence node run --dir st-alba --log-format json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needDir(dir); err != nil {
				return err
			}
			n, err := client.Open(dir, client.Options{Log: a.logger(slog.LevelInfo), AllowInsecure: a.insecure})
			if err != nil {
				return err
			}
			return errors.Join(n.Run(cmd.Context()), n.Close())
		},
	}
	dirFlag(cmd, &dir, "folder of the node")
	return cmd
}

// nodeStatus is what node status prints.
type nodeStatus struct {
	Node        fl.NodeID      `json:"node"`
	Federation  fl.NodeID      `json:"federation"`
	Roles       []fl.Role      `json:"roles"`
	Address     string         `json:"address"`
	Certificate time.Time      `json:"certificate_until"`
	LastRun     *client.Status `json:"last_run,omitempty"`
}

func newNodeStatus(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "status", Short: "Show what a node last did", Args: cobra.NoArgs,
		Long:    "Shows a party's membership and what its node last did, from its folder alone.",
		Example: "  credence node status --dir st-alba --json",
		RunE: func(*cobra.Command, []string) error {
			if err := needDir(dir); err != nil {
				return err
			}
			home, err := client.OpenHome(dir)
			if err != nil {
				return err
			}
			config, err := client.LoadConfig(dir)
			if err != nil {
				return err
			}
			s := nodeStatus{Node: home.Node, Federation: home.Genesis.Federation, Roles: home.Enrolment.Roles, Address: config.Address, Certificate: home.CertificateEnds().UTC()}
			note := ""
			if last, err := client.ReadStatus(dir); err == nil {
				s.LastRun = &last
			} else {
				note = err.Error()
			}
			a.result(s, func() { a.printNode(s, note, time.Now()) })
			return nil
		},
	}
	dirFlag(cmd, &dir, "folder of the party")
	return cmd
}

func (a *app) printNode(s nodeStatus, note string, now time.Time) {
	row := func(name, format string, args ...any) {
		a.printf("%-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("Party", "%s in %s, as %s", s.Node, s.Federation, some(s.Roles))
	row("Aggregator", "%s", s.Address)
	row("Certificate", "until %s", stamp(s.Certificate))
	if s.LastRun == nil {
		row("Last run", "%s", note)
		return
	}
	r := s.LastRun
	row("Started", "%s", stamp(r.StartedAt))
	row("Last contact", "%s", ago(r.LastContact, now))
	row("Updates", "%d accepted since the start", r.Rounds)
	if r.LastRound != "" {
		row("Last update", "%s", r.LastRound)
	}
	for _, w := range r.Wronged {
		row("WRONGED", "%s", w)
	}
	if r.LastError != "" {
		row("Last trouble", "%s", stamp(r.LastErrorAt))
		a.printf("  %s\n", r.LastError)
	}
}
