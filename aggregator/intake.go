package aggregator

import (
	"context"
	"errors"
	"slices"
	"time"

	"credence/aggregator/blob"
	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/round"
	"credence/he"
	"credence/he/threshold"
)

// submit takes in one signed document of the caller: it checks the signature,
// the addressee and that every blob it names is here and well-formed, applies
// it, and answers with a signed receipt. Submitting the same document again
// gives a receipt again and changes nothing.
func (a *Aggregator) submit(ctx context.Context, party store.Party, raw []byte) (fl.Envelope, error) {
	node := party.Enrolment.Node
	envelope, err := fl.DecodeEnvelope(raw)
	if err != nil {
		return fl.Envelope{}, fl.RefusalFor(node, err)
	}
	if envelope.Signer != node {
		return fl.Envelope{}, fl.Refuse(fl.CodeNotAllowed, node, "%s submits a document signed by %s: parties submit their own", node, envelope.Signer)
	}
	accept, known := a.intake()[envelope.Kind]
	if !known {
		return fl.Envelope{}, fl.Refuse(fl.CodeMalformed, node, "documents of kind %q are not submitted", envelope.Kind)
	}
	if err := envelope.Verify(party.Enrolment.SigningKey); err != nil {
		return fl.Envelope{}, fl.RefusalFor(node, err)
	}
	at, err := accept(ctx, party.Enrolment, envelope)
	if err != nil {
		return fl.Envelope{}, namedRefusal(node, err)
	}
	if err := a.unclaimed.claim(envelope); err != nil {
		return fl.Envelope{}, err
	}
	a.wake.signal()
	return a.sign(fl.Receipt{Genesis: a.genesisID, Subject: envelope.Digest(), Of: envelope.Kind, Node: node, AcceptedAt: at})
}

// namedRefusal makes sure that a refusal names the party it refuses.
func namedRefusal(node fl.NodeID, err error) error {
	if errors.Is(err, fl.ErrMalformed) || errors.Is(err, fl.ErrWrongKind) {
		return fl.RefusalFor(node, err)
	}
	err = edgeError(err)
	var r *fl.Refusal
	if errors.As(err, &r) && r.Party == "" {
		return &fl.Refusal{Code: r.Code, Party: node, Reason: r.Reason}
	}
	return err
}

// accept applies a document and returns the time at which it was accepted.
type accept func(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error)

func (a *Aggregator) intake() map[fl.Kind]accept {
	return map[fl.Kind]accept{
		fl.SealKey{}.Kind():           a.acceptSealKey,
		fl.KeyCommitment{}.Kind():     a.acceptKeyCommitment,
		fl.KeyReveal{}.Kind():         a.acceptKeyReveal,
		fl.KeyDealing{}.Kind():        a.acceptKeyDealing,
		fl.KeyAcceptance{}.Kind():     a.acceptKeyAcceptance,
		fl.TestNoise{}.Kind():         a.acceptTestNoise,
		fl.TestShare{}.Kind():         a.acceptTestShare,
		fl.Complaint{}.Kind():         a.acceptComplaint,
		fl.ComplaintAnswer{}.Kind():   a.acceptComplaintAnswer,
		fl.JobSpec{}.Kind():           a.acceptJob,
		fl.JobJoin{}.Kind():           a.acceptJoin,
		fl.DatasetCommitment{}.Kind(): a.acceptDataset,
		fl.JobCancel{}.Kind():         a.acceptCancel,
		fl.NoiseDealing{}.Kind():      a.acceptNoise,
		fl.Decline{}.Kind():           a.acceptDecline,
		fl.UpdateHeader{}.Kind():      a.acceptUpdate,
		fl.DecryptionShare{}.Kind():   a.acceptShare,
	}
}

// addressed checks that a document belongs to this federation and speaks for
// its signer.
func (a *Aggregator) addressed(from fl.Enrolment, genesis fl.Digest, speaksFor fl.NodeID) error {
	if genesis != a.genesisID {
		return fl.Refuse(fl.CodeWrongAddressee, from.Node, "the document is for another federation")
	}
	if speaksFor != from.Node {
		return fl.Refuse(fl.CodeNotAllowed, from.Node, "%s signs for %s", from.Node, speaksFor)
	}
	return nil
}

// needBlob checks that a blob is here and has exactly the size it must have.
func (a *Aggregator) needBlob(ctx context.Context, node fl.NodeID, what string, digest fl.Digest, size int) error {
	got, err := a.blobs.Size(ctx, digest)
	if errors.Is(err, blob.ErrNotFound) {
		return fl.Refuse(fl.CodeNotReady, node, "%s %s is not uploaded yet", what, digest.Short())
	}
	if err != nil {
		return err
	}
	if got != int64(size) {
		return fl.Refuse(fl.CodeMalformed, node, "%s %s has %d bytes: want %d", what, digest.Short(), got, size)
	}
	return nil
}

// takeBlob reads a blob that a document names. One that the disk has damaged is
// removed, so that its sender can upload it again.
func (a *Aggregator) takeBlob(ctx context.Context, node fl.NodeID, what string, digest fl.Digest, size int) ([]byte, error) {
	if err := a.needBlob(ctx, node, what, digest, size); err != nil {
		return nil, err
	}
	raw, err := a.blobs.Get(ctx, digest)
	return raw, a.askAgain(ctx, node, what, digest, err)
}

// askAgain turns the error of reading a blob that the disk has damaged into a
// refusal that asks for it again, and removes it; other errors stay.
func (a *Aggregator) askAgain(ctx context.Context, node fl.NodeID, what string, digest fl.Digest, err error) error {
	if !errors.Is(err, blob.ErrCorrupt) {
		return err
	}
	a.log.Error("a stored blob is damaged; asking for it again", "party", node, "blob", digest, "error", err)
	if err := a.blobs.Delete(ctx, digest); err != nil {
		return err
	}
	return fl.Refuse(fl.CodeNotReady, node, "%s %s was damaged on the aggregator's disk: upload it again", what, digest.Short())
}

// roundFor loads the round that a document names and checks that its plan is
// the one the document was made for.
func (a *Aggregator) roundFor(ctx context.Context, node fl.NodeID, job fl.JobID, number uint64, plan fl.Digest) (store.Round, fl.Plan, error) {
	r, err := a.store.Round(ctx, job, number)
	if errors.Is(err, store.ErrNotFound) {
		return store.Round{}, fl.Plan{}, fl.Refuse(fl.CodeWrongAddressee, node, "there is no round %d of job %s", number, job)
	}
	if err != nil {
		return store.Round{}, fl.Plan{}, err
	}
	if r.Plan.Digest() != plan {
		return store.Round{}, fl.Plan{}, fl.Refuse(fl.CodeWrongAddressee, node, "the document is for another plan of round %d of job %s", number, job)
	}
	var p fl.Plan
	if err := a.readOwn(r.Plan, &p); err != nil {
		return store.Round{}, fl.Plan{}, err
	}
	return r, p, nil
}

// acceptUpdate takes in a client's update: the cheap checks first, then every
// ciphertext is decoded once, so that nothing non-canonical reaches a sum.
func (a *Aggregator) acceptUpdate(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var h fl.UpdateHeader
	if err := doc.Read(&h); err != nil {
		return time.Time{}, err
	}
	if err := a.addressed(from, h.Genesis, h.Node); err != nil {
		return time.Time{}, err
	}
	_, plan, err := a.roundFor(ctx, h.Node, h.Job, h.Round, h.Plan)
	if err != nil {
		return time.Time{}, err
	}
	assigned, in := plan.Assigned(h.Node)
	switch {
	case !in:
		return time.Time{}, fl.Refuse(fl.CodeNotInCohort, h.Node, "the plan of round %d of job %s does not name %s", h.Round, h.Job, h.Node)
	case h.EpochKey != plan.EpochKey:
		return time.Time{}, fl.Refuse(fl.CodeWrongAddressee, h.Node, "the update is encrypted under another epoch key than the plan's")
	case h.ProofLevel != plan.ProofLevel:
		return time.Time{}, fl.Refuse(fl.CodeProofLevel, h.Node, "proof level %s: the plan asks for %s", h.ProofLevel, plan.ProofLevel)
	case !slices.EqualFunc(h.Ciphertexts, assigned.Shards, func(c fl.ShardCiphertext, shard int) bool { return c.Shard == shard }):
		return time.Time{}, fl.Refuse(fl.CodeMalformed, h.Node, "the update does not hold exactly the assigned shards %v", assigned.Shards)
	}
	event := round.UpdateAccepted{Node: h.Node, Header: doc.Digest(), At: a.now()}
	if err := a.mayStep(ctx, h.Job, h.Round, event); err != nil {
		return time.Time{}, err // late, declined, or another update is in: no need to read the ciphertexts
	}
	reader, err := a.reader(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer a.done(reader)
	var ciphertexts []*he.Ciphertext // only kept where an attestation is about them
	for _, c := range h.Ciphertexts {
		if err := a.needBlob(ctx, h.Node, "ciphertext", c.Digest, a.suite.CiphertextBytes()); err != nil {
			return time.Time{}, err
		}
		_, err := reader.read(ctx, a, c.Digest)
		switch err := a.askAgain(ctx, h.Node, "ciphertext", c.Digest, err); {
		case errors.Is(err, he.ErrLength), errors.Is(err, he.ErrNotCanonical):
			return time.Time{}, fl.Refuse(fl.CodeMalformed, h.Node, "ciphertext of shard %d: %s", c.Shard, err)
		case err != nil:
			return time.Time{}, err
		}
		if plan.ProofLevel.Attested() {
			ciphertexts = append(ciphertexts, reader.keep())
		}
	}
	if err := a.refuseCopies(ctx, h); err != nil {
		return time.Time{}, err
	}
	if plan.ProofLevel.Attested() {
		if err := a.verifyAttestation(ctx, plan, h.Plan, h, ciphertexts); err != nil {
			return time.Time{}, err
		}
	}
	event.At = a.now()
	if err := a.step(ctx, h.Job, h.Round, event, stepExtras{documents: []fl.Envelope{doc}}); err != nil {
		return time.Time{}, err
	}
	return a.acceptedAt(ctx, h.Job, h.Round, h.Node)
}

// acceptedAt is when a round took a client's update in, by the round's own
// clock, which never runs backwards: of two updates at the same moment the
// later one in the round may have read the earlier time. The seal says it, so
// the receipt must.
func (a *Aggregator) acceptedAt(ctx context.Context, job fl.JobID, number uint64, node fl.NodeID) (time.Time, error) {
	r, err := a.store.Round(ctx, job, number)
	if err != nil {
		return time.Time{}, err
	}
	state, err := a.roundState(ctx, r)
	if err != nil {
		return time.Time{}, err
	}
	return state.Updates[node].At, nil
}

// refuseCopies refuses an update that holds a ciphertext of another client of
// the round: whoever copies one doubles an update that it cannot read.
func (a *Aggregator) refuseCopies(ctx context.Context, h fl.UpdateHeader) error {
	a.rounds.mu.Lock()
	defer a.rounds.mu.Unlock()
	held, err := a.holdersOf(ctx, roundKey{h.Job, h.Round})
	if err != nil {
		return err
	}
	mine := make(map[fl.Digest]bool, len(h.Ciphertexts))
	for _, c := range h.Ciphertexts {
		if mine[c.Digest] {
			return fl.Refuse(fl.CodeConflict, h.Node, "the update holds the same ciphertext twice")
		}
		mine[c.Digest] = true
		if owner, taken := held[c.Digest]; taken && owner != h.Node {
			return fl.Refuse(fl.CodeConflict, h.Node, "the ciphertext of shard %d is a copy of another client's", c.Shard)
		}
	}
	for digest := range mine {
		held[digest] = h.Node // before the update is stored, so that a copy cannot slip in between
	}
	return nil
}

func (a *Aggregator) acceptDecline(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.Decline
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	if err := a.addressed(from, d.Genesis, d.Node); err != nil {
		return time.Time{}, err
	}
	if _, _, err := a.roundFor(ctx, d.Node, d.Job, d.Round, d.Plan); err != nil {
		return time.Time{}, err
	}
	at := a.now()
	a.log.Info("client declined", "job", d.Job, "round", d.Round, "client", d.Node, "reason", d.Reason)
	return at, a.step(ctx, d.Job, d.Round, round.Declined{Node: d.Node, At: at}, stepExtras{documents: []fl.Envelope{doc}})
}

// acceptNoise takes in a member's noise dealing: it must be complete, one box
// for every member and shard.
func (a *Aggregator) acceptNoise(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.NoiseDealing
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	if err := a.addressed(from, d.Genesis, d.Node); err != nil {
		return time.Time{}, err
	}
	_, plan, err := a.roundFor(ctx, d.Node, d.Job, d.Round, d.Plan)
	if err != nil {
		return time.Time{}, err
	}
	epoch, err := a.epoch(ctx, plan.Epoch)
	if err != nil {
		return time.Time{}, err
	}
	if epoch.plan.Point(d.Node) == 0 {
		return time.Time{}, fl.Refuse(fl.CodeNotAllowed, d.Node, "%s is not in the committee of epoch %d", d.Node, plan.Epoch)
	}
	if epoch.convicted(d.Node) {
		return time.Time{}, fl.Refuse(fl.CodeNotAllowed, d.Node, "%s dealt or complained wrong in epoch %d: its noise is not used any more", d.Node, plan.Epoch)
	}
	if err := a.checkDealing(ctx, epoch, d.Node, d.Boxes, 0, plan.Shards, func(shard int) threshold.Subject {
		return threshold.NoiseSubject(threshold.SumID{Job: string(d.Job), Round: d.Round, Shard: shard})
	}); err != nil {
		return time.Time{}, err
	}
	at := a.now()
	return at, a.step(ctx, d.Job, d.Round, round.NoiseDealt{Member: d.Node, Dealing: doc.Digest(), At: at}, stepExtras{documents: []fl.Envelope{doc}})
}

// checkDealing checks that a dealing holds, for every shard from first on, one
// box for every member in order, that the boxes are here, and that the checks
// of each shard lie on one polynomial.
func (a *Aggregator) checkDealing(ctx context.Context, e epochState, dealer fl.NodeID, boxes []fl.Box, first, shards int, subject func(shard int) threshold.Subject) error {
	members := e.plan.Members
	if len(boxes) != len(members)*shards {
		return fl.Refuse(fl.CodeMalformed, dealer, "a dealing of %d boxes: want %d, one for each of %d members and %d shards", len(boxes), len(members)*shards, len(members), shards)
	}
	te, err := e.threshold()
	if err != nil {
		return err
	}
	for i, b := range boxes {
		if want := members[i%len(members)]; b.Receiver != want || b.Shard != first+i/len(members) {
			return fl.Refuse(fl.CodeMalformed, dealer, "box %d is for %s, shard %d: want %s, shard %d", i, b.Receiver, b.Shard, want, first+i/len(members))
		}
		if err := a.needBlob(ctx, dealer, "sealed share", b.Digest, threshold.BoxBytes(te, string(dealer), string(b.Receiver))); err != nil {
			return err
		}
	}
	for shard := first; shard < first+shards; shard++ {
		d := threshold.DealingFromBoxes(boxes[(shard-first)*len(members):(shard-first+1)*len(members)], shard)
		if err := threshold.VerifyDealing(te, subject(shard), string(dealer), d); err != nil {
			return fl.Refuse(fl.CodeMalformed, dealer, "dealing of shard %d: %s", shard, err)
		}
	}
	return nil
}

// acceptShare takes in a member's decryption shares for a sealed round.
func (a *Aggregator) acceptShare(ctx context.Context, from fl.Enrolment, doc fl.Envelope) (time.Time, error) {
	var d fl.DecryptionShare
	if err := doc.Read(&d); err != nil {
		return time.Time{}, err
	}
	if err := a.addressed(from, d.Genesis, d.Node); err != nil {
		return time.Time{}, err
	}
	r, err := a.store.Round(ctx, d.Job, d.Round)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, fl.Refuse(fl.CodeWrongAddressee, d.Node, "there is no round %d of job %s", d.Round, d.Job)
	}
	if err != nil {
		return time.Time{}, err
	}
	state, err := a.roundState(ctx, r)
	if err != nil {
		return time.Time{}, err
	}
	if state.Seal != d.Seal {
		return time.Time{}, fl.Refuse(fl.CodeWrongAddressee, d.Node, "the shares are for another seal of round %d of job %s", d.Round, d.Job)
	}
	var plan fl.Plan
	if err := a.readOwn(r.Plan, &plan); err != nil {
		return time.Time{}, err
	}
	if len(d.Shares) != plan.Shards {
		return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "%d decryption shares: want %d, one a shard", len(d.Shares), plan.Shards)
	}
	event := round.ShareReceived{Member: d.Node, Share: doc.Digest(), At: a.now()}
	if err := a.mayStep(ctx, d.Job, d.Round, event); err != nil {
		return time.Time{}, err
	}
	for _, s := range d.Shares {
		raw, err := a.takeBlob(ctx, d.Node, "decryption share", s.Digest, a.suite.PolyBytes())
		if err != nil {
			return time.Time{}, err
		}
		if _, err := a.suite.ParsePoly(raw); err != nil {
			return time.Time{}, fl.Refuse(fl.CodeMalformed, d.Node, "decryption share of shard %d: %s", s.Shard, err)
		}
	}
	return event.At, a.step(ctx, d.Job, d.Round, event, stepExtras{documents: []fl.Envelope{doc}})
}
