package threshold

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"credence/he"
)

// committee is n holders in memory with a completed epoch.
type committee struct {
	epoch   *Epoch
	pk      *he.PublicKey
	holders []*KeyHolder
	stores  []*memory
	// what travelled, for tests that replay it
	commitments map[string][32]byte
	reveals     map[string][]byte
	dealings    map[string]Dealing // of the key, by dealer
}

const testEpoch = 7

func memberName(i int) string { return fmt.Sprintf("hospital-%c", 'a'+i) }

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startCommittee opens the holders and agrees on the epoch.
func startCommittee(t testing.TB, suite string, n, threshold int) *committee {
	c := &committee{}
	cfg := EpochConfig{Suite: suite, Context: []byte("genesis"), Number: testEpoch, Threshold: threshold}
	for i := range n {
		c.stores = append(c.stores, newMemory())
		h := must[*KeyHolder](t)(openHolder(c.stores[i], memberName(i)))
		c.holders = append(c.holders, h)
		cfg.Members = append(cfg.Members, Member{ID: h.Self(), Point: i + 1, SealKey: must[[]byte](t)(h.SealKey(testEpoch))})
	}
	c.epoch = must[*Epoch](t)(NewEpoch(cfg))
	return c
}

// exchange runs commit, reveal and deal for all.
func (c *committee) exchange(t testing.TB) {
	c.commitments, c.reveals = map[string][32]byte{}, map[string][]byte{}
	c.dealings = map[string]Dealing{}
	for _, h := range c.holders {
		c.commitments[h.Self()] = must[[32]byte](t)(h.Commit(c.epoch))
	}
	for _, h := range c.holders {
		c.reveals[h.Self()] = must[[]byte](t)(h.Reveal(testEpoch, c.commitments))
		c.dealings[h.Self()] = must[Dealing](t)(h.Deal(testEpoch))
	}
}

// addressed is what one receiver gets of each dealer.
func addressed(dealings map[string]Dealing, receiver string) map[string]Received {
	out := map[string]Received{}
	for dealer, d := range dealings {
		box, _ := d.box(receiver)
		out[dealer] = Received{Dealing: withoutBoxes(d), Box: box.Box}
	}
	return out
}

// withoutBoxes is a dealing as documents carry it.
func withoutBoxes(d Dealing) Dealing {
	out := slices.Clone(d)
	for i := range out {
		out[i].Box = nil
	}
	return out
}

func newCommittee(t testing.TB, suite string, n, threshold int) *committee {
	c := startCommittee(t, suite, n, threshold)
	c.exchange(t)
	for _, h := range c.holders {
		pk := must[*he.PublicKey](t)(h.Complete(testEpoch, c.reveals, addressed(c.dealings, h.Self())))
		if c.pk != nil && c.pk.Digest() != pk.Digest() {
			t.Fatal("members disagree on the public key")
		}
		c.pk = pk
	}
	return c
}

// noise has the first k members deal for one sum, by dealer.
func (c *committee) noise(t testing.TB, id SumID, k int) map[string]Dealing {
	out := map[string]Dealing{}
	for _, h := range c.holders[:k] {
		out[h.Self()] = must[Dealing](t)(h.DealNoise(testEpoch, id))
	}
	return out
}

func (c *committee) request(id SumID, sum *he.Sum, noise map[string]Dealing, receiver string) ReleaseRequest {
	return ReleaseRequest{
		Epoch: testEpoch, Sum: id, C0Digest: sum.PartDigest(he.C0), C1: sum.PartBytes(he.C1),
		Noise: addressed(noise, receiver),
	}
}

// release has the given members answer.
func (c *committee) release(t testing.TB, id SumID, sum *he.Sum, noise map[string]Dealing, who ...int) []DecryptionShare {
	var out []DecryptionShare
	for _, i := range who {
		h := c.holders[i]
		out = append(out, DecryptionShare{h.Self(), must[[]byte](t)(h.Release(c.request(id, sum, noise, h.Self())))})
	}
	return out
}

// randomSum encrypts count random vectors and returns their sum and plain sum.
func (c *committee) randomSum(t testing.TB, rng *rand.Rand, count int) (*he.Sum, []int64) {
	s := c.epoch.Suite()
	sum, plain := s.NewSum(), make([]int64, s.Values())
	for range count {
		v := make([]int32, s.Values())
		for i := range v {
			v[i] = s.MinValue() + int32(rng.Int64N(int64(s.MaxValue())-int64(s.MinValue())+1))
			plain[i] += int64(v[i])
		}
		ok(t, sum.Add(must[*he.Ciphertext](t)(c.pk.Encrypt(v))))
	}
	return sum, plain
}

// corrupt returns a share replaced by a random polynomial.
func (c *committee) corrupt(s DecryptionShare) DecryptionShare {
	return DecryptionShare{s.Member, c.epoch.Suite().UniformPoly().Bytes()}
}

func wantOpened(t testing.TB, o *Opened, plain []int64, wrong ...string) {
	t.Helper()
	if !slices.Equal(o.Values, plain) {
		t.Fatal("opened sum differs from the plain sum")
	}
	if !slices.Equal(o.Wrong, wrong) {
		t.Fatalf("wrong shares attributed to %q, want %q", o.Wrong, wrong)
	}
}
