package fl

import (
	"errors"
	"fmt"
	"time"
)

// Stage says which dealings of an epoch a document is about.
type Stage string

// The stages. The first three come one after the other while a key is made;
// the last is a round's, of an epoch that has its key.
const (
	StageKey   Stage = "key"   // the Shamir shares of the members' secrets
	StageTest  Stage = "test"  // noise for the self-test of the collective key
	StageTrial Stage = "trial" // noise for the tests of each member's dealing, when that test failed
	StageRound Stage = "round" // noise for the sums of a round
)

// Validate refuses unknown stages.
func (s Stage) Validate() error {
	switch s {
	case StageKey, StageTest, StageTrial, StageRound:
		return nil
	}
	return fmt.Errorf("fl: stage %q: want key, test, trial or round", s)
}

// KeyAcceptance is a member's word that it took its shares from exactly these
// key dealings: every box opened and gave the published check.
type KeyAcceptance struct {
	Genesis   Digest   `json:"genesis"`
	EpochPlan Digest   `json:"epoch_plan"`
	Node      NodeID   `json:"node"`
	Dealings  []Digest `json:"dealings"` // one a member, in their order
}

// Kind implements Document.
func (KeyAcceptance) Kind() Kind { return "key-acceptance/v1" }

// Validate implements Document.
func (a KeyAcceptance) Validate() error {
	if err := validDigests("key acceptance: dealings", a.Dealings); err != nil {
		return err
	}
	return validSubject(a.Genesis, a.EpochPlan, a.Node)
}

// TestNoise distributes the shares of a member's noise for the self-test
// (stage test, one shard 0) or for the tests of every member's dealing (stage
// trial, shard j for the member at point j).
type TestNoise struct {
	Genesis   Digest `json:"genesis"`
	EpochPlan Digest `json:"epoch_plan"`
	Node      NodeID `json:"node"`
	Stage     Stage  `json:"stage"`
	Boxes     []Box  `json:"boxes"` // by shard, then in the order of the members
}

// Kind implements Document.
func (TestNoise) Kind() Kind { return "test-noise/v1" }

// Validate implements Document.
func (n TestNoise) Validate() error {
	return firstError(validSubject(n.Genesis, n.EpochPlan, n.Node), n.Stage.test(), validBoxes(n.Boxes))
}

func (s Stage) test() error {
	if s != StageTest && s != StageTrial {
		return fmt.Errorf("stage %q: want test or trial", s)
	}
	return nil
}

// TestShare is a member's part in a self-test: one share in stage test (shard
// 0), one for each member's dealing in stage trial (shard j for point j).
type TestShare struct {
	Genesis   Digest     `json:"genesis"`
	EpochPlan Digest     `json:"epoch_plan"`
	Node      NodeID     `json:"node"`
	Stage     Stage      `json:"stage"`
	Noise     []Digest   `json:"noise"`  // the TestNoise documents used, one a member, in their order
	Shares    []ShareRef `json:"shares"` // ascending by shard
}

// Kind implements Document.
func (TestShare) Kind() Kind { return "test-share/v1" }

// Validate implements Document.
func (t TestShare) Validate() error {
	if len(t.Shares) == 0 {
		return errors.New("test share: empty")
	}
	first := 0
	if t.Stage == StageTrial {
		first = 1
	}
	for i, s := range t.Shares {
		if s.Shard != first+i || s.Digest.IsZero() {
			return fmt.Errorf("test share: entry %d is for shard %d or empty", i, s.Shard)
		}
	}
	return firstError(validSubject(t.Genesis, t.EpochPlan, t.Node), t.Stage.test(), validDigests("test share: noise", t.Noise))
}

// Charge says that the box of one dealing for the complainer is wrong. With
// the key that the dealer committed to anyone can look into the box. Without it
// the dealer has to publish that key.
type Charge struct {
	Dealer  NodeID `json:"dealer"`
	Dealing Digest `json:"dealing"` // document that names the box
	Shard   int    `json:"shard"`
	Key     []byte `json:"key,omitempty"` // 32 bytes, or none when the box does not give it
}

// contentKeyBytes is the length of the key of one box.
const contentKeyBytes = 32

// Complaint is a member's public refusal of shares that were dealt to it.
type Complaint struct {
	Genesis   Digest   `json:"genesis"`
	EpochPlan Digest   `json:"epoch_plan"`
	Node      NodeID   `json:"node"`
	Stage     Stage    `json:"stage"`
	Plan      Digest   `json:"plan,omitzero"` // of the round, in stage round
	Charges   []Charge `json:"charges"`       // ascending by shard, then by dealer
}

// Kind implements Document.
func (Complaint) Kind() Kind { return "complaint/v1" }

// Validate implements Document.
func (c Complaint) Validate() error {
	switch {
	case len(c.Charges) == 0:
		return errors.New("complaint: charges nobody")
	case (c.Stage == StageRound) == c.Plan.IsZero():
		return errors.New("complaint: names a plan in stage round and in no other")
	}
	for i, ch := range c.Charges {
		switch {
		case ch.Dealing.IsZero() || ch.Shard < 0:
			return fmt.Errorf("complaint: charge %d names no box", i)
		case len(ch.Key) != 0 && len(ch.Key) != contentKeyBytes:
			return fmt.Errorf("complaint: charge %d has a key of %d bytes: want %d or none", i, len(ch.Key), contentKeyBytes)
		case i > 0 && (ch.Shard < c.Charges[i-1].Shard || ch.Shard == c.Charges[i-1].Shard && ch.Dealer <= c.Charges[i-1].Dealer):
			return errors.New("complaint: charges are not ascending by shard and dealer")
		}
		if err := ch.Dealer.Validate(); err != nil {
			return err
		}
	}
	return firstError(validSubject(c.Genesis, c.EpochPlan, c.Node), c.Stage.Validate())
}

// AnsweredKey is the content key of the complainer's box of one shard.
type AnsweredKey struct {
	Shard int    `json:"shard"`
	Key   []byte `json:"key"` // 32 bytes
}

// ComplaintAnswer is a dealer's answer to a complaint that charges it without
// a key: it publishes the keys of those boxes.
type ComplaintAnswer struct {
	Genesis   Digest        `json:"genesis"`
	EpochPlan Digest        `json:"epoch_plan"`
	Node      NodeID        `json:"node"` // the dealer
	Stage     Stage         `json:"stage"`
	Plan      Digest        `json:"plan,omitzero"` // of the round, in stage round
	Complaint Digest        `json:"complaint"`
	Receiver  NodeID        `json:"receiver"` // who complained
	Keys      []AnsweredKey `json:"keys"`     // ascending by shard, for the charges without a key
}

// Kind implements Document.
func (ComplaintAnswer) Kind() Kind { return "complaint-answer/v1" }

// Validate implements Document.
func (c ComplaintAnswer) Validate() error {
	switch {
	case c.Complaint.IsZero():
		return errors.New("complaint answer: names no complaint")
	case len(c.Keys) == 0:
		return errors.New("complaint answer: holds no key")
	case (c.Stage == StageRound) == c.Plan.IsZero():
		return errors.New("complaint answer: names a plan in stage round and in no other")
	}
	for i, k := range c.Keys {
		if k.Shard < 0 || len(k.Key) != contentKeyBytes || i > 0 && k.Shard <= c.Keys[i-1].Shard {
			return fmt.Errorf("complaint answer: key %d: want ascending shards and %d bytes", i, contentKeyBytes)
		}
	}
	return firstError(validSubject(c.Genesis, c.EpochPlan, c.Node), c.Receiver.Validate(), c.Stage.Validate())
}

// Ground is why a verdict was given.
type Ground string

// The grounds. All but silence can be checked by anyone from the evidence.
const (
	GroundDealing   Ground = "dealing"    // its box does not hold the share that its dealing promises
	GroundComplaint Ground = "complaint"  // it complained about a box that is right
	GroundSilence   Ground = "silence"    // it did not answer a complaint in time
	GroundSelfTest  Ground = "self-test"  // its dealt shares are not those of its key share
	GroundTestShare Ground = "test-share" // its share of the self-test is wrong
	GroundNobody    Ground = "nobody"     // the self-test failed and nobody can be named
)

// Verdict is the aggregator's record of who dealt wrong or complained wrong in
// an epoch. Before the epoch has its key a verdict voids it; afterwards the
// node's noise is no longer used in that epoch.
type Verdict struct {
	Genesis   Digest    `json:"genesis"`
	EpochPlan Digest    `json:"epoch_plan"`
	Guilty    NodeID    `json:"guilty,omitempty"` // empty on ground nobody alone
	Ground    Ground    `json:"ground"`
	Evidence  []Digest  `json:"evidence"` // documents it follows from: complaint, answer, test shares
	Reason    string    `json:"reason"`   // for people
	At        time.Time `json:"at"`
}

// Kind implements Document.
func (Verdict) Kind() Kind { return "verdict/v1" }

// Validate implements Document.
func (v Verdict) Validate() error {
	switch v.Ground {
	case GroundDealing, GroundComplaint, GroundSilence, GroundSelfTest, GroundTestShare:
		if err := v.Guilty.Validate(); err != nil {
			return err
		}
	case GroundNobody:
		if v.Guilty != "" {
			return errors.New("verdict: names somebody on ground nobody")
		}
	default:
		return fmt.Errorf("verdict: unknown ground %q", v.Ground)
	}
	switch {
	case v.Genesis.IsZero():
		return errNoGenesis
	case v.EpochPlan.IsZero():
		return errors.New("verdict: names no epoch plan")
	case len(v.Reason) > 1000:
		return errors.New("verdict: reason over 1000 bytes")
	}
	return firstError(validDigests("verdict: evidence", v.Evidence), validTime("verdict: at", v.At))
}

func validDigests(what string, digests []Digest) error {
	if len(digests) == 0 {
		return fmt.Errorf("%s: none", what)
	}
	for _, d := range digests {
		if d.IsZero() {
			return fmt.Errorf("%s: one is empty", what)
		}
	}
	return nil
}
