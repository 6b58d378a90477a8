package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"credence/fl"
	"credence/fl/flpb"
	"credence/he"
	"credence/he/threshold"
)

// contribute makes this member's next document for an epoch key. Every step
// is durable in the key holder, so it may be repeated.
func (n *Node) contribute(ctx context.Context, task *flpb.EpochTask) error {
	envelope, err := fl.DecodeEnvelope(task.GetPlan())
	if err != nil {
		return err
	}
	var plan fl.EpochPlan
	if err := n.verifyEpochPlan(envelope, &plan); err != nil {
		return err
	}
	if plan.Point(n.home.Node) == 0 {
		return errors.New("this node is not in the epoch's committee")
	}
	if err := n.remote.RequireLogged(ctx, envelope); err != nil {
		return fmt.Errorf("epoch %d: %w", plan.Epoch, err)
	}
	planID := envelope.Digest()
	switch task.GetStep() {
	case "":
	case "accept":
		return n.acceptKey(ctx, planID, plan, task)
	case "answer":
		return n.answerComplaints(ctx, planID, plan, task.GetDocuments())
	case "noise":
		return n.dealTestNoise(ctx, planID, plan, fl.Stage(task.GetStage()))
	case "share":
		return n.shareTest(ctx, planID, plan, task)
	default:
		return fmt.Errorf("the aggregator asks for step %q of an epoch, which this version does not know; update the node", task.GetStep())
	}
	switch {
	case len(task.GetSealKeys()) == 0:
		key, err := n.holder.SealKey(plan.Epoch)
		if err != nil {
			return err
		}
		return n.send(ctx, fl.SealKey{Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node, Key: key})
	case len(task.GetCommitments()) == 0:
		return n.commit(ctx, envelope, plan, task.GetSealKeys())
	case len(task.GetReveals()) == 0:
		return n.reveal(ctx, planID, plan, task.GetCommitments())
	}
	return n.dealKey(ctx, planID, plan)
}

func (n *Node) commit(ctx context.Context, planEnvelope fl.Envelope, plan fl.EpochPlan, sealKeys [][]byte) error {
	docs, err := n.fromMembers(ctx, plan, sealKeys, func() fl.Document { return new(fl.SealKey) }, nil)
	if err != nil {
		return err
	}
	epoch, err := threshold.EpochFromDocuments(planEnvelope, docs)
	if err != nil {
		return err
	}
	attest, err := n.attester(ctx, plan, epoch)
	if err != nil {
		return err
	}
	commitment, err := n.holder.CommitAttested(epoch, attest)
	if err != nil {
		return err
	}
	return n.send(ctx, fl.KeyCommitment{Genesis: plan.Genesis, EpochPlan: planEnvelope.Digest(), Node: n.home.Node, Commitment: commitment})
}

func (n *Node) reveal(ctx context.Context, planID fl.Digest, plan fl.EpochPlan, raw [][]byte) error {
	commitments := map[string][32]byte{}
	_, err := n.fromMembers(ctx, plan, raw, func() fl.Document { return new(fl.KeyCommitment) }, func(m fl.NodeID, doc fl.Document) error {
		c := doc.(*fl.KeyCommitment)
		if c.Node != m || c.EpochPlan != planID {
			return fmt.Errorf("the key commitment of %s is for another epoch or member", m)
		}
		commitments[string(m)] = c.Commitment
		return nil
	})
	if err != nil {
		return err
	}
	reveal, err := n.holder.Reveal(plan.Epoch, commitments)
	if err != nil {
		return err
	}
	digest, err := n.remote.Upload(ctx, reveal)
	if err != nil {
		return err
	}
	doc := fl.KeyReveal{Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node, Reveal: digest}
	attestation, err := n.holder.Attestation(plan.Epoch)
	if err != nil {
		return err
	}
	if len(attestation) > 0 {
		if doc.Attestation, err = n.remote.Upload(ctx, attestation); err != nil {
			return err
		}
	}
	return n.send(ctx, doc)
}

func (n *Node) dealKey(ctx context.Context, planID fl.Digest, plan fl.EpochPlan) error {
	dealing, err := n.holder.Deal(plan.Epoch)
	if err != nil {
		return err
	}
	boxes, err := n.uploadBoxes(ctx, 0, dealing)
	if err != nil {
		return err
	}
	return n.send(ctx, fl.KeyDealing{Genesis: plan.Genesis, EpochPlan: planID, Node: n.home.Node, Boxes: boxes})
}

// uploadBoxes uploads the boxes of a dealing and returns what its document
// says of them.
func (n *Node) uploadBoxes(ctx context.Context, shard int, dealing threshold.Dealing) ([]fl.Box, error) {
	if _, err := n.remote.uploadAll(ctx, boxesOf(dealing), false); err != nil {
		return nil, err
	}
	return dealing.Boxes(shard), nil
}

// fromMembers decodes one document of every member, in their order, and checks
// each signature.
func (n *Node) fromMembers(ctx context.Context, plan fl.EpochPlan, raw [][]byte, fresh func() fl.Document, check func(fl.NodeID, fl.Document) error) (map[fl.NodeID]fl.Envelope, error) {
	if len(raw) != len(plan.Members) {
		return nil, fmt.Errorf("%d documents of %d members", len(raw), len(plan.Members))
	}
	out := make(map[fl.NodeID]fl.Envelope, len(raw))
	for i, m := range plan.Members {
		envelope, err := fl.DecodeEnvelope(raw[i])
		if err != nil {
			return nil, err
		}
		doc := fresh()
		if err := n.openMembers(ctx, envelope, m, doc); err != nil {
			return nil, err
		}
		if check != nil {
			if err := check(m, doc); err != nil {
				return nil, err
			}
		}
		out[m] = envelope
	}
	return out, n.remote.RequireLogged(ctx, slices.Collect(maps.Values(out))...)
}

// takeKey completes an epoch in the key holder and confirms it: its key is
// published, so nobody complains about it any more.
func (n *Node) takeKey(ctx context.Context, k *epochKey) error {
	if n.completed == k.id {
		return nil
	}
	dealings, err := n.documents(ctx, k.plan, k.doc.Dealings)
	if err != nil {
		return err
	}
	if _, err := n.completeEpoch(ctx, k.planID, k.plan, k.epoch, k.reveals, dealings, nil); err != nil {
		return fmt.Errorf("taking the key shares of epoch %d: %w", k.plan.Epoch, err)
	}
	if err := n.holder.Confirm(k.plan.Epoch); err != nil {
		return err
	}
	n.completed = k.id
	n.log.Info("holding a key share", "epoch", k.plan.Epoch, "threshold", k.plan.Threshold, "members", len(k.plan.Members))
	return nil
}

// documents fetches one document of every member, in their order; the caller
// checks the signatures.
func (n *Node) documents(ctx context.Context, plan fl.EpochPlan, digests []fl.Digest) (map[fl.NodeID]fl.Envelope, error) {
	out := make(map[fl.NodeID]fl.Envelope, len(digests))
	for i, m := range plan.Members {
		envelope, err := n.remote.Document(ctx, digests[i])
		if err != nil {
			return nil, err
		}
		out[m] = envelope
	}
	return out, nil
}

// receive reads what one member dealt to this one: the document, whose
// signature it checks, and the box.
func (n *Node) receive(ctx context.Context, epoch *threshold.Epoch, planID fl.Digest, dealer fl.NodeID, doc fl.Envelope, shard int) (threshold.Received, error) {
	var r threshold.Received
	signer, _, err := n.remote.Member(ctx, dealer)
	if err != nil {
		return r, err
	}
	if err := doc.Verify(signer.SigningKey); err != nil {
		return r, err
	}
	if _, r.Dealing, err = threshold.DealingFromDocument(epoch, planID, dealer, doc, shard); err != nil {
		return r, err
	}
	for _, b := range r.Dealing {
		if b.Receiver == string(n.home.Node) {
			r.Box, err = n.remote.Fetch(ctx, b.Digest, doc.Digest())
			return r, err
		}
	}
	return r, fmt.Errorf("the dealing %s of %s holds no box for this node and shard %d", doc.Digest().Short(), dealer, shard)
}

// dealNoise deals this member's smudging noise for every shard of a round.
func (n *Node) dealNoise(ctx context.Context, task *flpb.NoiseTask) error {
	planEnvelope, plan, k, err := n.roundContext(ctx, task.GetPlan(), task.GetEpochKey())
	if err != nil {
		return err
	}
	if err := n.takeKey(ctx, k); err != nil {
		return err
	}
	// A new round opens only after the one before is over.
	if plan.Round > 1 {
		if err := n.holder.CloseRound(string(plan.Job), plan.Round-1); err != nil {
			return err
		}
	}
	dealing := fl.NoiseDealing{Genesis: plan.Genesis, Plan: planEnvelope.Digest(), Job: plan.Job, Round: plan.Round, Node: n.home.Node}
	return n.apart(func() error {
		if dealing.Boxes, err = n.dealShards(ctx, plan); err != nil {
			return err
		}
		return n.send(ctx, dealing)
	})
}

// dealShards deals noise for every shard of a round; while one shard's boxes
// are on their way the next one is dealt.
func (n *Node) dealShards(ctx context.Context, plan fl.Plan) ([]fl.Box, error) {
	var boxes []fl.Box
	relay := n.remote.relay(ctx)
	defer func() { _ = relay.wait() }() // another error was first, or none is left
	for shard := range plan.Shards {
		id := threshold.SumID{Job: string(plan.Job), Round: plan.Round, Shard: shard}
		before, err := n.holder.Dealt(id)
		if err != nil {
			return nil, err
		}
		dealt, err := n.holder.DealNoise(plan.Epoch, id)
		if err != nil {
			return nil, err
		}
		if err := relay.send(boxesOf(dealt), !before); err != nil {
			return nil, err
		}
		boxes = append(boxes, dealt.Boxes(shard)...)
	}
	return boxes, relay.wait()
}

// roundContext decodes and verifies the plan and the epoch key of a round.
func (n *Node) roundContext(ctx context.Context, rawPlan, rawKey []byte) (fl.Envelope, fl.Plan, *epochKey, error) {
	var plan fl.Plan
	planEnvelope, err := fl.DecodeEnvelope(rawPlan)
	if err != nil {
		return fl.Envelope{}, plan, nil, err
	}
	if err := n.verifyPlan(planEnvelope, &plan); err != nil {
		return fl.Envelope{}, plan, nil, err
	}
	keyEnvelope, err := fl.DecodeEnvelope(rawKey)
	if err != nil {
		return fl.Envelope{}, plan, nil, err
	}
	if keyEnvelope.Digest() != plan.EpochKey {
		return fl.Envelope{}, plan, nil, errors.New("the epoch key is not the plan's")
	}
	if err := n.remote.RequireLogged(ctx, planEnvelope, keyEnvelope); err != nil {
		return fl.Envelope{}, plan, nil, fmt.Errorf("round %d of job %s: %w", plan.Round, plan.Job, err)
	}
	k, err := n.verifyEpochKey(ctx, plan.EpochKey)
	if err != nil {
		return fl.Envelope{}, plan, nil, err
	}
	if k.plan.Epoch != plan.Epoch {
		return fl.Envelope{}, plan, nil, fmt.Errorf("the plan names epoch %d and the key of epoch %d", plan.Epoch, k.plan.Epoch)
	}
	return planEnvelope, plan, k, nil
}

// decrypt releases this member's decryption shares of a sealed round, after
// its own checks.
func (n *Node) decrypt(ctx context.Context, task *flpb.DecryptTask) error {
	planEnvelope, plan, k, err := n.roundContext(ctx, task.GetPlan(), task.GetEpochKey())
	if err != nil {
		return err
	}
	sealEnvelope, err := fl.DecodeEnvelope(task.GetSeal())
	if err != nil {
		return err
	}
	seal, err := n.verifySeal(ctx, sealEnvelope, planEnvelope.Digest(), plan, k.plan)
	if err != nil {
		return fmt.Errorf("no decryption share for round %d of job %s: %w", plan.Round, plan.Job, err)
	}
	if plan.ProofLevel.Attested() {
		p, err := n.proofs(ctx, plan, k)
		if err != nil {
			return err
		}
		if err := n.verifyAttested(ctx, seal, sealEnvelope.Digest(), plan, planEnvelope.Digest(), p); err != nil {
			return fmt.Errorf("no decryption share for round %d of job %s: %w", plan.Round, plan.Job, err)
		}
	}
	if err := n.takeKey(ctx, k); err != nil {
		return err
	}
	answers, err := n.readAnswers(ctx, k.planID, task.GetAnswers())
	if err != nil {
		return err
	}
	noise, err := n.noiseFor(ctx, seal, k, planEnvelope.Digest(), plan, answers)
	if err != nil {
		return err
	}
	complaint := fl.Complaint{Genesis: plan.Genesis, EpochPlan: k.planID, Node: n.home.Node, Stage: fl.StageRound, Plan: planEnvelope.Digest()}
	dealings := make(map[string]fl.Digest, len(seal.Dealers))
	for i, dealer := range seal.Dealers {
		dealings[string(dealer)] = seal.Dealings[i]
	}
	answer := fl.DecryptionShare{Genesis: plan.Genesis, Seal: sealEnvelope.Digest(), Job: plan.Job, Round: plan.Round, Node: n.home.Node}
	return n.apart(func() error {
		if err := n.releaseShards(ctx, plan, seal, dealings, noise, &answer, &complaint); err != nil {
			return err
		}
		if len(complaint.Charges) > 0 {
			return n.complainAbout(ctx, complaint)
		}
		return n.send(ctx, answer)
	})
}

// releaseShards releases and uploads the share of every shard, or charges the
// dealers of boxes that are wrong. What the next shard takes is on its way
// while one is computed, and so is the share before.
func (n *Node) releaseShards(ctx context.Context, plan fl.Plan, seal fl.Seal, dealings map[string]fl.Digest, noise []map[string]threshold.Received, answer *fl.DecryptionShare, complaint *fl.Complaint) error {
	ctx, stop := context.WithCancel(ctx)
	inputs := n.shardInputs(ctx, answer.Seal, seal, dealings, noise)
	relay := n.remote.relay(ctx)
	defer func() {
		stop()
		_ = relay.wait()   // another error was first, or none is left
		for range inputs { // until it has stopped
		}
	}()
	for in := range inputs {
		if in.err != nil {
			return in.err
		}
		share, err := n.holder.Release(threshold.ReleaseRequest{
			Epoch: plan.Epoch, Sum: threshold.SumID{Job: string(plan.Job), Round: plan.Round, Shard: in.shard},
			// The other half is not needed here; its address binds it.
			C0Digest: seal.Sums[in.shard].C0, C1: in.c1, Noise: in.noise,
		})
		if charge(complaint, err, in.shard, dealings) {
			continue
		}
		if err != nil {
			return fmt.Errorf("releasing the share of shard %d: %w", in.shard, err)
		}
		if err := relay.send([][]byte{share}, false); err != nil {
			return err
		}
		answer.Shares = append(answer.Shares, fl.ShareRef{Shard: in.shard, Digest: fl.DigestBytes(share)})
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return relay.wait()
}

// shardInput is what the release of one shard's share takes.
type shardInput struct {
	shard int
	c1    []byte
	noise map[string]threshold.Received
	err   error // the last one then
}

// shardInputs fetches the sums of a seal and this member's boxes of noise,
// shard by shard, one ahead of the reader. It stops with ctx.
func (n *Node) shardInputs(ctx context.Context, sealID fl.Digest, seal fl.Seal, dealings map[string]fl.Digest, noise []map[string]threshold.Received) <-chan shardInput {
	out := make(chan shardInput)
	go func() {
		defer close(out)
		for shard, sum := range seal.Sums {
			in := shardInput{shard: shard}
			in.c1, in.noise, in.err = n.fetchShard(ctx, sealID, sum, dealings, noise[shard])
			select {
			case out <- in:
			case <-ctx.Done():
				return
			}
			if in.err != nil {
				return
			}
		}
	}()
	return out
}

// fetchShard fetches one shard's sum and boxes.
func (n *Node) fetchShard(ctx context.Context, sealID fl.Digest, sum fl.SealedSum, dealings map[string]fl.Digest, dealt map[string]threshold.Received) ([]byte, map[string]threshold.Received, error) {
	names := slices.Sorted(maps.Keys(dealt))
	wanted := []named{{digest: sum.C1, via: sealID}}
	for _, dealer := range names {
		i := slices.IndexFunc(dealt[dealer].Dealing, func(b threshold.DealtBox) bool { return b.Receiver == string(n.home.Node) })
		if i < 0 {
			return nil, nil, fmt.Errorf("the dealing of %s holds no box for this node and shard %d", dealer, sum.Shard)
		}
		wanted = append(wanted, named{digest: dealt[dealer].Dealing[i].Digest, via: dealings[dealer]})
	}
	blobs, err := n.remote.fetchAll(ctx, wanted)
	if err != nil {
		return nil, nil, err
	}
	half, err := n.suite.ParseSumPart(blobs[0], he.C1)
	if err != nil {
		return nil, nil, fmt.Errorf("the sum of shard %d: %w", sum.Shard, err)
	}
	if half.Count() != len(sum.Contributors) {
		return nil, nil, fmt.Errorf("the sum of shard %d says %d contributions and the seal %d", sum.Shard, half.Count(), len(sum.Contributors))
	}
	received := make(map[string]threshold.Received, len(names))
	for i, dealer := range names {
		r := dealt[dealer]
		r.Box = blobs[1+i]
		received[dealer] = r
	}
	return blobs[0], received, nil
}

// noiseFor fetches and checks what the seal's dealers dealt, by shard and
// dealer, without the boxes.
func (n *Node) noiseFor(ctx context.Context, seal fl.Seal, k *epochKey, planID fl.Digest, plan fl.Plan, answers answeredKeys) ([]map[string]threshold.Received, error) {
	var dealings []fl.Envelope
	noise := make([]map[string]threshold.Received, plan.Shards)
	for shard := range noise {
		noise[shard] = map[string]threshold.Received{}
	}
	for i, dealer := range seal.Dealers {
		envelope, err := n.remote.Document(ctx, seal.Dealings[i])
		if err != nil {
			return nil, err
		}
		var d fl.NoiseDealing
		if err := n.openMembers(ctx, envelope, dealer, &d); err != nil {
			return nil, err
		}
		if d.Plan != planID || d.Node != dealer {
			return nil, fmt.Errorf("the noise dealing of %s is for another plan or member", dealer)
		}
		dealings = append(dealings, envelope)
		for shard := range noise {
			noise[shard][string(dealer)] = threshold.Received{
				Dealing: threshold.DealingFromBoxes(d.Boxes, shard),
				Key:     answers[answeredKey{dealer, fl.StageRound, planID, shard}],
			}
		}
	}
	return noise, n.remote.RequireLogged(ctx, dealings...)
}

// retire erases this member's shares of keys that no round uses any more.
func (n *Node) retire(task *flpb.RetireTask) error {
	for _, epoch := range task.GetEpochs() {
		if n.retired[epoch] {
			continue
		}
		if err := n.holder.EraseEpoch(epoch); err != nil {
			return err
		}
		n.retired[epoch] = true
		n.log.Info("erased the key share of an old epoch", "epoch", epoch)
	}
	return nil
}
