package aggregator

import (
	"testing"
	"time"

	"credence/fl"
)

// A round's clock never runs backwards, whatever the machine's does and
// whichever of two updates read it first. A client holds its receipt against
// the seal, so both must say the same, also when the update comes again.
func TestReceiptsSayWhatTheSealSays(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.generate(nil)
	b.startJob(b.jobSpec("j"))
	r := b.round("j", 1)
	receipts := map[fl.NodeID]time.Time{}
	for _, m := range b.members {
		p := b.parties[m]
		b.must(p.submit(p.noise(r)))
		doc := p.sign(p.update(r)).Encode()
		first, err := p.hand(doc)
		b.must(err)
		b.clock.add(-time.Second)
		again, err := p.hand(doc)
		b.must(err)
		if !again.AcceptedAt.Equal(first.AcceptedAt) {
			t.Errorf("%s: a receipt of %s, then one of %s", m, first.AcceptedAt, again.AcceptedAt)
		}
		receipts[m] = first.AcceptedAt
	}
	b.clock.add(10 * time.Second)
	b.must(b.a.Pass(b.ctx))
	stored, err := b.a.store.Round(b.ctx, "j", 1)
	b.must(err)
	state, err := b.a.roundState(b.ctx, stored)
	b.must(err)
	doc, err := b.a.store.Document(b.ctx, state.Seal)
	b.must(err)
	var seal fl.Seal
	b.must(doc.Read(&seal))
	for i, node := range seal.Clients {
		if !seal.Accepted[i].Equal(receipts[node]) {
			t.Errorf("%s: the seal says %s, the receipt %s", node, seal.Accepted[i], receipts[node])
		}
	}
	if len(seal.Clients) != 3 {
		t.Errorf("%d clients in the seal", len(seal.Clients))
	}
}
