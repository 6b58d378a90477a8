package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"credence/aggregator"
	"credence/fl"
	"credence/zk"
)

const localSetupNotice = "Proof keys from a local set-up: whoever made them can forge proofs. For demonstrations only."

func newProofs(a *app) *cobra.Command {
	cmd := group("proofs", "The keys that attestations are proven and checked with", `The federation's proof keys. Real ones come from a ceremony to which several
institutions contribute (federation ceremony); one honest contributor is enough.`)
	cmd.AddCommand(newProofsImport(a), newProofsSetup(a), newProofsStatus(a))
	return cmd
}

func newProofsImport(a *app) *cobra.Command {
	var dir string
	var jobs []string
	cmd := &cobra.Command{
		Use: "import FOLDER", Short: "Adopt the keys that a ceremony made", Args: cobra.ExactArgs(1),
		Long: `Adopts the sealed proof keys in a folder. Plans name them from the next round
on; nodes fetch them by themselves. Jobs at proof level trained need keys of
their own: name their files with --job.`,
		Example: "  credence federation proofs import sealed --dir aggregator",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				specs, err := draftJobs(agg, jobs)
				if err != nil {
					return err
				}
				if err := agg.ImportProofs(cmd.Context(), args[0], a.proofProgress(), specs...); err != nil {
					return err
				}
				return a.printProofs(cmd, agg)
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	jobFlag(cmd, &jobs)
	return cmd
}

func jobFlag(cmd *cobra.Command, jobs *[]string) {
	cmd.Flags().StringArrayVar(jobs, "job", nil, "`file` of a job at level trained (repeatable)")
}

// draftJobs reads job files as far as proof keys follow from them.
func draftJobs(agg *aggregator.Aggregator, paths []string) ([]fl.JobSpec, error) {
	var out []fl.JobSpec
	for _, path := range paths {
		options, _, err := loadJob(path)
		if err != nil {
			return nil, err
		}
		spec, _, err := options.Draft(agg.Genesis())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if !spec.ProofLevel.Trained() {
			return nil, usagef("--job %s: the job is at proof level %s, for which the federation's keys are enough", path, spec.ProofLevel)
		}
		out = append(out, spec)
	}
	return out, nil
}

func newProofsSetup(a *app) *cobra.Command {
	var dir, cache string
	var local bool
	var jobs []string
	cmd := &cobra.Command{
		Use: "setup --local", Short: "Make proof keys here, for a demonstration", Args: cobra.NoArgs,
		Long: `Makes proof keys on this machine alone. Whoever runs this can forge proofs, so
every manifest made with them says "local". They are kept in a cache: the second
time is fast. A job at proof level trained needs keys for its model, its number
of steps and the size of its tables: name its file with --job, before or after
it is submitted.`,
		Example: "  credence federation proofs setup --local --dir aggregator\n  credence federation proofs setup --local --job job.yaml --dir aggregator",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !local {
				return usagef("--local is missing: say that you know that whoever runs a local set-up can forge proofs, or use the keys of a ceremony: federation proofs import")
			}
			if cache == "" {
				var err error
				if cache, err = proofCache(); err != nil {
					return err
				}
			}
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				specs, err := draftJobs(agg, jobs)
				if err != nil {
					return err
				}
				if err := agg.SetUpProofs(cmd.Context(), filepath.Join(cache, agg.Suite().Name()), a.proofProgress(), specs...); err != nil {
					return err
				}
				return a.printProofs(cmd, agg)
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	jobFlag(cmd, &jobs)
	cmd.Flags().BoolVar(&local, "local", false, "yes, a local set-up")
	cmd.Flags().StringVar(&cache, "cache", "", "folder that keeps the keys (default: the user's cache)")
	return cmd
}

func newProofsStatus(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "status", Short: "Show the proof keys in use", Args: cobra.NoArgs,
		Long:    "Shows where the proof keys in use come from, and their digests.",
		Example: "  credence federation proofs status --dir aggregator",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error { return a.printProofs(cmd, agg) })
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	return cmd
}

func (a *app) printProofs(cmd *cobra.Command, agg *aggregator.Aggregator) error {
	keys, ok, err := agg.ProofKeys(cmd.Context())
	if err != nil {
		return err
	}
	if !ok {
		a.result(map[string]any{"setup": ""}, func() { a.printf("No proof keys yet: jobs at proof level bounded or trained wait for them.\n") })
		return nil
	}
	a.result(keys, func() {
		a.printf("Proof keys of %s, set-up %s\n", keys.AdoptedAt.Format(time.RFC3339), keys.Setup)
		for _, c := range keys.Circuits {
			a.printf("  %s  %s\n", c.Manifest.Short(), c.Shape)
		}
		if keys.Setup == fl.SetupLocal {
			a.printf("%s\n", localSetupNotice)
		}
	})
	return nil
}

// proofCache is where local set-ups are kept for the next time.
func proofCache() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place to keep proof keys: %w; name one with --cache", err)
	}
	return filepath.Join(base, "credence", "proof-keys"), nil
}

// proofProgress shows the stages of making or reading proof keys.
func (a *app) proofProgress() zk.Progress {
	started := time.Now()
	return func(stage string, done, total int) {
		a.progress(fmt.Sprintf("%s: step %d of %d, %.0f s", stage, min(done+1, total), total, time.Since(started).Seconds()))
		if done == total {
			a.progress("")
		}
	}
}
