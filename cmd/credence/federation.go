package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"credence/aggregator"
	"credence/fl"
)

func newFederation(a *app) *cobra.Command {
	cmd := group("federation", "Found and run a federation (the operator's commands)", `Founds a federation and manages its members, committee and credits. The
commands work on the aggregator's folder, also while it serves.`)
	cmd.AddCommand(newInit(a), newInvite(a), newRevoke(a), newEpoch(a), newProofs(a), newCeremony(a), newGrant(a), newStatus(a))
	return cmd
}

func newInit(a *app) *cobra.Command {
	var dir, name string
	f := aggregator.FoundingOptions{}
	cmd := &cobra.Command{
		Use: "init", Short: "Found a federation", Args: cobra.NoArgs,
		Long: `Makes the aggregator's keys and certificate authority and signs the genesis.
What is chosen here is fixed for the life of the federation.`,
		Example: "  credence federation init --dir aggregator --name clinics --members 5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needDir(dir); err != nil {
				return err
			}
			if name == "" {
				return usagef("--name is missing: want the federation's name")
			}
			if err := f.ProofFloor.Validate(); err != nil {
				return usagef("--proof: %w", err)
			}
			f.Name, f.AllowInsecure = fl.NodeID(name), a.insecure
			agg, err := aggregator.Found(cmd.Context(), dir, f, aggregator.Options{})
			if err != nil {
				return err
			}
			a.result(map[string]any{"genesis": agg.GenesisDigest(), "document": agg.Genesis(), "dir": dir}, func() {
				g := agg.Genesis()
				a.printf("Federation %s, genesis %s\n", g.Federation, agg.GenesisDigest().Short())
				a.printf("Suite %s; %d of %d members open a sum of at least %d updates.\n", g.Suite, g.Committee.Threshold, g.Committee.Members, g.MinCohort)
				a.printf("Jobs are at proof level %s or above.\n", g.ProofFloor)
				a.printf("Keys and database are in %s: keep it safe and backed up.\n", dir)
				a.printf("Next: credence federation invite NODE --dir %s\n", dir)
			})
			return agg.Close()
		},
	}
	dirFlag(cmd, &dir, "new folder for the aggregator")
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "name of the federation")
	flags.StringVar((*string)(&f.ProofFloor), "proof", string(fl.ProofBounded), "least proof level of jobs: none, bounded or trained")
	flags.StringVar(&f.Suite, "suite", "rlwe8192-d4-v1", "encryption suite")
	flags.IntVar(&f.Committee.Members, "members", 4, "members of the committee")
	flags.IntVar(&f.Committee.Threshold, "threshold", 3, "members it takes to open a sum")
	flags.IntVar(&f.MinCohort, "min-cohort", 3, "fewest updates in an opened sum")
	flags.StringSliceVar(&f.Regions, "region", nil, "region where nodes may be; repeatable (default: anywhere)")
	return cmd
}

func newInvite(a *app) *cobra.Command {
	var dir string
	var roles []string
	o := aggregator.InviteOptions{}
	cmd := &cobra.Command{
		Use: "invite NODE", Short: "Invite a party", Args: cobra.ExactArgs(1),
		Long: `Prints a one-time invitation on standard output. Hand it to the institution by
a way that you trust: who has it can join in its place.`,
		Example: "  credence federation invite st-alba --dir aggregator --address agg.example:7443\n  credence federation invite lab --role owner --credits 5000 --dir aggregator",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkAddress("--address", o.Address); err != nil {
				return err
			}
			o.Node = fl.NodeID(args[0])
			for _, r := range roles {
				role := fl.Role(r)
				if err := role.Validate(); err != nil {
					return usagef("--role: %w", err)
				}
				o.Roles = append(o.Roles, role)
			}
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				token, err := agg.Invite(cmd.Context(), o)
				if err != nil {
					return err
				}
				a.result(map[string]any{"node": o.Node, "roles": o.Roles, "address": o.Address, "token": token.String(), "expires_at": time.Now().Add(o.Valid).UTC().Truncate(time.Second)}, func() {
					a.printf("%s\n", token)
				})
				if !a.json {
					_, err = fmt.Fprintf(a.err, "Invitation for %s as %s, good once, for %s. There:\n  credence node join TOKEN --dir %s\n", o.Node, some(o.Roles), o.Valid, o.Node)
				}
				return err
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	f := cmd.Flags()
	f.StringSliceVar(&roles, "role", []string{string(fl.RoleNode)}, "node, owner or observer; repeatable")
	f.StringVar(&o.Region, "region", "", "region of the node")
	f.Int64Var(&o.Credits, "credits", 0, "credits granted when the party joins")
	f.StringVar(&o.Address, "address", defaultListen, "where the party reaches the aggregator")
	f.DurationVar(&o.Valid, "valid", 7*24*time.Hour, "how long the invitation is good")
	return cmd
}

func newRevoke(a *app) *cobra.Command {
	var dir, reason string
	cmd := &cobra.Command{
		Use: "revoke NODE --reason TEXT", Short: "End a party's membership", Args: cobra.ExactArgs(1),
		Long: `Ends a membership for good, also of a party that is connected. If it was on the
committee, rotate the epoch next.`,
		Example: "  credence federation revoke st-alba --reason \"left on 1 May\" --dir aggregator",
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usagef("--reason is missing: it is told to the party and kept")
			}
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				node := fl.NodeID(args[0])
				if err := agg.Revoke(cmd.Context(), node, reason); err != nil {
					return err
				}
				a.result(map[string]any{"node": node, "revoked": true, "reason": reason}, func() {
					a.printf("The membership of %s is revoked.\n", node)
				})
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	cmd.Flags().StringVar(&reason, "reason", "", "why, in words")
	return cmd
}

func newGrant(a *app) *cobra.Command {
	var dir, ref string
	var amount int64
	cmd := &cobra.Command{
		Use: "grant NODE N --ref TEXT", Short: "Issue credits to a party", Args: cobra.ExactArgs(2),
		Long:    "Issues credits. The same reference grants the same amount to a party once only.",
		Example: "  credence federation grant lab 5000 --ref invoice-17 --dir aggregator",
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := fmt.Sscanf(args[1]+"\n", "%d\n", &amount); err != nil || amount < 1 || amount > fl.MaxBudget {
				return usagef("%q credits: want a whole number of 1 to %d", args[1], int64(fl.MaxBudget))
			}
			if ref == "" {
				return usagef("--ref is missing: want what the grant is for, such as an invoice number")
			}
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				node := fl.NodeID(args[0])
				if err := agg.Grant(cmd.Context(), node, amount, ref); err != nil {
					return err
				}
				balances, err := agg.Store().Balances(cmd.Context())
				if err != nil {
					return err
				}
				have := balances["party/"+string(node)]
				a.result(map[string]any{"node": node, "granted": amount, "ref": ref, "balance": have}, func() {
					a.printf("%s holds %s now.\n", node, plural(have, "credit"))
				})
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	cmd.Flags().StringVar(&ref, "ref", "", "what it is for")
	return cmd
}

// partyStatus, jobStatus and federationStatus are what status prints.
type partyStatus struct {
	Node     fl.NodeID `json:"node"`
	Roles    []fl.Role `json:"roles"`
	Region   string    `json:"region,omitempty"`
	Enrolled time.Time `json:"enrolled_at"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	Revoked  string    `json:"revoked,omitempty"` // the reason
}

type jobStatus struct {
	Job     fl.JobID      `json:"job"`
	Owner   fl.NodeID     `json:"owner"`
	Phase   string        `json:"phase"`
	Reason  string        `json:"reason,omitempty"`
	Version uint64        `json:"version"`
	Rounds  int           `json:"rounds"`
	Nodes   int           `json:"nodes"`
	Level   fl.ProofLevel `json:"proof_level"`
}

type federationStatus struct {
	Federation fl.NodeID     `json:"federation"`
	GenesisID  fl.Digest     `json:"genesis_id"`
	Genesis    fl.Genesis    `json:"genesis"`
	Parties    []partyStatus `json:"parties"`
	Epochs     []epochStatus `json:"epochs"`
	Jobs       []jobStatus   `json:"jobs"`
}

func newStatus(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "status", Short: "Show members, epochs and jobs", Args: cobra.NoArgs,
		Long:    "Shows who belongs to the federation and was seen when, its epochs and its jobs.",
		Example: "  credence federation status --dir aggregator",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				s, err := readFederation(cmd.Context(), agg)
				if err != nil {
					return err
				}
				a.result(s, func() { a.printFederation(s, time.Now()) })
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	return cmd
}

func readFederation(ctx context.Context, agg *aggregator.Aggregator) (federationStatus, error) {
	g := agg.Genesis()
	s := federationStatus{Federation: g.Federation, GenesisID: agg.GenesisDigest(), Genesis: g}
	parties, err := agg.Store().Parties(ctx)
	if err != nil {
		return s, err
	}
	for _, p := range parties {
		e := p.Enrolment
		row := partyStatus{Node: e.Node, Roles: e.Roles, Region: e.Region, Enrolled: e.EnrolledAt, LastSeen: p.LastSeen}
		if p.Revocation != nil {
			var r fl.Revocation
			if err := p.Revocation.Open(g.AggregatorKey, &r); err != nil {
				return s, fmt.Errorf("the revocation of %s: %w", e.Node, err)
			}
			row.Revoked = r.Reason
		}
		s.Parties = append(s.Parties, row)
	}
	if s.Epochs, err = readEpochs(ctx, agg); err != nil {
		return s, err
	}
	jobs, err := agg.Store().Jobs(ctx)
	if err != nil {
		return s, err
	}
	for _, j := range jobs {
		var spec fl.JobSpec
		if err := j.Spec.Read(&spec); err != nil {
			return s, errors.Join(errors.New("reading the store"), err)
		}
		s.Jobs = append(s.Jobs, jobStatus{Job: spec.Job, Owner: spec.Owner, Phase: string(j.Phase), Reason: j.Reason, Version: j.Version, Rounds: spec.Rounds, Nodes: len(j.Joins), Level: spec.ProofLevel})
	}
	return s, nil
}

func (a *app) printFederation(s federationStatus, now time.Time) {
	g := s.Genesis
	a.printf("%s  genesis %s\n", a.style.bold(string(s.Federation)), s.GenesisID.Short())
	a.printf("suite %s, committee %d of %d, minimum cohort %d, proof level %s\n\n", g.Suite, g.Committee.Threshold, g.Committee.Members, g.MinCohort, g.ProofFloor)
	t := table{head: []string{"Party", "Roles", "Region", "Last seen", ""}}
	for _, p := range s.Parties {
		note, region := "", p.Region
		if p.Revoked != "" {
			note = clip("revoked: "+p.Revoked, 24)
		}
		if region == "" {
			region = "-"
		}
		t.add(clip(string(p.Node), 24), some(p.Roles), clip(region, 12), ago(p.LastSeen, now), note)
	}
	if len(t.rows) == 0 {
		a.printf("Nobody has joined yet: credence federation invite NODE\n")
	} else {
		a.table("", t)
	}
	a.printf("\n")
	a.printEpochs(s.Epochs)
	if len(s.Jobs) == 0 {
		return
	}
	a.printf("\n")
	jobs := table{head: []string{"Job", "Owner", "Phase", ">Models", ">Nodes", "Proofs", ""}}
	for _, j := range s.Jobs {
		jobs.add(clip(string(j.Job), 20), clip(string(j.Owner), 16), j.Phase, fmt.Sprintf("%d/%d", j.Version, j.Rounds), fmt.Sprint(j.Nodes), string(j.Level), clip(j.Reason, 16))
	}
	a.table("", jobs)
}
