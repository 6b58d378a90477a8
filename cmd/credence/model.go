package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"credence/client"
	"credence/fl"
	"credence/fl/identity"
)

// The formats of exported models.
const (
	formatSafetensors = "safetensors"
	formatONNX        = "onnx"
)

// writeModel writes a published model to a file.
func writeModel(path, format string, p client.Published) error {
	var b bytes.Buffer
	var err error
	switch format {
	case formatSafetensors:
		err = p.Model.WriteSafetensors(&b, p.Params, p.Metadata())
	case formatONNX:
		err = p.Model.WriteONNX(&b, p.Params, p.Metadata())
	default:
		err = usagef("--format %q: want %s or %s", format, formatSafetensors, formatONNX)
	}
	if err != nil {
		return err
	}
	return identity.WriteFile(path, b.Bytes())
}

func newModel(a *app) *cobra.Command {
	cmd := group("model", "Published models", "Lists, downloads and exports published models, as an enrolled party.")
	cmd.AddCommand(newModelList(a), newModelPull(a), newModelExport(a))
	return cmd
}

func newModelList(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "list [JOB]", Short: "List published models", Args: cobra.MaximumNArgs(1),
		Long:    "Lists the published versions of a job, or of all jobs. Each manifest's signature\nis checked. The figures are of the model that the version's round started from.",
		Example: "  credence model list screening --dir lab",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				job := ""
				if len(args) > 0 {
					job = args[0]
				}
				versions, err := p.remote.Models(cmd.Context(), fl.JobID(job))
				if err != nil {
					return err
				}
				return a.printModels(versions)
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the party")
	return cmd
}

// modelReport is a published model as --json prints it.
type modelReport struct {
	ManifestID fl.Digest   `json:"manifest_id"`
	Manifest   fl.Manifest `json:"manifest"`
}

func (a *app) printModels(versions []client.ModelVersion) error {
	t := table{head: []string{"Job", ">Version", ">Round", "Published", ">Base loss", ">Accuracy", "Manifest"}}
	var newest []fl.Manifest // of each job
	for _, v := range versions {
		m := v.Manifest
		if a.json {
			a.line(modelReport{v.ManifestID, m})
			continue
		}
		loss, score := "-", "-"
		if l, ok := m.Figures.MeanLoss(); ok {
			loss = fmt.Sprintf("%.4f", l)
		}
		if s, ok := m.Figures.Accuracy(); ok {
			score = fmt.Sprintf("%.1f %%", 100*s)
		}
		if n := len(newest); n > 0 && newest[n-1].Job == m.Job {
			newest = newest[:n-1]
		}
		newest = append(newest, m)
		t.add(clip(string(m.Job), 14), fmt.Sprint(m.Version), fmt.Sprint(m.Round), stamp(m.OpenedAt), loss, score, v.ManifestID.Short()[:8])
	}
	switch {
	case a.json:
	case len(t.rows) == 0:
		a.printf("No model has been published.\n")
	default:
		a.table("", t)
		for _, m := range newest {
			a.printf("Privacy of %s, version %d: epsilon %s%s.\n", m.Job, m.Version, m.Epsilon, atDelta(m))
		}
	}
	return nil
}

func newModelPull(a *app) *cobra.Command {
	var dir, out string
	var version uint64
	var own bool
	cmd := &cobra.Command{
		Use: "pull JOB -o FILE.safetensors", Short: "Download a published model", Args: cobra.ExactArgs(1),
		Long: `Downloads a published model as safetensors, and its signed manifest beside it.
The manifest's signature and the parameters' digest are checked first.

With --own, in a node's folder, it is the model with what the node keeps to
itself: its own last layers (strategy fedper) or its own model (ditto).`,
		Example: "  credence model pull screening -o model.safetensors --dir lab",
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("-o is missing: want a file to write, for example -o %s.safetensors", args[0])
			}
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				return a.saveModel(cmd, p, fl.JobID(args[0]), version, own, out, formatSafetensors)
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the party")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write")
	cmd.Flags().Uint64Var(&version, "version", 0, "version (default: the newest)")
	cmd.Flags().BoolVar(&own, "own", false, "with what this node keeps to itself")
	return cmd
}

func newModelExport(a *app) *cobra.Command {
	var dir, out, format string
	var version uint64
	var own bool
	cmd := &cobra.Command{
		Use: "export JOB --format onnx -o FILE", Short: "Download a published model in another format", Args: cobra.ExactArgs(1),
		Long:    "Like pull, as ONNX or safetensors. The file's metadata say where it comes from.",
		Example: "  credence model export screening --format onnx -o model.onnx --dir lab",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "":
				return usagef("-o is missing: want a file to write, for example -o %s.onnx", args[0])
			case format != formatONNX && format != formatSafetensors:
				return usagef("--format %q: want %s or %s", format, formatONNX, formatSafetensors)
			}
			return a.withParty(cmd.Context(), dir, func(p *party) error {
				return a.saveModel(cmd, p, fl.JobID(args[0]), version, own, out, format)
			})
		},
	}
	dirFlag(cmd, &dir, "folder of the party")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write")
	cmd.Flags().StringVar(&format, "format", formatONNX, "onnx or safetensors")
	cmd.Flags().Uint64Var(&version, "version", 0, "version (default: the newest)")
	cmd.Flags().BoolVar(&own, "own", false, "with what this node keeps to itself")
	return cmd
}

// saveModel downloads, verifies and writes a model with its manifest.
func (a *app) saveModel(cmd *cobra.Command, p *party, job fl.JobID, version uint64, own bool, out, format string) error {
	pull := p.remote.Pull
	if own {
		pull = p.remote.PullOwn
	}
	published, err := pull(cmd.Context(), job, version)
	if err != nil {
		return err
	}
	manifest := strings.TrimSuffix(out, filepath.Ext(out)) + ".manifest.json"
	if err := writeModel(out, format, published); err != nil {
		return err
	}
	if err := identity.WriteFile(manifest, published.Version.Envelope.Encode()); err != nil {
		return err
	}
	m := published.Version.Manifest
	a.result(map[string]any{"file": out, "format": format, "manifest_file": manifest, "job": m.Job, "version": m.Version, "parameters": len(published.Params),
		"manifest": published.Version.ManifestID, "model": m.Model, "proof_level": m.ProofLevel, "epsilon": m.Epsilon, "delta": m.Delta, "own_parameters_of": published.Own}, func() {
		a.printf("%s: version %d of %s, %s\n", out, m.Version, m.Job, plural(len(published.Params), "parameter"))
		if published.Own != "" {
			a.printf("It holds parameters of %s's own, which were never published: keep it.\n", published.Own)
		}
		a.printf("%s: signature and digest are good\n", manifest)
		a.printf("Proof level %s; epsilon %s%s.\n", m.ProofLevel, m.Epsilon, atDelta(m))
	})
	return nil
}

// atDelta is the delta that an epsilon belongs to, in words.
func atDelta(m fl.Manifest) string {
	if m.Delta == 0 {
		return ""
	}
	return fmt.Sprintf(" at delta %v", m.Delta)
}
