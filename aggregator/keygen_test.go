package aggregator

import (
	"credence/fl"
	"credence/he/threshold"
)

// newestEpoch returns the newest epoch as the store has it.
func (b *bench) newestEpoch() epochState {
	b.Helper()
	all, err := b.a.epochs(b.ctx)
	b.must(err)
	return all[len(all)-1]
}

func (p *party) sealKey(e epochState) fl.SealKey {
	key, err := p.holder.SealKey(e.Number)
	p.b.must(err)
	return fl.SealKey{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Key: key}
}

func (p *party) keyCommitment(e epochState) fl.KeyCommitment {
	te, err := e.threshold()
	p.b.must(err)
	c, err := p.holder.Commit(te)
	p.b.must(err)
	return fl.KeyCommitment{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Commitment: c}
}

func (p *party) keyReveal(e epochState) fl.KeyReveal {
	commitments := map[string][32]byte{}
	for m, doc := range e.Commitments {
		var c fl.KeyCommitment
		p.b.must(doc.Read(&c))
		commitments[string(m)] = c.Commitment
	}
	raw, err := p.holder.Reveal(e.Number, commitments)
	p.b.must(err)
	return fl.KeyReveal{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Reveal: p.put(raw)}
}

func (p *party) keyDealing(e epochState) fl.KeyDealing {
	dealt, err := p.holder.Deal(e.Number)
	p.b.must(err)
	return fl.KeyDealing{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Boxes: p.boxes(0, dealt)}
}

// boxes uploads a dealing's boxes.
func (p *party) boxes(shard int, d threshold.Dealing) []fl.Box {
	for _, box := range d {
		p.put(box.Box)
	}
	return d.Boxes(shard)
}

// received is what the dealers of some documents dealt to this party.
func (p *party) received(e epochState, docs map[fl.NodeID]fl.Envelope, shard int) map[string]threshold.Received {
	te, err := e.threshold()
	p.b.must(err)
	out := map[string]threshold.Received{}
	for m, doc := range docs {
		_, d, err := threshold.DealingFromDocument(te, e.planID, m, doc, shard)
		p.b.must(err)
		out[string(m)] = threshold.Received{Dealing: d, Box: p.b.blob(d[e.plan.Point(p.name)-1].Digest)}
	}
	return out
}

func (p *party) keyAcceptance(e epochState) fl.KeyAcceptance {
	p.complete(e)
	return fl.KeyAcceptance{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Dealings: e.inOrder(e.Dealings)}
}

func (p *party) testNoise(e epochState, stage fl.Stage) fl.TestNoise {
	d := fl.TestNoise{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Stage: stage}
	first, shards := e.tests(stage)
	for shard := first; shard < first+shards; shard++ {
		dealt, err := p.holder.DealNoise(e.Number, threshold.TestSum(e.Number, shard))
		p.b.must(err)
		d.Boxes = append(d.Boxes, p.boxes(shard, dealt)...)
	}
	return d
}

func (p *party) testShare(e epochState, stage fl.Stage) fl.TestShare {
	d := fl.TestShare{Genesis: p.b.a.genesisID, EpochPlan: e.planID, Node: p.name, Stage: stage, Noise: e.inOrder(e.noise[stage])}
	first, shards := e.tests(stage)
	keys := p.received(e, e.Dealings, 0)
	for shard := first; shard < first+shards; shard++ {
		req := threshold.TestRequest{Epoch: e.Number, Noise: p.received(e, e.noise[stage], shard)}
		if shard > 0 {
			req.Target = string(e.plan.Members[shard-1])
			req.KeyShare = keys[req.Target]
		}
		raw, err := p.holder.ReleaseTest(req)
		p.b.must(err)
		d.Shares = append(d.Shares, fl.ShareRef{Shard: shard, Digest: p.put(raw)})
	}
	return d
}

// contribute has every member hand in its document of one stage.
func (b *bench) contribute(stage int) {
	b.Helper()
	e := b.newestEpoch()
	for _, m := range b.members {
		p := b.parties[m]
		switch stage {
		case 0:
			b.must(p.submit(p.sealKey(e)))
		case 1:
			b.must(p.submit(p.keyCommitment(e)))
		case 2:
			b.must(p.submit(p.keyReveal(e)))
		case 3:
			b.must(p.submit(p.keyDealing(e)))
		case 4:
			b.must(p.submit(p.keyAcceptance(e)))
		case 5:
			b.must(p.submit(p.testNoise(e, fl.StageTest)))
		case 6:
			b.must(p.submit(p.testShare(e, fl.StageTest)))
		}
	}
}

// generate makes a collective key; hook, when not nil, is called before each
// of the seven stages.
func (b *bench) generate(hook func(stage int)) {
	b.Helper()
	_, err := b.a.OpenEpoch(b.ctx, b.members)
	b.must(err)
	for stage := range 7 {
		if hook != nil {
			hook(stage)
		}
		b.contribute(stage)
	}
	b.must(b.a.Pass(b.ctx))
	e := b.newestEpoch()
	if e.key == nil {
		b.Fatal("the epoch did not close")
	}
	for _, m := range b.members {
		b.must(b.parties[m].holder.Confirm(e.Number))
	}
}

func (p *party) complete(e epochState) {
	reveals := map[string][]byte{}
	for _, m := range e.plan.Members {
		var r fl.KeyReveal
		p.b.must(e.Reveals[m].Read(&r))
		reveals[string(m)] = p.b.blob(r.Reveal)
	}
	_, err := p.holder.Complete(e.Number, reveals, p.received(e, e.Dealings, 0))
	p.b.must(err)
}
