package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"credence/client"
	"credence/datasets"
	"credence/experiments/config"
	"credence/fl"
)

func newJob(a *app) *cobra.Command {
	cmd := group("job", "Submit and follow jobs (a model owner's commands)", "Asks the federation to train a model, follows the work and ends it.")
	cmd.AddCommand(newJobExample(a), newSubmit(a), newWatch(a), newCancel(a), newJobList(a))
	return cmd
}

func newJobExample(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "example", Short: "Print a job file with every key explained", Args: cobra.NoArgs,
		Long:    "Prints a complete job file to start from.",
		Example: "  credence job example > job.yaml",
		RunE:    func(*cobra.Command, []string) error { a.write(config.JobExample); return nil },
	}
}

func newSubmit(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "submit JOB.YAML", Short: "Submit a job", Args: cobra.ExactArgs(1),
		Long: `Submits a job and moves its budget into escrow. The nodes' own policies decide
which of them take part. The file may be one that "credence experiment run"
simulates: what matters there alone is left aside, and said.`,
		Example: "  credence job submit job.yaml --dir lab",
		RunE: func(cmd *cobra.Command, args []string) error {
			options, notes, err := loadJob(args[0])
			if err != nil {
				return err
			}
			for _, note := range notes {
				a.warn(note)
			}
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				spec, err := p.remote.SubmitJob(cmd.Context(), options)
				if err != nil {
					return err
				}
				a.result(map[string]any{"job": spec.Job, "parameters": spec.Parameters, "rounds": spec.Rounds, "budget": spec.Budget, "initial_model": spec.InitialModel}, func() {
					a.printf("Job %s: %s, %s, %s in escrow.\n", spec.Job, plural(spec.Parameters, "parameter"), plural(spec.Rounds, "round"), plural(spec.Budget, "credit"))
					if spec.ProofLevel.Trained() {
						a.printf("Proof level trained does not prove\n%s.\n", client.NotProven)
						a.printf("It needs proof keys: credence federation proofs setup --job %s\n", args[0])
					}
					a.printf("Next: credence job watch %s --dir %s\n", spec.Job, dir)
				})
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the owner")
	return cmd
}

func newWatch(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "watch JOB", Short: "Follow a job until it is over", Args: cobra.ExactArgs(1),
		Long: `Prints each published round, and on a terminal where the present one stands.
The figures are of the model that a round started from, on the rows that the
nodes hold out; they are summed under encryption, like the updates.
Ends with code 0 when the job is done, and 1 when it failed or was cancelled.`,
		Example: "  credence job watch screening --dir lab",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				w := &watcher{app: a, remote: p.remote, job: fl.JobID(args[0]), every: 300 * time.Millisecond, now: time.Now}
				view, err := w.watch(cmd.Context())
				if err != nil {
					return err
				}
				if a.json {
					a.line(jobEnd(view))
				} else if view.GetPhase() == "done" {
					a.printf("Job %s is done: %s.\n", args[0], plural(view.GetVersion(), "model"))
				}
				if view.GetPhase() != "done" {
					return fmt.Errorf("job %s is %s after %s: %s", args[0], view.GetPhase(), plural(view.GetVersion(), "model"), view.GetReason())
				}
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the party")
	return cmd
}

func jobEnd(v client.JobView) any {
	return map[string]any{"event": "end", "job": v.Spec.Job, "phase": v.GetPhase(), "reason": v.GetReason(), "version": v.GetVersion()}
}

func newCancel(a *app) *cobra.Command {
	var dir, reason string
	cmd := &cobra.Command{
		Use: "cancel JOB --reason TEXT", Short: "End a job early", Args: cobra.ExactArgs(1),
		Long:    "Ends a job of this owner. What was published stays, and what is left in escrow\ncomes back.",
		Example: "  credence job cancel screening --reason \"wrong schema\" --dir lab",
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usagef("--reason is missing: it is told to the nodes and kept")
			}
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				if err := p.remote.CancelJob(cmd.Context(), fl.JobID(args[0]), reason); err != nil {
					return err
				}
				a.result(map[string]any{"job": args[0], "cancelled": true, "reason": reason}, func() { a.printf("Job %s is cancelled.\n", args[0]) })
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the owner")
	cmd.Flags().StringVar(&reason, "reason", "", "why, in words")
	return cmd
}

// jobReport is a job as --json lists it.
type jobReport struct {
	Job     fl.JobID      `json:"job"`
	Owner   fl.NodeID     `json:"owner"`
	Phase   string        `json:"phase"`
	Reason  string        `json:"reason,omitempty"`
	Version uint64        `json:"version"`
	Rounds  int           `json:"rounds"`
	Nodes   int           `json:"nodes"`
	Budget  int64         `json:"budget"`
	Level   fl.ProofLevel `json:"proof_level"`
	Waits   []string      `json:"waits_for,omitempty"`
}

func newJobList(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "list", Short: "List jobs", Args: cobra.NoArgs,
		Long:    "Lists every job of the federation, and what it waits for if it waits.",
		Example: "  credence job list --dir lab",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				views, err := p.remote.Jobs(cmd.Context())
				if err != nil {
					return err
				}
				a.printJobs(views)
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the party")
	return cmd
}

func (a *app) printJobs(views []client.JobView) {
	t := table{head: []string{"Job", "Owner", "Phase", ">Models", ">Nodes", ">Budget", "Proofs", ""}}
	for _, v := range views {
		r := jobReport{Job: v.Spec.Job, Owner: v.Spec.Owner, Phase: v.GetPhase(), Reason: v.GetReason(), Version: v.GetVersion(),
			Rounds: v.Spec.Rounds, Nodes: len(v.GetJoins()), Budget: v.Spec.Budget, Level: v.Spec.ProofLevel, Waits: v.GetWaits()}
		if a.json {
			a.line(r)
			continue
		}
		note := r.Reason
		if len(r.Waits) > 0 {
			note = "waits for " + r.Waits[0]
		}
		t.add(clip(string(r.Job), 16), clip(string(r.Owner), 14), r.Phase, fmt.Sprintf("%d/%d", r.Version, r.Rounds), fmt.Sprint(r.Nodes), fmt.Sprint(r.Budget), string(r.Level), clip(note, 16))
	}
	switch {
	case a.json:
	case len(t.rows) == 0:
		a.printf("No job has been submitted.\n")
	default:
		a.table("", t)
	}
}

// checkData reads a node's data once, so that mistakes in them are found when
// the node joins.
func checkData(d client.DataSource) error {
	schema, err := datasets.LoadSchema(d.Schema)
	if err != nil {
		return err
	}
	if d.TestCSV != "" {
		_, _, _, err = datasets.LoadPair(d.CSV, d.TestCSV, schema)
	} else {
		_, _, _, err = datasets.Load(d.CSV, schema)
	}
	return err
}
