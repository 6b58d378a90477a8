package simulate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"credence/fl"
	"credence/he"
	"credence/he/threshold"
)

// committee is a threshold committee whose members are all here. Their key
// material is in a folder of its own that Close removes.
type committee struct {
	dir     string
	epoch   *threshold.Epoch
	public  *he.PublicKey
	holders []*threshold.KeyHolder
}

const onlyEpoch = 1

// newCommittee runs the whole key generation among members.
func newCommittee(suite *he.Suite, members, least int) (c *committee, err error) {
	c = &committee{}
	if c.dir, err = os.MkdirTemp("", "credence-committee-*"); err != nil {
		return nil, fmt.Errorf("making the committee's folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("making the committee: %w", err), c.close())
		}
	}()
	config := threshold.EpochConfig{Suite: suite.Name(), Context: simulated[:], Number: onlyEpoch, Threshold: least}
	for i := range members {
		name := fmt.Sprintf("member-%d", i+1)
		h, err := threshold.Open(filepath.Join(c.dir, name), name)
		if err != nil {
			return nil, err
		}
		c.holders = append(c.holders, h)
		key, err := h.SealKey(onlyEpoch)
		if err != nil {
			return nil, err
		}
		config.Members = append(config.Members, threshold.Member{ID: name, Point: i + 1, SealKey: key})
	}
	if c.epoch, err = threshold.NewEpoch(config); err != nil {
		return nil, err
	}
	return c, c.makeKey()
}

func (c *committee) makeKey() error {
	commitments, reveals, dealings := map[string][32]byte{}, map[string][]byte{}, map[string]threshold.Dealing{}
	for _, h := range c.holders {
		commitment, err := h.Commit(c.epoch)
		if err != nil {
			return err
		}
		commitments[h.Self()] = commitment
	}
	for _, h := range c.holders {
		reveal, err := h.Reveal(onlyEpoch, commitments)
		if err != nil {
			return err
		}
		dealing, err := h.Deal(onlyEpoch)
		if err != nil {
			return err
		}
		reveals[h.Self()], dealings[h.Self()] = reveal, dealing
	}
	for _, h := range c.holders {
		key, err := h.Complete(onlyEpoch, reveals, addressed(dealings, h.Self()))
		if err != nil {
			return err
		}
		c.public = key
	}
	return nil
}

// addressed is what one receiver gets of each dealer.
func addressed(dealings map[string]threshold.Dealing, receiver string) map[string]threshold.Received {
	out := map[string]threshold.Received{}
	for dealer, d := range dealings {
		public := make(threshold.Dealing, len(d))
		for i, b := range d {
			if b.Receiver == receiver {
				out[dealer] = threshold.Received{Box: b.Box}
			}
			b.Box = nil
			public[i] = b
		}
		out[dealer] = threshold.Received{Dealing: public, Box: out[dealer].Box}
	}
	return out
}

// open deals the noise of a round's sum and opens it with the shares of all.
func (c *committee) open(job fl.JobID, round uint64, shard int, sum *he.Sum) ([]int64, error) {
	id := threshold.SumID{Job: string(job), Round: round, Shard: shard}
	noise := map[string]threshold.Dealing{}
	for _, h := range c.holders {
		d, err := h.DealNoise(onlyEpoch, id)
		if err != nil {
			return nil, err
		}
		noise[h.Self()] = d
	}
	var shares []threshold.DecryptionShare
	for _, h := range c.holders {
		share, err := h.Release(threshold.ReleaseRequest{
			Epoch: onlyEpoch, Sum: id, C0Digest: sum.PartDigest(he.C0), C1: sum.PartBytes(he.C1), Noise: addressed(noise, h.Self()),
		})
		if err != nil {
			return nil, err
		}
		shares = append(shares, threshold.DecryptionShare{Member: h.Self(), Share: share})
	}
	opened, err := threshold.Combine(c.epoch, sum, len(c.holders), shares)
	if err != nil {
		return nil, err
	}
	return opened.Values, nil
}

// closeRound forgets a round's noise.
func (c *committee) closeRound(job fl.JobID, round uint64) error {
	var err error
	for _, h := range c.holders {
		err = errors.Join(err, h.CloseRound(string(job), round))
	}
	return err
}

func (c *committee) close() error {
	var err error
	for _, h := range c.holders {
		err = errors.Join(err, h.Close())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}
