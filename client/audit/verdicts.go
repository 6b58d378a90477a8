package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"credence/fl"
	"credence/he/threshold"
)

// checkVerdicts judges again whatever a verdict says that can be judged by
// anyone: its evidence is in the log, and the boxes that a complaint is about
// are kept. Only silence rests on the aggregator's clock.
func (a *auditor) checkVerdicts(ctx context.Context) error {
	for _, v := range a.book.verdicts {
		started := time.Now()
		e := a.book.epochPlans[v.body.EpochPlan]
		var err error
		switch v.body.Ground {
		case fl.GroundDealing, fl.GroundComplaint, fl.GroundSilence:
			err = a.judgeComplaint(ctx, e, v)
		default:
			err = a.judgeTest(ctx, e, v)
		}
		if err != nil {
			return err
		}
		a.checked("verdicts judged again from their evidence", 1, started)
	}
	return nil
}

// logged returns a document of the log by its digest.
func (a *auditor) logged(id fl.Digest) (ref, bool) {
	at, ok := a.book.ids[id]
	if !ok {
		return ref{}, false
	}
	doc, err := fl.DecodeEnvelope(a.raw[at])
	return ref{at: at, doc: doc, id: id}, err == nil
}

// thresholdEpoch is the epoch as the members' seal keys make it.
func (a *auditor) thresholdEpoch(e *epochLog, where string) (*threshold.Epoch, error) {
	keys := map[fl.NodeID]fl.Envelope{}
	for _, m := range e.plan.body.Members {
		key, ok := e.docs[string(fl.SealKey{}.Kind())][m]
		if !ok {
			return nil, a.lie(where, "there is no seal key of %s in epoch %d, so nothing was dealt", m, e.plan.body.Epoch)
		}
		keys[m] = key.doc
	}
	te, err := threshold.EpochFromDocuments(e.plan.doc, keys)
	if err != nil {
		return nil, a.lie(where, "%v", err)
	}
	return te, nil
}

// evidence is what a verdict on a complaint follows from.
type evidence struct {
	complaint filed[fl.Complaint]
	charge    fl.Charge
	key       []byte
	answered  bool
}

// evidenceOf finds the charge that a verdict decides, in the documents that it
// names.
func (a *auditor) evidenceOf(v filed[fl.Verdict]) (evidence, error) {
	var x evidence
	var answers []fl.ComplaintAnswer
	for _, id := range v.body.Evidence {
		r, ok := a.logged(id)
		if !ok {
			return x, a.lie(v.String(), "its evidence %s is not in the log", id.Short())
		}
		switch r.doc.Kind {
		case fl.Complaint{}.Kind():
			x.complaint = filed[fl.Complaint]{ref: r}
			if err := r.doc.Read(&x.complaint.body); err != nil {
				return x, a.lie(r.String(), "%v", err)
			}
		case fl.ComplaintAnswer{}.Kind():
			var d fl.ComplaintAnswer
			if err := r.doc.Read(&d); err != nil {
				return x, a.lie(r.String(), "%v", err)
			}
			answers = append(answers, d)
		}
	}
	c := x.complaint.body
	if c.EpochPlan != v.body.EpochPlan {
		return x, a.lie(v.String(), "its evidence holds no complaint in this epoch")
	}
	i := slices.IndexFunc(c.Charges, func(charge fl.Charge) bool {
		return slices.Contains(v.body.Evidence, charge.Dealing) && (charge.Dealer == v.body.Guilty || v.body.Ground == fl.GroundComplaint)
	})
	if i < 0 {
		return x, a.lie(v.String(), "the complaint that it names charges no dealing that it names")
	}
	x.charge = c.Charges[i]
	x.key = x.charge.Key
	for _, d := range answers {
		if d.Complaint != x.complaint.id || d.Node != x.charge.Dealer {
			continue
		}
		for _, k := range d.Keys {
			if k.Shard == x.charge.Shard && len(x.key) == 0 {
				x.key, x.answered = k.Key, true
			}
		}
	}
	return x, nil
}

// judgeComplaint repeats the judgement of a charge.
func (a *auditor) judgeComplaint(ctx context.Context, e *epochLog, v filed[fl.Verdict]) error {
	x, err := a.evidenceOf(v)
	if err != nil {
		return err
	}
	te, err := a.thresholdEpoch(e, v.String())
	if err != nil {
		return err
	}
	dealt, ok := a.logged(x.charge.Dealing)
	if !ok || dealt.doc.Signer != x.charge.Dealer {
		return a.lie(v.String(), "the dealing %s is not %s's, or not in the log", x.charge.Dealing.Short(), x.charge.Dealer)
	}
	subject, dealing, err := threshold.DealingFromDocument(te, e.plan.id, x.charge.Dealer, dealt.doc, x.charge.Shard)
	if err != nil {
		return a.lie(v.String(), "%v", err)
	}
	point := e.plan.body.Point(x.complaint.body.Node)
	if point == 0 || point > len(dealing) {
		return a.lie(v.String(), "%s complained and is not in the committee", x.complaint.body.Node)
	}
	if v.body.Ground == fl.GroundSilence {
		return a.judgeSilence(v, x)
	}
	if len(x.key) == 0 {
		return a.lie(v.String(), "nobody can look into the box: neither the complaint nor an answer gives its key")
	}
	digest := dealing[point-1].Digest
	box, err := a.blob(ctx, v.String(), fmt.Sprintf("box of %s for %s", x.charge.Dealer, x.complaint.body.Node), digest, x.complaint.id)
	if err != nil {
		return err
	}
	ruling, err := threshold.Judge(te, subject, string(x.charge.Dealer), dealing, string(x.complaint.body.Node), box, x.key)
	if err != nil {
		return a.lie(v.String(), "%v", err)
	}
	switch guilty := fl.NodeID(ruling.Guilty); {
	case guilty == x.charge.Dealer && (v.body.Ground != fl.GroundDealing || v.body.Guilty != guilty):
		return a.differs(v.String(), fmt.Sprintf("the evidence shows another guilty (%v)", ruling.Reason), guilty, v.body.Guilty)
	case guilty != x.charge.Dealer && v.body.Ground == fl.GroundDealing:
		return a.lie(v.String(), "the box holds what was promised: %v", ruling.Reason)
	case guilty != x.charge.Dealer && x.answered:
		return a.lie(v.String(), "an answer gave the key and the box holds what was promised, which convicts nobody")
	case guilty != x.charge.Dealer && v.body.Guilty != guilty:
		return a.differs(v.String(), fmt.Sprintf("the evidence shows another guilty (%v)", ruling.Reason), guilty, v.body.Guilty)
	}
	return nil
}

// judgeSilence checks what can be checked of it: that there was something to
// answer, and that no answer is in the log before the verdict.
func (a *auditor) judgeSilence(v filed[fl.Verdict], x evidence) error {
	if len(x.charge.Key) > 0 {
		return a.lie(v.String(), "the complaint gives the key of the box: nothing was left to answer")
	}
	for at, raw := range a.raw[:v.at] {
		doc, err := fl.DecodeEnvelope(raw)
		if err != nil || doc.Kind != (fl.ComplaintAnswer{}).Kind() {
			continue
		}
		var d fl.ComplaintAnswer
		if doc.Read(&d) == nil && d.Complaint == x.complaint.id && d.Node == v.body.Guilty {
			return a.lie(v.String(), "%s did answer: entry %d", v.body.Guilty, at)
		}
	}
	a.notChecked("how long a member that was convicted of silence was given to answer: it rests on the aggregator's clock")
	return nil
}

// judgeTest repeats what the self-test of an epoch says about its members.
func (a *auditor) judgeTest(ctx context.Context, e *epochLog, v filed[fl.Verdict]) error {
	te, err := a.thresholdEpoch(e, v.String())
	if err != nil {
		return err
	}
	commitments, reveals, dealings := map[string][32]byte{}, map[string][]byte{}, map[string]threshold.Dealing{}
	for _, m := range e.plan.body.Members {
		var c fl.KeyCommitment
		var r fl.KeyReveal
		var d fl.KeyDealing
		for kind, into := range map[fl.Kind]fl.Document{c.Kind(): &c, r.Kind(): &r, d.Kind(): &d} {
			held, ok := e.docs[string(kind)][m]
			if !ok {
				return a.lie(v.String(), "there is no %s of %s in epoch %d, so there was no self-test", kind, m, e.plan.body.Epoch)
			}
			if err := held.doc.Read(into); err != nil {
				return a.lie(held.String(), "%v", err)
			}
		}
		held := e.docs[string(r.Kind())][m]
		commitments[string(m)] = c.Commitment
		if reveals[string(m)], err = a.blob(ctx, held.String(), "key share of "+string(m), r.Reveal, held.id); err != nil {
			return err
		}
		dealings[string(m)] = threshold.DealingFromBoxes(d.Boxes, 0)
	}
	public, err := threshold.CollectiveKey(te, commitments, reveals)
	if err != nil {
		return a.lie(v.String(), "%v", err)
	}
	transcript, err := threshold.Transcript(te, reveals, dealings)
	if err != nil {
		return a.lie(v.String(), "%v", err)
	}
	stage := fl.StageTest
	if first, ok := a.logged(v.body.Evidence[0]); ok {
		var d fl.TestShare
		if first.doc.Read(&d) != nil {
			return a.lie(v.String(), "its evidence is no share of a self-test")
		}
		stage = d.Stage
	}
	targets := []fl.NodeID{""}
	if stage == fl.StageTrial {
		targets = e.plan.body.Members
	}
	dealt, sent := map[fl.NodeID]bool{}, map[fl.NodeID]bool{} // who is found guilty of what
	for i, target := range targets {
		shares, err := a.testShares(ctx, e, v, stage, i)
		if err != nil {
			return err
		}
		key := public
		if target != "" {
			if key, err = threshold.MemberKey(te, string(target), reveals[string(target)]); err != nil {
				return a.lie(v.String(), "%v", err)
			}
		}
		opened, err := threshold.VerifyTest(te, transcript, key, string(target), len(e.plan.body.Members), shares)
		switch {
		case errors.Is(err, threshold.ErrSelfTest) && target != "":
			dealt[target] = true
		case err == nil && opened.Ground != threshold.ByNoise:
			for _, wrong := range opened.Wrong {
				sent[fl.NodeID(wrong)] = true
			}
		}
	}
	guilty := v.body.Guilty
	switch {
	case v.body.Ground == fl.GroundSelfTest && !dealt[guilty]:
		return a.lie(v.String(), "the trial of the dealing of %s opens to zero, or opens not at all", guilty)
	case v.body.Ground == fl.GroundTestShare && !sent[guilty]:
		return a.lie(v.String(), "the shares of the self-test do not show that the one of %s is wrong", guilty)
	case v.body.Ground == fl.GroundNobody && len(dealt)+len(sent) > 0:
		return a.lie(v.String(), "the self-test names somebody: dealers %v, senders %v", names(dealt), names(sent))
	}
	return nil
}

func names(set map[fl.NodeID]bool) []fl.NodeID {
	var out []fl.NodeID
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// testShares reads every member's share of one test.
func (a *auditor) testShares(ctx context.Context, e *epochLog, v filed[fl.Verdict], stage fl.Stage, index int) ([]threshold.DecryptionShare, error) {
	var out []threshold.DecryptionShare
	for _, m := range e.plan.body.Members {
		held, ok := e.docs[inStage(fl.TestShare{}.Kind(), stage)][m]
		if !ok {
			return nil, a.lie(v.String(), "there is no share of the self-test by %s", m)
		}
		if !slices.Contains(v.body.Evidence, held.id) {
			return nil, a.lie(v.String(), "its evidence lacks the share of the self-test by %s, %s", m, held.id.Short())
		}
		var d fl.TestShare
		if err := held.doc.Read(&d); err != nil || index >= len(d.Shares) {
			return nil, a.lie(held.String(), "it holds %d shares: %v", len(d.Shares), err)
		}
		raw, err := a.blob(ctx, held.String(), "share of the self-test by "+string(m), d.Shares[index].Digest, held.id)
		if err != nil {
			return nil, err
		}
		out = append(out, threshold.DecryptionShare{Member: string(m), Share: raw})
	}
	return out, nil
}
