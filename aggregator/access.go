package aggregator

import (
	"context"
	"fmt"
	"slices"

	"credence/fl"
)

// mayRead decides whether a party may download a blob. A blob is read through
// a document that names it, and the kind of the document decides who may:
// models, keys and sums are for every party; a sealed box for its receiver; a
// client's ciphertext and a decryption share for nobody.
func (a *Aggregator) mayRead(ctx context.Context, node fl.NodeID, digest, via fl.Digest) error {
	envelope, err := a.store.Document(ctx, via)
	if err != nil {
		return err
	}
	named, err := readable(envelope, node)
	if err != nil {
		return fmt.Errorf("reading %s: %w", via.Short(), err)
	}
	if !slices.Contains(named, digest) {
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
		return []fl.Digest{d.BaseModel}, err
	case fl.Manifest{}.Kind():
		var d fl.Manifest
		err := envelope.Read(&d)
		return []fl.Digest{d.BaseModel, d.Model}, err
	case fl.KeyReveal{}.Kind():
		var d fl.KeyReveal
		err := envelope.Read(&d)
		return []fl.Digest{d.Reveal}, err
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

func boxesFor(node fl.NodeID, boxes []fl.Box) []fl.Digest {
	var out []fl.Digest
	for _, b := range boxes {
		if b.Receiver == node {
			out = append(out, b.Digest)
		}
	}
	return out
}
