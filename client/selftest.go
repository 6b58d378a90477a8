package client

import (
	"context"
	"errors"
	"fmt"

	"credence/fl"
	"credence/fl/flpb"
	"credence/he"
	"credence/he/threshold"
)

// acceptKey takes this member's shares of everybody's part of the secret, and
// says so; or it complains about the dealers whose boxes are wrong.
func (n *Node) acceptKey(ctx context.Context, planID fl.Digest, plan fl.EpochPlan, task *flpb.EpochTask) error {
	epoch, err := n.holder.Epoch(plan.Epoch)
	if err != nil {
		return err
	}
	answers, err := n.readAnswers(ctx, planID, task.GetDocuments())
	if err != nil {
		return err
	}
	reveals := map[string][]byte{}
	docs, err := n.fromMembers(ctx, plan, task.GetReveals(), func() fl.Document { return new(fl.KeyReveal) }, func(m fl.NodeID, doc fl.Document) error {
		if r := doc.(*fl.KeyReveal); r.EpochPlan != planID || r.Node != m {
			return fmt.Errorf("the key share of %s is for another epoch or member", m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, m := range plan.Members {
		var r fl.KeyReveal
		if err := docs[m].Read(&r); err != nil {
			return err
		}
		if reveals[string(m)], err = n.remote.Fetch(ctx, r.Reveal, docs[m].Digest()); err != nil {
			return err
		}
	}
	if err := n.verifyKeyShares(ctx, plan, epoch, docs, reveals); err != nil {
		return fmt.Errorf("epoch %d: %w", plan.Epoch, err)
	}
	dealings, err := n.fromMembers(ctx, plan, task.GetDealings(), func() fl.Document { return new(fl.KeyDealing) }, nil)
	if err != nil {
		return err
	}
	_, err = n.completeEpoch(ctx, planID, plan, epoch, reveals, dealings, answers)
	digests := map[string]fl.Digest{}
	acceptance := fl.KeyAcceptance{Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node}
	for _, m := range plan.Members {
		digests[string(m)] = dealings[m].Digest()
		acceptance.Dealings = append(acceptance.Dealings, dealings[m].Digest())
	}
	complaint := fl.Complaint{Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node, Stage: fl.StageKey}
	if charge(&complaint, err, 0, digests) {
		return n.complainAbout(ctx, complaint)
	}
	if err != nil {
		return fmt.Errorf("taking the key shares of epoch %d: %w", plan.Epoch, err)
	}
	return n.send(ctx, acceptance)
}

// completeEpoch fetches this member's boxes and completes the epoch in the key
// holder.
func (n *Node) completeEpoch(ctx context.Context, planID fl.Digest, plan fl.EpochPlan, epoch *threshold.Epoch, reveals map[string][]byte, dealings map[fl.NodeID]fl.Envelope, answers answeredKeys) (*he.PublicKey, error) {
	received := map[string]threshold.Received{}
	for _, m := range plan.Members {
		r, err := n.receive(ctx, epoch, planID, m, dealings[m], 0)
		if err != nil {
			return nil, err
		}
		r.Key = answers[answeredKey{m, fl.StageKey, fl.Digest{}, 0}]
		received[string(m)] = r
	}
	return n.holder.Complete(plan.Epoch, reveals, received)
}

// tests lists the targets of a self-test's stage with their shards: nobody and
// 0 for the collective key, or every member at its point.
func tests(plan fl.EpochPlan, stage fl.Stage) (targets []string, first int, err error) {
	switch stage {
	case fl.StageTest:
		return []string{""}, 0, nil
	case fl.StageTrial:
		for _, m := range plan.Members {
			targets = append(targets, string(m))
		}
		return targets, 1, nil
	}
	return nil, 0, fmt.Errorf("a self-test in stage %q, which this version does not know", stage)
}

func (n *Node) dealTestNoise(ctx context.Context, planID fl.Digest, plan fl.EpochPlan, stage fl.Stage) error {
	targets, first, err := tests(plan, stage)
	if err != nil {
		return err
	}
	noise := fl.TestNoise{Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node, Stage: stage}
	for i := range targets {
		dealt, err := n.holder.DealNoise(plan.Epoch, threshold.TestSum(plan.Epoch, first+i))
		if err != nil {
			return err
		}
		boxes, err := n.uploadBoxes(ctx, first+i, dealt)
		if err != nil {
			return err
		}
		noise.Boxes = append(noise.Boxes, boxes...)
	}
	return n.send(ctx, noise)
}

// shareTest releases this member's shares of a self-test. The key holder makes
// the ciphertexts itself, so this opens nothing but encryptions of zero.
func (n *Node) shareTest(ctx context.Context, planID fl.Digest, plan fl.EpochPlan, task *flpb.EpochTask) error {
	stage := fl.Stage(task.GetStage())
	targets, first, err := tests(plan, stage)
	if err != nil {
		return err
	}
	epoch, err := n.holder.Epoch(plan.Epoch)
	if err != nil {
		return err
	}
	if len(task.GetDocuments()) < len(plan.Members) {
		return fmt.Errorf("noise of %d members for the self-test, want %d", len(task.GetDocuments()), len(plan.Members))
	}
	noise, err := n.fromMembers(ctx, plan, task.GetDocuments()[:len(plan.Members)], func() fl.Document { return new(fl.TestNoise) }, nil)
	if err != nil {
		return err
	}
	answers, err := n.readAnswers(ctx, planID, task.GetDocuments()[len(plan.Members):])
	if err != nil {
		return err
	}
	dealings, err := n.fromMembers(ctx, plan, task.GetDealings(), func() fl.Document { return new(fl.KeyDealing) }, nil)
	if err != nil {
		return err
	}
	answer := fl.TestShare{Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node, Stage: stage}
	complaint := fl.Complaint{Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node, Stage: stage}
	digests := map[string]fl.Digest{}
	for _, m := range plan.Members {
		digests[string(m)] = noise[m].Digest()
		answer.Noise = append(answer.Noise, noise[m].Digest())
	}
	for i, target := range targets {
		shard := first + i
		req := threshold.TestRequest{Epoch: plan.Epoch, Target: target, Noise: map[string]threshold.Received{}}
		for _, m := range plan.Members {
			r, err := n.receive(ctx, epoch, planID, m, noise[m], shard)
			if err != nil {
				return err
			}
			r.Key = answers[answeredKey{m, stage, fl.Digest{}, shard}]
			req.Noise[string(m)] = r
		}
		if target != "" {
			if req.KeyShare, err = n.receive(ctx, epoch, planID, fl.NodeID(target), dealings[fl.NodeID(target)], 0); err != nil {
				return err
			}
			req.KeyShare.Key = answers[answeredKey{fl.NodeID(target), fl.StageKey, fl.Digest{}, 0}]
		}
		share, err := n.holder.ReleaseTest(req)
		if charge(&complaint, err, shard, digests) {
			continue
		}
		if err != nil {
			return fmt.Errorf("the self-test of epoch %d: %w", plan.Epoch, err)
		}
		digest, err := n.remote.Upload(ctx, share)
		if err != nil {
			return err
		}
		answer.Shares = append(answer.Shares, fl.ShareRef{Shard: shard, Digest: digest})
	}
	if len(complaint.Charges) > 0 {
		return n.complainAbout(ctx, complaint)
	}
	return n.send(ctx, answer)
}

// verifyMaking checks what an epoch's key rests on beside the key shares:
// every dealing is consistent as far as the public can see, every member
// accepted exactly these dealings, and the self-test opens to zero. It returns
// the documents, which have to be in the log.
func (n *Node) verifyMaking(ctx context.Context, k *epochKey) ([]fl.Envelope, error) {
	var logged []fl.Envelope
	dealings := map[string]threshold.Dealing{}
	var shares []threshold.DecryptionShare
	for i, m := range k.plan.Members {
		var d fl.KeyDealing
		var a fl.KeyAcceptance
		var noise fl.TestNoise
		var s fl.TestShare
		for _, want := range []struct {
			digest fl.Digest
			into   fl.Document
		}{{k.doc.Dealings[i], &d}, {k.doc.Acceptances[i], &a}, {k.doc.TestNoise[i], &noise}, {k.doc.TestShares[i], &s}} {
			envelope, err := n.remote.Document(ctx, want.digest)
			if err != nil {
				return nil, err
			}
			if err := n.openMembers(ctx, envelope, m, want.into); err != nil {
				return nil, err
			}
			logged = append(logged, envelope)
		}
		switch {
		case d.EpochPlan != k.planID || a.EpochPlan != k.planID || noise.EpochPlan != k.planID || s.EpochPlan != k.planID:
			return nil, fmt.Errorf("a key document of %s is for another epoch", m)
		case !sameDigests(a.Dealings, k.doc.Dealings):
			return nil, fmt.Errorf("%s accepted other key dealings", m)
		case s.Stage != fl.StageTest || noise.Stage != fl.StageTest || !sameDigests(s.Noise, k.doc.TestNoise) || len(s.Shares) != 1:
			return nil, fmt.Errorf("the share of the self-test of %s is of another test", m)
		}
		dealt := threshold.DealingFromBoxes(d.Boxes, 0)
		if err := threshold.VerifyDealing(k.epoch, threshold.KeySubject(), string(m), dealt); err != nil {
			return nil, err
		}
		dealings[string(m)] = dealt
		share, err := n.remote.Fetch(ctx, s.Shares[0].Digest, k.doc.TestShares[i])
		if err != nil {
			return nil, err
		}
		shares = append(shares, threshold.DecryptionShare{Member: string(m), Share: share})
	}
	transcript, err := threshold.Transcript(k.epoch, k.reveals, dealings)
	if err != nil {
		return nil, err
	}
	opened, err := threshold.VerifyTest(k.epoch, transcript, k.public, "", len(k.plan.Members), shares)
	if err != nil {
		return nil, err
	}
	if len(opened.Wrong) > 0 {
		return nil, errors.New("the self-test has wrong shares and the epoch was closed")
	}
	return logged, nil
}

func sameDigests(a, b []fl.Digest) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
