package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"credence/aggregator"
	"credence/fl"
	"credence/fl/credit"
)

// ledger is where credits are looked up: in the aggregator's own database or,
// for any other party, at the aggregator.
type ledger interface {
	Balances(ctx context.Context) (map[string]int64, error)
	History(ctx context.Context, account string) ([]credit.Transaction, error)
}

func newLedger(a *app) *cobra.Command {
	cmd := group("ledger", "Credits", `Shows credits: what accounts hold, how they came by it, and what jobs have in
escrow. --dir is a party's folder or the aggregator's own.

Accounts are party/NAME, escrow/JOB, operator and issuer.`)
	cmd.AddCommand(newBalance(a), newHistory(a), newEscrow(a))
	return cmd
}

func (a *app) withLedger(ctx context.Context, dir string, work func(ledger) error) error {
	if dir != "" && isAggregatorDir(dir) {
		return a.withAggregator(ctx, dir, func(agg *aggregator.Aggregator) error { return work(agg.Store()) })
	}
	return a.withParty(ctx, dir, func(p *party) error { return work(p.remote) })
}

func newBalance(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "balance [ACCOUNT]", Short: "Show what accounts hold", Args: cobra.MaximumNArgs(1),
		Long:    "Shows every account, or one. The balances always sum to zero.",
		Example: "  credence ledger balance --dir lab\n  credence ledger balance party/st-alba --dir lab",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withLedger(cmd.Context(), dir, func(l ledger) error {
				balances, err := l.Balances(cmd.Context())
				if err != nil {
					return err
				}
				if len(args) > 0 {
					account := accountName(args[0], balances)
					have, ok := balances[account]
					if !ok {
						return fmt.Errorf("no account %q has been used; an account is party/NAME, escrow/JOB, operator or issuer", args[0])
					}
					a.result(map[string]any{"account": account, "credits": have}, func() { a.printf("%d\n", have) })
					return nil
				}
				a.result(map[string]any{"balances": balances}, func() { a.printBalances("", balances) })
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of a party or of the aggregator")
	return cmd
}

// accountName lets a party's bare name stand for its account.
func accountName(text string, balances map[string]int64) string {
	if _, ok := balances[text]; !ok && !strings.Contains(text, "/") {
		return credit.PartyAccount(fl.NodeID(text))
	}
	return text
}

// transactionReport is a transaction as --json prints it.
type transactionReport struct {
	ID       string       `json:"id"`
	At       string       `json:"at"`
	Ref      fl.Digest    `json:"ref"`
	Postings []fl.Posting `json:"postings"`
}

func newHistory(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "history [ACCOUNT]", Short: "Show transactions", Args: cobra.MaximumNArgs(1),
		Long:    "Shows the transactions of an account, or all of them, oldest first.",
		Example: "  credence ledger history party/st-alba --dir st-alba",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withLedger(cmd.Context(), dir, func(l ledger) error {
				account := ""
				if len(args) > 0 {
					balances, err := l.Balances(cmd.Context())
					if err != nil {
						return err
					}
					account = accountName(args[0], balances)
				}
				history, err := l.History(cmd.Context(), account)
				if err != nil {
					return err
				}
				a.printHistory(history, account)
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of a party or of the aggregator")
	return cmd
}

func (a *app) printHistory(history []credit.Transaction, account string) {
	t := table{head: []string{"Time", "Transaction", "Account", ">Credits", "For"}}
	for _, tx := range history {
		if a.json {
			a.line(transactionReport{ID: tx.ID, At: tx.At.UTC().Format("2006-01-02T15:04:05.000Z"), Ref: tx.Ref, Postings: tx.Postings})
			continue
		}
		at, id := tx.At.UTC().Format("01-02 15:04:05"), shortID(tx.ID)
		for _, p := range tx.Postings {
			if account != "" && p.Account != account {
				continue
			}
			t.add(at, id, clip(p.Account, 22), fmt.Sprintf("%+d", p.Amount), p.Memo)
			at, id = "", ""
		}
	}
	switch {
	case a.json:
	case len(t.rows) == 0:
		a.printf("No transactions.\n")
	default:
		a.table("", t)
	}
}

// shortID cuts the digest in the name of a grant.
func shortID(id string) string {
	if rest, ok := strings.CutPrefix(id, "grant/"); ok {
		return "grant/" + clip(rest, 9)
	}
	return clip(id, 22)
}

func newEscrow(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "escrow [JOB]", Short: "Show what jobs have in escrow", Args: cobra.MaximumNArgs(1),
		Long:    "Shows what is left of the budgets of jobs. It is paid to contributors, and what\nremains goes back to the owner.",
		Example: "  credence ledger escrow screening --dir lab",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withLedger(cmd.Context(), dir, func(l ledger) error {
				balances, err := l.Balances(cmd.Context())
				if err != nil {
					return err
				}
				escrow := map[string]int64{}
				for account, have := range balances {
					if job, ok := strings.CutPrefix(account, "escrow/"); ok && (len(args) == 0 || args[0] == job) {
						escrow[job] = have
					}
				}
				if len(args) > 0 && len(escrow) == 0 {
					return fmt.Errorf("no job %q has had a budget", args[0])
				}
				a.result(map[string]any{"escrow": escrow}, func() {
					t := table{head: []string{"Job", ">In escrow"}}
					for _, job := range slices.Sorted(maps.Keys(escrow)) {
						t.add(job, fmt.Sprint(escrow[job]))
					}
					if len(t.rows) == 0 {
						a.printf("No job has had a budget.\n")
						return
					}
					a.table("", t)
				})
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of a party or of the aggregator")
	return cmd
}
