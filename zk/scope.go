package zk

import (
	"encoding/binary"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"credence/fl"
	"credence/zk/circuit/norm"
	"credence/zk/circuit/rlwe"
)

// A Scope says which update an attestation is about. All of it enters every
// challenge, so an attestation holds for this scope alone.
type Scope struct {
	Genesis  fl.Digest
	Job      fl.JobID
	Round    uint64
	Plan     fl.Digest
	EpochKey fl.Digest // digest of the collective public key
	Client   fl.NodeID
	Shards   []int  // the update's shards, ascending
	Bound    uint64 // largest sum of squares over all shards, below 2^62
}

func (s *Scope) check() error {
	switch {
	case s.Genesis.IsZero() || s.Plan.IsZero() || s.EpochKey.IsZero():
		return fmt.Errorf("%w: genesis, plan and epoch key must be named", ErrScope)
	case s.Job == "" || s.Client == "":
		return fmt.Errorf("%w: job and client must be named", ErrScope)
	case len(s.Shards) == 0 || len(s.Shards) > rlwe.MaxShards:
		return fmt.Errorf("%w: %d shards: want 1 to %d", ErrScope, len(s.Shards), rlwe.MaxShards)
	case s.Bound >= 1<<norm.Bits:
		return fmt.Errorf("%w: norm bound %d: want less than 2^%d", ErrScope, s.Bound, norm.Bits)
	}
	for i, x := range s.Shards {
		if x < 0 || (i > 0 && x <= s.Shards[i-1]) {
			return fmt.Errorf("%w: shards %v are not ascending", ErrScope, s.Shards)
		}
	}
	return nil
}

// A MemberScope says whose key share, in which epoch, an attestation is about.
type MemberScope struct {
	Genesis fl.Digest
	Epoch   uint64
	Member  fl.NodeID
	CRS     fl.Digest // digest of the seed of the common polynomial a
}

func (s *MemberScope) check() error {
	if s.Genesis.IsZero() || s.CRS.IsZero() || s.Member == "" {
		return fmt.Errorf("%w: genesis, common polynomial and member must be named", ErrScope)
	}
	return nil
}

// digest binds one shard's proof: the scope, the shard's place, and every
// commitment that the challenge must come after. Total is the commitment that
// the closing shard opens against the bound, zero in the others.
func (s *Scope) digest(shape string, place int, p *shardProof, total *bn254.G1Affine) fl.Digest {
	shards := make([]byte, 0, 8*len(s.Shards))
	for _, x := range s.Shards {
		shards = binary.LittleEndian.AppendUint64(shards, uint64(x))
	}
	fields := [][]byte{
		[]byte(shape), s.Genesis[:], []byte(s.Job), number(s.Round), s.Plan[:], s.EpochKey[:], []byte(s.Client),
		shards, number(s.Bound), number(uint64(place)),
	}
	fields = append(fields, p.committed()...)
	t := total.Bytes()
	return fl.DigestOf("zk/update/v1", append(fields, t[:])...)
}

func (s *MemberScope) digest(shape string, p *shardProof) fl.Digest {
	fields := [][]byte{[]byte(shape), s.Genesis[:], number(s.Epoch), []byte(s.Member), s.CRS[:]}
	return fl.DigestOf("zk/keyshare/v1", append(fields, p.committed()...)...)
}

func number(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// halves splits a digest into two integers below 2^128, which are field
// elements without any reduction.
func halves(d fl.Digest) (out [2]fr.Element) {
	out[0].SetBytes(d[:16])
	out[1].SetBytes(d[16:])
	return out
}
