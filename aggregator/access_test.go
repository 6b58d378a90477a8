package aggregator

import (
	"testing"
	"time"

	"credence/fl"
)

// TestSharesOfPublishedRounds: a decryption share is for nobody until its round
// is published, and for everybody from then on; those of a round that was given
// up stay hidden.
func TestSharesOfPublishedRounds(t *testing.T) {
	t.Parallel()
	b := newBench(t, "alpha", "beta", "gamma")
	b.generate(nil)
	spec := b.jobSpec("j")
	spec.Rounds = 3
	b.startJob(spec)
	read := func(d fl.DecryptionShare, want fl.Code) {
		t.Helper()
		via := b.parties[d.Node].sign(d).Digest()
		for _, reader := range []fl.NodeID{"lab", "beta", d.Node} {
			if err := b.a.mayRead(b.ctx, reader, d.Shares[0].Digest, via); fl.CodeOf(err) != want || (err == nil) != (want == "") {
				t.Errorf("round %d: %s reads a share of %s: %v, want %q", d.Round, reader, d.Node, err, want)
			}
			if err := b.a.mayRead(b.ctx, reader, d.Seal, via); fl.CodeOf(err) != fl.CodeNotAllowed {
				t.Errorf("%s reads something else through the share: %v", reader, err)
			}
		}
	}
	open := func(number uint64) map[fl.NodeID]fl.DecryptionShare {
		t.Helper()
		b.keepAlive()
		r := b.round("j", number)
		for _, m := range b.members {
			b.must(b.parties[m].submit(b.parties[m].noise(r)))
			b.must(b.parties[m].submit(b.parties[m].update(r)))
		}
		b.clock.add(2 * time.Second)
		b.must(b.a.Pass(b.ctx))
		r = b.round("j", number)
		shares := map[fl.NodeID]fl.DecryptionShare{}
		for _, m := range b.members {
			shares[m] = b.parties[m].share(r)
		}
		b.must(b.parties["alpha"].submit(shares["alpha"]))
		read(shares["alpha"], fl.CodeNotAllowed)
		return shares
	}

	shares := open(1)
	b.must(b.parties["beta"].submit(shares["beta"]))
	b.must(b.parties["gamma"].submit(shares["gamma"]))
	b.clock.add(2 * time.Second)
	b.must(b.a.Pass(b.ctx))
	if r := b.round("j", 1); r.phase != "published" {
		t.Fatalf("round 1 is %s", r.phase)
	}
	for _, d := range shares {
		read(d, "")
	}

	b.keepAlive()
	b.must(b.a.Pass(b.ctx))
	shares = open(2)
	b.must(b.a.abortOpenRound(b.ctx, func() jobState { j, err := b.a.job(b.ctx, "", "j"); b.must(err); return j }(), "a test"))
	if r := b.round("j", 2); r.phase != "aborted" {
		t.Fatalf("round 2 is %s", r.phase)
	}
	read(shares["alpha"], fl.CodeNotAllowed)
}
