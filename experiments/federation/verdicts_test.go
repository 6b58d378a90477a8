package federation_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"credence/client"
	"credence/client/audit"
	"credence/fl"
	"credence/fl/identity"
	"credence/fl/translog"
)

// rewritten is a federation's log as an aggregator could have written and
// signed it instead.
type rewritten struct {
	audit.Source
	entries [][]byte
	keys    *identity.Keys
	trust   audit.Trust
}

// Trust implements audit.Source, without what anybody was shown before.
func (r *rewritten) Trust(context.Context) (audit.Trust, error) { return r.trust, nil }

// Entries implements audit.Source.
func (r *rewritten) Entries(_ context.Context, from, to int64) ([][]byte, error) {
	return r.entries[from:to], nil
}

type tree []tlog.Hash

// ReadHashes implements translog.Hashes.
func (t tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = t[x]
	}
	return out, nil
}

// Checkpoint implements audit.Source.
func (r *rewritten) Checkpoint(context.Context) ([]byte, error) {
	var hashes tree
	for i, e := range r.entries {
		more, err := translog.Append(int64(i), e, hashes)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, more...)
	}
	size := int64(len(r.entries))
	root, err := translog.Root(size, hashes)
	if err != nil {
		return nil, err
	}
	return translog.Sign(translog.Checkpoint{Origin: translog.Origin(r.trust.Genesis), Size: size, Root: root}, r.keys.Signing)
}

// auditVerdicts audits a federation in which members were convicted: the
// verdicts follow from their evidence, and others would not.
func auditVerdicts(t *testing.T, c *clinic) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	report, err := audit.Audit(ctx, audit.Connection(c.owner), audit.Selection{}, nil)
	must(err)
	i := slices.IndexFunc(report.Checks, func(x audit.Check) bool { return strings.HasPrefix(x.What, "verdicts judged again") })
	if i < 0 || report.Checks[i].Count != 3 {
		t.Fatalf("checked %+v, want 3 verdicts", report.Checks)
	}
	keys, err := identity.Load(filepath.Join(c.dir, "aggregator"))
	must(err)
	log := &rewritten{Source: audit.Connection(c.owner), keys: keys}
	if log.trust, err = log.Source.Trust(ctx); err != nil {
		t.Fatal(err)
	}
	log.trust.Kept = nil
	verdicts := map[fl.Ground]int{}
	var complaints, answers, shares []fl.Envelope
	_, err = c.owner.ReadLog(ctx, func(e client.LogEntry) error {
		if doc, err := fl.DecodeEnvelope(e.Bytes); err == nil {
			switch doc.Kind {
			case fl.Verdict{}.Kind():
				var v fl.Verdict
				must(doc.Read(&v))
				verdicts[v.Ground] = len(log.entries)
			case fl.Complaint{}.Kind():
				complaints = append(complaints, doc)
			case fl.ComplaintAnswer{}.Kind():
				answers = append(answers, doc)
			case fl.TestShare{}.Kind():
				shares = append(shares, doc)
			}
		}
		log.entries = append(log.entries, slices.Clone(e.Bytes))
		return nil
	})
	must(err)
	read := func(ground fl.Ground) fl.Verdict {
		doc, err := fl.DecodeEnvelope(log.entries[verdicts[ground]])
		must(err)
		var v fl.Verdict
		must(doc.Read(&v))
		return v
	}
	var last fl.Complaint // of the cheat, about alpha, who answered it
	must(complaints[len(complaints)-1].Read(&last))
	refuted := fl.Verdict{
		Genesis: last.Genesis, EpochPlan: last.EpochPlan, Reason: "invented", At: read(fl.GroundDealing).At,
		Evidence: []fl.Digest{complaints[len(complaints)-1].Digest(), last.Charges[0].Dealing, answers[len(answers)-1].Digest()},
	}
	for name, test := range map[string]struct {
		ground fl.Ground // of the verdict that is replaced; empty: one more
		make   func(v *fl.Verdict)
		want   string
	}{
		"another guilty of a wrong box": {fl.GroundDealing, func(v *fl.Verdict) { v.Guilty = "alpha" }, "charges no dealing"},
		"the complainer instead of the dealer": {fl.GroundDealing, func(v *fl.Verdict) {
			v.Guilty, v.Ground = "alpha", fl.GroundComplaint
		}, "another guilty"},
		"no complaint in the evidence":    {fl.GroundDealing, func(v *fl.Verdict) { v.Evidence = v.Evidence[1:] }, "no complaint"},
		"another guilty of the self-test": {fl.GroundSelfTest, func(v *fl.Verdict) { v.Guilty = "beta" }, "opens to zero"},
		"a wrong test share instead of a dealing": {fl.GroundSelfTest, func(v *fl.Verdict) {
			v.Ground = fl.GroundTestShare
		}, "do not show"},
		"nobody, although the trial names one": {fl.GroundSelfTest, func(v *fl.Verdict) { v.Guilty, v.Ground = "", fl.GroundNobody }, "names somebody"},
		"not all shares of the trial":          {fl.GroundSelfTest, func(v *fl.Verdict) { v.Evidence = v.Evidence[:2] }, "lacks the share"},
		"the shares of another test":           {fl.GroundSelfTest, func(v *fl.Verdict) { v.Evidence = []fl.Digest{shares[0].Digest()} }, "lacks the share"},
		"silence of one that answered":         {"", func(v *fl.Verdict) { v.Guilty, v.Ground = "alpha", fl.GroundSilence }, "did answer"},
		"a dealer whose box is right":          {"", func(v *fl.Verdict) { v.Guilty, v.Ground = "alpha", fl.GroundDealing }, "what was promised"},
		"a complainer that an answer helped":   {"", func(v *fl.Verdict) { v.Guilty, v.Ground = "delta", fl.GroundComplaint }, "convicts nobody"},
		"silence where the key was given": {fl.GroundDealing, func(v *fl.Verdict) {
			v.Ground = fl.GroundSilence
		}, ""},
	} {
		entries := log.entries
		v := refuted
		if test.ground != "" {
			v = read(test.ground)
		}
		v.Evidence = slices.Clone(v.Evidence)
		test.make(&v)
		signed, err := fl.Sign(v, fl.AggregatorID, keys.Signing)
		must(err)
		false := *log
		false.entries = slices.Clone(entries)
		if test.ground != "" {
			false.entries[verdicts[test.ground]] = signed.Encode()
		} else {
			false.entries = append(false.entries, signed.Encode())
		}
		_, err = audit.Audit(ctx, &false, audit.Selection{}, nil)
		var lie *audit.Lie
		if !errors.As(err, &lie) || !strings.Contains(lie.Error(), test.want) {
			t.Errorf("a verdict on %s: %v, want %q", name, err, test.want)
		}
	}
}
