package main

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"credence/client"
	"credence/fl"
)

// roundReport is a published round as --json prints it.
type roundReport struct {
	Event      string      `json:"event"` // "round"
	Job        fl.JobID    `json:"job"`
	Round      uint64      `json:"round"`
	Version    uint64      `json:"version"`
	Versions   int         `json:"versions"` // that the job will publish
	Updates    int         `json:"updates"`
	Cohort     int         `json:"cohort"`
	Shares     int         `json:"decryption_shares"`
	Milli      int64       `json:"milliseconds"`
	BaseLoss   *float64    `json:"base_model_loss"` // nil when nobody holds rows out
	BaseScore  *float64    `json:"base_model_accuracy"`
	BaseRows   int64       `json:"base_model_rows"`
	Model      fl.Digest   `json:"model"`
	Manifest   fl.Digest   `json:"manifest"`
	WrongShare []fl.NodeID `json:"wrong_shares,omitempty"`
}

// watcher follows a job and prints each round as it is published.
type watcher struct {
	app     *app
	remote  *client.Remote
	job     fl.JobID
	every   time.Duration
	now     func() time.Time
	started time.Time
	base    int       // versions that were there at the start
	printed uint64    // versions printed
	wait    string    // what the job waits for
	since   time.Time // since when
	told    string    // the last wait that was printed
	head    bool
}

// watch follows the job until it is over and returns how it ended.
func (w *watcher) watch(ctx context.Context) (client.JobView, error) {
	w.started, w.base = w.now(), -1
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for failures := 0; ; {
		view, err := w.remote.Job(ctx, w.job)
		if w.base < 0 && err == nil {
			w.base = int(view.GetVersion())
		}
		if err == nil && view.GetVersion() > w.printed {
			err = w.printRounds(ctx, view)
		}
		switch {
		case err == nil:
			failures = 0
			if view.Final() {
				w.app.progress("")
				return view, nil
			}
			w.report(view)
		case ctx.Err() != nil || fl.CodeOf(err) != "" || failures >= 20:
			return view, err
		default:
			failures++ // the aggregator may be restarting
			w.app.progress("waiting for the aggregator to answer again")
		}
		select {
		case <-ctx.Done():
			return view, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// printRounds prints the rounds published since the last look.
func (w *watcher) printRounds(ctx context.Context, view client.JobView) error {
	versions, err := w.remote.Models(ctx, w.job)
	if err != nil {
		return err
	}
	for _, v := range versions {
		m := v.Manifest
		if m.Job != w.job || m.Version <= w.printed {
			continue
		}
		rec, err := w.remote.RoundRecord(ctx, v)
		if err != nil {
			return err
		}
		r := roundReport{
			Event: "round", Job: w.job, Round: m.Round, Version: m.Version, Versions: view.Spec.Rounds,
			Updates: len(rec.Seal.Clients), Cohort: len(rec.Plan.Cohort), Shares: len(m.KeyHolders), Milli: m.OpenedAt.Sub(rec.Plan.OpenedAt).Milliseconds(),
			BaseRows: m.Figures.Count, Model: m.Model, Manifest: v.ManifestID, WrongShare: m.WrongShare,
		}
		if loss, ok := m.Figures.MeanLoss(); ok {
			r.BaseLoss = &loss
		}
		if score, ok := m.Figures.Accuracy(); ok {
			r.BaseScore = &score
		}
		w.print(r)
		w.printed = m.Version
	}
	return nil
}

func (w *watcher) print(r roundReport) {
	a := w.app
	if a.json {
		a.line(r)
		return
	}
	if !w.head {
		w.head = true
		a.printf("%s\n", a.style.dim("   Model  Updates  Shares     Time  Model it started from, on held-out rows"))
	}
	figures := "no held-out rows"
	if r.BaseLoss != nil && r.BaseScore != nil {
		figures = fmt.Sprintf("loss %.4f  accuracy %5.1f %%", *r.BaseLoss, 100**r.BaseScore)
	}
	a.printf("%8s  %7s  %6d  %5.2f s  %s\n", fmt.Sprintf("%d/%d", r.Version, r.Versions), fmt.Sprintf("%d/%d", r.Updates, r.Cohort), r.Shares, float64(r.Milli)/1000, figures)
	if len(r.WrongShare) > 0 {
		a.printf("          %s\n", a.style.red(fmt.Sprintf("wrong decryption shares from %v were left out", r.WrongShare)))
	}
}

// report shows where the round under way stands.
func (w *watcher) report(view client.JobView) {
	a := w.app
	r := view.GetRound()
	stage := "waiting"
	switch {
	case len(view.GetWaits()) > 0:
		stage = "waiting for " + view.GetWaits()[0]
	case r == nil:
	case r.GetPhase() == "open":
		stage = fmt.Sprintf("open: %d of %d updates, %d dealings of noise", r.GetAccepted(), r.GetCohort(), r.GetDealt())
	case r.GetPhase() == "sealed":
		stage = "sealed: adding the ciphertexts"
	case r.GetPhase() == "decrypting":
		stage = fmt.Sprintf("decrypting: %d shares", r.GetShares())
	case r.GetPhase() == "aborted":
		stage = "aborted, trying again: " + r.GetReason()
	}
	done, all := int(view.GetVersion()), view.Spec.Rounds
	eta := ""
	if elapsed := w.now().Sub(w.started); done > w.base && done < all {
		eta = fmt.Sprintf("  %s left", (elapsed / time.Duration(done-w.base) * time.Duration(all-done)).Round(time.Second))
	}
	a.progress(clip(fmt.Sprintf("%s round %d  %s%s", bar(done, all, 12), r.GetNumber(), stage, eta), 78))
	if a.terminal {
		return
	}
	// A log gets a line for what lasts, not for every phase.
	if len(view.GetWaits()) == 0 && r.GetPhase() != "aborted" {
		stage = ""
	}
	if stage != w.wait {
		w.wait, w.since = stage, w.now()
	}
	if stage == "" || stage == w.told || w.now().Sub(w.since) < lastingWait {
		return
	}
	w.told = stage
	if a.json {
		a.line(map[string]any{"event": "waiting", "job": w.job, "round": r.GetNumber(), "reason": stage})
	} else {
		a.printf("%s\n", stage)
	}
}

// lastingWait is how long a job must wait for something before a log says so.
const lastingWait = 3 * time.Second

func bar(done, all, width int) string {
	full := 0
	if all > 0 {
		full = min(done*width/all, width)
	}
	return strings.Repeat("━", full) + strings.Repeat("─", width-full)
}

// clip shortens a text to n characters.
func clip(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

// folded breaks a text into lines of at most n characters between its words.
func folded(s string, n int) string {
	var b strings.Builder
	used := 0
	for i, word := range strings.Fields(s) {
		size := utf8.RuneCountInString(word)
		switch {
		case i > 0 && used+1+size > n:
			b.WriteByte('\n')
			used = 0
		case i > 0:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += size
	}
	return b.String()
}
