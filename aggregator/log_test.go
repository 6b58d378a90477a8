package aggregator

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/translog"
)

// opened verifies a checkpoint as a party would.
func (b *bench) opened(signed []byte) translog.Checkpoint {
	b.Helper()
	c, err := translog.Open(signed, translog.Origin(b.a.genesisID), b.a.genesis.AggregatorKey)
	b.must(err)
	return c
}

func (b *bench) hashes(raw [][]byte) []tlog.Hash {
	b.Helper()
	out, err := translog.DecodeHashes(raw)
	b.must(err)
	return out
}

// TestLogService asks for everything that the log offers, over a real
// connection, and verifies it as a party would.
func TestLogService(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.serve()
	api := b.parties["alpha"].api
	none := translog.Checkpoint{Origin: translog.Origin(b.a.genesisID)}
	before := none
	var sizes []translog.Checkpoint
	for i := range 30 {
		b.must(b.a.Grant(b.ctx, "alpha", 1, fmt.Sprint(i)))
		got, err := api.GetCheckpoint(b.ctx, &flpb.GetCheckpointRequest{FromSize: before.Size})
		b.must(err)
		c := b.opened(got.GetCheckpoint())
		if c.Size <= before.Size {
			t.Fatalf("the log does not grow: %d after %d", c.Size, before.Size)
		}
		b.must(translog.CheckConsistency(before, c, b.hashes(got.GetProof())))
		before = c
		sizes = append(sizes, c)
	}
	// Any two checkpoints, not only neighbours.
	for _, x := range []int{0, 3, 14, 28} {
		got, err := api.GetCheckpoint(b.ctx, &flpb.GetCheckpointRequest{FromSize: sizes[x].Size, Size: sizes[29].Size - 1})
		b.must(err)
		c := b.opened(got.GetCheckpoint())
		if c.Size != sizes[29].Size-1 {
			t.Fatalf("a checkpoint of %d entries, %d were asked for", c.Size, sizes[29].Size-1)
		}
		b.must(translog.CheckConsistency(sizes[x], c, b.hashes(got.GetProof())))
	}
	// Every document of the store, in one call.
	var entries []*flpb.Entry
	for int64(len(entries)) < before.Size {
		got, err := api.ListEntries(b.ctx, &flpb.ListEntriesRequest{From: int64(len(entries)), To: before.Size})
		b.must(err)
		if len(got.GetEntries()) == 0 {
			t.Fatalf("the log ends at %d of %d", len(entries), before.Size)
		}
		entries = append(entries, got.GetEntries()...)
	}
	req := &flpb.GetInclusionRequest{Size: before.Size}
	var docs []fl.Envelope
	for _, e := range entries {
		if e.GetKind() == store.TransactionKind {
			continue
		}
		doc, err := fl.DecodeEnvelope(e.GetBytes())
		b.must(err)
		digest := doc.Digest()
		docs, req.Digests = append(docs, doc), append(req.Digests, digest[:])
	}
	proofs, err := api.GetInclusion(b.ctx, req)
	b.must(err)
	if docs[0].Kind != b.a.genesisEv.Kind || len(docs) != 5 {
		t.Errorf("%d documents, the first a %s", len(docs), docs[0].Kind)
	}
	for i, p := range proofs.GetInclusions() {
		b.must(translog.CheckInclusion(before, docs[i].Encode(), translog.Inclusion{Index: p.GetIndex(), Hashes: b.hashes(p.GetHashes())}))
	}
	// A party that holds a larger checkpoint is shown the smaller one.
	got, err := api.GetCheckpoint(b.ctx, &flpb.GetCheckpointRequest{FromSize: 1 << 40})
	b.must(err)
	if c := b.opened(got.GetCheckpoint()); c != before {
		t.Errorf("%+v, want %+v", c, before)
	}
	own, err := b.a.Checkpoint(b.ctx)
	b.must(err)
	if !bytes.Equal(own, got.GetCheckpoint()) {
		t.Error("the same checkpoint has two encodings")
	}
}

func TestLogRefusals(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.serve()
	api := b.parties["alpha"].api
	known, unknown := b.a.genesisID, fl.DigestBytes([]byte("unknown"))
	head, _, err := b.a.store.LogHead(b.ctx)
	b.must(err)
	inclusion := func(size int64, digests ...[]byte) error {
		_, err := api.GetInclusion(b.ctx, &flpb.GetInclusionRequest{Size: size, Digests: digests})
		return err
	}
	checkpoint := func(from, size int64) error {
		_, err := api.GetCheckpoint(b.ctx, &flpb.GetCheckpointRequest{FromSize: from, Size: size})
		return err
	}
	entries := func(from, to int64) error {
		_, err := api.ListEntries(b.ctx, &flpb.ListEntriesRequest{From: from, To: to})
		return err
	}
	last, err := b.a.store.Party(b.ctx, "lab")
	b.must(err)
	late := last.Envelope.Digest()
	for name, test := range map[string]struct {
		err  error
		want fl.Code
	}{
		"too many proofs":       {inclusion(head, slices.Repeat([][]byte{known[:]}, maxInclusions+1)...), fl.CodeTooLarge},
		"short digest":          {inclusion(head, known[:5]), fl.CodeMalformed},
		"unknown document":      {inclusion(head, known[:], unknown[:]), fl.CodeNotFound},
		"later than the size":   {inclusion(1, late[:]), fl.CodeNotFound},
		"larger than the log":   {inclusion(head+1, known[:]), fl.CodeNotFound},
		"empty log":             {inclusion(0, known[:]), fl.CodeNotFound},
		"minus":                 {inclusion(-1, known[:]), fl.CodeNotFound},
		"checkpoint to come":    {checkpoint(0, head+1), fl.CodeNotFound},
		"checkpoint of minus":   {checkpoint(0, -1), fl.CodeNotFound},
		"proof from minus":      {checkpoint(-1, 0), fl.CodeMalformed},
		"entries from minus":    {entries(-1, 5), fl.CodeMalformed},
		"entries the other way": {entries(5, 4), fl.CodeMalformed},
	} {
		if got := fl.CodeOf(flpb.FromStatus(test.err)); got != test.want {
			t.Errorf("%s: %v, want %s", name, test.err, test.want)
		}
	}
	b.must(inclusion(head))
	b.must(inclusion(head, slices.Repeat([][]byte{known[:]}, maxInclusions)...))
	b.must(entries(head, 1<<60))
}

// cosign makes a witness' cosigned copy of a checkpoint.
func (p *party) cosign(signed []byte) []byte {
	p.b.Helper()
	note, err := translog.Cosign(signed, translog.Origin(p.b.a.genesisID), p.b.a.genesis.AggregatorKey, string(p.name), p.keys.Signing, p.b.clock.now)
	p.b.must(err)
	return note
}

func (p *party) addCosignature(note []byte) error {
	_, err := p.api.AddCosignature(p.b.ctx, &flpb.AddCosignatureRequest{Note: note})
	return flpb.FromStatus(err)
}

func TestCosignatures(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	b.serve()
	alpha, beta, lab := b.parties["alpha"], b.parties["beta"], b.parties["lab"]
	first, err := b.a.Checkpoint(b.ctx)
	b.must(err)
	cosigned := func() (translog.Checkpoint, []string) {
		t.Helper()
		got, err := alpha.api.GetCheckpoint(b.ctx, &flpb.GetCheckpointRequest{})
		b.must(err)
		if len(got.GetCosigned()) == 0 {
			return translog.Checkpoint{}, nil
		}
		c, newest := b.opened(got.GetCosigned()), b.opened(got.GetCheckpoint())
		b.must(translog.CheckConsistency(c, newest, b.hashes(got.GetCosignedProof())))
		names, err := translog.Witnesses(got.GetCosigned(), map[string]ed25519.PublicKey{"alpha": alpha.keys.SigningPublic(), "beta": beta.keys.SigningPublic(), "lab": lab.keys.SigningPublic()})
		b.must(err)
		slices.Sort(names)
		return c, names
	}
	if _, names := cosigned(); names != nil {
		t.Errorf("cosigned by %v before anybody did", names)
	}
	b.must(alpha.addCosignature(alpha.cosign(first)))
	b.must(lab.addCosignature(lab.cosign(alpha.cosign(first)))) // any party; others' lines are not kept twice
	if c, names := cosigned(); c != b.opened(first) || !slices.Equal(names, []string{"alpha", "lab"}) {
		t.Errorf("%+v by %v", c, names)
	}
	b.must(b.a.Grant(b.ctx, "alpha", 1, "more"))
	second, err := b.a.Checkpoint(b.ctx)
	b.must(err)
	b.must(beta.addCosignature(beta.cosign(second)))
	b.must(alpha.addCosignature(alpha.cosign(second)))
	b.must(alpha.addCosignature(alpha.cosign(first))) // an old one again changes nothing
	if c, names := cosigned(); c != b.opened(second) || !slices.Equal(names, []string{"alpha", "beta"}) {
		t.Errorf("%+v by %v", c, names)
	}

	// What is not a cosignature of this log by the caller.
	other, err := translog.Sign(translog.Checkpoint{Origin: translog.Origin(b.a.genesisID), Size: 3}, b.a.keys.Signing)
	b.must(err)
	beyond, err := translog.Sign(translog.Checkpoint{Origin: translog.Origin(b.a.genesisID), Size: 1 << 30}, b.a.keys.Signing)
	b.must(err)
	empty, err := translog.Sign(translog.Checkpoint{Origin: translog.Origin(b.a.genesisID)}, b.a.keys.Signing)
	b.must(err)
	for name, test := range map[string]struct {
		note []byte
		want fl.Code
	}{
		"nothing":           {nil, fl.CodeBadSignature},
		"text":              {[]byte("hello\n"), fl.CodeBadSignature},
		"huge":              {bytes.Repeat([]byte("x"), translog.MaxNote+1), fl.CodeMalformed},
		"not cosigned":      {second, fl.CodeBadSignature},
		"another's":         {beta.cosign(second), fl.CodeBadSignature},
		"cut":               {alpha.cosign(second)[:180], fl.CodeBadSignature},
		"another history":   {alpha.cosign(other), fl.CodeConflict},
		"of things to come": {alpha.cosign(beyond), fl.CodeNotFound},
		"of nothing":        {alpha.cosign(empty), fl.CodeMalformed},
	} {
		if err := alpha.addCosignature(test.note); fl.CodeOf(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	good := alpha.cosign(second)
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1
		if err := b.a.addCosignature(b.ctx, fl.Enrolment{Node: "alpha", SigningKey: alpha.keys.SigningPublic()}, flipped); err == nil {
			t.Errorf("bit flip at %d of a cosigned checkpoint is taken", i)
		}
	}
	if c, names := cosigned(); c != b.opened(second) || !slices.Equal(names, []string{"alpha", "beta"}) {
		t.Errorf("after the refusals: %+v by %v", c, names)
	}
}

// countingStore counts what is written of signs of life.
type countingStore struct {
	store.Store
	seen   int
	broken bool
}

func (s *countingStore) Seen(ctx context.Context, node fl.NodeID, at time.Time) error {
	if s.broken {
		return errors.New("injected")
	}
	s.seen++
	return s.Store.Seen(ctx, node, at)
}

func TestSignsOfLife(t *testing.T) {
	b := newBench(t, "alpha", "beta", "gamma")
	counting := &countingStore{Store: b.a.store}
	b.a.store = counting
	for range 100 {
		b.must(b.a.seen(b.ctx, "alpha"))
		b.must(b.a.seen(b.ctx, "beta"))
	}
	if counting.seen != 2 {
		t.Errorf("%d writes for two parties in an instant", counting.seen)
	}
	b.clock.add(seenEvery)
	counting.broken = true
	if err := b.a.seen(b.ctx, "alpha"); err == nil {
		t.Error("a failed write is not reported")
	}
	counting.broken = false
	b.must(b.a.seen(b.ctx, "alpha")) // it is still due
	b.must(b.a.seen(b.ctx, "alpha"))
	if counting.seen != 3 {
		t.Errorf("%d writes", counting.seen)
	}
	p, err := b.a.store.Party(b.ctx, "alpha")
	b.must(err)
	if !p.LastSeen.Equal(b.clock.now()) {
		t.Errorf("last seen %s", p.LastSeen)
	}
}
