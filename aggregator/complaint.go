package aggregator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/round"
	"credence/he/threshold"
)

// complaint is a complaint as stored.
type complaint struct {
	fl.Complaint
	id  fl.Digest
	doc fl.Envelope
}

// answer is a dealer's answer to a complaint as stored.
type answer struct {
	fl.ComplaintAnswer
	doc fl.Envelope
}

// court remembers, in this process alone, what was judged already and since
// when an answer is awaited. All of it follows from the store again.
type court struct {
	mu        sync.Mutex
	judged    map[string]bool
	waiting   map[fl.Digest]time.Time
	results   map[fl.Digest]testResult
	announced map[fl.Digest]bool
}

func (c *court) result(epochPlan fl.Digest) (testResult, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, known := c.results[epochPlan]
	return r, known
}

func (c *court) keep(epochPlan fl.Digest, r testResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.results == nil {
		c.results = map[fl.Digest]testResult{}
	}
	c.results[epochPlan] = r
}

func (c *court) announce(epochPlan fl.Digest) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.announced == nil {
		c.announced = map[fl.Digest]bool{}
	}
	first = !c.announced[epochPlan]
	c.announced[epochPlan] = true
	return first
}

func (c *court) settled(charge string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.judged[charge]
}

func (c *court) settle(charge string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.judged == nil {
		c.judged = map[string]bool{}
	}
	c.judged[charge] = true
}

// since returns since when the answer to a complaint is awaited.
func (c *court) since(id fl.Digest, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = map[fl.Digest]time.Time{}
	}
	if _, known := c.waiting[id]; !known {
		c.waiting[id] = now
	}
	return c.waiting[id]
}

// disputeEpoch returns the epoch that a complaint or an answer is about: the
// open one, or in stage round any that has its key.
func (a *Aggregator) disputeEpoch(ctx context.Context, from fl.Enrolment, genesis, plan fl.Digest, node fl.NodeID, stage fl.Stage) (epochState, error) {
	if stage != fl.StageRound {
		e, err := a.openEpochFor(ctx, from, genesis, plan, node)
		if err == nil && e.key != nil {
			err = fl.Refuse(fl.CodeLate, node, "epoch %d has its key: every member took its shares", e.Number)
		}
		return e, err
	}
	if err := a.addressed(from, genesis, node); err != nil {
		return epochState{}, err
	}
	e, err := a.epochOf(ctx, plan)
	switch {
	case fl.CodeOf(err) == fl.CodeNotFound, err == nil && e.key == nil:
		return epochState{}, fl.Refuse(fl.CodeWrongAddressee, node, "the document is for an epoch that has no key or is not this federation's")
	case err == nil && e.plan.Point(node) == 0:
		return epochState{}, fl.Refuse(fl.CodeNotAllowed, node, "%s is not in the committee of epoch %d", node, e.Number)
	}
	return e, err
}

// disputed is the box that a charge is about.
type disputed struct {
	subject threshold.Subject
	dealing threshold.Dealing
	box     fl.Digest
}

// disputedBox finds the box that a charge is about. It must be in a dealing
// that the aggregator accepted.
func (a *Aggregator) disputedBox(ctx context.Context, e epochState, te *threshold.Epoch, c fl.Complaint, charge fl.Charge) (disputed, error) {
	wrong := func(format string, args ...any) error {
		return fl.Refuse(fl.CodeMalformed, c.Node, "charge against %s: %s", charge.Dealer, fmt.Sprintf(format, args...))
	}
	if e.plan.Point(charge.Dealer) == 0 {
		return disputed{}, wrong("it is not in the committee of epoch %d", e.Number)
	}
	held := fl.Digest{}
	switch c.Stage {
	case fl.StageKey:
		held = e.Dealings[charge.Dealer].Digest()
	case fl.StageTest, fl.StageTrial:
		held = e.noise[c.Stage][charge.Dealer].Digest()
	}
	doc, err := a.store.Document(ctx, charge.Dealing)
	switch {
	case errors.Is(err, store.ErrNotFound), c.Stage != fl.StageRound && held != charge.Dealing:
		return disputed{}, wrong("%s is not its dealing of this stage", charge.Dealing.Short())
	case err != nil:
		return disputed{}, err
	}
	if c.Stage == fl.StageRound {
		var d fl.NoiseDealing
		if err := doc.Read(&d); err != nil || d.Plan != c.Plan {
			return disputed{}, wrong("%s is not its dealing for the round", charge.Dealing.Short())
		}
	}
	subject, dealing, err := threshold.DealingFromDocument(te, e.planID, charge.Dealer, doc, charge.Shard)
	if err != nil {
		return disputed{}, wrong("%s", err)
	}
	box := dealing[e.plan.Point(c.Node)-1]
	return disputed{subject: subject, dealing: dealing, box: box.Digest}, nil
}

// acceptComplaint takes in a member's complaint. The verdict follows in the
// next pass.
func (a *Aggregator) acceptComplaint(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.Complaint
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.disputeEpoch(ctx, from, d.Genesis, d.EpochPlan, d.Node, d.Stage)
	if err != nil {
		return time.Time{}, err
	}
	te, err := e.threshold()
	if err != nil {
		return time.Time{}, err
	}
	for _, charge := range d.Charges {
		if _, err := a.disputedBox(ctx, e, te, d, charge); err != nil {
			return time.Time{}, err
		}
	}
	at, err := a.addEpochDocument(ctx, e, doc)
	if err == nil {
		a.log.Error("complaint about dealt shares", "epoch", e.Number, "stage", d.Stage, "member", d.Node, "against", dealersOf(d))
	}
	return at, err
}

func dealersOf(c fl.Complaint) string {
	var out []string
	for _, charge := range c.Charges {
		out = append(out, string(charge.Dealer))
	}
	return strings.Join(out, ", ")
}

// complaintOf finds a complaint of the epoch by its digest.
func (e epochState) complaintOf(id fl.Digest) (complaint, bool) {
	for _, c := range e.complaints {
		if c.id == id {
			return c, true
		}
	}
	return complaint{}, false
}

// acceptComplaintAnswer takes in the keys that a dealer publishes because a
// complaint charges it without them. Each must be the committed one.
func (a *Aggregator) acceptComplaintAnswer(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.ComplaintAnswer
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	e, err := a.disputeEpoch(ctx, from, d.Genesis, d.EpochPlan, d.Node, d.Stage)
	if err != nil {
		return time.Time{}, err
	}
	c, ok := e.complaintOf(d.Complaint)
	if !ok || c.Node != d.Receiver || c.Stage != d.Stage || c.Plan != d.Plan {
		return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "the answer is to no complaint of %s", d.Receiver)
	}
	te, err := e.threshold()
	if err != nil {
		return time.Time{}, err
	}
	open := c.keyless(d.Node)
	if len(open) != len(d.Keys) {
		return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "the answer holds %d keys: the complaint asks for %d", len(d.Keys), len(open))
	}
	for i, charge := range open {
		box, err := a.disputedBox(ctx, e, te, c.Complaint, charge)
		if err != nil {
			return time.Time{}, err
		}
		if d.Keys[i].Shard != charge.Shard {
			return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "key %d is for shard %d: want %d", i, d.Keys[i].Shard, charge.Shard)
		}
		if err := threshold.CheckKey(te, box.subject, string(d.Node), box.dealing, string(c.Node), d.Keys[i].Key); err != nil {
			return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "key of shard %d: %s", charge.Shard, err)
		}
	}
	return a.addEpochDocument(ctx, e, doc)
}

// keyless returns the charges against a dealer that it has to answer.
func (c complaint) keyless(dealer fl.NodeID) []fl.Charge {
	var out []fl.Charge
	for _, charge := range c.Charges {
		if charge.Dealer == dealer && len(charge.Key) == 0 {
			out = append(out, charge)
		}
	}
	return out
}

// answerTo returns a dealer's answer to a complaint.
func (e epochState) answerTo(c complaint, dealer fl.NodeID) (answer, bool) {
	for _, a := range e.answers {
		if a.Complaint == c.id && a.Node == dealer {
			return a, true
		}
	}
	return answer{}, false
}

// unanswered reports whether a complaint still lacks an answer, or holds a
// charge that no answer mends.
func (e epochState) unanswered(c complaint) bool {
	for _, charge := range c.Charges {
		if _, ok := e.answerTo(c, charge.Dealer); !ok || len(charge.Key) > 0 {
			return true
		}
	}
	return false
}

// hopeless reports whether a complaint holds a charge that no answer will
// mend.
func (e epochState) hopeless(c complaint) bool {
	return slices.ContainsFunc(c.Charges, func(charge fl.Charge) bool {
		_, answered := e.answerTo(c, charge.Dealer)
		return len(charge.Key) > 0 || !answered && e.convicted(charge.Dealer)
	})
}

// answersFor returns the answers to a member's complaints of a stage (in stage
// round: about a plan), and whether one of them still stands.
func (e epochState) answersFor(node fl.NodeID, stage fl.Stage, plan fl.Digest) (answers [][]byte, standing bool) {
	for _, c := range e.complaints {
		if c.Node != node || c.Stage != stage || c.Plan != plan {
			continue
		}
		standing = standing || e.unanswered(c)
		for _, a := range e.answers {
			if a.Complaint == c.id {
				answers = append(answers, a.doc.Encode())
			}
		}
	}
	return answers, standing
}

// toAnswer returns the complaints that a dealer has not answered.
func (e epochState) toAnswer(dealer fl.NodeID) [][]byte {
	var out [][]byte
	for _, c := range e.complaints {
		if (c.Stage == fl.StageRound) != (e.key != nil) || len(c.keyless(dealer)) == 0 || e.convicted(dealer) {
			continue
		}
		if _, done := e.answerTo(c, dealer); !done {
			out = append(out, c.doc.Encode())
		}
	}
	return out
}

// judge decides every complaint that can be decided.
func (a *Aggregator) judge(ctx context.Context) error {
	all, err := a.epochs(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, e := range all {
		for _, c := range e.complaints {
			if err := a.judgeComplaint(ctx, e, c); err != nil {
				failed = errors.Join(failed, fmt.Errorf("complaint of %s in epoch %d: %w", c.Node, e.Number, err))
			}
		}
	}
	if !slices.ContainsFunc(all, func(e epochState) bool { return len(e.complaints) > 0 }) {
		return failed
	}
	if all, err = a.epochs(ctx); err != nil { // with the new verdicts
		return errors.Join(failed, err)
	}
	for _, e := range all {
		if err := a.endSpoilt(ctx, e); err != nil {
			failed = errors.Join(failed, fmt.Errorf("epoch %d: %w", e.Number, err))
		}
	}
	return failed
}

func (a *Aggregator) judgeComplaint(ctx context.Context, e epochState, c complaint) error {
	te, err := e.threshold()
	if err != nil {
		return err
	}
	for _, charge := range c.Charges {
		name := fmt.Sprintf("%s %s %d", c.id, charge.Dealer, charge.Shard)
		if a.court.settled(name) {
			continue
		}
		key, evidence, answered := charge.Key, []fl.Digest{c.id, charge.Dealing}, false
		if len(key) == 0 {
			reply, ok := e.answerTo(c, charge.Dealer)
			if !ok {
				if now := a.now(); now.Sub(a.court.since(c.id, now)) >= a.opts.AnswerTimeout {
					a.court.settle(name)
					if err := a.convict(ctx, e, fl.Verdict{Guilty: charge.Dealer, Ground: fl.GroundSilence, Evidence: evidence,
						Reason: fmt.Sprintf("%s did not answer the complaint of %s within %s", charge.Dealer, c.Node, a.opts.AnswerTimeout)}); err != nil {
						return err
					}
				}
				continue
			}
			answered, evidence = true, append(evidence, reply.doc.Digest())
			for _, k := range reply.Keys {
				if k.Shard == charge.Shard {
					key = k.Key
				}
			}
		}
		box, err := a.disputedBox(ctx, e, te, c.Complaint, charge)
		if err != nil {
			return err
		}
		raw, err := a.blobs.Get(ctx, box.box)
		if err != nil {
			return err
		}
		ruling, err := threshold.Judge(te, box.subject, string(charge.Dealer), box.dealing, string(c.Node), raw, key)
		if err != nil {
			return err
		}
		switch {
		case ruling.Guilty == string(charge.Dealer):
			err = a.convict(ctx, e, fl.Verdict{Guilty: charge.Dealer, Ground: fl.GroundDealing, Evidence: evidence,
				Reason: cut(fmt.Sprintf("%s dealt a wrong share to %s: %s", charge.Dealer, c.Node, ruling.Reason))})
		case answered:
			// The contents are right. Whether the key was sealed wrong or the
			// receiver denies it cannot be told; the answer gives the share.
		default:
			err = a.convict(ctx, e, fl.Verdict{Guilty: c.Node, Ground: fl.GroundComplaint, Evidence: evidence,
				Reason: cut(fmt.Sprintf("%s complained about %s without a reason: %s", c.Node, charge.Dealer, ruling.Reason))})
		}
		if err != nil {
			return err
		}
		a.court.settle(name)
	}
	return nil
}

// endSpoilt ends the rounds that cannot open any more, since too many members
// have no share of the noise.
func (a *Aggregator) endSpoilt(ctx context.Context, e epochState) error {
	var plans []fl.Digest
	without := map[fl.Digest]int{}
	for _, c := range e.complaints {
		if c.Stage == fl.StageRound && e.hopeless(c) {
			if without[c.Plan]++; len(e.plan.Members)-without[c.Plan] == e.plan.Threshold-1 {
				plans = append(plans, c.Plan)
			}
		}
	}
	for _, id := range plans {
		doc, err := a.store.Document(ctx, id)
		if err != nil {
			return err
		}
		var plan fl.Plan
		if err := a.readOwn(doc, &plan); err != nil {
			return err
		}
		reason := fmt.Sprintf("%d of %d members cannot take their shares of the noise: it takes %d", without[id], len(e.plan.Members), e.plan.Threshold)
		if err := a.step(ctx, plan.Job, plan.Round, round.Cancelled{Reason: reason, At: a.now()}, stepExtras{}); err != nil && !refused(err) {
			return err
		}
	}
	return nil
}

// convict stores a verdict. A party is convicted once in an epoch.
func (a *Aggregator) convict(ctx context.Context, e epochState, v fl.Verdict) error {
	if v.Guilty != "" && e.convicted(v.Guilty) {
		return nil
	}
	v.Genesis, v.EpochPlan, v.At = a.genesisID, e.planID, a.now()
	doc, err := a.sign(v)
	if err != nil {
		return err
	}
	if err := a.store.AddEpochDocument(ctx, e.Number, doc); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	a.log.Error("verdict", "epoch", e.Number, "guilty", v.Guilty, "ground", v.Ground, "reason", v.Reason, "void", e.key == nil)
	a.wake.signal()
	return nil
}

// EpochView is an epoch for people to look at.
type EpochView struct {
	Number    uint64
	Step      string // closed, void, or the document that it waits for, in words
	Members   []fl.NodeID
	Threshold int
	Waiting   []fl.NodeID // whose next document is awaited
	Key       fl.Digest   // of the epoch key, zero until the epoch is closed
	Disputes  int         // complaints so far
	Verdicts  []fl.Verdict
}

// EpochViews returns every epoch, by number.
func (a *Aggregator) EpochViews(ctx context.Context) ([]EpochView, error) {
	all, err := a.epochs(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]EpochView, len(all))
	for i, e := range all {
		v := EpochView{Number: e.Number, Members: e.plan.Members, Threshold: e.plan.Threshold, Key: e.keyID, Disputes: len(e.complaints), Verdicts: e.verdicts}
		switch {
		case e.key != nil:
			v.Step = "closed"
		case e.void():
			v.Step = "void"
		default:
			v.Step, v.Waiting = e.waitsFor()
		}
		out[i] = v
	}
	return out, nil
}

// waitsFor says which documents an open epoch waits for, and whose.
func (e epochState) waitsFor() (step string, who []fl.NodeID) {
	for _, s := range []struct {
		step string
		docs map[fl.NodeID]fl.Envelope
	}{
		{"seal key", e.SealKeys}, {"key commitment", e.Commitments}, {"key share", e.Reveals}, {"dealing", e.Dealings}, {"acceptance", e.acceptances},
		{"noise for the self-test", e.noise[fl.StageTest]}, {"share of the self-test", e.shares[fl.StageTest]},
		{"noise for the trial", e.noise[fl.StageTrial]}, {"share of the trial", e.shares[fl.StageTrial]},
	} {
		for _, m := range e.plan.Members {
			if _, in := s.docs[m]; !in {
				who = append(who, m)
			}
		}
		if len(who) > 0 {
			return s.step, who
		}
	}
	return "verdict", nil
}
