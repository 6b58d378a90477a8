package client

import (
	"context"
	"errors"
	"fmt"

	"credence/fl"
	"credence/he/threshold"
)

// charge turns a complaint of the key holder about the dealings of c's stage
// into charges, and reports whether the error was one.
func charge(c *fl.Complaint, err error, shard int, dealings map[string]fl.Digest) bool {
	var complaint *threshold.ComplaintError
	if !errors.As(err, &complaint) || (complaint.Subject == threshold.KeySubject()) != (c.Stage == fl.StageKey) {
		return false
	}
	for _, x := range complaint.Charges {
		c.Charges = append(c.Charges, fl.Charge{Dealer: fl.NodeID(x.Dealer), Dealing: dealings[x.Dealer], Shard: shard, Key: x.Key})
	}
	return true
}

// complainAbout publishes a complaint. The same boxes give the same complaint,
// so it may be repeated.
func (n *Node) complainAbout(ctx context.Context, c fl.Complaint) error {
	for _, x := range c.Charges {
		n.log.Error("complaining about dealt shares", "dealer", x.Dealer, "stage", c.Stage, "shard", x.Shard, "with_key", len(x.Key) > 0)
	}
	return n.send(ctx, c)
}

// answeredKey names the box whose key a dealer published.
type answeredKey struct {
	dealer fl.NodeID
	stage  fl.Stage
	plan   fl.Digest // of the round
	shard  int
}

type answeredKeys map[answeredKey][]byte

// readAnswers reads the answers to this node's complaints in an epoch. That a
// key is the committed one the key holder checks itself.
func (n *Node) readAnswers(ctx context.Context, planID fl.Digest, raw [][]byte) (answeredKeys, error) {
	out := answeredKeys{}
	for _, r := range raw {
		envelope, err := fl.DecodeEnvelope(r)
		if err != nil {
			return nil, err
		}
		var a fl.ComplaintAnswer
		if err := n.openMembers(ctx, envelope, envelope.Signer, &a); err != nil {
			return nil, err
		}
		if a.Node != envelope.Signer || a.EpochPlan != planID || a.Receiver != n.home.Node {
			return nil, fmt.Errorf("an answer of %s is for another epoch or receiver", envelope.Signer)
		}
		for _, k := range a.Keys {
			out[answeredKey{a.Node, a.Stage, a.Plan, k.Shard}] = k.Key
		}
	}
	return out, nil
}

// answerComplaints publishes the keys of the boxes that other members say do
// not give theirs. Each complaint must be signed by the receiver of the box: a
// key lets everybody read that one share, and whoever complains without need
// has given up its own.
func (n *Node) answerComplaints(ctx context.Context, planID fl.Digest, plan fl.EpochPlan, raw [][]byte) error {
	epoch, err := n.holder.Epoch(plan.Epoch)
	if err != nil {
		return err
	}
	for _, r := range raw {
		envelope, err := fl.DecodeEnvelope(r)
		if err != nil {
			return err
		}
		var c fl.Complaint
		if err := n.openMembers(ctx, envelope, envelope.Signer, &c); err != nil {
			return err
		}
		if c.Node != envelope.Signer || c.EpochPlan != planID || plan.Point(c.Node) == 0 {
			return fmt.Errorf("a complaint of %s is for another epoch or member", envelope.Signer)
		}
		answer := fl.ComplaintAnswer{
			Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node, Stage: c.Stage, Plan: c.Plan, Complaint: envelope.Digest(), Receiver: c.Node,
		}
		for _, x := range c.Charges {
			if x.Dealer != n.home.Node || len(x.Key) > 0 {
				continue
			}
			key, err := n.keyFor(ctx, epoch, planID, plan, c, x)
			if err != nil {
				return fmt.Errorf("answering the complaint of %s: %w", c.Node, err)
			}
			answer.Keys = append(answer.Keys, fl.AnsweredKey{Shard: x.Shard, Key: key})
		}
		if len(answer.Keys) == 0 {
			continue
		}
		if err := n.send(ctx, answer); err != nil {
			return err
		}
		n.log.Warn("answered a complaint", "of", c.Node, "stage", c.Stage, "boxes", len(answer.Keys))
	}
	return nil
}

// keyFor returns the key of one box that this node dealt.
func (n *Node) keyFor(ctx context.Context, epoch *threshold.Epoch, planID fl.Digest, plan fl.EpochPlan, c fl.Complaint, x fl.Charge) ([]byte, error) {
	doc, err := n.remote.Document(ctx, x.Dealing)
	if err != nil {
		return nil, err
	}
	if err := doc.Verify(n.home.Keys.SigningPublic()); err != nil {
		return nil, fmt.Errorf("the dealing is not this node's: %w", err)
	}
	subject, dealing, err := threshold.DealingFromDocument(epoch, planID, n.home.Node, doc, x.Shard)
	if err != nil {
		return nil, err
	}
	key, err := n.holder.Answer(plan.Epoch, subject, string(c.Node))
	if err != nil {
		return nil, err
	}
	return key, threshold.CheckKey(epoch, subject, string(n.home.Node), dealing, string(c.Node), key)
}
