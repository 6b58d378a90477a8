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

// epochStatus is an epoch as the operator sees it.
type epochStatus struct {
	Epoch     uint64      `json:"epoch"`
	State     string      `json:"state"` // "open" while its key is made, "current", "past", "void" or "abandoned"
	Members   []fl.NodeID `json:"members"`
	Threshold int         `json:"threshold"`
	OpenedAt  time.Time   `json:"opened_at"`
	ClosedAt  time.Time   `json:"closed_at,omitzero"`
	Waits     []fl.NodeID `json:"waits_for,omitempty"` // members whose next message is missing
	Stage     string      `json:"stage,omitempty"`     // what they are to send
	Verdicts  []string    `json:"verdicts,omitempty"`  // who dealt or complained wrong, and how
}

func newEpoch(a *app) *cobra.Command {
	cmd := group("epoch", "The committee and its key", "An epoch is one committee and its collective key. A new one replaces the last.")
	cmd.AddCommand(newEpochOpen(a), newEpochStatus(a), newEpochRotate(a))
	return cmd
}

func newEpochOpen(a *app) *cobra.Command {
	var dir string
	var members []string
	cmd := &cobra.Command{
		Use: "open --members A,B,C,D", Short: "Name a committee and let it generate a key", Args: cobra.NoArgs,
		Long:    "Opens an epoch. The named members generate its key as soon as their nodes run.",
		Example: "  credence federation epoch open --members a,b,c,d --dir aggregator",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(members) == 0 {
				return usagef("--members is missing: want the names of the committee, separated by commas")
			}
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				return a.openEpoch(cmd.Context(), agg, names(members))
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	cmd.Flags().StringSliceVar(&members, "members", nil, "the committee")
	return cmd
}

func newEpochRotate(a *app) *cobra.Command {
	var dir string
	var members []string
	cmd := &cobra.Command{
		Use: "rotate", Short: "Replace the key, and the committee if named", Args: cobra.NoArgs,
		Long:    "Opens a new epoch with the members of the last one, or with those given. Rounds\nunder way end with the old key.",
		Example: "  credence federation epoch rotate --dir aggregator",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				committee := names(members)
				if len(committee) == 0 {
					epochs, err := readEpochs(cmd.Context(), agg)
					if err != nil {
						return err
					}
					if len(epochs) == 0 {
						return errors.New("there is no epoch yet; credence federation epoch open makes the first one")
					}
					committee = epochs[len(epochs)-1].Members
				}
				return a.openEpoch(cmd.Context(), agg, committee)
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	cmd.Flags().StringSliceVar(&members, "members", nil, "the new committee (default: the same)")
	return cmd
}

func names(text []string) []fl.NodeID {
	var out []fl.NodeID
	for _, t := range text {
		out = append(out, fl.NodeID(t))
	}
	return out
}

func (a *app) openEpoch(ctx context.Context, agg *aggregator.Aggregator, members []fl.NodeID) error {
	number, err := agg.OpenEpoch(ctx, members)
	if err != nil {
		return err
	}
	a.result(map[string]any{"epoch": number, "members": members, "threshold": agg.Genesis().Committee.Threshold}, func() {
		a.printf("Epoch %d is open. Its key is made once the aggregator serves and these run:\n  %s\n", number, some(members))
	})
	return nil
}

func newEpochStatus(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "status", Short: "Show the epochs", Args: cobra.NoArgs,
		Long:    "Shows every epoch, and for one that is open whose message is missing.",
		Example: "  credence federation epoch status --dir aggregator",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAggregator(cmd.Context(), dir, func(agg *aggregator.Aggregator) error {
				epochs, err := readEpochs(cmd.Context(), agg)
				if err != nil {
					return err
				}
				if a.json {
					for _, e := range epochs {
						a.line(e)
					}
					return nil
				}
				a.printEpochs(epochs)
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the aggregator")
	return cmd
}

func readEpochs(ctx context.Context, agg *aggregator.Aggregator) ([]epochStatus, error) {
	stored, err := agg.Store().Epochs(ctx)
	if err != nil {
		return nil, err
	}
	views, err := agg.EpochViews(ctx)
	if err != nil {
		return nil, err
	}
	if len(views) < len(stored) {
		stored = stored[:len(views)]
	}
	key := agg.Genesis().AggregatorKey
	var out []epochStatus
	current := -1
	for i, e := range stored {
		var plan fl.EpochPlan
		if err := e.Plan.Open(key, &plan); err != nil {
			return nil, fmt.Errorf("epoch %d: %w", e.Number, err)
		}
		s := epochStatus{Epoch: e.Number, State: "abandoned", Members: plan.Members, Threshold: plan.Threshold, OpenedAt: plan.OpenedAt}
		if e.Key != nil {
			var k fl.EpochKey
			if err := e.Key.Open(key, &k); err != nil {
				return nil, fmt.Errorf("epoch %d: %w", e.Number, err)
			}
			s.State, s.ClosedAt, current = "past", k.ClosedAt, i
		} else if i == len(stored)-1 {
			s.State = "open"
			s.Stage, s.Waits = views[i].Step, views[i].Waiting
		}
		if views[i].Step == "void" {
			s.State, s.Stage = "void", ""
		}
		for _, v := range views[i].Verdicts {
			s.Verdicts = append(s.Verdicts, v.Reason)
		}
		out = append(out, s)
	}
	if current >= 0 {
		out[current].State = "current"
	}
	return out, nil
}

func (a *app) printEpochs(epochs []epochStatus) {
	if len(epochs) == 0 {
		a.printf("No epoch yet: credence federation epoch open --members ...\n")
		return
	}
	t := table{head: []string{">Epoch", "State", "Opened", "Committee"}}
	for _, e := range epochs {
		t.add(fmt.Sprint(e.Epoch), e.State, stamp(e.OpenedAt), clip(some(e.Members), 36))
	}
	a.table("", t)
	for _, e := range epochs {
		for _, v := range e.Verdicts {
			a.printf("Epoch %d: %s.\n", e.Epoch, v)
		}
	}
	if last := epochs[len(epochs)-1]; last.State == "void" {
		a.printf("Epoch %d is void. Open another without those at fault:\n  credence federation epoch rotate --members ...\n", last.Epoch)
	} else if last.State == "open" {
		if len(last.Waits) == 0 {
			a.printf("All messages of epoch %d are in; the aggregator closes it when it serves.\n", last.Epoch)
		} else {
			a.printf("Epoch %d waits for the %s of %s.\n", last.Epoch, last.Stage, some(last.Waits))
		}
	}
}
