package aggregator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/round"
	"credence/he"
)

// seal adds the ciphertexts of a frozen round and signs the seal. Each sum is
// computed in the memory of one ciphertext. Everything in the seal follows
// from the stored state, so doing it again after a crash gives the same bytes.
func (a *Aggregator) seal(ctx context.Context, r store.Round, state round.State, effect round.ComputeSums) error {
	plan := state.Plan()
	seal := fl.Seal{
		Genesis: a.genesisID, Plan: r.Plan.Digest(), Job: r.Job, Round: r.Number,
		Clients: effect.Clients, Dealers: effect.Dealers, SealedAt: state.SealedAt,
	}
	headers := make(map[fl.NodeID]fl.UpdateHeader, len(effect.Clients))
	for _, node := range effect.Clients {
		digest := state.Updates[node].Digest
		doc, err := a.store.Document(ctx, digest)
		if err != nil {
			return err
		}
		var h fl.UpdateHeader
		if err := doc.Read(&h); err != nil {
			return err
		}
		headers[node] = h
		seal.Headers = append(seal.Headers, digest)
		seal.Accepted = append(seal.Accepted, state.Updates[node].At)
	}
	for _, dealer := range effect.Dealers {
		seal.Dealings = append(seal.Dealings, state.Dealings[dealer].Digest)
	}
	for shard := range plan.Shards {
		var contributors []fl.NodeID
		for _, node := range effect.Clients {
			if holds(headers[node], shard) {
				contributors = append(contributors, node)
			}
		}
		sum, err := a.sumOf(ctx, shard, contributors, headers)
		if err != nil {
			return err
		}
		if plan.ProofLevel.Attested() {
			var liar *liarError
			switch err := a.checkSum(ctx, plan, shard, sum, contributors, headers); {
			case errors.As(err, &liar):
				a.log.Error("a stored ciphertext is not the one attested", "job", r.Job, "round", r.Number, "client", liar.node, "shard", shard)
				return a.step(ctx, r.Job, r.Number, round.Cancelled{Reason: err.Error(), At: a.now()}, stepExtras{})
			case err != nil:
				return err
			}
		}
		c0, err := a.blobs.Put(ctx, sum.PartBytes(he.C0))
		if err != nil {
			return err
		}
		c1, err := a.blobs.Put(ctx, sum.PartBytes(he.C1))
		if err != nil {
			return err
		}
		seal.Sums = append(seal.Sums, fl.SealedSum{Shard: shard, Contributors: contributors, C0: c0, C1: c1})
	}
	doc, err := a.sign(seal)
	if err != nil {
		return err
	}
	return a.step(ctx, r.Job, r.Number, round.SumsReady{Seal: doc.Digest(), At: a.now()}, stepExtras{documents: []fl.Envelope{doc}})
}

func holds(h fl.UpdateHeader, shard int) bool {
	return slices.ContainsFunc(h.Ciphertexts, func(c fl.ShardCiphertext) bool { return c.Shard == shard })
}

// sumOf adds the ciphertexts of one shard.
func (a *Aggregator) sumOf(ctx context.Context, shard int, nodes []fl.NodeID, headers map[fl.NodeID]fl.UpdateHeader) (*he.Sum, error) {
	reader, err := a.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer a.done(reader)
	sum := a.suite.NewSum()
	for _, node := range nodes {
		for _, c := range headers[node].Ciphertexts {
			if c.Shard != shard {
				continue
			}
			ciphertext, err := reader.read(ctx, a, c.Digest)
			if err != nil {
				return nil, fmt.Errorf("ciphertext of %s, shard %d: %w", node, shard, err)
			}
			if err := sum.Add(ciphertext); err != nil {
				return nil, fmt.Errorf("ciphertext of %s, shard %d: %w", node, shard, err)
			}
		}
	}
	return sum, nil
}
