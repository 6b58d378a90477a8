package population

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"

	"credence/experiments/config"
	"credence/experiments/simulate"
	"credence/fl"
)

// Digests identify the schema (comments do not count) and
// the rows as a model sees them: every value's bits and every label, in order.
func (d *Data) Digests() (schema, rows fl.Digest, err error) {
	if schema, err = d.Schema.Digest(); err != nil {
		return schema, rows, err
	}
	h := newDigester("population/rows/v1")
	h.rows(d.Train)
	h.rows(d.Test)
	return schema, h.sum(), nil
}

// PartitionDigest identifies what Divide makes of the rows: the clients' names,
// capabilities and row numbers. seed is as there.
func (d *Data) PartitionDigest(e *config.Experiment, p config.Partition, seed uint64) (fl.Digest, error) {
	seed = PartitionSeed(p, seed)
	names, train, test, err := d.parts(p, seed)
	if err != nil {
		return fl.Digest{}, e.At("partition", err)
	}
	clients := make([]simulate.Client, len(names))
	weaken(clients, p.Weak, seed)
	h := newDigester("population/partition/v1")
	h.number(uint64(len(names)))
	for i, name := range names {
		h.number(uint64(len(name)))
		h.bytes([]byte(name))
		h.number(uint64(clients[i].MaxShards))
		h.numbers(train[i])
		if test != nil {
			h.numbers(test[i])
		}
	}
	return h.sum(), nil
}

// digester hashes without a copy of what it hashes; every list is preceded by
// its length.
type digester struct {
	hash   hash.Hash
	buffer []byte
}

func newDigester(domain string) *digester {
	d := &digester{hash: sha256.New(), buffer: make([]byte, 0, 1<<12)}
	d.bytes([]byte("credence/" + domain))
	return d
}

func (d *digester) bytes(b []byte) {
	if len(d.buffer)+len(b) > cap(d.buffer) {
		d.hash.Write(d.buffer) // a hash never returns an error
		d.buffer = d.buffer[:0]
	}
	if len(b) > cap(d.buffer) {
		d.hash.Write(b)
		return
	}
	d.buffer = append(d.buffer, b...)
}

func (d *digester) number(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	d.bytes(b[:])
}

func (d *digester) numbers(list []int) {
	d.number(uint64(len(list)))
	for _, n := range list {
		d.number(uint64(n))
	}
}

func (d *digester) rows(x fl.Examples) {
	for _, n := range []int{x.Rows, x.Features, x.Classes} {
		d.number(uint64(n))
	}
	var b [4]byte
	for _, v := range x.X {
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(v))
		d.bytes(b[:])
	}
	for _, y := range x.Y {
		binary.LittleEndian.PutUint32(b[:], uint32(y))
		d.bytes(b[:])
	}
}

func (d *digester) sum() fl.Digest {
	d.hash.Write(d.buffer)
	d.buffer = d.buffer[:0]
	return fl.Digest(d.hash.Sum(nil))
}
