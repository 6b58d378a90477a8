package aggregator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"credence/aggregator/blob"
	"credence/fl"
	"credence/fl/flpb"
)

// A party that finishes uploads for nothing meets a bound; one whose documents
// name them does not.
func TestUnclaimedUploads(t *testing.T) {
	b := newBench(t, "alpha", "beta")
	b.serve()
	alpha, beta := b.parties["alpha"], b.parties["beta"]
	up := func(p *party, data string, split int) error {
		digest := fl.DigestBytes([]byte(data))
		if split > 0 {
			if _, err := p.api.Upload(b.ctx, &flpb.UploadRequest{Digest: digest[:], Data: []byte(data)[:split]}); err != nil {
				return flpb.FromStatus(err)
			}
		}
		_, err := p.api.Upload(b.ctx, &flpb.UploadRequest{Digest: digest[:], Offset: int64(split), Data: []byte(data)[split:], Last: true})
		return flpb.FromStatus(err)
	}
	b.a.opts.UnclaimedQuota = 3 * (unclaimedCost + 100)
	for i := range 3 {
		b.must(up(alpha, fmt.Sprint("for nothing ", i), 0))
		b.must(up(alpha, fmt.Sprint("for nothing ", i), 0)) // the same again takes no room
	}
	b.refused("a fourth", fl.CodeTooLarge, "alpha", func() error { return up(alpha, "one more", 0) })
	b.refused("a fourth in two chunks", fl.CodeTooLarge, "alpha", func() error { return up(alpha, "one more", 3) })
	b.must(up(alpha, "for nothing 1", 0))
	b.must(up(beta, "of another party", 0))
	b.must(up(beta, "one more", 0))
	b.must(up(alpha, "one more", 0)) // it is there
	b.clock.add(unclaimedFor)
	b.must(up(alpha, "the next day", 0))
}

// What is counted for a party is at most the quota, whatever comes, and what
// fails or is named counts no more.
func TestUnclaimedAccounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const quota = 10 * unclaimedCost
		var u unclaimed
		now := time.Unix(1000, 0)
		held := map[fl.NodeID]map[fl.Digest]int64{"a": {}, "b": {}}
		at := map[fl.Digest]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			node := rapid.SampledFrom([]fl.NodeID{"a", "b"}).Draw(t, "node")
			digest := fl.Digest{rapid.Byte().Draw(t, "digest") % 32}
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(unclaimedFor/4)).Draw(t, "pause")))
			if rapid.IntRange(0, 3).Draw(t, "act") == 0 {
				u.release(digest)
				delete(held["a"], digest)
				delete(held["b"], digest)
				continue
			}
			size := rapid.Int64Range(0, 3*unclaimedCost).Draw(t, "size")
			counted, err := u.reserve(node, digest, size, quota, now)
			if err != nil && !errors.Is(err, blob.ErrQuota) {
				t.Fatal(err)
			}
			if counted {
				delete(held["a"], digest) // whoever left it before and is not counted for it any more
				delete(held["b"], digest)
				held[node][digest], at[digest] = size+unclaimedCost, now
			}
			var young, all int64
			for d, cost := range held[node] {
				all += cost
				if now.Sub(at[d]) < unclaimedFor {
					young += cost
				}
			}
			if young > quota {
				t.Fatalf("%d of at most %d bytes", young, quota)
			}
			if err != nil && all+size+unclaimedCost <= quota {
				t.Fatalf("refused %d bytes beside %d", size, all)
			}
		}
	})
}

// A document that was taken in claims every blob it names: after a round on
// uploads over the network nothing is left.
func TestClaim(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.serve()
	b.a.opts.UnclaimedQuota = 1 << 20 // less than all of it
	b.generate(nil)
	b.startJob(b.jobSpec("j"))
	_, headers, _ := b.playRound(1, func(p *party, r roundNow) fl.UpdateHeader { return p.update(r) })
	for digest := range b.sent {
		if left, counts := b.a.unclaimed.blobs[digest]; counts {
			t.Errorf("blob %s of %s is named by no document", digest.Short(), left.node)
		}
	}
	attested := headers[0]
	attested.ProofLevel, attested.Attestation = fl.ProofBounded, fl.Digest{7}
	if _, err := b.a.unclaimed.reserve("alpha", attested.Attestation, 1, 1<<20, b.a.now()); err != nil {
		t.Fatal(err)
	}
	b.must(b.a.unclaimed.claim(b.parties["alpha"].sign(attested)))
	if n := len(b.a.unclaimed.blobs); n != 0 {
		t.Errorf("%d blobs count still", n)
	}
}
