package threshold

import (
	"math/rand/v2"
	"testing"

	"credence/he"
)

// benchCommittee is a 3-of-5 committee with one sum and its noise.
func benchCommittee(b *testing.B, f func(b *testing.B, c *committee, id SumID, sum *he.Sum, noise map[string]Dealing)) {
	for _, s := range he.Suites() {
		if s.Insecure() {
			continue
		}
		b.Run(s.Name(), func(b *testing.B) {
			c := newCommittee(b, s.Name(), 5, 3)
			id := SumID{"job", 1, 0}
			sum, _ := c.randomSum(b, rand.New(rand.NewPCG(1, 1)), 2)
			f(b, c, id, sum, c.noise(b, id, 5))
			b.ReportMetric(float64(s.PolyBytes())/float64(s.Values()), "bytes/value")
		})
	}
}

// BenchmarkKeyContribution is one member's work for an epoch (5 receivers).
func BenchmarkKeyContribution(b *testing.B) {
	benchCommittee(b, func(b *testing.B, c *committee, _ SumID, _ *he.Sum, _ map[string]Dealing) {
		for b.Loop() {
			_, err := newKeyContribution(c.epoch, memberName(0), nil)
			ok(b, err)
		}
	})
}

// BenchmarkDealNoise is one member's dealing for one sum (5 receivers), state
// kept in memory.
func BenchmarkDealNoise(b *testing.B) {
	benchCommittee(b, func(b *testing.B, c *committee, id SumID, _ *he.Sum, _ map[string]Dealing) {
		h := c.holders[0]
		for b.Loop() {
			id.Round++
			must[Dealing](b)(h.DealNoise(testEpoch, id))
			delete(c.stores[0].visible, dirNoise+"/"+sumName(id))
		}
	})
}

// BenchmarkDecryptionShare is a whole Release: open five noise boxes, compute,
// record (in memory).
func BenchmarkDecryptionShare(b *testing.B) {
	benchCommittee(b, func(b *testing.B, c *committee, id SumID, sum *he.Sum, noise map[string]Dealing) {
		h := c.holders[0]
		req := c.request(id, sum, noise, h.Self())
		for b.Loop() {
			must[[]byte](b)(h.Release(req))
			delete(c.stores[0].visible, dirReleased+"/"+sumName(id))
		}
	})
}

// BenchmarkDecryptionShareOnDisk is the same with the state on a real disk.
func BenchmarkDecryptionShareOnDisk(b *testing.B) {
	benchCommittee(b, func(b *testing.B, c *committee, id SumID, sum *he.Sum, noise map[string]Dealing) {
		d, err := openDisk(b.TempDir())
		ok(b, err)
		for name, f := range c.stores[0].visible {
			ok(b, d.writeSync(name, f.data))
		}
		h := must[*KeyHolder](b)(openHolder(d, memberName(0)))
		req := c.request(id, sum, noise, h.Self())
		for b.Loop() {
			must[[]byte](b)(h.Release(req))
			ok(b, d.remove(dirReleased+"/"+sumName(id)))
		}
		ok(b, h.Close())
	})
}

// BenchmarkCombine opens from exactly t shares, decoding included.
func BenchmarkCombine(b *testing.B) { benchCombine(b, 3, 0) }

// BenchmarkCombineChecked opens from all five shares.
func BenchmarkCombineChecked(b *testing.B) { benchCombine(b, 5, 0) }

// BenchmarkCombineOneWrong names one culprit among five.
func BenchmarkCombineOneWrong(b *testing.B) { benchCombine(b, 5, 1) }

func benchCombine(b *testing.B, count, wrong int) {
	benchCommittee(b, func(b *testing.B, c *committee, id SumID, sum *he.Sum, noise map[string]Dealing) {
		shares := c.release(b, id, sum, noise, 0, 1, 2, 3, 4)[:count]
		for i := range wrong {
			shares[i] = c.corrupt(shares[i])
		}
		for b.Loop() {
			_, err := Combine(c.epoch, sum, 5, shares)
			ok(b, err)
		}
	})
}

// BenchmarkTakeShare opens and checks one box of a dealing to five receivers.
func BenchmarkTakeShare(b *testing.B) {
	benchCommittee(b, func(b *testing.B, c *committee, id SumID, _ *he.Sum, noise map[string]Dealing) {
		self, dealer := memberName(0), memberName(1)
		private := privateOf(b, c, 0)
		r := addressed(noise, self)[dealer]
		for b.Loop() {
			_, charge, err := c.holders[0].takeShare(c.epoch, NoiseSubject(id), dealer, r, private)
			if err != nil || charge != nil {
				b.Fatal(charge, err)
			}
		}
	})
}

// BenchmarkVerifyDealing is what a relay checks of a dealing to five receivers.
func BenchmarkVerifyDealing(b *testing.B) {
	benchCommittee(b, func(b *testing.B, c *committee, id SumID, _ *he.Sum, noise map[string]Dealing) {
		dealer := memberName(1)
		for b.Loop() {
			ok(b, VerifyDealing(c.epoch, NoiseSubject(id), dealer, noise[dealer]))
		}
	})
}
