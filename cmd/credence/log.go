package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"credence/client"
	"credence/fl"
	"credence/fl/credit"
	"credence/fl/translog"
)

func newLog(a *app) *cobra.Command {
	cmd := group("log", "The transparency log", `Looks at the federation's log: an append-only list of every signed document and
every payment, under checkpoints that the aggregator signs. Each command first
verifies that the newest checkpoint extends the last one that this party saw.
--dir is the folder of an enrolled party of any role.`)
	cmd.AddCommand(newCheckpoint(a), newEntries(a), newProve(a))
	return cmd
}

// checkpointReport is a checkpoint as --json prints it.
type checkpointReport struct {
	Origin    string   `json:"origin"`
	Size      int64    `json:"size"`
	Root      string   `json:"root"`
	Cosigned  int64    `json:"cosigned_size"`
	Witnesses []string `json:"witnesses"`
	Note      string   `json:"note"`
}

func reportCheckpoint(c client.Checkpoint) checkpointReport {
	return checkpointReport{Origin: c.Origin, Size: c.Size, Root: c.Root.String(), Cosigned: c.Cosigned, Witnesses: append([]string{}, c.Witnesses...), Note: string(c.Note)}
}

func newCheckpoint(a *app) *cobra.Command {
	var dir, compare string
	var note bool
	cmd := &cobra.Command{
		Use: "checkpoint", Short: "Fetch and verify the newest checkpoint", Args: cobra.NoArgs,
		Long: `Fetches the newest checkpoint, verifies that it extends the last one that this
party saw, and keeps it. With --compare it is also held against a checkpoint
that another institution was shown: when they are of two different logs, the
aggregator is lying to one of you, and both are kept as evidence.`,
		Example: "  credence log checkpoint --dir st-alba --note > ours\n  credence log checkpoint --dir borealis --compare ours",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				c, err := checkpointOf(cmd.Context(), p, compare, cmd.InOrStdin())
				if err != nil {
					return err
				}
				if note && !a.json {
					a.printf("%s", c.Note)
					return nil
				}
				a.result(reportCheckpoint(c), func() {
					a.printf("The log has %s under root %s.\n", entriesText(c.Size), c.Root)
					if compare != "" {
						a.printf("It is the log of the checkpoint in %s.\n", compare)
					}
					if c.Cosigned > 0 {
						a.printf("Cosigned at %s by %s.\n", entriesText(c.Cosigned), strings.Join(c.Witnesses, ", "))
					} else {
						a.printf("No witness has cosigned it yet.\n")
					}
				})
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of a party")
	cmd.Flags().StringVar(&compare, "compare", "", "file with another party's checkpoint, - for standard input")
	cmd.Flags().BoolVar(&note, "note", false, "print the signed checkpoint alone, to hand to another party")
	return cmd
}

func entriesText(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func checkpointOf(ctx context.Context, p *party, compare string, in io.Reader) (client.Checkpoint, error) {
	if compare == "" {
		return p.remote.Checkpoint(ctx)
	}
	if compare != "-" {
		f, err := os.Open(compare) // #nosec G304 -- the user's own file
		if err != nil {
			return client.Checkpoint{}, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	other, err := io.ReadAll(io.LimitReader(in, translog.MaxNote+1))
	if err != nil {
		return client.Checkpoint{}, err
	}
	return p.remote.CompareCheckpoint(ctx, other)
}

// entryReport is an entry of the log as --json prints it.
type entryReport struct {
	Index  int64           `json:"index"`
	Kind   string          `json:"kind"`
	Digest string          `json:"digest,omitempty"` // of a document
	Signer fl.NodeID       `json:"signer,omitempty"`
	ID     string          `json:"id,omitempty"` // of a transaction
	Entry  json.RawMessage `json:"entry"`
}

func reportEntry(e client.LogEntry) entryReport {
	out := entryReport{Index: e.Index, Kind: e.Kind, Entry: e.Bytes}
	if doc, err := fl.DecodeEnvelope(e.Bytes); err == nil {
		out.Kind, out.Digest, out.Signer = string(doc.Kind), doc.Digest().String(), doc.Signer
		return out
	}
	var t credit.Transaction
	if err := fl.DecodeCanonical(e.Bytes, &t); err == nil {
		out.ID = t.ID
		return out
	}
	out.Entry, _ = json.Marshal(e.Bytes) // neither: shown as base64
	return out
}

func newEntries(a *app) *cobra.Command {
	var dir, kind string
	var from, to int64
	cmd := &cobra.Command{
		Use: "entries", Short: "List what is in the log", Args: cobra.NoArgs,
		Long: `Downloads the whole log, verifies that it is exactly what the aggregator
signed, and lists the entries. With --json each is printed whole, on a line of
its own.`,
		Example: "  credence log entries --dir st-alba --kind plan/v1\n  credence log entries --dir st-alba --json > log.jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from < 0 || to < 0 {
				return usagef("--from and --to count entries from 0")
			}
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				var found []entryReport
				c, err := p.remote.ReadLog(cmd.Context(), func(e client.LogEntry) error {
					if e.Index%1000 == 999 {
						a.progress(fmt.Sprintf("%d entries read", e.Index+1))
					}
					if e.Index < from || to > 0 && e.Index >= to {
						return nil
					}
					if r := reportEntry(e); kind == "" || r.Kind == kind {
						found = append(found, r)
					}
					return nil
				})
				a.progress("")
				if err != nil {
					return err
				}
				a.listEntries(found, c)
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of a party")
	cmd.Flags().StringVar(&kind, "kind", "", "only entries of this kind, such as plan/v1 or transaction/v1")
	cmd.Flags().Int64Var(&from, "from", 0, "first entry to list")
	cmd.Flags().Int64Var(&to, "to", 0, "entry to stop before (0: the end)")
	return cmd
}

func (a *app) listEntries(found []entryReport, c client.Checkpoint) {
	if a.json {
		for _, e := range found {
			a.line(e)
		}
		return
	}
	t := table{head: []string{">entry", "kind", "by", "what"}}
	for _, e := range found {
		what := e.ID
		if e.Digest != "" {
			what = e.Digest[:12]
		}
		t.add(fmt.Sprint(e.Index), e.Kind, string(e.Signer), what)
	}
	a.table("", t)
	a.printf("Verified: %s under root %s.\n", entriesText(c.Size), c.Root)
}

// proofReport is a document's place in the log as --json prints it: enough
// for anybody to check it without this program.
type proofReport struct {
	Document   json.RawMessage  `json:"document"`
	Digest     string           `json:"digest"`
	Index      int64            `json:"index"`
	Hashes     []string         `json:"hashes"`
	Checkpoint checkpointReport `json:"checkpoint"`
}

func newProve(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "prove DIGEST", Short: "Prove that a document is in the log", Args: cobra.ExactArgs(1),
		Long: `Fetches a document by its digest with a proof that it is in the log, and
verifies it. With --json the document, the proof (hashes from the leaf up, RFC
6962) and the signed checkpoint are printed for others to verify.`,
		Example: "  credence log prove 3f0c...e1 --dir st-alba --json > proof.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := fl.ParseDigest(args[0])
			if err != nil {
				return usagef("%q is no digest: want its 64 hexadecimal characters", args[0])
			}
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				proof, err := p.remote.Prove(cmd.Context(), digest)
				if errors.Is(err, translog.ErrNotInLog) {
					return fmt.Errorf("%s cannot be proven: %w", digest.Short(), err)
				}
				if err != nil {
					return err
				}
				out := proofReport{Document: proof.Document.Encode(), Digest: digest.String(), Index: proof.Inclusion.Index, Hashes: []string{}, Checkpoint: reportCheckpoint(proof.Checkpoint)}
				for _, h := range proof.Inclusion.Hashes {
					out.Hashes = append(out.Hashes, h.String())
				}
				a.result(out, func() {
					a.printf("The %s %s of %s is entry %d of the log of %s.\n", proof.Document.Kind, digest.Short(), proof.Document.Signer, out.Index, entriesText(proof.Checkpoint.Size))
				})
				return nil
			})
		},
	}
	dirFlag(cmd, &dir, "folder of a party")
	return cmd
}
