package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"credence/client"
	"credence/client/audit"
	"credence/fl"
	"credence/models"
)

// auditFlags are the options of credence audit.
type auditFlags struct {
	dir, checkpoint, genesis, model string
	all                             bool
}

func newAudit(a *app) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "audit [JOB[/ROUND]] [--all]", Short: "Re-check everything from the log", Args: cobra.MaximumNArgs(1),
		Long: `Re-checks what a federation published, from its log and blobs alone: that every
entry is under the signed checkpoint and the log extends what was seen before;
who signed what, and in which order; how the collective key was made; that each
round's plan follows, its sums are those of the attested updates, the decryption
shares open them, the strategy makes the published model of them; that what was
paid is what was due, and that the balances follow.

It needs no secret and no ciphertexts: those may be deleted after publication.
The log and the ledger are checked whole; JOB or JOB/ROUND says which rounds are
opened again, --all opens every one.

--dir is a party's folder, whose aggregator is asked, or an aggregator's own or
a copy of it, which is only looked at. With --checkpoint the log must extend a
checkpoint that another institution was shown (log checkpoint --note); a copy
without the aggregator's keys needs one. With --model a file must be that of a
published model, byte for byte.

At the first statement that does not hold the audit ends, names it, and exits
with code 4.`,
		Example: "  credence audit --all --dir st-alba\n  credence audit screening/3 --dir lab\n  credence audit --model model.safetensors --dir lab\n  credence audit --all --dir copy-of-aggregator --checkpoint ours",
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := f.selection(args)
			if err != nil {
				return err
			}
			if f.model != "" {
				if err := readModelFile(f.model, &sel); err != nil {
					return err
				}
			}
			return a.audit(cmd.Context(), f, sel)
		},
	}
	dirFlag(cmd, &f.dir, "folder of a party or of the aggregator")
	cmd.Flags().BoolVar(&f.all, "all", false, "every round of every job")
	cmd.Flags().StringVar(&f.checkpoint, "checkpoint", "", "file with a signed checkpoint that the log must extend")
	cmd.Flags().StringVar(&f.genesis, "genesis", "", "digest of the genesis that you trust")
	cmd.Flags().StringVar(&f.model, "model", "", "file with a model (.safetensors or .onnx) that must be a published one")
	return cmd
}

// selection reads JOB, JOB/ROUND or --all.
func (f auditFlags) selection(args []string) (audit.Selection, error) {
	var sel audit.Selection
	switch {
	case len(args) == 1 && f.all:
		return sel, usagef("%q and --all: want one of them", args[0])
	case len(args) == 0 && !f.all && f.model == "":
		return sel, usagef("what to audit is missing: want JOB, JOB/ROUND or --all")
	case len(args) == 0:
		return sel, nil
	}
	job, round, numbered := strings.Cut(args[0], "/")
	sel.Job = fl.JobID(job)
	if err := sel.Job.Validate(); err != nil {
		return sel, usagef("%q: want JOB or JOB/ROUND", args[0])
	}
	if numbered {
		n, err := strconv.ParseUint(round, 10, 63)
		if err != nil || n < 1 {
			return sel, usagef("%q: want JOB/ROUND, rounds count from 1", args[0])
		}
		sel.Round = n
	}
	return sel, nil
}

// readModelFile reads the model that has to be a published one. The file has to
// be what export writes of what it says: a reader that takes another spelling of
// a name for the name would else pass over a changed byte.
func readModelFile(path string, sel *audit.Selection) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the model: %w", err)
	}
	none := func(err error) error {
		return &audit.Lie{Stage: "rounds", Where: "model file " + path, What: "it is no model that was exported here: " + err.Error(), Cause: err}
	}
	read, write := models.ReadSafetensors, (*models.Model).WriteSafetensors
	if strings.EqualFold(filepath.Ext(path), ".onnx") {
		read, write = models.ReadONNX, (*models.Model).WriteONNX
	}
	got, err := read(bytes.NewReader(raw))
	if err != nil {
		return none(err)
	}
	var again bytes.Buffer
	if err := write(got.Model, &again, got.Params, got.Metadata); err != nil {
		return none(err)
	}
	if !bytes.Equal(again.Bytes(), raw) {
		return none(errors.New("its bytes are not those that export writes of what it says: it was changed, or written by another program"))
	}
	spec, err := client.EncodeModel(got.Model.Spec())
	if err != nil {
		return none(err)
	}
	sel.Model, sel.ModelSpec, sel.ModelMetadata, sel.ModelName = got.Params, spec, got.Metadata, "model file "+path
	return nil
}

// audit carries an audit out and prints what it checked.
func (a *app) audit(ctx context.Context, f auditFlags, sel audit.Selection) error {
	if err := needDir(f.dir); err != nil {
		return err
	}
	var note []byte
	if f.checkpoint != "" {
		var err error
		if note, err = os.ReadFile(f.checkpoint); err != nil {
			return fmt.Errorf("reading the checkpoint: %w", err)
		}
		sel.Kept = []audit.Kept{{By: "the file " + f.checkpoint, Note: note}}
	}
	work := func(src audit.Source) error {
		if err := f.trusts(ctx, src); err != nil {
			return err
		}
		report, err := audit.Audit(ctx, src, sel, a.auditProgress)
		a.progress("")
		if err == nil || report.Lie != nil {
			a.result(report, func() { a.printAudit(report) })
		}
		return err
	}
	if isAggregatorDir(f.dir) {
		return withFolder(ctx, f.dir, note, work)
	}
	return a.withParty(ctx, f.dir, func(p *party) error { return work(audit.Connection(p.remote)) })
}

// trusts checks that a source is of the federation that --genesis names.
func (f auditFlags) trusts(ctx context.Context, src audit.Source) error {
	trust, err := src.Trust(ctx)
	if err == nil && f.genesis != "" && f.genesis != trust.Genesis.String() {
		err = fmt.Errorf("the genesis in %s is %s, not the one that --genesis names", f.dir, trust.Genesis)
	}
	return err
}

func (a *app) auditProgress(stage string, done, total int) {
	a.progress(fmt.Sprintf("%s: %d of %d", clip(stage, 50), done, total))
}

func (a *app) printAudit(r audit.Report) {
	a.printf("Federation %s, genesis %s\n", r.Federation, r.Genesis)
	a.printf("Log of %s under root %s\n", entriesText(r.Size), r.Root)
	for _, k := range r.Kept {
		a.printf("It extends the checkpoint kept by %s\n", k)
	}
	t := table{head: []string{"Stage", "Checked", ">Count", ">Seconds"}}
	for _, c := range r.Checks {
		t.add(c.Stage, c.What, fmt.Sprint(c.Count), fmt.Sprintf("%.3f", c.Seconds))
	}
	a.printf("\n")
	a.table("  ", t)
	if p := r.Pruned; p.Ciphertexts+p.NoiseBoxes > 0 {
		a.printf("\nDeleted after publication, as is allowed: %s and %s. They are not needed.\n", plural(p.Ciphertexts, "ciphertext"), strings.Replace(plural(p.NoiseBoxes, "noise box"), "boxs", "boxes", 1))
	}
	if len(r.NotChecked) > 0 {
		a.printf("\nNot checked:\n")
	}
	for _, n := range r.NotChecked {
		a.printf("  - %s\n", n)
	}
	if r.Lie == nil {
		a.printf("\n%s: %s and %s hold, in %.1f s.\n", a.style.green("No lie found"), entriesText(r.Size), plural(len(r.Rounds), "round"), r.Seconds)
	}
}
