package aggregator

import (
	"context"
	"fmt"
	"slices"

	"credence/fl"
	"credence/fl/round"
)

// mayRead decides whether a party may download a blob. A blob is read through
// a document that names it, and the kind of the document decides who may:
// models, keys and sums are for every party; a sealed box for its receiver; a
// decryption share for every party once its round is published, so that anyone
// opens the sum again; a client's ciphertext for nobody.
func (a *Aggregator) mayRead(ctx context.Context, node fl.NodeID, digest, via fl.Digest) error {
	envelope, err := a.store.Document(ctx, via)
	if err != nil {
		return err
	}
	may, err := readable(envelope, node)
	switch envelope.Kind {
	case fl.Complaint{}.Kind():
		may, err = a.disputedBoxes(ctx, envelope)
	case fl.DecryptionShare{}.Kind():
		may, err = a.publishedShares(ctx, envelope)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", via.Short(), err)
	}
	if !slices.Contains(may, digest) {
		return fl.Refuse(fl.CodeNotAllowed, node, "%s may not read blob %s through the %s %s", node, digest.Short(), envelope.Kind, via.Short())
	}
	return nil
}

// readable lists the blobs that a party may read through a document.
func readable(envelope fl.Envelope, node fl.NodeID) ([]fl.Digest, error) {
	switch envelope.Kind {
	case fl.JobSpec{}.Kind():
		var d fl.JobSpec
		err := envelope.Read(&d)
		return []fl.Digest{d.InitialModel}, err
	case fl.Plan{}.Kind():
		var d fl.Plan
		err := envelope.Read(&d)
		return named(d.BaseModel, d.BaseState), err
	case fl.Manifest{}.Kind():
		var d fl.Manifest
		err := envelope.Read(&d)
		return named(d.BaseModel, d.Model, d.State), err
	case fl.KeyReveal{}.Kind():
		var d fl.KeyReveal
		err := envelope.Read(&d)
		return []fl.Digest{d.Reveal, d.Attestation}, err
	case fl.TestNoise{}.Kind():
		var d fl.TestNoise
		err := envelope.Read(&d)
		return boxesFor(node, d.Boxes), err
	case fl.TestShare{}.Kind(): // everybody may repeat the self-test
		var d fl.TestShare
		err := envelope.Read(&d)
		var shares []fl.Digest
		for _, s := range d.Shares {
			shares = append(shares, s.Digest)
		}
		return shares, err
	case fl.EpochKey{}.Kind():
		var d fl.EpochKey
		err := envelope.Read(&d)
		return []fl.Digest{d.PublicKey}, err
	case fl.KeyDealing{}.Kind():
		var d fl.KeyDealing
		err := envelope.Read(&d)
		return boxesFor(node, d.Boxes), err
	case fl.NoiseDealing{}.Kind():
		var d fl.NoiseDealing
		err := envelope.Read(&d)
		return boxesFor(node, d.Boxes), err
	case fl.ProofKeys{}.Kind():
		var d fl.ProofKeys
		err := envelope.Read(&d)
		var files []fl.Digest
		for _, c := range d.Circuits {
			files = append(files, c.Proving, c.Verifying, c.SRS)
		}
		return files, err
	case fl.UpdateHeader{}.Kind(): // its attestation, never its ciphertexts
		var d fl.UpdateHeader
		err := envelope.Read(&d)
		return []fl.Digest{d.Attestation, d.Training}, err
	case fl.DatasetCommitment{}.Kind(): // everybody checks its proofs
		var d fl.DatasetCommitment
		err := envelope.Read(&d)
		return []fl.Digest{d.Registration, d.Validation}, err
	case fl.Seal{}.Kind():
		var d fl.Seal
		err := envelope.Read(&d)
		var sums []fl.Digest
		for _, s := range d.Sums {
			sums = append(sums, s.C0, s.C1)
		}
		return sums, err
	}
	return nil, nil
}

// named leaves out the digests that were never set.
func named(digests ...fl.Digest) []fl.Digest { return slices.DeleteFunc(digests, fl.Digest.IsZero) }

// disputedBoxes lists the boxes that a complaint is about: everybody may judge
// them.
func (a *Aggregator) disputedBoxes(ctx context.Context, envelope fl.Envelope) ([]fl.Digest, error) {
	var c fl.Complaint
	if err := envelope.Read(&c); err != nil {
		return nil, err
	}
	var out []fl.Digest
	for _, charge := range c.Charges {
		doc, err := a.store.Document(ctx, charge.Dealing)
		if err != nil {
			return nil, err
		}
		boxes, err := readable(doc, c.Node)
		if err != nil {
			return nil, err
		}
		out = append(out, boxes...)
	}
	return out, nil
}

// publishedShares lists the decryption shares of a round that is published. The
// sum that they open is public then, and what they hide beside it is hidden from
// the aggregator too. Before that, and of a round that was aborted, nobody reads
// them.
func (a *Aggregator) publishedShares(ctx context.Context, envelope fl.Envelope) ([]fl.Digest, error) {
	var d fl.DecryptionShare
	if err := envelope.Read(&d); err != nil {
		return nil, err
	}
	r, err := a.store.Round(ctx, d.Job, d.Round)
	if err != nil || round.Phase(r.Phase) != round.Published {
		return nil, err
	}
	out := make([]fl.Digest, len(d.Shares))
	for i, s := range d.Shares {
		out[i] = s.Digest
	}
	return out, nil
}

func boxesFor(node fl.NodeID, boxes []fl.Box) []fl.Digest {
	var out []fl.Digest
	for _, b := range boxes {
		if b.Receiver == node {
			out = append(out, b.Digest)
		}
	}
	return out
}
