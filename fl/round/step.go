package round

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"credence/fl"
)

// maxReason bounds the reason of a cancellation, in bytes.
const maxReason = 1000

// Step applies an event. The effects are those that the new state has pending
// and the old one had not. An event that repeats what the state holds already
// changes nothing and is no error. An event that the rules do not allow is an
// *fl.Refusal, returned with the old state. Once a round is final nothing
// changes it.
func Step(s State, event Event) (State, []Effect, error) {
	if event == nil || s.config == nil {
		return s, nil, fl.Refuse(fl.CodeMalformed, "", "no event, or a state that New did not make")
	}
	at := fl.Instant(event.at())
	if at.IsZero() || at.Year() < 1 || at.Year() > 9999 {
		return s, nil, fl.Refuse(fl.CodeMalformed, "", "%T at %s: not a time", event, at)
	}
	next := s.clone()
	if at.After(next.Now) {
		next.Now = at
	}
	changed, refusal := next.apply(event)
	if refusal != nil {
		return s, nil, refusal
	}
	if !changed {
		return s, nil, nil
	}
	next.advance()
	if _, tick := event.(Tick); tick && next.Phase == s.Phase && slices.Equal(next.Opening, s.Opening) {
		return s, nil, nil // time alone is not worth a write to the store
	}
	next.Version++
	before := Pending(s)
	var effects []Effect
	for _, e := range Pending(next) {
		if !slices.ContainsFunc(before, func(b Effect) bool { return reflect.DeepEqual(b, e) }) {
			effects = append(effects, e)
		}
	}
	return next, effects, nil
}

// Pending returns what is still to be done in this state.
func Pending(s State) []Effect {
	switch s.Phase {
	case Sealed:
		return []Effect{ComputeSums{Clients: slices.Clone(s.Clients), Dealers: slices.Clone(s.Dealers)}}
	case Decrypting:
		if len(s.Opening) > 0 {
			return []Effect{OpenSums{Seal: s.Seal, Holders: slices.Clone(s.Opening)}}
		}
		return []Effect{RequestShares{Seal: s.Seal}}
	case Aborted:
		return []Effect{AbortRound{Reason: s.Reason}}
	}
	return nil
}

// apply enters the event and reports whether it said anything new.
func (s *State) apply(event Event) (changed bool, refusal error) {
	switch e := event.(type) {
	case UpdateAccepted:
		return s.acceptUpdate(e)
	case Declined:
		return s.decline(e)
	case NoiseDealt:
		return s.dealNoise(e)
	case SumsReady:
		return s.sumsReady(e)
	case ShareReceived:
		return s.receiveShare(e)
	case Opened:
		return s.opened(e)
	case OpenFailed:
		return s.openFailed(e)
	case Cancelled:
		return s.cancel(e)
	case Revoked:
		return s.revoke(e)
	case Tick:
		return !s.Phase.Final(), nil
	}
	return false, fl.Refuse(fl.CodeMalformed, "", "unknown event %T", event)
}

func (s *State) acceptUpdate(e UpdateAccepted) (bool, error) {
	if e.Header.IsZero() {
		return false, fl.Refuse(fl.CodeMalformed, e.Node, "the update names no header")
	}
	if held, ok := s.Updates[e.Node]; ok {
		if held.Digest == e.Header {
			return false, nil
		}
		return false, fl.Refuse(fl.CodeConflict, e.Node, "update %s was accepted already; a client has one update a round", held.Digest.Short())
	}
	if err := s.mayAnswer(e.Node); err != nil {
		return false, err
	}
	if _, ok := s.Declined[e.Node]; ok {
		return false, fl.Refuse(fl.CodeNotAllowed, e.Node, "it declined this round")
	}
	s.Updates[e.Node] = Mark{e.Header, s.Now}
	return true, nil
}

func (s *State) decline(e Declined) (bool, error) {
	if _, ok := s.Declined[e.Node]; ok {
		return false, nil
	}
	if held, ok := s.Updates[e.Node]; ok {
		return false, fl.Refuse(fl.CodeConflict, e.Node, "update %s was accepted already; it can no longer decline", held.Digest.Short())
	}
	if err := s.mayAnswer(e.Node); err != nil {
		return false, err
	}
	s.Declined[e.Node] = s.Now
	return true, nil
}

// mayAnswer refuses who is not in the cohort, who was revoked, and who comes
// late.
func (s *State) mayAnswer(node fl.NodeID) error {
	if _, ok := s.config.Plan.Assigned(node); !ok {
		return fl.Refuse(fl.CodeNotInCohort, node, "the plan of job %s, round %d does not name it", s.config.Plan.Job, s.config.Plan.Round)
	}
	if _, ok := s.Revoked[node]; ok {
		return fl.Refuse(fl.CodeRevoked, node, "its enrolment was revoked")
	}
	return s.inTime(node)
}

func (s *State) inTime(node fl.NodeID) error {
	switch {
	case s.Phase != Open:
		return fl.Refuse(fl.CodeLate, node, "round %d of job %s is %s", s.config.Plan.Round, s.config.Plan.Job, s.Phase)
	case s.Now.After(s.config.Plan.Deadline):
		return fl.Refuse(fl.CodeLate, node, "the deadline was %s, now it is %s", clock(s.config.Plan.Deadline), clock(s.Now))
	}
	return nil
}

func (s *State) dealNoise(e NoiseDealt) (bool, error) {
	if err := s.mayHold(e.Member, e.Dealing); err != nil {
		return false, err
	}
	if held, ok := s.Dealings[e.Member]; ok {
		if held.Digest == e.Dealing {
			return false, nil
		}
		return false, fl.Refuse(fl.CodeConflict, e.Member, "noise dealing %s is in already; a member deals once a round", held.Digest.Short())
	}
	if _, ok := s.Revoked[e.Member]; ok {
		return false, fl.Refuse(fl.CodeRevoked, e.Member, "its enrolment was revoked")
	}
	if err := s.inTime(e.Member); err != nil {
		return false, err
	}
	s.Dealings[e.Member] = Mark{e.Dealing, s.Now}
	return true, nil
}

func (s *State) mayHold(member fl.NodeID, document fl.Digest) error {
	switch {
	case document.IsZero():
		return fl.Refuse(fl.CodeMalformed, member, "the document has no digest")
	case s.config.Epoch.Point(member) == 0:
		return fl.Refuse(fl.CodeNotAllowed, member, "it is not in the committee of epoch %d", s.config.Epoch.Epoch)
	}
	return nil
}

func (s *State) sumsReady(e SumsReady) (bool, error) {
	switch {
	case e.Seal.IsZero():
		return false, fl.Refuse(fl.CodeMalformed, "", "the seal has no digest")
	case !s.Seal.IsZero() && s.Seal == e.Seal:
		return false, nil
	case !s.Seal.IsZero():
		return false, fl.Refuse(fl.CodeConflict, "", "the round has seal %s; a second, %s, would open another sum", s.Seal.Short(), e.Seal.Short())
	case s.Phase == Open:
		return false, fl.Refuse(fl.CodeNotReady, "", "the round is still open")
	case s.Phase != Sealed:
		return false, fl.Refuse(fl.CodeLate, "", "the round is %s", s.Phase)
	}
	s.Seal = e.Seal
	s.Phase = Decrypting
	return true, nil
}

func (s *State) receiveShare(e ShareReceived) (bool, error) {
	if err := s.mayHold(e.Member, e.Share); err != nil {
		return false, err
	}
	if slices.Contains(s.Wrong, e.Member) {
		return false, fl.Refuse(fl.CodeNotAllowed, e.Member, "its decryption share was found wrong; this round takes no other from it")
	}
	if held, ok := s.Shares[e.Member]; ok {
		if held.Digest == e.Share {
			return false, nil
		}
		return false, fl.Refuse(fl.CodeConflict, e.Member, "decryption share %s is in already; shares are deterministic, so there is no second", held.Digest.Short())
	}
	if _, ok := s.Revoked[e.Member]; ok {
		return false, fl.Refuse(fl.CodeRevoked, e.Member, "its enrolment was revoked")
	}
	switch s.Phase {
	case Decrypting:
	case Open, Sealed:
		return false, fl.Refuse(fl.CodeNotReady, e.Member, "the round is %s; decryption shares come after its seal is published", s.Phase)
	default:
		return false, fl.Refuse(fl.CodeLate, e.Member, "the round is %s", s.Phase)
	}
	s.Shares[e.Member] = Mark{e.Share, s.Now}
	return true, nil
}

func (s *State) opened(e Opened) (bool, error) {
	switch {
	case e.Manifest.IsZero():
		return false, fl.Refuse(fl.CodeMalformed, "", "the manifest has no digest")
	case s.Phase == Published && s.Manifest == e.Manifest:
		return false, nil
	case s.Phase == Published:
		return false, fl.Refuse(fl.CodeConflict, "", "the round was published with manifest %s; it is not published twice", s.Manifest.Short())
	}
	if err := s.outcome(e.Wrong); err != nil {
		return false, err
	}
	if left := len(s.Opening) - len(e.Wrong); left < s.config.Epoch.Threshold {
		return false, fl.Refuse(fl.CodeMalformed, "", "opened by %d holders: it takes %d", left, s.config.Epoch.Threshold)
	}
	s.blame(e.Wrong)
	s.Manifest = e.Manifest
	s.Phase = Published
	s.EndedAt = s.Now
	return true, nil
}

func (s *State) openFailed(e OpenFailed) (bool, error) {
	if err := s.outcome(e.Wrong); err != nil {
		return false, err
	}
	if len(e.Wrong) == 0 {
		s.Failed = s.Opening
	}
	s.blame(e.Wrong)
	s.Opening = nil
	s.OpenedAt = time.Time{}
	return true, nil
}

// outcome refuses the outcome of an opening that is not under way or that
// blames somebody outside it.
func (s *State) outcome(wrong []fl.NodeID) error {
	switch {
	case s.Phase.Final():
		return fl.Refuse(fl.CodeLate, "", "the round is %s", s.Phase)
	case len(s.Opening) == 0:
		return fl.Refuse(fl.CodeNotReady, "", "no opening is under way; the round is %s", s.Phase)
	}
	for i, node := range wrong {
		if !slices.Contains(s.Opening, node) || slices.Contains(wrong[:i], node) {
			return fl.Refuse(fl.CodeMalformed, node, "blamed twice, or its share was not among those combined")
		}
	}
	return nil
}

func (s *State) blame(wrong []fl.NodeID) {
	s.Wrong = append(s.Wrong, wrong...)
	slices.Sort(s.Wrong)
}

func (s *State) cancel(e Cancelled) (bool, error) {
	switch s.Phase {
	case Aborted:
		return false, nil
	case Published:
		return false, fl.Refuse(fl.CodeLate, "", "the round is already published")
	}
	// A string that is not UTF-8 would be encoded as another string.
	reason := strings.ToValidUTF8(e.Reason, "?")
	for len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	s.abort("cancelled: %s", cmp.Or(reason, "no reason given"))
	return true, nil
}

func (s *State) revoke(e Revoked) (bool, error) {
	_, client := s.config.Plan.Assigned(e.Node)
	_, already := s.Revoked[e.Node]
	if already || s.Phase.Final() || (!client && s.config.Epoch.Point(e.Node) == 0) {
		return false, nil
	}
	s.Revoked[e.Node] = s.Now
	if s.Phase == Open {
		delete(s.Updates, e.Node)
		delete(s.Dealings, e.Node)
	}
	return true, nil
}

func (s *State) abort(format string, args ...any) {
	s.Phase = Aborted
	s.Reason = fmt.Sprintf(format, args...)
	s.EndedAt = s.Now
}

// advance moves the round on as far as what it holds and the time allow.
func (s *State) advance() {
	if s.Phase == Open {
		s.advanceOpen()
	}
	if s.Phase == Sealed {
		s.advanceSealed()
	}
	if s.Phase == Decrypting {
		s.advanceDecrypting()
	}
}

func (s *State) advanceOpen() {
	plan, threshold := s.config.Plan, s.config.Epoch.Threshold
	var possible []fl.NodeID // clients that answered with an update or still may
	for _, a := range plan.Cohort {
		if _, declined := s.Declined[a.Node]; !declined && !s.revoked(a.Node) {
			possible = append(possible, a.Node)
		}
	}
	members := s.waitingFor()
	if why := s.shortOf(possible, "can still be accepted"); why != "" {
		s.abort("%s, since %d declined and %d were revoked", why, len(s.Declined), len(s.Revoked))
		return
	}
	if len(members) < threshold {
		s.abort("%d members are left to deal noise: it takes %d", len(members), threshold)
		return
	}
	dealt := len(s.Dealings)
	ready := len(s.Updates) == len(possible) && dealt >= threshold
	switch {
	case !ready:
		s.ReadyAt = time.Time{}
	case s.ReadyAt.IsZero():
		s.ReadyAt = s.Now
	}
	complete := ready && (dealt == len(members) || s.Now.Sub(s.ReadyAt) >= s.config.SealGrace)
	if !complete && s.Now.Before(plan.Deadline) {
		return
	}
	accepted := slices.Sorted(maps.Keys(s.Updates))
	if why := s.shortOf(accepted, "were accepted by the deadline"); why != "" {
		s.abort("%s", why)
		return
	}
	if dealt < threshold {
		s.abort("%d of %d members dealt noise by the deadline: it takes %d", dealt, len(s.config.Epoch.Members), threshold)
		return
	}
	s.Phase = Sealed
	s.SealedAt = s.Now
	s.Clients = accepted
	s.Dealers = slices.DeleteFunc(slices.Clone(s.config.Epoch.Members), func(m fl.NodeID) bool {
		_, ok := s.Dealings[m]
		return !ok
	})
}

// shortOf says in words why the clients are too few, or nothing.
func (s *State) shortOf(clients []fl.NodeID, what string) string {
	least := s.config.Plan.MinCohort
	if len(clients) < least {
		return fmt.Sprintf("updates of %d of %d clients %s: the minimum is %d", len(clients), len(s.config.Plan.Cohort), what, least)
	}
	for shard, n := range s.config.Plan.Contributors(clients) {
		if n < least {
			return fmt.Sprintf("updates of %d clients to shard %d %s: the minimum is %d", n, shard, what, least)
		}
	}
	return ""
}

func (s *State) advanceSealed() {
	s.checkTimeout(s.SealedAt, "the sums were not ready")
	s.checkMembers()
}

func (s *State) advanceDecrypting() {
	threshold := s.config.Epoch.Threshold
	if len(s.Opening) > 0 {
		// The shares are in: time runs anew, so that an aggregator which was down
		// past the timeout still gets to open what it holds.
		s.checkTimeout(s.OpenedAt, "the sums were not opened")
		return
	}
	if s.checkMembers() {
		return
	}
	var holders []fl.NodeID
	waiting := s.waitingFor()
	for _, m := range waiting {
		if _, ok := s.Shares[m]; ok {
			holders = append(holders, m)
		}
	}
	all := len(holders) == len(waiting)
	news := slices.ContainsFunc(holders, func(m fl.NodeID) bool { return !slices.Contains(s.Failed, m) })
	switch {
	case len(holders) < threshold:
		s.QuorumAt = time.Time{}
	case s.QuorumAt.IsZero():
		s.QuorumAt = s.Now
	}
	quorum := !s.QuorumAt.IsZero()
	switch {
	case quorum && news && (all || len(s.Failed) > 0 || s.Now.Sub(s.QuorumAt) >= s.config.ShareGrace):
		s.Opening = holders
		s.OpenedAt = s.Now
	case all && !news:
		s.abort("the decryption shares of all %d members that are left do not open the sums, and none of them can be blamed", len(holders))
	default:
		s.checkTimeout(s.SealedAt, fmt.Sprintf("%d decryption shares were in, of which it takes %d that agree", len(holders), threshold))
	}
}

// checkMembers aborts when too few members are left to open a sum.
func (s *State) checkMembers() bool {
	left, threshold := len(s.waitingFor()), s.config.Epoch.Threshold
	if left >= threshold || s.Phase.Final() {
		return false
	}
	s.abort("%d members are left to open the sums: it takes %d; %d sent a wrong share, %d parties were revoked", left, threshold, len(s.Wrong), len(s.Revoked))
	return true
}

func (s *State) checkTimeout(since time.Time, what string) {
	if s.Now.Sub(since) >= s.config.DecryptTimeout {
		s.abort("%s within %s of %s", what, s.config.DecryptTimeout, clock(since))
	}
}

// waitingFor returns the members that count: neither revoked nor found wrong.
func (s *State) waitingFor() []fl.NodeID {
	return slices.DeleteFunc(slices.Clone(s.config.Epoch.Members), func(m fl.NodeID) bool {
		return s.revoked(m) || slices.Contains(s.Wrong, m)
	})
}

func (s *State) revoked(node fl.NodeID) bool {
	_, ok := s.Revoked[node]
	return ok
}

// clock writes a time for people.
func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 UTC") }
